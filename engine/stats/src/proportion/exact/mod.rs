//! Exact tests of two proportions, for counts too small for the pooled z.
//!
//! Enters: the units and successes of two arms, and alpha. Leaves: Fisher's test with the odds ratio
//! ([`fisher_exact_test`]), Barnard's and Boschloo's with the difference ([`barnard_exact_test`],
//! [`boschloo_exact_test`]), and which test to use, with the reason ([`recommended_for`]).
//!
//! | test | given | order of tables | interval | offered up to |
//! | --- | --- | --- | --- | --- |
//! | Fisher | the total of successes | probability | odds ratio, Cornfield | 100 million units |
//! | Boschloo | nothing | Fisher's one-sided p | difference, Chan and Zhang | 10,000 units |
//! | Barnard | nothing | size of the pooled z | difference, Agresti and Min | 10,000 units (interval: 1,000) |
//!
//! Fisher's test is exact for tables whose total of successes was fixed in advance, which a campaign's never is, and is
//! conservative otherwise. The other two hold for any common rate, and find more.

mod barnard;
mod boschloo;
mod fisher;
mod hypergeometric;
mod score_inversion;
mod unconditional;

pub use barnard::{BARNARD_MOST_UNITS, BARNARD_MOST_UNITS_FOR_INTERVAL, barnard_exact_test};
pub use boschloo::{BOSCHLOO_MOST_UNITS, boschloo_exact_test};
pub use fisher::{FISHER_MOST_UNITS, FisherTest, fisher_exact_test};

use super::{NO_UNITS, Proportion};
use crate::error::StatsError;
use crate::interval::{Estimate, Interval};
use crate::numeric::count;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The expected count below which the pooled z test is not trusted: Cochran's rule (1954, Biometrics 10).
pub const LEAST_EXPECTED_COUNT: f64 = 5.0;

/// Barnard's or Boschloo's test. What is missing is explained by the note of the difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnconditionalTest {
    /// What tables are ordered by: the pooled z for Barnard's test, Fisher's one-sided p value for Boschloo's.
    pub statistic: Option<f64>,
    /// Two-sided, 0 to 1.
    pub p_value: Option<f64>,
    /// The common rate, 0 to 1, at which tables as extreme are likeliest; none where every table is.
    pub worst_rate: Option<f64>,
    /// Treatment rate − control rate, with an interval that leaves zero out exactly when the p value is below alpha.
    pub difference: Estimate,
}

impl UnconditionalTest {
    fn missing(difference: Option<f64>, note: &str) -> Self {
        Self {
            statistic: None,
            p_value: None,
            worst_rate: None,
            difference: Estimate::from_parts(difference, Interval::undefined(note)),
        }
    }
}

/// A test of two proportions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProportionTest {
    /// The pooled z test, with the score intervals.
    PooledZ,
    /// Boschloo's unconditional exact test.
    Boschloo,
    /// Fisher's exact test.
    Fisher,
    /// Barnard's unconditional exact test; no rule chooses it, who wants it names it.
    Barnard,
}

/// Which test to use for two arms, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The test to use.
    pub test: ProportionTest,
    /// The least of the four expected counts; none where an arm has no units.
    pub least_expected_count: Option<f64>,
    /// The rule that chose it, with the numbers.
    pub reason: String,
}

/// Which test to use for two arms.
///
/// Of the four counts that are expected if both arms share one rate (successes and failures of each arm), the least
/// decides: from [`LEAST_EXPECTED_COUNT`] on, the pooled z test; below, Boschloo's exact test up to
/// [`BOSCHLOO_MOST_UNITS`] units and Fisher's beyond (the pooled z again past [`FISHER_MOST_UNITS`]). The rule looks at
/// totals only, never at how far the arms differ.
///
/// # Errors
///
/// [`StatsError::SuccessesExceedUnits`].
pub fn recommended_for(control: Proportion, treatment: Proportion) -> Result<Recommendation, StatsError> {
    control.check()?;
    treatment.check()?;
    if control.n == 0 || treatment.n == 0 {
        return Ok(Recommendation {
            test: ProportionTest::PooledZ,
            least_expected_count: None,
            reason: format!("{NO_UNITS}: no test can be made"),
        });
    }
    let both = control.merge(treatment);
    let rarer = count(both.successes.min(both.n - both.successes));
    let smaller_share = count(control.n.min(treatment.n)) / count(both.n);
    let least = rarer * smaller_share;
    let (test, reason) = if least >= LEAST_EXPECTED_COUNT {
        (ProportionTest::PooledZ, format!("the least expected count is {least:.1}, five or more: the pooled z test"))
    } else if both.n <= BOSCHLOO_MOST_UNITS {
        (ProportionTest::Boschloo, format!("the least expected count is {least:.1}, below five: Boschloo's exact test"))
    } else if both.n <= FISHER_MOST_UNITS {
        let reason = format!(
            "the least expected count is {least:.1}, below five, and {units} units are too many for Boschloo's test: \
             Fisher's exact test",
            units = both.n,
        );
        (ProportionTest::Fisher, reason)
    } else {
        let reason = format!(
            "the least expected count is {least:.1}, below five, but {units} units are too many for an exact test: \
             the pooled z test, which is only roughly right here",
            units = both.n,
        );
        (ProportionTest::PooledZ, reason)
    };
    Ok(Recommendation { test, least_expected_count: Some(least), reason })
}

