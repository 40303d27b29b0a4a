//! Scores of a store's recipients: a known truth, the audience, eligibility, models that are kept, refusals.

use std::fmt::Write as _;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int32Type;
use sendlift_engine::event::Log;
use sendlift_engine::progress::{Progress, Quiet};
use sendlift_engine::score::{
    Economics, EligibilityRules, ModelChoice, ScoreModel, ScoreRequest, ScoreSummary, Scorer, Target, score,
};
use sendlift_engine::segment::SegmentDefinition;

use super::{draw, moment, numbers, read, texts};
use crate::support::TestStore;

/// A store in which a third of the contacts, those of the tier "gold", convert with 0.30 within every twenty days, and the
/// others with 0.05; half of all are held back, and a message adds 0.20 to the conversions of gold and nothing to others'.
struct Truth {
    store: TestStore,
    recipients: usize,
}

const AT: &str = "2026-05-01T00:00:00Z";

fn is_gold(recipient: usize) -> bool {
    recipient.is_multiple_of(3)
}

async fn truth(recipients: usize) -> Truth {
    let store = TestStore::new();
    let mut contacts = "recipient_id,country,time_zone,tier,signed_up_at\n".to_owned();
    let mut sends = "message_id,campaign_id,recipient_id,channel,message_type,sent_at,cost,currency,parts\n".to_owned();
    let mut conversions = "conversion_id,recipient_id,event,occurred_at,value,margin,currency\n".to_owned();
    let mut assignments = "experiment_id,recipient_id,arm,is_holdout,assigned_at,propensity\n".to_owned();
    let mut opt_outs = "id,recipient_id,channel,scope,method,requested_at\n".to_owned();
    let mut consents = "id,recipient_id,channel,purpose,status,captured_at\n".to_owned();
    for recipient in 0..recipients {
        let id = format!("r{recipient:05}");
        let tier = if is_gold(recipient) { "gold" } else { "plain" };
        writeln!(contacts, "{id},DE,Europe/Berlin,{tier},2025-01-01T00:00:00Z").unwrap();
        writeln!(sends, "a{recipient},first,{id},sms,promo,2026-02-01T10:00:00Z,0.05,EUR,1").unwrap();
        let held_out = draw(recipient, 1) < 0.5;
        let arm = if held_out { "holdout" } else { "message" };
        writeln!(assignments, "test,{id},{arm},{held_out},2026-03-12T00:00:00Z,0.5").unwrap();
        if !held_out {
            writeln!(sends, "b{recipient},second,{id},sms,promo,2026-03-12T10:00:00Z,0.05,EUR,1").unwrap();
        }
        // Three periods of twenty days: before, after the first moment, after the second.
        for (period, day) in ["2026-03-05", "2026-03-30", "2026-04-20"].into_iter().enumerate() {
            let base = if is_gold(recipient) { 0.30 } else { 0.05 };
            // The message of 12 March works until the 31st.
            let added = if period == 1 && is_gold(recipient) && !held_out { 0.20 } else { 0.0 };
            if draw(recipient, 10 + period as u64) < base + added {
                writeln!(conversions, "v{period}-{recipient},{id},purchase,{day}T12:00:00Z,20,10,EUR").unwrap();
            }
        }
        if recipient % 50 == 7 {
            // Of the channel, of none that is named, of all.
            let channel = ["sms", "", "all"][recipient / 50 % 3];
            writeln!(opt_outs, "o{recipient},{id},{channel},,keyword,2026-04-25T00:00:00Z").unwrap();
        }
        // One in forty has withdrawn consent.
        writeln!(consents, "c{recipient},{id},sms,marketing,granted,2025-01-01T00:00:00Z").unwrap();
        if recipient % 40 == 9 {
            writeln!(consents, "w{recipient},{id},sms,marketing,withdrawn,2026-01-01T00:00:00Z").unwrap();
        }
    }
    let logs = [
        (Log::Recipients, contacts.as_str()),
        (Log::Assignments, &assignments),
        (Log::Sends, &sends),
        (Log::Conversions, &conversions),
        (Log::OptOuts, &opt_outs),
        (Log::Consents, &consents),
    ];
    store.ingest(&logs).await;
    Truth { store, recipients }
}

