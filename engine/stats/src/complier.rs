//! The effect on those whom assignment made receive the message: a labelled secondary, never the headline.
//!
//! Enters: of each arm, the outcome's moments among the delivered and among the undelivered, and alpha. Leaves: the
//! complier average causal effect, ITT of the outcome / ITT of delivery (Angrist, Imbens and Rubin 1996, Journal of the
//! American Statistical Association 91), with Fieller's interval, a standard error, and the assumptions that it rests
//! on.
//!
//! With Y the difference of mean outcomes, D the difference of delivered shares, V, W their variances and K their
//! covariance, an effect θ is kept when (Y − θ D)² ≤ c² (V − 2 θ K + θ² W) (Fieller 1954; Anderson and Rubin 1949,
//! Annals of Mathematical Statistics 20). At θ = 0 that is the test of intention to treat itself, so zero lies outside
//! exactly when that test finds an effect. Where delivery hardly differs between the arms the set of effects kept is
//! unbounded: two rays, one, or everything, and is said to be so.
//!
//! The standard error √(V − 2 θ K + θ² W) / |D| (delta method) and the classical one of two-stage least squares, with
//! one residual variance for all units, stand beside it for comparison with other tools; where delivery differs little
//! they are too small, and the interval is not.

use crate::distribution::{normal, students_t};
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::mean::welch_t_test;
use crate::moments::Moments;
use crate::numeric::count;
use crate::proportion::{NO_UNITS, Proportion, VarianceCorrection, score_interval_difference};
use serde::{Deserialize, Serialize};

const NO_DIFFERENCE_IN_DELIVERY: &str = "not defined: the same share was delivered in both arms";
const NO_VARIATION: &str = "no value varies in either arm: there is nothing to hold the effect against";
const WEAK: &str = "delivery cannot be told to differ between the arms at this alpha, so the effect is unbounded";

/// The outcome of one arm, by whether the message was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DeliveryArm {
    /// Outcomes of the units that received the message.
    pub delivered: Moments,
    /// Outcomes of the units that did not.
    pub undelivered: Moments,
}

impl DeliveryArm {
    /// An arm whose outcome is met or not, as counts.
    ///
    /// # Errors
    ///
    /// [`StatsError::SuccessesExceedUnits`].
    pub fn from_proportions(delivered: Proportion, undelivered: Proportion) -> Result<Self, StatsError> {
        Ok(Self { delivered: delivered.to_moments()?, undelivered: undelivered.to_moments()? })
    }

    /// Both groups of both arms together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.merge(other.delivered),
            undelivered: self.undelivered.merge(other.undelivered),
        }
    }

    /// The outcome of all units, delivered or not.
    #[must_use]
    pub fn outcome(&self) -> Moments {
        self.delivered.merge(self.undelivered)
    }

    /// How many units received the message.
    #[must_use]
    pub fn delivery(&self) -> Proportion {
        Proportion { n: self.delivered.n.saturating_add(self.undelivered.n), successes: self.delivered.n }
    }

    /// Sum of squared deviations of delivery, and of its products with the outcome.
    fn squares_and_products(&self) -> (f64, f64) {
        let n = count(self.delivered.n) + count(self.undelivered.n);
        let squares = if n > 0.0 { count(self.delivered.n) * (count(self.undelivered.n) / n) } else { 0.0 };
        (squares, squares * (self.delivered.mean - self.undelivered.mean))
    }

    fn check(&self) -> Result<(), StatsError> {
        self.delivered.check()?;
        self.undelivered.check()
    }
}

/// Which test of intention to treat the interval has to agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComplierTest {
    /// Welch's t test, each arm with its own variance: for means.
    #[default]
    Welch,
    /// The pooled z test, both arms with one variance: for proportions.
    PooledZ,
}

