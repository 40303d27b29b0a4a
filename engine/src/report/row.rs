//! One row of a report: counts, rates with their intervals, money.

use serde::Serialize;
use serde_json::{Map, Value};

use super::holdout::HoldoutMargins;
use super::money::{Amounts, Money};
use super::query::Counts;
use super::retention::Retained;
use super::{LogsAtHand, ReportRequest};
use crate::error::Result;
use crate::query::QuerySession;
use crate::stats::Estimate;
use crate::stats::proportion::wilson_interval;

/// Messages of unknown fate that are more than one in so many are told of.
const UNKNOWN_ONE_IN: u64 = 10;

/// A share with its interval (Wilson 1927), all between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// The observed share.
    pub estimate: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Rate {
    /// The share of `successes` among `n`; `None` when there is nobody.
    ///
    /// # Errors
    /// When alpha is not between 0 and 1.
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    pub fn of(successes: u64, n: u64, alpha: f64) -> Result<Option<Self>> {
        // Somebody may click a message whose receipt never came: then the receipts are too few, not the clicks too many.
        let n = n.max(successes);
        if n == 0 {
            return Ok(None);
        }
        let interval = wilson_interval(successes, n, alpha)?;
        let estimate = successes as f64 / n as f64;
        Ok(Some(Self { estimate, low: interval.low.unwrap_or(0.0), high: interval.high.unwrap_or(1.0) }))
    }
}

/// The names of a row's results, which no column to group by may have: an answer would have the name twice.
pub(super) const RESULTS: [&str; 33] = [
    "sent",
    "recipients",
    "delivered",
    "failed",
    "unknown",
    "clickers",
    "clicks",
    "machine_clicks",
    "converters",
    "conversions",
    "conversions_outside_window",
    "revenue",
    "margin",
    "currency",
    "cost",
    "opt_outs",
    "replies",
    "denominator",
    "delivery_rate",
    "delivery_rate_at_most",
    "click_rate",
    "conversion_rate",
    "click_to_conversion",
    "unsubscribe_rate",
    "reply_rate",
    "retention",
    "revenue_per_message",
    "cost_per_conversion",
    "attributed_roas",
    "incremental_margin",
    "roi",
    "matured",
    "notes",
];

/// The results of one group. Counts of messages: `sent`, `delivered`, `failed`, `unknown`, `clicks`, `machine_clicks`,
/// `conversions`. Counts of recipients in a campaign: `recipients`, `clickers`, `converters`, `opt_outs`, `replies`. Money
/// in major units of `currency`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReportRow {
    /// The group: one entry for each column of `by`.
    #[serde(flatten)]
    pub group: Map<String, Value>,
    /// Messages submitted.
    pub sent: u64,
    /// Recipients of these messages, each counted once a campaign.
    pub recipients: u64,
    /// Messages delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// Messages that a receipt calls failed, rejected or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Messages without a final receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<u64>,
    /// Recipients with a human click.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clickers: Option<u64>,
    /// Human clicks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clicks: Option<u64>,
    /// Clicks flagged as a machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_clicks: Option<u64>,
    /// Recipients with a conversion credited to these messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converters: Option<u64>,
    /// Conversions credited to these messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversions: Option<u64>,
    /// Of these, conversions that name their message but happened outside its window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversions_outside_window: Option<u64>,
    /// Credited revenue, refunds taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revenue: Option<f64>,
    /// Credited margin, refunds taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// The currency of this row's money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// What the messages cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Recipients who opted out within the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_outs: Option<u64>,
    /// Recipients who replied, opt-outs apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replies: Option<u64>,
    /// What the rates are shares of: `delivered`, or `submitted` where there is no receipt.
    pub denominator: &'static str,
    /// Messages delivered ÷ messages submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<Rate>,
    /// What the delivery rate would be if all messages of unknown fate had been delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate_at_most: Option<f64>,
    /// Clickers ÷ recipients delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub click_rate: Option<Rate>,
    /// Converters ÷ recipients delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion_rate: Option<Rate>,
    /// Clickers who convert ÷ clickers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub click_to_conversion: Option<Rate>,
    /// Opt-outs ÷ recipients delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribe_rate: Option<Rate>,
    /// Repliers ÷ recipients delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_rate: Option<Rate>,
    /// Converters who converted again in the retention period ÷ converters whose period has closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Rate>,
    /// Credited revenue ÷ messages delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revenue_per_message: Option<f64>,
    /// Cost ÷ converters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_conversion: Option<f64>,
    /// Credited revenue ÷ cost: credit, not cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributed_roas: Option<f64>,
    /// What the recipients assigned to the row's experiment earned the sender beyond what as many of those held out
    /// did: margin, refunds taken back, in the period of the row. In major units of `currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incremental_margin: Option<Estimate>,
    /// (Incremental margin − cost) ÷ cost: 0 gives the cost back and nothing more, −1 loses all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roi: Option<Estimate>,
    /// Whether the window of the last message has closed.
    pub matured: bool,
    /// What a reader must know of this row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl ReportRow {
    /// What missing receipts do to the rates, where they are more than a few: one of the row's notes.
    #[must_use]
    pub fn too_few_receipts(&self) -> Option<String> {
        let (delivered, unknown) = self.delivered.zip(self.unknown)?;
        let is_few = unknown.saturating_mul(UNKNOWN_ONE_IN) <= self.sent;
        let at_most = ratio(delivered + unknown, delivered).filter(|_| !is_few)?;
        Some(format!(
            "{unknown} of {} messages have no final receipt: who responds to one counts, but is not among those delivered to, \
             and rates may be up to {at_most:.1} times too high",
            self.sent
        ))
    }
}

