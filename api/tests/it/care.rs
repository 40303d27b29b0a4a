//! The commands that care for a store: what they print, and with which exit status they end.

use std::path::Path;
use std::process::{Command, Output};

fn sendlift(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sendlift"))
        .current_dir(folder)
        .env_remove("SENDLIFT_STORE")
        .env_remove("SENDLIFT_HASH_KEY")
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_str(&stdout(output)).unwrap()
}

/// A store with three batches of sends.
fn store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 1..4 {
        let row = format!("m{number},spring,A,r{number},2026-03-0{number}T10:00:00Z\n");
        let sends = format!("message_id,campaign_id,variant,recipient_id,sent_at\n{row}");
        std::fs::write(folder.path().join("sends.csv"), sends).unwrap();
        assert!(sendlift(folder.path(), &["ingest", "sends=sends.csv"]).status.success());
    }
    folder
}

#[test]
fn a_store_is_compacted_and_vacuumed() {
    let folder = store();
    let done = json(&sendlift(folder.path(), &["compact", "--format", "json"]));
    let sends = done["tables"].as_array().unwrap().iter().find(|table| table["table"] == "sends").unwrap();
    assert_eq!((sends["files_before"].as_u64(), sends["files_after"].as_u64()), (Some(3), Some(1)), "{done}");
    let again = stdout(&sendlift(folder.path(), &["compact"]));
    assert!(again.contains("nothing to put together"), "{again}");
    let csv = stdout(&sendlift(folder.path(), &["compact", "--format", "csv"]));
    assert!(csv.starts_with("table,files_before,files_after,bytes_before,bytes_after,"), "{csv}");

    let kept = stdout(&sendlift(folder.path(), &["vacuum", "--dry-run"]));
    assert!(kept.contains("no file would be removed"), "{kept}");
    let refused = sendlift(folder.path(), &["vacuum", "--keep", "0"]);
    assert!(refused.status.code() == Some(2) && stderr(&refused).contains("forget"), "{}", stderr(&refused));
}

#[test]
fn recipients_are_forgotten() {
    let folder = store();
    std::fs::write(folder.path().join("whom.txt"), "r1\n\nr2\n").unwrap();
    let said = stdout(&sendlift(folder.path(), &["forget", "--file", "whom.txt", "--dry-run"]));
    assert!(said.contains("4 rows would be erased, of 2 messages to them"), "{said}");
    let done = json(&sendlift(folder.path(), &["forget", "--file", "whom.txt", "--vacuum", "--format", "json"]));
    assert_eq!(done["recipients"], serde_json::json!(["r1", "r2"]));
    assert_eq!(done["earlier_versions_may_hold_rows"], false);
    let left = json(&sendlift(folder.path(), &["--format", "json", "sql", "SELECT recipient_id FROM message_facts"]));
    assert_eq!(left, serde_json::json!([{"recipient_id": "r3"}]));
    let again = stdout(&sendlift(folder.path(), &["forget", "r1"]));
    assert!(again.contains("the store holds nothing about them") && again.contains("`sendlift vacuum`"), "{again}");
    for (arguments, status, expected) in [
        (&["forget"][..], 2, "RECIPIENT"),
        (&["forget", "r9", "+14155552671"], 2, "recipient 2: the store knows phone numbers"),
        (&["forget", "--file", "nobody.txt"], 1, "nobody.txt"),
        (&["--store", "elsewhere", "forget", "r1"], 2, "there is no store"),
    ] {
        let output = sendlift(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("5552671"), "{}", stderr(&output));
    }
}

#[test]
fn the_doctor_says_what_is_wrong_by_exit_status_too() {
    let folder = store();
    let sound = sendlift(folder.path(), &["doctor", "--deep"]);
    assert!(sound.status.success() && stdout(&sound).contains("the store is sound"), "{}", stdout(&sound));
    let sends = folder.path().join("sendlift-store/sends");
    let is_data = |path: &Path| path.extension().is_some_and(|kind| kind == "parquet");
    let file =
        std::fs::read_dir(&sends).unwrap().map(|entry| entry.unwrap().path()).find(|path| is_data(path)).unwrap();
    std::fs::write(&file, b"PAR1").unwrap();
    let broken = sendlift(folder.path(), &["doctor", "--format", "json"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(stderr(&broken).contains("not sound: 1 finding says what to do"), "{}", stderr(&broken));
    let diagnosis: serde_json::Value = serde_json::from_str(&stdout(&broken)).unwrap();
    assert_eq!(diagnosis["sound"], false);
    let finding = &diagnosis["findings"][0];
    assert_eq!((finding["severity"].as_str(), finding["table"].as_str()), (Some("fault"), Some("sends")));
    assert_eq!(finding["file"].as_str(), file.file_name().unwrap().to_str());
    let shown = stdout(&sendlift(folder.path(), &["doctor"]));
    assert!(shown.contains("FAULT") && shown.contains("ingest the sends files again"), "{shown}");
}
