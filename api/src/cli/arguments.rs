//! The commands, and the arguments of all but those with a file of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sendlift_engine::store::care::DEFAULT_KEEP_HOURS;

#[cfg(feature = "cluster")]
use super::cluster_arguments::ClusterArguments;
use super::experiment_arguments::ExperimentArguments;
use super::score_arguments::{FeaturesArguments, ModelsArguments, ScoreArguments};
use super::segment_arguments::SegmentArguments;
use super::windows_arguments::WindowsArguments;

/// Analytics and A/B testing of message campaigns: raw logs in, decisions out.
#[derive(Debug, Parser)]
#[command(name = "sendlift", version, about, max_term_width = 100)]
pub(super) struct Arguments {
    /// The store: a folder, or s3:// where built in [default: ./sendlift-store]
    #[arg(long, global = true, env = "SENDLIFT_STORE", value_name = "DIR|URL")]
    pub(super) store: Option<String>,
    /// How to print: table (for people), json or csv; for `generate` the files' format: csv, ndjson or parquet
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(super) format: Option<String>,
    /// Configuration file [default: ./sendlift.toml if it is there]
    #[arg(long, global = true, env = "SENDLIFT_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Generate a sample campaign, ingest it, show its report, experiment and segment lift, draw the charts
    Demo(DemoArguments),
    /// Write logs of simulated campaigns whose true effects are known
    Generate(GenerateArguments),
    /// Take logs into the store: validated, hashed, exactly once
    Ingest(IngestArguments),
    /// Show rows that were rejected, with the reason
    Quarantine(QuarantineArguments),
    /// Campaign results by any column
    Report(ReportArguments),
    /// A/B tests: list, show, plan, analyze
    Experiment(ExperimentArguments),
    /// When to send: the windows of the week with how sure that is; a schedule that learns; what one would have brought
    Windows(Box<WindowsArguments>),
    /// Whom to reach: scores of recipients from the logs alone, with who may be sent to
    Score(Box<ScoreArguments>),
    /// What is known of each recipient at a moment, as a table
    Features(FeaturesArguments),
    /// The models that scores were made by
    Models(ModelsArguments),
    /// Conditions on the contacts, kept under names to group by: add, list, show, remove
    Segment(SegmentArguments),
    /// Draw a chart to an SVG or PNG file
    Chart(ChartArguments),
    /// Run read-only SQL over the logs, `message_facts` and the quarantine
    Sql(SqlArguments),
    /// Serve the HTTP API
    Serve(ServeArguments),
    /// Run the scheduler or a worker of a cluster
    #[cfg(feature = "cluster")]
    Cluster(ClusterArguments),
    /// Run the scheduler or a worker of a cluster: needs a build with --features cluster
    #[cfg(not(feature = "cluster"))]
    #[command(disable_help_flag = true)]
    Cluster {
        /// Whatever they are, the answer is the same
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        _arguments: Vec<std::ffi::OsString>,
    },
    /// Put small data files together, so that queries open few
    Compact,
    /// Remove data files that no kept version needs
    Vacuum(VacuumArguments),
    /// Erase every row about some recipients
    Forget(ForgetArguments),
    /// Look for damage in the store, and change nothing
    Doctor(DoctorArguments),
    /// List the vendors' formats that are built in
    Presets,
    /// Show the configuration in force
    Config,
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Where the sample logs, the store and the charts go
    #[arg(long, default_value = "sendlift-demo", value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Messages to simulate
    #[arg(long, default_value_t = 200_000)]
    pub(super) messages: u64,
}

#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// Where the logs go
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Messages to simulate
    #[arg(long, default_value_t = 100_000)]
    pub(super) messages: u64,
    /// The same seed gives the same logs
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// A retail flash sale or a bank's reminders
    #[arg(long, default_value = "retail", value_name = "retail|bank")]
    pub(super) scenario: String,
    /// The language of texts and names
    #[arg(long, default_value = "en", value_name = "en|zh")]
    pub(super) language: String,
}

