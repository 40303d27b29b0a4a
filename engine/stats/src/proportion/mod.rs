//! Proportions: metrics that each unit either meets or does not.
//!
//! Enters: [`Proportion`], the units of an arm and its successes, and alpha. Leaves: intervals for one proportion
//! ([`wilson_interval`]), for the difference of two ([`score_interval_difference`], [`newcombe_interval`]) and for
//! their ratio ([`score_interval_ratio`]), and the test that the score intervals invert ([`pooled_z_test`]).
//!
//! The pooled z test and the score intervals are one method seen from three sides: all hold each hypothesis against the
//! data with the variance that the hypothesis itself implies. So they cannot disagree.

pub mod exact;
mod newcombe;
mod pooled_z;
mod score_difference;
mod score_ratio;
mod shifted_score;
mod wilson;

pub use exact::{
    BARNARD_MOST_UNITS, BARNARD_MOST_UNITS_FOR_INTERVAL, BOSCHLOO_MOST_UNITS, FISHER_MOST_UNITS, FisherTest,
    LEAST_EXPECTED_COUNT, ProportionTest, Recommendation, UnconditionalTest, barnard_exact_test, boschloo_exact_test,
    fisher_exact_test, recommended_for,
};
pub use newcombe::newcombe_interval;
pub use pooled_z::{VarianceCorrection, ZTest, pooled_z_test};
pub use score_difference::score_interval_difference;
pub use score_ratio::score_interval_ratio;
pub use shifted_score::{score_test_difference, score_test_ratio};
pub use wilson::wilson_interval;

use crate::error::StatsError;
use crate::moments::Moments;
use crate::numeric::count;
use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::Add;

/// Note of an interval that an empty arm leaves without ends.
pub(crate) const NO_UNITS: &str = "an arm has no units";

/// Units of one group, and how many of them met the metric.
///
/// The default is the empty group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proportion {
    /// Units observed.
    pub n: u64,
    /// Units among them that met the metric, each counted once.
    pub successes: u64,
}

impl Proportion {
    /// `successes` among `n` units.
    ///
    /// # Errors
    ///
    /// [`StatsError::SuccessesExceedUnits`] when there are more successes than units.
    pub fn new(n: u64, successes: u64) -> Result<Self, StatsError> {
        let proportion = Self { n, successes };
        proportion.check()?;
        Ok(proportion)
    }

    /// Share of successes, 0 to 1; none without units.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        (self.n > 0).then(|| count(self.successes) / count(self.n))
    }

    /// Both groups together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self { n: self.n.saturating_add(other.n), successes: self.successes.saturating_add(other.successes) }
    }

    /// The same data as zeros and ones, for methods that work on means.
    ///
    /// # Errors
    ///
    /// [`StatsError::SuccessesExceedUnits`] when there are more successes than units.
    pub fn to_moments(self) -> Result<Moments, StatsError> {
        self.check()?;
        let Some(mean) = self.rate() else {
            return Ok(Moments::default());
        };
        let failures = count(self.n - self.successes);
        Ok(Moments { n: self.n, mean, sum_squared_deviations: mean * failures })
    }

    /// Refuses more successes than units: the fields are public, and may come from a file.
    pub(crate) fn check(self) -> Result<(), StatsError> {
        if self.successes > self.n {
            return Err(StatsError::SuccessesExceedUnits { successes: self.successes, n: self.n });
        }
        Ok(())
    }
}

impl Add for Proportion {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.merge(other)
    }
}

impl Sum for Proportion {
    fn sum<I: Iterator<Item = Self>>(groups: I) -> Self {
        groups.fold(Self::default(), Self::merge)
    }
}

impl<'a> Sum<&'a Proportion> for Proportion {
    fn sum<I: Iterator<Item = &'a Proportion>>(groups: I) -> Self {
        groups.copied().sum()
    }
}

/// The counts of an arm that has units, as floats.
#[derive(Debug, Clone, Copy)]
struct Arm {
    units: f64,
    successes: f64,
    failures: f64,
    rate: f64,
}

impl Arm {
    /// The arm, or none where it is empty. Expects a proportion that was checked.
    fn new(proportion: Proportion) -> Option<Self> {
        let rate = proportion.rate()?;
        Some(Self {
            units: count(proportion.n),
            successes: count(proportion.successes),
            failures: count(proportion.n.saturating_sub(proportion.successes)),
            rate,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn more_successes_than_units_are_refused() {
        assert!(Proportion::new(5, 6).is_err());
        assert!(Proportion::new(5, 5).is_ok());
        assert!(Proportion { n: 1, successes: 2 }.to_moments().is_err());
    }

    #[test]
    fn merging_adds_the_counts() {
        let parts =
            [Proportion { n: 3, successes: 1 }, Proportion { n: 0, successes: 0 }, Proportion { n: 7, successes: 4 }];
        let whole: Proportion = parts.iter().sum();
        assert_eq!(whole, Proportion { n: 10, successes: 5 });
        assert_eq!(whole.rate(), Some(0.5));
        assert_eq!(Proportion::default().rate(), None);
    }

    #[test]
    fn as_moments_it_is_the_same_data() {
        let by_values = Moments::from_values([1.0, 0.0, 0.0, 1.0, 1.0]).unwrap();
        let by_counts = Proportion { n: 5, successes: 3 }.to_moments().unwrap();
        assert_eq!(by_counts.n, by_values.n);
        assert_close(by_counts.mean, by_values.mean, 1e-15);
        assert_close(by_counts.sum_squared_deviations, by_values.sum_squared_deviations, 1e-14);
    }
}
