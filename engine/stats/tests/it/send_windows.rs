//! Laws of send windows, and their agreement with the Python oracle.

use crate::fixtures::{Case, cases};
use crate::support::{close, is_presentable};
use proptest::prelude::*;
use sendlift_stats::send_windows::{
    CampaignTiming, Identification, IdentifiedTiming, PlannedResponse, RandomisationRequest, SendWindows,
    SlotSimilarity, Spread, StratumSends, WindowAssignment, WindowCell, WindowDecision, WindowOptions, WindowOutcome,
    WindowSlot, fit, identify, posterior_given_spread,
};

/// The proof that `cells` were randomised; none where their windows do not differ.
fn proof(slots: &[WindowSlot], cells: &[WindowCell]) -> Option<IdentifiedTiming> {
    let timings: Vec<CampaignTiming> = cells
        .iter()
        .map(|cell| CampaignTiming {
            campaign: cell.campaign,
            assignment: WindowAssignment::Randomised,
            sends: vec![StratumSends { stratum: cell.stratum, slot: cell.slot, n: cell.n }],
        })
        .collect();
    let request = RandomisationRequest::usual(PlannedResponse::Rate { rate: 0.08 });
    match identify(slots, &timings, &request).unwrap() {
        Identification::Causal(timing) => Some(timing),
        Identification::QuasiExperimental { .. } | Identification::NotIdentifiable { .. } => None,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small whole numbers")]
fn cells_of(case: &Case) -> Vec<WindowCell> {
    let column = |name: &str| case.values(name);
    let (campaigns, segments, slots) = (column("campaign"), column("segment"), column("slot"));
    let (n, sums, squares) = (column("n"), column("sum"), column("sum_of_squares"));
    (0..n.len())
        .map(|row| WindowCell {
            campaign: campaigns[row] as usize,
            segment: segments[row] as usize,
            slot: slots[row] as usize,
            n: n[row] as u64,
            sum: sums[row],
            sum_of_squares: squares[row],
            ..WindowCell::default()
        })
        .collect()
}

#[test]
fn effects_agree_with_a_dense_mixed_model() {
    // The oracle inverts a matrix of some hundred rows with precisions from 1e-3 to 1e3, and both repeat an expansion
    // until it moves by less than 1e-11: seven digits are left of it.
    for case in cases(include_str!("../oracle/fixtures/send_windows.csv")) {
        let hours = case.value("hours");
        let slots: Vec<WindowSlot> =
            case.values("starts").into_iter().map(|start_hour| WindowSlot { start_hour, hours, legal: true }).collect();
        let cells = cells_of(&case);
        let [day, hour, week, own] = case.values("similarity")[..] else { panic!("four shares") };
        let spread = Spread {
            similarity: SlotSimilarity { day, hour, week, own },
            slots: case.value("sigma"),
            campaigns: case.value("tau"),
        };
        let outcome = if case.text("outcome") == "rate" { WindowOutcome::Rate } else { WindowOutcome::Amount };
        let timing = proof(&slots, &cells).unwrap();
        let found = posterior_given_spread(&timing, &slots, &cells, outcome, spread, &case.values("omega"));
        let found = found.unwrap().unwrap();
        let pairs = [
            (case.values("effects"), found.slots),
            (case.values("covariance"), found.covariance.concat()),
            (case.values("departures"), found.departures.concat()),
        ];
        for (expected, actual) in pairs {
            assert_eq!(expected.len(), actual.len());
            for (expected, actual) in expected.iter().zip(&actual) {
                assert!((expected - actual).abs() <= 2e-8 + 1e-7 * expected.abs(), "{expected} {actual}");
            }
        }
    }
}

/// Messages in the largest cells.
const HUGE: u64 = 1_000_000_000;
const ORDINARY: u64 = 5_000;

fn slots() -> impl Strategy<Value = Vec<WindowSlot>> {
    (1_u8..8).prop_flat_map(|number| {
        prop::collection::vec(any::<bool>(), usize::from(number)).prop_map(|legal| {
            let slot =
                |(place, legal): (u8, bool)| WindowSlot { start_hour: 20.0 * f64::from(place), hours: 6.0, legal };
            (0..).zip(legal).map(slot).collect()
        })
    })
}

/// Cells of any kind: tiny, of as many as `most` messages, without a response, with nothing but.
fn table(most: u64) -> impl Strategy<Value = (Vec<WindowSlot>, Vec<WindowCell>)> {
    slots().prop_flat_map(move |slots| {
        let number = slots.len();
        let sends = prop_oneof![0_u64..3, 0_u64..2_000, most / 1_000..most];
        let cell = (0_usize..4, 0_usize..2, 0_usize..3, 0..number, 0_usize..3, sends).prop_flat_map(
            |(campaign, stratum, segment, slot, day_kind, n)| {
                prop_oneof![0..=n, 0..=n.min(10), n.saturating_sub(2)..=n].prop_map(move |successes| {
                    #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
                    let sum = successes as f64;
                    WindowCell { campaign, stratum, segment, slot, day_kind, n, sum, sum_of_squares: sum }
                })
            },
        );
        (Just(slots), prop::collection::vec(cell, 0..40))
    })
}

fn options(outcome: WindowOutcome) -> WindowOptions {
    WindowOptions { outcome, draws: 60, fewest_sends: 1, ..WindowOptions::default() }
}

fn decisions(windows: &SendWindows) -> Vec<&WindowDecision> {
    let segments = windows.segments.iter().map(|segment| &segment.outlook.decision);
    std::iter::once(&windows.overall.decision).chain(segments).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_table_has_a_presentable_answer((slots, cells) in table(HUGE), amount in any::<bool>()) {
        let Some(timing) = proof(&slots, &cells) else { return Ok(()) };
        let outcome = if amount { WindowOutcome::Amount } else { WindowOutcome::Rate };
        let windows = fit(&timing, &slots, &cells, &options(outcome)).unwrap();
        let of_segments = windows.segments.iter().flat_map(|segment| &segment.outlook.slots);
        for slot in windows.overall.slots.iter().chain(of_segments) {
            prop_assert!(is_presentable(&slot.response) && is_presentable(&slot.difference), "{:?}", slot);
            prop_assert!(slot.chance_of_best.is_none_or(|chance| (0.0..=1.0).contains(&chance)));
            prop_assert!(slot.expected_loss.is_none_or(|loss| loss >= 0.0));
            if outcome == WindowOutcome::Rate {
                prop_assert!(slot.response.estimate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
            }
        }
        for decision in decisions(&windows) {
            if let WindowDecision::Recommend(recommendation) = decision {
                prop_assert!(is_presentable(&recommendation.gain) && is_presentable(&recommendation.relative_gain));
                prop_assert!(!recommendation.slots.is_empty());
                prop_assert!(recommendation.slots.iter().all(|&slot| slots[slot].legal));
            }
        }
    }

    #[test]
    // With cells of a billion beside cells of one, the last digits of a sum decide which of two spreads a draw is made
    // under; hence ordinary cells.
    fn labels_and_cuts_do_not_matter((slots, cells) in table(ORDINARY)) {
        let Some(timing) = proof(&slots, &cells) else { return Ok(()) };
        let plain = fit(&timing, &slots, &cells, &options(WindowOutcome::Rate)).unwrap();
        let mut changed = Vec::new();
        for cell in cells.iter().rev() {
            let cell = WindowCell { campaign: 40 - 3 * cell.campaign, ..*cell };
            let part = WindowCell { n: cell.n / 2, sum: (cell.sum / 2.0).floor(), ..cell };
            changed.extend([WindowCell { n: cell.n - part.n, sum: cell.sum - part.sum, ..cell }, part]);
        }
        let again = fit(&proof(&slots, &changed).unwrap(), &slots, &changed, &options(WindowOutcome::Rate)).unwrap();
        for (left, right) in plain.overall.slots.iter().zip(&again.overall.slots) {
            prop_assert_eq!((left.sends, left.campaigns), (right.sends, right.campaigns));
            prop_assert_eq!(left.supported, right.supported);
            for (left, right) in [(&left.response, &right.response), (&left.difference, &right.difference)] {
                match (left.estimate, right.estimate) {
                    (Some(left), Some(right)) => prop_assert!(close(left, right, 1e-6), "{} {}", left, right),
                    (left, right) => prop_assert_eq!(left, right),
                }
            }
        }
    }

    #[test]
    fn what_becomes_illegal_is_not_recommended((mut slots, cells) in table(HUGE), which in 0_usize..8) {
        let which = which % slots.len();
        slots[which].legal = false;
        let Some(timing) = proof(&slots, &cells) else { return Ok(()) };
        let windows = fit(&timing, &slots, &cells, &options(WindowOutcome::Rate)).unwrap();
        prop_assert!(windows.overall.slots[which].chance_of_best.is_none());
        for decision in decisions(&windows) {
            if let WindowDecision::Recommend(recommendation) = decision {
                prop_assert!(!recommendation.slots.contains(&which));
            }
        }
    }
}
