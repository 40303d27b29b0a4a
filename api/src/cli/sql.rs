//! `sendlift sql`: read-only SQL, printed batch by batch.

use std::io::Write as _;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::json::{WriterBuilder as JsonBuilder, writer::JsonArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;
use sendlift_engine::query::{QuerySession, run_read_only};

use super::Context;
use super::arguments::SqlArguments;
use super::output::{Cell, Format, Kind, Rows, say};

/// Rows of a table for people at most; JSON and CSV are not limited.
const TABLE_ROWS: usize = 200;

pub(super) async fn run(context: &Context, arguments: &SqlArguments) -> anyhow::Result<()> {
    let at = arguments.at.as_deref().map(str::parse).transpose()?;
    let session = match context.session_on(arguments.cluster.as_deref(), at).await {
        // What can be read is read: one broken table, or a folder that cannot be written, takes no other answer away.
        Err(error) if arguments.at.is_none() && arguments.cluster.is_none() => {
            let store = context.existing_store()?;
            let session = QuerySession::open_what_can_be_read(&store, context.settings(), &error).await;
            session.map_err(|_| error)?
        }
        opened => opened?,
    };
    print(&session, &arguments.query, context.output()?, TABLE_ROWS).await
}

/// Runs a query and prints its rows: as JSON and CSV all of them, as a table for people so many at most.
pub(super) async fn print(
    session: &QuerySession,
    query: &str,
    format: Format,
    table_rows: usize,
) -> anyhow::Result<()> {
    let stream = run_read_only(session, query).await?;
    match format {
        Format::Json => print_json(stream).await,
        Format::Csv => print_csv(stream).await,
        Format::Table => print_table(stream, table_rows).await,
    }
}

async fn print_json(mut rows: SendableRecordBatchStream) -> anyhow::Result<()> {
    // A missing value is shown as null, so that every row has every column.
    let out = std::io::stdout().lock();
    let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(out);
    while let Some(batch) = rows.next().await {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    writeln!(writer.into_inner())?;
    Ok(())
}

async fn print_csv(mut rows: SendableRecordBatchStream) -> anyhow::Result<()> {
    let mut writer = WriterBuilder::new().with_header(true).build(std::io::stdout().lock());
    let mut any = false;
    while let Some(batch) = rows.next().await {
        any = true;
        writer.write(&batch?)?;
    }
    if !any {
        writer.write(&RecordBatch::new_empty(rows.schema()))?;
    }
    Ok(())
}

async fn print_table(mut rows: SendableRecordBatchStream, most: usize) -> anyhow::Result<()> {
    let schema = rows.schema();
    let mut table = Rows::of_columns(schema.fields().iter().map(|field| {
        let kind = if field.data_type().is_numeric() { Kind::Number } else { Kind::Text };
        (field.name().clone(), kind)
    }));
    let (mut shown, mut is_cut) = (0, false);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let taken = batch.num_rows().min(most - shown);
        add_rows(&mut table, &batch.slice(0, taken))?;
        shown += taken;
        is_cut = taken < batch.num_rows();
        if is_cut {
            break;
        }
    }
    table.print(Format::Table)?;
    if is_cut {
        say!("the first {most} rows; --format csv or json gives all");
    }
    Ok(())
}

fn add_rows(table: &mut Rows, batch: &RecordBatch) -> anyhow::Result<()> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        let mut cells = Vec::with_capacity(columns.len());
        for column in &columns {
            cells.push(Cell::from(column.value(row).try_to_string()?));
        }
        table.push(cells);
    }
    Ok(())
}
