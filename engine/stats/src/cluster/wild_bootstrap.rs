//! The wild cluster bootstrap, for a handful of clusters.
//!
//! Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90(3), with the hypothesis imposed and each
//! cluster's sign drawn with probability one half; the interval keeps the differences that the bootstrap does not reject
//! at alpha. With up to [`MOST_ENUMERATED`] clusters every vector of signs is used once, and nothing is random. With a
//! handful of clusters in an arm it finds too little rather than too much (`MacKinnon` and Webb 2017, Journal of Applied
//! Econometrics 32(2)).

use super::{ClusterTotal, cluster_effect, mean_of, with_units};
use crate::comparison::Comparison;
use crate::counter::split_mix;
use crate::effect::Effect;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::numeric::{count, length};
use crate::root::last_inside;
use serde::{Deserialize, Serialize};

/// Clusters of both arms up to which all vectors of signs are gone through.
pub const MOST_ENUMERATED: usize = 13;

/// What a comparison of clusters by the bootstrap says it was made by.
pub const WILD_BOOTSTRAP_METHOD: &str = "wild cluster bootstrap, hypothesis imposed, Rademacher signs";

const NO_LIFT_INTERVAL: &str = "the wild cluster bootstrap gives an interval for the difference only";
const TOO_FEW_CLUSTERS: &str = "so few clusters that no difference could be significant at this alpha";

/// Doublings of the step outwards after which an end of the bootstrap's interval is unbounded.
const MOST_DOUBLINGS: u32 = 60;

/// The wild cluster bootstrap, and how much of it.
///
/// Signs come from a counter (`SplitMix64` of seed, replicate and cluster), so that a result depends on nothing else:
/// neither on threads nor on what was drawn before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WildBootstrap {
    /// Any number; the same gives the same result.
    pub seed: u64,
    /// Vectors of signs to draw where they are too many to go through: 999 or 9999, so that alpha × (replicates + 1) is
    /// whole.
    pub replicates: u32,
}

impl Default for WildBootstrap {
    fn default() -> Self {
        Self { seed: 1, replicates: 9_999 }
    }
}

impl WildBootstrap {
    /// Compares the means per unit of two arms of clusters by the bootstrap.
    ///
    /// The statistic is CR2's t. The lift has an estimate but no interval.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] for units or a total that are NaN or infinite;
    /// [`StatsError::Negative`] for units below zero; [`StatsError::NotPositive`] without replicates.
    pub fn compare(
        self,
        control: &[ClusterTotal],
        treatment: &[ClusterTotal],
        alpha: f64,
    ) -> Result<Comparison, StatsError> {
        check_alpha(alpha)?;
        if self.replicates == 0 {
            return Err(StatsError::NotPositive { quantity: "the number of bootstrap replicates", value: 0.0 });
        }
        let (control, treatment) = (with_units(control)?, with_units(treatment)?);
        let effect = cluster_effect(&control, &treatment)?;
        let Effect::Estimated(parts) = &effect else {
            return effect.comparison(alpha, WILD_BOOTSTRAP_METHOD);
        };
        let bootstrap = Resampled::new(&control, &treatment, self);
        let p_value_at = |hypothesis: f64| {
            let statistic = (parts.difference - hypothesis) / parts.standard_error;
            bootstrap.p_value(hypothesis, statistic)
        };
        let p_value = p_value_at(0.0);
        // Where nothing can be rejected there are no ends; far out only rounding would reject.
        let hopeless = bootstrap.smallest_p_value() >= alpha;
        let end = |direction: f64| {
            if hopeless {
                direction * f64::INFINITY
            } else {
                end_of_interval(parts.difference, parts.standard_error, direction, alpha, &p_value_at)
            }
        };
        let interval = Interval::from_ends(end(-1.0), end(1.0));
        let lift = effect.comparison(alpha, "")?.lift;
        let lift_note = if lift.estimate.is_some() { Some(NO_LIFT_INTERVAL.to_owned()) } else { lift.note };
        Ok(Comparison {
            difference: Estimate::new(
                parts.difference,
                if hopeless { interval.with_note(TOO_FEW_CLUSTERS) } else { interval },
            ),
            lift: Estimate { estimate: lift.estimate, low: None, high: None, note: lift_note },
            statistic: effect.statistic(),
            p_value: Some(p_value),
            method: WILD_BOOTSTRAP_METHOD.to_owned(),
        })
    }
}

