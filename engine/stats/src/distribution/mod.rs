//! Tails and quantiles of the distributions that the tests need.
//!
//! Enters: a statistic, or a probability. Leaves: a probability, or a statistic. Tails are computed as tails and never
//! as one minus the rest, so that a p value of 1e-50 is 1e-50 and not zero. These are bare functions of real numbers: a
//! NaN that enters leaves as a NaN, and the checking of input is the callers'.

pub mod chi_squared;
pub mod noncentral_t;
pub mod normal;
pub mod students_t;
