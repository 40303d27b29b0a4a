//! The counting query of a report: messages and recipients of each group in one pass over the facts.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;

use super::ReportRequest;
use super::grouping::Grouping;
use crate::error::Result;
use crate::query::{QuerySession, text_literal};

/// What is counted of one group. Messages first, then recipients in a campaign.
#[derive(Debug, Clone, Default)]
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
    pub(crate) last_sent_at: Option<Timestamp>,
}

/// The messages of a report with their group columns, as SQL.
pub(crate) fn base(request: &ReportRequest, grouping: &Grouping) -> String {
    let mut conditions = Vec::new();
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

/// Counts each group.
pub(crate) async fn counts(session: &QuerySession, base: &str, grouping: &Grouping) -> Result<Vec<Counts>> {
    let keys = grouping.keys();
    let list = keys.iter().map(|key| format!("{key}, ")).collect::<String>();
    let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {0} ORDER BY {0}", keys.join(", ")) };
    let query = format!(
        "WITH base AS ({base}), units AS (\n\
         SELECT {list}campaign_id, recipient_id, count(*) AS sent,\n  \
         count(*) FILTER (WHERE delivery = 'delivered') AS delivered, count(*) FILTER (WHERE delivery = 'failed') AS failed,\n  \
         count(*) FILTER (WHERE receipts > 0) AS with_receipt, sum(clicks) AS clicks, sum(machine_clicks) AS machine_clicks,\n  \
         sum(conversions) AS conversions, sum(conversions_outside_window) AS outside, sum(replies) AS replies,\n  \
         max(opt_outs) AS opt_outs, max(sent_at) AS last_sent_at\n\
         FROM base GROUP BY {list}campaign_id, recipient_id)\n\
         SELECT {list}sum(sent), sum(delivered), sum(failed), sum(with_receipt), sum(clicks), sum(machine_clicks),\n  \
         sum(conversions), sum(outside), count(*), count(*) FILTER (WHERE delivered > 0),\n  \
         count(*) FILTER (WHERE clicks > 0), count(*) FILTER (WHERE conversions > 0),\n  \
         count(*) FILTER (WHERE clicks > 0 AND conversions > 0), sum(opt_outs), count(*) FILTER (WHERE replies > 0),\n  \
         max(last_sent_at) FROM units{group}"
    );
    let mut counts = Vec::new();
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            let count = read_row(&batch, row, keys.len())?;
            // Without any group column an empty selection still gives one row of nothing.
            if count.sent > 0 {
                counts.push(count);
            }
        }
    }
    Ok(counts)
}

fn read_row(batch: &RecordBatch, row: usize, keys: usize) -> Result<Counts> {
    let number = |position: usize| -> u64 {
        let column = batch.column(keys + position).as_primitive::<Int64Type>();
        if column.is_null(row) { 0 } else { u64::try_from(column.value(row)).unwrap_or(0) }
    };
    let last = batch.column(keys + 15).as_primitive::<TimestampMicrosecondType>();
    let last_sent_at = if last.is_null(row) { None } else { Timestamp::from_microsecond(last.value(row)).ok() };
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
        recipients: number(8),
        delivered_recipients: number(9),
        clickers: number(10),
        converters: number(11),
        clicking_converters: number(12),
        opt_outs: number(13),
        repliers: number(14),
        last_sent_at,
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
