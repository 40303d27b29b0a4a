//! The crate's one error type, and the checks that raise it.
//!
//! Enters: a value that a caller passed. Leaves: nothing when it can be used, else a [`StatsError`] that says what to
//! do. Thin data (an empty arm, no variation) is never an error: it leaves as `None` with a note.

use thiserror::Error;

/// A value that the statistics cannot be computed from.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StatsError {
    /// The error rate is not a share strictly between 0 and 1.
    #[error("alpha is {alpha}: give a share between 0 and 1, such as 0.05")]
    InvalidAlpha {
        /// The value that was given.
        alpha: f64,
    },
    /// The power is not a share strictly between 0 and 1.
    #[error("power is {power}: give a share between 0 and 1, such as 0.8")]
    InvalidPower {
        /// The value that was given.
        power: f64,
    },
    /// A quantity is NaN or infinite.
    #[error("{quantity} is {value}, not a finite number: repair or leave out the rows that it comes from")]
    NotFinite {
        /// What the value is, in words.
        quantity: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// A quantity that cannot be negative is.
    #[error("{quantity} is {value}, below zero: pass a value of zero or more")]
    Negative {
        /// What the value is, in words.
        quantity: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// A quantity that has to be above zero is not.
    #[error("{quantity} is {value}: pass a value above zero")]
    NotPositive {
        /// What the value is, in words.
        quantity: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// More successes than units.
    #[error("{successes} successes among {n} units: count each unit once, or analyse the metric as a mean")]
    SuccessesExceedUnits {
        /// Successes that were given.
        successes: u64,
        /// Units that were given.
        n: u64,
    },
    /// A probability lies outside 0 to 1, or is NaN.
    #[error("{quantity} is {value}: pass a probability from 0 to 1")]
    InvalidProbability {
        /// What the value is, in words.
        quantity: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// Two lists that go together differ in length.
    #[error("{counts} counts but {weights} weights: give every arm one count and one weight")]
    LengthsDiffer {
        /// Number of counts.
        counts: usize,
        /// Number of weights.
        weights: usize,
    },
    /// The values do not fill a matrix of these sides.
    #[error("{values} values for {rows} units of {columns} features: give every unit a value for each feature")]
    FeatureShape {
        /// Number of values.
        values: usize,
        /// Number of units.
        rows: usize,
        /// Number of features.
        columns: usize,
    },
    /// Two lists with one value a unit differ in length.
    #[error("{left} has {left_length} values but {right} has {right_length}: give each one value a unit")]
    UnevenLists {
        /// The first list, in words.
        left: &'static str,
        /// Its length.
        left_length: usize,
        /// The second list, in words.
        right: &'static str,
        /// Its length.
        right_length: usize,
    },
    /// A model of a binary outcome needs units with it and units without it.
    #[error("every outcome is {value}: a model needs units with the outcome and units without it")]
    OneClass {
        /// The only value there is.
        value: f64,
    },
    /// A model could not be fitted, for a reason of its own.
    #[error("the model cannot be fitted: {reason}")]
    NotFitted {
        /// Why, and what to do.
        reason: String,
    },
    /// A unit that could only have gone one way says nothing about an effect.
    #[error("an assignment probability is {probability}: leave out units that could not have been in either arm")]
    NotRandomised {
        /// The probability of treatment that was given.
        probability: f64,
    },
    /// An effect needs both arms.
    #[error("no {missing} unit: an effect needs treated units and control units")]
    OneArm {
        /// The arm without units.
        missing: &'static str,
    },
    /// Cross-fitting needs folds that leave units of both arms to learn from.
    #[error("{folds} folds: use from {least} to {most}, the units of the smaller arm")]
    InvalidFolds {
        /// Folds that were asked for.
        folds: u32,
        /// The fewest that the method can use.
        least: u32,
        /// The most that the units allow.
        most: usize,
    },
    /// A sample ratio needs two arms that should receive units.
    #[error("{arms} arm with a weight above zero: give at least two to compare their shares")]
    TooFewArms {
        /// Arms whose weight is above zero.
        arms: usize,
    },
    /// No unit was counted in any arm.
    #[error("no units in any arm: check the sample ratio once units are assigned")]
    NoUnits,
    /// Heterogeneity needs two effects.
    #[error("{effects} segment with an estimate: give at least two to compare")]
    TooFewEffects {
        /// Effects that were given.
        effects: usize,
    },
    /// An effect that no plan can be made for.
    #[error("no plan from {baseline} by {difference}: give a difference that is not zero and stays in range")]
    InvalidDifference {
        /// The difference that was given.
        difference: f64,
        /// The baseline that it was given for.
        baseline: f64,
    },
    /// A week without slots, or with more than it has hours.
    #[error("{slots} slots in a week: describe from 1 to 168")]
    NumberOfSlots {
        /// Slots that were described.
        slots: usize,
    },
    /// A slot that does not lie in the week.
    #[error("a slot from hour {start_hour} for {hours} hours: start from 0 to below 168, for at most 168 hours")]
    SlotOutsideOfWeek {
        /// Its start, in hours of the week.
        start_hour: f64,
        /// Its length in hours.
        hours: f64,
    },
    /// Messages in a slot that is not described.
    #[error("messages in slot {slot} of {slots}: describe every slot, and count them from 0")]
    UnknownSlot {
        /// The index that was given.
        slot: usize,
        /// Slots that were described.
        slots: usize,
    },
    /// The plan asks for more units than can be counted.
    #[error("the plan needs more than 1e18 units an arm: look for a larger difference")]
    PlanTooLarge,
}

/// Refuses an alpha outside (0, 1).
pub(crate) fn check_alpha(alpha: f64) -> Result<(), StatsError> {
    if alpha > 0.0 && alpha < 1.0 { Ok(()) } else { Err(StatsError::InvalidAlpha { alpha }) }
}

/// Refuses a power outside (0, 1).
pub(crate) fn check_power(power: f64) -> Result<(), StatsError> {
    if power > 0.0 && power < 1.0 { Ok(()) } else { Err(StatsError::InvalidPower { power }) }
}

/// Refuses NaN and infinities.
pub(crate) fn check_finite(quantity: &'static str, value: f64) -> Result<(), StatsError> {
    if value.is_finite() { Ok(()) } else { Err(StatsError::NotFinite { quantity, value }) }
}

/// Refuses NaN, infinities and values below zero.
pub(crate) fn check_not_negative(quantity: &'static str, value: f64) -> Result<(), StatsError> {
    check_finite(quantity, value)?;
    if value < 0.0 {
        return Err(StatsError::Negative { quantity, value });
    }
    Ok(())
}

/// Refuses NaN, infinities, zero and values below.
pub(crate) fn check_positive(quantity: &'static str, value: f64) -> Result<(), StatsError> {
    check_finite(quantity, value)?;
    if value <= 0.0 {
        return Err(StatsError::NotPositive { quantity, value });
    }
    Ok(())
}

/// Refuses what is not a probability from 0 to 1.
pub(crate) fn check_probability(quantity: &'static str, value: f64) -> Result<(), StatsError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(StatsError::InvalidProbability { quantity, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_and_power_are_open_shares() {
        for bad in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
            assert!(check_alpha(bad).is_err(), "{bad}");
            assert!(check_power(bad).is_err(), "{bad}");
        }
        assert!(check_alpha(0.05).is_ok());
        assert!(check_power(0.8).is_ok());
    }

    #[test]
    fn messages_say_what_to_do() {
        let message = StatsError::SuccessesExceedUnits { successes: 7, n: 5 }.to_string();
        assert_eq!(message, "7 successes among 5 units: count each unit once, or analyse the metric as a mean");
        assert!(check_not_negative("variance", -1.0).is_err());
        assert!(check_not_negative("variance", f64::NAN).is_err());
        assert!(check_positive("variance", 0.0).is_err());
        assert!(check_probability("p value", 1.0).is_ok());
        assert!(check_probability("p value", f64::NAN).is_err());
    }
}
