//! Has a feature or a score moved since the model was fitted?
//!
//! Enters: values of a training sample, NaN where missing, and values of now. Leaves: [`QuantileBins`], which are kept
//! with the model, counts a bin, and [`PopulationStability`]: the index, what chance alone makes of it, a verdict.
//!
//! The index is Σ (a − e) ln(a / e) over bins, a and e the shares now and in training: Kullback and Leibler's (1951)
//! symmetric divergence, in credit scoring the population stability index (Siddiqi 2006, "Credit Risk Scorecards", whose
//! thresholds of 0.1 and 0.25 are in use everywhere). Half a unit is added to each bin, so that an empty one has a
//! logarithm. Where nothing has moved, index / (1/n + 1/m) has about a chi-square distribution with bins − 1 degrees of
//! freedom, n and m the units (Yurdakul 2018, "Statistical Properties of Population Stability Index", Western Michigan
//! University): a few hundred units reach 0.1 by chance, which is no drift.

use crate::distribution::chi_squared;
use crate::error::{StatsError, check_alpha};
use crate::numeric::{count, length};
use crate::root::find_root;
use serde::{Deserialize, Serialize};

/// From this index on a population has moved somewhat: look into it (Siddiqi 2006).
pub const MODERATE_INDEX: f64 = 0.1;
/// From this index on it has moved so far that a model should be fitted again (Siddiqi 2006).
pub const SHIFTED_INDEX: f64 = 0.25;
/// Bins of present values at most.
pub const MOST_BINS: usize = 10;
/// Units a bin, on average, below which a sample is too small: the rule of thumb of chi-square tests.
pub const LEAST_UNITS_A_BIN: f64 = 5.0;
/// Units added to each bin.
const CORRECTION: f64 = 0.5;

/// Bins of about equal counts in a training sample, and one more for missing values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuantileBins {
    cut_points: Vec<f64>,
}

impl QuantileBins {
    /// Bins at the tenths of the present values. A cut point is a value of the sample (the least with at least that
    /// share at or below it); equal ones are merged, so that values that repeat often make fewer bins, down to one.
    #[must_use]
    pub fn of_training(values: &[f64]) -> Self {
        let mut present: Vec<f64> = values.iter().filter(|value| !value.is_nan()).map(|value| value + 0.0).collect();
        present.sort_unstable_by(f64::total_cmp);
        let mut cut_points: Vec<f64> = Vec::with_capacity(MOST_BINS);
        if let Some(&most) = present.last() {
            for tenth in 1..MOST_BINS {
                let cut_point = present[(present.len() * tenth).div_ceil(MOST_BINS) - 1];
                let rises = cut_points.last().is_none_or(|last| *last < cut_point);
                // Above the largest value there would be an empty bin.
                if rises && cut_point < most && cut_point.is_finite() {
                    cut_points.push(cut_point);
                }
            }
        }
        Self { cut_points }
    }

    /// Upper ends of all present bins but the last, rising, in the values' units; an end belongs to the bin below it.
    #[must_use]
    pub fn cut_points(&self) -> &[f64] {
        &self.cut_points
    }

    /// Units in each bin by rising value, and the missing (NaN) in one more at the end.
    #[must_use]
    pub fn counts(&self, values: &[f64]) -> Vec<u64> {
        let cut_points = self.cut_points();
        let mut counts = vec![0; cut_points.len() + 2];
        for value in values {
            let bin = if value.is_nan() {
                cut_points.len() + 1
            } else {
                cut_points.partition_point(|cut_point| cut_point < value)
            };
            counts[bin] += 1;
        }
        counts
    }
}

/// What an index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StabilityVerdict {
    /// Below [`MODERATE_INDEX`].
    Stable,
    /// From [`MODERATE_INDEX`] on, and more than chance explains.
    Moderate,
    /// From [`SHIFTED_INDEX`] on, and more than chance explains.
    Shifted,
    /// A sample has fewer than [`LEAST_UNITS_A_BIN`] a bin, or the index is large and chance explains it.
    TooFewUnits,
}

/// One bin of both samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StabilityBin {
    /// Share of the training sample, 0 to 1, after the correction.
    pub expected_share: f64,
    /// Share of the sample of now, 0 to 1, after the correction.
    pub actual_share: f64,
    /// What the bin adds to the index; zero or more.
    pub contribution: f64,
}

