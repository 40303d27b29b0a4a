//! Statistics of campaign experiments: pure functions over sufficient statistics.
//!
//! **Enters**: counts ([`Proportion`]: units and successes) or centred moments ([`Moments`]: units, mean, sum of
//! squared deviations) of each arm, one observation a randomised unit, and an error rate `alpha`. **Leaves**: estimates
//! with intervals ([`Estimate`]), tests ([`Comparison`]), checks and plans, ready to serialise. Nothing here reads a
//! file, a clock, the environment or a random number: the same input gives the same answer to the last bit.
//!
//! Rules that hold everywhere:
//!
//! - **One test, and intervals that cannot contradict it.** `p < alpha` exactly when zero lies outside the interval of
//!   the difference, exactly when it lies outside the interval of the lift (wherever a lift is defined). Proportions
//!   invert the pooled z test; means invert Welch's t test, by Fieller for the lift.
//! - **Never NaN, never a silent zero.** What cannot be computed is `None`, and a note says why.
//! - **A lift is relative to the size of the control**, `(treatment − control) / |control|`: a positive difference is a
//!   positive lift, for a negative baseline too.
//! - `alpha` is a share in (0, 1): 0.05 asks for 95 % intervals. Tests are two-sided.
//! - An `Err` is the caller's mistake (a NaN, more successes than units); thin data is never an error.
//!
//! | module | subject |
//! | --- | --- |
//! | [`comparison`] | the hinge: two arms in, difference, lift, statistic and p value out |
//! | [`proportion`] | counts; Wilson, pooled z, score and Newcombe intervals |
//! | [`moments`], [`mean`] | mergeable moments; Welch's t, Fieller's lift |
//! | [`interval`] | what an estimate and an interval look like, bounded or not |
//! | [`sample_ratio`] | were the arms filled in the intended shares? |
//! | [`multiple`] | p values corrected for several comparisons |
//! | [`mod@heterogeneity`] | do segments differ, and by how much to shrink them |
//! | [`plan`] | units needed, power, smallest detectable effect |
//! | [`distribution`] | tails and quantiles, accurate where p values are tiny |

pub mod comparison;
pub mod distribution;
pub mod error;
pub mod heterogeneity;
pub mod interval;
pub mod mean;
pub mod moments;
pub mod multiple;
pub mod plan;
pub mod proportion;
pub mod sample_ratio;

mod numeric;
mod root;

pub use comparison::{Comparison, compare_means, compare_proportions};
pub use error::StatsError;
pub use heterogeneity::{Heterogeneity, SegmentEffect, Shrunk, heterogeneity, shrink};
pub use interval::{Estimate, Interval};
pub use moments::Moments;
pub use multiple::{benjamini_hochberg, benjamini_hochberg_available, holm, holm_available};
pub use proportion::{Proportion, VarianceCorrection};
pub use sample_ratio::{SampleRatio, sample_ratio_test};