/// The last difference on one side (`direction` −1 or 1) of the estimate that the bootstrap does not reject; infinite
/// where it rejects none.
fn end_of_interval(
    estimate: f64,
    standard_error: f64,
    direction: f64,
    alpha: f64,
    p_value_at: &impl Fn(f64) -> f64,
) -> f64 {
    let is_kept = |hypothesis: f64| p_value_at(hypothesis) >= alpha;
    let zero_is_on_this_side = estimate * direction < 0.0;
    let zero_is_kept = is_kept(0.0);
    if zero_is_on_this_side && !zero_is_kept {
        return last_inside(0.0, estimate, is_kept);
    }
    let inside = if zero_is_on_this_side { 0.0 } else { estimate };
    let mut step = standard_error;
    for _ in 0..MOST_DOUBLINGS {
        let candidate = inside + direction * step;
        if !is_kept(candidate) {
            return last_inside(candidate, inside, is_kept);
        }
        step *= 2.0;
    }
    direction * f64::INFINITY
}

/// The clusters as the bootstrap sees them.
#[derive(Debug, Clone)]
struct Resampled {
    clusters: Vec<Cluster>,
    control_units: f64,
    treatment_units: f64,
    options: WildBootstrap,
}

/// One cluster, its total already less its units times the overall mean.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    units: f64,
    centred_total: f64,
    is_treatment: bool,
    /// One over (1 − share of the arm's units).
    inflation: f64,
}

impl Resampled {
    fn new(control: &[ClusterTotal], treatment: &[ClusterTotal], options: WildBootstrap) -> Self {
        let units_of = |clusters: &[ClusterTotal]| clusters.iter().map(|cluster| cluster.units).sum::<f64>();
        let (control_units, treatment_units) = (units_of(control), units_of(treatment));
        let all: Vec<ClusterTotal> = control.iter().chain(treatment).copied().collect();
        let mean = mean_of(&all, control_units + treatment_units);
        let clusters = all
            .iter()
            .enumerate()
            .map(|(index, cluster)| {
                let is_treatment = index >= control.len();
                let units = cluster.units;
                let arm_units = if is_treatment { treatment_units } else { control_units };
                Cluster {
                    units,
                    centred_total: cluster.total - units * mean,
                    is_treatment,
                    inflation: 1.0 / (1.0 - units / arm_units),
                }
            })
            .collect();
        Self { clusters, control_units, treatment_units, options }
    }

    /// Whether all vectors of signs are gone through.
    fn is_enumerated(&self) -> bool {
        self.clusters.len() <= MOST_ENUMERATED
    }

    /// Vectors of signs that are looked at. A vector and its opposite give the same size of t, so that half of all are
    /// enough.
    fn vectors(&self) -> u64 {
        if self.is_enumerated() {
            1_u64 << self.clusters.len().saturating_sub(1)
        } else {
            u64::from(self.options.replicates)
        }
    }

    /// No p value can be smaller.
    fn smallest_p_value(&self) -> f64 {
        if self.is_enumerated() { 1.0 / count(self.vectors()) } else { 1.0 / (count(self.vectors()) + 1.0) }
    }

    /// Share of the vectors of signs under which t is at least as large as `statistic`, the true difference being
    /// `hypothesis`.
    fn p_value(&self, hypothesis: f64, statistic: f64) -> f64 {
        // Under the hypothesis the treatment's units are moved by it, and one mean serves both arms.
        let all_units = self.control_units + self.treatment_units;
        let mean_moved = hypothesis * self.treatment_units / all_units;
        let residuals: Vec<f64> = self
            .clusters
            .iter()
            .map(|cluster| {
                let moved = if cluster.is_treatment { hypothesis } else { 0.0 };
                cluster.centred_total - cluster.units * (moved - mean_moved)
            })
            .collect();
        // Equal to rounding counts as equal: the observed signs are among those enumerated.
        let threshold = statistic * statistic * (1.0 - 1e-9);
        let extreme = (0..self.vectors()).filter(|&vector| self.is_extreme(&residuals, vector, threshold)).count();
        let extreme = length(extreme);
        if self.is_enumerated() {
            extreme / count(self.vectors())
        } else {
            (extreme + 1.0) / (count(self.vectors()) + 1.0)
        }
    }

