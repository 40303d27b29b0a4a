//! Vendors' formats: a preset reads a vendor's file into canonical logs, and the next vendor is a file.

use sendlift_engine::event::Log;
use sendlift_engine::ingest::identity::IdentityHasher;
use sendlift_engine::ingest::load::IngestOptions;
use sendlift_engine::ingest::mapping::Mapping;

use crate::support::{TestStore, options};

/// The columns of Twilio's Message resource, with values as its documentation writes them.
const TWILIO: &str = "sid,messaging_service_sid,from,to,body,direction,status,num_segments,price,price_unit,error_code,date_created,date_sent,date_updated\n\
    SM1,MG1,+15017122661,+14155552671,\"Hi, 50 % off\",outbound-api,delivered,1,-0.00750,USD,,\"Mon, 02 Mar 2026 10:00:00 +0000\",\"Mon, 02 Mar 2026 10:00:01 +0000\",\"Mon, 02 Mar 2026 10:00:05 +0000\"\n\
    SM2,MG1,+15017122661,+14155552672,Hi,outbound-api,undelivered,0,,,30003,\"Mon, 02 Mar 2026 10:00:00 +0000\",null,\"Mon, 02 Mar 2026 10:01:00 +0000\"\n\
    SM3,,+14155552671,+15017122661,STOP,inbound,received,1,-0.00750,USD,,\"Mon, 02 Mar 2026 11:00:00 +0000\",\"Mon, 02 Mar 2026 11:00:00 +0000\",\"Mon, 02 Mar 2026 11:00:00 +0000\"\n";
const CALLBACKS: &str = "{\"MessageSid\":\"SM2\",\"MessageStatus\":\"delivered\",\"ErrorCode\":null,\"From\":\"+15017122661\",\"To\":\"+14155552672\",\"RawDlrDoneDate\":\"2603021002\"}\n";

fn with(preset: &str) -> IngestOptions {
    let mut options = options();
    options.validator.mapping = Mapping::preset(preset).unwrap();
    options.validator.hasher = Some(IdentityHasher::new(b"a key of more than sixteen bytes", None).unwrap());
    options
}

#[tokio::test]
async fn twilio_exports_and_callbacks() {
    let store = TestStore::new();
    let outcomes = store
        .try_ingest(&[(Log::Sends, TWILIO), (Log::Deliveries, TWILIO), (Log::Replies, TWILIO)], &with("twilio"))
        .await
        .unwrap();
    let counts: Vec<(u64, u64, u64)> = outcomes.iter().map(|log| (log.accepted, log.rejected, log.left_out)).collect();
    assert_eq!(counts, [(2, 0, 1), (2, 0, 1), (1, 0, 2)], "{outcomes:?}");
    store.try_ingest(&[(Log::Deliveries, CALLBACKS)], &with("twilio")).await.unwrap();
    assert_eq!(
        store.rows("SELECT message_id, campaign_id, channel, sent_at, status, cost, parts, opt_outs FROM message_facts ORDER BY message_id").await,
        [
            // The recipient answered STOP an hour later: an opt-out, though Twilio's export gives the reply no class.
            "SM1|MG1|sms|2026-03-02T10:00:01Z|delivered|0.007500|1|1",
            // Never sent by its own account, but the callback that came later says delivered.
            "SM2|MG1|sms|2026-03-02T10:00:00Z|delivered|∅|0|0",
        ]
    );
    assert_eq!(store.rows("SELECT raw_status, raw_time, source_preset, error_code FROM deliveries WHERE message_id = 'SM2' AND error_code IS NOT NULL").await, [
        "undelivered|Mon, 02 Mar 2026 10:01:00 +0000|twilio|30003"
    ]);
    let texts =
        store.rows("SELECT * FROM sends").await.join(" ") + &store.rows("SELECT * FROM replies").await.join(" ");
    assert!(!texts.contains("415555") && !texts.contains("501712"), "{texts}");
}

