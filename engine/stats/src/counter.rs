//! Random-looking numbers from counters: the same at any place whatever was asked before, on any thread.
//!
//! Enters: a seed and the places (a replicate, a recipient) that a number belongs to. Leaves: 64 bits, or a number in
//! [0, 1). Nothing is kept between two calls.

/// `SplitMix64`: Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators", OOPSLA.
pub(crate) fn split_mix(counter: u64) -> u64 {
    let mut mixed = counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// 64 bits for a place of a stream of a seed.
pub(crate) fn bits(seed: u64, stream: u64, place: u64) -> u64 {
    split_mix(split_mix(split_mix(seed) ^ stream) ^ place)
}

/// A number in [0, 1), a multiple of 2^−53.
#[allow(clippy::cast_precision_loss, reason = "53 bits are exact")]
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Draws that a Poisson number is taken to have at most: the chance of more is 1e-20, below the resolution of a place.
const MOST_DRAWS: usize = 20;

/// How many times a unit is drawn in a bootstrap sample: Poisson with mean one, by inversion.
pub(crate) fn poisson_one(bits: u64) -> u32 {
    PoissonOne::new().draws(bits)
}

/// The same for many units: the chances of so many draws or fewer, added up once.
#[derive(Debug, Clone)]
pub(crate) struct PoissonOne {
    at_most: [f64; MOST_DRAWS],
}

impl PoissonOne {
    pub(crate) fn new() -> Self {
        let mut probability = (-1.0_f64).exp();
        let mut below = probability;
        let mut at_most = [0.0; MOST_DRAWS];
        for (draws, entry) in (1_u32..).zip(&mut at_most) {
            *entry = below;
            probability /= f64::from(draws);
            below += probability;
        }
        Self { at_most }
    }

    /// Draws of the unit with these bits: how many of the chances its place reaches.
    pub(crate) fn draws(&self, bits: u64) -> u32 {
        let place = unit(bits);
        // All are compared: a loop that ends by chance is slower than one that never does.
        self.at_most.iter().map(|below| u32::from(place >= *below)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::{assert_close, count};

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of SplitMix64 from seed 0 in the reference implementation (prng.di.unimi.it/splitmix64.c).
        assert_eq!(split_mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(split_mix(0x9E37_79B9_7F4A_7C15), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn units_lie_in_range() {
        assert_close(unit(0), 0.0, 0.0);
        assert!(unit(u64::MAX) < 1.0);
    }

    #[test]
    fn poisson_has_its_mean_and_variance() {
        let draws: Vec<f64> = (0..100_000).map(|place| f64::from(poisson_one(bits(7, 3, place)))).collect();
        let mean = draws.iter().sum::<f64>() / count(100_000);
        let variance = draws.iter().map(|draw| (draw - mean) * (draw - mean)).sum::<f64>() / count(100_000);
        assert_close(mean, 1.0, 0.01);
        assert_close(variance, 1.0, 0.02);
        assert_eq!(poisson_one(0), 0);
        assert!(poisson_one(u64::MAX) <= 20);
    }
}
