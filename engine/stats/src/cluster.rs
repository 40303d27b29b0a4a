//! Metrics whose unit is smaller than the unit that was randomised: messages of recipients, recipients of stores.
//!
//! Enters: for each randomised cluster the number of its units and the total of the metric over them. Leaves: the
//! difference of the arms' means per unit, with an error that knows that units of one cluster hang together.
//!
//! Three methods, and the rule by which [`compare_clusters`] chooses:
//!
//! | clusters in the smaller arm | method |
//! | --- | --- |
//! | [`MANY_CLUSTERS`] or more | delta method: the ratio of totals to units ([`crate::ratio`]) |
//! | fewer, degrees of freedom of at least [`FEWEST_DEGREES`] | CR2 ([`cluster_effect`]) |
//! | fewer still | wild cluster bootstrap ([`WildBootstrap`]) |
//!
//! - CR2: the cluster-robust variance of Bell and `McCaffrey` (2002), Survey Methodology 28(2), with their Satterthwaite
//!   degrees of freedom (Imbens and Kolesár 2016, Review of Economics and Statistics 98(4)). In a comparison of two
//!   arms its matrices have a closed form. With m the units of a cluster, N those of its arm, q = m / N, and u the
//!   cluster's total less m times the arm's mean:
//!
//! ```text
//! Var(arm mean) = Σ u² / (1 − q) / N²
//! df = (1/N_C + 1/N_T)² / (B_C + B_T),   B = [Σ (q² − 2 q³) / (1 − q)² + (Σ q² / (1 − q))²] / N²
//! ```
//!
//! - Wild cluster bootstrap: Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90(3), with the
//!   hypothesis imposed and each cluster's sign drawn with probability one half; the interval keeps the differences that
//!   the bootstrap does not reject at alpha. With up to [`MOST_ENUMERATED`] clusters every vector of signs is used once,
//!   and nothing is random. With a handful of clusters in an arm it finds too little rather than too much (`MacKinnon`
//!   and Webb 2017, Journal of Applied Econometrics 32(2)).

use crate::comparison::Comparison;
use crate::counter::split_mix;
use crate::effect::{ArmValue, Effect, NO_UNITS};
use crate::error::{StatsError, check_alpha, check_finite};
use crate::interval::{Estimate, Interval};
use crate::numeric::{count, length};
use crate::ratio::{RatioMoments, ratio_effect};
use crate::root::last_inside;
use serde::{Deserialize, Serialize};

/// Clusters in each arm from which the delta method is used.
pub const MANY_CLUSTERS: usize = 50;
/// Satterthwaite degrees of freedom below which CR2's t is not trusted (Tipton 2015, Psychological Methods 20(3)).
pub const FEWEST_DEGREES: f64 = 4.0;
/// Clusters of both arms up to which all vectors of signs are gone through.
pub const MOST_ENUMERATED: usize = 13;

/// What a comparison of clusters by the delta method says it was made by.
pub const DELTA_METHOD: &str = "delta method over clusters; Fieller interval for the lift";
/// What a comparison of clusters by CR2 says it was made by.
pub const BIAS_REDUCED_METHOD: &str =
    "CR2 cluster-robust variance with Bell-McCaffrey degrees of freedom; Fieller interval for the lift";
/// What a comparison of clusters by the bootstrap says it was made by.
pub const WILD_BOOTSTRAP_METHOD: &str = "wild cluster bootstrap, hypothesis imposed, Rademacher signs";

const ONE_CLUSTER: &str = "an arm has a single cluster: its variance is unknown";
const NO_LIFT_INTERVAL: &str = "the wild cluster bootstrap gives an interval for the difference only";
const TOO_FEW_CLUSTERS: &str = "so few clusters that no difference could be significant at this alpha";

/// Doublings of the step outwards after which an end of the bootstrap's interval is unbounded.
const MOST_DOUBLINGS: u32 = 60;

