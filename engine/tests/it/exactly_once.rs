//! The same file twice, a batch again, two ingests at once, a refused batch: the store ends as if each row came once.

use sendlift_engine::EngineError;
use sendlift_engine::event::Log;
use sendlift_engine::facts::refresh;
use sendlift_engine::ingest::load::{IngestOptions, LogInput, ingest};
use sendlift_engine::query::{QuerySession, Source};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::{At, Store};

use crate::support::{CLICKS, DELIVERIES, SENDS, TestStore, now, options, text_input};

const COUNTS: &str = "SELECT (SELECT count(*) FROM sends) AS sends, (SELECT count(*) FROM clicks) AS clicks, (SELECT count(*) FROM message_facts) AS facts";

#[tokio::test]
async fn the_same_file_twice_changes_nothing() {
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, SENDS), (Log::Clicks, CLICKS)]).await;
    let before = store.session().await.versions;
    let again = store.ingest(&[(Log::Sends, SENDS), (Log::Clicks, CLICKS)]).await;
    assert_eq!((again[0].accepted, again[0].duplicates, again[0].already_ingested.len()), (0, 3, 1));
    assert_eq!(store.session().await.versions, before);
    assert_eq!(store.rows(COUNTS).await, ["3|4|3"]);
}

#[tokio::test]
async fn the_same_bytes_twice_in_one_call_count_once() {
    let store = TestStore::new();
    let mut input = text_input(Log::Sends, SENDS);
    input.inputs.push(input.inputs[0].clone());
    ingest(&store.store, &[input], &options(), &|_| ()).await.unwrap();
    assert_eq!(store.rows("SELECT count(*) FROM sends").await, ["3"]);
}

#[tokio::test]
async fn an_idempotency_key_is_the_batch() {
    let store = TestStore::new();
    let with_key = |text: &str| LogInput { idempotency_key: Some("k1".into()), ..text_input(Log::Sends, text) };
    ingest(&store.store, &[with_key(SENDS)], &options(), &|_| ()).await.unwrap();
    let again = ingest(&store.store, &[with_key(SENDS)], &options(), &|_| ()).await.unwrap();
    assert_eq!((again[0].accepted, again[0].duplicates), (0, 3));
    let other = SENDS.replace("m1,", "m9,");
    let refused = ingest(&store.store, &[with_key(&other)], &options(), &|_| ()).await.unwrap_err();
    assert!(refused.to_string().contains("Idempotency-Key"), "{refused}");
    assert_eq!(store.rows("SELECT count(*) FROM sends").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ingests_at_a_time_end_as_one() {
    let store = TestStore::new();
    let one = async |text: &'static str, log: Log| {
        let inputs = [text_input(log, text)];
        ingest(&store.store, &inputs, &options(), &|_| ()).await.unwrap();
        refresh(&store.store, &Settings::default()).await.unwrap();
    };
    // The same file twice at once, and another log beside it.
    tokio::join!(
        one(SENDS, Log::Sends),
        one(SENDS, Log::Sends),
        one(DELIVERIES, Log::Deliveries),
        one(CLICKS, Log::Clicks)
    );
    assert_eq!(store.rows(COUNTS).await, ["3|4|3"]);
    assert_eq!(store.rows("SELECT sum(clicks), sum(receipts) FROM message_facts").await, ["2|5"]);
}

#[tokio::test]
async fn over_the_limit_nothing_is_taken_in() {
    let store = TestStore::new();
    let bad = "message_id,recipient_id,sent_at\nm1,r1,yesterday\nm2,r2,2026-03-02\n";
    // The clicks are fine, but they came in the same call.
    let refused = store.try_ingest(&[(Log::Clicks, CLICKS), (Log::Sends, bad)], &options()).await.unwrap_err();
    assert!(
        matches!(&refused, EngineError::Refused(message) if message.contains("50.0 %") && message.contains("row 2")),
        "{refused}"
    );
    assert_eq!(store.rows("SELECT count(*) FROM clicks").await, ["0"]);
    assert_eq!(store.rows("SELECT count(*) FROM quarantine").await, ["0"]);
    let mut lenient = options();
    lenient.max_rejected = 0.5;
    store.try_ingest(&[(Log::Sends, bad)], &lenient).await.unwrap();
    let rejected = store.rows("SELECT source_row, reason, raw FROM quarantine").await;
    assert_eq!(
        rejected,
        ["2|sent_at \"yesterday\" is not a time such as 2026-03-02T10:15:30Z (name other formats in a mapping, as \
          time_formats)|m1,r1,yesterday"]
    );
}

#[tokio::test]
async fn a_writer_that_dies_before_its_commit_leaves_the_last_version() {
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, SENDS)]).await;
    // What a killed ingest leaves behind: a data file that nothing refers to, whole or cut off.
    std::fs::write(store.path().join("sends/part-00000-dead.zstd.parquet"), b"PAR1 cut off").unwrap();
    assert_eq!(store.rows("SELECT count(*) FROM sends").await, ["3"]);
    store.ingest(&[(Log::Clicks, CLICKS)]).await;
    assert_eq!(store.rows(COUNTS).await, ["3|4|3"]);
}

