//! `cross_moments(x, y, …)`: of the rows of a group in which no argument is null, how many there are, the mean of each
//! argument, the sums of products of deviations from the means of each pair, and each argument's least and greatest value.
//! One pass for what `count`, `avg`, `var_samp`, `covar_samp`, `min` and `max` would make a pass each for.
//!
//! The answer is a list of doubles; [`CrossMomentsCell`] takes it apart. A count is exact up to 2⁵³.
//!
//! Deviations are taken from a value that is moved to the mean of what was seen whenever the rows of a group have become
//! four times as many: no division a row, and no digits lost where a mean is large beside its spread (Chan, Golub and
//! `LeVeque` 1983, The American Statistician 37(3), on shifted data).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::one_group::{Groups, OneGroup};
use crate::stats::CrossMoments;

/// The name of the function in SQL.
pub(crate) const CROSS_MOMENTS: &str = "cross_moments";

/// One answer of the function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CrossMomentsCell {
    pub(crate) moments: CrossMoments,
    /// The least value of each argument; empty without rows.
    pub(crate) least: Vec<f64>,
    pub(crate) greatest: Vec<f64>,
}

impl CrossMomentsCell {
    /// The answer in a row of a column of the function with so many arguments.
    pub(crate) fn read(column: &ArrayRef, row: usize, width: usize) -> Self {
        let empty = || Self { moments: CrossMoments::default(), least: Vec::new(), greatest: Vec::new() };
        let lists = column.as_list::<i32>();
        if lists.is_null(row) {
            return empty();
        }
        let numbers = lists.value(row);
        let mut numbers = numbers.as_primitive::<Float64Type>().values().iter().copied();
        let mut take = |count: usize| -> Vec<f64> { numbers.by_ref().take(count).collect() };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A count.
        let n = take(1).first().map_or(0, |n| *n as u64);
        if n == 0 {
            return empty();
        }
        let (means, pairs) = (take(width), take(pairs(width)));
        let mut products = vec![0.0; width * width];
        for ((left, right), product) in places(width).zip(pairs) {
            products[left * width + right] = product;
            products[right * width + left] = product;
        }
        Self { moments: CrossMoments { n, means, products }, least: take(width), greatest: take(width) }
    }
}

/// Pairs of so many columns, each with itself too.
const fn pairs(width: usize) -> usize {
    width * (width + 1) / 2
}

fn places(width: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..width).flat_map(move |left| (left..width).map(move |right| (left, right)))
}

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CrossMomentsFunction {
    signature: Signature,
}

impl CrossMomentsFunction {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn list_type() -> DataType {
    DataType::List(item())
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float64, true))
}

impl AggregateUDFImpl for CrossMomentsFunction {
    fn name(&self) -> &'static str {
        CROSS_MOMENTS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![DataType::Float64; arguments.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_type())
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(Seen::new(arguments.exprs.len()))))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("moments", list_type(), true))])
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Seen::new(arguments.exprs.len())))
    }
}

/// What was seen of each group.
#[derive(Debug)]
struct Seen {
    width: usize,
    counts: Vec<u64>,
    /// A group after the other: of each column the value that deviations are taken from, their sum, the least and the
    /// greatest value; then the sums of products of deviations of each pair.
    numbers: Vec<f64>,
}

impl Seen {
    fn new(width: usize) -> Self {
        Self { width, counts: Vec::new(), numbers: Vec::new() }
    }

    fn stride(&self) -> usize {
        4 * self.width + pairs(self.width)
    }

    fn group(&mut self, group: usize) -> (&mut u64, Parts<'_>) {
        let stride = self.stride();
        let numbers = &mut self.numbers[group * stride..(group + 1) * stride];
        (&mut self.counts[group], Parts::of(numbers, self.width))
    }

    /// What the function answers of a group.
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    fn answer(&mut self, group: usize, into: &mut Vec<f64>) {
        let width = self.width;
        let (count, parts) = self.group(group);
        let n = *count as f64;
        into.push(n);
        if *count == 0 {
            return;
        }
        into.extend(parts.centres.iter().zip(parts.sums.iter()).map(|(centre, sum)| centre + sum / n));
        for ((left, right), product) in places(width).zip(parts.products.iter()) {
            let centred = product - parts.sums[left] * parts.sums[right] / n;
            // Rounding alone goes below zero; what is no number stays so, for a spread of zero would be believed.
            into.push(if left == right && centred < 0.0 { 0.0 } else { centred });
        }
        into.extend_from_slice(parts.least);
        into.extend_from_slice(parts.greatest);
    }

    /// What the function answers of the first groups.
    fn first_answers(&mut self, groups: usize) -> Result<ArrayRef> {
        let (mut answers, mut lengths) = (Vec::new(), Vec::with_capacity(groups));
        for group in 0..groups {
            let before = answers.len();
            self.answer(group, &mut answers);
            lengths.push(answers.len() - before);
        }
        let values = Arc::new(Float64Array::from(answers));
        Ok(Arc::new(ListArray::try_new(item(), OffsetBuffer::from_lengths(lengths), values, None)?))
    }

