//! Revenue with a few very large values: winsorised, or on a logarithmic scale.
//!
//! Enters: the values of both arms, zeros included, one a randomised unit. Leaves: [`Moments`] for the ordinary Welch
//! comparison, and how much was cut.
//!
//! - Winsorising (Dixon 1960, Annals of Mathematical Statistics 31(2)): values beyond a limit are set to the limit. The
//!   limit is a stated number, or a quantile of *both arms together*: limits of each arm apart would cut a treatment
//!   that sells more by more. What is estimated is then the difference of the winsorised means; the share of value cut
//!   says how far that can be from the means themselves. Winsorise before covariates adjust.
//! - Logarithm: ln(1 + x), whose mean exists where that of x is ruled by its tail. Its difference is a ratio of geometric
//!   means of 1 + x, and depends on the currency: with many zeros it is mostly the effect on who buys at all.

use crate::comparison::{Comparison, compare_means};
use crate::error::{StatsError, check_finite, check_not_negative};
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;
use crate::numeric::{count, length};
use serde::{Deserialize, Serialize};

/// What a comparison of winsorised means says it was made by.
pub const WINSORISED_METHOD: &str =
    "winsorised at a limit of both arms together; Welch t test and interval, Fieller interval for the lift";
/// What a comparison of logarithms says it was made by.
pub const LOGARITHM_METHOD: &str = "Welch t test of ln(1 + x); the lift is the change of the geometric mean of 1 + x";

const NOTHING_LEFT: &str = "every value was cut to the limit: choose a limit that fewer values pass";

/// Where values are cut on one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// At a value, in the metric's units.
    Value(f64),
    /// At the value that this share of the units of both arms lies beyond: 0.01 cuts the greatest (or least) hundredth.
    Share(f64),
    /// The same among the units whose value is not zero: where few buy, a share of all would cut every purchase.
    ShareOfNonzero(f64),
}

/// Limits on either side; by default the greatest hundredth of the values that are not zero is cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Winsorising {
    /// Values below are raised; none leaves them.
    pub lower: Option<Cut>,
    /// Values above are lowered; none leaves them.
    pub upper: Option<Cut>,
}

impl Default for Winsorising {
    fn default() -> Self {
        Self { lower: None, upper: Some(Cut::ShareOfNonzero(0.01)) }
    }
}

/// One arm after winsorising.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct WinsorisedArm {
    /// Of the values after the cut.
    pub moments: Moments,
    /// Units whose value was changed.
    pub units_cut: u64,
    /// The same as a share, 0 to 1; none without units.
    pub share_of_units_cut: Option<f64>,
    /// By how much all values were changed together, each without its sign, in the metric's units.
    pub value_cut: f64,
    /// The same as a share of all values without their signs, 0 to 1; none where all are zero.
    pub share_of_value_cut: Option<f64>,
}

/// Both arms after winsorising, and their comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Winsorised {
    /// The control.
    pub control: WinsorisedArm,
    /// The treatment.
    pub treatment: WinsorisedArm,
    /// The limit below; none where there is none.
    pub lower_limit: Option<f64>,
    /// The limit above; none where there is none.
    pub upper_limit: Option<f64>,
    /// Welch's comparison of the winsorised means.
    pub comparison: Comparison,
    /// What else a reader has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Compares two arms after cutting their extreme values at common limits.
