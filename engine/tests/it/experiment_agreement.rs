//! What stands beside a headline agrees with it: looks, margins, lifts of logarithms, checks, and what was picked.

use std::fmt::Write as _;

use sendlift_engine::event::Log;
use sendlift_engine::experiment::{
    AnalysisOptions, AssignmentRequest, Correction, ExperimentAnalysis, ExperimentDefinition, LooksSpec,
    PortfolioRequest, ProportionMethods, Recommendation, UnitRequest, Verdict, analyze_arms, analyze_store,
    analyze_units, assign_list, experiment_portfolio,
};
use sendlift_engine::ingest::input::Input;
use sendlift_engine::stats::MarginVerdict;

use crate::support::TestStore;

async fn arms(rows: &str, options: AnalysisOptions) -> ExperimentAnalysis {
    analyze_arms(&Input::memory("arms.csv", rows.to_owned().into()), &options).await.unwrap()
}

fn looks(shares: &str) -> AnalysisOptions {
    AnalysisOptions { looks: Some(LooksSpec::read(shares, "obrien-fleming").unwrap()), ..AnalysisOptions::default() }
}

fn shares(of: &[(&str, f64)]) -> Vec<(String, f64)> {
    of.iter().map(|(arm, share)| ((*arm).to_owned(), *share)).collect()
}

fn margin(text: &str) -> AnalysisOptions {
    AnalysisOptions { margins: vec![text.parse().unwrap()], ..AnalysisOptions::default() }
}

#[tokio::test]
async fn a_winner_that_does_harm_elsewhere_is_held_back_and_every_reason_is_told() {
    let table =
        "metric,arm,n,successes\nclick,A,5000,500\nclick,B,5000,900\nconversion,A,5000,400\nconversion,B,5000,200\n";
    let found = arms(table, AnalysisOptions::default()).await;
    assert_eq!(found.decision.recommendation, Recommendation::KeepControl, "{:?}", found.decision);
    assert!(found.decision.why.iter().any(|why| why.starts_with("conversion got worse")), "{:?}", found.decision);
    // Within a margin that somebody stated it may.
    let stated = arms(table, margin("conversion=10pp")).await;
    assert_eq!(stated.decision.recommendation, Recommendation::Ship, "{:?}", stated.decision);
    // An arm that wins and is held back is named beside the one that is shipped.
    let table = "metric,arm,n,successes\nclick,A,5000,500\nclick,B,5000,900\nclick,C,5000,700\n\
                 opt_out,A,5000,20\nopt_out,B,5000,90\nopt_out,C,5000,21\n";
    let found = arms(table, margin("opt_out=+1pp")).await;
    assert_eq!(found.decision.recommendation, Recommendation::Ship, "{:?}", found.decision);
    assert_eq!(found.decision.arm.as_deref(), Some("C"));
    assert!(found.decision.why.iter().any(|why| why.contains("B is worse than A on opt_out")), "{:?}", found.decision);
}

#[tokio::test]
async fn a_small_segment_without_successes_does_not_outweigh_the_others() {
    let table = "segment,arm,n,successes\nbig,A,1000,100\nbig,B,1000,100\nsmall,A,180,18\nsmall,B,20,0\n";
    let found = arms(table, AnalysisOptions::default()).await;
    let across = found.metrics[0].heterogeneity.as_ref().unwrap();
    // Weights by pooled variances, 5,555.6 and 219.8 (NumPy); scipy.stats.chi2.sf(2.114165, 1).
    assert!((across.q - 2.114_165).abs() < 1e-5 && (across.p_value - 0.145_942).abs() < 1e-5, "{across:?}");
}

#[tokio::test]
async fn an_aggregate_over_some_units_alone_is_no_comparison_of_arms() {
    let check = async |orders: &str| {
        let table = format!("metric,arm,n,mean,variance\nrevenue,A,1000,2,9\nrevenue,B,1000,2.3,9\n{orders}");
        let checks = arms(&table, AnalysisOptions::default()).await.checks;
        checks.iter().find(|check| check.check == "missing_by_arm").map(|check| (check.verdict, check.detail.clone()))
    };
    // The mean order of those who ordered: whoever the message made order is among them.
    let (verdict, detail) = check("mean order,A,100,20,100\nmean order,B,180,21,100\n").await.unwrap();
    assert_eq!(verdict, Verdict::Fail);
    assert!(detail.contains("900 of 1000 units of A have no value, and 820 of 1000 of B"), "{detail}");
    assert!(check("rating,A,500,4,1\nrating,B,510,4,1\n").await.is_none());
}

