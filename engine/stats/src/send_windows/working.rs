//! The likelihood of every block, as a quadratic in the effects.
//!
//! Enters: a table, and effects around which to expand. Leaves: for every cell a weight w and a working score c, such
//! that a block's information is diag(w) − w wᵀ / Σw and its score at effects of zero is c: the intercept is
//! eliminated, by profile (the Schur complement of the logistic information).
//!
//! A profile likelihood is biased in blocks of few messages (Neyman and Scott 1948, Econometrica 16). Such blocks are
//! expanded at effects of zero, where the conditional likelihood's moments are those of the hypergeometric distribution
//! (Cox 1970, "Analysis of Binary Data", chapter 4; Yusuf et al. 1985, Progress in Cardiovascular Diseases 27).

use super::table::{Block, Campaign, Cell, Table, WindowOutcome};

/// Messages from which on a block is expanded around the present effects.
const FEWEST_FOR_PROFILE: f64 = 30.0;
/// Newton's steps for an intercept; some six suffice.
const MOST_STEPS: u32 = 60;

/// Effects of columns (slots, kinds of day, strata), and departures of segments from the slots' effects.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Effects {
    pub(super) columns: Vec<f64>,
    /// By segment and slot; empty where no segment departs.
    pub(super) segments: Vec<Vec<f64>>,
}

impl Effects {
    pub(super) fn none(table: &Table) -> Self {
        Self { columns: vec![0.0; table.columns], segments: Vec::new() }
    }

    /// The linear predictor of a cell less its intercept.
    pub(super) fn offset(&self, cell: &Cell, segment: usize) -> f64 {
        let departure = self.segments.get(segment).map_or(0.0, |departures| departures[cell.slot]);
        let factors: f64 = cell.factors.iter().flatten().map(|&column| self.columns[column]).sum();
        self.columns[cell.slot] + departure + factors
    }
}

/// Weights and working scores, by cell of the table.
#[derive(Debug, Clone)]
pub(super) struct Working {
    pub(super) weights: Vec<f64>,
    pub(super) scores: Vec<f64>,
}

impl Working {
    pub(super) fn new(table: &Table, around: &Effects) -> Self {
        let mut working = Self { weights: vec![0.0; table.cells.len()], scores: vec![0.0; table.cells.len()] };
        for campaign in &table.campaigns {
            for block in table.blocks_of(campaign) {
                match table.outcome {
                    WindowOutcome::Rate => working.expand_rate(table, block, around),
                    WindowOutcome::Amount => working.expand_amount(table, campaign, block),
                }
            }
        }
        working
    }

    fn expand_rate(&mut self, table: &Table, block: &Block, around: &Effects) {
        let cells = table.cells_of(block);
        let (n, sum) = totals(cells);
        // A block in which everybody or nobody responded says nothing of differences, nor does a single window.
        if cells.len() < 2 || sum <= 0.0 || sum >= n {
            return;
        }
        let places = block.cells.clone();
        if n < FEWEST_FOR_PROFILE {
            let rate = sum / n;
            let inflation = n / (n - 1.0);
            for (cell, place) in cells.iter().zip(places) {
                self.weights[place] = cell.n * rate * (1.0 - rate) * inflation;
                self.scores[place] = cell.sum - cell.n * rate;
            }
            return;
        }
        let offsets: Vec<f64> = cells.iter().map(|cell| around.offset(cell, block.segment)).collect();
        let intercept = intercept(cells, &offsets, n, sum);
        let (mut total, mut weighted) = (0.0, 0.0);
        for ((cell, offset), place) in cells.iter().zip(&offsets).zip(places.clone()) {
            let rate = logistic(intercept + offset);
            let weight = cell.n * rate * (1.0 - rate);
            self.weights[place] = weight;
            self.scores[place] = cell.sum - cell.n * rate;
            total += weight;
            weighted += weight * offset;
        }
        let mean = weighted / total;
        for (offset, place) in offsets.iter().zip(places) {
            self.scores[place] += self.weights[place] * (offset - mean);
        }
    }

    fn expand_amount(&mut self, table: &Table, campaign: &Campaign, block: &Block) {
        let cells = table.cells_of(block);
        let Some(variance) = campaign.variance.filter(|_| cells.len() >= 2) else {
            return;
        };
        let (n, sum) = totals(cells);
        let mean = sum / n;
        for (cell, place) in cells.iter().zip(block.cells.clone()) {
            self.weights[place] = cell.n / variance;
            self.scores[place] = (cell.sum - cell.n * mean) / variance;
        }
    }
}

pub(super) fn totals(cells: &[Cell]) -> (f64, f64) {
    cells.iter().fold((0.0, 0.0), |(n, sum), cell| (n + cell.n, sum + cell.sum))
}

/// The intercept at which the expected successes of `cells` are `sum`, which lies above zero and below `n`.
pub(super) fn intercept(cells: &[Cell], offsets: &[f64], n: f64, sum: f64) -> f64 {
    let (least, most) = offsets
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &offset| (low.min(offset), high.max(offset)));
    let level = (sum / (n - sum)).ln();
    // The root lies where every cell would have the average's odds, give or take the offsets.
    let (mut low, mut high) = (level - most, level - least);
    let mut place = f64::midpoint(low, high);
    for _ in 0..MOST_STEPS {
        let (mut excess, mut slope) = (-sum, 0.0);
        for (cell, offset) in cells.iter().zip(offsets) {
            let rate = logistic(place + offset);
            excess += cell.n * rate;
            slope += cell.n * rate * (1.0 - rate);
        }
        if excess > 0.0 {
            high = place;
        } else {
            low = place;
        }
        let next = place - excess / slope;
        let next = if next > low && next < high { next } else { f64::midpoint(low, high) };
        let step = (next - place).abs();
        place = next;
        if step <= 1e-12 * (1.0 + place.abs()) {
            break;
        }
    }
    place
}

/// The rate at a place on the log-odds scale.
pub(super) fn logistic(place: f64) -> f64 {
    1.0 / (1.0 + (-place).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn cell(slot: usize, n: f64, sum: f64) -> Cell {
        Cell { slot, factors: [None, None], n, sum }
    }

    #[test]
    fn the_intercept_meets_the_successes() {
        let cells = [cell(0, 100.0, 3.0), cell(1, 2_000.0, 150.0), cell(2, 30.0, 0.0)];
        for offsets in [[0.0, 0.0, 0.0], [0.3, -0.5, 2.0], [20.0, -20.0, 0.0]] {
            let place = intercept(&cells, &offsets, 2_130.0, 153.0);
            let expected: f64 = cells.iter().zip(offsets).map(|(cell, offset)| cell.n * logistic(place + offset)).sum();
            assert_close(expected, 153.0, 1e-8);
        }
    }
}
