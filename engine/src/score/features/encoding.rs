//! From columns to the numbers that a model reads: numbers as they are, categories as a column each, missing as NaN.
//!
//! In: record batches with a column a feature. Out: a [`FeatureMatrix`]. What a column becomes is learnt once, from the data
//! that a model is trained on, and kept with the model; a category that was not there then has a column for all such.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array as _, ArrayRef, AsArray as _, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::query::is_text;
use crate::stats::FeatureMatrix;

/// Categories of one column at most; the others are taken together.
const CATEGORIES: usize = 20;
/// Units that a category needs for a column of its own.
const UNITS_PER_CATEGORY: u64 = 30;
/// Texts that are numbers in so large a share of the units make a column of numbers.
const NUMBER_SHARE: f64 = 0.99;
/// A column of texts with so large a share of different ones is a name of its unit and no category.
const IDENTIFIER_SHARE: f64 = 0.5;

/// What a column becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ColumnKind {
    /// A number, NaN where it is missing. One beyond those that were learnt from counts as the nearest of them: days since
    /// the first message only ever grow, and a model that goes on along its line says nothing that it has seen.
    Number {
        /// The least that was learnt from.
        least: f64,
        /// The greatest.
        most: f64,
    },
    /// A column of zeros and ones for each value, and one for every other; a missing value has zeros.
    Category {
        /// The values with a column of their own.
        values: Vec<String>,
    },
}

/// One feature and what it becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EncodedColumn {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
}

/// All of them, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Encoding {
    pub(crate) columns: Vec<EncodedColumn>,
}

/// Rows as numbers.
pub(crate) struct Encoded {
    pub(crate) matrix: FeatureMatrix,
    pub(crate) unknown: UnknownValues,
}

/// By feature, how many units have a value, and how many one that training did not know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnknownValues {
    filled: Vec<u64>,
    unknown: Vec<u64>,
}

impl UnknownValues {
    pub(crate) fn add(&mut self, more: &Self) {
        for (sums, more) in [(&mut self.filled, &more.filled), (&mut self.unknown, &more.unknown)] {
            sums.resize(more.len(), 0);
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
    }

    /// What a reader must know of them; `units` is what they are of.
    ///
    /// # Errors
    /// When a column is another than the one that was learnt from: texts where there were numbers.
    pub(crate) fn notes(&self, encoding: &Encoding, units: &str) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        for (column, (filled, unknown)) in encoding.columns.iter().zip(self.filled.iter().zip(&self.unknown)) {
            let name = &column.name;
            match &column.kind {
                _ if *unknown == 0 => {}
                ColumnKind::Number { .. } if 2 * unknown > *filled => {
                    return Err(EngineError::refused(format!(
                        "the column \"{name}\" had numbers where the model was trained; here {unknown} of {filled} values are no \
                         numbers: train a model on data like these, or bring the column in as it was"
                    )));
                }
                ColumnKind::Number { .. } => {
                    notes.push(format!("{unknown} {units} have a {name} that is no number: it counts as missing"));
                }
                ColumnKind::Category { .. } => notes.push(format!(
                    "{unknown} {units} have a value of {name} that too few had, or nobody, where the model was trained: they count \
                     as \"any other\""
                )),
            }
        }
        Ok(notes)
    }
}

impl Encoding {
    /// Learns the encoding of the columns of that name. Also says which are left out, and why.
    ///
    /// # Errors
    /// When a column is not there.
    pub(crate) fn learn(batches: &[RecordBatch], names: &[String]) -> Result<(Self, Vec<String>)> {
        let mut columns = Vec::new();
        let mut left_out: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for name in names {
            let arrays: Vec<ArrayRef> = batches.iter().map(|batch| column(batch, name)).collect::<Result<Vec<_>>>()?;
            match learn_column(&arrays)? {
                Ok(kind) => columns.push(EncodedColumn { name: name.clone(), kind }),
                Err(why) => left_out.entry(why).or_default().push(name),
            }
        }
        let notes = left_out.into_iter().map(|(why, names)| format!("left out, for {why}: {}", names.join(", ")));
        Ok((Self { columns }, notes.collect()))
    }

    /// The features, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// For each column of the matrix, which feature it is of.
    pub(crate) fn features(&self) -> Vec<usize> {
        let widths = self.columns.iter().map(EncodedColumn::width);
        widths.enumerate().flat_map(|(feature, width)| std::iter::repeat_n(feature, width)).collect()
    }

