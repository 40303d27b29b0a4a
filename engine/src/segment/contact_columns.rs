//! Columns of the contacts and saved segments, asked for by name, as of a moment.

use itertools::Itertools as _;

use super::SegmentColumn;
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::query::{QuerySession, has_column, quoted};
use crate::report::contacts_at;

/// What is known of a contact before anything is sent to it.
pub(crate) struct ContactColumns {
    /// SQL of each value as a text, where [`Self::contacts`] are joined as `k`.
    pub(crate) values: Vec<String>,
    /// The contacts as of the moment, one row a recipient, with the columns of saved segments.
    pub(crate) contacts: String,
    saved: Vec<SegmentColumn>,
}

impl ContactColumns {
    /// Columns of the contacts, or `segment:NAME` of a saved one, as of a moment (microseconds since 1970).
    ///
    /// # Errors
    /// When there is no such column, one is named twice, or it is the recipient itself.
    pub(crate) async fn of(session: &QuerySession, by: &[String], at: i64) -> Result<Self> {
        let contacts = session.schema(Log::Recipients.name()).await?;
        let (mut values, mut columns, mut saved) = (Vec::new(), Vec::new(), Vec::new());
        for name in by {
            if let Some(segment) = SegmentColumn::named(session, name).await? {
                values.push(segment.value("k"));
                columns.extend(segment.made_of().iter().cloned());
                saved.push(segment);
                continue;
            }
            if name == "recipient_id" {
                return Err(EngineError::usage(
                    "recipient_id is another for each recipient: the file has every one; sum up by a column that several share",
                ));
            }
            if !has_column(&contacts, name) {
                let names: Vec<&str> = contacts.fields().iter().map(|field| field.name().as_str()).collect();
                return Err(EngineError::usage(format!(
                    "the contacts have no column \"{name}\" to sum up by; they have {}, and saved segments are asked for as \
                     segment:NAME",
                    names.join(", ")
                )));
            }
            values.push(format!("arrow_cast(k.{}, 'Utf8')", quoted(name)));
            columns.push(name.clone());
        }
        if !by.iter().all_unique() {
            return Err(EngineError::usage("a column to sum up by is named twice"));
        }
        columns.retain(|column| column != "recipient_id");
        columns.sort();
        columns.dedup();
        let mut contacts = contacts_at(session, &columns, at).await?;
        for segment in &saved {
            contacts = format!("(SELECT *, {} FROM {contacts} AS contacts)", segment.computed());
        }
        Ok(Self { values, contacts, saved })
    }

    /// What a reader must know of saved segments.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> + '_ {
        self.saved.iter().map(SegmentColumn::note)
    }
}
