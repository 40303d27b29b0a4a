//! Every kind of metric of a unit table, covariates, strata and clusters: the queries give what the statistics give from
//! the values themselves.

use std::fmt::Write as _;

use sendlift_engine::experiment::{
    AnalysisOptions, ArmsComparison, ExperimentAnalysis, LooksSpec, MetricSpec, UnitRequest, analyze_units,
};
use sendlift_engine::ingest::input::Input;
use sendlift_engine::stats::adjust::{Stratum, compare_adjusted, compare_adjusted_units, compare_post_stratified};
use sendlift_engine::stats::skewed::{Cut, Winsorising, compare_winsorised, logarithm_moments};
use sendlift_engine::stats::{
    ClusterTotal, Comparison, CrossMoments, Estimate, Moments, Outcome, RatioMoments, Slopes, ValueCounts,
    WildBootstrap, compare_clustered_quantiles, compare_clusters, compare_logarithms, compare_quantiles,
    compare_ratios,
};

/// One unit: its arm, what it spent and clicked, what was known of it before, and where it belongs.
#[derive(Clone, Copy)]
struct Unit {
    treated: bool,
    spend: f64,
    clicks: f64,
    before: f64,
    age: f64,
    shop: usize,
    country: &'static str,
}

/// Units by arithmetic alone; of each shop all are in one arm.
fn units() -> Vec<Unit> {
    (0..600_u32)
        .map(|i| {
            let shop = (i % 60) as usize;
            let treated = shop % 2 == 1;
            let before = f64::from(i * 37 % 101);
            let noise = f64::from(i * 53 % 89) / 7.0;
            let spend = if i % 3 == 0 { 0.0 } else { (before + noise + f64::from(u8::from(treated)) * 4.0) * 0.25 };
            let spend = if i == 100 { 900.0 } else { spend };
            let country = ["CN", "DE", "US"][(i * 7 % 3) as usize];
            Unit { treated, spend, clicks: f64::from(i % 4), before, age: f64::from(20 + i * 31 % 47), shop, country }
        })
        .collect()
}

fn table(units: &[Unit]) -> Input {
    let mut csv = "arm,spend,clicks,before,age,shop,country\n".to_owned();
    for unit in units {
        let arm = if unit.treated { "B" } else { "A" };
        let Unit { spend, clicks, before, age, shop, country, .. } = unit;
        writeln!(csv, "{arm},{spend},{clicks},{before},{age},shop {shop},{country}").unwrap();
    }
    Input::memory("units.csv", csv.into())
}

async fn analysis(metrics: &[&str], options: AnalysisOptions) -> ExperimentAnalysis {
    let request = UnitRequest {
        input: table(&units()),
        arm: "arm".to_owned(),
        metrics: metrics.iter().map(|metric| metric.parse::<MetricSpec>().unwrap()).collect(),
        unit: None,
        filter: None,
    };
    analyze_units(&request, &options).await.unwrap()
}

fn first(analysis: &ExperimentAnalysis, metric: usize) -> &ArmsComparison {
    &analysis.metrics[metric].comparisons[0]
}

fn arms<T>(value: impl Fn(&Unit) -> T) -> (Vec<T>, Vec<T>) {
    let all = units();
    let of = |treated: bool| all.iter().filter(|unit| unit.treated == treated).map(&value).collect();
    (of(false), of(true))
}

fn assert_close(found: Option<f64>, expected: Option<f64>, what: &str) {
    let (Some(found), Some(expected)) = (found, expected) else {
        assert_eq!(found, expected, "{what}");
        return;
    };
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {found} is not {expected}");
}

fn assert_estimates(found: &Estimate, expected: &Estimate, what: &str) {
    assert_close(found.estimate, expected.estimate, what);
    assert_close(found.low, expected.low, what);
    assert_close(found.high, expected.high, what);
}

fn assert_same(found: &ArmsComparison, expected: &Comparison, what: &str) {
    assert_estimates(&found.comparison.difference, &expected.difference, what);
    assert_estimates(&found.comparison.lift, &expected.lift, what);
    assert_close(found.comparison.p_value, expected.p_value, what);
    assert!(found.comparison.p_value.is_some(), "{what} has no test");
}

