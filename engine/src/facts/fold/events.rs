//! Conversions, opt-outs and replies, each credited to one message.
//!
//! An event that names its message belongs to it, inside the window or not. Any other goes to the last message sent to its
//! recipient within the window before it; ties go to the greater message id. As the sends stream past, each is offered to
//! the events of its recipient: nothing is sorted or joined, and memory is that of the events.

use std::sync::Mutex;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};

use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;

use super::ids::{Ids, NONE, Sparse, Texts, hashes, with_plain_texts};
use super::latest::{Latest, Orders};
use crate::error::{EngineError, Result};

/// What kind of event a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Conversion,
    Refusal,
    Answer,
}

/// One event, each once.
struct Event {
    kind: Kind,
    /// The message it names.
    message: Option<u128>,
    /// Its recipient, by hash, if it names no message.
    recipient: Option<u128>,
    happened: i64,
    /// The channel it is about (refusals), and its currency (conversions).
    channel: u32,
    currency: u32,
    value: Option<i128>,
    margin: Option<i128>,
}

/// The best message so far for an event without one.
#[derive(Clone)]
struct Touch {
    sent_at: i64,
    id: Box<str>,
    /// [`NONE`] for a message outside the range whose facts are made.
    number: u32,
}

/// All events, and the messages that they go to.
pub(super) struct Events {
    events: Vec<Event>,
    texts: Texts,
    window: i64,
    /// Recipients of the events without a message.
    recipients: Option<Ids>,
    /// For each of these recipients where its events start in `by_time`; one entry more at the end.
    starts: Vec<u32>,
    /// Events without a message by recipient and moment.
    by_time: Vec<u32>,
    touches: Mutex<Vec<Option<Touch>>>,
}

/// What the conversions of a message come to.
#[derive(Default)]
pub(super) struct Converted {
    pub(super) conversions: i64,
    pub(super) converted_at: Option<i64>,
    /// When the conversions happened that name the message, which may lie outside its window.
    named_at: Vec<i64>,
    money: Vec<Money>,
}

struct Money {
    currency: u32,
    conversions: i64,
    revenue: Option<i128>,
    margin: Option<i128>,
}

/// What became of the events of all messages.
pub(super) struct Credited {
    pub(super) conversions: Sparse<Converted>,
    pub(super) refusals: Sparse<Option<i64>>,
    pub(super) answers: Sparse<i64>,
    texts: Texts,
    window: i64,
}

impl Events {
    pub(super) fn new(window: i64) -> Self {
        Self {
            events: Vec::new(),
            texts: Texts::default(),
            window,
            recipients: None,
            starts: Vec::new(),
            by_time: Vec::new(),
            touches: Mutex::new(Vec::new()),
        }
    }

    /// Reads a log of events, whose rows have the columns of [`crate::facts::sql::goals`]; `kind` says what a row is from
    /// whether it counts. Only what has a message or happened in `within` can concern the messages at hand.
    pub(super) async fn read(
        &mut self,
        mut batches: SendableRecordBatchStream,
        kind: impl Fn(bool) -> Option<Kind>,
        within: std::ops::Range<i64>,
    ) -> Result<()> {
        let mut latest = Latest::with_room(0);
        while let Some(batch) = batches.next().await {
            self.add(&mut latest, &kind, &with_plain_texts(&batch?)?)?;
        }
        let concerns = |event: &Event| event.message.is_some() || within.contains(&event.happened);
        self.events.extend(latest.into_rows().into_iter().flatten().filter(concerns));
        Ok(())
    }

    fn add(
        &mut self,
        latest: &mut Latest<Option<Event>>,
        kind: impl Fn(bool) -> Option<Kind>,
        batch: &RecordBatch,
    ) -> Result<()> {
        let (keys, messages) = (hashes(batch.column(0))?, hashes(batch.column(1))?);
        let recipients = hashes(batch.column(2))?;
        let happened = batch.column(3).as_primitive::<Int64Type>();
        let [channels, currencies] = [4, 5].map(|column| batch.column(column).as_string::<i32>());
        let [values, margins] = [6, 7].map(|column| batch.column(column).as_primitive::<Decimal128Type>());
        let counts = batch.column(8).as_boolean();
        let orders = Orders::of(batch);
        for row in 0..batch.num_rows() {
            let Some(key) = keys[row] else { continue };
            // A row that does not count any more still replaces an older one that did.
            let Some(kind) = kind(counts.value(row)) else {
                latest.add(key, &orders, row, None);
                continue;
            };
            let mut text = |column: &arrow::array::StringArray| {
                if column.is_null(row) { NONE } else { self.texts.number(column.value(row)) }
            };
            let (channel, currency) = (text(channels), text(currencies));
            let event = Event {
                kind,
                message: messages[row],
                recipient: recipients[row],
                happened: happened.value(row),
                channel,
                currency,
                value: values.is_valid(row).then(|| values.value(row)),
                margin: margins.is_valid(row).then(|| margins.value(row)),
            };
            latest.add(key, &orders, row, Some(event));
        }
        Ok(())
    }

