//! Saved segments: what a condition may be, its versions, and answers by segment that are counted by hand.

use std::fmt::Write as _;

use sendlift_engine::EngineError;
use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, analyze_store};
use sendlift_engine::query::{QuerySession, Source};
use sendlift_engine::report::{Report, ReportRequest, report};
use sendlift_engine::segment::{SegmentDefinition, segment_sizes, segments_behind};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::At;

use crate::support::{CLICKS, CONVERSIONS, DELIVERIES, SENDS, TestStore, now, session_of_files, text_input};

/// r1 grew older and moved after its message of 2 March; r4 got none. Of r3, who got one, no contact is known.
const CONTACTS: &str = "recipient_id,country,age band,城市,updated_at\n\
    r1,CN,18-24,上海,2026-01-01T00:00:00Z\nr1,CN,25-34,北京,2026-03-03T00:00:00Z\n\
    r2,DE,25-34,柏林,2026-01-01T00:00:00Z\nr4,DE,35-44,柏林,2026-01-01T00:00:00Z\n";
/// Of r5 neither the age nor the city is known.
const BARE_CONTACT: &str = "recipient_id,country\nr5,DE\n";

async fn campaign() -> TestStore {
    let store = TestStore::new();
    store.ingest(&[(Log::Recipients, CONTACTS), (Log::Sends, SENDS), (Log::Clicks, CLICKS)]).await;
    store.ingest(&[(Log::Recipients, BARE_CONTACT)]).await;
    store
}

async fn add(session: &QuerySession, name: &str, condition: &str) -> (u32, bool) {
    let added = SegmentDefinition::add(session, name, condition, now()).await.unwrap();
    (added.definition.newest().unwrap().version, added.is_new)
}

async fn refusal(session: &QuerySession, name: &str, condition: &str) -> String {
    let error = SegmentDefinition::add(session, name, condition, now()).await.unwrap_err();
    assert!(matches!(error, EngineError::Usage(_)), "{condition}: {error:?}");
    error.to_string()
}

async fn report_by(session: &QuerySession, by: &[&str]) -> Report {
    let request = ReportRequest { by: by.iter().map(|name| (*name).to_owned()).collect(), ..ReportRequest::default() };
    report(session, &request).await.unwrap()
}

/// Each group with its messages.
async fn sent_by(session: &QuerySession, by: &[&str]) -> Vec<String> {
    let found = report_by(session, by).await;
    let group = |values: Vec<&str>| values.join(" ");
    let rows = found.rows.iter().map(|row| {
        format!("{}: {}", group(row.group.values().map(|value| value.as_str().unwrap_or("∅")).collect()), row.sent)
    });
    rows.collect()
}

