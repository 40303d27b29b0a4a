//! `forget`: erases every row about some recipients, from the logs, the quarantine and the facts.
//!
//! In: recipients, by id or by address. A row is about a recipient if its `recipient_id` says so, or if it names a
//! message to them and nobody else ([`subjects`] finds these messages). The files that hold such rows are written anew
//! without them ([`search`] finds them); all others stay. Each commit names the send days whose facts it changes
//! ([`ERASED_DAYS`]), so that whoever brings the facts up to date next redoes these days and no others, also if this
//! process is killed halfway. Run again, it finds what is left: the sends, which tell the messages, go last. Earlier
//! versions hold the rows until `vacuum`.

mod search;
mod subjects;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::{DataType, Date32Type};
use deltalake::DeltaTable;
use deltalake::protocol::DeltaOperation;
use jiff::Timestamp;
use serde::Serialize;

use self::search::{Found, Rule};
use self::subjects::{FORGOTTEN, NAMED, Subjects, open_session, register_ids};
use super::rewrite::{Account, LiveFile, Rewrite, commit, live_files, remove_files, rewrite};
use super::time_column;
use super::vacuum::{Vacuumed, vacuum_all};
use crate::error::{EngineError, Result};
use crate::event::{Identity, Log};
use crate::facts::refresh;
use crate::ingest::identity::{IdentityHasher, looks_like_address};
use crate::jobs::drop_finished_jobs;
use crate::query::{QuerySession, quoted};
use crate::report::drop_rollups;
use crate::settings::Settings;
use crate::store::{CORRECTIONS, MESSAGE_FACTS, QUARANTINE, Store};

/// The member of a commit's `commitInfo` that names the days since 1970 (UTC) of the sends whose facts lost rows by it.
pub(crate) const ERASED_DAYS: &str = "sendliftErasedDays";

/// The tables in the order in which they lose rows. The sends come after all that is found by them; what remembers the
/// sends comes after them, and is found without them.
const ORDER: [&str; 12] = [
    Log::Deliveries.name(),
    Log::Opens.name(),
    Log::Clicks.name(),
    Log::Conversions.name(),
    Log::Replies.name(),
    Log::OptOuts.name(),
    Log::Consents.name(),
    Log::Assignments.name(),
    Log::Recipients.name(),
    QUARANTINE,
    Log::Sends.name(),
    CORRECTIONS,
];
/// Searches until none finds anything: the last one proves it, and more than two are needed only while rows keep
/// coming.
const ROUNDS: usize = 5;
/// Files rewritten before a commit.
const FILES_A_COMMIT: usize = 64;

/// Somebody to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The `recipient_id`.
    pub id: String,
    /// Other hashes under which columns of addresses may know them.
    pub aliases: Vec<String>,
}

impl Person {
    /// Reads a `recipient_id`, an e-mail address, or a phone number with its country code; with `is_phone` also one
    /// without.
    ///
    /// # Errors
    /// When the text is empty or not a valid address, or is one and there is no key to hash it with. The text is not
    /// repeated.
    pub fn read(text: &str, is_phone: bool, hasher: Option<&IdentityHasher>) -> Result<Self> {
        let text = text.trim();
        let kind = if is_phone || text.starts_with('+') {
            Identity::Phone
        } else if text.contains('@') && looks_like_address(text) {
            Identity::Email
        } else if text.is_empty() {
            return Err(EngineError::usage("an empty recipient: name one by an id, or by an address"));
        } else {
            return Ok(Self { id: text.to_owned(), aliases: Vec::new() });
        };
        let hasher = hasher.ok_or_else(|| {
            EngineError::usage(
                "the store knows phone numbers and addresses only as keyed hashes: give the key with --hash-key-file \
                 FILE or SENDLIFT_HASH_KEY",
            )
        })?;
        let id = hasher.recipient(kind, text).ok_or_else(|| {
            EngineError::usage(
                "not a valid phone number or address (one without a country code needs --default-country)",
            )
        })?;
        // Columns that hold addresses beside the recipient are hashed as they are written.
        let mut aliases = vec![hasher.hash(text), hasher.hash(text.trim_start_matches('+'))];
        aliases.retain(|alias| *alias != id);
        aliases.dedup();
        Ok(Self { id, aliases })
    }
}

/// How to forget.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Empty the quarantine altogether: its rows with hidden addresses cannot be searched.
    pub whole_quarantine: bool,
    /// Remove all data files that the newest versions do not need at once, whoever may be reading them.
    pub vacuum: bool,
    /// Only say what would be erased.
    pub dry_run: bool,
    /// The clock.
    pub now: Timestamp,
}

