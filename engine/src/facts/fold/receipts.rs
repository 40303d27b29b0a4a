//! What the receipts say of each message: folded in any order, one fixed-size state a message.

use std::sync::atomic::{AtomicI32, Ordering};

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};

use super::ids::{NONE, Texts};
use super::latest::ByNumber;
use crate::error::Result;
use crate::event::words::{FIRST_DELIVERED_RANK, STATUS_RANKS};
use crate::facts::DAY_MICROSECONDS;

/// Stands for a moment that is not known; later than any.
pub(super) const NEVER: i64 = i64::MAX;
/// Stands for a price that is not known; less than any.
const NO_PRICE: i128 = i128::MIN;

/// A rank in one byte, 0 for none: the rank plus one.
type Rank = u8;

#[derive(Clone, Copy)]
struct State {
    delivered_at: i64,
    receipts: u32,
    /// The highest rank of all receipts.
    all: Rank,
    /// Of those of part 1, and of those that name no part.
    part_one: Rank,
    whole: Rank,
    /// Whether a receipt was of another part.
    has_parts: bool,
}

/// What only some queries want of the receipts.
#[derive(Clone, Copy)]
struct Told {
    price: i128,
    error_code: u32,
    carrier: u32,
    currency: u32,
}

/// The receipts of all messages.
pub(super) struct Receipts {
    states: Vec<State>,
    /// The highest rank of each part other than the first.
    parts: ByNumber<Vec<(i64, Rank)>>,
    told: Vec<Told>,
    texts: Texts,
}

impl Receipts {
    pub(super) fn new(messages: usize, told: bool) -> Self {
        let state = State { delivered_at: NEVER, receipts: 0, all: 0, part_one: 0, whole: 0, has_parts: false };
        let nothing = Told { price: NO_PRICE, error_code: NONE, carrier: NONE, currency: NONE };
        Self {
            states: vec![state; messages],
            parts: ByNumber::default(),
            told: vec![nothing; if told { messages } else { 0 }],
            texts: Texts::default(),
        }
    }

    /// The columns that [`Receipts::fold`] wants, after the message's id.
    pub(super) fn columns(told: bool) -> &'static [&'static str] {
        const COLUMNS: [&str; 7] = ["status", "part_no", "at", "error_code", "carrier", "price", "currency"];
        if told { &COLUMNS } else { &COLUMNS[..3] }
    }

    /// Folds rows in; `numbers` are their messages, [`NONE`] for one that was not sent.
    pub(super) fn fold(&mut self, numbers: &[u32], batch: &RecordBatch) -> Result<()> {
        let ranks = ranks(batch.column(1).as_string::<i32>());
        let parts = batch.column(2).as_primitive::<Int64Type>();
        let at = arrow::compute::cast(batch.column(3), &DataType::Int64)?;
        let at = at.as_primitive::<Int64Type>();
        for (row, number) in numbers.iter().enumerate().filter(|(_, number)| **number != NONE) {
            let (rank, state) = (ranks[row], &mut self.states[*number as usize]);
            state.receipts += 1;
            state.all = state.all.max(rank);
            if is_delivered(rank) && !at.is_null(row) {
                state.delivered_at = state.delivered_at.min(at.value(row));
            }
            if parts.is_null(row) {
                state.whole = state.whole.max(rank);
            } else if parts.value(row) == 1 {
                state.part_one = state.part_one.max(rank);
            } else {
                state.has_parts = true;
                let of_message = self.parts.entry(*number).or_default();
                match of_message.iter_mut().find(|(part, _)| *part == parts.value(row)) {
                    Some((_, known)) => *known = rank.max(*known),
                    None => of_message.push((parts.value(row), rank)),
                }
            }
        }
        if !self.told.is_empty() {
            self.fold_told(numbers, &ranks, batch);
        }
        Ok(())
    }

    fn fold_told(&mut self, numbers: &[u32], ranks: &[Rank], batch: &RecordBatch) {
        let [errors, carriers, currencies] = [4, 5, 7].map(|column| batch.column(column).as_string::<i32>());
        let prices = batch.column(6).as_primitive::<Decimal128Type>();
        for (row, number) in numbers.iter().enumerate().filter(|(_, number)| **number != NONE) {
            let told = &mut self.told[*number as usize];
            let texts = &mut self.texts;
            let mut greater = |known: u32, text: Option<&str>| match text {
                Some(text) => {
                    let number = texts.number(text);
                    if known == NONE { number } else { texts.greater(known, number) }
                }
                None => known,
            };
            let cell = |column: &arrow::array::StringArray| column.is_valid(row);
            if !is_delivered(ranks[row]) {
                told.error_code = greater(told.error_code, cell(errors).then(|| errors.value(row)));
            }
            told.carrier = greater(told.carrier, cell(carriers).then(|| carriers.value(row)));
            told.currency = greater(told.currency, cell(currencies).then(|| currencies.value(row)));
            if prices.is_valid(row) {
                told.price = told.price.max(prices.value(row));
            }
        }
    }

    /// Receipts of the message.
    pub(super) fn count(&self, number: u32) -> i64 {
        i64::from(self.states[number as usize].receipts)
    }

    /// The rank that the message ends with; `None` without a receipt. A message in several parts is delivered when the worst
    /// of its parts is; receipts without a part speak for all.
    pub(super) fn resolved(&self, number: u32) -> Option<i64> {
        let state = self.states[number as usize];
        // Most messages have one part, and need no look at the others.
        let parts = if state.has_parts { self.parts.get(&number) } else { None };
        let several = parts.filter(|parts| parts.iter().any(|(part, _)| *part > 1));
        let rank = match several {
            None => state.all,
            Some(parts) => {
                let worst = parts.iter().map(|(_, rank)| *rank).min().unwrap_or(0);
                let worst = if state.part_one == 0 { worst } else { worst.min(state.part_one) };
                worst.max(state.whole)
            }
        };
        (rank > 0).then(|| i64::from(rank) - 1)
    }

    /// When the first receipt said delivered.
    pub(super) fn delivered_at(&self, number: u32) -> Option<i64> {
        Some(self.states[number as usize].delivered_at).filter(|at| *at != NEVER)
    }

    fn told(&self, number: u32) -> Option<&Told> {
        self.told.get(number as usize)
    }

    pub(super) fn error_code(&self, number: u32) -> Option<&str> {
        self.texts.text(self.told(number)?.error_code)
    }

    pub(super) fn carrier(&self, number: u32) -> Option<&str> {
        self.texts.text(self.told(number)?.carrier)
    }

    pub(super) fn currency(&self, number: u32) -> Option<&str> {
        self.texts.text(self.told(number)?.currency)
    }

    pub(super) fn price(&self, number: u32) -> Option<i128> {
        self.told(number).map(|told| told.price).filter(|price| *price != NO_PRICE)
    }
}

