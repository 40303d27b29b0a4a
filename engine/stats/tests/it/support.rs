//! What the laws share: random data, and comparison of floats.
//!
//! Enters: nothing. Leaves: strategies for counts, moments and alphas, and a tolerant equality.

use proptest::prelude::*;
use sendlift_stats::{Estimate, Moments, Proportion};

/// Error rates that people use, and two that they do not.
pub fn alpha() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.5, 0.2, 0.1, 0.05, 0.01, 0.001, 1e-8])
}

/// An arm with units: tiny, ordinary or huge, with any number of successes.
pub fn proportion() -> impl Strategy<Value = Proportion> {
    prop_oneof![1_u64..12, 1_u64..3_000, 1_000_000_u64..2_000_000_000]
        .prop_flat_map(|n| (Just(n), prop_oneof![0..=n, 0..=n.min(20), n.saturating_sub(3)..=n]))
        .prop_map(|(n, successes)| Proportion { n, successes })
}

/// An arm that can be tested: at least two units, a mean of either sign and any size, some variance.
pub fn moments() -> impl Strategy<Value = Moments> {
    let mean = prop_oneof![-3.0..3.0_f64, -0.01..0.01_f64, -5_000.0..5_000.0_f64];
    let variance = prop_oneof![0.001..1.0_f64, 0.5..50.0_f64, 100.0..1e7_f64];
    (prop_oneof![2_u64..9, 2_u64..100_000], mean, variance)
        .prop_map(|(n, mean, variance)| Moments::from_n_mean_variance(n, mean, variance).unwrap())
}

/// An arm of a metric like revenue: a mean well above zero, and enough units to know that it is.
pub fn revenue() -> impl Strategy<Value = Moments> {
    (50_u64..5_000, 1.0..500.0_f64, 0.01..2.0_f64)
        .prop_map(|(n, mean, spread)| Moments::from_n_mean_variance(n, mean, (mean * spread).powi(2)).unwrap())
}

/// Whether two floats agree to `relative`, or to `relative` absolutely below one.
pub fn close(left: f64, right: f64, relative: f64) -> bool {
    (left - right).abs() <= relative * left.abs().max(right.abs()).max(1.0)
}

/// Whether two ends are both missing, or agree.
pub fn ends_close(left: Option<f64>, right: Option<f64>, relative: f64) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => close(left, right, relative),
        _ => false,
    }
}

/// Whether the interval holds its own estimate, give or take the last bits.
pub fn holds_its_estimate(estimate: &Estimate) -> bool {
    let Some(value) = estimate.estimate else {
        return true;
    };
    let slack = 1e-9 * value.abs().max(1e-6);
    estimate.low.is_none_or(|low| low <= value + slack) && estimate.high.is_none_or(|high| value - slack <= high)
}

/// Whether no number in the estimate is NaN or infinite, and whatever is missing is explained.
pub fn is_presentable(estimate: &Estimate) -> bool {
    let numbers = [estimate.estimate, estimate.low, estimate.high];
    let finite = numbers.iter().flatten().all(|number| number.is_finite());
    let complete = numbers.iter().all(Option::is_some);
    finite && (complete || estimate.note.is_some())
}

/// The number at a place of a fixed sequence that looks random, in [0, 1): the finaliser of `MurmurHash3`.
#[allow(clippy::cast_precision_loss, reason = "53 bits")]
pub fn uniform(place: u64) -> f64 {
    let mut mixed = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    ((mixed ^ (mixed >> 33)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number that looks as if it were drawn from the standard normal distribution, at a place of a fixed sequence (Box
/// and Muller 1958).
pub fn standard_normal(place: u64) -> f64 {
    let (first, second) = (uniform(2 * place).max(f64::MIN_POSITIVE), uniform(2 * place + 1));
    (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos()
}
