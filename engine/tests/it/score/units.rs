//! Scores of a table with one row a unit.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use sendlift_engine::EngineError;
use sendlift_engine::ingest::input::Input;
use sendlift_engine::progress::Quiet;
use sendlift_engine::score::{UnitScoreRequest, score_units};
use sendlift_engine::stats::population_stability::StabilityVerdict;

use super::{draw, numbers, read, texts};
use crate::support::TestStore;

fn unit_request(table: &str, target: &str) -> UnitScoreRequest {
    UnitScoreRequest {
        units: Input::memory("units.csv", Bytes::copy_from_slice(table.as_bytes())),
        unit: "id".to_owned(),
        target: target.to_owned(),
        arm: None,
        treatment: None,
        exclude: Vec::new(),
        apply: None,
        model: None,
        seed: 1,
    }
}

/// Units with a probability of 0.1 + 0.5 x; a message adds 0.3 where `group` is "甲".
fn unit_table(units: std::ops::Range<usize>) -> String {
    let mut table = "id,x,group,arm,bought\n".to_owned();
    for unit in units {
        let x = draw(unit, 2);
        let group = ["甲", "乙", "丙"][unit % 3];
        let sent = draw(unit, 3) < 0.5;
        let chance = 0.1 + 0.5 * x + if sent && group == "甲" { 0.3 } else { 0.0 };
        let bought = u8::from(draw(unit, 4) < chance);
        writeln!(table, "u{unit},{x:.6},{group},{},{bought}", if sent { "sent" } else { "none" }).unwrap();
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_units_is_scored_and_another_by_the_model_that_is_kept() {
    let store = TestStore::new();
    let out = store.folder.path().join("scores.parquet");
    let (table, other) = (unit_table(0..12_000), unit_table(12_000..18_000));
    let mut asked = unit_request(&table, "bought");
    asked.arm = Some(("arm".to_owned(), "none".to_owned()));
    asked.apply = Some(Input::memory("other.csv", Bytes::copy_from_slice(other.as_bytes())));
    let (summary, _) = score_units(&asked, Some(&store.store), &out, &Quiet).await.unwrap();
    assert_eq!(summary.units, 6_000);
    // Effects of units that were never learnt from: 0.3 for 甲 and nothing for the others, within 0.08 on the average.
    let scores = read(&out);
    let (mut sums, mut counts) = ([0.0; 3], [0.0; 3]);
    for (id, effect) in texts(&scores, "id").iter().zip(numbers(&scores, "uplift")) {
        let group = id[1..].parse::<usize>().unwrap() % 3;
        sums[group] += effect.unwrap();
        counts[group] += 1.0;
    }
    for (group, truth) in [0.3, 0.0, 0.0].into_iter().enumerate() {
        assert!((sums[group] / counts[group] - truth).abs() < 0.08, "{group}: {}", sums[group] / counts[group]);
    }
    // The kept model scores the same rows to the same bytes, and one with a new category says so.
    asked.model = Some(summary.model.id.clone());
    let again = store.folder.path().join("again.parquet");
    score_units(&asked, Some(&store.store), &again, &Quiet).await.unwrap();
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&again).unwrap());
    asked.apply = Some(Input::memory("new.csv", Bytes::from(other.replace(",丙,", ",丁,"))));
    let (new, _) = score_units(&asked, Some(&store.store), &again, &Quiet).await.unwrap();
    assert!(new.notes.iter().any(|note| note.contains("2000 units have a value of group")), "{:?}", new.notes);
    let group = new.drift.features.iter().find(|feature| feature.name == "group").unwrap();
    assert_eq!(group.verdict, StabilityVerdict::Shifted);
    assert_eq!(summary.drift.score.verdict, StabilityVerdict::Stable);
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_in_words_are_outcomes_and_units_of_no_arm_are_counted() {
    let store = TestStore::new();
    let table = unit_table(0..4_000);
    let mut files = Vec::new();
    for (name, yes, no) in
        [("1.csv", "1", "0"), ("2.csv", " Yes", "no"), ("3.csv", "TRUE", "false"), ("4.csv", "是", "否")]
    {
        let words = table.replace(",1\n", &format!(",{yes}\n")).replace(",0\n", &format!(",{no}\n"));
        let out = store.folder.path().join(name);
        let (summary, _) = score_units(&unit_request(&words, "bought"), None, &out, &Quiet).await.unwrap();
        files.push((summary.model.training.outcomes, std::fs::read(&out).unwrap()));
    }
    assert!(files.iter().all(|file| *file == files[0]));
    assert!(files[0].0 > 500, "{}", files[0].0);

    let mut asked = unit_request(&table, "bought");
    asked.arm = Some(("arm".to_owned(), "none".to_owned()));
    let unassigned = table.replacen(",sent,", ",,", 100);
    asked.units = Input::memory("units.csv", Bytes::from(unassigned));
    let out = store.folder.path().join("uplift.csv");
    let (summary, _) = score_units(&asked, None, &out, &Quiet).await.unwrap();
    let told = "100 units are neither in \"sent\" nor in \"none\", and are not learnt from";
    assert!(summary.notes.iter().any(|note| note == told), "{:?}", summary.notes);
    assert_eq!(summary.model.training.units, 3_900);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_message_moves_is_worth_more_than_who_buys_anyway() {
    const AUDIENCE: usize = 2_000;
    const MARGIN: f64 = 10.0;
    const COST: f64 = 1.0;
    let store = TestStore::new();
    let out = store.folder.path().join("scores.parquet");
    // Three worlds; of each 12,000 units to learn from and 6,000 that nobody has seen.
    for world in [100_000, 200_000, 300_000] {
        let (table, other) = (unit_table(world..world + 12_000), unit_table(world + 12_000..world + 18_000));
        let mut profits = Vec::new();
        for column in ["uplift", "score"] {
            let mut asked = unit_request(&table, "bought");
            if column == "uplift" {
                asked.arm = Some(("arm".to_owned(), "none".to_owned()));
            } else {
                asked.exclude = vec!["arm".to_owned()];
            }
            asked.apply = Some(Input::memory("other.csv", Bytes::copy_from_slice(other.as_bytes())));
            score_units(&asked, Some(&store.store), &out, &Quiet).await.unwrap();
            let scores = read(&out);
            let mut ranked: Vec<(String, f64)> = texts(&scores, "id")
                .into_iter()
                .zip(numbers(&scores, column))
                .map(|(id, score)| (id, score.unwrap()))
                .collect();
            ranked.sort_by(|left, right| right.1.total_cmp(&left.1));
            // What a message adds in truth: 0.3 in the group 甲, nothing elsewhere.
            let moved = ranked[..AUDIENCE].iter().filter(|(id, _)| id[1..].parse::<usize>().unwrap() % 3 == 0).count();
            #[allow(clippy::cast_precision_loss)] // Thousands.
            profits.push(moved as f64 * 0.3 * MARGIN - AUDIENCE as f64 * COST);
        }
        let most = AUDIENCE.to_string().parse::<f64>().unwrap() * (0.3 * MARGIN - COST);
        assert!(profits[0] > 0.9 * most, "world {world}: {profits:?} of {most}");
        assert!(profits[0] > profits[1] + 0.3 * most, "world {world}: {profits:?} of {most}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_units_that_cannot_be_learnt_from_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("scores.csv");
    let told = async |asked: &UnitScoreRequest| -> String {
        let error: EngineError = score_units(asked, None, &out, &Quiet).await.unwrap_err();
        assert!(!out.exists());
        error.to_string()
    };
    let table = unit_table(0..2_000);
    let with = |change: &dyn Fn(&mut UnitScoreRequest)| {
        let mut asked = unit_request(&table, "bought");
        change(&mut asked);
        asked
    };
    let none_bought = table.replace(",1\n", ",0\n");
    let constant: String = std::iter::once("id,x,bought\n".to_owned())
        .chain((0..500).map(|unit| format!("u{unit},7,{}\n", unit % 2)))
        .collect();
    for (asked, words) in [
        (unit_request(&none_bought, "bought"), "0 of 2000 units to learn from have the outcome"),
        (unit_request(&constant, "bought"), "tells its units apart: left out, for every unit has the same value: x"),
        (unit_request(&table, "x"), "have neither 0 nor 1 (nor true or false, yes or no) in \"x\""),
        (unit_request(&table, "group"), "2000 units of units.csv have neither 0 nor 1"),
        (unit_request(&table, "sold"), "has no column \"sold\"; it has id, x, group, arm, bought"),
        (
            with(&|asked| asked.arm = Some(("arm".to_owned(), "held".to_owned()))),
            "has no arm \"held\"; it has none, sent",
        ),
        (with(&|asked| asked.arm = Some(("group".to_owned(), "甲".to_owned()))), "there are several arms"),
        (with(&|asked| asked.model = Some("m".to_owned())), "a model is kept in a store"),
    ] {
        let told = told(&asked).await;
        assert!(told.contains(words), "{told}");
    }
    let error = score_units(&with(&|_| ()), None, Path::new("scores.xlsx"), &Quiet).await.unwrap_err();
    assert!(error.to_string().contains(".parquet or .arrow"), "{error}");
    // A feature that is the outcome itself is pointed at.
    let leaked: String = table
        .lines()
        .map(|line| format!("{line},{}\n", line.rsplit(',').next().unwrap().replace("bought", "paid")))
        .collect();
    let (summary, _) = score_units(&unit_request(&leaked, "bought"), None, &out, &Quiet).await.unwrap();
    assert!(summary.notes.iter().any(|note| note.contains("measured after it?")), "{:?}", summary.notes);
}
