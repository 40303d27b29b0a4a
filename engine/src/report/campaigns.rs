//! The list of campaigns that the logs hold.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;
use serde::Serialize;

use super::query::cell_text;
use crate::error::Result;
use crate::query::QuerySession;

/// One campaign.
#[derive(Debug, Clone, Serialize)]
pub struct CampaignSummary {
    /// Its id; null for messages that belong to none.
    pub campaign_id: Option<String>,
    /// Messages submitted.
    pub sent: u64,
    /// When its first message was sent.
    pub first_sent_at: Option<Timestamp>,
    /// When its last message was sent.
    pub last_sent_at: Option<Timestamp>,
    /// Whether the window of its last message has closed.
    pub matured: bool,
}

/// The campaigns, the latest first.
///
/// # Errors
/// When the query fails.
pub async fn list_campaigns(session: &QuerySession) -> Result<Vec<CampaignSummary>> {
    let query = "SELECT campaign_id, count(*), min(sent_at), max(sent_at) FROM message_facts GROUP BY campaign_id \
                 ORDER BY max(sent_at) DESC, campaign_id";
    let window = session.settings.attribution.window_microseconds();
    let mut campaigns = Vec::new();
    for batch in session.collect(query).await? {
        let moment = |column: usize, row: usize| {
            let column = batch.column(column).as_primitive::<TimestampMicrosecondType>();
            if column.is_null(row) { None } else { Timestamp::from_microsecond(column.value(row)).ok() }
        };
        for row in 0..batch.num_rows() {
            let last_sent_at = moment(3, row);
            campaigns.push(CampaignSummary {
                campaign_id: cell_text(&batch, 0, row)?,
                sent: batch.column(1).as_primitive::<Int64Type>().value(row).unsigned_abs(),
                first_sent_at: moment(2, row),
                last_sent_at,
                matured: last_sent_at
                    .is_none_or(|last| last.as_microsecond().saturating_add(window) <= session.as_of.as_microsecond()),
            });
        }
    }
    Ok(campaigns)
}
