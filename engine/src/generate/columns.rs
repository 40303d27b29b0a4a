//! Columns under construction: single values in, an Arrow array a batch out.
//!
//! Each kind of column is one Arrow builder with only the ways of filling it that the logs need. [`log_table`] turns
//! a list of columns into a table whose names, order and types stand in one place.

use std::fmt::{Display, Write};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

/// The time zone of all moments.
const UTC: &str = "UTC";

/// A kind of column.
pub(super) trait Column: Default {
    /// Its Arrow type.
    fn data_type() -> DataType;
    /// The values so far; the column is empty afterwards.
    fn take(&mut self) -> ArrayRef;
}

/// A log under construction.
pub(super) trait LogTable: Default {
    /// The log's name, which is also the file's.
    const NAME: &'static str;
    /// Its columns.
    fn schema() -> SchemaRef;
    /// The rows so far; the table is empty afterwards.
    fn take(&mut self) -> Result<RecordBatch, ArrowError>;
}

/// Text.
#[derive(Default)]
pub(super) struct Text(StringBuilder);

impl Text {
    pub(super) fn push(&mut self, value: &str) {
        self.0.append_value(value);
    }

    pub(super) fn push_option(&mut self, value: Option<&str>) {
        self.0.append_option(value);
    }

    /// Anything that can be shown, written straight into the column.
    pub(super) fn push_display(&mut self, value: impl Display) {
        // Writing into a growing buffer cannot fail; the empty value closes the cell.
        let _ = write!(self.0, "{value}");
        self.0.append_value("");
    }

    pub(super) fn push_null(&mut self) {
        self.0.append_null();
    }
}

impl Column for Text {
    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn take(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// Moments, given in milliseconds since 1970 in UTC and stored in microseconds.
#[derive(Default)]
pub(super) struct Time(TimestampMicrosecondBuilder);

impl Time {
    pub(super) fn push(&mut self, milliseconds: i64) {
        self.0.append_value(milliseconds * 1_000);
    }

    pub(super) fn push_option(&mut self, milliseconds: Option<i64>) {
        self.0.append_option(milliseconds.map(|moment| moment * 1_000));
    }
}

impl Column for Time {
    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
    }

    fn take(&mut self) -> ArrayRef {
        Arc::new(self.0.finish().with_timezone(UTC))
    }
}

/// Whole numbers.
#[derive(Default)]
pub(super) struct Integer(Int64Builder);

impl Integer {
    pub(super) fn push(&mut self, value: i64) {
        self.0.append_value(value);
    }
}

impl Column for Integer {
    fn data_type() -> DataType {
        DataType::Int64
    }

    fn take(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// Floating-point numbers. Amounts are pushed as the double nearest to the decimal, so that they print as the
/// decimal.
#[derive(Default)]
pub(super) struct Number(Float64Builder);

impl Number {
    pub(super) fn push(&mut self, value: f64) {
        self.0.append_value(value);
    }

    /// An amount in hundredths.
    pub(super) fn push_cents(&mut self, cents: i64) {
        self.0.append_value(cents as f64 / 100.0);
    }

    /// An amount in ten-thousandths.
    pub(super) fn push_ten_thousandths(&mut self, amount: i64) {
        self.0.append_value(amount as f64 / 10_000.0);
    }
}

impl Column for Number {
    fn data_type() -> DataType {
        DataType::Float64
    }

    fn take(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// True or false.
#[derive(Default)]
pub(super) struct Flag(BooleanBuilder);

impl Flag {
    pub(super) fn push(&mut self, value: bool) {
        self.0.append_value(value);
    }
}

impl Column for Flag {
    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn take(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// Declares a log: `TableName, "log_name" { column: Kind, … }`. Every column may be null.
macro_rules! log_table {
    ($(#[$documentation:meta])* $table:ident, $log:literal { $($column:ident: $kind:ty),+ $(,)? }) => {
        $(#[$documentation])*
        #[derive(Default)]
        pub(super) struct $table {
            $(pub(super) $column: $kind,)+
        }

        impl $crate::generate::columns::LogTable for $table {
            const NAME: &'static str = $log;

            fn schema() -> ::arrow::datatypes::SchemaRef {
                ::std::sync::Arc::new(::arrow::datatypes::Schema::new(vec![$(
                    ::arrow::datatypes::Field::new(
                        // A column named by a Rust keyword is written raw.
                        stringify!($column).trim_start_matches("r#"),
                        <$kind as $crate::generate::columns::Column>::data_type(),
                        true,
                    )
                ),+]))
            }

            fn take(&mut self) -> ::std::result::Result<::arrow::array::RecordBatch, ::arrow::error::ArrowError> {
                ::arrow::array::RecordBatch::try_new(
                    <Self as $crate::generate::columns::LogTable>::schema(),
                    vec![$($crate::generate::columns::Column::take(&mut self.$column)),+],
                )
            }
        }
    };
}

pub(super) use log_table;

/// Longest identifier: a letter and the twenty digits of the greatest number.
const IDENTIFIER_LENGTH: usize = 21;

/// An identifier of a row or a person, such as `m000000000012`: a letter and a number of a fixed width, so that the
/// alphabetical order is the numerical one. Written once, then copied into every column that mentions it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identifier {
    bytes: [u8; IDENTIFIER_LENGTH],
    start: usize,
}

impl Identifier {
    /// The identifier with at least `width` digits (at most 20).
    pub(super) fn new(letter: u8, number: u64, width: usize) -> Self {
        let mut bytes = [b'0'; IDENTIFIER_LENGTH];
        let mut position = IDENTIFIER_LENGTH;
        let mut rest = number;
        while rest > 0 {
            position -= 1;
            bytes[position] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let start = position.min(IDENTIFIER_LENGTH - width) - 1;
        bytes[start] = letter;
        Self { bytes, start }
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        // Letters and digits of ASCII are always valid UTF-8.
        std::str::from_utf8(&self.bytes[self.start..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    log_table! {
        /// A table for these tests.
        Sample, "sample" { name: Text, r#match: Text, at: Time }
    }

    #[test]
    fn a_table_has_its_columns_in_order_and_is_empty_after_taking() {
        let mut table = Sample::default();
        table.name.push_display(12.5);
        table.r#match.push_null();
        table.at.push(1);
        let batch = table.take().unwrap();
        let names: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!((Sample::NAME, names), ("sample", vec!["name", "match", "at"]));
        assert_eq!(batch.num_rows(), 1);
        assert_eq!(table.take().unwrap().num_rows(), 0);
    }

    #[test]
    fn identifiers_are_padded_and_may_outgrow_their_width() {
        assert_eq!(Identifier::new(b'r', 12, 8).as_str(), "r00000012");
        assert_eq!(Identifier::new(b'r', 0, 3).as_str(), "r000");
        assert_eq!(Identifier::new(b'm', 123_456_789, 8).as_str(), "m123456789");
        assert_eq!(Identifier::new(b'm', u64::MAX, 8).as_str(), format!("m{}", u64::MAX));
    }
}