    fn take(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let groups = match emit {
            EmitTo::All => self.counts.len(),
            EmitTo::First(groups) => groups,
        };
        let answers = self.first_answers(groups)?;
        self.counts.drain(..groups);
        self.numbers.drain(..groups * self.stride());
        Ok(answers)
    }
}

impl Groups for Seen {
    fn make_room(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        self.numbers.resize(groups * self.stride(), 0.0);
    }

    fn answers(&mut self) -> Result<ArrayRef> {
        self.first_answers(self.counts.len())
    }
}

/// The numbers of one group.
struct Parts<'a> {
    centres: &'a mut [f64],
    sums: &'a mut [f64],
    least: &'a mut [f64],
    greatest: &'a mut [f64],
    products: &'a mut [f64],
}

impl<'a> Parts<'a> {
    fn of(numbers: &'a mut [f64], width: usize) -> Self {
        let (centres, rest) = numbers.split_at_mut(width);
        let (sums, rest) = rest.split_at_mut(width);
        let (least, rest) = rest.split_at_mut(width);
        let (greatest, products) = rest.split_at_mut(width);
        Self { centres, sums, least, greatest, products }
    }

    fn begin(&mut self, means: &[f64], least: &[f64], greatest: &[f64]) {
        self.centres.copy_from_slice(means);
        self.least.copy_from_slice(least);
        self.greatest.copy_from_slice(greatest);
    }

    /// Takes deviations from the means of what was seen.
    fn move_centres(&mut self, n: f64) {
        // The step that is really made, after rounding.
        let step = |(centre, sum): (&f64, &f64)| (centre + sum / n) - centre;
        let steps: Vec<f64> = self.centres.iter().zip(self.sums.iter()).map(step).collect();
        for ((left, right), product) in places(steps.len()).zip(self.products.iter_mut()) {
            *product +=
                n * steps[left] * steps[right] - steps[left] * self.sums[right] - steps[right] * self.sums[left];
        }
        for ((centre, sum), step) in self.centres.iter_mut().zip(self.sums.iter_mut()).zip(&steps) {
            *centre += step;
            *sum -= n * step;
        }
    }
}

