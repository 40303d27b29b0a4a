//! From a raw chunk to canonical rows and rejected rows, by Polars expressions over whole columns.
//!
//! In: the file's columns as text (or as the types of Parquet and Arrow). Out: a frame with every canonical column of the
//! log in its stored type and every other column as an attribute, and the rows that did not pass with the first reason
//! that was found. Nothing is dropped: a row is either in the frame, rejected, or left out by the mapping's own `keep` and
//! `skip` rules and counted.

mod expressions;
mod plan;

use jiff::tz::TimeZone;
use polars::prelude::{AnyValue, Column, DataFrame, IntoColumn, IntoLazy, NamedFrom, Series, col};

use super::identity::{HIDDEN, IdentityHasher, mask_addresses, mask_plain_addresses};
use super::mapping::{LogMapping, Mapping};
use super::read::{BrokenRow, RawChunk};
use super::times::TimeParser;
use crate::error::Result;
use crate::event::{Log, SOURCE_ROW};
use plan::ColumnPlan;

/// Rows in the chunk's own order, by which a rejected row finds its text.
const POSITION: &str = "__position";
/// A time as reasons show one.
const EXAMPLE_OF_A_TIME: &str = "2026-03-02T10:15:30Z";
/// Whether a row is rejected.
const BAD: &str = "__bad";
/// Why.
const REASON: &str = "__reason";

/// What a chunk became.
#[derive(Debug)]
pub struct CheckedChunk {
    /// Canonical columns and attributes of the rows that passed, with `source_row`.
    pub frame: DataFrame,
    /// Rows that did not pass, with the reason and the row as written, addresses taken out.
    pub rejected: Vec<BrokenRow>,
    /// Rows that the mapping leaves out.
    pub left_out: usize,
}

/// Validates chunks of one log.
#[derive(Debug, Clone)]
pub struct Validator {
    log: Log,
    mapping: LogMapping,
    preset: Option<String>,
    times: TimeParser,
    hasher: Option<IdentityHasher>,
    /// No moment may be later than this (microseconds since 1970).
    latest: i64,
}

/// How a validator is set up.
#[derive(Debug, Clone, Default)]
pub struct ValidatorOptions {
    /// The mapping, if the file is not in canonical columns.
    pub mapping: Mapping,
    /// The zone of moments without an offset; the mapping's own wins only if this is not given.
    pub time_zone: Option<TimeZone>,
    /// The key for phone numbers and addresses.
    pub hasher: Option<IdentityHasher>,
}

impl Validator {
    /// A validator for a log; `now` (microseconds since 1970) bounds what counts as the future.
    ///
    /// # Errors
    /// When the mapping names a zone that does not exist.
    pub fn new(log: Log, options: &ValidatorOptions, now: i64) -> Result<Self> {
        const DAY: i64 = 86_400_000_000;
        let mapping = options.mapping.section(log);
        let zone = match (&options.time_zone, &mapping.time_zone) {
            (Some(zone), _) => zone.clone(),
            (None, Some(name)) => super::times::zone(name)?,
            (None, None) => TimeZone::UTC,
        };
        Ok(Self {
            log,
            times: TimeParser::new(&mapping.time_formats, zone),
            mapping,
            preset: options.mapping.preset.clone(),
            hasher: options.hasher.clone(),
            latest: now + DAY,
        })
    }

    /// The parser of this log's moments.
    #[must_use]
    pub fn times(&self) -> &TimeParser {
        &self.times
    }

    /// The moment after which nothing may have happened, in microseconds since 1970.
    #[must_use]
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// Turns a raw chunk into canonical rows and rejected rows.
    ///
    /// # Errors
    /// When the file lacks a required column, or holds addresses and there is no key.
    pub fn check(&self, chunk: &RawChunk) -> Result<CheckedChunk> {
        let plan =
            ColumnPlan::new(self.log, &self.mapping, self.preset.as_deref(), &chunk.frame, self.hasher.as_ref())?;
        let raw = with_positions(&chunk.frame, &chunk.rows)?;
        let cleaned = raw.lazy().with_columns(plan.cleaned()).with_columns(plan.cases());
        let cleaned = cleaned.filter(plan.kept()).collect()?;
        let left_out = chunk.frame.height() - cleaned.height();
        let identified = plan.identify(cleaned, self.hasher.as_ref())?;
        let typed = identified.lazy().with_columns(plan.selected()).with_columns(plan.typed(&self.times)).collect()?;
        let faults = plan.faults(self.latest);
        let judged = typed.lazy().with_column(faults.any().alias(BAD)).collect()?;
        let bad = judged.column(BAD)?.bool()?.clone();
        let mut rejected: Vec<BrokenRow> = chunk.broken.iter().map(|row| hide_broken(row.clone(), &plan)).collect();
        // Reasons quote cells as text, which costs more than all the rest: only rows that have one are looked at.
        let any_bad = bad.any();
        if any_bad {
            let bad_rows = judged.filter(&bad)?.lazy().with_column(faults.reason().alias(REASON)).collect()?;
            rejected.extend(rejected_rows(chunk, &bad_rows, &plan)?);
        }
        rejected.sort_by_key(|row| row.row);
        let good = if any_bad { judged.lazy().filter(col(BAD).not()) } else { judged.lazy() };
        Ok(CheckedChunk { frame: good.select(plan.output()).collect()?, rejected, left_out })
    }
}

