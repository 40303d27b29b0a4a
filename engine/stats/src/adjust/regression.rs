//! CUPED and Lin's regression.
//!
//! Enters: the cross moments of each arm, the outcome's column (or two, for a ratio) first and the covariates after it.
//! Leaves: the adjusted difference and lift, and the share of the variance that the covariates removed.
//!
//! Deng, Xu, Kohavi and Walker (2013), "Improving the Sensitivity of Online Controlled Experiments by Utilizing
//! Pre-Experiment Data", WSDM; Lin (2013), "Agnostic notes on regression adjustments to experimental data", Annals of
//! Applied Statistics 7(1). With b the slopes of an arm (common to both for CUPED) and x̄ the covariates' means over all
//! units:
//!
//! ```text
//! adjusted value of an arm   m = ȳ − b (x̄_arm − x̄)              difference = m_T − m_C
//! b by arm     least squares within the arm
//! b in common  least squares within both arms together (the ANCOVA slope)
//! ```
//!
//! The variance holds the slopes fixed and takes everything else as it varies, the overall means x̄ too, so that it is
//! right for recipients like these and not only for these:
//!
//! ```text
//! Var = V_T + V_C + (b_T − b_C)' S_x (b_T − b_C) / N
//! V by arm     RSS / (n − p − 1) · (1/n + (x̄_arm − x̄)' [Σ (x − x̄_arm)(x − x̄_arm)']⁻¹ (x̄_arm − x̄))
//! V in common  Σ (y − b x − mean)² / (n − 1) / n
//! ```
//!
//! V by arm is HC2 with each unit's squared residual replaced by the arm's mean one, which is all that moments hold; the
//! two differ by the order of p / n unless the spread depends strongly on the covariates.
//! [`compare_adjusted_units`] takes the units themselves, in a second pass, and has HC2 exactly.
//!
//! A ratio is adjusted as its linearised value (y − R z) / z̄ in each arm. Degrees of freedom are Welch–Satterthwaite's,
//! of n − p − 1 in each arm.

use super::arm::{Arm, ArmWeights};
use super::cross_moments::CrossMoments;
use super::factor::dot;
use crate::comparison::Comparison;
use crate::effect::{Effect, EstimatedEffect, welch_degrees_of_freedom};
use crate::error::{StatsError, check_alpha};
use crate::numeric::count;
use crate::ratio::{RatioMoments, ratio_effect};
use serde::{Deserialize, Serialize};

/// Units in the smaller arm that each covariate needs.
pub const UNITS_PER_COVARIATE: u64 = 10;
/// Below this share of the unadjusted variance the covariates hold the outcome itself.
const EXACT_TO: f64 = 1e-12;

/// What an adjusted comparison with one slope says it was made by.
pub const CUPED_METHOD: &str = "CUPED (Deng et al. 2013), one slope for both arms; Fieller interval for the lift";
/// What an adjusted comparison with slopes by arm says it was made by.
pub const LIN_METHOD: &str = "regression adjustment (Lin 2013), slopes by arm; Fieller interval for the lift";
/// What an adjusted comparison of the units themselves says it was made by.
pub const LIN_UNITS_METHOD: &str =
    "regression adjustment (Lin 2013), slopes by arm, HC2 variance; Fieller interval for the lift";

const PERFECT: &str =
    "the covariates predict the outcome exactly: they hold it, or were measured after it; not adjusted";

/// What the first columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// One column: a number of each unit, or zeros and ones for a proportion. Covariates follow.
    #[default]
    Mean,
    /// Two columns, the numerator and the denominator of a ratio. Covariates follow.
    Ratio,
}

impl Outcome {
    /// Columns before the first covariate.
    #[must_use]
    pub fn columns(self) -> usize {
        match self {
            Self::Mean => 1,
            Self::Ratio => 2,
        }
    }
}

/// Whether the arms share their slopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slopes {
    /// CUPED: the same in both arms.
    Common,
    /// Lin's: each arm its own. Never worse in large samples than not adjusting.
    #[default]
    ByArm,
}