    /// The rows of a batch as numbers.
    ///
    /// # Errors
    /// When a column is not there, or no longer of its kind.
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Encoded> {
        let rows = batch.num_rows();
        let width: usize = self.columns.iter().map(EncodedColumn::width).sum();
        let mut values = Vec::with_capacity(rows * width);
        let (mut unknown, mut filled) = (vec![0; self.columns.len()], Vec::with_capacity(self.columns.len()));
        for (place, feature) in self.columns.iter().enumerate() {
            let array = column(batch, &feature.name)?;
            filled.push((rows - array.null_count()) as u64);
            match &feature.kind {
                ColumnKind::Number { least, most } => {
                    let (numbers, others) = numbers(&array)?;
                    values.extend(numbers.iter().map(|number| number.map_or(f64::NAN, |own| own.clamp(*least, *most))));
                    unknown[place] = others;
                }
                ColumnKind::Category { values: known } => {
                    let texts = cast(&array, &DataType::Utf8)?;
                    let texts = texts.as_string::<i32>();
                    let start = values.len();
                    values.resize(start + rows * (known.len() + 1), 0.0);
                    let places: HashMap<&str, usize> =
                        known.iter().enumerate().map(|(place, value)| (value.as_str(), place)).collect();
                    for (row, text) in texts.iter().enumerate() {
                        let Some(text) = text else { continue };
                        let category = places.get(text).copied().unwrap_or_else(|| {
                            unknown[place] += 1;
                            known.len()
                        });
                        values[start + category * rows + row] = 1.0;
                    }
                }
            }
        }
        let unknown = UnknownValues { filled, unknown };
        Ok(Encoded { matrix: FeatureMatrix::new(values, rows, width)?, unknown })
    }
}

impl EncodedColumn {
    pub(crate) fn width(&self) -> usize {
        match &self.kind {
            ColumnKind::Number { .. } => 1,
            ColumnKind::Category { values } => values.len() + 1,
        }
    }
}

fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    batch.column_by_name(name).cloned().ok_or_else(|| {
        EngineError::usage(format!("there is no feature \"{name}\" in the data: the model was trained with it"))
    })
}

/// A column as numbers, and how many texts were none.
fn numbers(array: &ArrayRef) -> Result<(Float64Array, u64)> {
    let plain = match array.data_type() {
        DataType::Timestamp(_, _) | DataType::Date64 | DataType::Time64(_) => cast(array, &DataType::Int64)?,
        DataType::Date32 | DataType::Boolean => cast(array, &DataType::Int32)?,
        _ => array.clone(),
    };
    let numbers = cast(&plain, &DataType::Float64)?;
    let lost = (numbers.null_count() - array.null_count()) as u64;
    let numbers = numbers.as_primitive::<Float64Type>().clone();
    // An infinity says no more than a missing value.
    let finite = numbers.iter().map(|number| number.filter(|number| number.is_finite())).collect();
    Ok((finite, lost))
}

