//! What a canonical column is: its name, its type, whether a row may lack it, and which values it accepts.

use arrow::datatypes::{DataType, Field};

use super::log::{MONEY_PRECISION, MONEY_SCALE, timestamp_type};

/// 1 January 2000, the earliest moment that a log may hold, in microseconds since 1970.
pub const EARLIEST_MOMENT: i64 = 946_684_800_000_000;
/// Columns whose moments may lie ahead of the clock.
pub const MAY_BE_AHEAD: [&str; 2] = ["scheduled_at", "expires_at"];
/// Texts that mean "nothing" in a column that is not free text.
pub const NULL_WORDS: [&str; 6] = ["\\N", "NULL", "null", "NaN", "nan", "None"];

/// The type of a canonical column, which decides how text is parsed and how the column is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Any UTF-8 text.
    Text,
    /// A moment, stored as UTC microseconds.
    Time,
    /// An amount in major units of a currency, exact to six decimals.
    Money,
    /// A whole number.
    Integer,
    /// A floating-point number.
    Number,
    /// True or false (`true/false`, `t/f`, `yes/no`, `1/0`).
    Boolean,
    /// One of the words of [`super::words`], stored in canonical spelling.
    Word(&'static super::words::WordList),
}

impl ColumnKind {
    /// The Arrow type under which the store keeps the column.
    #[must_use]
    pub fn arrow_type(self) -> DataType {
        match self {
            Self::Text | Self::Word(_) => DataType::Utf8,
            Self::Time => timestamp_type(),
            Self::Money => DataType::Decimal128(MONEY_PRECISION, MONEY_SCALE),
            Self::Integer => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Boolean => DataType::Boolean,
        }
    }
}

/// Whether a row may lack the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A row without it is rejected; a file without the column is refused.
    Required,
    /// A file may lack the column altogether; if it has it, a row without a value is rejected.
    RequiredIfPresent,
    /// A row may lack it.
    Optional,
}

/// One canonical column of a log.
#[derive(Debug, Clone, Copy)]
pub struct ColumnSpec {
    /// Canonical name.
    pub name: &'static str,
    /// Type.
    pub kind: ColumnKind,
    /// Whether a row may lack it.
    pub presence: Presence,
    /// Other names under which a file may carry it without a mapping.
    pub aliases: &'static [&'static str],
    /// Whether a negative number is refused.
    pub non_negative: bool,
}

impl ColumnSpec {
    pub(super) const fn new(name: &'static str, kind: ColumnKind, presence: Presence) -> Self {
        Self { name, kind, presence, aliases: &[], non_negative: false }
    }

    pub(super) const fn required(name: &'static str, kind: ColumnKind) -> Self {
        Self::new(name, kind, Presence::Required)
    }

    pub(super) const fn if_present(name: &'static str, kind: ColumnKind) -> Self {
        Self::new(name, kind, Presence::RequiredIfPresent)
    }

    pub(super) const fn optional(name: &'static str, kind: ColumnKind) -> Self {
        Self::new(name, kind, Presence::Optional)
    }

    pub(super) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn non_negative(mut self) -> Self {
        self.non_negative = true;
        self
    }

    /// The Arrow field under which the store keeps the column; every stored column may be null.
    #[must_use]
    pub fn field(&self) -> Field {
        Field::new(self.name, self.kind.arrow_type(), true)
    }
}
