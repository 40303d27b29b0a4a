//! From a file's bytes to chunks of raw rows: every format becomes a Polars frame under the file's own column names, with
//! each row's number and a way to show the row again should it be rejected.
//!
//! Text formats keep every cell as text (the cell's type is the validator's business); Parquet and Arrow keep their types.

mod columnar;
mod json;
mod separated;
mod text_columns;

use polars::prelude::DataFrame;

use super::input::{Input, Layout};
use super::times::TimeParser;
use crate::error::Result;

/// Rows of one chunk at most; with the byte limit of the text readers it bounds memory.
pub const CHUNK_ROWS: usize = 65_536;

/// Some consecutive rows of one file.
#[derive(Debug)]
pub struct RawChunk {
    /// The cells, under the file's own column names.
    pub frame: DataFrame,
    /// The number of each row: its line for text (the header is line 1), its position from 1 otherwise.
    pub rows: Vec<i64>,
    /// The rows as they were written.
    pub raw: RawRows,
    /// Rows that could not be taken apart, with the reason.
    pub broken: Vec<BrokenRow>,
}

/// A row that could not be taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenRow {
    /// Its number in the file.
    pub row: i64,
    /// Why.
    pub reason: String,
    /// The row as written; invalid UTF-8 is shown as U+FFFD.
    pub raw: String,
}

/// The text of a chunk's rows.
#[derive(Debug)]
pub enum RawRows {
    /// Slices of the bytes that were read.
    Text {
        /// The bytes.
        buffer: Vec<u8>,
        /// Start and end of each row of the frame.
        spans: Vec<(usize, usize)>,
    },
    /// There is no text: the row is shown as JSON made from the frame.
    Frame,
}

impl RawChunk {
    /// The row at a position of the frame as it was written.
    #[must_use]
    pub fn raw_row(&self, position: usize) -> String {
        match &self.raw {
            RawRows::Text { buffer, spans } => {
                let (start, end) = spans[position];
                String::from_utf8_lossy(&buffer[start..end]).into_owned()
            }
            RawRows::Frame => frame_row_as_json(&self.frame, position),
        }
    }

    /// Rows seen, broken ones included.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.len() + self.broken.len()
    }
}

fn frame_row_as_json(frame: &DataFrame, position: usize) -> String {
    let cells = frame.columns().iter().map(|column| {
        let cell = column.get(position).map_or(serde_json::Value::Null, |value| match value {
            polars::prelude::AnyValue::Null => serde_json::Value::Null,
            polars::prelude::AnyValue::String(text) => serde_json::Value::from(text),
            other => serde_json::Value::from(other.to_string()),
        });
        (column.name().to_string(), cell)
    });
    serde_json::Value::Object(cells.collect()).to_string()
}

/// A source of chunks; each error stops the file.
pub type Chunks = Box<dyn Iterator<Item = Result<RawChunk>> + Send>;

/// Opens an input in whatever layout it has. `times` gives the zone of the civil times that Parquet and Arrow may hold.
///
/// # Errors
/// When the input cannot be read as what it seems to be.
pub fn open(input: &Input, times: &TimeParser) -> Result<Chunks> {
    match input.layout()? {
        Layout::Separated => Ok(Box::new(separated::SeparatedChunks::open(input)?)),
        Layout::Json => Ok(Box::new(json::JsonChunks::open(input)?)),
        Layout::Parquet => columnar::parquet_chunks(input, times),
        Layout::ArrowIpc => columnar::arrow_chunks(input, times),
    }
}
