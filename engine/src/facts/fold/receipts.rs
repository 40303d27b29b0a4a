//! What the receipts say of each message: folded in any order, one fixed-size state a message.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};

use super::ids::{NONE, Texts};
use super::latest::ByNumber;
use super::stopped;
use crate::error::Result;
use crate::event::words::{FIRST_DELIVERED_RANK, STATUS_RANKS};
use crate::facts::DAY_MICROSECONDS;

/// Stands for a moment that is not known; later than any.
pub(super) const NEVER: i64 = i64::MAX;
/// Stands for a price that is not known; less than any.
const NO_PRICE: i128 = i128::MIN;

/// A rank, 0 for none: the rank plus one, which fits into four bits.
type Rank = u8;

/// What the receipts of one message come to. Threads fold into it side by side, each field in one atomic step.
struct State {
    delivered_at: AtomicI64,
    summary: AtomicU64,
}

/// The parts that a summary has room for: 1 to this one. Hardly any text has more.
const INLINE_PARTS: usize = 5;

/// Places among a summary's ranks: those of all receipts, of those without a part, of the parts, and whether there are others.
const ALL: usize = 0;
const WHOLE: usize = 1;
const FIRST_PART: usize = 2;
const OTHERS: usize = FIRST_PART + INLINE_PARTS;

/// The bits of a summary with the rank at a place at least so high.
fn raised(bits: u64, place: usize, rank: Rank) -> u64 {
    let shift = 32 + 4 * place;
    let known = bits >> shift & 15;
    bits + (u64::from(rank).saturating_sub(known) << shift)
}

/// The summary of a state, taken out of its bits: the number of receipts in the lower half, then ranks of four bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Summary {
    receipts: u32,
    /// The highest rank of all receipts.
    all: Rank,
    /// Of those that name no part.
    whole: Rank,
    /// Of each of the first parts.
    parts: [Rank; INLINE_PARTS],
    /// Whether a receipt was of another part.
    has_others: bool,
}

impl Summary {
    #[allow(clippy::cast_possible_truncation)] // Each field is cut out of the bits.
    fn of(bits: u64) -> Self {
        let rank = |place: usize| (bits >> (32 + 4 * place) & 15) as Rank;
        Self {
            receipts: bits as u32,
            all: rank(ALL),
            whole: rank(WHOLE),
            parts: std::array::from_fn(|part| rank(FIRST_PART + part)),
            has_others: rank(OTHERS) != 0,
        }
    }
}

/// Which part of its message a receipt speaks of.
#[derive(Debug, Clone, Copy)]
enum Part {
    Whole,
    /// By its place among the first parts.
    Inline(usize),
    Other,
}

impl Part {
    fn of(part: Option<i64>) -> Self {
        match part.map(|part| usize::try_from(part.saturating_sub(1))) {
            None => Self::Whole,
            Some(Ok(place)) if place < INLINE_PARTS => Self::Inline(place),
            Some(_) => Self::Other,
        }
    }
}

impl State {
    fn new() -> Self {
        Self { delivered_at: AtomicI64::new(NEVER), summary: AtomicU64::new(0) }
    }

    fn summary(&self) -> Summary {
        Summary::of(self.summary.load(Ordering::Relaxed))
    }

    fn add(&self, rank: Rank, part: Part) {
        let mut bits = self.summary.load(Ordering::Relaxed);
        let (place, at_place) = match part {
            Part::Whole => (WHOLE, rank),
            Part::Inline(place) => (FIRST_PART + place, rank),
            Part::Other => (OTHERS, 1),
        };
        loop {
            let added = raised(raised(bits + 1, ALL, rank), place, at_place);
            match self.summary.compare_exchange_weak(bits, added, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => bits = changed,
            }
        }
    }
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
    /// The highest rank of each part that the states have no room for.
    parts: Mutex<ByNumber<Vec<(i64, Rank)>>>,
    /// By message; empty when it is not wanted.
    told: Mutex<(Vec<Told>, Texts)>,
    is_told: bool,
}

/// The receipts once all are folded in.
pub(super) struct FoldedReceipts {
    states: Vec<State>,
    parts: ByNumber<Vec<(i64, Rank)>>,
    told: Vec<Told>,
    texts: Texts,
}

impl Receipts {
    pub(super) fn new(messages: usize, told: bool) -> Self {
        let nothing = Told { price: NO_PRICE, error_code: NONE, carrier: NONE, currency: NONE };
        Self {
            states: (0..messages).map(|_| State::new()).collect(),
            parts: Mutex::default(),
            told: Mutex::new((vec![nothing; if told { messages } else { 0 }], Texts::default())),
            is_told: told,
        }
    }

    /// What all receipts come to.
    pub(super) fn finish(self) -> Result<FoldedReceipts> {
        let (told, texts) = self.told.into_inner().map_err(|_| stopped())?;
        Ok(FoldedReceipts { states: self.states, parts: self.parts.into_inner().map_err(|_| stopped())?, told, texts })
    }

