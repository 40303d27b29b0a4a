//! Reports and facts of a campaign small enough to count by hand.

use std::collections::HashMap;
use std::path::Path;

use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, analyze_store};
use sendlift_engine::generate::{GenerateOptions, OutputFormat, generate};
use sendlift_engine::ingest::load::IngestOptions;
use sendlift_engine::query::{LogFiles, QuerySession, Source};
use sendlift_engine::report::{ReportRequest, report};
use sendlift_engine::segment::SegmentDefinition;
use sendlift_engine::settings::Settings;
use sendlift_engine::stats::mean::welch_interval_difference;
use sendlift_engine::stats::{Estimate, Moments};
use sendlift_engine::store::At;

use crate::support::{
    CLICKS, CONVERSIONS, DELIVERIES, SENDS, TestStore, now, options, rows_of, session_of_files, text_input,
};

const ALL: [(Log, &str); 4] =
    [(Log::Sends, SENDS), (Log::Deliveries, DELIVERIES), (Log::Clicks, CLICKS), (Log::Conversions, CONVERSIONS)];

#[tokio::test]
async fn facts_say_what_became_of_each_message() {
    let store = TestStore::new();
    store.ingest(&ALL).await;
    let rows = store
        .rows(
            "SELECT message_id, status, delivery, clicks, machine_clicks, conversions, conversions_outside_window, revenue, \
             local_hour, local_weekday, sent_date FROM message_facts ORDER BY message_id",
        )
        .await;
    assert_eq!(
        rows,
        [
            // Two human clicks; o1 by last touch, o4 by name though late and refunded. 10:00 UTC is 05:00 in New York.
            "m1|delivered|delivered|2|0|2|1|20.500000|5|1|2026-03-02",
            // Delivered over expired; a click one second after delivery and a preview bot; o2 exactly at the window's end.
            "m2|delivered|delivered|0|2|1|0|10.000000|18|1|2026-03-02",
            // No zone: no local hour.
            "m3|undelivered|failed|0|0|0|0|∅|∅|∅|2026-03-02",
        ]
    );
}

#[tokio::test]
async fn a_report_counts_and_divides() {
    let store = TestStore::new();
    store.ingest(&ALL).await;
    let session = store.session().await;
    let found =
        report(&session, &ReportRequest { by: vec!["campaign_id".into()], ..ReportRequest::default() }).await.unwrap();
    let row = serde_json::to_value(&found.rows[0]).unwrap();
    for (key, expected) in [
        ("campaign_id", serde_json::json!("spring")),
        ("sent", 3.into()),
        ("delivered", 2.into()),
        ("failed", 1.into()),
        ("unknown", 0.into()),
        ("clickers", 1.into()),
        ("clicks", 2.into()),
        ("machine_clicks", 2.into()),
        ("converters", 2.into()),
        ("conversions", 3.into()),
        ("revenue", 30.5.into()),
        ("cost", 0.04.into()),
        ("currency", "USD".into()),
        ("matured", true.into()),
        ("revenue_per_message", 15.25.into()),
        ("cost_per_conversion", 0.02.into()),
        ("attributed_roas", 762.5.into()),
    ] {
        assert_eq!(row[key], expected, "{key} in {row}");
    }
    assert_eq!(row["click_rate"]["estimate"], 0.5);
    // Wilson interval of 1 in 2: statsmodels 0.15.0, proportion_confint(1, 2, method="wilson").
    assert!((row["click_rate"]["low"].as_f64().unwrap() - 0.094_531_205_734_230_74).abs() < 1e-12);
    // There is no opt-out log and no reply log: what they would tell is left out, not zero.
    assert!(row.get("opt_outs").is_none() && row.get("unsubscribe_rate").is_none() && row.get("reply_rate").is_none());
}

