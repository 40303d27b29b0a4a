//! Reads the tables that the Python oracles wrote.
//!
//! Enters: the text of a CSV file without quotes. Leaves: its cells by the name of their column.

use std::collections::HashMap;

/// One case of an oracle.
pub struct Case {
    line: usize,
    cells: HashMap<&'static str, &'static str>,
}

/// The cases of a table whose first line names the columns.
pub fn cases(table: &'static str) -> Vec<Case> {
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines
        .enumerate()
        .map(|(index, line)| {
            let cells: HashMap<&str, &str> = header.iter().copied().zip(line.split(',')).collect();
            assert_eq!(cells.len(), header.len(), "line {}", index + 2);
            Case { line: index + 2, cells }
        })
        .collect()
}

impl Case {
    /// The cell as it stands.
    pub fn text(&self, column: &str) -> &'static str {
        self.cells[column]
    }

    /// The number in a cell; none where it is empty.
    pub fn number(&self, column: &str) -> Option<f64> {
        let text = self.text(column);
        (!text.is_empty()).then(|| text.parse().unwrap())
    }

    /// The number in a cell that has one.
    pub fn value(&self, column: &str) -> f64 {
        self.number(column).unwrap()
    }

    /// The count in a cell.
    pub fn count(&self, column: &str) -> u64 {
        self.text(column).parse().unwrap()
    }

    /// The numbers of a cell, separated by semicolons; none for an empty place.
    pub fn list(&self, column: &str) -> Vec<Option<f64>> {
        self.text(column).split(';').map(|item| (!item.is_empty()).then(|| item.parse().unwrap())).collect()
    }

    /// The numbers of a cell, separated by semicolons, of which there may be none at all.
    pub fn values(&self, column: &str) -> Vec<f64> {
        self.text(column).split(';').filter(|item| !item.is_empty()).map(|item| item.parse().unwrap()).collect()
    }

    /// Fails unless `actual` agrees with the column to `relative`, and to `absolute` where that is more.
    #[track_caller]
    pub fn check(&self, column: &str, actual: Option<f64>, relative: f64, absolute: f64) {
        let (Some(expected), Some(actual)) = (self.number(column), actual) else {
            assert_eq!(actual, self.number(column), "line {}, {column}", self.line);
            return;
        };
        let error = (actual - expected).abs();
        let allowed = (relative * expected.abs()).max(absolute);
        assert!(error <= allowed, "line {}, {column}: {actual} is not {expected}, off by {error:e}", self.line);
    }
}
