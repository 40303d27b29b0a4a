//! A phone number or an address never reaches the store, the quarantine or an error message.

use sendlift_engine::event::Log;
use sendlift_engine::ingest::identity::IdentityHasher;
use sendlift_engine::ingest::load::IngestOptions;
use sendlift_engine::ingest::mapping::Mapping;

use crate::support::{TestStore, options};

const NUMBERS: &str = "message_id,Phone Number,sent_at,note\n\
    m1,+1 415 555 2671,2026-03-02T10:00:00Z,fine\n\
    m2,(415) 555-2672,2026-03-02T10:00:00Z,fine\n\
    m3,+1 415 555 2673,+14155552674,shifted\n\
    m4,+14155552675,2026-03-02T10:00:00Z,too,many\n\
    m5,4155,2026-03-02T10:00:00Z,no number\n";
const ADDRESSES: &str = "conversion_id,email,occurred_at\no1, Ana.Li@Example.com ,2026-03-02T10:00:00Z\no2,ana.li@example.com,2026-03-02T11:00:00Z\n";

fn with_key() -> IngestOptions {
    let mut options = options();
    options.validator.hasher = Some(IdentityHasher::new(b"a key of more than sixteen bytes", Some("US")).unwrap());
    options.max_rejected = 1.0;
    options
}

fn bytes_below(folder: &std::path::Path, found: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_below(&path, found);
        } else {
            found.extend(std::fs::read(path).unwrap());
        }
    }
}

#[tokio::test]
async fn without_a_key_addresses_are_refused() {
    let store = TestStore::new();
    for (log, text) in [(Log::Sends, NUMBERS), (Log::Conversions, ADDRESSES)] {
        let message = store.try_ingest(&[(log, text)], &options()).await.unwrap_err().to_string();
        assert!(
            message.contains("SENDLIFT_HASH_KEY") && !message.contains("415") && !message.contains('@'),
            "{message}"
        );
    }
}

#[tokio::test]
async fn numbers_are_stored_as_keyed_hashes_alone() {
    let store = TestStore::new();
    let outcomes =
        store.try_ingest(&[(Log::Sends, NUMBERS), (Log::Conversions, ADDRESSES)], &with_key()).await.unwrap();
    assert_eq!((outcomes[0].accepted, outcomes[0].rejected), (2, 3));
    // HMAC-SHA-256 of "+14155552671", seen with Python's hmac module.
    let expected = "05e3bbe94364b86f1dc233a164fcc816323956f656cdd20e7b6058a443d89e55";
    let ids = store.rows("SELECT recipient_id FROM sends ORDER BY message_id").await;
    assert_eq!(ids[0], expected);
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    // One address in two spellings is one recipient.
    assert_eq!(store.rows("SELECT count(DISTINCT recipient_id), count(*) FROM conversions").await, ["1|2"]);
    let quarantine = store.rows("SELECT source_row, reason, raw FROM quarantine ORDER BY source_row").await;
    assert_eq!(quarantine.len(), 3, "{quarantine:?}");
    let shown = format!("{quarantine:?} {:?}", outcomes[0].examples);
    let mut stored = Vec::new();
    bytes_below(&store.path(), &mut stored);
    let stored = String::from_utf8_lossy(&stored).into_owned();
    for leak in ["555 26", "555-26", "55526", "4155552", "Ana", "example.com"] {
        assert!(!shown.contains(leak), "{leak} in {shown}");
        assert!(!stored.contains(leak), "{leak} is in the store");
    }
    // What is compressed could hide a number from that search: every text column of every table is looked through.
    for (table, columns) in [("sends", "message_id, recipient_id, note"), ("quarantine", "raw, reason")] {
        let rows = store.rows(&format!("SELECT {columns} FROM {table}")).await.join("\n");
        assert!(!rows.contains("555"), "{rows}");
    }
}

#[tokio::test]
async fn a_raw_number_as_recipient_is_set_aside() {
    let store = TestStore::new();
    let text =
        "message_id,recipient_id,sent_at\nm1,+14155552671,2026-03-02\nm2,a@b.example,2026-03-02\nm3,r3,2026-03-02\n";
    let mut lenient = options();
    lenient.max_rejected = 1.0;
    let outcomes = store.try_ingest(&[(Log::Sends, text)], &lenient).await.unwrap();
    assert_eq!((outcomes[0].accepted, outcomes[0].rejected), (1, 2));
    assert!(outcomes[0].examples[0].reason.contains("map that column"));
}

