//! Laws of the facts over random logs: whatever the order in which rows arrive, and however they are cut into batches,
//! the facts kept up to date batch by batch equal the facts made at once, those made straight from the files, and those
//! of an oracle, one plain query over whole logs that shares no code with the fold. A generated sample has the oracle's
//! facts too.

use std::path::Path;

use arrow::datatypes::DataType;
use proptest::prelude::*;
use proptest::sample::select;
use sendlift_engine::event::Log;
use sendlift_engine::facts::refresh;
use sendlift_engine::generate::{GenerateOptions, OutputFormat, generate};
use sendlift_engine::ingest::load::{LogInput, ingest};
use sendlift_engine::query::QuerySession;
use sendlift_engine::report::{ReportRequest, report};
use sendlift_engine::settings::Settings;

use crate::support::{TestStore, file_input, now, options, rows_of, session_of_files, text_input};

/// A row of some log, as CSV without the header.
type Row = (Log, String);

const HEADERS: [(Log, &str); 7] = [
    (Log::Sends, "message_id,campaign_id,variant,recipient_id,channel,sent_at,country,time_zone,cost,currency,carrier"),
    (Log::Deliveries, "message_id,part_no,status,at,error_code,carrier,price,currency"),
    (Log::Clicks, "click_id,message_id,link,clicked_at,user_agent,method,ip_hash,bot_score,bot_reason"),
    (Log::Conversions, "conversion_id,recipient_id,message_id,event,occurred_at,value,margin,currency,refunded_at"),
    (Log::Replies, "reply_id,recipient_id,message_id,received_at,text,keyword_class"),
    (Log::OptOuts, "id,recipient_id,message_id,channel,requested_at"),
    (Log::Recipients, "recipient_id,country,region,time_zone,updated_at,plan"),
];

const ALL_FACTS: &str = "SELECT message_id, recipient_id, campaign_id, variant, channel, sent_at, sent_date, \
    country, region, time_zone, local_hour, local_weekday, \
    status, delivery, receipts, delivered_at, error_code, carrier, cost, currency, \
    clicks, machine_clicks, first_click_at, first_click_device, machine_click_reason, \
    conversions, conversions_outside_window, converted_at, revenue, margin, revenue_currency, revenue_other, \
    opt_outs, opted_out_at, replies FROM message_facts ORDER BY message_id";

/// The same columns of the same rows, by plain SQL over the logs.
const ORACLE: &str = include_str!("facts_oracle.sql");

/// A moment in 40 days, on a grid of 6 hours that makes ties likely, or some microseconds after it.
fn moment(slot: u32, after: i64) -> String {
    let start: jiff::Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    let slots = jiff::SignedDuration::from_hours(i64::from(slot) * 6);
    (start + slots + jiff::SignedDuration::from_micros(after)).to_string()
}

/// A place on the grid; half of them are among the first few, where rows meet.
fn slot() -> impl Strategy<Value = u32> {
    prop_oneof![0..160_u32, 0..4_u32]
}

/// A message that an event may name; the last one is never sent.
fn message() -> impl Strategy<Value = String> {
    (0..9_u32).prop_map(|message| format!("m{message}"))
}

/// Whom or what an event is about, as `recipient_id,message_id`: mostly the recipient alone.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => (0..3_u32).prop_map(|recipient| format!("r{recipient},")),
        1 => (0..3_u32, message()).prop_map(|(recipient, message)| format!("r{recipient},{message}")),
        1 => message().prop_map(|message| format!(",{message}")),
    ]
}

/// Few ids, so that rows meet: the same message sent again, two sends to one recipient at one moment.
fn send() -> impl Strategy<Value = Row> {
    let channel = select(vec!["sms", "sms", "email"]);
    let place = select(vec![",", "FR,Europe/Paris", "FR,", ",Mars/Olympus"]);
    let cost = select(vec![",", "0.0075,USD", ",EUR", "0.02,"]);
    let carrier = select(vec!["", "Acme"]);
    (0..8_u32, 0..3_u32, slot(), select(vec!["A", "B"]), channel, place, cost, carrier).prop_map(
        |(message, recipient, slot, variant, channel, place, cost, carrier)| {
            let (campaign, at) = (message % 2, moment(slot, 0));
            let whom = format!("r{recipient},{channel},{at}");
            (Log::Sends, format!("m{message},c{campaign},{variant},{whom},{place},{cost},{carrier}"))
        },
    )
}

