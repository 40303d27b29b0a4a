//! `sendlift quarantine`: the rows that were set aside.

use std::fs::File;
use std::io::BufWriter;

use arrow::csv::WriterBuilder;
use sendlift_engine::event::Log;
use sendlift_engine::query::text_literal;
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::QuarantineArguments;

pub(super) async fn run(context: &Context, arguments: &QuarantineArguments) -> anyhow::Result<()> {
    let session = context.session(None).await?;
    let log = arguments.log.as_deref().map(str::parse::<Log>).transpose()?;
    let condition = log.map(|log| format!(" WHERE log = {}", text_literal(log.name()))).unwrap_or_default();
    let columns = "log, source_file, source_row, reason, raw, ingested_at";
    let query =
        format!("SELECT {columns} FROM quarantine{condition} ORDER BY ingested_at, log, source_file, source_row");
    match &arguments.export {
        None => super::sql::print(&session, &format!("{query} LIMIT {}", arguments.limit), context.output()?).await,
        Some(path) => {
            let rows = export(&session, &query, path).await?;
            eprintln!("{rows} rejected rows written to {}", path.display());
            Ok(())
        }
    }
}

async fn export(session: &sendlift_engine::query::QuerySession, query: &str, path: &std::path::Path) -> Result<usize> {
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
