//! The list as it is read: each recipient with its place, its clock, its segment, and why it may not be sent to.

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;

use super::ScheduleRequest;
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::facts::latest_contacts;
use crate::permission::{FREQUENCY_CAP, NO_CONSENT, OPTED_OUT};
use crate::query::{QuerySession, has_column, quoted, unit_table};
use crate::report::cell_text;
use crate::segment::SegmentColumn;
use crate::windows::cells::Place;

const REFUSALS: [&str; 3] = [OPTED_OUT, NO_CONSENT, FREQUENCY_CAP];

/// The list with what is known of its recipients.
pub(super) struct List<'a> {
    pub(super) session: &'a QuerySession,
    table: String,
    /// `unit`, `country`, `region`, `time_zone`, `refusal`, and `k0`… for the segments.
    pub(super) query: String,
    /// How many columns the segments have.
    pub(super) by: usize,
    /// Rows that name a recipient again.
    pub(super) repeated: u64,
    /// Rows without a recipient.
    pub(super) unnamed: u64,
}

impl<'a> List<'a> {
    pub(super) async fn open(session: &'a QuerySession, request: &ScheduleRequest) -> Result<Self> {
        let (input, mut names) = (request.list.clone(), request.windows.by.clone());
        names.extend([request.unit.clone(), "region".to_owned()]);
        let table = tokio::task::spawn_blocking(move || unit_table(&input, &names)).await??;
        let schema = table.schema();
        if !has_column(&schema, &request.unit) {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(EngineError::usage(format!(
                "{} has no column \"{}\"; it has {}",
                request.list.name,
                request.unit,
                names.join(", ")
            )));
        }
        let contacts = session.schema(Log::Recipients.name()).await?;
        // A column of the list goes before that of the contacts.
        let value = |name: &str| {
            if has_column(&schema, name) {
                Ok(format!("arrow_cast(l.{}, 'Utf8')", quoted(name)))
            } else if has_column(&contacts, name) {
                Ok(format!("arrow_cast(c.{}, 'Utf8')", quoted(name)))
            } else {
                Err(EngineError::usage(format!("neither the list nor the contacts have a column \"{name}\"")))
            }
        };
        let known = |name: &str| value(name).unwrap_or_else(|_| "arrow_cast(NULL, 'Utf8')".to_owned());
        let mut keys = Vec::new();
        let mut saved = Vec::new();
        for name in &request.windows.by {
            match SegmentColumn::named(session, name).await? {
                Some(segment) => {
                    keys.push(segment.value("c"));
                    saved.push(segment);
                }
                None => keys.push(value(name)?),
            }
        }
        let keys: String = keys.iter().enumerate().map(|(place, key)| format!(", {key} AS k{place}")).collect();
        let mut columns: Vec<String> = ["country", "region", "time_zone"]
            .iter()
            .copied()
            .chain(request.windows.by.iter().map(String::as_str))
            .chain(saved.iter().flat_map(SegmentColumn::made_of).map(String::as_str))
            .filter(|name| has_column(&contacts, name))
            .map(quoted)
            .collect();
        columns.sort();
        columns.dedup();
        columns.insert(0, "recipient_id".to_owned());
        let mut latest = latest_contacts(&columns.join(", "));
        for segment in &saved {
            latest = format!("(SELECT *, {} FROM {latest} AS contacts)", segment.computed());
        }
        let name = format!("list_{}", uuid::Uuid::new_v4().simple());
        session.context().register_table(name.as_str(), table)?;
        let unit = format!("arrow_cast(l.{}, 'Utf8')", quoted(&request.unit));
        let permission =
            request.permission.clone().checked()?.joins(session, &unit, session.as_of.as_microsecond()).await?;
        let named = format!("WHERE {unit} IS NOT NULL AND {unit} <> ''");
        let mut query = format!(
            "SELECT {unit} AS unit, {} AS country, {} AS region, {} AS time_zone, \
             CASE {} END AS refusal{keys} FROM {name} AS l \
             LEFT JOIN {latest} AS c ON c.recipient_id = {unit}{} \
             {named}",
            known("country"),
            known("region"),
            known("time_zone"),
            permission.branches,
            permission.joins,
        );
        let counted = async |query: String| -> Result<u64> {
            let counted = session.collect(&query).await?;
            let found = counted.iter().find(|batch| batch.num_rows() > 0);
            Ok(found.map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0).unsigned_abs()))
        };
        let repeated = counted(format!("SELECT count(*) - count(DISTINCT {unit}) FROM {name} AS l {named}")).await?;
        let unnamed = counted(format!("SELECT count(*) FROM {name} AS l WHERE {unit} IS NULL OR {unit} = ''")).await?;
        if repeated > 0 {
            // Nobody gets two messages of one schedule.
            query = format!(
                "SELECT unit, country, region, time_zone, refusal{keys} FROM (SELECT *, row_number() OVER (PARTITION BY unit \
                 ORDER BY country, region, time_zone) AS place FROM ({query})) WHERE place = 1",
                keys = (0..request.windows.by.len()).map(|key| format!(", k{key}")).collect::<String>()
            );
        }
        Ok(Self { session, table: name, query, by: request.windows.by.len(), repeated, unnamed })
    }

    pub(super) fn close(self) -> Result<()> {
        self.session.context().deregister_table(self.table.as_str())?;
        Ok(())
    }

    /// What each row of a batch is, and whose.
    pub(super) fn kinds(&self, batch: &RecordBatch) -> Result<Vec<(Kind, String)>> {
        let text = |column: usize, row: usize| cell_text(batch, column, row);
        (0..batch.num_rows())
            .map(|row| {
                let segment = (0..self.by).map(|key| text(5 + key, row)).collect::<Result<Vec<_>>>()?;
                let kind = Kind {
                    place: (text(1, row)?, text(2, row)?),
                    zone: text(3, row)?,
                    refusal: text(4, row)?.and_then(|reason| REFUSALS.into_iter().find(|known| *known == reason)),
                    segment,
                };
                Ok((kind, text(0, row)?.unwrap_or_default()))
            })
            .collect()
    }
}

/// What the schedule has to know of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) place: Place,
    /// The time zone as it was given.
    pub(super) zone: Option<String>,
    /// Why there is no window for the recipient.
    pub(super) refusal: Option<&'static str>,
    pub(super) segment: Vec<Option<String>>,
}
