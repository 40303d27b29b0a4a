//! Log loss and Brier score: what the predictions of units cost on average, and against predicting the base rate.
//!
//! Enters: predictions and outcomes. Leaves: the mean loss with a normal interval, mean ± z · sd / √n, and the skill,
//! 1 − mean loss / mean loss of the base rate.
//!
//! The skill's interval is that of a ratio of means by the delta method. That the base rate is one of the same units
//! does not matter to it: the base rate has the least mean loss of all constants, so that its own error changes that
//! loss by an order less.

use super::{NO_UNITS, ONE_CLASS};
use crate::distribution::normal;
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use crate::proportion::Proportion;
use serde::{Deserialize, Serialize};

const ONE_UNIT: &str = "a single unit: the variance is unknown";

/// The mean of a loss over units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeanLoss {
    /// Mean loss a unit.
    pub mean: Estimate,
    /// 1 − mean / mean of the base rate as everybody's prediction: 0 is no better than that, 1 is perfect, and there is
    /// no lower limit.
    pub skill: Estimate,
}

/// Which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Log,
    Brier,
}

impl Loss {
    /// The loss of one unit. A certain prediction that is wrong has a log loss of −ln 2⁻⁵², about 36, as in
    /// scikit-learn, and not an infinite one.
    pub(super) fn of(self, prediction: f64, outcome: bool) -> f64 {
        match self {
            Self::Log if outcome => -prediction.max(f64::EPSILON).ln(),
            Self::Log => -(-prediction.min(1.0 - f64::EPSILON)).ln_1p(),
            Self::Brier => (prediction - f64::from(u8::from(outcome))).powi(2),
        }
    }
}

/// Predictions of exactly 0 or 1 that were wrong.
pub(super) fn certain_and_wrong(predictions: &[f64], outcomes: &[bool]) -> usize {
    let is_wrong = |&(&prediction, &outcome): &(&f64, &bool)| {
        if outcome { prediction <= 0.0 } else { prediction >= 1.0 }
    };
    predictions.iter().zip(outcomes).filter(is_wrong).count()
}

pub(super) fn mean_loss(loss: Loss, predictions: &[f64], outcomes: &[bool], all: Proportion, alpha: f64) -> MeanLoss {
    let Some(base_rate) = all.rate() else {
        return MeanLoss { mean: Estimate::undefined(NO_UNITS), skill: Estimate::undefined(NO_UNITS) };
    };
    let own: Vec<f64> = predictions.iter().zip(outcomes).map(|(&own, &outcome)| loss.of(own, outcome)).collect();
    let mean = mean_estimate(&own, alpha);
    if all.successes == 0 || all.successes == all.n {
        return MeanLoss { mean, skill: Estimate::undefined(ONE_CLASS) };
    }
    let base: Vec<f64> = outcomes.iter().map(|&outcome| loss.of(base_rate, outcome)).collect();
    let base_mean = base.iter().sum::<f64>() / length(base.len());
    let ratio = own.iter().sum::<f64>() / length(own.len()) / base_mean;
    let left_over: Vec<f64> = own.iter().zip(&base).map(|(own, base)| own - ratio * base).collect();
    let half_width = standard_error(&left_over).map(|error| normal::critical_value(alpha) * error / base_mean);
    MeanLoss { mean, skill: around(1.0 - ratio, half_width) }
}

/// The mean of values with a normal interval.
pub(super) fn mean_estimate(values: &[f64], alpha: f64) -> Estimate {
    let mean = values.iter().sum::<f64>() / length(values.len());
    around(mean, standard_error(values).map(|error| normal::critical_value(alpha) * error))
}

/// Standard error of the mean; none of fewer than two values.
pub(super) fn standard_error(values: &[f64]) -> Option<f64> {
    let units = length(values.len());
    let mean = values.iter().sum::<f64>() / units;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (values.len() > 1).then(|| (squares / (units - 1.0) / units).sqrt())
}

fn around(centre: f64, half_width: Option<f64>) -> Estimate {
    let interval = match half_width {
        Some(half_width) => Interval::from_ends(centre - half_width, centre + half_width),
        None => Interval::undefined(ONE_UNIT),
    };
    Estimate::new(centre, interval)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn the_base_rate_has_no_skill() {
        let outcomes = [true, false, false, false];
        let all = Proportion { n: 4, successes: 1 };
        for loss in [Loss::Log, Loss::Brier] {
            let base = mean_loss(loss, &[0.25; 4], &outcomes, all, 0.05).skill;
            for end in [base.estimate, base.low, base.high] {
                assert_close(end.unwrap(), 0.0, 1e-15);
            }
            let perfect = mean_loss(loss, &[1.0, 0.0, 0.0, 0.0], &outcomes, all, 0.05);
            assert_close(perfect.skill.estimate.unwrap(), 1.0, 1e-12);
            assert_close(perfect.mean.estimate.unwrap(), 0.0, 1e-12);
        }
    }

    #[test]
    fn losses_of_a_unit() {
        assert_close(Loss::Log.of(0.2, true), 5.0_f64.ln(), 1e-15);
        assert_close(Loss::Log.of(0.2, false), 1.25_f64.ln(), 1e-15);
        assert_close(Loss::Log.of(1.0, false), 52.0 * 2.0_f64.ln(), 1e-15);
        assert_close(Loss::Log.of(0.0, true), 52.0 * 2.0_f64.ln(), 1e-15);
        assert_close(Loss::Brier.of(0.2, true), 0.64, 1e-15);
    }
}
