//! Features of recipients as of a moment, from the logs alone and without looking ahead.
//!
//! [`catalogue`] is the table of them; [`set`] fixes which a store has; [`query`] counts them in one query over the facts;
//! [`texts`] tells what the texts were like; [`encoding`] turns rows into the numbers that a model reads.

mod catalogue;
mod encoding;
mod query;
mod set;
mod texts;

pub use catalogue::{FEATURES, Feature, FeatureRows, MADE, PRIOR_MESSAGES, TEXT_FEATURES};
pub(crate) use encoding::{ColumnKind, Encoding, UnknownValues};
pub(crate) use query::Recipients;
pub use set::{FeatureSet, RateOutcome, ShrunkRate, feature_meaning};
pub(crate) use texts::TextFeatures;

/// Recipients whose features are counted and put in order at a time: a kilobyte or two each.
pub(crate) const FEATURES_OF_A_RANGE: usize = 500_000;
