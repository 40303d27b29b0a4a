//! Does the arm depend on a column that was known before assignment?
//!
//! Enters: counts of units by category and arm. Leaves: Pearson's chi-square test of independence, Cramér's V (1946,
//! Mathematical Methods of Statistics, section 21.9), the share of the arm that the category explains (Goodman and
//! Kruskal's τ, 1954, Journal of the American Statistical Association 49), the categories that have one arm alone, and
//! a verdict.

use super::{BalanceVerdict, NOT_RANDOMISED_P_VALUE, verdict};
use crate::distribution::chi_squared;
use crate::error::StatsError;
use crate::numeric::{count, length};
use serde::{Deserialize, Serialize};

/// Cramér's V from which on, with a p value below a millionth, units were not assigned at random.
pub const LARGE_CRAMERS_V: f64 = 0.1;

/// Expected count of the rarest arm below which a category is put together with others before it is tested.
const LEAST_EXPECTED: f64 = 5.0;

/// A category whose units are all in one arm, against odds of more than a million to one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeterminedCategory {
    /// Place of the category, from zero.
    pub category: usize,
    /// Place of its only arm, from zero.
    pub arm: usize,
    /// Its units.
    pub units: u64,
}

/// How far the arm depends on a category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryBalance {
    /// **Not randomised**: p below a millionth and V of [`LARGE_CRAMERS_V`] or more, or a category that determines its
    /// arm. **Imbalanced**: p below [`BALANCE_ALPHA`](super::BALANCE_ALPHA).
    pub verdict: BalanceVerdict,
    /// Pearson's χ²; none with fewer than two categories or arms.
    pub statistic: Option<f64>,
    /// (Categories − 1) (arms − 1), after putting small ones together.
    pub degrees_of_freedom: u64,
    /// Probability of a χ² at least this large if the arm does not depend on the category.
    pub p_value: Option<f64>,
    /// Cramér's V, 0 (independent) to 1 (determined); chance alone gives about √(df / N / (fewer of both − 1)).
    pub cramers_v: Option<f64>,
    /// Share of the arm, 0 to 1, that the category explains: how much fewer arms are guessed wrong knowing it.
    pub share_explained: Option<f64>,
    /// Categories with one arm alone.
    pub determined: Vec<DeterminedCategory>,
    /// Share of all units, 0 to 1, in those.
    pub determined_share: f64,
    /// How many categories were put together, or why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Tests whether the arm depends on the category: `counts` has one row a category, in each one count an arm.
///
/// Categories so small that the rarest arm should have fewer than five units are tested together as one.
///
/// ```
/// use sendlift_stats::imbalance::{BalanceVerdict, category_balance};
///
/// // The treatment went to one country alone.
/// let balance = category_balance(&[vec![5_000, 0], vec![2_500, 2_500]])?;
/// assert_eq!(balance.verdict, BalanceVerdict::NotRandomised);
/// assert_eq!(balance.determined[0].category, 0);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::LengthsDiffer`] where rows have not the same number of arms.
pub fn category_balance(counts: &[Vec<u64>]) -> Result<CategoryBalance, StatsError> {
    let arms = counts.first().map_or(0, Vec::len);
    for row in counts {
        if row.len() != arms {
            return Err(StatsError::LengthsDiffer { counts: arms, weights: row.len() });
        }
    }
    let rows: Vec<Vec<f64>> = counts.iter().map(|row| row.iter().copied().map(count).collect()).collect();
    let arm_totals: Vec<f64> = (0..arms).map(|arm| rows.iter().map(|row| row[arm]).sum()).collect();
    let total: f64 = arm_totals.iter().sum();
    let used: Vec<usize> = (0..arms).filter(|&arm| arm_totals[arm] > 0.0).collect();
    let determined = determined(counts, &used, &arm_totals, total);
    let in_determined: f64 = determined.iter().map(|category| count(category.units)).sum();
    let (table, put_together) = tested_rows(&rows, &used, &arm_totals, total);
    let test = Independence::of(&table, total);
    let verdict = match &test {
        _ if !determined.is_empty() => BalanceVerdict::NotRandomised,
        Some(test) => verdict(test.p_value, test.cramers_v >= LARGE_CRAMERS_V),
        None => BalanceVerdict::CannotTell,
    };
    let note = match &test {
        None => Some("fewer than two arms or two categories large enough to test".to_owned()),
        Some(_) if put_together > 0 => Some(format!(
            "{put_together} categories in which the rarest arm should have fewer than five units were tested together"
        )),
        Some(_) => None,
    };
    Ok(CategoryBalance {
        verdict,
        statistic: test.as_ref().map(|test| test.statistic),
        degrees_of_freedom: test.as_ref().map_or(0, |test| test.degrees_of_freedom),
        p_value: test.as_ref().map(|test| test.p_value),
        cramers_v: test.as_ref().map(|test| test.cramers_v),
        share_explained: test.as_ref().map(|test| test.share_explained),
        determined_share: if total > 0.0 { in_determined / total } else { 0.0 },
        determined,
        note,
    })
}

