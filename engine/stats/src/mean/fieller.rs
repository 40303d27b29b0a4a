//! Fieller's interval for the lift of a mean.
//!
//! Enters: the moments of two arms, and alpha. Leaves: the lifts θ = (treatment mean − control mean) / |control mean|
//! that the data do not reject. Fieller (1954), Journal of the Royal Statistical Society B 16(2).
//!
//! A lift θ is kept when (d − θ |C|)² ≤ c² (V + (1 ± θ)² W): d the difference, C the control mean, V and W the squared
//! standard errors of treatment and control, the sign that of C, and c Welch's critical value *for the difference*. At
//! θ = 0 this is Welch's test itself, so zero lies outside exactly when p < alpha.
//!
//! Divided by C², it is a quadratic in θ, `a θ² − 2 b θ + k ≤ 0`:
//!
//! ```text
//! g = c² W / C²
//! a = 1 − g                     above zero when the control mean differs from zero at this alpha
//! b = d / |C| ± g
//! k = (d² − c² (V + W)) / C²    above zero when the difference is significant
//! ```
//!
//! With g < 1 the lifts between the two roots are kept. Otherwise the baseline itself could be zero, any size of lift
//! is possible, and what is kept is unbounded: everything, or all but what lies between the roots. Then the side of the
//! gap on which the estimate lies is given, and the note says the rest.

use super::contrast::{Contrast, Prepared, lift, lift_undefined, no_lift};
use crate::distribution::students_t;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;

/// What every note of an unbounded lift says first.
const UNSURE_BASELINE: &str = "the control mean cannot be told from zero at this alpha, so the lift is unbounded";

/// The lift of the treatment's mean over the control's, with Fieller's interval at confidence 1 − `alpha`.
///
/// A share: 0.1 is +10 %. Relative to the *size* of the control mean, so that a positive difference is a positive lift
/// for a negative baseline too. With a control mean of exactly zero there is neither estimate nor interval, and a note
/// says so.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can
/// have.
pub fn fieller_interval_lift(control: &Moments, treatment: &Moments, alpha: f64) -> Result<Estimate, StatsError> {
    check_alpha(alpha)?;
    Ok(match Prepared::new(control, treatment)? {
        Prepared::Testable(contrast) => match lift(contrast.control_mean, contrast.difference) {
            Some(estimate) => {
                let critical = students_t::critical_value(alpha, contrast.degrees_of_freedom);
                Estimate::new(estimate, lifts_kept(&contrast, estimate, critical))
            }
            None => lift_undefined(),
        },
        Prepared::Identical { control_mean } => no_lift(control_mean),
        Prepared::Untestable { means: None, note } => Estimate::undefined(note),
        Prepared::Untestable { means: Some((control_mean, treatment_mean)), note } => {
            match lift(control_mean, treatment_mean - control_mean) {
                Some(estimate) => Estimate::new(estimate, Interval::undefined(note)),
                None => lift_undefined(),
            }
        }
    })
}

