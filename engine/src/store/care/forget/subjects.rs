//! Whom and what an erasure is about: the recipients, the messages to them, and the events whose latest row is theirs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;

use super::super::count;
use super::Person;
use crate::error::Result;
use crate::event::Log;
use crate::facts::LATEST_FIRST;
use crate::query::QuerySession;
use crate::settings::Settings;
use crate::store::{CORRECTIONS, MESSAGE_FACTS, QUARANTINE, Store, quarantine_schema};

/// The table of the recipients' ids.
pub(super) const FORGOTTEN: &str = "forgotten";
/// The table of these and of the other hashes that stand for them.
pub(super) const NAMES: &str = "forgotten_names";
/// The table of the messages to them.
const MESSAGES: &str = "forgotten_messages";
/// The table of the messages that rows to be erased name.
pub(super) const NAMED: &str = "named_messages";

/// Logs in which a later row corrects an earlier one of the same id, with the id's column.
const CORRECTED_BY_ID: [(Log, &str); 4] =
    [(Log::Clicks, "click_id"), (Log::Conversions, "conversion_id"), (Log::Replies, "reply_id"), (Log::OptOuts, "id")];

/// Whom and what an erasure is about.
#[derive(Debug)]
pub(super) struct Subjects {
    pub(super) recipients: HashSet<String>,
    /// The recipients and the other hashes that stand for them.
    pub(super) names: HashSet<String>,
    /// Messages whose latest row is to one of them.
    pub(super) messages: HashSet<String>,
    /// By log, ids of events whose latest row is about one of them: without the earlier rows, too, or these would count
    /// again.
    pub(super) events: HashMap<Log, HashSet<String>>,
    /// Ids that the corrections remember of sends that are gone.
    pub(super) stale_corrections: HashSet<String>,
    /// Whether all of the quarantine goes.
    pub(super) whole_quarantine: bool,
    /// Rejected rows with hidden addresses.
    pub(super) hidden_rejected_rows: u64,
    /// Facts about the recipients.
    pub(super) facts: u64,
}

/// The store's newest tables, with the recipients.
pub(super) async fn open_session(store: &Store, settings: &Settings, people: &[Person]) -> Result<QuerySession> {
    let mut logs = Vec::with_capacity(Log::ALL.len());
    for log in Log::ALL {
        logs.push((log, store.table(log.name()).await?));
    }
    let mut session = QuerySession::logs_alone(&logs, settings).await?;
    session.register(MESSAGE_FACTS, store.table(MESSAGE_FACTS).await?, &crate::facts::minimal_schema()).await?;
    session.register(QUARANTINE, store.table(QUARANTINE).await?, &quarantine_schema()).await?;
    let ids = Arc::new(Schema::new(vec![Field::new("message_id", DataType::Utf8, true)]));
    session.register(CORRECTIONS, store.table(CORRECTIONS).await?, &ids).await?;
    register_ids(&session, FORGOTTEN, people.iter().map(|person| &person.id))?;
    register_ids(&session, NAMES, people.iter().flat_map(|person| person.aliases.iter().chain([&person.id])))?;
    Ok(session)
}

/// Registers a table with one column, `id`.
pub(super) fn register_ids<'a>(
    session: &QuerySession,
    name: &str,
    ids: impl Iterator<Item = &'a String>,
) -> Result<()> {
    let ids: HashSet<&str> = ids.map(String::as_str).collect();
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let batch = RecordBatch::try_from_iter([("id", ids)])?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    session.context().deregister_table(name)?;
    session.context().register_table(name, Arc::new(table))?;
    Ok(())
}

impl Subjects {
    pub(super) async fn find(session: &QuerySession, people: &[Person], whole_quarantine: bool) -> Result<Self> {
        let recipients: HashSet<String> = people.iter().map(|person| person.id.clone()).collect();
        let aliases = people.iter().flat_map(|person| person.aliases.iter().cloned());
        let names = recipients.iter().cloned().chain(aliases).collect();
        let theirs =
            |from: &str| format!("SELECT message_id FROM {from} WHERE recipient_id IN (SELECT id FROM {FORGOTTEN})");
        let to_them = latest(Log::Sends, "message_id", &theirs);
        let mut messages = texts(session, &to_them).await?;
        // What an erasure that was cut off has left of them.
        messages.extend(texts(session, &theirs(MESSAGE_FACTS)).await?);
        register_ids(session, MESSAGES, messages.iter())?;
        let mut events = HashMap::new();
        for (log, id) in CORRECTED_BY_ID {
            let query = latest(log, id, &|from| events_of_theirs(log, id, from));
            events.insert(log, texts(session, &query).await?);
        }
        let stale = format!(
            "SELECT c.message_id FROM {CORRECTIONS} AS c LEFT ANTI JOIN sends AS s ON c.message_id = s.message_id"
        );
        let hidden = format!("SELECT count(*) FROM {QUARANTINE} WHERE raw LIKE '%[hidden]%'");
        Ok(Self {
            recipients,
            names,
            messages,
            events,
            stale_corrections: texts(session, &stale).await?,
            whole_quarantine,
            hidden_rejected_rows: count(session, &hidden).await?,
            facts: facts_about(session).await?,
        })
    }
}

/// The ids of a log whose latest row is among those that a query gives. `theirs` makes that query over the log or over
/// a table with the same columns.
fn latest(log: Log, id: &str, theirs: &dyn Fn(&str) -> String) -> String {
    let recipient = if log.has_recipient() { "recipient_id, " } else { "" };
    let message = if id == "message_id" { "" } else { "message_id, " };
    format!(
        "WITH newest AS (SELECT * FROM (SELECT {recipient}{message}{id}, \
         row_number() OVER (PARTITION BY {id} ORDER BY {LATEST_FIRST}) AS place \
         FROM {log} WHERE {id} IN ({})) WHERE place = 1) {}",
        theirs(log.name()),
        theirs("newest")
    )
}

/// The ids of events about the recipients, or about a message to them and nobody else.
fn events_of_theirs(log: Log, id: &str, from: &str) -> String {
    let of_messages = format!("message_id IN (SELECT id FROM {MESSAGES})");
    if !log.has_recipient() {
        return format!("SELECT {id} FROM {from} WHERE {of_messages}");
    }
    format!(
        "SELECT {id} FROM {from} WHERE recipient_id IN (SELECT id FROM {FORGOTTEN}) \
         UNION ALL SELECT {id} FROM {from} WHERE recipient_id IS NULL AND {of_messages}"
    )
}

/// How many facts are about the recipients.
pub(super) async fn facts_about(session: &QuerySession) -> Result<u64> {
    let about = format!("SELECT count(*) FROM {MESSAGE_FACTS} WHERE recipient_id IN (SELECT id FROM {FORGOTTEN})");
    count(session, &about).await
}

/// The texts in the first column of a query.
async fn texts(session: &QuerySession, query: &str) -> Result<HashSet<String>> {
    let mut texts = HashSet::new();
    for batch in session.collect(query).await? {
        let column = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        texts.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(texts)
}