#[tokio::test]
async fn one_look_at_the_whole_is_the_test_without_looks() {
    // Arms of very different size, for whom an unpooled z would be another; few units, whose test is Student's t.
    let tables = [
        "arm,n,successes\nA,10000,500\nB,110,2\n",
        "arm,n,successes\nA,5000,500\nB,5000,560\n",
        "arm,n,mean,variance\nA,5,10,4\nB,5,12.7,4\n",
        "arm,n,successes\nA,20,0\nB,20,6\n",
    ];
    for table in tables {
        let plain = arms(table, AnalysisOptions { allocation: shares(&[]), ..AnalysisOptions::default() }).await;
        let looked = arms(table, looks("1")).await;
        let expected = plain.metrics[0].comparisons[0].decisive_p_value().unwrap();
        let look = looked.metrics[0].comparisons[0].planned_look.as_ref().unwrap();
        for p_value in [look.p_value, look.repeated_p_value, look.p_value_adjusted] {
            assert!((p_value.unwrap() - expected).abs() < 1e-6, "{table} {p_value:?} {expected}");
        }
        assert_eq!(look.crossed, expected < 0.05, "{table}");
    }
}

#[tokio::test]
async fn an_effect_at_the_last_look_wins_among_several_metrics() {
    let table = "metric,arm,n,successes\nm1,A,5000,500\nm1,B,5000,1500\nm2,A,5000,500\nm2,B,5000,500\nm3,A,5000,500\nm3,B,5000,500\n";
    let options = AnalysisOptions { correction: Correction::Holm, ..looks("0.2,0.4,0.6,0.8,1") };
    let found = arms(table, options).await;
    let best = &found.metrics[0].comparisons[0];
    let look = best.planned_look.as_ref().unwrap();
    // By stage-wise ordering no p value at the last look is below what was spent before; the repeated one is the least alpha
    // that would have stopped here.
    assert!(look.crossed && look.p_value.unwrap() > 0.02, "{look:?}");
    assert!(best.decisive_p_value().unwrap() < 1e-8, "{look:?}");
    assert_eq!(found.decision.recommendation, Recommendation::Ship);
    // A look that is crossed at alpha and not at a third of it is no win among three.
    let close = table.replace("m1,B,5000,1500", "m1,B,5000,568");
    let found = arms(&close, looks("0.2,0.4,0.6,0.8,1")).await;
    let look = found.metrics[0].comparisons[0].planned_look.as_ref().unwrap();
    let repeated = look.repeated_p_value.unwrap();
    assert!(look.crossed && repeated < 0.05 && repeated * 3.0 > 0.05, "{look:?}");
    assert!((look.p_value_adjusted.unwrap() - repeated * 3.0).abs() < 1e-9, "{look:?}");
    assert_ne!(found.decision.recommendation, Recommendation::Ship);
}

#[tokio::test]
async fn planned_arms_that_are_missing_and_unplanned_ones_fail_the_sample_ratio() {
    let table = "arm,n,successes\nA,200,20\nB,200,20\n";
    for (planned, words) in [
        (&[("A", 0.4), ("B", 0.4), ("C", 0.2)][..], "C 0"),
        (&[("A", 0.5), ("C", 0.5)][..], "no share was planned for B"),
    ] {
        let found = arms(table, AnalysisOptions { allocation: shares(planned), ..AnalysisOptions::default() }).await;
        let check = found.checks.iter().find(|check| check.check == "sample_ratio").unwrap();
        assert!(check.verdict == Verdict::Fail && check.detail.contains(words), "{check:?}");
        assert_eq!(found.decision.recommendation, Recommendation::DoNotTrust);
    }
    let fits = &[("A", 0.5), ("B", 0.5)];
    let found = arms(table, AnalysisOptions { allocation: shares(fits), ..AnalysisOptions::default() }).await;
    assert_eq!(found.checks[0].verdict, Verdict::Ok);
}

