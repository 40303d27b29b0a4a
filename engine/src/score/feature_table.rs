//! The features themselves as a file, for a notebook or a model of one's own.

use std::path::Path;

use arrow::array::RecordBatch;
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::data::Moment;
use super::features::{FEATURES_OF_A_RANGE, FeatureSet, Recipients, TextFeatures, feature_meaning};
use crate::error::Result;
use crate::progress::{Progress, check_cancelled};
use crate::query::{QuerySession, RecipientSample};
use crate::table_file::{TableFile, check_name};

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct FeatureTable {
    /// The moment that features were counted up to.
    pub as_of: Timestamp,
    /// Recipients in the file.
    pub recipients: u64,
    /// The columns after `recipient_id`.
    pub features: Vec<FeatureColumn>,
}

/// One column.
#[derive(Debug, Clone, Serialize)]
pub struct FeatureColumn {
    /// Its name.
    pub name: String,
    /// What it is.
    pub meaning: &'static str,
}

/// The features that a session's recipients have.
///
/// # Errors
/// When the tables cannot be read.
pub async fn known_features(session: &QuerySession, as_of: Option<Timestamp>) -> Result<Vec<FeatureColumn>> {
    let set = FeatureSet::fix(session, Moment::of(session, as_of).await?.as_of.as_microsecond()).await?;
    Ok(columns_of(&set))
}

fn columns_of(set: &FeatureSet) -> Vec<FeatureColumn> {
    set.names().into_iter().map(|name| FeatureColumn { meaning: feature_meaning(&name), name }).collect()
}

/// Writes the features of every recipient as of a moment, in the order of ids.
///
/// # Errors
/// When a query fails or the file cannot be written.
pub async fn write_features(
    session: &QuerySession,
    as_of: Option<Timestamp>,
    out: &Path,
    progress: &dyn Progress,
) -> Result<FeatureTable> {
    check_name(out)?;
    let as_of = Moment::of(session, as_of).await?.as_of;
    let at = as_of.as_microsecond();
    let set = FeatureSet::fix(session, at).await?;
    if set.has_texts {
        TextFeatures::count(session, at).await?;
    }
    let mut file: Option<TableFile> = None;
    let mut recipients = 0;
    for range in RecipientSample::of(session).await?.ranges(FEATURES_OF_A_RANGE) {
        let within = range.within(session).await?;
        let query = set.query(&within, at, &Recipients::All, &|_| "TRUE".to_owned()).await?;
        let frame = within.sql(&format!("SELECT * FROM ({query}) ORDER BY recipient_id")).await?;
        let mut stream = frame.execute_stream().await?;
        let file = match &mut file {
            Some(file) => file,
            none => none.insert(TableFile::at(out, stream.schema())?),
        };
        while let Some(batch) = stream.next().await {
            check_cancelled(progress)?;
            let batch: RecordBatch = batch?;
            file.write(&batch)?;
            recipients += batch.num_rows() as u64;
            progress.at("writing features", recipients, None);
        }
    }
    if let Some(file) = file {
        file.finish()?.0.keep()?;
    }
    Ok(FeatureTable { as_of, recipients, features: columns_of(&set) })
}