fn receipt() -> impl Strategy<Value = Row> {
    let part = select(vec!["", "", "0", "1", "2"]);
    let words = vec!["accepted", "sent", "delivered", "read", "failed", "undelivered", "expired", "unknown"];
    let error = select(vec!["", "30003", "30007"]);
    let carrier = select(vec!["", "Beta", "Gamma"]);
    let price = select(vec![",", "0.003,USD", "0.004,EUR", ",EUR"]);
    (message(), part, select(words), slot(), error, carrier, price).prop_map(
        |(message, part, status, slot, error, carrier, price)| {
            let at = moment(slot, 0);
            (Log::Deliveries, format!("{message},{part},{status},{at},{error},{carrier},{price}"))
        },
    )
}

/// Delays in microseconds around the limits of the rules about machines: 1 and 3 seconds, and the end of the hour.
fn delay() -> impl Strategy<Value = i64> {
    const SECOND: i64 = 1_000_000;
    let around = [0, SECOND, SECOND + 1, 3 * SECOND - 1, 3 * SECOND, 4 * SECOND, 4 * SECOND + 1, 3600 * SECOND];
    select(around.to_vec())
}

fn click() -> impl Strategy<Value = Row> {
    let id = select(vec!["", "", "k1", "k2", "k3"]);
    let of = prop_oneof![9 => message(), 1 => Just(String::new())];
    let agent =
        select(vec!["", "Mozilla/5.0 (iPhone)", "Mozilla/5.0 (Linux; Android 15)", "Slackbot-LinkExpanding 1.0"]);
    let method = select(vec!["", "GET", "GET", "head"]);
    let address = select(vec!["", "a1", "a9"]);
    let score = select(vec![",", ",", ",", "0.1,person", "0.5,", "0.9,scanner"]);
    (id, of, select(vec!["l1", "l2"]), slot(), delay(), agent, method, address, score).prop_map(
        |(id, message, link, slot, delay, agent, method, address, score)| {
            let at = moment(slot, delay);
            (Log::Clicks, format!("{id},{message},{link},{at},{agent},{method},{address},{score}"))
        },
    )
}

fn conversion() -> impl Strategy<Value = Row> {
    let event = select(vec!["purchase", "signup"]);
    // The window ends on the grid: an event may be just inside it or just outside.
    let after = select(vec![0_i64, 1]);
    let amounts = vec!["1.50,0.25,USD", "2.50,,EUR", ",,USD", "7,-1.5,", ",0.5,EUR", "0.000001,,GBP"];
    let refund = select(vec!["", "", "2026-04-20T00:00:00Z"]);
    (0..8_u32, target(), event, slot(), after, select(amounts), refund).prop_map(
        |(id, target, event, slot, after, amounts, refund)| {
            let at = moment(slot, after);
            (Log::Conversions, format!("o{id},{target},{event},{at},{amounts},{refund}"))
        },
    )
}

fn reply() -> impl Strategy<Value = Row> {
    let id = select(vec!["", "", "p1", "p2", "p3"]);
    let words = select(vec!["STOP,stop", " stop ,other", "thanks,other", "STOP,help", "退订,other", "t,stop"]);
    (id, target(), slot(), words).prop_map(|(id, target, slot, words)| {
        let at = moment(slot, 0);
        (Log::Replies, format!("{id},{target},{at},{words}"))
    })
}

fn opt_out() -> impl Strategy<Value = Row> {
    let id = select(vec!["", "", "x1", "x2"]);
    let named = prop_oneof![2 => Just(String::new()), 1 => message()];
    (id, 0..3_u32, named, select(vec!["sms", "email"]), slot()).prop_map(|(id, recipient, message, channel, slot)| {
        let at = moment(slot, 0);
        (Log::OptOuts, format!("{id},r{recipient},{message},{channel},{at}"))
    })
}

fn contact() -> impl Strategy<Value = Row> {
    let place = select(vec!["US,CA,America/New_York", "CN,,Asia/Shanghai", ",BJ,", "US,,Mars/Olympus"]);
    let updated = prop_oneof![3 => slot().prop_map(|slot| moment(slot, 0)), 1 => Just(String::new())];
    (0..3_u32, place, updated, select(vec!["gold", "basic", ""])).prop_map(|(recipient, place, updated, plan)| {
        (Log::Recipients, format!("r{recipient},{place},{updated},{plan}"))
    })
}