#[tokio::test]
async fn margins_go_by_the_interval_that_is_to_be_read() {
    // 0 against 3 of 20: the exact interval is wider than three points, the score test's is not.
    let found = arms("arm,n,successes\nA,20,3\nB,20,0\n", margin("metric=3pp")).await;
    let pair = &found.metrics[0].comparisons[0];
    let (exact, held) = (pair.exact.as_ref().unwrap().difference.as_ref().unwrap(), pair.margin.as_ref().unwrap());
    assert_eq!(held.test.effect, *exact);
    let is_within = exact.low.unwrap() > -0.03;
    assert_eq!(held.test.verdict == MarginVerdict::NonInferior, is_within, "{exact:?} {held:?}");
    // What varies in neither arm keeps any margin, and is not waited for for ever.
    let flat = arms("arm,n,mean,variance\nA,500,1,0\nB,500,1,0\n", margin("metric=5%")).await;
    let held = flat.metrics[0].comparisons[0].margin.as_ref().unwrap();
    assert_eq!(held.test.verdict, MarginVerdict::NonInferior, "{held:?}");
    // Of what has not happened at all nothing is known yet.
    let nothing = arms("arm,n,mean,variance\nA,20,0,0\nB,20,0,0\n", margin("metric=0.01")).await;
    let held = nothing.metrics[0].comparisons[0].margin.as_ref().unwrap();
    assert_eq!((held.test.verdict, held.test.effect.low), (MarginVerdict::NotShown, None), "{held:?}");
    let table = Input::memory("arms.csv", "arm,n,successes\nA,20,3\nB,20,0\n".into());
    let error = analyze_arms(&table, &margin("metric=200pp")).await.unwrap_err();
    assert!(error.to_string().contains("percentage points"), "{error}");
}

const MIETTINEN_NURMINEN: (f64, f64, f64) = (-0.007_797_453_2, 0.072_231_191_7, 0.114_281_465_109);
const MEE: (f64, f64) = (-0.007_777_302_0, 0.072_210_635_4);
const NEWCOMBE: (f64, f64) = (-0.007_854_225_661, 0.071_998_093_761);
const EXACT: (f64, f64, f64) = (0.128_705_237_261, 0.125_147_186_674, 0.138_269_242_555);

#[tokio::test]
async fn shares_are_compared_as_the_analyst_asks() {
    let table = "arm,n,successes\nA,500,50\nB,500,66\n";
    let with = |interval: Option<&str>, exact: Option<&str>| AnalysisOptions {
        proportions: ProportionMethods::read(interval, exact).unwrap(),
        ..AnalysisOptions::default()
    };
    let close = |found: Option<f64>, expected: f64| {
        assert!((found.unwrap() - expected).abs() < 2e-9, "{found:?} {expected}");
    };
    // The score statistic with the likeliest rates for a difference (SciPy 1.17.1, minimize_scalar), solved for the critical
    // value by brentq; statsmodels 0.15.0's confint_proportions_2indep has the same but for 3e-4 at the upper end. Its
    // method "newcomb" for Newcombe's, test_proportions_2indep(method="score", correction=True) for the p value.
    let corrected = arms(table, with(Some("miettinen-nurminen"), None)).await;
    let pair = &corrected.metrics[0].comparisons[0];
    close(pair.comparison.difference.low, MIETTINEN_NURMINEN.0);
    close(pair.comparison.difference.high, MIETTINEN_NURMINEN.1);
    close(pair.comparison.p_value, MIETTINEN_NURMINEN.2);
    let plain = arms(table, AnalysisOptions::default()).await;
    let pair = &plain.metrics[0].comparisons[0];
    close(pair.comparison.difference.low, MEE.0);
    close(pair.comparison.difference.high, MEE.1);
    let newcombe = pair.newcombe.as_ref().unwrap();
    close(newcombe.low, NEWCOMBE.0);
    close(newcombe.high, NEWCOMBE.1);
    assert!(pair.exact.is_none(), "no counts are small");
    // SciPy 1.17.1: barnard_exact, boschloo_exact, fisher_exact of [[66, 50], [434, 450]].
    for (test, expected) in [("barnard", EXACT.0), ("boschloo", EXACT.1), ("fisher", EXACT.2)] {
        let found = arms(table, with(None, Some(test))).await;
        let pair = &found.metrics[0].comparisons[0];
        let exact = pair.exact.as_ref().unwrap();
        assert!((exact.p_value.unwrap() - expected).abs() < 2e-4 * expected, "{test} {exact:?}");
        assert_eq!(pair.decisive_p_value(), exact.p_value_adjusted, "{test} decides");
    }
    assert!(
        ProportionMethods::read(Some("wald"), None).is_err() && ProportionMethods::read(None, Some("mid-p")).is_err()
    );
}

