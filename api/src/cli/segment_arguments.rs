//! The arguments of `sendlift segment`.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct SegmentArguments {
    #[command(subcommand)]
    pub(super) command: SegmentCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum SegmentCommand {
    /// Keep a condition on the contacts under a name; another condition makes a new version, and the old ones stay
    Add {
        /// The name: letters of any script, digits, _ and -
        name: String,
        /// The condition, in SQL on the columns of the recipients log, as in "country = 'DE'"
        #[arg(long = "where", value_name = "SQL")]
        predicate: String,
    },
    /// The segments that the store keeps
    List,
    /// One segment: its versions, and how many contacts are in each
    Show {
        /// The segment
        name: String,
    },
    /// Remove a segment with all its versions
    Remove {
        /// The segment
        name: String,
    },
}