fn rejected_rows(chunk: &RawChunk, bad_rows: &DataFrame, plan: &ColumnPlan<'_>) -> Result<Vec<BrokenRow>> {
    let (positions, reasons) = (bad_rows.column(POSITION)?.i64()?, bad_rows.column(REASON)?.str()?);
    let mut rejected = Vec::with_capacity(bad_rows.height());
    for (position, reason) in positions.iter().zip(reasons.iter()) {
        let position = usize::try_from(position.unwrap_or(0)).unwrap_or(0);
        let (reason, raw) = (reason.unwrap_or("does not pass"), chunk.raw_row(position));
        let cells = cells_to_hide(chunk, position, plan);
        let row = BrokenRow {
            row: chunk.rows[position],
            reason: hide_cells(reason, &cells).0,
            // A cell that is written in a way of its own cannot be found.
            raw: Some(hide_cells(&raw, &cells))
                .filter(|(_, all)| *all)
                .map_or_else(|| HIDDEN.to_owned(), |(raw, _)| raw),
        };
        rejected.push(hide_addresses(row, plan));
    }
    Ok(rejected)
}

/// What a row has in the columns of which nothing may be kept as it is, the longest first.
fn cells_to_hide(chunk: &RawChunk, position: usize, plan: &ColumnPlan<'_>) -> Vec<String> {
    let columns = plan.never_raw().into_iter().filter_map(|name| chunk.frame.column(name).ok());
    let mut cells: Vec<String> = columns
        .filter_map(|column| match column.get(position).ok()? {
            AnyValue::Null => None,
            AnyValue::String(text) => Some(text.trim().to_owned()),
            other => Some(other.to_string()),
        })
        .filter(|cell| !cell.is_empty())
        .collect();
    cells.sort_by_key(|cell| std::cmp::Reverse(cell.len()));
    cells
}

/// A text without some cells, wherever they stand as words of their own; and whether all of them were found.
fn hide_cells(text: &str, cells: &[String]) -> (String, bool) {
    let (mut hidden, mut all) = (text.to_owned(), true);
    for cell in cells {
        let in_json = serde_json::Value::from(cell.as_str()).to_string();
        let written = [cell.clone(), cell.replace('"', "\"\""), in_json.trim_matches('"').to_owned()];
        let found = written.iter().find_map(|cell| without_word(&hidden, cell));
        match found {
            Some(without) => hidden = without,
            None => all = false,
        }
    }
    (hidden, all)
}

/// A text without a word; none where it does not stand there.
fn without_word(text: &str, word: &str) -> Option<String> {
    let mut left = String::with_capacity(text.len());
    let (mut kept, mut found) = (0, false);
    for (start, _) in text.match_indices(word) {
        let end = start + word.len();
        let is_part = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphanumeric);
        if start < kept || is_part(text[..start].chars().next_back()) || is_part(text[end..].chars().next()) {
            continue;
        }
        left.push_str(&text[kept..start]);
        left.push_str(HIDDEN);
        (kept, found) = (end, true);
    }
    left.push_str(&text[kept..]);
    found.then_some(left)
}

/// No address may be seen in what is kept of a rejected row: not in its text, and not in the reason, which quotes a cell
/// that may have slipped into the wrong column. Where a file has columns of addresses, whatever could be one is hidden;
/// elsewhere only what plainly is one.
fn hide_addresses(mut row: BrokenRow, plan: &ColumnPlan<'_>) -> BrokenRow {
    let mask = if plan.has_addresses() { mask_addresses } else { mask_plain_addresses };
    row.raw = mask(&row.raw);
    // The example of a time in our own words is no number of anybody's.
    let masked: Vec<String> = row.reason.split(EXAMPLE_OF_A_TIME).map(mask).collect();
    row.reason = masked.join(EXAMPLE_OF_A_TIME);
    row
}

/// A row that could not be taken apart, without what may not be kept: nobody knows which of it is of a column that is hashed
/// or dropped.
fn hide_broken(mut row: BrokenRow, plan: &ColumnPlan<'_>) -> BrokenRow {
    if plan.hides_more_than_addresses() {
        HIDDEN.clone_into(&mut row.raw);
    }
    hide_addresses(row, plan)
}

fn with_positions(frame: &DataFrame, rows: &[i64]) -> Result<DataFrame> {
    let height = i64::try_from(frame.height()).unwrap_or(i64::MAX);
    let positions: Vec<i64> = (0..height).collect();
    let mut columns: Vec<Column> = frame.columns().to_vec();
    // The file's names step aside, so that the canonical names are free.
    for column in &mut columns {
        column.rename(plan::file_column(column.name()).into());
    }
    columns.push(Series::new(POSITION.into(), positions).into_column());
    columns.push(Series::new(SOURCE_ROW.into(), rows.to_vec()).into_column());
    Ok(DataFrame::new(frame.height(), columns)?)
}