/// A receipt, and clicks on one or two links soon after it.
fn visit() -> impl Strategy<Value = Vec<Row>> {
    let part = select(vec!["", "1"]);
    let status = select(vec!["delivered", "read", "undelivered"]);
    (message(), part, status, slot(), delay(), delay(), select(vec!["l1", "l2"])).prop_map(
        |(message, part, status, slot, one, other, link)| {
            let at = moment(slot, 0);
            let clicks = [("l1", one), (link, other)].map(|(link, delay)| {
                let at = moment(slot, delay);
                (Log::Clicks, format!(",{message},{link},{at},,GET,,,"))
            });
            let mut rows = vec![(Log::Deliveries, format!("{message},{part},{status},{at},,,,"))];
            rows.extend(clicks);
            rows
        },
    )
}

/// Clicks on so many messages from one address in one hour that they are a machine's, or one too few.
fn crowd() -> impl Strategy<Value = Vec<Row>> {
    (slot(), 29..32_u32).prop_map(|(slot, messages)| {
        let at = moment(slot, 0);
        (0..messages).map(|message| (Log::Clicks, format!(",m{message},l1,{at},,GET,a9,,"))).collect()
    })
}

/// Rows that come together.
fn some_rows() -> impl Strategy<Value = Vec<Row>> {
    let single = prop_oneof![
        5 => send(), 4 => receipt(), 3 => click(), 5 => conversion(), 2 => reply(), 2 => opt_out(), 2 => contact(),
    ];
    prop_oneof![
        20 => single.prop_map(|row| vec![row]),
        2 => visit(),
        1 => crowd(),
    ]
}

/// The logs of some rows as CSV texts. Replies have a class, or tell by their text alone what they ask for.
fn texts(rows: &[Row], classed: bool) -> Vec<(Log, String)> {
    HEADERS
        .iter()
        .filter_map(|(log, header)| {
            let lines: Vec<&str> = std::iter::once(*header)
                .chain(rows.iter().filter(|(of, _)| of == log).map(|(_, line)| line.as_str()))
                .map(|line| match line.rsplit_once(',') {
                    Some((without_class, _)) if *log == Log::Replies && !classed => without_class,
                    _ => line,
                })
                .collect();
            (lines.len() > 1).then(|| (*log, format!("{}\n", lines.join("\n"))))
        })
        .collect()
}

async fn ingest_all(store: &TestStore, rows: &[Row], batch: usize, classed: bool) {
    // Two batches may hold the same lines and are two batches all the same.
    let key = || Some(format!("batch {batch}"));
    let texts = texts(rows, classed);
    let inputs: Vec<LogInput> =
        texts.iter().map(|(log, text)| LogInput { idempotency_key: key(), ..text_input(*log, text) }).collect();
    let mut options = options();
    // Each batch is received a second after the one before.
    options.now = now() - jiff::SignedDuration::from_secs(1000 - i64::try_from(batch).unwrap());
    ingest(&store.store, &inputs, &options, &|_| ()).await.unwrap();
    refresh(&store.store, &Settings::default()).await.unwrap();
}

