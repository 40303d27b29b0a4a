//! Contrasts of all campaigns added up, each campaign with slot effects of its own.
//!
//! Enters: weights and working scores of cells, and the standard deviation τ by which a slot's effect in a campaign
//! varies about its mean. Leaves: the information and the score of the mean effects with the campaigns' own effects
//! integrated out, and the logarithm of the likelihood's factor that depends on τ.
//!
//! With V a campaign's information about its effects and b its score at zero, own effects u ~ N(0, τ² I) leave
//!
//! ```text
//! V − V (V + I/τ²)⁻¹ V,     b − V (V + I/τ²)⁻¹ b,     −½ log |I + τ² V| + ½ bᵀ (V + I/τ²)⁻¹ b
//! ```
//!
//! (Laird and Ware 1982, Biometrics 38, in the form of information). However many messages a campaign has, it says no
//! more of a mean effect than one draw of variance τ².

use super::matrix::{Matrix, add_multiple};
use super::table::{Block, Campaign, Table};
use super::working::Working;
use crate::numeric::length;

/// Information and score of the mean effects.
#[derive(Debug, Clone)]
pub(super) struct Pooled {
    pub(super) information: Matrix,
    pub(super) score: Vec<f64>,
    /// What the logarithm of the likelihood has beside its quadratic.
    pub(super) log_constant: f64,
}

impl Pooled {
    pub(super) fn empty(columns: usize) -> Self {
        Self { information: Matrix::zeros(columns, columns), score: vec![0.0; columns], log_constant: 0.0 }
    }
}

/// The contrasts of all campaigns for each of several τ, in their order.
pub(super) fn pool(table: &Table, working: &Working, taus: &[f64]) -> Vec<Pooled> {
    let mut pooled = vec![Pooled::empty(table.columns); taus.len()];
    let mut own = Contrasts::empty(table.columns);
    for campaign in &table.campaigns {
        own.reset();
        for block in table.blocks_of(campaign) {
            own.add(table, working, block);
        }
        let active = own.active();
        if active.is_empty() {
            continue;
        }
        for (total, &tau) in pooled.iter_mut().zip(taus) {
            own.add_to(total, &active, table.slots, tau);
        }
    }
    for total in &mut pooled {
        total.information.mirror();
    }
    pooled
}

/// Information and score of one campaign, or of one segment in it. Only the upper triangle is kept.
#[derive(Debug, Clone)]
pub(super) struct Contrasts {
    pub(super) information: Matrix,
    pub(super) score: Vec<f64>,
    sums: Vec<f64>,
}

impl Contrasts {
    pub(super) fn empty(columns: usize) -> Self {
        Self { information: Matrix::zeros(columns, columns), score: vec![0.0; columns], sums: vec![0.0; columns] }
    }

    pub(super) fn reset(&mut self) {
        let columns = self.score.len();
        self.information.reset(columns, columns);
        self.score.fill(0.0);
    }

    /// Adds a block, its intercept eliminated.
    pub(super) fn add(&mut self, table: &Table, working: &Working, block: &Block) {
        let cells = table.cells_of(block);
        let weights = &working.weights[block.cells.clone()];
        let total: f64 = weights.iter().sum();
        // Written so that a NaN answers no.
        if !(total > 0.0 && total.is_finite()) {
            return;
        }
        self.sums.fill(0.0);
        let scores = &working.scores[block.cells.clone()];
        for ((cell, &weight), &score) in cells.iter().zip(weights).zip(scores) {
            let [day, stratum] = cell.factors;
            // In rising order: the slot's column comes first.
            let columns = [Some(cell.slot), day, stratum];
            for (place, column) in columns.iter().enumerate() {
                let Some(column) = *column else { continue };
                self.score[column] += score;
                self.sums[column] += weight;
                for &other in columns[place..].iter().flatten() {
                    *self.information.at_mut(column, other) += weight;
                }
            }
        }
        for column in 0..self.sums.len() {
            let factor = -self.sums[column] / total;
            if factor != 0.0 {
                add_multiple(&mut self.information.row_mut(column)[column..], factor, &self.sums[column..]);
            }
        }
    }

    /// Columns of which there is information.
    pub(super) fn active(&self) -> Vec<usize> {
        (0..self.score.len()).filter(|&column| self.information.at(column, column) > 0.0).collect()
    }

    /// An entry of the information, whose lower triangle is not kept.
    pub(super) fn entry(&self, row: usize, column: usize) -> f64 {
        self.information.at(row.min(column), row.max(column))
    }

    /// Adds these contrasts with the campaign's own effects integrated out.
    fn add_to(&self, total: &mut Pooled, active: &[usize], slots: usize, tau: f64) {
        for (place, &column) in active.iter().enumerate() {
            total.score[column] += self.score[column];
            for &other in &active[place..] {
                *total.information.at_mut(column, other) += self.information.at(column, other);
            }
        }
        let own_slots: Vec<usize> = active.iter().copied().filter(|&column| column < slots).collect();
        let mut right = Matrix::from_function(own_slots.len(), active.len() + 1, |row, column| {
            active.get(column).map_or(self.score[own_slots[row]], |&column| self.entry(own_slots[row], column))
        });
        let Some(log_factor) = self.solve_own_effects(&own_slots, tau, &mut right) else {
            return;
        };
        total.log_constant += log_factor;
        let last = active.len();
        let mut lost = Matrix::zeros(last + 1, last + 1);
        lost.add_square(&right);
        total.log_constant += 0.5 * lost.at(last, last);
        for (place, &column) in active.iter().enumerate() {
            total.score[column] -= lost.at(place, last);
            for (other_place, &other) in active.iter().enumerate().skip(place) {
                *total.information.at_mut(column, other) -= lost.at(place, other_place);
            }
        }
    }

    /// Replaces `right` by the inverse of the Cholesky factor of V + I/τ² times it, and returns −½ log |I + τ² V|; none
    /// where campaigns have no effects of their own.
    pub(super) fn solve_own_effects(&self, own_slots: &[usize], tau: f64, right: &mut Matrix) -> Option<f64> {
        if tau <= 0.0 {
            return None;
        }
        let precision = 1.0 / (tau * tau);
        let size = own_slots.len();
        let sum = Matrix::from_function(size, size, |row, column| {
            let own = if row == column { precision } else { 0.0 };
            self.entry(own_slots[row], own_slots[column]) + own
        });
        let factor = sum.cholesky()?;
        factor.forward_in_place(right);
        Some(-factor.log_determinant() - length(size) * tau.ln())
    }
}

/// Whether a block holds contrasts.
pub(super) fn is_informative(working: &Working, block: &Block) -> bool {
    working.weights[block.cells.clone()].iter().any(|&weight| weight > 0.0)
}

/// Campaigns and messages that carry contrasts, by slot, in all segments or one.
pub(super) fn support(table: &Table, working: &Working, segment: Option<usize>) -> Vec<(usize, f64)> {
    let mut support = vec![(0, 0.0); table.slots];
    let wanted = |block: &&Block| segment.is_none_or(|segment| block.segment == segment);
    let sends_of = |campaign: &Campaign| {
        let mut sends = vec![0.0; table.slots];
        for block in table.blocks_of(campaign).iter().filter(wanted).filter(|block| is_informative(working, block)) {
            for cell in table.cells_of(block) {
                sends[cell.slot] += cell.n;
            }
        }
        sends
    };
    for campaign in &table.campaigns {
        for ((campaigns, total), sends) in support.iter_mut().zip(sends_of(campaign)) {
            *campaigns += usize::from(sends > 0.0);
            *total += sends;
        }
    }
    support
}
