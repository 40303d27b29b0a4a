//! Not worse, better by enough, or the same: tests against a margin.
//!
//! Enters: two arms, a margin, which direction is better, and alpha, the error rate of each *one-sided* test. Leaves:
//! the effect with the interval that the test goes by, a p value, and a verdict.
//!
//! With d the effect (treatment − control, or the lift for a relative margin), m the margin, and higher values better:
//!
//! | question | held against | the other verdict |
//! | --- | --- | --- |
//! | non-inferior: not worse by m or more | d ≤ −m | inferior: worse by more than m |
//! | superior by a margin: better by more than m | d ≤ m | not superior: better by less than m |
//! | equivalent: neither worse nor better by m or more | d ≤ −m, and d ≥ m | different: by more than m |
//!
//! Where lower values are better (opt-outs, complaints), the signs turn. Equivalence is two one-sided tests (Schuirmann
//! 1987, Journal of Pharmacokinetics and Biopharmaceutics 15), and its p value is the greater of the two.
//!
//! Proportions use the score test against the shifted hypothesis (Farrington and Manning 1990, Statistics in Medicine
//! 9; with Miettinen and Nurminen's correction on request); means use Welch's t, and for a relative margin Fieller's.
//! The interval has confidence 1 − 2 alpha and inverts the same test, so the verdict is read off it: a hypothesis at
//! the margin is rejected exactly when the margin lies outside. For the customary 95 % interval pass an alpha of 0.025.

use crate::distribution::{normal, students_t};
use crate::effect::Effect;
use crate::error::{StatsError, check_not_negative};
use crate::interval::Estimate;
use crate::mean::{fieller_interval_lift, welch_interval_difference, welch_t_test};
use crate::moments::Moments;
use crate::proportion::{
    NO_UNITS, Proportion, VarianceCorrection, score_interval_difference, score_interval_ratio, score_test_difference,
    score_test_ratio,
};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Which way a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better: conversions, revenue.
    #[default]
    HigherIsBetter,
    /// Less is better: opt-outs, complaints, cost.
    LowerIsBetter,
}

/// How large a difference still does not matter; zero or more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Margin {
    /// In the metric's own units: 0.005 is half a percentage point of a share.
    Absolute(f64),
    /// As a share of the size of the control: 0.02 is 2 % of it.
    Relative(f64),
}

/// What a test against a margin found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarginVerdict {
    /// Not worse by the margin or more.
    NonInferior,
    /// Worse by more than the margin.
    Inferior,
    /// Better by more than the margin.
    Superior,
    /// Better by less than the margin, or worse.
    NotSuperior,
    /// Neither worse nor better by the margin or more.
    Equivalent,
    /// Worse or better by more than the margin.
    Different,
    /// The data do not say.
    NotShown,
}

/// A one-sided test against a margin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarginTest {
    /// The effect that is held against the data: the margin with its sign, a difference or a lift.
    pub boundary: f64,
    /// The difference for an absolute margin, the lift for a relative one, with its interval at `confidence`.
    pub effect: Estimate,
    /// 1 − 2 alpha.
    pub confidence: f64,
    /// z for proportions, t for means; positive when the effect lies above the boundary.
    pub statistic: Option<f64>,
    /// One-sided, 0 to 1, against the hypothesis named in the module's table; none where no test can be made, and the
    /// effect's note says why.
    pub p_value: Option<f64>,
    /// What follows at alpha.
    pub verdict: MarginVerdict,
    /// The test and the interval, in words.
    pub method: String,
}

/// Two one-sided tests of equivalence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EquivalenceTest {
    /// Minus the margin.
    pub low_boundary: f64,
    /// The margin.
    pub high_boundary: f64,
    /// The difference for an absolute margin, the lift for a relative one, with its interval at `confidence`.
    pub effect: Estimate,
    /// 1 − 2 alpha.
    pub confidence: f64,
    /// One-sided p value against an effect of `low_boundary` or less.
    pub p_value_low: Option<f64>,
    /// One-sided p value against an effect of `high_boundary` or more.
    pub p_value_high: Option<f64>,
    /// The greater of the two, 0 to 1; none where no test can be made, and the effect's note says why.
    pub p_value: Option<f64>,
    /// What follows at alpha.
    pub verdict: MarginVerdict,
    /// The tests and the interval, in words.
    pub method: String,
}

