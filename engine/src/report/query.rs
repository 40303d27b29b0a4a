//! The counting query of a report: messages and recipients of each group in one pass over the facts.

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use super::ReportRequest;
use super::grouping::Grouping;
use super::money::Money;
use crate::error::Result;
use crate::query::{QuerySession, text_literal};

/// What is counted of one group. Messages first, then recipients in a campaign.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) keys: Vec<Option<String>>,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    pub(crate) with_receipt: u64,
    pub(crate) clicks: u64,
    pub(crate) machine_clicks: u64,
    pub(crate) conversions: u64,
    pub(crate) conversions_outside_window: u64,
    pub(crate) recipients: u64,
    pub(crate) delivered_recipients: u64,
    pub(crate) clickers: u64,
    pub(crate) converters: u64,
    pub(crate) clicking_converters: u64,
    pub(crate) opt_outs: u64,
    pub(crate) repliers: u64,
    pub(crate) first_sent_at: Option<Timestamp>,
    pub(crate) last_sent_at: Option<Timestamp>,
    pub(crate) last_converted_at: Option<Timestamp>,
}

/// The messages of a report with their group columns, as SQL: of all campaigns that it asks for, or of some.
pub(crate) fn base(
    request: &ReportRequest,
    grouping: &Grouping,
    campaigns: Option<&BTreeSet<Option<String>>>,
) -> String {
    let mut conditions = Vec::new();
    if let Some(campaigns) = campaigns {
        let named: Vec<String> = campaigns.iter().flatten().map(|campaign| text_literal(campaign)).collect();
        let any_named =
            if named.is_empty() { "FALSE".to_owned() } else { format!("f.campaign_id IN ({})", named.join(", ")) };
        conditions.push(if campaigns.contains(&None) {
            format!("({any_named} OR f.campaign_id IS NULL)")
        } else {
            any_named
        });
    }
    if let Some(campaign) = &request.campaign {
        conditions.push(format!("f.campaign_id = {}", text_literal(campaign)));
    }
    let moment = |moment: Timestamp| crate::facts::moment(moment.as_microsecond());
    if let Some(from) = request.from {
        conditions.push(format!("f.sent_at >= {}", moment(from)));
    }
    if let Some(to) = request.to {
        conditions.push(format!("f.sent_at < {}", moment(to)));
    }
    let within = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let keys: Vec<String> = grouping
        .expressions()
        .iter()
        .zip(grouping.keys())
        .map(|(expression, key)| format!("{expression} AS {key}, "))
        .collect();
    format!("SELECT {}f.* FROM message_facts AS f{}{within}", keys.concat(), grouping.join())
}

/// What one pass over the messages gives.
pub(crate) struct Counted {
    pub(crate) counts: Vec<Counts>,
    /// The money, unless there are several currencies.
    pub(crate) money: Option<Money>,
}