/// The effects that the data do not reject.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum KeptEffects {
    /// All between two ends.
    Bounded {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// All from one end on.
    Above {
        /// Lower end.
        from: f64,
    },
    /// All up to one end.
    Below {
        /// Upper end.
        up_to: f64,
    },
    /// All but those between two ends.
    TwoRays {
        /// Upper end of the lower ray.
        up_to: f64,
        /// Lower end of the upper ray.
        from: f64,
    },
    /// Every effect.
    Everything,
    /// Not to be said; the effect's note says why.
    Unknown,
}

/// The complier average causal effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComplierEffect {
    /// The effect of delivery on compliers, in the outcome's units, with Fieller's interval. Of two rays, the one with
    /// the estimate, unless zero is kept in the other.
    pub effect: Estimate,
    /// The whole set of effects that the interval stands for.
    pub kept: KeptEffects,
    /// By the delta method, each arm with its own variance.
    pub standard_error: Option<f64>,
    /// Of two-stage least squares with one residual variance for all units.
    pub classical_standard_error: Option<f64>,
    /// Difference of mean outcomes by assignment, in the outcome's units: the headline that this is secondary to.
    pub intention_to_treat: Option<f64>,
    /// Two-sided p value of that difference, and of an effect of zero.
    pub p_value: Option<f64>,
    /// Difference of the delivered shares, −1 to 1, with its score interval: the share of compliers.
    pub compliance: Estimate,
    /// Whether no unit of the control received the message: the effect is then that on the delivered.
    pub one_sided: bool,
    /// What has to be true for the effect to be causal.
    pub assumptions: Vec<String>,
    /// The estimate and the interval, in words.
    pub method: String,
}

/// The effect of delivery on those whom assignment to the treatment made receive the message.
///
/// With an empty arm, or where the same share was delivered in both, there is no effect; where no outcome varies, an
/// effect without an interval. The effect's note says which.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can
/// have.
pub fn complier_effect(
    control: &DeliveryArm,
    treatment: &DeliveryArm,
    test: ComplierTest,
    alpha: f64,
) -> Result<ComplierEffect, StatsError> {
    check_alpha(alpha)?;
    control.check()?;
    treatment.check()?;
    let compliance = compliance(control, treatment, alpha)?;
    let one_sided = control.delivered.n == 0;
    let mut result = ComplierEffect {
        effect: Estimate::undefined(NO_UNITS),
        kept: KeptEffects::Unknown,
        standard_error: None,
        classical_standard_error: None,
        intention_to_treat: None,
        p_value: None,
        assumptions: assumptions(one_sided, compliance.estimate.is_some_and(|share| share < 0.0)),
        compliance,
        one_sided,
        method: method(test).to_owned(),
    };
    let Some(share) = result.compliance.estimate else {
        return Ok(result);
    };
    let outcomes = (control.outcome(), treatment.outcome());
    let difference = outcomes.1.mean - outcomes.0.mean;
    result.intention_to_treat = Some(difference);
    let welch = welch_t_test(&outcomes.0, &outcomes.1)?;
    let effect = (share != 0.0).then(|| difference / share).filter(|effect| effect.is_finite());
    let separate = Noise::separate(control, treatment);
    if let (Some(effect), Some(noise)) = (effect, separate) {
        result.standard_error = Some(noise.of_residual(effect).sqrt() / share.abs());
        let classical = Noise::classical(control, treatment);
        result.classical_standard_error = classical.map(|noise| noise.of_residual(effect).sqrt() / share.abs());
    }

    let (noise, critical) = match test {
        ComplierTest::Welch => {
            result.p_value = welch.p_value;
            let critical = welch.degrees_of_freedom.map(|freedom| students_t::critical_value(alpha, freedom));
            (separate, critical)
        }
        ComplierTest::PooledZ => {
            let noise = Noise::pooled(control, treatment);
            let statistic = if difference == 0.0 { 0.0 } else { difference / noise.outcome.sqrt() };
            result.p_value = Some(normal::two_sided_p_value(statistic));
            (Some(noise), Some(normal::critical_value(alpha)))
        }
    };
    let usable = noise.filter(|noise| noise.outcome > 0.0).zip(critical);
    result.effect = match (effect, usable) {
        (None, _) => Estimate::undefined(NO_DIFFERENCE_IN_DELIVERY),
        (Some(effect), None) => {
            let note = welch.note.unwrap_or_else(|| NO_VARIATION.to_owned());
            Estimate::new(effect, Interval::undefined(note))
        }
        (Some(effect), Some((noise, critical))) => {
            result.kept = kept_effects(difference, share, noise, critical);
            Estimate::new(effect, interval_of(result.kept, effect))
        }
    };
    Ok(result)
}

