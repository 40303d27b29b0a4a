//! Real campaigns and their published numbers. The folder is named by `SENDLIFT_REAL_DATA`, from the workspace's folder;
//! without it these tests are reported as ignored (`build.rs` tells).

use std::path::{Path, PathBuf};

use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, ExperimentAnalysis, UnitRequest, analyze_units};
use sendlift_engine::ingest::input::resolve;
use sendlift_engine::ingest::mapping::Mapping;
use sendlift_engine::report::{Report, ReportRequest, report};
use sendlift_engine::windows::{WindowsIdentification, WindowsRequest, analyze_windows};

use crate::support::{TestStore, file_input, options};

fn folder() -> PathBuf {
    let named = std::env::var("SENDLIFT_REAL_DATA").expect("SENDLIFT_REAL_DATA names the folder of the real data");
    // Tests run in their package's folder; the name is given from the workspace's.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(named)
}

async fn units(
    file: &str,
    arm: &str,
    control: &str,
    metrics: &[&str],
    filter: Option<&str>,
    segments: &[&str],
) -> ExperimentAnalysis {
    let request = UnitRequest {
        input: resolve(folder().join(file).to_str().unwrap()).unwrap().remove(0),
        arm: arm.to_owned(),
        metrics: metrics.iter().map(|metric| metric.parse().unwrap()).collect(),
        unit: Some("recipient_id".to_owned()),
        filter: filter.map(str::to_owned),
    };
    let options = AnalysisOptions {
        control: Some(control.to_owned()),
        segments: segments.iter().map(|segment| (*segment).to_owned()).collect(),
        ..AnalysisOptions::default()
    };
    analyze_units(&request, &options).await.unwrap()
}

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected} within {tolerance}");
}

/// Statistic, p value, difference, low, high.
fn result(analysis: &ExperimentAnalysis, metric: &str, arm: &str) -> (f64, f64, f64, f64, f64) {
    let metric = analysis.metrics.iter().find(|found| found.metric == metric).unwrap();
    let comparison = &metric.comparisons.iter().find(|found| found.arm == arm).unwrap().comparison;
    let difference = &comparison.difference;
    (
        comparison.statistic.unwrap(),
        comparison.p_value.unwrap(),
        difference.estimate.unwrap(),
        difference.low.unwrap(),
        difference.high.unwrap(),
    )
}

/// Hillstrom 2008; numbers recomputed with `SciPy` 1.17 and statsmodels 0.15 (pooled z, Welch t).
#[tokio::test]
#[cfg_attr(not(real_data), ignore = "needs SENDLIFT_REAL_DATA")]
async fn hillstrom() {
    let analysis =
        units("hillstrom/units.csv.gz", "segment", "No E-Mail", &["visit", "conversion", "spend"], None, &["womens"])
            .await;
    let (z, _, difference, low, high) = result(&analysis, "visit", "Mens E-Mail");
    close(z, 22.48604, 1e-5);
    close(difference, 0.0766, 5e-5);
    close(low, 0.0700, 5e-5);
    close(high, 0.0832, 5e-5);
    let (z, _, difference, low, high) = result(&analysis, "conversion", "Mens E-Mail");
    close(z, 7.385_114, 1e-6);
    close(difference, 0.006_81, 5e-6);
    // The published interval is Wald's; the score interval differs from it in the fifth digit.
    close(low, 0.005_00, 5e-5);
    close(high, 0.008_61, 5e-5);
    let (t, p_value, difference, ..) = result(&analysis, "spend", "Mens E-Mail");
    close(t, 5.300_140, 1e-6);
    close(p_value, 1.163_815e-7, 1e-12);
    close(difference, 0.770, 5e-4);
    close(result(&analysis, "visit", "Womens E-Mail").0, 13.949_18, 1e-5);
    close(result(&analysis, "conversion", "Womens E-Mail").0, 3.779_561, 1e-6);
    close(result(&analysis, "conversion", "Womens E-Mail").1, 1.57e-4, 5e-7);
    close(result(&analysis, "spend", "Womens E-Mail").0, 3.256_372, 1e-6);
    close(analysis.checks[0].p_value.unwrap(), 0.903_693, 1e-6);
    let visits = &analysis.metrics[0];
    for (value, expected) in [("1", 0.0731), ("0", 0.0111)] {
        let segment = visits.segments.iter().find(|segment| segment.segment["womens"] == value).unwrap();
        let comparison = segment.comparisons.iter().find(|found| found.arm == "Womens E-Mail").unwrap();
        close(comparison.comparison.difference.estimate.unwrap(), expected, 5e-5);
    }
}

/// Schein et al., WWW 2021: all rows, and the published subset.
#[tokio::test]
#[cfg_attr(not(real_data), ignore = "needs SENDLIFT_REAL_DATA")]
async fn outvote() {
    let all = units("outvote_sms/units.csv.gz", "assigned", "0", &["voted"], None, &[]).await;
    let (z, p_value, difference, ..) = result(&all, "voted", "1");
    close(z, 0.851_094, 1e-6);
    close(p_value, 0.394_717, 1e-6);
    close(difference, 0.0040, 5e-5);
    let subset = units(
        "outvote_sms/units.csv.gz",
        "assigned",
        "0",
        &["voted"],
        Some("match_confident = 1 AND queue_position <= 103"),
        &[],
    )
    .await;
    assert_eq!(subset.arms.iter().map(|arm| arm.n).sum::<u64>(), 27_464);
    let (z, p_value, ..) = result(&subset, "voted", "1");
    close(z, 2.739_518, 1e-6);
    close(p_value, 0.006_152_93, 1e-8);
}