    /// Orders the events without a message, so that sends can be offered to them. Call it once, after the last row.
    #[allow(clippy::cast_possible_truncation)] // Events are fewer than 2^32: they are in memory.
    pub(super) fn order(&mut self) -> Result<()> {
        let open = self.events.iter().filter(|event| event.message.is_none() && event.recipient.is_some()).count();
        if open == 0 {
            return Ok(());
        }
        let recipients = Ids::with_room(open)?;
        let mut pairs: Vec<(u32, i64, u32)> = Vec::with_capacity(open);
        for (position, event) in self.events.iter().enumerate() {
            if let (None, Some(recipient)) = (event.message, event.recipient) {
                let number = recipients.insert(recipient).or_else(|| recipients.get(recipient)).unwrap_or(NONE);
                pairs.push((number, event.happened, position as u32));
            }
        }
        pairs.sort_unstable();
        let mut starts = vec![0_u32; recipients.len() + 1];
        for (number, _, _) in &pairs {
            starts[*number as usize + 1] += 1;
        }
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        self.starts = starts;
        self.by_time = pairs.into_iter().map(|(_, _, position)| position).collect();
        self.recipients = Some(recipients);
        self.touches = Mutex::new(vec![None; self.events.len()]);
        Ok(())
    }

    /// Whether sends must be offered at all.
    pub(super) fn wants_sends(&self) -> bool {
        self.recipients.is_some()
    }

