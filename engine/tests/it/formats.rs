//! One log in every format and compression is one log.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use sendlift_engine::event::Log;
use sendlift_engine::facts::refresh;
use sendlift_engine::ingest::input::Input;
use sendlift_engine::ingest::load::{LogInput, ingest};

use sendlift_engine::settings::Settings;

use crate::support::{TestStore, file_input, options};

const ROWS: [(&str, &str, &str); 3] = [("m1", "r1", "春节"), ("m2", "r2", "spring"), ("m3", "r3", "a, \"b\"")];

fn batch() -> RecordBatch {
    let column = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let times = TimestampMillisecondArray::from(vec![1_772_445_600_000_i64; 3]).with_timezone("+08:00");
    RecordBatch::try_from_iter([
        ("message_id", column(ROWS.map(|row| row.0).to_vec())),
        ("recipient_id", column(ROWS.map(|row| row.1).to_vec())),
        ("sent_at", Arc::new(times) as ArrayRef),
        ("campaign_id", column(ROWS.map(|row| row.2).to_vec())),
    ])
    .unwrap()
}

fn separated(delimiter: char) -> Vec<u8> {
    let mut text = format!("message_id{delimiter}recipient_id{delimiter}sent_at{delimiter}campaign_id\n");
    for (message, recipient, campaign) in ROWS {
        let campaign = campaign.replace('"', "\"\"");
        text.push_str(&format!(
            "{message}{delimiter}{recipient}{delimiter}2026-03-02T10:00:00Z{delimiter}\"{campaign}\"\n"
        ));
    }
    text.into_bytes()
}

fn objects() -> Vec<String> {
    let object = |(message, recipient, campaign): (&str, &str, &str)| {
        serde_json::json!({"message_id": message, "recipient_id": recipient, "sent_at": "2026-03-02T18:00:00+08:00", "campaign_id": campaign}).to_string()
    };
    ROWS.map(object).to_vec()
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut parquet = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut parquet, batch().schema(), None).unwrap();
    writer.write(&batch()).unwrap();
    writer.close().unwrap();
    let mut file = Vec::new();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut file, &batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let mut stream = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut stream, &batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let mut files = vec![
        ("sends.csv".to_owned(), separated(',')),
        ("sends.tsv".to_owned(), separated('\t')),
        ("semicolons.csv".to_owned(), separated(';')),
        ("bars.txt".to_owned(), separated('|')),
        ("sends.ndjson".to_owned(), objects().join("\n").into_bytes()),
        ("sends.json".to_owned(), format!("[{}]", objects().join(",\n")).into_bytes()),
        ("sends.parquet".to_owned(), parquet),
        ("sends.arrow".to_owned(), file),
        ("sends.arrows".to_owned(), stream),
    ];
    for position in [0, 4, 6, 7, 8] {
        let (name, bytes) = files[position].clone();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&bytes).unwrap();
        files.push((format!("{name}.gz"), gzip.finish().unwrap()));
        files.push((format!("{name}.zst"), zstd::encode_all(&bytes[..], 1).unwrap()));
    }
    files
}

#[tokio::test]
async fn every_format_gives_the_same_rows() {
    for (name, bytes) in files() {
        let store = TestStore::new();
        let path: PathBuf = store.folder.path().join(&name);
        std::fs::write(&path, bytes).unwrap();
        let outcomes = store.ingest_files(&[(Log::Sends, &path)]).await;
        assert_eq!((outcomes[0].accepted, outcomes[0].rejected), (3, 0), "{name}: {outcomes:?}");
        let rows =
            store.rows("SELECT message_id, recipient_id, sent_at, campaign_id FROM sends ORDER BY message_id").await;
        assert_eq!(
            rows,
            [
                "m1|r1|2026-03-02T10:00:00Z|春节",
                "m2|r2|2026-03-02T10:00:00Z|spring",
                "m3|r3|2026-03-02T10:00:00Z|a, \"b\""
            ],
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_folder_and_a_glob_are_all_their_files() {
    let store = TestStore::new();
    let folder = store.folder.path().join("days");
    std::fs::create_dir(&folder).unwrap();
    for day in 1..4 {
        let text = format!("message_id,recipient_id,sent_at\nm{day},r1,2026-03-0{day}\n");
        std::fs::write(folder.join(format!("day{day}.csv")), text).unwrap();
    }
    std::fs::write(folder.join(".hidden.csv"), "message_id,recipient_id,sent_at\nm9,r1,2026-03-09\n").unwrap();
    store.ingest_files(&[(Log::Sends, &folder)]).await;
    assert_eq!(store.rows("SELECT count(*), count(DISTINCT source_file) FROM sends").await, ["3|3"]);
    let glob = folder.join("day*.csv");
    let again = store.ingest_files(&[(Log::Sends, &glob)]).await;
    assert_eq!(again[0].already_ingested.len(), 3);
}

#[tokio::test]
async fn a_damaged_file_is_named_and_stops_the_call() {
    let store = TestStore::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&separated(',').repeat(1000)).unwrap();
    let mut cut = gzip.finish().unwrap();
    cut.truncate(cut.len() / 2);
    for (name, bytes) in
        [("cut.csv.gz", cut), ("cut.parquet", b"PAR1 and no end".to_vec()), ("utf16.csv", b"\xff\xfea\0,\0".to_vec())]
    {
        let path = store.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let input: LogInput = file_input(Log::Sends, &path);
        let message = ingest(&store.store, &[input], &options(), &|_| ()).await.unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(store.rows("SELECT count(*) FROM sends").await, ["0"]);
}

#[tokio::test]
async fn ids_that_a_tool_kept_as_doubles_are_those_of_the_other_logs_and_days_stay_days() {
    let parquet = |name: &str, columns: Vec<(&str, ArrayRef)>| -> Input {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        Input::memory(name, bytes.into())
    };
    let ids = Arc::new(Float64Array::from(vec![Some(7.0), None, Some(9.0)])) as ArrayRef;
    let texts = |values: [&str; 3]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let amounts = Arc::new(Float64Array::from(vec![Some(12.5), Some(1e15), None])) as ArrayRef;
    let conversions = parquet(
        "conversions.parquet",
        vec![
            ("conversion_id", texts(["c1", "c2", "c3"])),
            ("message_id", ids),
            ("occurred_at", texts(["2026-03-02T12:00:00Z"; 3])),
            ("value", amounts),
        ],
    );
    let days = Arc::new(Date32Array::from(vec![Some(7_425), None, Some(0)])) as ArrayRef;
    let contacts = parquet("recipients.parquet", vec![("recipient_id", texts(["r1", "r2", "r3"])), ("joined", days)]);
    let sends = "message_id,recipient_id,sent_at\n7,r1,2026-03-02T10:00:00Z\n9,r2,2026-03-02T10:00:00Z\n";
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, sends)]).await;
    let log = |log, input| LogInput { log, inputs: vec![input], idempotency_key: None };
    let mut options = options();
    options.max_rejected = 0.5;
    options.validator.time_zone = jiff::tz::TimeZone::get("Asia/Shanghai").ok();
    let inputs = [log(Log::Conversions, conversions), log(Log::Recipients, contacts)];
    let outcomes = ingest(&store.store, &inputs, &options, &|_| ()).await.unwrap();
    // An amount that no store holds is one bad row.
    assert_eq!((outcomes[0].accepted, outcomes[0].rejected), (2, 1));
    refresh(&store.store, &Settings::default()).await.unwrap();
    assert_eq!(
        store.rows("SELECT message_id, conversions FROM message_facts ORDER BY message_id").await,
        ["7|1", "9|1"]
    );
    assert_eq!(
        store.rows("SELECT recipient_id, joined FROM recipients ORDER BY recipient_id").await,
        ["r1|1990-05-01", "r2|∅", "r3|1970-01-01"]
    );
}

