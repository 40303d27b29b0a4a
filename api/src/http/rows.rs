//! Rows of a query as an answer: encoded batch by batch as they come, so that memory does not grow with the answer.
//!
//! Every format has a writer of the Arrow project that writes into an [`Outlet`], from which the answer takes what is
//! there.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::csv::Writer as CsvWriter;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json::WriterBuilder as JsonWriterBuilder;
use datafusion::arrow::json::writer::{ArrayWriter, JsonArray};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::problem::Problem;

/// Pieces of an answer that may wait for a slow receiver.
const WAITING_PIECES: usize = 2;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowFormat {
    /// An array of objects; a missing value is null, so that every row has every column.
    Json,
    /// Separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// The stream format of Arrow IPC.
    ArrowStream,
}

impl RowFormat {
    const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Parquet, Self::ArrowStream];

    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
        }
    }

    /// The format that the header `Accept` likes best (RFC 9110, 12.5.1); JSON where it leaves the choice.
    pub(super) fn accepted(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut ranges: Vec<(f32, String)> = Vec::new();
        for value in headers.get_all(ACCEPT) {
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            ranges.extend(text.split(',').filter_map(media_range));
        }
        if ranges.is_empty() {
            return Ok(Self::Json);
        }
        // The sort is stable: of two that are liked as much, the first counts.
        ranges.sort_by(|left, right| right.0.total_cmp(&left.0));
        ranges.iter().filter(|(weight, _)| *weight > 0.0).find_map(|(_, range)| Self::of_range(range)).ok_or_else(
            || {
                let known: Vec<&str> = Self::ALL.iter().map(|format| format.media_type()).collect();
                Problem::new(StatusCode::NOT_ACCEPTABLE, format!("Accept: ask for one of {}", known.join(", ")))
            },
        )
    }

    fn of_range(range: &str) -> Option<Self> {
        match range {
            "*/*" | "application/*" => Some(Self::Json),
            "text/*" => Some(Self::Csv),
            exact => Self::ALL.into_iter().find(|format| format.media_type() == exact),
        }
    }

    fn writer(self, outlet: Outlet, schema: &SchemaRef) -> Result<Box<dyn RowWriter>, DataFusionError> {
        let writer: Box<dyn RowWriter> = match self {
            Self::Json => {
                let writer: ArrayWriter<Outlet> =
                    JsonWriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(outlet);
                Box::new(writer)
            }
            Self::Csv => {
                let mut writer = CsvWriter::new(outlet);
                // The header comes with the first batch, and there may be none.
                writer.write(&RecordBatch::new_empty(Arc::clone(schema)))?;
                Box::new(writer)
            }
            Self::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                Box::new(ArrowWriter::try_new(outlet, Arc::clone(schema), Some(properties))?)
            }
            Self::ArrowStream => Box::new(StreamWriter::try_new(outlet, schema)?),
        };
        Ok(writer)
    }
}

/// One media range of `Accept` with its weight.
fn media_range(text: &str) -> Option<(f32, String)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?.to_owned();
    let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
    Some((weight, range))
}

/// What the writers write into: bytes until they are taken.
#[derive(Debug, Clone, Default)]
struct Outlet(Arc<Mutex<Vec<u8>>>);

impl Outlet {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Bytes {
        Bytes::from(std::mem::take(&mut *self.bytes()))
    }
}

impl io::Write for Outlet {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer of one format.
trait RowWriter: Send {
    /// Writes the rows of a batch.
    fn put(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError>;

    /// Writes what ends the answer.
    fn end(&mut self) -> Result<(), DataFusionError>;
}

impl RowWriter for ArrayWriter<Outlet> {
    fn put(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        Ok(self.write(batch)?)
    }

    fn end(&mut self) -> Result<(), DataFusionError> {
        Ok(self.finish()?)
    }
}

impl RowWriter for CsvWriter<Outlet> {
    fn put(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        Ok(self.write(batch)?)
    }

    fn end(&mut self) -> Result<(), DataFusionError> {
        Ok(())
    }
}

impl RowWriter for ArrowWriter<Outlet> {
    fn put(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        Ok(self.write(batch)?)
    }

    fn end(&mut self) -> Result<(), DataFusionError> {
        self.finish()?;
        Ok(())
    }
}

impl RowWriter for StreamWriter<Outlet> {
    fn put(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        Ok(self.write(batch)?)
    }