/// Two arms that can be held against any effect.
#[derive(Debug, Clone, Copy)]
pub enum Arms<'a> {
    /// Shares of successes.
    Proportions {
        /// The arm that is compared with.
        control: Proportion,
        /// The arm that is judged.
        treatment: Proportion,
        /// Whether variances are corrected.
        correction: VarianceCorrection,
    },
    /// Means.
    Means {
        /// The arm that is compared with.
        control: &'a Moments,
        /// The arm that is judged.
        treatment: &'a Moments,
    },
    /// Any effect with a standard error: of ratios, clusters, quantiles.
    Effect(&'a Effect),
}

/// Whether the treatment is not worse than the control by the margin or more.
///
/// ```
/// use sendlift_stats::Proportion;
/// use sendlift_stats::VarianceCorrection::Uncorrected;
/// use sendlift_stats::equivalence::{Arms, Direction, Margin, MarginVerdict, non_inferiority_test};
///
/// // Opt-outs: 1.0 % in the control, 1.1 % in the treatment; half a point more would be too many.
/// let arms = Arms::Proportions {
///     control: Proportion::new(10_000, 100)?,
///     treatment: Proportion::new(10_000, 110)?,
///     correction: Uncorrected,
/// };
/// let test = non_inferiority_test(arms, Margin::Absolute(0.005), Direction::LowerIsBetter, 0.025)?;
/// assert_eq!(test.verdict, MarginVerdict::NonInferior);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`] unless alpha lies between 0 and a half; [`StatsError::NotFinite`],
/// [`StatsError::Negative`] or [`StatsError::InvalidProbability`] for a margin below zero, or one that no two
/// proportions can be apart; [`StatsError::SuccessesExceedUnits`], [`StatsError::NotFinite`] or
/// [`StatsError::Negative`] for arms that no data can have.
pub fn non_inferiority_test(
    arms: Arms<'_>,
    margin: Margin,
    direction: Direction,
    alpha: f64,
) -> Result<MarginTest, StatsError> {
    let verdicts = (MarginVerdict::NonInferior, MarginVerdict::Inferior);
    match direction {
        Direction::HigherIsBetter => margin_test(arms, margin, -1.0, Side::Above, verdicts, alpha),
        Direction::LowerIsBetter => margin_test(arms, margin, 1.0, Side::Below, verdicts, alpha),
    }
}

/// Whether the treatment is better than the control by more than the margin; with a margin of zero, whether it is
/// better at all.
///
/// # Errors
///
/// As [`non_inferiority_test`].
pub fn superiority_test(
    arms: Arms<'_>,
    margin: Margin,
    direction: Direction,
    alpha: f64,
) -> Result<MarginTest, StatsError> {
    let verdicts = (MarginVerdict::Superior, MarginVerdict::NotSuperior);
    match direction {
        Direction::HigherIsBetter => margin_test(arms, margin, 1.0, Side::Above, verdicts, alpha),
        Direction::LowerIsBetter => margin_test(arms, margin, -1.0, Side::Below, verdicts, alpha),
    }
}

