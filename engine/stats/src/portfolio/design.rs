//! What significance does to the estimate of a given true effect: power, wrong signs, exaggeration.
//!
//! Enters: a true effect that one is willing to suppose, and the standard error of the experiment. Leaves: how often it
//! comes out significant, how often a significant estimate has the wrong sign (type S), and how many times too large it
//! is on average (type M): Gelman and Carlin (2014), "Beyond power calculations", Perspectives on Psychological
//! Science 9(6). Where they simulate, the truncated normal has closed forms.

use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_positive};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// What a design does to estimates that are reported when significant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DesignErrors {
    /// Chance, 0 to 1, that the estimate is significant, in either direction.
    pub power: f64,
    /// Chance, 0 to ½, that a significant estimate has the wrong sign; none for a true effect of zero, which has none.
    pub type_s: Option<f64>,
    /// Mean size of a significant estimate over the size of the true effect, one or more; none for a true effect of
    /// zero, or so near to it that the ratio overflows.
    pub exaggeration: Option<f64>,
}

/// What significance at `alpha`, two-sided, does to estimates of `true_effect` with this standard error.
///
/// ```
/// use sendlift_stats::portfolio::design_errors;
///
/// // An effect of two with a standard error of 8.1: if it is found at all, it looks almost ten times as large.
/// let errors = design_errors(2.0, 8.1, 0.05)?;
/// assert!(errors.exaggeration.is_some_and(|times| (9.0..10.0).contains(&times)));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::NotPositive`] for an effect that is not
/// finite or a standard error that is not above zero.
pub fn design_errors(true_effect: f64, standard_error: f64, alpha: f64) -> Result<DesignErrors, StatsError> {
    check_alpha(alpha)?;
    check_finite("the true effect", true_effect)?;
    check_positive("the standard error", standard_error)?;
    let critical = normal::critical_value(alpha);
    // In standard errors, and turned so that the right sign is above zero.
    let size = (true_effect / standard_error).abs();
    let right_sign = normal::upper_tail(critical - size);
    let wrong_sign = normal::upper_tail(critical + size);
    let power = (right_sign + wrong_sign).min(1.0);
    if size == 0.0 || power == 0.0 {
        return Ok(DesignErrors { power, type_s: None, exaggeration: None });
    }
    let mean_size = size * (right_sign - wrong_sign) + density(critical - size) + density(critical + size);
    let exaggeration = mean_size / power / size;
    Ok(DesignErrors {
        power,
        type_s: Some(wrong_sign / power),
        exaggeration: exaggeration.is_finite().then(|| exaggeration.max(1.0)),
    })
}

/// The standard normal density.
pub(super) fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * PI).sqrt()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn agrees_with_quadrature() {
        // tests/oracle/portfolio.py: the density of the estimate integrated by SciPy. Of 2 with 8.1 the paper
        // prints, from simulation, power 0.06, type S 0.24 and an exaggeration of 9.5; of 0.1 with 3.28 0.46 and 77.
        for (effect, error, power, type_s, exaggeration) in [
            (0.1, 3.28, 0.05010648209372842, 0.46442284303794656, 76.68916411091331),
            (0.3, 4.3, 0.05055776278029833, 0.4191626004981197, 33.529504278207476),
            (2.0, 8.1, 0.05701294063487664, 0.23961765445521652, 9.53662759407442),
            (0.02, 0.01, 0.5160052739761747, 7.263595109056915e-05, 1.3862651465671014),
            (-3.0, 1.0, 0.8508387683270563, 4.143337900322829e-07, 1.091003533624989),
        ] {
            let errors = design_errors(effect, error, 0.05).unwrap();
            assert_close(errors.power, power, 1e-9);
            assert_close(errors.type_s.unwrap(), type_s, 1e-8);
            assert_close(errors.exaggeration.unwrap(), exaggeration, 1e-9);
        }
    }

    #[test]
    fn the_ends_are_handled() {
        let none = design_errors(0.0, 1.0, 0.05).unwrap();
        assert_close(none.power, 0.05, 1e-12);
        assert_eq!((none.type_s, none.exaggeration), (None, None));
        let sure = design_errors(-1e9, 1.0, 0.05).unwrap();
        assert_close(sure.power, 1.0, 1e-12);
        assert_close(sure.exaggeration.unwrap(), 1.0, 1e-9);
        assert_eq!(design_errors(1e-320, 1.0, 0.05).unwrap().exaggeration, None);
        assert!(design_errors(1.0, 1e-300, 1e-300).unwrap().power <= 1.0);
        assert!(design_errors(1.0, 0.0, 0.05).is_err());
        assert!(design_errors(f64::NAN, 1.0, 0.05).is_err());
        assert!(design_errors(1.0, 1.0, 1.0).is_err());
    }
}
