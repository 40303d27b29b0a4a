//! What a list did so far, as a plan of an experiment needs it: the rate, the spread and how many recipients come a day.
//!
//! The unit is a recipient of a campaign, as in an experiment: its messages of one campaign are one. Messages whose time to
//! respond has not run out are left out, and so is what is older than [`PAST_DAYS`] before the last of the others.

use serde::Serialize;

use super::metric::MetricKind;
use crate::error::{EngineError, Result};
use crate::facts::{DAY_MICROSECONDS, has_several_currencies};
use crate::query::{QuerySession, text_literal};
use crate::report::cell_number;

/// Days that are looked back from the last message that has had its time.
pub const PAST_DAYS: u32 = 90;

/// What the logs tell of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastRates {
    /// The metric.
    pub metric: String,
    /// Its kind.
    pub kind: MetricKind,
    /// The share or mean of a recipient of a campaign.
    pub baseline: f64,
    /// The sample variance, in squared units of the metric.
    pub variance: f64,
    /// Recipients of campaigns that were counted.
    pub units: u64,
    /// People among them, each once.
    pub recipients: u64,
    /// Campaigns that they belong to.
    pub campaigns: u64,
    /// Days from the first to the last send, both included.
    pub days: u32,
    /// Recipients of campaigns in a day.
    pub per_day: f64,
}

impl PastRates {
    /// Where the numbers come from, in words.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "{} {:.6}, variance {:.6} and {:.1} units a day are those of {} recipients of {} campaigns on {} days, {} people \
             in all: an experiment that assigns people once has no more units than that",
            self.metric,
            self.baseline,
            self.variance,
            self.per_day,
            self.units,
            self.campaigns,
            self.days,
            self.recipients
        )
    }
}

/// The rates of all campaigns of the logs' last [`PAST_DAYS`] days, or of one campaign whenever it was.
///
/// # Errors
/// When there is no such metric or campaign, amounts are in several currencies, or the time of every message still runs.
pub async fn past_rates(session: &QuerySession, metric: &str, campaign: Option<&str>) -> Result<PastRates> {
    let share = |condition: &str| (MetricKind::Proportion, format!("max(CASE WHEN {condition} THEN 1.0 ELSE 0.0 END)"));
    let amount = |column: &str| (MetricKind::Mean, format!("sum(coalesce(arrow_cast({column}, 'Float64'), 0.0))"));
    let (kind, value) = match metric {
        "click" => share("clicks > 0"),
        "conversion" => share("conversions > 0"),
        "delivery" => share("delivery = 'delivered'"),
        "reply" => share("replies > 0"),
        "opt_out" => share("opt_outs > 0"),
        "revenue" => amount("revenue"),
        "cost" => amount("cost"),
        "clicks" => amount("clicks"),
        "conversions" => amount("conversions"),
        other => {
            return Err(EngineError::usage(format!(
                "the logs tell no rate of \"{other}\": there are click, conversion, delivery, reply, opt_out, revenue, cost, clicks \
                 and conversions"
            )));
        }
    };
    let currency = match metric {
        "revenue" => Some("revenue_currency"),
        "cost" => Some("currency"),
        _ => None,
    };
    if let Some(currency) = currency
        && has_several_currencies(session, metric, currency).await?
    {
        return Err(EngineError::usage(format!(
            "{metric} is in several currencies, which are not added up: plan by click or conversion"
        )));
    }
    let ripe = session.as_of.as_microsecond() - i64::from(session.settings.attribution.window_days) * DAY_MICROSECONDS;
    let which = match campaign {
        Some(campaign) => format!("campaign_id = {}", text_literal(campaign)),
        None => format!(
            "arrow_cast(sent_at, 'Int64') > (SELECT max(arrow_cast(sent_at, 'Int64')) FROM message_facts \
             WHERE arrow_cast(sent_at, 'Int64') <= {ripe}) - {}",
            i64::from(PAST_DAYS) * DAY_MICROSECONDS
        ),
    };
    let query = format!(
        "SELECT avg(value), var_samp(value), count(*) * 1.0, count(DISTINCT campaign_id) * 1.0, \
         (max(arrow_cast(day, 'Int32')) - min(arrow_cast(day, 'Int32')) + 1) * 1.0, count(DISTINCT recipient_id) * 1.0 FROM (\
         SELECT campaign_id, recipient_id, min(sent_date) AS day, {value} AS value FROM message_facts \
         WHERE recipient_id IS NOT NULL AND arrow_cast(sent_at, 'Int64') <= {ripe} AND {which} GROUP BY campaign_id, recipient_id)"
    );
    let batches = session.collect(&query).await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Err(nothing(campaign));
    };
    let number = |column: usize| cell_number(batch, column, 0);
    let counts = [number(2)?, number(3)?, number(4)?, number(5)?];
    let (Some(baseline), [Some(units), Some(campaigns), Some(days), Some(recipients)]) = (number(0)?, counts) else {
        return Err(nothing(campaign));
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Counts.
    Ok(PastRates {
        metric: metric.to_owned(),
        kind,
        baseline,
        variance: number(1)?.unwrap_or(0.0),
        units: units as u64,
        recipients: recipients as u64,
        campaigns: campaigns as u64,
        days: days as u32,
        per_day: units / days,
    })
}

fn nothing(campaign: Option<&str>) -> EngineError {
    match campaign {
        Some(campaign) => EngineError::NotFound(format!(
            "campaign \"{campaign}\" has no message whose time to respond has run out: `sendlift report --by campaign_id` lists \
             them"
        )),
        None => EngineError::refused(
            "no message has had its time to respond yet: give the baseline, or wait until the conversion window has run out",
        ),
    }
}