    fn end(&mut self) -> Result<(), DataFusionError> {
        Ok(self.finish()?)
    }
}

/// Rows on their way into an answer.
struct Encoding {
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    writer: Box<dyn RowWriter>,
    outlet: Outlet,
    /// Rows that may still come; no limit if it is not there.
    left: Option<usize>,
    ended: bool,
}

impl Encoding {
    fn new(rows: SendableRecordBatchStream, format: RowFormat, limit: Option<usize>) -> Result<Self, DataFusionError> {
        let schema = portable(&rows.schema());
        let outlet = Outlet::default();
        let writer = format.writer(outlet.clone(), &schema)?;
        Ok(Self { rows, schema, writer, outlet, left: limit, ended: false })
    }

    /// The next bytes of the answer, or `None` at its end.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, DataFusionError> {
        while !self.ended {
            if let Some(batch) = self.next_batch().await? {
                self.writer.put(&recast(&batch, &self.schema)?)?;
            } else {
                self.writer.end()?;
                self.ended = true;
            }
            let piece = self.outlet.take();
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let Some(batch) = self.rows.next().await.transpose()? else { return Ok(None) };
        let Some(left) = self.left else { return Ok(Some(batch)) };
        let taken = batch.num_rows().min(left);
        self.left = Some(left - taken);
        Ok(Some(batch.slice(0, taken)))
    }
}

/// The answer with these rows, once the first of them are there: until then an error is the caller's to see. The rows
/// are made and written on the threads of the task that calls this, whoever receives them.
pub(super) async fn answer(
    rows: SendableRecordBatchStream,
    format: RowFormat,
    limit: Option<usize>,
) -> Result<Response, DataFusionError> {
    let encoding = Encoding::new(rows, format, limit)?;
    let (sender, mut pieces) = mpsc::channel(WAITING_PIECES);
    let task = tokio::spawn(send_pieces(encoding, sender).in_current_span());
    let first = pieces.recv().await.transpose()?;
    let rest = stream::try_unfold((pieces, task), |(mut pieces, task)| async move {
        match pieces.recv().await {
            Some(piece) => Ok(Some((piece?, (pieces, task)))),
            // Pieces also end when the task panics: then the answer is broken off, not short.
            None => task.await.map(|()| None).map_err(|error| DataFusionError::External(Box::new(error))),
        }
    });
    let body = Body::from_stream(stream::iter(first.map(Ok)).chain(rest));
    Ok(([(CONTENT_TYPE, format.media_type())], body).into_response())
}

/// Writes the rows piece by piece, until there are no more or nobody receives them.
async fn send_pieces(mut encoding: Encoding, sender: mpsc::Sender<Result<Bytes, DataFusionError>>) {
    let mut has_begun = false;
    loop {
        let next = tokio::select! {
            () = sender.closed() => return,
            next = encoding.next_piece() => next,
        };
        let Some(piece) = next.transpose() else { return };
        let is_last = match &piece {
            Ok(_) => false,
            Err(error) => {
                if has_begun {
                    tracing::error!(%error, "a query failed after its answer had begun");
                }
                true
            }
        };
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
        has_begun = true;
    }
}

/// The schema of an answer: texts as every reader knows them, and every column may hold nulls.
fn portable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let kind = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            other => other.clone(),
        };
        Field::new(field.name(), kind, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn recast(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<Vec<_>, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &'static str) -> Option<RowFormat> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        RowFormat::accepted(&headers).ok()
    }

    #[test]
    fn the_format_is_the_one_liked_best() {
        assert_eq!(RowFormat::accepted(&HeaderMap::new()).unwrap(), RowFormat::Json);
        for (accept, expected) in [
            ("*/*", Some(RowFormat::Json)),
            ("text/csv", Some(RowFormat::Csv)),
            ("Text/CSV; charset=utf-8", Some(RowFormat::Csv)),
            ("text/html, */*;q=0.8", Some(RowFormat::Json)),
            ("application/json;q=0.5, application/vnd.apache.arrow.stream", Some(RowFormat::ArrowStream)),
            ("application/vnd.apache.parquet", Some(RowFormat::Parquet)),
            ("text/csv;q=0, application/json;q=0.1", Some(RowFormat::Json)),
            ("text/html", None),
            ("text/csv;q=0", None),
        ] {
            assert_eq!(accepted(accept), expected, "{accept}");
        }
    }
}