#[tokio::test]
async fn equivalence_is_two_one_sided_tests() {
    let same = "arm,n,successes\nA,10000,1000\nB,10000,1010\n";
    let options =
        |text: &str| AnalysisOptions { equivalences: vec![text.parse().unwrap()], ..AnalysisOptions::default() };
    let found = arms(same, options("metric=1pp")).await;
    let held = found.metrics[0].comparisons[0].equivalence.as_ref().unwrap();
    assert_eq!(held.test.verdict, MarginVerdict::Equivalent, "{}", held.words);
    assert!((held.test.confidence - 0.9).abs() < 1e-12 && held.words.contains("are the same"), "{}", held.words);
    let wide = arms(same, options("metric=0.3pp")).await;
    let held = wide.metrics[0].comparisons[0].equivalence.as_ref().unwrap();
    assert_eq!(held.test.verdict, MarginVerdict::NotShown, "{}", held.words);
    let signed = Input::memory("arms.csv", same.into());
    assert!(analyze_arms(&signed, &options("metric=+1pp")).await.unwrap_err().to_string().contains("no sign"));
    // A definition has both, each with its line where it is wrong.
    let text = "name = \"x\"\nprimary = \"click\"\n[equivalence]\nclick = \"1pp\"\n[analysis]\ninterval = \"wald\"\n";
    let error = ExperimentDefinition::read(text, "x.toml").unwrap_err().to_string();
    assert!(error.contains("x.toml line 6") && error.contains("miettinen-nurminen"), "{error}");
    let error = ExperimentDefinition::read(&text.replace("click = \"1pp\"", "reply = \"1pp\""), "x.toml");
    assert!(error.unwrap_err().to_string().contains("line 4"));
}

/// Units of two arms in shops; of each shop all are in one arm.
fn units() -> String {
    let mut csv = "id,arm,shop,spend,day,age\n".to_owned();
    for i in 0..480_u32 {
        let shop = i % 12;
        let arm = if shop % 2 == 0 { "A" } else { "B" };
        let spend = f64::from(i * 37 % 101) * if arm == "B" { 0.3 } else { 0.27 } + f64::from(shop);
        writeln!(
            csv,
            "u{i},{arm},s{shop},{spend},2026-03-{:02},{}",
            1 + i % 9,
            ["young", "old"][(i / 12 % 2) as usize]
        )
        .unwrap();
    }
    csv
}

async fn of_units(metric: &str, options: AnalysisOptions) -> ExperimentAnalysis {
    let request = UnitRequest {
        input: Input::memory("units.csv", units().into()),
        arm: "arm".to_owned(),
        metrics: vec![metric.parse().unwrap()],
        unit: Some("id".to_owned()),
        filter: None,
    };
    analyze_units(&request, &options).await.unwrap()
}

#[tokio::test]
async fn margins_of_clusters_have_their_degrees_of_freedom() {
    let options = AnalysisOptions { randomised_by: Some("shop".to_owned()), ..margin("spend=1.5") };
    let found = of_units("spend", options).await;
    let pair = &found.metrics[0].comparisons[0];
    let held = pair.margin.as_ref().unwrap();
    // The same interval as the headline, which tells both that zero and that the margin is inside.
    let (headline, margin) = (&pair.comparison.difference, &held.test.effect);
    for (found, expected) in [(margin.low, headline.low), (margin.high, headline.high)] {
        assert!((found.unwrap() - expected.unwrap()).abs() < 1e-9, "{margin:?} {headline:?}");
    }
    let is_within = headline.low.unwrap() > -1.5;
    assert_eq!(held.test.verdict == MarginVerdict::NonInferior, is_within);
}

#[tokio::test]
async fn every_lift_of_logarithms_is_that_of_the_geometric_mean() {
    let options = AnalysisOptions { sequential: Some(500), strata: Some("age".to_owned()), ..margin("spend=5%") };
    let found = of_units("spend:log", options).await;
    let pair = &found.metrics[0].comparisons[0];
    let stratified = pair.post_stratified.as_ref().unwrap();
    let always = pair.always_valid.as_ref().unwrap();
    for (difference, lift) in [
        (&pair.comparison.difference, &pair.comparison.lift),
        (&stratified.difference, &stratified.lift),
        (&always.difference, &always.lift),
    ] {
        let expected = difference.estimate.unwrap().exp_m1();
        assert!((lift.estimate.unwrap() - expected).abs() < 1e-12, "{difference:?} {lift:?}");
    }
    // A margin at any look is held by the interval that holds at all of them.
    let held = pair.margin.as_ref().unwrap();
    assert!((held.test.effect.low.unwrap() - always.lift.low.unwrap()).abs() < 1e-12, "{held:?} {always:?}");
    // With a sequence that decides, nothing else says that it does.
    assert!(!stratified.decides);
    // At one look five percent less is ln 0.95 lower.
    let found = of_units("spend:log", margin("spend=5%")).await;
    let pair = &found.metrics[0].comparisons[0];
    let held = pair.margin.as_ref().unwrap();
    let lift = &pair.comparison.lift;
    assert!((held.test.effect.low.unwrap() - lift.low.unwrap()).abs() < 1e-9, "{held:?} {lift:?}");
    let statistic = held.test.statistic.unwrap() / pair.comparison.statistic.unwrap();
    let difference = pair.comparison.difference.estimate.unwrap();
    assert!((statistic - (difference - 0.95_f64.ln()) / difference).abs() < 1e-9, "{statistic}");
}