#[tokio::test]
async fn a_mapping_puts_no_address_into_the_place_of_an_id() {
    let mapping = "[sends.columns]\nrecipient_id = \"Phone.Number\"\nmessage_id = \"id\"\nsent_at = \"at\"\n";
    let sends = "id,Phone.Number,at,customerEmail,mobileNumber,phone1\n\
                 m1,4155552671,2026-03-02T10:00:00Z,ana.li@example.com,4155552672,4155552673\n";
    let mut unkeyed = options();
    unkeyed.validator.mapping = Mapping::parse(mapping, "mapping.toml").unwrap();
    let store = TestStore::new();
    let message = store.try_ingest(&[(Log::Sends, sends)], &unkeyed).await.unwrap_err().to_string();
    assert!(message.contains("SENDLIFT_HASH_KEY"), "{message}");
    let mut keyed = with_key();
    keyed.validator.mapping = unkeyed.validator.mapping;
    store.try_ingest(&[(Log::Sends, sends)], &keyed).await.unwrap();
    let rows = store.rows("SELECT * FROM sends").await.join("\n");
    assert!(!rows.contains("415555") && !rows.contains("example.com"), "{rows}");
    // HMAC-SHA-256 of "+14155552671", seen with Python's hmac module.
    assert!(rows.contains("05e3bbe94364b86f1dc233a164fcc816323956f656cdd20e7b6058a443d89e55"), "{rows}");
}

#[tokio::test]
async fn a_second_address_is_kept_as_a_hash_too() {
    let store = TestStore::new();
    let sends = "message_id,phone,email,sent_at\nm1,4155552671,ana.li@example.com,2026-03-02T10:00:00Z\n\
                 m2,,ana.li@example.com,2026-03-02T10:00:00Z\n";
    store.try_ingest(&[(Log::Sends, sends)], &with_key()).await.unwrap();
    let rows = store.rows("SELECT recipient_id = email_hash, length(email_hash) FROM sends ORDER BY message_id").await;
    assert_eq!(rows, ["false|64", "true|64"]);
}

#[tokio::test]
async fn addresses_within_structures_and_ids_of_bytes_stay_what_they_are() {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
    use arrow::datatypes::{DataType, Field};

    let text = |value: &str| Arc::new(StringArray::from(vec![value, value])) as ArrayRef;
    let contact = StructArray::from(vec![
        (Arc::new(Field::new("phone", DataType::Utf8, true)), text("+14155552671")),
        (Arc::new(Field::new("city", DataType::Utf8, true)), text("Köln")),
    ]);
    let ids = BinaryArray::from(vec![&b"\xff"[..], &b"\xfe"[..]]);
    let batch = RecordBatch::try_from_iter([
        ("message_id", Arc::new(ids) as ArrayRef),
        ("recipient_id", text("r1")),
        ("sent_at", text("2026-03-02T10:00:00Z")),
        ("contact", Arc::new(contact) as ArrayRef),
    ])
    .unwrap();
    let store = TestStore::new();
    let path = store.folder.path().join("sends.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let input = crate::support::file_input(Log::Sends, &path);
    sendlift_engine::ingest::load::ingest(&store.store, &[input], &with_key(), &|_| ()).await.unwrap();
    let rows = store.rows("SELECT message_id, contact_phone_hash, contact_city FROM sends ORDER BY message_id").await;
    let hash = "05e3bbe94364b86f1dc233a164fcc816323956f656cdd20e7b6058a443d89e55";
    assert_eq!(rows, [format!("fe|{hash}|Köln"), format!("ff|{hash}|Köln")]);
}

/// What a mapping has hashed or dropped is not kept in a rejected row either, however it is written there.
#[tokio::test]
async fn what_is_hashed_or_dropped_is_not_kept_of_rejected_rows() {
    let mapping = "[sends]\ndrop = [\"passport\"]\nhash = [\"Full_Name\"]\ncolumns = { phone = \"mobile\" }\n";
    let mut options = with_key();
    options.validator.mapping = Mapping::parse(mapping, "mapping.toml").unwrap();
    let csv = "message_id,mobile,sent_at,campaign_id,passport,full_name\n\
        m1,+14155552671,2026-03-02,c,KX,Jane Doe\n\
        m2,+14155552671,\"soon\",c,KX,Jane Doe\n\
        m3,+14155552671,02/03/2026 10:00,c,KX,\"Doe, \"\"Jane\"\"\"\n\
        m4,+14155552671,2026-03-02,c,KX,Jane Doe,more\n\
        m5,+14155552671,Jane Doe,c,KX,Jane Doe\n";
    let json = "{\"message_id\":\"n1\",\"mobile\":\"+14155552671\",\"sent_at\":\"soon\",\"full_name\":\"\\u5f20\\u4e09 Jane\"}\n";
    let store = TestStore::new();
    store.try_ingest(&[(Log::Sends, csv)], &options).await.unwrap();
    store.try_ingest(&[(Log::Sends, json)], &options).await.unwrap();
    let shown = store.rows("SELECT reason, raw FROM quarantine ORDER BY raw = '[hidden]', source_row").await;
    assert_eq!(shown.len(), 5, "{shown:?}");
    let all = shown.join("\n");
    for leak in ["Jane", "Doe", "KX", "5f20", "555"] {
        assert!(!all.contains(leak), "{leak} in {all}");
    }
    assert_eq!(
        shown[0],
        "sent_at \"soon\" is not a time such as 2026-03-02T10:15:30Z (name other formats in a mapping, as time_formats)\
         |m2,[hidden],\"soon\",c,[hidden],[hidden]"
    );
    assert!(shown[1].contains("m3,[hidden],02/03/2026 10:00,c,[hidden],"), "{}", shown[1]);
}
