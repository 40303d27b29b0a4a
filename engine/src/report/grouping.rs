//! What a report can be grouped by, and where each column comes from.

use datafusion::arrow::datatypes::SchemaRef;

use super::contact_columns::ContactColumns;
use crate::error::{EngineError, Result};
use crate::event::{INGESTED_AT, Log, SOURCE_FILE, SOURCE_ROW};
use crate::facts::{contact_periods, latest_contacts, moment};
use crate::ingest::times::zone;
use crate::query::{QuerySession, has_column, quoted, text_literal};
use crate::segment::SegmentColumn;
use crate::store::MESSAGE_FACTS;

/// Groupings made from a moment, with the SQL of each (`{moment}` is the moment in the report's zone).
const MADE_OF_TIME: [(&str, &str); 3] = [
    ("day", "arrow_cast(arrow_cast({moment}, 'Date32'), 'Utf8')"),
    ("week", "arrow_cast(arrow_cast(date_trunc('week', {moment}), 'Date32'), 'Utf8')"),
    ("month", "substr(arrow_cast(arrow_cast({moment}, 'Date32'), 'Utf8'), 1, 7)"),
];

/// Other names of the facts' columns.
const SYNONYMS: [(&str, &str); 4] =
    [("hour", "local_hour"), ("weekday", "local_weekday"), ("campaign", "campaign_id"), ("arm", "variant")];

/// Where a column of a grouping comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySource {
    /// The facts have a column of this name.
    Facts(String),
    /// It is made of the moment of the send.
    SendTime,
    /// The contacts have a column of this name, and the facts have none.
    Contacts(String),
    /// It is a saved segment, made of columns of the contacts.
    Segment(SegmentColumn),
}

/// The resolved columns of a grouping.
#[derive(Debug, Clone)]
pub(crate) struct Grouping {
    sources: Vec<KeySource>,
    /// Each column's SQL over `f` (the facts) and `a` (the contacts).
    expressions: Vec<String>,
    /// What comes from the contacts.
    contacts: ContactColumns,
    has_history: bool,
}

impl Grouping {
    /// Finds where each column comes from. Whether the contacts have a history is not looked at: see
    /// [`Grouping::with_history`].
    pub(crate) async fn resolve(session: &QuerySession, by: &[String], time_zone: &str) -> Result<Self> {
        zone(time_zone)?;
        let facts = session.schema(MESSAGE_FACTS).await?;
        let contacts = session.schema(Log::Recipients.name()).await?;
        let mut grouping = Self {
            sources: Vec::new(),
            expressions: Vec::new(),
            contacts: ContactColumns::default(),
            has_history: false,
        };
        for name in by {
            let (source, expression) = match SegmentColumn::named(session, name).await? {
                Some(segment) => {
                    grouping.contacts.add_segment(&segment);
                    let value = segment.value("a");
                    (KeySource::Segment(segment), value)
                }
                None => grouping.expression(name, time_zone, &facts, &contacts)?,
            };
            grouping.sources.push(source);
            grouping.expressions.push(expression);
        }
        Ok(grouping)
    }

    /// Looks whether the contacts have a history, which the join that brings their columns must know.
    pub(crate) async fn with_history(mut self, session: &QuerySession) -> Result<Self> {
        if !self.contacts.is_empty() {
            self.has_history = contacts_have_history(session).await?;
        }
        Ok(self)
    }

    fn expression(
        &mut self,
        name: &str,
        time_zone: &str,
        facts: &SchemaRef,
        contacts: &SchemaRef,
    ) -> Result<(KeySource, String)> {
        let lower = name.trim().to_lowercase();
        let column =
            SYNONYMS.iter().find(|(synonym, _)| *synonym == lower).map_or(lower.as_str(), |(_, column)| *column);
        // A file may have a column of the synonym's own name; then that is what is meant.
        let column = if has_column(facts, &lower) { lower.as_str() } else { column };
        if has_column(facts, column) {
            return Ok((KeySource::Facts(column.to_owned()), format!("f.{}", quoted(column))));
        }
        if let Some((_, sql)) = MADE_OF_TIME.iter().find(|(made, _)| *made == column) {
            let moment = format!("local_time(f.sent_at, {})", text_literal(time_zone));
            return Ok((KeySource::SendTime, sql.replace("{moment}", &moment)));
        }
        if has_column(contacts, column) {
            self.contacts.add(column);
            return Ok((KeySource::Contacts(column.to_owned()), format!("a.{}", quoted(column))));
        }
        Err(EngineError::usage(format!(
            "there is no column \"{name}\" to group by; there are {}",
            groupings_of(facts, contacts).join(", ")
        )))
    }

    /// The join that brings the contacts' columns, valid at the send; empty when none is used.
    pub(crate) fn join(&self) -> String {
        self.contacts.join(self.has_history, "f.recipient_id", "f.sent_at")
    }