/// Categories whose units are all in one arm although chance would hardly ever do that.
fn determined(counts: &[Vec<u64>], used: &[usize], arm_totals: &[f64], total: f64) -> Vec<DeterminedCategory> {
    if used.len() < 2 {
        return Vec::new();
    }
    // Any of the categories could have been the odd one.
    let limit = (NOT_RANDOMISED_P_VALUE / length(counts.len())).ln();
    let one_arm = |(category, row): (usize, &Vec<u64>)| {
        let mut present = used.iter().copied().filter(|&arm| row[arm] > 0);
        let arm = present.next()?;
        let log_chance = count(row[arm]) * (arm_totals[arm] / total).ln();
        (present.next().is_none() && log_chance < limit).then_some(DeterminedCategory {
            category,
            arm,
            units: row[arm],
        })
    };
    counts.iter().enumerate().filter_map(one_arm).collect()
}

/// The rows to test, those too small put together, and how many these were.
fn tested_rows(rows: &[Vec<f64>], used: &[usize], arm_totals: &[f64], total: f64) -> (Vec<Vec<f64>>, usize) {
    let rarest = used.iter().map(|&arm| arm_totals[arm] / total).fold(f64::INFINITY, f64::min);
    let mut table: Vec<Vec<f64>> = Vec::with_capacity(rows.len());
    let mut together = vec![0.0; used.len()];
    let mut put_together = 0;
    for row in rows {
        let own: Vec<f64> = used.iter().map(|&arm| row[arm]).collect();
        let units: f64 = own.iter().sum();
        if units * rarest >= LEAST_EXPECTED {
            table.push(own);
        } else if units > 0.0 {
            put_together += 1;
            for (sum, value) in together.iter_mut().zip(own) {
                *sum += value;
            }
        }
    }
    if put_together > 0 {
        table.push(together);
    }
    (table, put_together)
}

/// Pearson's test of a table without empty rows or columns.
struct Independence {
    statistic: f64,
    degrees_of_freedom: u64,
    p_value: f64,
    cramers_v: f64,
    share_explained: f64,
}

