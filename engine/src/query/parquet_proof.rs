//! Whether an ingest would reject no row of a Parquet file: by the file's own statistics where they suffice, else by looking
//! through the few columns in question.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Float64Type, TimeUnit};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::statistics::Statistics;

use super::parquet_logs::Sources;
use crate::event::{
    CURRENCY, ColumnKind, ColumnSpec, EARLIEST_MOMENT, Log, MAY_BE_AHEAD, NULL_WORDS, Presence, attribute_name,
    is_identity_name,
};

/// The first byte of full-width marks and digits in UTF-8, which may stand for their plain ones.
const FULL_WIDTH: u8 = 0xEF;

/// The sources of a log's columns in a file, and the columns that its statistics leave in doubt; `None` when the file needs
/// the validator in any case.
pub(super) fn prove(log: Log, metadata: &ArrowReaderMetadata, latest: i64) -> Option<(Sources, Vec<String>)> {
    let schema = metadata.schema();
    let mut sources = Sources::new();
    let mut doubtful = Vec::new();
    let mut fed = vec![false; schema.fields().len()];
    for spec in log.columns() {
        let names = std::iter::once(&spec.name).chain(spec.aliases);
        let index = names.into_iter().find_map(|name| schema.index_of(name).ok());
        let Some(index) = index else {
            if spec.presence == Presence::Required {
                return None;
            }
            continue;
        };
        fed[index] = true;
        if !has_plain_type(spec.kind, schema.field(index).data_type()) {
            return None;
        }
        match proven(spec, metadata, index, latest) {
            Proof::Holds => {}
            Proof::Doubtful => doubtful.push(spec.name.to_owned()),
            Proof::Fails => return None,
        }
        sources.push((spec.name.to_owned(), index));
    }
    // Rules over several columns are left to the validator.
    if !log.needs_one_of().is_empty() {
        return None;
    }
    for (index, field) in schema.fields().iter().enumerate().filter(|(index, _)| !fed[*index]) {
        let name = attribute_name(field.name());
        let plain =
            matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Int64);
        let unusual = !plain || name != *field.name() || is_identity_name(field.name()).is_some();
        // A spelling that the mapping would have taken for a canonical column (`Message_ID`), or a name that is taken.
        let confusing = log.columns().iter().any(|spec| {
            spec.name.eq_ignore_ascii_case(field.name().trim())
                || spec.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(field.name().trim()))
        });
        if unusual || confusing {
            return None;
        }
        sources.push((name, index));
    }
    Some((sources, doubtful))
}

/// Types that mean the same to the validator and to a cast.
fn has_plain_type(kind: ColumnKind, data_type: &DataType) -> bool {
    let is_text = matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    match kind {
        ColumnKind::Text | ColumnKind::Word(_) => {
            is_text || (kind == ColumnKind::Text && data_type == &DataType::Int64)
        }
        ColumnKind::Time => {
            matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond, Some(zone)) if zone.as_ref() == "UTC")
        }
        ColumnKind::Money => matches!(data_type, DataType::Float64 | DataType::Decimal128(_, 0..=6)),
        ColumnKind::Integer => matches!(data_type, DataType::Int64 | DataType::Int32),
        ColumnKind::Number => data_type == &DataType::Float64,
        ColumnKind::Boolean => data_type == &DataType::Boolean,
    }
}

enum Proof {
    Holds,
    Doubtful,
    Fails,
}

