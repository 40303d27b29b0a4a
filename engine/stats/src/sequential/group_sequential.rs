//! Group-sequential plans: boundaries for a few looks that together keep alpha.
//!
//! Enters: the share of the planned information (units, or one over the squared standard error) at each look, a shape
//! or a spending function, and alpha. Leaves: a critical z for each look, power, and by how much the sample has to grow
//! against a fixed one.
//!
//! - Planned looks: Pocock (1977), Biometrika 64(2), the same critical value at each; O'Brien and Fleming (1979),
//!   Biometrics 35(3), proportional to 1 / √(share of information).
//! - Looks as they come: Lan and `DeMets` (1983), Biometrika 70(3), spend alpha by a function fixed beforehand, and may
//!   look whenever they like without looking at the data to decide when.
//!
//! Tests are two-sided and symmetric: each side spends half of alpha. Probabilities are computed by the recursion of
//! Jennison and Turnbull (2000), chapter 19.

use super::walk::Walk;
use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_positive, check_power};
use crate::numeric::length;
use crate::root::find_root;
use serde::{Deserialize, Serialize};
use std::f64::consts::E;

/// Looks have to add at least this share to the information.
const SMALLEST_STEP: f64 = 1e-4;
/// Less than this on a side is not spent yet: the critical value would be above 7, and is left for later looks.
const LEAST_SPENT: f64 = 1e-12;
/// No repeated p value is below this: less alpha is not spent at a look.
pub const LEAST_REPEATED: f64 = 1e-10;
/// No critical value is above this.
const GREATEST_CRITICAL: f64 = 12.0;

/// How the critical values of planned looks relate to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundaryShape {
    /// Hard to cross early, hardly dearer than a fixed sample at the end: C / √(share of the last look's information).
    OBrienFleming,
    /// The same critical value at each look: early stops are likelier, the last look is dearer.
    Pocock,
}

/// How alpha is spent over the information, when looks are not planned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spending {
    /// Lan and `DeMets`' form that resembles O'Brien and Fleming: 2 (1 − Φ(z / √t)) on each side.
    OBrienFleming,
    /// Lan and `DeMets`' form that resembles Pocock: α ln(1 + (e − 1) t).
    Pocock,
    /// The power family of Kim and `DeMets` (1987), Biometrika 74(1): α t^exponent. 1 spends evenly, 3 late.
    Power {
        /// Above zero.
        exponent: f64,
    },
}

impl Spending {
    /// Alpha spent, both sides together, by the time that a share `information_fraction` of the information is there;
    /// all of it from 1 on.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::NotPositive`] for the fraction or the
    /// exponent.
    pub fn spent(self, information_fraction: f64, alpha: f64) -> Result<f64, StatsError> {
        check_alpha(alpha)?;
        check_positive("a look's share of the information", information_fraction)?;
        if let Self::Power { exponent } = self {
            check_positive("the exponent of the spending function", exponent)?;
        }
        if information_fraction >= 1.0 {
            return Ok(alpha);
        }
        Ok(match self {
            // Each side spends alpha / 2 by the one-sided form, whose z is that of alpha / 4 in a tail.
            Self::OBrienFleming => {
                2.0 * normal::two_sided_p_value(normal::critical_value(alpha / 2.0) / information_fraction.sqrt())
            }
            Self::Pocock => alpha * ((E - 1.0) * information_fraction).ln_1p(),
            Self::Power { exponent } => alpha * information_fraction.powf(exponent),
        })
    }
}

/// One look of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Share of the planned information that is there: 1 at the planned end.
    pub information_fraction: f64,
    /// The z that stops the experiment, on either side; none where there is no alpha to spend at this look.
    pub critical_value: Option<f64>,
    /// The two-sided level that this critical value would have alone, 0 to 1.
    pub nominal_alpha: f64,
    /// Alpha spent at this look and those before it.
    pub alpha_spent: f64,
}

/// Looks and their boundaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupSequential {
    /// The two-sided error rate over all looks.
    pub alpha: f64,
    /// In the order they are made.
    pub looks: Vec<Look>,
    /// Where the boundaries come from, in words.
    pub method: String,
}

