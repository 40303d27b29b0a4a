//! Brings the facts up to date with the logs: finds the days that new rows touch, redoes them from the logs in groups that
//! fit into memory, and replaces them in one commit, which also records the version of each log that the facts now reflect.
//!
//! Two processes may refresh at once: the one that commits second finds that its work is outdated and starts again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{Date32Type, Int64Type, SchemaRef};
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Remove};
use futures::StreamExt as _;

use super::fold::repeated_ids;
use super::new_rows::{Changes, NewRows, new_rows};
use super::sql::{Inputs, Range, facts_query, moment};
use super::touched::{add_days, count_rows, touched_days};
use super::{FEEDING_LOGS, PARTITION, content_id, content_of, reflected_version, source_id};
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::query::{QuerySession, text_literal};
use crate::settings::Settings;
use crate::store::{
    Appender, CORRECTIONS, MESSAGE_FACTS, Replacement, Store, align, commit_replacement, delta_writer, merged_schema,
    of_table, plain_schema,
};

/// Messages whose facts are made in one query; bounds its memory.
const MESSAGES_AT_A_TIME: i64 = 12_000_000;
/// Days with messages whose facts are made in one query: each has a file of its own that is being written.
const DAYS_AT_A_TIME: usize = 250;
pub(crate) const DAY_MICROSECONDS: i64 = 86_400_000_000;
/// Attempts when other writers are faster.
const ATTEMPTS: usize = 10;
/// The application id under which the facts remember their settings.
const SETTINGS_ID: &str = "settings";

/// What a refresh did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refreshed {
    /// Send days that were redone.
    pub days: usize,
    /// Whether all days were (the first time, or under other settings).
    pub from_scratch: bool,
    /// The version of the facts now.
    pub version: Option<u64>,
}

/// The state of one log against the facts.
pub(super) struct LogState {
    pub(super) log: Log,
    pub(super) table: Option<DeltaTable>,
    pub(super) reflected: Option<u64>,
    /// What stood for the log's files at the reflected version.
    content: Option<i64>,
}

impl LogState {
    fn version(&self) -> Option<u64> {
        self.table.as_ref().and_then(DeltaTable::version)
    }

    fn is_behind(&self) -> bool {
        self.version() != self.reflected
    }

    /// Whether the version that the facts reflect is still what it was: one that could not be read may have been removed,
    /// and another have taken its number.
    async fn is_as_reflected(&self, store: &Store) -> Result<bool> {
        let Some(reflected) = self.reflected else { return Ok(true) };
        let Some(table) = &self.table else { return Ok(false) };
        if !self.is_behind() {
            return Ok(Some(content_of(table)?) == self.content);
        }
        if table.version() < Some(reflected) {
            return Ok(false);
        }
        // A version that is no longer kept cannot have been replaced without the ones after it.
        match store.table_at_version(self.log.name(), reflected).await {
            Ok(then) => Ok(Some(content_of(&then)?) == self.content),
            Err(_) => Ok(true),
        }
    }
}

/// Brings the facts up to date; does nothing when they are.
///
/// # Errors
/// When the store fails, or other writers win every race.
pub async fn refresh(store: &Store, settings: &Settings) -> Result<Refreshed> {
    for _ in 0..ATTEMPTS {
        if let Some(done) = attempt(store, settings).await? {
            return Ok(done);
        }
    }
    Err(EngineError::refused(
        "the facts could not be brought up to date: other writers were faster each time; try again",
    ))
}

