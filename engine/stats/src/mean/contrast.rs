//! What Welch's test and Fieller's interval are both computed from.
//!
//! Enters: the moments of two arms. Leaves: the difference with its standard error and Welch–Satterthwaite degrees of
//! freedom, or the reason that there is none.

use crate::error::StatsError;
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;
use crate::numeric::count;

const NO_UNITS: &str = "an arm has no units";
const ONE_UNIT: &str = "an arm has a single unit: its variance is unknown";
const EQUAL_CONSTANTS: &str = "no value varies in either arm, and the means are equal";
const UNEQUAL_CONSTANTS: &str = "no value varies in either arm: there is nothing to hold the difference against";
pub(crate) const ZERO_BASELINE: &str = "the control mean is zero: a lift relative to it is not defined";

/// The difference of two means, and what it is held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contrast {
    /// Treatment mean − control mean, in the metric's units.
    pub(super) difference: f64,
    pub(super) control_mean: f64,
    pub(super) treatment_mean: f64,
    /// Variance / n of the control, in squared units.
    pub(super) control_square: f64,
    /// Variance / n of the treatment, in squared units.
    pub(super) treatment_square: f64,
    /// Standard error of the difference; above zero.
    pub(super) standard_error: f64,
    /// Welch–Satterthwaite: one at least.
    pub(super) degrees_of_freedom: f64,
}

/// A contrast that can be tested, or what is left to say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prepared {
    Testable(Contrast),
    /// Neither arm varies and the means are the same.
    Identical {
        control_mean: f64,
    },
    /// No standard error; the means where both arms have units, as (control, treatment).
    Untestable {
        means: Option<(f64, f64)>,
        note: &'static str,
    },
}

impl Prepared {
    pub(super) fn new(control: &Moments, treatment: &Moments) -> Result<Self, StatsError> {
        control.check()?;
        treatment.check()?;
        if control.n == 0 || treatment.n == 0 {
            return Ok(Self::Untestable { means: None, note: NO_UNITS });
        }
        let means = Some((control.mean, treatment.mean));
        let (Some(control_square), Some(treatment_square)) =
            (control.squared_standard_error(), treatment.squared_standard_error())
        else {
            return Ok(Self::Untestable { means, note: ONE_UNIT });
        };
        let difference = treatment.mean - control.mean;
        let square = control_square + treatment_square;
        if square > 0.0 {
            // As shares of their sum, the squares cannot underflow when squared again.
            let control_share = control_square / square;
            let treatment_share = treatment_square / square;
            let degrees_of_freedom = 1.0
                / (control_share * control_share / count(control.n - 1)
                    + treatment_share * treatment_share / count(treatment.n - 1));
            return Ok(Self::Testable(Contrast {
                difference,
                control_mean: control.mean,
                treatment_mean: treatment.mean,
                control_square,
                treatment_square,
                standard_error: square.sqrt(),
                degrees_of_freedom,
            }));
        }
        if difference == 0.0 {
            return Ok(Self::Identical { control_mean: control.mean });
        }
        Ok(Self::Untestable { means, note: UNEQUAL_CONSTANTS })
    }
}

/// The lift: the difference relative to the size of the control mean, so that its sign is the difference's even where
/// the control mean is below zero. None where that mean is zero.
pub(crate) fn lift(control_mean: f64, difference: f64) -> Option<f64> {
    (control_mean != 0.0).then(|| difference / control_mean.abs())
}

/// The difference where no value varies and the means are equal.
pub(super) fn no_difference() -> Estimate {
    Estimate::new(0.0, Interval::from_ends(0.0, 0.0).with_note(EQUAL_CONSTANTS))
}

/// The lift where no value varies and the means are equal.
pub(super) fn no_lift(control_mean: f64) -> Estimate {
    if control_mean == 0.0 { lift_undefined() } else { no_difference() }
}

/// The lift over a control mean of zero.
pub(super) fn lift_undefined() -> Estimate {
    Estimate::undefined(ZERO_BASELINE)
}