const OPT_OUTS: &str = "metric,arm,n,successes\nconversion,A,20000,1000\nconversion,B,20000,1200\n\
                        opt_out,A,20000,400\nopt_out,B,20000,200\n";

#[tokio::test]
async fn fewer_opt_outs_are_better_in_a_table_of_aggregates_too() {
    let found = arms(OPT_OUTS, AnalysisOptions::default()).await;
    assert!(found.metrics[1].is_guardrail() && found.metrics[1].lower_is_better);
    assert_eq!(found.decision.recommendation, Recommendation::Ship, "{:?}", found.decision.why);
}

#[tokio::test]
async fn a_margin_is_held_by_the_interval_that_decides() {
    // 2.00 % in both arms: within a percentage point at one look, and not yet whenever somebody likes to look.
    let table =
        "metric,arm,n,successes\nconversion,A,2000,100\nconversion,B,2000,100\nopt_out,A,2000,40\nopt_out,B,2000,42\n";
    let plain = margin("opt_out=1pp");
    let verdict = |found: &ExperimentAnalysis| {
        let pair = &found.metrics[1].comparisons[0];
        let always = pair.always_valid.as_ref().and_then(|found| found.difference.high);
        (pair.margin.as_ref().unwrap().test.verdict, always.unwrap_or(0.0))
    };
    let (at_one_look, _) = verdict(&arms(table, plain.clone()).await);
    assert_eq!(at_one_look, MarginVerdict::NonInferior);
    let (at_any, high) = verdict(&arms(table, AnalysisOptions { sequential: Some(10_000), ..plain }).await);
    assert!(high > 0.01 && at_any == MarginVerdict::NotShown, "{high} {at_any:?}");
}

#[tokio::test]
async fn an_exact_test_that_cannot_be_made_decides_nothing() {
    let options = AnalysisOptions {
        proportions: ProportionMethods::read(None, Some("boschloo")).unwrap(),
        ..margin("opt_out=1pp")
    };
    let table = "metric,arm,n,successes\nconversion,A,40000,2000\nconversion,B,40000,2400\nopt_out,A,40000,800\nopt_out,B,40000,800\n";
    let found = arms(table, options).await;
    let pair = &found.metrics[0].comparisons[0];
    assert_eq!(pair.exact.as_ref().unwrap().p_value, None);
    assert!(pair.exact.as_ref().unwrap().note.contains("the headline decides"));
    assert!(pair.false_coverage.as_ref().is_none_or(|found| found.difference.low.is_some()));
    let margin = found.metrics[1].comparisons[0].margin.as_ref().unwrap();
    assert_eq!(margin.test.verdict, MarginVerdict::NonInferior, "{}", margin.words);
}

#[tokio::test]
async fn a_search_tells_what_it_found_once() {
    let options = AnalysisOptions { search: true, segments: vec!["age".to_owned()], ..AnalysisOptions::default() };
    let found = of_units("spend", options).await;
    let json = serde_json::to_string(&found.metrics[0].search[0]).unwrap();
    assert_eq!(json.matches("\"found\":").count(), 1, "{json}");
}

#[tokio::test]
async fn what_was_picked_was_picked_by_what_decides() {
    // By the exact test m is not significant, by the pooled z it is.
    let table = "metric,arm,n,successes\nm,A,20,0\nm,B,20,4\nk,A,1000,100\nk,B,1000,180\nj,A,1000,100\nj,B,1000,101\n";
    let plain = AnalysisOptions { correction: Correction::None, ..AnalysisOptions::default() };
    let found = arms(table, plain.clone()).await;
    let picked: Vec<bool> = found.metrics.iter().map(|metric| metric.comparisons[0].false_coverage.is_some()).collect();
    assert_eq!(picked, [false, true, false]);
    let sequential = arms(table, AnalysisOptions { sequential: Some(100_000), ..plain }).await;
    assert!(sequential.metrics.iter().all(|metric| metric.comparisons[0].false_coverage.is_none()));
    // A tie says nothing of either, and no interval of no width.
    let tie = arms("arm,n,successes\nA,1000,100\nB,1000,120\nC,1000,120\n", AnalysisOptions::default()).await;
    let best = tie.metrics[0].best_arm.as_ref().unwrap();
    assert!(best.hybrid.estimate.is_none() && best.hybrid.note.is_some(), "{best:?}");
    assert!(best.hybrid.high.unwrap() - best.hybrid.low.unwrap() > 0.05, "{best:?}");
}

