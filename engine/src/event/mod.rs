//! The vocabulary of the logs: which logs there are, which columns they carry, which words those columns may hold.
//!
//! **Architecture invariant:** this module is the only place where a canonical column's name and type are written. Ingest
//! validates against it, the store creates its tables from it, and the queries read its columns.

mod column;
mod log;
pub(crate) mod message_parts;
pub mod words;

pub use column::{ColumnKind, ColumnSpec, EARLIEST_MOMENT, MAY_BE_AHEAD, NULL_WORDS, Presence};
pub(crate) use log::{CURRENCY, NO_ATTRIBUTES};
pub use log::{
    INGESTED_AT, Identity, Log, MONEY_PRECISION, MONEY_SCALE, SOURCE_FILE, SOURCE_ROW, attribute_name,
    is_identity_name, provenance_fields, timestamp_type,
};
pub(crate) use words::ALL_CHANNELS;
