//! Which rows of a table go, which cells are emptied, and which files hold them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch, not, nullif};
use arrow::datatypes::{DataType, Field, Schema};
use deltalake::DeltaTable;
use futures::StreamExt as _;
use tokio::task::JoinSet;

use super::super::log_of;
use super::super::rewrite::live_files;
use super::subjects::Subjects;
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::query::{new_context, quoted};
use crate::store::{CORRECTIONS, QUARANTINE};

/// The column that says which file a row is in.
const FILE: &str = "__sendlift_file__";
const RECIPIENT: &str = "recipient_id";
const MESSAGE: &str = "message_id";
/// The columns of the quarantine that hold a rejected row's text.
const REJECTED: [&str; 2] = ["raw", "reason"];

/// What goes of a table.
#[derive(Debug)]
pub(super) struct Rule {
    table: &'static str,
    log: Option<Log>,
    subjects: Arc<Subjects>,
    /// The column of ids whose earlier rows go with the latest.
    event_id: Option<&'static str>,
    words: Words,
}

/// What was found in a table.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Rows to erase, by the path of their file; of files with cells to empty, perhaps none.
    pub(super) files: HashMap<String, u64>,
    pub(super) rows: u64,
    pub(super) cells: u64,
    /// The messages that rows to erase name.
    pub(super) named: HashSet<String>,
}

/// Whether a column holds hashed addresses, or other recipients' ids, beside the recipient that the row is about.
pub(super) fn may_hold_an_address(field: &Field) -> bool {
    let name = field.name();
    let is_text = matches!(
        field.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _)
    );
    is_text && name != RECIPIENT && (name.ends_with("_hash") || name.ends_with(RECIPIENT))
}

impl Rule {
    pub(super) fn new(table: &'static str, subjects: Arc<Subjects>) -> Self {
        let log = log_of(table);
        let event_id = match log {
            Some(Log::Clicks) => Some("click_id"),
            Some(Log::Conversions) => Some("conversion_id"),
            Some(Log::Replies) => Some("reply_id"),
            Some(Log::OptOuts) => Some("id"),
            _ => None,
        };
        let words = if table == QUARANTINE { Words::of(&subjects) } else { Words::default() };
        Self { table, log, subjects, event_id, words }
    }

    pub(super) fn table(&self) -> &'static str {
        self.table
    }

    /// The columns that decide.
    fn columns(&self, schema: &Schema) -> Vec<String> {
        let decides = |field: &Field| {
            let name = field.name().as_str();
            if self.table == QUARANTINE {
                return REJECTED.contains(&name);
            }
            name == RECIPIENT || name == MESSAGE || self.event_id == Some(name) || may_hold_an_address(field)
        };
        schema.fields().iter().filter(|field| decides(field)).map(|field| field.name().clone()).collect()
    }

    /// Which rows of a batch go.
    fn erased(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let subjects = &self.subjects;
        if self.table == QUARANTINE {
            let cells =
                REJECTED.iter().filter_map(|name| texts(batch, name).transpose()).collect::<Result<Vec<_>>>()?;
            let is_erased =
                |row| subjects.whole_quarantine || cells.iter().any(|cells| self.words.are_in(cell(cells, row)));
            return Ok(BooleanArray::from((0..batch.num_rows()).map(is_erased).collect::<Vec<bool>>()));
        }
        let (recipients, messages) = (texts(batch, RECIPIENT)?, texts(batch, MESSAGE)?);
        let events = self.log.and_then(|log| subjects.events.get(&log));
        let event_ids = self.event_id.map(|id| texts(batch, id)).transpose()?.flatten();
        // An event that says whom it is about is theirs alone, whatever message it names.
        let says_whom = self.log.is_some_and(|log| log.has_recipient() && log != Log::Sends);
        let is_erased = |row| {
            let recipient = recipients.as_ref().and_then(|texts| cell(texts, row));
            let message = messages.as_ref().and_then(|texts| cell(texts, row));
            let event = event_ids.as_ref().and_then(|texts| cell(texts, row));
            recipient.is_some_and(|id| subjects.recipients.contains(id))
                || event.is_some_and(|id| events.is_some_and(|events| events.contains(id)))
                || (!(says_whom && recipient.is_some()) && message.is_some_and(|id| self.is_their_message(id)))
        };
        Ok(BooleanArray::from((0..batch.num_rows()).map(is_erased).collect::<Vec<bool>>()))
    }

    fn is_their_message(&self, id: &str) -> bool {
        let is_stale = self.table == CORRECTIONS && self.subjects.stale_corrections.contains(id);
        is_stale || self.subjects.messages.contains(id)
    }

    /// The cells of other rows that name the recipients, by column.
    fn emptied(&self, batch: &RecordBatch) -> Result<Vec<(usize, BooleanArray)>> {
        let mut emptied = Vec::new();
        for (index, field) in batch.schema().fields().iter().enumerate() {
            if self.table == QUARANTINE || !may_hold_an_address(field) {
                continue;
            }
            let Some(cells) = texts(batch, field.name())? else { continue };
            let is_name = |row| cell(&cells, row).is_some_and(|text| self.subjects.names.contains(text));
            let mask = BooleanArray::from((0..batch.num_rows()).map(is_name).collect::<Vec<bool>>());
            if mask.true_count() > 0 {
                emptied.push((index, mask));
            }
        }
        Ok(emptied)
    }

    /// A batch without the rows that go, and with the cells emptied.
    pub(super) fn applied(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let kept = filter_record_batch(batch, &not(&self.erased(batch)?)?)?;
        let emptied = self.emptied(&kept)?;
        if emptied.is_empty() {
            return Ok(kept);
        }
        let mut columns: Vec<ArrayRef> = kept.columns().to_vec();
        for (index, mask) in emptied {
            columns[index] = nullif(&columns[index], &mask)?;
        }
        Ok(RecordBatch::try_new(kept.schema(), columns)?)
    }
}

