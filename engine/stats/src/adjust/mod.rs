//! Covariate adjustment: the same difference, with less noise.
//!
//! Enters: for each arm the mergeable cross moments of the outcome and of covariates known *before* assignment (the same
//! metric in the weeks before, the age of a number), or the moments of strata. Leaves: difference and lift with smaller
//! standard errors, and how much of the variance was removed.
//!
//! | method | covariates | function |
//! | --- | --- | --- |
//! | CUPED: one slope for both arms | one | [`compare_adjusted`] with [`Slopes::Common`] |
//! | Lin's regression: slopes by arm | any number | [`compare_adjusted`] with [`Slopes::ByArm`], [`compare_adjusted_units`] |
//! | post-stratification | groups | [`compare_post_stratified`] |
//!
//! A covariate measured after assignment would adjust part of the effect away: never pass one.

pub mod cross_moments;
pub mod post_stratification;
pub mod regression;

mod arm;
pub(crate) mod factor;

pub use cross_moments::CrossMoments;
pub use post_stratification::{PostStratified, Stratum, compare_post_stratified};
pub use regression::{Adjusted, Outcome, Slopes, compare_adjusted, compare_adjusted_units};