#[tokio::test]
async fn files_straight_and_the_store_give_the_same_report() {
    let store = TestStore::new();
    store.ingest(&ALL).await;
    let request =
        ReportRequest { by: vec!["campaign_id".into(), "variant".into(), "day".into()], ..ReportRequest::default() };
    let stored = report(&store.session().await, &request).await.unwrap();
    let validator = options().validator;
    let files: Vec<LogFiles> = ALL
        .iter()
        .map(|(log, text)| LogFiles::new(*log, text_input(*log, text).inputs, &validator, now()).unwrap())
        .collect();
    let session = QuerySession::open(&Source::Files(files), &Settings::default(), now()).await.unwrap();
    let straight = report(&session, &request).await.unwrap();
    assert_eq!(serde_json::to_value(&stored.rows).unwrap(), serde_json::to_value(&straight.rows).unwrap());
    assert!(stored.rows.len() == 2 && straight.versions.is_empty() && !stored.versions.is_empty());
}

#[tokio::test]
async fn attributes_and_contacts_group_reports() {
    let store = TestStore::new();
    let contacts = "recipient_id,Age Band,城市,updated_at\nr1,18-24,上海,2026-01-01T00:00:00Z\nr1,25-34,北京,2026-03-03T00:00:00Z\n\
                    r2,25-34,北京,2026-01-01T00:00:00Z\n";
    store.ingest(&[(Log::Sends, SENDS), (Log::Recipients, contacts)]).await;
    let session = store.session().await;
    let by = |column: &str| ReportRequest { by: vec![column.to_owned()], ..ReportRequest::default() };
    let found = report(&session, &by("age_band")).await.unwrap();
    let groups: Vec<String> = found.rows.iter().map(|row| format!("{}:{}", row.group["age_band"], row.sent)).collect();
    // r1 was in the younger band when the message went out.
    assert_eq!(groups, ["\"18-24\":1", "\"25-34\":1", "null:1"]);
    assert_eq!(report(&session, &by("城市")).await.unwrap().rows.len(), 3);
    let message = report(&session, &by("shoe_size")).await.unwrap_err().to_string();
    assert!(
        message.contains("shoe_size") && message.contains("age_band") && message.contains("campaign_id"),
        "{message}"
    );
}

#[tokio::test]
async fn currencies_are_never_added_up() {
    let store = TestStore::new();
    let orders = "conversion_id,recipient_id,event,occurred_at,value,currency\n\
        o1,r1,purchase,2026-03-03T10:00:00Z,20,USD\no2,r1,purchase,2026-03-03T11:00:00Z,7,EUR\no3,r2,purchase,2026-03-03T11:00:00Z,5,EUR\n";
    store.ingest(&[(Log::Sends, SENDS), (Log::Conversions, orders)]).await;
    let found = report(&store.session().await, &ReportRequest::default()).await.unwrap();
    let money: Vec<String> = found
        .rows
        .iter()
        .map(|row| format!("{} {:?} {:?} {}", row.currency.as_deref().unwrap_or("-"), row.revenue, row.cost, row.sent))
        .collect();
    assert_eq!(money, ["EUR Some(12.0) None 3", "USD Some(20.0) Some(0.04) 3"]);
    assert!(found.rows[0].notes[0].contains("several currencies"));
}

#[tokio::test]
async fn earlier_versions_can_be_asked_again() {
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, SENDS)]).await;
    let first = store.session().await.versions["message_facts"];
    store.ingest(&[(Log::Clicks, CLICKS)]).await;
    let at = |at| {
        let source = Source::Store(store.store.clone(), Some(at));
        async move { QuerySession::open(&source, &Settings::default(), now()).await.unwrap() }
    };
    let clicks = "SELECT sum(clicks) FROM message_facts";
    assert_eq!(rows_of(&at(At::Version(first)).await, clicks).await, ["0"]);
    // Without receipts the click one second after delivery cannot be told from a person's.
    assert_eq!(store.rows(clicks).await, ["3"]);
    assert_eq!(rows_of(&at(At::Version(first)).await, "SELECT count(*) FROM clicks").await, ["0"]);
}

#[tokio::test]
async fn an_immature_campaign_says_so() {
    let store = TestStore::new();
    let recent = SENDS.replace("2026-03-02", "2026-10-30");
    store.ingest(&[(Log::Sends, &recent)]).await;
    let mut session = store.session().await;
    session.as_of = now();
    let found = report(&session, &ReportRequest::default()).await.unwrap();
    assert!(!found.rows[0].matured && found.rows[0].notes[0].contains("not mature"));
}

