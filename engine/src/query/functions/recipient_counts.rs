//! `recipient_counts(recipient, campaign, delivered, clicked, converted, opted_out, replied)`: of the messages of a group, how
//! many recipients in a campaign got one, and how many of them did what.
//!
//! The same as grouping by campaign and recipient and counting the groups, in twelve bytes a recipient instead of two texts
//! and a dozen numbers. Recipients are told apart by 88 bits of a hash: among a hundred million of them the chance of any
//! mistake is below 10⁻¹⁰. The seed is fixed, so that the nodes of a cluster agree.
//!
//! A group's entries are a list that is sorted, and rid of repetitions, whenever it has doubled: that reads and writes
//! memory in order, takes no more time than a hash table, and half of its room.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray, BooleanArray, Int64Array, LargeBinaryArray, LargeBinaryBuilder, StringArray,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::one_group::{Groups, OneGroup};

/// What is counted, in the order of the arguments.
const COUNTS: [&str; 7] =
    ["recipients", "delivered", "clickers", "converters", "clicking_converters", "opt_outs", "repliers"];

const DELIVERED: u32 = 1;
const CLICKED: u32 = 2;
const CONVERTED: u32 = 4;
const OPTED_OUT: u32 = 8;
const REPLIED: u32 = 16;
const FLAGS: [u32; 5] = [DELIVERED, CLICKED, CONVERTED, OPTED_OUT, REPLIED];

/// The byte of an entry's last number that holds the flags.
const FLAG_BYTE: u32 = 0xff;

/// A recipient in a campaign: 88 bits of its hash, and in the last byte what it did.
type Entry = [u32; 3];
const ENTRY_BYTES: usize = size_of::<Entry>();

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RecipientCounts {
    signature: Signature,
}

impl RecipientCounts {
    pub(super) fn new() -> Self {
        let mut arguments = vec![DataType::Utf8; 2];
        arguments.extend(vec![DataType::Boolean; FLAGS.len()]);
        Self { signature: Signature::exact(arguments, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for RecipientCounts {
    fn name(&self) -> &'static str {
        "recipient_counts"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(Sets::default())))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("recipients", DataType::LargeBinary, true))])
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Sets::default()))
    }
}

fn fields() -> Fields {
    COUNTS.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect()
}

/// The recipients of one group.
#[derive(Debug, Default)]
struct Set {
    entries: Vec<Entry>,
    /// So many from the start are in order, and each but once.
    in_order: usize,
}

/// Entries that come before any are put in order: sorting a few again and again would take longer than they are worth.
const FIRST_ENTRIES: usize = 1 << 10;

fn is_same(one: Entry, other: Entry) -> bool {
    one[0] == other[0] && one[1] == other[1] && (one[2] ^ other[2]) & !FLAG_BYTE == 0
}

impl Set {
    fn add(&mut self, entry: Entry) {
        if self.entries.len() == self.entries.capacity() && self.entries.len() >= 2 * self.in_order.max(FIRST_ENTRIES) {
            self.put_in_order();
        }
        self.entries.push(entry);
    }

    /// Sorts the entries and makes one of those of one recipient.
    fn put_in_order(&mut self) {
        if self.in_order == self.entries.len() {
            return;
        }
        // As one number: a comparison without a branch.
        self.entries.sort_unstable_by_key(|[first, second, third]| {
            u128::from(*first) << 64 | u128::from(*second) << 32 | u128::from(*third)
        });
        self.entries.dedup_by(|next, kept| {
            let is_repeated = is_same(*next, *kept);
            if is_repeated {
                kept[2] |= next[2] & FLAG_BYTE;
            }
            is_repeated
        });
        self.in_order = self.entries.len();
    }

    fn merge(&mut self, state: &[u8]) {
        self.entries.reserve_exact(state.len() / ENTRY_BYTES);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        for entry in state.chunks_exact(ENTRY_BYTES) {
            self.entries.push([number(&entry[..4]), number(&entry[4..8]), number(&entry[8..])]);
        }
    }

    fn counts(&mut self) -> [i64; COUNTS.len()] {
        self.put_in_order();
        let mut counts = [0; COUNTS.len()];
        for entry in &self.entries {
            let did = |flags: u32| i64::from(entry[2] & flags == flags);
            let of_entry = [
                1,
                did(DELIVERED),
                did(CLICKED),
                did(CONVERTED),
                did(CLICKED | CONVERTED),
                did(OPTED_OUT),
                did(REPLIED),
            ];
            counts.iter_mut().zip(of_entry).for_each(|(count, one)| *count += one);
        }
        counts
    }
}

/// The recipients of all groups.
#[derive(Debug, Default)]
struct Sets(Vec<Set>);

