//! Experiments of the store that must not be believed, and arms without messages that are compared fairly.

use std::fmt::Write as _;

use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, ExperimentDefinition, Recommendation, Verdict, analyze_store};

use crate::support::TestStore;

const RECIPIENTS: usize = 1_200;

/// A number in [0, 1) of a recipient and a purpose, the same in every run.
fn draw(recipient: usize, purpose: usize) -> f64 {
    let mut mixed = (recipient as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ((purpose as u64) << 40);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    #[allow(clippy::cast_precision_loss)]
    let share = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
    share
}

/// The arm of a recipient: by chance, or for three quarters by the country.
fn arm(recipient: usize, by_country: bool) -> &'static str {
    let share = if by_country { [0.75, 0.25][recipient % 2] } else { 0.5 };
    if draw(recipient, 1) < share { "B" } else { "A" }
}

/// Four campaigns a fortnight apart, to B alone, which do nothing: everybody buys on one day of eighty, or not at all.
async fn store(by_country: bool) -> TestStore {
    let mut contacts = "recipient_id,country,age_band\n".to_owned();
    let mut assignments = "experiment_id,recipient_id,arm,assigned_at\n".to_owned();
    let mut sends = "message_id,campaign_id,experiment_id,variant,recipient_id,channel,sent_at\n".to_owned();
    let mut conversions = "conversion_id,recipient_id,event,occurred_at,value,currency\n".to_owned();
    for recipient in 0..RECIPIENTS {
        let age = ["18-34", "35-54", "55+"][recipient % 3];
        writeln!(contacts, "r{recipient},{},{age}", ["GB", "DE"][recipient % 2]).unwrap();
        let arm = arm(recipient, by_country);
        writeln!(assignments, "e,r{recipient},{arm},2026-02-28T00:00:00Z").unwrap();
        for (campaign, day) in ["03-01", "03-15", "03-29", "04-12"].into_iter().enumerate().filter(|_| arm == "B") {
            writeln!(sends, "m{campaign}-{recipient},c{campaign},e,B,r{recipient},sms,2026-{day}T10:00:00Z").unwrap();
        }
        if let Some(day) = bought(recipient) {
            let at: jiff::Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
            let at = at + jiff::SignedDuration::from_hours(24 * day);
            writeln!(conversions, "v{recipient},r{recipient},purchase,{at},10,EUR").unwrap();
        }
    }
    ingested([contacts, assignments, sends, conversions]).await
}

/// A store of contacts, assignments, sends and conversions.
async fn ingested(texts: [String; 4]) -> TestStore {
    let store = TestStore::new();
    let logs = [Log::Recipients, Log::Assignments, Log::Sends, Log::Conversions];
    let logs: Vec<(Log, &str)> = logs.into_iter().zip(texts.iter().map(String::as_str)).collect();
    store.ingest(&logs).await;
    store
}

/// Days from the first of March to the purchase.
#[allow(clippy::cast_possible_truncation)]
fn bought(recipient: usize) -> Option<i64> {
    (draw(recipient, 2) < 0.5).then(|| (draw(recipient, 3) * 80.0) as i64)
}

fn conversion() -> AnalysisOptions {
    AnalysisOptions { metrics: vec!["conversion".to_owned()], ..AnalysisOptions::default() }
}

#[tokio::test]
async fn what_comes_anyway_is_no_effect_of_messages_that_one_arm_alone_got() {
    let store = store(false).await;
    let analysis = analyze_store(&store.session().await, "e", &conversion()).await.unwrap();
    // Seven days after each campaign, whoever it went to; purchases are two hours later in the day than sends.
    let counts = |recipient: usize| bought(recipient).is_some_and(|day| day % 14 < 7 && day < 49);
    let rate = |wanted: &str| {
        let of_arm: Vec<usize> = (0..RECIPIENTS).filter(|recipient| arm(*recipient, false) == wanted).collect();
        #[allow(clippy::cast_precision_loss)]
        let rate = of_arm.iter().filter(|recipient| counts(**recipient)).count() as f64 / of_arm.len() as f64;
        rate
    };
    let difference = &analysis.metrics[0].comparisons[0].comparison.difference;
    assert!((difference.estimate.unwrap() - (rate("B") - rate("A"))).abs() < 1e-12, "{difference:?}");
    assert!(difference.contains_zero(), "{difference:?}");
    assert!(analysis.notes.iter().any(|note| note.contains("in the same windows")), "{:?}", analysis.notes);
    // That A got nothing is no mismatch of the sample ratio, also where shares were planned.
    let planned = vec![("A".to_owned(), 0.5), ("B".to_owned(), 0.5)];
    let planned = AnalysisOptions { allocation: planned, ..conversion() };
    let analysis = analyze_store(&store.session().await, "e", &planned).await.unwrap();
    assert!(analysis.checks.iter().all(|check| check.verdict != Verdict::Fail), "{:?}", analysis.checks);
    let contacts = analysis.checks.iter().find(|check| check.check == "arm_by_column").unwrap();
    assert!(contacts.detail.contains("age_band") && contacts.detail.contains("country"), "{contacts:?}");
}

