//! Which windows to recommend, or why not to.
//!
//! Enters: draws of every slot's response, which slots may be recommended, and what is done now. Leaves: chances to be
//! best, expected losses, and a [`WindowDecision`]: the set of windows of which none is expected to lose more than is
//! tolerated against the best, or an abstention.
//!
//! Expected loss is E[max over windows − this window] under the posterior (Berger 1985, "Statistical Decision Theory",
//! chapter 4; with shrinkage the mean of the chosen is not inflated by having been chosen, Dawid 1994). What is done
//! now has such a loss too: while that is tolerable there is nothing to change.

use super::matrix::Matrix;
use crate::interval::Estimate;
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// Why nothing is recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbstentionCause {
    /// No slot may be recommended.
    NoLegalSlot,
    /// Nobody responded, or everybody, or no amount varies.
    NoOutcome,
    /// Fewer than two legal slots have enough messages in enough campaigns.
    NotSupported,
    /// What is done now is expected to lose no more than is tolerated.
    PracticeIsGoodEnough,
    /// The best windows cannot be told from what is done now, or from the others, yet.
    NotToldApart,
}

/// What to do with the next campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowDecision {
    /// Send in these windows.
    Recommend(Recommendation),
    /// Leave the windows as they are.
    Abstain {
        /// Why.
        cause: AbstentionCause,
        /// Why, in words.
        reason: String,
    },
}

/// Windows to send in, and what that is expected to gain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Slots that are expected to lose less than is tolerated against the best, in rising order; any of them will do.
    pub slots: Vec<usize>,
    /// Gain of the next campaign, spread evenly over `slots`, against current practice: a difference of rates, or of
    /// amounts per message. The interval allows for the campaign's own slot effects.
    pub gain: Estimate,
    /// The same as a share of current practice.
    pub relative_gain: Estimate,
    /// Probability, 0 to 1, that these slots are better on average than what is done now.
    pub chance_of_gain: f64,
    /// Why, in words.
    pub reason: String,
}

/// What the posterior says of one slot among those that may be recommended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standing {
    pub(super) slot: usize,
    pub(super) chance_of_best: f64,
    pub(super) expected_loss: f64,
}

/// Chances to be best and expected losses of the `eligible` slots. Draws that tie share the win.
pub(super) fn standings(responses: &Matrix, eligible: &[usize]) -> Vec<Standing> {
    let draws = responses.columns();
    let best = best_of(responses, eligible);
    let winners: Vec<f64> = (0..draws)
        .map(|draw| length(eligible.iter().filter(|&&slot| responses.at(slot, draw) >= best[draw]).count()))
        .collect();
    eligible
        .iter()
        .map(|&slot| {
            let (mut wins, mut loss) = (0.0, 0.0);
            for ((value, best), winners) in responses.row(slot).iter().zip(&best).zip(&winners) {
                loss += best - value;
                wins += if value >= best { 1.0 / winners } else { 0.0 };
            }
            Standing { slot, chance_of_best: wins / length(draws), expected_loss: loss / length(draws) }
        })
        .collect()
}

/// The best response of each draw.
fn best_of(responses: &Matrix, eligible: &[usize]) -> Vec<f64> {
    let mut best = vec![f64::NEG_INFINITY; responses.columns()];
    for &slot in eligible {
        for (best, &value) in best.iter_mut().zip(responses.row(slot)) {
            *best = best.max(value);
        }
    }
    best
}

/// Draws of the response when messages are spread over slots by weights that add up to one.
pub(super) fn spread_over(responses: &Matrix, weights: &[f64]) -> Vec<f64> {
    responses.transposed_times_vector(weights)
}

/// Equal weights for some slots.
pub(super) fn even_weights(chosen: &[usize], slots: usize) -> Vec<f64> {
    let mut weights = vec![0.0; slots];
    for &slot in chosen {
        weights[slot] = 1.0 / length(chosen.len());
    }
    weights
}

