//! A made-up sender whose truth is known.
//!
//! Enters: what the hour does, and a random seed. Leaves: cells of counts, as a sender would have them, and the true
//! responses of every window.

use sendlift_stats::distribution::normal;
use sendlift_stats::send_windows::{CampaignTiming, StratumSends, WindowAssignment, WindowCell, WindowSlot};
use std::f64::consts::TAU;

/// Random numbers in a row, by the counter of `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Random {
    counter: u64,
}

impl Random {
    pub fn new(seed: u64, study: u64) -> Self {
        Self { counter: mix(mix(seed).wrapping_add(study)) }
    }

    fn word(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.counter)
    }

    /// Between 0 and 1, never either.
    pub fn uniform(&mut self) -> f64 {
        (real(self.word() >> 12) + 0.5) / 4_503_599_627_370_496.0
    }

    pub fn normal(&mut self) -> f64 {
        normal::quantile(self.uniform())
    }

    /// Successes among `n`: by inversion where few are expected, else the rounded normal.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to n")]
    pub fn binomial(&mut self, n: u64, rate: f64) -> u64 {
        let expected = real(n) * rate;
        if expected * (1.0 - rate) > 60.0 {
            let value = expected + (expected * (1.0 - rate)).sqrt() * self.normal();
            return value.round().clamp(0.0, real(n)) as u64;
        }
        let odds = rate / (1.0 - rate);
        let mut probability = (1.0 - rate).powf(real(n));
        let (mut rest, mut successes) = (self.uniform(), 0);
        while rest > probability && successes < n {
            rest -= probability;
            probability *= odds * real(n - successes) / real(successes + 1);
            successes += 1;
        }
        successes
    }
}

fn mix(counter: u64) -> u64 {
    let mut mixed = counter;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[allow(clippy::cast_precision_loss, reason = "all counts here are below 2^53")]
pub fn real(units: u64) -> f64 {
    units as f64
}

pub fn logistic(place: f64) -> f64 {
    1.0 / (1.0 + (-place).exp())
}

/// The true sender.
#[derive(Debug, Clone)]
pub struct World {
    pub slots: Vec<WindowSlot>,
    /// Effects by segment and slot, on the log-odds scale.
    pub effects: Vec<Vec<f64>>,
    /// Standard deviation of a slot's effect between campaigns.
    pub between: f64,
    /// Log odds of a click at an effect of zero, and how far campaigns vary about it.
    pub level: f64,
    pub campaign_deviation: f64,
    /// Messages of a campaign, over all segments.
    pub sends: f64,
}

/// `days` × `windows` slots; the first of each day, by night, is not legal.
pub fn week(days: u64, windows: u64) -> Vec<WindowSlot> {
    let hours = 24.0 / real(windows);
    (0..days * windows)
        .map(|slot| WindowSlot {
            start_hour: 24.0 * real(slot / windows) + hours * real(slot % windows),
            hours,
            legal: slot % windows > 0,
        })
        .collect()
}

/// Effects that rise and fall with the hour, differ by day, and have something of their own in every window.
pub fn random_effects(slots: &[WindowSlot], size: f64, random: &mut Random) -> Vec<f64> {
    let height = size * (0.5 + random.uniform());
    let peak = 24.0 * random.uniform();
    let days: Vec<f64> = (0..7).map(|_| 0.5 * size * random.normal()).collect();
    slots
        .iter()
        .map(|slot| {
            let middle = slot.start_hour + slot.hours / 2.0;
            let day =
                (0_u8..7).zip(&days).find(|(day, _)| middle < 24.0 * f64::from(day + 1)).map_or(0.0, |(_, own)| *own);
            height * (TAU * (middle - peak) / 24.0).cos() + day + 0.25 * size * random.normal()
        })
        .collect()
}

impl World {
    /// A world without segments.
    pub fn new(slots: Vec<WindowSlot>, effects: Vec<f64>, between: f64) -> Self {
        Self { slots, effects: vec![effects], between, level: -2.44, campaign_deviation: 0.4, sends: 20_000.0 }
    }

    /// The cells of a campaign whose messages are spread over slots by `shares`, which add up to one, and its level.
    pub fn campaign(&self, campaign: usize, shares: &[f64], random: &mut Random) -> (Vec<WindowCell>, f64) {
        let level = self.level + self.campaign_deviation * random.normal();
        let own: Vec<f64> = self.slots.iter().map(|_| self.between * random.normal()).collect();
        let mut cells = Vec::new();
        let of_segment = self.sends / real(self.effects.len() as u64);
        for (segment, effects) in self.effects.iter().enumerate() {
            for (slot, &share) in shares.iter().enumerate() {
                let n = rounded(of_segment * share, random);
                if n == 0 {
                    continue;
                }
                let clicks = real(random.binomial(n, logistic(level + effects[slot] + own[slot])));
                cells.push(WindowCell {
                    campaign,
                    segment,
                    slot,
                    n,
                    sum: clicks,
                    sum_of_squares: clicks,
                    ..WindowCell::default()
                });
            }
        }
        (cells, level)
    }

    /// All messages of a campaign to a stratum in one slot, whose log odds are those of the slot from a place.
    pub fn cell(&self, of: (usize, usize, usize), place: f64, random: &mut Random) -> WindowCell {
        let (campaign, stratum, slot) = of;
        let n = rounded(self.sends, random);
        let clicks = real(random.binomial(n, logistic(place + self.effects[0][slot])));
        WindowCell { campaign, stratum, slot, n, sum: clicks, sum_of_squares: clicks, ..WindowCell::default() }
    }

    /// The rate of every slot in a segment, at the average of some campaigns.
    pub fn rates(&self, segment: usize, levels: &[f64]) -> Vec<f64> {
        let average =
            |effect: f64| levels.iter().map(|level| logistic(level + effect)).sum::<f64>() / real(levels.len() as u64);
        self.effects[segment].iter().map(|&effect| average(effect)).collect()
    }

    /// Campaigns that are randomised evenly over the legal slots: their cells, and their levels.
    pub fn history(&self, campaigns: usize, random: &mut Random) -> (Vec<WindowCell>, Vec<f64>) {
        let shares = even_over(&self.legal(), self.slots.len());
        let (cells, levels): (Vec<Vec<WindowCell>>, Vec<f64>) =
            (0..campaigns).map(|campaign| self.campaign(campaign, &shares, random)).unzip();
        (cells.into_iter().flatten().collect(), levels)
    }

    pub fn legal(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|&slot| self.slots[slot].legal).collect()
    }
}

/// Equal shares of some slots.
pub fn even_over(chosen: &[usize], slots: usize) -> Vec<f64> {
    let mut shares = vec![0.0; slots];
    for &slot in chosen {
        shares[slot] += 1.0 / real(chosen.len() as u64);
    }
    shares
}

/// A whole number with the right expectation.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sends are positive and small")]
fn rounded(value: f64, random: &mut Random) -> u64 {
    (value + random.uniform()).floor() as u64
}

/// When the messages of these cells went out.
pub fn timings(cells: &[WindowCell], assignment: WindowAssignment) -> Vec<CampaignTiming> {
    cells
        .iter()
        .map(|cell| CampaignTiming {
            campaign: cell.campaign,
            assignment,
            sends: vec![StratumSends { stratum: cell.stratum, slot: cell.slot, n: cell.n }],
        })
        .collect()
}