#[tokio::test]
async fn an_experiment_without_definition_takes_sensible_defaults() {
    let store = TestStore::new();
    store.ingest(&ALL).await;
    let session = store.session().await;
    let analysis = analyze_store(&session, "spring", &AnalysisOptions::default()).await.unwrap();
    let json = serde_json::to_value(&analysis).unwrap();
    assert_eq!(json["control"], "A");
    assert_eq!(json["estimand"], "intention_to_treat");
    assert_eq!(json["arms"], serde_json::json!([{"arm": "A", "n": 1}, {"arm": "B", "n": 2}]));
    let metrics: Vec<&str> =
        json["metrics"].as_array().unwrap().iter().map(|metric| metric["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["click", "conversion", "revenue"]);
    // One recipient in A converted in the window and one message of A is named by a late order of somebody else; B: one of two.
    assert_eq!(json["metrics"][1]["arms"][1]["mean"], 0.5);
    let missing = analyze_store(&session, "autumn", &AnalysisOptions::default()).await.unwrap_err().to_string();
    assert!(missing.contains("autumn") && missing.contains("spring"), "{missing}");
}

/// Four recipients assigned, four held out, and two crossed. Four messages to three of the assigned and a crossed one.
const INVITED: &str = "message_id,campaign_id,variant,recipient_id,channel,sent_at,cost,currency\n\
    m1,spring,A,t1,sms,2026-03-02T10:00:00Z,1,USD\nm2,spring,A,t2,sms,2026-03-03T10:00:00Z,1,USD\n\
    m3,spring,B,t3,sms,2026-03-02T12:00:00Z,1,USD\nm4,spring,A,x1,sms,2026-03-02T13:00:00Z,1,USD\n";
const ASSIGNMENTS: &str = "experiment_id,recipient_id,arm,is_holdout,assigned_at\n\
    e,t1,A,false,2026-03-01T00:00:00Z\ne,t2,A,false,2026-03-01T00:00:00Z\n\
    e,t3,B,false,2026-03-01T00:00:00Z\ne,t4,B,false,2026-03-01T00:00:00Z\n\
    e,h1,holdout,true,2026-03-01T00:00:00Z\ne,h2,holdout,true,2026-03-01T00:00:00Z\n\
    e,h3,holdout,true,2026-03-04T00:00:00Z\n\
    e,x1,A,false,2026-03-01T00:00:00Z\ne,x1,B,false,2026-03-01T00:00:00Z\n\
    e,x2,A,false,2026-03-01T00:00:00Z\ne,x2,A,true,2026-03-01T00:00:00Z\n";
/// Nobody knows when the last one was assigned.
const UNDATED_ASSIGNMENT: &str = "experiment_id,recipient_id,arm,is_holdout\ne,h4,holdout,true\n";
/// h1 has moved since the assignment; of h4, whose assignment has no date, the latest row counts.
const PLACES: &str = "recipient_id,country,city,updated_at\n\
    t1,GB,Leeds,2026-01-01T00:00:00Z\nt2,GB,Leeds,2026-01-01T00:00:00Z\n\
    t3,FR,Lyon,2026-01-01T00:00:00Z\nt4,FR,Lyon,2026-01-01T00:00:00Z\n\
    h1,GB,Leeds,2026-01-01T00:00:00Z\nh1,FR,Lyon,2026-06-01T00:00:00Z\nh2,GB,Leeds,2026-01-01T00:00:00Z\n\
    h3,FR,Lyon,2026-01-01T00:00:00Z\nh4,GB,Leeds,2026-01-01T00:00:00Z\nh4,FR,Lyon,2026-02-01T00:00:00Z\n";
/// The campaign's period is 2 March 10:00 to 10 March 10:00, both included.
const MARGINS: &str = "conversion_id,recipient_id,event,occurred_at,value,margin,currency,refunded_at\n\
    c01,t1,purchase,2026-03-04T10:00:00Z,20,10,USD,\n\
    c02,t1,purchase,2026-03-10T10:00:00Z,12,6,USD,\n\
    c03,t2,purchase,2026-03-05T10:00:00Z,16,8,USD,\n\
    c03,t2,purchase,2026-03-05T10:00:00Z,8,4,USD,\n\
    c04,t3,purchase,2026-03-05T10:00:00Z,14,7,USD,2026-03-20T10:00:00Z\n\
    c05,t3,purchase,2026-03-10T10:00:00.000001Z,200,100,USD,\n\
    c06,t4,purchase,2026-03-06T10:00:00Z,8,4,USD,\n\
    c07,h1,purchase,2026-03-05T10:00:00Z,8,4,USD,\n\
    c08,h2,purchase,2026-03-02T09:59:59Z,200,100,USD,\n\
    c09,h2,purchase,2026-03-05T10:00:00Z,10,,USD,\n\
    c10,h3,purchase,2026-03-03T23:59:59Z,100,50,USD,\n\
    c11,h3,purchase,2026-03-05T10:00:00Z,4,2,USD,\n\
    c12,h4,purchase,2026-03-03T10:00:00Z,4,2,USD,\n\
    c13,x1,purchase,2026-03-05T10:00:00Z,60,30,USD,\n\
    c14,x2,purchase,2026-03-05T10:00:00Z,80,40,USD,\n";

const HELD_OUT: [(Log, &str); 4] =
    [(Log::Sends, INVITED), (Log::Assignments, ASSIGNMENTS), (Log::Recipients, PLACES), (Log::Conversions, MARGINS)];

/// Each group with its currency, incremental margin and return on investment.
async fn returns(session: &QuerySession, by: &[&str]) -> Vec<String> {
    let request = ReportRequest { by: by.iter().map(|&name| name.to_owned()).collect(), ..ReportRequest::default() };
    let found = report(session, &request).await.unwrap();
    let shown = |estimate: Option<&Estimate>| match estimate.and_then(|found| found.estimate) {
        Some(value) => format!("{value:.3}"),
        None => "-".to_owned(),
    };
    let lines = found.rows.iter().map(|row| {
        let mut group: Vec<&str> = row.group.values().map(|value| value.as_str().unwrap_or("∅")).collect();
        group.extend(row.currency.as_deref());
        format!("{}: {} {}", group.join(" "), shown(row.incremental_margin.as_ref()), shown(row.roi.as_ref()))
    });
    lines.collect()
}

/// Margins in the period:
/// - assigned: t1 10 + 6 = 16 (c02 at the period's very end), t2 4 (the later row of c03), t3 0 (c04 refunded, c05 after
///   the period), t4 4 (never sent to); mean 6, variance (10² + 2² + 6² + 2²) / 3 = 48;
/// - held out: h1 4, h2 0 (c08 before the first send, c09 without a margin), h3 2 (c10 before the assignment), h4 2;
///   mean 2, variance (2² + 2²) / 3 = 8/3;
/// - x1 was seen in two arms, x2 both held out and not: neither counts, though x1's message costs.
///
/// Incremental margin 4 × (6 − 2) = 16; cost 4; return (16 − 4) / 4 = 3.
#[tokio::test]
async fn return_on_investment_is_counted_by_hand() {
    let store = TestStore::new();
    store.ingest(&HELD_OUT).await;
    store.ingest(&[(Log::Assignments, UNDATED_ASSIGNMENT)]).await;
    let session = store.session().await;
    let found = report(&session, &ReportRequest { by: vec![], ..ReportRequest::default() }).await.unwrap();
    let row = &found.rows[0];
    let close = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 1e-9;
    let (incremental, roi) = (row.incremental_margin.clone().unwrap(), row.roi.clone().unwrap());
    // SciPy 1.17.1: t.ppf(0.975, 3.332307692307692) times the standard error √(48/4 + (8/3)/4), around 4; times 4.
    assert!(close(incremental.estimate, 16.0), "{incremental:?}");
    assert!(close(incremental.low, -26.853_913_882_801_8), "{incremental:?}");
    assert!(close(incremental.high, 58.853_913_882_801_8), "{incremental:?}");
    assert!(close(roi.estimate, 3.0), "{roi:?}");
    assert!(close(roi.low, -7.713_478_470_700_45) && close(roi.high, 13.713_478_470_700_45), "{roi:?}");
    let note = "roi compares 4 assigned with 4 held out over 2026-03-02 10:00 to 2026-03-10 10:00 (UTC)";
    assert!(row.notes.iter().any(|said| said == note), "{:?}", row.notes);

    assert_eq!(returns(&session, &["campaign"]).await, ["spring USD: 16.000 3.000"]);
    // A: t1 and t2, 2 × (10 − 2) = 16 for three messages. B: t3 and t4, 2 × (2 − 2) = 0 for one; its period ends a day
    // earlier, on 9 March.
    assert_eq!(returns(&session, &["arm"]).await, ["A USD: 16.000 4.333", "B USD: 0.000 -1.000"]);
    // Leeds: t1 and t2 against h1 and h2, 2 × (10 − 2). Lyon: t3 and t4 against h3 and h4. Of x1 no contact is known.
    let by_city = ["Leeds USD: 16.000 7.000", "Lyon USD: 0.000 -1.000", "∅ USD: - -"];
    assert_eq!(returns(&session, &["city"]).await, by_city);
    let by_country = ["FR USD: 0.000 -1.000", "GB USD: 16.000 7.000", "∅ USD: - -"];
    assert_eq!(returns(&session, &["country"]).await, by_country);
    // The others are those of Lyon and x1, whose message costs as much as that to t3: 2 × (2 − 2) = 0 for two.
    SegmentDefinition::add(&session, "leeds", "city = 'Leeds'", now()).await.unwrap();
    let by_segment = ["leeds USD: 16.000 7.000", "other USD: 0.000 -1.000"];
    assert_eq!(returns(&session, &["segment:leeds"]).await, by_segment);

    let validator = options().validator;
    let files: Vec<LogFiles> = HELD_OUT
        .iter()
        .map(|(log, text)| {
            let mut inputs = text_input(*log, text).inputs;
            if *log == Log::Assignments {
                inputs.extend(text_input(*log, UNDATED_ASSIGNMENT).inputs);
            }
            LogFiles::new(*log, inputs, &validator, now()).unwrap()
        })
        .collect();
    let straight = QuerySession::open(&Source::Files(files), &Settings::default(), now()).await.unwrap();
    assert_eq!(returns(&straight, &["city"]).await, by_city);
}

/// The buyers as their shop knows them: those who were sent to by the message alone.
#[tokio::test]
async fn return_on_investment_counts_conversions_that_name_only_a_message() {
    let mut text = MARGINS.replace("refunded_at\n", "refunded_at,message_id\n").replace(",\n", ",,\n");
    text = text.replace("T10:00:00Z\n", "T10:00:00Z,\n");
    for (recipient, message) in [("t1", "m1"), ("t2", "m2"), ("t3", "m3"), ("x1", "m4")] {
        let lines: Vec<String> = text
            .lines()
            .map(|line| match line.split_once(&format!(",{recipient},")) {
                Some((id, rest)) => format!("{id},,{rest}{message}"),
                None => line.to_owned(),
            })
            .collect();
        text = lines.join("\n") + "\n";
    }
    let mut logs = held_out_with(Log::Conversions, &text).to_vec();
    logs.push((Log::Assignments, UNDATED_ASSIGNMENT));
    for (by, expected) in [
        ("campaign", &["spring USD: 16.000 3.000"][..]),
        ("arm", &["A USD: 16.000 4.333", "B USD: 0.000 -1.000"]),
        ("country", &["FR USD: 0.000 -1.000", "GB USD: 16.000 7.000", "∅ USD: - -"]),
    ] {
        assert_eq!(returns_of(&logs, &[by]).await, expected);
    }
    let inputs: Vec<_> = logs.iter().filter(|(log, text)| *log != Log::Assignments || *text == ASSIGNMENTS).collect();
    let mut inputs: Vec<_> = inputs.into_iter().map(|(log, text)| text_input(*log, text)).collect();
    inputs[1].inputs.extend(text_input(Log::Assignments, UNDATED_ASSIGNMENT).inputs);
    assert_eq!(returns(&session_of_files(&inputs).await, &["campaign"]).await, ["spring USD: 16.000 3.000"]);
}

/// The logs of [`HELD_OUT`] with another text for one of them.
fn held_out_with(log: Log, text: &str) -> [(Log, &str); 4] {
    HELD_OUT.map(|(of, usual)| (of, if of == log { text } else { usual }))
}

async fn returns_of(logs: &[(Log, &str)], by: &[&str]) -> Vec<String> {
    let store = TestStore::new();
    store.ingest(logs).await;
    returns(&store.session().await, by).await
}

#[tokio::test]
async fn return_on_investment_is_left_out_where_the_holdout_cannot_tell() {
    let store = TestStore::new();
    store.ingest(&HELD_OUT).await;
    let session = store.session().await;
    assert_eq!(returns(&session, &[]).await, ["USD: 16.000 3.000"]);
    // Nobody held out has an hour, a day or a carrier.
    for by in [vec!["hour"], vec!["day"], vec!["carrier"], vec!["campaign_id", "hour"], vec!["city", "weekday"]] {
        let found = returns(&session, &by).await;
        assert!(!found.is_empty() && found.iter().all(|line| line.ends_with(" USD: - -")), "{by:?}: {found:?}");
    }
    // A country of the send is none of the contact.
    let of_send = INVITED.replace("currency\n", "currency,country\n").replace("USD\n", "USD,GB\n");
    assert_eq!(returns_of(&held_out_with(Log::Sends, &of_send), &["country"]).await, ["GB USD: - -"]);
    let nobody = ASSIGNMENTS.replace(",true,", ",false,");
    assert_eq!(returns_of(&held_out_with(Log::Assignments, &nobody), &[]).await, ["USD: - -"]);
    let no_margins = MARGINS.replace("margin", "profit");
    assert_eq!(returns_of(&held_out_with(Log::Conversions, &no_margins), &[]).await, ["USD: - -"]);
    // In dollars t4 earns nothing: 4 × (5 − 2) = 12.
    let in_euro = MARGINS.replace("8,4,USD,\nc07", "8,4,EUR,\nc07");
    assert_eq!(returns_of(&held_out_with(Log::Conversions, &in_euro), &[]).await, ["USD: 12.000 2.000"]);
}

#[tokio::test]
async fn return_on_investment_is_of_messages_of_one_experiment() {
    let two_experiments = format!("{ASSIGNMENTS}f,t1,A,false,2026-03-01T00:00:00Z\n");
    let mut logs = held_out_with(Log::Assignments, &two_experiments);
    assert_eq!(returns_of(&logs, &[]).await, ["USD: - -"]);
    let named = INVITED.replace("currency\n", "currency,experiment_id\n").replace("USD\n", "USD,e\n");
    logs[0].1 = &named;
    assert_eq!(returns_of(&logs, &[]).await, ["USD: 16.000 3.000"]);
    let one_apart = named.replacen("USD,e\n", "USD,\n", 1);
    logs[0].1 = &one_apart;
    assert_eq!(returns_of(&logs, &[]).await, ["USD: - -"]);
    let of_no_holdout = named.replace("USD,e\n", "USD,f\n");
    logs[0].1 = &of_no_holdout;
    assert_eq!(returns_of(&logs, &[]).await, ["USD: - -"]);
}

/// What the messages of generated logs brought is known; what each row compares is counted again by plain loops.
#[tokio::test]
async fn return_on_investment_of_generated_logs_holds_the_truth() {
    let store = TestStore::new();
    let folder = store.folder.path().join("logs");
    let simulated =
        GenerateOptions { messages: 60_000, seed: 13, format: OutputFormat::Parquet, ..GenerateOptions::default() };
    let made = generate(&folder, &simulated, &mut |_| ()).unwrap();
    let files: Vec<(Log, &Path)> = made
        .files
        .iter()
        .filter_map(|path| Some((path.file_stem()?.to_str()?.parse::<Log>().ok()?, path.as_path())))
        .collect();
    store.ingest_files(&files).await;
    let session = store.session().await;

    let of_all = ReportRequest { by: vec![], alpha: 0.001, ..ReportRequest::default() };
    let whole = report(&session, &of_all).await.unwrap();
    let incremental = whole.rows[0].incremental_margin.clone().unwrap();
    // The margin is 30 to 40 % of a purchase's value, and one purchase in fifty is given back: `generate/responses.rs`.
    let caused = made.truth.incremental["all"].revenue * 0.35 * 0.98;
    assert!(incremental.contains(caused), "{incremental:?}, true {caused}");
    assert!(whole.rows[0].roi.is_some());

    let cells = async |query: &str| -> Vec<Vec<String>> {
        rows_of(&session, query).await.iter().map(|row| row.split('|').map(str::to_owned).collect()).collect()
    };
    let sent = cells("SELECT campaign_id, variant, arrow_cast(sent_at, 'Int64'), cost FROM sends").await;
    let assigned = cells("SELECT recipient_id, arm, is_holdout FROM assignments").await;
    let bought = cells(
        "SELECT recipient_id, arrow_cast(occurred_at, 'Int64'), CASE WHEN refunded_at IS NULL THEN margin ELSE 0 END \
         FROM conversions",
    )
    .await;
    let request =
        ReportRequest { by: vec!["campaign_id".to_owned(), "variant".to_owned()], ..ReportRequest::default() };
    let found = report(&session, &request).await.unwrap();
    assert_eq!(found.rows.len(), 12);
    for row in &found.rows {
        let messages: Vec<(i64, f64)> = sent
            .iter()
            .filter(|message| message[0] == row.group["campaign_id"] && message[1] == row.group["variant"])
            .map(|message| (message[2].parse().unwrap(), message[3].parse().unwrap()))
            .collect();
        let opens_at = messages.iter().map(|(sent_at, _)| *sent_at).min().unwrap();
        let closes_at = messages.iter().map(|(sent_at, _)| *sent_at).max().unwrap() + 7 * 86_400_000_000;
        let mut earned: HashMap<&str, f64> = HashMap::new();
        for purchase in &bought {
            if (opens_at..=closes_at).contains(&purchase[1].parse::<i64>().unwrap()) {
                *earned.entry(&purchase[0]).or_default() += purchase[2].parse::<f64>().unwrap();
            }
        }
        let (mut treated, mut held_out) = (Vec::new(), Vec::new());
        for unit in &assigned {
            let margin = earned.get(unit[0].as_str()).copied().unwrap_or(0.0);
            if unit[2] == "true" {
                held_out.push(margin);
            } else if unit[1] == row.group["variant"] {
                treated.push(margin);
            }
        }
        let recipients = f64::from(u32::try_from(treated.len()).unwrap());
        let cost: f64 = messages.iter().map(|(_, cost)| *cost).sum();
        let (treated, held_out) = (Moments::from_values(treated).unwrap(), Moments::from_values(held_out).unwrap());
        let expected = welch_interval_difference(&held_out, &treated, 0.05).unwrap();
        let (incremental, roi) = (row.incremental_margin.clone().unwrap(), row.roi.clone().unwrap());
        for (difference, margin, ratio) in [
            (expected.estimate, incremental.estimate, roi.estimate),
            (expected.low, incremental.low, roi.low),
            (expected.high, incremental.high, roi.high),
        ] {
            let margin_expected = difference.unwrap() * recipients;
            assert!((margin.unwrap() - margin_expected).abs() < 1e-6, "{margin:?}, by hand {margin_expected}");
            let ratio_expected = (margin_expected - cost) / cost;
            assert!((ratio.unwrap() - ratio_expected).abs() < 1e-6, "{ratio:?}, by hand {ratio_expected}");
        }
    }
}

#[tokio::test]
async fn retention_goes_by_conversions_as_they_are_now_and_by_those_that_name_a_message_alone() {
    let store = TestStore::new();
    let sends =
        "message_id,campaign_id,recipient_id,sent_at\nm1,c,p1,2026-03-01T08:00:00Z\nm2,c,p2,2026-03-01T08:00:00Z\n";
    let conversions = "conversion_id,recipient_id,message_id,event,occurred_at\nv1,p1,,purchase,2026-03-12T10:00:00Z\n\
        v2,p2,m2,purchase,2026-03-02T10:00:00Z\nv3,,m2,purchase,2026-03-12T10:00:00Z\n";
    store.ingest(&[(Log::Sends, sends), (Log::Conversions, conversions)]).await;
    // The first was on another day: that it is there twice is no second conversion.
    let corrected = "conversion_id,recipient_id,message_id,event,occurred_at\nv1,p1,,purchase,2026-03-02T10:00:00Z\n";
    let later = IngestOptions::new(now() + jiff::SignedDuration::from_secs(1));
    store.try_ingest(&[(Log::Conversions, corrected)], &later).await.unwrap();
    let request = ReportRequest { by: vec!["recipient_id".to_owned()], ..ReportRequest::default() };
    let report = report(&store.session().await, &request).await.unwrap();
    let of = |recipient: &str| {
        let row = report.rows.iter().find(|row| row.group["recipient_id"] == recipient).unwrap();
        row.retention.as_ref().map(|retention| retention.estimate)
    };
    assert_eq!((of("p1"), of("p2")), (Some(0.0), Some(1.0)));
}

#[tokio::test]
async fn a_cost_has_the_currency_of_its_own_price_and_a_refund_of_nothing_is_nothing() {
    let store = TestStore::new();
    let sends =
        "message_id,campaign_id,recipient_id,sent_at\nm1,c,r1,2026-03-02T10:00:00Z\nm2,c,r2,2026-03-02T10:00:00Z\n";
    let receipts = "message_id,status,at,price,currency\n\
        m1,delivered,2026-03-02T10:00:05Z,0.07,EUR\nm1,sent,2026-03-02T10:00:01Z,,USD\n\
        m2,sent,2026-03-02T10:00:01Z,0.01,USD\nm2,delivered,2026-03-02T10:00:05Z,0.07,EUR\n";
    let orders = "conversion_id,recipient_id,occurred_at,value,currency,refunded_at\n\
        o1,r1,2026-03-02T12:00:00Z,,EUR,2026-03-03T12:00:00Z\no2,r1,2026-03-02T13:00:00Z,10,USD,\n";
    store.ingest(&[(Log::Sends, sends), (Log::Deliveries, receipts), (Log::Conversions, orders)]).await;
    let rows = store
        .rows("SELECT message_id, cost, currency, revenue, margin, revenue_currency FROM message_facts ORDER BY 1")
        .await;
    assert_eq!(rows, ["m1|0.070000|EUR|10.000000|∅|USD", "m2|0.070000|EUR|∅|∅|∅"]);
}

#[tokio::test]
async fn the_code_of_a_send_is_not_told_of_a_message_that_arrived() {
    let store = TestStore::new();
    let sends = "message_id,recipient_id,campaign_id,sent_at,error_code\n\
        m1,r1,c,2026-03-02T10:00:00Z,30003\nm2,r2,c,2026-03-02T10:00:00Z,30004\nm3,r3,c,2026-03-02T10:00:00Z,30005\n";
    let receipts = "message_id,status,at\nm1,delivered,2026-03-02T10:01:00Z\nm2,failed,2026-03-02T10:01:00Z\n";
    store.ingest(&[(Log::Sends, sends), (Log::Deliveries, receipts)]).await;
    let told = store.rows("SELECT message_id, error_code FROM message_facts ORDER BY 1").await;
    assert_eq!(told, ["m1|∅", "m2|30004", "m3|30005"]);
}

#[tokio::test]
async fn rates_beside_missing_receipts_say_how_far_off_they_may_be() {
    let store = TestStore::new();
    let (mut sends, mut receipts, mut clicks) = (
        "message_id,recipient_id,campaign_id,sent_at\n".to_owned(),
        "message_id,status,at\n".to_owned(),
        "click_id,message_id,link,clicked_at,user_agent\n".to_owned(),
    );
    for number in 0..100 {
        sends.push_str(&format!("m{number},r{number},c,2026-03-02T10:00:00Z\n"));
        if number < 20 {
            receipts.push_str(&format!("m{number},delivered,2026-03-02T10:01:00Z\n"));
        }
        if number % 10 == 0 {
            clicks.push_str(&format!("k{number},m{number},l,2026-03-02T12:00:00Z,Mozilla/5.0\n"));
        }
    }
    store.ingest(&[(Log::Sends, &sends), (Log::Deliveries, &receipts), (Log::Clicks, &clicks)]).await;
    let report = report(&store.session().await, &ReportRequest::default()).await.unwrap();
    let row = &report.rows[0];
    assert_eq!((row.clickers, row.delivered), (Some(10), Some(20)));
    assert!(
        row.notes.iter().any(|note| note.starts_with("80 of 100 messages") && note.contains("5.0 times")),
        "{:?}",
        row.notes
    );
}