/// Whether treatment and control are neither worse nor better than one another by the margin or more.
///
/// # Errors
///
/// As [`non_inferiority_test`].
pub fn equivalence_test(arms: Arms<'_>, margin: Margin, alpha: f64) -> Result<EquivalenceTest, StatsError> {
    let scale = Scale::new(arms, margin, alpha)?;
    // No negative zero in a report.
    let (low_boundary, high_boundary) = (0.0 - scale.size, scale.size);
    let (mut effect, method) = scale.effect()?;
    let confidence = scale.confidence();
    let scores = (scale.score(low_boundary, &effect)?, scale.score(high_boundary, &effect)?);
    let (low, high) = match scores {
        (Ok(low), Ok(high)) => (low, high),
        (Err(note), _) | (_, Err(note)) => {
            effect.note = Some(note);
            return Ok(EquivalenceTest {
                low_boundary,
                high_boundary,
                effect,
                confidence,
                p_value_low: None,
                p_value_high: None,
                p_value: None,
                verdict: MarginVerdict::NotShown,
                method,
            });
        }
    };
    let p_value = low.above.max(high.below);
    let verdict = if p_value < alpha {
        MarginVerdict::Equivalent
    } else if low.below < alpha || high.above < alpha {
        MarginVerdict::Different
    } else {
        MarginVerdict::NotShown
    };
    Ok(EquivalenceTest {
        low_boundary,
        high_boundary,
        effect,
        confidence,
        p_value_low: Some(low.above),
        p_value_high: Some(high.below),
        p_value: Some(p_value),
        verdict,
        method,
    })
}

/// The side of the boundary on which the effect is to be shown.
#[derive(Debug, Clone, Copy)]
enum Side {
    Above,
    Below,
}

fn margin_test(
    arms: Arms<'_>,
    margin: Margin,
    sign: f64,
    side: Side,
    (shown, contrary): (MarginVerdict, MarginVerdict),
    alpha: f64,
) -> Result<MarginTest, StatsError> {
    let scale = Scale::new(arms, margin, alpha)?;
    // No negative zero in a report.
    let boundary = sign * scale.size + 0.0;
    let (mut effect, method) = scale.effect()?;
    let confidence = scale.confidence();
    let score = match scale.score(boundary, &effect)? {
        Ok(score) => score,
        Err(note) => {
            // An effect without any spread, of metrics that vary in neither arm, lies on one side or the other.
            let known = effect.estimate.filter(|_| effect.low == effect.estimate && effect.high == effect.estimate);
            let above = known.and_then(|known| known.partial_cmp(&boundary));
            let verdict = match (above, side) {
                (Some(Ordering::Greater), Side::Above) | (Some(Ordering::Less), Side::Below) => shown,
                (Some(Ordering::Less), Side::Above) | (Some(Ordering::Greater), Side::Below) => contrary,
                _ => MarginVerdict::NotShown,
            };
            effect.note = Some(note);
            return Ok(MarginTest { boundary, effect, confidence, statistic: None, p_value: None, verdict, method });
        }
    };
    let (p_value, contrary_p_value) = match side {
        Side::Above => (score.above, score.below),
        Side::Below => (score.below, score.above),
    };
    let verdict = if p_value < alpha {
        shown
    } else if contrary_p_value < alpha {
        contrary
    } else {
        MarginVerdict::NotShown
    };
    let statistic = Some(score.statistic);
    Ok(MarginTest { boundary, effect, confidence, statistic, p_value: Some(p_value), verdict, method })
}

/// The distance of the data from a hypothesis.
#[derive(Debug, Clone, Copy)]
struct Score {
    statistic: f64,
    /// One-sided p value in favour of an effect above the hypothesis.
    above: f64,
    /// One-sided p value in favour of an effect below it.
    below: f64,
}

impl Score {
    fn new(statistic: f64, two_sided_p_value: f64) -> Self {
        let beyond = two_sided_p_value / 2.0;
        let (above, below) = if statistic > 0.0 { (beyond, 1.0 - beyond) } else { (1.0 - beyond, beyond) };
        Self { statistic, above, below }
    }
}

/// Two arms on the scale of a margin.
#[derive(Debug, Clone, Copy)]
struct Scale<'a> {
    arms: Arms<'a>,
    relative: bool,
    /// The margin, zero or more.
    size: f64,
    alpha: f64,
}