#[tokio::test]
async fn rejected_rows_are_there_once_whatever_a_killed_ingest_is_repeated_with() {
    let store = TestStore::new();
    let mut lenient = options();
    lenient.max_rejected = 0.5;
    let [a, b, c] = ["a", "b", "c"].map(|file| {
        format!("message_id,recipient_id,sent_at\n{file}1,r1,2026-03-02T10:00:00Z\n{file}2,r2,yesterday\n")
    });
    let take_in = async |files: &[&String]| {
        let inputs = files.iter().flat_map(|text| text_input(Log::Sends, text).inputs).collect();
        let input = LogInput { log: Log::Sends, inputs, idempotency_key: None };
        let outcomes = ingest(&store.store, &[input], &lenient, &|_| ()).await.unwrap();
        (outcomes[0].accepted, outcomes[0].rejected)
    };
    assert_eq!(take_in(&[&a, &b]).await, (2, 2));
    // What a kill between the commits of the quarantine and of the log leaves.
    std::fs::remove_file(store.path().join("sends/_delta_log/00000000000000000001.json")).unwrap();
    assert_eq!(take_in(&[&a]).await, (1, 1));
    assert_eq!(take_in(&[&a, &c]).await, (1, 1));
    assert_eq!(take_in(&[&c, &b]).await, (1, 1));
    assert_eq!(
        store.rows("SELECT raw FROM quarantine ORDER BY raw").await,
        ["a2,r2,yesterday", "b2,r2,yesterday", "c2,r2,yesterday"]
    );
    assert_eq!(store.rows("SELECT message_id FROM sends ORDER BY message_id").await, ["a1", "b1", "c1"]);
}

#[tokio::test]
async fn logs_committed_by_a_killed_ingest_reach_the_facts_later() {
    let store = TestStore::new();
    // The commit went through, the facts were never refreshed.
    ingest(&store.store, &[text_input(Log::Sends, SENDS)], &options(), &|_| ()).await.unwrap();
    assert_eq!(store.rows("SELECT count(*) FROM message_facts").await, ["3"]);
}

#[tokio::test]
async fn new_attributes_widen_a_log() {
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, SENDS)]).await;
    let wider =
        SENDS.replace("time_zone\n", "time_zone,shop\n").replace("m1", "m4").replace("m2", "m5").replace("m3", "m6");
    let wider: String = wider
        .lines()
        .enumerate()
        .map(|(line, text)| if line == 0 { format!("{text}\n") } else { format!("{text},north\n") })
        .collect();
    store.ingest(&[(Log::Sends, &wider)]).await;
    assert_eq!(
        store.rows("SELECT shop, count(*) FROM message_facts GROUP BY shop ORDER BY shop").await,
        ["north|3", "∅|3"]
    );
    assert_eq!(store.rows("SELECT count(shop), count(*) FROM sends").await, ["3|6"]);
}

#[tokio::test]
async fn facts_see_that_a_version_was_replaced() {
    let store = TestStore::new();
    let click = |id: &str, message: &str| {
        format!("click_id,message_id,link,clicked_at,user_agent\n{id},{message},l,2026-03-02T12:00:00Z,Mozilla/5.0\n")
    };
    store.ingest(&[(Log::Sends, SENDS), (Log::Clicks, &click("c1", "m1"))]).await;
    store.ingest(&[(Log::Clicks, &click("c2", "m2"))]).await;
    let version = store.session().await.versions["clicks"];
    // What `doctor` says of a last entry that cannot be read; then another batch takes its number, and it comes again.
    let entry = store.path().join(format!("clicks/_delta_log/{version:020}.json"));
    std::fs::remove_file(entry).unwrap();
    store.ingest(&[(Log::Clicks, &click("c3", "m3"))]).await;
    let clicks = "SELECT string_agg(arrow_cast(clicks, 'Utf8'), '' ORDER BY message_id) FROM message_facts";
    assert_eq!(store.session().await.versions["clicks"], version);
    assert_eq!(store.rows(clicks).await, ["101"]);
    store.ingest(&[(Log::Clicks, &click("c2", "m2"))]).await;
    assert_eq!(store.rows(clicks).await, ["111"]);
}

