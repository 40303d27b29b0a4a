//! Which logged propensities make hours comparable: those of the windows themselves, of whoever they were drawn for.

use std::fmt::Write as _;

use sendlift_engine::EngineError;
use sendlift_engine::event::Log;
use sendlift_engine::ingest::input::Input;
use sendlift_engine::progress::Quiet;
use sendlift_engine::score::{ModelChoice, ScoreRequest, Target, score};
use sendlift_engine::windows::{
    DayGroups, EvaluationRequest, WindowsAnswer, WindowsIdentification, WindowsRequest, analyze_windows,
    evaluate_schedule,
};

use crate::support::{TestStore, toss};

const RECIPIENTS: u32 = 4_000;
const CAMPAIGNS: u32 = 6;
/// Local starts of the windows, each within one of the four between 09:00 and 21:00.
const STARTS: [u32; 4] = [10, 13, 16, 19];

/// A share that anybody can draw again.
fn share(a: u32, b: u32, c: u32) -> f64 {
    f64::from(toss(a, b, c)) / 10_000.0
}

/// One message: its window, the minutes after its start, the day of January, and what is logged.
struct Sent {
    window: usize,
    minutes: u32,
    day: u32,
    propensity: Option<f64>,
}

/// Recipients in Germany (even) and Britain (odd, spelt in Chinese), of whom every fourth is loyal; winter.
async fn store(send: impl Fn(u32, u32) -> Option<Sent>, rate: impl Fn(u32, &Sent) -> f64) -> TestStore {
    let store = TestStore::new();
    let mut contacts = "recipient_id,country,time_zone,loyal\n".to_owned();
    for i in 0..RECIPIENTS {
        let (country, zone) = if i % 2 == 0 { ("DE", "Europe/Berlin") } else { ("英国", "Europe/London") };
        writeln!(contacts, "r{i},{country},{zone},{}", if is_loyal(i) { "yes" } else { "no" }).unwrap();
    }
    let mut sends = "message_id,campaign_id,recipient_id,channel,message_type,sent_at,send_propensity\n".to_owned();
    let mut clicks = "click_id,message_id,link,clicked_at\n".to_owned();
    for campaign in 0..CAMPAIGNS {
        for i in 0..RECIPIENTS {
            let Some(sent) = send(campaign, i) else { continue };
            let minutes = (STARTS[sent.window] - u32::from(i % 2 == 0)) * 60 + sent.minutes;
            let at = format!("2026-01-{:02}T{:02}:{:02}", sent.day, minutes / 60, minutes % 60);
            let propensity = sent.propensity.map_or(String::new(), |propensity| propensity.to_string());
            writeln!(sends, "m{campaign}-{i},c{campaign},r{i},sms,promo,{at}:00Z,{propensity}").unwrap();
            if share(campaign, i, 2) < rate(i, &sent) {
                writeln!(clicks, "k{campaign}-{i},m{campaign}-{i},https://x.example/,{at}:59Z").unwrap();
            }
        }
    }
    store.ingest(&[(Log::Recipients, &contacts), (Log::Sends, &sends), (Log::Clicks, &clicks)]).await;
    store
}

fn is_loyal(i: u32) -> bool {
    (i / 2).is_multiple_of(4)
}

/// A window by shares, drawn.
fn drawn(campaign: u32, i: u32, shares: [f64; 4]) -> Sent {
    let mut left = share(campaign, i, 1);
    let mut window = 3;
    for (place, share) in shares.iter().enumerate() {
        if left < *share {
            window = place;
            break;
        }
        left -= share;
    }
    Sent { window, minutes: i % 60, day: 12 + campaign % 5, propensity: Some(shares[window]) }
}

async fn answer(store: &TestStore, request: WindowsRequest) -> WindowsAnswer {
    analyze_windows(&store.session().await, &request).await.unwrap().remove(0)
}

/// The loyal click a fifth of the messages, the others a twentieth, whenever these come.
fn by_loyalty(i: u32, _: &Sent) -> f64 {
    if is_loyal(i) { 0.2 } else { 0.05 }
}

