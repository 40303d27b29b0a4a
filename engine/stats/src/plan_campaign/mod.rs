//! Planning a whole campaign: covariates, looks, several arms, days, and a test on part of a finite list.
//!
//! Enters: what [`crate::plan`] needs for one treatment and one look, and what changes it. Leaves: units, power,
//! detectable difference, days; or how much of a list to test on before sending the better text to the rest.
//!
//! - Covariates that remove a share r of the variance leave n (1 − r) to be counted
//!   ([`Adjusted::variance_removed`](crate::adjust::Adjusted)).
//! - Looks before the end multiply n by an inflation factor:
//!   [`GroupSequential::inflation_factor`](crate::sequential::GroupSequential::inflation_factor) for a few,
//!   [`always_valid_inflation`] for any number.
//! - k treatments against one control, all arms of equal size: each comparison is made at a smaller alpha. Bonferroni:
//!   alpha / k; Holm's procedure begins with it, and never has less power. Dunnett (1955), Journal of the American
//!   Statistical Association 50: the z that the largest of k differences with a common control exceeds with alpha,
//!
//! ```text
//! 1 − α = ∫ φ(x) [Φ(x + √2 c) − Φ(x − √2 c)]^k dx
//! ```
//!
//! - A test on part of a finite list: [`TestThenRoll`].

mod test_then_roll;

pub use test_then_roll::{TestSize, TestThenRoll, test_size_without_costs};

use crate::distribution::normal;
use crate::error::{
    StatsError, check_alpha, check_finite, check_not_negative, check_positive, check_power, check_probability,
};
use crate::numeric::count;
use crate::plan::{self, whole};
use crate::root::find_root;
use crate::sequential::MixtureBoundary;
use serde::{Deserialize, Serialize};
use std::f64::consts::{SQRT_2, TAU};

/// More units than this are not a plan.
const MOST_UNITS: f64 = 1e18;
/// Intervals of Simpson's rule for smooth integrands over eighteen standard deviations: right to nine digits.
const INTERVALS: u32 = 1_000;
/// Standard deviations from the mean beyond which a normal density does not matter.
const FAR: f64 = 9.0;

/// What is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedMetric {
    /// A share of units.
    Proportion {
        /// The control's share, 0 to 1.
        baseline: f64,
    },
    /// A number of each unit.
    Mean {
        /// Its variance within an arm, in squared units of the metric.
        variance: f64,
    },
}

/// How several treatments share alpha.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedAlpha {
    /// Not at all: each comparison at alpha, as for questions that have nothing to do with one another.
    Unshared,
    /// In equal parts: for Bonferroni's and Holm's adjustment.
    #[default]
    Bonferroni,
    /// By the distribution of the largest difference with a common control: slightly more for each.
    Dunnett,
}

/// A campaign experiment that is being planned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CampaignDesign {
    /// The primary metric.
    pub metric: PlannedMetric,
    /// Two-sided error rate over all treatments, in (0, 1).
    pub alpha: f64,
    /// Power of each comparison, in (0, 1).
    pub power: f64,
    /// Arms beside the control.
    pub treatments: u32,
    /// How they share alpha.
    pub shared_alpha: SharedAlpha,
    /// Share of the variance that covariates remove, 0 to below 1.
    pub variance_removed: f64,
    /// Factor by which looks before the end enlarge the sample, 1 or more.
    pub inflation: f64,
}

/// How many units a design needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UnitsNeeded {
    /// In each arm, the control too.
    pub per_arm: u64,
    /// In all arms together.
    pub total: u64,
    /// Alpha of each comparison.
    pub comparison_alpha: f64,
}

impl CampaignDesign {
    /// One treatment, one look, no covariates.
    #[must_use]
    pub fn simple(metric: PlannedMetric, alpha: f64, power: f64) -> Self {
        Self {
            metric,
            alpha,
            power,
            treatments: 1,
            shared_alpha: SharedAlpha::default(),
            variance_removed: 0.0,
            inflation: 1.0,
        }
    }

    /// Alpha of each comparison, so that all together keep the design's.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`]; [`StatsError::NotPositive`] without treatments.
    pub fn comparison_alpha(&self) -> Result<f64, StatsError> {
        check_alpha(self.alpha)?;
        check_positive("the number of treatments", f64::from(self.treatments))?;
        Ok(match self.shared_alpha {
            SharedAlpha::Unshared => self.alpha,
            SharedAlpha::Bonferroni => self.alpha / f64::from(self.treatments),
            SharedAlpha::Dunnett => normal::two_sided_p_value(dunnett_critical_value(self.treatments, self.alpha)?),
        })
    }

