//! What bootstraps share: how often a unit is drawn, and what the values of many samples say.
//!
//! Enters: a seed and a replicate, or the values of a statistic in each sample. Leaves: draws of each unit, a percentile
//! interval, a standard error.

use crate::binomial::{index, whole};
use crate::counter::{PoissonOne, bits};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// An estimate whose standard error and interval come from resampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResampledEstimate {
    /// The value and its interval.
    #[serde(flatten)]
    pub value: Estimate,
    /// Standard deviation over the samples, in units of the value; none with too few samples that have a value.
    pub standard_error: Option<f64>,
}

/// What is said where a statistic has no value in more than a tenth of the samples.
const TOO_FEW_SAMPLES: &str = "too few bootstrap samples have a value: the units are few, or none were asked for";

/// How many times each unit is drawn in a sample, Poisson with mean one: a function of the seed, the replicate and the
/// place of the unit alone, so that two statistics of one sample can be compared.
pub(crate) fn poisson_draws(seed: u64, replicate: u64, into: &mut [u8]) {
    let poisson = PoissonOne::new();
    for (place, draws) in (0_u64..).zip(into) {
        *draws = u8::try_from(poisson.draws(bits(seed, replicate, place))).unwrap_or(u8::MAX);
    }
}

impl ResampledEstimate {
    /// With the percentile interval of `samples`, of which `asked` were drawn; those that are no number do not count.
    pub(crate) fn by_percentiles(value: f64, samples: Vec<f64>, asked: u32, alpha: f64) -> Self {
        let Some(samples) = usable(samples, asked) else { return Self::without_interval(value) };
        let standard_error = standard_deviation(&samples);
        Self { value: Estimate::new(value, percentile_interval(samples, alpha)), standard_error }
    }

    /// With the normal interval around `value` by the standard deviation of `samples`.
    pub(crate) fn by_standard_error(value: f64, samples: Vec<f64>, asked: u32, critical_value: f64) -> Self {
        let deviation = usable(samples, asked).as_deref().and_then(standard_deviation);
        let Some(standard_error) = deviation else { return Self::without_interval(value) };
        let half_width = critical_value * standard_error;
        let interval = Interval::from_ends(value - half_width, value + half_width);
        Self { value: Estimate::new(value, interval), standard_error: Some(standard_error) }
    }

    /// Neither value nor interval, and why.
    pub(crate) fn undefined(note: &str) -> Self {
        Self { value: Estimate::undefined(note), standard_error: None }
    }

    fn without_interval(value: f64) -> Self {
        Self { value: Estimate::new(value, Interval::undefined(TOO_FEW_SAMPLES)), standard_error: None }
    }
}

/// The samples that have a value, if nine in ten do.
fn usable(mut samples: Vec<f64>, asked: u32) -> Option<Vec<f64>> {
    samples.retain(|value| value.is_finite());
    (samples.len() >= 2 && length(samples.len()) >= 0.9 * f64::from(asked)).then_some(samples)
}

/// The standard deviation, with n − 1; none of fewer than two.
fn standard_deviation(samples: &[f64]) -> Option<f64> {
    let number = length(samples.len());
    let mean = samples.iter().sum::<f64>() / number;
    let squares: f64 = samples.iter().map(|value| (value - mean) * (value - mean)).sum();
    (number >= 2.0).then(|| (squares / (number - 1.0)).sqrt())
}

/// The interval between the order statistics around alpha/2 · (B + 1) and (1 − alpha/2) · (B + 1) of B finite samples.
pub(crate) fn percentile_interval(mut samples: Vec<f64>, alpha: f64) -> Interval {
    if samples.is_empty() {
        return Interval::undefined(TOO_FEW_SAMPLES);
    }
    samples.sort_unstable_by(f64::total_cmp);
    let end = |share: f64| {
        let place = (share * (length(samples.len()) + 1.0) - 1.0).clamp(0.0, length(samples.len() - 1));
        let below = index(whole(place));
        let above = (below + 1).min(samples.len() - 1);
        samples[below] + (samples[above] - samples[below]) * (place - place.floor())
    };
    Interval::from_ends(end(alpha / 2.0), end(1.0 - alpha / 2.0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn percentiles_are_order_statistics() {
        // Of 1 to 99 the 2.5 % place is 0.025 · 100 = 2.5, the 97.5 % place 97.5.
        let samples: Vec<f64> = (1..100).rev().map(f64::from).collect();
        let interval = percentile_interval(samples.clone(), 0.05);
        assert_close(interval.low.unwrap(), 2.5, 1e-12);
        assert_close(interval.high.unwrap(), 97.5, 1e-12);
        let estimate = ResampledEstimate::by_percentiles(50.0, samples, 99, 0.05);
        // numpy.arange(1, 100).std(ddof=1)
        assert_close(estimate.standard_error.unwrap(), 28.722_813_232_690_143, 1e-14);
    }

    #[test]
    fn samples_without_a_value_are_not_passed_over() {
        let samples = [vec![f64::NAN; 20], vec![1.0; 80]].concat();
        let estimate = ResampledEstimate::by_percentiles(1.0, samples, 100, 0.05);
        assert_eq!((estimate.value.low, estimate.standard_error), (None, None));
        assert_eq!(estimate.value.estimate, Some(1.0));
        assert!(estimate.value.note.is_some());
        assert!(percentile_interval(Vec::new(), 0.05).note.is_some());
    }

    #[test]
    fn draws_depend_on_the_replicate() {
        let (mut first, mut second) = (vec![0; 100], vec![0; 100]);
        poisson_draws(1, 1, &mut first);
        poisson_draws(1, 2, &mut second);
        assert_ne!(first, second);
        poisson_draws(1, 1, &mut second);
        assert_eq!(first, second);
    }
}
