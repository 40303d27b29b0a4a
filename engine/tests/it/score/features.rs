//! Features: counted by hand, and blind to what comes later.

use arrow::array::RecordBatch;
use sendlift_engine::event::Log;
use sendlift_engine::progress::Quiet;
use sendlift_engine::query::QuerySession;
use sendlift_engine::score::write_features;

use super::{moment, numbers, read, texts};
use crate::support::TestStore;

const SENDS: &str = "message_id,campaign_id,variant,recipient_id,channel,message_type,sent_at,parts,time_zone,text\n\
    m1,one,A,r1,sms,promo,2026-03-01T10:00:00Z,1,Asia/Shanghai,Shop now: go.example/x\n\
    m2,two,A,r1,email,promo,2026-03-20T10:00:00Z,3,Asia/Shanghai,News of the week\n\
    m3,one,A,r2,sms,promo,2026-03-01T10:00:00Z,1,Asia/Shanghai,Shop now: go.example/x\n\
    m4,two,A,r1,sms,promo,2026-04-05T10:00:00Z,1,Asia/Shanghai,News of the week\n";
const CLICKS: &str = "click_id,message_id,link,clicked_at,user_agent\n\
    c1,m1,l,2026-03-01T22:00:00Z,Mozilla/5.0 (iPhone)\n\
    c2,m3,l,2026-04-02T22:00:00Z,Mozilla/5.0 (Windows NT 10.0)\n\
    c3,m2,l,2026-03-20T10:30:00Z,Slackbot-LinkExpanding 1.0\n";
const CONVERSIONS: &str = "conversion_id,recipient_id,event,occurred_at,value,currency,refunded_at\n\
    v1,r1,purchase,2026-03-02T00:00:00Z,30,USD,\n\
    v2,r1,purchase,2026-03-25T00:00:00Z,50,USD,2026-04-03T00:00:00Z\n\
    v3,r1,purchase,2026-03-26T00:00:00Z,99,EUR,\n\
    v4,r2,purchase,2026-04-02T00:00:00Z,70,USD,\n";
const CONTACTS: &str = "recipient_id,country,signed_up_at,城市\n\
    r1,CN,2026-01-31T00:00:00Z,上海\nr2,CN,2026-02-20T00:00:00Z,北京\nr3,DE,2026-04-01T00:00:00Z,柏林\n";
const REPLIES: &str = "reply_id,recipient_id,received_at,text\np1,r1,2026-03-21T00:00:00Z,great\n";
const CONSENTS: &str = "id,recipient_id,channel,purpose,status,captured_at\n\
    o1,r1,sms,marketing,granted,2026-02-01T00:00:00Z\no2,r1,sms,marketing,granted,2026-04-02T00:00:00Z\n";

async fn features_at(session: &QuerySession, at: &str) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("features.parquet");
    write_features(session, Some(moment(at)), &out, &Quiet).await.unwrap();
    read(&out)
}

async fn small_store() -> TestStore {
    let store = TestStore::new();
    store
        .ingest(&[
            (Log::Recipients, CONTACTS),
            (Log::Sends, SENDS),
            (Log::Clicks, CLICKS),
            (Log::Conversions, CONVERSIONS),
            (Log::Replies, REPLIES),
            (Log::Consents, CONSENTS),
        ])
        .await;
    store
}