#[tokio::test]
async fn every_kind_is_that_of_the_values() {
    let metrics = ["spend:ratio=clicks", "spend:quantile=0.9", "spend:winsorised=0.05", "spend:log", "spend:mean"];
    let found = analysis(&metrics, AnalysisOptions::default()).await;
    let names: Vec<_> = found.metrics.iter().map(|metric| metric.detail.clone()).collect();
    assert_eq!(names[..2], [Some("per clicks".to_owned()), Some("quantile 0.9".to_owned())]);

    let (control, treatment) = arms(|unit| (unit.spend, unit.clicks));
    let ratio = |arm: &[(f64, f64)]| RatioMoments::from_values(arm.iter().copied()).unwrap();
    let expected = compare_ratios(&ratio(&control), &ratio(&treatment), 0.05).unwrap();
    assert_same(first(&found, 0), &expected, "ratio");
    assert_close(found.metrics[0].arms[1].mean, ratio(&treatment).ratio(), "ratio of an arm");

    let (control, treatment) = arms(|unit| unit.spend);
    let counts = |arm: &[f64]| ValueCounts::from_values(arm.iter().copied()).unwrap();
    let expected = compare_quantiles(&counts(&control), &counts(&treatment), 0.9, 0.05).unwrap();
    assert_same(first(&found, 1), &expected, "quantile");

    let rule = Winsorising { lower: None, upper: Some(Cut::ShareOfNonzero(0.05)) };
    let expected = compare_winsorised(&control, &treatment, rule, 0.05).unwrap();
    assert_same(first(&found, 2), &expected.comparison, "winsorised");
    let cut = found.metrics[2].cut.as_ref().unwrap();
    assert_eq!(Some(cut.limit), expected.upper_limit);
    assert_eq!(cut.units.values().sum::<u64>(), expected.control.units_cut + expected.treatment.units_cut);
    assert_close(Some(cut.amount), Some(expected.control.value_cut + expected.treatment.value_cut), "amount cut");

    let (left, right) = (logarithm_moments(&control).unwrap(), logarithm_moments(&treatment).unwrap());
    assert_same(first(&found, 3), &compare_logarithms(&left, &right, 0.05).unwrap(), "logarithm");
}

#[tokio::test]
async fn covariates_and_strata_are_those_of_the_units() {
    let one = AnalysisOptions { covariates: vec!["before".to_owned()], ..AnalysisOptions::default() };
    let found = analysis(&["spend:mean", "spend:ratio=clicks"], one).await;
    let adjusted = first(&found, 0).adjusted.as_ref().unwrap();
    let (control, treatment) = arms(|unit| [unit.spend, unit.before]);
    let moments = |rows: &[[f64; 2]]| CrossMoments::from_rows(rows).unwrap();
    let (left, right) = (moments(&control), moments(&treatment));
    let expected = compare_adjusted(&left, &right, Outcome::Mean, Slopes::Common, 0.05).unwrap();
    assert_estimates(&adjusted.difference, &expected.comparison.difference, "CUPED");
    assert_close(adjusted.variance_reduction, expected.variance_removed, "variance removed");
    assert!(adjusted.decides && found.decision.why[0].contains("covariate-adjusted"), "{:?}", found.decision.why);
    assert_close(first(&found, 0).decisive_p_value(), adjusted.p_value_adjusted, "what decides");
    let ratio = first(&found, 1).adjusted.as_ref().unwrap();
    let (control, treatment) = arms(|unit| [unit.spend, unit.clicks, unit.before]);
    let moments = |rows: &[[f64; 3]]| CrossMoments::from_rows(rows).unwrap();
    let (left, right) = (moments(&control), moments(&treatment));
    let expected = compare_adjusted(&left, &right, Outcome::Ratio, Slopes::ByArm, 0.05).unwrap();
    assert_estimates(&ratio.difference, &expected.comparison.difference, "adjusted ratio");

    // Texts become one covariate for each value but the most frequent, of which the first by name is left out.
    let several = AnalysisOptions {
        covariates: ["before", "age", "country"].map(str::to_owned).into(),
        strata: Some("country".to_owned()),
        ..AnalysisOptions::default()
    };
    let found = analysis(&["spend:mean"], several).await;
    let adjusted = first(&found, 0).adjusted.as_ref().unwrap();
    assert_eq!(adjusted.covariates, ["before", "age", "country = DE", "country = US"]);
    let is = |unit: &Unit, country: &str| f64::from(u8::from(unit.country == country));
    let (control, treatment) = arms(|unit| [unit.spend, unit.before, unit.age, is(unit, "DE"), is(unit, "US")]);
    let expected = compare_adjusted_units(&control, &treatment, 0.05).unwrap();
    assert_estimates(&adjusted.difference, &expected.comparison.difference, "Lin");
    assert!(adjusted.method.contains("HC2"), "{}", adjusted.method);

    let stratified = first(&found, 0).post_stratified.as_ref().unwrap();
    let strata: Vec<Stratum> = ["CN", "DE", "US"]
        .map(|country| {
            let (control, treatment) = arms(|unit| (unit.country == country).then_some(unit.spend));
            let moments = |values: &[Option<f64>]| Moments::from_values(values.iter().copied().flatten()).unwrap();
            Stratum { control: moments(&control), treatment: moments(&treatment) }
        })
        .into();
    let expected = compare_post_stratified(&strata, 0.05).unwrap();
    assert_estimates(&stratified.difference, &expected.comparison.difference, "post-stratified");
    assert!(!stratified.decides, "the covariates were named, too");
}

