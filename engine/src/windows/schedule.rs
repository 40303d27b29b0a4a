//! From a list to a send schedule that learns: each recipient's window, drawn, with the probability it was drawn with.
//!
//! In: a list of recipients, what the facts say of windows, and how much to explore. Out: a file with each recipient's
//! window, propensity and reason. The propensities come back in the sends log as `send_propensity` and make the next fit
//! causal. Where hours cannot be compared yet, windows are drawn evenly.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Float64Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures::StreamExt as _;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::analyze::Known;
use super::answer::{WindowName, WindowsIdentification};
use super::cells::Clicks;
use super::request::WindowsRequest;
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::facts::latest_contacts;
use crate::ingest::input::Input;
use crate::permission::{FREQUENCY_CAP, NO_CONSENT, OPTED_OUT, PermissionRules};
use crate::query::{QuerySession, has_column, quoted, unit_table};
use crate::segment::SegmentColumn;
use crate::stats::schedule::{PosteriorDraws, Reason, RecipientClass, Schedule, ScheduleOptions, plan_schedule};
use crate::stats::send_windows::{Identification, WindowOutlook};
use crate::table_file::{TableFile, check_name};

/// Draws from each posterior.
const DRAWS: u32 = 4_000;
/// Standard normal quantile of the 90 % intervals that the fit gives.
const HALF_WIDTH: f64 = 1.644_853_626_951_472_2;

/// A list and how it is to be scheduled.
#[derive(Debug, Clone)]
pub struct ScheduleRequest {
    /// The list, in any format that an ingest reads.
    pub list: Input,
    /// Its column of recipients.
    pub unit: String,
    /// What the windows are compared by.
    pub windows: WindowsRequest,
    /// Least probability of a legal window.
    pub propensity_floor: f64,
    /// Share of the recipients whose window is drawn evenly, for good.
    pub uniform_share: f64,
    /// Messages that each window of the week can carry; none for as many as there are.
    pub capacity: Option<u64>,
    /// Who may be sent to.
    pub permission: PermissionRules,
    /// The same seed gives the same schedule; take another for every campaign.
    pub seed: u64,
}

/// What was scheduled.
#[derive(Debug, Clone, Serialize)]
pub struct ScheduleSummary {
    /// Whether the windows could be compared; where not, they were drawn evenly.
    pub identification: WindowsIdentification,
    /// Recipients of the list.
    pub recipients: u64,
    /// Those with a window.
    pub scheduled: u64,
    /// Those without one, by reason.
    pub left_out: Vec<ReasonCount>,
    /// Recipients in each window.
    pub windows: Vec<WindowLoad>,
    /// The least propensity of all.
    pub least_propensity: Option<f64>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

/// Recipients by reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub n: u64,
}

/// Recipients in a window.
#[derive(Debug, Clone, Serialize)]
pub struct WindowLoad {
    /// The window.
    #[serde(flatten)]
    pub window: WindowName,
    /// Its recipients.
    pub n: u64,
}

const REFUSALS: [&str; 3] = [OPTED_OUT, NO_CONSENT, FREQUENCY_CAP];
const UNKNOWN_TIME_ZONE: &str = "unknown_time_zone";
const NO_LEGAL_WINDOW: &str = "no_legal_window";
const NO_CAPACITY: &str = "no_capacity";

/// Schedules a list into a file (`.csv`, `.ndjson` or `.parquet`).
///
/// # Errors
/// When the list cannot be read or has no such column, a share is none, or the file cannot be written.
pub async fn schedule_list(session: &QuerySession, request: &ScheduleRequest, out: &Path) -> Result<ScheduleSummary> {
    check_name(out)?;
    let known = Known::of(session, &request.windows).await?;
    let all = vec![true; known.slots.len()];
    let identification = known.identification(request.windows.objective, &all)?;
    let (kind, posteriors, segments) = posteriors(&known, request, &identification, &all)?;
    let list = List::open(session, request, &segments).await?;
    let result = list.schedule(&known, request, posteriors, out, kind).await;
    list.close()?;
    result
}

/// The segments that have a posterior of their own, by the values of the columns; all others have the first.
type Segments = Vec<Vec<Option<String>>>;