    /// Units needed to find a `difference` from the control (a difference of shares, or of means in the metric's units)
    /// in a comparison with the design's power.
    ///
    /// ```
    /// use sendlift_stats::plan_campaign::{CampaignDesign, PlannedMetric};
    ///
    /// let design = CampaignDesign::simple(PlannedMetric::Proportion { baseline: 0.20 }, 0.05, 0.8);
    /// assert_eq!(design.units(0.05)?.per_arm, 1094);
    /// let with_covariates = CampaignDesign { variance_removed: 0.25, ..design };
    /// assert_eq!(with_covariates.units(0.05)?.per_arm, 821);
    /// # Ok::<(), sendlift_stats::StatsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`plan::units_for_proportions`] and [`plan::units_for_means`]; [`StatsError::InvalidProbability`] or
    /// [`StatsError::NotPositive`] for a design that cannot be.
    pub fn units(&self, difference: f64) -> Result<UnitsNeeded, StatsError> {
        let comparison_alpha = self.comparison_alpha()?;
        let factor = self.factor()?;
        let plain = match self.metric {
            PlannedMetric::Proportion { baseline } => {
                plan::units_for_proportions(baseline, difference, comparison_alpha, self.power)?
            }
            PlannedMetric::Mean { variance } => {
                plan::units_for_means(variance, difference, comparison_alpha, self.power)?
            }
        };
        let per_arm = (count(plain) * factor * (1.0 - 1e-12)).ceil().max(1.0);
        if per_arm > MOST_UNITS {
            return Err(StatsError::PlanTooLarge);
        }
        let per_arm = whole(per_arm);
        let arms = u64::from(self.treatments).saturating_add(1);
        Ok(UnitsNeeded { per_arm, total: per_arm.saturating_mul(arms), comparison_alpha })
    }

    /// Power, 0 to 1, of a comparison with `n_per_arm` units in each arm to find a `difference`.
    ///
    /// # Errors
    ///
    /// As [`plan::power_for_proportions`] and [`plan::power_for_means`]; [`StatsError::InvalidProbability`] or
    /// [`StatsError::NotPositive`] for a design that cannot be.
    pub fn power_at(&self, difference: f64, n_per_arm: u64) -> Result<f64, StatsError> {
        let comparison_alpha = self.comparison_alpha()?;
        let n = self.plain_units(n_per_arm)?;
        match self.metric {
            PlannedMetric::Proportion { baseline } => {
                plan::power_for_proportions(baseline, difference, n, comparison_alpha)
            }
            PlannedMetric::Mean { variance } => plan::power_for_means(variance, difference, n, comparison_alpha),
        }
    }

    /// The smallest difference that `n_per_arm` units in each arm find with the design's power: a rise of a proportion,
    /// or a difference of means of either sign. None where nothing can be found.
    ///
    /// # Errors
    ///
    /// As [`plan::detectable_difference_for_proportions`] and [`plan::detectable_difference_for_means`];
    /// [`StatsError::InvalidProbability`] or [`StatsError::NotPositive`] for a design that cannot be.
    pub fn detectable_difference(&self, n_per_arm: u64) -> Result<Option<f64>, StatsError> {
        let comparison_alpha = self.comparison_alpha()?;
        let n = self.plain_units(n_per_arm)?;
        match self.metric {
            PlannedMetric::Proportion { baseline } => {
                plan::detectable_difference_for_proportions(baseline, n, comparison_alpha, self.power)
            }
            PlannedMetric::Mean { variance } => {
                plan::detectable_difference_for_means(variance, n, comparison_alpha, self.power)
            }
        }
    }

    /// By how much covariates and looks change the units.
    fn factor(&self) -> Result<f64, StatsError> {
        check_probability("the share of the variance that is removed", self.variance_removed)?;
        check_positive("the share of the variance that is left", 1.0 - self.variance_removed)?;
        check_finite("the inflation factor", self.inflation)?;
        check_not_negative("the inflation factor less one", self.inflation - 1.0)?;
        Ok((1.0 - self.variance_removed) * self.inflation)
    }

