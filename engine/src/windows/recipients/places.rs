//! Where every recipient is and of which segment, as a file; and ranges of ids, each of so many recipients that joining and
//! ordering them takes little memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt as _;
use itertools::Itertools as _;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::facts::recipient_places;
use crate::progress::{Progress, check_cancelled};
use crate::query::{QuerySession, text_literal};
use crate::segment::ContactColumns;
use crate::table_file::TableFile;

/// Recipients of a range, nearly.
const OF_A_RANGE: u64 = 250_000;
/// One id in so many is kept to find the ranges.
const SAMPLED: u64 = 512;

/// The recipients.
pub(super) struct Places {
    /// A file of `recipient_id`, `country`, `region`, `time_zone` and `k0` … of the segments.
    pub(super) path: PathBuf,
    pub(super) recipients: u64,
    /// Some of the ids, in order.
    sample: Vec<String>,
}

/// Ids from one to before another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdRange {
    from: Option<String>,
    before: Option<String>,
}

impl IdRange {
    /// The SQL by which a column is within the range.
    pub(super) fn condition(&self, column: &str) -> String {
        let from = self.from.as_ref().map(|id| format!("{column} >= {}", text_literal(id)));
        let before = self.before.as_ref().map(|id| format!("{column} < {}", text_literal(id)));
        let both = from.into_iter().chain(before).join(" AND ");
        if both.is_empty() { "TRUE".to_owned() } else { both }
    }
}

impl Places {
    pub(super) async fn read(
        session: &QuerySession,
        columns: &ContactColumns,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let keys = columns.values.iter().enumerate().map(|(place, value)| format!(", {value} AS k{place}")).join("");
        let join = if keys.is_empty() {
            String::new()
        } else {
            format!(" LEFT JOIN {} AS k ON k.recipient_id = p.recipient_id", columns.contacts)
        };
        let query = format!(
            "SELECT p.recipient_id, p.country, p.region, p.time_zone{keys} FROM ({}) AS p{join} WHERE p.recipient_id IS NOT NULL",
            recipient_places()
        );
        let mut fields = vec![Field::new("recipient_id", DataType::Utf8, false)];
        let others = ["country", "region", "time_zone"].into_iter().map(str::to_owned);
        let others = others.chain((0..columns.values.len()).map(|place| format!("k{place}")));
        fields.extend(others.map(|name| Field::new(name, DataType::Utf8, true)));
        let schema = Arc::new(Schema::new(fields));
        let mut file = TableFile::at(path, Arc::clone(&schema))?;
        let (mut recipients, mut sample) = (0, Vec::new());
        let mut stream = session.sql(&query).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            check_cancelled(progress)?;
            let batch = batch?;
            let texts = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
            let texts = texts.collect::<std::result::Result<Vec<_>, _>>()?;
            let ids = texts[0].as_string::<i32>().iter().flatten();
            sample.extend(ids.filter(|id| xxh3_64(id.as_bytes()).is_multiple_of(SAMPLED)).map(str::to_owned));
            recipients += batch.num_rows() as u64;
            file.write(&RecordBatch::try_new(Arc::clone(&schema), texts)?)?;
            progress.at("reading recipients", recipients, None);
        }
        file.finish()?.0.keep()?;
        sample.sort_unstable();
        Ok(Self { path: path.to_path_buf(), recipients, sample })
    }

    /// Ranges that hold every id once, in their order.
    pub(super) fn ranges(&self) -> Vec<IdRange> {
        let wanted = usize::try_from(self.recipients.div_ceil(OF_A_RANGE)).unwrap_or(usize::MAX);
        let mut ends: Vec<&String> =
            (1..wanted.min(self.sample.len())).map(|end| &self.sample[end * self.sample.len() / wanted]).collect();
        ends.dedup();
        let from = std::iter::once(None).chain(ends.iter().map(|end| Some((*end).clone())));
        let before = ends.iter().map(|end| Some((*end).clone())).chain(std::iter::once(None));
        from.zip(before).map(|(from, before)| IdRange { from, before }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_id_once_in_order() {
        let sample: Vec<String> = (0..4_000).map(|number| format!("r{number:05}")).collect();
        let places = Places { path: PathBuf::new(), recipients: 2_000_000, sample };
        let ranges = places.ranges();
        assert_eq!(ranges.len(), 8);
        assert_eq!((&ranges[0].from, &ranges[7].before), (&None, &None));
        assert!(ranges.windows(2).all(|pair| pair[0].before == pair[1].from && pair[0].before.is_some()));
        let ends: Vec<&String> = ranges.iter().filter_map(|range| range.before.as_ref()).collect();
        assert!(ends.is_sorted());
        assert_eq!(ranges[1].condition("id"), "id >= 'r00500' AND id < 'r01000'");
        // Few recipients, or none at all, are one range.
        let few = Places { recipients: 3, sample: Vec::new(), ..places };
        assert_eq!(few.ranges(), [IdRange { from: None, before: None }]);
        assert_eq!(few.ranges()[0].condition("id"), "TRUE");
    }
}