async fn attempt(store: &Store, settings: &Settings) -> Result<Option<Refreshed>> {
    let facts = store.table(MESSAGE_FACTS).await?;
    let mut states = Vec::with_capacity(FEEDING_LOGS.len());
    for log in FEEDING_LOGS {
        let (reflected, content) = match &facts {
            Some(facts) => {
                let log_store = facts.log_store();
                let content = facts.snapshot()?.transaction_version(log_store.as_ref(), content_id(log)).await?;
                (reflected_version(facts, log).await?, content)
            }
            None => (None, None),
        };
        states.push(LogState { log, table: store.table(log.name()).await?, reflected, content });
    }
    if !states.iter().any(|state| state.log == Log::Sends && state.table.is_some()) {
        return Ok(Some(Refreshed { days: 0, from_scratch: false, version: None }));
    }
    let same_settings = match &facts {
        Some(facts) => {
            let log_store = facts.log_store();
            let known = facts.snapshot()?.transaction_version(log_store.as_ref(), SETTINGS_ID).await?;
            known == Some(settings.fingerprint())
        }
        None => false,
    };
    let mut as_reflected = true;
    for state in &states {
        as_reflected &= state.is_as_reflected(store).await?;
    }
    if same_settings && as_reflected && !states.iter().any(LogState::is_behind) {
        let version = facts.as_ref().and_then(DeltaTable::version);
        return Ok(Some(Refreshed { days: 0, from_scratch: false, version }));
    }
    let tables: Vec<(Log, Option<DeltaTable>)> = states.iter().map(|state| (state.log, state.table.clone())).collect();
    let mut session = QuerySession::logs_alone(&tables, settings).await?;
    session.register(CORRECTIONS, store.table(CORRECTIONS).await?, &corrections_schema()).await?;

    let changes = match &facts {
        Some(facts) if same_settings && as_reflected => {
            session.register(MESSAGE_FACTS, Some(facts.clone()), &super::minimal_schema()).await?;
            Changes::of(states.iter().filter(|state| state.is_behind())).await?
        }
        _ => None,
    };
    let incremental = changes.is_some();
    let days = if let (Some(facts), Some(changes)) = (&facts, changes) {
        let corrected = match changes.gained.iter().find(|gained| gained.log == Log::Sends) {
            Some(sends) => note_new_corrections(store, &mut session, sends).await?,
            None => BTreeSet::new(),
        };
        let mut days = touched_days(&session, &changes.gained, &days_of_files(facts)?, corrected).await?;
        days.extend(changes.erased);
        days
    } else {
        // A log may have other rows under the same version.
        let sends = states.iter().find(|state| state.log == Log::Sends);
        if sends.is_some_and(|state| state.is_behind() || !as_reflected) {
            note_all_corrections(store, &mut session).await?;
        }
        BTreeSet::new()
    };
    let mut reflects = vec![(SETTINGS_ID.to_owned(), settings.fingerprint())];
    for state in &states {
        if let (Some(table), Some(version)) = (&state.table, state.version()) {
            reflects.push((source_id(state.log), i64::try_from(version).unwrap_or(i64::MAX)));
            reflects.push((content_id(state.log), content_of(table)?));
        }
    }
    if let (Some(facts), true) = (&facts, incremental && days.is_empty()) {
        // Rows were rearranged, or concern no message: the facts are those of these versions, too.
        let replacement = Replacement { reflects, ..Replacement::default() };
        return Ok(match commit_replacement(facts, replacement).await {
            Ok(version) => version.map(|version| Refreshed { days: 0, from_scratch: false, version: Some(version) }),
            // On a full disk, say: what can be read is read, and the versions are noted another time.
            Err(error) => {
                tracing::warn!(%error, "the facts are as they should be; which versions they reflect could not be noted");
                Some(Refreshed { days: 0, from_scratch: false, version: facts.version() })
            }
        });
    }
    let groups = groups_of_days(&session, incremental.then_some(&days)).await?;
    let inputs = Inputs::of(&session).await?;
    let output = QuerySession::logs_alone(&[], settings).await?;
    let work = Work { store, session: &session, output: &output, inputs: &inputs, from_scratch: !incremental };
    let redone = work.redo(facts, &groups).await?;
    let Redone { table, removed, added, schema } = redone;
    let days = groups.iter().map(|group| group.days).sum();
    let orphans = added.clone();
    let replacement = Replacement { removed, added, reflects, schema: Some(schema) };
    let Some(version) = commit_replacement(&table, replacement).await? else {
        remove_files(&table, orphans).await;
        return Ok(None);
    };
    Ok(Some(Refreshed { days, from_scratch: !incremental, version: Some(version) }))
}

fn corrections_schema() -> SchemaRef {
    let field = arrow::datatypes::Field::new("message_id", arrow::datatypes::DataType::Utf8, true);
    Arc::new(arrow::datatypes::Schema::new(vec![field]))
}

/// Finds the message ids that the sends log holds more than once and adds them to the table that remembers them.
async fn note_all_corrections(store: &Store, session: &mut QuerySession) -> Result<()> {
    let rows = count_rows(session, "SELECT 1 FROM sends").await?;
    let found = repeated_ids(&session.sql("SELECT message_id FROM sends").await?, rows).await?;
    remember_corrections(store, session, &found).await
}

/// Does so for ids of which the log gained a row. Returns the send days of the messages that have new rows and had facts
/// before.
async fn note_new_corrections(store: &Store, session: &mut QuerySession, sends: &NewRows) -> Result<BTreeSet<i32>> {
    let (mut days, mut found) = (BTreeSet::new(), Vec::new());
    let fresh = new_rows(Log::Sends);
    for part in &sends.parts {
        sends.register(session, part).await?;
        let Some(within) = id_range(session, &fresh).await? else { continue };
        let known = format!(
            "SELECT message_id, sent_date FROM {MESSAGE_FACTS} WHERE {within} AND message_id IN (SELECT message_id FROM {fresh})"
        );
        for batch in session.collect(&known).await? {
            add_days(&mut days, batch.column(1))?;
            found.push(batch.project(&[0])?);
        }
    }
    sends.register_all(session).await?;
    let rows = count_rows(session, &format!("SELECT 1 FROM {fresh}")).await?;
    found.extend(repeated_ids(&session.sql(&format!("SELECT message_id FROM {fresh}")).await?, rows).await?);
    remember_corrections(store, session, &found).await?;
    Ok(days)
}

