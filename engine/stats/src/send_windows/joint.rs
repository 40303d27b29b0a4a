//! Slots and segments in one system of equations.
//!
//! Enters: working scores of every cell, and the basis that departures are made of. Leaves: information and score of
//! the columns (slots, factors) and of every segment's coefficients, with campaigns' own slot effects integrated out.
//! All segments of a campaign share these, so that ten segments of one campaign are not taken for ten campaigns.

use super::matrix::{Matrix, add_multiple};
use super::pooling::Contrasts;
use super::table::{Campaign, Table};
use super::working::Working;

/// Information and score of columns and departures together.
pub(super) struct JointSystem {
    pub(super) information: Matrix,
    pub(super) score: Vec<f64>,
    basis: Matrix,
    own: Contrasts,
    all: Contrasts,
}

impl JointSystem {
    /// All campaigns, each with slot effects of its own of standard deviation τ.
    pub(super) fn new(table: &Table, working: &Working, basis: &Matrix, tau: f64) -> Self {
        let size = table.columns + table.segments.len() * basis.columns();
        let mut system = Self {
            information: Matrix::zeros(size, size),
            score: vec![0.0; size],
            basis: basis.clone(),
            own: Contrasts::empty(table.columns),
            all: Contrasts::empty(table.columns),
        };
        for campaign in &table.campaigns {
            system.add_campaign(table, working, campaign, tau);
        }
        system.information.mirror();
        system
    }

    fn add_campaign(&mut self, table: &Table, working: &Working, campaign: &Campaign, tau: f64) {
        self.all.reset();
        let blocks = table.blocks_of(campaign);
        for block in blocks {
            self.all.add(table, working, block);
        }
        let own_slots: Vec<usize> = self.all.active().into_iter().filter(|&column| column < table.slots).collect();
        if own_slots.is_empty() {
            return;
        }
        let (columns, width) = (table.columns, self.basis.columns());
        let size = self.score.len();
        let mut right = Matrix::zeros(own_slots.len(), size + 1);
        for (row, &slot) in own_slots.iter().enumerate() {
            for column in 0..columns {
                *right.at_mut(row, column) = self.all.entry(slot, column);
            }
            *right.at_mut(row, size) = self.all.score[slot];
        }
        for row in 0..columns {
            self.score[row] += self.all.score[row];
            add_multiple(&mut self.information.row_mut(row)[row..columns], 1.0, &self.all.information.row(row)[row..]);
        }
        for group in blocks.chunk_by(|left, right| left.segment == right.segment) {
            self.own.reset();
            for block in group {
                self.own.add(table, working, block);
            }
            let start = columns + group[0].segment * width;
            let beside = self.add_segment(start, table.slots);
            for (row, &slot) in own_slots.iter().enumerate() {
                right.row_mut(row)[start..start + width].copy_from_slice(beside.row(slot));
            }
        }
        if self.all.solve_own_effects(&own_slots, tau, &mut right).is_some() {
            self.subtract_square(&right);
        }
    }

    /// Adds the contrasts of one segment in one campaign, whose coefficients start at a column, and returns its
    /// information times the basis: a row a column of the table, a column a coefficient.
    fn add_segment(&mut self, start: usize, slots: usize) -> Matrix {
        let width = self.basis.columns();
        let active = self.own.active();
        let mut beside = Matrix::zeros(self.own.score.len(), width);
        for &row in &active {
            for &slot in active.iter().take_while(|&&column| column < slots) {
                add_multiple(beside.row_mut(row), self.own.entry(row, slot), self.basis.row(slot));
            }
            add_multiple(&mut self.information.row_mut(row)[start..start + width], 1.0, beside.row(row));
        }
        for &slot in active.iter().take_while(|&&column| column < slots) {
            for (coefficient, &factor) in self.basis.row(slot).iter().enumerate() {
                let row = start + coefficient;
                self.score[row] += factor * self.own.score[slot];
                let target = &mut self.information.row_mut(row)[row..start + width];
                add_multiple(target, factor, &beside.row(slot)[coefficient..]);
            }
        }
        beside
    }

    /// Takes away what the campaign's own effects leave unknown. The last column of `root` is that of the score.
    fn subtract_square(&mut self, root: &Matrix) {
        let size = self.score.len();
        let mut lost = Matrix::zeros(size + 1, size + 1);
        lost.add_square(root);
        for row in 0..size {
            add_multiple(&mut self.information.row_mut(row)[row..], -1.0, &lost.row(row)[row..size]);
            self.score[row] -= lost.at(row, size);
        }
    }
}
