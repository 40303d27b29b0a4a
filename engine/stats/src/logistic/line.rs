//! A logistic regression on one score, without a penalty: intercept, slope and their covariance.
//!
//! Enters: scores, outcomes from 0 to 1 and weights. Leaves: the line of log-odds, or none where no line is best. It
//! serves recalibration (Cox 1958, Biometrika 45(3/4)) and Platt's scaling.

use super::newton::UnitLoss;

const MOST_STEPS: u32 = 100;
const MOST_HALVINGS: u32 = 40;
/// Far below what matters: variances are taken before the last step.
const DECREMENT: f64 = 1e-20;
const ROUNDING: f64 = 1e-11;
/// Curvature, as a share of the units', below which outcomes are separated by the score.
const LEAST_CURVATURE: f64 = 1e-9;

/// Log-odds = intercept + slope · score.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) intercept: f64,
    pub(crate) slope: f64,
    /// Squared standard errors, from the expected information.
    pub(crate) intercept_variance: f64,
    pub(crate) slope_variance: f64,
}

/// What the slope is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slope {
    /// Fitted.
    Free,
    /// One: the score is an offset.
    One,
}

struct Sums {
    loss: f64,
    slopes: [f64; 2],
    /// Of (intercept, intercept), (intercept, slope), (slope, slope).
    curvature: [f64; 3],
}

/// The most likely line. None where the score does not vary, separates the outcomes, or outcomes are all alike.
pub(crate) fn fit_line(
    scores: &[f64],
    outcomes: impl Fn(usize) -> f64,
    weights: Option<&[f64]>,
    slope: Slope,
) -> Option<Line> {
    let weight = |unit: usize| weights.map_or(1.0, |weights| weights[unit]);
    let total: f64 = (0..scores.len()).map(weight).sum();
    // Around their mean, in standard deviations: the two coefficients hardly depend on one another.
    let (centre, scale) = if slope == Slope::Free {
        let centre = scores.iter().enumerate().map(|(unit, score)| weight(unit) * score).sum::<f64>() / total;
        let squares = scores.iter().enumerate().map(|(unit, score)| weight(unit) * (score - centre).powi(2));
        (centre, (squares.sum::<f64>() / total).sqrt())
    } else {
        (0.0, 1.0)
    };
    let first = *scores.first()?;
    if slope == Slope::Free && (scores.iter().all(|score| score.to_bits() == first.to_bits()) || scale <= 0.0) {
        return None;
    }
    let free = f64::from(u8::from(slope == Slope::Free));
    let evaluate = |[intercept, steepness]: [f64; 2]| {
        let mut sums = Sums { loss: 0.0, slopes: [0.0; 2], curvature: [0.0; 3] };
        for (place, score) in scores.iter().enumerate() {
            let standard = (score - centre) / scale;
            let unit = UnitLoss::of(intercept + steepness * standard, outcomes(place));
            let (residual, curvature) = (weight(place) * unit.residual, weight(place) * unit.curvature);
            sums.loss += weight(place) * unit.loss;
            sums.slopes[0] += residual;
            sums.slopes[1] += free * residual * standard;
            sums.curvature[0] += curvature;
            sums.curvature[1] += free * curvature * standard;
            sums.curvature[2] += free * curvature * standard * standard;
        }
        // A fixed slope is a coefficient that no step moves.
        sums.curvature[2] += 1.0 - free;
        sums
    };
    let mut at = [0.0, 1.0 - free];
    let mut sums = evaluate(at);
    for _ in 0..MOST_STEPS {
        let [own, shared, other] = sums.curvature;
        let determinant = own * other - shared * shared;
        let least = LEAST_CURVATURE * total;
        if !(own > least && determinant > own * least * free) {
            return None;
        }
        let step = [
            (other * sums.slopes[0] - shared * sums.slopes[1]) / determinant,
            (own * sums.slopes[1] - shared * sums.slopes[0]) / determinant,
        ];
        let decrement = step[0] * sums.slopes[0] + step[1] * sums.slopes[1];
        if decrement <= DECREMENT * total.min(1.0) {
            let [height, steepness] = [at[0] + step[0], at[1] + step[1]];
            let (height_variance, covariance, variance) =
                (other / determinant, -shared / determinant, own / determinant);
            let shift = centre / scale;
            return Some(Line {
                intercept: height - steepness * shift,
                slope: steepness / scale,
                intercept_variance: height_variance - 2.0 * shift * covariance * free + shift * shift * variance * free,
                slope_variance: free * variance / (scale * scale),
            });
        }
        let highest = sums.loss * (1.0 + ROUNDING);
        let mut fraction = 1.0;
        let mut halvings = 0;
        loop {
            let next = [at[0] + fraction * step[0], at[1] + fraction * step[1]];
            let there = evaluate(next);
            if there.loss <= highest {
                (at, sums) = (next, there);
                break;
            }
            fraction *= 0.5;
            halvings += 1;
            if halvings > MOST_HALVINGS {
                return None;
            }
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::newton::log_odds;
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn two_groups_have_their_own_log_odds() {
        // One of four at score 1, three of five at score 3: a saturated model.
        let scores = [1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0];
        let outcome = |unit: usize| f64::from(u8::from(unit == 0 || unit > 5));
        let line = fit_line(&scores, outcome, None, Slope::Free).unwrap();
        let (low, high) = (log_odds(0.25), log_odds(0.6));
        assert_close(line.slope, (high - low) / 2.0, 1e-9);
        assert_close(line.intercept, low - line.slope, 1e-9);
        let (low_variance, high_variance) = (1.0 / 0.75, 1.0 / 1.2);
        assert_close(line.slope_variance, (low_variance + high_variance) / 4.0, 1e-9);
        assert_close(line.intercept_variance, 2.25 * low_variance + 0.25 * high_variance, 1e-9);
    }

    #[test]
    fn an_offset_leaves_the_intercept_alone() {
        let line = fit_line(&[0.7; 4], |unit| f64::from(u8::from(unit == 0)), None, Slope::One).unwrap();
        assert_close(line.intercept, log_odds(0.25) - 0.7, 1e-9);
        assert_close(line.slope, 1.0, 0.0);
        assert_close(line.intercept_variance, 1.0 / 0.75, 1e-9);
    }

    #[test]
    fn no_line_where_none_is_best() {
        let outcome = |unit: usize| f64::from(u8::from(unit > 1));
        assert!(fit_line(&[1.0, 2.0, 3.0, 4.0], outcome, None, Slope::Free).is_none());
        assert!(fit_line(&[2.0; 4], outcome, None, Slope::Free).is_none());
        assert!(fit_line(&[1.0, 2.0], |_| 1.0, None, Slope::Free).is_none());
        assert!(fit_line(&[1.0, 2.0], |_| 1.0, None, Slope::One).is_none());
        assert!(fit_line(&[], |_| 1.0, None, Slope::One).is_none());
    }
}
