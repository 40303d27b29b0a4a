//! The generator as a whole: files, rows, repeatability, and the logs' agreement with the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::*;

fn run(out: &Path, options: &GenerateOptions) -> GenerateSummary {
    generate(out, options, &mut |_| {}).unwrap()
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
        })
        .collect()
}

/// The named column of an NDJSON log, absent values left out.
fn column(folder: &Path, log: &str, name: &str) -> Vec<serde_json::Value> {
    fs::read_to_string(folder.join(format!("{log}.ndjson")))
        .unwrap()
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap().get_mut(name).map(serde_json::Value::take)
        })
        .collect()
}

fn texts(folder: &Path, log: &str, name: &str) -> Vec<String> {
    column(folder, log, name).iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_format_has_all_files_and_the_messages_asked_for() {
    for format in [OutputFormat::Csv, OutputFormat::Ndjson, OutputFormat::Parquet] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new").join("logs");
        let summary = run(&out, &GenerateOptions { messages: 1_000, format, ..GenerateOptions::default() });
        let names: BTreeSet<String> = contents(&out).into_keys().collect();
        let logs = [
            "recipients",
            "assignments",
            "sends",
            "deliveries",
            "clicks",
            "conversions",
            "replies",
            "opt_outs",
            "consents",
        ];
        let mut expected: BTreeSet<String> = logs.iter().map(|log| format!("{log}.{format}")).collect();
        expected.insert(TRUTH_FILE.to_owned());
        assert_eq!(names, expected);
        assert_eq!(summary.files.len(), 10);
        assert_eq!(summary.rows["sends"], 1_000);
        for per_recipient in ["recipients", "assignments", "consents"] {
            assert_eq!(summary.rows[per_recipient], summary.truth.counts.recipients);
        }
        let written: Truth = serde_json::from_slice(&fs::read(out.join(TRUTH_FILE)).unwrap()).unwrap();
        assert_eq!(written.rows, summary.rows);
        assert_eq!(written.counts, summary.truth.counts);
    }
}

#[test]
fn the_seed_alone_decides() {
    let options = GenerateOptions { messages: 2_000, seed: 5, ..GenerateOptions::default() };
    let [first, second, third] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    run(first.path(), &options);
    run(second.path(), &options);
    run(third.path(), &GenerateOptions { seed: 6, ..options });
    assert!(contents(first.path()) == contents(second.path()));
    assert!(contents(first.path())["sends.csv"] != contents(third.path())["sends.csv"]);
}

#[test]
fn progress_ends_at_the_number_of_messages() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let options = GenerateOptions { messages: 500, ..GenerateOptions::default() };
    generate(folder.path(), &options, &mut |messages| told.push(messages)).unwrap();
    assert!(told.is_sorted());
    assert_eq!((told.first(), told.last()), (Some(&0), Some(&500)));
}

#[test]
fn logs_refer_to_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let options = GenerateOptions {
        messages: 20_000,
        format: OutputFormat::Ndjson,
        language: Language::Chinese,
        ..GenerateOptions::default()
    };
    let summary = run(folder.path(), &options);
    let out = folder.path();
    let messages: BTreeSet<String> = texts(out, "sends", "message_id").into_iter().collect();
    assert_eq!(messages.len(), 20_000);
    for log in ["deliveries", "clicks", "conversions", "replies"] {
        assert!(texts(out, log, "message_id").iter().all(|id| messages.contains(id)), "{log}");
    }
    let recipients: BTreeSet<String> = texts(out, "recipients", "recipient_id").into_iter().collect();
    for log in ["assignments", "sends", "conversions", "replies", "opt_outs", "consents"] {
        assert!(texts(out, log, "recipient_id").iter().all(|id| recipients.contains(id)), "{log}");
    }
    for (log, key) in [("clicks", "click_id"), ("conversions", "conversion_id"), ("replies", "reply_id")] {
        let keys: BTreeSet<String> = texts(out, log, key).into_iter().collect();
        assert_eq!(keys.len() as u64, summary.rows[log], "{log}");
    }
    // One opt-out a recipient, since nobody is written to after it.
    let opted_out: BTreeSet<String> = texts(out, "opt_outs", "recipient_id").into_iter().collect();
    assert!(opted_out.len() as u64 == summary.rows["opt_outs"] && !opted_out.is_empty());
}

