//! The whole fit, on data whose truth is known and on data that break things.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::random::standard_normal;
use super::slots::tests::week_of;
use super::working::logistic;
use super::*;
use crate::interval::Estimate;
use crate::numeric::{assert_close, count, length};

/// A sender of which everything is known.
struct Sender {
    slots: Vec<WindowSlot>,
    /// By segment and slot.
    effects: Vec<Vec<f64>>,
    between: f64,
    campaigns: usize,
    /// In a cell.
    sends: u64,
}

impl Sender {
    fn new(effects: Vec<Vec<f64>>) -> Self {
        Self { slots: week_of(1, effects[0].len()), effects, between: 0.1, campaigns: 12, sends: 3_000 }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
    fn cells(&self, seed: u64) -> Vec<WindowCell> {
        let mut cells = Vec::new();
        for campaign in 0..self.campaigns {
            let key = |purpose: u64| [seed, purpose, campaign as u64];
            let level = -2.4 + 0.4 * standard_normal(key(1), 0);
            for (segment, effects) in self.effects.iter().enumerate() {
                for (slot, effect) in effects.iter().enumerate() {
                    let own = self.between * standard_normal(key(2), slot as u64);
                    let rate = logistic(level + effect + own);
                    let expected = count(self.sends) * rate;
                    let noise = standard_normal(key(3 + segment as u64), slot as u64);
                    let sum = (expected + (expected * (1.0 - rate)).sqrt() * noise).round().max(0.0);
                    cells.push(cell(campaign, segment, slot, self.sends, sum));
                }
            }
        }
        cells
    }

    fn fit(&self, seed: u64) -> SendWindows {
        let options = WindowOptions { seed, draws: 600, ..WindowOptions::default() };
        fit_randomised(&self.slots, &self.cells(seed), &options)
    }
}

fn cell(campaign: usize, segment: usize, slot: usize, n: u64, sum: f64) -> WindowCell {
    WindowCell { campaign, segment, slot, n, sum, sum_of_squares: sum, ..WindowCell::default() }
}

fn timing_of(slots: &[WindowSlot], cells: &[WindowCell], assignment: WindowAssignment) -> Identification {
    let timings: Vec<CampaignTiming> = cells
        .iter()
        .map(|cell| CampaignTiming {
            campaign: cell.campaign,
            assignment,
            sends: vec![StratumSends { stratum: cell.stratum, slot: cell.slot, n: cell.n }],
        })
        .collect();
    let request = RandomisationRequest::usual(PlannedResponse::Rate { rate: 0.08 });
    identify(slots, &timings, &request).unwrap()
}

fn fit_randomised(slots: &[WindowSlot], cells: &[WindowCell], options: &WindowOptions) -> SendWindows {
    let identification = timing_of(slots, cells, WindowAssignment::Randomised);
    fit(identification.timing().unwrap(), slots, cells, options).unwrap()
}

fn recommended(decision: &WindowDecision) -> Option<&[usize]> {
    match decision {
        WindowDecision::Recommend(recommendation) => Some(&recommendation.slots),
        WindowDecision::Abstain { .. } => None,
    }
}

fn abstains_for(windows: &SendWindows) -> Option<AbstentionCause> {
    match &windows.overall.decision {
        WindowDecision::Recommend(_) => None,
        WindowDecision::Abstain { cause, .. } => Some(*cause),
    }
}

fn estimates(windows: &SendWindows) -> Vec<&Estimate> {
    let outlooks = std::iter::once(&windows.overall).chain(windows.segments.iter().map(|segment| &segment.outlook));
    let mut all: Vec<&Estimate> = windows.days.iter().map(|day| &day.effect).collect();
    for outlook in outlooks {
        all.push(&outlook.practice);
        all.extend(outlook.slots.iter().flat_map(|slot| [&slot.response, &slot.difference]));
        if let WindowDecision::Recommend(recommendation) = &outlook.decision {
            all.extend([&recommendation.gain, &recommendation.relative_gain]);
        }
    }
    all
}

/// Nothing is NaN, what is missing is explained, chances add up.
fn assert_presentable(windows: &SendWindows) {
    for estimate in estimates(windows) {
        let numbers = [estimate.estimate, estimate.low, estimate.high];
        assert!(numbers.iter().flatten().all(|number| number.is_finite()), "{estimate:?}");
        assert!(numbers.iter().all(Option::is_some) || estimate.note.is_some(), "{estimate:?}");
        assert!(estimate.estimate.is_none_or(|value| estimate.contains(value)), "{estimate:?}");
    }
    let chances: Vec<f64> = windows.overall.slots.iter().filter_map(|slot| slot.chance_of_best).collect();
    assert!(chances.is_empty() || (chances.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{chances:?}");
    assert!(windows.overall.slots.iter().filter_map(|slot| slot.expected_loss).all(|loss| loss >= 0.0));
    assert!(windows.spread.slots.is_finite() && windows.spread.campaigns.is_finite());
    for slot in recommended(&windows.overall.decision).unwrap_or_default() {
        assert!(windows.overall.slots[*slot].legal && windows.overall.slots[*slot].supported);
    }
}

fn assert_same(left: &SendWindows, right: &SendWindows) {
    for (left, right) in estimates(left).iter().zip(estimates(right)) {
        assert_close(left.estimate.unwrap(), right.estimate.unwrap(), 1e-6);
        assert_close(left.low.unwrap(), right.low.unwrap(), 1e-6);
    }
    assert_eq!(recommended(&left.overall.decision), recommended(&right.overall.decision));
}

const LATE: [f64; 6] = [-0.3, -0.2, 0.0, 0.0, 0.1, 0.4];

#[test]
fn a_clear_window_is_found_and_its_gain_is_not_exaggerated() {
    let windows = Sender::new(vec![LATE.to_vec()]).fit(3);
    assert_presentable(&windows);
    assert_eq!(recommended(&windows.overall.decision), Some([5].as_slice()));
    let WindowDecision::Recommend(recommendation) = &windows.overall.decision else { panic!() };
    assert!(recommendation.relative_gain.contains(0.42), "{recommendation:?}");
    assert!(recommendation.chance_of_gain > 0.99);
    assert!(windows.segments.is_empty() && windows.segment_deviation.is_none());
}

#[test]
fn without_an_effect_it_abstains() {
    let sender = Sender::new(vec![vec![0.0; 6]]);
    let recommending = (0..20).filter(|&seed| abstains_for(&sender.fit(seed)).is_none()).count();
    // Of twenty, six or more would be a chance of 1 % if one in ten were recommended.
    assert!(recommending <= 5, "{recommending}");
}

#[test]
fn intervals_hold_the_truth() {
    let (mut inside, mut all) = (0, 0);
    for seed in 0..20 {
        let effects: Vec<f64> = (0..6).map(|slot| 0.2 * standard_normal([seed, 77, 0], slot)).collect();
        let sender = Sender::new(vec![effects.clone()]);
        let windows = sender.fit(seed);
        // Relative differences, which the levels of the campaigns hardly change.
        let odds: Vec<f64> = effects.iter().map(|effect| logistic(-2.4 + effect)).collect();
        let mean = odds.iter().sum::<f64>() / 6.0;
        let practice = windows.overall.practice.estimate.unwrap();
        for (slot, rate) in windows.overall.slots.iter().zip(&odds) {
            all += 1;
            inside += usize::from(slot.difference.contains((rate / mean - 1.0) * practice));
        }
    }
    // 90 % of 120 are 108; slots of one seed go together, so that the bound is that of some sixty.
    assert!((96..=119).contains(&inside), "{inside} of {all}");
}

#[test]
fn a_segment_that_departs_gets_its_own_answer() {
    let early: Vec<f64> = LATE.iter().rev().copied().collect();
    let mut sender = Sender::new(vec![LATE.to_vec(), LATE.to_vec(), early, LATE.to_vec()]);
    sender.sends = 2_000;
    let windows = sender.fit(1);
    assert_presentable(&windows);
    let levels: Vec<AnswerLevel> = windows.segments.iter().map(|segment| segment.level).collect();
    assert_eq!(levels[2], AnswerLevel::Segment);
    assert_eq!(recommended(&windows.segments[2].outlook.decision), Some([0].as_slice()));
    assert!(recommended(&windows.segments[0].outlook.decision).is_some_and(|slots| slots == [5]));
}

#[test]
fn segments_that_do_not_depart_inherit() {
    let mut sender = Sender::new(vec![LATE.to_vec(); 3]);
    sender.sends = 1_000;
    let windows = sender.fit(4);
    for segment in &windows.segments {
        assert_eq!(segment.level, AnswerLevel::Overall);
        let found = |decision: &WindowDecision| match decision {
            WindowDecision::Recommend(found) => found.clone(),
            WindowDecision::Abstain { .. } => panic!("{decision:?}"),
        };
        let (own, all) = (found(&segment.outlook.decision), found(&windows.overall.decision));
        assert_eq!(own.slots, all.slots);
        // The next campaign's own effects make a part of the list no surer than the whole.
        let width = |gain: &Estimate| gain.high.unwrap() - gain.low.unwrap();
        assert!(width(&own.gain) > 0.9 * width(&all.gain), "{own:?} {all:?}");
    }
}

#[test]
fn no_segment_is_sent_to_where_it_is_sure_to_lose() {
    // One segment likes the morning best; for the others the window after it is a tenth better on the scale of log odds.
    let most = vec![-0.2, 0.3, 0.4, -0.1, -0.1, -0.3];
    let mut morning = most.clone();
    morning[1] = 0.8;
    let mut sender = Sender::new(vec![most.clone(), most.clone(), most, morning]);
    sender.sends = 12_000;
    for seed in 0..6 {
        let windows = sender.fit(seed);
        assert_presentable(&windows);
        for segment in &windows.segments {
            let practice = segment.outlook.practice.estimate.unwrap();
            for slot in recommended(&segment.outlook.decision).unwrap_or_default() {
                let found = &segment.outlook.slots[*slot];
                let (chance, loss) = (found.chance_of_best.unwrap(), found.expected_loss.unwrap());
                assert!(chance > 0.02 || loss < 0.03 * practice, "seed {seed}: {found:?} of {practice}");
            }
        }
    }
}

#[test]
fn an_illegal_window_is_shown_and_never_recommended() {
    let mut sender = Sender::new(vec![LATE.to_vec()]);
    sender.slots[5].legal = false;
    let windows = sender.fit(3);
    assert_presentable(&windows);
    assert!(windows.overall.slots[5].difference.low.unwrap() > 0.0);
    assert_eq!(windows.overall.slots[5].chance_of_best, None);
    assert!(recommended(&windows.overall.decision).is_none_or(|slots| !slots.contains(&5)));
    for slot in &mut sender.slots {
        slot.legal = false;
    }
    let none = fit_randomised(&sender.slots, &sender.cells(3), &WindowOptions::default());
    assert_eq!(abstains_for(&none), Some(AbstentionCause::NoLegalSlot));
}

#[test]
fn one_campaign_is_not_enough() {
    let mut sender = Sender::new(vec![LATE.to_vec()]);
    (sender.campaigns, sender.sends) = (1, 1_000_000);
    let windows = sender.fit(3);
    assert_eq!(abstains_for(&windows), Some(AbstentionCause::NotSupported));
    // A million messages in a window, and the interval is still as wide as campaigns differ.
    let slot = &windows.overall.slots[2].difference;
    assert!(slot.high.unwrap() - slot.low.unwrap() > 0.05 * windows.overall.practice.estimate.unwrap());
}

#[test]
fn labels_order_and_cuts_do_not_matter() {
    let sender = Sender::new(vec![LATE.to_vec(), LATE.iter().map(|effect| -effect).collect()]);
    let cells = sender.cells(8);
    let options = WindowOptions { draws: 200, ..WindowOptions::default() };
    let plain = fit_randomised(&sender.slots, &cells, &options);
    let mut changed = Vec::new();
    for cell in cells.iter().rev() {
        let campaign = (cell.campaign * 7 + 3) % 12 + 100;
        let first = WindowCell { campaign, n: cell.n / 3, sum: (cell.sum / 4.0).floor(), ..*cell };
        changed.push(first);
        changed.push(WindowCell { n: cell.n - first.n, sum: cell.sum - first.sum, ..first });
        changed.push(WindowCell { n: 0, sum: 0.0, ..first });
    }
    assert_same(&plain, &fit_randomised(&sender.slots, &changed, &options));
}

#[test]
fn campaigns_that_were_not_drawn_are_left_out() {
    let sender = Sender::new(vec![LATE.to_vec()]);
    let mut cells = sender.cells(5);
    let identification = timing_of(&sender.slots, &cells, WindowAssignment::Randomised);
    let options = WindowOptions { draws: 200, practice: Some(vec![1.0; 6]), ..WindowOptions::default() };
    let without = fit(identification.timing().unwrap(), &sender.slots, &cells, &options).unwrap();
    // A campaign that the proof does not know, in which the worst window looks best.
    cells.push(cell(99, 0, 0, 100_000, 90_000.0));
    cells.push(cell(99, 0, 5, 100_000, 10.0));
    let with = fit(identification.timing().unwrap(), &sender.slots, &cells, &options).unwrap();
    assert_same(&without, &with);
}

#[test]
fn a_holiday_is_not_credited_to_its_window() {
    let mut sender = Sender::new(vec![vec![0.0; 6]]);
    sender.campaigns = 16;
    let mut cells = sender.cells(6);
    // In some campaigns window 2 fell on a holiday, on which the odds of a response were 2.2 times as high.
    for cell in cells.iter_mut().filter(|cell| cell.slot == 2 && cell.campaign % 3 > 0) {
        cell.day_kind = 1;
        let rate = cell.sum / count(cell.n);
        cell.sum = (count(cell.n) * logistic((rate / (1.0 - rate)).ln() + 0.8)).round();
    }
    let windows = fit_randomised(&sender.slots, &cells, &WindowOptions::default());
    assert_presentable(&windows);
    let day = &windows.days[0];
    assert_eq!(day.day_kind, 1);
    assert!(day.effect.low.unwrap() > 0.5 && day.effect.contains(0.8), "{day:?}");
    assert!(windows.overall.slots[2].difference.contains_zero());
    assert!(recommended(&windows.overall.decision).is_none());
}

#[test]
fn amounts_are_compared_as_amounts() {
    let slots = week_of(1, 4);
    let mut cells = Vec::new();
    for campaign in 0..10 {
        for slot in 0..4 {
            // One in fifty buys for 40, one percent more of them in the third window.
            let share = if slot == 2 { 0.03 } else { 0.02 };
            let noise = 1.0 + 0.02 * standard_normal([9, 9, campaign as u64], slot as u64);
            let buyers = (20_000.0 * share * noise).round();
            cells.push(WindowCell {
                sum: 40.0 * buyers - 200.0,
                sum_of_squares: 1_600.0 * buyers,
                ..cell(campaign, 0, slot, 20_000, 0.0)
            });
        }
    }
    let options = WindowOptions { outcome: WindowOutcome::Amount, ..WindowOptions::default() };
    let windows = fit_randomised(&slots, &cells, &options);
    assert_presentable(&windows);
    assert_eq!(recommended(&windows.overall.decision), Some([2].as_slice()));
    assert!(windows.overall.slots[2].difference.contains(0.3), "{:?}", windows.overall.slots[2]);
    // In cents, the answer is the same.
    for cell in &mut cells {
        cell.sum *= 100.0;
        cell.sum_of_squares *= 10_000.0;
    }
    let cents = fit_randomised(&slots, &cells, &options);
    assert_close(
        cents.overall.slots[2].difference.estimate.unwrap(),
        100.0 * windows.overall.slots[2].difference.estimate.unwrap(),
        1e-9,
    );
}

#[test]
fn regions_at_one_instant_are_fitted_with_effects_of_their_own() {
    let slots = week_of(1, 6);
    let effects = [-0.3, -0.1, 0.1, 0.3, 0.1, -0.1];
    let mut cells = Vec::new();
    for campaign in 0..24_usize {
        for stratum in 0..3 {
            let slot = (campaign + stratum) % 6;
            // The third region responds twice as often as the first, whatever the hour.
            let region = [0.0, 0.3, 0.7][stratum];
            let own = 0.05 * standard_normal([4, 1, campaign as u64], slot as u64);
            let rate =
                logistic(-2.5 + 0.3 * standard_normal([4, 2, campaign as u64], 0) + region + effects[slot] + own);
            let mut sent = cell(campaign, 0, slot, 20_000, (20_000.0 * rate).round());
            sent.stratum = stratum;
            cells.push(sent);
        }
    }
    let identification = timing_of(&slots, &cells, WindowAssignment::OneInstant);
    let Identification::QuasiExperimental { timing, plan } = &identification else { panic!() };
    assert!(plan.is_some());
    let windows = fit(timing, &slots, &cells, &WindowOptions::default()).unwrap();
    assert_presentable(&windows);
    assert_eq!(windows.kind, ContrastKind::QuasiExperimental);
    assert_eq!(recommended(&windows.overall.decision), Some([3].as_slice()));
}

#[test]
fn extreme_data_give_an_answer() {
    let slots = week_of(1, 4);
    let table = |n: u64, sum: fn(usize, usize) -> f64| -> Vec<WindowCell> {
        (0..6)
            .flat_map(|campaign| (0..4).map(move |slot| cell(campaign, campaign % 2, slot, n, sum(campaign, slot))))
            .collect()
    };
    let cases: [(Vec<WindowCell>, Option<AbstentionCause>); 6] = [
        (table(1_000, |_, _| 0.0), Some(AbstentionCause::NoOutcome)),
        (table(1_000, |_, _| 1_000.0), Some(AbstentionCause::NoOutcome)),
        (
            table(1_000, |campaign, slot| if campaign == 0 { 200.0 + 100.0 * length(slot) } else { 0.0 }),
            Some(AbstentionCause::NotSupported),
        ),
        (table(1, |_, slot| f64::from(u8::from(slot == 1))), Some(AbstentionCause::NotSupported)),
        (table(1_000_000_000, |campaign, slot| length(1 + campaign * 4 + slot) * 1e7), None),
        (table(1_000, |_, slot| if slot == 2 { 1_000.0 } else { 0.0 }), None),
    ];
    for (cells, cause) in cases {
        for outcome in [WindowOutcome::Rate, WindowOutcome::Amount] {
            let options = WindowOptions { outcome, draws: 200, ..WindowOptions::default() };
            let windows = fit_randomised(&slots, &cells, &options);
            assert_presentable(&windows);
            if let (Some(cause), WindowOutcome::Rate) = (cause, outcome) {
                assert_eq!(abstains_for(&windows), Some(cause));
            }
        }
    }
    // A slot alone, and cells of nobody.
    let one = week_of(1, 1);
    let proof = timing_of(&slots, &table(10, |_, _| 1.0), WindowAssignment::Randomised);
    for cells in [vec![cell(0, 0, 0, 5_000, 50.0)], vec![cell(0, 0, 0, 0, 0.0)], vec![]] {
        let windows = fit(proof.timing().unwrap(), &one, &cells, &WindowOptions::default()).unwrap();
        assert_presentable(&windows);
        assert!(abstains_for(&windows).is_some());
    }
}

#[test]
fn impossible_input_is_refused() {
    let slots = week_of(1, 4);
    let cells = [cell(0, 0, 0, 10, 1.0), cell(0, 0, 1, 10, 1.0)];
    let identification = timing_of(&slots, &cells, WindowAssignment::Randomised);
    let timing = identification.timing().unwrap();
    let usual = WindowOptions::default();
    for bad in [
        cell(0, 0, 4, 10, 1.0),
        cell(0, 0, 0, 10, 11.0),
        cell(0, 0, 0, 10, -1.0),
        cell(0, 0, 0, 10, f64::NAN),
        cell(0, 0, 0, 0, 1.0),
    ] {
        assert!(fit(timing, &slots, &[bad], &usual).is_err(), "{bad:?}");
    }
    let amounts = WindowOptions { outcome: WindowOutcome::Amount, ..usual.clone() };
    let spread = WindowCell { sum_of_squares: 1.0, ..cell(0, 0, 0, 10, 100.0) };
    assert!(fit(timing, &slots, &[spread], &amounts).is_err());
    for options in [
        WindowOptions { level: 1.0, ..usual.clone() },
        WindowOptions { tolerance: 0.0, ..usual.clone() },
        WindowOptions { assurance: 1.5, ..usual.clone() },
        WindowOptions { draws: 0, ..usual.clone() },
        WindowOptions { practice: Some(vec![1.0; 3]), ..usual.clone() },
        WindowOptions { practice: Some(vec![-1.0; 4]), ..usual.clone() },
    ] {
        assert!(fit(timing, &slots, &cells, &options).is_err(), "{options:?}");
    }
    assert!(fit(timing, &slots, &cells, &usual).is_ok());
}