fn posteriors(
    known: &Known,
    request: &ScheduleRequest,
    identification: &Identification,
    all: &[bool],
) -> Result<(WindowsIdentification, Vec<PosteriorDraws>, Segments)> {
    let kind = match identification {
        Identification::Causal(_) => WindowsIdentification::Causal,
        Identification::QuasiExperimental { .. } => WindowsIdentification::QuasiExperimental,
        Identification::NotIdentifiable { .. } => WindowsIdentification::NotIdentifiable,
    };
    let Some(timing) = identification.timing() else {
        // Nothing is known of any window: each is as likely the best as any other.
        let slots = known.slots.len();
        let even = PosteriorDraws::of_normal(&vec![0.0; slots], &diagonal(&vec![1.0; slots]), DRAWS, request.seed)?;
        return Ok((kind, vec![even], Vec::new()));
    };
    let objective = request.windows.objective;
    let fit = known.fit(timing, objective, Clicks::Human, all, request.windows.seed)?;
    let mut found = vec![draws_of(&fit.overall, request.seed)?];
    let mut segments = Vec::new();
    for segment in &fit.segments {
        found.push(draws_of(&segment.outlook, request.seed)?);
        segments.push(known.table.segments.get(segment.segment).cloned().unwrap_or_default());
    }
    Ok((kind, found, segments))
}

/// Draws of the windows' differences from current practice. A window of which nothing is known is as good as practice,
/// and as uncertain as the least certain of the others.
fn draws_of(outlook: &WindowOutlook, seed: u64) -> Result<PosteriorDraws> {
    let spread = |slot: &crate::stats::send_windows::SlotOutlook| {
        let ends = slot.difference.low.zip(slot.difference.high)?;
        Some((slot.difference.estimate?, (ends.1 - ends.0) / (2.0 * HALF_WIDTH)))
    };
    let known: Vec<Option<(f64, f64)>> = outlook.slots.iter().map(spread).collect();
    let widest = known.iter().flatten().map(|(_, spread)| *spread).fold(0.0, f64::max);
    let (means, spreads): (Vec<f64>, Vec<f64>) = known.iter().map(|slot| slot.unwrap_or((0.0, widest))).unzip();
    let squares: Vec<f64> = spreads.iter().map(|spread| spread * spread).collect();
    Ok(PosteriorDraws::of_normal(&means, &diagonal(&squares), DRAWS, seed)?)
}

fn diagonal(values: &[f64]) -> Vec<f64> {
    let width = values.len();
    let mut matrix = vec![0.0; width * width];
    for (place, value) in values.iter().enumerate() {
        matrix[place * width + place] = *value;
    }
    matrix
}

/// The list with what is known of its recipients.
struct List<'a> {
    session: &'a QuerySession,
    table: String,
    /// `unit`, `country`, `region`, `time_zone`, `refusal`, and `k0`… for the segments.
    query: String,
    /// How many columns the segments have.
    by: usize,
    segments: &'a Segments,
    /// Rows that name a recipient again.
    repeated: u64,
}

impl<'a> List<'a> {
    async fn open(session: &'a QuerySession, request: &ScheduleRequest, segments: &'a Segments) -> Result<Self> {
        let input = request.list.clone();
        let table = tokio::task::spawn_blocking(move || unit_table(&input)).await??;
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
        let mut query = format!(
            "SELECT {unit} AS unit, {} AS country, {} AS region, {} AS time_zone, \
             CASE {} END AS refusal{keys} FROM {name} AS l \
             LEFT JOIN {latest} AS c ON c.recipient_id = {unit}{} \
             WHERE {unit} IS NOT NULL AND {unit} <> ''",
            known("country"),
            known("region"),
            known("time_zone"),
            permission.branches,
            permission.joins,
        );
        let named = format!("WHERE {unit} IS NOT NULL AND {unit} <> ''");
        let repeated = format!("SELECT count(*) - count(DISTINCT {unit}) FROM {name} AS l {named}");
        let repeated = session.collect(&repeated).await?;
        let repeated = match repeated.iter().find(|batch| batch.num_rows() > 0) {
            Some(batch) => batch.column(0).as_primitive::<Int64Type>().value(0).unsigned_abs(),
            None => 0,
        };
        if repeated > 0 {
            // Nobody gets two messages of one schedule.
            query = format!(
                "SELECT unit, country, region, time_zone, refusal{keys} FROM (SELECT *, row_number() OVER (PARTITION BY unit \
                 ORDER BY country, region, time_zone) AS place FROM ({query})) WHERE place = 1",
                keys = (0..request.windows.by.len()).map(|key| format!(", k{key}")).collect::<String>()
            );
        }
        Ok(Self { session, table: name, query, by: request.windows.by.len(), segments, repeated })
    }

    fn close(self) -> Result<()> {
        self.session.context().deregister_table(self.table.as_str())?;
        Ok(())
    }