    /// The columns that [`Receipts::fold`] wants, after the message's id.
    pub(super) fn columns(told: bool) -> &'static [&'static str] {
        const COLUMNS: [&str; 7] = ["status", "part_no", "at", "error_code", "carrier", "price", "currency"];
        if told { &COLUMNS } else { &COLUMNS[..3] }
    }

    /// Folds rows in; `numbers` are their messages, [`NONE`] for one that was not sent.
    pub(super) fn fold(&self, numbers: &[u32], batch: &RecordBatch) -> Result<()> {
        let ranks = ranks(batch.column(1).as_string::<i32>());
        let parts = batch.column(2).as_primitive::<Int64Type>();
        let at = arrow::compute::cast(batch.column(3), &DataType::Int64)?;
        let at = at.as_primitive::<Int64Type>();
        let mut others = Vec::new();
        for (row, number) in numbers.iter().enumerate().filter(|(_, number)| **number != NONE) {
            let (rank, state) = (ranks[row], &self.states[*number as usize]);
            let part = Part::of(parts.is_valid(row).then(|| parts.value(row)));
            if matches!(part, Part::Other) {
                others.push((*number, parts.value(row), rank));
            }
            state.add(rank, part);
            if is_delivered(rank) && !at.is_null(row) {
                state.delivered_at.fetch_min(at.value(row), Ordering::Relaxed);
            }
        }
        if !others.is_empty() {
            let mut parts = self.parts.lock().map_err(|_| stopped())?;
            for (number, part, rank) in others {
                let of_message = parts.entry(number).or_default();
                match of_message.iter_mut().find(|(known, _)| *known == part) {
                    Some((_, known)) => *known = rank.max(*known),
                    None => of_message.push((part, rank)),
                }
            }
        }
        if self.is_told {
            self.fold_told(numbers, &ranks, batch)?;
        }
        Ok(())
    }

    fn fold_told(&self, numbers: &[u32], ranks: &[Rank], batch: &RecordBatch) -> Result<()> {
        let [errors, carriers, currencies] = [4, 5, 7].map(|column| batch.column(column).as_string::<i32>());
        let prices = batch.column(6).as_primitive::<Decimal128Type>();
        let (all, texts) = &mut *self.told.lock().map_err(|_| stopped())?;
        for (row, number) in numbers.iter().enumerate().filter(|(_, number)| **number != NONE) {
            let told = &mut all[*number as usize];
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
            if prices.is_valid(row) && prices.value(row) >= told.price {
                // Of the greatest price; where it is there twice, the greater text, so that the order does not matter.
                let known = if prices.value(row) == told.price { told.currency } else { NONE };
                told.currency = greater(known, cell(currencies).then(|| currencies.value(row)));
                told.price = prices.value(row);
            }
        }
        Ok(())
    }
}

impl FoldedReceipts {
    /// Receipts of the message.
    pub(super) fn count(&self, number: u32) -> i64 {
        i64::from(self.states[number as usize].summary().receipts)
    }

    /// The rank that the message ends with; `None` without a receipt. A message in several parts is delivered when the worst
    /// of its parts is; receipts without a part speak for all.
    pub(super) fn resolved(&self, number: u32) -> Option<i64> {
        let state = self.states[number as usize].summary();
        let others = if state.has_others { self.parts.get(&number) } else { None };
        let others = others.into_iter().flatten();
        let has_several = state.parts[1..].iter().any(|rank| *rank > 0) || others.clone().any(|(part, _)| *part > 1);
        let rank = if has_several {
            let inline = state.parts.iter().copied().filter(|rank| *rank > 0);
            let worst = inline.chain(others.map(|(_, rank)| *rank)).min().unwrap_or(0);
            worst.max(state.whole)
        } else {
            state.all
        };
        (rank > 0).then(|| i64::from(rank) - 1)
    }

    /// When the first receipt said delivered.
    pub(super) fn delivered_at(&self, number: u32) -> Option<i64> {
        Some(self.states[number as usize].delivered_at.load(Ordering::Relaxed)).filter(|at| *at != NEVER)
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
    // The same few words come again and again: each has a place by its length and first letter, where it is looked for.
    let mut known: [(&str, Rank); 64] = [("", rank_of("")); 64];
    let mut rank = |status| {
        let status: &str = status?;
        let first = status.bytes().next().unwrap_or(0);
        let place = &mut known[(status.len() * 8 + usize::from(first)) % 64];
        if place.0 != status {
            *place = (status, rank_of(status));
        }
        Some(place.1)
    };
    statuses.iter().map(|status| rank(status).unwrap_or(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_keeps_the_highest_rank_of_each_part() {
        let state = State::new();
        state.add(3, Part::of(Some(1)));
        state.add(9, Part::of(None));
        state.add(1, Part::of(Some(6)));
        state.add(5, Part::of(Some(5)));
        state.add(2, Part::of(Some(i64::MIN)));
        let expected = Summary { receipts: 5, all: 9, whole: 9, parts: [3, 0, 0, 0, 5], has_others: true };
        assert_eq!(state.summary(), expected);
    }
}