    /// Units of a plain design that are worth as much.
    fn plain_units(&self, n_per_arm: u64) -> Result<u64, StatsError> {
        Ok(whole((count(n_per_arm) / self.factor()? * (1.0 + 1e-12)).floor().min(MOST_UNITS)))
    }
}

/// The z that the largest of `treatments` differences with a common control, all arms of equal size, exceeds with
/// probability `alpha` when nothing differs: Dunnett's two-sided test in large samples.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotPositive`] without treatments.
pub fn dunnett_critical_value(treatments: u32, alpha: f64) -> Result<f64, StatsError> {
    check_alpha(alpha)?;
    check_positive("the number of treatments", f64::from(treatments))?;
    let power = f64::from(treatments);
    // Given the control's mean x, the treatments are independent.
    let none_exceeds = |critical: f64| {
        integral(-FAR, FAR, |x| {
            let inside = 1.0 - normal::upper_tail(x + SQRT_2 * critical) - normal::upper_tail(SQRT_2 * critical - x);
            density(x) * inside.max(0.0).powf(power)
        })
    };
    let excess = |critical: f64| none_exceeds(critical) - (1.0 - alpha);
    let (least, most) = (normal::critical_value(alpha), normal::critical_value(alpha / power));
    Ok(find_root(excess, least, most + 1e-6))
}

/// By how many times a sample has to be larger for an always-valid test than for a single one with the same `power`: an
/// upper bound, which counts only the look at the planned size.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidPower`] outside (0, 1) or not above alpha.
pub fn always_valid_inflation(alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_power(power)?;
    check_alpha(alpha)?;
    if power <= alpha {
        return Err(StatsError::InvalidPower { power });
    }
    // At the planned size the boundary is the same for every plan.
    let ordinary = normal::critical_value(alpha);
    let boundary = MixtureBoundary::new(1, alpha)?.critical_value(1).unwrap_or(ordinary);
    let beyond = normal::quantile(power);
    let ratio = (boundary + beyond) / (ordinary + beyond);
    Ok(ratio * ratio)
}

/// Days until `units` have arrived at `units_per_day`, rounded up. Where weekdays differ, round up to whole weeks.
///
/// # Errors
///
/// [`StatsError::NotPositive`] or [`StatsError::NotFinite`] for the units of a day; [`StatsError::PlanTooLarge`] past
/// 10^18 days.
pub fn days_for_units(units: u64, units_per_day: f64) -> Result<u64, StatsError> {
    check_positive("the number of units a day", units_per_day)?;
    let days = (count(units) / units_per_day * (1.0 - 1e-12)).ceil();
    if days <= MOST_UNITS { Ok(whole(days)) } else { Err(StatsError::PlanTooLarge) }
}

/// Units in each of `arms` arms after `days` days at `units_per_day`, rounded down.
///
/// # Errors
///
/// [`StatsError::NotPositive`] or [`StatsError::NotFinite`] for the units of a day; [`StatsError::NotPositive`] without
/// arms; [`StatsError::PlanTooLarge`] past 10^18 units.
pub fn units_per_arm_in_days(days: u32, units_per_day: f64, arms: u32) -> Result<u64, StatsError> {
    check_positive("the number of units a day", units_per_day)?;
    check_positive("the number of arms", f64::from(arms))?;
    let units = (f64::from(days) * units_per_day / f64::from(arms) * (1.0 + 1e-12)).floor();
    if units <= MOST_UNITS { Ok(whole(units)) } else { Err(StatsError::PlanTooLarge) }
}

/// The standard normal density.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / TAU.sqrt()
}

