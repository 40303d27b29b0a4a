//! Answers to the terminal: tables for people, JSON and CSV for programs.

use std::io::Write as _;
use std::str::FromStr;

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use sendlift_engine::{EngineError, Result};
use serde::Serialize;

/// Prints a line for people. A reader that has gone away (`sendlift demo | head`) stops nothing.
macro_rules! say {
    () => { $crate::cli::output::write_line(format_args!("")) };
    ($($argument:tt)*) => { $crate::cli::output::write_line(format_args!($($argument)*)) };
}
pub(super) use say;

/// Writes one line to standard output and minds no closed pipe.
pub(super) fn write_line(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A table for people.
    Table,
    /// JSON, the same as the HTTP API's.
    Json,
    /// CSV with a header.
    Csv,
}

impl FromStr for Format {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            other => Err(EngineError::usage(format!("--format \"{other}\": use table, json or csv"))),
        }
    }
}

/// Prints an answer as JSON.
pub(super) fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, answer)?;
    writeln!(out)?;
    Ok(())
}

/// A table of texts with a header, numbers to the right.
pub(super) struct Rows {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Columns that hold text; the others are numbers.
    text_columns: usize,
}

impl Rows {
    /// A table whose first `text_columns` columns are text.
    pub(super) fn new(header: &[&str], text_columns: usize) -> Self {
        Self { header: header.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new(), text_columns }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Prints as a table or as CSV.
    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if format == Format::Csv {
            for row in std::iter::once(&self.header).chain(&self.rows) {
                let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
                writeln!(out, "{}", cells.join(","))?;
            }
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::MiddleHeaderIntersections, '─');
        table.set_header(&self.header);
        for row in &self.rows {
            table.add_row(row);
        }
        for (position, column) in table.column_iter_mut().enumerate() {
            if position >= self.text_columns {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(out, "{table}")?;
        Ok(())
    }
}

/// A cell of CSV, quoted where it must be (RFC 4180).
fn csv_cell(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

/// A whole number with thousands separated.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Prints records of JSON objects as CSV: the columns are the keys of the first ones, nested objects with dotted names.
pub(super) fn print_csv_of<T: Serialize>(records: &[T]) -> anyhow::Result<()> {
    let mut header: Vec<String> = Vec::new();
    let mut flat = Vec::with_capacity(records.len());
    for record in records {
        let mut cells = Vec::new();
        flatten("", &serde_json::to_value(record)?, &mut cells);
        for (name, _) in &cells {
            if !header.contains(name) {
                header.push(name.clone());
            }
        }
        flat.push(cells);
    }
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut rows = Rows::new(&names, 0);
    for cells in flat {
        let cell = |name: &String| cells.iter().find(|(known, _)| known == name).map(|(_, cell)| cell.clone());
        rows.push(header.iter().map(|name| cell(name).unwrap_or_default()).collect());
    }
    rows.print(Format::Csv)
}

fn flatten(prefix: &str, value: &serde_json::Value, cells: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&name, member, cells);
            }
        }
        serde_json::Value::Null => cells.push((prefix.to_owned(), String::new())),
        serde_json::Value::String(text) => cells.push((prefix.to_owned(), text.clone())),
        other => cells.push((prefix.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn csv_cells_are_quoted_where_they_must_be() {
        assert_eq!(csv_cell("plain"), "plain");
        assert_eq!(csv_cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
