//! Before and around an experiment: lists drawn into arms, balance, a search among segments, definitions, the portfolio.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use sendlift_engine::event::Log;
use sendlift_engine::experiment::{
    AnalysisOptions, AssignmentRequest, ExperimentAnalysis, ExperimentDefinition, MetricKind, PortfolioRequest,
    Recommendation, UnitRequest, Verdict, analyze_store, analyze_units, assign_list, experiment_portfolio, past_rates,
};
use sendlift_engine::ingest::input::Input;
use sendlift_engine::stats::segment_search::SearchVerdict;

use crate::support::TestStore;

fn list(rows: std::ops::Range<u32>) -> Input {
    let mut csv = "recipient_id,country\n".to_owned();
    for i in rows {
        writeln!(csv, "r{i},{}", ["CN", "DE", "US"][(i % 7 % 3) as usize]).unwrap();
    }
    Input::memory("list.csv", csv.into())
}

fn request(list: Input, strata: &[&str], seed: u64) -> AssignmentRequest {
    AssignmentRequest {
        list,
        unit: "recipient_id".to_owned(),
        experiment: "spring".to_owned(),
        arms: vec![("A".to_owned(), 0.45), ("B".to_owned(), 0.45), ("holdout".to_owned(), 0.1)],
        holdout: Some("holdout".to_owned()),
        strata: strata.iter().map(|column| (*column).to_owned()).collect(),
        seed,
        assigned_at: "2026-03-01T09:00:00Z".parse().unwrap(),
    }
}

/// Arm, holdout and propensity of each recipient in a CSV of assignments.
fn arms_in(path: &Path) -> BTreeMap<String, (String, String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("experiment_id,recipient_id,arm,is_holdout,assigned_at,propensity"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            (cells[1].to_owned(), (cells[2].to_owned(), cells[3].to_owned(), cells[5].to_owned()))
        })
        .collect()
}

#[tokio::test]
async fn a_list_is_drawn_reproducibly_and_by_strata() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("assignments.csv");
    let summary = assign_list(&request(list(0..3_000), &["country"], 7), &out).await.unwrap();
    assert_eq!((summary.strata, summary.repeated_rows, summary.rows_without_recipient), (3, 0, 0));
    assert!(summary.sample_ratio.p_value > 0.9, "{summary:?}");
    let drawn = arms_in(&out);
    assert_eq!(drawn.len(), 3_000);
    let mut by_stratum: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for i in 0..3_000_u32 {
        let (arm, holdout, propensity) = &drawn[&format!("r{i}")];
        assert_eq!(
            (holdout == "true", propensity.parse::<f64>().unwrap()),
            (arm == "holdout", if arm == "holdout" { 0.1 } else { 0.45 })
        );
        *by_stratum.entry((["CN", "DE", "US"][(i % 7 % 3) as usize], arm)).or_default() += 1;
    }
    // Three of each seven are in the first country, two in either other: every arm is within one of its share.
    for (country, size) in [("CN", 1_286), ("DE", 857), ("US", 857)] {
        for (arm, share) in [("A", 0.45), ("B", 0.45), ("holdout", 0.1)] {
            let found = f64::from(by_stratum[&(country, arm)]);
            assert!((found - share * f64::from(size)).abs() <= 1.0, "{country} {arm}: {found}");
        }
    }
    // The order of the list and repeated rows make no difference; another seed does.
    let mut again = "recipient_id,country\n".to_owned();
    for i in (0..3_000_u32).rev().chain(5..8) {
        writeln!(again, "r{i},{}", ["CN", "DE", "US"][(i % 7 % 3) as usize]).unwrap();
    }
    writeln!(again, ",US").unwrap();
    let other = folder.path().join("again.csv");
    let shuffled = request(Input::memory("again.csv", again.into()), &["country"], 7);
    let summary = assign_list(&shuffled, &other).await.unwrap();
    assert_eq!((summary.repeated_rows, summary.rows_without_recipient), (3, 1));
    assert_eq!(arms_in(&other), drawn);
    assign_list(&request(list(0..3_000), &["country"], 8), &other).await.unwrap();
    let moved = arms_in(&other).iter().filter(|(recipient, arm)| drawn[*recipient].0 != arm.0).count();
    // Two draws at these shares agree in 0.45² + 0.45² + 0.1² = 41.5 % of the recipients.
    assert!((1_600..1_910).contains(&moved), "{moved} of 3000 moved");

    let mut wrong = request(list(0..10), &[], 1);
    wrong.arms[0].1 = 0.5;
    assert!(assign_list(&wrong, &other).await.unwrap_err().to_string().contains("add up to 1.05"));
    let wrong = request(list(0..10), &["city"], 1);
    assert!(assign_list(&wrong, &other).await.unwrap_err().to_string().contains("no column \"city\""));
    let wrong = assign_list(&request(list(0..10), &[], 1), &folder.path().join("a.xlsx")).await.unwrap_err();
    assert!(wrong.to_string().contains("must end in .csv"), "{wrong}");
}

