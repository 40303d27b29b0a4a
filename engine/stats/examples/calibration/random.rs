//! Random numbers that depend on their place alone.
//!
//! Enters: a seed, the number of a study and of a replicate. Leaves: uniform, normal and binomial draws: the same
//! whatever thread asks for them and whatever was drawn before. The counter is `SplitMix64`'s (Steele, Lea and Flood 2014,
//! "Fast splittable pseudorandom number generators", OOPSLA).

use sendlift_stats::distribution::normal;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
const TWO_TO_THE_52: f64 = 4_503_599_627_370_496.0;

/// The draws of one replicate.
#[derive(Debug, Clone)]
pub struct Random {
    counter: u64,
}

impl Random {
    pub fn new(seed: u64, study: u64, replicate: u64) -> Self {
        Self { counter: split_mix(split_mix(split_mix(seed) ^ study) ^ replicate) }
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        let word = split_mix(self.counter);
        self.counter = self.counter.wrapping_add(STEP);
        word
    }

    /// Between 0 and 1, never either.
    pub fn uniform(&mut self) -> f64 {
        (real(self.word() >> 12) + 0.5) / TWO_TO_THE_52
    }

    /// A whole number from zero up to, not including, `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.word() % limit
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        normal::quantile(self.uniform())
    }

    /// exp of a normal with mean `centre` and standard deviation `spread`.
    pub fn log_normal(&mut self, centre: f64, spread: f64) -> f64 {
        (centre + spread * self.normal()).exp()
    }
}

fn split_mix(counter: u64) -> u64 {
    let mut mixed = counter.wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A binomial distribution as a table of its probabilities.
#[derive(Debug, Clone)]
pub struct Binomial {
    probabilities: Vec<f64>,
    /// Entry k is the probability of at most k.
    running: Vec<f64>,
}

impl Binomial {
    /// `rate` from zero up to, not including, one.
    pub fn new(units: u64, rate: f64) -> Self {
        let odds = rate / (1.0 - rate);
        let mut logarithms = Vec::new();
        let mut logarithm = 0.0;
        for successes in 0..=units {
            logarithms.push(logarithm);
            logarithm += (odds * real(units - successes) / real(successes + 1)).ln();
        }
        let greatest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logarithms.iter().map(|logarithm| (logarithm - greatest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let probabilities: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let mut so_far = 0.0;
        let running = probabilities
            .iter()
            .map(|probability| {
                so_far += probability;
                so_far
            })
            .collect();
        Self { probabilities, running }
    }

    pub fn draw(&self, random: &mut Random) -> u64 {
        let share = random.uniform();
        let place = self.running.partition_point(|&total| total < share);
        place.min(self.running.len() - 1) as u64
    }

    /// Summed from the far end, so that small tails keep their digits.
    pub fn chance_of_at_least(&self, successes: u64) -> f64 {
        self.probabilities.iter().skip(index(successes)).rev().sum()
    }

    pub fn chance_of_at_most(&self, successes: u64) -> f64 {
        self.probabilities.iter().take(index(successes.saturating_add(1))).sum()
    }
}

/// A count as a float.
#[allow(clippy::cast_precision_loss, reason = "all counts here are below 2^53")]
pub fn real(units: u64) -> f64 {
    units as f64
}

/// A count as an index into memory.
pub fn index(units: u64) -> usize {
    usize::try_from(units).unwrap_or(usize::MAX)
}
