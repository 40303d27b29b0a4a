//! Mergeable moments of a numeric metric.
//!
//! Enters: values, or the count, mean and variance that an aggregation already made; one value a randomised unit.
//! Leaves: centred moments that merge across days, segments and partitions in any order.
//!
//! The moments are centred throughout (Welford 1962, Technometrics 4(3); Chan, Golub and `LeVeque` 1983, The American
//! Statistician 37(3)): raw sums of squares are never subtracted, so money in the thousands with a spread of pennies
//! keeps its digits.

use crate::error::{StatsError, check_finite, check_not_negative};
use crate::numeric::count;
use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::Add;

/// Count, mean and centred second moment of one metric in one group, in the metric's own units.
///
/// The default is the empty group.
///
/// ```
/// use sendlift_stats::Moments;
///
/// let monday = Moments::from_values([1.0, 2.0])?;
/// let tuesday = Moments::from_values([3.0, 6.0])?;
/// let both: Moments = [monday, tuesday].into_iter().sum();
/// assert_eq!(both.n, 4);
/// assert_eq!(both.mean, 3.0);
/// assert_eq!(both.sum_squared_deviations, 14.0);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    /// Units observed.
    pub n: u64,
    /// Their mean; zero in an empty group, where it means nothing.
    pub mean: f64,
    /// Sum of squared deviations from the mean, in squared units of the metric.
    pub sum_squared_deviations: f64,
}

impl Moments {
    /// Moments of the values themselves, by Welford's update.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] at the first value that is NaN or infinite.
    pub fn from_values(values: impl IntoIterator<Item = f64>) -> Result<Self, StatsError> {
        let mut moments = Self::default();
        for value in values {
            check_finite("a value of the metric", value)?;
            moments.n += 1;
            let from_old_mean = value - moments.mean;
            moments.mean += from_old_mean / count(moments.n);
            let from_new_mean = value - moments.mean;
            moments.sum_squared_deviations += from_old_mean * from_new_mean;
        }
        Ok(moments)
    }

    /// Moments from an aggregate: `n` units, their mean, and their *sample* variance (divided by n − 1), as SQL's
    /// `var_samp`, pandas and R give it.
    ///
    /// With no units the mean and variance are ignored, and with one the variance is: databases give NULL or NaN there.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] for a NaN or infinite mean or variance, [`StatsError::Negative`] for a variance below
    /// zero.
    pub fn from_n_mean_variance(n: u64, mean: f64, variance: f64) -> Result<Self, StatsError> {
        if n == 0 {
            return Ok(Self::default());
        }
        check_finite("the mean", mean)?;
        let sum_squared_deviations = if n == 1 {
            0.0
        } else {
            check_not_negative("the variance", variance)?;
            variance * count(n - 1)
        };
        Ok(Self { n, mean, sum_squared_deviations })
    }

    /// Sample variance (divided by n − 1), in squared units of the metric; none with fewer than two units.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        (self.n >= 2).then(|| self.sum_squared_deviations / count(self.n - 1))
    }

    /// Squared standard error of the mean, variance / n; none with fewer than two units.
    #[must_use]
    pub fn squared_standard_error(&self) -> Option<f64> {
        self.variance().map(|variance| variance / count(self.n))
    }

    /// The moments of both groups together, by Chan's update. An empty group changes nothing.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if other.n == 0 {
            return self;
        }
        if self.n == 0 {
            return other;
        }
        let n = self.n.saturating_add(other.n);
        let between = other.mean - self.mean;
        let share_of_other = count(other.n) / count(n);
        Self {
            n,
            mean: self.mean + between * share_of_other,
            sum_squared_deviations: self.sum_squared_deviations
                + other.sum_squared_deviations
                + between * between * count(self.n) * share_of_other,
        }
    }

    /// Refuses moments that no data can have: the fields are public, and may come from a file.
    pub(crate) fn check(&self) -> Result<(), StatsError> {
        if self.n == 0 {
            return Ok(());
        }
        check_finite("the mean", self.mean)?;
        check_not_negative("the sum of squared deviations", self.sum_squared_deviations)
    }
}

impl Add for Moments {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.merge(other)
    }
}

impl Sum for Moments {
    fn sum<I: Iterator<Item = Self>>(groups: I) -> Self {
        groups.fold(Self::default(), Self::merge)
    }
}

impl<'a> Sum<&'a Moments> for Moments {
    fn sum<I: Iterator<Item = &'a Moments>>(groups: I) -> Self {
        groups.copied().sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn keeps_digits_where_raw_squares_would_lose_them() {
        let near = Moments::from_values([1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]).unwrap();
        // NIST's example of catastrophic cancellation: the variance of 4, 7, 13, 16 is 30.
        assert_eq!(near.variance(), Some(30.0));
    }

    #[test]
    fn identical_values_have_no_variance_at_all() {
        let first = Moments::from_values([0.1; 7]).unwrap();
        let second = Moments::from_values([0.1; 3]).unwrap();
        assert_eq!(first.merge(second).variance(), Some(0.0));
    }

    #[test]
    fn merging_equals_pooling() {
        let values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0];
        let whole = Moments::from_values(values).unwrap();
        let parts: Moments = values.chunks(3).map(|chunk| Moments::from_values(chunk.iter().copied()).unwrap()).sum();
        assert_eq!(parts.n, whole.n);
        assert_close(parts.mean, whole.mean, 1e-14);
        assert_close(parts.sum_squared_deviations, whole.sum_squared_deviations, 1e-14);
    }

    #[test]
    fn an_empty_group_changes_nothing() {
        let some = Moments::from_values([1.0, 2.0, 4.0]).unwrap();
        assert_eq!(some + Moments::default(), some);
        assert_eq!(Moments::default() + some, some);
        let no_groups: [Moments; 0] = [];
        assert_eq!(no_groups.iter().sum::<Moments>(), Moments::default());
    }

    #[test]
    fn thin_groups_have_no_variance() {
        assert_eq!(Moments::default().variance(), None);
        let one = Moments::from_n_mean_variance(1, 3.0, f64::NAN).unwrap();
        assert_eq!(one.variance(), None);
        assert_eq!(one.sum_squared_deviations, 0.0);
        assert_eq!(Moments::from_n_mean_variance(0, f64::NAN, f64::NAN).unwrap(), Moments::default());
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(Moments::from_values([1.0, f64::NAN]).is_err());
        assert!(Moments::from_n_mean_variance(5, f64::INFINITY, 1.0).is_err());
        assert!(Moments::from_n_mean_variance(5, 1.0, -1e-9).is_err());
        let broken = Moments { n: 4, mean: f64::NAN, sum_squared_deviations: 1.0 };
        assert!(broken.check().is_err());
    }
}