/// An adjusted comparison, and what the covariates did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adjusted {
    /// Difference, lift and test of the adjusted values.
    pub comparison: Comparison,
    /// What the comparison was made of, to be held against a margin.
    pub effect: Effect,
    /// Of the difference, in the metric's units; none where there is no test.
    pub standard_error: Option<f64>,
    /// Welch–Satterthwaite's; none where there is no test.
    pub degrees_of_freedom: Option<f64>,
    /// 1 − (adjusted / unadjusted variance of the difference): 0.3 is as good as 43 % more units; none without a test.
    /// Negative where the covariates only cost degrees of freedom.
    pub variance_removed: Option<f64>,
    /// The covariates that were used, counted from zero.
    pub covariates_used: Vec<usize>,
    /// Those left out as constant in an arm or as a combination of others, counted from zero.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covariates_without_use: Vec<usize>,
    /// Those left out as more than the units or the method allow, counted from zero.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covariates_beyond_the_limit: Vec<usize>,
    /// The control's slope on each covariate used.
    pub control_slopes: Vec<f64>,
    /// The treatment's slope on each covariate used: the same for CUPED.
    pub treatment_slopes: Vec<f64>,
    /// Which covariates were left out, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Compares two arms with the covariates' help, from their cross moments.
///
/// Covariates that are constant in an arm, or combinations of those before them, are left out, as are those beyond one
/// for every [`UNITS_PER_COVARIATE`] units of the smaller arm; the note names them, counted from 1. Without any left the
/// comparison is the unadjusted one.
///
/// ```
/// use sendlift_stats::adjust::{CrossMoments, Outcome, Slopes, compare_adjusted};
///
/// // Spend after and before the campaign, of each recipient.
/// let before = |i: i32| f64::from(i * 37 % 101);
/// let noise = |i: i32| f64::from(i * 53 % 17);
/// let control = CrossMoments::from_rows((0..500).map(|i| [before(i) + noise(i), before(i)]))?;
/// let treatment = CrossMoments::from_rows((500..1000).map(|i| [1.0 + before(i) + noise(i), before(i)]))?;
/// let adjusted = compare_adjusted(&control, &treatment, Outcome::Mean, Slopes::ByArm, 0.05)?;
/// assert!(adjusted.variance_removed > Some(0.9));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::LengthsDiffer`] where the arms have different columns, or too few for the
/// outcome; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can have.
pub fn compare_adjusted(
    control: &CrossMoments,
    treatment: &CrossMoments,
    outcome: Outcome,
    slopes: Slopes,
    alpha: f64,
) -> Result<Adjusted, StatsError> {
    let method = match slopes {
        Slopes::Common => CUPED_METHOD,
        Slopes::ByArm => LIN_METHOD,
    };
    check_alpha(alpha)?;
    let unadjusted = unadjusted_effect(control, treatment, outcome)?;
    let Effect::Estimated(plain) = &unadjusted else {
        return without_test(&unadjusted, alpha, method);
    };
    let arms = Arms::new(control, treatment, outcome, slopes);
    let variances = (arms.control.residual_variance(), arms.treatment.residual_variance());
    arms.finish(variances, plain, alpha, method)
}

/// Lin's regression from the units themselves: each row holds a unit's outcome and then its covariates. The variance is
/// HC2 of the fully interacted regression, with the overall means' own variance added.
///
/// # Errors
///
/// As [`compare_adjusted`].
pub fn compare_adjusted_units<Row: AsRef<[f64]>>(
    control: &[Row],
    treatment: &[Row],
    alpha: f64,
) -> Result<Adjusted, StatsError> {
    check_alpha(alpha)?;
    let control_moments = CrossMoments::from_rows(control)?;
    let treatment_moments = CrossMoments::from_rows(treatment)?;
    let unadjusted = unadjusted_effect(&control_moments, &treatment_moments, Outcome::Mean)?;
    let Effect::Estimated(plain) = &unadjusted else {
        return without_test(&unadjusted, alpha, LIN_UNITS_METHOD);
    };
    let arms = Arms::new(&control_moments, &treatment_moments, Outcome::Mean, Slopes::ByArm);
    let variances =
        (arms.control.hc2_variance(control, &arms.used), arms.treatment.hc2_variance(treatment, &arms.used));
    arms.finish(variances, plain, alpha, LIN_UNITS_METHOD)
}