#[tokio::test]
async fn a_definition_that_does_not_fit_leaves_the_others_in_the_portfolio() {
    let store = TestStore::new();
    let mut sends = "message_id,campaign_id,recipient_id,channel,sent_at,variant\n".to_owned();
    let mut clicks = "click_id,message_id,link,clicked_at\n".to_owned();
    for campaign in ["x1", "x2", "x3"] {
        for i in 0..400 {
            let variant = if i % 2 == 0 { "A" } else { "B" };
            writeln!(sends, "{campaign}-{i},{campaign},r{i},sms,2026-03-01T10:00:00Z,{variant}").unwrap();
            if i % 5 == 0 {
                writeln!(clicks, "k{campaign}-{i},{campaign}-{i},https://x.example/,2026-03-01T11:00:00Z").unwrap();
            }
        }
    }

    store.ingest(&[(Log::Sends, &sends), (Log::Clicks, &clicks)]).await;
    let wrong = "name = \"x3\"\ncampaign = \"x3\"\narms = { A = 0.5, C = 0.5 }\nprimary = \"click\"\n";
    ExperimentDefinition::read(wrong, "x3.toml").unwrap().add_to(&store.store, false).await.unwrap();
    let request = PortfolioRequest { metric: "click".to_owned(), alpha: 0.05, minimum_effect: 0.0 };
    let found = experiment_portfolio(&store.session().await, &request).await.unwrap();
    assert_eq!(found.effects.len(), 2);
    assert!(found.left_out.iter().any(|why| why.starts_with("x3: check sample_ratio failed")), "{:?}", found.left_out);
}

#[tokio::test]
async fn names_stay_as_they_are_written() {
    let store = TestStore::new();
    let out = store.folder.path().join("assigned.csv");
    let ids = ["000029", "29", "+14155550081", "89860000000000000000", "89860000000000000001", "NaN"];
    let list = format!("recipient_id,zip\n{}\n", ids.map(|id| format!("{id},02139")).join("\n"));
    let request = AssignmentRequest {
        list: Input::memory("list.csv", list.into()),
        unit: "recipient_id".to_owned(),
        experiment: "e".to_owned(),
        arms: shares(&[("A", 0.5), ("B", 0.5)]),
        holdout: None,
        strata: vec!["zip".to_owned()],
        seed: 1,
        assigned_at: "2026-03-01T00:00:00Z".parse().unwrap(),
    };
    let summary = assign_list(&request, &out).await.unwrap();
    assert_eq!((summary.repeated_rows, summary.rows_without_recipient), (0, 0));
    let written = std::fs::read_to_string(&out).unwrap();
    let mut found: Vec<&str> = written.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    found.sort_unstable();
    let mut expected = ids;
    expected.sort_unstable();
    assert_eq!(found, expected);

    // Arms 01 and 02, zip codes that are one number, and ids that are.
    let mut table = "iccid,arm,zip,bought\n".to_owned();
    for unit in 0..400_usize {
        let (arm, zip) = (["01", "02"][unit % 2], ["02139", "2139"][unit / 2 % 2]);
        writeln!(
            table,
            "{},{arm},{zip},{}",
            89_860_000_000_000_000_000_u128 + u128::try_from(unit).unwrap(),
            unit % 5 / 4
        )
        .unwrap();
    }
    let request = UnitRequest {
        input: Input::memory("units.csv", table.into()),
        arm: "arm".to_owned(),
        metrics: vec!["bought".parse().unwrap()],
        unit: Some("iccid".to_owned()),
        filter: None,
    };
    let options = AnalysisOptions {
        control: Some("01".to_owned()),
        segments: vec!["zip".to_owned()],
        ..AnalysisOptions::default()
    };
    let found = analyze_units(&request, &options).await.unwrap();
    assert_eq!(found.arms.iter().map(|arm| (arm.arm.as_str(), arm.n)).collect::<Vec<_>>(), [("01", 200), ("02", 200)]);
    let zips: Vec<&str> =
        found.metrics[0].segments.iter().filter_map(|segment| segment.segment["zip"].as_str()).collect();
    assert_eq!(zips, ["02139", "2139"]);
    assert!(!found.checks.iter().any(|check| check.check == "duplicate_units"), "{:?}", found.checks);
}

