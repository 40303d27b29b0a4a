//! Where a recipient is in the life of a customer, and recency, frequency and monetary value in fifths.
//!
//! The ends of the fifths are found once, among the customers of the first scoring, and kept in the store: a customer whose
//! habits stay the same stays in the same fifth. The days of the life cycle are fixed.

use arrow::array::AsArray as _;
use arrow::datatypes::Float64Type;
use deltalake::Path as ObjectPath;
use object_store::ObjectStoreExt as _;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::store::Store;

/// The features that all of it is made of.
pub(super) const LIFE_CYCLE_FEATURES: [&str; 4] =
    ["days_since_conversion", "conversions", "monetary_value", "days_since_first_conversion"];

/// A customer of so few days is new; one without a conversion for so long is at risk, and for so much longer has lapsed.
pub const LIFE_CYCLE_DAYS: [u32; 3] = [30, 90, 180];

/// Customers whose fifths are kept.
const LEAST_CUSTOMERS: usize = 100;

const FOLDER: &str = "_scores";
const FILE: &str = "rfm.json";

/// The ends of the fifths, four of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LifeCycle {
    recency: Vec<f64>,
    frequency: Vec<f64>,
    monetary: Vec<f64>,
}

impl LifeCycle {
    /// The ends that the store keeps; found among the recipients of a table where there are none yet, and kept if these are all
    /// recipients (not those of a condition) and enough of them are customers.
    pub(super) async fn of(session: &QuerySession, table: &str, are_all: bool) -> Result<Self> {
        if let Some(store) = &session.store
            && let Some(known) = Self::kept(store).await?
        {
            return Ok(known);
        }
        let [recency, frequency, monetary, _] = LIFE_CYCLE_FEATURES;
        let mut columns: [Vec<f64>; 3] = Default::default();
        let query = format!("SELECT {recency}, {frequency}, {monetary} FROM {table} WHERE {frequency} > 0");
        for batch in session.collect(&query).await? {
            for (place, values) in columns.iter_mut().enumerate() {
                let column = batch.column(place).as_primitive::<Float64Type>();
                values.extend(column.iter().flatten());
            }
        }
        let customers = columns[0].len();
        let [recency, frequency, monetary] = columns.map(fifths);
        let found = Self { recency, frequency, monetary };
        if let Some(store) = &session.store
            && are_all
            && customers >= LEAST_CUSTOMERS
            && let Some(objects) = store.side_files(FOLDER, true)?
        {
            let written = objects.put(&ObjectPath::from(FILE), serde_json::to_vec(&found)?.into()).await;
            written.map_err(deltalake::DeltaTableError::from)?;
        }
        Ok(found)
    }

    async fn kept(store: &Store) -> Result<Option<Self>> {
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(None) };
        match objects.get(&ObjectPath::from(FILE)).await {
            Ok(got) => {
                let bytes = got.bytes().await.map_err(deltalake::DeltaTableError::from)?;
                let damaged = |why: String| {
                    EngineError::refused(format!(
                        "the file {FOLDER}/{FILE} of the store, the ends of its fifths, is damaged ({why}): bring it back from a copy, or \
                         remove it to have them found anew"
                    ))
                };
                let known: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
                if [&known.recency, &known.frequency, &known.monetary].iter().any(|ends| ends.len() != 4) {
                    return Err(damaged("it has not four ends of each".to_owned()));
                }
                Ok(Some(known))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(deltalake::DeltaTableError::from(error).into()),
        }
    }

    /// SQL of `life_cycle`, `rfm_recency`, `rfm_frequency` and `rfm_monetary` (five is best), over `s`.
    pub(super) fn columns(&self) -> String {
        let [recency, frequency, monetary, first] = LIFE_CYCLE_FEATURES;
        let [new, risk, lapsed] = LIFE_CYCLE_DAYS;
        let fifth = |column: &str, ends: &[f64], name: &str| {
            let steps: String =
                ends.iter().map(|end| format!(" + CASE WHEN s.{column} > {end:?} THEN 1 ELSE 0 END")).collect();
            // The most recent fifth is the best one.
            let value = if column == recency { format!("5 - (0{steps})") } else { format!("1{steps}") };
            format!("CASE WHEN s.{frequency} > 0 THEN arrow_cast({value}, 'Int32') END AS {name}")
        };
        format!(
            "CASE WHEN coalesce(s.{frequency}, 0) = 0 THEN 'prospect' WHEN s.{recency} > {lapsed} THEN 'lapsed' \
             WHEN s.{recency} > {risk} THEN 'at_risk' WHEN s.{first} <= {new} THEN 'new' ELSE 'active' END AS life_cycle, \
             {}, {}, {}",
            fifth(recency, &self.recency, "rfm_recency"),
            fifth(frequency, &self.frequency, "rfm_frequency"),
            fifth(monetary, &self.monetary, "rfm_monetary")
        )
    }
}

/// The four values at or below which a fifth, two, three and four fifths of all lie.
fn fifths(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    (1..5).filter_map(|fifth| values.get((values.len() * fifth / 5).checked_sub(1)?).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifths_end_where_they_are_said_to() {
        assert_eq!(fifths((1..=10).map(f64::from).collect()), [2.0, 4.0, 6.0, 8.0]);
        assert!(fifths(Vec::new()).is_empty());
    }
}
