//! The effect on the delivered, from the logs: an arm that was sent to against one that was not.

use std::fmt::Write as _;

use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, Verdict, analyze_store};
use sendlift_engine::stats::imbalance::DeliveryVerdict;

use crate::support::TestStore;

/// Forty recipients in each arm. Those of B are sent to, thirty of them reached; of A nobody is. Eight of A buy, of B
/// twelve of the reached and two of the others.
#[tokio::test]
async fn an_arm_that_was_not_sent_to_tells_the_effect_on_the_delivered() {
    let mut assignments = "experiment_id,recipient_id,arm,assigned_at\n".to_owned();
    let mut sends = "message_id,campaign_id,variant,experiment_id,recipient_id,channel,sent_at\n".to_owned();
    let mut deliveries = "message_id,status,at\n".to_owned();
    let mut conversions = "conversion_id,recipient_id,event,occurred_at,value,currency\n".to_owned();
    for number in 0..40 {
        for arm in ["A", "B"] {
            writeln!(assignments, "e,{arm}{number},{arm},2026-03-01T00:00:00Z").unwrap();
            let buys = if arm == "A" { number < 8 } else { !(12..38).contains(&number) };
            if buys {
                writeln!(conversions, "o{arm}{number},{arm}{number},purchase,2026-03-03T10:00:00Z,10,USD").unwrap();
            }
        }
        writeln!(sends, "m{number},spring,B,e,B{number},sms,2026-03-02T10:00:00Z").unwrap();
        let status = if number < 30 { "delivered" } else { "undelivered" };
        writeln!(deliveries, "m{number},{status},2026-03-02T10:00:05Z").unwrap();
    }
    let store = TestStore::new();
    let logs = [
        (Log::Assignments, assignments.as_str()),
        (Log::Sends, sends.as_str()),
        (Log::Deliveries, deliveries.as_str()),
        (Log::Conversions, conversions.as_str()),
    ];
    store.ingest(&logs).await;
    let options = AnalysisOptions { metrics: vec!["conversion".to_owned()], ..AnalysisOptions::default() };
    let analysis = analyze_store(&store.session().await, "e", &options).await.unwrap();
    let comparison = &analysis.metrics[0].comparisons[0];
    let intention_to_treat = comparison.comparison.difference.estimate.unwrap();
    assert!((intention_to_treat - 0.15).abs() < 1e-12, "{comparison:?}");
    // By hand: (14/40 - 8/40) / (30/40).
    let found = comparison.complier.as_ref().unwrap();
    assert!((found.effect.estimate.unwrap() - 0.2).abs() < 1e-12, "{found:?}");
    assert!((found.compliance.estimate.unwrap() - 0.75).abs() < 1e-12, "{found:?}");
    assert_eq!(found.p_value.unwrap() < 0.05, !found.effect.contains_zero());
    // The kept sample gives the same again.
    let again = analyze_store(&store.session().await, "e", &options).await.unwrap();
    assert_eq!(again.metrics[0].comparisons[0].complier.as_ref(), Some(found));
}

/// A thousand recipients in each arm of a campaign: A reaches 980, of whom 90 click, B reaches 900, of whom 88 do.
#[tokio::test]
async fn texts_that_reach_different_people_are_told_with_bounds() {
    let mut sends = "message_id,campaign_id,variant,recipient_id,channel,sent_at\n".to_owned();
    let mut deliveries = "message_id,status,at\n".to_owned();
    let mut clicks = "click_id,message_id,link,clicked_at\n".to_owned();
    for number in 0..1_000 {
        for (arm, reached, clicked) in [("A", 980, 90), ("B", 900, 88)] {
            writeln!(sends, "m{arm}{number},spring,{arm},{arm}{number},sms,2026-03-02T10:00:00Z").unwrap();
            let status = if number < reached { "delivered" } else { "undelivered" };
            writeln!(deliveries, "m{arm}{number},{status},2026-03-02T10:00:05Z").unwrap();
            if number < clicked {
                writeln!(
                    clicks,
                    "k{arm}{number},m{arm}{number},https://x.example/,2026-03-02T11:{:02}:00Z",
                    number % 60
                )
                .unwrap();
            }
        }
    }
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, &sends), (Log::Deliveries, &deliveries), (Log::Clicks, &clicks)]).await;
    let options = AnalysisOptions { metrics: vec!["click".to_owned()], ..AnalysisOptions::default() };
    let analysis = analyze_store(&store.session().await, "spring", &options).await.unwrap();
    let found = analysis.metrics[0].comparisons[0].among_reached.as_ref().unwrap();
    // Lee (2009) by hand: (0.812 - 0.89) / 0.9 and (0.09 - 0.088) / 0.9, of A less B.
    for (bound, expected) in [(found.bounds.low, -0.002 / 0.9), (found.bounds.high, 0.078 / 0.9)] {
        assert!((bound.unwrap() - expected).abs() < 1e-12, "{found:?}");
    }
    assert!((found.trimmed_share.unwrap() - 0.08 / 0.98).abs() < 1e-12, "{found:?}");
    assert_eq!(found.verdict, DeliveryVerdict::CouldExplain);
    assert!(
        found.bounds_interval.low < found.bounds.low && found.bounds.high < found.bounds_interval.high,
        "{found:?}"
    );
    let check = analysis.checks.iter().find(|check| check.check == "differential_delivery").unwrap();
    assert_eq!(check.verdict, Verdict::Warn);
}
