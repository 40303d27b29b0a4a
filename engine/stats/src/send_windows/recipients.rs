//! Windows of single recipients: do they differ from each other in their hours, and what is known of each?
//!
//! Enters: of each recipient and slot the number of messages whose windows were drawn at random, and the sum of their
//! residuals: the outcome less the mean of the other messages of the same campaign, stratum and slot. Leaves: how far
//! recipients' own hours spread ([`RecipientSpread`]), and for one recipient what is known of every window and whether that
//! asks for other windows than everybody's ([`RecipientWindows::outlook`]).
//!
//! The model is linear in the outcome: residual = level of the recipient + its own effect of the slot + noise, with
//! variances that are the same for all. They are estimated by moments: products of residuals of one recipient in different
//! slots tell the variance of levels, products within a slot tell that and the variance of slot effects (analysis of
//! variance by products of pairs; Searle, Casella and `McCulloch` 1992, "Variance Components", chapter 5). The estimator is
//! unbiased whatever the distribution; its error is that between recipients. Given the variances a recipient's effects have
//! a normal posterior in closed form (best linear unbiased prediction, Henderson 1975).
//!
//! Where recipients cannot be told to differ, there is no answer of one's own: most lists are too thin for it.

use super::outlook::WindowOutlook;
use super::random::standard_normal;
use crate::error::{StatsError, check_finite, check_not_negative};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;

/// Draws from a recipient's posterior: a probability is known to two hundredths or so.
const DRAWS: usize = 400;
/// Streams of random numbers: of the slots of all, of the recipient's own, of its level.
const SHARED_STREAM: u64 = 7_001;
const OWN_STREAM: u64 = 7_002;
const LEVEL_STREAM: u64 = 7_003;

/// Standard normal quantile that an estimated variance has to reach in its errors.
const BEYOND_CHANCE: f64 = 2.326_347_874_040_841;

/// Messages of one recipient in one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RecipientCell {
    /// Messages.
    pub n: f64,
    /// Sum of their residuals, in the units of the outcome.
    pub residuals: f64,
}

/// Sums over recipients from which spreads are estimated. They may be made in parts and merged in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RecipientMoments {
    recipients: f64,
    messages: f64,
    squares: f64,
    /// Sums of products within slots and their number, between slots and theirs.
    sums: [f64; 4],
    /// Sums over recipients of products of these four.
    products: [[f64; 4]; 4],
}

impl RecipientMoments {
    /// Adds a recipient: its slots and the sum of its squared residuals.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] or [`StatsError::Negative`] for counts or sums that cannot be.
    pub fn add(&mut self, cells: &[RecipientCell], squares: f64) -> Result<(), StatsError> {
        check_not_negative("the sum of squared residuals", squares)?;
        let (mut n, mut total) = (0.0, 0.0);
        let (mut within, mut pairs_within) = (-squares, 0.0);
        let (mut own_squares, mut own_counts) = (0.0, 0.0);
        for cell in cells {
            check_not_negative("the messages of a recipient", cell.n)?;
            check_finite("the sum of residuals", cell.residuals)?;
            n += cell.n;
            total += cell.residuals;
            own_squares += cell.residuals * cell.residuals;
            own_counts += cell.n * cell.n;
            pairs_within += cell.n * (cell.n - 1.0);
        }
        within += own_squares;
        let own = [within, pairs_within, total * total - own_squares, n * n - own_counts];
        self.recipients += 1.0;
        self.messages += n;
        self.squares += squares;
        for (row, left) in own.iter().enumerate() {
            self.sums[row] += left;
            for (column, right) in own.iter().enumerate() {
                self.products[row][column] += left * right;
            }
        }
        Ok(())
    }

    /// Adds the sums of other recipients.
    pub fn merge(&mut self, other: &Self) {
        self.recipients += other.recipients;
        self.messages += other.messages;
        self.squares += other.squares;
        for row in 0..4 {
            self.sums[row] += other.sums[row];
            for column in 0..4 {
                self.products[row][column] += other.products[row][column];
            }
        }
    }

