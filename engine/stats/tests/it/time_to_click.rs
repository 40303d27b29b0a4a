//! Sooner or more: agreement with the Python oracle, laws, and what simulated groups are said to be.

use crate::fixtures::{Case, cases};
use crate::support::{is_presentable, uniform};
use proptest::prelude::*;
use sendlift_stats::time_to_click::{ClickInterval, IntervalCounts, TimingOptions, TimingVerdict, compare_timing};

const OPTIONS: TimingOptions = TimingOptions { alpha: 0.05, share_margin: 0.02, time_margin: 1.0 };

fn intervals(edges: &[f64]) -> Vec<ClickInterval> {
    edges.windows(2).map(|pair| ClickInterval { start: pair[0], end: pair[1] }).collect()
}

fn group(case: &Case, column: &str) -> Vec<IntervalCounts> {
    let counts: Vec<u64> = case.text(column).split(';').map(|item| item.parse().unwrap()).collect();
    let row = |three: &[u64]| IntervalCounts { at_risk: three[0], clicks: three[1], opt_outs: three[2] };
    counts.chunks(3).map(row).collect()
}

#[test]
fn incidences_agree_with_transition_matrices() {
    // Errors are numerical derivatives on the oracle's side: some eight digits.
    for case in cases(include_str!("../oracle/fixtures/time_to_click.csv")) {
        let (others, window) = (group(&case, "others"), group(&case, "window"));
        let comparison = compare_timing(&intervals(&case.values("edges")), &others, &window, OPTIONS).unwrap();
        for (column, estimate) in
            [("more", &comparison.more), ("opt_outs", &comparison.opt_outs), ("sooner", &comparison.sooner)]
        {
            case.check(column, estimate.estimate, 1e-9, 1e-11);
            case.check(&format!("{column}_low"), estimate.low, 1e-6, 1e-8);
            case.check(&format!("{column}_high"), estimate.high, 1e-6, 1e-8);
        }
        case.check("others_median", comparison.others.median_time, 1e-9, 0.0);
        case.check("window_median", comparison.window.median_time, 1e-9, 0.0);
    }
}

/// Clicks at hazards of two intervals, opt-outs at 0.5 %, a third of sends too young for the second interval.
fn simulated(run: u64, first: f64, second: f64) -> Vec<IntervalCounts> {
    let mut rows = vec![IntervalCounts::default(); 2];
    for recipient in 0..4_000 {
        let place = (run * 4_000 + recipient) * 3;
        let is_young = uniform(place) < 1.0 / 3.0;
        for (interval, hazard) in [first, second].into_iter().enumerate() {
            if interval == 1 && is_young {
                break;
            }
            let draw = uniform(place + 1 + interval as u64);
            rows[interval].at_risk += 1;
            if draw < hazard {
                rows[interval].clicks += 1;
                break;
            }
            if draw < hazard + 0.005 {
                rows[interval].opt_outs += 1;
                break;
            }
        }
    }
    rows
}

#[test]
fn simulated_groups_are_told_apart() {
    let hours = intervals(&[0.0, 2.0, 24.0]);
    let options = TimingOptions { alpha: 0.05, share_margin: 0.05, time_margin: 3.0 };
    let runs = 120;
    let mut said = std::collections::HashMap::new();
    let mut covered = 0;
    for run in 0..runs {
        let base = simulated(3 * run, 0.06, 0.1);
        let truth_more = (0.10 + (1.0 - 0.105) * 0.1) - (0.06 + (1.0 - 0.065) * 0.1);
        let more = compare_timing(&hours, &base, &simulated(3 * run + 1, 0.10, 0.1), options).unwrap();
        covered += u32::from(more.more.contains(truth_more));
        // About as many by the horizon, more of them early: 0.1 + 0.895 h = 0.06 + 0.935 · 0.1.
        let sooner = compare_timing(&hours, &base, &simulated(3 * run + 2, 0.10, 0.0535 / 0.895), options).unwrap();
        let same = compare_timing(&hours, &base, &simulated(3 * run + 1_000_000, 0.06, 0.1), options).unwrap();
        for (what, verdict) in [("more", more.verdict), ("sooner", sooner.verdict), ("same", same.verdict)] {
            *said.entry((what, format!("{verdict:?}"))).or_insert(0) += 1;
        }
    }
    let times =
        |what: &'static str, verdict: TimingVerdict| said.get(&(what, format!("{verdict:?}"))).copied().unwrap_or(0);
    assert!(times("more", TimingVerdict::More) >= 110, "{said:?}");
    assert!(times("sooner", TimingVerdict::SoonerOnly) >= 100, "{said:?}");
    assert!(times("same", TimingVerdict::Neither) >= 80, "{said:?}");
    // The two questions share 5 %: six of 120.
    let false_ones: i32 = [TimingVerdict::More, TimingVerdict::Fewer, TimingVerdict::SoonerOnly]
        .map(|verdict| times("same", verdict))
        .iter()
        .sum();
    assert!(false_ones <= 13, "{said:?}");
    // Intervals are at 97.5 %: 117 of 120.
    assert!(covered >= 111, "{covered}");
}

fn counts() -> impl Strategy<Value = Vec<IntervalCounts>> {
    (0_u64..5_000, prop::collection::vec((0.0..0.5_f64, 0.0..0.4_f64, 0.0..0.3_f64), 4)).prop_map(|(n, shares)| {
        let mut at_risk = n;
        shares
            .into_iter()
            .map(|(click, opt_out, young)| {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "thousands"
                )]
                let part = |share: f64, of: u64| (of as f64 * share) as u64;
                let row = IntervalCounts { at_risk, clicks: part(click, at_risk), opt_outs: part(opt_out, at_risk) };
                at_risk -= row.clicks + row.opt_outs;
                at_risk -= part(young, at_risk);
                row
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn numbers_can_be_shown_and_turned(others in counts(), window in counts()) {
        let hours = intervals(&[0.0, 1.0, 3.0, 10.0, 48.0]);
        let forward = compare_timing(&hours, &others, &window, OPTIONS).unwrap();
        let backward = compare_timing(&hours, &window, &others, OPTIONS).unwrap();
        for estimate in [&forward.more, &forward.sooner, &forward.opt_outs, &forward.window.mean_time] {
            prop_assert!(is_presentable(estimate), "{:?}", estimate);
        }
        let share = forward.window.clicked.estimate.unwrap_or(0.0) + forward.window.opted_out.estimate.unwrap_or(0.0);
        prop_assert!((0.0..=1.0 + 1e-12).contains(&share));
        if let (Some(left), Some(right)) = (forward.more.low, backward.more.high) {
            prop_assert!((left + right).abs() < 1e-12);
        }
        if let Some(mean) = forward.window.mean_time.estimate {
            prop_assert!((0.0..=48.0).contains(&mean));
        }
        prop_assert_eq!(forward.verdict == TimingVerdict::More, backward.verdict == TimingVerdict::Fewer);
    }
}