#[tokio::test]
async fn of_the_files_of_one_call_the_later_named_was_received_later() {
    let file = |name: &str, cost: &str| {
        let text = format!("message_id,recipient_id,sent_at,cost,currency\n1,r1,2026-03-02T10:00:00Z,{cost},EUR\n");
        Input::memory(name, text.into_bytes().into())
    };
    let store = TestStore::new();
    let inputs = vec![file("day-9.csv", "1"), file("day-10.csv", "2")];
    let sends = [LogInput { log: Log::Sends, inputs, idempotency_key: None }];
    ingest(&store.store, &sends, &options(), &|_| ()).await.unwrap();
    refresh(&store.store, &Settings::default()).await.unwrap();
    assert_eq!(store.rows("SELECT arrow_cast(cost, 'Float64') FROM message_facts").await, ["2.0"]);
}

#[tokio::test]
async fn parquet_numbers_and_bytes_are_what_they_are() {
    let store = TestStore::new();
    let ids: Vec<[u8; 16]> = (0..3).map(|row| [row; 16]).collect();
    let text = |values: [&str; 3]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("message_id", Arc::new(arrow::array::FixedSizeBinaryArray::try_from_iter(ids.iter()).unwrap()) as ArrayRef),
        ("recipient_id", text(["r1", "r2", "r3"])),
        ("sent_at", text(["2026-03-02T10:00:00Z"; 3])),
        ("cost", Arc::new(Float64Array::from(vec![0.01, f64::NAN, 0.02])) as ArrayRef),
        ("parts", Arc::new(Float64Array::from(vec![1.0, 2.0, 1.5])) as ArrayRef),
        ("clock", Arc::new(arrow::array::UInt64Array::from(vec![1, 2, u64::MAX])) as ArrayRef),
    ])
    .unwrap();
    let path = store.folder.path().join("sends.parquet");
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut options = options();
    options.max_rejected = 1.0;
    ingest(&store.store, &[file_input(Log::Sends, &path)], &options, &|_| ()).await.unwrap();
    assert_eq!(
        store.rows("SELECT message_id, cost, parts, clock FROM sends ORDER BY 1").await,
        ["00000000-0000-0000-0000-000000000000|0.010000|1|1", "01010101-0101-0101-0101-010101010101|∅|2|2"]
    );
    let reasons = store.rows("SELECT reason FROM quarantine").await;
    assert_eq!(reasons, ["parts \"1.5\" is not a whole number"]);
}

#[tokio::test]
async fn spaces_around_a_cell_are_no_part_of_it_save_between_quotes() {
    let store = TestStore::new();
    let sends = "message_id, recipient_id, campaign_id, sent_at, parts, text, note\n\
        m1, r1, spring sale, 2026-03-02T10:00:00Z, 2, Hello ,春节\n\
        m2 ,r1,\"a \"\", b\", 2026-03-02T10:00:00Z , 2,\" Hello \", 春节 \n";
    store.ingest(&[(Log::Sends, sends)]).await;
    let rows =
        store.rows("SELECT message_id, recipient_id, campaign_id, parts, text, note FROM sends ORDER BY 1").await;
    assert_eq!(rows, ["m1|r1|spring sale|2|Hello|春节", "m2|r1|a \", b|2| Hello |春节"]);
}
