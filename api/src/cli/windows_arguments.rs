//! The arguments of `sendlift windows`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sendlift_engine::windows::DEFAULT_PER_DAY;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct WindowsArguments {
    #[command(subcommand)]
    pub(super) command: Option<WindowsCommand>,
    #[command(flatten)]
    pub(super) question: WindowsQuestion,
}

#[derive(Debug, Subcommand)]
pub(super) enum WindowsCommand {
    /// Draw a window for each recipient of a list, with the probability that makes the next answer causal
    Plan(Box<WindowsPlanArguments>),
    /// Write the windows of each recipient into a file: those of its segment, or of its own where its messages ask for them
    Recipients(Box<WindowsRecipientsArguments>),
    /// What a schedule would have brought, from sends whose windows were drawn at random
    Evaluate(Box<WindowsEvaluateArguments>),
}

/// What is asked about windows.
#[derive(Debug, Args)]
pub(super) struct WindowsQuestion {
    /// One campaign alone
    #[arg(long, value_name = "ID")]
    pub(super) campaign: Option<String>,
    /// Columns whose values are answered one by one: what is known before a message is sent; or segment:NAME of a saved
    /// segment
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub(super) by: Vec<String>,
    /// What a window is to be good for
    #[arg(long, default_value = "click", value_name = "click|conversion|revenue|profit")]
    pub(super) objective: String,
    /// Windows a day between 09:00 and 21:00; before and after is one more each
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PER_DAY)]
    pub(super) slots: u32,
    /// Each day of the week by itself; Monday to Friday are together otherwise
    #[arg(long)]
    pub(super) each_day: bool,
    /// Days from the send within which the outcome has to come [default: those of attribution]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub(super) horizon: Option<u32>,
    /// With --objective profit: what an opt-out costs
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(super) opt_out_cost: f64,
    /// A TOML file of legal hours, laid over those that are built in
    #[arg(long, value_name = "FILE")]
    pub(super) legal_hours: Option<PathBuf>,
    /// A TOML file of holidays, laid over those that are built in
    #[arg(long, value_name = "FILE")]
    pub(super) holidays: Option<PathBuf>,
    /// The same gives the same answer
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Have the queries run on a cluster, over a store that all its machines see
    #[arg(long, value_name = "df://HOST:PORT")]
    pub(super) cluster: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct WindowsPlanArguments {
    /// The list, one row a recipient
    #[arg(long, value_name = "FILE")]
    pub(super) list: String,
    /// The column of the recipients
    #[arg(long, value_name = "COLUMN", default_value = "recipient_id")]
    pub(super) unit: String,
    /// The schedule to write, .csv, .ndjson or .parquet
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Least probability of each legal window
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    pub(super) floor: f64,
    /// Share of the recipients whose window is drawn evenly, for good
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(super) uniform: f64,
    /// Messages that each window of the week can carry
    #[arg(long, value_name = "MESSAGES")]
    pub(super) capacity: Option<u64>,
    /// Channel of the messages
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
    #[command(flatten)]
    pub(super) question: WindowsQuestion,
}

#[derive(Debug, Args)]
pub(super) struct WindowsRecipientsArguments {
    /// The file to write, .parquet, .csv, .ndjson or .arrow
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// A row for each legal window of a recipient, not one a recipient
    #[arg(long)]
    pub(super) every_window: bool,
    #[command(flatten)]
    pub(super) question: WindowsQuestion,
}

#[derive(Debug, Args)]
pub(super) struct WindowsEvaluateArguments {
    /// The schedule: columns `recipient_id`, `weekday`, `window_start`, `window_end`, and optionally `probability`
    #[arg(value_name = "SCHEDULE")]
    pub(super) schedule: String,
    /// Two-sided error
    #[arg(long, default_value_t = 0.1)]
    pub(super) alpha: f64,
    #[command(flatten)]
    pub(super) question: WindowsQuestion,
}