/// The effect that the covariates are to sharpen; refuses columns that do not fit.
fn unadjusted_effect(control: &CrossMoments, treatment: &CrossMoments, outcome: Outcome) -> Result<Effect, StatsError> {
    for arm in [control, treatment] {
        arm.check()?;
        if arm.n > 0 && arm.means.len() < outcome.columns() {
            return Err(StatsError::LengthsDiffer { counts: outcome.columns(), weights: arm.means.len() });
        }
    }
    if control.n > 0 && treatment.n > 0 && control.means.len() != treatment.means.len() {
        return Err(StatsError::LengthsDiffer { counts: control.means.len(), weights: treatment.means.len() });
    }
    match outcome {
        Outcome::Mean => Effect::of_means(&control.column(0), &treatment.column(0)),
        Outcome::Ratio => ratio_effect(&ratio_columns(control), &ratio_columns(treatment)),
    }
}

fn ratio_columns(arm: &CrossMoments) -> RatioMoments {
    let (numerator, denominator) = (arm.column(0), arm.column(1));
    RatioMoments {
        n: arm.n,
        numerator_mean: numerator.mean,
        denominator_mean: denominator.mean,
        numerator_squares: numerator.sum_squared_deviations,
        denominator_squares: denominator.sum_squared_deviations,
        products: arm.product(0, 1),
    }
}

fn without_test(effect: &Effect, alpha: f64, method: &str) -> Result<Adjusted, StatsError> {
    Ok(Adjusted {
        comparison: effect.comparison(alpha, method)?,
        effect: effect.clone(),
        standard_error: None,
        degrees_of_freedom: None,
        variance_removed: None,
        covariates_used: Vec::new(),
        covariates_without_use: Vec::new(),
        covariates_beyond_the_limit: Vec::new(),
        control_slopes: Vec::new(),
        treatment_slopes: Vec::new(),
        note: None,
    })
}

/// Weights of the control and of the treatment.
type Weights<'a> = (ArmWeights<'a>, ArmWeights<'a>);

/// Both arms, fitted.
#[derive(Debug, Clone)]
struct Arms {
    control: Arm,
    treatment: Arm,
    used: Vec<usize>,
    left_out: Vec<usize>,
    too_many: Vec<usize>,
}

impl Arms {
    /// Expects moments that were checked, with at least two units in each arm.
    fn new(control: &CrossMoments, treatment: &CrossMoments, outcome: Outcome, slopes: Slopes) -> Self {
        let (mut control, mut treatment) = (Arm::new(control, outcome), Arm::new(treatment, outcome));
        let most = control.units.min(treatment.units) / UNITS_PER_COVARIATE;
        let (mut used, mut left_out, mut too_many) = (Vec::new(), Vec::new(), Vec::new());
        for covariate in 0..control.means.len() {
            if used.len() as u64 >= most || (slopes == Slopes::Common && !used.is_empty()) {
                too_many.push(covariate);
                continue;
            }
            match (control.row_of(covariate, &used), treatment.row_of(covariate, &used)) {
                (Some(control_row), Some(treatment_row)) => {
                    control.factor.push(control_row);
                    treatment.factor.push(treatment_row);
                    used.push(covariate);
                }
                _ => left_out.push(covariate),
            }
        }
        control.keep(&used);
        treatment.keep(&used);
        let treatment_share = count(treatment.units) / (count(control.units) + count(treatment.units));
        let gaps: Vec<f64> = treatment.means.iter().zip(&control.means).map(|(theirs, ours)| theirs - ours).collect();
        control.distances = gaps.iter().map(|gap| -gap * treatment_share).collect();
        treatment.distances = gaps.iter().map(|gap| gap * (1.0 - treatment_share)).collect();
        match slopes {
            Slopes::ByArm => {
                for arm in [&mut control, &mut treatment] {
                    let own = arm.factor.solve(&arm.with_outcome);
                    let degrees = arm.units.saturating_sub(1 + used.len() as u64);
                    arm.fit(own, degrees);
                }
            }
            Slopes::Common => {
                let common: Vec<f64> = control
                    .with_outcome
                    .iter()
                    .zip(&treatment.with_outcome)
                    .enumerate()
                    .map(|(place, (control_product, treatment_product))| {
                        let squares = control.among_covariates[place][place] + treatment.among_covariates[place][place];
                        (control_product + treatment_product) / squares
                    })
                    .collect();
                for arm in [&mut control, &mut treatment] {
                    arm.fit(common.clone(), arm.units.saturating_sub(1));
                }
            }
        }
        Self { control, treatment, used, left_out, too_many }
    }