    async fn schedule(
        &self,
        known: &Known,
        request: &ScheduleRequest,
        posteriors: Vec<PosteriorDraws>,
        out: &Path,
        kind: WindowsIdentification,
    ) -> Result<ScheduleSummary> {
        // First how many there are of each kind, so that capacities are in the probabilities; then the file.
        let keys: String = (0..self.by).map(|place| format!(", k{place}")).collect();
        let kind_columns = format!("country, region, time_zone, refusal{keys}");
        let kinds = format!(
            "SELECT '' AS unit, {kind_columns}, count(*) FROM ({}) AS listed GROUP BY {kind_columns}",
            self.query
        );
        let mut classes =
            Classes { known, segments: self.segments, classes: Vec::new(), without_zone: BTreeMap::new() };
        for batch in self.session.collect(&kinds).await? {
            let count = batch.column(5 + self.by).as_primitive::<Int64Type>();
            for (row, (kind, _)) in self.kinds(&batch)?.into_iter().enumerate() {
                if let Some(class) = classes.of(&kind)? {
                    classes.classes[class].recipients += count.value(row).unsigned_abs();
                }
            }
        }
        #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
        let capacities = vec![request.capacity.map(|capacity| capacity as f64); known.slots.len()];
        let options = ScheduleOptions {
            propensity_floor: request.propensity_floor,
            // Where nothing is known, draws of what is believed are even but for their noise: all are drawn evenly.
            uniform_share: match kind {
                WindowsIdentification::NotIdentifiable => 1.0,
                _ => request.uniform_share,
            },
            seed: request.seed,
            ..ScheduleOptions::default()
        };
        let schedule = plan_schedule(&classes.classes, &posteriors, &capacities, options)?;
        let mut writer = Writer::new(known, out)?;
        // In the order of the recipients: that of a join hangs on the number of cores.
        let mut stream = self.session.sql(&format!("{} ORDER BY unit", self.query)).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let rows = self.kinds(&batch)?;
            writer.write(&rows, &mut classes, &schedule)?;
        }
        let mut summary = writer.finish(kind)?;
        summary.least_propensity = schedule.classes.iter().filter_map(|class| class.least_propensity).reduce(f64::min);
        summary.notes = schedule.notes;
        if self.repeated > 0 {
            summary.notes.push(format!(
                "{} rows of the list name a recipient again: each has one row in the schedule",
                self.repeated
            ));
        }
        if kind == WindowsIdentification::NotIdentifiable {
            summary.notes.push(
                "nothing tells one window from another yet: they were drawn evenly, and the next fit will tell"
                    .to_owned(),
            );
        }
        Ok(summary)
    }

    /// What each row of a batch is, and whose.
    fn kinds(&self, batch: &RecordBatch) -> Result<Vec<(Kind, String)>> {
        let text = |column: usize, row: usize| crate::report::cell_text(batch, column, row);
        (0..batch.num_rows())
            .map(|row| {
                let segment = (0..self.by).map(|key| text(5 + key, row)).collect::<Result<Vec<_>>>()?;
                let kind = Kind {
                    place: (text(1, row)?, text(2, row)?),
                    zone: text(3, row)?.filter(|zone| jiff::tz::TimeZone::get(zone).is_ok()),
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
struct Kind {
    place: super::cells::Place,
    /// The time zone, where it is known.
    zone: Option<String>,
    /// Why there is no window for the recipient.
    refusal: Option<&'static str>,
    segment: Vec<Option<String>>,
}

struct Classes<'a> {
    known: &'a Known,
    segments: &'a Segments,
    classes: Vec<RecipientClass>,
    /// For places of recipients without a zone: the clock that their windows are on, and which are legal.
    without_zone: BTreeMap<super::cells::Place, Option<(&'static str, Vec<bool>)>>,
}

impl Classes<'_> {
    /// The class of a recipient, a new one if need be; none for one who gets no window.
    fn of(&mut self, kind: &Kind) -> Result<Option<usize>> {
        if kind.refusal.is_some() {
            return Ok(None);
        }
        let Some(legal) = self.legal(kind)? else { return Ok(None) };
        // The first posterior is that of all; a segment that was never seen has it.
        let segment = self.segments.iter().position(|known| *known == kind.segment).map_or(0, |place| place + 1);
        let known = self.classes.iter().position(|class| class.segment == segment && class.legal == legal);
        Ok(Some(known.unwrap_or_else(|| {
            self.classes.push(RecipientClass { recipients: 0, segment, legal });
            self.classes.len() - 1
        })))
    }

    /// The legal windows; of a recipient whose zone is not known those that are legal on all clocks it may have, on the
    /// clock of the first.
    fn legal(&mut self, kind: &Kind) -> Result<Option<Vec<bool>>> {
        let slots = self.known.slots.all();
        if kind.zone.is_some() {
            return Ok(Some(self.known.legal.legal_everywhere(slots, [&kind.place])));
        }
        if let Some(known) = self.without_zone.get(&kind.place) {
            return Ok(known.as_ref().map(|(_, legal)| legal.clone()));
        }
        let found = self.known.legal.legal_in_all_zones(slots, &kind.place)?;
        let legal = found.as_ref().map(|(_, legal)| legal.clone());
        self.without_zone.insert(kind.place.clone(), found);
        Ok(legal)
    }

    /// The zone on whose clock the window of a recipient is.
    fn zone<'k>(&self, kind: &'k Kind) -> Option<&'k str> {
        let own = kind.zone.as_deref();
        own.or_else(|| self.without_zone.get(&kind.place)?.as_ref().map(|(name, _)| *name))
    }
}

struct Writer<'a> {
    known: &'a Known,
    file: TableFile,
    schema: Arc<Schema>,
    loads: Vec<u64>,
    left_out: Vec<ReasonCount>,
    recipients: u64,
}