/// A randomised cluster: its units and the total of the metric over them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClusterTotal {
    /// Units in the cluster; one without units is left out.
    pub units: u64,
    /// Sum of the metric over them, in the metric's units.
    pub total: f64,
}

/// How clusters were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterMethod {
    /// The ratio of totals to units, linearised over many clusters.
    DeltaMethod,
    /// CR2 with Bell and `McCaffrey`'s degrees of freedom.
    BiasReduced,
    /// The wild cluster bootstrap.
    WildBootstrap,
}

/// The comparison of clusters, and how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterComparison {
    /// Difference of the means per unit, and the rest.
    pub comparison: Comparison,
    /// By the rule of the module.
    pub chosen: ClusterMethod,
    /// Clusters with units in the control.
    pub control_clusters: usize,
    /// Clusters with units in the treatment.
    pub treatment_clusters: usize,
    /// Of CR2, whichever method was chosen; none where an arm has fewer than two clusters.
    pub degrees_of_freedom: Option<f64>,
}

/// Compares the means per unit of two arms of clusters, by the method that their number calls for. `bootstrap` is used
/// where clusters are few.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] for a total that is NaN or infinite;
/// [`StatsError::NotPositive`] for a total without units, or a bootstrap without replicates.
pub fn compare_clusters(
    control: &[ClusterTotal],
    treatment: &[ClusterTotal],
    alpha: f64,
    bootstrap: WildBootstrap,
) -> Result<ClusterComparison, StatsError> {
    let (control, treatment) = (with_units(control)?, with_units(treatment)?);
    let bias_reduced = cluster_effect(&control, &treatment)?;
    let degrees_of_freedom = bias_reduced.degrees_of_freedom();
    let few_degrees = degrees_of_freedom.is_some_and(|degrees| degrees < FEWEST_DEGREES);
    let (chosen, comparison) = if control.len().min(treatment.len()) >= MANY_CLUSTERS {
        let effect = ratio_effect(&as_ratio(&control)?, &as_ratio(&treatment)?)?;
        (ClusterMethod::DeltaMethod, effect.comparison(alpha, DELTA_METHOD)?)
    } else if few_degrees {
        (ClusterMethod::WildBootstrap, bootstrap.compare(&control, &treatment, alpha)?)
    } else {
        (ClusterMethod::BiasReduced, bias_reduced.comparison(alpha, BIAS_REDUCED_METHOD)?)
    };
    Ok(ClusterComparison {
        comparison,
        chosen,
        control_clusters: control.len(),
        treatment_clusters: treatment.len(),
        degrees_of_freedom,
    })
}

/// The difference of the means per unit with its CR2 standard error and Bell and `McCaffrey`'s degrees of freedom.
///
/// # Errors
///
/// [`StatsError::NotFinite`] for a total that is NaN or infinite; [`StatsError::NotPositive`] for a total without units.
pub fn cluster_effect(control: &[ClusterTotal], treatment: &[ClusterTotal]) -> Result<Effect, StatsError> {
    let (control, treatment) = (with_units(control)?, with_units(treatment)?);
    let (Some(control), Some(treatment)) = (ArmSummary::new(&control), ArmSummary::new(&treatment)) else {
        return Ok(Effect::untestable(NO_UNITS));
    };
    let (Some(control_variance), Some(treatment_variance)) = (control.variance, treatment.variance) else {
        return Ok(Effect::Untestable { values: Some((control.mean, treatment.mean)), note: ONE_CLUSTER.to_owned() });
    };
    let trace = 1.0 / control.units + 1.0 / treatment.units;
    let degrees_of_freedom = trace * trace / (control.squared_trace + treatment.squared_trace);
    Effect::of_independent_arms(
        ArmValue { value: control.mean, variance: control_variance },
        ArmValue { value: treatment.mean, variance: treatment_variance },
        Some(degrees_of_freedom),
    )
}

/// What CR2 needs of one arm.
#[derive(Debug, Clone, Copy)]
struct ArmSummary {
    units: f64,
    mean: f64,
    /// CR2's variance of the mean; none with a single cluster.
    variance: Option<f64>,
    /// B of the module's formula.
    squared_trace: f64,
}