#[tokio::test]
async fn a_condition_is_on_the_contacts_own_columns() {
    let store = campaign().await;
    let session = store.session().await;
    for (condition, words) in [
        (" ", "needs a condition"),
        ("country =", "cannot be read"),
        ("country = 'DE' ORDER BY 1", "cannot be read"),
        ("country = 'DE') OR (country = 'CN'", "cannot be read"),
        ("colour = 'red'", "no column \"colour\""),
        ("country = \"DE\"", "a text stands in single quotes"),
        ("recipient_id = 'r1'", "no column \"recipient_id\""),
        ("ingested_at IS NOT NULL", "no column \"ingested_at\""),
        ("f.country = 'DE'", "country"),
        ("country", "not yes or no"),
        ("1 = 1", "names no column"),
        ("max(country) = 'DE'", "without aggregates"),
        ("row_number() OVER (ORDER BY country) = 1", "without aggregates"),
        ("country IN (SELECT 'DE')", "without subqueries"),
        ("country IN (SELECT country FROM recipients)", "without subqueries"),
        ("country = 'DE' OR now() > TIMESTAMP '2026-01-01T00:00:00Z'", "now() gives another value"),
        ("random() < 0.5 AND country = 'DE'", "random"),
        ("country = $1", "cannot be a segment's"),
        ("country = 'DE' AS german", "cannot be a segment's"),
        ("CAST(城市 AS INT) > 3", "cannot be told of every contact"),
    ] {
        let told = refusal(&session, "young", condition).await;
        assert!(told.contains(words), "{condition}: {told}");
    }
    // The columns there are: attributes too, and nothing that is not one.
    let told = refusal(&session, "young", "colour = 'red'").await;
    assert!(told.contains("age_band") && told.contains("城市") && told.contains("time_zone"), "{told}");
    assert!(!told.contains("recipient_id") && !told.contains("source_row"), "{told}");
    for name in ["", "a b", "../a", "vip@1", "other"] {
        assert!(refusal(&session, name, "country = 'DE'").await.contains("name"), "{name}");
    }
    assert!(SegmentDefinition::all(&store.store).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_condition_is_another_version_and_the_old_ones_stay() {
    let store = campaign().await;
    let session = store.session().await;
    assert_eq!(add(&session, "young", "age_band = '18-24'").await, (1, true));
    assert_eq!(add(&session, "young", " age_band = '18-24' ").await, (1, false));
    assert_eq!(sent_by(&session, &["segment:young"]).await, ["other: 2", "young: 1"]);

    // In the same session, whose sums by segment:young are known already.
    assert_eq!(add(&session, "young", "age_band IN ('18-24', '25-34')").await, (2, true));
    for session in [&session, &store.session().await] {
        // r1 by its age at the send, r2; of r3 nothing is known.
        assert_eq!(sent_by(session, &["segment:young"]).await, ["other: 1", "young: 2"]);
        assert_eq!(sent_by(session, &["segment:young@2"]).await, ["other: 1", "young: 2"]);
        assert_eq!(sent_by(session, &["segment:young@1"]).await, ["other: 2", "young: 1"]);
        assert_eq!(
            sent_by(session, &["segment:young@1", "segment:young", "variant"]).await,
            ["other other B: 1", "other young B: 1", "young young A: 1"]
        );
        assert_eq!(
            sent_by(session, &["country", "segment:young@1"]).await,
            ["CN young: 1", "DE other: 1", "∅ other: 1"]
        );
    }
    let found = report_by(&session, &["segment:young"]).await;
    assert!(
        found.notes.iter().any(|note| note == "segment:young is version 2: age_band IN ('18-24', '25-34')"),
        "{:?}",
        found.notes
    );

    // As they were last heard of: r1 is 25-34, as r2 is; r4 is older, of r5 the age is not known.
    let sizes = segment_sizes(&session, "young").await.unwrap();
    let counts: Vec<Option<u64>> = sizes.versions.iter().map(|version| version.contacts).collect();
    assert_eq!((sizes.contacts, counts), (4, vec![Some(0), Some(2)]));
    assert_eq!(add(&session, "young", "age_band = '18-24'").await, (3, true));

    assert!(refusal(&session, "Young", "country = 'DE'").await.contains("upper and lower case"));
    assert_eq!(add(&session, "北方客户", "城市 IN ('北京', '上海') -- 两个城市").await, (1, true));
    assert_eq!(sent_by(&session, &["segment:北方客户"]).await, ["other: 2", "北方客户: 1"]);
    let names: Vec<String> =
        SegmentDefinition::all(&store.store).await.unwrap().into_iter().map(|segment| segment.name).collect();
    assert_eq!(names, ["young", "北方客户"]);
    assert!(store.path().join("_segments/北方客户.json").is_file());

    // What is unknown is not in a segment, whichever way it is asked for.
    add(&session, "not-young", "age_band <> '18-24'").await;
    assert_eq!(sent_by(&session, &["segment:not-young"]).await, ["not-young: 1", "other: 2"]);
    let sizes = segment_sizes(&session, "not-young").await.unwrap();
    assert_eq!((sizes.contacts, sizes.versions[0].contacts), (4, Some(3)));
    add(&session, "ageless", "age_band IS NULL").await;
    assert_eq!(sent_by(&session, &["segment:ageless"]).await, ["other: 3"]);
    assert_eq!(segment_sizes(&session, "ageless").await.unwrap().versions[0].contacts, Some(1));

    SegmentDefinition::remove(&store.store, "young").await.unwrap();
    let error = SegmentDefinition::remove(&store.store, "young").await.unwrap_err();
    assert!(matches!(error, EngineError::NotFound(_)) && error.to_string().contains("ageless"), "{error}");
}

#[tokio::test]
async fn a_segment_without_a_history_of_contacts_is_joined_once() {
    let store = TestStore::new();
    let contacts = "recipient_id,tier\nr1,gold\nr2,silver\n";
    store.ingest(&[(Log::Recipients, contacts), (Log::Sends, SENDS)]).await;
    let session = store.session().await;
    add(&session, "gold", "tier = 'gold'").await;
    assert_eq!(sent_by(&session, &["segment:gold"]).await, ["gold: 1", "other: 2"]);
    assert_eq!(sent_by(&session, &["tier", "segment:gold"]).await, ["gold gold: 1", "silver other: 1", "∅ other: 1"]);
}

#[tokio::test]
async fn a_report_by_segment_is_that_of_the_segments_messages_alone() {
    let all =
        [(Log::Sends, SENDS), (Log::Deliveries, DELIVERIES), (Log::Clicks, CLICKS), (Log::Conversions, CONVERSIONS)];
    let store = TestStore::new();
    store.ingest(&all).await;
    store.ingest(&[(Log::Recipients, CONTACTS)]).await;
    let session = store.session().await;
    add(&session, "young", "age_band IN ('18-24', '25-34')").await;
    let found = report_by(&session, &["segment:young"]).await;
    assert_eq!(found.by, ["segment:young"]);
    for (group, left_out) in [("young", ["m3,"].as_slice()), ("other", &["m1,", "m2,"])] {
        // The filter by hand: the lines of the messages of the others are taken out of the sends.
        let sends: Vec<&str> =
            SENDS.lines().filter(|line| !left_out.iter().any(|message| line.starts_with(message))).collect();
        let sends = format!("{}\n", sends.join("\n"));
        let mut logs = all;
        logs[0].1 = &sends;
        let filtered = TestStore::new();
        filtered.ingest(&logs).await;
        let expected = report_by(&filtered.session().await, &[]).await;
        let row = found.rows.iter().find(|row| row.group["segment:young"] == group).unwrap();
        let mut row = serde_json::to_value(row).unwrap();
        row.as_object_mut().unwrap().remove("segment:young");
        assert_eq!(row, serde_json::to_value(&expected.rows[0]).unwrap(), "{group}");
    }
}

#[tokio::test]
async fn a_segment_that_is_not_there_is_told_so() {
    let store = campaign().await;
    let session = store.session().await;
    let told = async |session: &QuerySession, by: &str| {
        let request = ReportRequest { by: vec![by.to_owned()], ..ReportRequest::default() };
        let error = report(session, &request).await.unwrap_err();
        assert!(matches!(error, EngineError::Usage(_)), "{error:?}");
        error.to_string()
    };
    assert!(told(&session, "segment:young").await.contains("the store has none"));
    add(&session, "young", "age_band = '18-24'").await;
    let message = told(&session, "segment:old").await;
    assert!(message.contains("no segment \"old\"") && message.contains("young"), "{message}");
    assert!(told(&session, "segment:young@7").await.contains("no version 7"));
    assert!(told(&session, "segment:young@new").await.contains("a version is a number"));
    assert!(told(&session, "segment:../young").await.contains("cannot name a segment"));
    let files = session_of_files(&[text_input(Log::Sends, SENDS)]).await;
    assert!(told(&files, "segment:young").await.contains("kept in a store"));

    let by = |name: &str| [name.to_owned(), "country".to_owned()];
    assert_eq!(segments_behind(&store.store, &by("country")).await.unwrap(), "");
    assert_eq!(segments_behind(&store.store, &by("segment:old")).await.unwrap(), "");
    let before = segments_behind(&store.store, &by("segment:young")).await.unwrap();
    add(&session, "young", "age_band = '25-34'").await;
    assert_ne!(segments_behind(&store.store, &by("segment:young")).await.unwrap(), before);
}

#[tokio::test]
async fn columns_that_came_later_are_missed_at_an_earlier_point() {
    let store = campaign().await;
    let first = store.session().await.versions["message_facts"];
    store.ingest(&[(Log::Recipients, "recipient_id,tier,updated_at\nr2,gold,2026-01-02T00:00:00Z\n")]).await;
    let session = store.session().await;
    add(&session, "gold", "tier = 'gold'").await;
    assert_eq!(sent_by(&session, &["segment:gold"]).await, ["gold: 1", "other: 2"]);
    let source = Source::Store(store.store.clone(), Some(At::Version(first)));
    let earlier = QuerySession::open(&source, &Settings::default(), now()).await.unwrap();
    let request = ReportRequest { by: vec!["segment:gold".to_owned()], ..ReportRequest::default() };
    let error = report(&earlier, &request).await.unwrap_err().to_string();
    assert!(error.contains("segment \"gold\", version 1") && error.contains("no column \"tier\""), "{error}");
    let sizes = segment_sizes(&earlier, "gold").await.unwrap();
    assert_eq!((sizes.contacts, sizes.versions[0].contacts), (4, None));
    assert!(sizes.versions[0].note.as_deref().unwrap().contains("tier"));
}

/// Recipients in turn in A and B, in two bands; who clicked is known.
#[tokio::test]
async fn an_experiment_is_looked_at_by_segment() {
    const RECIPIENTS: u32 = 200;
    let is_young = |i: u32| (i / 2).is_multiple_of(2);
    let arm = |i: u32| if i.is_multiple_of(2) { "A" } else { "B" };
    let has_clicked = |i: u32| i.is_multiple_of(5) || (is_young(i) && arm(i) == "B" && i.is_multiple_of(3));
    let mut contacts = "recipient_id,age_band\n".to_owned();
    let mut sends = "message_id,campaign_id,variant,experiment_id,recipient_id,channel,sent_at\n".to_owned();
    let mut clicks = "click_id,message_id,link,clicked_at\n".to_owned();
    for i in 0..RECIPIENTS {
        writeln!(contacts, "r{i},{}", if is_young(i) { "18-24" } else { "25-34" }).unwrap();
        writeln!(sends, "m{i},spring,{},copy,r{i},sms,2026-03-02T10:00:00Z", arm(i)).unwrap();
        if has_clicked(i) {
            writeln!(clicks, "c{i},m{i},offer,2026-03-02T11:00:00Z").unwrap();
        }
    }
    let store = TestStore::new();
    store.ingest(&[(Log::Recipients, &contacts), (Log::Sends, &sends), (Log::Clicks, &clicks)]).await;
    let session = store.session().await;
    let options = AnalysisOptions {
        metrics: vec!["click".to_owned()],
        segments: vec!["segment:young".to_owned()],
        ..AnalysisOptions::default()
    };
    // The second version is of the other band; the statistics of the first are kept, and must not stand for it.
    for (condition, young) in [("age_band = '18-24'", true), ("age_band = '25-34'", false)] {
        add(&session, "young", condition).await;
        let analysis = analyze_store(&session, "copy", &options).await.unwrap();
        let segments = &analysis.metrics[0].segments;
        assert_eq!(segments.len(), 2);
        for segment in segments {
            let is_named = segment.segment["segment:young"] == "young";
            assert!(is_named || segment.segment["segment:young"] == "other", "{:?}", segment.segment);
            for summary in &segment.arms {
                let units: Vec<u32> =
                    (0..RECIPIENTS).filter(|i| arm(*i) == summary.arm && (is_young(*i) == young) == is_named).collect();
                let clickers = units.iter().filter(|i| has_clicked(**i)).count();
                let clickers = f64::from(u32::try_from(clickers).unwrap());
                let counted = summary.mean.unwrap() * f64::from(u32::try_from(summary.n).unwrap());
                assert_eq!(usize::try_from(summary.n).unwrap(), units.len());
                assert!((counted - clickers).abs() < 1e-9, "{condition} {}: {counted}, {clickers}", summary.arm);
            }
        }
        assert!(analysis.notes.iter().any(|note| note.ends_with(condition)), "{:?}", analysis.notes);
    }
}