#[tokio::test]
async fn features_are_those_counted_by_hand() {
    let store = small_store().await;
    let features = features_at(&store.session().await, "2026-04-01T00:00:00Z").await;
    assert_eq!(texts(&features, "recipient_id"), ["r1", "r2", "r3"]);
    assert_eq!(texts(&features, "城市"), ["上海", "北京", "柏林"]);
    // r1: m1 and m2; m4 is still to come. r2: m3, not clicked yet. r3: a contact without messages.
    for (name, of) in [
        ("messages", [Some(2.0), Some(1.0), Some(0.0)]),
        ("messages_30d", [Some(1.0), Some(0.0), Some(0.0)]),
        ("messages_90d", [Some(2.0), Some(1.0), Some(0.0)]),
        ("parts_mean", [Some(2.0), Some(1.0), None]),
        // A machine's click is none.
        ("clicks", [Some(1.0), Some(0.0), Some(0.0)]),
        ("clicks_phone", [Some(1.0), Some(0.0), Some(0.0)]),
        // 22:00 UTC is 6 in the morning in Shanghai.
        ("clicks_morning", [Some(1.0), Some(0.0), Some(0.0)]),
        ("click_delay_hours", [Some(12.0), None, None]),
        // The order of 50 is refunded only in April, that of 99 is in another currency.
        ("conversions", [Some(3.0), Some(0.0), Some(0.0)]),
        ("conversions_30d", [Some(3.0), Some(0.0), Some(0.0)]),
        ("monetary_value", [Some(80.0), Some(0.0), Some(0.0)]),
        ("refunds", [Some(0.0), Some(0.0), Some(0.0)]),
        ("days_since_conversion", [Some(6.0), None, None]),
        ("replies", [Some(1.0), Some(0.0), Some(0.0)]),
        ("days_since_opt_in", [Some(59.0), None, None]),
        ("days_since_sign_up", [Some(60.0), Some(40.0), Some(0.0)]),
        // One of three messages was clicked by anyone: (1 + 10/3) / (2 + 10), (0 + 10/3) / (1 + 10), 1/3.
        ("click_rate", [Some((1.0 + 10.0 / 3.0) / 12.0), Some(10.0 / 33.0), Some(1.0 / 3.0)]),
        // Of the two messages by SMS one was clicked.
        ("click_rate_channel_sms", [Some(6.0 / 11.0), Some(5.0 / 11.0), Some(0.5)]),
        ("text_link_share", [Some(0.5), Some(1.0), None]),
        ("text_call_to_action_share", [Some(0.5), Some(1.0), None]),
        ("text_personalised_share", [Some(0.0), Some(0.0), None]),
    ] {
        let found = numbers(&features, name);
        for (recipient, (found, expected)) in found.iter().zip(of).enumerate() {
            let same = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(same, "{name} of recipient {}: {found:?}, not {expected:?}", recipient + 1);
        }
    }
    // A day later the refund is there, and its value is taken back.
    let later = features_at(&store.session().await, "2026-04-04T00:00:00Z").await;
    assert_eq!(numbers(&later, "monetary_value")[..2], [Some(30.0), Some(70.0)]);
    assert_eq!(numbers(&later, "refunds")[0], Some(1.0));
    assert_eq!(numbers(&later, "clicks")[1], Some(1.0));
    assert_eq!(numbers(&later, "clicks_desktop")[1], Some(1.0));
}

#[tokio::test]
async fn features_of_a_moment_do_not_change_with_what_comes_after_it() {
    let at = "2026-03-15T00:00:00Z";
    let before = |log: &str, column: usize| -> String {
        let kept =
            log.lines().enumerate().filter(|(line, text)| *line == 0 || text.split(',').nth(column).unwrap() < at);
        kept.map(|(_, line)| format!("{line}\n")).collect()
    };
    let cut = TestStore::new();
    let (sends, clicks, conversions) = (before(SENDS, 6), before(CLICKS, 3), before(CONVERSIONS, 3));
    let (contacts, consents) = (before(CONTACTS, 2), before(CONSENTS, 5));
    assert_eq!((sends.lines().count(), clicks.lines().count(), conversions.lines().count()), (3, 2, 2));
    cut.ingest(&[
        (Log::Recipients, &contacts),
        (Log::Sends, &sends),
        (Log::Clicks, &clicks),
        (Log::Conversions, &conversions),
        (Log::Consents, &consents),
    ])
    .await;
    let whole = features_at(&small_store().await.session().await, at).await;
    let cut = features_at(&cut.session().await, at).await;
    assert_eq!(whole.num_rows(), 2);
    let plain = |batch: &RecordBatch| -> Vec<String> {
        let fields = batch.schema().fields().clone();
        fields.iter().map(|field| format!("{}: {}", field.name(), texts(batch, field.name()).join(" "))).collect()
    };
    assert_eq!(plain(&whole), plain(&cut));
}

#[test]
fn the_table_of_features_in_the_docs_is_that_of_the_code() {
    use sendlift_engine::score::features::{FEATURES, MADE, TEXT_FEATURES};
    let docs = include_str!("../../../../docs/scores.md");
    let code = FEATURES.iter().chain(&TEXT_FEATURES).map(|feature| (feature.name, feature.what)).chain(MADE);
    let code: Vec<String> = code.map(|(name, what)| format!("| `{name}` | {what} |")).collect();
    let known: Vec<&str> = docs.lines().filter(|line| code.iter().any(|row| row == line)).collect();
    let missing: Vec<&String> = code.iter().filter(|row| !known.contains(&row.as_str())).collect();
    assert!(missing.is_empty(), "docs/scores.md lacks {missing:#?}");
}
