//! Laws of the facts over random logs: whatever the order in which rows arrive, and however they are cut into batches, the
//! facts kept up to date batch by batch equal the facts made at once, and those made straight from the files.

use proptest::prelude::*;
use sendlift_engine::event::Log;
use sendlift_engine::query::{LogFiles, QuerySession, Source};
use sendlift_engine::settings::Settings;

use crate::support::{TestStore, now, options, rows_of, text_input};

/// A row of some log, as CSV without the header.
type Row = (Log, String);

const HEADERS: [(Log, &str); 7] = [
    (Log::Sends, "message_id,campaign_id,variant,recipient_id,channel,sent_at"),
    (Log::Deliveries, "message_id,part_no,status,at"),
    (Log::Clicks, "click_id,message_id,link,clicked_at,ip_hash"),
    (Log::Conversions, "conversion_id,recipient_id,message_id,event,occurred_at,value,currency"),
    (Log::Replies, "reply_id,recipient_id,received_at,keyword_class"),
    (Log::OptOuts, "id,recipient_id,channel,requested_at"),
    (Log::Recipients, "recipient_id,country,time_zone,updated_at"),
];

const ALL_FACTS: &str = "SELECT message_id, recipient_id, campaign_id, variant, sent_at, country, local_hour, status, delivery, receipts, \
    delivered_at, clicks, machine_clicks, first_click_at, conversions, conversions_outside_window, revenue, revenue_currency, revenue_other, \
    converted_at, opt_outs, opted_out_at, replies FROM message_facts ORDER BY message_id";

/// A moment in 40 days, on a grid that makes ties likely.
fn moment(slot: u32) -> String {
    let start: jiff::Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    (start + jiff::SignedDuration::from_hours(i64::from(slot) * 6)).to_string()
}

fn row() -> impl Strategy<Value = Row> {
    // Few ids, so that rows meet: the same message sent again, two sends to one recipient at one moment, orders in between.
    let (message, recipient, slot) = (0..8_u32, 0..3_u32, 0..160_u32);
    prop_oneof![
        4 => (message.clone(), recipient.clone(), slot.clone(), 0..2_u32).prop_map(|(m, r, t, v)| {
            (Log::Sends, format!("m{m},c{},{},r{r},sms,{}", m % 2, ["A", "B"][v as usize], moment(t)))
        }),
        4 => (message.clone(), 0..3_u32, 0..5_usize, slot.clone()).prop_map(|(m, part, status, t)| {
            let part = if part == 0 { String::new() } else { part.to_string() };
            (Log::Deliveries, format!("m{m},{part},{},{}", ["sent", "delivered", "failed", "expired", "unknown"][status], moment(t)))
        }),
        2 => (0..9_u32, message.clone(), slot.clone()).prop_map(|(id, m, t)| (Log::Clicks, format!("k{id},m{m},l,{},a{}", moment(t), id % 2))),
        4 => (0..6_u32, recipient.clone(), message.clone(), any::<bool>(), slot.clone()).prop_map(|(id, r, m, named, t)| {
            let named = if named { format!("m{m}") } else { String::new() };
            (Log::Conversions, format!("o{id},r{r},{named},purchase,{},{}.50,{}", moment(t), id + 1, ["USD", "EUR"][(id % 2) as usize]))
        }),
        1 => (0..4_u32, recipient.clone(), slot.clone(), any::<bool>()).prop_map(|(id, r, t, stop)| {
            (Log::Replies, format!("p{id}{r}{t},r{r},{},{}", moment(t), if stop { "stop" } else { "other" }))
        }),
        1 => (recipient.clone(), slot.clone()).prop_map(|(r, t)| (Log::OptOuts, format!("x{r}{t},r{r},sms,{}", moment(t)))),
        1 => (recipient, slot, 0..2_usize).prop_map(|(r, t, zone)| {
            (Log::Recipients, format!("r{r},{},{},{}", ["US", "CN"][zone], ["America/New_York", "Asia/Shanghai"][zone], moment(t)))
        }),
    ]
}

/// The logs of some rows as CSV texts.
fn texts(rows: &[Row]) -> Vec<(Log, String)> {
    HEADERS
        .iter()
        .filter_map(|(log, header)| {
            let lines: Vec<&str> = rows.iter().filter(|(of, _)| of == log).map(|(_, line)| line.as_str()).collect();
            (!lines.is_empty()).then(|| (*log, format!("{header}\n{}\n", lines.join("\n"))))
        })
        .collect()
}

async fn ingest_all(store: &TestStore, rows: &[Row], batch: usize) {
    let texts = texts(rows);
    let borrowed: Vec<(Log, &str)> = texts.iter().map(|(log, text)| (*log, text.as_str())).collect();
    let mut options = options();
    // Each batch is received a second after the one before.
    options.now = now() - jiff::SignedDuration::from_secs(1000 - i64::try_from(batch).unwrap());
    store.try_ingest(&borrowed, &options).await.unwrap();
}

async fn check(rows: Vec<Row>, cuts: Vec<usize>) {
    let incremental = TestStore::new();
    let mut start = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (rows.len() + 1)).chain([rows.len()]).collect();
    ends.sort_unstable();
    for (batch, end) in ends.into_iter().enumerate() {
        ingest_all(&incremental, &rows[start..end], batch).await;
        start = end;
    }
    let kept = incremental.rows(ALL_FACTS).await;

    // The same rows, batch by batch, with facts made only once at the end.
    std::fs::remove_dir_all(incremental.path().join("message_facts")).ok();
    std::fs::remove_dir_all(incremental.path().join("send_corrections")).ok();
    assert_eq!(kept, incremental.rows(ALL_FACTS).await, "kept up to date against made at once");

    // All rows in one file a log, read straight. Rows of later batches stand later in the file, so they are the latest.
    let files: Vec<LogFiles> = texts(&rows)
        .iter()
        .map(|(log, text)| LogFiles::new(*log, text_input(*log, text).inputs, &options().validator, now()).unwrap())
        .collect();
    let session = QuerySession::open(&Source::Files(files), &Settings::default(), now()).await.unwrap();
    assert_eq!(kept, rows_of(&session, ALL_FACTS).await, "store against files");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn facts_do_not_depend_on_the_order_of_arrival_or_the_batches(
        rows in proptest::collection::vec(row(), 1..40),
        cuts in proptest::collection::vec(0..64_usize, 0..4),
    ) {
        // Duplicate lines in one batch file would be one row fewer for nobody: they are rows like any other.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(rows, cuts));
    }
}