    /// The adjusted comparison, with the variances of the arms' mean residuals as (control, treatment).
    fn finish(
        self,
        variances: (f64, f64),
        plain: &EstimatedEffect,
        alpha: f64,
        method: &str,
    ) -> Result<Adjusted, StatsError> {
        let (control, treatment) = (&self.control, &self.treatment);
        let all = count(control.units) + count(treatment.units);
        let (control_share, treatment_share) = (count(control.units) / all, count(treatment.units) / all);
        let slope_gaps: Vec<f64> =
            treatment.slopes.iter().zip(&control.slopes).map(|(theirs, ours)| theirs - ours).collect();
        let scaled = |slopes: &[f64], factor: f64| -> Vec<f64> { slopes.iter().map(|slope| slope * factor).collect() };

        // Weights of each arm's mean residual and mean covariates in the difference and in the control's value.
        let control_difference = scaled(&slope_gaps, control_share);
        let treatment_difference = scaled(&slope_gaps, treatment_share);
        let control_baseline = scaled(&control.slopes, control_share);
        let treatment_baseline = scaled(&control.slopes, treatment_share);
        let difference_parts = ((-1.0, &control_difference[..]), (1.0, &treatment_difference[..]));
        let baseline_parts = ((1.0, &control_baseline[..]), (0.0, &treatment_baseline[..]));
        let total = |first: Weights<'_>, second: Weights<'_>| {
            control.covariance(first.0, second.0, variances.0) + treatment.covariance(first.1, second.1, variances.1)
        };
        let square = total(difference_parts, difference_parts);
        let plain_square = plain.standard_error * plain.standard_error;
        let note = self.note();
        if self.used.is_empty() || square <= EXACT_TO * plain_square {
            let note = if self.used.is_empty() { note } else { Some(PERFECT.to_owned()) };
            let method = format!("{method}; no covariate used");
            let mut unadjusted = without_test(&Effect::Estimated(*plain), alpha, &method)?;
            unadjusted.standard_error = Some(plain.standard_error);
            unadjusted.degrees_of_freedom = plain.degrees_of_freedom;
            unadjusted.variance_removed = Some(0.0);
            if self.used.is_empty() {
                unadjusted.covariates_without_use = self.left_out;
                unadjusted.covariates_beyond_the_limit = self.too_many;
            }
            unadjusted.note = note;
            return Ok(unadjusted);
        }
        let control_value = control.value - dot(&control.slopes, &control.distances);
        let treatment_value = treatment.value - dot(&treatment.slopes, &treatment.distances);
        let control_part = control.covariance(difference_parts.0, difference_parts.0, variances.0);
        let treatment_part = treatment.covariance(difference_parts.1, difference_parts.1, variances.1);
        let degrees_of_freedom = welch_degrees_of_freedom(&[
            (control_part, control.residual_degrees + 1),
            (treatment_part, treatment.residual_degrees + 1),
        ]);
        let effect = Effect::new(EstimatedEffect {
            difference: treatment_value - control_value,
            standard_error: square.sqrt(),
            degrees_of_freedom,
            baseline: control_value,
            baseline_variance: total(baseline_parts, baseline_parts).max(0.0),
            covariance: total(difference_parts, baseline_parts),
        })?;
        Ok(Adjusted {
            comparison: effect.comparison(alpha, method)?,
            standard_error: effect.standard_error(),
            degrees_of_freedom: effect.degrees_of_freedom(),
            variance_removed: Some(1.0 - square / plain_square),
            note,
            control_slopes: self.control.slopes,
            treatment_slopes: self.treatment.slopes,
            covariates_used: self.used,
            covariates_without_use: self.left_out,
            covariates_beyond_the_limit: self.too_many,
            effect,
        })
    }

