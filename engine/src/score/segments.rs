//! Segments of recipients in sum: what their scores say of them together.

use itertools::Itertools as _;
use serde::Serialize;
use serde_json::{Map, Value};

use super::ALPHA;
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::facts::latest_contacts;
use crate::query::{QuerySession, has_column, quoted};
use crate::report::{cell_number, cell_text};
use crate::stats::distribution::normal::critical_value;
use crate::stats::{Estimate, Interval};

/// A segment in sum.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentScore {
    /// Its values, by column.
    pub by: Map<String, Value>,
    /// Its recipients, whether they may be sent to or not.
    pub recipients: u64,
    /// Their mean score.
    pub mean_score: f64,
    /// How many will have the outcome if the model is right, with the interval of chance alone: what a planner has to expect. Of
    /// what a message adds there is a sum without an interval, for single effects are never seen.
    pub expected: Estimate,
}

/// Refuses columns that recipients cannot be summed up by.
pub(super) async fn check_columns(session: &QuerySession, by: &[String]) -> Result<()> {
    let contacts = session.schema(Log::Recipients.name()).await?;
    for column in by {
        if !has_column(&contacts, column) {
            let names: Vec<&str> = contacts.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(EngineError::usage(format!(
                "the contacts have no column \"{column}\" to sum up by; they have {}",
                names.join(", ")
            )));
        }
    }
    if !by.iter().all_unique() {
        return Err(EngineError::usage("a column to sum up by is named twice"));
    }
    Ok(())
}

/// The segments of a table of scores.
pub(super) async fn segment_scores(
    session: &QuerySession,
    table: &str,
    by: &[String],
    is_uplift: bool,
) -> Result<Vec<SegmentScore>> {
    if by.is_empty() {
        return Ok(Vec::new());
    }
    let mut named: Vec<String> = by.iter().map(|column| quoted(column)).collect();
    named.sort();
    let keys: Vec<String> = by.iter().map(|column| format!("arrow_cast(k.{}, 'Utf8')", quoted(column))).collect();
    let places: Vec<String> = (1..=by.len()).map(|place| place.to_string()).collect();
    let query = format!(
        "SELECT {}, count(*) * 1.0, avg(s.score), sum(s.score), sum(s.score * (1 - s.score)) FROM {table} AS s \
         LEFT JOIN {} AS k ON k.recipient_id = s.recipient_id GROUP BY {} ORDER BY {}",
        keys.iter().enumerate().map(|(place, key)| format!("{key} AS k{place}")).collect::<Vec<_>>().join(", "),
        latest_contacts(&format!("recipient_id, {}", named.join(", "))),
        places.join(", "),
        places.join(", ")
    );
    let mut found = Vec::new();
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            let mut values = Map::new();
            for (place, column) in by.iter().enumerate() {
                values.insert(column.clone(), cell_text(&batch, place, row)?.map_or(Value::Null, Value::String));
            }
            let number =
                |place: usize| -> Result<f64> { Ok(cell_number(&batch, by.len() + place, row)?.unwrap_or(0.0)) };
            let (n, sum) = (number(0)?, number(2)?);
            let expected = if is_uplift {
                Estimate::new(sum, Interval::from_ends(f64::NEG_INFINITY, f64::INFINITY))
            } else {
                let spread = critical_value(ALPHA) * number(3)?.max(0.0).sqrt();
                Estimate::new(sum, Interval::from_ends((sum - spread).max(0.0), (sum + spread).min(n)))
            };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A count.
            found.push(SegmentScore { by: values, recipients: n as u64, mean_score: number(1)?, expected });
        }
    }
    Ok(found)
}