    /// How far recipients spread. None where too few recipients have several messages within a slot and in several slots.
    #[must_use]
    pub fn spread(&self) -> Option<RecipientSpread> {
        let [within, pairs_within, between, pairs_between] = self.sums;
        if pairs_within <= 0.0 || pairs_between <= 0.0 || self.recipients < 2.0 {
            return None;
        }
        let (same, other) = (within / pairs_within, between / pairs_between);
        // What each recipient moves the difference by, to first order.
        let weights = [1.0 / pairs_within, -same / pairs_within, -1.0 / pairs_between, other / pairs_between];
        let mut variance = 0.0;
        for (row, left) in weights.iter().enumerate() {
            for (column, right) in weights.iter().enumerate() {
                variance += left * right * self.products[row][column];
            }
        }
        let slots = same - other;
        let levels = other.max(0.0);
        let noise = (self.squares / self.messages.max(1.0) - levels - slots.max(0.0)).max(0.0);
        Some(RecipientSpread { noise, levels, slots, slots_error: variance.max(0.0).sqrt() })
    }
}

/// Variances of what a message brings, in squared units of the outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecipientSpread {
    /// Of one message, given its recipient and slot.
    pub noise: f64,
    /// Of the levels of recipients.
    pub levels: f64,
    /// Of recipients' own effects of a slot; an unbiased estimate, which chance makes negative as often as positive where
    /// there are none.
    pub slots: f64,
    /// Its standard error.
    pub slots_error: f64,
}

impl RecipientSpread {
    /// Whether recipients differ in their hours by more than chance (one-sided error of 1 %).
    #[must_use]
    pub fn recipients_differ(&self) -> bool {
        self.noise > 0.0 && self.slots > BEYOND_CHANCE * self.slots_error
    }
}

/// What is known of one slot for one recipient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecipientSlot {
    /// Difference from current practice, in the units of the outcome: mean and standard deviation of the posterior.
    pub difference: (f64, f64),
    /// Probability of being the best of the recipient's legal, supported slots; none for any other slot.
    pub chance_of_best: Option<f64>,
    /// Expected loss against the best of these.
    pub expected_loss: Option<f64>,
}

/// What is known of one recipient.
#[derive(Debug, Clone, PartialEq)]
pub struct RecipientOutlook {
    /// Every slot.
    pub slots: Vec<RecipientSlot>,
    /// The recipient's own level above the mean of all, as a posterior mean.
    pub level: f64,
    /// Windows that the recipient's own messages ask for, of which any will do; none where the answer of its segment, or of
    /// all, stands.
    pub own_windows: Option<Vec<usize>>,
    /// With own windows, what they gain against current practice.
    pub gain: Option<Estimate>,
}

/// What all recipients share for whom the same windows are legal and the same answer holds.
#[derive(Debug, Clone, PartialEq)]
pub struct RecipientWindows {
    spread: RecipientSpread,
    eligible: Vec<usize>,
    /// Mean and standard deviation of each slot's difference from practice, of all.
    differences: Vec<(f64, f64)>,
    practice_weights: Vec<f64>,
    instead_of: Vec<f64>,
    tolerated: f64,
    assurance: f64,
    /// Windows that a recipient without any messages would be given by the same rule: no answer of its own.
    of_all: Option<Vec<usize>>,
    /// Draws of the differences of all, a row a draw.
    shared: Vec<Vec<f64>>,
    /// Standard normal numbers for the recipient's own effects, a row a draw, and for its level.
    own: Vec<Vec<f64>>,
    level: Vec<f64>,
}

