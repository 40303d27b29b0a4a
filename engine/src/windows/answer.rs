//! The answer about send windows, as the contract has it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::cells::LeftOut;
use super::request::Objective;
use super::slots::Slot;
use crate::stats::Estimate;
use crate::stats::send_windows::{AbstentionCause, Identification, RandomisationPlan, TimingEvidence};
use crate::stats::time_to_click::TimingComparison;

/// Whether hours can be told from what else made campaigns differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowsIdentification {
    /// Hours were drawn at random within campaigns.
    Causal,
    /// One instant was seen at different local hours.
    QuasiExperimental,
    /// Hours cannot be told from campaigns and audiences.
    NotIdentifiable,
}

impl WindowsIdentification {
    /// The word for what was found, and why, in words.
    pub(crate) fn told(found: &Identification) -> (Self, &str) {
        match found {
            Identification::Causal(timing) => (Self::Causal, timing.reason()),
            Identification::QuasiExperimental { timing, .. } => (Self::QuasiExperimental, timing.reason()),
            Identification::NotIdentifiable { reason, .. } => (Self::NotIdentifiable, reason),
        }
    }
}

/// At which level the answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowsLevel {
    /// A single recipient's own sends.
    Recipient,
    /// The segment's.
    Segment,
    /// The country's.
    Country,
    /// Those of all.
    All,
}

impl WindowsLevel {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::Segment => "segment",
            Self::Country => "country",
            Self::All => "all",
        }
    }
}

/// One answer: of all recipients, or of a segment.
#[derive(Debug, Clone, Serialize)]
pub struct WindowsAnswer {
    /// What a window is good for here.
    pub objective: Objective,
    /// Whether it is an effect of the hour.
    pub identification: WindowsIdentification,
    /// Why, in words.
    pub reason: String,
    /// At which level the recommendation was found.
    pub level: WindowsLevel,
    /// The segment; nothing for all recipients.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub by: Map<String, Value>,
    /// Messages that were counted.
    pub sends: u64,
    /// Campaigns that they belong to.
    pub campaigns: usize,
    /// Messages that were not, by reason.
    pub left_out: LeftOut,
    /// How much of the messages tells something of hours.
    pub evidence: TimingEvidence,
    /// What current practice brings: the legal windows in the shares in which they are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub practice: Option<Estimate>,
    /// Every window of the week; none where hours cannot be told.
    pub windows: Vec<WindowOfWeek>,
    /// What to do.
    pub recommendation: WindowsRecommendation,
    /// Effects of holidays (1) and their eves (2), which no window is credited with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<DayEffectShown>,
    /// What other objectives would recommend, where the logs tell them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<OtherObjective>,
    /// What would be recommended if suspected clicks of machines counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_machine_clicks: Option<OtherObjective>,
    /// Whether the recommended windows bring more clicks, or the same ones sooner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sooner_or_more: Option<TimingComparison>,
    /// What would make hours comparable, where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<WindowsPlan>,
    /// Assumptions that were made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One window of the local week.
#[derive(Debug, Clone, Serialize)]
pub struct WindowOfWeek {
    /// `weekday`, `saturday`, `sunday`, or a day's own name.
    pub weekday: &'static str,
    /// `18:00`.
    pub start: String,
    /// `21:00`.
    pub end: String,
    /// Whether promotion may be sent all through it, wherever the recipients live.
    pub legal: bool,
    /// Whether enough messages of enough campaigns went out in it.
    pub supported: bool,
    /// Messages that were sent in it.
    pub sends: u64,
    /// What a message brings if all are sent in it.
    pub rate: Estimate,
    /// The same less what current practice brings.
    pub difference: Estimate,
    /// Probability of being the best of the legal, supported windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chance_of_best: Option<f64>,
    /// What it is expected to lose against the best of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_loss: Option<f64>,
}

/// A window by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowName {
    /// `weekday`, `saturday`, `sunday`, or a day's own name.
    pub weekday: &'static str,
    /// `18:00`.
    pub start: String,
    /// `21:00`.
    pub end: String,
}

impl WindowOfWeek {
    /// Its name alone.
    #[must_use]
    pub fn name(&self) -> WindowName {
        WindowName { weekday: self.weekday, start: self.start.clone(), end: self.end.clone() }
    }
}

impl WindowName {
    pub(crate) fn of(slot: &Slot) -> Self {
        Self { weekday: slot.day, start: slot.start(), end: slot.end() }
    }
}

/// What to do with the next campaign.
#[derive(Debug, Clone, Serialize)]
pub struct WindowsRecommendation {
    /// Whether nothing is recommended.
    pub abstained: bool,
    /// The windows of which any will do.
    pub windows: Vec<WindowName>,
    /// What the next campaign gains against current practice, a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_gain: Option<Estimate>,
    /// The same as a share of current practice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_gain: Option<Estimate>,
    /// Probability that these windows are better than what is done now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chance_of_gain: Option<f64>,
    /// Why nothing is recommended, where hours can be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<AbstentionCause>,
    /// Why, in words.
    pub why: Vec<String>,
}

/// The effect of a kind of day.
#[derive(Debug, Clone, Serialize)]
pub struct DayEffectShown {
    /// `holiday` or `eve`.
    pub day: &'static str,
    /// On the log-odds scale of a rate, or an amount a message.
    pub effect: Estimate,
}

/// What would be recommended for something else.
#[derive(Debug, Clone, Serialize)]
pub struct OtherObjective {
    /// For what.
    pub objective: Objective,
    /// Whether nothing is recommended.
    pub abstained: bool,
    /// The windows of which any will do.
    pub windows: Vec<WindowName>,
    /// Whether the windows are others than those of the objective asked for.
    pub differs: bool,
}

/// What would make hours comparable.
#[derive(Debug, Clone, Serialize)]
pub struct WindowsPlan {
    /// The legal windows to draw from.
    pub draw_from: Vec<WindowName>,
    /// Sizes: the share of each campaign in each window, sends, campaigns and days.
    #[serde(flatten)]
    pub sizes: RandomisationPlan,
    /// What to do, in words.
    pub words: String,
}
