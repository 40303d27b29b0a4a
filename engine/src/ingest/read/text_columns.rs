//! Builds a frame of text columns cell by cell, for the formats that are text: an empty cell and a missing one are null.

use polars::prelude::{DataFrame, IntoColumn, IntoSeries, StringChunkedBuilder};

use crate::error::Result;

/// Text columns under construction; columns may appear after the first row.
pub(super) struct TextColumns {
    names: Vec<String>,
    builders: Vec<StringChunkedBuilder>,
    /// Cells that each column has so far.
    filled: Vec<usize>,
    rows: usize,
    capacity: usize,
}

impl TextColumns {
    pub(super) fn new(names: &[String], capacity: usize) -> Self {
        let mut columns = Self { names: Vec::new(), builders: Vec::new(), filled: Vec::new(), rows: 0, capacity };
        for name in names {
            columns.add(name);
        }
        columns
    }

    /// The position of a column, which is added if it is new; the rows before it have nothing there.
    pub(super) fn position(&mut self, name: &str, hint: usize) -> usize {
        // Objects of one file mostly name their keys in one order: the hint is the position after the last key.
        if self.names.get(hint).is_some_and(|known| known == name) {
            return hint;
        }
        match self.names.iter().position(|known| known == name) {
            Some(position) => position,
            None => self.add(name),
        }
    }

    fn add(&mut self, name: &str) -> usize {
        self.names.push(name.to_owned());
        self.builders.push(StringChunkedBuilder::new(name.into(), self.capacity));
        self.filled.push(0);
        self.names.len() - 1
    }

    /// Sets a cell of the row under construction; a second value for one cell is ignored.
    pub(super) fn set(&mut self, position: usize, cell: &str) {
        if self.filled[position] > self.rows {
            return;
        }
        self.pad(position, self.rows);
        if cell.is_empty() {
            self.builders[position].append_null();
        } else {
            self.builders[position].append_value(cell);
        }
        self.filled[position] += 1;
    }

    /// Ends the row under construction.
    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    fn pad(&mut self, position: usize, to: usize) {
        for _ in self.filled[position]..to {
            self.builders[position].append_null();
        }
        self.filled[position] = self.filled[position].max(to);
    }

    /// The frame of all ended rows.
    pub(super) fn finish(mut self) -> Result<DataFrame> {
        for position in 0..self.builders.len() {
            self.pad(position, self.rows);
        }
        let columns = self.builders.into_iter().map(|builder| builder.finish().into_series().into_column()).collect();
        Ok(DataFrame::new(self.rows, columns)?)
    }
}
