//! Cells of counts, sorted into blocks that share an intercept.
//!
//! Enters: cells in any order, split in any way, and the proof of which campaigns count. Leaves: one cell for each
//! combination that occurs, in blocks within which hours may be compared: campaign × stratum × segment where windows
//! were drawn, campaign × segment with a column for each stratum where one instant met regions at different hours.

use super::identification::{ContrastKind, IdentifiedTiming};
use super::slots::{WindowSlot, check_slots};
use crate::error::{StatsError, check_finite, check_not_negative};
use crate::numeric::{count, length};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;

/// Messages of one campaign, stratum, segment, slot and kind of day.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct WindowCell {
    /// The campaign.
    pub campaign: usize,
    /// Region or time-zone group; the same number means the same group in every campaign.
    pub stratum: usize,
    /// Segment of recipients.
    pub segment: usize,
    /// Index into the slots.
    pub slot: usize,
    /// 0 for an ordinary day, 1 for a holiday, 2 for its eve; other numbers are kinds of their own.
    pub day_kind: usize,
    /// Messages whose time to respond has run out.
    pub n: u64,
    /// Sum of the outcome over the messages: successes of a rate, or an amount.
    pub sum: f64,
    /// Sum of the squared outcome; not read for a rate.
    pub sum_of_squares: f64,
}

/// What is compared between windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowOutcome {
    /// A share of messages: clicked or not, converted or not.
    #[default]
    Rate,
    /// A number of each message, such as revenue or profit; negative values are allowed.
    Amount,
}

/// Means nearer to zero than this share of the standard deviation do not serve as the unit of relative effects.
const LEAST_MEAN: f64 = 0.01;

/// A cell as the fit reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    pub(super) slot: usize,
    /// Columns beside the slot's: the kind of day, the stratum.
    pub(super) factors: [Option<usize>; 2],
    pub(super) n: f64,
    /// The sum of the outcome, in units of the table's scale.
    pub(super) sum: f64,
}

/// Cells that share an intercept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    pub(super) segment: usize,
    pub(super) cells: Range<usize>,
}

/// The blocks of one campaign.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Campaign {
    pub(super) blocks: Range<usize>,
    /// Variance of a message's amount about its cell, in squared units of the scale; none for a rate, or where no
    /// amount varies.
    pub(super) variance: Option<f64>,
}

/// All that the fit reads.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) outcome: WindowOutcome,
    pub(super) cells: Vec<Cell>,
    pub(super) blocks: Vec<Block>,
    pub(super) campaigns: Vec<Campaign>,
    pub(super) slots: usize,
    /// Kinds of day that have a column, in the order of the columns after the slots.
    pub(super) day_kinds: Vec<usize>,
    /// Columns: slots, kinds of day, strata.
    pub(super) columns: usize,
    /// The segments of all cells, as the caller numbers them.
    pub(super) segments: Vec<usize>,
    /// Messages by segment and slot, of all cells, whether their campaign counts or not.
    pub(super) sends: Vec<Vec<u64>>,
    /// What one unit of an amount is; one for a rate.
    pub(super) scale: f64,
}

impl Table {
    pub(super) fn new(
        timing: &IdentifiedTiming,
        slots: &[WindowSlot],
        cells: &[WindowCell],
        outcome: WindowOutcome,
    ) -> Result<Self, StatsError> {
        check_slots(slots)?;
        for cell in cells {
            check(cell, slots.len(), outcome)?;
        }
        let segments: Vec<usize> = distinct(cells.iter().filter(|cell| cell.n > 0).map(|cell| cell.segment));
        let mut sends = vec![vec![0; slots.len()]; segments.len()];
        for cell in cells.iter().filter(|cell| cell.n > 0) {
            sends[place_of(&segments, cell.segment)][cell.slot] += cell.n;
        }
        let merged = merged(cells.iter().filter(|cell| cell.n > 0 && timing.uses(cell.campaign, cell.stratum)));
        let day_kinds = distinct(merged.iter().map(|cell| cell.day_kind).filter(|&kind| kind > 0));
        let strata = match timing.kind() {
            ContrastKind::Causal => Vec::new(),
            ContrastKind::QuasiExperimental => distinct(merged.iter().map(|cell| cell.stratum)),
        };
        let scale = match outcome {
            WindowOutcome::Rate => 1.0,
            WindowOutcome::Amount => scale_of_amounts(&merged),
        };
        let mut table = Self {
            outcome,
            cells: Vec::with_capacity(merged.len()),
            blocks: Vec::new(),
            campaigns: Vec::new(),
            slots: slots.len(),
            columns: slots.len() + day_kinds.len() + strata.len(),
            day_kinds,
            segments,
            sends,
            scale,
        };
        for group in merged.chunk_by(|left, right| left.campaign == right.campaign) {
            table.push_campaign(group, &strata);
        }
        Ok(table)
    }