impl ArmSummary {
    /// None without units. Expects clusters that have units.
    fn new(clusters: &[ClusterTotal]) -> Option<Self> {
        let units: f64 = clusters.iter().map(|cluster| count(cluster.units)).sum();
        if units <= 0.0 {
            return None;
        }
        let mean = mean_of(clusters, units);
        let (mut variance, mut diagonal, mut cross) = (0.0, 0.0, 0.0);
        for cluster in clusters {
            let share = count(cluster.units) / units;
            let rest = 1.0 - share;
            let residual = (cluster.total - count(cluster.units) * mean) / units;
            variance += residual * residual / rest;
            diagonal += share * share * (1.0 - 2.0 * share) / (rest * rest);
            cross += share * share / rest;
        }
        Some(Self {
            units,
            mean,
            variance: (clusters.len() >= 2 && variance.is_finite()).then_some(variance),
            squared_trace: (diagonal + cross * cross) / (units * units),
        })
    }
}

/// The mean per unit, by steps from cluster to cluster so that large totals keep their digits.
fn mean_of(clusters: &[ClusterTotal], units: f64) -> f64 {
    let rough: f64 = clusters.iter().map(|cluster| cluster.total / units).sum();
    let rest: f64 = clusters.iter().map(|cluster| (cluster.total - count(cluster.units) * rough) / units).sum();
    rough + rest
}

/// The clusters with units; refuses totals that no data can have.
fn with_units(clusters: &[ClusterTotal]) -> Result<Vec<ClusterTotal>, StatsError> {
    let mut kept = Vec::with_capacity(clusters.len());
    for cluster in clusters {
        check_finite("the total of a cluster", cluster.total)?;
        if cluster.units > 0 {
            kept.push(*cluster);
        } else if cluster.total != 0.0 {
            return Err(StatsError::NotPositive { quantity: "the units of a cluster that has a total", value: 0.0 });
        }
    }
    Ok(kept)
}

/// Totals as numerators, units as denominators.
fn as_ratio(clusters: &[ClusterTotal]) -> Result<RatioMoments, StatsError> {
    RatioMoments::from_values(clusters.iter().map(|cluster| (cluster.total, count(cluster.units))))
}

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
    /// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] for a total that is NaN or infinite;
    /// [`StatsError::NotPositive`] for a total without units, or without replicates.
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
        let units_of = |clusters: &[ClusterTotal]| clusters.iter().map(|cluster| count(cluster.units)).sum::<f64>();
        let (control_units, treatment_units) = (units_of(control), units_of(treatment));
        let all: Vec<ClusterTotal> = control.iter().chain(treatment).copied().collect();
        let mean = mean_of(&all, control_units + treatment_units);
        let clusters = all
            .iter()
            .enumerate()
            .map(|(index, cluster)| {
                let is_treatment = index >= control.len();
                let units = count(cluster.units);
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
#[allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::unreadable_literal,
    reason = "golden numbers as the oracle prints them"
)]
mod tests {
    use super::*;
    use crate::comparison::compare_means;
    use crate::moments::Moments;
    use crate::numeric::assert_close;

    fn clusters(totals: &[(u64, f64)]) -> Vec<ClusterTotal> {
        totals.iter().map(|&(units, total)| ClusterTotal { units, total }).collect()
    }

    fn small() -> (Vec<ClusterTotal>, Vec<ClusterTotal>) {
        (
            clusters(&[(3, 6.0), (5, 4.0), (2, 7.0), (9, 12.0), (4, 3.0)]),
            clusters(&[(6, 21.0), (2, 5.0), (4, 13.0), (7, 30.0)]),
        )
    }

