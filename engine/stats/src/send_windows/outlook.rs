//! What is known of every window, overall or in a segment.
//!
//! Enters: draws of the slots' effects and the level of the response. Leaves: a [`WindowOutlook`]: rates, differences
//! from current practice, chances to be best, expected losses, and the recommendation that they support.

use super::decision::{
    AbstentionCause, Choice, Question, Recommendation, Standing, WindowDecision, abstention, even_weights, spread_over,
    standings,
};
use super::fit::WindowOptions;
use super::levels::Levels;
use super::matrix::Matrix;
use super::random::standard_normal;
use super::slots::WindowSlot;
use crate::interval::{Estimate, Interval};
use crate::numeric::{count, length};
use serde::{Deserialize, Serialize};

/// What is known of one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotOutlook {
    /// Index of the slot.
    pub slot: usize,
    /// Whether it may be recommended.
    pub legal: bool,
    /// Messages sent in it, of all campaigns.
    pub sends: u64,
    /// Messages that carry contrasts.
    pub contrast_sends: u64,
    /// Campaigns with contrasts of this slot.
    pub campaigns: usize,
    /// Whether these are enough for the slot to be recommended.
    pub supported: bool,
    /// Response per message if all were sent in this slot, at the average mix of the campaigns that count and on
    /// ordinary days: a rate, 0 to 1, or an amount.
    pub response: Estimate,
    /// The same less that of current practice.
    pub difference: Estimate,
    /// Probability, 0 to 1, of being the best of the legal, supported slots; none for any other slot.
    pub chance_of_best: Option<f64>,
    /// What sending in it is expected to lose against the best of these, in the units of the response.
    pub expected_loss: Option<f64>,
}

/// Standard normal quantile of the ends of the 90 % intervals that the fit gives unless another level is asked for.
pub const OUTLOOK_QUANTILE: f64 = 1.644_853_626_951_472_2;

impl SlotOutlook {
    /// The difference from current practice as a normal distribution with the same mean and interval: mean and standard
    /// deviation, in the units of the response. None where nothing is known of the slot. Expects intervals of 90 %.
    #[must_use]
    pub fn normal_difference(&self) -> Option<(f64, f64)> {
        let (low, high) = self.difference.low.zip(self.difference.high)?;
        Some((self.difference.estimate?, (high - low) / (2.0 * OUTLOOK_QUANTILE)))
    }
}

/// What is known of all slots, overall or in a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowOutlook {
    /// Response per message under current practice: the legal slots in the shares in which they are used.
    pub practice: Estimate,
    /// What current practice is expected to lose against the best legal, supported slot, in the units of the response;
    /// none without such slots.
    pub practice_loss: Option<f64>,
    /// Every slot, in the order of the slots.
    pub slots: Vec<SlotOutlook>,
    /// What to do.
    pub decision: WindowDecision,
}

/// Everything that an outlook is made from.
pub(super) struct Group<'data> {
    pub(super) slots: &'data [WindowSlot],
    pub(super) options: &'data WindowOptions,
    /// Messages by slot, of all campaigns.
    pub(super) sends: &'data [u64],
    /// Campaigns and messages with contrasts, by slot.
    pub(super) support: Vec<(usize, f64)>,
    /// The level; none where there is nothing to compare.
    pub(super) levels: Option<Levels>,
    /// Draws of effects, a row a slot, each centred on the mix.
    pub(super) effects: Matrix,
    /// τ of each draw.
    pub(super) taus: Vec<f64>,
    /// Distinguishes this group's random numbers.
    pub(super) stream: u64,
}

/// A group with the draws of its responses.
pub(super) struct Judged<'data> {
    group: Group<'data>,
    levels: Levels,
    responses: Matrix,
    practice_weights: Vec<f64>,
    practice: Vec<f64>,
    standings: Vec<Standing>,
}

impl<'data> Group<'data> {
    fn is_supported(&self, slot: usize) -> bool {
        let (campaigns, sends) = self.support[slot];
        campaigns >= self.options.fewest_campaigns && sends >= count(self.options.fewest_sends)
    }

    fn has_legal_slots(&self) -> bool {
        self.slots.iter().any(|slot| slot.legal)
    }

    /// Shares of the legal slots in current practice; even ones where no message was sent legally.
    fn practice_weights(&self) -> Vec<f64> {
        let given = self.options.practice.as_deref();
        let weight = |slot: usize| given.map_or(count(self.sends[slot]), |shares| shares[slot]);
        let mut weights: Vec<f64> =
            (0..self.slots.len()).map(|slot| if self.slots[slot].legal { weight(slot) } else { 0.0 }).collect();
        let total: f64 = weights.iter().sum();
        if total <= 0.0 || !total.is_finite() {
            let legal: Vec<usize> = (0..self.slots.len()).filter(|&slot| self.slots[slot].legal).collect();
            return even_weights(&legal, self.slots.len());
        }
        for weight in &mut weights {
            *weight /= total;
        }
        weights
    }

