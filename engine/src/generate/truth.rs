//! `truth.json`: what is true of the logs by construction, to hold an analysis against.
//!
//! All rates are shares, all lifts relative (0.10 is +10 %), all amounts in the logs' one currency. "Expected" is
//! over everything random after the assignment (hours, delivery, clicks, conversions), for the recipients of these
//! very logs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::options::{Language, Scenario};

/// Results by column, then by the column's value.
pub type Segments = BTreeMap<String, BTreeMap<String, GroupTruth>>;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The story.
    pub scenario: Scenario,
    /// The messages' language.
    pub language: Language,
    /// The seed.
    pub seed: u64,
    /// Rows of the sends log.
    pub messages: u64,
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// The experiment that runs over all campaigns.
    pub experiment_id: String,
    /// The control variant.
    pub control: String,
    /// The other variant.
    pub treatment: String,
    /// Days after a send in which a conversion counts.
    pub window_days: i64,
    /// Expected share of the recipients in each arm.
    pub allocation: BTreeMap<String, f64>,
    /// What each number means, in words.
    pub definitions: BTreeMap<String, String>,
    /// Each campaign as an experiment of its own, by its name.
    pub campaigns: BTreeMap<String, CampaignTruth>,
    /// All campaigns together, by recipient assigned to a variant.
    pub experiment: ExperimentTruth,
    /// Click rate of a delivered message over all campaigns.
    pub per_message: Effect,
    /// Click rate by local hour, over all recipients.
    pub hours: Vec<HourTruth>,
    /// The same within each age band: the best hour differs.
    pub hours_by_age_band: BTreeMap<String, Vec<HourTruth>>,
    /// What the messages brought beyond what would have come without them, by arm and for `all`.
    pub incremental: BTreeMap<String, Incremental>,
    /// How many of everything there is.
    pub counts: Counts,
    /// Rows of each log.
    pub rows: BTreeMap<String, u64>,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CampaignTruth {
    /// Expectations by recipient sent to.
    pub overall: GroupTruth,
    /// The same within segments.
    pub segments: Segments,
    /// What the logs happen to show, by variant.
    pub realised: BTreeMap<String, Realised>,
}

/// The experiment over all campaigns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentTruth {
    /// Expectations by recipient assigned to a variant.
    pub overall: GroupTruth,
    /// The same within segments.
    pub segments: Segments,
}

/// Expectations of a group of recipients: what each metric would be if all of them had got the one or the other
/// variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupTruth {
    /// Recipients in the group, both variants.
    pub recipients: u64,
    /// Share with at least one click of their own.
    pub click: Effect,
    /// Share with at least one conversion within the window after a send, caused or not.
    pub conversion: Effect,
    /// Conversions within the window per recipient, caused or not.
    pub conversions: Effect,
    /// Their value per recipient, before refunds.
    pub revenue: Effect,
    /// Conversions within the window per recipient that the messages caused.
    pub caused_conversions: Effect,
    /// Their value per recipient, before refunds.
    pub caused_revenue: Effect,
}

/// A metric under the two variants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Under variant A.
    pub control: f64,
    /// Under variant B.
    pub treatment: f64,
    /// B less A, in the metric's own units.
    pub difference: f64,
    /// The difference relative to A; none where A is zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lift: Option<f64>,
}

impl Effect {
    /// The effect between two values.
    #[must_use]
    pub fn between(control: f64, treatment: f64) -> Self {
        let difference = treatment - control;
        Self { control, treatment, difference, lift: (control > 0.0).then(|| difference / control) }
    }
}

/// One local hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HourTruth {
    /// The hour, 9 for 09:00 up to 10:00.
    pub hour: usize,
    /// Messages that left in it.
    pub sends: u64,
    /// Click rate of a delivered message if all messages left in this hour.
    pub click: Effect,
    /// Share of the delivered messages whose recipient opts out, whatever the variant.
    pub opt_out_rate: f64,
}

/// What an arm's messages are expected to bring, against sending nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Incremental {
    /// Messages sent.
    pub messages: u64,
    /// Conversions, early and late.
    pub conversions: f64,
    /// Of these, within the window.
    pub conversions_in_window: f64,
    /// Value of the conversions, before refunds.
    pub revenue: f64,
    /// Of this, within the window.
    pub revenue_in_window: f64,
}

/// What happened in these logs to the messages of one campaign and variant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realised {
    /// Messages sent, one a recipient.
    pub sent: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Recipients who clicked themselves.
    pub clickers: u64,
    /// Conversions caused within the window.
    pub caused_conversions: u64,
    /// Conversions caused after the window.
    pub late_conversions: u64,
}

/// How many of everything there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Recipients in all.
    pub recipients: u64,
    /// Of these, never sent to.
    pub holdout: u64,
    /// Of these, assigned to variant A.
    pub control: u64,
    /// Of these, assigned to variant B.
    pub treatment: u64,
    /// Messages that the carrier gave up.
    pub undelivered: u64,
    /// Messages without any receipt.
    pub no_receipt: u64,
    /// Messages called expired and delivered later.
    pub delivered_after_expiry: u64,
    /// Messages whose final receipt came hours or days late.
    pub late_receipts: u64,
    /// Messages whose final receipt came twice.
    pub duplicate_receipts: u64,
    /// Messages whose final receipt came before the one that says "sent".
    pub out_of_order_receipts: u64,
    /// Clicks by people.
    pub people_clicks: u64,
    /// Clicks by machines.
    pub machine_clicks: u64,
    /// Conversions that no message caused, four weeks of history included.
    pub organic_conversions: u64,
}

/// What the numbers mean, for a reader of the file alone.
pub(super) fn definitions() -> BTreeMap<String, String> {
    [
        ("expected", "over hours, delivery, clicks and conversions, for the recipients of these logs"),
        ("click", "share of recipients with at least one click by a person on a message of the campaign (experiment: of any campaign)"),
        ("conversion", "share of recipients with at least one conversion, caused or organic, within window_days after a send"),
        ("conversions", "conversions per recipient, caused or organic, within window_days after a send"),
        ("revenue", "value of these per recipient, before refunds (2 % are refunded, in both arms)"),
        ("caused_conversions", "conversions per recipient that follow from a click, within window_days after the send; 5 % of all caused ones come later"),
        ("caused_revenue", "value of the caused conversions per recipient, before refunds"),
        ("campaigns", "per recipient sent to in the campaign; sends of one recipient are 12 days apart or more, so no window holds what another send caused; the first campaign is the truth for the days after a recipient's first send"),
        ("experiment", "per recipient assigned to a variant, over all campaigns that reached them; windows after every send taken together"),
        ("difference", "treatment less control, in the metric's own units"),
        ("lift", "difference relative to control"),
        ("per_message", "share of delivered messages clicked by a person, over the hours as they are drawn"),
        ("hours", "share of delivered messages clicked by a person if all left in that local hour; hours are drawn at random, each with the same chance"),
        ("incremental", "expected conversions and revenue that the messages as sent caused, against sending nothing; organic ones are not in it"),
        ("realised", "what these logs show by chance; differs from the expectation by sampling error only"),
        ("opt_outs", "independent of the variant; a recipient who opted out is sent no later campaign"),
        ("machine_clicks", "independent of the variant; never counted as clicks here"),
    ]
    .into_iter()
    .map(|(term, meaning)| (term.to_owned(), meaning.to_owned()))
    .collect()
}