impl GroupSequential {
    /// Boundaries for looks that are all planned: `information_fractions` ascend, the last is usually 1.
    ///
    /// ```
    /// use sendlift_stats::sequential::{BoundaryShape, GroupSequential};
    ///
    /// let plan = GroupSequential::planned(BoundaryShape::OBrienFleming, &[0.2, 0.4, 0.6, 0.8, 1.0], 0.05)?;
    /// let last = plan.looks[4].critical_value.unwrap();
    /// assert!((last - 2.040).abs() < 5e-4);
    /// # Ok::<(), sendlift_stats::StatsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`]; [`StatsError::NotPositive`] without looks, or for looks that add less than a
    /// ten-thousandth to the information; [`StatsError::NotFinite`].
    pub fn planned(shape: BoundaryShape, information_fractions: &[f64], alpha: f64) -> Result<Self, StatsError> {
        check_alpha(alpha)?;
        let last = check_fractions(information_fractions)?;
        let bounds_for = |constant: f64| -> Vec<f64> {
            information_fractions
                .iter()
                .map(|fraction| match shape {
                    BoundaryShape::OBrienFleming => constant * (last / fraction).sqrt(),
                    BoundaryShape::Pocock => constant,
                })
                .collect()
        };
        let log_alpha = alpha.ln();
        let excess = |constant: f64| {
            let crossed: f64 = crossings(information_fractions, &bounds_for(constant), 0.0).iter().sum();
            crossed.max(f64::MIN_POSITIVE).ln() - log_alpha
        };
        // The last look alone crosses with alpha at the ordinary value; all together by less at Bonferroni's.
        let ordinary = normal::critical_value(alpha);
        let bonferroni = normal::critical_value(alpha / length(information_fractions.len()));
        let constant = find_root(excess, ordinary, bonferroni);
        let bounds = bounds_for(constant);
        let mut alpha_spent = 0.0;
        let looks = information_fractions
            .iter()
            .zip(&bounds)
            .zip(crossings(information_fractions, &bounds, 0.0))
            .map(|((&information_fraction, &bound), crossed)| {
                alpha_spent += crossed;
                Look {
                    information_fraction,
                    critical_value: Some(bound),
                    nominal_alpha: normal::two_sided_p_value(bound),
                    alpha_spent,
                }
            })
            .collect();
        let method = match shape {
            BoundaryShape::OBrienFleming => "O'Brien-Fleming boundaries (1979), two-sided",
            BoundaryShape::Pocock => "Pocock boundaries (1977), two-sided",
        };
        Ok(Self { alpha, looks, method: method.to_owned() })
    }

    /// Boundaries for the looks made so far, by spending alpha: later looks do not change earlier boundaries, so the
    /// list may grow as the experiment goes on. Shares beyond 1 (more units than planned) spend what is left.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`]; [`StatsError::NotPositive`] without looks, for looks that add less than a
    /// ten-thousandth to the information, or for an exponent of zero or less; [`StatsError::NotFinite`].
    pub fn alpha_spending(spending: Spending, information_fractions: &[f64], alpha: f64) -> Result<Self, StatsError> {
        check_alpha(alpha)?;
        check_fractions(information_fractions)?;
        let mut walk = Walk::new(0.0);
        let mut alpha_spent = 0.0;
        let mut looks = Vec::with_capacity(information_fractions.len());
        for (index, &information_fraction) in information_fractions.iter().enumerate() {
            let to_spend = (spending.spent(information_fraction, alpha)? - alpha_spent) / 2.0;
            let critical_value = (to_spend >= LEAST_SPENT).then(|| {
                let log_to_spend = to_spend.ln();
                let excess =
                    |bound: f64| walk.above(information_fraction, bound).max(f64::MIN_POSITIVE).ln() - log_to_spend;
                find_root(excess, 0.0, GREATEST_CRITICAL)
            });
            if let Some(bound) = critical_value {
                alpha_spent += 2.0 * walk.above(information_fraction, bound);
            }
            looks.push(Look {
                information_fraction,
                critical_value,
                nominal_alpha: critical_value.map_or(0.0, normal::two_sided_p_value),
                alpha_spent,
            });
            if let Some(&next) = information_fractions.get(index + 1) {
                walk.advance(information_fraction, critical_value.unwrap_or(f64::INFINITY), next);
            }
        }
        let method = match spending {
            Spending::OBrienFleming => {
                "alpha spending (Lan and DeMets 1983), O'Brien-Fleming form, two-sided".to_owned()
            }
            Spending::Pocock => "alpha spending (Lan and DeMets 1983), Pocock form, two-sided".to_owned(),
            Spending::Power { exponent } => {
                format!("alpha spending (Kim and DeMets 1987), power {exponent}, two-sided")
            }
        };
        Ok(Self { alpha, looks, method })
    }