/// Units with an effect in one segment alone, or none.
async fn searched(effect_in: Option<&str>, metric: &str) -> ExperimentAnalysis {
    let mut csv = "id,arm,visit,age\n".to_owned();
    for i in 0..24_000_u32 {
        let age = ["18-24", "25-34", "35-44", "45-54"][(i % 4) as usize];
        let treated = i / 4 % 2 == 1;
        // Multiplicative hashing: as good as a coin that anybody can toss again.
        let toss = i.wrapping_mul(2_654_435_761) >> 16;
        let threshold = if treated && Some(age) == effect_in { 13_000 } else { 6_500 };
        writeln!(csv, "u{i},{},{},{age}", if treated { "B" } else { "A" }, u32::from(toss % 65_536 < threshold))
            .unwrap();
    }
    let request = UnitRequest {
        input: Input::memory("units.csv", csv.into()),
        arm: "arm".to_owned(),
        metrics: vec![metric.parse().unwrap()],
        unit: Some("id".to_owned()),
        filter: None,
    };
    let options = AnalysisOptions { segments: vec!["age".to_owned()], search: true, ..AnalysisOptions::default() };
    analyze_units(&request, &options).await.unwrap()
}

#[tokio::test]
async fn a_search_finds_the_one_segment_and_nothing_where_there_is_none() {
    for metric in ["visit", "visit:mean"] {
        let found = searched(Some("35-44"), metric).await;
        let search = &found.metrics[0].search[0];
        assert_eq!(search.search.verdict, SearchVerdict::Confirmed, "{}", search.search.summary);
        assert_eq!(search.found.len(), 1);
        assert_eq!(search.found[0].segment["age"], "35-44");
        let honest = &search.found[0].result.honest.difference;
        assert!(honest.low.unwrap() < 0.0992 && 0.0992 < honest.high.unwrap(), "{honest:?}");
    }
    let none = searched(None, "visit").await;
    assert!(none.metrics[0].search[0].found.is_empty(), "{}", none.metrics[0].search[0].search.summary);
    // The arm does not depend on the age.
    let check = none.checks.iter().find(|check| check.check == "arm_by_column").unwrap();
    assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
}

#[tokio::test]
async fn an_arm_that_depends_on_a_column_is_called_out() {
    let mut csv = "arm,visit,country,before\n".to_owned();
    for i in 0..2_000_u32 {
        let arm = if i % 2 == 0 { "A" } else { "B" };
        let country = if i % 10 < 8 { ["CN", "DE"][(i % 2) as usize] } else { "US" };
        writeln!(csv, "{arm},{},{country},{}", u32::from(i % 3 == 0), i % 11 + 4 * (i % 2)).unwrap();
    }
    let request = |metrics: &str| UnitRequest {
        input: Input::memory("units.csv", csv.clone().into()),
        arm: "arm".to_owned(),
        metrics: vec![metrics.parse().unwrap()],
        unit: None,
        filter: None,
    };
    let by_country = AnalysisOptions { segments: vec!["country".to_owned()], ..AnalysisOptions::default() };
    let found = analyze_units(&request("visit"), &by_country).await.unwrap();
    let check = found.checks.iter().find(|check| check.check == "arm_by_column").unwrap();
    assert!(check.verdict == Verdict::Fail && check.detail.contains("not drawn at random"), "{check:?}");
    assert_eq!(found.decision.recommendation, Recommendation::DoNotTrust);
    // Shares that were planned by the column are fine.
    let planned = AnalysisOptions { strata: Some("country".to_owned()), ..by_country };
    let found = analyze_units(&request("visit"), &planned).await.unwrap();
    assert!(found.checks.iter().all(|check| check.check != "arm_by_column"));
    let covariate = AnalysisOptions { covariates: vec!["before".to_owned()], ..AnalysisOptions::default() };
    let found = analyze_units(&request("visit"), &covariate).await.unwrap();
    let check = found.checks.iter().find(|check| check.check == "pre_experiment_balance").unwrap();
    assert_ne!(check.verdict, Verdict::Ok, "{check:?}");
}