/// Simpson's rule.
fn integral(from: f64, to: f64, function: impl Fn(f64) -> f64) -> f64 {
    let width = (to - from) / f64::from(INTERVALS);
    let mut sum = 0.0;
    for step in 0..=INTERVALS {
        let weight = if step == 0 || step == INTERVALS {
            1.0
        } else if step.is_multiple_of(2) {
            2.0
        } else {
            4.0
        };
        sum += weight * function(from + width * f64::from(step));
    }
    sum * width / 3.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;
    use crate::sequential::{BoundaryShape, GroupSequential};

    #[test]
    fn dunnetts_constants_are_those_of_the_table() {
        // Dunnett (1964), Biometrics 20(3), table II, two-sided .05, infinite degrees of freedom: 1.96, 2.21, 2.35, 2.44,
        // 2.51. More digits by tests/oracle/plan_campaign.py (SciPy's quadrature).
        for (treatments, expected) in [
            (1, 1.9599639845400545),
            (2, 2.212127746578616),
            (3, 2.3489705903392535),
            (4, 2.441770773197619),
            (5, 2.5114630534712568),
        ] {
            assert_close(dunnett_critical_value(treatments, 0.05).unwrap(), expected, 1e-8);
        }
        assert!(dunnett_critical_value(0, 0.05).is_err());
    }

    #[test]
    fn several_arms_share_alpha() {
        let metric = PlannedMetric::Mean { variance: 16.0 };
        let one = CampaignDesign::simple(metric, 0.05, 0.8);
        // As plan.rs: statsmodels 0.15.0, TTestIndPower().solve_power(0.5 / 4, alpha=0.05, power=0.8) is 1005.62.
        assert_eq!(one.units(0.5).unwrap().per_arm, 1006);
        let three = CampaignDesign { treatments: 3, ..one };
        let bonferroni = three.units(0.5).unwrap();
        assert_close(bonferroni.comparison_alpha, 0.05 / 3.0, 1e-15);
        assert_eq!(bonferroni.total, 4 * bonferroni.per_arm);
        let dunnett = CampaignDesign { shared_alpha: SharedAlpha::Dunnett, ..three }.units(0.5).unwrap();
        let unshared = CampaignDesign { shared_alpha: SharedAlpha::Unshared, ..three }.units(0.5).unwrap();
        assert!(unshared.per_arm < dunnett.per_arm && dunnett.per_arm < bonferroni.per_arm);
        assert_eq!(unshared.per_arm, 1006);
    }

    #[test]
    fn covariates_and_looks_change_the_units() {
        let design = CampaignDesign::simple(PlannedMetric::Proportion { baseline: 0.2 }, 0.05, 0.8);
        let plan = GroupSequential::planned(BoundaryShape::OBrienFleming, &[0.25, 0.5, 0.75, 1.0], 0.05).unwrap();
        let changed =
            CampaignDesign { variance_removed: 0.3, inflation: plan.inflation_factor(0.8).unwrap(), ..design };
        let needed = changed.units(0.05).unwrap();
        assert!(needed.per_arm > 766 && needed.per_arm < 800);
        assert!(changed.power_at(0.05, needed.per_arm).unwrap() >= 0.8);
        assert!(changed.power_at(0.05, needed.per_arm - 3).unwrap() < 0.8);
        let found = changed.detectable_difference(needed.per_arm).unwrap().unwrap();
        assert_close(found, 0.05, 2e-3);
        // (3.0352 + 0.8416)² / (1.9600 + 0.8416)².
        assert_close(always_valid_inflation(0.05, 0.8).unwrap(), 1.9149, 1e-4);
    }

    #[test]
    fn days_follow_from_the_volume() {
        assert_eq!(days_for_units(10_000, 1_500.0), Ok(7));
        assert_eq!(days_for_units(9_000, 1_500.0), Ok(6));
        assert_eq!(days_for_units(0, 1_500.0), Ok(0));
        assert_eq!(units_per_arm_in_days(14, 1_500.0, 3), Ok(7_000));
        assert!(days_for_units(10, 0.0).is_err());
        assert!(units_per_arm_in_days(14, 1.0, 0).is_err());
        assert!(days_for_units(u64::MAX, 1e-9).is_err());
    }

    #[test]
    fn impossible_plans_are_refused() {
        let design = CampaignDesign::simple(PlannedMetric::Mean { variance: 1.0 }, 0.05, 0.8);
        assert!(CampaignDesign { variance_removed: 1.0, ..design }.units(0.1).is_err());
        assert!(CampaignDesign { variance_removed: f64::NAN, ..design }.units(0.1).is_err());
        assert!(CampaignDesign { inflation: 0.9, ..design }.units(0.1).is_err());
        assert!(CampaignDesign { treatments: 0, ..design }.units(0.1).is_err());
        assert!(CampaignDesign { alpha: 0.0, ..design }.power_at(0.1, 10).is_err());
        assert!(design.units(0.0).is_err());
        assert!(always_valid_inflation(0.05, 0.05).is_err());
    }
}
