//! Answers to the terminal: tables for people, JSON and CSV for programs.

use indicatif::{ProgressState, ProgressStyle};
use std::io::Write as _;
use std::str::FromStr;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, TableComponent, Width, presets};
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

/// A cell: what people read, and what a program finds in CSV.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    shown: String,
    plain: String,
}

impl Cell {
    /// A whole number, for people with thousands separated.
    pub(super) fn count(number: u64) -> Self {
        Self { shown: grouped(number), plain: number.to_string() }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { shown: text.clone(), plain: text }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

/// What is missing is a dash for people and an empty cell of CSV.
impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        text.map_or_else(|| Self { shown: "-".to_owned(), plain: String::new() }, Self::from)
    }
}

/// What stands in a column: texts begin at the left and may be wrapped, numbers end at the right and are kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
}

/// The spaces around a column.
const PADDING: u16 = 2;
/// Characters that a column of texts keeps on a narrow terminal.
const NARROWEST_TEXT: u16 = 16;

/// What a table gives up, one after the other, to fit a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fold {
    Nothing,
    /// The words of a number's heading stand below each other.
    Headings,
    /// Intervals stand below their estimates too.
    Intervals,
}

/// A table with a header, in the one style of all commands.
pub(super) struct Rows {
    header: Vec<String>,
    kinds: Vec<Kind>,
    rows: Vec<Vec<Cell>>,
    /// The leading columns that say what a row is.
    keys: usize,
}

impl Rows {
    /// A table whose first `keys` columns are texts that say what a row is; the others are numbers.
    pub(super) fn new(header: &[&str], keys: usize) -> Self {
        let kind = |position| if position < keys { Kind::Text } else { Kind::Number };
        let columns = header.iter().enumerate().map(|(position, name)| ((*name).to_owned(), kind(position)));
        Self { keys, ..Self::of_columns(columns) }
    }

    /// A table of any columns, none of which says what a row is.
    pub(super) fn of_columns(columns: impl Iterator<Item = (String, Kind)>) -> Self {
        let (header, kinds) = columns.unzip();
        Self { header, kinds, rows: Vec::new(), keys: 0 }
    }