#[tokio::test]
async fn clusters_are_compared_as_such() {
    let by_shop = AnalysisOptions { randomised_by: Some("shop".to_owned()), ..AnalysisOptions::default() };
    let found = analysis(&["spend:mean", "spend:ratio=clicks", "spend:quantile=0.5"], by_shop).await;
    assert_eq!(found.arms.iter().map(|arm| arm.n).collect::<Vec<_>>(), [30, 30], "shops, not rows");
    assert_eq!((found.unit.as_str(), found.metrics[0].arms[0].n), ("shop", 300));
    let all = units();
    let clusters = |treated: bool| -> Vec<Vec<Unit>> {
        let of_shop = |shop: usize| all.iter().filter(|unit| unit.shop == shop).copied().collect::<Vec<_>>();
        (0..60).filter(|shop| (shop % 2 == 1) == treated).map(of_shop).collect()
    };
    let totals = |treated: bool| -> Vec<ClusterTotal> {
        let total = |units: &Vec<Unit>| units.iter().map(|unit| unit.spend).sum();
        clusters(treated)
            .iter()
            .map(|units| ClusterTotal { units: f64::from(u32::try_from(units.len()).unwrap()), total: total(units) })
            .collect()
    };
    let expected = compare_clusters(&totals(false), &totals(true), 0.05, WildBootstrap::default()).unwrap();
    assert_same(first(&found, 0), &expected.comparison, "clusters");
    let sums = |units: &Vec<Unit>| {
        units.iter().fold((0.0, 0.0), |(spend, clicks), unit| (spend + unit.spend, clicks + unit.clicks))
    };
    let ratio = |treated: bool| -> Vec<ClusterTotal> {
        clusters(treated).iter().map(sums).map(|(total, units)| ClusterTotal { units, total }).collect()
    };
    let expected = compare_clusters(&ratio(false), &ratio(true), 0.05, WildBootstrap::default()).unwrap();
    assert!(expected.comparison.method.starts_with("CR2"), "{}", expected.comparison.method);
    assert_same(first(&found, 1), &expected.comparison, "ratio of clusters");
    let values = |treated: bool| -> Vec<Vec<f64>> {
        clusters(treated).iter().map(|units| units.iter().map(|unit| unit.spend).collect()).collect()
    };
    let expected = compare_clustered_quantiles(&values(false), &values(true), 0.5, 0.05).unwrap();
    assert_same(first(&found, 2), &expected, "median of clusters");
}

#[tokio::test]
async fn a_planned_look_decides_by_its_boundary() {
    let looks = |shares: &str| AnalysisOptions {
        looks: Some(LooksSpec::read(shares, "obrien-fleming").unwrap()),
        ..AnalysisOptions::default()
    };
    // O'Brien and Fleming's form spends nothing worth mentioning at a fifth: Jennison and Turnbull (2000), table 7.1.
    let early = analysis(&["spend:winsorised"], looks("0.2")).await;
    let look = first(&early, 0).planned_look.as_ref().unwrap();
    assert!(!look.crossed && look.p_value.is_none() && look.critical_value.unwrap() > 4.5, "{look:?}");
    assert!(first(&early, 0).decisive_p_value().unwrap() > 0.05, "{look:?}");
    let last = analysis(&["spend:winsorised"], looks("0.2,1")).await;
    let look = first(&last, 0).planned_look.as_ref().unwrap();
    let statistic = look.statistic.unwrap().abs();
    // Of so many units Welch's t and the z with its p value are nearly the same.
    assert!((statistic - first(&last, 0).comparison.statistic.unwrap().abs()).abs() < 0.02);
    assert!((look.critical_value.unwrap() - 1.96).abs() < 1e-3);
    assert_eq!(look.crossed, statistic > look.critical_value.unwrap());
    for wrong in ["", "0.5,0.2", "0", "half"] {
        assert!(LooksSpec::read(wrong, "pocock").is_err(), "{wrong}");
    }
    assert!(LooksSpec::read("0.5", "all").is_err());
}

