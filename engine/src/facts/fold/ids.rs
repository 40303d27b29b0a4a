//! Ids as dense numbers: a table of 128-bit hashes that several threads fill and read at once.
//!
//! The texts of the ids are not kept. Two ids are taken for one only if all of their hash is equal, whose seed is drawn anew
//! in each process: among a billion ids the chance of any such pair is below 10⁻²⁰.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanBuilder, RecordBatch, RecordBatchOptions};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::dataframe::DataFrame;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::latest::{ByHash, ByNumber};
use super::{for_each_batch, stopped};
use crate::error::{EngineError, Result};

/// Stands for "no number".
pub(super) const NONE: u32 = u32::MAX;

/// Slots for each id: fewer make searches long, more cost memory.
const SLOTS_PER_ID: f64 = 1.4;

/// Ids whose slots are asked for together: as many as the nearest cache holds.
pub(super) const TOGETHER: usize = 128;

static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("ids"));

/// The hash of an id.
pub(super) fn hash(id: &str) -> u128 {
    xxh3_128_with_seed(id.as_bytes(), *SEED)
}

/// The hashes of a column of ids; `None` for a missing one.
pub(super) fn hashes(column: &ArrayRef) -> Result<Vec<Option<u128>>> {
    // Delta tables give views of texts, which are hashed where they are.
    if let Some(texts) = column.as_string_view_opt() {
        return Ok(texts.iter().map(|text| text.map(hash)).collect());
    }
    let texts = arrow::compute::cast(column, &DataType::Utf8)?;
    Ok(texts.as_string::<i32>().iter().map(|text| text.map(hash)).collect())
}

/// The numbers of a column of ids; [`NONE`] for one that has none.
pub(super) fn numbers(column: &ArrayRef, ids: &Ids) -> Result<Vec<u32>> {
    Ok(ids.numbers(&hashes(column)?))
}

/// A batch whose texts are plain ones, save for the ids in its first column.
pub(super) fn with_plain_texts(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let plain = |index: usize, column: &ArrayRef| -> Result<ArrayRef> {
        Ok(match column.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(_, _) if index > 0 => {
                arrow::compute::cast(column, &DataType::Utf8)?
            }
            _ => Arc::clone(column),
        })
    };
    let columns =
        batch.columns().iter().enumerate().map(|(index, column)| plain(index, column)).collect::<Result<Vec<_>>>()?;
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// One of the ids as text.
pub(super) fn id_text(column: &ArrayRef, row: usize) -> Result<String> {
    let text = arrow::compute::cast(&column.slice(row, 1), &DataType::Utf8)?;
    Ok(text.as_string::<i32>().value(0).to_owned())
}

/// Ids with their numbers, from 0 in the order in which they came.
pub(super) struct Ids {
    /// By slot: the lower half of the hash, never zero in a slot that is taken.
    fingerprints: Box<[AtomicU64]>,
    /// By slot.
    numbers: Box<[AtomicU32]>,
    next: AtomicU32,
    most: u32,
}

impl Ids {
    /// Room for so many ids.
    pub(super) fn with_room(ids: usize) -> Result<Self> {
        let most = u32::try_from(ids).ok().filter(|most| *most < NONE).ok_or_else(|| {
            EngineError::refused(format!("{ids} messages are too many for one step: ingest them in parts"))
        })?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Far below 2^53, and positive.
        let slots = (f64::from(most) * SLOTS_PER_ID) as usize + 16;
        Ok(Self {
            fingerprints: (0..slots).map(|_| AtomicU64::default()).collect(),
            numbers: (0..slots).map(|_| AtomicU32::default()).collect(),
            next: AtomicU32::new(0),
            most,
        })
    }