    /// The least alpha at which `statistic` would cross the boundary of the last of the looks made so far, had the whole
    /// plan been made at that alpha: a repeated p value (Jennison and Turnbull 2000, section 9.2). It holds at whatever
    /// look it is read, crossed or not, and may be adjusted for several hypotheses like any other p value (Holm's test with
    /// looks: Maurer and Bretz 2013, "Multiple testing in group sequential trials using graphical approaches"). From
    /// [`LEAST_REPEATED`] to 1; with a single look at the whole information it is the ordinary two-sided p value.
    ///
    /// # Errors
    ///
    /// As [`alpha_spending`](Self::alpha_spending); [`StatsError::NotFinite`] for the statistic.
    pub fn repeated_p_value(
        spending: Spending,
        information_fractions: &[f64],
        statistic: f64,
    ) -> Result<f64, StatsError> {
        check_finite("the statistic", statistic)?;
        let crosses = |log_alpha: f64| -> Result<bool, StatsError> {
            let plan = Self::alpha_spending(spending, information_fractions, log_alpha.exp())?;
            let bound = plan.looks.last().and_then(|look| look.critical_value);
            Ok(bound.is_some_and(|bound| statistic.abs() > bound))
        };
        let (mut low, mut high) = (LEAST_REPEATED.ln(), (1.0 - 1e-9_f64).ln());
        if crosses(low)? {
            return Ok(LEAST_REPEATED);
        }
        if !crosses(high)? {
            return Ok(1.0);
        }
        while high - low > 1e-9 {
            let middle = low.midpoint(high);
            if crosses(middle)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high.exp())
    }

    /// Probability of crossing at each look, on either side, when z at the full planned information is expected to be
    /// `drift` (the true difference over the standard error that the planned size would have).
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`]; [`StatsError::NotPositive`] for looks that no plan has.
    pub fn crossing_probabilities(&self, drift: f64) -> Result<Vec<f64>, StatsError> {
        check_finite("the drift", drift)?;
        let (fractions, bounds) = self.checked_boundaries()?;
        Ok(crossings(&fractions, &bounds, drift))
    }

    /// Probability of crossing at any look, 0 to 1, at `drift` as in
    /// [`crossing_probabilities`](Self::crossing_probabilities).
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`]; [`StatsError::NotPositive`] for looks that no plan has.
    pub fn power(&self, drift: f64) -> Result<f64, StatsError> {
        let crossed: f64 = self.crossing_probabilities(drift)?.iter().sum();
        Ok(crossed.clamp(0.0, 1.0))
    }

    /// The information used on average, as a share of the planned, at `drift`.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`]; [`StatsError::NotPositive`] for looks that no plan has.
    pub fn expected_information(&self, drift: f64) -> Result<f64, StatsError> {
        let crossed = self.crossing_probabilities(drift)?;
        let last = self.looks.last().map_or(0.0, |look| look.information_fraction);
        let saved: f64 =
            self.looks.iter().zip(&crossed).map(|(look, crossed)| (last - look.information_fraction) * crossed).sum();
        Ok(last - saved)
    }

    /// How many times as large the largest sample has to be as a fixed one with the same `power`: multiply the units of
    /// a plan by it.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidPower`] outside (0, 1) or not above alpha; [`StatsError::NotPositive`] for looks that no
    /// plan has; [`StatsError::PlanTooLarge`] where no sample has that power, because hardly any alpha was spent.
    pub fn inflation_factor(&self, power: f64) -> Result<f64, StatsError> {
        check_power(power)?;
        check_alpha(self.alpha)?;
        if power <= self.alpha {
            return Err(StatsError::InvalidPower { power });
        }
        let (fractions, bounds) = self.checked_boundaries()?;
        let excess = |drift: f64| crossings(&fractions, &bounds, drift).iter().sum::<f64>() - power;
        let fixed = normal::critical_value(self.alpha) + normal::quantile(power);
        let mut high = fixed.max(1.0);
        while excess(high) < 0.0 {
            high *= 2.0;
            if high > 1e6 {
                return Err(StatsError::PlanTooLarge);
            }
        }
        let drift = find_root(excess, 0.0, high);
        let last = self.looks.last().map_or(1.0, |look| look.information_fraction);
        Ok(drift * drift * last / (fixed * fixed))
    }

    /// Fractions and bounds of the looks, an infinite bound where none was made; the fields are public, and may come
    /// from a file.
    pub(super) fn checked_boundaries(&self) -> Result<(Vec<f64>, Vec<f64>), StatsError> {
        let fractions: Vec<f64> = self.looks.iter().map(|look| look.information_fraction).collect();
        check_fractions(&fractions)?;
        let mut bounds = Vec::with_capacity(self.looks.len());
        for look in &self.looks {
            if let Some(bound) = look.critical_value {
                check_positive("a critical value", bound)?;
            }
            bounds.push(look.critical_value.unwrap_or(f64::INFINITY));
        }
        Ok((fractions, bounds))
    }
}