    /// Draws the responses; the outlook at once where there are none.
    pub(super) fn judged(mut self) -> Result<Judged<'data>, Box<WindowOutlook>> {
        let draws = self.effects.columns();
        let cause = if self.has_legal_slots() { AbstentionCause::NoOutcome } else { AbstentionCause::NoLegalSlot };
        let Some(levels) = self.levels.take().filter(|_| draws > 0) else {
            return Err(Box::new(self.without_responses(cause)));
        };
        // The level's own error moves all slots together.
        for draw in 0..draws {
            let error = levels.error(self.taus[draw]);
            let shift = error * standard_normal([self.options.seed, self.stream + LEVEL, draw as u64], 0);
            for slot in 0..self.slots.len() {
                *self.effects.at_mut(slot, draw) += shift;
            }
        }
        let responses =
            Matrix::from_function(self.slots.len(), draws, |slot, draw| levels.response(self.effects.at(slot, draw)));
        let practice_weights = self.practice_weights();
        let practice = spread_over(&responses, &practice_weights);
        let eligible: Vec<usize> =
            (0..self.slots.len()).filter(|&slot| self.slots[slot].legal && self.is_supported(slot)).collect();
        let standings = standings(&responses, &eligible);
        Ok(Judged { group: self, levels, responses, practice_weights, practice, standings })
    }

    fn without_responses(&self, cause: AbstentionCause) -> WindowOutlook {
        const NOTE: &str = "nobody responded, or everybody did, or nothing was sent";
        let unknown = || Estimate::undefined(NOTE);
        let slots = (0..self.slots.len()).map(|slot| self.slot(slot, unknown(), unknown(), None)).collect();
        let decision = abstention(cause, self.options.tolerance);
        WindowOutlook { practice: unknown(), practice_loss: None, slots, decision }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of counts")]
    fn slot(&self, slot: usize, response: Estimate, difference: Estimate, standing: Option<Standing>) -> SlotOutlook {
        SlotOutlook {
            slot,
            legal: self.slots[slot].legal,
            sends: self.sends[slot],
            contrast_sends: self.support[slot].1 as u64,
            campaigns: self.support[slot].0,
            supported: self.is_supported(slot),
            response,
            difference,
            chance_of_best: standing.map(|standing| standing.chance_of_best),
            expected_loss: standing.map(|standing| standing.expected_loss),
        }
    }
}

/// Offsets of the streams of a group's level and of its next campaign.
const LEVEL: u64 = 1;
const NEXT: u64 = 2;

