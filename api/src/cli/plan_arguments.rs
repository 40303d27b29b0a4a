//! The arguments of `sendlift experiment plan`.

use clap::Args;

// What is known of an experiment to come. Of the effect, the size and the power, the one that is left out is answered.
#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// The kind of the primary metric
    #[arg(long, value_name = "proportion|mean", required_unless_present_any = ["list", "from_logs"])]
    pub(super) metric: Option<String>,
    /// Take the baseline, the variance and the units a day from the store's logs of the last 90 days, where they are not
    /// given: click, conversion, revenue, `opt_out`, delivery, reply, cost, clicks or conversions
    #[arg(long, value_name = "METRIC", conflicts_with_all = ["metric", "list"])]
    pub(super) from_logs: Option<String>,
    /// With --from-logs: of this campaign alone, whenever it was
    #[arg(long, value_name = "ID", requires = "from_logs")]
    pub(super) campaign: Option<String>,
    /// The control's share (0.2 is 20 %) or mean
    #[arg(long, visible_alias = "mean", value_name = "VALUE", allow_negative_numbers = true)]
    pub(super) baseline: Option<f64>,
    /// The effect to be found, in the metric's own units (0.05 is five percentage points)
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true, conflicts_with_all = ["lift", "list"])]
    pub(super) difference: Option<f64>,
    /// The effect to be found, relative to the control (0.25 is +25 %)
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, conflicts_with = "list")]
    pub(super) lift: Option<f64>,
    /// The variance of a mean's values within an arm
    #[arg(long, value_name = "VALUE", conflicts_with_all = ["standard_deviation", "list"])]
    pub(super) variance: Option<f64>,
    /// The standard deviation of a mean's values; with --list, that of a single response
    #[arg(long, visible_alias = "sd", value_name = "VALUE")]
    pub(super) standard_deviation: Option<f64>,
    /// The chance to find the effect [default: 0.8]
    #[arg(long, value_name = "SHARE", conflicts_with = "list")]
    pub(super) power: Option<f64>,
    /// Two-sided error over all comparisons with the control
    #[arg(long, default_value_t = 0.05, conflicts_with = "list")]
    pub(super) alpha: f64,
    /// Arms, the control among them
    #[arg(long, default_value_t = 2, conflicts_with = "list")]
    pub(super) arms: u32,
    /// Units in each arm
    #[arg(long, value_name = "UNITS", conflicts_with_all = ["units", "days", "list"])]
    pub(super) n: Option<u64>,
    /// Units in all arms together
    #[arg(long, conflicts_with_all = ["days", "list"])]
    pub(super) units: Option<u64>,
    /// Units that arrive in a day, in all arms together
    #[arg(long, value_name = "UNITS", conflicts_with = "list")]
    pub(super) per_day: Option<f64>,
    /// Days that there are
    #[arg(long, conflicts_with = "list")]
    pub(super) days: Option<u32>,
    /// Share of the variance that covariates remove (the R² of CUPED)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, hide_default_value = true, conflicts_with = "list")]
    pub(super) variance_removed: f64,
    /// Looks, evenly spaced, the last at the end
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["sequential", "list"])]
    pub(super) looks: Option<u32>,
    /// How the looks spend alpha: hardly any early, or more evenly [default: obrien-fleming]
    #[arg(
        long,
        value_name = "obrien-fleming|pocock|even",
        requires = "looks",
        conflicts_with_all = ["sequential", "list"]
    )]
    pub(super) spending: Option<String>,
    /// An always-valid analysis: anyone may look at any time
    #[arg(long, conflicts_with = "list")]
    pub(super) sequential: bool,
    /// A finite list of so many recipients: test two texts on part of it, send the better one to the rest
    #[arg(long, value_name = "RECIPIENTS")]
    pub(super) list: Option<u64>,
    /// With --list: the standard deviation of texts' true responses [default: a tenth of the baseline]
    #[arg(long, value_name = "VALUE")]
    pub(super) prior_sd: Option<f64>,
    /// With --list: what one unit of response is worth [default: 1]
    #[arg(long)]
    pub(super) value: Option<f64>,
    /// With --list: the cost of a message, of both texts or of each
    #[arg(long, value_name = "COST[,COST]", value_delimiter = ',')]
    pub(super) message_cost: Vec<f64>,
    /// With --list: the share of recipients that opt out, on both texts or on each
    #[arg(long, value_name = "SHARE[,SHARE]", value_delimiter = ',', requires = "opt_out_cost")]
    pub(super) opt_out_rate: Vec<f64>,
    /// With --list: what an opt-out costs
    #[arg(long, value_name = "COST", requires = "opt_out_rate")]
    pub(super) opt_out_cost: Option<f64>,
    /// With --list: the rest may be sent nothing when both texts lose money
    #[arg(long)]
    pub(super) may_send_nothing: bool,
}