fn request(model: ModelChoice) -> ScoreRequest {
    ScoreRequest { model, horizon_days: 20, as_of: Some(moment(AT)), ..ScoreRequest::default() }
}

async fn scored(truth: &Truth, request: &ScoreRequest, name: &str) -> (ScoreSummary, RecordBatch) {
    let out = truth.store.folder.path().join(name);
    let summary = score(&truth.store.session().await, request, &out, &Quiet).await.unwrap();
    (summary, read(&out))
}

async fn refused(truth: &Truth, request: &ScoreRequest) -> String {
    let out = truth.store.folder.path().join("refused.parquet");
    let error = score(&truth.store.session().await, request, &out, &Quiet).await.unwrap_err();
    assert!(!out.exists(), "a refusal leaves no file");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_propensity_is_the_known_probability_and_comes_out_the_same_again() {
    let truth = truth(9_000).await;
    let by_tier = ScoreRequest { by: vec!["tier".to_owned()], ..request(ModelChoice::Propensity) };
    let (summary, scores) = scored(&truth, &by_tier, "scores.parquet").await;
    // Nobody who opted out or withdrew is in the file; nobody is both, for 7 mod 50 and 9 mod 40 never meet.
    let opted_out = truth.recipients / 50;
    let withdrawn = truth.recipients / 40;
    let counts: Vec<(&str, u64)> = summary.ineligible.iter().map(|count| (count.reason.as_str(), count.n)).collect();
    assert!(
        counts.contains(&("opted_out", opted_out as u64)) && counts.contains(&("no_consent", withdrawn as u64)),
        "{counts:?}"
    );
    assert_eq!(summary.written, (truth.recipients - opted_out - withdrawn) as u64);
    assert_eq!(scores.num_rows() as u64, summary.written);
    let ids = texts(&scores, "recipient_id");
    assert!(ids.is_sorted());
    assert!(!ids.contains(&"r00007".to_owned()) && !ids.contains(&"r00009".to_owned()));
    // Calibration: the mean score of either tier is its rate. It is calibrated on a fifth of the units: 600 with 0.40 have a
    // standard error of 0.020, and 1,200 with 0.05 one of 0.0063; three of them.
    for (tier, rate, margin) in [("gold", 0.30, 0.060), ("plain", 0.05, 0.019)] {
        let segment = summary.segments.iter().find(|segment| segment.by["tier"] == tier).unwrap();
        // In the period learnt from half of gold had a message of that month, which added 0.20; now nobody has: the score lies
        // between 0.30 and 0.40, by how much of it the model puts down to the message.
        let most = if tier == "gold" { rate + 0.10 } else { rate };
        let mean = segment.mean_score;
        assert!(rate - margin < mean && mean < most + margin, "{tier}: {mean}");
        assert!(segment.expected.low < segment.expected.estimate && segment.expected.estimate < segment.expected.high);
    }
    // Tiers are told apart.
    let deciles: Vec<i32> = scores.column_by_name("decile").unwrap().as_primitive::<Int32Type>().values().to_vec();
    let of_gold: Vec<i32> = ids
        .iter()
        .zip(&deciles)
        .filter(|(id, _)| is_gold(id[1..].parse().unwrap()))
        .map(|(_, decile)| *decile)
        .collect();
    assert!(of_gold.iter().all(|decile| *decile <= 4), "gold is at the top");
    let model = ScoreModel::of(&truth.store.store, &summary.model.id).await.unwrap();
    let Scorer::Propensity(scorer) = &model.scorer else { panic!("a propensity") };
    let area = scorer.quality.area_under_curve.estimate.unwrap();
    // Of pairs with and without the outcome: the area of the tiers' own rates 0.30 and 0.05 is 0.755 (by hand: shares of
    // gold 0.75 among converters, 0.269 among the others; 0.75 · 0.731 + (0.75 · 0.269 + 0.25 · 0.731) / 2).
    assert!((area - 0.74).abs() < 0.04, "{area}");
    assert!(texts(&scores, "reasons")[0].contains("tier"), "{}", texts(&scores, "reasons")[0]);
    // Byte for byte, from the model that is kept, and from one trained again.
    let saved = ScoreRequest { model: ModelChoice::Saved(summary.model.id.clone()), ..by_tier.clone() };
    scored(&truth, &saved, "again.parquet").await;
    let (anew, _) = scored(&truth, &by_tier, "anew.parquet").await;
    assert_eq!(anew.model.id, summary.model.id);
    let bytes = |name: &str| std::fs::read(truth.store.folder.path().join(name)).unwrap();
    assert!(bytes("scores.parquet") == bytes("again.parquet") && bytes("scores.parquet") == bytes("anew.parquet"));
    assert_eq!(ScoreModel::list(&truth.store.store).await.unwrap().len(), 1);
    // Nothing is left beside the files.
    let hidden = std::fs::read_dir(truth.store.folder.path()).unwrap();
    assert!(hidden.map(|entry| entry.unwrap().file_name()).all(|name| !name.to_string_lossy().starts_with('.')));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_is_whom_the_message_moves_and_keeps_its_promise() {
    let truth = truth(9_000).await;
    let uplift = ScoreRequest {
        economics: Economics { margin: Some(10.0), part_cost: Some(0.5), opt_out_value: 0.0 },
        ..request(ModelChoice::Uplift { experiment: None })
    };
    let (summary, scores) = scored(&truth, &uplift, "uplift.parquet").await;
    let model = ScoreModel::of(&truth.store.store, &summary.model.id).await.unwrap();
    let Scorer::Uplift(scorer) = &model.scorer else { panic!("an uplift") };
    // A third gains 0.20: 0.067 on the average, the rest nothing.
    let average = &scorer.quality.average_effect.value;
    assert!(average.low.unwrap() < 0.0667 && average.high.unwrap() > 0.0667, "{average:?}");
    assert!(scorer.quality.qini.value.low.unwrap() > 0.0, "{:?}", scorer.quality.qini);
    assert_eq!(scorer.others.len(), 5);
    let audience = summary.audience.unwrap();
    let chosen: Vec<bool> =
        scores.column_by_name("in_audience").unwrap().as_boolean().iter().map(Option::unwrap).collect();
    let ids = texts(&scores, "recipient_id");
    let (mut gold, mut plain) = (0.0, 0.0);
    for (id, _) in ids.iter().zip(&chosen).filter(|(_, chosen)| **chosen) {
        if is_gold(id[1..].parse().unwrap()) { gold += 1.0 } else { plain += 1.0 }
    }
    assert!(gold > 2_500.0 && plain < gold / 4.0, "{gold} of gold, {plain} of plain");
    // The true profit of the audience: 0.20 · 10 for each of gold, less 0.5 for each message.
    let profit = gold * 2.0 - 0.5 * (gold + plain);
    let promise = audience.by_experiment.unwrap().total;
    assert!(promise.low.unwrap() < profit && profit < promise.high.unwrap(), "{profit} {promise:?}");
    assert!((audience.cost - 0.5 * (gold + plain)).abs() < 1e-6);
    // Whom a message moves is worth more than who converts anyway: as many of the highest propensity.
    let (_, likely) = scored(&truth, &request(ModelChoice::Propensity), "likely.parquet").await;
    let mut order: Vec<(f64, String)> =
        numbers(&likely, "score").into_iter().map(Option::unwrap).zip(texts(&likely, "recipient_id")).collect();
    order.sort_by(|left, right| right.0.total_cmp(&left.0));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let as_many = (gold + plain) as usize;
    let gold_by_propensity = order[..as_many].iter().filter(|(_, id)| is_gold(id[1..].parse().unwrap())).count();
    #[allow(clippy::cast_precision_loss)]
    let profit_by_propensity = gold_by_propensity as f64 * 2.0 - 0.5 * (gold + plain);
    assert!(profit >= profit_by_propensity - 0.02 * profit, "{profit} {profit_by_propensity}");
    // Under a budget of 100 a half unit a message reaches 200, all of them worth it; under one of nothing nobody.
    let (under, _) = scored(&truth, &ScoreRequest { budget: Some(100.0), ..uplift.clone() }, "under.parquet").await;
    let under = under.audience.unwrap();
    assert_eq!((under.recipients, under.cost), (200, 100.0));
    assert!(under.budget_price > 0.0);
    let (nothing, _) = scored(&truth, &ScoreRequest { budget: Some(0.0), ..uplift.clone() }, "nothing.parquet").await;
    let nothing = nothing.audience.unwrap();
    assert_eq!(nothing.recipients, 0);
    assert!(!nothing.notes.is_empty(), "why nobody is told");
    let (capped, _) = scored(&truth, &ScoreRequest { max_recipients: Some(10), ..uplift }, "capped.parquet").await;
    assert_eq!(capped.audience.unwrap().recipients, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_may_not_be_sent_to_are_only_in_the_file_on_request_and_marked() {
    let truth = truth(3_000).await;
    let all = ScoreRequest {
        include_ineligible: true,
        eligibility: EligibilityRules { frequency_cap: Some(1), frequency_days: 60, ..EligibilityRules::default() },
        ..request(ModelChoice::Propensity)
    };
    let (summary, scores) = scored(&truth, &all, "all.parquet").await;
    assert_eq!(summary.written, 3_000);
    let reasons = texts(&scores, "ineligible_reason");
    let eligible = scores.column_by_name("eligible").unwrap().as_boolean();
    for (recipient, reason) in reasons.iter().enumerate() {
        let had_message = draw(recipient, 1) >= 0.5;
        let expected = match recipient {
            _ if recipient % 50 == 7 => "opted_out",
            _ if recipient % 40 == 9 => "no_consent",
            _ if had_message => "frequency_cap",
            _ => "∅",
        };
        assert_eq!(reason, expected, "recipient {recipient}");
        assert_eq!(eligible.value(recipient), expected == "∅");
    }
    // Under another spelling of the channel the same are left out.
    let spelt = ScoreRequest {
        eligibility: EligibilityRules { channel: " SMS".to_owned(), ..all.eligibility.clone() },
        ..all.clone()
    };
    let (_, scores) = scored(&truth, &spelt, "spelt.parquet").await;
    assert_eq!(texts(&scores, "ineligible_reason"), reasons);
    // A reply that asks to stop is an opt-out, however it is written, and by whatever clock.
    let replies = "reply_id,recipient_id,received_at,text,keyword_class\n\
        s1,r00001,2026-04-20T00:00:00Z,\"stop\t\",other\ns2,r00002,2026-04-20T00:00:00Z,ＳＴＯＰ,other\n\
        s3,r00003,2026-04-20T00:00:00Z,　退订！,other\ns4,r00004,2026-04-20T00:00:00Z,stop that please,other\n";
    truth.store.ingest(&[(Log::Replies, replies)]).await;
    let (_, scores) = scored(&truth, &all, "replied.parquet").await;
    let reasons = texts(&scores, "ineligible_reason");
    let stopped = |recipient: usize| reasons[recipient] == "opted_out";
    assert!(stopped(1) && stopped(2) && stopped(3) && !stopped(4), "{:?}", &reasons[..5]);
    // Consent that was given after the opt-out counts; one for another channel does not.
    truth
        .store
        .ingest(&[(
            Log::Consents,
            "id,recipient_id,channel,purpose,status,captured_at\n\
             n1,r00007,sms,marketing,granted,2026-04-28T00:00:00Z\nn2,r00057,email,marketing,granted,2026-04-28T00:00:00Z\n",
        )])
        .await;
    let (_, scores) = scored(&truth, &all, "later.parquet").await;
    let reasons = texts(&scores, "ineligible_reason");
    assert!(reasons[7] != "opted_out" && reasons[57] == "opted_out", "{} {}", reasons[7], reasons[57]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_scored_is_told() {
    let truth = truth(3_000).await;
    let plain = request(ModelChoice::Propensity);
    for (request, words) in [
        (
            ScoreRequest { target: Target::Event("subscribe".to_owned()), ..plain.clone() },
            "no conversion has the event \"subscribe\"; they have purchase",
        ),
        (ScoreRequest { target: Target::Click, ..plain.clone() }, "there are no units to learn from: a score of click"),
        (ScoreRequest { horizon_days: 60, ..plain.clone() }, "ask for --horizon 43 at most"),
        (ScoreRequest { horizon_days: 0, ..plain.clone() }, "the horizon is 0 days"),
        (ScoreRequest { horizon_days: 4_000_000_000, ..plain.clone() }, "give 1 to 730"),
        (
            ScoreRequest { economics: Economics { margin: Some(1e308), ..Economics::default() }, ..plain.clone() },
            "the margin is an amount",
        ),
        (
            ScoreRequest {
                eligibility: EligibilityRules { channel: "fax".to_owned(), ..EligibilityRules::default() },
                ..plain.clone()
            },
            "there is no channel \"fax\"",
        ),
        (
            ScoreRequest {
                eligibility: EligibilityRules { frequency_days: 4_000_000_000, ..EligibilityRules::default() },
                ..plain.clone()
            },
            "the frequency cap looks back",
        ),
        (ScoreRequest { control: Some("A".to_owned()), ..plain.clone() }, "ask for one with --model uplift"),
        (ScoreRequest { filter: Some("tier > 3".to_owned()), ..plain.clone() }, "cannot be told of every recipient"),
        (ScoreRequest { filter: Some("count(*) > 3".to_owned()), ..plain.clone() }, "has no place in it"),
        (ScoreRequest { by: vec!["recipient_id".to_owned()], ..plain.clone() }, "another for each recipient"),
        (ScoreRequest { by: vec!["segment:none".to_owned()], ..plain.clone() }, "segment"),
        (ScoreRequest { budget: Some(-1.0), ..plain.clone() }, "the budget is an amount from zero"),
        (
            ScoreRequest { filter: Some("colour = 'red'".to_owned()), ..plain.clone() },
            "the condition \"colour = 'red'\" cannot be used",
        ),
        (ScoreRequest { by: vec!["colour".to_owned()], ..plain.clone() }, "the contacts have no column \"colour\""),
        (request(ModelChoice::Saved("none".to_owned())), "there is no model \"none\""),
        (request(ModelChoice::Uplift { experiment: Some("other".to_owned()) }), "there is no experiment \"other\""),
        (
            ScoreRequest { control: Some("C".to_owned()), ..request(ModelChoice::Uplift { experiment: None }) },
            "has no arm \"C\"",
        ),
        (
            ScoreRequest { target: Target::Churn, ..request(ModelChoice::Uplift { experiment: None }) },
            "not defined for those who got none",
        ),
        (ScoreRequest { horizon_days: 90, ..request(ModelChoice::Uplift { experiment: None }) }, "has not run out"),
    ] {
        let told = refused(&truth, &request).await;
        assert!(told.contains(words), "{told}");
    }
    // Nobody to score is no error, and is told.
    let nobody = ScoreRequest { filter: Some("tier = 'none'".to_owned()), ..plain.clone() };
    let (summary, scores) = scored(&truth, &nobody, "nobody.parquet").await;
    assert_eq!((summary.written, scores.num_rows(), summary.mean_score), (0, 0, None));
    assert!(summary.notes.iter().any(|note| note.contains("nobody")), "{:?}", summary.notes);
    // A cancelled work leaves nothing.
    struct Cancelled;
    impl Progress for Cancelled {
        fn at(&self, _: &'static str, _: u64, _: Option<u64>) {}
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let out = truth.store.folder.path().join("cancelled.parquet");
    let error = score(&truth.store.session().await, &plain, &out, &Cancelled).await.unwrap_err();
    assert!(error.to_string().contains("cancelled") && !out.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_another_format_content_or_schema_is_told_as_such() {
    let truth = truth(3_000).await;
    let (summary, _) = scored(&truth, &request(ModelChoice::Propensity), "scores.parquet").await;
    let id = summary.model.id.clone();
    let path = truth.store.path().join("_models").join(format!("{id}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    for (changed, words) in [
        (text.replacen("\"format\":2", "\"format\":99", 1), "made by a newer version"),
        (text.replacen("\"format\":2", "\"format\":1", 1), "made by an older version"),
        (text.replacen("\"horizon_days\":20", "\"horizon_days\":21", 1), "its content has changed"),
        (text[..text.len() / 2].to_owned(), "is damaged"),
    ] {
        assert!(changed != text);
        std::fs::write(&path, changed).unwrap();
        let told = refused(&truth, &request(ModelChoice::Saved(id.clone()))).await;
        assert!(told.contains(words), "{told}");
    }
    std::fs::write(&path, &text).unwrap();
    // A store whose contacts have no tier.
    let other = TestStore::new();
    other
        .ingest(&[
            (Log::Recipients, "recipient_id,country\nr1,DE\n"),
            (Log::Sends, "message_id,campaign_id,recipient_id,channel,sent_at\nm1,c,r1,sms,2026-03-01T00:00:00Z\n"),
        ])
        .await;
    let model = ScoreModel::of(&truth.store.store, &id).await.unwrap();
    model.keep_in(&other.store).await.unwrap();
    let other = Truth { store: other, recipients: 1 };
    let told = refused(&other, &request(ModelChoice::Saved(id))).await;
    assert!(told.contains("tier") && told.contains("which this one lacks"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_without_a_control_or_a_draw_is_refused() {
    let truth = truth(3_000).await;
    let mut assignments = "experiment_id,recipient_id,arm,is_holdout,assigned_at\n".to_owned();
    for recipient in 0..3_000 {
        let id = format!("r{recipient:05}");
        writeln!(assignments, "sent-to-all,{id},A,false,2026-03-12T00:00:00Z").unwrap();
        // The arm is nothing but the tier.
        let arm = if is_gold(recipient) { "A" } else { "B" };
        writeln!(assignments, "by-tier,{id},{arm},false,2026-03-12T00:00:00Z").unwrap();
    }
    truth.store.ingest(&[(Log::Assignments, &assignments)]).await;
    let of = |experiment: &str| request(ModelChoice::Uplift { experiment: Some(experiment.to_owned()) });
    let told = refused(&truth, &of("sent-to-all")).await;
    assert!(told.contains("nobody of \"sent-to-all\" was held back at random"), "{told}");
    let told = refused(&truth, &ScoreRequest { control: Some("B".to_owned()), ..of("by-tier") }).await;
    assert!(told.contains("can be told from what was known before"), "{told}");
    let told = refused(&truth, &request(ModelChoice::Uplift { experiment: None })).await;
    assert!(told.contains("several experiments (by-tier, sent-to-all, test)"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arms_that_were_both_sent_to_tell_a_variant_and_no_audience() {
    let truth = truth(6_000).await;
    let mut assignments = "experiment_id,recipient_id,arm,is_holdout,assigned_at,propensity\n".to_owned();
    for recipient in 0..6_000 {
        let id = format!("r{recipient:05}");
        let arm = if draw(recipient, 5) < 0.5 { "A" } else { "B" };
        writeln!(assignments, "texts,{id},{arm},false,2026-03-12T00:00:00Z,0.5").unwrap();
        // Of those meant for B two thirds are missing.
        if arm == "A" || recipient % 3 == 0 {
            writeln!(assignments, "lopsided,{id},{arm},false,2026-03-12T00:00:00Z,0.5").unwrap();
        }
        let third = ["A", "B", "C"][usize::from(draw(recipient, 6) < 0.5) + usize::from(draw(recipient, 7) < 0.5)];
        writeln!(assignments, "three,{id},{third},false,2026-03-12T00:00:00Z,").unwrap();
        if recipient < 10 {
            writeln!(assignments, "three,{id},{},false,2026-03-12T00:00:00Z,", if third == "A" { "B" } else { "A" })
                .unwrap();
        }
    }
    truth.store.ingest(&[(Log::Assignments, &assignments)]).await;
    let of = |experiment: &str| ScoreRequest {
        control: Some("A".to_owned()),
        economics: Economics { margin: Some(10.0), part_cost: Some(0.5), opt_out_value: 0.0 },
        ..request(ModelChoice::Uplift { experiment: Some(experiment.to_owned()) })
    };
    let told = refused(&truth, &of("lopsided")).await;
    assert!(told.contains("probabilities of 0.5, 0.5 were logged"), "{told}");
    let (summary, scores) = scored(&truth, &of("texts"), "texts.parquet").await;
    assert!(summary.audience.is_none());
    assert!(summary.notes.iter().any(|note| note.contains("both arms were sent messages")), "{:?}", summary.notes);
    assert!(scores.column_by_name("in_audience").unwrap().is_null(0));
    for (variant, uplift) in texts(&scores, "variant").iter().zip(numbers(&scores, "uplift")) {
        assert_eq!(variant, if uplift.unwrap() > 0.0 { "B" } else { "A" });
    }
    // Of three arms the others are taken together, unless one is named.
    let (summary, scores) = scored(&truth, &of("three"), "together.parquet").await;
    for told in ["the arms B, C are taken together", "10 recipients of \"three\" are in several arms"] {
        assert!(summary.notes.iter().any(|note| note.contains(told)), "{told}: {:?}", summary.notes);
    }
    assert!(texts(&scores, "variant").iter().all(|variant| variant == "∅"));
    let named = |arm: &str| ScoreRequest { treatment: Some(arm.to_owned()), ..of("three") };
    let (summary, scores) = scored(&truth, &named("C"), "named.parquet").await;
    assert!(!summary.notes.iter().any(|note| note.contains("taken together")), "{:?}", summary.notes);
    assert!(texts(&scores, "variant").iter().all(|variant| ["A", "C"].contains(&variant.as_str())));
    assert!(refused(&truth, &named("D")).await.contains("has no arm \"D\"; it has A, B, C"));
    assert!(refused(&truth, &named("A")).await.contains("cannot be the treatment as well"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_charged_with_the_opt_outs_that_it_is_likely_to_bring() {
    let truth = truth(9_000).await;
    let mut sends = "message_id,campaign_id,recipient_id,channel,message_type,sent_at,cost,currency,parts\n".to_owned();
    let mut opt_outs = "id,recipient_id,channel,requested_at,message_id\n".to_owned();
    let probability = |recipient: usize| if is_gold(recipient) { 0.02 } else { 0.10 };
    for (campaign, day) in [(0, "2026-03-25"), (1, "2026-04-14")] {
        for recipient in 0..9_000 {
            let id = format!("r{recipient:05}");
            writeln!(sends, "d{campaign}-{recipient},d{campaign},{id},sms,promo,{day}T10:00:00Z,0.05,EUR,1").unwrap();
            if draw(recipient, 20 + campaign) < probability(recipient) {
                writeln!(opt_outs, "d{campaign}-{recipient},{id},sms,{day}T11:00:00Z,d{campaign}-{recipient}").unwrap();
            }
        }
    }
    truth.store.ingest(&[(Log::Sends, &sends), (Log::OptOuts, &opt_outs)]).await;
    SegmentDefinition::add(&truth.store.session().await, "best", "tier = 'gold'", moment(AT)).await.unwrap();
    let asked = ScoreRequest {
        economics: Economics { margin: Some(10.0), part_cost: Some(0.5), opt_out_value: 5.0 },
        include_ineligible: true,
        by: vec!["segment:best".to_owned()],
        ..request(ModelChoice::Uplift { experiment: None })
    };
    let (summary, scores) = scored(&truth, &asked, "charged.parquet").await;
    let probabilities = numbers(&scores, "opt_out_probability");
    for gold in [true, false] {
        let own: Vec<f64> = (0..9_000).filter(|r| is_gold(*r) == gold).map(|r| probabilities[r].unwrap()).collect();
        #[allow(clippy::cast_precision_loss)]
        let mean = own.iter().sum::<f64>() / own.len() as f64;
        let expected = if gold { 0.02 } else { 0.10 };
        assert!((mean - expected).abs() < 0.012, "{gold}: {mean}");
    }
    let (uplifts, profits) = (numbers(&scores, "uplift"), numbers(&scores, "expected_profit"));
    for recipient in 0..9_000 {
        let [uplift, opt_out, profit] = [&uplifts, &probabilities, &profits].map(|column| column[recipient].unwrap());
        // The message of the treatment is one more than the control got.
        assert!((profit - (uplift * 10.0 - 0.5 - opt_out * 5.0)).abs() < 1e-9, "recipient {recipient}");
    }
    // What a message adds in the saved segment, 0.20 for each of 3,000, is in its interval, and nothing for the others.
    let of = |value: &str| summary.segments.iter().find(|segment| segment.by["segment:best"] == value).unwrap();
    let (best, others) = (of("best"), of("other"));
    assert_eq!((best.recipients, others.recipients), (3_000, 6_000));
    assert!(
        best.expected.contains(600.0) && others.expected.contains(0.0),
        "{:?} {:?}",
        best.expected,
        others.expected
    );
    // The model of opt-outs is kept with that of the effect.
    let again = ScoreRequest { model: ModelChoice::Saved(summary.model.id.clone()), ..asked };
    let (_, same) = scored(&truth, &again, "again.parquet").await;
    assert_eq!(same, scores);
}