/// Difference of the delivered shares with its score interval.
fn compliance(control: &DeliveryArm, treatment: &DeliveryArm, alpha: f64) -> Result<Estimate, StatsError> {
    let (of_control, of_treatment) = (control.delivery(), treatment.delivery());
    let interval = score_interval_difference(of_control, of_treatment, alpha, VarianceCorrection::Uncorrected)?;
    let difference = of_control.rate().zip(of_treatment.rate()).map(|(control, treatment)| treatment - control);
    Ok(Estimate::from_parts(difference, interval))
}

/// Squared standard errors of the two differences, and their covariance.
#[derive(Debug, Clone, Copy)]
struct Noise {
    outcome: f64,
    delivery: f64,
    covariance: f64,
}

impl Noise {
    /// Each arm with its own variance; none where an arm has a single unit.
    fn separate(control: &DeliveryArm, treatment: &DeliveryArm) -> Option<Self> {
        let mut noise = Self { outcome: 0.0, delivery: 0.0, covariance: 0.0 };
        for arm in [control, treatment] {
            let outcome = arm.outcome();
            noise.outcome += outcome.squared_standard_error()?;
            let divisor = count(outcome.n) * count(outcome.n.saturating_sub(1));
            let (squares, products) = arm.squares_and_products();
            noise.delivery += squares / divisor;
            noise.covariance += products / divisor;
        }
        Some(noise)
    }

    /// One variance for both arms, measured about the mean of each arm, with two degrees of freedom used up; none with
    /// two units in all.
    fn classical(control: &DeliveryArm, treatment: &DeliveryArm) -> Option<Self> {
        let units = count(control.outcome().n) + count(treatment.outcome().n);
        (units > 2.0).then(|| {
            let (control_squares, control_products) = control.squares_and_products();
            let (treatment_squares, treatment_products) = treatment.squares_and_products();
            let outcome = control.outcome().sum_squared_deviations + treatment.outcome().sum_squared_deviations;
            let factor = reciprocal_units(control, treatment) / (units - 2.0);
            Self {
                outcome: outcome * factor,
                delivery: (control_squares + treatment_squares) * factor,
                covariance: (control_products + treatment_products) * factor,
            }
        })
    }

    /// One variance for both arms, measured about the mean of both: as the pooled z test has it.
    fn pooled(control: &DeliveryArm, treatment: &DeliveryArm) -> Self {
        let both = control.merge(*treatment);
        let outcome = both.outcome();
        let (squares, products) = both.squares_and_products();
        let factor = reciprocal_units(control, treatment) / count(outcome.n);
        Self {
            outcome: outcome.sum_squared_deviations * factor,
            delivery: squares * factor,
            covariance: products * factor,
        }
    }

    /// Squared standard error of the difference of outcome − `effect` × delivery.
    fn of_residual(self, effect: f64) -> f64 {
        (self.outcome - 2.0 * effect * self.covariance + effect * effect * self.delivery).max(0.0)
    }
}

fn reciprocal_units(control: &DeliveryArm, treatment: &DeliveryArm) -> f64 {
    1.0 / count(control.outcome().n) + 1.0 / count(treatment.outcome().n)
}

