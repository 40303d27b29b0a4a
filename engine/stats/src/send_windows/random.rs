//! Random numbers that depend on their place alone.
//!
//! Enters: a key (seed, stream, draw) and a place. Leaves: a standard normal number, the same on any machine and thread
//! and whatever was drawn before. The counter is `SplitMix64`'s (Steele, Lea and Flood 2014).

use crate::counter::split_mix;
use crate::distribution::normal;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
const TWO_TO_THE_52: f64 = 4_503_599_627_370_496.0;

/// The standard normal number at a place of a stream.
#[allow(clippy::cast_precision_loss, reason = "52 bits are exact")]
pub(super) fn standard_normal(key: [u64; 3], place: u64) -> f64 {
    let start = key.iter().fold(0, |mixed, &part| split_mix(mixed ^ part));
    let word = split_mix(start.wrapping_add(place.wrapping_mul(STEP)));
    normal::quantile(((word >> 12) as f64 + 0.5) / TWO_TO_THE_52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::count;

    #[test]
    fn moments_are_those_of_a_standard_normal() {
        const DRAWS: u64 = 40_000;
        let values: Vec<f64> = (0..DRAWS).map(|place| standard_normal([7, 1, place / 100], place % 100)).collect();
        let mean = values.iter().sum::<f64>() / count(DRAWS);
        let square = values.iter().map(|value| value * value).sum::<f64>() / count(DRAWS);
        assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.03, "{mean} {square}");
        assert!(values.iter().all(|value| value.is_finite()));
    }
}
