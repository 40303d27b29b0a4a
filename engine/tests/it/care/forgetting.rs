//! Whoever is forgotten is nowhere, and nobody else is missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::{SignedDuration, Timestamp};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sendlift_engine::event::Log;
use sendlift_engine::generate::{GenerateOptions, OutputFormat, generate};
use sendlift_engine::ingest::identity::IdentityHasher;
use sendlift_engine::ingest::load::{LogInput, ingest};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::MESSAGE_FACTS;
use sendlift_engine::store::care::{Depth, ForgetOptions, Forgotten, Person, forget};

use super::{assert_facts_are_those_of_the_logs, examine_store, files, is_of_a_log, paths_below};
use crate::support::{CLICKS, CONVERSIONS, DELIVERIES, SENDS, TestStore, file_input, now, options};

/// Every cell of a Parquet file as text, those of nested columns too.
fn cells(path: &Path) -> String {
    let file = std::fs::File::open(path).unwrap();
    let mut text = String::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        for column in batch.columns() {
            let cells = ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap();
            for row in 0..batch.num_rows() {
                text.push_str(&cells.value(row).to_string());
                text.push('\n');
            }
        }
    }
    text
}

/// The files that hold a text, be it in their bytes or, compressed, in their cells.
fn holding(paths: impl IntoIterator<Item = PathBuf>, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let in_cells = path.extension().is_some_and(|kind| kind == "parquet") && cells(path).contains(text);
        in_cells || String::from_utf8_lossy(&bytes).contains(text)
    };
    paths.into_iter().filter(holds).collect()
}

/// All files of the newest versions, and the logs.
async fn live_paths(store: &TestStore) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = paths_below(&store.path()).into_iter().filter(|path| is_of_a_log(path)).collect();
    for entry in std::fs::read_dir(store.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        paths.extend(files(store, &name).await.into_iter().map(|file| store.path().join(&name).join(file)));
    }
    paths
}

fn forgetting() -> ForgetOptions {
    ForgetOptions { whole_quarantine: false, vacuum: false, dry_run: false, now: Timestamp::now() }
}

fn person(id: &str) -> Person {
    Person::read(id, false, None).unwrap()
}

async fn forgotten(store: &TestStore, ids: &[&str], options: &ForgetOptions) -> Forgotten {
    let people: Vec<Person> = ids.iter().map(|id| person(id)).collect();
    forget(&store.store, &Settings::default(), &people, options).await.unwrap()
}

const ONE: &str = "recipient-one";