/// Probability of crossing either boundary at each look.
fn crossings(fractions: &[f64], bounds: &[f64], drift: f64) -> Vec<f64> {
    let mut walk = Walk::new(drift);
    let mut crossed = Vec::with_capacity(fractions.len());
    for (index, (&fraction, &bound)) in fractions.iter().zip(bounds).enumerate() {
        crossed.push(walk.above(fraction, bound) + walk.below(fraction, bound));
        if let Some(&next) = fractions.get(index + 1) {
            walk.advance(fraction, bound, next);
        }
    }
    crossed
}

/// Refuses looks that do not go forward; gives the last one's share.
fn check_fractions(fractions: &[f64]) -> Result<f64, StatsError> {
    let Some(&last) = fractions.last() else {
        return Err(StatsError::NotPositive { quantity: "the number of looks", value: 0.0 });
    };
    let mut before = 0.0;
    for &fraction in fractions {
        check_positive("a look's share of the information", fraction)?;
        let added = (fraction - before) / fraction;
        check_positive("the information a look adds, beyond a ten-thousandth", added - SMALLEST_STEP)?;
        before = fraction;
    }
    Ok(last)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;

    fn equal_looks(looks: u32) -> Vec<f64> {
        (1..=looks).map(|look| f64::from(look) / f64::from(looks)).collect()
    }

    /// Absolutely, as tables with three or four decimals are.
    #[track_caller]
    fn assert_near(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected} to {tolerance:e}");
    }

    fn last_critical(shape: BoundaryShape, looks: u32) -> f64 {
        let plan = GroupSequential::planned(shape, &equal_looks(looks), 0.05).unwrap();
        plan.looks.last().unwrap().critical_value.unwrap()
    }

    #[test]
    fn constants_are_those_of_jennison_and_turnbull() {
        // Jennison and Turnbull (2000), tables 2.1 (Pocock) and 2.3 (O'Brien and Fleming), alpha 0.05.
        for (looks, pocock, o_brien_fleming) in
            [(1, 1.960, 1.960), (2, 2.178, 1.977), (3, 2.289, 2.004), (5, 2.413, 2.040), (10, 2.555, 2.087)]
        {
            assert_near(last_critical(BoundaryShape::Pocock, looks), pocock, 5.5e-4);
            assert_near(last_critical(BoundaryShape::OBrienFleming, looks), o_brien_fleming, 5.5e-4);
        }
        // tests/oracle/sequential.py: the same by Gauss-Legendre quadrature.
        assert_near(last_critical(BoundaryShape::Pocock, 5), 2.4131761, 2e-6);
        assert_near(last_critical(BoundaryShape::OBrienFleming, 5), 2.0400732, 2e-6);
    }

    #[test]
    fn the_largest_sample_is_known() {
        // tests/oracle/sequential.py, alpha 0.05, five looks; Jennison and Turnbull (2000) print these in tables 2.2 and
        // 2.4 to about three digits.
        let pocock = GroupSequential::planned(BoundaryShape::Pocock, &equal_looks(5), 0.05).unwrap();
        assert_near(pocock.inflation_factor(0.8).unwrap(), 1.2283664, 1e-5);
        assert_near(pocock.inflation_factor(0.9).unwrap(), 1.2064748, 1e-5);
        let late = GroupSequential::planned(BoundaryShape::OBrienFleming, &equal_looks(5), 0.05).unwrap();
        assert_near(late.inflation_factor(0.8).unwrap(), 1.0284062, 1e-5);
        assert_near(late.inflation_factor(0.9).unwrap(), 1.0264853, 1e-5);
        assert_near(late.power(0.0).unwrap(), 0.05, 1e-6);
        assert!(late.inflation_factor(0.04).is_err());
    }

    #[test]
    fn spending_agrees_with_ldbounds() {
        // design/statistics.md, from the R package ldbounds (to 4e-4 of it); more digits by tests/oracle/sequential.py,
        // Gauss-Legendre quadrature of the recursion.
        let looks = equal_looks(5);
        let cases = [
            (Spending::OBrienFleming, [4.87688495, 3.35701192, 2.68028006, 2.28981677, 2.03103204]),
            (Spending::Pocock, [2.43797669, 2.42681386, 2.41019384, 2.39664540, 2.38598457]),
            (Spending::Power { exponent: 2.0 }, [3.09023231, 2.71411158, 2.47277720, 2.27986327, 2.11402742]),
        ];
        for (spending, expected) in cases {
            let plan = GroupSequential::alpha_spending(spending, &looks, 0.05).unwrap();
            for (look, expected) in plan.looks.iter().zip(expected) {
                assert_near(look.critical_value.unwrap(), expected, 2e-6);
            }
            assert_near(plan.looks[4].alpha_spent, 0.05, 1e-9);
        }
    }

    #[test]
    fn unplanned_looks_leave_earlier_boundaries_alone() {
        let two = GroupSequential::alpha_spending(Spending::Pocock, &[0.1, 0.35], 0.05).unwrap();
        let more = GroupSequential::alpha_spending(Spending::Pocock, &[0.1, 0.35, 0.5, 1.2], 0.05).unwrap();
        for (before, after) in two.looks.iter().zip(&more.looks) {
            assert_near(before.critical_value.unwrap(), after.critical_value.unwrap(), 1e-6);
        }
        assert_near(more.looks[3].alpha_spent, 0.05, 1e-9);
        assert_near(more.power(0.0).unwrap(), 0.05, 1e-6);
        // Everything is spent at 1: nothing is left for a look after it.
        let late = GroupSequential::alpha_spending(Spending::Pocock, &[1.0, 1.5], 0.05).unwrap();
        assert_eq!(late.looks[1].critical_value, None);
        let early = GroupSequential::alpha_spending(Spending::OBrienFleming, &[0.01, 1.0], 0.05).unwrap();
        assert_eq!(early.looks[0].critical_value, None);
        assert_near(early.looks[1].critical_value.unwrap(), 1.959963984540054, 1e-6);
    }

    #[test]
    fn early_stops_save_information() {
        // tests/oracle/sequential.py: Pocock, five looks, power 0.9: at the planned difference 68.5 % of the fixed sample
        // are used on average, though the largest is 120.6 %.
        let pocock = GroupSequential::planned(BoundaryShape::Pocock, &equal_looks(5), 0.05).unwrap();
        let inflation = pocock.inflation_factor(0.9).unwrap();
        let drift = inflation.sqrt() * (normal::critical_value(0.05) + normal::quantile(0.9));
        assert_near(pocock.power(drift).unwrap(), 0.9, 1e-6);
        assert_near(100.0 * inflation * pocock.expected_information(drift).unwrap(), 68.487946, 1e-3);
    }

    #[test]
    fn plans_that_are_none_are_refused() {
        let shape = BoundaryShape::Pocock;
        assert!(GroupSequential::planned(shape, &[], 0.05).is_err());
        assert!(GroupSequential::planned(shape, &[0.5, 0.5], 0.05).is_err());
        assert!(GroupSequential::planned(shape, &[0.5, 0.4], 0.05).is_err());
        assert!(GroupSequential::planned(shape, &[f64::NAN], 0.05).is_err());
        assert!(GroupSequential::planned(shape, &[0.5, 1.0], 0.0).is_err());
        assert!(GroupSequential::alpha_spending(Spending::Power { exponent: 0.0 }, &[1.0], 0.05).is_err());
        let broken = GroupSequential { alpha: 0.05, looks: Vec::new(), method: String::new() };
        assert!(broken.power(1.0).is_err());
    }
}