    /// Offers sends to the events of their recipients. `batch` has `message_id`, `sent_at`, `recipient_id`, `channel`; a row
    /// whose number is `None` is not on offer, one with [`NONE`] competes without being credited.
    pub(super) fn offer(&self, numbers: &[Option<u32>], batch: &RecordBatch) -> Result<()> {
        let Some(recipients) = &self.recipients else { return Ok(()) };
        let hashes = hashes(batch.column(2))?;
        let sent = arrow::compute::cast(batch.column(1), &DataType::Int64)?;
        let sent = sent.as_primitive::<Int64Type>();
        let channels = batch.column(3).as_string::<i32>();
        let mut found: Vec<(u32, usize)> = Vec::new();
        for (row, recipient) in recipients.numbers(&hashes).into_iter().enumerate() {
            if recipient == NONE || numbers[row].is_none() || sent.is_null(row) {
                continue;
            }
            let sent_at = sent.value(row);
            let (start, end) = (self.starts[recipient as usize], self.starts[recipient as usize + 1]);
            let events = &self.by_time[start as usize..end as usize];
            let first = events.partition_point(|event| self.events[*event as usize].happened < sent_at);
            for position in &events[first..] {
                let event = &self.events[*position as usize];
                if event.happened.saturating_sub(sent_at) > self.window {
                    break;
                }
                // A refusal of one channel is not the doing of a message on another.
                let other_channel = event.kind == Kind::Refusal
                    && channels.is_valid(row)
                    && self.texts.text(event.channel).is_some_and(|channel| channel != channels.value(row));
                if !other_channel {
                    found.push((*position, row));
                }
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let mut touches =
            self.touches.lock().map_err(|_| EngineError::refused("another thread stopped while it made the facts"))?;
        let ids = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let ids = ids.as_string::<i32>();
        for (event, row) in found {
            let (sent_at, id) = (sent.value(row), ids.value(row));
            let touch = &mut touches[event as usize];
            if touch.as_ref().is_none_or(|best| (best.sent_at, best.id.as_ref()) < (sent_at, id)) {
                *touch = Some(Touch { sent_at, id: id.into(), number: numbers[row].unwrap_or(NONE) });
            }
        }
        Ok(())
    }

    /// Forgets all sends that were offered, so that they can be offered anew.
    pub(super) fn forget_offers(&self) -> Result<()> {
        let mut touches =
            self.touches.lock().map_err(|_| EngineError::refused("another thread stopped while it made the facts"))?;
        touches.iter_mut().for_each(|touch| *touch = None);
        Ok(())
    }

    /// Credits every event.
    pub(super) fn credit(self, ids: &Ids) -> Credited {
        let touches = self.touches.into_inner().unwrap_or_default();
        let mut credited = Credited {
            conversions: Sparse::new(0),
            refusals: Sparse::new(0),
            answers: Sparse::new(0),
            texts: self.texts,
            window: self.window,
        };
        let has = |kind: Kind| self.events.iter().any(|event| event.kind == kind);
        if has(Kind::Conversion) {
            credited.conversions = Sparse::new(ids.len());
        }
        if has(Kind::Refusal) {
            credited.refusals = Sparse::new(ids.len());
        }
        if has(Kind::Answer) {
            credited.answers = Sparse::new(ids.len());
        }
        for (position, event) in self.events.iter().enumerate() {
            let number = match event.message {
                Some(message) => ids.get(message),
                None => touches.get(position).and_then(Option::as_ref).map(|touch| touch.number),
            };
            let Some(number) = number.filter(|number| *number != NONE) else { continue };
            match event.kind {
                Kind::Conversion => credited.conversions.entry(number).add(event),
                Kind::Refusal => {
                    let first = credited.refusals.entry(number);
                    *first = Some(first.map_or(event.happened, |known| known.min(event.happened)));
                }
                Kind::Answer => *credited.answers.entry(number) += 1,
            }
        }
        credited
    }
}

impl Converted {
    fn add(&mut self, event: &Event) {
        self.conversions += 1;
        self.converted_at = Some(self.converted_at.map_or(event.happened, |known| known.min(event.happened)));
        if event.message.is_some() {
            self.named_at.push(event.happened);
        }
        let place = self.money.iter().position(|money| money.currency == event.currency).unwrap_or_else(|| {
            self.money.push(Money { currency: event.currency, conversions: 0, revenue: None, margin: None });
            self.money.len() - 1
        });
        let money = &mut self.money[place];
        money.conversions += 1;
        add_amount(&mut money.revenue, event.value);
        add_amount(&mut money.margin, event.margin);
    }
}

fn add_amount(sum: &mut Option<i128>, amount: Option<i128>) {
    if let Some(amount) = amount {
        *sum = Some(sum.unwrap_or(0) + amount);
    }
}

/// The money of a message's conversions: its first currency's, and the others as text.
pub(super) struct Earned<'a> {
    pub(super) revenue: Option<i128>,
    pub(super) margin: Option<i128>,
    pub(super) currency: Option<&'a str>,
    pub(super) other: Option<String>,
}

impl Credited {
    /// How many of the conversions happened outside the message's window.
    pub(super) fn outside(&self, converted: &Converted, sent_at: i64) -> i64 {
        let outside = |happened: &&i64| **happened < sent_at || happened.saturating_sub(sent_at) > self.window;
        i64::try_from(converted.named_at.iter().filter(outside).count()).unwrap_or(i64::MAX)
    }

    /// Currencies are never added up: the first one (with revenue, of most conversions, by name) has the columns, the others
    /// are listed.
    pub(super) fn earned(&self, converted: &Converted) -> Earned<'_> {
        let name = |money: &Money| self.texts.text(money.currency);
        let mut order: Vec<&Money> = converted.money.iter().collect();
        // A missing name comes last.
        order.sort_by_key(|money| {
            (money.revenue.is_none(), std::cmp::Reverse(money.conversions), name(money).is_none(), name(money))
        });
        let Some((first, others)) = order.split_first() else {
            return Earned { revenue: None, margin: None, currency: None, other: None };
        };
        let mut others: Vec<(&str, i128)> =
            others.iter().filter_map(|money| Some((name(money).unwrap_or(""), money.revenue?))).collect();
        others.sort_by_key(|(name, _)| (name.is_empty(), *name));
        let other: Vec<String> =
            others.iter().map(|(name, amount)| format!("{name}={}", decimal_text(*amount))).collect();
        Earned {
            revenue: first.revenue,
            margin: first.margin,
            currency: name(first),
            other: (!other.is_empty()).then(|| other.join(";")),
        }
    }
}

/// An amount of millionths written out.
fn decimal_text(amount: i128) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let amount = amount.unsigned_abs();
    format!("{sign}{}.{:06}", amount / 1_000_000, amount % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_with_six_decimals() {
        assert_eq!(decimal_text(12_500_000), "12.500000");
        assert_eq!(decimal_text(-1), "-0.000001");
    }
}
