//! Compaction beside everything else, and vacuum after it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use sendlift_engine::event::Log;
use sendlift_engine::facts::refresh;
use sendlift_engine::ingest::load::ingest;
use sendlift_engine::report::{ReportRequest, report};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::MESSAGE_FACTS;
use sendlift_engine::store::care::{Depth, VacuumOptions, Vacuumed, WhyRemoved, compact, vacuum};

use super::{
    FACTS, assert_facts_are_those_of_the_logs, batch, examine_store, files, ingest_batch, is_of_a_log, paths_below,
};
use crate::support::{TestStore, options, text_input};

/// The report's rows, and up to when it tells.
async fn results(store: &TestStore) -> String {
    let made = report(&store.session().await, &ReportRequest::default()).await.unwrap();
    format!("{} {}", made.as_of, serde_json::to_string(&made.rows).unwrap())
}

async fn vacuumed(store: &TestStore, hours_from_now: i64, keep_hours: u64, dry_run: bool) -> Vacuumed {
    let now = Timestamp::now() + SignedDuration::from_hours(hours_from_now);
    vacuum(&store.store, &VacuumOptions { keep_hours, dry_run, now }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_keeps_every_row_and_every_answer() {
    let store = TestStore::new();
    for number in 0..8 {
        ingest_batch(&store, number).await;
    }
    let (rows, before) = (store.rows(FACTS).await, results(&store).await);
    let facts_before = files(&store, MESSAGE_FACTS).await;
    assert_eq!(files(&store, "sends").await.len(), 8);

    let done = compact(&store.store, &Settings::default()).await.unwrap();
    let sends = done.tables.iter().find(|table| table.table == "sends").unwrap();
    assert_eq!((sends.files_before, sends.files_after, sends.rows_rearranged), (8, 1, 8), "{sends:?}");
    assert!(sends.checkpoint && sends.version.is_some(), "{sends:?}");
    assert_eq!(files(&store, "clicks").await.len(), 1);
    // The facts reflect the new versions, and not one of their files was made anew.
    let refreshed = refresh(&store.store, &Settings::default()).await.unwrap();
    assert_eq!((refreshed.days, refreshed.from_scratch), (0, false));
    assert_eq!(files(&store, MESSAGE_FACTS).await, facts_before);
    assert_eq!(store.rows(FACTS).await, rows);
    assert_eq!(results(&store).await, before);
    assert_eq!(store.rows("SELECT count(*), count(DISTINCT message_id) FROM sends").await, ["8|8"]);

    // Again there is nothing to do; and a batch that comes afterwards touches its own day alone.
    let again = compact(&store.store, &Settings::default()).await.unwrap();
    assert!(again.tables.iter().all(|table| table.version.is_none()), "{again:?}");
    let (sends, _) = batch(8);
    ingest(&store.store, &[text_input(Log::Sends, &sends)], &options(), &|_| ()).await.unwrap();
    let refreshed = refresh(&store.store, &Settings::default()).await.unwrap();
    assert_eq!((refreshed.days, refreshed.from_scratch), (1, false));
    // What was taken in before the checkpoint is known after it.
    let (sends, _) = batch(3);
    let outcome = store.ingest(&[(Log::Sends, &sends)]).await;
    assert_eq!((outcome[0].accepted, outcome[0].duplicates), (0, 1));
    assert_facts_are_those_of_the_logs(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_that_have_not_heard_of_a_compaction_are_not_made_anew() {
    let store = TestStore::new();
    for number in 0..4 {
        ingest_batch(&store, number).await;
    }
    // As if the compaction had been killed before it told the facts.
    let (facts, aside) = (store.path().join(MESSAGE_FACTS), store.folder.path().join("aside"));
    copy_folder(&facts, &aside);
    compact(&store.store, &Settings::default()).await.unwrap();
    std::fs::remove_dir_all(&facts).unwrap();
    copy_folder(&aside, &facts);
    let (sends, _) = batch(4);
    ingest(&store.store, &[text_input(Log::Sends, &sends)], &options(), &|_| ()).await.unwrap();
    let refreshed = refresh(&store.store, &Settings::default()).await.unwrap();
    assert_eq!((refreshed.days, refreshed.from_scratch), (1, false));
    assert_facts_are_those_of_the_logs(&store).await;
}

fn copy_folder(from: &Path, to: &Path) {
    for path in paths_below(from) {
        let copy = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(path, copy).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_beside_ingests_loses_nothing_and_doubles_nothing() {
    let store = TestStore::new();
    for number in 0..4 {
        ingest_batch(&store, number).await;
    }
    let ingests = async {
        for number in 4..10 {
            ingest_batch(&store, number).await;
        }
    };
    let compactions = async {
        for _ in 0..3 {
            compact(&store.store, &Settings::default()).await.unwrap();
        }
    };
    tokio::join!(ingests, compactions);
    assert_eq!(store.rows("SELECT count(*), count(DISTINCT message_id) FROM sends").await, ["10|10"]);
    assert_eq!(store.rows("SELECT count(*), count(DISTINCT click_id) FROM clicks").await, ["10|10"]);
    assert_facts_are_those_of_the_logs(&store).await;
    assert!(examine_store(&store, Depth::Deep).await.sound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_compactions_at_once_double_nothing() {
    let store = TestStore::new();
    for number in 0..5 {
        ingest_batch(&store, number).await;
    }
    let settings = Settings::default();
    let (one, other) = tokio::join!(compact(&store.store, &settings), compact(&store.store, &settings));
    one.unwrap();
    other.unwrap();
    assert_eq!(store.rows("SELECT count(*), count(DISTINCT message_id) FROM sends").await, ["5|5"]);
    assert_eq!(store.rows("SELECT count(*), count(DISTINCT message_id) FROM message_facts").await, ["5|5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_takes_what_no_kept_version_needs() {
    let store = TestStore::new();
    for number in 0..4 {
        ingest_batch(&store, number).await;
    }
    compact(&store.store, &Settings::default()).await.unwrap();
    let (rows, before) = (store.rows(FACTS).await, results(&store).await);
    // What a killed ingest leaves, finished or not.
    std::fs::write(store.path().join("sends/part-00000-dead-c000.zstd.parquet"), b"PAR1 cut off").unwrap();
    std::fs::write(store.path().join("sends/part-00000-late-c000.zstd.parquet#1"), b"PAR1").unwrap();

    // Within a week nothing goes; a file that an ingest may still commit stays for a day, however little is kept.
    let none = vacuumed(&store, 0, 168, false).await;
    assert!(none.tables.iter().all(|table| table.files == 0), "{none:?}");
    let of_sends = |done: &Vacuumed| done.tables.iter().find(|table| table.table == "sends").unwrap().clone();
    let soon = of_sends(&vacuumed(&store, 3, 1, true).await);
    assert!(soon.files == 4 && soon.removed.iter().all(|file| file.why == WhyRemoved::OldVersion), "{soon:?}");
    assert_eq!(soon.readable_from, store.store.table("sends").await.unwrap().unwrap().version());

    let said = of_sends(&vacuumed(&store, 48, 1, true).await);
    let reasons: BTreeSet<String> = said.removed.iter().map(|file| format!("{:?}", file.why)).collect();
    assert_eq!((said.files, reasons.len()), (6, 3), "{said:?}");
    assert!(store.path().join("sends/part-00000-dead-c000.zstd.parquet").exists(), "a dry run removes nothing");
    assert_eq!(of_sends(&vacuumed(&store, 48, 1, false).await).removed, said.removed);
    let left: Vec<PathBuf> =
        paths_below(&store.path().join("sends")).into_iter().filter(|path| !is_of_a_log(path)).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((store.rows(FACTS).await, results(&store).await), (rows, before));
    assert!(store.store.table_at_version("sends", 1).await.is_ok(), "its log is still there");

    let refused = VacuumOptions { keep_hours: 0, dry_run: false, now: Timestamp::now() };
    let refused = vacuum(&store.store, &refused).await.unwrap_err().to_string();
    assert!(refused.contains("forget"), "{refused}");
    ingest_batch(&store, 5).await;
    assert_eq!(store.rows("SELECT count(*) FROM message_facts").await, ["5"]);
}