/// A store in which a recipient occurs in every way.
async fn store_with_one() -> TestStore {
    let store = TestStore::new();
    let one = |text: &str| text.replace(",r1,", &format!(",{ONE},"));
    let later = "message_id,campaign_id,variant,recipient_id,channel,message_type,sent_at,cost,currency,time_zone\n\
        m8,autumn,A,r8,sms,promo,2026-05-02T10:00:00Z,0.01,USD,\n\
        m9,autumn,A,r9,sms,promo,2026-05-20T10:00:00Z,0.01,USD,\n\
        m9,autumn,B,r9,sms,promo,2026-05-20T10:00:00Z,0.01,USD,\n";
    let mut lenient = options();
    lenient.max_rejected = 1.0;
    let inputs: [(Log, String); 11] = [
        (Log::Recipients, format!("recipient_id,country\n{ONE},US\nr2,CN\n")),
        (Log::Assignments, format!("experiment_id,recipient_id,arm\ne1,{ONE},A\ne1,r2,B\n")),
        (Log::Sends, one(SENDS)),
        (Log::Sends, format!("{later}m10,autumn,A,{ONE},sms,promo,never,0.01,USD,\n")),
        (Log::Deliveries, DELIVERIES.to_owned()),
        (Log::Opens, "message_id,at\nm1,2026-03-02T10:00:20Z\nm2,2026-03-02T10:00:20Z\n".to_owned()),
        (Log::Clicks, CLICKS.to_owned()),
        (Log::Conversions, one(CONVERSIONS)),
        // About nobody but a message of theirs, and about somebody else who names it.
        (
            Log::Conversions,
            "conversion_id,recipient_id,message_id,event,occurred_at\no8,,m1,purchase,2026-03-04T00:00:00Z\n\
             o9,r9,m1,purchase,2026-03-04T00:00:00Z\n"
                .to_owned(),
        ),
        (Log::OptOuts, format!("id,recipient_id,channel,requested_at\nx1,{ONE},sms,2026-03-05T00:00:00Z\n")),
        (
            Log::Consents,
            format!("id,recipient_id,channel,status,captured_at\ns1,{ONE},sms,given,2026-01-05T00:00:00Z\n"),
        ),
    ];
    for (log, text) in inputs {
        store.try_ingest(&[(log, &text)], &lenient).await.unwrap();
    }
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_forgotten_are_nowhere() {
    let store = store_with_one().await;
    assert!(!holding(live_paths(&store).await, ONE).is_empty());
    let untouched: BTreeSet<String> =
        files(&store, MESSAGE_FACTS).await.into_iter().filter(|path| path.contains("2026-05")).collect();
    assert_eq!(untouched.len(), 2);

    let only_said = forgotten(&store, &[ONE], &ForgetOptions { dry_run: true, ..forgetting() }).await;
    assert!(only_said.dry_run && store.rows("SELECT count(*) FROM sends").await == ["6"]);
    let done = forgotten(&store, &[ONE], &forgetting()).await;
    let rows: Vec<String> = done.tables.iter().map(|table| format!("{} {}", table.table, table.rows)).collect();
    let expected = [
        "message_facts 1",
        "deliveries 2",
        "opens 1",
        "clicks 2",
        "conversions 2",
        "opt_outs 1",
        "consents 1",
        "assignments 1",
        "recipients 1",
        "quarantine 1",
        "sends 1",
    ];
    assert_eq!(rows, expected);
    assert_eq!(only_said.tables.iter().map(|table| table.rows).sum::<u64>(), 14);
    assert_eq!(done.messages, 1);

    // What is somebody else's stays: the order of r9, who came by a link in that message, and all other rows.
    assert_eq!(store.rows("SELECT conversion_id FROM conversions ORDER BY 1").await, ["o2", "o3", "o4", "o9"]);
    assert_eq!(store.rows("SELECT message_id FROM message_facts ORDER BY 1").await, ["m2", "m3", "m8", "m9"]);
    assert_eq!(holding(live_paths(&store).await, ONE), Vec::<PathBuf>::new());
    // Days without them were left alone.
    let facts = files(&store, MESSAGE_FACTS).await;
    assert!(untouched.is_subset(&facts), "{facts:?}");
    assert!(done.earlier_versions_may_hold_rows && !holding(paths_below(&store.path()), ONE).is_empty());

    // Again there is nothing to erase; now the earlier versions go, too.
    let again = forgotten(&store, &[ONE], &ForgetOptions { vacuum: true, ..forgetting() }).await;
    assert!(again.tables.is_empty() && again.vacuumed.is_some(), "{again:?}");
    assert_eq!(holding(paths_below(&store.path()), ONE), Vec::<PathBuf>::new());
    assert!(examine_store(&store, Depth::Deep).await.sound);
    assert_facts_are_those_of_the_logs(&store).await;
    // The file that brought them in is known: it brings them in no second time.
    let sends = SENDS.replace(",r1,", &format!(",{ONE},"));
    assert_eq!(store.ingest(&[(Log::Sends, &sends)]).await[0].accepted, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_after_an_erasure_are_those_of_the_logs_that_are_left() {
    let store = TestStore::new();
    let made = GenerateOptions { messages: 3_000, seed: 7, format: OutputFormat::Csv, ..GenerateOptions::default() };
    let summary = generate(&store.folder.path().join("logs"), &made, &mut |_| ()).unwrap();
    let log_of = |path: &Path| -> Option<Log> { path.file_stem()?.to_str()?.parse().ok() };
    let logs: Vec<LogInput> = summary.files.iter().filter_map(|path| Some(file_input(log_of(path)?, path))).collect();
    ingest(&store.store, &logs, &options(), &|_| ()).await.unwrap();
    let ids = store.rows("SELECT DISTINCT recipient_id FROM message_facts ORDER BY 1 LIMIT 25").await;
    let before = store.rows("SELECT count(*) FROM message_facts").await;
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let dangling = |table: &str| {
        format!(
            "SELECT count(*) FROM {table} AS e LEFT ANTI JOIN sends AS s ON s.message_id = e.message_id \
             WHERE e.message_id IS NOT NULL"
        )
    };
    let dangling_before = [store.rows(&dangling("deliveries")).await, store.rows(&dangling("clicks")).await];
    let done = forgotten(&store, &ids, &forgetting()).await;
    assert!(done.messages >= 25 && store.rows("SELECT count(*) FROM message_facts").await != before);
    let named = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    for table in ["recipients", "assignments", "sends", "conversions", "replies", "opt_outs", MESSAGE_FACTS] {
        let about = format!("SELECT count(*) FROM {table} WHERE recipient_id IN ({named})");
        assert_eq!(store.rows(&about).await, ["0"], "{table}");
    }
    // Nothing is left about the messages to them.
    let dangling_after = [store.rows(&dangling("deliveries")).await, store.rows(&dangling("clicks")).await];
    assert_eq!(dangling_after, dangling_before);
    assert_facts_are_those_of_the_logs(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrected_rows_come_back_for_nobody() {
    let store = TestStore::new();
    // m1 was logged for r2 first and corrected to r1, m2 the other way round; the same with an order of r2 and r1.
    let header = "message_id,campaign_id,recipient_id,sent_at\n";
    store
        .ingest(&[(Log::Sends, &format!("{header}m1,c,r2,2026-03-02T10:00:00Z\nm2,c,r1,2026-03-02T10:00:00Z\n"))])
        .await;
    let mut later = options();
    later.now = now() + SignedDuration::from_secs(60);
    let corrected = format!("{header}m1,c,r1,2026-03-02T10:00:00Z\nm2,c,r2,2026-03-02T10:00:00Z\n");
    store.try_ingest(&[(Log::Sends, &corrected)], &later).await.unwrap();
    let orders = "conversion_id,recipient_id,event,occurred_at\n";
    store.ingest(&[(Log::Conversions, &format!("{orders}o1,r2,purchase,2026-03-03T10:00:00Z\n"))]).await;
    let corrected = format!("{orders}o1,r1,purchase,2026-03-03T10:00:00Z\n");
    store.try_ingest(&[(Log::Conversions, &corrected)], &later).await.unwrap();

    forgotten(&store, &["r1"], &forgetting()).await;
    assert_eq!(store.rows("SELECT message_id, recipient_id FROM sends").await, ["m2|r2"]);
    assert_eq!(store.rows("SELECT count(*) FROM conversions").await, ["0"]);
    assert_eq!(
        store.rows("SELECT message_id, recipient_id, coalesce(conversions, 0) FROM message_facts").await,
        ["m2|r2|0"]
    );
    assert_facts_are_those_of_the_logs(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_is_forgotten_by_its_hash() {
    let store = TestStore::new();
    let hasher = IdentityHasher::new(b"a key of more than sixteen bytes", Some("US")).unwrap();
    let mut with_key = options();
    with_key.validator.hasher = Some(hasher.clone());
    // Beside a recipient_id, a column of addresses is an attribute of hashes: here of somebody else's row.
    let id = hasher.hash("+14155552671");
    let sends = format!(
        "message_id,recipient_id,phone,sent_at\nm1,{id},,2026-03-02T10:00:00Z\n\
         m2,other,+14155552671,2026-03-02T10:00:00Z\n"
    );
    store.try_ingest(&[(Log::Sends, &sends)], &with_key).await.unwrap();
    assert_eq!(store.rows("SELECT message_id, phone_hash FROM message_facts ORDER BY 1").await[1], format!("m2|{id}"));
    assert!(Person::read("+1 415 555 2671", false, None).unwrap_err().to_string().contains("SENDLIFT_HASH_KEY"));
    let wrong = Person::read("+1 415", false, Some(&hasher)).unwrap_err().to_string();
    assert!(!wrong.contains("415"), "{wrong}");
    let person = Person::read("(415) 555-2671", true, Some(&hasher)).unwrap();
    let done = forget(&store.store, &Settings::default(), &[person], &forgetting()).await.unwrap();
    assert_eq!(done.recipients, [id.as_str()]);
    assert!(done.tables.iter().any(|table| table.table == "sends" && (table.rows, table.cells) == (1, 1)), "{done:?}");
    assert_eq!(store.rows("SELECT message_id, phone_hash FROM message_facts").await, ["m2|∅"]);
    assert_eq!(holding(live_paths(&store).await, &id), Vec::<PathBuf>::new());
}
