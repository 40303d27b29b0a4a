//! The arguments of `sendlift experiment`; those of `plan` have a file of their own.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sendlift_engine::experiment::DEFAULT_PLANNED_UNITS;

use super::plan_arguments::PlanArguments;

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
    /// A column whose values are looked at one by one; of the store also segment:NAME of a saved segment
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
    /// With --sequential: units of both arms together (clusters, with --randomised-by) near which its intervals are
    /// tightest, the same at every look
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
    /// Within how much of the control an arm counts as the same on a metric, written like --margin without a sign
    #[arg(long, value_name = "METRIC=VALUE[pp|%]", value_delimiter = ',')]
    pub(super) equivalence: Vec<String>,
    /// The test and the intervals of shares: the score test's, or with Miettinen and Nurminen's correction [default: score]
    #[arg(long, value_name = "score|miettinen-nurminen")]
    pub(super) interval: Option<String>,
    /// An exact test of shares, which then decides, whatever the counts [default: where counts are small, by a rule]
    #[arg(long, value_name = "fisher|barnard|boschloo")]
    pub(super) exact: Option<String>,
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