/// The interval, and where the set of lifts is no interval, the part of it to report.
fn lifts_kept(contrast: &Contrast, estimate: f64, critical: f64) -> Interval {
    // All in units of the baseline, so that the currency cannot matter.
    let baseline = contrast.control_mean.abs();
    let sign = contrast.control_mean.signum();
    let control_noise = critical * contrast.control_square.sqrt() / baseline;
    let treatment_noise = critical * contrast.treatment_square.sqrt() / baseline;
    let g = control_noise * control_noise;

    // The same difference of two numbers that the interval of the difference is made of, so that their signs agree.
    let half_width = critical * contrast.standard_error;
    let size = contrast.difference.abs();
    let constant = (size - half_width) / baseline * ((size + half_width) / baseline);
    let leading = 1.0 - g;
    let middle = estimate + sign * g;
    let ratio_of_means = contrast.treatment_mean / baseline;
    let discriminant = treatment_noise * treatment_noise * leading + ratio_of_means * ratio_of_means * g;
    if !(constant.is_finite() && middle.is_finite() && discriminant.is_finite()) {
        return Interval::undefined(format!("{UNSURE_BASELINE}: the lift is too large to compute"));
    }
    // Adding magnitudes only: one root is found as sum / leading, the other as constant / sum.
    let sum = middle + discriminant.sqrt().copysign(middle);
    if discriminant < 0.0 || sum == 0.0 {
        return Interval::undefined(format!("{UNSURE_BASELINE}: no lift is excluded"));
    }
    // At a leading coefficient of zero the far root has just gone off to infinity on the other side.
    let far = if leading == 0.0 { f64::INFINITY.copysign(-sum) } else { sum / leading };
    let near = constant / sum;
    let (lesser, greater) = (far.min(near), far.max(near));
    if leading > 0.0 {
        return Interval::from_ends(lesser, greater);
    }

    // Everything is kept but what lies between the roots. The part with the estimate is reported, unless zero is kept
    // in the other part: an interval without zero would then speak against a test that found nothing.
    let significant = constant > 0.0;
    if estimate >= greater && (significant || greater <= 0.0) {
        let other = if lesser.is_finite() {
            format!("; lifts below {lesser:.4} are not excluded either")
        } else {
            String::new()
        };
        return Interval::from_ends(greater, f64::INFINITY).with_note(format!("{UNSURE_BASELINE} above{other}"));
    }
    if estimate <= lesser && (significant || lesser >= 0.0) {
        let other = if greater.is_finite() {
            format!("; lifts above {greater:.4} are not excluded either")
        } else {
            String::new()
        };
        return Interval::from_ends(f64::NEG_INFINITY, lesser).with_note(format!("{UNSURE_BASELINE} below{other}"));
    }
    Interval::undefined(format!("{UNSURE_BASELINE}: only lifts between {lesser:.4} and {greater:.4} are excluded"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::mean::welch_interval_difference;
    use crate::numeric::assert_close;

    fn moments(n: u64, mean: f64, variance: f64) -> Moments {
        Moments::from_n_mean_variance(n, mean, variance).unwrap()
    }

    fn check(treatment: &Moments, control: &Moments, estimate: f64, low: f64, high: f64) {
        let lift = fieller_interval_lift(control, treatment, 0.05).unwrap();
        assert_close(lift.estimate.unwrap(), estimate, 1e-11);
        assert_close(lift.low.unwrap(), low, 1e-9);
        assert_close(lift.high.unwrap(), high, 1e-9);
        assert_eq!(lift.note, None);
    }

    #[test]
    fn agrees_with_the_definition() {
        // tests/oracle/golden_numbers.py: Welch's test for mean − ratio × mean inverted by SciPy 1.17.1's brentq.
        // G1 of design/statistics.md: +9.4 % to +170.8 %.
        check(
            &moments(3461, 0.7, 38.44),
            &moments(3407, 0.41, 15.21),
            0.7073170731707317,
            0.09406197077128642,
            1.708689944191899,
        );
        check(&moments(5, 12.0, 4.0), &moments(8, 10.0, 9.0), 0.2, -0.09003577173093247, 0.6287892374029134);
    }

    #[test]
    fn agrees_with_the_definition_on_real_spend() {
        // As above, on the spend of Hillstrom (2008).
        let control = moments(21306, 0.6527893551112361, 134.28637185302165);
        check(
            &moments(21307, 1.422616511005773, 315.21179886555484),
            &control,
            1.1792887703620063,
            0.6436753843630645,
            1.9774807917686967,
        );
        check(
            &moments(21387, 1.0772015710478329, 228.4966748346595),
            &control,
            0.6501518638646862,
            0.22416172400520362,
            1.274964693810162,
        );
    }

    #[test]
    fn a_negative_baseline_keeps_the_sign_of_the_difference() {
        // Losses of 10 on average become losses of 8: better by 2, a lift of +20 %.
        let control = moments(400, -10.0, 9.0);
        let treatment = moments(400, -8.0, 9.0);
        let lift = fieller_interval_lift(&control, &treatment, 0.05).unwrap();
        assert_close(lift.estimate.unwrap(), 0.2, 1e-12);
        assert!(lift.low.unwrap() > 0.0);
        // Turning the signs of all values turns the lift, and nothing else.
        let turned = fieller_interval_lift(&moments(400, 10.0, 9.0), &moments(400, 8.0, 9.0), 0.05).unwrap();
        assert_close(turned.estimate.unwrap(), -0.2, 1e-12);
        assert_close(turned.low.unwrap(), -lift.high.unwrap(), 1e-12);
        assert_close(turned.high.unwrap(), -lift.low.unwrap(), 1e-12);
    }

    #[test]
    fn an_unsure_baseline_leaves_the_top_open() {
        // The control mean is half a standard error from zero; the treatment is far above both.
        let control = moments(100, 0.5, 100.0);
        let treatment = moments(100, 10.0, 100.0);
        let lift = fieller_interval_lift(&control, &treatment, 0.05).unwrap();
        assert!(lift.low.unwrap() > 0.0);
        assert_eq!(lift.high, None);
        assert!(lift.note.unwrap().starts_with(UNSURE_BASELINE));
        let mirrored = fieller_interval_lift(&control, &moments(100, -10.0, 100.0), 0.05).unwrap();
        assert_eq!(mirrored.low, None);
        assert!(mirrored.high.unwrap() < 0.0);
    }

    #[test]
    fn nothing_known_excludes_nothing() {
        let lift = fieller_interval_lift(&moments(10, 0.1, 100.0), &moments(10, 0.2, 100.0), 0.05).unwrap();
        assert_close(lift.estimate.unwrap(), 1.0, 1e-12);
        assert_eq!((lift.low, lift.high), (None, None));
        assert!(lift.note.is_some());
    }

    #[test]
    fn zero_lies_outside_both_intervals_or_neither() {
        for control_mean in [-3.0, -0.1, 0.02, 0.3, 1.0, 40.0] {
            for treatment_mean in [-5.0, 0.0, 0.4, 1.1, 2.0, 41.0] {
                for variance in [0.0, 0.5, 30.0] {
                    let control = moments(30, control_mean, 2.0);
                    let treatment = moments(12, treatment_mean, variance);
                    let difference = welch_interval_difference(&control, &treatment, 0.05).unwrap();
                    let lift = fieller_interval_lift(&control, &treatment, 0.05).unwrap();
                    assert_eq!(
                        difference.contains_zero(),
                        lift.contains_zero(),
                        "{control_mean} {treatment_mean} {variance}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_zero_baseline_has_no_lift() {
        let lift = fieller_interval_lift(&moments(10, 0.0, 1.0), &moments(10, 2.0, 1.0), 0.05).unwrap();
        assert_eq!((lift.estimate, lift.low, lift.high), (None, None, None));
        assert!(lift.note.is_some());
        let constant = fieller_interval_lift(&moments(10, 0.0, 0.0), &moments(10, 0.0, 0.0), 0.05).unwrap();
        assert_eq!(constant.estimate, None);
    }
}
