//! The spread of an arm that is much smaller than the other.
//!
//! Enters: the moments of two arms. Leaves: the same moments, where the smaller arm has at least the spread of both arms
//! together.
//!
//! Of rare or skewed values a small arm often holds none or few, shows next to no spread, and seems to know its mean
//! exactly; against a large arm that alone decides the standard error. With 100 units against 900, two in a hundred of
//! which spend something, Welch's test at 5 % finds a difference that is not there in 22 %, and a confidence sequence over
//! arms of one to nine, looked at after each unit, in 20 to 34 %. With this floor both do so in less than 5 %
//! (`tests/it/sequential.rs` simulates the latter). Arms of about the same size need none: there the large arm's spread
//! decides as much.

use crate::error::StatsError;
use crate::moments::Moments;
use crate::numeric::count;

/// Arms whose sizes differ by more than this factor are not of about the same size.
const UNEQUAL: f64 = 1.5;

/// Both arms' moments, the smaller arm's variance being at least the pooled one; as they are where neither arm is much
/// smaller, or one has fewer than two units.
///
/// # Errors
///
/// [`StatsError::NotFinite`] for moments whose pooled variance is beyond all numbers.
pub fn with_spread_of_both(control: &Moments, treatment: &Moments) -> Result<(Moments, Moments), StatsError> {
    let (Some(left), Some(right)) = (control.variance(), treatment.variance()) else {
        return Ok((*control, *treatment));
    };
    let freedom = (count(control.n) - 1.0, count(treatment.n) - 1.0);
    let pooled = (left * freedom.0 + right * freedom.1) / (freedom.0 + freedom.1);
    let floored = |own: &Moments, other: &Moments, variance: f64| {
        let is_smaller = count(own.n) * UNEQUAL < count(other.n);
        if is_smaller && variance < pooled { Moments::from_n_mean_variance(own.n, own.mean, pooled) } else { Ok(*own) }
    };
    Ok((floored(control, treatment, left)?, floored(treatment, control, right)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "moments that can be")]
mod tests {
    use super::*;

    fn moments(n: u64, variance: f64) -> Moments {
        Moments::from_n_mean_variance(n, 1.0, variance).unwrap()
    }

    #[test]
    fn only_a_small_arm_with_little_spread_is_changed() {
        let (small, large) = with_spread_of_both(&moments(100, 0.0), &moments(900, 3.0)).unwrap();
        assert!((small.variance().unwrap() - 3.0 * 899.0 / 998.0).abs() < 1e-12);
        assert_eq!(large, moments(900, 3.0));
        for (control, treatment) in [((100, 5.0), (900, 3.0)), ((100, 0.0), (140, 3.0)), ((1, 0.0), (900, 3.0))] {
            let (control, treatment) = (moments(control.0, control.1), moments(treatment.0, treatment.1));
            assert_eq!(with_spread_of_both(&control, &treatment).unwrap(), (control, treatment));
        }
    }
}
