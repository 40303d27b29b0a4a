//! Were the arms alike before the first message, and did the messages reach them alike?
//!
//! Enters: aggregates by arm of what was known before assignment, or of delivery. Leaves: tests, effect sizes and a
//! verdict by a stated rule, to be read before any effect is.
//!
//! | check | enters | function |
//! | --- | --- | --- |
//! | covariates alike | cross moments of each arm | [`covariate_balance`] |
//! | arm independent of a column | counts, category × arm | [`category_balance`] |
//! | delivered alike | assigned, delivered, successes of each arm | [`delivery_balance`] |
//!
//! The first two ask about randomisation itself. Both are made often and on many experiments, so that they are held to
//! [`BALANCE_ALPHA`], as a sample ratio is. Chance makes small p values, and large counts make tiny differences
//! significant; **not randomised** is said only where p is below [`NOT_RANDOMISED_P_VALUE`] *and* the difference is
//! large, or where a category has one arm alone against odds of a million to one.
//!
//! A covariate that differs by chance is no reason to drop an experiment: adjust for it
//! ([`adjust`](crate::adjust)). One that differs beyond chance is a fault to find.

mod category;
mod covariates;
mod delivery;

pub use category::{CategoryBalance, DeterminedCategory, LARGE_CRAMERS_V, category_balance};
pub use covariates::{CovariateBalance, CovariateDifference, LARGE_DIFFERENCE, WIDE_DIFFERENCE, covariate_balance};
pub use delivery::{DeliveredArm, DeliveryBalance, DeliveryVerdict, delivery_balance};

use serde::{Deserialize, Serialize};

/// P values below this are an imbalance.
pub const BALANCE_ALPHA: f64 = 0.001;

/// P values below this, with a large difference beside them, are no randomisation.
pub const NOT_RANDOMISED_P_VALUE: f64 = 1e-6;

/// Whether the arms were alike before the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BalanceVerdict {
    /// No further apart than chance alone gives.
    Balanced,
    /// Further apart than chance gives, at [`BALANCE_ALPHA`].
    Imbalanced,
    /// So far apart that units were not assigned at random.
    NotRandomised,
    /// There is too little to tell.
    CannotTell,
}

/// The rule that the checks share.
fn verdict(p_value: f64, is_large: bool) -> BalanceVerdict {
    if p_value < NOT_RANDOMISED_P_VALUE && is_large {
        BalanceVerdict::NotRandomised
    } else if p_value < BALANCE_ALPHA {
        BalanceVerdict::Imbalanced
    } else {
        BalanceVerdict::Balanced
    }
}