#[tokio::test]
async fn an_arm_that_depends_on_a_column_of_the_contacts_is_called_out_unasked() {
    let store = store(true).await;
    let analysis = analyze_store(&store.session().await, "e", &conversion()).await.unwrap();
    let failed: Vec<_> = analysis.checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
    assert_eq!(failed.len(), 1, "{:?}", analysis.checks);
    assert!(failed[0].check == "arm_by_column" && failed[0].detail.contains("arm by country"), "{failed:?}");
    // Those who got no message are in the segments of their contacts too.
    let by_country = AnalysisOptions { segments: vec!["country".to_owned()], ..conversion() };
    let analysis = analyze_store(&store.session().await, "e", &by_country).await.unwrap();
    let segments: Vec<_> = analysis.metrics[0].segments.iter().collect();
    assert_eq!(segments.len(), 2, "{segments:?}");
    assert!(
        segments.iter().all(|segment| segment.comparisons[0].comparison.difference.estimate.is_some()),
        "{segments:?}"
    );
    // Where the shares were planned by country it is no fault.
    let stratified = AnalysisOptions { strata: Some("country".to_owned()), ..conversion() };
    let analysis = analyze_store(&store.session().await, "e", &stratified).await.unwrap();
    assert!(analysis.checks.iter().all(|check| check.verdict != Verdict::Fail), "{:?}", analysis.checks);
}

