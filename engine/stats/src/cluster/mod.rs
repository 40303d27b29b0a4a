//! Metrics whose unit is smaller than the unit that was randomised: messages of recipients, recipients of stores.
//!
//! Enters: for each randomised cluster the number of its units and the total of the metric over them. Leaves: the
//! difference of the arms' means per unit, with an error that knows that units of one cluster hang together. A ratio of
//! totals, revenue per click say, is the same question with the denominator in the place of the units: none of the
//! formulas asks what lies inside a cluster, or that its size is a whole number.
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

mod wild_bootstrap;

pub use wild_bootstrap::{MOST_ENUMERATED, WILD_BOOTSTRAP_METHOD, WildBootstrap};

use crate::comparison::Comparison;
use crate::effect::{ArmValue, Effect, NO_UNITS};
use crate::error::{StatsError, check_finite, check_not_negative};
use crate::ratio::{RatioMoments, ratio_effect};
use serde::{Deserialize, Serialize};

/// Clusters in each arm from which the delta method is used.
pub const MANY_CLUSTERS: usize = 50;
/// Satterthwaite degrees of freedom below which CR2's t is not trusted (Tipton 2015, Psychological Methods 20(3)).
pub const FEWEST_DEGREES: f64 = 4.0;

/// What a comparison of clusters by the delta method says it was made by.
pub const DELTA_METHOD: &str = "delta method over clusters; Fieller interval for the lift";
/// What a comparison of clusters by CR2 says it was made by.
pub const BIAS_REDUCED_METHOD: &str =
    "CR2 cluster-robust variance with Bell-McCaffrey degrees of freedom; Fieller interval for the lift";

const ONE_CLUSTER: &str = "an arm has a single cluster: its variance is unknown";

/// A randomised cluster: its units and the total of the metric over them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClusterTotal {
    /// Units in the cluster, or the total of a ratio's denominator in it; not negative.
    pub units: f64,
    /// Sum of the metric over them, in the metric's units. A cluster that has neither units nor a total is left out.
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
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] for units or a total that are NaN or infinite;
/// [`StatsError::Negative`] for units below zero; [`StatsError::NotPositive`] for a bootstrap without replicates.
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

/// The effect that [`compare_clusters`] tests, but for the bootstrap: by the delta method where clusters are many, else CR2
/// with its degrees of freedom, which where there are few of them is the cautious neighbour of the bootstrap.
///
/// # Errors
///
/// As [`cluster_effect`].
pub fn tested_cluster_effect(control: &[ClusterTotal], treatment: &[ClusterTotal]) -> Result<Effect, StatsError> {
    let (control, treatment) = (with_units(control)?, with_units(treatment)?);
    if control.len().min(treatment.len()) >= MANY_CLUSTERS {
        return ratio_effect(&as_ratio(&control)?, &as_ratio(&treatment)?);
    }
    cluster_effect(&control, &treatment)
}

/// The difference of the means per unit with its CR2 standard error and Bell and `McCaffrey`'s degrees of freedom.
///
/// # Errors
///
/// [`StatsError::NotFinite`] for units or a total that are NaN or infinite; [`StatsError::Negative`] for units below zero.
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
        let units: f64 = clusters.iter().map(|cluster| cluster.units).sum();
        if units <= 0.0 {
            return None;
        }
        let mean = mean_of(clusters, units);
        let (mut variance, mut diagonal, mut cross) = (0.0, 0.0, 0.0);
        for cluster in clusters {
            let share = cluster.units / units;
            let rest = 1.0 - share;
            let residual = (cluster.total - cluster.units * mean) / units;
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
    let rest: f64 = clusters.iter().map(|cluster| (cluster.total - cluster.units * rough) / units).sum();
    rough + rest
}

/// The clusters with anything in them; refuses what no data can have.
fn with_units(clusters: &[ClusterTotal]) -> Result<Vec<ClusterTotal>, StatsError> {
    let mut kept = Vec::with_capacity(clusters.len());
    for cluster in clusters {
        check_finite("the total of a cluster", cluster.total)?;
        check_not_negative("the units of a cluster", cluster.units)?;
        if cluster.units > 0.0 || cluster.total != 0.0 {
            kept.push(*cluster);
        }
    }
    Ok(kept)
}

/// Totals as numerators, units as denominators.
fn as_ratio(clusters: &[ClusterTotal]) -> Result<RatioMoments, StatsError> {
    RatioMoments::from_values(clusters.iter().map(|cluster| (cluster.total, cluster.units)))
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

    pub(super) fn clusters(totals: &[(u32, f64)]) -> Vec<ClusterTotal> {
        totals.iter().map(|&(units, total)| ClusterTotal { units: f64::from(units), total }).collect()
    }

    pub(super) fn small() -> (Vec<ClusterTotal>, Vec<ClusterTotal>) {
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
    fn clusters_of_one_unit_are_a_welch_test() {
        // With one unit a cluster CR2 is the variance of the mean, and Bell and McCaffrey's df are the pooled test's.
        let control = [3.0, 1.0, 4.0, 1.0, 5.0];
        let treatment = [9.0, 2.0, 6.0, 5.0, 3.0, 5.0];
        let single = |values: &[f64]| -> Vec<ClusterTotal> {
            values.iter().map(|&total| ClusterTotal { units: 1.0, total }).collect()
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
            (0..clusters).map(|index| ClusterTotal { units: 5.0, total: f64::from(index % 7) + shift }).collect()
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
        let still = clusters(&[(2, 0.0), (3, 0.0)]);
        let nothing = compare_clusters(&still, &still, 0.05, options).unwrap().comparison;
        assert_eq!((nothing.p_value, nothing.difference.estimate), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn impossible_input_is_refused() {
        let (control, treatment) = small();
        let negative = [ClusterTotal { units: -1.0, total: 3.0 }];
        assert!(cluster_effect(&negative, &treatment).is_err());
        assert!(cluster_effect(&clusters(&[(3, f64::NAN)]), &treatment).is_err());
        let none = WildBootstrap { seed: 1, replicates: 0 };
        assert!(none.compare(&control, &treatment, 0.05).is_err());
        assert!(compare_clusters(&control, &treatment, 0.0, WildBootstrap::default()).is_err());
    }
}
