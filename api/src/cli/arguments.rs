//! The arguments of every command.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sendlift_engine::experiment::DEFAULT_PLANNED_UNITS;
use sendlift_engine::store::care::DEFAULT_KEEP_HOURS;
use sendlift_engine::windows::DEFAULT_PER_DAY;

use super::plan_arguments::PlanArguments;

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
    /// Draw a chart to an SVG or PNG file
    Chart(ChartArguments),
    /// Run read-only SQL over the logs, `message_facts` and the quarantine
    Sql(SqlArguments),
    /// Serve the HTTP API
    Serve(ServeArguments),
    /// Run the scheduler or a worker of a cluster
    Cluster(ClusterArguments),
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
    /// Columns to group by: of the facts, the sends or the recipients, or day, week, month [default: `campaign_id`]
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
    /// Days after the first conversion between which another one counts as retained
    #[arg(long, default_value = "7,30", value_name = "FROM,TO")]
    pub(super) retention: String,
    /// Have the queries run on a cluster, over a store that all its machines see
    #[arg(long, value_name = "df://HOST:PORT")]
    pub(super) cluster: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ExperimentArguments {
    #[command(subcommand)]
    pub(super) command: ExperimentCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ExperimentCommand {
    /// The experiments that the store knows
    List,
    /// One experiment: arms, units, when it started
    Show {
        /// The experiment
        id: String,
    },
    /// Define an experiment before it is looked at: arms, metrics, guardrails, the smallest effect worth having
    Add {
        /// The definition, a TOML file (see docs/statistics.md)
        file: PathBuf,
        /// Overwrite another definition of the same name
        #[arg(long)]
        replace: bool,
    },
    /// Draw a list of recipients into arms, reproducibly: the assignments log of an experiment to come
    Assign(Box<AssignArguments>),
    /// All experiments at once: effects drawn towards what experiments here bring, true wins to expect, shared recipients
    Portfolio {
        /// The metric
        #[arg(long, default_value = "conversion")]
        metric: String,
        /// Two-sided error
        #[arg(long, default_value_t = 0.05)]
        alpha: f64,
        /// The smallest effect worth having, in the metric's own units
        #[arg(long, default_value_t = 0.0)]
        minimum_effect: f64,
    },
    /// How many units an experiment needs, what power a size has, which effect it can see; or the test on a finite list
    Plan(Box<PlanArguments>),
    /// Analyze an experiment of the store, a table with one row a unit, or aggregates
    Analyze(Box<AnalyzeArguments>),
}

#[derive(Debug, Args)]
pub(super) struct AssignArguments {
    /// The list, one row a recipient
    #[arg(long, value_name = "FILE")]
    pub(super) list: String,
    /// The column of the recipients
    #[arg(long, value_name = "COLUMN", default_value = "recipient_id")]
    pub(super) unit: String,
    /// The experiment
    #[arg(long, value_name = "ID")]
    pub(super) experiment: String,
    /// The arms with their shares, which add up to one
    #[arg(long, value_name = "ARM=SHARE,…")]
    pub(super) arms: String,
    /// The arm that is to get no message
    #[arg(long, value_name = "ARM")]
    pub(super) holdout: Option<String>,
    /// Columns within whose values each arm has its share
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub(super) stratify: Vec<String>,
    /// The same seed gives the same arms
    #[arg(long)]
    pub(super) seed: u64,
    /// The assignments log to write, .csv, .ndjson or .parquet
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// When they were assigned [default: now]
    #[arg(long, value_name = "TIME")]
    pub(super) assigned_at: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AnalyzeArguments {
    /// The experiment in the store (or a campaign whose sends carry variants)
    #[arg(
        required_unless_present_any = ["units", "arms"],
        conflicts_with_all = ["units", "arms", "arm", "unit", "filter"]
    )]
    pub(super) id: Option<String>,
    /// A table with one row a unit
    #[arg(long, value_name = "FILE", requires = "arm", conflicts_with_all = ["arms", "at"])]
    pub(super) units: Option<String>,
    /// A table of aggregates: arm, n, successes or arm, n, mean, variance; optional metric, segment, day
    #[arg(long, value_name = "FILE", conflicts_with_all = ["arm", "metric", "unit", "segment", "filter", "at"])]
    pub(super) arms: Option<String>,
    /// The column of a unit table that says the arm
    #[arg(long, value_name = "COLUMN", requires = "units")]
    pub(super) arm: Option<String>,
    /// The control arm [default: the one named control or A, else the first]
    #[arg(long, value_name = "VALUE")]
    pub(super) control: Option<String>,
    /// Of a unit table a column, of the store click, conversion, revenue, delivery, reply, cost, `opt_out`, clicks,
    /// conversions or messages; after a colon what is compared: proportion, mean, winsorised[=SHARE], log, quantile=Q or
    /// ratio=DENOMINATOR [default: by the values]; the first decides
    #[arg(long, value_name = "NAME[:KIND]", value_delimiter = ',')]
    pub(super) metric: Vec<String>,
    /// The column of a unit table that names the unit
    #[arg(long, value_name = "COLUMN", requires = "units")]
    pub(super) unit: Option<String>,
    /// A column whose values are looked at one by one
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub(super) segment: Vec<String>,
    /// Columns of a unit table that were known before the assignment: results are adjusted for them (CUPED, Lin) and then
    /// decide; of the store `pre_period`, the same metric in the 28 days before
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', conflicts_with = "arms")]
    pub(super) covariate: Vec<String>,
    /// A column known before the assignment, by whose values results are post-stratified
    #[arg(long, value_name = "COLUMN", conflicts_with = "arms")]
    pub(super) post_stratify: Option<String>,
    /// The column that names what was randomised where that is more than a row: a shop, a household
    #[arg(long, value_name = "COLUMN", requires = "units", visible_alias = "randomized-by")]
    pub(super) randomised_by: Option<String>,
    /// Only rows of a unit table that fulfil this condition
    #[arg(long, value_name = "SQL", requires = "units")]
    pub(super) filter: Option<String>,
    /// As the store was at a version of the facts, or at a time
    #[arg(long, value_name = "VERSION|TIME")]
    pub(super) at: Option<String>,
    /// Two-sided error [default: 0.05]
    #[arg(long)]
    pub(super) alpha: Option<f64>,
    /// Planned shares of the arms
    #[arg(long, value_name = "ARM=SHARE,…")]
    pub(super) allocation: Option<String>,
    /// Adjustment for several comparisons [default: holm]
    #[arg(long, value_name = "holm|bh|none")]
    pub(super) correction: Option<String>,
    /// Add intervals and p values that hold however often one looks; the decision rests on them
    #[arg(long)]
    pub(super) sequential: bool,
    /// With --sequential: units of both arms together near which its intervals are tightest, the same at every look
    #[arg(
        long,
        value_name = "UNITS",
        requires = "sequential",
        default_value_t = DEFAULT_PLANNED_UNITS,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(super) planned_units: u64,
    /// The share of the planned units at each look so far, this one last: results hold over all looks, and decide
    #[arg(long, value_name = "SHARE,…", conflicts_with = "sequential")]
    pub(super) looks: Option<String>,
    /// With --looks: how the error is spent over them, the same at every look
    #[arg(long, default_value = "obrien-fleming", value_name = "obrien-fleming|pocock|even", requires = "looks")]
    pub(super) spending: String,
    /// Search the segments for those in which an arm works: found on one half of the units, measured on the other
    #[arg(long, requires = "segment")]
    pub(super) search: bool,
    /// Add the path over the days on which units entered: of a unit table the column of the day
    #[arg(long, value_name = "COLUMN", num_args = 0..=1, default_missing_value = "day")]
    pub(super) path: Option<String>,
    /// Add the chance to win, the expected loss and credible intervals, under a stated prior
    #[arg(long)]
    pub(super) bayesian: bool,
    /// How much worse an arm may be on a metric: in percentage points of a share (0.5pp), relative (5%), or in the metric's
    /// own units; + before it says that a rise is worse, - that a fall is [default: a rise of a guardrail, else a fall]
    #[arg(long, value_name = "METRIC=VALUE[pp|%]", value_delimiter = ',')]
    pub(super) margin: Vec<String>,
    /// Compare every arm with every other, too
    #[arg(long)]
    pub(super) all_pairs: bool,
    /// Exit with status 3 when a check fails
    #[arg(long)]
    pub(super) strict: bool,
    /// Have the queries run on a cluster, over a store that all its machines see
    #[arg(long, value_name = "df://HOST:PORT", conflicts_with_all = ["units", "arms"])]
    pub(super) cluster: Option<String>,
}

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
    /// What a schedule would have brought, from sends whose windows were drawn at random
    Evaluate(Box<WindowsEvaluateArguments>),
}