///
/// ```
/// use sendlift_stats::skewed::{Cut, Winsorising, compare_winsorised};
///
/// let control = [0.0, 0.0, 3.0, 5.0, 4.0, 900.0];
/// let treatment = [0.0, 2.0, 6.0, 7.0, 5.0, 8.0];
/// let rule = Winsorising { lower: None, upper: Some(Cut::Value(10.0)) };
/// let result = compare_winsorised(&control, &treatment, rule, 0.05)?;
/// assert_eq!(result.control.units_cut, 1);
/// assert_eq!(result.control.value_cut, 890.0);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] at a value or limit that is NaN or infinite;
/// [`StatsError::InvalidProbability`] for a share outside 0 to 1; [`StatsError::Negative`] where the upper limit lies
/// below the lower.
pub fn compare_winsorised(
    control: &[f64],
    treatment: &[f64],
    rule: Winsorising,
    alpha: f64,
) -> Result<Winsorised, StatsError> {
    for &value in control.iter().chain(treatment) {
        check_finite("a value of the metric", value)?;
    }
    let lower_limit = limit(control, treatment, rule.lower, Side::Lower)?;
    let upper_limit = limit(control, treatment, rule.upper, Side::Upper)?;
    if let (Some(lower), Some(upper)) = (lower_limit, upper_limit) {
        check_not_negative("the upper limit less the lower", upper - lower)?;
    }
    let control = winsorise(control, lower_limit, upper_limit)?;
    let treatment = winsorise(treatment, lower_limit, upper_limit)?;
    let mut comparison = compare_means(&control.moments, &treatment.moments, alpha)?;
    WINSORISED_METHOD.clone_into(&mut comparison.method);
    let all_cut = control.units_cut + treatment.units_cut > 0
        && control.moments.sum_squared_deviations + treatment.moments.sum_squared_deviations <= 0.0;
    Ok(Winsorised {
        control,
        treatment,
        lower_limit,
        upper_limit,
        comparison,
        note: all_cut.then(|| NOTHING_LEFT.to_owned()),
    })
}

/// One arm's values cut to limits; none leaves a side as it is. For arms that are stored apart, or limits known before.
///
/// # Errors
///
/// [`StatsError::NotFinite`] at a value or limit that is NaN or infinite.
pub fn winsorise(
    values: &[f64],
    lower_limit: Option<f64>,
    upper_limit: Option<f64>,
) -> Result<WinsorisedArm, StatsError> {
    for limit in [lower_limit, upper_limit].into_iter().flatten() {
        check_finite("a limit", limit)?;
    }
    let cut = |value: f64| {
        let raised = lower_limit.map_or(value, |limit| value.max(limit));
        upper_limit.map_or(raised, |limit| raised.min(limit))
    };
    let moments = Moments::from_values(values.iter().map(|&value| if value.is_finite() { cut(value) } else { value }))?;
    let (mut units_cut, mut value_cut, mut all) = (0, 0.0, 0.0);
    for &value in values {
        let change = (value - cut(value)).abs();
        if change > 0.0 {
            units_cut += 1;
            value_cut += change;
        }
        all += value.abs();
    }
    let share_of_units_cut = (!values.is_empty()).then(|| count(units_cut) / length(values.len()));
    let share_of_value_cut = (all > 0.0 && all.is_finite()).then(|| (value_cut / all).min(1.0));
    Ok(WinsorisedArm { moments, units_cut, share_of_units_cut, value_cut, share_of_value_cut })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Lower,
    Upper,
}

/// The limit of both arms together; none without a rule or without values.
fn limit(control: &[f64], treatment: &[f64], cut: Option<Cut>, side: Side) -> Result<Option<f64>, StatsError> {
    let (share, keep_zeros) = match cut {
        None => return Ok(None),
        Some(Cut::Value(value)) => {
            check_finite("a limit", value)?;
            return Ok(Some(value));
        }
        Some(Cut::Share(share)) => (share, true),
        Some(Cut::ShareOfNonzero(share)) => (share, false),
    };
    if !(0.0..1.0).contains(&share) {
        return Err(StatsError::InvalidProbability { quantity: "the share of values to cut", value: share });
    }
    let mut values: Vec<f64> =
        control.iter().chain(treatment).copied().filter(|&value| keep_zeros || value != 0.0).collect();
    if values.is_empty() {
        return Ok(None);
    }
    // So many may lie beyond; the limit is the most extreme of the rest.
    let beyond = beyond(values.len(), share);
    let place = match side {
        Side::Lower => beyond,
        Side::Upper => values.len() - 1 - beyond,
    };
    let (_, limit, _) = values.select_nth_unstable_by(place, f64::total_cmp);
    Ok(Some(*limit))
}

/// The whole number of `values` that a share of them is, never all.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share below 1 of a length, rounded down, is between zero and that length"
)]
fn beyond(values: usize, share: f64) -> usize {
    let beyond = (length(values) * share).floor() as usize;
    beyond.min(values.saturating_sub(1))
}

