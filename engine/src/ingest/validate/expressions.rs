//! The Polars expressions that parse one column: from a cell as the file has it to the type that the store keeps. A cell
//! that does not parse becomes null, which the plan then tells apart from a cell that was empty.

use polars::prelude::{
    Column, DataType, Expr, Field, IntoColumn, NULL, NamedFrom, PolarsResult, Series, StringChunked, TimeUnit,
    coalesce, lit, when,
};

use crate::event::CURRENCY;
use crate::event::words::WordList;
use crate::event::{ColumnKind, MONEY_PRECISION, MONEY_SCALE, NULL_WORDS};
use crate::ingest::mapping::LogMapping;
use crate::ingest::times::TimeParser;

/// Microseconds of UTC, without a label that would need a zone table.
pub(super) const MOMENT: DataType = DataType::Datetime(TimeUnit::Microseconds, None);

fn money() -> DataType {
    DataType::Decimal(usize::from(MONEY_PRECISION), MONEY_SCALE.unsigned_abs().into())
}

/// The cell with the words for "nothing" made null, for columns that are not text.
pub(super) fn without_null_words(cell: Expr) -> Expr {
    cell.map(
        |column| {
            if column.dtype() != &DataType::String {
                return Ok(column);
            }
            // Most chunks hold no such word: hand the column through untouched then.
            if column.str()?.iter().flatten().all(|text| !NULL_WORDS.contains(&text)) {
                return Ok(column);
            }
            let kept: StringChunked =
                column.str()?.iter().map(|text| text.filter(|text| !NULL_WORDS.contains(text))).collect();
            Ok(kept.with_name(column.name().clone()).into_column())
        },
        |_, field| Ok(field.clone()),
    )
}

/// Parses a cell into a canonical column's type.
pub(super) fn parsed(cell: Expr, name: &str, kind: ColumnKind, mapping: &LogMapping, times: &TimeParser) -> Expr {
    let negate = mapping.negate.iter().any(|negated| negated == name);
    match kind {
        // Codes of ISO 4217 are capitals: `usd` is no other currency.
        ColumnKind::Text if name == CURRENCY => cell.cast(DataType::String).str().to_uppercase(),
        ColumnKind::Text => cell.cast(DataType::String),
        ColumnKind::Time => moment(cell, times.clone()),
        ColumnKind::Money => {
            let amount = amount(cell);
            if negate { (lit(0) - amount).cast(money()) } else { amount }
        }
        ColumnKind::Integer => {
            let number = trimmed(cell.clone()).cast(DataType::Float64);
            let truncated = number.clone().cast(DataType::Int64);
            let whole = when(truncated.clone().cast(DataType::Float64).eq(number)).then(truncated).otherwise(lit(NULL));
            coalesce(&[exact_integers(trimmed(cell)), whole])
        }
        ColumnKind::Number => {
            let number = trimmed(cell).cast(DataType::Float64);
            let number = if negate { lit(0.0) - number } else { number };
            when(number.clone().is_finite()).then(number).otherwise(lit(NULL))
        }
        ColumnKind::Boolean => boolean(cell),
        ColumnKind::Word(list) => word(cell, list, mapping.words.get(name)),
    }
}

/// Integers and texts as integers; of doubles only those that are whole are some, and they are made elsewhere.
fn exact_integers(cell: Expr) -> Expr {
    cell.map(
        |column| {
            if column.dtype().is_float() {
                return Ok(Column::full_null(column.name().clone(), column.len(), &DataType::Int64));
            }
            column.cast(&DataType::Int64)
        },
        |_, field| Ok(Field::new(field.name().clone(), DataType::Int64)),
    )
}

/// Text without spaces around it; other types as they are.
fn trimmed(cell: Expr) -> Expr {
    cell.map(
        |column| {
            if column.dtype() != &DataType::String {
                return Ok(column);
            }
            let padded = column.str()?.iter().flatten().any(|text| text.len() != text.trim().len());
            if !padded {
                return Ok(column);
            }
            let texts: StringChunked = column.str()?.iter().map(|text| text.map(str::trim)).collect();
            Ok(texts.with_name(column.name().clone()).into_column())
        },
        |_, field| Ok(field.clone()),
    )
}

