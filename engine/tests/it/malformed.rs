//! The bad files of `sample-data/malformed` give exactly the quarantine that is written beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sendlift_engine::event::Log;

use crate::support::{TestStore, file_input, options};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample-data/malformed")
}

/// The log of a file, told by its name: `sends_bad_values.csv`, `header_only_sends.csv`.
fn log_of(name: &str) -> Log {
    let stem = name.split('.').next().unwrap();
    Log::ALL.into_iter().find(|log| stem.starts_with(log.name()) || stem.ends_with(log.name())).unwrap()
}

/// Expected rows by file: row number and reason, read with the standard library alone.
fn expected() -> BTreeMap<String, Vec<(i64, String)>> {
    let text = std::fs::read_to_string(folder().join("expected_quarantine.csv")).unwrap();
    let mut expected: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
        let (file, rest) = line.split_once(',').unwrap();
        let (row, reason) = rest.split_once(',').unwrap();
        let reason = reason.trim_end();
        let reason = match reason.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
            Some(inner) => inner.replace("\"\"", "\""),
            None => reason.to_owned(),
        };
        expected.entry(file.to_owned()).or_default().push((row.parse().unwrap(), reason));
    }
    expected
}

#[tokio::test]
async fn each_bad_row_is_set_aside_with_its_reason_and_the_rest_goes_in() {
    let expected = expected();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            !path.ends_with("expected_quarantine.csv") && path.extension().is_some_and(|extension| extension != "md")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the malformed samples are missing");
    let mut options = options();
    options.max_rejected = 1.0;
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let store = TestStore::new();
        let input = file_input(log_of(&name), &path);
        sendlift_engine::ingest::load::ingest(&store.store, &[input], &options, &|_| ()).await.unwrap();
        let found: Vec<(i64, String)> = store
            .rows("SELECT source_row, reason FROM quarantine ORDER BY source_row")
            .await
            .iter()
            .map(|row| row.split_once('|').unwrap())
            .map(|(row, reason)| (row.parse().unwrap(), reason.to_owned()))
            .collect();
        assert_eq!(found, expected.get(&name).cloned().unwrap_or_default(), "{name}");
    }
}
