//! From effects to rates: what the average message would do in each slot.
//!
//! Enters: the table, and the effects that were found. Leaves: the level of the response, as a few groups of campaigns
//! that are alike, on which an effect is turned into a rate at the average mix of campaigns, or into an amount.
//!
//! Levels are those at the average of the slots that were used: an effect of zero is the average of what was sent.

use super::table::{Cell, Table, WindowOutcome};
use super::working::{Effects, intercept, logistic};

/// Groups of campaigns with a level each.
const GROUPS: f64 = 12.0;
/// The greatest rate that has odds.
const MOST_RATE: f64 = 1.0 - 1e-12;

/// The level of the response, overall or of a segment.
#[derive(Debug, Clone)]
pub(super) struct Levels {
    /// Shares of messages, which add up to one, and the odds of each.
    groups: Vec<(f64, f64)>,
    /// The mean amount, in units of the table's scale.
    mean: f64,
    /// Units of an amount; none for a rate.
    scale: Option<f64>,
    /// Variance of the level on the scale of the effects: by chance, and for each unit of τ² by the campaigns' own slot
    /// effects, which do not average out to zero over the slots and campaigns that were used.
    variance: f64,
    variance_per_tau_squared: f64,
}

/// Shares of the messages in each slot, of the campaigns that count.
pub(super) fn mix(table: &Table, segment: Option<usize>) -> Vec<f64> {
    let mut mix = vec![0.0; table.slots];
    for block in table.blocks.iter().filter(|block| segment.is_none_or(|segment| block.segment == segment)) {
        for cell in table.cells_of(block) {
            mix[cell.slot] += cell.n;
        }
    }
    let total: f64 = mix.iter().sum();
    if total > 0.0 {
        for share in &mut mix {
            *share /= total;
        }
    }
    mix
}

impl Levels {
    /// None where nobody responded, or everybody, or nothing was sent. Effects are centred on the mix already.
    pub(super) fn new(table: &Table, effects: &Effects, segment: Option<usize>) -> Option<Self> {
        let mut campaigns = Vec::with_capacity(table.campaigns.len());
        let (mut information, mut noise, mut own_effects) = (0.0, 0.0, 0.0);
        for campaign in &table.campaigns {
            let mut cells: Vec<Cell> = Vec::new();
            let mut offsets = Vec::new();
            let wanted = table.blocks_of(campaign).iter();
            for block in wanted.filter(|block| segment.is_none_or(|segment| block.segment == segment)) {
                for cell in table.cells_of(block) {
                    // A region's own effect belongs to the level.
                    let without_stratum = Cell { factors: [cell.factors[0], None], ..*cell };
                    offsets.push(effects.offset(&without_stratum, block.segment));
                    cells.push(*cell);
                }
            }
            let (n, sum) = super::working::totals(&cells);
            if n <= 0.0 {
                continue;
            }
            let mut by_slot = vec![0.0; table.slots];
            for cell in &cells {
                by_slot[cell.slot] += cell.n;
            }
            own_effects += by_slot.iter().map(|sends| sends * sends).sum::<f64>();
            match table.outcome {
                WindowOutcome::Rate => {
                    let rate =
                        if sum > 0.0 && sum < n { logistic(intercept(&cells, &offsets, n, sum)) } else { sum / n };
                    information += n * rate * (1.0 - rate);
                    campaigns.push((n, rate.min(MOST_RATE)));
                }
                WindowOutcome::Amount => {
                    let of_slots: f64 = cells.iter().zip(&offsets).map(|(cell, offset)| cell.n * offset).sum();
                    noise += n * campaign.variance.unwrap_or(0.0);
                    campaigns.push((n, (sum - of_slots) / n));
                }
            }
        }
        let total: f64 = campaigns.iter().map(|(n, _)| n).sum();
        let mean = campaigns.iter().map(|(n, level)| n * level).sum::<f64>() / total;
        let variance_per_tau_squared = own_effects / (total * total);
        match table.outcome {
            WindowOutcome::Rate if information > 0.0 => Some(Self {
                groups: grouped(campaigns, total),
                mean,
                scale: None,
                variance: 1.0 / information,
                variance_per_tau_squared,
            }),
            WindowOutcome::Amount if noise > 0.0 => Some(Self {
                groups: Vec::new(),
                mean,
                scale: Some(table.scale),
                variance: noise / (total * total),
                variance_per_tau_squared,
            }),
            _ => None,
        }
    }

    /// Standard error of the level, on the scale of the effects, under a τ.
    pub(super) fn error(&self, tau: f64) -> f64 {
        (self.variance + tau * tau * self.variance_per_tau_squared).sqrt()
    }

    /// The rate, or the amount in its units, at an effect.
    pub(super) fn response(&self, effect: f64) -> f64 {
        if let Some(scale) = self.scale {
            return scale * (self.mean + effect);
        }
        let factor = effect.clamp(-50.0, 50.0).exp();
        let rate: f64 = self.groups.iter().map(|(share, odds)| share * (odds * factor) / (1.0 + odds * factor)).sum();
        // The shares add up to one but for rounding.
        rate.min(1.0)
    }

    /// What a relative gain is a share of: the size of a response, but for amounts never next to nothing.
    pub(super) fn size(&self, response: f64) -> f64 {
        self.scale.map_or(response.abs(), |scale| scale.max(response.abs()))
    }
}

/// Groups of neighbouring rates with nearly equal shares, as shares and odds.
fn grouped(mut campaigns: Vec<(f64, f64)>, total: f64) -> Vec<(f64, f64)> {
    campaigns.sort_by(|left, right| left.1.total_cmp(&right.1).then(left.0.total_cmp(&right.0)));
    let mut groups: Vec<(f64, f64)> = Vec::new();
    let (mut share, mut rate) = (0.0, 0.0);
    let last = campaigns.len().saturating_sub(1);
    for (place, (n, own)) in campaigns.into_iter().enumerate() {
        share += n / total;
        rate += n / total * own;
        if share >= 1.0 / GROUPS || place == last {
            let mean = (rate / share).min(MOST_RATE);
            groups.push((share, mean / (1.0 - mean)));
            (share, rate) = (0.0, 0.0);
        }
    }
    groups
}