/// The moments of ln(1 + x).
///
/// # Errors
///
/// [`StatsError::NotFinite`] or [`StatsError::Negative`] at a value that has no such logarithm: repay refunds first.
pub fn logarithm_moments(values: &[f64]) -> Result<Moments, StatsError> {
    for &value in values {
        check_not_negative("a value to take the logarithm of", value)?;
    }
    Moments::from_values(values.iter().map(|value| value.ln_1p()))
}

/// Compares two arms on the scale of ln(1 + x). The difference is one of logarithms; the lift is exp(difference) − 1,
/// the change of the geometric mean of 1 + x, with the interval's ends so transformed: the two cannot contradict one
/// another.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can
/// have.
pub fn compare_logarithms(control: &Moments, treatment: &Moments, alpha: f64) -> Result<Comparison, StatsError> {
    let comparison = compare_means(control, treatment, alpha)?;
    let difference = comparison.difference;
    let lift = Estimate::from_parts(
        difference.estimate.map(f64::exp_m1),
        Interval {
            low: difference.low.map(f64::exp_m1),
            high: difference.high.map(f64::exp_m1),
            note: difference.note.clone(),
        },
    );
    Ok(Comparison {
        difference,
        lift: finite_ends(lift),
        statistic: comparison.statistic,
        p_value: comparison.p_value,
        method: LOGARITHM_METHOD.to_owned(),
    })
}