    /// Gives an id its number; `None` when it has one already.
    pub(super) fn insert(&self, hash: u128) -> Option<u32> {
        let (mut place, fingerprint) = self.start(hash);
        loop {
            let slot = &self.fingerprints[place];
            match slot.compare_exchange(0, fingerprint, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let number = self.next.fetch_add(1, Ordering::Relaxed);
                    self.numbers[place].store(number, Ordering::Relaxed);
                    return Some(number);
                }
                Err(taken) if taken == fingerprint => return None,
                Err(_) => place = self.after(place),
            }
        }
    }

    /// The number of an id, once all have been inserted.
    pub(super) fn get(&self, hash: u128) -> Option<u32> {
        let (mut place, fingerprint) = self.start(hash);
        loop {
            let found = self.fingerprints[place].load(Ordering::Relaxed);
            if found == fingerprint {
                return Some(self.numbers[place].load(Ordering::Relaxed));
            }
            if found == 0 {
                return None;
            }
            place = self.after(place);
        }
    }

    /// The numbers of several ids, once all have been inserted; [`NONE`] for one that has none.
    pub(super) fn numbers(&self, hashes: &[Option<u128>]) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(TOGETHER) {
            self.fetch(hashes);
            numbers.extend(hashes.iter().map(|hash| hash.and_then(|hash| self.get(hash)).unwrap_or(NONE)));
        }
        numbers
    }

    /// Brings the slots of several ids into the processor's cache. Memory answers in its own time, and a search cannot go on
    /// before; these reads wait for nothing, so that many are under way at once.
    pub(super) fn fetch(&self, hashes: &[Option<u128>]) {
        let read = hashes.iter().flatten().fold(0, |read, hash| {
            let (place, _) = self.start(*hash);
            read ^ self.fingerprints[place].load(Ordering::Relaxed)
                ^ u64::from(self.numbers[place].load(Ordering::Relaxed))
        });
        std::hint::black_box(read);
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.fingerprints.len() { 0 } else { place + 1 }
    }

    /// Ids that have a number.
    pub(super) fn len(&self) -> usize {
        self.next.load(Ordering::Relaxed) as usize
    }

    /// An error when more ids came than there was room for, which would make searches endless.
    pub(super) fn check_room(&self, coming: usize) -> Result<()> {
        if self.len() + coming > self.most as usize {
            return Err(EngineError::refused("the sends log grew while it was read: try again"));
        }
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation)] // The halves of the hash, and a product below the number of slots.
    fn start(&self, hash: u128) -> (usize, u64) {
        let (upper, lower) = ((hash >> 64) as u64, hash as u64);
        let place = (u128::from(upper) * self.fingerprints.len() as u128) >> 64;
        (place as usize, lower.max(1))
    }
}

/// Something about few of many numbered messages.
pub(super) struct Sparse<T> {
    /// A bit for each number that has an entry: of most one need not look further.
    has_entry: Vec<u64>,
    /// Where a number's entry stands.
    places: ByNumber<u32>,
    entries: Vec<T>,
}

impl<T: Default> Sparse<T> {
    pub(super) fn new(numbers: usize) -> Self {
        Self { has_entry: vec![0; numbers.div_ceil(64)], places: ByNumber::default(), entries: Vec::new() }
    }

    /// The entry of a number, made if there is none.
    #[allow(clippy::cast_possible_truncation)] // There are no more entries than numbers, which are 32 bits wide.
    pub(super) fn entry(&mut self, number: u32) -> &mut T {
        let place = *self.places.entry(number).or_insert_with(|| {
            self.has_entry[number as usize / 64] |= 1 << (number % 64);
            self.entries.push(T::default());
            self.entries.len() as u32 - 1
        });
        &mut self.entries[place as usize]
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let bits = *self.has_entry.get(number as usize / 64)?;
        if bits >> (number % 64) & 1 == 0 {
            return None;
        }
        self.entries.get(*self.places.get(&number)? as usize)
    }
}

/// Texts that repeat, each kept once.
#[derive(Default)]
pub(super) struct Texts {
    numbers: ByHash<u32>,
    texts: Vec<Box<str>>,
}

impl Texts {
    /// The number of a text.
    #[allow(clippy::cast_possible_truncation)] // Memory ends long before 2^32 different texts.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        let next = self.texts.len() as u32;
        let number = *self.numbers.entry(hash(text)).or_insert(next);
        if number == next {
            self.texts.push(text.into());
        }
        number
    }

    /// The text of a number; `None` for [`NONE`].
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        self.texts.get(number as usize).map(AsRef::as_ref)
    }

    /// The later of two texts in their order.
    pub(super) fn greater(&self, one: u32, other: u32) -> u32 {
        if self.text(one) >= self.text(other) { one } else { other }
    }
}

/// What [`look_through_ids`] found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IdsSeen {
    /// Whether any id is there twice.
    pub(crate) repeated: bool,
    /// Rows without an id.
    pub(crate) missing: u64,
}