/// The effects θ with leading θ² − 2 middle θ + constant ≤ 0.
fn kept_effects(difference: f64, share: f64, noise: Noise, critical: f64) -> KeptEffects {
    // Differences of squares as products, so that their signs are those of the two tests.
    let product = |size: f64, squared_error: f64| {
        let half_width = critical * squared_error.sqrt();
        (size.abs() - half_width) * (size.abs() + half_width)
    };
    let constant = product(difference, noise.outcome);
    let leading = product(share, noise.delivery);
    let square = critical * critical;
    let middle = difference * share - square * noise.covariance;
    let spread = share * share * noise.outcome - 2.0 * difference * share * noise.covariance
        + difference * difference * noise.delivery;
    let independent = noise.outcome * noise.delivery - noise.covariance * noise.covariance;
    let discriminant = square * (spread - square * independent);
    if !(constant.is_finite() && leading.is_finite() && middle.is_finite() && discriminant.is_finite()) {
        return KeptEffects::Unknown;
    }
    if leading <= 0.0 && discriminant <= 0.0 {
        return KeptEffects::Everything;
    }
    // Adding magnitudes only: one root is sum / leading, the other constant / sum.
    let sum = middle + discriminant.max(0.0).sqrt().copysign(middle);
    if sum == 0.0 {
        // The estimate is zero, and nothing but noise could move it.
        return if leading > 0.0 { KeptEffects::Bounded { low: 0.0, high: 0.0 } } else { KeptEffects::Everything };
    }
    let near = constant / sum;
    if leading == 0.0 {
        // The other root has just gone off to infinity: −2 middle θ + constant ≤ 0.
        return if middle > 0.0 { KeptEffects::Above { from: near } } else { KeptEffects::Below { up_to: near } };
    }
    let far = sum / leading;
    let (lesser, greater) = (far.min(near), far.max(near));
    if leading > 0.0 {
        KeptEffects::Bounded { low: lesser, high: greater }
    } else {
        KeptEffects::TwoRays { up_to: lesser, from: greater }
    }
}

/// The part of the set to report as an interval.
fn interval_of(kept: KeptEffects, effect: f64) -> Interval {
    match kept {
        KeptEffects::Bounded { low, high } => Interval::from_ends(low, high),
        KeptEffects::Above { from } => Interval::from_ends(from, f64::INFINITY).with_note(format!("{WEAK} above")),
        KeptEffects::Below { up_to } => {
            Interval::from_ends(f64::NEG_INFINITY, up_to).with_note(format!("{WEAK} below"))
        }
        // An interval without zero would speak against a test that found nothing, if zero is kept on the other ray.
        KeptEffects::TwoRays { up_to, from } if effect >= from && up_to < 0.0 => {
            let note = format!("{WEAK} above; effects below {up_to:.4} are not excluded either");
            Interval::from_ends(from, f64::INFINITY).with_note(note)
        }
        KeptEffects::TwoRays { up_to, from } if effect <= up_to && from > 0.0 => {
            let note = format!("{WEAK} below; effects above {from:.4} are not excluded either");
            Interval::from_ends(f64::NEG_INFINITY, up_to).with_note(note)
        }
        KeptEffects::TwoRays { up_to, from } => {
            Interval::undefined(format!("{WEAK}: only effects between {up_to:.4} and {from:.4} are excluded"))
        }
        KeptEffects::Everything => Interval::undefined(format!("{WEAK}: no effect is excluded")),
        KeptEffects::Unknown => Interval::undefined("the effect is too large to compute an interval"),
    }
}

fn method(test: ComplierTest) -> &'static str {
    match test {
        ComplierTest::Welch => {
            "intention to treat / difference in delivery; Fieller interval that agrees with Welch's t"
        }
        ComplierTest::PooledZ => {
            "intention to treat / difference in delivery; Fieller interval that agrees with the pooled z"
        }
    }
}