/// The rows of one group: one, or one a currency.
pub(crate) fn rows_of(
    counts: &Counts,
    money: &Money,
    holdout: &HoldoutMargins,
    retained: &Retained,
    at_hand: LogsAtHand,
    session: &QuerySession,
    request: &ReportRequest,
) -> Result<Vec<ReportRow>> {
    let row = without_money(counts, retained, at_hand, session, request)?;
    let Some(currencies) = money.get(&counts.keys) else { return Ok(vec![row]) };
    let several = currencies.len() > 1;
    let compared = holdout.get(&counts.keys);
    let rows = currencies.iter().map(|(currency, amounts)| {
        let mut row = row.clone();
        add_money(&mut row, currency, *amounts);
        if let Some(margins) = compared.and_then(|by_currency| by_currency.get(currency)) {
            margins.add_to(&mut row, request.alpha)?;
        }
        if several {
            row.notes.push(
                "several currencies: counts are those of the whole group and repeat in each currency's row".to_owned(),
            );
        }
        Ok(row)
    });
    rows.collect()
}

fn without_money(
    counts: &Counts,
    retained: &Retained,
    at_hand: LogsAtHand,
    session: &QuerySession,
    request: &ReportRequest,
) -> Result<ReportRow> {
    let has_receipts = at_hand.deliveries && counts.with_receipt > 0;
    let people = if has_receipts { counts.delivered_recipients } else { counts.recipients };
    let share = |successes: u64, n: u64| Rate::of(successes, n, request.alpha);
    let group = request
        .by
        .iter()
        .zip(&counts.keys)
        .map(|(name, key)| (name.clone(), key.as_ref().map_or(Value::Null, |key| Value::from(key.as_str()))));
    let window = session.settings.attribution.window_microseconds();
    let closes = counts.last_sent_at.map(|sent| sent.as_microsecond().saturating_add(window));
    let matured = closes.is_none_or(|closes| closes <= session.as_of.as_microsecond());
    let mut row = ReportRow {
        group: group.collect(),
        sent: counts.sent,
        recipients: counts.recipients,
        denominator: if has_receipts { "delivered" } else { "submitted" },
        matured,
        ..ReportRow::default()
    };
    if !matured {
        row.notes.push(format!(
            "not mature: the {} days in which conversions count have not passed since the last message",
            session.settings.attribution.window_days
        ));
    }
    if has_receipts {
        let unknown = counts.sent - counts.delivered - counts.failed;
        row.delivered = Some(counts.delivered);
        row.failed = Some(counts.failed);
        row.unknown = Some(unknown);
        row.delivery_rate = share(counts.delivered, counts.sent)?;
        row.delivery_rate_at_most = ratio(counts.delivered + unknown, counts.sent);
        row.notes.extend(row.too_few_receipts());
    } else if at_hand.deliveries {
        row.notes.push("no receipt for these messages: rates are shares of the messages submitted".to_owned());
    }
    if at_hand.clicks {
        row.clickers = Some(counts.clickers);
        row.clicks = Some(counts.clicks);
        row.machine_clicks = Some(counts.machine_clicks);
        row.click_rate = share(counts.clickers, people)?;
    }
    if at_hand.conversions {
        row.converters = Some(counts.converters);
        row.conversions = Some(counts.conversions);
        if counts.conversions_outside_window > 0 {
            row.conversions_outside_window = Some(counts.conversions_outside_window);
        }
        row.conversion_rate = share(counts.converters, people)?;
        if at_hand.clicks {
            row.click_to_conversion = share(counts.clicking_converters, counts.clickers)?;
        }
        if let Some((converters, came_back)) = retained.get(&counts.keys) {
            row.retention = share(*came_back, *converters)?;
        }
    }
    if at_hand.opt_outs {
        row.opt_outs = Some(counts.opt_outs);
        row.unsubscribe_rate = share(counts.opt_outs, people)?;
    }
    if at_hand.replies {
        row.replies = Some(counts.repliers);
        row.reply_rate = share(counts.repliers, people)?;
    }
    Ok(row)
}

#[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
fn add_money(row: &mut ReportRow, currency: &str, amounts: Amounts) {
    row.currency = (!currency.is_empty()).then(|| currency.to_owned());
    row.revenue = amounts.revenue;
    row.margin = amounts.margin;
    row.cost = amounts.cost;
    let messages = row.delivered.unwrap_or(row.sent);
    row.revenue_per_message = amounts.revenue.filter(|_| messages > 0).map(|revenue| revenue / messages as f64);
    if let Some(cost) = amounts.cost {
        row.cost_per_conversion = row.converters.filter(|converters| *converters > 0).map(|n| cost / n as f64);
        row.attributed_roas = amounts.revenue.filter(|_| cost > 0.0).map(|revenue| revenue / cost);
    }
}

#[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
