//! The table of all messages with everything that became of them, made in one pass over each log.
//!
//! `SELECT … FROM folded_messages` reads each log once and only in the columns that the query needs. Message ids become dense
//! numbers ([`ids`]); receipts are folded into a few bytes a message ([`receipts`]); conversions, opt-outs and replies wait
//! by recipient while the sends stream past and keep the best message they have seen ([`events`]); clicks are told apart by
//! SQL and counted ([`clicks`]). Then the sends are read again and each row gets its columns. No log is sorted, joined or
//! held; memory is that of the numbers and states, some 40 to 120 bytes a message by what is wanted.
//!
//! Columns made here begin with `=`, which no attribute can: [`crate::event::attribute_name`] takes it out.

mod clicks;
mod contacts;
mod converted;
mod events;
mod ids;
mod latest;
mod output;
mod receipts;
mod table;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::dataframe::DataFrame;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt as _;

use self::clicks::{ClickReader, Clicks};
use self::contacts::Contacts;
use self::converted::Converted;
use self::events::{Credited, Events, Kind};
pub(super) use self::ids::repeated_ids;
use self::ids::{Ids, NONE, TOGETHER, hashes, id_text, numbers, with_plain_texts};
pub(crate) use self::ids::{IdsSeen, look_through_ids};
use self::receipts::{FoldedReceipts, Receipts, SendDays};
pub(super) use self::table::FoldedTable;
use super::sql::{self, Inputs, Range};
use crate::error::{EngineError, Result};
use crate::event::{INGESTED_AT, SOURCE_FILE, SOURCE_ROW, timestamp_type};
use crate::query::{QuerySession, quoted};

/// The columns that are made here.
pub(super) mod column {
    pub(in crate::facts) const RANK: &str = "=rank";
    pub(in crate::facts) const RECEIPTS: &str = "=receipts";
    pub(in crate::facts) const DELIVERED_AT: &str = "=delivered_at";
    pub(in crate::facts) const ERROR_CODE: &str = "=error_code";
    pub(in crate::facts) const CARRIER: &str = "=carrier";
    pub(in crate::facts) const PRICE: &str = "=price";
    pub(in crate::facts) const PRICE_CURRENCY: &str = "=price_currency";
    pub(in crate::facts) const CLICKS: &str = "=clicks";
    pub(in crate::facts) const MACHINE_CLICKS: &str = "=machine_clicks";
    pub(in crate::facts) const FIRST_CLICK_AT: &str = "=first_click_at";
    pub(in crate::facts) const FIRST_CLICK_DEVICE: &str = "=first_click_device";
    pub(in crate::facts) const MACHINE_CLICK_REASON: &str = "=machine_click_reason";
    pub(in crate::facts) const CONVERSIONS: &str = "=conversions";
    pub(in crate::facts) const OUTSIDE: &str = "=conversions_outside_window";
    pub(in crate::facts) const CONVERTED_AT: &str = "=converted_at";
    pub(in crate::facts) const REVENUE: &str = "=revenue";
    pub(in crate::facts) const MARGIN: &str = "=margin";
    pub(in crate::facts) const REVENUE_CURRENCY: &str = "=revenue_currency";
    pub(in crate::facts) const REVENUE_OTHER: &str = "=revenue_other";
    pub(in crate::facts) const OPTED_OUT_AT: &str = "=opted_out_at";
    pub(in crate::facts) const REPLIES: &str = "=replies";
    pub(in crate::facts) const COUNTRY: &str = "=country";
    pub(in crate::facts) const REGION: &str = "=region";
    pub(in crate::facts) const TIME_ZONE: &str = "=time_zone";
}

/// What a query wants beyond the sends themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
struct Wanted {
    receipts: bool,
    told: bool,
    clicks: bool,
    conversions: bool,
    refusals: bool,
    answers: bool,
    contacts: bool,
}