    /// Which covariates were left out, counted from 1.
    fn note(&self) -> Option<String> {
        let mut reasons = Vec::new();
        if !self.left_out.is_empty() {
            let names = counted_from_one(&self.left_out);
            reasons.push(format!("covariates left out as constant in an arm or a combination of others: {names}"));
        }
        if !self.too_many.is_empty() {
            let names = counted_from_one(&self.too_many);
            reasons.push(format!("covariates left out as more than the units or the method allow: {names}"));
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

fn counted_from_one(places: &[usize]) -> String {
    places.iter().map(|place| (place + 1).to_string()).collect::<Vec<_>>().join(", ")
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
    use crate::numeric::assert_close;

    /// Outcome and two covariates of eighty recipients, by arithmetic alone so that the oracle can repeat them.
    fn recipient(index: i32, lift: f64) -> [f64; 3] {
        let before = f64::from((index * 37) % 101) / 10.0;
        let age = f64::from((index * 53) % 29);
        let noise = f64::from((index * 71) % 43) / 8.0;
        [2.0 + lift + (0.8 + lift / 10.0) * before + 0.05 * age + noise, before, age]
    }

    fn arms() -> (Vec<[f64; 3]>, Vec<[f64; 3]>) {
        ((0..40).map(|i| recipient(i, 0.0)).collect(), (40..80).map(|i| recipient(i, 1.0)).collect())
    }

    fn moments(rows: &[[f64; 3]]) -> CrossMoments {
        CrossMoments::from_rows(rows).unwrap()
    }

    struct Expected {
        difference: f64,
        standard_error: f64,
        degrees_of_freedom: f64,
        p_value: f64,
        lift: (f64, f64),
    }

    fn check(adjusted: &Adjusted, expected: &Expected) {
        assert_close(adjusted.comparison.difference.estimate.unwrap(), expected.difference, 1e-10);
        assert_close(adjusted.standard_error.unwrap(), expected.standard_error, 1e-10);
        assert_close(adjusted.degrees_of_freedom.unwrap(), expected.degrees_of_freedom, 1e-9);
        assert_close(adjusted.comparison.p_value.unwrap(), expected.p_value, 1e-8);
        assert_close(adjusted.comparison.lift.low.unwrap(), expected.lift.0, 1e-8);
        assert_close(adjusted.comparison.lift.high.unwrap(), expected.lift.1, 1e-8);
    }

    #[test]
    fn one_slope_agrees_with_statsmodels() {
        // tests/oracle/adjust.py: the effect is the arm's coefficient of statsmodels' OLS on arm and covariate.
        let (control, treatment) = arms();
        let one = |rows: &[[f64; 3]]| CrossMoments::from_rows(rows.iter().map(|row| [row[0], row[1]])).unwrap();
        let adjusted = compare_adjusted(&one(&control), &one(&treatment), Outcome::Mean, Slopes::Common, 0.05).unwrap();
        check(
            &adjusted,
            &Expected {
                difference: 1.486254082383765,
                standard_error: 0.3653744744978608,
                degrees_of_freedom: 77.69136041911351,
                p_value: 0.00011300739742341746,
                lift: (0.07675433086937487, 0.2503537425884077),
            },
        );
        assert_close(adjusted.variance_removed.unwrap(), 0.7096059644574108, 1e-9);
    }

    #[test]
    fn slopes_by_arm_agree_with_statsmodels() {
        // tests/oracle/adjust.py: statsmodels' OLS within each arm, covariates less their overall means.
        let (control, treatment) = arms();
        let adjusted =
            compare_adjusted(&moments(&control), &moments(&treatment), Outcome::Mean, Slopes::ByArm, 0.05).unwrap();
        check(
            &adjusted,
            &Expected {
                difference: 1.4810020183196695,
                standard_error: 0.3529330203369974,
                degrees_of_freedom: 73.99363687616524,
                p_value: 7.455875247529654e-5,
                lift: (0.0789825244130151, 0.24568714204513084),
            },
        );
        assert_close(adjusted.variance_removed.unwrap(), 0.7290458107300912, 1e-9);
        assert_eq!(adjusted.covariates_used, [0, 1]);
        assert_eq!(adjusted.note, None);
    }

    #[test]
    fn hc2_agrees_with_statsmodels() {
        // tests/oracle/adjust.py: statsmodels' HC2 of the interacted regression, and the variance of the overall means.
        let (control, treatment) = arms();
        let adjusted = compare_adjusted_units(&control, &treatment, 0.05).unwrap();
        check(
            &adjusted,
            &Expected {
                difference: 1.4810020183196695,
                standard_error: 0.353645760977802,
                degrees_of_freedom: 73.97349678170534,
                p_value: 7.685535181954065e-5,
                lift: (0.07886107168364592, 0.24577132954687841),
            },
        );
        assert_close(adjusted.variance_removed.unwrap(), 0.7279503333887543, 1e-9);
    }

    #[test]
    fn a_ratio_is_adjusted_as_its_linearised_value() {
        // tests/oracle/adjust.py: the linearised values regressed within each arm.
        let row = |index: i32, lift: f64| {
            let [spend, before, _] = recipient(index, lift);
            let clicks = f64::from(1 + (index * 13) % 5);
            [spend * clicks, clicks, before]
        };
        let control = CrossMoments::from_rows((0..40).map(|i| row(i, 0.0))).unwrap();
        let treatment = CrossMoments::from_rows((40..80).map(|i| row(i, 1.0))).unwrap();
        let adjusted = compare_adjusted(&control, &treatment, Outcome::Ratio, Slopes::ByArm, 0.05).unwrap();
        check(
            &adjusted,
            &Expected {
                difference: 1.3714880514403216,
                standard_error: 0.48077197117475257,
                degrees_of_freedom: 75.74431874885427,
                p_value: 0.005586118101095861,
                lift: (0.04159225706115663, 0.2602481294369091),
            },
        );
        assert_close(adjusted.variance_removed.unwrap(), 0.5811254918030644, 1e-9);
    }

    #[test]
    fn useless_covariates_are_named() {
        let wide = |rows: &[[f64; 3]]| {
            CrossMoments::from_rows(rows.iter().map(|row| [row[0], 7.0, row[1], 2.0 * row[1], row[2]])).unwrap()
        };
        let (control, treatment) = arms();
        let adjusted =
            compare_adjusted(&wide(&control), &wide(&treatment), Outcome::Mean, Slopes::ByArm, 0.05).unwrap();
        assert_eq!(adjusted.covariates_used, [1, 3]);
        assert!(adjusted.note.unwrap().ends_with(": 1, 3"));
        let plain =
            compare_adjusted(&moments(&control), &moments(&treatment), Outcome::Mean, Slopes::ByArm, 0.05).unwrap();
        assert_close(adjusted.standard_error.unwrap(), plain.standard_error.unwrap(), 1e-10);
    }

    #[test]
    fn without_covariates_it_is_welchs_test() {
        let (control, treatment) = arms();
        let alone = |rows: &[[f64; 3]]| CrossMoments::from_rows(rows.iter().map(|row| [row[0]])).unwrap();
        let (control, treatment) = (alone(&control), alone(&treatment));
        let welch = compare_means(&control.column(0), &treatment.column(0), 0.05).unwrap();
        for slopes in [Slopes::Common, Slopes::ByArm] {
            let adjusted = compare_adjusted(&control, &treatment, Outcome::Mean, slopes, 0.05).unwrap();
            assert_close(adjusted.comparison.p_value.unwrap(), welch.p_value.unwrap(), 1e-12);
            assert_eq!(adjusted.variance_removed, Some(0.0));
        }
    }

    #[test]
    fn thin_or_impossible_data_is_explained() {
        let (control, treatment) = arms();
        let (few, all) = (moments(&treatment[..9]), moments(&control));
        // Nine units are not enough for one covariate: the comparison is the unadjusted one.
        let unadjusted = compare_adjusted(&all, &few, Outcome::Mean, Slopes::ByArm, 0.05).unwrap();
        assert!(unadjusted.covariates_used.is_empty() && unadjusted.note.is_some());
        assert!(unadjusted.comparison.p_value.is_some());
        for other in [CrossMoments::default(), moments(&treatment[..1])] {
            let adjusted = compare_adjusted(&all, &other, Outcome::Mean, Slopes::ByArm, 0.05).unwrap();
            assert_eq!((adjusted.comparison.p_value, adjusted.variance_removed), (None, None));
            assert!(adjusted.comparison.difference.note.is_some());
        }
        let copied = CrossMoments::from_rows(control.iter().map(|row| [row[0], row[0]])).unwrap();
        let perfect = compare_adjusted(&copied, &copied, Outcome::Mean, Slopes::ByArm, 0.05).unwrap();
        assert_eq!(perfect.note.as_deref(), Some(PERFECT));
        let narrow = CrossMoments::from_rows([[1.0], [2.0]]).unwrap();
        assert!(compare_adjusted(&all, &narrow, Outcome::Mean, Slopes::ByArm, 0.05).is_err());
        assert!(compare_adjusted(&narrow, &narrow, Outcome::Ratio, Slopes::ByArm, 0.05).is_err());
        assert!(compare_adjusted(&all, &all, Outcome::Mean, Slopes::ByArm, 0.0).is_err());
    }
}