/// Leaves out ends that are too large for a number.
fn finite_ends(estimate: Estimate) -> Estimate {
    let is_too_large = |end: Option<f64>| end.is_some_and(|end| !end.is_finite());
    if is_too_large(estimate.low) || is_too_large(estimate.high) {
        let interval = Interval {
            low: estimate.low.filter(|end| end.is_finite()),
            high: estimate.high.filter(|end| end.is_finite()),
            note: Some("an end of the lift is too large to compute".to_owned()),
        };
        return Estimate::from_parts(estimate.estimate, interval);
    }
    estimate
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

    const CONTROL: [f64; 8] = [0.0, 0.0, 12.0, 3.0, 0.0, 5.0, 250.0, 7.0];
    const TREATMENT: [f64; 8] = [0.0, 15.0, 9.0, 0.0, 4.0, 90.0, 6.0, 8.0];

    #[test]
    fn limits_are_those_of_both_arms() {
        let upper = |cut| {
            let rule = Winsorising { lower: None, upper: Some(cut) };
            compare_winsorised(&CONTROL, &TREATMENT, rule, 0.05).unwrap()
        };
        // Sixteen values: a tenth is one, an eighth two. Eleven are not zero: a tenth of them is one.
        assert_eq!(upper(Cut::Share(0.1)).upper_limit, Some(90.0));
        assert_eq!(upper(Cut::Share(0.125)).upper_limit, Some(15.0));
        assert_eq!(upper(Cut::ShareOfNonzero(0.1)).upper_limit, Some(90.0));
        assert_eq!(upper(Cut::ShareOfNonzero(0.2)).upper_limit, Some(15.0));
        assert_eq!(upper(Cut::Share(0.0)).upper_limit, Some(250.0));
        let eighth = upper(Cut::Share(0.125));
        assert_eq!((eighth.control.units_cut, eighth.treatment.units_cut), (1, 1));
        assert_eq!((eighth.control.value_cut, eighth.treatment.value_cut), (235.0, 75.0));
        assert_close(eighth.control.share_of_value_cut.unwrap(), 235.0 / 277.0, 1e-15);
        assert_close(eighth.treatment.share_of_units_cut.unwrap(), 0.125, 1e-15);
    }

    #[test]
    fn the_comparison_is_welchs_on_what_is_left() {
        // SciPy 1.17.1: ttest_ind of the values clipped to 0..15 by NumPy, equal_var=False.
        let rule = Winsorising { lower: Some(Cut::Value(0.0)), upper: Some(Cut::Value(15.0)) };
        let result = compare_winsorised(&CONTROL, &TREATMENT, rule, 0.05).unwrap();
        let difference = &result.comparison.difference;
        assert_close(difference.estimate.unwrap(), 1.875, 1e-12);
        assert_close(result.comparison.p_value.unwrap(), 0.528993406970431, 1e-10);
        assert_close(difference.low.unwrap(), -4.3544484033129836, 1e-9);
        assert_close(difference.high.unwrap(), 8.104448403312983, 1e-9);
    }

    #[test]
    fn logarithms_turn_back_into_a_lift() {
        // SciPy 1.17.1: ttest_ind of numpy.log1p of the values, equal_var=False, with its confidence_interval.
        let (control, treatment) = (logarithm_moments(&CONTROL).unwrap(), logarithm_moments(&TREATMENT).unwrap());
        let comparison = compare_logarithms(&control, &treatment, 0.05).unwrap();
        assert_close(comparison.p_value.unwrap(), 0.7713895050580036, 1e-10);
        assert_close(comparison.lift.estimate.unwrap(), 0.2825349337643126, 1e-11);
        assert_close(comparison.lift.low.unwrap(), -0.7898602244127315, 1e-9);
        assert_close(comparison.lift.high.unwrap(), 6.827627357690426, 1e-9);
    }

    #[test]
    fn a_lower_side_is_cut_as_the_upper_is() {
        let negative: Vec<f64> = CONTROL.iter().map(|value| -value).collect();
        let rule = Winsorising { lower: Some(Cut::Share(0.25)), upper: None };
        let result = compare_winsorised(&negative, &[], rule, 0.05).unwrap();
        // Two of eight lie beyond: −250 and −12.
        assert_eq!(result.lower_limit, Some(-7.0));
        assert_eq!(result.control.units_cut, 2);
    }

    #[test]
    fn thin_data_is_explained() {
        let rule = Winsorising::default();
        let empty = compare_winsorised(&[], &[], rule, 0.05).unwrap();
        assert_eq!((empty.upper_limit, empty.control.share_of_units_cut), (None, None));
        assert_eq!(empty.comparison.p_value, None);
        let zeros = compare_winsorised(&[0.0; 5], &[0.0; 4], rule, 0.05).unwrap();
        assert_eq!((zeros.upper_limit, zeros.control.share_of_value_cut), (None, None));
        assert_eq!(zeros.comparison.p_value, Some(1.0));
        let flat = Winsorising { lower: None, upper: Some(Cut::Value(-1.0)) };
        assert_eq!(compare_winsorised(&CONTROL, &TREATMENT, flat, 0.05).unwrap().note.as_deref(), Some(NOTHING_LEFT));
        let large = compare_winsorised(&[1e12, 2e12, 3e12], &[4e12, 1e12, 9e12], Winsorising::default(), 0.05).unwrap();
        assert!(large.comparison.p_value.is_some_and(f64::is_finite));
        assert_eq!(compare_logarithms(&Moments::default(), &Moments::default(), 0.05).unwrap().p_value, None);
    }

    #[test]
    fn impossible_input_is_refused() {
        let rule = |lower, upper| Winsorising { lower, upper };
        assert!(compare_winsorised(&[f64::NAN], &CONTROL, Winsorising::default(), 0.05).is_err());
        assert!(compare_winsorised(&CONTROL, &CONTROL, rule(None, Some(Cut::Share(1.0))), 0.05).is_err());
        assert!(compare_winsorised(&CONTROL, &CONTROL, rule(None, Some(Cut::Share(f64::NAN))), 0.05).is_err());
        assert!(compare_winsorised(&CONTROL, &CONTROL, rule(None, Some(Cut::Value(f64::INFINITY))), 0.05).is_err());
        let crossed = rule(Some(Cut::Value(5.0)), Some(Cut::Value(4.0)));
        assert!(compare_winsorised(&CONTROL, &CONTROL, crossed, 0.05).is_err());
        assert!(logarithm_moments(&[1.0, -0.5]).is_err());
        assert!(winsorise(&[1.0, f64::INFINITY], None, Some(3.0)).is_err());
    }
}