impl RecipientWindows {
    /// From the outlook of all, or of the recipients' segment. `recommended` are the slots that it recommends; without any,
    /// current practice is what an answer of one's own has to beat. `tolerance` is a share of practice's response.
    #[must_use]
    pub fn new(
        outlook: &WindowOutlook,
        recommended: &[usize],
        spread: RecipientSpread,
        (tolerance, assurance): (f64, f64),
        seed: u64,
    ) -> Self {
        let count = outlook.slots.len();
        let eligible: Vec<usize> = (0..count).filter(|&slot| outlook.slots[slot].chance_of_best.is_some()).collect();
        let differences: Vec<(f64, f64)> =
            outlook.slots.iter().map(|slot| slot.normal_difference().unwrap_or((0.0, 0.0))).collect();
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let sends = |slot: usize| if outlook.slots[slot].legal { outlook.slots[slot].sends as f64 } else { 0.0 };
        let total: f64 = (0..count).map(sends).sum();
        let practice_weights: Vec<f64> =
            (0..count).map(|slot| if total > 0.0 { sends(slot) / total } else { 1.0 / length(count.max(1)) }).collect();
        let instead_of = (0..count)
            .map(|slot| if recommended.contains(&slot) { 1.0 / length(recommended.len()) } else { 0.0 })
            .collect();
        let normal = |stream: u64, draw: usize, slot: usize| standard_normal([seed, stream, draw as u64], slot as u64);
        let shared = (0..DRAWS).map(|draw| {
            let slots = differences.iter().enumerate();
            slots.map(|(slot, (mean, deviation))| mean + deviation * normal(SHARED_STREAM, draw, slot)).collect()
        });
        let own = (0..DRAWS).map(|draw| (0..count).map(|slot| normal(OWN_STREAM, draw, slot)).collect());
        let mut made = Self {
            spread,
            eligible,
            of_all: None,
            tolerated: tolerance * outlook.practice.estimate.unwrap_or(0.0).abs(),
            assurance,
            shared: shared.collect(),
            own: own.collect(),
            level: (0..DRAWS).map(|draw| normal(LEVEL_STREAM, draw, 0)).collect(),
            differences,
            practice_weights,
            instead_of,
        };
        made.of_all = made.outlook(&vec![RecipientCell::default(); count]).own_windows;
        made
    }

    /// What is known of a recipient by its own messages, one cell a slot.
    #[must_use]
    pub fn outlook(&self, cells: &[RecipientCell]) -> RecipientOutlook {
        let posterior = Posterior::of(&self.spread, cells);
        let practice_of = |values: &[f64]| -> f64 {
            values.iter().zip(&self.practice_weights).map(|(value, weight)| value * weight).sum()
        };
        let means: Vec<f64> = (0..cells.len()).map(|slot| posterior.mean(slot)).collect();
        let centre = practice_of(&means);
        let deviations = posterior.deviations_from(&self.practice_weights);
        let slots = self.differences.len();
        let (mut wins, mut losses) = (vec![0.0; slots], vec![0.0; slots]);
        let mut baseline_loss = 0.0;
        let mut drawn = vec![0.0; DRAWS * slots];
        for (draw, values) in drawn.chunks_exact_mut(slots.max(1)).enumerate() {
            posterior.draw(&self.own[draw], self.level[draw], values);
            let own_practice = practice_of(values);
            for (value, shared) in values.iter_mut().zip(&self.shared[draw]) {
                *value += shared - own_practice;
            }
            let best = self.eligible.iter().map(|&slot| values[slot]).fold(f64::NEG_INFINITY, f64::max);
            for &slot in &self.eligible {
                losses[slot] += best - values[slot];
                wins[slot] += if values[slot] >= best { 1.0 } else { 0.0 };
            }
            baseline_loss += (best - self.baseline(values)).max(0.0);
        }
        let draws = length(DRAWS);
        let found = (0..slots).map(|slot| {
            let is_eligible = self.eligible.contains(&slot);
            let (mean, deviation) = self.differences[slot];
            RecipientSlot {
                difference: (mean + means[slot] - centre, deviation.hypot(deviations[slot])),
                chance_of_best: is_eligible.then(|| wins[slot] / draws),
                expected_loss: is_eligible.then(|| losses[slot] / draws),
            }
        });
        let found: Vec<RecipientSlot> = found.collect();
        let own = self.choice(&losses, baseline_loss / draws, &drawn);
        let (own_windows, gain) = own.filter(|(windows, _)| self.of_all.as_ref() != Some(windows)).unzip();
        RecipientOutlook { slots: found, level: posterior.level, own_windows, gain }
    }

    /// What is done without an answer of one's own: the recommended slots in equal shares, or practice, which is zero.
    fn baseline(&self, values: &[f64]) -> f64 {
        values.iter().zip(&self.instead_of).map(|(value, weight)| value * weight).sum()
    }