#[tokio::test]
async fn a_lottery_that_favours_evenings_for_those_who_click_anyway_speaks_for_no_window() {
    let shares = |i: u32| if is_loyal(i) { [0.1, 0.1, 0.1, 0.7] } else { [0.3, 0.3, 0.3, 0.1] };
    let store = store(|campaign, i| Some(drawn(campaign, i, shares(i))), by_loyalty).await;
    let found = answer(&store, WindowsRequest::default()).await;
    assert_eq!(found.identification, WindowsIdentification::Causal);
    assert!(found.recommendation.abstained, "{:?}", found.recommendation);
    // Everybody's rate in every window: 0.25 × 0.2 + 0.75 × 0.05. Unweighted, evenings would have 0.155 and others 0.061.
    for window in found.windows.iter().filter(|window| window.supported) {
        let rate = window.rate.estimate.unwrap();
        assert!((rate - 0.0875).abs() < 0.015, "{} {rate}", window.start);
    }
    let sends: u64 = found.windows.iter().map(|window| window.sends).sum();
    assert_eq!(sends, u64::from(RECIPIENTS * CAMPAIGNS));
}

#[tokio::test]
async fn a_probability_of_something_else_is_no_propensity_of_windows() {
    // The loyal are sent to in the evening; half of all get variant B, which somebody logged as the propensity.
    let store = store(
        |campaign, i| {
            let window = if is_loyal(i) { 3 } else { (toss(campaign, i, 3) % 3) as usize };
            Some(Sent { window, minutes: i % 60, day: 12 + campaign % 5, propensity: Some(0.5) })
        },
        by_loyalty,
    )
    .await;
    let found = answer(&store, WindowsRequest::default()).await;
    assert_eq!(found.identification, WindowsIdentification::NotIdentifiable);
    assert!(found.notes.iter().any(|note| note.starts_with("6 campaigns log a probability")), "{:?}", found.notes);
    let schedule = "recipient_id,weekday,window_start,window_end\nr0,weekday,18:00,21:00\n";
    let request = EvaluationRequest {
        schedule: Input::memory("plan.csv", schedule.into()),
        windows: WindowsRequest::default(),
        alpha: 0.1,
    };
    let refused = evaluate_schedule(&store.session().await, &request).await.unwrap_err();
    assert!(matches!(refused, EngineError::Refused(_)), "{refused}");
}

#[tokio::test]
async fn windows_finer_than_those_that_were_drawn_are_not_compared() {
    // Within a drawn window the loyal come first, and they have their messages on Mondays.
    let store = store(
        |campaign, i| {
            let sent = drawn(campaign, i, [0.25; 4]);
            let (minutes, day) = if is_loyal(i) { (0, 12) } else { (60 + i % 50, 13 + campaign % 4) };
            Some(Sent { minutes, day, ..sent })
        },
        by_loyalty,
    )
    .await;
    let found = answer(&store, WindowsRequest::default()).await;
    assert_eq!(found.identification, WindowsIdentification::Causal);
    assert!(found.recommendation.abstained);
    for request in [
        WindowsRequest { windows_a_day: 12, ..WindowsRequest::default() },
        WindowsRequest { days: DayGroups::Days, ..WindowsRequest::default() },
    ] {
        let found = answer(&store, request).await;
        assert_eq!(found.identification, WindowsIdentification::NotIdentifiable);
    }
}

#[tokio::test]
async fn messages_that_somebody_placed_by_hand_are_left_out_of_a_drawn_campaign() {
    let by_hand = |i: u32| is_loyal(i) && i % 48 < 2;
    let store = store(
        |campaign, i| {
            let sent = drawn(campaign, i, [0.25; 4]);
            Some(if by_hand(i) { Sent { window: 3, propensity: None, ..sent } } else { sent })
        },
        |i, sent| if by_hand(i) { 0.9 } else { by_loyalty(i, sent) },
    )
    .await;
    let found = answer(&store, WindowsRequest::default()).await;
    assert_eq!(found.identification, WindowsIdentification::Causal);
    let placed = (0..RECIPIENTS).filter(|i| by_hand(*i)).count() as u64;
    assert_eq!(found.left_out.without_propensity, placed * u64::from(CAMPAIGNS));
    assert!(found.recommendation.abstained, "{:?}", found.recommendation);
}

