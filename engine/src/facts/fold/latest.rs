//! Of several rows of one event the latest received counts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::ids::{NONE, Texts};

/// When a row was received, from which file (a number of [`Latest`]'s own) and at which place in it.
#[derive(Debug, Clone, Copy)]
struct Order {
    received: i64,
    file: u32,
    row: i64,
}

/// Hashes are hashed already, and numbers need little.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        // Neighbouring numbers must not fall together: Fibonacci hashing (Knuth, TAOCP volume 3, 6.4).
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[allow(clippy::cast_possible_truncation)] // Half of a good hash is a good hash.
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// A map by hash.
pub(super) type ByHash<T> = HashMap<u128, T, BuildHasherDefault<AsItIs>>;

/// A map by a message's number.
pub(super) type ByNumber<T> = HashMap<u32, T, BuildHasherDefault<AsItIs>>;

/// Rows by the key of their event, the latest received of each.
pub(super) struct Latest<T> {
    rows: Vec<T>,
    places: ByHash<u32>,
    orders: Vec<Order>,
    files: Texts,
    /// The number of the file that the last row came from: the next one's, mostly.
    last_file: u32,
}

/// The columns that tell the order of reception of a batch's rows.
pub(super) struct Orders {
    received: arrow::array::TimestampMicrosecondArray,
    files: arrow::array::StringArray,
    rows: arrow::array::Int64Array,
}

impl Orders {
    /// From the last three columns of a batch with plain texts: `ingested_at`, `source_file`, `source_row`.
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let first = batch.num_columns() - 3;
        Self {
            received: batch.column(first).as_primitive::<TimestampMicrosecondType>().clone(),
            files: batch.column(first + 1).as_string::<i32>().clone(),
            rows: batch.column(first + 2).as_primitive::<Int64Type>().clone(),
        }
    }
}

impl<T> Latest<T> {
    /// For about so many rows.
    pub(super) fn with_room(rows: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows),
            places: ByHash::with_capacity_and_hasher(rows, BuildHasherDefault::default()),
            orders: Vec::with_capacity(rows),
            files: Texts::default(),
            last_file: NONE,
        }
    }

    /// Takes in a row, unless a later one of its key is there.
    #[allow(clippy::cast_possible_truncation)] // Memory ends long before 2^32 events.
    pub(super) fn add(&mut self, key: u128, orders: &Orders, place: usize, row: T) {
        let file = orders.files.is_valid(place).then(|| orders.files.value(place));
        if file != self.files.text(self.last_file) {
            self.last_file = file.map_or(NONE, |file| self.files.number(file));
        }
        let file = self.last_file;
        let order = Order { received: orders.received.value(place), file, row: orders.rows.value(place) };
        let next = self.rows.len() as u32;
        match *self.places.entry(key).or_insert(next) {
            new if new == next => {
                self.rows.push(row);
                self.orders.push(order);
            }
            known => {
                let known = known as usize;
                let old = self.orders[known];
                let rank = |order: Order| (order.received, self.files.text(order.file), order.row);
                if rank(order) > rank(old) {
                    self.rows[known] = row;
                    self.orders[known] = order;
                }
            }
        }
    }

    pub(super) fn into_rows(self) -> Vec<T> {
        self.rows
    }
}