/// A column of texts, if the batch has it.
fn texts(batch: &RecordBatch, name: &str) -> Result<Option<StringArray>> {
    let Some(column) = batch.column_by_name(name) else { return Ok(None) };
    Ok(Some(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()))
}

fn cell(texts: &StringArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

/// The ids as words of a rejected row's text.
#[derive(Debug, Default)]
struct Words {
    /// Ids that are one word each.
    plain: HashSet<String>,
    /// Ids with marks that also stand between cells: looked for anywhere.
    odd: Vec<String>,
}

impl Words {
    fn of(subjects: &Subjects) -> Self {
        let all = subjects.names.iter().chain(&subjects.messages).filter(|id| !id.is_empty()).cloned();
        let (plain, odd) = all.partition::<Vec<String>, _>(|id| id.chars().all(is_of_a_word));
        Self { plain: plain.into_iter().collect(), odd }
    }

    fn are_in(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return false };
        text.split(|character| !is_of_a_word(character)).any(|word| self.plain.contains(word))
            || self.odd.iter().any(|id| text.contains(id.as_str()))
    }
}

/// Whether ids are made of a character, and not cells told apart by it.
fn is_of_a_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '@' | '+' | '/')
}

impl Found {
    /// Adds what is found in a batch, by the address of its file.
    fn add(&mut self, rule: &Rule, batch: &RecordBatch) -> Result<()> {
        let erased = rule.erased(batch)?;
        let emptied = rule.emptied(batch)?;
        if erased.true_count() == 0 && emptied.is_empty() {
            return Ok(());
        }
        let (files, messages) = (texts(batch, FILE)?, texts(batch, MESSAGE)?);
        for row in 0..batch.num_rows() {
            let file = files.as_ref().and_then(|files| cell(files, row)).unwrap_or_default();
            if erased.value(row) {
                *self.files.entry(file.to_owned()).or_default() += 1;
                self.rows += 1;
                self.named.extend(messages.as_ref().and_then(|texts| cell(texts, row)).map(str::to_owned));
                continue;
            }
            let cells = emptied.iter().filter(|(_, mask)| mask.value(row)).count() as u64;
            if cells > 0 {
                self.files.entry(file.to_owned()).or_default();
                self.cells += cells;
            }
        }
        Ok(())
    }
}

/// Looks through a table.
pub(super) async fn search(table: &DeltaTable, rule: &Arc<Rule>) -> Result<Found> {
    let context = new_context()?;
    table.update_datafusion_session(&context.state())?;
    let provider = table.table_provider().with_file_column(FILE).await?;
    let columns = rule.columns(&provider.schema());
    if columns.is_empty() {
        return Ok(Found::default());
    }
    context.register_table("searched", provider)?;
    let columns: Vec<String> = columns.iter().map(String::as_str).chain([FILE]).map(quoted).collect();
    let frame = context.sql(&format!("SELECT {} FROM searched", columns.join(", "))).await?;
    let mut tasks: JoinSet<Result<Found>> = JoinSet::new();
    for mut batches in frame.execute_stream_partitioned().await? {
        let rule = Arc::clone(rule);
        tasks.spawn(async move {
            let mut share = Found::default();
            while let Some(batch) = batches.next().await {
                share.add(&rule, &batch?)?;
            }
            Ok(share)
        });
    }
    let paths = Paths::of(table)?;
    let mut found = Found::default();
    while let Some(share) = tasks.join_next().await {
        let share = share??;
        found.rows += share.rows;
        found.cells += share.cells;
        found.named.extend(share.named);
        for (address, rows) in share.files {
            *found.files.entry(paths.of_address(&address)?).or_default() += rows;
        }
    }
    Ok(found)
}

/// The paths of a table's files, by their last parts.
struct Paths(HashMap<String, Vec<String>>);

impl Paths {
    fn of(table: &DeltaTable) -> Result<Self> {
        let mut paths: HashMap<String, Vec<String>> = HashMap::new();
        for file in live_files(table)? {
            paths.entry(file_name(&file.path).to_owned()).or_default().push(file.path);
        }
        Ok(Self(paths))
    }

    /// The path of the file at a URL.
    fn of_address(&self, address: &str) -> Result<String> {
        let same_name = self.0.get(file_name(address)).into_iter().flatten();
        let mut found = same_name.filter(|path| address.ends_with(path.as_str()));
        match (found.next(), found.next()) {
            (Some(path), None) => Ok(path.clone()),
            _ => Err(EngineError::refused(format!("the table does not know which of its files {address} is"))),
        }
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(ids: &[&str]) -> Words {
        let (plain, odd): (Vec<&str>, Vec<&str>) = ids.iter().copied().partition(|id| id.chars().all(is_of_a_word));
        Words {
            plain: plain.into_iter().map(str::to_owned).collect(),
            odd: odd.into_iter().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn ids_are_found_as_words() {
        let words = words(&["r1", "ana li", "m-7"]);
        for text in ["m1,r1,yesterday", r#"{"recipient_id":"r1"}"#, "to=r1&at=2", "x;m-7;y", "m1,ana li,2"] {
            assert!(words.are_in(Some(text)), "{text}");
        }
        for text in ["m1,r10,yesterday", "m1,xr1,2", "m-70,", "ana,li", ""] {
            assert!(!words.are_in(Some(text)), "{text}");
        }
        assert!(!words.are_in(None));
    }
}