impl<'a> Writer<'a> {
    fn new(known: &'a Known, out: &Path) -> Result<Self> {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        let schema = Arc::new(Schema::new(vec![
            text("recipient_id", false),
            text("weekday", true),
            text("window_start", true),
            text("window_end", true),
            text("time_zone", true),
            Field::new("send_propensity", DataType::Float64, true),
            text("reason", false),
        ]));
        Ok(Self {
            known,
            file: TableFile::at(out, Arc::clone(&schema))?,
            schema,
            loads: vec![0; known.slots.len()],
            left_out: Vec::new(),
            recipients: 0,
        })
    }

    fn write(&mut self, rows: &[(Kind, String)], classes: &mut Classes<'_>, schedule: &Schedule) -> Result<()> {
        let mut texts: [StringBuilder; 5] = std::array::from_fn(|_| StringBuilder::new());
        let mut propensities: Vec<Option<f64>> = Vec::with_capacity(rows.len());
        for (kind, recipient) in rows {
            self.recipients += 1;
            let assigned = classes.of(kind)?.and_then(|class| {
                let is_legal = classes.classes[class].legal.iter().any(|legal| *legal);
                schedule.assign(class, xxh3_64(recipient.as_bytes())).ok_or(is_legal).map_or_else(
                    |is_legal| Some(Err(if is_legal { NO_CAPACITY } else { NO_LEGAL_WINDOW })),
                    |found| Some(Ok(found)),
                )
            });
            let assigned = assigned.unwrap_or_else(|| Err(kind.refusal.unwrap_or(UNKNOWN_TIME_ZONE)));
            match assigned {
                Ok(found) => {
                    let slot = &self.known.slots.all()[found.slot];
                    self.loads[found.slot] += 1;
                    let zone = classes.zone(kind).unwrap_or_default().to_owned();
                    let cells = [slot.day.to_owned(), slot.start(), slot.end(), zone];
                    texts.iter_mut().zip(&cells).for_each(|(column, cell)| column.append_value(cell));
                    texts[4].append_value(match found.reason {
                        Reason::Thompson => "thompson",
                        Reason::Uniform => "uniform",
                        Reason::OnlySlot => "only_slot",
                    });
                    propensities.push(Some(found.propensity));
                }
                Err(reason) => {
                    texts.iter_mut().take(4).for_each(StringBuilder::append_null);
                    texts[4].append_value(reason);
                    propensities.push(None);
                    match self.left_out.iter_mut().find(|known| known.reason == reason) {
                        Some(known) => known.n += 1,
                        None => self.left_out.push(ReasonCount { reason, n: 1 }),
                    }
                }
            }
        }
        let [mut day, mut start, mut end, mut zone, mut reason] = texts;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, recipient)| recipient))),
            Arc::new(day.finish()),
            Arc::new(start.finish()),
            Arc::new(end.finish()),
            Arc::new(zone.finish()),
            Arc::new(Float64Array::from(propensities)),
            Arc::new(reason.finish()),
        ];
        self.file.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        Ok(())
    }

    fn finish(self, identification: WindowsIdentification) -> Result<ScheduleSummary> {
        let (file, _) = self.file.finish()?;
        file.keep()?;
        let windows = self.known.slots.all().iter().zip(&self.loads).filter(|(_, n)| **n > 0);
        Ok(ScheduleSummary {
            identification,
            recipients: self.recipients,
            scheduled: self.loads.iter().sum(),
            left_out: self.left_out,
            windows: windows.map(|(slot, n)| WindowLoad { window: WindowName::of(slot), n: *n }).collect(),
            least_propensity: None,
            notes: Vec::new(),
        })
    }
}
