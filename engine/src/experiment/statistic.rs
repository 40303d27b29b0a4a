//! The statistics of one metric in one arm, and how two of them are compared.

use serde::{Deserialize, Serialize};

use super::metric::MetricKind;
use crate::error::Result;
use crate::report::precise::moments;
use crate::stats::{
    ClusterTotal, Comparison, Effect, Estimate, Moments, Proportion, RatioMoments, ValueCounts, VarianceCorrection,
    WildBootstrap, compare_clustered_quantiles, compare_clusters, compare_logarithms, compare_means,
    compare_proportions_with, compare_quantiles, compare_ratios,
};

/// The statistics of one metric in one arm. Those without a number for each unit are not kept in the store's rollups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ArmStatistic {
    /// Successes among units.
    Proportion(Proportion),
    /// Count, mean and spread over units.
    Mean(#[serde(with = "moments")] Moments),
    /// The same of ln(1 + value).
    #[serde(skip)]
    Logarithm(Moments),
    /// Numerators and denominators over the randomised units.
    #[serde(skip)]
    Ratio(RatioMoments),
    /// All values with their units, of which a share lies below the quantile.
    #[serde(skip)]
    Quantile {
        /// Between 0 and 1.
        share: f64,
        values: ValueCounts,
    },
    /// The units and their total in each randomised cluster.
    #[serde(skip)]
    Clusters(Vec<ClusterTotal>),
    /// The denominator, in the place of the units, and the numerator in each randomised cluster.
    #[serde(skip)]
    RatioOfClusters(Vec<ClusterTotal>),
    /// The values in each randomised cluster.
    #[serde(skip)]
    ClusteredQuantile {
        /// Between 0 and 1.
        share: f64,
        clusters: Vec<Vec<f64>>,
    },
}

/// What is shown of an arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shown {
    /// Units with a value.
    pub(crate) n: u64,
    /// The share, mean, ratio or quantile.
    pub(crate) value: Option<f64>,
    /// The sample variance of the units' values, where they have a mean.
    pub(crate) variance: Option<f64>,
}

impl ArmStatistic {
    /// Statistics from what an aggregation gives: count, mean and sample variance of the values.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub(crate) fn from_aggregate(kind: MetricKind, n: u64, mean: f64, variance: f64) -> Result<Self> {
        if n == 0 {
            return Ok(Self::empty(kind));
        }
        if kind == MetricKind::Proportion {
            // A mean of zeros and ones is successes / n, exact in a double for every n that fits into memory.
            return Ok(Self::Proportion(Proportion::new(n, (mean * n as f64).round() as u64)?));
        }
        let variance = if n == 1 { 0.0 } else { variance };
        Ok(Self::Mean(Moments::from_n_mean_variance(n, mean, variance)?))
    }

    pub(crate) fn empty(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Proportion => Self::Proportion(Proportion::default()),
            MetricKind::Mean | MetricKind::Quantile => Self::Mean(Moments::default()),
            MetricKind::Ratio => Self::Ratio(RatioMoments::default()),
        }
    }

    /// Units: those that were randomised, or of clusters what was observed in them.
    pub(crate) fn n(&self) -> u64 {
        match self {
            Self::Proportion(proportion) => proportion.n,
            Self::Mean(moments) | Self::Logarithm(moments) => moments.n,
            Self::Ratio(moments) => moments.n,
            Self::Quantile { values, .. } => values.n(),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Whole, and far below 2^53.
            Self::Clusters(clusters) => clusters.iter().map(|cluster| cluster.units).sum::<f64>() as u64,
            Self::RatioOfClusters(clusters) => clusters.len() as u64,
            Self::ClusteredQuantile { clusters, .. } => clusters.iter().map(|values| values.len() as u64).sum(),
        }
    }

    /// What was randomised: units, or clusters of them.
    pub(crate) fn randomised_units(&self) -> u64 {
        match self {
            Self::Clusters(clusters) | Self::RatioOfClusters(clusters) => clusters.len() as u64,
            Self::ClusteredQuantile { clusters, .. } => clusters.len() as u64,
            _ => self.n(),
        }
    }

    /// Moments with the arm's value and its standard error, for methods that need no more than these two: of shares and
    /// means their own, of anything else those of a mean over as many randomised units. Without a standard error there
    /// is one unit at most.
    pub(crate) fn moments(&self) -> Result<Moments> {
        Ok(match self {
            Self::Proportion(proportion) => proportion.to_moments()?,
            Self::Mean(moments) | Self::Logarithm(moments) => *moments,
            Self::Ratio(ratio) => as_mean(ratio.n, ratio.ratio(), ratio.squared_standard_error())?,
            Self::Clusters(clusters) | Self::RatioOfClusters(clusters) => {
                let ratio = totals_by_units(clusters)?;
                as_mean(ratio.n, ratio.ratio(), ratio.squared_standard_error())?
            }
            Self::Quantile { share, values } => {
                // Held against itself a quantile tells its own variance.
                let effect = crate::stats::quantile::quantile_effect(values, values, *share)?;
                let square = if let Effect::Estimated(parts) = effect { Some(parts.baseline_variance) } else { None };
                as_mean(values.n(), values.quantile(*share)?, square)?
            }
            Self::ClusteredQuantile { share, clusters } => {
                as_mean(self.n(), all_values(clusters)?.quantile(*share)?, None)?
            }
        })
    }

    /// What is shown of the arm.
    pub(crate) fn shown(&self) -> Result<Shown> {
        let (value, variance) = match self {
            Self::Proportion(_) | Self::Mean(_) | Self::Logarithm(_) => {
                let moments = self.moments()?;
                ((moments.n > 0).then_some(moments.mean), moments.variance())
            }
            Self::Ratio(ratio) => (ratio.ratio(), None),
            Self::Clusters(clusters) | Self::RatioOfClusters(clusters) => (totals_by_units(clusters)?.ratio(), None),
            Self::Quantile { share, values } => (values.quantile(*share)?, None),
            Self::ClusteredQuantile { share, clusters } => (all_values(clusters)?.quantile(*share)?, None),
        };
        Ok(Shown { n: self.n(), value, variance })
    }

    /// Both together, of units that are not the same; quantiles and clusters do not come in parts.
    pub(crate) fn merge(&self, more: &Self) -> Result<Self> {
        Ok(match (self, more) {
            (Self::Proportion(known), Self::Proportion(more)) => Self::Proportion((*known).merge(*more)),
            (Self::Logarithm(known), Self::Logarithm(more)) => Self::Logarithm((*known).merge(*more)),
            (Self::Ratio(known), Self::Ratio(more)) => Self::Ratio((*known).merge(*more)),
            (known, more) => Self::Mean(known.moments()?.merge(more.moments()?)),
        })
    }

    /// The comparison by the rule's own methods.
    pub(crate) fn compare(control: &Self, treatment: &Self, alpha: f64) -> Result<Comparison> {
        Self::compare_with(control, treatment, VarianceCorrection::Uncorrected, alpha)
    }

    pub(crate) fn compare_with(
        control: &Self,
        treatment: &Self,
        correction: VarianceCorrection,
        alpha: f64,
    ) -> Result<Comparison> {
        Ok(match (control, treatment) {
            (Self::Proportion(control), Self::Proportion(treatment)) => {
                compare_proportions_with(*control, *treatment, correction, alpha)?
            }
            (Self::Logarithm(control), Self::Logarithm(treatment)) => compare_logarithms(control, treatment, alpha)?,
            (Self::Ratio(control), Self::Ratio(treatment)) => compare_ratios(control, treatment, alpha)?,
            (Self::Quantile { share, values }, Self::Quantile { values: treatment, .. }) => {
                compare_quantiles(values, treatment, *share, alpha)?
            }
            (Self::Clusters(control), Self::Clusters(treatment))
            | (Self::RatioOfClusters(control), Self::RatioOfClusters(treatment)) => {
                compare_clusters(control, treatment, alpha, WildBootstrap::default())?.comparison
            }
            (Self::ClusteredQuantile { share, clusters }, Self::ClusteredQuantile { clusters: treatment, .. }) => {
                compare_clustered_quantiles(clusters, treatment, *share, alpha)?
            }
            _ => compare_means(&control.moments()?, &treatment.moments()?, alpha)?,
        })
    }
}

