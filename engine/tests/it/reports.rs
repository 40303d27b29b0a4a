//! Reports and facts of a campaign small enough to count by hand.

use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, analyze_store};
use sendlift_engine::query::{LogFiles, QuerySession, Source};
use sendlift_engine::report::{ReportRequest, report};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::At;

use crate::support::{CLICKS, CONVERSIONS, DELIVERIES, SENDS, TestStore, now, options, rows_of, text_input};

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
