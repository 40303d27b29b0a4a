//! Holidays and their eves as a small table that the facts are joined with.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;

use super::cells::texts;
use super::country::code;
use super::holidays::{DayKind, Holidays};
use crate::error::Result;
use crate::query::QuerySession;

/// The first day that is counted.
const EPOCH: jiff::civil::Date = jiff::civil::date(1970, 1, 1);

/// Registers the holidays and their eves as a small table of country, date and kind, and gives its name.
pub(super) async fn register_holidays(session: &QuerySession, holidays: &Holidays) -> Result<String> {
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let query = "SELECT DISTINCT country FROM message_facts WHERE country IS NOT NULL ORDER BY 1";
    for batch in session.collect(query).await? {
        for country in texts(&batch, 0)?.iter().flatten() {
            written.entry(code(country)).or_default().push(country.to_owned());
        }
    }
    let (mut countries, mut dates, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for (country, date, kind) in holidays.dates() {
        // In every spelling that the logs have of the country.
        for country in written.get(&code(country)).into_iter().flatten() {
            countries.push(country.as_str());
            // Days since 1970, as the facts count them.
            dates.push(i64::from(EPOCH.until(date).map_or(0, |span| span.get_days())));
            kinds.push(match kind {
                DayKind::Ordinary => 0,
                DayKind::Holiday => 1,
                DayKind::Eve => 2,
            });
        }
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("country", DataType::Utf8, false),
        Field::new("date", DataType::Int64, false),
        Field::new("kind", DataType::Int64, false),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(countries)),
        Arc::new(Int64Array::from(dates)),
        Arc::new(Int64Array::from(kinds)),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let name = format!("holidays_{}", uuid::Uuid::new_v4().simple());
    session.context().register_table(name.as_str(), Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?;
    Ok(name)
}