impl GroupsAccumulator for Seen {
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.make_room(total);
        let columns: Vec<&Float64Array> = values.iter().map(AsArray::as_primitive).collect();
        let missing = NullBuffer::union_many(columns.iter().map(|column| column.nulls()));
        let mut values = vec![0.0; self.width];
        for (row, group) in groups.iter().enumerate() {
            let is_left_out = missing.as_ref().is_some_and(|missing| missing.is_null(row))
                || filter.is_some_and(|filter| !filter.is_valid(row) || !filter.value(row));
            if is_left_out {
                continue;
            }
            for (value, column) in values.iter_mut().zip(&columns) {
                *value = column.values()[row];
            }
            let (count, mut parts) = self.group(*group);
            if *count == 0 {
                parts.begin(&values, &values, &values);
            }
            *count += 1;
            let mut product = parts.products.iter_mut();
            for (left, value) in values.iter().enumerate() {
                let deviation = value - parts.centres[left];
                parts.sums[left] += deviation;
                parts.least[left] = parts.least[left].min(*value);
                parts.greatest[left] = parts.greatest[left].max(*value);
                for (right, product) in (left..values.len()).zip(product.by_ref()) {
                    *product += deviation * (values[right] - parts.centres[right]);
                }
            }
            if count.is_power_of_two() && count.trailing_zeros() % 2 == 0 {
                let n = *count as f64;
                parts.move_centres(n);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.make_room(total);
        let width = self.width;
        for (row, group) in groups.iter().enumerate() {
            let other = CrossMomentsCell::read(&states[0], row, width);
            if other.moments.n == 0 {
                continue;
            }
            let (count, mut parts) = self.group(*group);
            if *count == 0 {
                parts.begin(&other.moments.means, &other.least, &other.greatest);
            }
            *count += other.moments.n;
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            let n = other.moments.n as f64;
            let steps: Vec<f64> =
                other.moments.means.iter().zip(parts.centres.iter()).map(|(mean, centre)| mean - centre).collect();
            for ((left, right), product) in places(width).zip(parts.products.iter_mut()) {
                *product += other.moments.product(left, right) + n * steps[left] * steps[right];
            }
            for (column, step) in steps.iter().enumerate() {
                parts.sums[column] += n * step;
                parts.least[column] = parts.least[column].min(other.least[column]);
                parts.greatest[column] = parts.greatest[column].max(other.greatest[column]);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.take(emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.take(emit)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, Array::len);
        let mut alone = Self::new(self.width);
        alone.update_batch(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        alone.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<u64>() + self.numbers.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;

    use super::*;

    fn columns(rows: &[[Option<f64>; 2]]) -> Vec<ArrayRef> {
        let column = |place: usize| Arc::new(rows.iter().map(|row| row[place]).collect::<Float64Array>()) as ArrayRef;
        vec![column(0), column(1)]
    }

    fn answer(groups: &mut Seen, group: usize) -> CrossMomentsCell {
        CrossMomentsCell::read(&groups.take(EmitTo::All).unwrap(), group, 2)
    }

    /// Far from zero beside their spread, the first of all an outlier; some rows lack a value.
    fn rows(count: u32) -> Vec<[Option<f64>; 2]> {
        let row = |index: u32| {
            let wave = f64::from(index.wrapping_mul(7_919) % 1_009) / 1_009.0;
            let first = 1e6 + wave + if index == 0 { 1e4 } else { 0.0 };
            [Some(first).filter(|_| index % 11 != 3), Some(3.0 * wave - f64::from(index % 5))]
        };
        (0..count).map(row).collect()
    }

    fn expected(rows: &[[Option<f64>; 2]]) -> CrossMoments {
        CrossMoments::from_rows(rows.iter().filter_map(|row| Some([row[0]?, row[1]?]))).unwrap()
    }

    fn assert_agree(found: &CrossMoments, expected: &CrossMoments) {
        assert_eq!(found.n, expected.n);
        let numbers =
            |moments: &CrossMoments| moments.means.iter().chain(&moments.products).copied().collect::<Vec<_>>();
        for (found, expected) in numbers(found).into_iter().zip(numbers(expected)) {
            assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} {expected}");
        }
    }

    #[test]
    fn groups_have_the_moments_of_welfords_update() {
        let all = rows(10_000);
        let of = |group: usize| -> Vec<[Option<f64>; 2]> { all.iter().copied().skip(group).step_by(3).collect() };
        let numbers: Vec<usize> = (0..all.len()).map(|row| row % 3).collect();
        let mut groups = Seen::new(2);
        for (rows, numbers) in all.chunks(700).zip(numbers.chunks(700)) {
            groups.update_batch(&columns(rows), numbers, None, 3).unwrap();
        }
        let found = groups.take(EmitTo::All).unwrap();
        for group in 0..3 {
            let rows = of(group);
            let cell = CrossMomentsCell::read(&found, group, 2);
            assert_agree(&cell.moments, &expected(&rows));
            let complete = rows.iter().filter_map(|row| row[0].and(row[1]));
            let ends = (complete.clone().reduce(f64::min), complete.reduce(f64::max));
            assert_eq!((Some(cell.least[1]), Some(cell.greatest[1])), ends);
        }
    }

    #[test]
    fn parts_come_together_by_either_way_to_a_state() {
        let all = rows(500);
        let mut whole = Seen::new(2);
        let mut part = Seen::new(2);
        part.update_batch(&columns(&all[..200]), &[0; 200], None, 1).unwrap();
        whole.merge_batch(&part.state(EmitTo::All).unwrap(), &[0], 1).unwrap();
        let single = Seen::new(2).convert_to_state(&columns(&all[200..]), None).unwrap();
        whole.merge_batch(&single, &[0; 300], 1).unwrap();
        assert_agree(&answer(&mut whole, 0).moments, &expected(&all));
    }

    #[test]
    fn what_cannot_be_squared_has_no_spread_of_zero() {
        let mut groups = Seen::new(2);
        let rows: Vec<[Option<f64>; 2]> = (1..9).map(|row| [Some(f64::from(row) * 1e200), Some(1.0)]).collect();
        groups.update_batch(&columns(&rows), &[0; 8], None, 1).unwrap();
        assert!(!answer(&mut groups, 0).moments.products[0].is_finite());
    }

    #[test]
    fn what_does_not_vary_has_no_spread_and_nothing_no_rows() {
        let mut groups = Seen::new(2);
        let same = [[Some(0.1), Some(7e11)]; 500];
        groups.update_batch(&columns(&same), &[0; 500], None, 2).unwrap();
        let filter = BooleanArray::from(vec![false; 3]);
        groups.update_batch(&columns(&same[..3]), &[1; 3], Some(&filter), 2).unwrap();
        let found = groups.take(EmitTo::First(2)).unwrap();
        let cell = CrossMomentsCell::read(&found, 0, 2);
        assert_eq!((cell.moments.means, cell.moments.products), (vec![0.1, 7e11], vec![0.0; 4]));
        assert_eq!(CrossMomentsCell::read(&found, 1, 2).moments, CrossMoments::default());
        let mut one = OneGroup(Seen::new(2));
        assert!(matches!(one.evaluate().unwrap(), ScalarValue::List(list) if list.value(0).len() == 1));
    }
}