impl Judged<'_> {
    /// Loss that is tolerated, in the units of the response.
    fn tolerated(&self) -> f64 {
        self.group.options.tolerance * self.levels.size(mean(&self.practice))
    }

    /// What to send instead of current practice, or of other slots in equal shares.
    pub(super) fn choice(&self, instead_of: Option<&[usize]>) -> Result<Choice, AbstentionCause> {
        if !self.group.has_legal_slots() {
            return Err(AbstentionCause::NoLegalSlot);
        }
        let other = instead_of.map(|slots| spread_over(&self.responses, &even_weights(slots, self.group.slots.len())));
        let question = Question {
            responses: &self.responses,
            standings: &self.standings,
            baseline: other.as_deref().unwrap_or(&self.practice),
            tolerated: self.tolerated(),
            assurance: self.group.options.assurance,
        };
        question.answer()
    }

    /// The windows found for all, without those that are certain to lose more than is tolerated here against the best of the
    /// group; what it would choose itself where none is left. None where none of them is.
    pub(super) fn without_those_that_lose(
        &self,
        slots: &[usize],
        own: Result<Choice, AbstentionCause>,
    ) -> Option<WindowDecision> {
        let kept: Vec<usize> = slots.iter().copied().filter(|&slot| !self.is_sure_to_lose(slot)).collect();
        if kept.len() == slots.len() {
            return None;
        }
        if kept.is_empty() {
            return Some(match own {
                Ok((chosen, chance)) => WindowDecision::Recommend(self.recommendation(chosen, chance, true)),
                Err(_) => abstention(AbstentionCause::NotToldApart, self.group.options.tolerance),
            });
        }
        let found = self.recommendation(kept, 0.0, false);
        if found.chance_of_gain < self.group.options.assurance {
            return Some(abstention(AbstentionCause::NotToldApart, self.group.options.tolerance));
        }
        let chance = found.chance_of_gain;
        Some(WindowDecision::Recommend(self.recommendation(found.slots, chance, false)))
    }

    /// Whether a window loses more than is tolerated, with the probability that a recommendation takes, against the one that
    /// is expected to lose least.
    fn is_sure_to_lose(&self, slot: usize) -> bool {
        let least = self.standings.iter().min_by(|left, right| left.expected_loss.total_cmp(&right.expected_loss));
        let Some(best) = least.filter(|best| best.slot != slot) else { return false };
        let tolerated = self.tolerated();
        let pairs = self.responses.row(best.slot).iter().zip(self.responses.row(slot));
        let losing = pairs.filter(|(best, this)| *best - *this > tolerated).count();
        length(losing) / length(self.responses.columns().max(1)) >= self.group.options.assurance
    }

    /// What a choice gains on the next campaign.
    pub(super) fn recommendation(
        &self,
        slots: Vec<usize>,
        chance_over_baseline: f64,
        of_segment: bool,
    ) -> Recommendation {
        let weights = even_weights(&slots, self.group.slots.len());
        let chosen = spread_over(&self.responses, &weights);
        let better = chosen.iter().zip(&self.practice).filter(|(chosen, practice)| chosen > practice).count();
        let chance_of_gain = length(better) / length(self.practice.len());
        let (gains, relative) = self.next_campaign(&weights);
        let expected = mean(&chosen) - mean(&self.practice);
        let relative_gain = expected / self.levels.size(mean(&self.practice));
        let against = if of_segment { "what would be done without an answer of its own" } else { "what is done now" };
        let reason = format!(
            "expected to lose less than {:.1} % against the best window, and better than {against} with probability \
             {:.0} %",
            100.0 * self.group.options.tolerance,
            100.0 * chance_over_baseline
        );
        Recommendation {
            slots,
            gain: self.around(expected, gains),
            relative_gain: self.around(relative_gain, relative),
            chance_of_gain,
            reason,
        }
    }

    /// The decision found for all, with what its windows gain here.
    pub(super) fn inherited(&self, overall: &WindowDecision) -> WindowDecision {
        let WindowDecision::Recommend(found) = overall else { return overall.clone() };
        let mut own = self.recommendation(found.slots.clone(), 0.0, false);
        own.reason = format!(
            "the windows are those found for all; here they are better than what is done now with probability {:.0} %",
            100.0 * own.chance_of_gain
        );
        WindowDecision::Recommend(own)
    }

    /// Draws of the gain of the next campaign, in the units of the response and as a share of practice: each campaign
    /// has slot effects of its own.
    fn next_campaign(&self, weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let key = |draw: usize| [self.group.options.seed, self.group.stream + NEXT, draw as u64];
        (0..self.practice.len())
            .map(|draw| {
                let (mut chosen, mut practice) = (0.0, 0.0);
                let weights = weights.iter().zip(&self.practice_weights).enumerate();
                for (slot, (&of_chosen, &of_practice)) in weights {
                    if of_chosen == 0.0 && of_practice == 0.0 {
                        continue;
                    }
                    let own = self.group.taus[draw] * standard_normal(key(draw), slot as u64);
                    let response = self.levels.response(self.group.effects.at(slot, draw) + own);
                    chosen += of_chosen * response;
                    practice += of_practice * response;
                }
                let gain = chosen - practice;
                (gain, gain / self.levels.size(practice).max(f64::MIN_POSITIVE))
            })
            .unzip()
    }

    /// The outlook with a decision.
    pub(super) fn outlook(&self, decision: WindowDecision) -> WindowOutlook {
        let slots = (0..self.group.slots.len())
            .map(|slot| {
                let values = self.responses.row(slot);
                let differences = values.iter().zip(&self.practice).map(|(value, practice)| value - practice).collect();
                let standing = self.standings.iter().copied().find(|standing| standing.slot == slot);
                self.group.slot(slot, self.summary(values.to_vec()), self.summary(differences), standing)
            })
            .collect();
        let question = Question {
            responses: &self.responses,
            standings: &self.standings,
            baseline: &self.practice,
            tolerated: self.tolerated(),
            assurance: self.group.options.assurance,
        };
        WindowOutlook {
            practice: self.summary(self.practice.clone()),
            practice_loss: (!self.standings.is_empty()).then(|| question.baseline_loss()),
            slots,
            decision,
        }
    }

    fn summary(&self, draws: Vec<f64>) -> Estimate {
        let centre = mean(&draws);
        self.around(centre, draws)
    }

    fn around(&self, centre: f64, draws: Vec<f64>) -> Estimate {
        credible(centre, draws, self.group.options.level)
    }
}

/// An estimate with the interval that holds the middle share `level` of the draws.
pub(super) fn credible(centre: f64, mut draws: Vec<f64>, level: f64) -> Estimate {
    draws.sort_by(f64::total_cmp);
    let end = |probability: f64| quantile(&draws, probability);
    let (low, high) = (end((1.0 - level) / 2.0), end(f64::midpoint(1.0, level)));
    // The mean of skewed draws may lie outside of a narrow middle.
    Estimate::new(centre, Interval::from_ends(low.min(centre), high.max(centre)))
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / length(values.len().max(1))
}

/// The quantile of sorted values, between neighbours in proportion.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let place = probability * length(sorted.len().saturating_sub(1));
    let below = place.floor() as usize;
    let (Some(&low), high) = (sorted.get(below), sorted.get(below + 1)) else {
        return f64::NAN;
    };
    high.map_or(low, |&high| low + (high - low) * (place - place.floor()))
}
