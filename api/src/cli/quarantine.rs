//! `sendlift quarantine`: the rows that were set aside.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrow::array::AsArray as _;
use arrow::csv::WriterBuilder;
use arrow::datatypes::Int64Type;
use sendlift_engine::event::Log;
use sendlift_engine::query::{QuerySession, text_literal};
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::QuarantineArguments;

pub(super) async fn run(context: &Context, arguments: &QuarantineArguments) -> anyhow::Result<()> {
    let format = context.output()?;
    let session = context.session(None).await?;
    let log = arguments.log.as_deref().map(str::parse::<Log>).transpose()?;
    let condition = log.map(|log| format!(" WHERE log = {}", text_literal(log.name()))).unwrap_or_default();
    let columns = "log, source_file, source_row, reason, raw, ingested_at";
    let query =
        format!("SELECT {columns} FROM quarantine{condition} ORDER BY ingested_at, log, source_file, source_row");
    if let Some(path) = &arguments.export {
        let rows = export(&session, &query, path).await?;
        eprintln!("{rows} rejected rows written to {}", path.display());
        return Ok(());
    }
    let limit = arguments.limit;
    super::sql::print(&session, &format!("{query} LIMIT {limit}"), format, limit).await?;
    let all = count(&session, &format!("SELECT count(*) FROM quarantine{condition}")).await?;
    if all > limit {
        eprintln!("{limit} of {all} rows; --export FILE writes all");
    }
    Ok(())
}

async fn count(session: &QuerySession, query: &str) -> Result<usize> {
    let batches = session.collect(query).await?;
    let count = batches.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0));
    Ok(usize::try_from(count).unwrap_or(0))
}

async fn export(session: &QuerySession, query: &str, path: &Path) -> Result<usize> {
    use futures::StreamExt as _;
    let file = File::create(path).map_err(EngineError::io("create", path))?;
    let mut writer = WriterBuilder::new().with_header(true).build(BufWriter::new(file));
    let mut stream = session.sql(query).await?.execute_stream().await?;
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    Ok(rows)
}
