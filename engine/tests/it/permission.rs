//! Who may be sent to, where the logs are terse: no ids, no recipient but that of a message, several purposes at a time.

use std::collections::BTreeMap;

use sendlift_engine::event::Log;
use sendlift_engine::ingest::input::Input;
use sendlift_engine::permission::PermissionRules;
use sendlift_engine::windows::{ScheduleRequest, WindowsRequest, schedule_list};

use crate::support::TestStore;

/// The reason of each recipient without a window; those with one are not in it.
async fn left_out(store: &TestStore, recipients: &[&str]) -> BTreeMap<String, String> {
    let list = format!("recipient_id\n{}\n", recipients.join("\n"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("plan.csv");
    let request = ScheduleRequest {
        list: Input::memory("list.csv", list.into()),
        unit: "recipient_id".to_owned(),
        windows: WindowsRequest::default(),
        propensity_floor: 0.02,
        uniform_share: 0.1,
        capacity: None,
        permission: PermissionRules::default(),
        seed: 1,
    };
    schedule_list(&store.session().await, &request, &out).await.unwrap();
    let written = std::fs::read_to_string(&out).unwrap();
    let rows = written.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter(|row| row[1].is_empty()).map(|row| (row[0].to_owned(), row[6].to_owned())).collect()
}

const CONTACTS: &str = "recipient_id,country,time_zone\nr1,DE,Europe/Berlin\nr2,DE,Europe/Berlin\nr3,DE,Europe/Berlin\n\
                        r4,DE,Europe/Berlin\nr5,DE,Europe/Berlin\n";

#[tokio::test]
async fn purposes_that_are_told_at_one_moment_do_not_replace_one_another() {
    let store = TestStore::new();
    let consents = "recipient_id,channel,purpose,status,captured_at\n\
                    r1,sms,marketing,granted,2026-01-01T09:00:00Z\n\
                    r1,sms,marketing,withdrawn,2026-01-05T09:00:00Z\n\
                    r1,sms,transactional,granted,2026-01-05T09:00:00Z\n\
                    r2,sms,marketing,granted,2026-01-05T09:00:00Z\n\
                    r2,sms,transactional,granted,2026-01-05T09:00:00Z\n";
    store.ingest(&[(Log::Recipients, CONTACTS), (Log::Consents, consents)]).await;
    let found = left_out(&store, &["r1", "r2"]).await;
    assert_eq!(found.get("r1").map(String::as_str), Some("no_consent"));
    assert!(!found.contains_key("r2"));
}

#[tokio::test]
async fn a_second_refusal_that_names_only_its_message_counts_after_a_new_consent() {
    let store = TestStore::new();
    let sends = "message_id,campaign_id,recipient_id,channel,message_type,sent_at\n\
                 m1,c,r1,sms,promo,2026-01-01T10:00:00Z\n\
                 m2,c,r2,sms,promo,2026-01-01T10:00:00Z\n";
    let replies = "reply_id,message_id,text,received_at\n\
                   a,m1,STOP,2026-01-01T11:00:00Z\nb,m1,STOP,2026-01-08T11:00:00Z\nc,m2,STOP,2026-01-01T11:00:00Z\n";
    let consents = "recipient_id,channel,purpose,status,captured_at\n\
                    r1,sms,marketing,granted,2026-01-04T09:00:00Z\n\
                    r2,sms,marketing,granted,2026-01-04T09:00:00Z\n";
    let logs = [(Log::Recipients, CONTACTS), (Log::Sends, sends), (Log::Replies, replies), (Log::Consents, consents)];
    store.ingest(&logs).await;
    let found = left_out(&store, &["r1", "r2"]).await;
    assert_eq!(found.get("r1").map(String::as_str), Some("opted_out"));
    assert!(!found.contains_key("r2"));
}

#[tokio::test]
async fn stop_is_understood_with_punctuation_and_as_chinese_routes_have_it() {
    let store = TestStore::new();
    let replies = "reply_id,recipient_id,text,received_at\n\
                   a,r1,\"STOP,\",2026-01-01T11:00:00Z\nb,r2,Opt-Out…,2026-01-01T11:00:00Z\n\
                   c,r3,取消订阅,2026-01-01T11:00:00Z\nd,r4,回复退订。,2026-01-01T11:00:00Z\n\
                   e,r5,when does it stop?,2026-01-01T11:00:00Z\nf,r6,【退订】,2026-01-01T11:00:00Z\n\
                   g,r7,(STOP)~ 🙏,2026-01-01T11:00:00Z\n";
    let contacts = format!("{CONTACTS}r6,DE,Europe/Berlin\nr7,DE,Europe/Berlin\n");
    store.ingest(&[(Log::Recipients, &contacts), (Log::Replies, replies)]).await;
    let found = left_out(&store, &["r1", "r2", "r3", "r4", "r5", "r6", "r7"]).await;
    let stopped: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(stopped, ["r1", "r2", "r3", "r4", "r6", "r7"]);
    assert!(found.values().all(|reason| reason == "opted_out"));
}