impl<'a> Scale<'a> {
    fn new(arms: Arms<'a>, margin: Margin, alpha: f64) -> Result<Self, StatsError> {
        // The interval has an error rate of 2 alpha; a NaN is not usable.
        let usable = alpha > 0.0 && alpha < 0.5;
        if !usable {
            return Err(StatsError::InvalidAlpha { alpha });
        }
        let (size, relative) = match margin {
            Margin::Absolute(size) => (size, false),
            Margin::Relative(size) => (size, true),
        };
        check_not_negative("the margin", size)?;
        if matches!(arms, Arms::Proportions { .. }) && !relative && size >= 1.0 {
            return Err(StatsError::InvalidProbability { quantity: "the margin", value: size });
        }
        Ok(Self { arms, relative, size, alpha })
    }

    fn confidence(&self) -> f64 {
        1.0 - 2.0 * self.alpha
    }

    /// The effect with its interval, and the method in words.
    fn effect(&self) -> Result<(Estimate, String), StatsError> {
        let two_sided = 2.0 * self.alpha;
        let (effect, method) = match (self.arms, self.relative) {
            (Arms::Proportions { control, treatment, correction }, false) => {
                let interval = score_interval_difference(control, treatment, two_sided, correction)?;
                let difference = control.rate().zip(treatment.rate()).map(|(control, treatment)| treatment - control);
                (Estimate::from_parts(difference, interval), "score test and interval of the difference")
            }
            (Arms::Proportions { control, treatment, correction }, true) => {
                let interval = score_interval_ratio(control, treatment, two_sided, correction)?.shifted(-1.0);
                let rates = control.rate().zip(treatment.rate()).filter(|(control, _)| *control > 0.0);
                let lift = rates.map(|(control, treatment)| (treatment - control) / control);
                (Estimate::from_parts(lift, interval), "score test and interval of the ratio")
            }
            (Arms::Means { control, treatment }, false) => {
                let difference = welch_interval_difference(control, treatment, two_sided)?;
                (difference, "Welch t test and interval")
            }
            (Arms::Means { control, treatment }, true) => {
                let lift = fieller_interval_lift(control, treatment, two_sided)?;
                (lift, "Fieller test and interval of the lift, with Welch's degrees of freedom")
            }
            (Arms::Effect(effect), false) => (
                effect.comparison(two_sided, "")?.difference,
                "test and interval of the effect with its standard error",
            ),
            (Arms::Effect(effect), true) => (
                effect.comparison(two_sided, "")?.lift,
                "Fieller test and interval of the lift, with the effect's standard error",
            ),
        };
        Ok((effect, method.to_owned()))
    }