    /// The windows that lose little more than the best of them and beat what is done without them, with their gain over
    /// practice.
    fn choice(&self, losses: &[f64], baseline_loss: f64, drawn: &[f64]) -> Option<(Vec<usize>, Estimate)> {
        if self.eligible.len() < 2 || baseline_loss < self.tolerated {
            return None;
        }
        let draws = length(DRAWS);
        // No recipient has messages enough for a loss to be small: that of the best window is what cannot be helped.
        let least = self.eligible.iter().map(|&slot| losses[slot]).fold(f64::INFINITY, f64::min);
        let is_near = |slot: &usize| (losses[*slot] - least) / draws < self.tolerated || losses[*slot] <= least;
        let chosen: Vec<usize> = self.eligible.iter().copied().filter(is_near).collect();
        let mut gains: Vec<f64> = Vec::with_capacity(DRAWS);
        let mut better = 0_usize;
        for values in drawn.chunks_exact(losses.len()) {
            let value = chosen.iter().map(|&slot| values[slot]).sum::<f64>() / length(chosen.len());
            better += usize::from(value > self.baseline(values));
            gains.push(value);
        }
        if length(better) / draws < self.assurance {
            return None;
        }
        let mean = gains.iter().sum::<f64>() / draws;
        gains.sort_by(f64::total_cmp);
        let end = |share: usize| gains[(gains.len() - 1) * share / 100];
        Some((chosen, Estimate::new(mean, Interval::from_ends(end(5), end(95)))))
    }
}

/// A recipient's own effects, given the variances.
struct Posterior {
    /// By slot, how far the mean residual is believed, that mean, and the deviation that is left.
    slots: Vec<(f64, f64, f64)>,
    level: f64,
    level_deviation: f64,
}

impl Posterior {
    fn of(spread: &RecipientSpread, cells: &[RecipientCell]) -> Self {
        let own = if spread.recipients_differ() { spread.slots } else { 0.0 };
        let (mut precision, mut weighted) = (0.0, 0.0);
        for cell in cells.iter().filter(|cell| cell.n > 0.0) {
            let variance = own + spread.noise / cell.n;
            precision += 1.0 / variance;
            weighted += cell.residuals / cell.n / variance;
        }
        // Levels that do not spread have the precision of a certainty.
        let (level, level_variance) = if spread.levels > 0.0 {
            let whole = precision + 1.0 / spread.levels;
            (weighted / whole, 1.0 / whole)
        } else {
            (0.0, 0.0)
        };
        let slots = cells.iter().map(|cell| {
            if cell.n <= 0.0 || own <= 0.0 {
                return (0.0, 0.0, own.sqrt());
            }
            let believed = own / (own + spread.noise / cell.n);
            (believed, cell.residuals / cell.n, (own * (1.0 - believed)).sqrt())
        });
        Self { slots: slots.collect(), level, level_deviation: level_variance.sqrt() }
    }

    fn mean(&self, slot: usize) -> f64 {
        let (believed, residual, _) = self.slots[slot];
        believed * (residual - self.level)
    }

    /// Standard deviations of each slot's effect less the mean of all with weights that add up to one. What is not known of
    /// the level moves all slots together, and most of it falls out.
    fn deviations_from(&self, weights: &[f64]) -> Vec<f64> {
        let weighted = || self.slots.iter().zip(weights);
        let mean_left: f64 = weighted().map(|((_, _, left), weight)| (left * weight).powi(2)).sum();
        let mean_believed: f64 = weighted().map(|((believed, _, _), weight)| believed * weight).sum();
        let deviation = |((believed, _, left), weight): (&(f64, f64, f64), &f64)| {
            let own = left * left * (1.0 - 2.0 * weight) + mean_left;
            own.max(0.0).sqrt().hypot((believed - mean_believed) * self.level_deviation)
        };
        weighted().map(deviation).collect()
    }

    fn draw(&self, own: &[f64], level: f64, values: &mut [f64]) {
        let level = self.level + self.level_deviation * level;
        for (value, ((believed, residual, left), normal)) in values.iter_mut().zip(self.slots.iter().zip(own)) {
            *value = believed * (residual - level) + left * normal;
        }
    }
}