#[tokio::test]
async fn what_came_of_a_message_makes_no_segment_and_no_stratum() {
    let store = store(false).await;
    for outcome in ["clicks", "delivery", "opt_outs"] {
        for options in [
            AnalysisOptions { segments: vec![outcome.to_owned()], ..conversion() },
            AnalysisOptions { strata: Some(outcome.to_owned()), ..conversion() },
        ] {
            let error = analyze_store(&store.session().await, "e", &options).await.unwrap_err().to_string();
            assert!(error.contains("is what came of a message"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_holdout_of_which_some_are_missing_is_told() {
    for lost in [false, true] {
        let store = TestStore::new();
        let mut assignments = "experiment_id,recipient_id,arm,is_holdout,assigned_at,propensity\n".to_owned();
        let mut sends = "message_id,campaign_id,experiment_id,variant,recipient_id,channel,sent_at\n".to_owned();
        for recipient in 0..4_000 {
            let (arm, share) = match draw(recipient, 3) {
                place if place < 0.1 => ("none", 0.1),
                place if place < 0.55 => ("A", 0.45),
                _ => ("B", 0.45),
            };
            let held_out = arm == "none";
            if held_out && lost && recipient % 5 < 3 {
                continue;
            }
            writeln!(assignments, "e,r{recipient},{arm},{held_out},2026-02-28T00:00:00Z,{share}").unwrap();
            if !held_out {
                writeln!(sends, "m{recipient},c,e,{arm},r{recipient},sms,2026-03-01T10:00:00Z").unwrap();
            }
        }
        store.ingest(&[(Log::Assignments, &assignments), (Log::Sends, &sends)]).await;
        let found = analyze_store(&store.session().await, "e", &AnalysisOptions::default()).await.unwrap();
        let check = found.checks.iter().find(|check| check.check == "sample_ratio_with_holdout").unwrap();
        assert_eq!(check.verdict, if lost { Verdict::Fail } else { Verdict::Ok }, "{}", check.detail);
        // A plan that names the holdout among the arms is a plan of those who are kept apart, too.
        let allocation = [("A", 0.45), ("B", 0.45), ("none", 0.1)].map(|(arm, share)| (arm.to_owned(), share)).to_vec();
        let options = AnalysisOptions { allocation, ..AnalysisOptions::default() };
        let found = analyze_store(&store.session().await, "e", &options).await.unwrap();
        let check = found.checks.iter().find(|check| check.check == "sample_ratio").unwrap();
        assert_eq!(check.verdict, Verdict::Ok, "{}", check.detail);
    }
}

/// An experiment of 4,000 people, a tenth of them held out: what each is sent, and when each arm was assigned.
async fn sent(variant: impl Fn(usize, &str) -> Option<&'static str>, day: impl Fn(&str) -> &'static str) -> TestStore {
    let store = TestStore::new();
    let mut assignments = "experiment_id,recipient_id,arm,is_holdout,assigned_at\n".to_owned();
    let mut sends = "message_id,campaign_id,experiment_id,variant,recipient_id,channel,sent_at\n".to_owned();
    let mut clicks = "click_id,message_id,clicked_at\n".to_owned();
    let mut conversions = "conversion_id,recipient_id,event,occurred_at,value,currency\n".to_owned();
    for recipient in 0..4_000 {
        let arm = match draw(recipient, 4) {
            place if place < 0.1 => "none",
            place if place < 0.55 => "A",
            _ => "B",
        };
        writeln!(assignments, "e,r{recipient},{arm},{},2026-02-{}T00:00:00Z", arm == "none", day(arm)).unwrap();
        if let Some(variant) = variant(recipient, arm) {
            writeln!(sends, "m{recipient},c,e,{variant},r{recipient},sms,2026-03-01T10:00:00Z").unwrap();
            if draw(recipient, 5) < 0.3 {
                writeln!(clicks, "k{recipient},m{recipient},2026-03-01T11:00:00Z").unwrap();
            }
        }
        if draw(recipient, 6) < 0.1 {
            writeln!(conversions, "v{recipient},r{recipient},purchase,2026-03-02T11:00:00Z,5,EUR").unwrap();
        }
    }
    // The logs go on until every window has closed.
    conversions.push_str("last,nobody,purchase,2026-04-20T11:00:00Z,5,EUR\n");
    let logs = [
        (Log::Assignments, assignments.as_str()),
        (Log::Sends, &sends),
        (Log::Clicks, &clicks),
        (Log::Conversions, &conversions),
    ];
    store.ingest(&logs).await;
    store
}

#[tokio::test]
async fn a_filter_by_a_column_of_the_contacts_chooses_who_is_compared() {
    let store = store(false).await;
    let text = "name = \"e\"\ncontrol = \"A\"\nprimary = \"conversion\"\nsecondary = [\"revenue\"]\nfilter = \"country = 'DE'\"\n";
    ExperimentDefinition::read(text, "e.toml").unwrap().add_to(&store.store, false).await.unwrap();
    let found = analyze_store(&store.session().await, "e", &AnalysisOptions::default()).await.unwrap();
    let count = |wanted: &str| (0..RECIPIENTS).filter(|r| r % 2 == 1 && arm(*r, false) == wanted).count() as u64;
    let counted: Vec<u64> = found.arms.iter().map(|arm| arm.n).collect();
    assert_eq!(counted, [count("A"), count("B")]);
    assert!(found.notes.iter().any(|note| note.contains("only contacts of which it holds count")), "{:?}", found.notes);
}

#[tokio::test]
async fn who_is_not_chosen_changes_nothing_of_what_is_compared() {
    // Everybody of the one country was sent to, nobody of the other.
    let mut contacts = "recipient_id,country,shoe_size\n".to_owned();
    let mut assignments = "experiment_id,recipient_id,arm,assigned_at\n".to_owned();
    let mut sends = "message_id,campaign_id,experiment_id,variant,recipient_id,channel,sent_at\n".to_owned();
    let mut conversions = "conversion_id,recipient_id,event,occurred_at,value,currency\n".to_owned();
    for recipient in 0..RECIPIENTS {
        let (country, currency) = [("GB", "GBP"), ("DE", "EUR")][recipient % 2];
        writeln!(contacts, "r{recipient},{country},{}", 36 + recipient % 10).unwrap();
        let arm = arm(recipient, false);
        writeln!(assignments, "e,r{recipient},{arm},2026-02-28T00:00:00Z").unwrap();
        if country == "DE" {
            writeln!(sends, "m{recipient},c,e,{arm},r{recipient},sms,2026-03-01T10:00:00Z").unwrap();
        }
        if draw(recipient, 2) < 0.3 {
            writeln!(conversions, "v{recipient},r{recipient},purchase,2026-03-03T10:00:00Z,9,{currency}").unwrap();
        }
    }
    let store = ingested([contacts, assignments, sends, conversions]).await;
    let found = async |filter: &str| {
        let text = format!(
            "name = \"e\"\ncontrol = \"A\"\nprimary = \"conversion\"\nsecondary = [\"revenue\"]\nfilter = \"{filter}\"\n"
        );
        ExperimentDefinition::read(&text, "e.toml").unwrap().add_to(&store.store, true).await.unwrap();
        analyze_store(&store.session().await, "e", &AnalysisOptions::default()).await
    };
    let of_one = found("country = 'DE'").await.unwrap();
    assert!(!of_one.notes.iter().any(|note| note.contains("in the same windows")), "{:?}", of_one.notes);
    // Revenue has the one currency of those who are compared.
    assert!(of_one.metrics.iter().any(|metric| metric.metric == "revenue"), "{:?}", of_one.notes);
    let everybody = found("country IN ('DE', 'GB')").await.unwrap();
    assert!(everybody.notes.iter().any(|note| note.contains("in the same windows")), "{:?}", everybody.notes);
    // A column of the contacts that no message carries chooses, too; which it is the error of another name says.
    let by_size = found("shoe_size > 40").await.unwrap();
    let chosen = (0..RECIPIENTS).filter(|recipient| recipient % 10 > 4).count() as u64;
    assert_eq!(by_size.arms.iter().map(|arm| arm.n).sum::<u64>(), chosen);
    let wrong = found("shoes > 40").await.unwrap_err().to_string();
    assert!(wrong.contains("shoe_size") && !wrong.contains("clicks"), "{wrong}");
    let mixed = found("shoe_size > 40 AND channel = 'sms'").await.unwrap_err().to_string();
    assert!(mixed.contains("\"shoe_size\" is a column of the contacts and \"channel\" one of the messages"), "{mixed}");
    let nobody = found("country = 'XX'").await.unwrap_err().to_string();
    assert!(nobody.contains("for which its filter, \"country = 'XX'\", holds"), "{nobody}");
}

#[tokio::test]
async fn what_was_not_sent_as_it_was_drawn_is_told() {
    let own = |_: usize, arm: &str| (arm != "none").then(|| if arm == "A" { "A" } else { "B" });
    let leaked = |_: usize, arm: &str| Some(if arm == "A" { "A" } else { "B" });
    let redrawn = |recipient: usize, arm: &str| (arm != "none").then_some(["A", "B"][recipient % 2]);
    let few = |recipient: usize, arm: &str| if recipient.is_multiple_of(200) { Some("B") } else { own(recipient, arm) };
    let verdicts = async |store: TestStore| {
        let found = analyze_store(&store.session().await, "e", &AnalysisOptions::default()).await.unwrap();
        ["holdout_unsent", "sent_as_assigned"].map(|name| {
            let check = found.checks.iter().find(|check| check.check == name).unwrap();
            (check.verdict, check.detail.clone())
        })
    };
    let same = |_: &str| "28";
    let [holdout, arms] = verdicts(sent(own, same).await).await;
    assert_eq!((holdout.0, arms.0), (Verdict::Ok, Verdict::Ok), "{holdout:?} {arms:?}");
    let [holdout, arms] = verdicts(sent(leaked, same).await).await;
    assert_eq!((holdout.0, arms.0), (Verdict::Fail, Verdict::Ok), "{holdout:?} {arms:?}");
    let [holdout, arms] = verdicts(sent(redrawn, same).await).await;
    assert_eq!((holdout.0, arms.0), (Verdict::Ok, Verdict::Fail), "{holdout:?} {arms:?}");
    let [holdout, arms] = verdicts(sent(few, same).await).await;
    assert_eq!((holdout.0, arms.0), (Verdict::Warn, Verdict::Warn), "{holdout:?} {arms:?}");
}

#[tokio::test]
async fn arms_that_were_drawn_on_different_days_are_not_alike() {
    let own = |_: usize, arm: &str| (arm != "none").then(|| if arm == "A" { "A" } else { "B" });
    let store = sent(own, |arm| if arm == "B" { "20" } else { "28" }).await;
    let found = analyze_store(&store.session().await, "e", &AnalysisOptions::default()).await.unwrap();
    let check = found.checks.iter().find(|check| check.check == "arm_by_column").unwrap();
    assert_eq!(check.verdict, Verdict::Fail, "{}", check.detail);
    assert!(check.detail.contains("day of the assignment"), "{}", check.detail);
}

#[tokio::test]
async fn an_arm_that_was_sent_nothing_is_not_judged_by_clicks() {
    let store = sent(|_, arm| (arm == "B").then_some("B"), |_| "28").await;
    let found = analyze_store(&store.session().await, "e", &AnalysisOptions::default()).await.unwrap();
    let primary = found.metrics.iter().find(|metric| metric.is_primary()).unwrap();
    assert_eq!(primary.metric, "conversion");
    assert!(found.notes.iter().any(|note| note.contains("A was sent nothing, and click takes a message")), "{found:?}");
    assert!(found.notes[0].contains("decided by conversion"), "{:?}", found.notes);
    assert_eq!(found.decision.recommendation, Recommendation::KeepRunning, "{:?}", found.decision);
    // Nothing else decides where only clicks were asked for.
    let clicks = AnalysisOptions { metrics: vec!["click".to_owned()], ..AnalysisOptions::default() };
    let found = analyze_store(&store.session().await, "e", &clicks).await.unwrap();
    assert!(found.metrics.iter().all(|metric| !metric.is_primary()));
    assert_eq!(found.decision.recommendation, Recommendation::KeepRunning, "{:?}", found.decision);
}