/// A receipt that says so much earlier than its message was sent speaks of another, or of a clock that is wrong: it counts
/// for nobody. In microseconds, from the start of the day of the send.
pub(super) const MOST_EARLY: i64 = 7 * DAY_MICROSECONDS;

/// The UTC day of each message's send.
pub(super) struct SendDays(Box<[AtomicI32]>);

impl SendDays {
    pub(super) fn with_room(messages: usize) -> Self {
        Self((0..messages).map(|_| AtomicI32::default()).collect())
    }

    /// Notes when a message was sent, in microseconds.
    pub(super) fn set(&self, number: u32, sent_at: i64) {
        if let Some(day) = self.0.get(number as usize) {
            let since_1970 = i32::try_from(sent_at.div_euclid(DAY_MICROSECONDS)).unwrap_or(i32::MIN);
            day.store(since_1970, Ordering::Relaxed);
        }
    }

    /// Takes their messages from the receipts that are too early for them.
    pub(super) fn leave_out_early(&self, numbers: &mut [u32], at: &ArrayRef) -> Result<()> {
        let at = arrow::compute::cast(at, &DataType::Int64)?;
        let at = at.as_primitive::<Int64Type>();
        for (row, number) in numbers.iter_mut().enumerate() {
            let Some(day) = self.0.get(*number as usize) else { continue };
            let start = i64::from(day.load(Ordering::Relaxed)).saturating_mul(DAY_MICROSECONDS);
            let earliest = start.saturating_sub(MOST_EARLY);
            if at.is_valid(row) && at.value(row) < earliest {
                *number = NONE;
            }
        }
        Ok(())
    }
}

fn is_delivered(rank: Rank) -> bool {
    i64::from(rank) > FIRST_DELIVERED_RANK
}

/// Each status as its rank.
fn ranks(statuses: &arrow::array::StringArray) -> Vec<Rank> {
    let rank_of = |status: &str| {
        let rank = STATUS_RANKS.iter().find(|(word, _)| *word == status).map_or(0, |(_, rank)| *rank);
        Rank::try_from(rank + 1).unwrap_or(1)
    };
    statuses.iter().map(|status| status.map_or(1, rank_of)).collect()
}