    /// Whether the squared t of the residuals under a vector of signs reaches `threshold`.
    fn is_extreme(&self, residuals: &[f64], vector: u64, threshold: f64) -> bool {
        let (mut control_sum, mut treatment_sum) = (0.0, 0.0);
        for (index, (cluster, residual)) in self.clusters.iter().zip(residuals).enumerate() {
            let signed = self.signed(*residual, vector, index);
            if cluster.is_treatment {
                treatment_sum += signed;
            } else {
                control_sum += signed;
            }
        }
        let (control_mean, treatment_mean) = (control_sum / self.control_units, treatment_sum / self.treatment_units);
        let mut variance = 0.0;
        for (index, (cluster, residual)) in self.clusters.iter().zip(residuals).enumerate() {
            let signed = self.signed(*residual, vector, index);
            let (mean, units) = if cluster.is_treatment {
                (treatment_mean, self.treatment_units)
            } else {
                (control_mean, self.control_units)
            };
            let share = (signed - cluster.units * mean) / units;
            variance += share * share * cluster.inflation;
        }
        let difference = treatment_mean - control_mean;
        difference * difference >= threshold * variance
    }

    /// The residual with the sign of its cluster in a vector.
    fn signed(&self, residual: f64, vector: u64, cluster: usize) -> f64 {
        let place = cluster % 64;
        let word = if self.is_enumerated() {
            vector
        } else {
            let block = (cluster / 64) as u64;
            split_mix(split_mix(split_mix(self.options.seed) ^ vector) ^ block)
        };
        if (word >> place) & 1 == 1 { -residual } else { residual }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::super::compare_clusters;
    use super::super::tests::{clusters, small};
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn the_bootstrap_goes_through_all_signs() {
        // tests/oracle/cluster.py: least squares on the units, all 512 vectors of signs.
        let (control, treatment) = small();
        let comparison = WildBootstrap::default().compare(&control, &treatment, 0.05).unwrap();
        assert_close(comparison.p_value.unwrap(), 0.01953125, 1e-12);
        assert_close(comparison.difference.low.unwrap(), 1.1047064896480085, 1e-8);
        assert_close(comparison.difference.high.unwrap(), 3.122644516065229, 1e-8);
        assert_eq!(comparison.lift.low, None);
        let other_seed = WildBootstrap { seed: 99, replicates: 9 };
        assert_eq!(other_seed.compare(&control, &treatment, 0.05).unwrap(), comparison);
    }

    #[test]
    fn the_bootstrap_draws_what_it_is_told() {
        // tests/oracle/cluster.py: the same generator in Python, 24 clusters, 999 replicates of seed 7.
        let arm = |shift: f64| -> Vec<ClusterTotal> {
            (0..12_u32)
                .map(|index| {
                    let units = 2 + index % 5;
                    let wave = f64::from((index * 37) % 11) - 5.0;
                    ClusterTotal { units: f64::from(units), total: f64::from(units) * (10.0 + shift + wave * 0.3) }
                })
                .collect()
        };
        let options = WildBootstrap { seed: 7, replicates: 999 };
        let comparison = options.compare(&arm(0.0), &arm(0.7), 0.05).unwrap();
        assert_close(comparison.p_value.unwrap(), 0.128, 1e-12);
        let p_value = comparison.p_value.unwrap();
        assert_eq!(p_value < 0.05, !comparison.difference.contains_zero());
    }

    #[test]
    fn too_few_clusters_have_no_interval() {
        let options = WildBootstrap::default();
        let two = compare_clusters(&clusters(&[(5, 3.0), (4, 2.0)]), &clusters(&[(5, 9.0), (4, 8.0)]), 0.05, options);
        let difference = two.unwrap().comparison.difference;
        assert_eq!((difference.low, difference.high), (None, None));
        assert_eq!(difference.note.as_deref(), Some(TOO_FEW_CLUSTERS));
    }
}