#[tokio::test]
async fn a_guardrail_alarms_without_a_winner_and_signs_do_not_contradict() {
    let table = "metric,arm,n,successes\nclick,A,5000,500\nclick,B,5000,505\nopt_out,A,5000,35\nopt_out,B,5000,230\n";
    let guarded = AnalysisOptions { margins: vec!["opt_out=+1pp".parse().unwrap()], ..AnalysisOptions::default() };
    let found = arms(table, guarded).await;
    assert_eq!(found.decision.recommendation, Recommendation::KeepControl);
    let told = found.decision.why.join("; ");
    assert!(told.contains("B is worse than A on opt_out by more than 1pp (one-sided p < 1e-15)"), "{told}");
    for (margin, named) in [("click=+1pp", "a rise is worse"), ("click=-1pp", "")] {
        let options = AnalysisOptions { margins: vec![margin.parse().unwrap()], ..AnalysisOptions::default() };
        let answer = analyze_arms(&Input::memory("arms.csv", table.to_owned().into()), &options).await;
        match answer {
            Ok(_) => assert!(named.is_empty(), "{margin}"),
            Err(error) => assert!(!named.is_empty() && error.to_string().contains(named), "{margin}: {error}"),
        }
    }
}

#[tokio::test]
async fn rows_without_their_unit_are_left_out_and_counted() {
    let mut table = String::from("id,arm,bought\n");
    for unit in 0..400 {
        let id = if unit % 100 == 0 { String::new() } else { format!("u{unit}") };
        writeln!(table, "{id},{},{}", if unit % 2 == 0 { "A" } else { "B" }, unit % 5 / 4).unwrap();
    }
    let request = UnitRequest {
        input: Input::memory("units.csv", table.into()),
        arm: "arm".to_owned(),
        metrics: vec!["bought".parse().unwrap()],
        unit: Some("id".to_owned()),
        filter: None,
    };
    let found = analyze_units(&request, &AnalysisOptions::default()).await.unwrap();
    assert_eq!(found.arms.iter().map(|arm| arm.n).collect::<Vec<_>>(), [196, 200]);
    let told = found.checks.iter().find(|check| check.check == "missing_unit").unwrap();
    assert!(told.detail.starts_with("4 rows without a value of id"), "{}", told.detail);
}

#[tokio::test]
async fn values_whose_squares_are_no_numbers_are_refused() {
    let mut table = String::from("arm,vast,plain\n");
    for unit in 0..400 {
        let (arm, vast) = if unit % 2 == 0 { ("A", -1e200) } else { ("B", 1e200) };
        writeln!(table, "{arm},{:e},{}", vast * f64::from(1 + unit % 7), unit % 5).unwrap();
    }
    for (metric, covariates) in
        [("vast:mean", vec![]), ("vast:ratio=plain", vec![]), ("plain:mean", vec!["vast".to_owned()])]
    {
        let request = UnitRequest {
            input: Input::memory("units.csv", table.clone().into()),
            arm: "arm".to_owned(),
            metrics: vec![metric.parse().unwrap()],
            unit: None,
            filter: None,
        };
        let error = analyze_units(&request, &AnalysisOptions { covariates, ..AnalysisOptions::default() }).await;
        assert!(error.unwrap_err().to_string().contains("not a finite number"), "{metric}");
    }
}

/// Spend goes with what was known before, of which arm B happens to have had less: by the plain difference B is worse by two.
#[tokio::test]
async fn margins_are_held_against_the_adjusted_difference_where_that_decides() {
    let mut table = "id,arm,before,band,spend\n".to_owned();
    for unit in 0..600_u32 {
        let is_treated = unit % 2 == 1;
        let before = unit / 2 * 7 % 40 + if is_treated && unit % 3 == 0 { 0 } else { 4 };
        let spend = f64::from(2 * before + unit * 53 % 17) + if is_treated { 0.2 } else { 0.0 };
        writeln!(table, "u{unit},{},{before},{},{spend}", if is_treated { "B" } else { "A" }, before / 8).unwrap();
    }
    let analysed = async |options: AnalysisOptions| {
        let request = UnitRequest {
            input: Input::memory("units.csv", table.clone().into()),
            arm: "arm".to_owned(),
            metrics: vec!["spend:mean".parse().unwrap()],
            unit: Some("id".to_owned()),
            filter: None,
        };
        let options = AnalysisOptions {
            margins: vec!["spend=-2".parse().unwrap()],
            equivalences: vec!["spend=2".parse().unwrap()],
            ..options
        };
        analyze_units(&request, &options).await.unwrap()
    };
    let plain = analysed(AnalysisOptions::default()).await;
    let plain = &plain.metrics[0].comparisons[0];
    assert_eq!(plain.margin.as_ref().unwrap().test.verdict, MarginVerdict::NotShown);
    assert_eq!(plain.equivalence.as_ref().unwrap().test.verdict, MarginVerdict::NotShown);
    let covariates = AnalysisOptions { covariates: vec!["before".to_owned()], ..AnalysisOptions::default() };
    let strata = AnalysisOptions { strata: Some("band".to_owned()), ..AnalysisOptions::default() };
    for options in [covariates, strata] {
        let adjusted = analysed(options.clone()).await;
        let adjusted = &adjusted.metrics[0].comparisons[0];
        let of = adjusted.adjusted.as_ref().or(adjusted.post_stratified.as_ref()).unwrap();
        let decides = &of.difference;
        let (margin, equivalence) = (adjusted.margin.as_ref().unwrap(), adjusted.equivalence.as_ref().unwrap());
        // Both ends of the margin's interval hold at half of alpha: it is that of the adjusted difference.
        assert_eq!(&margin.test.effect, decides, "{options:?}");
        assert_eq!(margin.test.verdict, MarginVerdict::NonInferior);
        assert_eq!(equivalence.test.effect.estimate, decides.estimate);
        assert_eq!(equivalence.test.verdict, MarginVerdict::Equivalent, "{equivalence:?}");
        let looked = analysed(AnalysisOptions { sequential: Some(600), ..options }).await;
        let looked = &looked.metrics[0].comparisons[0];
        assert_eq!(
            &looked.equivalence.as_ref().unwrap().test.effect,
            &looked.always_valid.as_ref().unwrap().difference
        );
    }
}

