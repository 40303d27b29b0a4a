//! How the windows of each campaign came about: drawn, at one instant, or chosen.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::datasource::MemTable;

use super::cells::{Table, texts};
use super::drawn::drawn;
use super::slots::Slots;
use crate::error::Result;
use crate::query::QuerySession;
use crate::stats::send_windows::WindowAssignment;

/// A campaign whose messages went out within so much time went out at one instant.
const INSTANT_SECONDS: i64 = 2 * 60 * 60;
/// Of a campaign's messages so many must say with what probability their window was drawn.
const SHARE_WITH_PROPENSITY: f64 = 0.95;

/// How the windows of each campaign came about, and over how many days.
pub(super) async fn read_campaigns(
    session: &QuerySession,
    table: &mut Table,
    propensity: &str,
    takes_part: &str,
    slots: &Slots,
) -> Result<()> {
    let sent = "arrow_cast(f.sent_at, 'Int64')";
    let campaigns = format!(
        "SELECT coalesce(f.campaign_id, ''), count(*), count(*) FILTER (WHERE {propensity} > 0 AND {propensity} < 1), \
         arrow_cast(min({sent}), 'Int64'), arrow_cast(max({sent}), 'Int64'), \
         count(*) FILTER (WHERE {propensity} > 0 AND {propensity} <= 1) FROM message_facts AS f WHERE {takes_part} \
         GROUP BY coalesce(f.campaign_id, '') ORDER BY 1"
    );
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    let (mut said, mut without_propensity) = (Vec::new(), Vec::new());
    for batch in session.collect(&campaigns).await? {
        let names = texts(&batch, 0)?;
        for row in 0..batch.num_rows() {
            let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            let with_propensity = number(5) as f64 / number(1) as f64;
            (first, last) = (first.min(number(3)), last.max(number(4)));
            // Who had one legal window alone got it with certainty, which is no gap in the log.
            if with_propensity >= SHARE_WITH_PROPENSITY && number(2) > 0 {
                said.push(names.value(row).to_owned());
                without_propensity.push((number(1) - number(2)).unsigned_abs());
            }
            let assignment = if number(4) - number(3) <= INSTANT_SECONDS * 1_000_000 {
                WindowAssignment::OneInstant
            } else {
                WindowAssignment::Chosen
            };
            table.campaigns.push(names.value(row).to_owned());
            table.assignments.push(assignment);
        }
    }
    let found = drawn(session, slots, &said).await?;
    for (campaign, without) in said.iter().zip(without_propensity) {
        let Ok(place) = table.campaigns.binary_search(campaign) else { continue };
        if found.contains_key(campaign) {
            table.assignments[place] = WindowAssignment::Randomised;
            table.left_out.without_propensity += without;
        }
    }
    let others = said.len() - found.len();
    table.drawn = found;
    if others > 0 {
        table.notes.push(format!(
            "{others} campaigns log a probability as send_propensity that is not that of these windows (one over it does not add up \
             to the messages of each window): they count as not drawn at random. It has to be the probability of the window, or \
             of the hour, and windows finer than those that were drawn cannot be compared"
        ));
    }
    #[allow(clippy::cast_precision_loss)] // Days are few.
    if first <= last {
        table.days = ((last - first) / 86_400_000_000 + 1) as f64;
    }
    Ok(())
}

/// Registers the campaigns whose windows were drawn, and gives the name of the table.
pub(super) fn register_drawn(session: &QuerySession, table: &Table) -> Result<String> {
    let drawn = table.campaigns.iter().zip(&table.assignments);
    let drawn = drawn.filter(|(_, assignment)| **assignment == WindowAssignment::Randomised);
    let schema = Arc::new(Schema::new(vec![Field::new("campaign", DataType::Utf8, false)]));
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(drawn.map(|(name, _)| name)));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])?;
    let name = format!("drawn_{}", uuid::Uuid::new_v4().simple());
    session.context().register_table(name.as_str(), Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?;
    Ok(name)
}