/// What was erased, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct Forgotten {
    /// The recipients, by id.
    pub recipients: Vec<String>,
    /// Whether it was only said.
    pub dry_run: bool,
    /// Messages to them.
    pub messages: u64,
    /// The tables that held anything about them.
    pub tables: Vec<ForgottenTable>,
    /// Rejected rows with hidden addresses, which may be about anybody.
    pub unsearched_rejected_rows: u64,
    /// The version of the facts without them.
    pub facts_version: Option<u64>,
    /// Whether earlier versions may still hold what was erased.
    pub earlier_versions_may_hold_rows: bool,
    /// The files that were removed at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vacuumed: Option<Vacuumed>,
}

/// What one table lost.
#[derive(Debug, Clone, Serialize)]
pub struct ForgottenTable {
    /// The table.
    pub table: String,
    /// Rows erased.
    pub rows: u64,
    /// Cells of other rows that were emptied, since they held the recipient's hashed address.
    pub cells: u64,
    /// Files that held them.
    pub files: u64,
    /// The version without them.
    pub version: Option<u64>,
}

/// What was found in one table, at the version in which it was.
struct FoundIn {
    table: DeltaTable,
    rule: Arc<Rule>,
    hits: Found,
}

/// Erases every row about some recipients. Does nothing where there is none.
///
/// # Errors
/// When nobody is named, the store fails, or other writers win every race.
pub async fn forget(
    store: &Store,
    settings: &Settings,
    people: &[Person],
    options: &ForgetOptions,
) -> Result<Forgotten> {
    if people.is_empty() {
        return Err(EngineError::usage("name the recipients to forget"));
    }
    if !options.dry_run {
        refresh(store, settings).await?;
    }
    let mut outcome = Forgotten {
        recipients: people.iter().map(|person| person.id.clone()).collect(),
        dry_run: options.dry_run,
        messages: 0,
        tables: Vec::new(),
        unsearched_rejected_rows: 0,
        facts_version: None,
        earlier_versions_may_hold_rows: false,
        vacuumed: None,
    };
    for round in 0.. {
        let session = open_session(store, settings, people).await?;
        let subjects = Arc::new(Subjects::find(&session, people, options.whole_quarantine).await?);
        let mut found: Vec<FoundIn> = Vec::new();
        for name in ORDER {
            let Some(table) = store.table(name).await? else { continue };
            let rule = Arc::new(Rule::new(name, Arc::clone(&subjects)));
            let hits = search::search(&table, &rule).await?;
            found.push(FoundIn { table, rule, hits });
        }
        if round == 0 {
            outcome.messages = subjects.messages.len() as u64;
            outcome.unsearched_rejected_rows = if options.whole_quarantine { 0 } else { subjects.hidden_rejected_rows };
            outcome.note(MESSAGE_FACTS, subjects.facts, 0, 0, None);
        }
        found.retain(|found| !found.hits.files.is_empty());
        if found.is_empty() {
            break;
        }
        if round == ROUNDS {
            return Err(EngineError::refused(
                "rows about these recipients keep coming in: run this again when the ingest that brings them has ended",
            ));
        }
        let days = touched_days(&session, &found).await?;
        for FoundIn { table, rule, hits } in found {
            let files = hits.files.len() as u64;
            let version = if options.dry_run { None } else { erase(table, &rule, &hits, &days).await? };
            outcome.note(rule.table(), hits.rows, hits.cells, files, version);
        }
        if options.dry_run {
            return Ok(outcome);
        }
    }
    if options.dry_run {
        return Ok(outcome);
    }
    outcome.facts_version = refresh(store, settings).await?.version;
    // A group may be as small as one recipient.
    drop_rollups(store).await?;
    // Lists of scores name recipients; one that is under way is removed by who runs this again after it.
    drop_finished_jobs(store).await?;
    let session = open_session(store, settings, people).await?;
    if subjects::facts_about(&session).await? > 0 {
        return Err(EngineError::refused("the facts still tell of these recipients: run this again"));
    }
    outcome.earlier_versions_may_hold_rows = !options.vacuum;
    if options.vacuum {
        outcome.vacuumed = Some(vacuum_all(store, options.now).await?);
    }
    Ok(outcome)
}