/// Compares row by row, so that only the first row that differs is shown.
fn assert_same(found: &[String], expected: &[String], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// Groupings of reports: those that are renewed campaign by campaign, one with a column of the contacts, and others.
const GROUPINGS: [&[&str]; 6] = [
    &["campaign_id"],
    &["campaign_id", "variant"],
    &["campaign", "hour"],
    &["campaign_id", "plan"],
    &["variant", "day"],
    &[],
];

/// The rows of a report.
async fn report_of(session: &QuerySession, by: &[&str], campaign: Option<&str>, from: Option<&str>) -> Vec<String> {
    let request = ReportRequest {
        campaign: campaign.map(str::to_owned),
        by: by.iter().map(|name| (*name).to_owned()).collect(),
        from: from.map(|from| from.parse().unwrap()),
        ..ReportRequest::default()
    };
    let found = report(session, &request).await.unwrap();
    found.rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect()
}

/// Compares the reports of a store, which come from rollups, with those from its facts: a report of a period is counted.
async fn check_rollups(store: &TestStore) {
    const BEFORE_ALL: Option<&str> = Some("1990-01-01T00:00:00Z");
    let session = store.session().await;
    let has_plan = session.schema("recipients").await.unwrap().column_with_name("plan").is_some();
    for by in GROUPINGS.into_iter().filter(|by| has_plan || !by.contains(&"plan")) {
        let counted = report_of(&session, by, None, BEFORE_ALL).await;
        assert_same(&report_of(&session, by, None, None).await, &counted, &format!("rollup by {by:?}"));
        // What is kept is what is read back.
        assert_same(&report_of(&store.session().await, by, None, None).await, &counted, &format!("kept by {by:?}"));
    }
    for by in [&["variant"] as &[&str], &["campaign_id"], &[]] {
        let counted = report_of(&session, by, Some("c1"), BEFORE_ALL).await;
        assert_same(&report_of(&session, by, Some("c1"), None).await, &counted, &format!("one campaign by {by:?}"));
    }
}

async fn check(rows: &[Row], cuts: &[usize], classed: bool) {
    let incremental = TestStore::new();
    let mut start = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (rows.len() + 1)).chain([rows.len()]).collect();
    ends.sort_unstable();
    for (batch, end) in ends.into_iter().enumerate() {
        ingest_all(&incremental, &rows[start..end], batch, classed).await;
        check_rollups(&incremental).await;
        start = end;
    }
    let kept = incremental.rows(ALL_FACTS).await;

    // The same rows, batch by batch, with facts made only once at the end.
    std::fs::remove_dir_all(incremental.path().join("message_facts")).ok();
    std::fs::remove_dir_all(incremental.path().join("send_corrections")).ok();
    assert_same(&kept, &incremental.rows(ALL_FACTS).await, "kept up to date against made at once");

    // All rows in one file a log, read straight. Rows of later batches stand later in the file, so they are the latest.
    let files: Vec<LogInput> = texts(rows, classed).iter().map(|(log, text)| text_input(*log, text)).collect();
    let session = session_of_files(&files).await;
    assert_same(&kept, &rows_of(&session, ALL_FACTS).await, "store against files");

    let of_store = incremental.session().await;
    for by in &GROUPINGS[..3] {
        let from_files = report_of(&session, by, None, None).await;
        assert_same(
            &report_of(&of_store, by, None, None).await,
            &from_files,
            &format!("rollup by {by:?} against files"),
        );
    }

    // Without sends there are no facts, nor the attribute that the oracle wants.
    if rows.iter().any(|(log, _)| *log == Log::Sends) {
        assert_same(&kept, &rows_of(&session, ORACLE).await, "facts against the oracle");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn facts_do_not_depend_on_the_order_of_arrival_or_the_batches(
        rows in proptest::collection::vec(some_rows(), 1..50),
        cuts in proptest::collection::vec(0..64_usize, 0..4),
        classed in any::<bool>(),
    ) {
        // Duplicate lines in one batch file would be one row fewer for nobody: they are rows like any other.
        let rows = rows.concat();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(&rows, &cuts, classed));
    }
}

/// The files of a generated sample, one a log.
fn sample(folder: &Path, format: OutputFormat) -> Vec<LogInput> {
    let made = GenerateOptions { messages: 3_000, seed: 5, format, ..GenerateOptions::default() };
    let summary = generate(&folder.join("logs"), &made, &mut |_| ()).unwrap();
    let log_of = |path: &Path| -> Option<Log> { path.file_stem()?.to_str()?.parse().ok() };
    summary.files.iter().filter_map(|path| Some(file_input(log_of(path)?, path))).collect()
}

/// The names and types of a query's columns.
async fn columns(session: &QuerySession, query: &str) -> Vec<(String, DataType)> {
    let frame = session.sql(query).await.unwrap();
    frame.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_sample_has_the_facts_of_the_oracle() {
    // A sample in which nothing happens would prove nothing.
    let happened = "SELECT count(*), sum(clicks) > 0 AND sum(machine_clicks) > 0 AND sum(conversions) > 0 \
        AND sum(opt_outs) > 0 AND sum(replies) > 0 AND count(error_code) > 0 AND count(DISTINCT time_zone) > 1 \
        FROM message_facts";
    let mut first: Option<Vec<String>> = None;
    for format in [OutputFormat::Csv, OutputFormat::Parquet] {
        let store = TestStore::new();
        let logs = sample(store.folder.path(), format);
        ingest(&store.store, &logs, &options(), &|_| ()).await.unwrap();
        let files = session_of_files(&logs).await;
        assert_eq!(columns(&files, ALL_FACTS).await, columns(&files, ORACLE).await);
        for (source, session) in [("files", files), ("store", store.session().await)] {
            let what = format!("{format}, {source}");
            assert_eq!(rows_of(&session, happened).await, ["3000|true"], "{what}");
            let facts = rows_of(&session, ALL_FACTS).await;
            assert_same(&facts, &rows_of(&session, ORACLE).await, &format!("{what} against the oracle"));
            assert_same(&facts, first.get_or_insert_with(|| facts.clone()), &format!("{what} against the first"));
        }
    }
}