    /// How far the data lie from `hypothesis`, or why that cannot be said.
    fn score(&self, hypothesis: f64, effect: &Estimate) -> Result<Result<Score, String>, StatsError> {
        let from_effect = || effect.note.clone().unwrap_or_else(|| NO_UNITS.to_owned());
        match self.arms {
            Arms::Proportions { control, treatment, correction } => {
                let test = if self.relative {
                    if control.successes == 0 && treatment.successes == 0 {
                        return Ok(Err(from_effect()));
                    }
                    // A share cannot fall by all there is.
                    if hypothesis <= -1.0 {
                        return Err(StatsError::InvalidProbability { quantity: "the margin", value: self.size });
                    }
                    score_test_ratio(control, treatment, 1.0 + hypothesis, correction)?
                } else {
                    score_test_difference(control, treatment, hypothesis, correction)?
                };
                let score = test.map(|test| {
                    let two_sided = normal::two_sided_p_value(test.statistic);
                    Score::new(test.statistic, two_sided)
                });
                Ok(score.ok_or_else(from_effect))
            }
            Arms::Effect(effect_of_arms) => {
                if self.relative && (effect.low.is_none() || effect.high.is_none()) {
                    return Ok(Err(unbounded(effect)));
                }
                let Effect::Estimated(parts) = effect_of_arms else { return Ok(Err(from_effect())) };
                // Of a relative margin, the difference less that share of the control's size.
                let share = if self.relative { hypothesis * parts.baseline.signum() } else { 0.0 };
                let distance = if self.relative {
                    parts.difference - share * parts.baseline
                } else {
                    parts.difference - hypothesis
                };
                let variance = parts.standard_error * parts.standard_error + share * share * parts.baseline_variance
                    - 2.0 * share * parts.covariance;
                if variance <= 0.0 {
                    return Ok(Err(from_effect()));
                }
                let statistic = distance / variance.sqrt();
                let two_sided = match parts.degrees_of_freedom {
                    Some(degrees_of_freedom) => students_t::two_sided_p_value(statistic, degrees_of_freedom),
                    None => normal::two_sided_p_value(statistic),
                };
                Ok(Ok(Score::new(statistic, two_sided)))
            }
            Arms::Means { control, treatment } => {
                if self.relative && (effect.low.is_none() || effect.high.is_none()) {
                    return Ok(Err(unbounded(effect)));
                }
                // Moving or stretching an arm until the hypothesis says "equal means" leaves Welch's statistic; the
                // degrees of freedom stay those of the difference, as in Fieller's interval.
                let test = if self.relative {
                    let factor = 1.0 + hypothesis * control.mean.signum();
                    let sum_squared_deviations = control.sum_squared_deviations * factor * factor;
                    let stretched = Moments { n: control.n, mean: control.mean * factor, sum_squared_deviations };
                    welch_t_test(&stretched, treatment)?
                } else {
                    let moved = Moments { mean: treatment.mean - hypothesis, ..*treatment };
                    welch_t_test(control, &moved)?
                };
                let degrees_of_freedom = welch_t_test(control, treatment)?.degrees_of_freedom;
                Ok(match (test.statistic, degrees_of_freedom) {
                    (Some(statistic), Some(degrees_of_freedom)) => {
                        Ok(Score::new(statistic, students_t::two_sided_p_value(statistic, degrees_of_freedom)))
                    }
                    _ => Err(test.note.unwrap_or_else(from_effect)),
                })
            }
        }
    }
}

