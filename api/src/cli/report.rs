//! `sendlift report`: campaign results, from the store or straight from files.

use sendlift_engine::ingest::times::TimeParser;
use sendlift_engine::query::{LogFiles, QuerySession, Source};
use sendlift_engine::report::{Rate, Report, ReportRequest, ReportRow, report};
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::{ReportArguments, SelectionArguments};
use super::ingest::{log_inputs, validator_options};
use super::output::{Format, Rows, grouped, percent, print_csv_of, print_json, say};

pub(super) async fn run(context: &Context, arguments: &ReportArguments) -> anyhow::Result<()> {
    let mut request = request(&arguments.selection, arguments.reading.time_zone.as_deref())?;
    request.retention_days = retention(&arguments.retention)?;
    let session = if arguments.logs.is_empty() {
        let at = arguments.selection.at.as_deref().map(str::parse).transpose()?;
        context.session(at).await?
    } else {
        from_files(context, arguments).await?
    };
    print(&report(&session, &request).await?, context.output()?)
}

async fn from_files(context: &Context, arguments: &ReportArguments) -> Result<QuerySession> {
    let options = validator_options(context, &arguments.reading)?;
    let files = log_inputs(&arguments.logs)?
        .into_iter()
        .map(|input| LogFiles::new(input.log, input.inputs, &options, context.now))
        .collect::<Result<Vec<_>>>()?;
    QuerySession::open(&Source::Files(files), context.settings(), context.now).await
}

/// The request that selection arguments stand for.
pub(super) fn request(selection: &SelectionArguments, time_zone: Option<&str>) -> Result<ReportRequest> {
    let defaults = ReportRequest::default();
    let zone_name = time_zone.unwrap_or("UTC");
    let zone = sendlift_engine::ingest::times::zone(zone_name)?;
    let moment = |text: &Option<String>| -> Result<Option<jiff::Timestamp>> {
        let Some(text) = text else { return Ok(None) };
        let parsed = TimeParser::new(&[], zone.clone()).parse(text);
        let microseconds = parsed.ok_or_else(|| {
            EngineError::usage(format!("\"{text}\" is not a time such as 2026-03-02 or 2026-03-02T10:00:00Z"))
        })?;
        Ok(jiff::Timestamp::from_microsecond(microseconds).ok())
    };
    Ok(ReportRequest {
        campaign: selection.campaign.clone(),
        by: selection.by.clone().unwrap_or(defaults.by),
        from: moment(&selection.from)?,
        to: moment(&selection.to)?,
        time_zone: zone_name.to_owned(),
        ..ReportRequest::default()
    })
}

fn retention(text: &str) -> Result<(u32, u32)> {
    let parsed = text.split_once(',').and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
    parsed
        .filter(|(from, to)| from < to)
        .ok_or_else(|| EngineError::usage(format!("--retention \"{text}\": write two numbers of days, as in 7,30")))
}

/// Prints a report.
pub(super) fn print(report: &Report, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => return print_json(report),
        Format::Csv => return print_csv_of(&report.rows),
        Format::Table => {}
    }
    let columns: Vec<Column> =
        COLUMNS.into_iter().filter(|column| report.rows.iter().any(|row| (column.cell)(row).is_some())).collect();
    let mut header: Vec<&str> = report.by.iter().map(String::as_str).collect();
    header.extend(columns.iter().map(|column| column.name));
    let mut rows = Rows::new(&header, report.by.len());
    for row in &report.rows {
        let mut cells: Vec<String> =
            row.group.values().map(|value| value.as_str().unwrap_or("(none)").to_owned()).collect();
        cells.extend(columns.iter().map(|column| (column.cell)(row).unwrap_or_else(|| "-".to_owned())));
        rows.push(cells);
    }
    rows.print(Format::Table)?;
    for note in &report.notes {
        say!("note: {note}");
    }
    if report.rows.iter().any(|row| !row.matured) {
        say!("note: (open) marks groups whose conversion window has not closed; their conversions are not complete");
    }
    say!("rates are shares of {} with 95 % Wilson intervals; as of {}", denominators(report), report.as_of);
    Ok(())
}

fn denominators(report: &Report) -> &'static str {
    if report.rows.iter().all(|row| row.denominator == "submitted") {
        "recipients submitted to"
    } else {
        "recipients delivered to"
    }
}

struct Column {
    name: &'static str,
    cell: fn(&ReportRow) -> Option<String>,
}

const COLUMNS: [Column; 15] = [
    Column { name: "sent", cell: |row| Some(grouped(row.sent)) },
    Column { name: "delivered", cell: |row| row.delivered.map(grouped) },
    Column { name: "delivery", cell: |row| row.delivery_rate.map(|rate| percent(rate.estimate)) },
    Column { name: "clickers", cell: |row| row.clickers.map(grouped) },
    Column { name: "click rate", cell: |row| row.click_rate.map(shown) },
    Column { name: "converters", cell: |row| row.converters.map(grouped) },
    Column { name: "conversion rate", cell: |row| row.conversion_rate.map(shown) },
    Column { name: "retention", cell: |row| row.retention.map(|rate| percent(rate.estimate)) },
    Column { name: "opt-out", cell: |row| row.unsubscribe_rate.map(|rate| percent(rate.estimate)) },
    Column { name: "reply", cell: |row| row.reply_rate.map(|rate| percent(rate.estimate)) },
    Column { name: "revenue", cell: |row| row.revenue.map(|amount| format!("{amount:.2}")) },
    Column { name: "cost", cell: |row| row.cost.map(|amount| format!("{amount:.2}")) },
    Column { name: "ROAS (credit)", cell: |row| row.attributed_roas.map(|ratio| format!("{ratio:.2}")) },
    Column { name: "currency", cell: |row| row.currency.clone() },
    Column { name: "window", cell: |row| Some(if row.matured { "closed" } else { "(open)" }.to_owned()) },
];

fn shown(rate: Rate) -> String {
    format!("{} [{:.2}, {:.2}]", percent(rate.estimate), rate.low * 100.0, rate.high * 100.0)
}
