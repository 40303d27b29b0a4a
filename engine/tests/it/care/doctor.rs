//! What the doctor finds, and that it changes nothing.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sendlift_engine::event::Log;
use sendlift_engine::ingest::load::ingest;
use sendlift_engine::query::{QuerySession, Source};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::MESSAGE_FACTS;
use sendlift_engine::store::care::{Depth, Diagnosis, Finding, Severity};

use super::{batch, examine_store, files, ingest_batch, paths_below};
use crate::support::{TestStore, options, rows_of, text_input};

/// The faults about a file of a table.
fn faults<'a>(diagnosis: &'a Diagnosis, table: &str, file: &str) -> Vec<&'a Finding> {
    let about = |finding: &&Finding| {
        finding.severity == Severity::Fault
            && finding.table.as_deref() == Some(table)
            && finding.file.as_deref().is_some_and(|named| named.contains(file))
    };
    diagnosis.findings.iter().filter(about).collect()
}

async fn small_store() -> TestStore {
    let store = TestStore::new();
    for number in 0..3 {
        ingest_batch(&store, number).await;
    }
    store
}

/// A data file of a table.
async fn some_file(store: &TestStore, table: &str) -> (String, PathBuf) {
    let name = files(store, table).await.into_iter().next().unwrap();
    let path = store.path().join(table).join(&name);
    (name, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_store_is_sound_and_is_left_alone() {
    let store = small_store().await;
    let mut lenient = options();
    lenient.max_rejected = 1.0;
    let bad = "message_id,recipient_id,sent_at\nx1,r1,never\nx2,r2,2026-03-02\n";
    store.try_ingest(&[(Log::Sends, bad)], &lenient).await.unwrap();
    let state = |store: &TestStore| -> Vec<(PathBuf, Vec<u8>)> {
        paths_below(&store.path()).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let before = state(&store);
    for depth in [Depth::Quick, Depth::Deep] {
        let diagnosis = examine_store(&store, depth).await;
        assert!(diagnosis.sound && diagnosis.findings.is_empty(), "{diagnosis:?}");
        let sends = diagnosis.tables.iter().find(|table| table.table == "sends").unwrap();
        assert_eq!((sends.files, sends.rows), (4, Some(4)));
    }
    assert!(before == state(&store), "the doctor changed something");
    // Facts that are behind are no fault.
    let (sends, _) = batch(3);
    ingest(&store.store, &[text_input(Log::Sends, &sends)], &options(), &|_| ()).await.unwrap();
    let diagnosis = examine_store(&store, Depth::Quick).await;
    assert!(
        diagnosis.sound && diagnosis.findings.iter().any(|note| note.what.contains("newest sends")),
        "{diagnosis:?}"
    );
    let empty = TestStore::new();
    assert!(examine_store(&empty, Depth::Deep).await.sound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_data_files_are_named() {
    let store = small_store().await;
    let (cut, path) = some_file(&store, "sends").await;
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (lost, missing) = some_file(&store, "clicks").await;
    std::fs::remove_file(missing).unwrap();
    let (scrambled, path_of_facts) = some_file(&store, MESSAGE_FACTS).await;
    let length = std::fs::read(&path_of_facts).unwrap().len();
    std::fs::write(&path_of_facts, vec![7; length]).unwrap();
    let diagnosis = examine_store(&store, Depth::Quick).await;
    assert!(!diagnosis.sound);
    for (table, file, what) in [
        ("sends", &cut, "bytes, and the log says"),
        ("clicks", &lost, "missing"),
        (MESSAGE_FACTS, &scrambled, "footer cannot be read"),
    ] {
        let found = faults(&diagnosis, table, file);
        assert!(
            found.len() == 1 && found[0].what.contains(what) && !found[0].remedy.is_empty(),
            "{table}: {diagnosis:?}"
        );
    }

    // A page that is wrong is seen by who reads it.
    std::fs::write(&path, &whole).unwrap();
    let quick = examine_store(&store, Depth::Quick).await;
    assert!(faults(&quick, "sends", &cut).is_empty(), "{quick:?}");
    let mut scratched = whole.clone();
    scratched[4..64].fill(0xff);
    std::fs::write(&path, &scratched).unwrap();
    let deep = examine_store(&store, Depth::Deep).await;
    assert!(faults(&deep, "sends", &cut)[0].what.contains("pages"), "{deep:?}");
}

/// Whoever opens the table learns what the doctor would say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_newest_entry_is_an_error_that_names_it() {
    for bytes in [&b""[..], b"\0\xff not json\n"] {
        let store = small_store().await;
        let log = store.path().join("clicks").join("_delta_log");
        let newest = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
        std::fs::write(&newest, bytes).unwrap();
        let error = store.store.table("clicks").await.unwrap_err().to_string();
        assert!(error.contains(newest.to_str().unwrap()) && error.contains("remove it"), "{error}");
        assert!(store.store.table("sends").await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_read_of_a_broken_store_is_read() {
    let store = small_store().await;
    let log = store.path().join("sends").join("_delta_log");
    let newest = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    std::fs::write(&newest, b"not json").unwrap();
    let settings = Settings::default();
    let now = jiff::Timestamp::now();
    let source = Source::Store(store.store.clone(), None);
    let error = QuerySession::open(&source, &settings, now).await.map(|_| ()).unwrap_err();
    let session = QuerySession::open_what_can_be_read(&store.store, &settings, &error).await.unwrap();
    assert_ne!(rows_of(&session, "SELECT count(*) FROM clicks").await, ["0"]);
    for table in ["sends", "message_facts"] {
        let told = session.collect(&format!("SELECT count(*) FROM {table}")).await.unwrap_err().to_string();
        assert!(told.contains(table) && told.contains(newest.to_str().unwrap()), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_log_entries_are_named() {
    let store = small_store().await;
    let entry = |table: &str, version: u64| store.path().join(table).join(format!("_delta_log/{version:020}.json"));
    let whole = std::fs::read(entry("sends", 2)).unwrap();
    std::fs::write(entry("sends", 2), &whole[..whole.len() - 20]).unwrap();
    std::fs::remove_file(entry("clicks", 1)).unwrap();
    let diagnosis = examine_store(&store, Depth::Quick).await;
    assert!(!diagnosis.sound);
    assert!(faults(&diagnosis, "sends", "00000000000000000002.json")[0].what.contains("not JSON"), "{diagnosis:?}");
    assert!(faults(&diagnosis, "clicks", "00000000000000000001.json")[0].what.contains("missing"), "{diagnosis:?}");
    // The other tables were looked at all the same.
    assert!(diagnosis.tables.iter().any(|table| table.table == MESSAGE_FACTS), "{diagnosis:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_are_named_once_they_are_old() {
    let store = small_store().await;
    let orphan = store.path().join("sends/part-00000-dead-c000.zstd.parquet");
    std::fs::write(&orphan, b"PAR1 cut off").unwrap();
    let young = examine_store(&store, Depth::Quick).await;
    assert!(young.sound && young.findings.iter().any(|note| note.what.contains("younger than a day")), "{young:?}");
    let two_days_ago = SystemTime::now() - Duration::from_hours(48);
    std::fs::File::options().write(true).open(&orphan).unwrap().set_modified(two_days_ago).unwrap();
    let old = examine_store(&store, Depth::Quick).await;
    assert!(faults(&old, "sends", "dead")[0].remedy.contains("vacuum"), "{old:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_that_do_not_fit_their_logs_are_told() {
    let store = small_store().await;
    // Facts of another store: made from more than this one has.
    let other = TestStore::new();
    for number in 0..5 {
        ingest_batch(&other, number).await;
    }
    std::fs::remove_dir_all(store.path().join(MESSAGE_FACTS)).unwrap();
    std::fs::rename(other.path().join(MESSAGE_FACTS), store.path().join(MESSAGE_FACTS)).unwrap();
    let diagnosis = examine_store(&store, Depth::Quick).await;
    assert!(!diagnosis.sound, "{diagnosis:?}");
    let told = diagnosis.findings.iter().find(|finding| finding.table.as_deref() == Some(MESSAGE_FACTS)).unwrap();
    assert!(told.what.contains("made from version 5 of") && told.remedy.contains(MESSAGE_FACTS), "{told:?}");
}
