//! What an interval and an estimate look like when they leave the crate.
//!
//! Enters: ends and a point estimate, finite or not. Leaves: [`Interval`] and [`Estimate`], in which an end that is
//! unbounded or cannot be computed is `None` (`null` in JSON, as the interfaces promise) beside a note that says which.

use serde::{Deserialize, Serialize};

/// A confidence interval. A missing end excludes nothing on its side.
///
/// In JSON: `{"low": 0.1, "high": null, "note": "unbounded above"}`; the note is left out when there is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end, in the units of what is estimated; none where unbounded or not computable.
    pub low: Option<f64>,
    /// Upper end, in the same units; none where unbounded or not computable.
    pub high: Option<f64>,
    /// Why an end is missing, or what else a reader has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Interval {
    /// An interval between two ends; an infinite end, or one that is NaN, is left out and noted.
    #[must_use]
    pub fn from_ends(low: f64, high: f64) -> Self {
        let note = if low.is_nan() || high.is_nan() {
            Some("an end of the interval could not be computed")
        } else {
            match (low.is_finite(), high.is_finite()) {
                (true, true) => None,
                (true, false) => Some("unbounded above"),
                (false, true) => Some("unbounded below"),
                (false, false) => Some("unbounded below and above"),
            }
        };
        Self { low: finite(low), high: finite(high), note: note.map(str::to_owned) }
    }

    /// No interval at all, and why.
    #[must_use]
    pub fn undefined(note: impl Into<String>) -> Self {
        Self { low: None, high: None, note: Some(note.into()) }
    }

    /// The same interval with `note` in place of its own.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The same interval with both ends moved by `distance`.
    #[must_use]
    pub fn shifted(mut self, distance: f64) -> Self {
        self.low = self.low.map(|end| end + distance);
        self.high = self.high.map(|end| end + distance);
        self
    }

    /// Whether `value` lies inside; the ends belong to the interval.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        contains(self.low, self.high, value)
    }

    /// Whether zero lies inside: when it does, nothing speaks against no effect.
    #[must_use]
    pub fn contains_zero(&self) -> bool {
        self.contains(0.0)
    }
}

/// A point estimate with its interval.
///
/// In JSON: `{"estimate": 0.3, "low": 0.1, "high": 0.5}`, with a `note` where something is missing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// The best single value; none where it is not defined.
    pub estimate: Option<f64>,
    /// Lower end of the interval; none where unbounded or not computable.
    pub low: Option<f64>,
    /// Upper end of the interval; none where unbounded or not computable.
    pub high: Option<f64>,
    /// Why a value is missing, or what else a reader has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Estimate {
    /// An estimate with its interval. An estimate that is not finite is left out, and noted unless the interval has a
    /// note.
    #[must_use]
    pub fn new(estimate: f64, interval: Interval) -> Self {
        Self::from_parts(Some(estimate), interval)
    }

    /// An estimate that may be missing, with its interval.
    #[must_use]
    pub fn from_parts(estimate: Option<f64>, interval: Interval) -> Self {
        let kept = estimate.and_then(finite);
        let lost = estimate.is_some() && kept.is_none();
        let note = interval.note.or_else(|| lost.then(|| "the estimate could not be computed".to_owned()));
        Self { estimate: kept, low: interval.low, high: interval.high, note }
    }

    /// Neither an estimate nor an interval, and why.
    #[must_use]
    pub fn undefined(note: impl Into<String>) -> Self {
        Self::from_parts(None, Interval::undefined(note))
    }

    /// The interval alone.
    #[must_use]
    pub fn interval(&self) -> Interval {
        Interval { low: self.low, high: self.high, note: self.note.clone() }
    }

    /// Whether `value` lies in the interval; the ends belong to it, and a missing end excludes nothing.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        contains(self.low, self.high, value)
    }

    /// Whether zero lies in the interval: when it does, nothing speaks against no effect.
    #[must_use]
    pub fn contains_zero(&self) -> bool {
        self.contains(0.0)
    }
}

/// The value where it is finite, with a negative zero made plain: reports should never show "-0".
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value + 0.0)
}

/// Whether no end that exists excludes `value`.
fn contains(low: Option<f64>, high: Option<f64>, value: f64) -> bool {
    low.is_none_or(|end| end <= value) && high.is_none_or(|end| value <= end)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;

    #[test]
    fn infinite_ends_are_left_out_and_noted() {
        let above = Interval::from_ends(0.5, f64::INFINITY);
        assert_eq!(above.low, Some(0.5));
        assert_eq!(above.high, None);
        assert_eq!(above.note.as_deref(), Some("unbounded above"));
        let below = Interval::from_ends(f64::NEG_INFINITY, 0.5);
        assert_eq!(below.note.as_deref(), Some("unbounded below"));
        let both = Interval::from_ends(f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(both.note.as_deref(), Some("unbounded below and above"));
        assert_eq!(Interval::from_ends(0.0, 1.0).note, None);
    }

    #[test]
    fn nan_never_leaves() {
        let broken = Estimate::new(f64::NAN, Interval::from_ends(f64::NAN, 1.0));
        assert_eq!(broken.estimate, None);
        assert_eq!(broken.low, None);
        assert!(broken.note.is_some());
        let lost = Estimate::new(f64::INFINITY, Interval::from_ends(0.0, 1.0));
        assert_eq!(lost.note.as_deref(), Some("the estimate could not be computed"));
    }

    #[test]
    fn a_missing_end_excludes_nothing() {
        assert!(Interval::from_ends(-1.0, f64::INFINITY).contains_zero());
        assert!(!Interval::from_ends(0.1, f64::INFINITY).contains_zero());
        assert!(Interval::undefined("no units").contains_zero());
        assert!(Estimate::new(0.0, Interval::from_ends(0.0, 0.0)).contains_zero());
        assert!(!Estimate::new(-1.0, Interval::from_ends(-2.0, -0.5)).contains(0.0));
    }

    #[test]
    fn no_negative_zero() {
        let interval = Interval::from_ends(-0.0, 1.0);
        assert!(interval.low.is_some_and(f64::is_sign_positive));
    }

    #[test]
    fn shifting_moves_the_ends_that_exist() {
        let lift = Interval::from_ends(1.5, f64::INFINITY).shifted(-1.0);
        assert_eq!(lift.low, Some(0.5));
        assert_eq!(lift.high, None);
    }
}
