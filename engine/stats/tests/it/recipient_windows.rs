//! Windows of single recipients, on simulated recipients whose own hours are known.

#![allow(clippy::cast_precision_loss, reason = "small whole numbers")]

use crate::support::{close, standard_normal, uniform};
use sendlift_stats::send_windows::{
    CampaignTiming, Identification, PlannedResponse, RandomisationRequest, RecipientCell, RecipientMoments,
    RecipientSpread, RecipientWindows, StratumSends, WindowAssignment, WindowCell, WindowOptions, WindowSlot, fit,
    identify,
};

const SLOTS: usize = 5;
/// Standard normal quantile of 95 %.
const NINETY_PER_CENT: f64 = 1.644_853_626_951_472_2;
/// Rate of everybody in every window.
const RATE: f64 = 0.4;

/// Recipients with messages in windows that were drawn evenly.
struct World {
    /// By recipient the effect of each window beyond the common rate.
    effects: Vec<[f64; SLOTS]>,
    /// By recipient and slot.
    cells: Vec<[RecipientCell; SLOTS]>,
    /// By recipient.
    squares: Vec<f64>,
    totals: [(f64, f64); SLOTS],
}

/// Half of the recipients respond more by `gain` in one window of their own and less in the others, so that windows are
/// alike in the mean.
fn planted(gain: f64) -> impl Fn(usize, usize) -> f64 {
    move |recipient, slot| match (recipient % 2, recipient / 2 % SLOTS == slot) {
        (0, true) => gain,
        (0, false) => -gain / (SLOTS as f64 - 1.0),
        _ => 0.0,
    }
}

/// Recipients with effects of their own windows, whose levels spread by `level`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
fn world(seed: u64, (recipients, messages): (usize, usize), effect: impl Fn(usize, usize) -> f64, level: f64) -> World {
    let mut places = seed * 1_000_000_000..;
    let mut next = || uniform(places.next().unwrap());
    let (mut effects, mut outcomes) = (Vec::new(), Vec::new());
    for recipient in 0..recipients {
        let own = level * standard_normal(seed * 77_777_777 + recipient as u64);
        let own: [f64; SLOTS] = std::array::from_fn(|slot| own + effect(recipient, slot));
        let drawn = (0..messages).map(|_| {
            let slot = (next() * SLOTS as f64) as usize;
            (slot, f64::from(u8::from(next() < RATE + own[slot])))
        });
        outcomes.push(drawn.collect::<Vec<_>>());
        effects.push(own);
    }
    let mut totals = [(0.0, 0.0); SLOTS];
    for (slot, outcome) in outcomes.iter().flatten() {
        totals[*slot].0 += 1.0;
        totals[*slot].1 += outcome;
    }
    let (mut cells, mut squares) = (Vec::new(), Vec::new());
    for own in &outcomes {
        let (mut cell, mut square) = ([RecipientCell::default(); SLOTS], 0.0);
        for (slot, outcome) in own {
            let (n, sum) = totals[*slot];
            let residual = (outcome - sum / n) * n / (n - 1.0);
            cell[*slot].n += 1.0;
            cell[*slot].residuals += residual;
            square += residual * residual;
        }
        cells.push(cell);
        squares.push(square);
    }
    World { effects, cells, squares, totals }
}

impl World {
    fn spread(&self) -> RecipientSpread {
        let mut moments = RecipientMoments::default();
        for (cells, squares) in self.cells.iter().zip(&self.squares) {
            moments.add(cells, *squares).unwrap();
        }
        moments.spread().unwrap()
    }

    /// What the fit says of all, from the same messages in four campaigns.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    fn windows(&self) -> RecipientWindows {
        let slots: Vec<WindowSlot> =
            (0..SLOTS).map(|slot| WindowSlot { start_hour: 20.0 * slot as f64, hours: 4.0, legal: true }).collect();
        let mut cells = Vec::new();
        for campaign in 0..4 {
            for (slot, (n, sum)) in self.totals.iter().enumerate() {
                let (n, sum) = ((n / 4.0).floor(), (sum / 4.0).floor());
                cells.push(WindowCell {
                    campaign,
                    slot,
                    n: n as u64,
                    sum,
                    sum_of_squares: sum,
                    ..WindowCell::default()
                });
            }
        }
        let timings: Vec<CampaignTiming> = (0..4)
            .map(|campaign| CampaignTiming {
                campaign,
                assignment: WindowAssignment::Randomised,
                sends: (0..SLOTS).map(|slot| StratumSends { stratum: 0, slot, n: 1_000 }).collect(),
            })
            .collect();
        let request = RandomisationRequest::usual(PlannedResponse::Rate { rate: RATE });
        let Identification::Causal(timing) = identify(&slots, &timings, &request).unwrap() else {
            panic!("windows were drawn")
        };
        let options = WindowOptions::default();
        let found = fit(&timing, &slots, &cells, &options).unwrap();
        RecipientWindows::new(&found.overall, &[], self.spread(), (options.tolerance, options.assurance), 1)
    }
}