impl Wanted {
    fn of(schema: &Schema) -> Self {
        let has = |names: &[&str]| names.iter().any(|name| schema.column_with_name(name).is_some());
        Self {
            receipts: has(&[column::RANK, column::RECEIPTS, column::DELIVERED_AT]),
            told: has(&[column::ERROR_CODE, column::CARRIER, column::PRICE, column::PRICE_CURRENCY]),
            clicks: has(&[
                column::CLICKS,
                column::MACHINE_CLICKS,
                column::FIRST_CLICK_AT,
                column::FIRST_CLICK_DEVICE,
                column::MACHINE_CLICK_REASON,
            ]),
            conversions: has(&[
                column::CONVERSIONS,
                column::OUTSIDE,
                column::CONVERTED_AT,
                column::REVENUE,
                column::MARGIN,
                column::REVENUE_CURRENCY,
                column::REVENUE_OTHER,
            ]),
            refusals: has(&[column::OPTED_OUT_AT]),
            answers: has(&[column::REPLIES]),
            contacts: has(&[column::COUNTRY, column::REGION, column::TIME_ZONE]),
        }
    }

    fn covers(self, other: Self) -> bool {
        self.with(other) == self
    }

    fn with(self, other: Self) -> Self {
        Self {
            receipts: self.receipts || other.receipts,
            told: self.told || other.told,
            clicks: self.clicks || other.clicks,
            conversions: self.conversions || other.conversions,
            refusals: self.refusals || other.refusals,
            answers: self.answers || other.answers,
            contacts: self.contacts || other.contacts,
        }
    }
}

/// The latest received row of an id that the sends log holds more than once: when, from which file, which row.
type Newest = HashMap<u128, (i64, String, i64)>;

/// Everything that the logs say, by message.
struct Folded {
    wanted: Wanted,
    ids: Ids,
    newest: Newest,
    receipts: Option<FoldedReceipts>,
    clicks: Option<Clicks>,
    credited: Credited,
    contacts: Option<Contacts>,
}

/// `folded_messages`.
pub(super) struct FoldedMessages {
    /// The logs alone: a session of its own, so that the table does not hold the session that it is registered in.
    logs: QuerySession,
    inputs: Inputs,
    range: Option<Range>,
    schema: SchemaRef,
    folded: tokio::sync::Mutex<Option<Arc<Folded>>>,
    /// Of the last reading that went to its end.
    converted: Mutex<Option<Converted>>,
}

impl fmt::Debug for FoldedMessages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FoldedMessages")
    }
}

