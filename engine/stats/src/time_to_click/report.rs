//! Counts by interval, how they are compared, and what comes of it.
//!
//! Enters: nothing. Leaves: the shapes of what enters and leaves the comparison.

use crate::interval::Estimate;
use serde::{Deserialize, Serialize};

/// A stretch of time since the send, in any one unit such as hours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClickInterval {
    /// Where it starts; where the one before ended.
    pub start: f64,
    /// Where it ends, after the start.
    pub end: f64,
}

/// What happened to a group in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IntervalCounts {
    /// Recipients with neither event before the interval, whose sends are old enough for all of it.
    pub at_risk: u64,
    /// Recipients among them who clicked for the first time in it.
    pub clicks: u64,
    /// Recipients among them who opted out in it, not having clicked.
    pub opt_outs: u64,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimingOptions {
    /// Shared by both questions; a share in (0, 1).
    pub alpha: f64,
    /// Difference in the share of clickers that does not matter, zero or more: 0.005 is half a point.
    pub share_margin: f64,
    /// Difference in mean time that does not matter, zero or more, in the unit of the intervals.
    pub time_margin: f64,
}

/// What the groups differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimingVerdict {
    /// More recipients click by the horizon.
    More,
    /// Fewer recipients click by the horizon.
    Fewer,
    /// About as many click, earlier.
    SoonerOnly,
    /// About as many click, no earlier by what matters.
    Neither,
    /// The data leave more than one of these open.
    CannotTell,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingGroup {
    /// Share of recipients, 0 to 1, who have clicked by the horizon.
    pub clicked: Estimate,
    /// Share who have opted out by the horizon without having clicked.
    pub opted_out: Estimate,
    /// Mean time to the click of those who clicked by the horizon, clicks in the middle of their interval.
    pub mean_time: Estimate,
    /// Time by which half of these clicks have come, evenly spread within an interval; none without clicks.
    pub median_time: Option<f64>,
}

/// Two groups compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingComparison {
    /// By the rule of the module.
    pub verdict: TimingVerdict,
    /// What else a reader has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// End of the last interval that both groups have anyone at risk in; none without one.
    pub horizon: Option<f64>,
    /// The group compared against, such as the other windows.
    pub others: TimingGroup,
    /// The group in question, such as one window.
    pub window: TimingGroup,
    /// Window − others in the share who clicked by the horizon: more.
    pub more: Estimate,
    /// Window − others in mean time to the click: below zero is sooner.
    pub sooner: Estimate,
    /// Window − others in median time; none without clicks.
    pub median_difference: Option<f64>,
    /// Window − others in the share who opted out, at the same confidence.
    pub opt_outs: Estimate,
}
