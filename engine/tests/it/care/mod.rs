//! The care of a store: compaction keeps every row and every answer, vacuum takes only what no kept version needs, the
//! forgotten are nowhere, and the doctor names what is broken.

mod compaction;
mod doctor;
mod forgetting;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sendlift_engine::event::Log;
use sendlift_engine::settings::Settings;
use sendlift_engine::store::MESSAGE_FACTS;
use sendlift_engine::store::care::{Depth, Diagnosis, examine};

use crate::support::TestStore;

const FACTS: &str = "SELECT message_id, recipient_id, sent_date, delivery, receipts, clicks, machine_clicks, \
    machine_click_reason, conversions, revenue, revenue_currency, opt_outs, replies FROM message_facts \
    ORDER BY message_id";

/// A send on a day of March, and a click on it.
fn batch(number: u32) -> (String, String) {
    let day = number % 28 + 1;
    (
        format!(
            "message_id,campaign_id,variant,recipient_id,sent_at\n\
             m{number},spring,A,r{number},2026-03-{day:02}T10:00:00Z\n"
        ),
        format!("click_id,message_id,link,clicked_at\nc{number},m{number},l,2026-03-{day:02}T11:00:00Z\n"),
    )
}

async fn ingest_batch(store: &TestStore, number: u32) {
    let (sends, clicks) = batch(number);
    store.ingest(&[(Log::Sends, &sends), (Log::Clicks, &clicks)]).await;
}

/// The data files of a table's newest version.
async fn files(store: &TestStore, table: &str) -> BTreeSet<String> {
    let table = store.store.table(table).await.unwrap().unwrap();
    table.snapshot().unwrap().log_data().iter().map(|file| file.path().into_owned()).collect()
}

/// The facts as they are kept, and as they are when they are made anew from the logs that are there.
async fn assert_facts_are_those_of_the_logs(store: &TestStore) {
    let kept = store.rows(FACTS).await;
    for table in [MESSAGE_FACTS, "send_corrections"] {
        std::fs::remove_dir_all(store.path().join(table)).ok();
    }
    assert_eq!(kept, store.rows(FACTS).await, "kept up to date against made at once");
}

fn paths_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(paths_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_of_a_log(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "_delta_log")
}

async fn examine_store(store: &TestStore, depth: Depth) -> Diagnosis {
    examine(&store.store, &Settings::default(), depth, Timestamp::now()).await
}