/// Two campaigns with two texts each to the same recipients.
async fn two_campaigns() -> TestStore {
    let store = TestStore::new();
    let mut sends = "message_id,campaign_id,variant,recipient_id,channel,message_type,sent_at\n".to_owned();
    let mut clicks = "click_id,message_id,link,clicked_at\n".to_owned();
    for (campaign, month) in [("spring", 3), ("summer", 6)] {
        for i in 0..1_200_u32 {
            let (variant, day) = (if i % 2 == 0 { "A" } else { "B" }, 1 + i % 3);
            let at = format!("2026-0{month}-0{day}T09:00:00Z");
            writeln!(sends, "{campaign}{i},{campaign},{variant},r{i},sms,promo,{at}").unwrap();
            let clicked = if variant == "B" && campaign == "spring" { i % 5 < 2 } else { i % 5 == 0 };
            if clicked {
                let at = format!("2026-0{month}-0{day}T10:{:02}:00Z", i % 60);
                writeln!(clicks, "c{campaign}{i},{campaign}{i},https://x.example/a,{at}").unwrap();
            }
        }
    }
    store.ingest(&[(Log::Sends, &sends), (Log::Clicks, &clicks)]).await;
    store
}

#[tokio::test]
async fn a_definition_is_what_the_analysis_goes_by() {
    let store = two_campaigns().await;
    let text = "name = \"spring-copy\"\ncampaign = \"spring\"\ncontrol = \"A\"\nprimary = \"click\"\n\
                minimum_effect = \"30pp\"\nfilter = \"recipient_id <> 'r0'\"\n";
    let definition = ExperimentDefinition::read(text, "spring.toml").unwrap();
    definition.add_to(&store.store, false).await.unwrap();
    let found = analyze_store(&store.session().await, "spring-copy", &AnalysisOptions::default()).await.unwrap();
    assert_eq!(found.arms.iter().map(|arm| arm.n).collect::<Vec<_>>(), [599, 600], "without r0");
    assert_eq!(found.metrics.len(), 1);
    // Twenty points are significant, and not worth having.
    assert_eq!(found.decision.recommendation, Recommendation::KeepControl, "{:?}", found.decision.why);
    assert!(found.decision.why.iter().any(|why| why.contains("worth having")), "{:?}", found.decision.why);
    let changed = ExperimentDefinition::read(&text.replace("30pp", "2pp"), "spring.toml").unwrap();
    let refused = changed.add_to(&store.store, false).await.unwrap_err().to_string();
    assert!(refused.contains("--replace"), "{refused}");
    changed.add_to(&store.store, true).await.unwrap();
    let found = analyze_store(&store.session().await, "spring-copy", &AnalysisOptions::default()).await.unwrap();
    assert_eq!(found.decision.recommendation, Recommendation::Ship, "{:?}", found.decision.why);
    assert_eq!(ExperimentDefinition::all(&store.store).await.unwrap().len(), 1);
    let wrong = text.replace("recipient_id <> 'r0'", "cuntry = 'DE'");
    ExperimentDefinition::read(&wrong, "x").unwrap().add_to(&store.store, true).await.unwrap();
    let error = analyze_store(&store.session().await, "spring-copy", &AnalysisOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("cuntry"), "{error}");
}

