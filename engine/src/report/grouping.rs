//! What a report can be grouped by, and where each column comes from.

use datafusion::arrow::datatypes::SchemaRef;

use crate::error::{EngineError, Result};
use crate::event::{INGESTED_AT, Log, SOURCE_FILE, SOURCE_ROW};
use crate::facts::contact_periods;
use crate::ingest::times::zone;
use crate::query::{QuerySession, has_column, quoted, text_literal};
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
}

/// The resolved columns of a grouping.
#[derive(Debug, Clone)]
pub(crate) struct Grouping {
    sources: Vec<KeySource>,
    /// Each column's SQL over `f` (the facts) and `a` (the contacts).
    expressions: Vec<String>,
    /// Columns that come from the contacts.
    contact_columns: Vec<String>,
    has_history: bool,
}

impl Grouping {
    /// Finds where each column comes from. Whether the contacts have a history is not looked at: see
    /// [`Grouping::with_history`].
    pub(crate) async fn resolve(session: &QuerySession, by: &[String], time_zone: &str) -> Result<Self> {
        zone(time_zone)?;
        let facts = session.schema(MESSAGE_FACTS).await?;
        let contacts = session.schema(Log::Recipients.name()).await?;
        let mut grouping =
            Self { sources: Vec::new(), expressions: Vec::new(), contact_columns: Vec::new(), has_history: false };
        for name in by {
            let (source, expression) = grouping.expression(name, time_zone, &facts, &contacts)?;
            grouping.sources.push(source);
            grouping.expressions.push(expression);
        }
        Ok(grouping)
    }

    /// Looks whether the contacts have a history, which the join that brings their columns must know.
    pub(crate) async fn with_history(mut self, session: &QuerySession) -> Result<Self> {
        if !self.contact_columns.is_empty() {
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
            if !self.contact_columns.iter().any(|known| known == column) {
                self.contact_columns.push(column.to_owned());
            }
            return Ok((KeySource::Contacts(column.to_owned()), format!("a.{}", quoted(column))));
        }
        Err(EngineError::usage(format!(
            "there is no column \"{name}\" to group by; there are {}",
            groupings_of(facts, contacts).join(", ")
        )))
    }

    /// The join that brings the contacts' columns, valid at the send; empty when none is used.
    pub(crate) fn join(&self) -> String {
        contacts_join(&self.contact_columns, self.has_history, "f.recipient_id", "f.sent_at")
    }

    /// Where each group column comes from, in order.
    pub(super) fn sources(&self) -> &[KeySource] {
        &self.sources
    }

    /// The columns of the facts or of the contacts that are grouped by, in order; what is made of the moment of the send
    /// is `sent_at`.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let columns = self.sources.iter().map(|source| match source {
            KeySource::Facts(column) | KeySource::Contacts(column) => column.as_str(),
            KeySource::SendTime => "sent_at",
        });
        columns.collect()
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
    let repeated = session
        .collect("SELECT recipient_id FROM recipients GROUP BY recipient_id HAVING count(*) > 1 LIMIT 1")
        .await?;
    Ok(repeated.iter().any(|batch| batch.num_rows() > 0))
}

/// The join that brings columns of the contacts as `a`, for a recipient and valid at a moment; empty without columns.
pub(super) fn contacts_join(columns: &[String], has_history: bool, recipient: &str, moment: &str) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    let columns = columns.join(", ");
    if has_history {
        format!(
            " LEFT JOIN ({}) AS a ON a.recipient_id = {recipient} \
             AND {moment} >= a.valid_from AND {moment} < a.valid_to",
            contact_periods(&columns)
        )
    } else {
        format!(" LEFT JOIN (SELECT recipient_id, {columns} FROM recipients) AS a ON a.recipient_id = {recipient}")
    }
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
