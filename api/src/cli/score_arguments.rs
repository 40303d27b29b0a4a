//! The arguments of `sendlift score`, `features` and `models`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct ScoreArguments {
    /// propensity (how likely), uplift (what a message adds), or the id of a model that is kept
    #[arg(long, value_name = "propensity|uplift|ID", default_value = "propensity")]
    pub(super) model: String,
    /// What to score: click, conversion, `opt_out`, churn, or the name of a conversion's event; with --units a column of 0 and 1
    /// [default: conversion]
    #[arg(long, value_name = "TARGET")]
    pub(super) target: Option<String>,
    /// Days ahead [default: 30]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=730))]
    pub(super) horizon: Option<u32>,
    /// The moment that features are counted up to [default: the last event of the logs]
    #[arg(long, value_name = "TIME")]
    pub(super) as_of: Option<String>,
    /// The scores to write: .parquet, .csv, .ndjson or .arrow
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Whom to score: a condition in SQL on the contacts' columns and on features
    #[arg(long = "where", value_name = "SQL")]
    pub(super) filter: Option<String>,
    /// Contacts' columns whose segments are summed up
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub(super) by: Vec<String>,
    /// For uplift: the experiment to learn from [default: the only one]
    #[arg(long, value_name = "ID")]
    pub(super) experiment: Option<String>,
    /// For uplift: the arm to measure against [default: those held out]
    #[arg(long, value_name = "ARM")]
    pub(super) control: Option<String>,
    /// For uplift: the arm to compare with the control [default: all others together, with --units the only other]
    #[arg(long, value_name = "ARM")]
    pub(super) treatment: Option<String>,
    /// For uplift: the margin of a conversion [default: the mean of the logs]
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(super) margin: Option<f64>,
    /// For uplift: the cost of a part of a message [default: the mean of the logs]
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(super) part_cost: Option<f64>,
    /// For uplift: what is lost with a recipient who opts out
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(super) opt_out_value: f64,
    /// For uplift: the text to be sent, which tells its parts [default: one part]
    #[arg(long, value_name = "TEXT")]
    pub(super) text: Option<String>,
    /// For uplift: cost of all messages at most
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(super) budget: Option<f64>,
    /// For uplift: messages at most
    #[arg(long, value_name = "N")]
    pub(super) max_recipients: Option<u64>,
    /// Channel of the message
    #[arg(long, value_name = "CHANNEL", default_value = "sms")]
    pub(super) channel: String,
    /// Purpose that consent must be for
    #[arg(long, value_name = "PURPOSE", default_value = "marketing")]
    pub(super) purpose: String,
    /// Leave out who had so many messages in --in-days
    #[arg(long, value_name = "MESSAGES")]
    pub(super) at_most: Option<u64>,
    /// Days that --at-most looks back
    #[arg(long, value_name = "DAYS", default_value_t = 7, requires = "at_most")]
    pub(super) in_days: u32,
    /// A TOML file of legal hours, laid over those that are built in
    #[arg(long, value_name = "FILE")]
    pub(super) legal_hours: Option<PathBuf>,
    /// Have those who may not be sent to in the file too, marked as such
    #[arg(long)]
    pub(super) include_ineligible: bool,
    /// A table with one row a unit to learn from, in place of the store's logs
    #[arg(
        long,
        value_name = "FILE",
        requires = "unit",
        conflicts_with_all = [
            "filter", "by", "as_of", "horizon", "experiment", "margin", "part_cost", "text", "budget", "max_recipients",
            "at_most", "legal_hours", "include_ineligible",
        ]
    )]
    pub(super) units: Option<String>,
    /// With --units: the column of the units
    #[arg(long, value_name = "COLUMN", requires = "units")]
    pub(super) unit: Option<String>,
    /// With --units: the column of the arms, to learn what the other arm adds to --control
    #[arg(long, value_name = "COLUMN", requires = "units", requires = "control")]
    pub(super) arm: Option<String>,
    /// With --units: columns that are no features, such as what was measured after the outcome
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', requires = "units")]
    pub(super) exclude: Vec<String>,
    /// With --units: score the rows of this table instead
    #[arg(long, value_name = "FILE", requires = "units")]
    pub(super) apply: Option<String>,
    /// Draws the units that are learnt from, where there are too many
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

#[derive(Debug, Args)]
pub(super) struct FeaturesArguments {
    /// The moment that features are counted up to [default: the last event of the logs]
    #[arg(long, value_name = "TIME")]
    pub(super) as_of: Option<String>,
    /// The table to write: .parquet, .csv, .ndjson or .arrow [default: only say which features there are]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ModelsArguments {
    #[command(subcommand)]
    pub(super) command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// The models that the store keeps
    List,
    /// How a model was made, how good it is, what it is made of
    Show {
        /// Its id
        id: String,
    },
    /// Two models side by side
    Compare {
        /// The one
        first: String,
        /// The other
        second: String,
    },
}