/// What has to be true for the ratio to be an effect.
fn assumptions(one_sided: bool, more_in_control: bool) -> Vec<String> {
    let (more, fewer) = if more_in_control { ("control", "treatment") } else { ("treatment", "control") };
    let monotonicity = if one_sided {
        "no unit of the control received the message, so every delivered unit of the treatment is a complier".to_owned()
    } else {
        format!("no unit receives the message in the {fewer} only: whoever would there, would in the {more} too")
    };
    vec![
        "units were assigned to the arms at random".to_owned(),
        "assignment moves the outcome through delivery alone, and not where delivery stays the same".to_owned(),
        monotonicity,
        "a message to one unit does not move the outcome of another".to_owned(),
    ]
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
    use crate::numeric::assert_close;
    use crate::proportion::pooled_z_test;

    /// (voted, units) of the delivered and of the undelivered.
    fn arm(delivered: (u64, u64), undelivered: (u64, u64)) -> DeliveryArm {
        let group = |(successes, n): (u64, u64)| Proportion::new(n, successes).unwrap();
        DeliveryArm::from_proportions(group(delivered), group(undelivered)).unwrap()
    }

    /// Outvote (Schein et al. 2021), counts from the published file: all rows, and the confident matches that were
    /// early in the queue.
    fn outvote() -> [(DeliveryArm, DeliveryArm); 2] {
        [
            (arm((942, 1309), (6109, 8630)), arm((39753, 54774), (92352, 130405))),
            (arm((202, 251), (901, 1203)), arm((8804, 11105), (11713, 14905))),
        ]
    }

    #[test]
    fn agrees_with_outvote() {
        // Schein et al. (2021) print 2.42 (2.84) and 11.88 (4.37), in percentage points: two-stage least squares with
        // one variance. Digits by NumPy 2.4.6 from the file: tests/oracle/complier.py.
        let [(control, treatment), (early_control, early_treatment)] = outvote();
        let all = complier_effect(&control, &treatment, ComplierTest::Welch, 0.05).unwrap();
        assert_close(all.effect.estimate.unwrap(), 0.024153902916552915, 1e-11);
        assert_close(all.classical_standard_error.unwrap(), 0.028376299261516077, 1e-9);
        assert_close(all.standard_error.unwrap(), 0.02848528957169788, 1e-9);
        assert_close(all.intention_to_treat.unwrap(), 0.003963319456065095, 1e-10);
        assert_close(all.compliance.estimate.unwrap(), 0.16408608868544355, 1e-12);
        assert_close(all.effect.low.unwrap(), -0.03171131138848797, 1e-9);
        assert_close(all.effect.high.unwrap(), 0.08006203396428677, 1e-9);
        assert!(!all.one_sided);

        let early = complier_effect(&early_control, &early_treatment, ComplierTest::Welch, 0.05).unwrap();
        assert_close(early.effect.estimate.unwrap(), 0.11880526004973915, 1e-11);
        assert_close(early.classical_standard_error.unwrap(), 0.043735963043187054, 1e-9);
        assert_close(early.effect.low.unwrap(), 0.03012882887966191, 1e-9);
        assert_close(early.effect.high.unwrap(), 0.20834894915358104, 1e-9);
        assert_close(early.p_value.unwrap(), 0.008734007784140907, 1e-9);
    }

    #[test]
    fn the_pooled_test_is_that_of_the_headline() {
        for (control, treatment) in outvote() {
            let effect = complier_effect(&control, &treatment, ComplierTest::PooledZ, 0.05).unwrap();
            let voted = |arm: &DeliveryArm| {
                let outcome = arm.outcome();
                let successes = crate::binomial::whole((outcome.mean * count(outcome.n)).round());
                Proportion { n: outcome.n, successes }
            };
            let headline = pooled_z_test(voted(&control), voted(&treatment), VarianceCorrection::Uncorrected);
            let headline = headline.unwrap().unwrap().p_value;
            assert_close(effect.p_value.unwrap(), headline, 1e-8);
            assert_eq!(headline < 0.05, !effect.effect.contains_zero());
        }
    }

    #[test]
    fn full_delivery_is_intention_to_treat() {
        let control = arm((0, 0), (60, 500));
        let treatment = arm((90, 500), (0, 0));
        let effect = complier_effect(&control, &treatment, ComplierTest::Welch, 0.05).unwrap();
        let comparison = crate::compare_means(&control.outcome(), &treatment.outcome(), 0.05).unwrap();
        assert_close(effect.effect.estimate.unwrap(), 0.06, 1e-12);
        assert_close(effect.effect.low.unwrap(), comparison.difference.low.unwrap(), 1e-11);
        assert_close(effect.effect.high.unwrap(), comparison.difference.high.unwrap(), 1e-11);
        assert!(effect.one_sided);
        assert!(effect.assumptions.iter().any(|assumption| assumption.contains("every delivered unit")));
    }

    #[test]
    fn half_delivery_doubles_the_effect() {
        let control = arm((0, 0), (60, 500));
        let treatment = arm((65, 250), (25, 250));
        let effect = complier_effect(&control, &treatment, ComplierTest::Welch, 0.05).unwrap();
        assert_close(effect.effect.estimate.unwrap(), 0.12, 1e-12);
        assert!(effect.effect.low.unwrap() > 0.0);
    }

    #[test]
    fn hardly_different_delivery_is_unbounded() {
        // Delivered 50 against 47 of 100: no telling apart.
        let control = arm((20, 47), (20, 53));
        let nothing = arm((21, 50), (20, 50));
        let effect = complier_effect(&control, &nothing, ComplierTest::Welch, 0.05).unwrap();
        assert!(effect.effect.estimate.is_some());
        assert_eq!((effect.effect.low, effect.effect.high), (None, None));
        assert!(effect.effect.note.unwrap().starts_with(WEAK));
        // An outcome that differs for sure needs a large effect of either sign.
        let much = arm((40, 50), (45, 50));
        let effect = complier_effect(&control, &much, ComplierTest::Welch, 0.05).unwrap();
        let KeptEffects::TwoRays { up_to, from } = effect.kept else { panic!("{:?}", effect.kept) };
        assert!(up_to < 0.0 && from > 0.0);
        assert_eq!(effect.effect.low, Some(from));
        assert_eq!(effect.effect.high, None);
        assert!(!effect.effect.contains_zero());
    }

    #[test]
    fn thin_arms_leave_notes() {
        let some = arm((5, 20), (3, 20));
        let empty = DeliveryArm::default();
        for test in [ComplierTest::Welch, ComplierTest::PooledZ] {
            let effect = complier_effect(&empty, &some, test, 0.05).unwrap();
            assert_eq!((effect.effect.estimate, effect.p_value), (None, None));
            assert_eq!(effect.effect.note.as_deref(), Some(NO_UNITS));
            let same = complier_effect(&some, &some, test, 0.05).unwrap();
            assert_eq!(same.effect.note.as_deref(), Some(NO_DIFFERENCE_IN_DELIVERY));
            // No outcome varies.
            let constant = complier_effect(&arm((0, 0), (0, 40)), &arm((0, 30), (0, 10)), test, 0.05).unwrap();
            assert_eq!((constant.effect.estimate, constant.effect.low), (Some(0.0), None));
            assert!(constant.effect.note.is_some());
            // One unit in an arm.
            let one = complier_effect(&arm((0, 0), (0, 1)), &some, ComplierTest::Welch, 0.05).unwrap();
            assert_eq!((one.p_value, one.standard_error, one.effect.low), (None, None, None));
            assert!(one.effect.note.is_some());
        }
        let broken = DeliveryArm {
            delivered: Moments { n: 3, mean: f64::NAN, sum_squared_deviations: 1.0 },
            undelivered: Moments::default(),
        };
        assert!(complier_effect(&some, &broken, ComplierTest::Welch, 0.05).is_err());
        assert!(complier_effect(&some, &some, ComplierTest::Welch, 0.0).is_err());
    }
}
