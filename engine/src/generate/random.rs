//! Random numbers that are a pure function of a key: (seed, stream, recipient, campaign) in, a sequence of draws out.
//!
//! Nothing is carried from one recipient to the next, so that a recipient's attributes can be made again at any time
//! instead of being kept in memory, and so that the size of a batch or the order of work never changes a log.
//! The generator is `SplitMix64` (Steele, Lea and Flood, 2014), started from a key that its own finaliser has mixed.

use std::f64::consts::TAU;

/// The odd constant of `SplitMix64`: 2^64 divided by the golden ratio.
const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
/// Odd constants that keep the recipient's and the campaign's number apart in the key.
const RECIPIENT_GAMMA: u64 = 0xD1B5_4A32_D192_ED03;
const CAMPAIGN_GAMMA: u64 = 0xAEF1_7502_B3DF_7A55;
/// The step between two neighbouring doubles of 53 random bits.
const UNIT_STEP: f64 = 1.0 / 9_007_199_254_740_992.0;

/// What the draws are for. Two streams of one recipient have nothing in common.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    /// The arm of the experiment.
    Arm = 1,
    /// The recipient's own attributes.
    Profile = 2,
    /// One message: its hour, its fate and what the recipient does about it.
    Message = 3,
    /// Conversions that no message caused.
    Organic = 4,
    /// The recipient's network address.
    Address = 5,
}

/// A sequence of random draws.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    state: u64,
}

impl Draws {
    /// The sequence of one recipient in one campaign (0 where there is none).
    pub(super) fn new(seed: u64, stream: Stream, recipient: u64, campaign: usize) -> Self {
        let streamed = mix(seed ^ (stream as u64).wrapping_mul(GOLDEN_GAMMA));
        let personal = mix(streamed.wrapping_add(recipient.wrapping_mul(RECIPIENT_GAMMA)));
        Self { state: mix(personal.wrapping_add((campaign as u64).wrapping_mul(CAMPAIGN_GAMMA))) }
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * UNIT_STEP
    }

    /// True with the given probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A whole number in [0, `bound`).
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }

    /// Whole milliseconds, uniform in [`low`, `high`).
    pub(super) fn milliseconds(&mut self, low: i64, high: i64) -> i64 {
        low + (self.unit() * (high - low) as f64) as i64
    }

    /// Exponential with that mean.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (-self.unit()).ln_1p()
    }

    /// Exponential with that mean, given that it stays under `limit`: by inversion, so that no mass piles up at the
    /// end.
    pub(super) fn exponential_under(&mut self, mean: f64, limit: f64) -> f64 {
        let reachable = -(-limit / mean).exp_m1();
        -mean * (-self.unit() * reachable).ln_1p()
    }

    /// Standard normal (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential(1.0)).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// An index, each with the chance of its weight; the weights sum to one.
    pub(super) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit();
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        // Rounding can leave a sliver over: it goes to the last.
        weights.len().saturating_sub(1)
    }
}

/// The finaliser of `SplitMix64`: a bijection in which every bit of the input reaches every bit of the output.
fn mix(value: u64) -> u64 {
    let once = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let twice = (once ^ (once >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    twice ^ (twice >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 100_000;

    fn mean(mut draw: impl FnMut() -> f64) -> f64 {
        (0..DRAWS).map(|_| draw()).sum::<f64>() / DRAWS as f64
    }

    #[test]
    fn a_key_always_gives_the_same_draws_and_another_key_others() {
        let first: Vec<u64> = (0..4).map(|_| Draws::new(7, Stream::Profile, 3, 0).bits()).collect();
        assert!(first.iter().all(|bits| *bits == first[0]));
        let others = [
            Draws::new(8, Stream::Profile, 3, 0).bits(),
            Draws::new(7, Stream::Arm, 3, 0).bits(),
            Draws::new(7, Stream::Profile, 4, 0).bits(),
            Draws::new(7, Stream::Profile, 3, 1).bits(),
        ];
        assert!(others.iter().all(|bits| *bits != first[0]));
    }

    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        let mut draws = Draws::new(1, Stream::Message, 0, 0);
        assert!((mean(|| draws.unit()) - 0.5).abs() < 0.01);
        assert!((mean(|| draws.exponential(3.0)) - 3.0).abs() < 0.06);
        assert!(mean(|| draws.normal()).abs() < 0.02);
        assert!((mean(|| draws.normal().powi(2)) - 1.0).abs() < 0.03);
        assert!((mean(|| if draws.weighted(&[0.2, 0.5, 0.3]) == 1 { 1.0 } else { 0.0 }) - 0.5).abs() < 0.01);
    }

    #[test]
    fn the_first_draws_of_neighbouring_recipients_are_uniform() {
        let mut recipient = 0;
        let share = mean(|| {
            recipient += 1;
            if Draws::new(1, Stream::Arm, recipient, 0).chance(0.05) { 1.0 } else { 0.0 }
        });
        assert!((share - 0.05).abs() < 0.004);
    }

    #[test]
    fn a_limited_exponential_stays_under_its_limit() {
        let mut draws = Draws::new(1, Stream::Message, 9, 9);
        assert!((0..DRAWS).all(|_| (0.0..2.0).contains(&draws.exponential_under(5.0, 2.0))));
    }
}