async fn remember_corrections(store: &Store, session: &mut QuerySession, found: &[RecordBatch]) -> Result<()> {
    let found: Vec<&RecordBatch> = found.iter().filter(|batch| batch.num_rows() > 0).collect();
    if found.is_empty() {
        return Ok(());
    }
    let mut appender = Appender::open(store, CORRECTIONS, &corrections_schema()).await?;
    for batch in found {
        appender.write(batch).await?;
    }
    appender.commit(&[]).await?;
    session.context().deregister_table(CORRECTIONS)?;
    session.register(CORRECTIONS, store.table(CORRECTIONS).await?, &corrections_schema()).await
}

/// The condition that a message's id is between the first and the last of a table's: files and row groups that hold none
/// of them need not be opened. `None` when the table has no row.
async fn id_range(session: &QuerySession, table: &str) -> Result<Option<String>> {
    let ends = session.collect(&format!("SELECT min(message_id), max(message_id) FROM {table}")).await?;
    let Some(batch) = ends.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    let end = |column: usize| crate::report::cell_text(batch, column, 0);
    Ok(end(0)?.zip(end(1)?).map(|(first, last)| {
        format!("message_id >= {} AND message_id <= {}", text_literal(&first), text_literal(&last))
    }))
}

/// Neighbouring days whose facts are made in one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DayGroup {
    /// Days since 1970, both inclusive.
    first: i32,
    last: i32,
    /// Days that hold messages.
    days: usize,
    messages: i64,
}

impl DayGroup {
    fn range(&self) -> Range {
        let start = |day: i32| i64::from(day) * DAY_MICROSECONDS;
        Range { from: start(self.first), to: start(self.last + 1) }
    }
}

/// Groups of days to redo: all that hold messages, or those touched (days between two touched ones are redone with them
/// while the group stays small, which is cheaper than a query each).
async fn groups_of_days(session: &QuerySession, touched: Option<&BTreeSet<i32>>) -> Result<Vec<DayGroup>> {
    let within = match touched.map(|days| (days.first(), days.last())) {
        None => "TRUE".to_owned(),
        Some((Some(first), Some(last))) => {
            let range = DayGroup { first: *first, last: *last, days: 0, messages: 0 }.range();
            format!("sent_at >= {} AND sent_at < {}", moment(range.from), moment(range.to))
        }
        Some(_) => return Ok(Vec::new()),
    };
    let query = format!(
        "SELECT day, count(*) AS messages FROM (SELECT arrow_cast(sent_at, 'Date32') AS day FROM sends WHERE {within}) GROUP BY day"
    );
    let mut messages: BTreeMap<i32, i64> = BTreeMap::new();
    for batch in session.collect(&query).await? {
        let days = batch.column(0).as_primitive::<Date32Type>();
        let counts = batch.column(1).as_primitive::<Int64Type>();
        messages.extend(days.iter().flatten().zip(counts.iter().flatten()));
    }
    // A touched day may have lost its last message; it is redone to be empty.
    for day in touched.into_iter().flatten() {
        messages.entry(*day).or_insert(0);
    }
    Ok(group(&messages, touched))
}

fn group(messages: &BTreeMap<i32, i64>, touched: Option<&BTreeSet<i32>>) -> Vec<DayGroup> {
    let mut groups: Vec<DayGroup> = Vec::new();
    let mut between = (0, 0);
    for (day, count) in messages {
        if touched.is_some_and(|touched| !touched.contains(day)) {
            between = (between.0 + 1, between.1 + count);
            continue;
        }
        match groups.last_mut() {
            Some(group)
                if group.messages + between.1 + count <= MESSAGES_AT_A_TIME
                    && group.days + between.0 < DAYS_AT_A_TIME =>
            {
                group.last = *day;
                group.days += between.0 + 1;
                group.messages += between.1 + count;
            }
            _ => groups.push(DayGroup { first: *day, last: *day, days: 1, messages: *count }),
        }
        between = (0, 0);
    }
    groups
}

/// What a redo of days needs.
struct Work<'a> {
    store: &'a Store,
    /// The logs.
    session: &'a QuerySession,
    /// Where the facts are queried.
    output: &'a QuerySession,
    inputs: &'a Inputs,
    from_scratch: bool,
}

struct Redone {
    table: DeltaTable,
    removed: Vec<Remove>,
    added: Vec<Add>,
    schema: SchemaRef,
}

