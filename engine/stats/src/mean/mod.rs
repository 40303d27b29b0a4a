//! Means: metrics that are a number of each unit, such as revenue.
//!
//! Enters: the [`Moments`](crate::Moments) of two arms, and alpha. Leaves: Welch's t test ([`welch_t_test`]), the
//! interval of the difference that inverts it ([`welch_interval_difference`]), and Fieller's interval of the lift
//! ([`fieller_interval_lift`]), which uses the same critical value.
//!
//! One critical value for all three is what keeps them from contradicting one another: a linearised ("delta") interval
//! for the lift would not.
//!
//! What thin data gives:
//!
//! | data | difference | lift | p value |
//! | --- | --- | --- | --- |
//! | an arm without units | none | none | none |
//! | an arm with one unit | the estimate alone | the estimate alone | none |
//! | neither arm varies, equal means | 0, from 0 to 0 | 0, from 0 to 0 | 1 |
//! | neither arm varies, different means | the estimate alone | the estimate alone | none |
//! | control mean exactly zero | as usual | none | as usual |

mod contrast;
mod fieller;
mod smaller_arm;
mod welch;

pub(crate) use contrast::{ZERO_BASELINE, lift};
pub use fieller::fieller_interval_lift;
pub use smaller_arm::with_spread_of_both;
pub use welch::{WelchTest, welch_interval_difference, welch_t_test};