/// The parts of a pooled z in whole numbers: z is proportional to difference / √variance, with factors that depend on
/// the units alone. A table without variance has no difference either, and z zero.
fn pooled_parts(first: Proportion, second: Proportion) -> (i128, i128) {
    let difference =
        i128::from(first.successes) * i128::from(second.n) - i128::from(second.successes) * i128::from(first.n);
    let successes = i128::from(first.successes) + i128::from(second.successes);
    let units = i128::from(first.n) + i128::from(second.n);
    (difference, (successes * (units - successes)).max(1))
}

/// The size of the pooled z of one table against that of another with the same units; exact for up to
/// [`BARNARD_MOST_UNITS`] units.
fn squared_pooled_order(
    first: Proportion,
    second: Proportion,
    other_first: Proportion,
    other_second: Proportion,
) -> Ordering {
    let (difference, variance) = pooled_parts(first, second);
    let (other_difference, other_variance) = pooled_parts(other_first, other_second);
    let square = difference * difference;
    let other_square = other_difference * other_difference;
    (square * other_variance).cmp(&(other_square * variance))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn recommendation(treatment: (u64, u64), control: (u64, u64)) -> Recommendation {
        let control = Proportion::new(control.1, control.0).unwrap();
        let treatment = Proportion::new(treatment.1, treatment.0).unwrap();
        recommended_for(control, treatment).unwrap()
    }

    #[test]
    fn the_least_expected_count_decides() {
        // 12 successes among 100 units, 40 of them in the smaller arm: 4.8 expected.
        let few = recommendation((9, 40), (3, 60));
        assert_eq!(few.test, ProportionTest::Boschloo);
        assert_close(few.least_expected_count.unwrap(), 4.8, 1e-12);
        assert!(few.reason.contains("4.8"));
        // One success more: 5.2.
        assert_eq!(recommendation((9, 40), (4, 60)).test, ProportionTest::PooledZ);
        // Failures count as much as successes.
        assert_eq!(recommendation((31, 40), (57, 60)).test, ProportionTest::Boschloo);
    }

    #[test]
    fn size_decides_which_exact_test() {
        assert_eq!(recommendation((1, 5_000), (3, 5_000)).test, ProportionTest::Boschloo);
        assert_eq!(recommendation((1, 5_001), (3, 5_000)).test, ProportionTest::Fisher);
        assert_eq!(recommendation((1, FISHER_MOST_UNITS), (3, 5_000)).test, ProportionTest::PooledZ);
    }

    #[test]
    fn thin_arms_are_answered() {
        let empty = recommendation((0, 0), (1, 10));
        assert_eq!(empty.least_expected_count, None);
        assert!(empty.reason.contains(NO_UNITS));
        assert_eq!(recommendation((0, 50), (0, 50)).test, ProportionTest::Boschloo);
        assert!(recommended_for(Proportion { n: 1, successes: 2 }, Proportion::default()).is_err());
    }

    #[test]
    fn mirror_images_have_the_same_z() {
        let table = (Proportion { n: 49, successes: 22 }, Proportion { n: 20, successes: 16 });
        let image = (Proportion { n: 49, successes: 27 }, Proportion { n: 20, successes: 4 });
        assert_eq!(squared_pooled_order(table.0, table.1, image.0, image.1), Ordering::Equal);
        let empty = (Proportion { n: 49, successes: 0 }, Proportion { n: 20, successes: 0 });
        assert_eq!(squared_pooled_order(empty.0, empty.1, table.0, table.1), Ordering::Less);
    }
}