impl FoldedMessages {
    /// The table over a session's logs, of all messages or of those sent in a range.
    pub(super) async fn new(logs: QuerySession, inputs: Inputs, range: Option<Range>) -> Result<Self> {
        let sends = logs.schema("sends").await?;
        let mut fields: Vec<Field> =
            sends.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let add = |fields: &mut Vec<Field>, names: &[&str], data_type: &DataType| {
            fields.extend(names.iter().map(|name| Field::new(*name, data_type.clone(), true)));
        };
        use column as made;
        let counts = [
            made::RANK,
            made::RECEIPTS,
            made::CLICKS,
            made::MACHINE_CLICKS,
            made::CONVERSIONS,
            made::OUTSIDE,
            made::REPLIES,
        ];
        add(&mut fields, &counts, &DataType::Int64);
        let moments = [made::DELIVERED_AT, made::FIRST_CLICK_AT, made::CONVERTED_AT, made::OPTED_OUT_AT];
        add(&mut fields, &moments, &timestamp_type());
        add(&mut fields, &[made::PRICE, made::REVENUE, made::MARGIN], &sql::MONEY_SUM);
        let texts = [
            made::ERROR_CODE,
            made::CARRIER,
            made::PRICE_CURRENCY,
            made::FIRST_CLICK_DEVICE,
            made::MACHINE_CLICK_REASON,
            made::REVENUE_CURRENCY,
            made::REVENUE_OTHER,
            made::COUNTRY,
            made::REGION,
            made::TIME_ZONE,
        ];
        add(&mut fields, &texts, &DataType::Utf8);
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { logs, inputs, range, schema, folded: tokio::sync::Mutex::new(None), converted: Mutex::new(None) })
    }

    /// What was folded before if it has all that is wanted, else anew with that too.
    async fn folded(&self, wanted: Wanted) -> Result<Arc<Folded>> {
        let mut kept = self.folded.lock().await;
        if let Some(folded) = kept.as_ref().filter(|folded| folded.wanted.covers(wanted)) {
            return Ok(Arc::clone(folded));
        }
        let wanted = kept.take().map_or(wanted, |folded| folded.wanted.with(wanted));
        let folded = Arc::new(self.fold(wanted).await?);
        *kept = Some(Arc::clone(&folded));
        Ok(folded)
    }

    async fn fold(&self, wanted: Wanted) -> Result<Folded> {
        let started = std::time::Instant::now();
        let done = |part: &str| tracing::debug!(part, milliseconds = started.elapsed().as_millis(), "folded");
        let events = self.events(wanted).await?;
        done("events");
        let wants_receipts = self.inputs.has_receipts && (wanted.receipts || wanted.told || wanted.clicks);
        let (ids, days, newest) = self.number_sends(&events, wants_receipts).await?;
        let events = Arc::into_inner(events).ok_or_else(|| EngineError::refused("the facts are still being read"))?;
        done("sends");
        let ids = Arc::new(ids);
        // A click soon after its delivery is a machine's, so clicks want the receipts too.
        let receipts =
            async { if wants_receipts { Ok(Some(self.receipts(&ids, days, wanted.told).await?)) } else { Ok(None) } };
        let (receipts, clicks) = futures::future::try_join(receipts, self.clicks(&ids, wanted)).await?;
        done("receipts and clicks");
        let clicks = clicks.map(|clicks| clicks.judge(&ids, receipts.as_ref()));
        done("clicks");
        let contacts = if wanted.contacts && self.inputs.has_contacts() { Some(self.contacts().await?) } else { None };
        done("contacts");
        let credited = events.credit(&ids);
        done("credit");
        let ids = Arc::into_inner(ids).ok_or_else(|| EngineError::refused("the facts are still being read"))?;
        Ok(Folded { wanted, ids, newest, receipts, clicks, credited, contacts })
    }

    async fn events(&self, wanted: Wanted) -> Result<Arc<Events>> {
        let mut events = Events::new(self.inputs.window());
        let within = self.range.map_or(i64::MIN..i64::MAX, |range| range.from..self.inputs.end(range));
        let opened = async |wanted: bool, query: Option<String>| match query.filter(|_| wanted) {
            Some(query) => Ok::<_, EngineError>(Some(self.logs.sql(&query).await?.execute_stream().await?)),
            None => Ok(None),
        };
        if let Some(goals) = opened(wanted.conversions, sql::goals(&self.inputs, self.range)).await? {
            events.read(goals, |counts| counts.then_some(Kind::Conversion), within.clone()).await?;
        }
        if let Some(refusals) = opened(wanted.refusals, sql::refusals(&self.inputs, self.range)).await? {
            events.read(refusals, |_| Some(Kind::Refusal), within.clone()).await?;
        }
        let replies = opened(wanted.refusals || wanted.answers, sql::replies(&self.inputs, self.range)).await?;
        if let Some(replies) = replies {
            let kind = |stop: bool| Some(if stop { Kind::Refusal } else { Kind::Answer });
            events.read(replies, kind, within).await?;
        }
        events.order()?;
        Ok(Arc::new(events))
    }

    /// Numbers the messages, and offers them to the events. Where the log holds an id more than once, the latest received
    /// row is found first and the log read again without the others.
    async fn number_sends(&self, events: &Arc<Events>, with_days: bool) -> Result<(Ids, SendDays, Newest)> {
        let known = match self.range {
            // Rows of one id may lie in different ranges: the whole log has been looked through for them before.
            Some(_) => self.newest().await?,
            None => Newest::new(),
        };
        let (ids, days, repeated) = self.scan_sends(events, &known, with_days).await?;
        if repeated.is_empty() {
            return Ok((ids, days, known));
        }
        drop((ids, days));
        self.logs.register_corrections(repeated.into_iter().collect())?;
        let newest = self.newest().await?;
        events.forget_offers()?;
        let (ids, days, repeated) = self.scan_sends(events, &newest, with_days).await?;
        if !repeated.is_empty() {
            return Err(EngineError::refused("the sends log changed while it was read: try again"));
        }
        Ok((ids, days, newest))
    }

    async fn newest(&self) -> Result<Newest> {
        let mut newest = Newest::new();
        let query = format!(
            "SELECT message_id, {INGESTED_AT}, {SOURCE_FILE}, {SOURCE_ROW} FROM sends WHERE message_id IN (SELECT message_id FROM {})",
            crate::store::CORRECTIONS
        );
        for batch in self.logs.collect(&query).await? {
            let ids = hashes(batch.column(0))?;
            for (row, order) in orders(&with_plain_texts(&batch)?, 1).into_iter().enumerate() {
                let Some(id) = ids[row] else { continue };
                let known = newest.entry(id).or_insert_with(|| order.clone());
                if order > *known {
                    *known = order;
                }
            }
        }
        Ok(newest)
    }

    /// One pass over the sends: their numbers, with their days if these are wanted, and the ids that came twice.
    async fn scan_sends(
        &self,
        events: &Arc<Events>,
        newest: &Newest,
        with_days: bool,
    ) -> Result<(Ids, SendDays, HashSet<String>)> {
        let mut columns = vec!["message_id"];
        let with_moments = with_days || events.wants_sends() || self.range.is_some();
        if with_moments {
            columns.push("sent_at");
        }
        if events.wants_sends() {
            columns.extend(["recipient_id", "channel"]);
        }
        let with_order = !newest.is_empty();
        if with_order {
            columns.extend([INGESTED_AT, SOURCE_FILE, SOURCE_ROW]);
        }
        let within = self.range.map_or(String::new(), |range| {
            // Later messages may take an event away from one in the range.
            let rivals = Range { from: range.from, to: self.inputs.end(range) };
            format!(" WHERE {}", rivals.condition())
        });
        let rows = super::touched::count_rows(&self.logs, &format!("SELECT 1 FROM sends{within}")).await?;
        let ids = Arc::new(Ids::with_room(usize::try_from(rows).unwrap_or(0))?);
        let days = Arc::new(SendDays::with_room(if with_days { usize::try_from(rows).unwrap_or(0) } else { 0 }));
        let repeated = Arc::new(Mutex::new(HashSet::new()));
        let frame = self.logs.sql(&format!("SELECT {} FROM sends{within}", columns.join(", "))).await?;
        let (range, newest) = (self.range, Arc::new(newest.clone()));
        let (numbering, events, seen_again) = (Arc::clone(&ids), Arc::clone(events), Arc::clone(&repeated));
        let of_numbers = Arc::clone(&days);
        for_each_batch(frame, move |batch| {
            numbering.check_room(batch.num_rows())?;
            let hashes = hashes(batch.column(0))?;
            let orders = if with_order { orders(&batch, batch.num_columns() - 3) } else { Vec::new() };
            let sent = if with_moments { Some(arrow::compute::cast(batch.column(1), &DataType::Int64)?) } else { None };
            let sent = sent.as_ref().map(arrow::array::AsArray::as_primitive::<Int64Type>);
            let mut numbers = Vec::with_capacity(batch.num_rows());
            for (row, id) in hashes.iter().enumerate() {
                if row % TOGETHER == 0 {
                    numbering.fetch(&hashes[row..hashes.len().min(row + TOGETHER)]);
                }
                let Some(id) = *id else {
                    numbers.push(None);
                    continue;
                };
                if newest.get(&id).is_some_and(|newest| with_order && *newest != orders[row]) {
                    numbers.push(None);
                    continue;
                }
                let sent_at = sent.map_or(i64::MIN, |sent| sent.value(row));
                if range.is_some_and(|range| sent_at >= range.to) {
                    numbers.push(Some(NONE));
                    continue;
                }
                let number = numbering.insert(id);
                if let Some(number) = number {
                    of_numbers.set(number, sent_at);
                } else {
                    let text = id_text(batch.column(0), row)?;
                    let mut repeated = seen_again.lock().map_err(|_| stopped())?;
                    repeated.insert(text);
                }
                numbers.push(number);
            }
            events.offer(&numbers, &batch)
        })
        .await?;
        let repeated = Arc::into_inner(repeated).and_then(|set| set.into_inner().ok()).ok_or_else(stopped)?;
        let days = Arc::into_inner(days).ok_or_else(stopped)?;
        Ok((Arc::into_inner(ids).ok_or_else(stopped)?, days, repeated))
    }

    async fn receipts(&self, ids: &Arc<Ids>, days: SendDays, told: bool) -> Result<FoldedReceipts> {
        let columns = Receipts::columns(told).join(", ");
        let within = self.range.map_or(String::new(), |range| {
            format!(" WHERE at IS NULL OR at >= {}", sql::moment(range.from.saturating_sub(receipts::MOST_EARLY)))
        });
        let frame = self.logs.sql(&format!("SELECT message_id, {columns} FROM deliveries{within}")).await?;
        let receipts = Arc::new(Receipts::new(ids.len(), told));
        let (of, into) = (Arc::clone(ids), Arc::clone(&receipts));
        for_each_batch(frame, move |batch| {
            let mut numbers = numbers(batch.column(0), &of)?;
            days.leave_out_early(&mut numbers, batch.column(3))?;
            into.fold(&numbers, &batch)
        })
        .await?;
        Arc::into_inner(receipts).ok_or_else(stopped)?.finish()
    }

    async fn clicks(&self, ids: &Ids, wanted: Wanted) -> Result<Option<ClickReader<'_>>> {
        if !self.inputs.has_clicks || !wanted.clicks {
            return Ok(None);
        }
        let rows = super::touched::count_rows(&self.logs, "SELECT 1 FROM clicks").await?;
        let mut reader = ClickReader::new(self.inputs.machine_clicks(), usize::try_from(rows).unwrap_or(0))?;
        let mut batches = self.logs.sql(&sql::taps()).await?.execute_stream().await?;
        while let Some(batch) = batches.next().await {
            reader.add(ids, &with_plain_texts(&batch?)?)?;
        }
        Ok(Some(reader))
    }

    async fn contacts(&self) -> Result<Contacts> {
        let rows = super::touched::count_rows(&self.logs, "SELECT 1 FROM recipients").await?;
        let mut contacts = Contacts::with_room(usize::try_from(rows).unwrap_or(0))?;
        let mut batches = self.logs.sql(&sql::contacts(&self.inputs)).await?.execute_stream().await?;
        while let Some(batch) = batches.next().await {
            contacts.add(&with_plain_texts(&batch?)?)?;
        }
        Ok(contacts)
    }

    /// The sends again, in the columns that the output wants and those that find its rows.
    async fn sends_plan(&self, schema: &Schema, with_order: bool) -> Result<Arc<dyn ExecutionPlan>> {
        let mut columns = vec!["message_id".to_owned(), "recipient_id".to_owned(), "sent_at".to_owned()];
        if with_order {
            columns.extend([INGESTED_AT, SOURCE_FILE, SOURCE_ROW].map(str::to_owned));
        }
        for field in schema.fields() {
            if !field.name().starts_with('=') && !columns.contains(field.name()) {
                columns.push(field.name().clone());
            }
        }
        let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        let within = self.range.map_or(String::new(), |range| format!(" WHERE {}", range.condition()));
        let frame = self.logs.sql(&format!("SELECT {} FROM sends{within}", columns.join(", "))).await?;
        Ok(frame.create_physical_plan().await?)
    }
}