    /// Adds the cells of one campaign, sorted by segment, stratum and slot.
    fn push_campaign(&mut self, cells: &[WindowCell], strata: &[usize]) {
        let first_block = self.blocks.len();
        let by_stratum = strata.is_empty();
        let is_one_block = |left: &WindowCell, right: &WindowCell| {
            left.segment == right.segment && (!by_stratum || left.stratum == right.stratum)
        };
        for group in cells.chunk_by(is_one_block) {
            let start = self.cells.len();
            for cell in group {
                let day = (cell.day_kind > 0).then(|| self.slots + place_of(&self.day_kinds, cell.day_kind));
                let stratum = (!by_stratum).then(|| self.slots + self.day_kinds.len() + place_of(strata, cell.stratum));
                self.cells.push(Cell {
                    slot: cell.slot,
                    factors: [day, stratum],
                    n: count(cell.n),
                    sum: cell.sum / self.scale,
                });
            }
            let segment = place_of(&self.segments, group[0].segment);
            self.blocks.push(Block { segment, cells: start..self.cells.len() });
        }
        let variance = match self.outcome {
            WindowOutcome::Rate => None,
            WindowOutcome::Amount => variance_within(cells).map(|variance| variance / (self.scale * self.scale)),
        };
        self.campaigns.push(Campaign { blocks: first_block..self.blocks.len(), variance });
    }

    pub(super) fn blocks_of(&self, campaign: &Campaign) -> &[Block] {
        &self.blocks[campaign.blocks.clone()]
    }

    pub(super) fn cells_of(&self, block: &Block) -> &[Cell] {
        &self.cells[block.cells.clone()]
    }
}

/// Refuses a cell that no data can have.
fn check(cell: &WindowCell, slots: usize, outcome: WindowOutcome) -> Result<(), StatsError> {
    if cell.slot >= slots {
        return Err(StatsError::UnknownSlot { slot: cell.slot, slots });
    }
    check_finite("the sum of a cell", cell.sum)?;
    if cell.n == 0 && cell.sum != 0.0 {
        return Err(StatsError::NotPositive { quantity: "the messages of a cell that has an outcome", value: 0.0 });
    }
    match outcome {
        WindowOutcome::Rate => {
            check_not_negative("the successes of a cell", cell.sum)?;
            if cell.sum > count(cell.n) {
                let value = cell.sum / count(cell.n).max(1.0);
                return Err(StatsError::InvalidProbability { quantity: "the rate of a cell", value });
            }
        }
        WindowOutcome::Amount => {
            check_not_negative("the sum of squares of a cell", cell.sum_of_squares)?;
            let square = cell.sum * (cell.sum / count(cell.n).max(1.0));
            check_finite("the squared sum of a cell", square)?;
            let deviations = cell.sum_of_squares - square;
            if deviations < -1e-9 * square {
                let quantity = "the sum of squared deviations of a cell";
                return Err(StatsError::Negative { quantity, value: deviations });
            }
        }
    }
    Ok(())
}

/// Cells of the same kind added up, sorted by campaign, segment, stratum, slot and kind of day.
fn merged<'cells>(cells: impl Iterator<Item = &'cells WindowCell>) -> Vec<WindowCell> {
    let mut sorted: Vec<WindowCell> = cells.copied().collect();
    let key = |cell: &WindowCell| (cell.campaign, cell.segment, cell.stratum, cell.slot, cell.day_kind);
    sorted.sort_by_key(key);
    let mut merged: Vec<WindowCell> = Vec::with_capacity(sorted.len());
    for cell in sorted {
        match merged.last_mut() {
            Some(last) if key(last) == key(&cell) => {
                last.n += cell.n;
                last.sum += cell.sum;
                last.sum_of_squares += cell.sum_of_squares;
            }
            _ => merged.push(cell),
        }
    }
    merged
}

/// The size of the mean amount, or where that is next to nothing, a small share of the standard deviation.
fn scale_of_amounts(cells: &[WindowCell]) -> f64 {
    let n: f64 = cells.iter().map(|cell| count(cell.n)).sum();
    let mean = cells.iter().map(|cell| cell.sum).sum::<f64>() / n.max(1.0);
    let square = cells.iter().map(|cell| cell.sum_of_squares).sum::<f64>() / n.max(1.0);
    let scale = mean.abs().max(LEAST_MEAN * (square - mean * mean).max(0.0).sqrt());
    if scale > 0.0 && scale.is_finite() { scale } else { 1.0 }
}

/// Variance of a message's amount about the mean of its cell, pooled over the cells of a campaign: that of single cells
/// is too poorly known where amounts are skewed, and moves with the mean.
fn variance_within(cells: &[WindowCell]) -> Option<f64> {
    let deviations: f64 =
        cells.iter().map(|cell| (cell.sum_of_squares - cell.sum * cell.sum / count(cell.n)).max(0.0)).sum();
    let degrees: f64 = cells.iter().map(|cell| count(cell.n)).sum::<f64>() - length(cells.len());
    let variance = deviations / degrees;
    (degrees > 0.0 && variance > 0.0 && variance.is_finite()).then_some(variance)
}

fn distinct(values: impl Iterator<Item = usize>) -> Vec<usize> {
    values.collect::<BTreeSet<usize>>().into_iter().collect()
}

/// Where a value lies in a sorted list that holds it.
fn place_of(sorted: &[usize], value: usize) -> usize {
    sorted.partition_point(|&other| other < value)
}