/// What is asked about windows.
#[derive(Debug, Args)]
pub(super) struct WindowsQuestion {
    /// One campaign alone
    #[arg(long, value_name = "ID")]
    pub(super) campaign: Option<String>,
    /// Columns whose values are answered one by one
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
    #[arg(long, value_name = "AMOUNT", default_value_t = 0.0)]
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
    /// Leave out who had so many messages in --in-days
    #[arg(long, value_name = "MESSAGES")]
    pub(super) at_most: Option<u64>,
    /// Days that --at-most looks back
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub(super) in_days: u32,
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
    /// The segment column
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
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

// Without clusters the command only says that there are none; nobody reads its arguments.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "cluster"), allow(dead_code))]
pub(super) struct ClusterArguments {
    #[command(subcommand)]
    pub(super) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
#[cfg_attr(not(feature = "cluster"), allow(dead_code))]
pub(super) enum ClusterCommand {
    /// Plan queries and deal them out to the workers; one for a cluster
    Scheduler(SchedulerArguments),
    /// Work on parts of queries; as many for a cluster as there are machines
    Worker(WorkerArguments),
}

#[derive(Debug, Args)]
#[cfg_attr(not(feature = "cluster"), allow(dead_code))]
pub(super) struct SchedulerArguments {
    /// Address to listen on; whoever reaches it can read the store
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "ADDRESS:PORT")]
    pub(super) listen: SocketAddr,
    /// The name under which the workers reach this machine [default: the address listened on]
    #[arg(long, value_name = "HOST")]
    pub(super) advertise: Option<String>,
}

#[derive(Debug, Args)]
#[cfg_attr(not(feature = "cluster"), allow(dead_code))]
pub(super) struct WorkerArguments {
    /// The scheduler of the cluster
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) scheduler: String,
    /// Address to listen on; the next port is listened on, too; port 0 takes two free ones
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    pub(super) listen: SocketAddr,
    /// The name under which the others reach this machine [default: the address listened on, or called from]
    #[arg(long, value_name = "HOST")]
    pub(super) advertise: Option<String>,
    /// Tasks at a time [default: one a processor core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) tasks: Option<u16>,
    /// Where rows in exchange go [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(super) work_dir: Option<PathBuf>,
    /// Mebibytes of memory for queries before they spill to disk [default: 70 % of the machine's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    pub(super) memory: Option<u64>,
}
