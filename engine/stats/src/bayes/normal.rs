//! Normal posteriors of means, differences and lifts.
//!
//! Enters: moments of an arm, or an effect with its standard error, and a prior. Leaves: the posterior's mean, spread
//! and credible interval; for an effect the chance that it is above zero and the expected loss of either decision; for
//! several arms the outlook of each.
//!
//! Precisions (1 / variance) add up, and means are weighted by them. With μ and σ the posterior of an effect, the loss
//! of choosing the treatment is E[(−θ)⁺] = σ φ(μ/σ) − μ Φ(−μ/σ), and of keeping the control E[θ⁺], with the signs
//! turned.

use super::race::{ArmOutlook, Posterior, race};
use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_positive};
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;
use crate::quadrature::Panel;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// What is believed of a mean or an effect beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormalPrior {
    /// Nothing: every value is equally likely, and the posterior is that of the data.
    #[default]
    Flat,
    /// A normal distribution, in the units of what is estimated. For a lift, mean 0 and standard deviation 0.05 say
    /// that most changes move a metric by less than a twentieth.
    Normal {
        /// The centre.
        mean: f64,
        /// The spread; above zero.
        standard_deviation: f64,
    },
}

/// A normal posterior.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NormalPosterior {
    /// Its centre, in the units of what is estimated.
    pub mean: f64,
    /// Its spread; above zero.
    pub standard_deviation: f64,
}

/// What the posterior of an effect says of choosing the treatment or keeping the control.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EffectDecision {
    /// Probability, 0 to 1, that the effect is above zero.
    pub chance_to_win: f64,
    /// What choosing the treatment is expected to cost, in the units of the effect; zero or more.
    pub loss_of_treatment: f64,
    /// What keeping the control is expected to cost, in the units of the effect; zero or more.
    pub loss_of_control: f64,
}

impl NormalPosterior {
    /// The posterior of an effect that was estimated with a standard error, such as a difference or a lift.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] or [`StatsError::NotPositive`] for a standard error or a prior's spread that is not
    /// above zero, or an estimate or a prior's mean that is not finite.
    pub fn of_effect(estimate: f64, standard_error: f64, prior: NormalPrior) -> Result<Self, StatsError> {
        check_finite("the estimate", estimate)?;
        check_positive("the standard error", standard_error)?;
        match prior {
            NormalPrior::Flat => Ok(Self { mean: estimate, standard_deviation: standard_error }),
            NormalPrior::Normal { mean, standard_deviation } => {
                check_finite("the mean of the prior", mean)?;
                check_positive("the standard deviation of the prior", standard_deviation)?;
                // As shares of the greater of the two, so that no square can overflow or vanish.
                let largest = standard_error.max(standard_deviation);
                let of_data = standard_error / largest;
                let of_prior = standard_deviation / largest;
                let together = of_data.hypot(of_prior);
                let weight_of_data = (of_prior / together) * (of_prior / together);
                Ok(Self {
                    mean: mean + weight_of_data * (estimate - mean),
                    standard_deviation: of_data * standard_deviation / together,
                })
            }
        }
    }

    /// The posterior of the mean of an arm; none where its variance is not known (fewer than two units, or no value
    /// varies): no number says then how sure to be.
    ///
    /// The variance is taken as known, which is right from some thirty units on.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can have; as [`Self::of_effect`]
    /// for the prior.
    pub fn of_mean(arm: &Moments, prior: NormalPrior) -> Result<Option<Self>, StatsError> {
        arm.check()?;
        match arm.squared_standard_error() {
            Some(square) if square > 0.0 => Self::of_effect(arm.mean, square.sqrt(), prior).map(Some),
            _ => Ok(None),
        }
    }