#[tokio::test]
async fn who_had_no_other_window_is_no_gap_in_the_log() {
    // Two of ten recipients have one window alone.
    let is_bound = |i: u32| i % 10 < 2;
    let store = store(
        |campaign, i| {
            let sent = drawn(campaign, i, [0.25; 4]);
            Some(if is_bound(i) { Sent { window: 0, propensity: Some(1.0), ..sent } } else { sent })
        },
        |i, sent| if is_bound(i) { 0.5 } else { [0.05, 0.05, 0.05, 0.15][sent.window] },
    )
    .await;
    let found = answer(&store, WindowsRequest::default()).await;
    assert_eq!(found.identification, WindowsIdentification::Causal);
    assert_eq!(found.recommendation.windows[0].start, "18:00", "{:?}", found.recommendation.why);
    assert_eq!(found.left_out.without_propensity, u64::from(RECIPIENTS / 10 * 2 * CAMPAIGNS));
}

#[tokio::test]
async fn a_segment_that_nobody_drew_for_has_no_answer() {
    // Windows are drawn in Germany; in Britain each campaign has one, and the good ones are in the evening.
    let store = store(
        |campaign, i| match (i % 2, campaign % 2) {
            (0, 0) => Some(drawn(campaign, i, [0.25; 4])),
            (1, 1) => Some(Sent {
                window: campaign as usize / 2 + 1,
                minutes: i % 60,
                day: 12 + campaign % 5,
                propensity: None,
            }),
            _ => None,
        },
        |i, sent| if i % 2 == 0 { [0.05, 0.05, 0.05, 0.15][sent.window] } else { [0.05, 0.1, 0.15, 0.2][sent.window] },
    )
    .await;
    let request = WindowsRequest { by: vec!["country".to_owned()], ..WindowsRequest::default() };
    let found = analyze_windows(&store.session().await, &request).await.unwrap();
    let of = |country: &str| found.iter().find(|answer| answer.by["country"] == country).unwrap();
    assert_eq!(of("DE").identification, WindowsIdentification::Causal);
    assert_eq!(of("DE").recommendation.windows[0].start, "18:00");
    assert_eq!(of("英国").identification, WindowsIdentification::NotIdentifiable);
    assert!(of("英国").recommendation.abstained && of("英国").windows.is_empty());
    assert_eq!(of("英国").sends, u64::from(RECIPIENTS / 2 * CAMPAIGNS / 2));
}