/// The lift of the geometric mean that a difference of logarithms is.
pub(crate) fn lift_of_logarithms(difference: &Estimate) -> Estimate {
    let lift = |end: Option<f64>| end.map(f64::exp_m1).filter(|lift| lift.is_finite());
    Estimate {
        estimate: lift(difference.estimate),
        low: lift(difference.low),
        high: lift(difference.high),
        note: difference.note.clone(),
    }
}

fn totals_by_units(clusters: &[ClusterTotal]) -> Result<RatioMoments> {
    Ok(RatioMoments::from_values(clusters.iter().map(|cluster| (cluster.total, cluster.units)))?)
}

fn all_values(clusters: &[Vec<f64>]) -> Result<ValueCounts> {
    Ok(ValueCounts::from_values(clusters.iter().flatten().copied())?)
}

/// The moments of units whose mean has that value and squared standard error.
fn as_mean(n: u64, value: Option<f64>, square: Option<f64>) -> Result<Moments> {
    let Some(value) = value else { return Ok(Moments::default()) };
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    Ok(match square {
        Some(square) if n > 1 => Moments::from_n_mean_variance(n, value, square * n as f64)?,
        _ => Moments::from_n_mean_variance(1, value, 0.0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_and_its_standard_error_pass_as_those_of_a_mean() {
        let pairs = [(3.0, 1_u32), (8.0, 2), (4.0, 3), (7.0, 2)];
        let ratio = RatioMoments::from_values(pairs.map(|(total, units)| (total, f64::from(units)))).unwrap();
        let moments = ArmStatistic::Ratio(ratio).moments().unwrap();
        assert!((moments.mean - 22.0 / 8.0).abs() < 1e-12);
        let (found, expected) = (moments.squared_standard_error().unwrap(), ratio.squared_standard_error().unwrap());
        assert!((found - expected).abs() < 1e-12 * expected, "{found} {expected}");
        // Clusters are the ratio of their totals to their units.
        let clusters = pairs.map(|(total, units)| ClusterTotal { units: f64::from(units), total }).to_vec();
        let clustered = ArmStatistic::Clusters(clusters);
        assert_eq!(clustered.shown().unwrap(), Shown { n: 8, value: Some(22.0 / 8.0), variance: None });
        assert!((clustered.moments().unwrap().squared_standard_error().unwrap() - expected).abs() < 1e-12);
        // A quantile of values that do not vary has no standard error.
        let values = ValueCounts::from_values([2.0, 2.0, 2.0]).unwrap();
        let constant = ArmStatistic::Quantile { share: 0.5, values };
        assert_eq!(constant.moments().unwrap().squared_standard_error(), None);
    }
}
