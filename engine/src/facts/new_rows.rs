//! The rows that the logs gained since the facts were made, in parts of which each fits into memory.

use std::collections::BTreeSet;

use deltalake::DeltaTable;
use deltalake::delta_datafusion::FileSelection;
use serde_json::Value;

use super::refresh::LogState;
use crate::error::Result;
use crate::event::Log;
use crate::query::QuerySession;
use crate::store::care::ERASED_DAYS;
use crate::store::{commit_actions, is_data_change};

/// Rows whose messages are looked for at a time, at least one file: some hundred bytes each.
const ROWS_OF_A_PART: u64 = 10_000_000;

/// The name under which rows of a log that are new to the facts are registered.
pub(super) fn new_rows(log: Log) -> String {
    format!("new_{log}")
}

/// What became of the logs since the facts were made.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Logs with new rows.
    pub(super) gained: Vec<NewRows>,
    /// Send days, since 1970, whose facts lost rows that were erased from the logs.
    pub(super) erased: BTreeSet<i32>,
}

/// What one log gained.
#[derive(Debug)]
pub(super) struct NewRows {
    pub(super) log: Log,
    table: DeltaTable,
    /// Data files.
    pub(super) parts: Vec<BTreeSet<String>>,
}

/// A data file that a commit added.
struct NewFile {
    path: String,
    /// If the commit tells it.
    rows: Option<u64>,
}

impl Changes {
    /// What the logs gained that are behind. `None` when that cannot be told (a history was cleaned up), so that everything
    /// must be redone.
    pub(super) async fn of(behind: impl Iterator<Item = &LogState>) -> Result<Option<Self>> {
        let mut changes = Self::default();
        for state in behind {
            let Some(table) = &state.table else { return Ok(None) };
            let Some((files, erased)) = changes_since(table, state.reflected).await? else { return Ok(None) };
            changes.erased.extend(erased);
            if !files.is_empty() {
                changes.gained.push(NewRows { log: state.log, table: table.clone(), parts: parts(files) });
            }
        }
        Ok(Some(changes))
    }
}

impl NewRows {
    /// Registers one part as the log's new rows.
    pub(super) async fn register(&self, session: &QuerySession, part: &BTreeSet<String>) -> Result<()> {
        let files = FileSelection::from_file_paths(part.iter().cloned());
        let provider = self.table.table_provider().with_file_selection(files).await?;
        session.context().deregister_table(new_rows(self.log))?;
        session.context().register_table(new_rows(self.log), provider)?;
        Ok(())
    }

    /// Registers all of them.
    pub(super) async fn register_all(&self, session: &QuerySession) -> Result<()> {
        self.register(session, &self.parts.iter().flatten().cloned().collect()).await
    }
}

/// Neighbouring files together while they are small.
fn parts(files: Vec<NewFile>) -> Vec<BTreeSet<String>> {
    let mut parts: Vec<BTreeSet<String>> = Vec::new();
    let mut room = 0;
    for NewFile { path, rows } in files {
        let rows = rows.unwrap_or(ROWS_OF_A_PART);
        match parts.last_mut() {
            Some(part) if rows <= room => {
                part.insert(path);
                room -= rows;
            }
            _ => {
                parts.push(BTreeSet::from([path]));
                room = ROWS_OF_A_PART.saturating_sub(rows);
            }
        }
    }
    parts
}

/// The data files with new rows that commits after `version` added, and the send days whose facts lost rows by them.
/// `None` when the commits do not tell. Files that only rearrange rows do not count, nor do those that hold what an
/// erasure left.
async fn changes_since(table: &DeltaTable, version: Option<u64>) -> Result<Option<(Vec<NewFile>, BTreeSet<i32>)>> {
    let latest = table.version().unwrap_or_default();
    let first = version.map_or(0, |version| version + 1);
    let (mut files, mut erased_days) = (Vec::new(), BTreeSet::new());
    let mut paths = BTreeSet::new();
    for version in first..=latest {
        let Some(actions) = commit_actions(table, version).await? else { return Ok(None) };
        let days = actions.iter().find_map(|action| action["commitInfo"][ERASED_DAYS].as_array());
        let is_erasure = days.is_some();
        let day = |day: &Value| day.as_i64().and_then(|day| i32::try_from(day).ok());
        erased_days.extend(days.into_iter().flatten().filter_map(day));
        for action in &actions {
            let added = &action["add"];
            if let Some(path) = added["path"].as_str()
                && !is_erasure
                && is_data_change(added)
                && paths.insert(path.to_owned())
            {
                files.push(NewFile { path: path.to_owned(), rows: rows_of(added) });
            }
            // New rows were put into files that hold old rows too, so that they can no longer be told apart; or rows
            // went and nobody says which.
            if let Some(path) = action["remove"]["path"].as_str()
                && (paths.contains(path) || (!is_erasure && is_data_change(&action["remove"])))
            {
                return Ok(None);
            }
        }
    }
    Ok(Some((files, erased_days)))
}

/// The rows that an added file has by its statistics.
fn rows_of(added: &Value) -> Option<u64> {
    let statistics: Value = serde_json::from_str(added["stats"].as_str()?).ok()?;
    statistics["numRecords"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_looked_through_together_and_large_ones_alone() {
        let sizes = [4, 5, 2, 30, 1, 1].map(|millions| Some(millions * 1_000_000)).into_iter().chain([None, Some(1)]);
        let files = sizes.enumerate().map(|(index, rows)| NewFile { path: index.to_string(), rows }).collect();
        let shape: Vec<String> = parts(files).iter().map(|part| part.iter().map(String::as_str).collect()).collect();
        assert_eq!(shape, ["01", "2", "3", "45", "6", "7"]);
    }
}