/// Counts each group, and adds up its money as long as it is in the currencies that the logs begin with.
pub(crate) async fn count(session: &QuerySession, base: &str, grouping: &Grouping) -> Result<Counted> {
    let spent = first_currency(session, "sends").await?;
    let earned = first_currency(session, "conversions").await?;
    let keys = grouping.keys();
    let list = keys.iter().map(|key| format!("{key}, ")).collect::<String>();
    let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {0} ORDER BY {0}", keys.join(", ")) };
    let other = |currency: &str, first: &str| format!("coalesce({currency}, '') <> {}", text_literal(first));
    let query = format!(
        "WITH base AS ({base})\n\
         SELECT {list}count(*), count(*) FILTER (WHERE delivery = 'delivered'), count(*) FILTER (WHERE delivery = 'failed'),\n  \
         count(*) FILTER (WHERE receipts > 0), sum(clicks), sum(machine_clicks), sum(conversions), sum(conversions_outside_window),\n  \
         max(sent_at), recipient_counts(recipient_id, campaign_id, delivery = 'delivered', clicks > 0, conversions > 0, opt_outs > 0, replies > 0),\n  \
         count(*) FILTER (WHERE revenue_other IS NOT NULL OR (cost IS NOT NULL AND {other_spent})\n    \
         OR ((revenue IS NOT NULL OR margin IS NOT NULL) AND {other_earned})),\n  \
         arrow_cast(sum(revenue), 'Float64'), arrow_cast(sum(margin), 'Float64'), arrow_cast(sum(cost), 'Float64'),\n  \
         min(sent_at), max(converted_at)\n\
         FROM base{group}",
        other_spent = other("currency", &spent),
        other_earned = other("revenue_currency", &earned),
    );
    let mut counted = Counted { counts: Vec::new(), money: Some(Money::new()) };
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            let counts = read_row(&batch, row, keys.len())?;
            // Without any group column an empty selection still gives one row of nothing.
            if counts.sent == 0 {
                continue;
            }
            let number = |place: usize| super::money::number(&batch, keys.len() + place, row);
            if batch.column(keys.len() + 10).as_primitive::<Int64Type>().value(row) > 0 {
                counted.money = None;
            } else if let Some(money) = &mut counted.money {
                let of_group = money.entry(counts.keys.clone()).or_default();
                let (revenue, margin, cost) = (number(11), number(12), number(13));
                if revenue.is_some() || margin.is_some() {
                    let amounts = of_group.entry(earned.clone()).or_default();
                    (amounts.revenue, amounts.margin) = (revenue, margin);
                }
                if cost.is_some() {
                    of_group.entry(spent.clone()).or_default().cost = cost;
                }
                if of_group.is_empty() {
                    money.remove(&counts.keys);
                }
            }
            counted.counts.push(counts);
        }
    }
    Ok(counted)
}

/// The first currency of a log; empty when it names none.
async fn first_currency(session: &QuerySession, log: &str) -> Result<String> {
    let query = format!("SELECT currency FROM {log} WHERE currency IS NOT NULL LIMIT 1");
    let batches = session.collect(&query).await?;
    let first = batches.iter().find(|batch| batch.num_rows() > 0);
    Ok(first.map(|batch| cell_text(batch, 0, 0)).transpose()?.flatten().unwrap_or_default())
}

fn read_row(batch: &RecordBatch, row: usize, keys: usize) -> Result<Counts> {
    let count = |column: &ArrayRef| -> u64 {
        let column = column.as_primitive::<Int64Type>();
        if column.is_null(row) { 0 } else { u64::try_from(column.value(row)).unwrap_or(0) }
    };
    let number = |place: usize| count(batch.column(keys + place));
    let moment = |place: usize| {
        let column = batch.column(keys + place).as_primitive::<TimestampMicrosecondType>();
        if column.is_null(row) { None } else { Timestamp::from_microsecond(column.value(row)).ok() }
    };
    let people = batch.column(keys + 9).as_struct();
    let of_people = |name: &str| people.column_by_name(name).map_or(0, count);
    Ok(Counts {
        keys: (0..keys).map(|key| cell_text(batch, key, row)).collect::<Result<_>>()?,
        sent: number(0),
        delivered: number(1),
        failed: number(2),
        with_receipt: number(3),
        clicks: number(4),
        machine_clicks: number(5),
        conversions: number(6),
        conversions_outside_window: number(7),
        recipients: of_people("recipients"),
        delivered_recipients: of_people("delivered"),
        clickers: of_people("clickers"),
        converters: of_people("converters"),
        clicking_converters: of_people("clicking_converters"),
        opt_outs: of_people("opt_outs"),
        repliers: of_people("repliers"),
        first_sent_at: moment(14),
        last_sent_at: moment(8),
        last_converted_at: moment(15),
    })
}

/// A cell as the text that a group is named by.
pub(crate) fn cell_text(batch: &RecordBatch, column: usize, row: usize) -> Result<Option<String>> {
    let cell = batch.column(column).slice(row, 1);
    if cell.is_null(0) {
        return Ok(None);
    }
    let text = arrow::compute::cast(&cell, &DataType::Utf8)?;
    Ok(Some(text.as_string::<i32>().value(0).to_owned()))
}

/// A cell as a number.
pub(crate) fn cell_number(batch: &RecordBatch, column: usize, row: usize) -> Result<Option<f64>> {
    let cell = arrow::compute::cast(&batch.column(column).slice(row, 1), &DataType::Float64)?;
    let number = cell.as_primitive::<Float64Type>();
    Ok(number.is_valid(0).then(|| number.value(0)))
}
