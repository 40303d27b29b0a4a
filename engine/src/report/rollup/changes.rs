//! Which campaigns' sums may have changed since a rollup was made?
//!
//! - Those with messages on a send day whose facts were redone, and those that had some then.
//! - Those with somebody whose retention period closed since, or within whose period a new conversion fell.
//!
//! Money of the held out is looked at apart: it is no campaign's.

use std::collections::BTreeSet;

use deltalake::DeltaTable;
use serde_json::Value;

use super::kept::{Kept, versions_of};
use super::{Rollups, Shape, retention_ends};
use crate::error::Result;
use crate::event::Log;
use crate::facts::{DAY_MICROSECONDS, PARTITION, days_since_1970};
use crate::query::QuerySession;
use crate::report::query::{Counts, cell_text};
use crate::report::sums::Sums;
use crate::store::{MESSAGE_FACTS, commit_actions, is_data_change};

/// Commits that are looked through at most; after more of them a rollup is made anew.
const MOST_COMMITS: u64 = 10_000;

/// What changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Touched {
    Nothing,
    Some(BTreeSet<Option<String>>),
    /// All of them, as far as can be told.
    All,
}

pub(super) async fn touched(
    session: &QuerySession,
    rollups: &Rollups,
    shape: &Shape,
    kept: &Kept<Sums>,
) -> Result<Touched> {
    let versions = versions_of(session);
    if versions == kept.versions && session.as_of == kept.as_of {
        return Ok(Touched::Nothing);
    }
    let has_changed = |log: Log| versions.get(log.name()) != kept.versions.get(log.name());
    if !shape.is_by_campaign || (shape.uses_contacts() && has_changed(Log::Recipients)) {
        return Ok(Touched::All);
    }
    let Some(days) = changed_days(rollups, kept).await? else { return Ok(Touched::All) };
    let mut campaigns = campaigns_of(session, &days).await?;
    let had_some = |counts: &&Counts| {
        let day = |moment: Option<jiff::Timestamp>| moment.map(|at| at.as_microsecond().div_euclid(DAY_MICROSECONDS));
        match (day(counts.first_sent_at), day(counts.last_sent_at)) {
            (Some(first), Some(last)) => days.iter().any(|day| (first..=last).contains(&i64::from(*day))),
            _ => true,
        }
    };
    let name = |counts: &Counts| counts.keys.first().cloned().flatten();
    campaigns.extend(kept.content.counts.iter().filter(had_some).map(name));
    let Some(first_change) = first_conversion(rollups, kept).await? else { return Ok(Touched::All) };
    // Of periods that closed before and hold no new conversion, nothing changes.
    let open_from = first_change.min(kept.as_of.as_microsecond());
    let is_open = |counts: &&Counts| {
        counts.last_converted_at.is_some_and(|last| retention_ends(last, &shape.request) >= open_from)
    };
    campaigns.extend(kept.content.counts.iter().filter(is_open).map(name));
    // The held out: their assignments, what they bought, and which of them are in a segment.
    let concerns_all = [Log::Assignments, Log::Conversions, Log::Recipients].into_iter().any(has_changed);
    let compares = !kept.content.holdout.is_empty() || has_changed(Log::Assignments);
    if campaigns.is_empty() && !(concerns_all && compares) {
        return Ok(Touched::Nothing);
    }
    Ok(Touched::Some(campaigns))
}

/// The send days, since 1970, whose facts were redone. `None` when that cannot be told.
async fn changed_days(rollups: &Rollups, kept: &Kept<Sums>) -> Result<Option<BTreeSet<i32>>> {
    let Some(facts) = rollups.tables.get(MESSAGE_FACTS) else { return Ok(None) };
    let Some(actions) = actions_since(facts, kept.versions.get(MESSAGE_FACTS).copied()).await? else { return Ok(None) };
    let mut days = BTreeSet::new();
    for file in actions.iter().flat_map(|action| [&action["add"], &action["remove"]]) {
        if !file.is_object() || !is_data_change(file) {
            continue;
        }
        let day = file["partitionValues"][PARTITION].as_str().and_then(|text| text.parse().ok());
        let Some(day) = day.map(days_since_1970) else { return Ok(None) };
        days.insert(day);
    }
    Ok(Some(days))
}

/// The earliest moment, in microseconds, of the conversions that came since. `None` when that cannot be told.
async fn first_conversion(rollups: &Rollups, kept: &Kept<Sums>) -> Result<Option<i64>> {
    let Some(conversions) = rollups.tables.get(Log::Conversions.name()) else { return Ok(Some(i64::MAX)) };
    let Some(actions) = actions_since(conversions, kept.versions.get(Log::Conversions.name()).copied()).await? else {
        return Ok(None);
    };
    let mut earliest = i64::MAX;
    for action in &actions {
        if action["remove"].is_object() && is_data_change(&action["remove"]) {
            return Ok(None);
        }
        if !action["add"].is_object() || !is_data_change(&action["add"]) {
            continue;
        }
        let Some(first) = least(&action["add"], Log::Conversions.time_column()) else { return Ok(None) };
        earliest = earliest.min(first);
    }
    Ok(Some(earliest))
}

/// The least moment of a column in a file, by its statistics.
fn least(file: &Value, column: &str) -> Option<i64> {
    let statistics: Value = serde_json::from_str(file["stats"].as_str()?).ok()?;
    let least: jiff::Timestamp = statistics["minValues"][column].as_str()?.parse().ok()?;
    // Statistics are in milliseconds, rounded to either side.
    Some(least.as_microsecond().saturating_sub(1_000))
}

/// What the commits of a table after a version did. `None` when they are no longer there, or too many.
async fn actions_since(table: &DeltaTable, version: Option<u64>) -> Result<Option<Vec<Value>>> {
    let latest = table.version().unwrap_or_default();
    let first = version.map_or(0, |version| version + 1);
    if version.is_some_and(|version| version > latest) || latest.saturating_sub(first) > MOST_COMMITS {
        return Ok(None);
    }
    let mut all = Vec::new();
    for version in first..=latest {
        let Some(actions) = commit_actions(table, version).await? else { return Ok(None) };
        all.extend(actions);
    }
    Ok(Some(all))
}

/// The campaigns of the messages sent on some days.
async fn campaigns_of(session: &QuerySession, days: &BTreeSet<i32>) -> Result<BTreeSet<Option<String>>> {
    let mut campaigns = BTreeSet::new();
    if days.is_empty() {
        return Ok(campaigns);
    }
    let days: Vec<String> = days.iter().map(|day| format!("arrow_cast({day}, 'Date32')")).collect();
    let query = format!("SELECT DISTINCT campaign_id FROM {MESSAGE_FACTS} WHERE {PARTITION} IN ({})", days.join(", "));
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            campaigns.insert(cell_text(&batch, 0, row)?);
        }
    }
    Ok(campaigns)
}