/// The slots to recommend in place of a baseline, or why there are none.
pub(super) struct Question<'draws> {
    pub(super) responses: &'draws Matrix,
    pub(super) standings: &'draws [Standing],
    /// Draws of what would be done otherwise.
    pub(super) baseline: &'draws [f64],
    /// Loss that is tolerated, in the units of the response.
    pub(super) tolerated: f64,
    /// Probability with which a recommendation has to be better than the baseline.
    pub(super) assurance: f64,
}

/// The windows that pass, and the chance that they are better than the baseline.
pub(super) type Choice = (Vec<usize>, f64);

impl Question<'_> {
    /// What the baseline is expected to lose against the best window of each draw, or against itself where it is better
    /// than any.
    pub(super) fn baseline_loss(&self) -> f64 {
        let eligible: Vec<usize> = self.standings.iter().map(|standing| standing.slot).collect();
        let best = best_of(self.responses, &eligible);
        let loss: f64 = best.iter().zip(self.baseline).map(|(best, baseline)| (best - baseline).max(0.0)).sum();
        loss / length(best.len().max(1))
    }

    pub(super) fn answer(&self) -> Result<Choice, AbstentionCause> {
        if self.standings.len() < 2 {
            return Err(AbstentionCause::NotSupported);
        }
        if self.baseline_loss() < self.tolerated {
            return Err(AbstentionCause::PracticeIsGoodEnough);
        }
        let chosen: Vec<usize> = self
            .standings
            .iter()
            .filter(|standing| standing.expected_loss < self.tolerated)
            .map(|standing| standing.slot)
            .collect();
        if chosen.is_empty() {
            return Err(AbstentionCause::NotToldApart);
        }
        let values = spread_over(self.responses, &even_weights(&chosen, self.responses.rows()));
        let better = values.iter().zip(self.baseline).filter(|(value, baseline)| value > baseline).count();
        let chance = length(better) / length(values.len().max(1));
        if chance < self.assurance { Err(AbstentionCause::NotToldApart) } else { Ok((chosen, chance)) }
    }
}

/// The cause in words; `tolerance` is a share.
pub(super) fn abstention(cause: AbstentionCause, tolerance: f64) -> WindowDecision {
    let reason = match cause {
        AbstentionCause::NoLegalSlot => "no window may be recommended".to_owned(),
        AbstentionCause::NoOutcome => "nobody responded, or everybody did: there is nothing to compare".to_owned(),
        AbstentionCause::NotSupported => {
            "fewer than two legal windows have enough messages in enough campaigns: send more at random".to_owned()
        }
        AbstentionCause::PracticeIsGoodEnough => format!(
            "what is done now is expected to lose less than {:.1} % against the best window: nothing to change",
            100.0 * tolerance
        ),
        AbstentionCause::NotToldApart => format!(
            "no window is known to be better than what is done now and within {:.1} % of the best: send more at random",
            100.0 * tolerance
        ),
    };
    WindowDecision::Abstain { cause, reason }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn losses_and_chances_by_hand() {
        let rows = [[1.0, 3.0, 2.0, 2.0], [2.0, 1.0, 2.0, 0.0], [9.0, 9.0, 9.0, 9.0]];
        let responses = Matrix::from_function(3, 4, |row, column| rows[row][column]);
        let standings = standings(&responses, &[0, 1]);
        assert_close(standings[0].chance_of_best, (0.0 + 1.0 + 0.5 + 1.0) / 4.0, 1e-15);
        assert_close(standings[0].expected_loss, 0.25, 1e-15);
        assert_close(standings[1].expected_loss, 1.0, 1e-15);
        let baseline = spread_over(&responses, &[0.5, 0.5, 0.0]);
        assert_eq!(baseline, [1.5, 2.0, 2.0, 1.0]);
        let question = Question {
            responses: &responses,
            standings: &standings,
            baseline: &baseline,
            tolerated: 0.3,
            assurance: 0.5,
        };
        assert_close(question.baseline_loss(), (0.5 + 1.0 + 0.0 + 1.0) / 4.0, 1e-15);
        assert_eq!(question.answer(), Ok((vec![0], 0.5)));
        assert_eq!(Question { assurance: 0.6, ..question }.answer(), Err(AbstentionCause::NotToldApart));
    }
}
