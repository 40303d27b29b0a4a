//! Whether predictions mean what they say: of units given 20 %, do 20 % have the outcome?
//!
//! Enters: units in order of their predictions. Leaves: a table of bins of equal counts, the mean distance of predicted
//! and observed shares, and how a logistic recalibration would move and stretch the predictions.
//!
//! Expected calibration error: Naeini, Cooper and Hauskrecht (2015), AAAI. It is above zero for a perfect model too, by
//! chance, the more the fewer units a bin has; what to expect of a perfect model stands beside it. Recalibration: Cox
//! (1958), Biometrika 45(3/4); reading intercept and slope: Van Calster et al. (2019), BMC Medicine 17:230.

use super::{NO_UNITS, group, share, ties};
use crate::distribution::normal;
use crate::error::StatsError;
use crate::interval::{Estimate, Interval};
use crate::logistic::{Slope, fit_line, log_odds};
use crate::numeric::{count, length};
use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_2_PI;

const NO_LINE: &str =
    "no recalibration is best: predictions or outcomes are all the same, or predictions tell outcomes without fail";

/// Units of similar predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Units in it.
    pub units: u64,
    /// Those of them with the outcome.
    pub outcomes: u64,
    /// Mean of their predictions, 0 to 1.
    pub mean_predicted: f64,
    /// Share with the outcome, 0 to 1, with Wilson's interval.
    pub observed: Estimate,
}

/// Whether predictions mean what they say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// By rising prediction. Units of equal predictions share a bin, so that there may be fewer than asked for.
    pub bins: Vec<ReliabilityBin>,
    /// Mean over units of |mean predicted − observed| of their bin, 0 to 1; none without units.
    pub expected_calibration_error: Option<f64>,
    /// About what it would be by chance were every prediction right; none without units.
    pub calibration_error_by_chance: Option<f64>,
    /// What is to be added to every log-odds: zero is right, below zero the predictions are too high.
    pub calibration_in_the_large: Estimate,
    /// The intercept of outcomes' log-odds on predicted log-odds, beside the slope; zero is right.
    pub calibration_intercept: Estimate,
    /// The slope: one is right, below one the predictions are too extreme (the model is overfitted), above too timid.
    pub calibration_slope: Estimate,
}

/// `order` is of falling predictions.
pub(super) fn reliability(
    predictions: &[f64],
    outcomes: &[bool],
    order: &[usize],
    bins: usize,
    alpha: f64,
) -> Result<Reliability, StatsError> {
    let mut table = Vec::with_capacity(bins);
    let (mut error, mut by_chance) = (0.0, 0.0);
    for units in equal_counts(predictions, order, bins) {
        let own = group(outcomes, &units);
        let mean_predicted = units.iter().map(|&unit| predictions[unit]).sum::<f64>() / count(own.n);
        let observed = share(own, alpha)?;
        error += count(own.n) * (mean_predicted - observed.estimate.unwrap_or(mean_predicted)).abs();
        let variance: f64 = units.iter().map(|&unit| predictions[unit] * (1.0 - predictions[unit])).sum();
        // The mean distance from zero of a normal of this variance.
        by_chance += (FRAC_2_PI * variance).sqrt();
        table.push(ReliabilityBin { units: own.n, outcomes: own.successes, mean_predicted, observed });
    }
    let of_units = |sum: f64| (!order.is_empty()).then(|| sum / length(order.len()));
    let scores: Vec<f64> =
        predictions.iter().map(|&prediction| log_odds(prediction.clamp(f64::EPSILON, 1.0 - f64::EPSILON))).collect();
    let outcome = |unit: usize| f64::from(u8::from(outcomes[unit]));
    let line = fit_line(&scores, outcome, None, Slope::Free);
    let offset = fit_line(&scores, outcome, None, Slope::One);
    let note = if order.is_empty() { NO_UNITS } else { NO_LINE };
    let estimate = |value: Option<(f64, f64)>| match value {
        Some((value, variance)) => {
            let half_width = normal::critical_value(alpha) * variance.sqrt();
            Estimate::new(value, Interval::from_ends(value - half_width, value + half_width))
        }
        None => Estimate::undefined(note),
    };
    Ok(Reliability {
        bins: table,
        expected_calibration_error: of_units(error),
        calibration_error_by_chance: of_units(by_chance),
        calibration_in_the_large: estimate(offset.map(|line| (line.intercept, line.intercept_variance))),
        calibration_intercept: estimate(line.map(|line| (line.intercept, line.intercept_variance))),
        calibration_slope: estimate(line.map(|line| (line.slope, line.slope_variance))),
    })
}

/// Units in bins by rising prediction. A run of equal predictions goes where its middle belongs, so that a bin may stay
/// empty, and is left out.
fn equal_counts(predictions: &[f64], order: &[usize], bins: usize) -> Vec<Vec<usize>> {
    let mut filled: Vec<(usize, Vec<usize>)> = Vec::new();
    let (all, mut above) = (order.len(), 0);
    for tied in ties(predictions, order) {
        // Twice the middle of the run, counted from the lowest prediction; in whole numbers, nothing is rounded.
        let twice_middle = 2 * (all - above) - tied.len();
        let bin = bins.saturating_mul(twice_middle) / (2 * all);
        match filled.last_mut() {
            Some((last, units)) if *last == bin => units.extend(tied),
            _ => filled.push((bin, tied.to_vec())),
        }
        above += tied.len();
    }
    filled.into_iter().rev().map(|(_, units)| units).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::descending;
    use super::*;
    use crate::numeric::assert_close;

    fn counts(predictions: &[f64], bins: usize) -> Vec<usize> {
        equal_counts(predictions, &descending(predictions), bins).iter().map(Vec::len).collect()
    }

    #[test]
    fn bins_have_equal_counts_and_keep_ties_together() {
        let distinct: Vec<f64> = (0..25).map(|unit| f64::from(unit) / 25.0).collect();
        assert_eq!(counts(&distinct, 5), [5; 5]);
        assert_eq!(counts(&distinct, 100), [1; 25]);
        assert_eq!(counts(&[0.1, 0.1, 0.1, 0.1, 0.1, 0.7, 0.8, 0.9], 4), [5, 1, 2]);
        assert_eq!(counts(&[0.3; 7], 10), [7]);
        assert_eq!(counts(&[], 10), [0; 0]);
    }

    #[test]
    fn errors_are_means_over_units() {
        let predictions = [0.2, 0.2, 0.2, 0.2, 0.2, 0.6, 0.6, 0.6, 0.6, 0.6];
        let outcomes = [true, true, false, false, false, true, true, true, false, false];
        let found = reliability(&predictions, &outcomes, &descending(&predictions), 2, 0.05).unwrap();
        assert_close(found.expected_calibration_error.unwrap(), 0.1, 1e-14);
        let by_chance = FRAC_2_PI.sqrt() * (0.8_f64.sqrt() + 1.2_f64.sqrt()) / 10.0;
        assert_close(found.calibration_error_by_chance.unwrap(), by_chance, 1e-14);
        assert_close(found.bins[0].mean_predicted, 0.2, 1e-15);
        assert_close(found.bins[1].observed.estimate.unwrap(), 0.6, 1e-15);
        // Two groups: the line goes through both.
        let slope = (log_odds(0.6) - log_odds(0.4)) / (log_odds(0.6) - log_odds(0.2));
        assert_close(found.calibration_slope.estimate.unwrap(), slope, 1e-9);
        assert!(found.calibration_in_the_large.estimate.unwrap() > 0.0);
    }
}