/// Each row as an entry of a set.
fn entries(values: &[ArrayRef]) -> Result<Vec<Entry>> {
    let texts = |place: usize| arrow::compute::cast(&values[place], &DataType::Utf8);
    let (recipients, campaigns) = (texts(0)?, texts(1)?);
    let (recipients, campaigns): (&StringArray, &StringArray) = (recipients.as_string(), campaigns.as_string());
    let flags: Vec<(&BooleanArray, u32)> = values[2..].iter().map(AsArray::as_boolean).zip(FLAGS).collect();
    let mut campaign: (Option<&str>, u64) = (None, 0);
    let entry = |row: usize| {
        let name = campaigns.is_valid(row).then(|| campaigns.value(row));
        // Neighbouring rows are of one campaign, mostly.
        if name != campaign.0 {
            campaign = (name, name.map_or(0, |name| xxh3_64_with_seed(name.as_bytes(), 1)));
        }
        let recipient = if recipients.is_valid(row) { recipients.value(row) } else { "" };
        let hash = xxh3_128_with_seed(recipient.as_bytes(), campaign.1);
        #[allow(clippy::cast_possible_truncation)] // Parts of the hash.
        let [first, second, third] = [hash as u32, (hash >> 32) as u32, (hash >> 64) as u32 & !FLAG_BYTE];
        let did = |(column, flag): &(&BooleanArray, u32)| {
            if column.is_valid(row) && column.value(row) { *flag } else { 0 }
        };
        [first, second, third | flags.iter().map(did).sum::<u32>()]
    };
    Ok((0..recipients.len()).map(entry).collect())
}

fn to_bytes(entry: Entry) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    for (place, number) in bytes.chunks_exact_mut(4).zip(entry) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn counts_array(sets: &mut [Set]) -> Result<ArrayRef> {
    let counts: Vec<[i64; COUNTS.len()]> = sets.iter_mut().map(Set::counts).collect();
    let column =
        |place: usize| Arc::new(Int64Array::from_iter_values(counts.iter().map(|counts| counts[place]))) as ArrayRef;
    Ok(Arc::new(StructArray::try_new(fields(), (0..COUNTS.len()).map(column).collect(), None)?))
}

impl GroupsAccumulator for Sets {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.make_room(total);
        for (row, (entry, group)) in entries(values)?.into_iter().zip(groups).enumerate() {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                self.0[*group].add(entry);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        counts_array(&mut emit.take_needed(&mut self.0))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut sets = emit.take_needed(&mut self.0);
        sets.iter_mut().for_each(Set::put_in_order);
        let lengths: Vec<usize> = sets.iter().map(|set| set.entries.len() * ENTRY_BYTES).collect();
        // Each set goes as its entries are written: at no time are all of them there twice.
        let mut bytes = Vec::with_capacity(lengths.iter().sum());
        for set in sets {
            bytes.extend(set.entries.into_iter().flat_map(to_bytes));
        }
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(vec![Arc::new(LargeBinaryArray::try_new(offsets, bytes.into(), None)?)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.make_room(total);
        let states = values[0].as_binary::<i64>();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| states.is_valid(*row)) {
            self.0[*group].merge(states.value(row));
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut states = LargeBinaryBuilder::new();
        for (row, entry) in entries(values)?.into_iter().enumerate() {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                states.append_value(to_bytes(entry));
            } else {
                states.append_value([]);
            }
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn size(&self) -> usize {
        self.0.iter().map(|set| set.entries.capacity() * ENTRY_BYTES + size_of::<Set>()).sum()
    }
}

impl Groups for Sets {
    fn make_room(&mut self, groups: usize) {
        self.0.resize_with(groups, Set::default);
    }

    fn answers(&mut self) -> Result<ArrayRef> {
        counts_array(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, &str, bool, bool)]) -> Vec<ArrayRef> {
        let text = |place: fn(&(&str, &str, bool, bool)) -> String| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(place(row))).collect::<StringArray>())
        };
        let flag = |place: fn(&(&str, &str, bool, bool)) -> bool| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(place(row))).collect::<BooleanArray>())
        };
        let recipients = text(|row| row.0.to_owned());
        let campaigns = text(|row| row.1.to_owned());
        let none = flag(|_| false);
        vec![recipients, campaigns, flag(|row| row.2), flag(|row| row.3), Arc::clone(&none), Arc::clone(&none), none]
    }

    #[test]
    fn many_entries_are_counted_once_each() {
        let mut set = Set::default();
        // Each of 5,000 comes seven times, in an order that mixes them, and clicks once.
        for step in 0..35_000_u32 {
            let who = step.wrapping_mul(7_919) % 5_000;
            let flag = if step < 5_000 { CLICKED } else { DELIVERED };
            set.add([who, who ^ 0xffff, who << 8 | flag]);
        }
        assert!(set.entries.len() < 20_000);
        assert_eq!(set.counts(), [5_000, 5_000, 5_000, 0, 0, 0, 0]);
    }

    #[test]
    fn a_recipient_counts_once_in_a_campaign_and_again_in_the_next() {
        let first = rows(&[("r1", "a", true, false), ("r1", "a", false, true), ("r2", "a", false, false)]);
        let second = rows(&[("r1", "a", true, true), ("r1", "b", true, false)]);
        let expected = [3, 2, 1, 0, 0, 0, 0];
        let counted = |sets: &mut [Set]| sets[0].counts();
        let mut whole = Sets::default();
        whole.update_batch(&first, &[0, 0, 0], None, 1).unwrap();
        whole.update_batch(&second, &[0, 0], None, 1).unwrap();
        assert_eq!(counted(&mut whole.0), expected);
        // In two parts that are brought together, by either way to a state.
        let mut part = Sets::default();
        part.update_batch(&first, &[0, 0, 0], None, 1).unwrap();
        let mut merged = Sets::default();
        merged.merge_batch(&part.state(EmitTo::All).unwrap(), &[0], 1).unwrap();
        merged.merge_batch(&Sets::default().convert_to_state(&second, None).unwrap(), &[0, 0], 1).unwrap();
        assert_eq!(counted(&mut merged.0), expected);
    }
}