/// Enough sends for several partitions to read them: a corrected one among them once doubled them all.
#[tokio::test(flavor = "multi_thread")]
async fn a_correction_among_many_sends_doubles_none() {
    let mut sends = "message_id,campaign_id,recipient_id,channel,sent_at,text\n".to_owned();
    for message in 0..80_000 {
        let noise = message * 2_654_435_761_u64 % 1_000_000_007;
        sends.push_str(&format!(
            "m{noise:010}x{message},c,r{noise:010},sms,2026-03-02T10:{:02}:{:02}Z,a text of some length {noise}\n",
            message % 60,
            message / 60 % 60
        ));
    }
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, &sends)]).await;
    assert_eq!(store.rows("SELECT count(*) FROM message_facts").await, ["80000"]);
    let first = sends.lines().nth(1).unwrap().replace(",c,", ",corrected,");
    let correction = format!("{}\n{first}\n", sends.lines().next().unwrap());
    let later = IngestOptions::new("2026-11-02T00:00:00Z".parse().unwrap());
    store.try_ingest(&[(Log::Sends, &correction)], &later).await.unwrap();
    let counted = "SELECT count(*), count(DISTINCT message_id), count(*) FILTER (WHERE campaign_id = 'corrected') FROM message_facts";
    assert_eq!(store.rows(counted).await, ["80000|80000|1"]);
    let again = TestStore::new();
    again.ingest(&[(Log::Sends, &format!("{sends}{first}\n"))]).await;
    assert_eq!(again.rows(counted).await, ["80000|80000|1"]);
}

#[tokio::test]
async fn of_two_rows_on_one_line_the_later_counts() {
    let row = |campaign: &str, value: u8| {
        (
            format!(
                r#"{{"message_id":"m1","recipient_id":"r1","campaign_id":"{campaign}","sent_at":"2026-03-02T10:00:00Z"}}"#
            ),
            format!(
                r#"{{"conversion_id":"v1","recipient_id":"r1","event":"order","value":{value},"currency":"EUR","occurred_at":"2026-03-02T12:00:00Z"}}"#
            ),
        )
    };
    let ((first_send, first), (second_send, second)) = (row("wrong", 1), row("right", 2));
    for between in [",", ",\n"] {
        let store = TestStore::new();
        let (sends, conversions) =
            (format!("[{first_send}{between}{second_send}]"), format!("[{first}{between}{second}]"));
        store.ingest(&[(Log::Sends, &sends), (Log::Conversions, &conversions)]).await;
        let told = store.rows("SELECT campaign_id, revenue FROM message_facts").await;
        assert_eq!(told, ["right|2.000000"], "{between:?}");
    }
}

/// A copy's files are as old as the copy; what was there at a moment is told by the log itself.
#[tokio::test]
async fn a_copy_of_a_store_was_at_a_moment_what_the_store_was() {
    fn copy(from: &std::path::Path, to: &std::path::Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (path, place) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
            if path.is_dir() {
                copy(&path, &place);
            } else {
                std::fs::write(place, std::fs::read(path).unwrap()).unwrap();
            }
        }
    }
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, SENDS)]).await;
    let facts = store.session().await.versions["message_facts"];
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let moment = jiff::Timestamp::now();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let assignments = "experiment_id,recipient_id,arm,assigned_at\ne,r1,A,2026-03-01T00:00:00Z\n";
    store.ingest(&[(Log::Assignments, assignments)]).await;
    let copied = store.folder.path().join("copy");
    copy(&store.path(), &copied);
    let copied = Store::open(copied.to_str().unwrap()).unwrap();
    for at in [At::Version(facts), At::Time(moment)] {
        let mut told = Vec::new();
        for store in [&store.store, &copied] {
            let source = Source::Store(store.clone(), Some(at));
            let session = QuerySession::open(&source, &Settings::default(), now()).await.unwrap();
            assert!(!session.versions.contains_key("assignments"), "{at:?}");
            told.push((session.versions.clone(), session.as_of));
        }
        assert_eq!(told[0], told[1], "{at:?}");
    }
}
