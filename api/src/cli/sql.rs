//! `sendlift sql`: read-only SQL, printed batch by batch.

use std::io::Write as _;

use arrow::csv::WriterBuilder;
use arrow::json::{WriterBuilder as JsonBuilder, writer::JsonArray};
use futures::StreamExt as _;
use sendlift_engine::query::{QuerySession, run_read_only};

use super::Context;
use super::arguments::SqlArguments;
use super::output::Format;

/// Rows of a table for people at most; JSON and CSV are not limited.
const TABLE_ROWS: usize = 200;

pub(super) async fn run(context: &Context, arguments: &SqlArguments) -> anyhow::Result<()> {
    let at = arguments.at.as_deref().map(str::parse).transpose()?;
    let session = context.session(at).await?;
    print(&session, &arguments.query, context.output()?).await
}

/// Runs a query and prints its rows.
pub(super) async fn print(session: &QuerySession, query: &str, format: Format) -> anyhow::Result<()> {
    let mut stream = run_read_only(session, query).await?;
    let schema = stream.schema();
    let out = std::io::stdout().lock();
    match format {
        Format::Json => {
            // A missing value is shown as null, so that every row has every column.
            let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(out);
            while let Some(batch) = stream.next().await {
                writer.write(&batch?)?;
            }
            writer.finish()?;
            writeln!(writer.into_inner())?;
        }
        Format::Csv => {
            let mut writer = WriterBuilder::new().with_header(true).build(out);
            let mut any = false;
            while let Some(batch) = stream.next().await {
                any = true;
                writer.write(&batch?)?;
            }
            if !any {
                writer.write(&arrow::array::RecordBatch::new_empty(schema))?;
            }
        }
        Format::Table => {
            let (mut batches, mut rows, mut cut) = (Vec::new(), 0, false);
            while let Some(batch) = stream.next().await {
                let batch = batch?;
                let take = batch.num_rows().min(TABLE_ROWS - rows);
                cut |= take < batch.num_rows();
                rows += take;
                batches.push(batch.slice(0, take));
                if cut {
                    break;
                }
            }
            if batches.is_empty() {
                batches.push(arrow::array::RecordBatch::new_empty(schema));
            }
            let mut out = out;
            writeln!(out, "{}", arrow::util::pretty::pretty_format_batches(&batches)?)?;
            if cut {
                writeln!(out, "the first {TABLE_ROWS} rows; --format csv or json gives all")?;
            }
        }
    }
    Ok(())
}