    #[test]
    fn bias_reduction_agrees_with_its_matrices() {
        // tests/oracle/cluster.py: Bell and McCaffrey's matrices written out in NumPy.
        let (control, treatment) = small();
        let effect = cluster_effect(&control, &treatment).unwrap();
        assert_close(effect.statistic().unwrap(), 2.2402745995423343 / 0.446771871660954, 1e-12);
        assert_close(effect.standard_error().unwrap(), 0.446771871660954, 1e-12);
        assert_close(effect.degrees_of_freedom().unwrap(), 5.307622324445328, 1e-11);
    }

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
                    ClusterTotal { units: u64::from(units), total: f64::from(units) * (10.0 + shift + wave * 0.3) }
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
    fn clusters_of_one_unit_are_a_welch_test() {
        // With one unit a cluster CR2 is the variance of the mean, and Bell and McCaffrey's df are the pooled test's.
        let control = [3.0, 1.0, 4.0, 1.0, 5.0];
        let treatment = [9.0, 2.0, 6.0, 5.0, 3.0, 5.0];
        let single = |values: &[f64]| -> Vec<ClusterTotal> {
            values.iter().map(|&total| ClusterTotal { units: 1, total }).collect()
        };
        let effect = cluster_effect(&single(&control), &single(&treatment)).unwrap();
        let moments = (Moments::from_values(control).unwrap(), Moments::from_values(treatment).unwrap());
        let welch = compare_means(&moments.0, &moments.1, 0.05).unwrap();
        assert_close(effect.statistic().unwrap(), welch.statistic.unwrap(), 1e-12);
        // (1/5 + 1/6)² / (1/(25 · 4) + 1/(36 · 5)).
        assert_close(effect.degrees_of_freedom().unwrap(), 8.642857142857142, 1e-12);
    }

    #[test]
    fn the_rule_follows_the_number_of_clusters() {
        let arm = |clusters: u32, shift: f64| -> Vec<ClusterTotal> {
            (0..clusters).map(|index| ClusterTotal { units: 5, total: f64::from(index % 7) + shift }).collect()
        };
        let chosen = |clusters: u32| {
            let options = WildBootstrap { seed: 1, replicates: 99 };
            compare_clusters(&arm(clusters, 0.0), &arm(clusters, 1.0), 0.05, options).unwrap().chosen
        };
        assert_eq!(chosen(60), ClusterMethod::DeltaMethod);
        assert_eq!(chosen(20), ClusterMethod::BiasReduced);
        assert_eq!(chosen(2), ClusterMethod::WildBootstrap);
    }

    #[test]
    fn thin_data_is_explained() {
        let (control, _) = small();
        let options = WildBootstrap::default();
        let one = clusters(&[(5, 3.0)]);
        let without_units = clusters(&[(0, 0.0)]);
        for other in [Vec::new(), without_units, one] {
            let result = compare_clusters(&control, &other, 0.05, options).unwrap();
            assert_eq!((result.comparison.p_value, result.comparison.difference.low), (None, None));
            assert!(result.comparison.difference.note.is_some() && result.comparison.lift.note.is_some());
        }
        let two = compare_clusters(&clusters(&[(5, 3.0), (4, 2.0)]), &clusters(&[(5, 9.0), (4, 8.0)]), 0.05, options);
        let difference = two.unwrap().comparison.difference;
        assert_eq!((difference.low, difference.high), (None, None));
        assert_eq!(difference.note.as_deref(), Some(TOO_FEW_CLUSTERS));
        let still = clusters(&[(2, 0.0), (3, 0.0)]);
        let nothing = compare_clusters(&still, &still, 0.05, options).unwrap().comparison;
        assert_eq!((nothing.p_value, nothing.difference.estimate), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn impossible_input_is_refused() {
        let (control, treatment) = small();
        assert!(cluster_effect(&clusters(&[(0, 3.0)]), &treatment).is_err());
        assert!(cluster_effect(&clusters(&[(3, f64::NAN)]), &treatment).is_err());
        let none = WildBootstrap { seed: 1, replicates: 0 };
        assert!(none.compare(&control, &treatment, 0.05).is_err());
        assert!(compare_clusters(&control, &treatment, 0.0, WildBootstrap::default()).is_err());
    }
}