impl Independence {
    fn of(table: &[Vec<f64>], total: f64) -> Option<Self> {
        let arms = table.first()?.len();
        if table.len() < 2 || arms < 2 {
            return None;
        }
        let arm_totals: Vec<f64> = (0..arms).map(|arm| table.iter().map(|row| row[arm]).sum()).collect();
        let (mut statistic, mut explained) = (0.0, 0.0);
        for row in table {
            let units: f64 = row.iter().sum();
            for (observed, arm_total) in row.iter().zip(&arm_totals) {
                let expected = units * (arm_total / total);
                let excess = observed - expected;
                statistic += excess * excess / expected;
                // Σ (share in the category − share overall)², weighted by units: never negative by rounding.
                explained += units / total * (excess / units).powi(2);
            }
        }
        let guessed_wrong: f64 = arm_totals.iter().map(|units| units / total * (1.0 - units / total)).sum();
        let degrees_of_freedom = (table.len() - 1) * (arms - 1);
        let fewer = length(table.len().min(arms) - 1);
        Some(Self {
            statistic,
            degrees_of_freedom: degrees_of_freedom as u64,
            p_value: chi_squared::upper_tail(statistic, length(degrees_of_freedom)),
            cramers_v: (statistic / total / fewer).sqrt().min(1.0),
            share_explained: (explained / guessed_wrong).clamp(0.0, 1.0),
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::unreadable_literal,
    reason = "golden numbers as the oracle prints them"
)]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn agrees_with_scipy() {
        // SciPy 1.17.1: chi2_contingency(correction=False), contingency.association(method="cramer").
        let balance = category_balance(&[vec![120, 90, 40], vec![110, 95, 45], vec![60, 80, 100]]).unwrap();
        assert_close(balance.statistic.unwrap(), 59.173715029277815, 1e-12);
        assert_close(balance.p_value.unwrap(), 4.326392375061311e-12, 1e-10);
        assert_close(balance.cramers_v.unwrap(), 0.1999555947820595, 1e-12);
        assert_eq!(balance.degrees_of_freedom, 4);
        assert_eq!(balance.verdict, BalanceVerdict::NotRandomised);
    }

    #[test]
    fn a_category_of_one_arm_is_found() {
        let balance = category_balance(&[vec![500, 510], vec![0, 40], vec![480, 470]]).unwrap();
        assert_eq!(balance.verdict, BalanceVerdict::NotRandomised);
        assert_eq!(balance.determined, [DeterminedCategory { category: 1, arm: 1, units: 40 }]);
        assert_close(balance.determined_share, 40.0 / 2_000.0, 1e-12);
        // Ten of one arm happen by chance.
        let chance = category_balance(&[vec![500, 510], vec![0, 10], vec![480, 470]]).unwrap();
        assert_eq!(chance.verdict, BalanceVerdict::Balanced);
        // So do a hundred where that arm has 95 % of all.
        let unequal = category_balance(&[vec![9_500, 500], vec![100, 0]]).unwrap();
        assert!(unequal.determined.is_empty());
    }

    #[test]
    fn the_arm_may_be_the_category() {
        let balance = category_balance(&[vec![300, 0], vec![0, 300]]).unwrap();
        assert_eq!((balance.cramers_v, balance.share_explained), (Some(1.0), Some(1.0)));
        assert_eq!(balance.determined_share, 1.0);
    }

    #[test]
    fn small_categories_are_put_together() {
        let mut rows = vec![vec![500, 500], vec![510, 490]];
        rows.extend((0..50).map(|row| vec![row % 3, 1 + row % 2]));
        let balance = category_balance(&rows).unwrap();
        assert_eq!(balance.degrees_of_freedom, 2);
        assert!(balance.note.unwrap().starts_with("50 categories"));
    }

    #[test]
    fn many_units_make_a_small_difference_significant_not_large() {
        let balance = category_balance(&[vec![500_000, 500_000], vec![497_000, 503_000]]).unwrap();
        assert!(balance.p_value.unwrap() < 1e-4);
        assert_eq!(balance.verdict, BalanceVerdict::Imbalanced);
    }

    #[test]
    fn nothing_to_compare_cannot_tell() {
        for table in
            [vec![], vec![vec![]], vec![vec![5, 5]], vec![vec![0, 0], vec![0, 0]], vec![vec![9, 0], vec![9, 0]]]
        {
            let balance = category_balance(&table).unwrap();
            assert_eq!((balance.verdict, balance.p_value), (BalanceVerdict::CannotTell, None), "{table:?}");
            assert!(balance.note.is_some());
        }
        assert!(category_balance(&[vec![1, 2], vec![1]]).is_err());
        let huge = category_balance(&[vec![u64::MAX, u64::MAX], vec![u64::MAX, 1]]).unwrap();
        assert!(huge.cramers_v.unwrap() <= 1.0 && huge.p_value == Some(0.0));
    }
}
