//! A Parquet file read where it stands gives the rows that the validator makes of the same cells as CSV: whatever an
//! ingest would reject or change in a file sends it through the validator.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
};
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use sendlift_engine::event::Log;
use sendlift_engine::ingest::load::{LogInput, ingest};
use sendlift_engine::query::QuerySession;

use crate::support::{TestStore, file_input, options, rows_of, session_of_files};

/// A cell that is missing.
const NOTHING: &str = "∅";

/// One column of a log, whose cells stand in a CSV file as they would be written by hand.
struct Column {
    name: &'static str,
    cells: Cells,
}

enum Cells {
    Text(Vec<Option<&'static str>>),
    /// Moments in microseconds, in milliseconds, and in microseconds without a zone.
    Micros(Vec<Option<&'static str>>),
    Millis(Vec<Option<&'static str>>),
    Civil(Vec<Option<&'static str>>),
    Number(Vec<Option<f64>>),
    Whole(Vec<Option<i64>>),
}

impl Cells {
    fn array(&self) -> ArrayRef {
        let moment = |text: &str| -> Timestamp { text.parse().unwrap() };
        let micros = |cells: &[Option<&str>]| -> TimestampMicrosecondArray {
            cells.iter().map(|cell| cell.map(|text| moment(text).as_microsecond())).collect()
        };
        match self {
            Self::Text(cells) => Arc::new(cells.iter().copied().collect::<StringArray>()),
            Self::Micros(cells) => Arc::new(micros(cells).with_timezone("UTC")),
            Self::Millis(cells) => {
                let millis: TimestampMillisecondArray =
                    cells.iter().map(|cell| cell.map(|text| moment(text).as_millisecond())).collect();
                Arc::new(millis.with_timezone("UTC"))
            }
            Self::Civil(cells) => Arc::new(micros(cells)),
            Self::Number(cells) => Arc::new(cells.iter().copied().collect::<Float64Array>()),
            Self::Whole(cells) => Arc::new(cells.iter().copied().collect::<Int64Array>()),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Text(cells) | Self::Micros(cells) | Self::Millis(cells) | Self::Civil(cells) => cells.len(),
            Self::Number(cells) => cells.len(),
            Self::Whole(cells) => cells.len(),
        }
    }

    fn text(&self, row: usize) -> Option<String> {
        match self {
            Self::Text(cells) | Self::Micros(cells) | Self::Millis(cells) | Self::Civil(cells) => {
                cells[row].map(str::to_owned)
            }
            Self::Number(cells) => cells[row].map(|number| number.to_string()),
            Self::Whole(cells) => cells[row].map(|number| number.to_string()),
        }
    }
}

fn filled<const N: usize>(cells: [&'static str; N]) -> Vec<Option<&'static str>> {
    cells.into_iter().map(|cell| (cell != NOTHING).then_some(cell)).collect()
}

fn text<const N: usize>(name: &'static str, cells: [&'static str; N]) -> Column {
    Column { name, cells: Cells::Text(filled(cells)) }
}

fn micros<const N: usize>(name: &'static str, cells: [&'static str; N]) -> Column {
    Column { name, cells: Cells::Micros(filled(cells)) }
}

fn number<const N: usize>(name: &'static str, cells: [Option<f64>; N]) -> Column {
    Column { name, cells: Cells::Number(cells.to_vec()) }
}

fn whole<const N: usize>(name: &'static str, cells: [Option<i64>; N]) -> Column {
    Column { name, cells: Cells::Whole(cells.to_vec()) }
}

/// Three sends that nothing is wrong with.
fn sends() -> Vec<Column> {
    vec![
        text("message_id", ["m1", "m2", "m3"]),
        text("campaign_id", ["spring", "spring", "春节, \"sale\""]),
        text("variant", ["A", NOTHING, "B"]),
        text("recipient_id", ["r1", "r2", "r3"]),
        text("channel", ["sms", "sms", "email"]),
        micros("sent_at", ["2026-03-02T10:00:00Z", "2026-03-02T10:00:00.000001Z", "2026-03-03T00:00:00Z"]),
        whole("parts", [Some(1), None, Some(2)]),
        number("cost", [Some(0.0075), Some(0.01), None]),
        text("shop", ["north", NOTHING, "south"]),
    ]
}

/// The good sends with one column in place of theirs, or beside them.
fn with(column: Column) -> Vec<Column> {
    let mut table = sends();
    match table.iter().position(|known| known.name == column.name) {
        Some(place) => table[place] = column,
        None => table.push(column),
    }
    table
}

fn write_csv(path: &Path, table: &[Column]) {
    let line = |cells: Vec<String>| format!("{}\n", cells.join(","));
    let quoted = |cell: String| format!("\"{}\"", cell.replace('"', "\"\""));
    let mut csv = line(table.iter().map(|column| column.name.to_owned()).collect());
    for row in 0..table[0].cells.rows() {
        csv += &line(table.iter().map(|column| column.cells.text(row).map_or_else(String::new, quoted)).collect());
    }
    std::fs::write(path, csv).unwrap();
}

fn write_parquet(path: &Path, table: &[Column], properties: WriterProperties) {
    let columns = table.iter().map(|column| (column.name, column.cells.array(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Ways to write a Parquet file: as most do, in many row groups, and without the statistics that tell much beforehand.
fn ways() -> [(&'static str, WriterProperties); 3] {
    [
        ("plain", WriterProperties::default()),
        ("row_groups", WriterProperties::builder().set_max_row_group_row_count(Some(1)).build()),
        ("no_statistics", WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None).build()),
    ]
}

/// Some files of one log.
fn files(log: Log, paths: &[PathBuf]) -> LogInput {
    let inputs = paths.iter().flat_map(|path| file_input(log, path).inputs).collect();
    LogInput { log, inputs, idempotency_key: None }
}

/// All columns of a log but those that say where a row came from; the rows by their first columns.
async fn all_columns(session: &QuerySession, log: Log) -> String {
    let schema = session.schema(log.name()).await.unwrap();
    let names: Vec<String> = schema
        .fields()
        .iter()
        .filter(|field| !["ingested_at", "source_file", "source_row"].contains(&field.name().as_str()))
        .map(|field| format!("\"{}\"", field.name()))
        .collect();
    format!("SELECT {} FROM {log} ORDER BY 1, 2, 3", names.join(", "))
}

/// The rows of a table, which are the same from a CSV file, from a Parquet file however it was written, and from a
/// store that took the Parquet file in.
async fn rows_everywhere(what: &str, log: Log, table: &[Column]) -> Vec<String> {
    let store = TestStore::new();
    let csv = store.folder.path().join("rows.csv");
    write_csv(&csv, table);
    let session = session_of_files(&[file_input(log, &csv)]).await;
    let query = all_columns(&session, log).await;
    let expected = rows_of(&session, &query).await;
    for (way, properties) in ways() {
        let parquet = store.folder.path().join(format!("{way}.parquet"));
        write_parquet(&parquet, table, properties);
        let session = session_of_files(&[file_input(log, &parquet)]).await;
        assert_eq!(all_columns(&session, log).await, query, "{what}, {way}");
        assert_eq!(rows_of(&session, &query).await, expected, "{what}, {way}");
    }
    let mut lenient = options();
    lenient.max_rejected = 1.0;
    let parquet = file_input(log, &store.folder.path().join("plain.parquet"));
    ingest(&store.store, &[parquet], &lenient, &|_| ()).await.unwrap();
    assert_eq!(store.rows(&query).await, expected, "{what}, ingested");
    expected
}

/// Which of the sends there are, however they are read.
async fn assert_kept(what: &str, table: &[Column], expected: &[&str]) {
    let rows = rows_everywhere(what, Log::Sends, table).await;
    let ids: Vec<&str> = rows.iter().map(|row| row.split('|').next().unwrap()).collect();
    assert_eq!(ids, expected, "{what}");
}

const ALL: [&str; 3] = ["m1", "m2", "m3"];
const NOT_THE_SECOND: [&str; 2] = ["m1", "m3"];

#[tokio::test]
async fn good_sends_are_read_as_they_are() {
    let rows = rows_everywhere("good sends", Log::Sends, &sends()).await;
    assert_eq!(rows.len(), 3);
    assert!(rows[0].starts_with("m1|spring|A|∅|r1|sms|∅|∅|2026-03-02T10:00:00Z|"), "{}", rows[0]);
    assert!(rows[2].starts_with("m3|春节, \"sale\"|B|∅|r3|email|") && rows[2].ends_with("|south"), "{}", rows[2]);
}

#[tokio::test]
async fn ids_that_are_none_cost_their_row() {
    for id in [NOTHING, "", "  \t", "\u{3000}", "NULL", "\\N", "nan", "None"] {
        assert_kept(&format!("message {id:?}"), &with(text("message_id", ["m1", id, "m3"])), &NOT_THE_SECOND).await;
    }
    for id in [NOTHING, " ", "null", "+14155550123", " +14155550123", "Ana.Li@example.com"] {
        assert_kept(&format!("recipient {id:?}"), &with(text("recipient_id", ["r1", id, "r3"])), &NOT_THE_SECOND).await;
    }
    // These look odd and are ids all the same.
    assert_kept("a word and more", &with(text("message_id", ["m1", "NULL-2", "m3"])), &["NULL-2", "m1", "m3"]).await;
    assert_kept("another script", &with(text("message_id", ["m1", "短信2", "m3"])), &["m1", "m3", "短信2"]).await;
    assert_kept("a space around it", &with(text("message_id", ["m1", " m2 ", "m3"])), &[" m2 ", "m1", "m3"]).await;
    for id in ["a@b", "+1", "4155550123"] {
        assert_kept(&format!("recipient {id:?}"), &with(text("recipient_id", ["r1", id, "r3"])), &ALL).await;
    }
    let numbers = whole("message_id", [Some(1), Some(-2), Some(30)]);
    assert_kept("numbers as ids", &with(numbers), &["-2", "1", "30"]).await;
    assert_kept("a missing number", &with(whole("message_id", [Some(1), None, Some(30)])), &["1", "30"]).await;
    assert_kept("a recipient's number", &with(whole("recipient_id", [Some(1), None, Some(3)])), &NOT_THE_SECOND).await;
}

#[tokio::test]
async fn words_and_texts_are_the_same() {
    let channels = |second: &'static str| with(text("channel", ["sms", second, "email"]));
    for channel in [NOTHING, " ", "pigeon", "NULL"] {
        assert_kept(&format!("channel {channel:?}"), &channels(channel), &NOT_THE_SECOND).await;
    }
    for channel in ["SMS", " sms ", "text", "短信"] {
        let rows = rows_everywhere(channel, Log::Sends, &channels(channel)).await;
        assert!(rows[1].starts_with("m2|spring|∅|∅|r2|sms|"), "{}", rows[1]);
    }
    // A campaign may be called NULL, but it must be called something.
    assert_kept("a campaign's word", &with(text("campaign_id", ["a", "NULL", "b"])), &ALL).await;
    assert_kept("a blank campaign", &with(text("campaign_id", ["a", " ", "b"])), &NOT_THE_SECOND).await;
    // Blank texts are nothing, and the row stays.
    let variants = with(text("variant", ["", " \t ", "\u{3000}"]));
    let rows = rows_everywhere("blank variants", Log::Sends, &variants).await;
    assert!(rows.len() == 3 && rows[2].starts_with("m3|春节, \"sale\"|∅|"), "{rows:?}");
    let shops = with(text("shop", ["", "\u{2003} ", "NULL"]));
    let rows = rows_everywhere("blank attributes", Log::Sends, &shops).await;
    assert!(rows[0].ends_with("|∅") && rows[1].ends_with("|∅") && rows[2].ends_with("|NULL"), "{rows:?}");
}

#[tokio::test]
async fn moments_and_numbers_are_the_same() {
    let at = |second: &'static str| ["2026-03-02T10:00:00Z", second, "2026-03-03T00:00:00Z"];
    // The clock of the tests is the first of November; a day ahead of it is the latest moment.
    for moment in [NOTHING, "1999-12-31T23:59:59.999999Z", "2026-11-02T00:00:00.000001Z"] {
        assert_kept(moment, &with(micros("sent_at", at(moment))), &NOT_THE_SECOND).await;
    }
    for moment in ["2000-01-01T00:00:00Z", "2026-11-02T00:00:00Z"] {
        assert_kept(moment, &with(micros("sent_at", at(moment))), &ALL).await;
    }
    let in_millis = |second: &'static str| Column { name: "sent_at", cells: Cells::Millis(filled(at(second))) };
    assert_kept("milliseconds", &with(in_millis("2026-03-02T10:00:00.123Z")), &ALL).await;
    assert_kept("milliseconds of 1999", &with(in_millis("1999-12-31T23:59:59.999Z")), &NOT_THE_SECOND).await;
    let civil = Column { name: "sent_at", cells: Cells::Civil(filled(at("2026-03-02T10:00:00.123456Z"))) };
    assert_kept("without a zone", &with(civil), &ALL).await;
    // What is scheduled may lie far ahead, and may be missing.
    let ahead = micros("scheduled_at", ["2027-03-02T10:00:00Z", NOTHING, "2026-03-02T10:00:00Z"]);
    assert_kept("scheduled far ahead", &with(ahead), &ALL).await;
    let behind = micros("scheduled_at", [NOTHING, "1999-03-02T10:00:00Z", NOTHING]);
    assert_kept("scheduled long ago", &with(behind), &NOT_THE_SECOND).await;

    assert_kept("a negative cost", &with(number("cost", [Some(0.5), Some(-0.01), None])), &NOT_THE_SECOND).await;
    assert_kept("costs of nothing", &with(number("cost", [Some(0.0), None, Some(123_456.75)])), &ALL).await;
    assert_kept("negative parts", &with(whole("parts", [Some(1), Some(-1), None])), &NOT_THE_SECOND).await;
    // An alias of `send_propensity`.
    let propensity = |second: Option<f64>| with(number("propensity", [Some(0.5), second, Some(1.0)]));
    assert_kept("propensities", &propensity(None), &ALL).await;
    assert_kept("a negative propensity", &propensity(Some(-0.5)), &NOT_THE_SECOND).await;
}

#[tokio::test]
async fn columns_of_any_name_and_type_are_the_same() {
    assert_kept("an attribute of floats", &with(number("score", [Some(1.5), None, Some(0.25)])), &ALL).await;
    assert_kept("an attribute of whole numbers", &with(whole("score", [Some(15), None, Some(-7)])), &ALL).await;
    assert_kept("a name with a blank", &with(text("Shop Name", ["north", NOTHING, "south"])), &ALL).await;
    assert_kept("a name that is taken", &with(text("source_file", ["a", NOTHING, "b"])), &ALL).await;
    let mut capitals = sends();
    capitals[0].name = "Message_ID";
    assert_kept("capital letters", &capitals, &ALL).await;
    let mut least = sends();
    least.retain(|column| ["message_id", "recipient_id", "sent_at"].contains(&column.name));
    assert_kept("the least columns", &least, &ALL).await;
}

#[tokio::test]
async fn the_other_logs_are_the_same() {
    let times = ["2026-03-02T10:00:00Z", "2026-03-02T10:00:01Z", "2026-03-02T10:00:02Z"];
    let deliveries = |second: &'static str| {
        vec![
            text("message_id", ["m1", "m2", "m3"]),
            whole("part_no", [Some(1), None, Some(2)]),
            text("status", ["delivered", second, "failed"]),
            micros("status_at", times),
            text("error_code", [NOTHING, " ", "30003"]),
            number("price", [Some(0.004), None, Some(0.0035)]),
        ]
    };
    assert_eq!(rows_everywhere("deliveries", Log::Deliveries, &deliveries("sent")).await.len(), 3);
    assert_eq!(rows_everywhere("short words", Log::Deliveries, &deliveries("DELIVRD")).await.len(), 3);
    assert_eq!(rows_everywhere("no status", Log::Deliveries, &deliveries("gone")).await.len(), 2);
    let clicks = |second: &'static str| {
        vec![
            text("click_id", ["k1", NOTHING, "k3"]),
            text("message_id", ["m1", "m2", NOTHING]),
            text("link", ["l1", second, "l1"]),
            micros("clicked_at", times),
            number("bot_score", [Some(0.5), None, Some(0.1)]),
        ]
    };
    assert_eq!(rows_everywhere("clicks", Log::Clicks, &clicks("l2")).await.len(), 3);
    assert_eq!(rows_everywhere("no link", Log::Clicks, &clicks(NOTHING)).await.len(), 2);
    let contacts = |third: &'static str| {
        vec![
            text("recipient_id", ["r1", "r2", third]),
            text("time_zone", ["Asia/Shanghai", NOTHING, "UTC"]),
            whole("age", [Some(31), None, Some(64)]),
            micros("updated_at", [times[0], NOTHING, times[2]]),
        ]
    };
    assert_eq!(rows_everywhere("recipients", Log::Recipients, &contacts("r3")).await.len(), 3);
    assert_eq!(rows_everywhere("a raw number", Log::Recipients, &contacts("+14155550123")).await.len(), 2);
    // A conversion needs one of two columns, which the validator sees to.
    let conversions = [
        text("conversion_id", ["o1", "o2", "o3"]),
        text("recipient_id", ["r1", NOTHING, NOTHING]),
        text("message_id", [NOTHING, "m2", NOTHING]),
        micros("occurred_at", times),
        number("value", [Some(9.5), Some(1.25), None]),
    ];
    assert_eq!(rows_everywhere("conversions", Log::Conversions, &conversions).await.len(), 2);
    let opt_outs = [
        text("opt_out_id", ["x1", NOTHING, "x3"]),
        text("recipient_id", ["r1", "r2", "r3"]),
        text("channel", ["sms", "email", "sms"]),
        micros("requested_at", times),
    ];
    assert_eq!(rows_everywhere("opt-outs", Log::OptOuts, &opt_outs).await.len(), 3);
}

#[tokio::test]
async fn files_with_different_attributes_are_one_log() {
    let second = vec![
        text("message_id", ["m4", "m5"]),
        text("recipient_id", ["r1", "r2"]),
        micros("sent_at", ["2026-03-04T00:00:00Z", "2026-03-04T00:00:01Z"]),
        text("tier", ["gold", NOTHING]),
        whole("shop", [Some(7), None]),
    ];
    // The last file goes through the validator: an attribute of floats, and a row that is rejected.
    let third = vec![
        text("message_id", ["m6", NOTHING]),
        text("recipient_id", ["r1", "r2"]),
        micros("sent_at", ["2026-03-05T00:00:00Z", "2026-03-05T00:00:01Z"]),
        number("score", [Some(0.5), Some(1.5)]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (mut csv, mut parquet) = (Vec::new(), Vec::new());
    for (name, table) in [("a", sends()), ("b", second), ("c", third)] {
        let [as_csv, as_parquet] = ["csv", "parquet"].map(|format| folder.path().join(format!("{name}.{format}")));
        write_csv(&as_csv, &table);
        write_parquet(&as_parquet, &table, WriterProperties::default());
        csv.push(as_csv);
        parquet.push(as_parquet);
    }
    let mixed = vec![parquet[0].clone(), csv[1].clone(), parquet[2].clone()];
    let session = session_of_files(&[files(Log::Sends, &csv)]).await;
    let query = all_columns(&session, Log::Sends).await;
    assert!(query.contains("\"shop\", \"tier\", \"score\" FROM"), "{query}");
    let expected = rows_of(&session, &query).await;
    assert_eq!(expected.len(), 6);
    assert!(expected[3].ends_with("|7|gold|∅") && expected[5].ends_with("|∅|∅|0.5"), "{expected:?}");
    for paths in [parquet, mixed] {
        let session = session_of_files(&[files(Log::Sends, &paths)]).await;
        assert_eq!(all_columns(&session, Log::Sends).await, query);
        assert_eq!(rows_of(&session, &query).await, expected, "{paths:?}");
        assert_eq!(rows_of(&session, "SELECT count(*), count(DISTINCT source_file) FROM sends").await, ["6|3"]);
    }
}

#[tokio::test]
async fn an_empty_file_is_a_log_without_rows() {
    let folder = tempfile::tempdir().unwrap();
    let [parquet, csv, clicks, full] =
        ["empty.parquet", "empty.csv", "clicks.csv", "full.parquet"].map(|name| folder.path().join(name));
    let none = [
        text("message_id", []),
        text("recipient_id", []),
        text("channel", []),
        micros("sent_at", []),
        number("cost", []),
        text("shop", []),
    ];
    write_parquet(&parquet, &none, WriterProperties::default());
    write_csv(&csv, &none);
    write_csv(&clicks, &[text("message_id", []), micros("clicked_at", [])]);
    write_parquet(&full, &sends(), WriterProperties::default());
    for empty in [parquet, csv] {
        let name = empty.display().to_string();
        let session = session_of_files(&[file_input(Log::Sends, &empty)]).await;
        assert!(rows_of(&session, "SELECT message_id, sent_at, cost FROM sends").await.is_empty(), "{name}");
        assert_eq!(rows_of(&session, "SELECT count(*) FROM sends").await, ["0"], "{name}");
        assert!(rows_of(&session, "SELECT * FROM message_facts").await.is_empty(), "{name}");
        // Beside a file with rows, and with another log that has none.
        let logs = [files(Log::Sends, &[empty, full.clone()]), file_input(Log::Clicks, &clicks)];
        let session = session_of_files(&logs).await;
        assert_eq!(
            rows_of(&session, "SELECT message_id, shop, clicks FROM message_facts ORDER BY message_id").await,
            ["m1|north|0", "m2|∅|0", "m3|south|0"],
            "{name}"
        );
    }
}

#[tokio::test]
async fn of_two_rows_with_one_id_the_later_counts() {
    let mut twice = sends();
    twice[0] = text("message_id", ["m1", "m2", "m1"]);
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("rows.csv");
    write_csv(&csv, &twice);
    let mut paths = vec![csv];
    for (way, properties) in ways() {
        let path = folder.path().join(format!("{way}.parquet"));
        write_parquet(&path, &twice, properties);
        paths.push(path);
    }
    const FACTS: &str = "SELECT message_id, variant, channel, sent_date FROM message_facts ORDER BY message_id";
    for path in &paths {
        let session = session_of_files(&[file_input(Log::Sends, path)]).await;
        let name = path.display();
        assert_eq!(rows_of(&session, FACTS).await, ["m1|B|email|2026-03-03", "m2|∅|sms|2026-03-02"], "{name}");
        assert_eq!(rows_of(&session, "SELECT count(*) FROM sends").await, ["3"], "{name}");
    }
    // Of two files received at once the one that was named last is the later.
    let (earlier, later) = (folder.path().join("b.parquet"), folder.path().join("a.parquet"));
    write_parquet(&earlier, &sends(), WriterProperties::default());
    write_parquet(&later, &with(text("variant", ["C", "C", NOTHING])), WriterProperties::default());
    let session = session_of_files(&[files(Log::Sends, &[earlier, later])]).await;
    assert_eq!(
        rows_of(&session, "SELECT message_id, variant FROM message_facts ORDER BY message_id").await,
        ["m1|C", "m2|C", "m3|∅"]
    );
}

#[tokio::test]
async fn rows_know_their_place_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for (way, properties) in ways() {
        let path = folder.path().join(format!("{way}.parquet"));
        write_parquet(&path, &sends(), properties);
        let session = session_of_files(&[file_input(Log::Sends, &path)]).await;
        let name = path.display();
        assert_eq!(
            rows_of(&session, "SELECT message_id, source_row, source_file, ingested_at FROM sends ORDER BY 1").await,
            ["m1|1", "m2|2", "m3|3"].map(|row| format!("{row}|{name}|2026-11-01T00:00:00Z")),
            "{way}"
        );
        assert_eq!(rows_of(&session, "SELECT count(*) FROM sends").await, ["3"], "{way}");
    }
}
