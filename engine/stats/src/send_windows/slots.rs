//! Windows of the week, and which of them are likely to act alike.
//!
//! Enters: the slots of a week, each with its start and length in local hours. Leaves: checked slots, and correlations
//! between them under several ideas of what makes two hours alike: the same day, the same hour of the day, nearness on
//! the circle of the week, or nothing at all.
//!
//! The smooth parts are periodic Gaussian-process covariances, exp(−2 sin²(πΔ/period) / ℓ²): `MacKay` (1998),
//! "Introduction to Gaussian processes", section 4; Rasmussen and Williams (2006), equation 4.31.

use super::matrix::Matrix;
use crate::error::{StatsError, check_finite};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Hours of a week.
pub const HOURS_OF_WEEK: f64 = 168.0;
/// The most slots that a week can be cut into.
pub const MOST_SLOTS: usize = 168;
const HOURS_OF_DAY: f64 = 24.0;

/// Length scale of the day's circle, such that hours three apart correlate by exp(−½).
const SCALE_OF_DAY: f64 = 0.8;
/// Length scale of the week's circle, such that hours five apart correlate by exp(−½).
const SCALE_OF_WEEK: f64 = 0.2;

/// One window of the local week; its index in the list of slots is how cells refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowSlot {
    /// Local hours from Monday 00:00 to the start, from 0 to below 168.
    pub start_hour: f64,
    /// Length in hours, above 0 to 168.
    pub hours: f64,
    /// Whether messages may be sent then. A slot that is not legal may be estimated, and is never recommended.
    pub legal: bool,
}

impl WindowSlot {
    /// Refuses a slot outside of the week.
    fn check(self) -> Result<(), StatsError> {
        check_finite("the start of a slot", self.start_hour)?;
        check_finite("the length of a slot", self.hours)?;
        let inside = (0.0..HOURS_OF_WEEK).contains(&self.start_hour) && self.hours > 0.0 && self.hours <= HOURS_OF_WEEK;
        if inside {
            Ok(())
        } else {
            Err(StatsError::SlotOutsideOfWeek { start_hour: self.start_hour, hours: self.hours })
        }
    }

    fn middle(self) -> f64 {
        (self.start_hour + self.hours / 2.0) % HOURS_OF_WEEK
    }
}

/// Refuses no slots, more than a week has hours, and slots outside of the week.
pub(super) fn check_slots(slots: &[WindowSlot]) -> Result<(), StatsError> {
    if slots.is_empty() || slots.len() > MOST_SLOTS {
        return Err(StatsError::NumberOfSlots { slots: slots.len() });
    }
    slots.iter().try_for_each(|slot| slot.check())
}

/// What makes two windows alike: shares of the variance of the slot effects, which add up to one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SlotSimilarity {
    /// The same day of the week.
    pub day: f64,
    /// The same hour of the day, on any day.
    pub hour: f64,
    /// Nearness on the circle of the week.
    pub week: f64,
    /// Nothing: every window for itself.
    pub own: f64,
}

impl SlotSimilarity {
    /// The ideas that the fit weighs against one another. Each leaves every window something of its own, so that
    /// smoothness alone never makes an estimate look certain.
    pub const CANDIDATES: [Self; 5] = [
        Self { day: 0.30, hour: 0.40, week: 0.20, own: 0.10 },
        Self { day: 0.80, hour: 0.05, week: 0.05, own: 0.10 },
        Self { day: 0.05, hour: 0.80, week: 0.05, own: 0.10 },
        Self { day: 0.00, hour: 0.00, week: 0.90, own: 0.10 },
        Self { day: 0.00, hour: 0.00, week: 0.00, own: 1.00 },
    ];

    /// Correlations between slots, by their middles: a row and a column a slot, ones on the diagonal where the shares
    /// add up to one.
    pub(super) fn correlations(self, slots: &[WindowSlot]) -> Matrix {
        Matrix::from_function(slots.len(), slots.len(), |row, column| {
            let (left, right) = (slots[row].middle(), slots[column].middle());
            let same_day = ((left / HOURS_OF_DAY).floor() - (right / HOURS_OF_DAY).floor()).abs() < 0.5;
            self.day * f64::from(u8::from(same_day))
                + self.hour * periodic(left - right, HOURS_OF_DAY, SCALE_OF_DAY)
                + self.week * periodic(left - right, HOURS_OF_WEEK, SCALE_OF_WEEK)
                + self.own * f64::from(u8::from(row == column))
        })
    }
}

/// Correlation of two places on a circle.
fn periodic(distance: f64, period: f64, scale: f64) -> f64 {
    let chord = (PI * distance / period).sin() / scale;
    (-2.0 * chord * chord).exp()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use super::*;
    use crate::numeric::{assert_close, length};

    /// `days` × `windows` slots of equal length, all legal.
    pub(crate) fn week_of(days: usize, windows: usize) -> Vec<WindowSlot> {
        let hours = HOURS_OF_DAY / length(windows);
        (0..days * windows)
            .map(|slot| WindowSlot {
                start_hour: HOURS_OF_DAY * length(slot / windows) + hours * length(slot % windows),
                hours,
                legal: true,
            })
            .collect()
    }

    #[test]
    fn correlations_are_those_of_a_circle() {
        let slots = week_of(7, 6);
        for similarity in SlotSimilarity::CANDIDATES {
            let matrix = similarity.correlations(&slots);
            for slot in 0..slots.len() {
                assert_close(matrix.at(slot, slot), 1.0, 1e-12);
            }
            assert!(matrix.cholesky().is_some(), "{similarity:?}");
        }
        let week = SlotSimilarity { day: 0.0, hour: 0.0, week: 1.0, own: 0.0 }.correlations(&slots);
        // Sunday night is as near to Monday morning as any two windows of a day.
        assert_close(week.at(0, 41), week.at(10, 11), 1e-12);
        let hour = SlotSimilarity { day: 0.0, hour: 1.0, week: 0.0, own: 0.0 }.correlations(&slots);
        assert_close(hour.at(2, 2 + 6), 1.0, 1e-12);
    }

    #[test]
    fn slots_outside_of_the_week_are_refused() {
        let slot = WindowSlot { start_hour: 0.0, hours: 4.0, legal: true };
        assert!(check_slots(&[slot]).is_ok());
        assert!(check_slots(&[]).is_err());
        assert!(check_slots(&vec![slot; MOST_SLOTS + 1]).is_err());
        for (start_hour, hours) in [(168.0, 1.0), (-1.0, 1.0), (0.0, 0.0), (0.0, 169.0), (f64::NAN, 1.0)] {
            assert!(check_slots(&[WindowSlot { start_hour, hours, legal: true }]).is_err());
        }
    }
}
