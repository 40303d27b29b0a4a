//! Saved segments: a name and a condition in SQL on the contacts' columns, kept in the store and asked for as
//! `segment:NAME` wherever there is a column to group by.
//!
//! [`definition`] has the versions of a segment's condition, a file of the store; [`predicate`] says what a condition may
//! be; [`column`] makes of a segment a column of the contacts, which the queries group by, [`contact_columns`] asks for several as of a moment; [`sizes`] counts the contacts
//! in each version.

mod column;
mod contact_columns;
mod definition;
mod predicate;
mod sizes;

pub(crate) use column::SegmentColumn;
pub use column::segments_behind;
pub(crate) use contact_columns::ContactColumns;
pub use definition::{AddedSegment, SegmentDefinition, SegmentVersion};
pub(crate) use predicate::{is_of_the_condition, refused_part};
pub use sizes::{SegmentSizes, VersionSize, segment_sizes};