#[tokio::test]
async fn one_campaign_may_be_asked_about_and_amounts_have_no_shorter_horizon() {
    let store =
        store(|campaign, i| Some(drawn(campaign, i, [0.25; 4])), |_, sent| [0.05, 0.05, 0.05, 0.2][sent.window]).await;
    let request = WindowsRequest { campaign: Some("c1".to_owned()), ..WindowsRequest::default() };
    let found = answer(&store, request).await;
    assert!(!found.recommendation.abstained, "{:?}", found.recommendation.why);
    assert_eq!(found.recommendation.windows[0].start, "18:00");
    assert!(found.notes.iter().any(|note| note.starts_with("this is what one campaign showed")));
    let revenue =
        WindowsRequest { objective: "revenue".parse().unwrap(), horizon_days: Some(1), ..WindowsRequest::default() };
    let refused = analyze_windows(&store.session().await, &revenue).await.unwrap_err();
    assert!(refused.to_string().contains("whole attribution window"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_names_the_window_that_is_legal_and_best_where_its_recipient_lives() {
    let rate = |_: u32, sent: &Sent| [0.05, 0.20, 0.05, 0.30][sent.window];
    let store = store(|campaign, i| Some(drawn(campaign, i, [0.25; 4])), rate).await;
    // Nobody was sent to where the evening ends at 20:00.
    let others = "recipient_id,country,region,time_zone\nfl,US,FL,America/New_York\ncn,CN,,Asia/Shanghai\n";
    store.ingest(&[(Log::Recipients, others)]).await;
    let out = store.folder.path().join("scores.csv");
    let asked = ScoreRequest {
        model: ModelChoice::Propensity,
        target: Target::Click,
        horizon_days: 1,
        include_ineligible: true,
        ..ScoreRequest::default()
    };
    score(&store.session().await, &asked, &out, &Quiet).await.unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let place = header.iter().position(|name| *name == "window").unwrap();
    let window = |recipient: &str| {
        let row = text.lines().find(|line| line.starts_with(&format!("{recipient},"))).unwrap();
        row.split(',').nth(place).unwrap().to_owned()
    };
    // Germany and Britain have the evening, the others the best of what is left.
    assert_eq!([window("r0"), window("r1")], ["weekday 18:00-21:00"; 2]);
    assert_eq!([window("fl"), window("cn")], ["weekday 12:00-15:00"; 2]);
}

#[tokio::test]
async fn a_propensity_in_percent_is_told_to_be_none() {
    let store = store(
        |campaign, i| Some(Sent { propensity: Some(25.0), ..drawn(campaign, i, [0.25; 4]) }).filter(|_| campaign < 2),
        by_loyalty,
    )
    .await;
    let found = answer(&store, WindowsRequest::default()).await;
    assert_eq!(found.identification, WindowsIdentification::NotIdentifiable);
    assert!(
        found.notes.iter().any(|note| note.starts_with("8000 messages log a send_propensity")),
        "{:?}",
        found.notes
    );
}

#[tokio::test]
async fn a_segment_with_one_clock_is_not_compared_by_instants() {
    const PLACES: [(&str, &str); 6] = [
        ("GB", "Europe/London"),
        ("DE", "Europe/Berlin"),
        ("AE", "Asia/Dubai"),
        ("PK", "Asia/Karachi"),
        ("TH", "Asia/Bangkok"),
        ("SG", "Asia/Singapore"),
    ];
    let store = TestStore::new();
    let mut contacts = "recipient_id,country,time_zone,loyal\n".to_owned();
    let mut sends = "message_id,campaign_id,recipient_id,channel,message_type,sent_at\n".to_owned();
    let mut clicks = "click_id,message_id,link,clicked_at\n".to_owned();
    for i in 0..3_000 {
        let (country, zone) = PLACES[i as usize % PLACES.len()];
        writeln!(contacts, "r{i},{country},{zone},{}", if is_loyal(i) { "yes" } else { "no" }).unwrap();
    }
    for campaign in 0..10 {
        let at = format!("2026-01-{:02}T{:02}:00", 12 + campaign % 5, 5 + campaign % 8);
        for i in 0..3_000 {
            writeln!(sends, "m{campaign}-{i},c{campaign},r{i},sms,promo,{at}:00Z").unwrap();
            if share(campaign, i, 2) < 0.2 {
                writeln!(clicks, "k{campaign}-{i},m{campaign}-{i},https://x.example/,{at}:59Z").unwrap();
            }
        }
    }
    store.ingest(&[(Log::Recipients, &contacts), (Log::Sends, &sends), (Log::Clicks, &clicks)]).await;
    let session = store.session().await;
    let by = |column: &str| WindowsRequest { by: vec![column.to_owned()], ..WindowsRequest::default() };
    let of_all = analyze_windows(&session, &WindowsRequest::default()).await.unwrap();
    assert_eq!(of_all[0].identification, WindowsIdentification::QuasiExperimental, "{}", of_all[0].reason);
    // Each country has one clock; those who are loyal are everywhere.
    for found in analyze_windows(&session, &by("country")).await.unwrap() {
        assert_eq!(found.identification, WindowsIdentification::NotIdentifiable, "{:?}", found.by);
        assert!(found.windows.is_empty() && found.recommendation.abstained);
    }
    for found in analyze_windows(&session, &by("loyal")).await.unwrap() {
        assert_eq!(found.identification, WindowsIdentification::QuasiExperimental, "{:?}", found.by);
    }
}