async fn stored(logs: &[(Log, &str)], by: &[&str]) -> (TestStore, Report) {
    let store = TestStore::new();
    let inputs: Vec<_> = logs.iter().map(|(log, file)| file_input(*log, &folder().join(file))).collect();
    let mut options = options();
    options.max_rejected = 0.0;
    sendlift_engine::ingest::load::ingest(&store.store, &inputs, &options, &|_| ()).await.unwrap();
    let request =
        ReportRequest { by: by.iter().map(|column| (*column).to_owned()).collect(), ..ReportRequest::default() };
    let found = report(&store.session().await, &request).await.unwrap();
    (store, found)
}

#[tokio::test]
#[cfg_attr(not(real_data), ignore = "needs SENDLIFT_REAL_DATA")]
async fn complete_journey() {
    let logs = [
        (Log::Sends, "complete_journey/sends.csv.gz"),
        (Log::Conversions, "complete_journey/conversions.csv.gz"),
        (Log::Recipients, "complete_journey/recipients.csv.gz"),
    ];
    let (_, found) = stored(&logs, &["campaign_type"]).await;
    let shares: Vec<String> = found
        .rows
        .iter()
        .map(|row| format!("{} {}/{}", row.group["campaign_type"].as_str().unwrap(), row.converters.unwrap(), row.sent))
        .collect();
    assert_eq!(shares, ["Type A 604/3647", "Type B 154/2368", "Type C 34/574"]);
}

#[tokio::test]
#[cfg_attr(not(real_data), ignore = "needs SENDLIFT_REAL_DATA")]
async fn open_bandit() {
    let logs = [(Log::Sends, "open_bandit/sends.csv.gz"), (Log::Clicks, "open_bandit/clicks.csv.gz")];
    let (store, found) = stored(&logs, &["campaign_id", "variant"]).await;
    let clicks: Vec<String> = found
        .rows
        .iter()
        .map(|row| {
            format!(
                "{} {} {}/{}",
                row.group["campaign_id"].as_str().unwrap(),
                row.group["variant"].as_str().unwrap(),
                row.clickers.unwrap(),
                row.sent
            )
        })
        .collect();
    assert_eq!(
        clicks,
        [
            "all bts 42/10000",
            "all random 38/10000",
            "men bts 69/10000",
            "men random 46/10000",
            "women bts 46/10000",
            "women random 46/10000"
        ]
    );
    // The quiet hours are those of a night in Japan.
    let quiet = store.rows("SELECT local_hour FROM message_facts GROUP BY local_hour ORDER BY count(*) LIMIT 5").await;
    let mut quiet: Vec<u32> = quiet.iter().map(|hour| hour.parse().unwrap()).collect();
    quiet.sort_unstable();
    assert_eq!(quiet, [2, 3, 4, 5, 6]);
    // Its propensity is that of the article shown, one of eighty; when somebody came was nobody's draw.
    let found = analyze_windows(&store.session().await, &WindowsRequest::default()).await.unwrap();
    assert_eq!(found[0].identification, WindowsIdentification::NotIdentifiable);
    assert!(
        found[0].notes.iter().any(|note| note.starts_with("3 campaigns log a probability")),
        "{:?}",
        found[0].notes
    );
}

#[tokio::test]
#[cfg_attr(not(real_data), ignore = "needs SENDLIFT_REAL_DATA")]
async fn rees46() {
    let file = folder().join("rees46_format/messages_head5.csv");
    let store = TestStore::new();
    let mut options = options();
    options.validator.mapping = Mapping::preset("rees46").unwrap();
    let logs = [Log::Sends, Log::Deliveries, Log::Opens, Log::Clicks, Log::Conversions, Log::OptOuts];
    let inputs: Vec<_> = logs.iter().map(|log| file_input(*log, &file)).collect();
    let outcomes = sendlift_engine::ingest::load::ingest(&store.store, &inputs, &options, &|_| ()).await.unwrap();
    let counts: Vec<(u64, u64, u64)> = outcomes.iter().map(|log| (log.accepted, log.rejected, log.left_out)).collect();
    assert_eq!(counts, [(5, 0, 0), (5, 0, 0), (4, 0, 1), (0, 0, 5), (0, 0, 5), (0, 0, 5)]);
    assert_eq!(
        store.rows("SELECT campaign_id, channel, message_type, count(*), sum(clicks) FROM message_facts GROUP BY 1, 2, 3 ORDER BY 1").await,
        ["179|email|notice|1|0", "27|email|notice|4|0"]
    );
    assert_eq!(
        store.rows("SELECT email_provider, platform FROM sends ORDER BY source_row LIMIT 1").await,
        ["mail.ru|∅"]
    );
}