/// Why a relative margin cannot be held against a lift that has no ends.
fn unbounded(lift: &Estimate) -> String {
    lift.note.clone().map_or_else(|| NO_UNITS.to_owned(), |note| format!("{note}; hold it against an absolute margin"))
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

    fn proportions(treatment: (u64, u64), control: (u64, u64)) -> Arms<'static> {
        Arms::Proportions {
            control: Proportion::new(control.1, control.0).unwrap(),
            treatment: Proportion::new(treatment.1, treatment.0).unwrap(),
            correction: VarianceCorrection::Uncorrected,
        }
    }

    fn moments(n: u64, mean: f64, variance: f64) -> Moments {
        Moments::from_n_mean_variance(n, mean, variance).unwrap()
    }

    #[test]
    fn proportions_agree_with_the_definition() {
        // tests/oracle/equivalence.py: the likelihood maximised by mpmath 1.4.1 with 30 digits.
        let arms = proportions((56, 70), (48, 80));
        let test = non_inferiority_test(arms, Margin::Absolute(0.05), Direction::HigherIsBetter, 0.025).unwrap();
        assert_eq!(test.boundary, -0.05);
        assert_close(test.p_value.unwrap(), 0.0004972275117118254, 1e-9);
        assert_eq!(test.verdict, MarginVerdict::NonInferior);
        assert_close(test.effect.low.unwrap(), 0.05333384929132512, 1e-9);
        let test = superiority_test(arms, Margin::Absolute(0.1), Direction::HigherIsBetter, 0.025).unwrap();
        assert_close(test.p_value.unwrap(), 0.08887121717418378, 1e-9);
        assert_eq!(test.verdict, MarginVerdict::NotShown);
        // statsmodels 0.15.0: test_proportions_2indep, compare "ratio", method "score", alternative "larger".
        let test = non_inferiority_test(arms, Margin::Relative(0.1), Direction::HigherIsBetter, 0.025).unwrap();
        assert_close(test.p_value.unwrap(), 0.00019305517973266443, 1e-9);
    }

    #[test]
    fn means_agree_with_scipy() {
        // SciPy 1.17.1: scipy.stats.ttest_ind_from_stats, equal_var=False, with one mean moved by the margin.
        let (control, treatment) = (moments(3407, 0.41, 15.21), moments(3461, 0.7, 38.44));
        let arms = Arms::Means { control: &control, treatment: &treatment };
        let test = equivalence_test(arms, Margin::Absolute(0.5), 0.05).unwrap();
        assert_close(test.p_value_low.unwrap(), 1.3089255505167184e-10, 1e-9);
        assert_close(test.p_value_high.unwrap(), 0.046222682361237166, 1e-9);
        assert_close(test.p_value.unwrap(), 0.046222682361237166, 1e-9);
        assert_eq!(test.verdict, MarginVerdict::Equivalent);
        assert!(test.effect.high.unwrap() < 0.5);
    }

    #[test]
    fn a_share_may_double_and_cannot_fall_by_all_there_is() {
        // statsmodels: test_proportions_2indep(count, 10000, count0, 10000, value=2, method="score", compare="ratio",
        // alternative="smaller", correction=False).
        for ((treatment, control), p_value) in [
            ((12, 10), 0.113_775_956_852_826_6),
            ((60, 100), 1.915_768_029_329_812_5e-15),
            ((150, 100), 0.012_249_266_984_307_672),
        ] {
            let arms = proportions((treatment, 10_000), (control, 10_000));
            let test = non_inferiority_test(arms, Margin::Relative(1.0), Direction::LowerIsBetter, 0.025).unwrap();
            assert_close(test.p_value.unwrap(), p_value, 1e-6);
        }
        let arms = proportions((60, 10_000), (100, 10_000));
        assert!(non_inferiority_test(arms, Margin::Relative(1.0), Direction::HigherIsBetter, 0.025).is_err());
    }

    #[test]
    fn lower_is_better_turns_the_signs() {
        let control = (100, 10_000);
        for (treatment, verdict) in
            [(110, MarginVerdict::NonInferior), (140, MarginVerdict::NotShown), (220, MarginVerdict::Inferior)]
        {
            let arms = proportions((treatment, 10_000), control);
            let test = non_inferiority_test(arms, Margin::Absolute(0.005), Direction::LowerIsBetter, 0.025).unwrap();
            assert_eq!(test.verdict, verdict, "{treatment}");
            // The same question about those who stay.
            let stayed = proportions((10_000 - treatment, 10_000), (9_900, 10_000));
            let turned = non_inferiority_test(stayed, Margin::Absolute(0.005), Direction::HigherIsBetter, 0.025);
            assert_close(turned.unwrap().p_value.unwrap(), test.p_value.unwrap(), 1e-9);
        }
        let fewer = proportions((20, 10_000), control);
        let test = superiority_test(fewer, Margin::Relative(0.5), Direction::LowerIsBetter, 0.025).unwrap();
        assert_eq!((test.boundary, test.verdict), (-0.5, MarginVerdict::Superior));
        let test = superiority_test(fewer, Margin::Relative(0.95), Direction::LowerIsBetter, 0.025).unwrap();
        assert_eq!(test.verdict, MarginVerdict::NotSuperior);
    }

    #[test]
    fn equivalence_has_three_verdicts() {
        let verdict = |treatment: u64| {
            equivalence_test(proportions((treatment, 10_000), (1_000, 10_000)), Margin::Absolute(0.01), 0.05)
                .unwrap()
                .verdict
        };
        assert_eq!(verdict(1_005), MarginVerdict::Equivalent);
        assert_eq!(verdict(1_080), MarginVerdict::NotShown);
        assert_eq!(verdict(1_300), MarginVerdict::Different);
        assert_eq!(verdict(700), MarginVerdict::Different);
    }

    #[test]
    fn a_relative_margin_needs_a_baseline() {
        let (control, treatment) = (moments(100, 0.5, 100.0), moments(100, 10.0, 100.0));
        let arms = Arms::Means { control: &control, treatment: &treatment };
        let test = non_inferiority_test(arms, Margin::Relative(0.1), Direction::HigherIsBetter, 0.025).unwrap();
        assert_eq!((test.p_value, test.verdict), (None, MarginVerdict::NotShown));
        assert!(test.effect.note.unwrap().contains("absolute margin"));
        // A negative baseline keeps its sign: losses of 10 against losses of 10.1, margin 5 %.
        let (control, treatment) = (moments(4_000, -10.0, 9.0), moments(4_000, -10.1, 9.0));
        let arms = Arms::Means { control: &control, treatment: &treatment };
        let test = non_inferiority_test(arms, Margin::Relative(0.05), Direction::HigherIsBetter, 0.025).unwrap();
        assert_eq!(test.verdict, MarginVerdict::NonInferior);
        assert!(test.effect.low.unwrap() > -0.05);
    }

    #[test]
    fn thin_data_leave_notes() {
        let empty = proportions((0, 0), (3, 10));
        let nothing = proportions((0, 10), (0, 10));
        for margin in [Margin::Absolute(0.1), Margin::Relative(0.1)] {
            let test = non_inferiority_test(empty, margin, Direction::HigherIsBetter, 0.05).unwrap();
            assert_eq!((test.p_value, test.verdict), (None, MarginVerdict::NotShown));
            assert!(test.effect.note.is_some());
            assert_eq!(equivalence_test(empty, margin, 0.05).unwrap().p_value, None);
        }
        assert!(equivalence_test(nothing, Margin::Absolute(0.1), 0.05).unwrap().p_value.is_some());
        let test = equivalence_test(nothing, Margin::Relative(0.1), 0.05).unwrap();
        assert_eq!(test.p_value, None);
        assert!(test.effect.note.is_some());
        let (constant, one, none) = (moments(10, 5.0, 0.0), moments(1, 5.0, 0.0), Moments::default());
        for (control, treatment) in [(&constant, &constant), (&constant, &one), (&none, &constant)] {
            for margin in [Margin::Absolute(0.1), Margin::Relative(0.1)] {
                let test = equivalence_test(Arms::Means { control, treatment }, margin, 0.05).unwrap();
                assert_eq!((test.p_value, test.verdict), (None, MarginVerdict::NotShown));
                assert!(test.effect.note.is_some());
            }
        }
    }

    #[test]
    fn bad_questions_are_refused() {
        let arms = proportions((5, 10), (4, 10));
        for alpha in [0.0, 0.5, 0.9, f64::NAN] {
            assert!(equivalence_test(arms, Margin::Absolute(0.1), alpha).is_err(), "{alpha}");
        }
        for margin in [Margin::Absolute(-0.1), Margin::Absolute(1.0), Margin::Relative(1.5), Margin::Relative(f64::NAN)]
        {
            assert!(non_inferiority_test(arms, margin, Direction::HigherIsBetter, 0.05).is_err(), "{margin:?}");
            assert!(equivalence_test(arms, margin, 0.05).is_err(), "{margin:?}");
        }
        // Half as much again and more is a gain that may be asked for.
        assert!(superiority_test(arms, Margin::Relative(1.5), Direction::HigherIsBetter, 0.05).is_ok());
        let broken = proportions_unchecked(7, 5);
        assert!(equivalence_test(broken, Margin::Absolute(0.1), 0.05).is_err());
    }

    fn proportions_unchecked(successes: u64, n: u64) -> Arms<'static> {
        let broken = Proportion { n, successes };
        Arms::Proportions { control: broken, treatment: broken, correction: VarianceCorrection::Uncorrected }
    }
}