/// Looks through the ids in the first column of a query, of so many rows at most.
///
/// # Errors
/// When the query fails, or has more rows.
pub(crate) async fn look_through_ids(frame: DataFrame, rows: usize) -> Result<IdsSeen> {
    let known = Arc::new(Ids::with_room(rows)?);
    let seen = Arc::new(Mutex::new(IdsSeen::default()));
    let found = Arc::clone(&seen);
    for_each_batch(frame, move |batch| {
        known.check_room(batch.num_rows())?;
        let missing = batch.column(0).null_count() as u64;
        let repeated = hashes(batch.column(0))?.into_iter().flatten().any(|id| known.insert(id).is_none());
        if repeated || missing > 0 {
            let mut found = found.lock().map_err(|_| stopped())?;
            found.repeated |= repeated;
            found.missing += missing;
        }
        Ok(())
    })
    .await?;
    let seen = seen.lock().map_err(|_| stopped())?;
    Ok(*seen)
}

/// Ids that are looked through at a time: 17 bytes each.
const IDS_OF_A_PASS: usize = 100_000_000;

/// The message ids that the first column of a query holds more than once, each at least once.
///
/// # Errors
/// When the query fails, or has more rows than it is said to have.
pub(in crate::facts) async fn repeated_ids(frame: &DataFrame, rows: i64) -> Result<Vec<RecordBatch>> {
    let rows = usize::try_from(rows).unwrap_or(0);
    repeated_in_passes(frame, rows, rows.div_ceil(IDS_OF_A_PASS).max(1)).await
}

/// Each pass reads all, and looks at some ids by their hash.
async fn repeated_in_passes(frame: &DataFrame, rows: usize, passes: usize) -> Result<Vec<RecordBatch>> {
    let found = Arc::new(Mutex::new(Vec::new()));
    // Passes are not quite of one size.
    let room = if passes == 1 { rows } else { rows / passes + rows / 8 };
    for pass in 0..passes {
        let (known, repeated) = (Ids::with_room(room)?, Arc::clone(&found));
        for_each_batch(frame.clone(), move |batch| {
            let of_pass = |id: &u128| ((id & u128::from(u64::MAX)) * passes as u128) >> 64 == pass as u128;
            let ids: Vec<Option<u128>> = hashes(batch.column(0))?.into_iter().map(|id| id.filter(of_pass)).collect();
            known.check_room(ids.iter().flatten().count())?;
            let mut again = BooleanBuilder::with_capacity(ids.len());
            for (row, id) in ids.iter().enumerate() {
                if row % TOGETHER == 0 {
                    known.fetch(&ids[row..ids.len().min(row + TOGETHER)]);
                }
                again.append_value(id.is_some_and(|id| known.insert(id).is_none()));
            }
            let again = again.finish();
            if again.true_count() > 0 {
                // A copy: a view of texts would hold those of all rows.
                let ids = arrow::compute::cast(&filter(batch.column(0), &again)?, &DataType::Utf8)?;
                let repeats = RecordBatch::try_from_iter([("message_id", ids)])?;
                repeated.lock().map_err(|_| stopped())?.push(repeats);
            }
            Ok(())
        })
        .await?;
    }
    Arc::into_inner(found).and_then(|found| found.into_inner().ok()).ok_or_else(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_has_one_number_whoever_asks() {
        let ids = Ids::with_room(2000).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for id in 0..2000 {
                        ids.insert(hash(&format!("m{id}")));
                    }
                });
            }
        });
        assert_eq!(ids.len(), 2000);
        let mut numbers: Vec<u32> = (0..2000).map(|id| ids.get(hash(&format!("m{id}"))).unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2000).collect::<Vec<u32>>());
        assert_eq!(ids.get(hash("m2000")), None);
        assert_eq!(ids.insert(hash("m1")), None);
    }
    #[tokio::test]
    async fn repeated_ids_are_found_in_any_number_of_passes() {
        let session = datafusion::prelude::SessionContext::new();
        // 0 to 9,999 once, and each hundredth of them twice more.
        let query = "SELECT concat('m', value) AS id FROM generate_series(0, 9999) UNION ALL \
             SELECT concat('m', value * 100) AS id FROM generate_series(0, 99) UNION ALL \
             SELECT concat('m', value * 100) AS id FROM generate_series(0, 99) UNION ALL SELECT NULL";
        let frame = session.sql(query).await.unwrap();
        for passes in [1, 2, 7] {
            let found = repeated_in_passes(&frame, 10_201, passes).await.unwrap();
            let mut found: Vec<String> = found
                .iter()
                .flat_map(|batch| (0..batch.num_rows()).map(|row| id_text(batch.column(0), row).unwrap()))
                .collect();
            found.sort_unstable();
            let mut expected: Vec<String> = (0..200).map(|id| format!("m{}", id / 2 * 100)).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{passes} passes");
        }
        assert!(repeated_in_passes(&frame, 9_000, 1).await.is_err());
    }
}
