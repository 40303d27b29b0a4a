//! `sendlift report`: campaign results, from the store or straight from files.

use sendlift_engine::chart::compare_groups;
use sendlift_engine::ingest::times::TimeParser;
use sendlift_engine::query::{LogFiles, QuerySession, Source};
use sendlift_engine::report::{Rate, Report, ReportRequest, ReportRow, list_campaigns, report};
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::{ReportArguments, SelectionArguments};
use super::ingest::{log_inputs, validator_options};
use super::output::{Cell, Format, Rows, grouped, percent, print_csv_of, print_json, say};

pub(super) async fn run(context: &Context, arguments: &ReportArguments) -> anyhow::Result<()> {
    let mut request = request(&arguments.selection, arguments.reading.time_zone.as_deref())?;
    request.retention_days = retention(&arguments.retention)?;
    let session = if arguments.logs.is_empty() {
        let at = arguments.selection.at.as_deref().map(str::parse).transpose()?;
        context.session_on(arguments.cluster.as_deref(), at).await?
    } else {
        from_files(context, arguments).await?
    };
    print(&make(&session, &request).await?, context.output()?)
}

/// Makes a report. A campaign that the logs do not hold is an error, not an empty report.
pub(super) async fn make(session: &QuerySession, request: &ReportRequest) -> anyhow::Result<Report> {
    let found = report(session, request).await?;
    if let Some(campaign) = &request.campaign
        && found.rows.is_empty()
    {
        check_campaign(session, campaign).await?;
    }
    Ok(found)
}

/// Campaigns that are named to somebody who asks for another one.
const NAMED_CAMPAIGNS: usize = 5;

async fn check_campaign(session: &QuerySession, campaign: &str) -> anyhow::Result<()> {
    let known: Vec<String> = list_campaigns(session).await?.into_iter().filter_map(|one| one.campaign_id).collect();
    if known.iter().any(|id| id == campaign) {
        return Ok(());
    }
    if known.is_empty() {
        anyhow::bail!("there is no campaign \"{campaign}\"; no message names one");
    }
    let named: Vec<&str> = known.iter().take(NAMED_CAMPAIGNS).map(String::as_str).collect();
    let more = if known.len() > named.len() { " …" } else { "" };
    anyhow::bail!("there is no campaign \"{campaign}\"; there are {}{more} (see sendlift report)", named.join(", "))
}

async fn from_files(context: &Context, arguments: &ReportArguments) -> Result<QuerySession> {
    let options = validator_options(context, &arguments.reading)?;
    let files = log_inputs(&arguments.logs)?
        .into_iter()
        .map(|input| {
            let files = LogFiles::new(input.log, input.inputs, &options, context.now)?;
            Ok(files.with_max_rejected(arguments.max_rejected))
        })
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
    let mut groups: Vec<&ReportRow> = report.rows.iter().collect();
    groups.sort_by(|left, right| compare_groups(&left.group, &right.group));
    let currencies = currencies(report);
    let is_any_open = report.rows.iter().any(|row| !row.matured);
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| match column.name {
            CURRENCY => currencies.len() > 1,
            WINDOW => is_any_open,
            _ => true,
        })
        .filter(|column| groups.iter().any(|row| (column.cell)(row).is_some()))
        .collect();
    let mut header: Vec<&str> = report.by.iter().map(String::as_str).collect();
    header.extend(columns.iter().map(|column| column.name));
    let mut rows = Rows::new(&header, report.by.len());
    for row in groups {
        let keys = row.group.values().map(|value| Cell::from(value.as_str().unwrap_or("(none)")));
        let cells = columns.iter().map(|column| Cell::from((column.cell)(row)));
        rows.push(keys.chain(cells).collect());
    }
    rows.print(Format::Table)?;
    for note in &report.notes {
        say!("note: {note}");
    }
    // Of several groups the first tells what is meant; the others have it in JSON and CSV.
    let told = report.rows.iter().filter_map(|row| Some((row, row.too_few_receipts()?)));
    let few_receipts: Vec<(&ReportRow, String)> = told.collect();
    if let Some((row, note)) = few_receipts.first() {
        let keys: Vec<&str> = row.group.values().map(|value| value.as_str().unwrap_or("(none)")).collect();
        let more = few_receipts.len() - 1;
        let others = if more > 0 { format!(" (and {more} groups more: see --format json)") } else { String::new() };
        say!("note: {}: {note}{others}", keys.join(", "));
    }
    if is_any_open {
        say!("note: (open) marks groups whose conversion window has not closed; their conversions are not complete");
    }
    if report.rows.iter().any(|row| row.attributed_roas.is_some()) {
        say!("note: ROAS is credited revenue ÷ cost: credit, not cause");
    }
    if let [currency] = currencies.as_slice() {
        say!("revenue and cost in {currency}");
    }
    let has_receipts = report.rows.iter().any(|row| row.delivery_rate.is_some());
    let of_messages = if has_receipts { "delivered is a share of the messages sent; other " } else { "" };
    say!("{of_messages}rates are shares of {}, with 95 % Wilson intervals", denominators(report));
    say!("as of {}; --format json or csv gives every number", report.as_of);
    Ok(())
}

/// The currencies of a report's money, each once.
fn currencies(report: &Report) -> Vec<&str> {
    let mut currencies: Vec<&str> = report.rows.iter().filter_map(|row| row.currency.as_deref()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    currencies
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

/// Shown where a report has several.
const CURRENCY: &str = "currency";
/// Shown where one is open.
const WINDOW: &str = "window";

/// What decides about a campaign; the rest is in JSON and CSV. A column without any value is not shown.
static COLUMNS: [Column; 11] = [
    Column { name: "sent", cell: |row| Some(grouped(row.sent)) },
    Column { name: "delivered", cell: |row| row.delivery_rate.map(|rate| percent(rate.estimate)) },
    Column { name: "click rate", cell: |row| row.click_rate.map(shown) },
    Column { name: "conversion rate", cell: |row| row.conversion_rate.map(shown) },
    Column { name: "opt-out", cell: |row| row.unsubscribe_rate.map(|rate| percent(rate.estimate)) },
    Column { name: "revenue", cell: |row| row.revenue.map(|amount| format!("{amount:.2}")) },
    Column { name: "cost", cell: |row| row.cost.map(|amount| format!("{amount:.2}")) },
    Column { name: "ROAS", cell: |row| row.attributed_roas.map(|ratio| format!("{ratio:.2}")) },
    Column { name: "ROI", cell: roi },
    Column { name: CURRENCY, cell: |row| row.currency.clone() },
    Column { name: WINDOW, cell: |row| Some(if row.matured { "closed" } else { "(open)" }.to_owned()) },
];

fn shown(rate: Rate) -> String {
    format!("{} [{:.2}, {:.2}]", percent(rate.estimate), rate.low * 100.0, rate.high * 100.0)
}

/// The return on investment with its interval, of a report that has it.
fn roi(row: &ReportRow) -> Option<String> {
    let row = serde_json::to_value(row).ok()?;
    let found = row.get("roi")?;
    let number = |name: &str| found.get(name).and_then(serde_json::Value::as_f64);
    let end = |name: &str, open: &str| number(name).map_or_else(|| open.to_owned(), |end| format!("{end:.2}"));
    Some(format!("{:.2} [{}, {}]", number("estimate")?, end("low", "-∞"), end("high", "∞")))
}