/// What the column becomes, or why it is left out.
fn learn_column(arrays: &[ArrayRef]) -> Result<std::result::Result<ColumnKind, String>> {
    let rows: usize = arrays.iter().map(arrow::array::Array::len).sum();
    let filled = rows - arrays.iter().map(arrow::array::Array::null_count).sum::<usize>();
    if filled == 0 {
        return Ok(Err("no unit has a value".to_owned()));
    }
    let is_texts = arrays.first().is_some_and(|array| is_text(array.data_type()));
    let mut counts: HashMap<String, u64> = HashMap::new();
    if is_texts {
        for array in arrays {
            let texts = cast(array, &DataType::Utf8)?;
            for text in texts.as_string::<i32>().iter().flatten() {
                match counts.get_mut(text) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(text.to_owned(), 1);
                    }
                }
            }
        }
        #[allow(clippy::cast_precision_loss)] // Counts of rows held in memory.
        let share = |part: usize| part as f64 / filled as f64;
        let lost: u64 = arrays.iter().map(|array| Ok(numbers(array)?.1)).sum::<Result<u64>>()?;
        let is_numbers = share(filled - usize::try_from(lost).unwrap_or(filled)) >= NUMBER_SHARE;
        if !is_numbers {
            if counts.len() < 2 && filled == rows {
                return Ok(Err("every unit has the same value".to_owned()));
            }
            if share(counts.len()) > IDENTIFIER_SHARE && counts.len() > CATEGORIES {
                return Ok(Err("nearly every unit has a value of its own, as a name or an identifier".to_owned()));
            }
            let mut values: Vec<(String, u64)> =
                counts.into_iter().filter(|(_, count)| *count >= UNITS_PER_CATEGORY.min(rows as u64 / 20)).collect();
            values.sort_by(|(left, of_left), (right, of_right)| of_right.cmp(of_left).then_with(|| left.cmp(right)));
            values.truncate(CATEGORIES);
            let values = values.into_iter().map(|(value, _)| value).collect();
            return Ok(Ok(ColumnKind::Category { values }));
        }
    }
    let (mut least, mut most, mut finite) = (f64::INFINITY, f64::NEG_INFINITY, 0);
    for array in arrays {
        for number in numbers(array)?.0.iter().flatten() {
            (least, most, finite) = (least.min(number), most.max(number), finite + 1);
        }
    }
    if finite == 0 {
        return Ok(Err("no unit has a number".to_owned()));
    }
    // With missing values, being there or not tells something too.
    if least >= most && finite == rows {
        return Ok(Err("every unit has the same value".to_owned()));
    }
    Ok(Ok(ColumnKind::Number { least, most }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let rows = 200;
        let text = |value: &dyn Fn(usize) -> Option<String>| {
            Arc::new((0..rows).map(value).collect::<StringArray>()) as ArrayRef
        };
        RecordBatch::try_from_iter([
            ("age", text(&|row| (row % 7 != 0).then(|| (20 + row % 50).to_string()))),
            ("city", text(&|row| Some(if row % 3 == 0 { "上海" } else { "Nicosia" }.to_owned()))),
            ("name", text(&|row| Some(format!("person {row}")))),
            ("same", text(&|_| Some("yes".to_owned()))),
            ("nothing", text(&|_| None)),
            ("visits", Arc::new((0..rows).map(|row| Some(i64::try_from(row).unwrap())).collect::<Int64Array>())),
            ("ones", Arc::new(Int64Array::from(vec![1; rows]))),
        ])
        .unwrap()
    }

    #[test]
    fn columns_become_what_they_hold_and_empty_ones_are_named() {
        let batch = batch();
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let (encoding, notes) = Encoding::learn(std::slice::from_ref(&batch), &names).unwrap();
        assert_eq!(encoding.names(), ["age", "city", "visits"]);
        assert_eq!(
            notes,
            [
                "left out, for every unit has the same value: same, ones",
                "left out, for nearly every unit has a value of its own, as a name or an identifier: name",
                "left out, for no unit has a value: nothing",
            ]
        );
        assert_eq!(encoding.features(), [0, 1, 1, 1, 2]);
        let encoded = encoding.encode(&batch).unwrap();
        assert!(encoded.matrix.column(0)[0].is_nan() && (encoded.matrix.column(0)[1] - 21.0).abs() < 1e-12);
        let shanghai: f64 = encoded.matrix.column(2).iter().sum();
        assert!((shanghai - 67.0).abs() < 1e-12, "{shanghai}");
        assert_eq!(encoded.unknown.unknown, [0, 0, 0]);
        // What lies beyond the numbers that were learnt from counts as the nearest of them.
        let beyond = Arc::new(Int64Array::from(vec![-5, 70, 5_000])) as ArrayRef;
        let (of_visits, _) = Encoding::learn(std::slice::from_ref(&batch), &["visits".to_owned()]).unwrap();
        let beyond = of_visits.encode(&RecordBatch::try_from_iter([("visits", beyond)]).unwrap()).unwrap();
        assert_eq!(beyond.matrix.values(), [0.0, 70.0, 199.0]);
    }

    #[test]
    fn a_category_that_is_new_is_counted_and_has_the_column_of_all_others() {
        let (encoding, _) = Encoding::learn(&[batch()], &["city".to_owned()]).unwrap();
        let now = RecordBatch::try_from_iter([(
            "city",
            Arc::new(StringArray::from(vec![Some("Paphos"), Some("上海"), None])) as ArrayRef,
        )])
        .unwrap();
        let encoded = encoding.encode(&now).unwrap();
        assert_eq!(encoded.unknown.unknown, [1]);
        let rows: Vec<Vec<f64>> =
            (0..3).map(|row| (0..3).map(|column| encoded.matrix.column(column)[row]).collect()).collect();
        assert_eq!(rows, [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]].map(Vec::from));
        let other = RecordBatch::try_from_iter([("town", now.column(0).clone())]).unwrap();
        assert!(encoding.encode(&other).err().unwrap().to_string().contains("no feature \"city\""));
    }
}