/// How far a population has moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PopulationStability {
    /// The population stability index, zero or more; none where a sample has no units.
    pub index: Option<f64>,
    /// Its mean where nothing has moved, (bins − 1) · (1/n + 1/m).
    pub expected_by_chance: Option<f64>,
    /// The index that chance exceeds with probability alpha; none with a single bin.
    pub critical_value: Option<f64>,
    /// Chance of such an index or more where nothing has moved; none with a single bin.
    pub p_value: Option<f64>,
    /// What follows.
    pub verdict: StabilityVerdict,
    /// Units of the training sample.
    pub expected_units: u64,
    /// Units of now.
    pub actual_units: u64,
    /// In the order of the counts; none for a bin that is empty in both samples, which counts for nothing.
    pub bins: Vec<Option<StabilityBin>>,
    /// Why a number is missing, or what else a reader has to know.
    pub note: Option<String>,
}

/// The index of counts a bin, of a feature, a score or the values of a category.
///
/// ```
/// use sendlift_stats::population_stability::{QuantileBins, StabilityVerdict, population_stability_index};
///
/// let training: Vec<f64> = (0..5_000).map(f64::from).collect();
/// let bins = QuantileBins::of_training(&training);
/// let now: Vec<f64> = training.iter().map(|value| 0.5 * value).collect();
/// let stability = population_stability_index(&bins.counts(&training), &bins.counts(&now), 0.05)?;
/// assert_eq!(stability.verdict, StabilityVerdict::Shifted);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::UnevenLists`].
pub fn population_stability_index(
    expected_counts: &[u64],
    actual_counts: &[u64],
    alpha: f64,
) -> Result<PopulationStability, StatsError> {
    check_alpha(alpha)?;
    if expected_counts.len() != actual_counts.len() {
        return Err(StatsError::UnevenLists {
            left: "the expected counts",
            left_length: expected_counts.len(),
            right: "the actual counts",
            right_length: actual_counts.len(),
        });
    }
    let sum = |counts: &[u64]| counts.iter().fold(0_u64, |sum, own| sum.saturating_add(*own));
    let (expected_units, actual_units) = (sum(expected_counts), sum(actual_counts));
    let pairs = || expected_counts.iter().zip(actual_counts).map(|(&expected, &actual)| (expected, actual));
    let used = length(pairs().filter(|&(expected, actual)| expected > 0 || actual > 0).count());
    let mut result = PopulationStability {
        index: None,
        expected_by_chance: None,
        critical_value: None,
        p_value: None,
        verdict: StabilityVerdict::TooFewUnits,
        expected_units,
        actual_units,
        bins: vec![None; expected_counts.len()],
        note: None,
    };
    if expected_units == 0 || actual_units == 0 {
        result.note = Some("a sample has no units".to_owned());
        return Ok(result);
    }
    let share = |own: u64, units: u64| (count(own) + CORRECTION) / (count(units) + CORRECTION * used);
    for (bin, (expected, actual)) in result.bins.iter_mut().zip(pairs()) {
        if expected > 0 || actual > 0 {
            let (expected_share, actual_share) = (share(expected, expected_units), share(actual, actual_units));
            let contribution = (actual_share - expected_share) * (actual_share / expected_share).ln();
            *bin = Some(StabilityBin { expected_share, actual_share, contribution });
        }
    }
    let index: f64 = result.bins.iter().flatten().map(|bin| bin.contribution).sum();
    let (degrees_of_freedom, unit) = (used - 1.0, 1.0 / count(expected_units) + 1.0 / count(actual_units));
    result.index = Some(index);
    result.expected_by_chance = Some(degrees_of_freedom * unit);
    if degrees_of_freedom > 0.0 {
        result.p_value = Some(chi_squared::upper_tail(index / unit, degrees_of_freedom));
        result.critical_value = Some(unit * critical_value(alpha, degrees_of_freedom));
    } else {
        result.note = Some("all units are in one bin: nothing can move".to_owned());
    }
    let fewest = count(expected_units.min(actual_units));
    let is_beyond_chance = result.p_value.is_some_and(|p_value| p_value < alpha);
    if fewest < LEAST_UNITS_A_BIN * used {
        result.note = Some(format!("{fewest} units for {used} bins: wait for {}", LEAST_UNITS_A_BIN * used));
    } else if index < MODERATE_INDEX {
        result.verdict = StabilityVerdict::Stable;
    } else if !is_beyond_chance {
        result.note = Some("the index is large, and chance explains it: wait for more units".to_owned());
    } else if index < SHIFTED_INDEX {
        result.verdict = StabilityVerdict::Moderate;
    } else {
        result.verdict = StabilityVerdict::Shifted;
    }
    Ok(result)
}