#[test]
fn the_holdout_is_assigned_and_never_sent_to() {
    let folder = tempfile::tempdir().unwrap();
    let options = GenerateOptions { messages: 5_000, format: OutputFormat::Ndjson, ..GenerateOptions::default() };
    run(folder.path(), &options);
    let assigned = texts(folder.path(), "assignments", "recipient_id");
    let arms = texts(folder.path(), "assignments", "arm");
    let sent: BTreeSet<String> = texts(folder.path(), "sends", "recipient_id").into_iter().collect();
    for (recipient, arm) in assigned.iter().zip(&arms) {
        assert_eq!(sent.contains(recipient), arm != "holdout", "{recipient} {arm}");
    }
}

#[test]
fn times_are_utc_with_one_width_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let options = GenerateOptions { messages: 3_000, format: OutputFormat::Ndjson, ..GenerateOptions::default() };
    run(folder.path(), &options);
    let with_fraction = "2026-03-02T10:15:30.123Z".len();
    for (log, name, width) in [
        ("sends", "sent_at", with_fraction),
        ("sends", "scheduled_at", with_fraction - 4),
        ("deliveries", "at", with_fraction),
        ("clicks", "clicked_at", with_fraction),
        ("conversions", "occurred_at", with_fraction),
        ("recipients", "signed_up_at", with_fraction - 4),
    ] {
        let times = texts(folder.path(), log, name);
        assert!(
            times.iter().all(|time| time.len() == width && time.ends_with('Z')),
            "{log}.{name}: {:?}",
            times.first()
        );
    }
}

/// The logs' own rates lie within five standard errors of the truth, in every campaign and arm of both stories.
#[test]
fn what_happened_agrees_with_the_truth() {
    for scenario in [Scenario::Retail, Scenario::Bank] {
        let folder = tempfile::tempdir().unwrap();
        let options =
            GenerateOptions { messages: 60_000, scenario, format: OutputFormat::Parquet, ..GenerateOptions::default() };
        let truth = run(folder.path(), &options).truth;
        for (name, campaign) in &truth.campaigns {
            for (arm, realised) in &campaign.realised {
                let expected = |effect: &Effect| if *arm == truth.control { effect.control } else { effect.treatment };
                let sent = realised.sent as f64;
                for (count, rate) in [
                    (realised.clickers, expected(&campaign.overall.click)),
                    (realised.caused_conversions, expected(&campaign.overall.caused_conversions)),
                ] {
                    let standard_error = (rate * (1.0 - rate) / sent).sqrt();
                    let observed = count as f64 / sent;
                    assert!((observed - rate).abs() < 5.0 * standard_error, "{name} {arm}: {observed} against {rate}");
                }
            }
        }
    }
}

#[test]
fn the_stories_have_the_rates_they_promise() {
    for (scenario, click_rate, unmoved) in [(Scenario::Retail, 0.08, "55-64"), (Scenario::Bank, 0.12, "65+")] {
        let folder = tempfile::tempdir().unwrap();
        let options = GenerateOptions { messages: 20_000, scenario, ..GenerateOptions::default() };
        let truth = run(folder.path(), &options).truth;
        assert!((truth.per_message.control - click_rate).abs() < 0.01, "{:?}", truth.per_message);
        assert!(truth.per_message.lift.is_some_and(|lift| (0.1..0.3).contains(&lift)), "{:?}", truth.per_message);
        let bands = &truth.experiment.segments["age_band"];
        assert!(bands[unmoved].click.difference.abs() < 1e-9);
        assert!(bands.values().any(|band| band.click.lift.is_some_and(|lift| lift > 0.2)));
        let sends: u64 = truth.hours.iter().map(|hour| hour.sends).sum();
        assert_eq!(sends, truth.messages);
    }
}