    pub(super) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// Prints as a table, on a terminal no wider than that, or as CSV.
    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if format == Format::Csv {
            writeln!(out, "{}", csv_line(self.header.iter()))?;
            for row in &self.rows {
                writeln!(out, "{}", csv_line(row.iter().map(|cell| &cell.plain)))?;
            }
            return Ok(());
        }
        // Nothing where standard output is no terminal.
        let terminal = Table::new().width();
        writeln!(out, "{}", self.render(terminal))?;
        Ok(())
    }

    /// The table for a terminal of so many characters across: headings and intervals are folded first, then texts are
    /// wrapped, and what is still too wide goes on below, with the keys again.
    fn render(&self, terminal: Option<u16>) -> String {
        let all: Vec<usize> = (0..self.header.len()).collect();
        for fold in [Fold::Nothing, Fold::Headings, Fold::Intervals] {
            let table = self.table(&all, fold);
            let width: usize = table.column_max_content_widths().iter().map(|width| usize::from(width + PADDING)).sum();
            if terminal.is_none_or(|terminal| width <= usize::from(terminal)) {
                return table.trim_fmt();
            }
        }
        let terminal = terminal.unwrap_or(u16::MAX);
        let widths = self.table(&all, Fold::Intervals).column_max_content_widths();
        let blocks = self.blocks(&widths, terminal).into_iter().map(|columns| {
            let mut table = self.table(&columns, Fold::Intervals);
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(terminal);
            for (column, shown) in columns.iter().zip(table.column_iter_mut()) {
                shown.set_constraint(match self.kinds[*column] {
                    Kind::Text => ColumnConstraint::LowerBoundary(Width::Fixed(self.narrowest(&widths, *column))),
                    Kind::Number => ColumnConstraint::ContentWidth,
                });
            }
            table.trim_fmt()
        });
        blocks.collect::<Vec<_>>().join("\n\n")
    }

    /// The columns of each of the tables that together show all, each beginning with the keys.
    fn blocks(&self, widths: &[u16], terminal: u16) -> Vec<Vec<usize>> {
        let keys: Vec<usize> = (0..self.keys).collect();
        let room = keys.iter().fold(terminal, |room, column| room.saturating_sub(self.narrowest(widths, *column)));
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        let mut left = 0;
        for column in self.keys..self.header.len() {
            let wanted = self.narrowest(widths, column);
            match blocks.last_mut() {
                Some(block) if wanted <= left => block.push(column),
                _ => {
                    left = room;
                    blocks.push(keys.iter().copied().chain([column]).collect());
                }
            }
            left = left.saturating_sub(wanted);
        }
        if blocks.is_empty() {
            blocks.push(keys);
        }
        blocks
    }

    /// The least width of a column with the spaces around it.
    fn narrowest(&self, widths: &[u16], column: usize) -> u16 {
        let width = match self.kinds[column] {
            Kind::Text => widths[column].min(NARROWEST_TEXT),
            Kind::Number => widths[column],
        };
        width.saturating_add(PADDING)
    }

    /// Some columns of the table, as wide as they are.
    fn table(&self, columns: &[usize], fold: Fold) -> Table {
        let folds = |column: usize, least: Fold| self.kinds[column] == Kind::Number && fold >= least;
        let content = |row: &Vec<Cell>, column: usize| {
            let text = row.get(column).map(|cell| visible(&cell.shown)).unwrap_or_default();
            if folds(column, Fold::Intervals) { text.replacen(" [", "\n[", 1) } else { text }
        };
        let heading = |column: &usize| {
            let name = visible(&self.header[*column]);
            let longer = |line: &str| line.chars().count() >= name.chars().count();
            let has_room = self.rows.iter().any(|row| content(row, *column).lines().any(longer));
            if folds(*column, Fold::Headings) && !has_room { name.replace(' ', "\n") } else { name }
        };
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_style(TableComponent::HeaderLines, '─');
        table.set_header(columns.iter().map(heading));
        for row in &self.rows {
            table.add_row(columns.iter().map(|column| content(row, *column)));
        }
        for (column, shown) in columns.iter().zip(table.column_iter_mut()) {
            if self.kinds[*column] == Kind::Number {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

/// Text without the control characters by which a log could speak to the terminal; line ends stay.
fn visible(text: &str) -> String {
    text.replace(|character: char| character.is_control() && character != '\n', " ")
}

/// A line of CSV.
fn csv_line<'a>(cells: impl Iterator<Item = &'a String>) -> String {
    cells.map(|cell| csv_cell(cell)).collect::<Vec<_>>().join(",")
}

/// A cell of CSV, quoted where it must be (RFC 4180).
fn csv_cell(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

/// The template of a progress bar, in which `{rate}` is the mean rate so far.
pub(super) fn progress_style(template: &str) -> Option<ProgressStyle> {
    let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        let milliseconds = u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        // A line that cannot be written is one that nobody sees.
        let _ = write!(text, "{}/s", grouped(state.pos().saturating_mul(1000) / milliseconds));
    };
    Some(ProgressStyle::with_template(template).ok()?.with_key("rate", rate))
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
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", csv_line(header.iter()))?;
    let missing = String::new();
    for cells in &flat {
        let cell = |name: &String| cells.iter().find(|(known, _)| known == name).map_or(&missing, |(_, cell)| cell);
        writeln!(out, "{}", csv_line(header.iter().map(cell)))?;
    }
    Ok(())
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

    fn report() -> Rows {
        let mut rows = Rows::new(&["campaign_id", "sent", "click rate", "conversion rate", "revenue"], 1);
        for campaign in ["flash-sale-w1", "春节特惠"] {
            let rate = || Cell::from("10.05 % [9.97, 10.13]");
            rows.push(vec![Cell::from(campaign), Cell::count(33_685), rate(), rate(), Cell::from(None)]);
        }
        rows
    }

    #[test]
    fn tables_fit_the_terminal_and_lose_nothing() {
        let rows = report();
        let whole = rows.render(None);
        assert!(whole.contains("10.05 % [9.97, 10.13]") && whole.contains("conversion rate"), "{whole}");
        assert!(whole.lines().all(|line| line == line.trim_end()), "{whole}");
        assert_eq!(whole, rows.render(Some(200)));
        for terminal in [76, 60, 45, 36] {
            let shown = rows.render(Some(terminal));
            for line in shown.lines() {
                assert!(line.chars().count() <= usize::from(terminal), "{terminal}: {line} in\n{shown}");
            }
            for part in ["flash-sale-w1", "春节特惠", "33,685", "[9.97, 10.13]", "conversion", "revenue"] {
                assert!(shown.contains(part), "{terminal}: {part} in\n{shown}");
            }
        }
        // The intervals fold before the table is broken, and each part says whose numbers it shows.
        assert_eq!(rows.render(Some(76)).matches("flash-sale-w1").count(), 1);
        assert_eq!(rows.render(Some(36)).matches("flash-sale-w1").count(), 4);
    }

    #[test]
    fn long_texts_are_wrapped_and_cannot_speak_to_the_terminal() {
        let columns = [("reason", Kind::Text), ("row", Kind::Number)].map(|(name, kind)| (name.to_owned(), kind));
        let mut rows = Rows::of_columns(columns.into_iter());
        rows.push(vec![Cell::from("the time \u{1b}[2J is not one of those that anybody knows"), Cell::count(1_234)]);
        let shown = rows.render(Some(40));
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(shown.lines().count() > 3 && shown.lines().all(|line| line.chars().count() <= 40), "{shown}");
    }

    #[test]
    fn csv_cells_are_quoted_where_they_must_be() {
        assert_eq!(csv_cell("plain"), "plain");
        assert_eq!(csv_cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