impl Work<'_> {
    /// Writes the groups' facts to new data files and names the old ones that they replace.
    async fn redo(&self, facts: Option<DeltaTable>, groups: &[DayGroup]) -> Result<Redone> {
        let nothing = Range { from: 0, to: 0 };
        super::fold_into(self.session, self.output, self.inputs, Some(nothing)).await?;
        let planned = self.output.sql(&facts_query(self.inputs)).await?;
        let schema = plain_schema(planned.schema().as_arrow());
        let table = match facts {
            Some(table) => table,
            None => self.store.create_table(MESSAGE_FACTS, &schema, &[PARTITION]).await?,
        };
        let schema = merged_schema(&plain_schema(&table.snapshot()?.snapshot().arrow_schema()), &schema);
        let mut added = Vec::new();
        for group in groups {
            // No two groups share a day: a writer's files are whole at the end of its group, and their memory is free.
            let mut writer = delta_writer(&table, &schema, &[PARTITION.to_owned()]);
            // One group that is everything needs no look at which rows belong to it.
            let range = if self.from_scratch && groups.len() == 1 { None } else { Some(group.range()) };
            super::fold_into(self.session, self.output, self.inputs, range).await?;
            let frame = self.output.sql(&facts_query(self.inputs)).await?;
            let mut stream = frame.execute_stream().await?;
            while let Some(batch) = stream.next().await {
                writer.write(&align(&batch?, &schema)?).await.map_err(of_table("write to", &table))?;
            }
            added.extend(writer.close().await.map_err(of_table("write to", &table))?);
        }
        let removed = self.replaced_files(&table, groups)?;
        Ok(Redone { table, removed, added, schema })
    }

    fn replaced_files(&self, table: &DeltaTable, groups: &[DayGroup]) -> Result<Vec<Remove>> {
        let mut removed = Vec::new();
        for file in table.snapshot()?.log_data().iter() {
            let day = day_of(&file.partition_values_map());
            let redone = day.is_none_or(|day| groups.iter().any(|group| (group.first..=group.last).contains(&day)));
            if self.from_scratch || redone {
                removed.push(file.remove_action(true));
            }
        }
        Ok(removed)
    }
}

/// The send day of a file of the facts.
fn day_of(partition: &HashMap<String, Option<String>>) -> Option<i32> {
    let text = partition.get(PARTITION)?.as_ref()?;
    text.parse::<jiff::civil::Date>().ok().map(days_since_1970)
}

/// The send days that have facts.
fn days_of_files(facts: &DeltaTable) -> Result<BTreeSet<i32>> {
    Ok(facts.snapshot()?.log_data().iter().filter_map(|file| day_of(&file.partition_values_map())).collect())
}

/// The days since 1970-01-01.
pub(crate) fn days_since_1970(date: jiff::civil::Date) -> i32 {
    let epoch = jiff::civil::date(1970, 1, 1);
    date.duration_since(epoch).as_hours().div_euclid(24).try_into().unwrap_or(i32::MAX)
}

async fn remove_files(table: &DeltaTable, files: Vec<Add>) {
    use object_store::ObjectStoreExt as _;
    let store = table.object_store();
    for file in files {
        if let Ok(path) = deltalake::Path::from_url_path(&file.path)
            && let Err(error) = store.delete(&path).await
        {
            tracing::warn!(%error, path = file.path, "an outdated data file could not be removed; vacuum will");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(groups: &[DayGroup]) -> Vec<(i32, i32, usize)> {
        groups.iter().map(|group| (group.first, group.last, group.days)).collect()
    }

    #[test]
    fn days_are_grouped_until_they_are_too_many() {
        let messages: BTreeMap<i32, i64> = (0..5).map(|day| (day, MESSAGES_AT_A_TIME / 2)).collect();
        assert_eq!(shape(&group(&messages, None)), [(0, 1, 2), (2, 3, 2), (4, 4, 1)]);
        let touched = BTreeSet::from([0, 4]);
        assert_eq!(shape(&group(&messages, Some(&touched))), [(0, 0, 1), (4, 4, 1)]);
        let small: BTreeMap<i32, i64> = (0..5).map(|day| (day, 10)).collect();
        assert_eq!(shape(&group(&small, Some(&touched))), [(0, 4, 5)]);
        let years: BTreeMap<i32, i64> = (0..1000).map(|day| (day, 10)).collect();
        assert_eq!(shape(&group(&years, None)), [(0, 249, 250), (250, 499, 250), (500, 749, 250), (750, 999, 250)]);
    }

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(days_since_1970(jiff::civil::date(2026, 3, 2)), 20_514);
        assert_eq!(days_since_1970(jiff::civil::date(1969, 12, 31)), -1);
    }
}
