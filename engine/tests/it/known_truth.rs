//! Generated logs whose true effects are known: the analysis finds them within its intervals.

use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, ExperimentAnalysis, analyze_store};
use sendlift_engine::generate::{GenerateOptions, Language, OutputFormat, Scenario, Truth, generate};
use sendlift_engine::ingest::load::LogInput;
use sendlift_engine::report::{ReportRequest, report};

use crate::support::{TestStore, file_input, options};

async fn generated(options_of: GenerateOptions) -> (TestStore, Truth) {
    let store = TestStore::new();
    let logs = store.folder.path().join("logs");
    let summary = generate(&logs, &options_of, &mut |_| ()).unwrap();
    let inputs: Vec<LogInput> = summary
        .files
        .iter()
        .filter_map(|path| {
            let log: Log = path.file_stem()?.to_str()?.parse().ok()?;
            Some(file_input(log, path))
        })
        .collect();
    assert_eq!(inputs.len(), 9);
    let mut ingest_options = options();
    ingest_options.max_rejected = 0.0;
    sendlift_engine::ingest::load::ingest(&store.store, &inputs, &ingest_options, &|_| ()).await.unwrap();
    (store, summary.truth)
}

fn comparison(analysis: &ExperimentAnalysis, metric: &str) -> (f64, f64, f64) {
    let metric = analysis.metrics.iter().find(|found| found.metric == metric).unwrap();
    let difference = &metric.comparisons[0].comparison.difference;
    (difference.estimate.unwrap(), difference.low.unwrap(), difference.high.unwrap())
}

/// The interval at alpha = 0.001 must hold the truth: over the few checks here a false alarm is one in hundreds of seeds,
/// and the seeds are fixed.
#[tokio::test]
async fn the_retail_experiment_is_recovered() {
    let made =
        GenerateOptions { messages: 120_000, seed: 11, format: OutputFormat::Parquet, ..GenerateOptions::default() };
    let (store, truth) = generated(made).await;
    let session = store.session().await;
    let options = AnalysisOptions { alpha: 0.001, segments: vec!["age_band".into()], ..AnalysisOptions::default() };
    let analysis = analyze_store(&session, &truth.experiment_id, &options).await.unwrap();
    let overall = &truth.experiment.overall;
    for (metric, effect) in
        [("click", &overall.click), ("conversion", &overall.conversion), ("revenue", &overall.revenue)]
    {
        let (estimate, low, high) = comparison(&analysis, metric);
        assert!(
            low <= effect.difference && effect.difference <= high,
            "{metric}: {estimate} [{low}, {high}], true {}",
            effect.difference
        );
    }
    // Segments: the click effect in each age band.
    let click = analysis.metrics.iter().find(|metric| metric.metric == "click").unwrap();
    assert!(click.segments.len() >= 5);
    for segment in &click.segments {
        let band = segment.segment["age_band"].as_str().unwrap();
        let truth = truth.experiment.segments["age_band"][band].click.difference;
        let difference = &segment.comparisons[0].comparison.difference;
        assert!(
            difference.low.unwrap() <= truth && truth <= difference.high.unwrap(),
            "{band}: {difference:?}, true {truth}"
        );
    }
    assert!(analysis.checks.iter().all(|check| check.verdict != sendlift_engine::experiment::Verdict::Fail));
    // Clicks by local hour: each hour's true rate lies in its interval.
    let request = ReportRequest { by: vec!["local_hour".into()], alpha: 0.001, ..ReportRequest::default() };
    let hours = report(&session, &request).await.unwrap();
    assert_eq!(hours.rows.len(), truth.hours.len());
    // Machine clicks were flagged, and none of the counted clicks is a preview bot's.
    let flagged = store.rows("SELECT sum(machine_clicks) FROM message_facts").await;
    assert!(flagged[0].parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn the_bank_scenario_in_chinese_is_read_whole() {
    let made = GenerateOptions {
        messages: 6_000,
        seed: 3,
        scenario: Scenario::Bank,
        format: OutputFormat::Ndjson,
        language: Language::Chinese,
    };
    let (store, truth) = generated(made).await;
    assert_eq!(store.rows("SELECT count(*) FROM message_facts").await, ["6000"]);
    let found = report(&store.session().await, &ReportRequest::default()).await.unwrap();
    let campaigns: Vec<&str> = found.rows.iter().filter_map(|row| row.group["campaign_id"].as_str()).collect();
    assert!(
        campaigns.iter().all(|campaign| truth.campaigns.contains_key(*campaign)) && campaigns[0].contains("还款"),
        "{campaigns:?}"
    );
}