#[tokio::test]
async fn what_an_arm_is_worth_follows_the_way_that_is_better_and_counts_nothing_twice() {
    // Of 2,000 recipients half get B, which costs twice as much; of A's 100 opt out and 20 convert, of B's 50 and 100.
    let store = TestStore::new();
    let mut sends = "message_id,campaign_id,variant,recipient_id,channel,sent_at,cost,currency\n".to_owned();
    let mut opt_outs = "recipient_id,channel,requested_at,source\n".to_owned();
    let mut conversions = "conversion_id,recipient_id,event,occurred_at\n".to_owned();
    for number in 0..2000 {
        let (arm, cost, leaves, buys) = if number % 2 == 0 { ("A", 0.05, 100, 20) } else { ("B", 0.10, 50, 100) };
        writeln!(sends, "m{number},spring,{arm},r{number},sms,2026-03-02T10:00:00Z,{cost},EUR").unwrap();
        if number / 2 < leaves {
            writeln!(opt_outs, "r{number},sms,2026-03-02T12:00:00Z,reply").unwrap();
        }
        if number / 2 >= 1000 - buys {
            writeln!(conversions, "c{number},r{number},buy,2026-03-02T13:00:00Z").unwrap();
        }
    }
    // The windows have closed.
    writeln!(sends, "late,after,,rx,sms,2026-06-02T10:00:00Z,0.05,EUR").unwrap();
    store.ingest(&[(Log::Sends, &sends), (Log::OptOuts, &opt_outs), (Log::Conversions, &conversions)]).await;
    let session = store.session().await;
    let told = async |primary: &str, guardrails: &str, costs: &str| {
        let text = format!(
            "name = \"x-{primary}\"\ncampaign = \"spring\"\nprimary = \"{primary}\"\nguardrails = {guardrails}\n[costs]\n{costs}\n"
        );
        ExperimentDefinition::read(&text, "x.toml").unwrap().add_to(&store.store, true).await.unwrap();
        let found = analyze_store(&session, &format!("x-{primary}"), &AnalysisOptions::default()).await.unwrap();
        (found.decision.recommendation, found.decision.why.join("; "))
    };
    // Opt-outs 10 % and 5 %: each recipient brings 20 × 0.05 less five cents more a message, and no cost of opt-outs again.
    let (shipped, why) = told("opt_out", "[\"conversion\"]", "value = 20\nopt_out = 20").await;
    assert_eq!(shipped, Recommendation::Ship, "{why}");
    assert!(why.contains("B brings +1.0000 for each recipient, between +0.5"), "{why}");
    assert!(why.contains("(95 % interval): opt_out at 20 each that is spared") && !why.contains("less"), "{why}");
    // Conversions 2 % and 10 %: 10 × 0.08, and 2 × 0.05 for the opt-outs that are spared.
    let (shipped, why) = told("conversion", "[\"opt_out\"]", "value = 10\nopt_out = 2").await;
    assert_eq!(shipped, Recommendation::Ship, "{why}");
    assert!(why.contains("B brings +0.9000 for each recipient") && why.contains(", less opt-outs"), "{why}");
    // The cost of a message is the same in all of an arm: it is known to have doubled, and a guardrail says so.
    let (kept, why) = told("conversion", "[\"cost\"]", "value = 10").await;
    assert_eq!(kept, Recommendation::KeepControl, "{why}");
    assert!(why.contains("guardrail cost got worse: B 0.1000 against A 0.0500: +0.0500 [+0.0500, +0.0500]"), "{why}");
}