/// A callback says when of what the carrier reported alone: of a failed message it says no time.
#[tokio::test]
async fn callbacks_without_a_time_count_beside_those_with_one() {
    let store = TestStore::new();
    store.try_ingest(&[(Log::Sends, TWILIO)], &with("twilio")).await.unwrap();
    let callbacks = "{\"MessageSid\":\"SM1\",\"MessageStatus\":\"delivered\",\"RawDlrDoneDate\":\"2603021002\"}\n\
                     {\"MessageSid\":\"SM2\",\"MessageStatus\":\"undelivered\",\"ErrorCode\":\"30003\"}\n";
    let outcomes = store.try_ingest(&[(Log::Deliveries, callbacks)], &with("twilio")).await.unwrap();
    assert_eq!((outcomes[0].accepted, outcomes[0].rejected), (2, 0), "{outcomes:?}");
    let facts = store.rows("SELECT message_id, status, error_code FROM message_facts ORDER BY message_id").await;
    assert_eq!(facts, ["SM1|delivered|∅", "SM2|undelivered|30003"]);
    // Without a mapping that says so, a row without its time is a fault.
    let plain = "message_id,status,at\nSM1,delivered,2026-03-02T10:00:00Z\nSM2,failed,\n";
    let mut lenient = options();
    lenient.max_rejected = 1.0;
    let outcomes = TestStore::new().try_ingest(&[(Log::Deliveries, plain)], &lenient).await.unwrap();
    assert_eq!((outcomes[0].accepted, outcomes[0].rejected), (1, 1), "{outcomes:?}");
}

#[tokio::test]
async fn twilio_addresses_tell_the_channel_and_one_person_is_one_recipient_on_all() {
    let store = TestStore::new();
    let sends = "sid,from,to,direction,date_created,date_sent\n\
        SM1,+15017122661,+14155552671,outbound-api,2026-03-02T10:00:00Z,2026-03-02T10:00:00Z\n\
        SM2,whatsapp:+15017122661, whatsapp:+14155552671,outbound-api,2026-03-02T10:00:00Z,2026-03-02T10:00:00Z\n\
        SM3,rcs:brand,rcs:+14155552671,outbound-api,2026-03-02T10:00:00Z,2026-03-02T10:00:00Z\n";
    store.try_ingest(&[(Log::Sends, sends)], &with("twilio")).await.unwrap();
    let channels = store.rows("SELECT message_id, channel FROM sends ORDER BY message_id").await;
    assert_eq!(channels, ["SM1|sms", "SM2|whatsapp", "SM3|rcs"]);
    assert_eq!(store.rows("SELECT count(DISTINCT recipient_id) FROM sends").await, ["1"]);
}

#[tokio::test]
async fn a_new_vendor_is_a_file() {
    let vonage = "[deliveries]\ntime_formats = [\"%y%m%d%H%M\"]\nhash = [\"msisdn\", \"to\"]\n[deliveries.columns]\nmessage_id = \"messageId\"\nat = \"scts\"\nerror_code = \"err-code\"\nstatus = \"status\"\n\
                  [sends]\ntime_zone = \"Asia/Shanghai\"\n[sends.join]\nmessage_id = [\"batch\", \"recipient_id\"]\n[sends.columns]\nphone = \"mobile\"\nsent_at = \"time\"\n[sends.constants]\nchannel = \"短信\"\n";
    let mut options = with("twilio");
    options.validator.mapping = Mapping::parse(vonage, "vonage.toml").unwrap();
    let store = TestStore::new();
    let receipts = "msisdn,to,messageId,status,scts,err-code\n14155552671,Shop,v1,delivered,2603021015,0\n";
    let sends = "batch,mobile,time\nb1,+8613800138000,2026-03-02 10:15:30\nb1,+8613800138001,2026-03-02 10:15:30\n";
    store.try_ingest(&[(Log::Deliveries, receipts), (Log::Sends, sends)], &options).await.unwrap();
    assert_eq!(
        store.rows("SELECT message_id, status, at, error_code FROM deliveries").await,
        ["v1|delivered|2026-03-02T10:15:00Z|0"]
    );
    assert_eq!(
        store.rows("SELECT count(DISTINCT message_id), min(sent_at), min(channel) FROM sends").await,
        ["2|2026-03-02T02:15:30Z|sms"]
    );
}