/// How files of logs are read.
#[derive(Debug, Args)]
pub(super) struct ReadingArguments {
    /// The vendor whose format the files have (see `sendlift presets`)
    #[arg(long, value_name = "NAME", requires = "logs")]
    pub(super) preset: Option<String>,
    /// A TOML file that says which column is which; laid over the preset, if both are given
    #[arg(long, value_name = "FILE", requires = "logs")]
    pub(super) map: Option<PathBuf>,
    /// The IANA zone of times without an offset
    #[arg(long, value_name = "ZONE")]
    pub(super) time_zone: Option<String>,
    /// File with the key for hashing phone numbers and addresses (or the variable `SENDLIFT_HASH_KEY`)
    #[arg(long, value_name = "FILE", requires = "logs")]
    pub(super) hash_key_file: Option<PathBuf>,
    /// Country of phone numbers without a country code, such as US or CN
    #[arg(long, value_name = "COUNTRY", requires = "logs")]
    pub(super) default_country: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct IngestArguments {
    /// LOG=PATH: sends, deliveries, opens, clicks, conversions, replies, `opt_outs`, consents, recipients or assignments;
    /// PATH is a file, a folder, a glob, or - for standard input
    #[arg(required = true, value_name = "LOG=PATH")]
    pub(super) logs: Vec<String>,
    #[command(flatten)]
    pub(super) reading: ReadingArguments,
    /// Share of rows that may be rejected before nothing is taken in
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    pub(super) max_rejected: f64,
}

#[derive(Debug, Args)]
pub(super) struct QuarantineArguments {
    /// Only this log
    #[arg(long)]
    pub(super) log: Option<String>,
    /// Write all rejected rows to a CSV file
    #[arg(long, value_name = "FILE", conflicts_with = "limit")]
    pub(super) export: Option<PathBuf>,
    /// Rows to show
    #[arg(long, default_value_t = 50)]
    pub(super) limit: usize,
}

/// Which messages, grouped how.
#[derive(Debug, Args)]
pub(super) struct SelectionArguments {
    /// Only this campaign
    #[arg(long, value_name = "ID")]
    pub(super) campaign: Option<String>,
    /// Columns to group by: of the facts, the sends or the recipients, or day, week, month, or segment:NAME of a saved
    /// segment [default: `campaign_id`]
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    pub(super) by: Option<Vec<String>>,
    /// Only messages sent from this time on
    #[arg(long, value_name = "TIME")]
    pub(super) from: Option<String>,
    /// Only messages sent before this time
    #[arg(long, value_name = "TIME")]
    pub(super) to: Option<String>,
    /// As the store was at a version of the facts, or at a time
    #[arg(long, value_name = "VERSION|TIME")]
    pub(super) at: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    #[command(flatten)]
    pub(super) selection: SelectionArguments,
    /// Read these files straight instead of a store: LOG=PATH …
    #[arg(long, num_args = 1.., value_name = "LOG=PATH", conflicts_with_all = ["at", "cluster"])]
    pub(super) logs: Vec<String>,
    #[command(flatten)]
    pub(super) reading: ReadingArguments,
    /// With --logs: share of rows that may be bad before nothing is told of the rest
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    pub(super) max_rejected: f64,
    /// Days after the first conversion between which another one counts as retained
    #[arg(long, default_value = "7,30", value_name = "FROM,TO")]
    pub(super) retention: String,
    /// Have the queries run on a cluster, over a store that all its machines see
    #[arg(long, value_name = "df://HOST:PORT")]
    pub(super) cluster: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ChartArguments {
    /// funnel, hours (of a report), lift, segments (of an experiment) or windows (when to send)
    #[arg(value_name = "funnel|hours|lift|segments|windows")]
    pub(super) kind: String,
    /// The picture's file, .svg or .png
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Pixels across
    #[arg(long, default_value_t = 800)]
    pub(super) width: u32,
    /// Pixels down
    #[arg(long, default_value_t = 500)]
    pub(super) height: u32,
    #[command(flatten)]
    pub(super) selection: SelectionArguments,
    /// The IANA zone of days, weeks and months, and of --from and --to without an offset [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(super) time_zone: Option<String>,
    /// What send windows are to be good for [default: click]
    #[arg(long, value_name = "click|conversion|revenue|profit")]
    pub(super) objective: Option<String>,
    /// Send windows a day between 09:00 and 21:00 [default: 4]
    #[arg(long, value_name = "N")]
    pub(super) slots: Option<u32>,
    /// Send windows of each day of the week by itself
    #[arg(long)]
    pub(super) each_day: bool,
    /// Days from the send within which the outcome of a window has to come [default: those of attribution]
    #[arg(long, value_name = "DAYS")]
    pub(super) horizon: Option<u32>,
    /// With --objective profit: what an opt-out costs [default: 0]
    #[arg(long, value_name = "AMOUNT")]
    pub(super) opt_out_cost: Option<f64>,
    /// The language of the chart of windows [default: en]
    #[arg(long, value_name = "en|zh")]
    pub(super) language: Option<String>,
    /// The experiment [default: the only one]
    #[arg(long, value_name = "ID")]
    pub(super) experiment: Option<String>,
    /// The metric [default: all for lift, the first for segments]
    #[arg(long)]
    pub(super) metric: Option<String>,
    /// The control arm
    #[arg(long)]
    pub(super) control: Option<String>,
    /// The segment column; of windows the one segment that is drawn, as in country=DE
    #[arg(long, value_name = "COLUMN|COLUMN=VALUE", value_delimiter = ',')]
    pub(super) segment: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct SqlArguments {
    /// The query
    pub(super) query: String,
    /// As the store was at a version of the facts, or at a time
    #[arg(long, value_name = "VERSION|TIME")]
    pub(super) at: Option<String>,
    /// Have the query run on a cluster, over a store that all its machines see
    #[arg(long, value_name = "df://HOST:PORT")]
    pub(super) cluster: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct VacuumArguments {
    /// Hours of history that stay readable with --at; an hour at least
    #[arg(long, default_value_t = DEFAULT_KEEP_HOURS, value_name = "HOURS")]
    pub(super) keep: u64,
    /// Only say what would be removed
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct ForgetArguments {
    /// Recipients by id, by e-mail address or by phone number with its country code; - reads them from standard input, one
    /// a line, where no shell's history keeps them
    #[arg(value_name = "RECIPIENT", required_unless_present = "file")]
    pub(super) recipients: Vec<String>,
    /// A file of recipients, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// All of them are phone numbers, with or without a country code
    #[arg(long)]
    pub(super) phone: bool,
    /// File with the key for hashing phone numbers and addresses (or the variable `SENDLIFT_HASH_KEY`)
    #[arg(long, value_name = "FILE")]
    pub(super) hash_key_file: Option<PathBuf>,
    /// Country of phone numbers without a country code, such as US or CN
    #[arg(long, value_name = "COUNTRY")]
    pub(super) default_country: Option<String>,
    /// Empty the quarantine, too, since its hidden addresses cannot be searched
    #[arg(long)]
    pub(super) quarantine: bool,
    /// Remove the files of all earlier versions at once; a query that reads one at that moment fails
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) vacuum: bool,
    /// Only say what would be erased
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Read every page of every data file
    #[arg(long)]
    pub(super) deep: bool,
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Address to listen on; other than loopback only with an API key configured
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) listen: Option<SocketAddr>,
}
