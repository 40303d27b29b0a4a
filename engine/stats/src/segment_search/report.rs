//! What a search is given, how it is asked to look, and what it says.
//!
//! Enters: segments on two halves, and options. Leaves: the shapes of the result.

use crate::comparison::Comparison;
use crate::equivalence::Direction;
use crate::interval::Estimate;
use serde::{Deserialize, Serialize};

/// Both arms of one segment on one half.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Arms<A> {
    /// Counts or moments of the control's units.
    pub control: A,
    /// Counts or moments of the treatment's units.
    pub treatment: A,
}

/// One segment, on two halves that share no unit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SegmentHalves<A> {
    /// The half on which segments are looked for.
    pub discovery: Arms<A>,
    /// The half on which those found are measured.
    pub estimation: Arms<A>,
}

/// What a segment is looked for and tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Is the effect in the segment better than none?
    #[default]
    BetterThanNone,
    /// Is it better than in the other segments, each weighted by its units? Asks for segments that do not overlap.
    BetterThanTheRest,
}

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SearchOptions {
    /// What is looked for.
    pub question: Question,
    /// Which sign of the difference is better.
    pub direction: Direction,
    /// Whether no unit lies in two segments. Overlapping ones have no effect together, and no rest.
    pub disjoint: bool,
    /// Corrected p value, a share in (0, 1), below which a segment is selected on the discovery half.
    pub false_discovery_rate: f64,
    /// Chance of any false confirmation on the estimation half, a share in (0, 1).
    pub alpha: f64,
    /// Units that each arm of a segment needs on the discovery half to be considered.
    pub fewest_units: u64,
}

impl Default for SearchOptions {
    /// Better than none, higher is better, no overlap, 10 % on discovery, 5 % on estimation, 50 units an arm.
    fn default() -> Self {
        Self {
            question: Question::BetterThanNone,
            direction: Direction::HigherIsBetter,
            disjoint: true,
            false_discovery_rate: 0.1,
            alpha: 0.05,
            fewest_units: 50,
        }
    }
}

/// What the estimation half says of a selected segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// Better, with a corrected p value below alpha.
    Confirmed,
    /// The corrected p value is not below alpha.
    NotConfirmed,
    /// Worse, with a corrected p value below alpha.
    Contradicted,
    /// The estimation half has too little to test.
    Untestable,
}

/// A segment that the discovery half pointed to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundSegment {
    /// Its place in the list that was given, from zero.
    pub index: usize,
    /// One-sided p value on the discovery half.
    pub discovery_p_value: f64,
    /// The same, corrected by Benjamini and Hochberg over all segments considered.
    pub discovery_adjusted_p_value: f64,
    /// The effect on the discovery half, as if the segment had not been looked for: too large on average.
    pub naive: Comparison,
    /// The discovery half's difference drawn towards the mean of all segments; none with fewer than two that vary.
    pub shrunk: Option<f64>,
    /// The effect on the estimation half: the one to report. Its p value is uncorrected, its intervals are corrected.
    pub honest: Comparison,
    /// Difference in this segment less the difference in the rest, on the estimation half and with a corrected
    /// interval; for [`Question::BetterThanTheRest`] alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against_the_rest: Option<Estimate>,
    /// Two-sided p value of the question on the estimation half, corrected by Holm over the selected segments.
    pub adjusted_p_value: Option<f64>,
    /// What that says.
    pub confirmation: Confirmation,
}

/// What came of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchVerdict {
    /// No segment stood out on the discovery half.
    NothingFound,
    /// Some stood out, and none held up on the other half.
    NotConfirmed,
    /// At least one held up.
    Confirmed,
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentSearch {
    /// What came of it.
    pub verdict: SearchVerdict,
    /// The same in words.
    pub summary: String,
    /// Segments given.
    pub segments: usize,
    /// Segments with enough units and a p value on the discovery half.
    pub considered: usize,
    /// The selected segments, the smallest p value on the discovery half first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<FoundSegment>,
    /// All selected segments together on the estimation half, at confidence 1 − alpha: one question, no correction.
    pub together: Comparison,
    /// All selected segments together on the discovery half: not honest, beside `together` to show by how much.
    pub together_naive: Comparison,
    /// Naive less honest difference of the selected segments together, in the better direction: the optimism that a
    /// search without a second half would have reported.
    pub optimism: Option<f64>,
}