    /// The values of the group columns for people of whom no message is known: `SELECT recipient_id, k0, k1 …` of a table of
    /// recipients, by their contacts at a moment (SQL). A column that only messages have is missing. None where contacts tell of
    /// no column.
    pub(crate) async fn of_contacts(
        &self,
        session: &QuerySession,
        recipients: &str,
        moment: &str,
    ) -> Result<Option<String>> {
        let known = session.schema(Log::Recipients.name()).await?;
        let mut contacts = ContactColumns::default();
        let mut expressions = Vec::new();
        for source in &self.sources {
            expressions.push(match source {
                KeySource::Segment(segment) => {
                    contacts.add_segment(segment);
                    segment.value("a")
                }
                KeySource::Contacts(name) | KeySource::Facts(name) if has_column(&known, name) => {
                    contacts.add(name);
                    format!("a.{}", quoted(name))
                }
                _ => "NULL".to_owned(),
            });
        }
        if contacts.is_empty() {
            return Ok(None);
        }
        let join = contacts.join(contacts_have_history(session).await?, "u.recipient_id", moment);
        let keys: String =
            expressions.iter().zip(self.keys()).map(|(expression, key)| format!(", {expression} AS {key}")).collect();
        Ok(Some(format!("SELECT u.recipient_id{keys} FROM {recipients} AS u{join}")))
    }

    /// Where each group column comes from, in order.
    pub(super) fn sources(&self) -> &[KeySource] {
        &self.sources
    }

    /// The columns of the facts or of the contacts that are grouped by, in order; what is made of the moment of the send
    /// is `sent_at`, and a segment has the name of its version.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let columns = self.sources.iter().map(|source| match source {
            KeySource::Facts(column) | KeySource::Contacts(column) => column.as_str(),
            KeySource::SendTime => "sent_at",
            KeySource::Segment(segment) => segment.column(),
        });
        columns.collect()
    }

    /// The segments that are grouped by, each version once.
    pub(crate) fn segments(&self) -> &[SegmentColumn] {
        self.contacts.segments()
    }

    /// The names that are grouped by, with the version of each segment.
    pub(super) fn pinned(&self, by: &[String]) -> Vec<String> {
        let pinned = by.iter().zip(&self.sources).map(|(name, source)| match source {
            KeySource::Segment(segment) => segment.column().to_owned(),
            _ => name.clone(),
        });
        pinned.collect()
    }

    /// What a reader must know of the groups: which version of a segment they are of.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        self.segments().iter().map(SegmentColumn::note)
    }

    /// Each group column's SQL over `f` and `a`, in order.
    pub(crate) fn expressions(&self) -> &[String] {
        &self.expressions
    }

    /// The names `k0`, `k1` … under which the group columns go through a query.
    pub(crate) fn keys(&self) -> Vec<String> {
        (0..self.expressions.len()).map(|position| format!("k{position}")).collect()
    }

    /// Whether a column is the recipient's own clock.
    pub(crate) fn uses_local_time(&self) -> bool {
        self.expressions.iter().any(|expression| expression.contains("\"local_"))
    }
}

/// Whether any contact has several rows.
pub(crate) async fn contacts_have_history(session: &QuerySession) -> Result<bool> {
    session.has_rows("SELECT recipient_id FROM recipients GROUP BY recipient_id HAVING count(*) > 1 LIMIT 1").await
}

/// A query of some columns of the contacts, `recipient_id` before them, one row a contact: as they were at a moment
/// (microseconds since 1970) where contacts have a history, else as they were last heard of.
pub(crate) async fn contacts_at(session: &QuerySession, columns: &[String], at: i64) -> Result<String> {
    let columns = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    if columns.is_empty() {
        return Ok(latest_contacts("recipient_id"));
    }
    if contacts_have_history(session).await? {
        let at = moment(at);
        return Ok(format!(
            "(SELECT recipient_id, {columns} FROM ({}) WHERE valid_from <= {at} AND {at} < valid_to)",
            contact_periods(&columns)
        ));
    }
    Ok(latest_contacts(&format!("recipient_id, {columns}")))
}

/// The columns that a report of this session can be grouped by.
///
/// # Errors
/// When the tables cannot be read.
pub async fn known_groupings(session: &QuerySession) -> Result<Vec<String>> {
    Ok(groupings_of(&session.schema(MESSAGE_FACTS).await?, &session.schema(Log::Recipients.name()).await?))
}

fn groupings_of(facts: &SchemaRef, contacts: &SchemaRef) -> Vec<String> {
    let provenance = [INGESTED_AT, SOURCE_FILE, SOURCE_ROW, "updated_at"];
    let mut names: Vec<String> = MADE_OF_TIME.iter().map(|(name, _)| (*name).to_owned()).collect();
    for field in facts.fields().iter().chain(contacts.fields()) {
        if !provenance.contains(&field.name().as_str()) && !names.contains(field.name()) {
            names.push(field.name().clone());
        }
    }
    names.sort();
    names
}
