//! How many contacts are in each version of a segment, each contact as it was last heard of.

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use serde::Serialize;

use super::definition::{SegmentDefinition, SegmentVersion, missing};
use super::predicate::Predicate;
use crate::error::{EngineError, Result};
use crate::facts::latest_contacts;
use crate::query::{QuerySession, quoted};

/// A segment with the sizes of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentSizes {
    /// What it is called.
    pub name: String,
    /// Contacts in all.
    pub contacts: u64,
    /// Its versions, the newest last.
    pub versions: Vec<VersionSize>,
}

/// A version of a segment with its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionSize {
    /// The version.
    #[serde(flatten)]
    pub version: SegmentVersion,
    /// Contacts in it; not known where its condition names columns that the contacts do not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<u64>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Counts the contacts in each version of a segment.
///
/// # Errors
/// When there is no such segment, or the query fails.
pub async fn segment_sizes(session: &QuerySession, name: &str) -> Result<SegmentSizes> {
    let Some(store) = &session.store else {
        return Err(EngineError::usage("segments are kept in a store: log files have none"));
    };
    let Some(definition) = SegmentDefinition::of(store, name).await? else {
        return Err(EngineError::NotFound(missing(store, name).await?));
    };
    let mut columns = vec![quoted("recipient_id")];
    let mut counts = vec!["count(*)".to_owned()];
    let mut versions = Vec::new();
    // Of each version where its count stands, or why there is none.
    let mut places = Vec::new();
    for version in definition.versions {
        places.push(match Predicate::read(session, &version.predicate).await {
            Ok(predicate) => {
                columns.extend(predicate.columns().iter().map(|column| quoted(column)));
                counts.push(format!("count(*) FILTER (WHERE {})", predicate.sql()));
                Ok(counts.len() - 1)
            }
            Err(EngineError::Usage(why)) => Err(why),
            Err(other) => return Err(other),
        });
        versions.push(version);
    }
    columns.sort();
    columns.dedup();
    let query = format!("SELECT {} FROM {} AS contacts", counts.join(", "), latest_contacts(&columns.join(", ")));
    let found = session.collect(&query).await?;
    let number = |place: usize| {
        let batch = found.iter().find(|batch| batch.num_rows() > 0);
        batch.map_or(0, |batch| batch.column(place).as_primitive::<Int64Type>().value(0).unsigned_abs())
    };
    let versions = versions.into_iter().zip(places).map(|(version, place)| match place {
        Ok(place) => VersionSize { version, contacts: Some(number(place)), note: None },
        Err(why) => VersionSize { version, contacts: None, note: Some(why) },
    });
    let versions = versions.collect();
    Ok(SegmentSizes { name: definition.name, contacts: number(0), versions })
}