fn stopped() -> EngineError {
    EngineError::refused("a part of the work stopped while the facts were made")
}

/// The order of reception of each row, from three columns.
fn orders(batch: &RecordBatch, first: usize) -> Vec<(i64, String, i64)> {
    let received = batch.column(first).as_primitive::<TimestampMicrosecondType>();
    let files = batch.column(first + 1).as_string::<i32>();
    let rows = batch.column(first + 2).as_primitive::<Int64Type>();
    (0..batch.num_rows())
        .map(|row| {
            let file = if files.is_null(row) { "" } else { files.value(row) };
            (received.value(row), file.to_owned(), rows.value(row))
        })
        .collect()
}

/// Runs a query and hands each batch to `work`, every partition on a task of its own.
async fn for_each_batch(
    frame: DataFrame,
    work: impl Fn(RecordBatch) -> Result<()> + Send + Sync + 'static,
) -> Result<()> {
    let work = Arc::new(work);
    let mut tasks = tokio::task::JoinSet::new();
    for mut batches in frame.execute_stream_partitioned().await? {
        let work = Arc::clone(&work);
        tasks.spawn(async move {
            while let Some(batch) = batches.next().await {
                work(with_plain_texts(&batch?)?)?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        let done: Result<()> = done?;
        done?;
    }
    Ok(())
}