/// Doubles that are all whole as integers: ids that a tool kept as numbers with gaps, which another log has as 17 and not as
/// 17.0. Other columns as texts.
pub(super) fn whole_numbers(cell: Expr) -> Expr {
    cell.map(
        |column| {
            let Ok(numbers) = column.f64() else { return column.cast(&DataType::String) };
            let is_whole = |number: f64| number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
            if !numbers.iter().flatten().all(is_whole) {
                return column.cast(&DataType::String);
            }
            let texts: StringChunked =
                numbers.iter().map(|number| number.map(|number| format!("{number:.0}"))).collect();
            Ok(texts.with_name(column.name().clone()).into_column())
        },
        |_, field| Ok(Field::new(field.name().clone(), DataType::String)),
    )
}

/// An exact amount; texts with an exponent, which a decimal does not read, go through a double.
fn amount(cell: Expr) -> Expr {
    let text = trimmed(cell);
    coalesce(&[text.clone().cast(money()), decimal_text(text.cast(DataType::Float64)).cast(money())])
}

/// Doubles as texts with the digits that the store keeps, other columns as texts.
pub(super) fn double_text(cell: Expr) -> Expr {
    cell.map(
        |column| {
            if column.dtype() == &DataType::Float64 { digits(&column) } else { column.cast(&DataType::String) }
        },
        |_, field| Ok(Field::new(field.name().clone(), DataType::String)),
    )
}

/// A double written out with the digits that the store keeps, without an exponent.
fn decimal_text(number: Expr) -> Expr {
    number.map(|column| digits(&column), |_, field| Ok(Field::new(field.name().clone(), DataType::String)))
}

/// Beyond what the store can hold there is no amount.
fn digits(column: &Column) -> PolarsResult<Column> {
    const MOST: f64 = 1e12;
    let digits = |number: Option<f64>| number.filter(|number| number.abs() < MOST).map(|number| format!("{number:.6}"));
    let texts: StringChunked = column.f64()?.iter().map(digits).collect();
    Ok(texts.with_name(column.name().clone()).into_column())
}

fn moment(cell: Expr, times: TimeParser) -> Expr {
    cell.map(move |column| moments_of(&column, &times), |_, field| Ok(Field::new(field.name().clone(), MOMENT)))
}

fn moments_of(column: &Column, times: &TimeParser) -> PolarsResult<Column> {
    if matches!(column.dtype(), DataType::Datetime(_, _)) {
        return column.cast(&MOMENT);
    }
    let texts = column.cast(&DataType::String)?;
    let mut previous: (&str, Option<i64>) = ("", None);
    let moments: Vec<Option<i64>> = texts
        .str()?
        .iter()
        .map(|text| {
            let text = text?;
            // Neighbouring rows of a log often carry one moment.
            if text != previous.0 {
                previous = (text, times.parse(text));
            }
            previous.1
        })
        .collect();
    Series::new(column.name().clone(), moments).into_column().cast(&MOMENT)
}

fn boolean(cell: Expr) -> Expr {
    cell.map(
        |column| {
            if column.dtype() == &DataType::Boolean {
                return Ok(column);
            }
            let texts = column.cast(&DataType::String)?;
            let values: Vec<Option<bool>> = texts
                .str()?
                .iter()
                .map(|text| match text?.trim().to_lowercase().as_str() {
                    "true" | "t" | "yes" | "y" | "1" | "1.0" | "是" => Some(true),
                    "false" | "f" | "no" | "n" | "0" | "0.0" | "否" => Some(false),
                    _ => None,
                })
                .collect();
            Ok(Series::new(column.name().clone(), values).into_column())
        },
        |_, field| Ok(Field::new(field.name().clone(), DataType::Boolean)),
    )
}

/// The canonical word for the vendor's or anybody's spelling; the mapping's own words come first.
fn word(cell: Expr, list: &'static WordList, own: Option<&std::collections::BTreeMap<String, String>>) -> Expr {
    let (mut spellings, mut canonical): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for (spelling, word) in own.into_iter().flatten() {
        spellings.push(spelling.to_lowercase());
        canonical.push(word.clone());
    }
    for (spelling, word) in list.words {
        if !spellings.iter().any(|known| known == spelling) {
            spellings.push((*spelling).to_owned());
            canonical.push((*word).to_owned());
        }
    }
    let old = lit(Series::new("spellings".into(), spellings));
    let new = lit(Series::new("words".into(), canonical));
    trimmed(cell.cast(DataType::String)).str().to_lowercase().replace_strict(
        old,
        new,
        Some(lit(NULL)),
        Some(DataType::String),
    )
}