impl Forgotten {
    fn note(&mut self, table: &str, rows: u64, cells: u64, files: u64, version: Option<u64>) {
        if rows + cells == 0 {
            return;
        }
        if let Some(known) = self.tables.iter_mut().find(|known| known.table == table) {
            known.rows += rows;
            known.cells += cells;
            known.files += files;
            known.version = version.or(known.version);
        } else {
            self.tables.push(ForgottenTable { table: table.to_owned(), rows, cells, files, version });
        }
    }
}

/// The send days whose facts change: of the messages to the recipients, of those that the rows to be erased name, of
/// those clicked from the same address in the same hour (many of them together are a machine's), and of those that know
/// the recipients by an attribute.
async fn touched_days(session: &QuerySession, found: &[FoundIn]) -> Result<BTreeSet<i32>> {
    let named = found.iter().flat_map(|found| &found.hits.named);
    register_ids(session, NAMED, named)?;
    let mut queries = vec![
        format!("SELECT DISTINCT sent_date FROM {MESSAGE_FACTS} WHERE recipient_id IN (SELECT id FROM {FORGOTTEN})"),
        format!("SELECT DISTINCT sent_date FROM {MESSAGE_FACTS} WHERE message_id IN (SELECT id FROM {NAMED})"),
        format!(
            "SELECT DISTINCT sent_date FROM {MESSAGE_FACTS} WHERE message_id IN (SELECT c.message_id FROM clicks AS c \
             JOIN (SELECT DISTINCT ip_hash, date_trunc('hour', clicked_at) AS clicked_hour FROM clicks \
             WHERE ip_hash IS NOT NULL AND message_id IN (SELECT id FROM {NAMED})) AS n \
             ON n.ip_hash = c.ip_hash AND n.clicked_hour = date_trunc('hour', c.clicked_at) \
             WHERE c.message_id IS NOT NULL)"
        ),
    ];
    for field in session.schema(MESSAGE_FACTS).await?.fields() {
        if search::may_hold_an_address(field) {
            queries.push(format!(
                "SELECT DISTINCT sent_date FROM {MESSAGE_FACTS} WHERE {} IN (SELECT id FROM {})",
                quoted(field.name()),
                subjects::NAMES
            ));
        }
    }
    let mut days = BTreeSet::new();
    for query in queries {
        for batch in session.collect(&query).await? {
            let column = arrow::compute::cast(batch.column(0), &DataType::Date32)?;
            days.extend(column.as_primitive::<Date32Type>().iter().flatten());
        }
    }
    Ok(days)
}

/// Writes the files with hits anew, and commits them.
async fn erase(mut table: DeltaTable, rule: &Rule, hits: &Found, days: &BTreeSet<i32>) -> Result<Option<u64>> {
    let account = Account {
        // Without its condition, which names the recipients: the log is read by many and kept long.
        operation: DeltaOperation::Delete { predicate: None },
        is_data_changed: true,
        notes: vec![(ERASED_DAYS.to_owned(), serde_json::to_value(days)?)],
    };
    let planned = table.clone();
    let files: Vec<LiveFile> =
        live_files(&planned)?.into_iter().filter(|file| hits.files.contains_key(&file.path)).collect();
    let mut version = None;
    for some in files.chunks(FILES_A_COMMIT) {
        let mut rewrites = Vec::with_capacity(some.len());
        for file in some {
            match without_hits(&planned, file, rule, hits).await {
                Ok(rewrite) => rewrites.push(rewrite),
                Err(error) => {
                    remove_files(&planned, rewrites.into_iter().flat_map(|rewrite| rewrite.added)).await;
                    return Err(error);
                }
            }
        }
        // A file that somebody else has rearranged meanwhile is not there any more: the next round finds where its rows
        // are.
        version = commit(&mut table, rewrites, &account).await?.0.or(version);
    }
    Ok(version)
}

async fn without_hits(table: &DeltaTable, file: &LiveFile, rule: &Rule, hits: &Found) -> Result<Rewrite> {
    let rewritten =
        rewrite(table, std::slice::from_ref(file), time_column(rule.table()), &|batch| rule.applied(&batch), true)
            .await?;
    let erased = hits.files.get(&file.path).copied().unwrap_or_default();
    if file.rows.is_some_and(|rows| rows != rewritten.rows + erased) {
        remove_files(table, rewritten.added).await;
        return Err(EngineError::refused(format!(
            "{} of {} does not hold the rows that the log says and was left as it is; `sendlift doctor --deep` looks \
             closer",
            file.path,
            rule.table()
        )));
    }
    Ok(rewritten)
}