#[test]
fn spreads_are_those_of_the_simulation() {
    // Half of the recipients have effects of 0.2 and four of -0.05: (0.04 + 4 × 0.0025) / 5 / 2 = 0.005 within slots; of
    // two slots the mean product is -(0.05 / 5) / 4 / 2 = -0.00125, so that slots spread by 0.00625 beyond levels.
    let mut slots = Vec::new();
    for seed in 1..9 {
        let spread = world(seed, (4_000, 20), planted(0.2), 0.0).spread();
        assert!(spread.recipients_differ(), "{spread:?}");
        assert!((spread.slots - 0.00625).abs() < 4.0 * spread.slots_error, "{spread:?}");
        slots.push((spread.slots, spread.slots_error));
    }
    let mean = slots.iter().map(|(value, _)| value).sum::<f64>() / 8.0;
    let deviation = (slots.iter().map(|(value, _)| (value - mean).powi(2)).sum::<f64>() / 7.0).sqrt();
    // The error that is told is the one that seeds have, within a factor of two (eight seeds).
    let told = slots.iter().map(|(_, error)| error).sum::<f64>() / 8.0;
    assert!(deviation < 2.0 * told && told < 2.5 * deviation, "{deviation} {told}");
    let levels = world(3, (4_000, 20), planted(0.0), 0.05).spread();
    assert!(close(levels.levels, 0.0025, 0.001), "{levels:?}");
    assert!((levels.levels - 0.0025).abs() < 0.0006 && !levels.recipients_differ(), "{levels:?}");
}

#[test]
fn recipients_who_do_not_differ_have_no_answer_of_their_own() {
    let worlds: Vec<World> = (1..41).map(|seed| world(seed, (1_000, 12), planted(0.0), 0.08)).collect();
    // One-sided error of 1 %: of forty at most two, but once in a hundred.
    assert!(worlds.iter().filter(|world| world.spread().recipients_differ()).count() <= 2);
    let mut with_own = 0;
    for world in &worlds[..10] {
        let windows = world.windows();
        with_own += world.cells.iter().filter(|cells| windows.outlook(&cells[..]).own_windows.is_some()).count();
    }
    assert!(with_own <= 100, "{with_own} of 10,000");
}

#[test]
fn own_windows_are_found_and_bring_what_is_promised() {
    let (mut promised, mut brought, mut found, mut covered) = (0.0, 0.0, 0_u32, 0_u32);
    let mut covered_windows = [0_u32; SLOTS];
    for seed in 1..6 {
        let normal = |recipient: usize, slot: usize| {
            0.1 * standard_normal(seed * 99_999_999 + (recipient * SLOTS + slot) as u64)
        };
        let world = world(seed, (1_000, 60), normal, 0.03);
        let windows = world.windows();
        for (recipient, cells) in world.cells.iter().enumerate() {
            let outlook = windows.outlook(&cells[..]);
            let effects = world.effects[recipient];
            // Practice is even over the windows.
            let practice = effects.iter().sum::<f64>() / SLOTS as f64;
            for ((slot, effect), covered) in outlook.slots.iter().zip(effects).zip(&mut covered_windows) {
                let (mean, deviation) = slot.difference;
                *covered += u32::from((effect - practice - mean).abs() <= NINETY_PER_CENT * deviation);
            }
            let Some((own, gain)) = outlook.own_windows.zip(outlook.gain) else { continue };
            let truth = own.iter().map(|&slot| effects[slot]).sum::<f64>() / own.len() as f64 - practice;
            found += 1;
            covered += u32::from(gain.low.unwrap() <= truth && truth <= gain.high.unwrap());
            promised += gain.estimate.unwrap();
            brought += truth;
        }
    }
    assert!(found > 1_000, "{found} of 5,000");
    assert!((promised - brought).abs() < 0.06 * brought, "promised {promised} brought {brought}");
    // Intervals of 90 % over thousands of recipients, who share the variances that were estimated.
    let share = f64::from(covered) / f64::from(found);
    assert!((0.87..=0.95).contains(&share), "{share}");
    // Of every window, of all 5,000, whether it was chosen or not; four Monte-Carlo errors are 1.7 points.
    for covered in covered_windows {
        let share = f64::from(covered) / 5_000.0;
        assert!((0.883..=0.93).contains(&share), "{covered_windows:?}");
    }
}

#[test]
fn a_window_that_was_planted_is_the_one_that_is_found() {
    let world = world(5, (2_000, 60), planted(0.3), 0.05);
    let windows = world.windows();
    let best = |recipient: usize| recipient / 2 % SLOTS;
    let found = world.cells.iter().enumerate().filter_map(|(recipient, cells)| {
        let own = windows.outlook(&cells[..]).own_windows?;
        Some((recipient % 2 == 0, own == [best(recipient)]))
    });
    let found: Vec<(bool, bool)> = found.collect();
    let planted = found.iter().filter(|(planted, _)| *planted).count();
    let right = found.iter().filter(|(planted, right)| *planted && *right).count();
    // A thousand have a window of their own; under a normal prior some of the others seem to.
    assert!(planted > 700 && right > 9 * planted / 10 && planted > 2 * (found.len() - planted), "{planted} {right}");
}

#[test]
fn a_recipient_without_messages_has_what_all_have() {
    let windows = world(5, (500, 40), planted(0.3), 0.0).windows();
    let outlook = windows.outlook(&[RecipientCell::default(); SLOTS]);
    assert_eq!(outlook.own_windows, None);
    assert!(outlook.slots.iter().all(|slot| slot.difference.0.abs() < 0.05 && slot.difference.1 > 0.0));
    let chances: f64 = outlook.slots.iter().filter_map(|slot| slot.chance_of_best).sum();
    assert!(close(chances, 1.0, 1e-9), "{chances}");
}