/// The statistic that a chi-square distribution exceeds with probability `alpha`.
fn critical_value(alpha: f64, degrees_of_freedom: f64) -> f64 {
    // Laurent and Massart (2000), Annals of Statistics 28(5): never exceeded with more than probability alpha.
    let exponent = -alpha.ln();
    let bound = degrees_of_freedom + 2.0 * (degrees_of_freedom * exponent).sqrt() + 2.0 * exponent;
    find_root(|statistic| chi_squared::upper_tail(statistic, degrees_of_freedom) - alpha, 0.0, bound)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn bins_have_equal_counts_and_repeated_values_fewer() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let bins = QuantileBins::of_training(&values);
        assert_eq!(bins.cut_points(), [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0]);
        assert_eq!(bins.counts(&values), [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 0]);
        let yes_or_no = QuantileBins::of_training(&[0.0, 0.0, 0.0, 1.0, f64::NAN]);
        assert_eq!(yes_or_no.cut_points(), [0.0]);
        assert_eq!(yes_or_no.counts(&[-3.0, 0.0, 0.5, 7.0, f64::NAN, f64::INFINITY]), [2, 3, 1]);
        assert_eq!(QuantileBins::of_training(&[4.0; 9]).counts(&[4.0, 5.0]), [2, 0]);
        assert_eq!(QuantileBins::of_training(&[f64::NAN]).cut_points(), [0.0; 0]);
        assert_eq!(QuantileBins::of_training(&[f64::NEG_INFINITY, f64::INFINITY]).cut_points(), [0.0; 0]);
    }

    #[test]
    fn verdicts_heed_chance() {
        let verdict = |expected: &[u64], actual: &[u64]| population_stability_index(expected, actual, 0.05).unwrap();
        let same = verdict(&[100, 200], &[50, 100]);
        assert!(same.index.unwrap() < 1e-4 && same.p_value.unwrap() > 0.9);
        assert_eq!(same.verdict, StabilityVerdict::Stable);
        assert_eq!(verdict(&[500, 500], &[330, 670]).verdict, StabilityVerdict::Moderate);
        assert_eq!(verdict(&[500, 500], &[200, 800]).verdict, StabilityVerdict::Shifted);
        // The same shares of fewer units.
        let few = verdict(&[5, 5], &[3, 7]);
        assert_eq!(few.verdict, StabilityVerdict::TooFewUnits);
        assert!(few.index.unwrap() > MODERATE_INDEX && few.p_value.unwrap() > 0.05);
        assert!(few.note.unwrap().contains("chance explains it"));
        let fewer = verdict(&[1_000, 1_000], &[1, 8]);
        assert_eq!(fewer.note.as_deref(), Some("9 units for 2 bins: wait for 10"));
    }

    #[test]
    fn empty_bins_and_samples() {
        let empty = population_stability_index(&[10, 0, 20], &[12, 0, 18], 0.05).unwrap();
        assert_eq!(empty.bins[1], None);
        assert_close(empty.expected_by_chance.unwrap(), 2.0 / 30.0, 1e-14);
        let one = population_stability_index(&[30], &[30], 0.05).unwrap();
        assert_eq!((one.index, one.p_value, one.verdict), (Some(0.0), None, StabilityVerdict::Stable));
        let none = population_stability_index(&[0, 0], &[3, 4], 0.05).unwrap();
        assert_eq!((none.index, none.verdict), (None, StabilityVerdict::TooFewUnits));
        assert!(population_stability_index(&[], &[], 0.05).unwrap().index.is_none());
        assert!(population_stability_index(&[1], &[1, 2], 0.05).is_err());
        assert!(population_stability_index(&[1], &[1], 1.0).is_err());
    }
}