/// What the statistics of all row groups say of a column.
fn proven(spec: &ColumnSpec, metadata: &ArrowReaderMetadata, index: usize, latest: i64) -> Proof {
    let must_be_filled = spec.presence != Presence::Optional;
    let Some(leaf) = leaf_of(metadata, index) else { return Proof::Fails };
    let mut doubtful = false;
    for group in metadata.metadata().row_groups() {
        let statistics = group.column(leaf).statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt);
        if nulls == Some(u64::try_from(group.num_rows()).unwrap_or(0)) && !must_be_filled {
            continue;
        }
        if must_be_filled && nulls.is_some_and(|nulls| nulls > 0) {
            return Proof::Fails;
        }
        let unknown = must_be_filled && nulls.is_none();
        let within = match (spec.kind, statistics) {
            (ColumnKind::Text, Some(Statistics::ByteArray(values)))
                if must_be_filled && spec.name != "recipient_id" =>
            {
                matches!((values.min_opt(), values.max_opt()), (Some(low), Some(high)) if names_only(low.data(), high.data()))
            }
            (ColumnKind::Text, Some(Statistics::ByteArray(values))) if spec.name == CURRENCY => {
                let ends = (values.min_opt(), values.max_opt());
                matches!(ends, (Some(low), Some(high)) if low == high && !low.data().iter().any(u8::is_ascii_lowercase))
            }
            (ColumnKind::Text, _) if spec.name == CURRENCY => false,
            // A text that may be missing is never a reason to reject a row.
            (ColumnKind::Text, _) => !must_be_filled,
            (ColumnKind::Time, Some(Statistics::Int64(values))) => {
                let scale = match metadata.schema().field(index).data_type() {
                    DataType::Timestamp(TimeUnit::Millisecond, _) => 1000,
                    _ => 1,
                };
                match (values.min_opt(), values.max_opt()) {
                    (Some(low), Some(high)) => {
                        let early = low.saturating_mul(scale) < EARLIEST_MOMENT;
                        let late = high.saturating_mul(scale) > latest && !MAY_BE_AHEAD.contains(&spec.name);
                        if early || late {
                            return Proof::Fails;
                        }
                        true
                    }
                    _ => false,
                }
            }
            (ColumnKind::Integer, Some(Statistics::Int64(values))) => {
                values.min_opt().is_some_and(|low| *low >= 0 || !spec.non_negative)
            }
            (ColumnKind::Integer, Some(Statistics::Int32(values))) => {
                values.min_opt().is_some_and(|low| *low >= 0 || !spec.non_negative)
            }
            (ColumnKind::Boolean, _) => true,
            _ => false,
        };
        doubtful |= unknown || !within;
    }
    if !doubtful {
        Proof::Holds
    } else if spec.kind == ColumnKind::Time {
        // No statistics for moments: an unusual writer, and a rare one.
        Proof::Fails
    } else {
        Proof::Doubtful
    }
}

/// Whether every text between the two is a name: not blank, and none of the words for nothing.
fn names_only(low: &[u8], high: &[u8]) -> bool {
    // U+0085 and up are the exotic spaces; their first byte in UTF-8 is 0xC2 or more.
    low.first().is_some_and(|byte| *byte > b' ')
        && high.first().is_some_and(|byte| *byte < 0xC2)
        && !NULL_WORDS.iter().any(|word| low <= word.as_bytes() && word.as_bytes() <= high)
}

/// The position of a root column among the leaves, if it is a leaf itself.
fn leaf_of(metadata: &ArrowReaderMetadata, root: usize) -> Option<usize> {
    let schema = metadata.parquet_schema();
    let mut leaves = (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == root);
    leaves.next().filter(|_| leaves.next().is_none())
}

/// Whether no cell of a column is a reason to reject its row.
pub(super) fn is_sound(spec: &ColumnSpec, column: &ArrayRef) -> bool {
    if spec.presence != Presence::Optional && column.null_count() > 0 {
        return false;
    }
    match spec.kind {
        ColumnKind::Text | ColumnKind::Word(_) => {
            // Of a dictionary all values are looked at, even those that no row has.
            let texts = column.as_any_dictionary_opt().map_or(column, |words| words.values());
            let Ok(texts) = arrow::compute::cast(texts, &DataType::Utf8) else { return false };
            let texts = texts.as_string::<i32>();
            if let ColumnKind::Word(list) = spec.kind {
                texts.iter().flatten().all(|text| list.words.iter().any(|(_, canonical)| *canonical == text))
            } else {
                // Whatever could be an address has one of these. Looked for without a way out, which is many bytes at a time.
                let has_one = |bytes: &[u8]| {
                    bytes.iter().fold(false, |has, byte| has | matches!(*byte, b'+' | b'@' | FULL_WIDTH))
                };
                let no_address = spec.name != "recipient_id" || !texts.value_data().chunks(4096).any(has_one);
                let filled = |text: &str| {
                    let plain = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
                    (plain || !text.trim().is_empty()) && !(text.len() <= 4 && NULL_WORDS.contains(&text))
                };
                let is_code = spec.name != CURRENCY || !texts.value_data().iter().any(u8::is_ascii_lowercase);
                no_address && is_code && (spec.presence == Presence::Optional || texts.iter().flatten().all(filled))
            }
        }
        ColumnKind::Money | ColumnKind::Number => match column.data_type() {
            DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().all(|number| {
                // Beyond this an amount does not fit its decimal; the validator says so.
                number.is_finite() && number.abs() < 1e11 && !(spec.non_negative && number < 0.0)
            }),
            _ => false,
        },
        ColumnKind::Time | ColumnKind::Integer | ColumnKind::Boolean => false,
    }
}
