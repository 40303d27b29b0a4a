//! Looking before the end: intervals and tests that stay valid however often one looks.
//!
//! Enters: an [`Effect`](crate::Effect) (or the counts or moments of two arms) at a look, and a plan made before the
//! first. Leaves: a comparison whose error rate holds over all looks together, which an ordinary p value's does not:
//! looked at five times, 5 % becomes 14 %; daily for a month, more than 25 %.
//!
//! | kind | look | module | gives |
//! | --- | --- | --- | --- |
//! | always valid | whenever one likes, for ever | [`confidence_sequence`] | wider intervals, no plan but a sample size |
//! | group sequential | a few times, counted | [`group_sequential`] | nearly the fixed test's power at the last look |
//!
//! A group-sequential result is read by [`stopping`]: p value, estimate and interval that know of the stopping rule.

pub mod confidence_sequence;
pub mod group_sequential;
pub mod stopping;

mod walk;

pub use confidence_sequence::{MixtureBoundary, always_valid_means, always_valid_proportions, running_comparisons};
pub use group_sequential::{BoundaryShape, GroupSequential, LEAST_REPEATED, Look, Spending};
pub use stopping::{LookAnalysis, StoppedResult};
