//! Campaign reports: from `message_facts` to rates with intervals, for any grouping.
//!
//! In: a [`QuerySession`] and a [`ReportRequest`]. Out: a [`Report`], which serialises to the JSON of the contract. The unit
//! of every rate about people is a recipient in a campaign: somebody who got three messages of one campaign counts once
//! in it, and somebody who got two campaigns counts in each. A number that the logs at hand do not allow is left out.
//! What the messages caused stands beside what is credited to them where an experiment held recipients out.

mod campaigns;
mod contact_columns;
mod grouping;
mod holdout;
mod money;
pub(crate) mod precise;
mod query;
mod retention;
mod rollup;
mod row;
mod sums;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use campaigns::{CampaignSummary, list_campaigns};
pub use grouping::known_groupings;
pub(crate) use grouping::{Grouping, contacts_at, contacts_have_history};
pub(crate) use query::{cell_number, cell_text};
pub(crate) use rollup::{Rollups, drop_all as drop_rollups};
pub use row::{Rate, ReportRow};

use self::sums::Sums;
use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::store::Versions;

/// Which campaigns, grouped how.
#[derive(Debug, Clone)]
pub struct ReportRequest {
    /// Only this campaign.
    pub campaign: Option<String>,
    /// Columns to group by: any column of the facts, of the sends or of the recipients, `day`, `week`, `month`, `hour`, or
    /// `segment:NAME` of a saved segment.
    pub by: Vec<String>,
    /// Only messages sent at or after this moment.
    pub from: Option<Timestamp>,
    /// Only messages sent before this moment.
    pub to: Option<Timestamp>,
    /// The IANA zone of `day`, `week` and `month`.
    pub time_zone: String,
    /// Retention looks for another conversion more than the first and at most the second number of days after the first.
    pub retention_days: (u32, u32),
    /// Two-sided error of the intervals.
    pub alpha: f64,
}

impl Default for ReportRequest {
    fn default() -> Self {
        Self {
            campaign: None,
            by: vec!["campaign_id".to_owned()],
            from: None,
            to: None,
            time_zone: "UTC".to_owned(),
            retention_days: (7, 30),
            alpha: 0.05,
        }
    }
}

/// The results of campaigns.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Up to when the logs tell.
    pub as_of: Timestamp,
    /// The table versions that were read; empty when files were.
    pub versions: Versions,
    /// The columns that the rows are grouped by.
    pub by: Vec<String>,
    /// One row a group, in the order of the groups; a group with several currencies has a row for each.
    pub rows: Vec<ReportRow>,
    /// What a reader must know of all rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Which logs hold any rows: what they cannot tell is left out.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LogsAtHand {
    pub(crate) deliveries: bool,
    pub(crate) clicks: bool,
    pub(crate) conversions: bool,
    pub(crate) replies: bool,
    pub(crate) opt_outs: bool,
}

impl LogsAtHand {
    pub(crate) async fn of(session: &QuerySession) -> Result<Self> {
        let any = async |log: &str| session.has_rows(&format!("SELECT 1 FROM {log} LIMIT 1")).await;
        let replies = any("replies").await?;
        Ok(Self {
            deliveries: any("deliveries").await?,
            clicks: any("clicks").await?,
            conversions: any("conversions").await?,
            replies,
            opt_outs: replies || any("opt_outs").await?,
        })
    }
}

/// Makes a report.
///
/// # Errors
/// When a column to group by does not exist (the message lists those that do), or the query fails.
pub async fn report(session: &QuerySession, request: &ReportRequest) -> Result<Report> {
    if let Some(name) = request.by.iter().find(|name| row::RESULTS.contains(&name.as_str())) {
        return Err(EngineError::usage(format!(
            "by {name}: the report itself has a column of that name; take the attribute in under another (a mapping's columns), or \
             group by it in SQL"
        )));
    }
    let grouping = Grouping::resolve(session, &request.by, &request.time_zone).await?;
    let sums = match rollup::sums(session, request).await? {
        Some(sums) => sums,
        None => Arc::new(Sums::of(session, request, None).await?),
    };
    let Sums { at_hand, counts, money, retained, holdout } = sums.as_ref();
    let mut rows = Vec::with_capacity(counts.len());
    for count in counts {
        rows.extend(row::rows_of(count, money, holdout, retained, *at_hand, session, request)?);
    }
    Ok(Report {
        as_of: session.as_of,
        versions: session.versions.clone(),
        by: request.by.clone(),
        rows,
        notes: session.left_out.iter().cloned().chain(notes(counts, *at_hand, request, &grouping)).collect(),
    })
}

/// Makes the reports that are asked for most, by campaign and by variant, so that they are there when somebody asks.
///
/// # Errors
/// When a query fails.
pub async fn prepare_reports(session: &QuerySession) -> Result<()> {
    for by in [vec!["campaign_id"], vec!["campaign_id", "variant"]] {
        let by = by.into_iter().map(str::to_owned).collect();
        rollup::sums(session, &ReportRequest { by, ..ReportRequest::default() }).await?;
    }
    Ok(())
}

fn notes(
    counts: &[query::Counts],
    at_hand: LogsAtHand,
    request: &ReportRequest,
    grouping: &grouping::Grouping,
) -> Vec<String> {
    let mut notes = Vec::new();
    if counts.is_empty() {
        notes.push(match &request.campaign {
            Some(campaign) => format!("no message of campaign \"{campaign}\" was sent in this time"),
            None => "no message was sent in this time".to_owned(),
        });
    }
    if !at_hand.deliveries && !counts.is_empty() {
        notes.push("there are no delivery receipts: rates are shares of the messages submitted".to_owned());
    }
    notes.extend(grouping.notes());
    if grouping.uses_local_time() && counts.iter().any(|count| count.keys.iter().any(Option::is_none)) {
        notes.push("rows without a local hour are recipients whose time zone is not known".to_owned());
    }
    notes
}