    /// The posterior of the lift, (treatment − control) / |control|, under a prior on the lift itself; none where the
    /// control mean is zero or a variance is not known.
    ///
    /// The standard error is linearised: V / C² + W T² / C⁴ with T and C the means, V and W their squared standard
    /// errors. Where the control mean lies within some three standard errors of zero, a lift is hardly defined and this
    /// says too much: look at Fieller's interval beside it.
    ///
    /// # Errors
    ///
    /// As [`Self::of_mean`].
    pub fn of_lift(control: &Moments, treatment: &Moments, prior: NormalPrior) -> Result<Option<Self>, StatsError> {
        control.check()?;
        treatment.check()?;
        let (Some(control_square), Some(treatment_square)) =
            (control.squared_standard_error(), treatment.squared_standard_error())
        else {
            return Ok(None);
        };
        let baseline = control.mean.abs();
        let treatment_part = treatment_square.sqrt() / baseline;
        let control_part = control_square.sqrt() / baseline * (treatment.mean / baseline);
        let standard_error = treatment_part.hypot(control_part);
        let lift = (treatment.mean - control.mean) / baseline;
        if lift.is_finite() && standard_error.is_finite() && standard_error > 0.0 {
            Self::of_effect(lift, standard_error, prior).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The posterior mean with the credible interval that holds the value with probability 1 − `alpha`.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`].
    pub fn summary(&self, alpha: f64) -> Result<Estimate, StatsError> {
        check_alpha(alpha)?;
        let half_width = normal::critical_value(alpha) * self.standard_deviation;
        Ok(Estimate::new(self.mean, Interval::from_ends(self.mean - half_width, self.mean + half_width)))
    }

    /// Probability, 0 to 1, that the value is above `threshold`.
    #[must_use]
    pub fn chance_above(&self, threshold: f64) -> f64 {
        normal::lower_tail((self.mean - threshold) / self.standard_deviation)
    }

    /// For the posterior of an effect: the chance that it is above zero, and the expected loss of either decision.
    #[must_use]
    pub fn decision(&self) -> EffectDecision {
        EffectDecision {
            chance_to_win: self.chance_above(0.0),
            loss_of_treatment: self.standard_deviation * unit_loss(self.mean / self.standard_deviation),
            loss_of_control: self.standard_deviation * unit_loss(-self.mean / self.standard_deviation),
        }
    }
}

/// φ(z) − z Φ(−z): the expected shortfall below zero of a normal variable with mean z and spread one.
fn unit_loss(z: f64) -> f64 {
    (standard_density(z) - z * normal::upper_tail(z)).max(0.0)
}

fn standard_density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * PI).sqrt()
}

/// Panels of half a standard deviation, as far out as matters.
const STEPS: i32 = 19;

impl Posterior for NormalPosterior {
    fn density(&self, place: f64) -> f64 {
        standard_density((place - self.mean) / self.standard_deviation) / self.standard_deviation
    }

    fn panel_ends(&self) -> Vec<f64> {
        (-STEPS..=STEPS).map(|step| self.mean + self.standard_deviation * 0.5 * f64::from(step)).collect()
    }

    fn slope(_: f64) -> f64 {
        1.0
    }

    fn parts(_: Panel) -> u64 {
        1
    }
}

/// The outlook of each arm, in the order given, when higher means are better: its chance to have the highest, and the
/// expected loss, in the metric's units, of choosing it. The arms are independent.
///
/// Where lower means are better, turn the signs of the means. No arms have no outlooks; one alone wins for certain.
///
/// # Errors
///
/// [`StatsError::NotFinite`] or [`StatsError::NotPositive`] for a mean that is not finite or a spread that is not above
/// zero: the fields are public, and may come from a file.
pub fn outlooks_of_means(arms: &[NormalPosterior]) -> Result<Vec<ArmOutlook>, StatsError> {
    for arm in arms {
        check_finite("the mean of a posterior", arm.mean)?;
        check_positive("the standard deviation of a posterior", arm.standard_deviation)?;
    }
    Ok(race(arms))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::super::race::total_mass;
    use super::*;
    use crate::numeric::assert_close;
    use crate::proportion::Proportion;

    fn moments(n: u64, mean: f64, variance: f64) -> Moments {
        Moments::from_n_mean_variance(n, mean, variance).unwrap()
    }

    #[test]
    fn a_lift_agrees_with_gbstats() {
        // design/statistics.md, from gbstats' tests: 49/100 against 51/100 on the lift scale, .60918, risks .0814 and
        // .04058; gbstats divides by n, and so does this. Digits by SciPy 1.17.1's norm.
        let standard_error = 0.14725254573469446;
        let lift = NormalPosterior::of_effect(0.04081632653061228, standard_error, NormalPrior::Flat).unwrap();
        let decision = lift.decision();
        assert_close(decision.chance_to_win, 0.6091813095808981, 1e-11);
        assert_close(decision.loss_of_treatment, 0.04057952262455082, 1e-11);
        assert_close(decision.loss_of_control, 0.08139584915516311, 1e-11);
        // From moments, with n − 1, the second decimal of the standard error in per cent changes.
        let control = Proportion { n: 100, successes: 49 }.to_moments().unwrap();
        let treatment = Proportion { n: 100, successes: 51 }.to_moments().unwrap();
        let lift = NormalPosterior::of_lift(&control, &treatment, NormalPrior::Flat).unwrap().unwrap();
        assert_close(lift.standard_deviation, 0.14799437685655453, 1e-12);
        assert_close(lift.decision().chance_to_win, 0.6086478019484158, 1e-11);
    }

    #[test]
    fn precisions_add_up() {
        // By hand: data 4 ± 2, prior 1 ± 1: weight of the data 1/5, variance 4/5.
        let prior = NormalPrior::Normal { mean: 1.0, standard_deviation: 1.0 };
        let posterior = NormalPosterior::of_effect(4.0, 2.0, prior).unwrap();
        assert_close(posterior.mean, 1.6, 1e-14);
        assert_close(posterior.standard_deviation, 0.8_f64.sqrt(), 1e-14);
        let of_mean = NormalPosterior::of_mean(&moments(25, 4.0, 100.0), prior).unwrap().unwrap();
        assert_close(of_mean.mean, 1.6, 1e-14);
        let summary = posterior.summary(0.05).unwrap();
        assert_close(summary.high.unwrap(), 1.6 + 1.9599639845400545 * 0.8_f64.sqrt(), 1e-12);
        // Neither extreme overflows.
        let wide = NormalPrior::Normal { mean: 0.0, standard_deviation: 1e300 };
        assert_close(NormalPosterior::of_effect(4.0, 2.0, wide).unwrap().standard_deviation, 2.0, 1e-14);
        let narrow = NormalPrior::Normal { mean: 0.0, standard_deviation: 1e-300 };
        assert_close(NormalPosterior::of_effect(4.0, 2.0, narrow).unwrap().standard_deviation, 1e-300, 1e-12);
    }

    #[test]
    fn two_arms_agree_with_their_closed_form() {
        let arms = [
            NormalPosterior { mean: 0.0, standard_deviation: 1.0 },
            NormalPosterior { mean: 0.3, standard_deviation: 0.5 },
        ];
        let difference = NormalPosterior { mean: 0.3, standard_deviation: 1.25_f64.sqrt() };
        let outlooks = outlooks_of_means(&arms).unwrap();
        let decision = difference.decision();
        assert_close(outlooks[1].chance_to_win, decision.chance_to_win, 1e-12);
        assert_close(outlooks[1].expected_loss, decision.loss_of_treatment, 1e-11);
        assert_close(outlooks[0].expected_loss, decision.loss_of_control, 1e-11);
        assert_close(total_mass(&arms[0]), 1.0, 1e-12);
    }

    #[test]
    fn arms_of_very_different_spread_are_compared() {
        // By hand: the first arm is all but certain to be 0; the chances of the others follow from mpmath 1.4.1's quad.
        let arms = [
            NormalPosterior { mean: 0.0, standard_deviation: 1e-3 },
            NormalPosterior { mean: 5.0, standard_deviation: 2.0 },
            NormalPosterior { mean: 1.0, standard_deviation: 1.0 },
        ];
        let outlooks = outlooks_of_means(&arms).unwrap();
        assert_close(outlooks[0].chance_to_win, 0.0009851997700890032, 1e-9);
        assert_close(outlooks[1].chance_to_win, 0.9627315423315419, 1e-10);
        assert_close(outlooks[2].chance_to_win, 0.0362832578983691, 1e-10);
    }

    #[test]
    fn thin_data_have_no_posterior() {
        let constant = moments(10, 5.0, 0.0);
        let zero = moments(10, 0.0, 1.0);
        for thin in [Moments::default(), moments(1, 5.0, 0.0), constant] {
            assert_eq!(NormalPosterior::of_mean(&thin, NormalPrior::Flat), Ok(None));
        }
        assert_eq!(NormalPosterior::of_lift(&zero, &constant, NormalPrior::Flat), Ok(None));
        assert_eq!(NormalPosterior::of_lift(&constant, &constant, NormalPrior::Flat), Ok(None));
        assert!(NormalPosterior::of_lift(&constant, &zero, NormalPrior::Flat).unwrap().is_some());
    }

    #[test]
    fn impossible_input_is_refused() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(NormalPosterior::of_effect(1.0, bad, NormalPrior::Flat).is_err(), "{bad}");
            let prior = NormalPrior::Normal { mean: 0.0, standard_deviation: bad };
            assert!(NormalPosterior::of_effect(1.0, 1.0, prior).is_err(), "{bad}");
            assert!(outlooks_of_means(&[NormalPosterior { mean: 0.0, standard_deviation: bad }]).is_err(), "{bad}");
        }
        assert!(NormalPosterior::of_effect(f64::NAN, 1.0, NormalPrior::Flat).is_err());
        let broken = Moments { n: 3, mean: f64::NAN, sum_squared_deviations: 1.0 };
        assert!(NormalPosterior::of_mean(&broken, NormalPrior::Flat).is_err());
        assert!(NormalPosterior { mean: 0.0, standard_deviation: 1.0 }.summary(1.0).is_err());
    }
}
