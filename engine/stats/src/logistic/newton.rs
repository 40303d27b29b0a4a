//! Newton's method for a penalised logistic regression (iteratively reweighted least squares).
//!
//! Enters: a design, outcomes from 0 to 1, weights, λ, where to start. Leaves: the coefficients, or the reason that
//! there are none. A step that would raise the penalised loss is halved until it does not. It ends when the Newton
//! decrement (twice what the next step is expected to gain, in nats) is below 10⁻¹⁰: coefficients are then within a
//! hundred-thousandth of their standard errors before the last step, and far nearer after it. Boyd and Vandenberghe
//! (2004), "Convex Optimization", section 9.5.

use crate::error::StatsError;
use crate::linear_predictor::{Design, Products, solve};

/// Steps before giving up; a handful is usual.
const MOST_STEPS: u32 = 100;
/// Halvings of one step before giving up.
const MOST_HALVINGS: u32 = 40;
/// Newton decrement at which the next step is the last.
const DECREMENT: f64 = 1e-10;
/// Rise of the penalised loss that is put down to rounding, as a share.
const ROUNDING: f64 = 1e-11;
/// A pivot below this share of the units, without a penalty: a feature repeats others, or separates the outcome.
const LEAST_PIVOT: f64 = 1e-9;
/// The same with a penalty, which only rounding can defeat.
const LEAST_PENALISED_PIVOT: f64 = 1e-14;

/// What is to be minimised.
pub(super) struct Problem<'a> {
    pub(super) design: &'a Design<'a>,
    /// From 0 to 1, one a row.
    pub(super) outcome: &'a [f64],
    pub(super) weights: Option<&'a [f64]>,
    pub(super) total_weight: f64,
    pub(super) penalty: f64,
}

/// The coefficients of the least penalised loss.
pub(super) struct Minimum {
    pub(super) coefficients: Vec<f64>,
    /// Mean log loss, in nats, without the penalty.
    pub(super) log_loss: f64,
    pub(super) steps: u32,
}

struct Point {
    coefficients: Vec<f64>,
    loss: f64,
    penalised_loss: f64,
    products: Products,
}

impl Problem<'_> {
    /// Coefficients of the model without features: the log-odds of the mean outcome.
    pub(super) fn base_rate(&self) -> Vec<f64> {
        let weight = |row: usize| self.weights.map_or(1.0, |weights| weights[row]);
        let mean = self.outcome.iter().enumerate().map(|(row, value)| weight(row) * value).sum::<f64>();
        let mut coefficients = vec![0.0; self.design.size()];
        coefficients[0] = log_odds(mean / self.total_weight);
        coefficients
    }

    /// # Errors
    /// [`StatsError::NotFitted`].
    pub(super) fn minimise(&self, start: Vec<f64>) -> Result<Minimum, StatsError> {
        let mut point = self.evaluate(start);
        let share = if self.penalty > 0.0 { LEAST_PENALISED_PIVOT } else { LEAST_PIVOT };
        for steps in 1..=MOST_STEPS {
            let Products { stride, matrix, vector } = &point.products;
            let step = solve(matrix, *stride, vector, share * self.total_weight).ok_or_else(|| not_fitted(
                "a feature repeats others or tells the outcome without fail: give a larger penalty, or leave features out",
            ))?;
            let decrement: f64 = step.iter().zip(vector).map(|(step, slope)| step * slope).sum();
            let moved = |fraction: f64| -> Vec<f64> {
                point.coefficients.iter().zip(&step).map(|(own, step)| own + fraction * step).collect()
            };
            if decrement <= DECREMENT * self.total_weight.min(1.0) {
                return Ok(Minimum { coefficients: moved(1.0), log_loss: point.loss / self.total_weight, steps });
            }
            let highest = point.penalised_loss * (1.0 + ROUNDING);
            let next = (0..MOST_HALVINGS)
                .map(|halvings| self.evaluate(moved(0.5_f64.powi(halvings.cast_signed()))))
                .find(|next| next.penalised_loss <= highest);
            point = next.ok_or_else(|| not_fitted("no step lowers the loss: look for features of extreme values"))?;
        }
        Err(not_fitted("the coefficients keep growing: give a larger penalty"))
    }

    fn evaluate(&self, coefficients: Vec<f64>) -> Point {
        let mut loss = 0.0;
        let mut products = self.design.products(&coefficients, |row, linear| {
            let weight = self.weights.map_or(1.0, |weights| weights[row]);
            let unit = UnitLoss::of(linear, self.outcome[row]);
            loss += weight * unit.loss;
            (weight * unit.curvature, weight * unit.residual)
        });
        let mut penalised_loss = loss;
        for (place, coefficient) in coefficients.iter().enumerate().skip(1) {
            products.vector[place] -= self.penalty * coefficient;
            products.matrix[place * products.stride + place] += self.penalty;
            penalised_loss += 0.5 * self.penalty * coefficient * coefficient;
        }
        Point { coefficients, loss, penalised_loss, products }
    }
}

/// The log loss of a unit, and its derivatives by the linear predictor.
pub(super) struct UnitLoss {
    /// In nats.
    pub(super) loss: f64,
    /// Outcome less probability: minus the first derivative.
    pub(super) residual: f64,
    /// The second derivative.
    pub(super) curvature: f64,
}

impl UnitLoss {
    /// At the log-odds `linear`; no digit is lost however far from zero they are.
    #[inline]
    pub(super) fn of(linear: f64, outcome: f64) -> Self {
        let tail = (-linear.abs()).exp();
        let far = 1.0 / (1.0 + tail);
        let near = tail * far;
        let (success, failure) = if linear >= 0.0 { (far, near) } else { (near, far) };
        Self {
            loss: tail.ln_1p() + outcome * (-linear).max(0.0) + (1.0 - outcome) * linear.max(0.0),
            residual: outcome * failure - (1.0 - outcome) * success,
            curvature: far * near,
        }
    }
}

/// The probability whose log-odds are `linear`.
#[inline]
pub(crate) fn probability(linear: f64) -> f64 {
    if linear >= 0.0 {
        1.0 / (1.0 + (-linear).exp())
    } else {
        let tail = linear.exp();
        tail / (1.0 + tail)
    }
}

/// ln(p / (1 − p)).
#[inline]
pub(crate) fn log_odds(probability: f64) -> f64 {
    probability.ln() - (-probability).ln_1p()
}

fn not_fitted(reason: &str) -> StatsError {
    StatsError::NotFitted { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn losses_keep_their_digits_far_out() {
        for linear in [-40.0_f64, -2.0, 0.0, 3.0, 40.0] {
            let unit = UnitLoss::of(linear, 1.0);
            assert_close(unit.loss, (-linear).exp().ln_1p(), 1e-14);
            assert_close(unit.residual, probability(-linear), 1e-14);
        }
        assert_close(UnitLoss::of(-800.0, 1.0).loss, 800.0, 0.0);
        assert_close(UnitLoss::of(-50.0, 0.0).residual, -(-50.0_f64).exp(), 1e-14);
        assert_close(log_odds(probability(-7.3)), -7.3, 1e-14);
        assert_close(probability(-800.0), 0.0, 0.0);
    }
}