#[tokio::test]
async fn a_definition_filters_what_is_credited_to_its_messages() {
    let store = TestStore::new();
    let mut assignments = "experiment_id,recipient_id,arm,is_holdout,assigned_at\n".to_owned();
    let mut sends = "message_id,campaign_id,variant,experiment_id,recipient_id,channel,sent_at\n".to_owned();
    let mut conversions = "conversion_id,recipient_id,event,occurred_at,value,currency\n".to_owned();
    for number in 0..20 {
        for arm in ["A", "B", "holdout"] {
            let unit = format!("{arm}{number}");
            writeln!(assignments, "e,{unit},{arm},{},2026-03-01T00:00:00Z", arm == "holdout").unwrap();
            if arm != "holdout" {
                writeln!(sends, "s{unit},spring,{arm},e,{unit},sms,2026-03-02T10:00:00Z").unwrap();
                writeln!(sends, "w{unit},summer,{arm},e,{unit},sms,2026-06-02T10:00:00Z").unwrap();
            }
            let buys = if arm == "holdout" { 2 } else { 5 };
            if number < buys {
                writeln!(conversions, "s{unit},{unit},purchase,2026-03-03T10:00:00Z,10,USD").unwrap();
            }
            if number == 19 {
                writeln!(conversions, "w{unit},{unit},purchase,2026-06-03T10:00:00Z,10,USD").unwrap();
            }
        }
    }
    let logs = [(Log::Assignments, &*assignments), (Log::Sends, &*sends), (Log::Conversions, &*conversions)];
    store.ingest(&logs).await;
    let credited = async || {
        let found = analyze_store(&store.session().await, "e", &AnalysisOptions::default()).await.unwrap();
        let metrics = found.incrementality.unwrap().metrics;
        metrics.iter().map(|metric| (metric.metric.clone(), metric.attributed)).collect::<Vec<_>>()
    };
    assert_eq!(credited().await, [("conversions".to_owned(), 12.0), ("revenue".to_owned(), 120.0)]);
    let text = "name = \"e\"\ncontrol = \"A\"\nprimary = \"conversion\"\nfilter = \"campaign_id = 'spring'\"\n";
    ExperimentDefinition::read(text, "e.toml").unwrap().add_to(&store.store, false).await.unwrap();
    assert_eq!(credited().await, [("conversions".to_owned(), 10.0), ("revenue".to_owned(), 100.0)]);
}

#[tokio::test]
async fn what_is_of_unit_tables_is_refused_of_the_store_also_when_a_sample_is_kept() {
    let store = two_campaigns().await;
    let session = store.session().await;
    analyze_store(&session, "spring", &AnalysisOptions::default()).await.unwrap();
    let by_shop = AnalysisOptions { randomised_by: Some("shop".to_owned()), ..AnalysisOptions::default() };
    let refused = analyze_store(&session, "spring", &by_shop).await.unwrap_err().to_string();
    assert!(refused.contains("--randomised-by"), "{refused}");
}

#[tokio::test]
async fn a_portfolio_draws_winners_towards_the_rest() {
    let store = two_campaigns().await;
    let request = |metric: &str| PortfolioRequest { metric: metric.to_owned(), alpha: 0.05, minimum_effect: 0.0 };
    let found = experiment_portfolio(&store.session().await, &request("click")).await.unwrap();
    let names: BTreeSet<&str> = found.effects.iter().map(|effect| effect.experiment.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["spring", "summer"]));
    assert_eq!(found.declared.count, 1);
    let spring = found.effects.iter().find(|effect| effect.experiment == "spring").unwrap();
    assert!(spring.effect.shrunk.estimate.unwrap() <= spring.effect.naive.estimate.unwrap());
    assert_eq!((found.overlaps.len(), found.overlaps[0].shared), (1, 1_200));
    let none = experiment_portfolio(&store.session().await, &request("conversion")).await.unwrap_err().to_string();
    assert!(none.contains("do not tell conversion"), "{none}");
}

#[tokio::test]
async fn a_plan_takes_the_rates_of_the_list_from_its_logs() {
    let store = two_campaigns().await;
    let session = store.session().await;
    let clicked = (0..1_200_u32).filter(|i| if i % 2 == 1 { i % 5 < 2 } else { i % 5 == 0 }).count();
    let share = f64::from(u32::try_from(clicked).unwrap()) / 1_200.0;
    let spring = past_rates(&session, "click", Some("spring")).await.unwrap();
    assert_eq!((spring.units, spring.campaigns, spring.days, spring.kind), (1_200, 1, 3, MetricKind::Proportion));
    assert!((spring.baseline - share).abs() < 1e-12 && (spring.per_day - 400.0).abs() < 1e-9, "{spring:?}");
    assert!((spring.variance - share * (1.0 - share) * 1_200.0 / 1_199.0).abs() < 1e-9, "{spring:?}");
    // The last ninety days of the logs have summer alone: spring is 92 days before it.
    let all = past_rates(&session, "click", None).await.unwrap();
    assert_eq!((all.units, all.campaigns), (1_200, 1), "{all:?}");
    for (metric, campaign, words) in
        [("sales", None, "no rate of \"sales\""), ("click", Some("autumn"), "campaign \"autumn\" has no message")]
    {
        let error = past_rates(&session, metric, campaign).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