#[tokio::test]
async fn the_last_day_of_a_path_is_the_whole() {
    let mut csv = "arm,visit,spend,day\n".to_owned();
    for i in 0..400_u32 {
        let arm = if i % 2 == 0 { "A" } else { "B" };
        let visit = u32::from(i * 13 % 7 < 2 + i % 2);
        writeln!(csv, "{arm},{visit},{},2026-03-0{}", f64::from(i * 37 % 11), 1 + i / 100).unwrap();
    }
    let request = UnitRequest {
        input: Input::memory("units.csv", csv.into()),
        arm: "arm".to_owned(),
        metrics: ["visit", "spend"].map(|metric| metric.parse().unwrap()).into(),
        unit: None,
        filter: None,
    };
    let options = AnalysisOptions { path: Some("day".to_owned()), sequential: Some(400), ..AnalysisOptions::default() };
    let found = analyze_units(&request, &options).await.unwrap();
    for (place, metric) in found.metrics.iter().enumerate() {
        assert_eq!(
            metric.path.iter().map(|point| point.day.as_str()).collect::<Vec<_>>().join(" "),
            "2026-03-01 2026-03-02 2026-03-03 2026-03-04"
        );
        assert_eq!(metric.path.iter().map(|point| point.comparisons[0].n).collect::<Vec<_>>(), [50, 100, 150, 200]);
        let last = &metric.path[3].comparisons[0];
        assert_estimates(&last.difference, &first(&found, place).comparison.difference, "the last day");
        for point in &metric.path {
            let valid = point.comparisons[0].always_valid.as_ref().unwrap();
            let is_apart = valid.difference.low > Some(0.0) || valid.difference.high < Some(0.0);
            assert_eq!(valid.p_value.unwrap() < 0.05, is_apart, "{}: {valid:?}", point.day);
        }
        let headline = first(&found, place).always_valid.as_ref().unwrap();
        let of_last_day = last.always_valid.as_ref().unwrap();
        assert_estimates(&of_last_day.difference, &headline.difference, "the last day, always valid");
        assert_eq!(of_last_day.p_value, headline.p_value);
    }
    let names: Vec<&str> = found.checks.iter().map(|check| check.check.as_ref()).collect();
    assert!(names.contains(&"sample_ratio_anytime") && names.contains(&"outliers"), "{names:?}");
}

#[tokio::test]
async fn clusters_keep_out_of_what_looks_at_units() {
    let by_shop = || AnalysisOptions { randomised_by: Some("shop".to_owned()), ..AnalysisOptions::default() };
    let request = UnitRequest {
        input: table(&units()),
        arm: "arm".to_owned(),
        metrics: vec!["spend:mean".parse().unwrap()],
        unit: None,
        filter: None,
    };
    for options in [
        AnalysisOptions { strata: Some("country".to_owned()), ..by_shop() },
        AnalysisOptions { covariates: vec!["before".to_owned()], ..by_shop() },
    ] {
        let error = analyze_units(&request, &options).await.unwrap_err().to_string();
        assert!(error.contains("--randomised-by"), "{error}");
    }
    // Sixty shops in two arms, thirty each: a column that is the shop's own tells nothing of the arm by counting shops.
    let mut csv = "arm,spend,shop,region\n".to_owned();
    for unit in units() {
        let arm = if unit.treated { "B" } else { "A" };
        writeln!(csv, "{arm},{},shop {},region {}", unit.spend, unit.shop, unit.shop * 7 % 11 % 4).unwrap();
    }
    let options = AnalysisOptions { segments: vec!["region".to_owned()], ..by_shop() };
    let found = analyze_units(&UnitRequest { input: Input::memory("shops.csv", csv.into()), ..request }, &options)
        .await
        .unwrap();
    let check = found.checks.iter().find(|check| check.check == "arm_by_column").unwrap();
    assert_ne!(check.verdict, sendlift_engine::experiment::Verdict::Fail, "{check:?}");
}

#[tokio::test]
async fn quantiles_do_not_borrow_certainty_for_every_look() {
    let sequential = AnalysisOptions { sequential: Some(600), ..AnalysisOptions::default() };
    let found = analysis(&["spend:quantile=0.5"], sequential).await;
    assert_eq!(first(&found, 0).decisive_p_value(), None);
    assert!(first(&found, 0).always_valid.as_ref().unwrap().method.contains("no always-valid result"));
    assert_eq!(found.decision.recommendation, sendlift_engine::experiment::Recommendation::KeepRunning);
}

#[tokio::test]
async fn days_that_are_numbers_go_by_their_size() {
    let mut csv = "arm,visit,day\n".to_owned();
    for i in 0..240_u32 {
        writeln!(csv, "{},{},{}", if i % 2 == 0 { "A" } else { "B" }, u32::from(i % 5 == 0), 1 + i / 20).unwrap();
    }
    let request = UnitRequest {
        input: Input::memory("units.csv", csv.into()),
        arm: "arm".to_owned(),
        metrics: vec!["visit".parse().unwrap()],
        unit: None,
        filter: None,
    };
    let options = AnalysisOptions { path: Some("day".to_owned()), ..AnalysisOptions::default() };
    let found = analyze_units(&request, &options).await.unwrap();
    let days: Vec<&str> = found.metrics[0].path.iter().map(|point| point.day.as_str()).collect();
    assert_eq!(days, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]);
}
