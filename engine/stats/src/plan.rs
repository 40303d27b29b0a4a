//! Planning: how many units, what power, what difference can be seen.
//!
//! Enters: what is known of the metric (a baseline rate, or a variance), and two of: units an arm, the difference to be
//! seen, the power. Leaves: the third. All for one treatment against one control, arms of equal size, a two-sided test
//! at `alpha`; with more arms, divide alpha among the comparisons first.
//!
//! Fleiss, Levin and Paik (2003), "Statistical Methods for Rates and Proportions", chapter 4:
//!
//! ```text
//! n = (z_{α/2} √(2 p̄ q̄) + z_β √(p₁ q₁ + p₂ q₂))² / δ²     two proportions
//! n = 2 σ² (z_{α/2} + z_β)² / δ²                            two means, if σ were known
//! ```
//!
//! For means that is where the search begins: the t test that will be made has 2 (n − 1) degrees of freedom, and its
//! power is that of the noncentral t distribution with δ √(n / 2 σ²). It needs about z²/4 units more. A lift is planned for as the difference it makes, baseline × lift: the tests of this crate give the same verdict on either.

use crate::distribution::{noncentral_t, normal, students_t};
use crate::error::{StatsError, check_alpha, check_finite, check_positive, check_power, check_probability};
use crate::numeric::count;
use crate::root::{find_root, last_inside};

/// More units than this are not a plan.
const MOST_UNITS: f64 = 1e18;
/// Units of an arm that have a spread.
const LEAST_FOR_A_SPREAD: u64 = 2;
/// By so much power may fall short in the last digits, so that the detectable difference of n units needs n units again.
const ROUNDING: f64 = 1e-11;

/// Units needed in each arm to find a change of a proportion from `baseline` to `baseline + difference` with `power`.
///
/// `baseline` is a share, 0 to 1; `difference` a difference of shares, of either sign.
///
/// ```
/// let n_per_arm = sendlift_stats::plan::units_for_proportions(0.20, 0.05, 0.05, 0.8)?;
/// assert_eq!(n_per_arm, 1094);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidPower`]; [`StatsError::InvalidProbability`] for the baseline;
/// [`StatsError::InvalidDifference`] for a difference of zero or one that leads out of 0 to 1;
/// [`StatsError::PlanTooLarge`] past 10^18 units.
pub fn units_for_proportions(baseline: f64, difference: f64, alpha: f64, power: f64) -> Result<u64, StatsError> {
    check_alpha(alpha)?;
    check_power(power)?;
    let spread = Spread::of_proportions(baseline, difference)?;
    if difference == 0.0 {
        return Err(StatsError::InvalidDifference { difference, baseline });
    }
    spread.units(difference, alpha, power)
}

/// Power, 0 to 1, to find a change of a proportion from `baseline` to `baseline + difference` with `n_per_arm` units in
/// each arm. With no difference it is alpha; with no units, zero.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidProbability`] for the baseline; [`StatsError::InvalidDifference`]
/// for a difference that leads out of 0 to 1.
pub fn power_for_proportions(baseline: f64, difference: f64, n_per_arm: u64, alpha: f64) -> Result<f64, StatsError> {
    check_alpha(alpha)?;
    Ok(Spread::of_proportions(baseline, difference)?.power(difference, n_per_arm, alpha))
}

/// The smallest *rise* of a proportion above `baseline` that `n_per_arm` units in each arm find with `power`, as a
/// difference of shares; none where even a rise to 1 would be missed. For a fall, ask about failures: the baseline 1 −
/// p.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidPower`]; [`StatsError::InvalidProbability`] for the baseline.
pub fn detectable_difference_for_proportions(
    baseline: f64,
    n_per_arm: u64,
    alpha: f64,
    power: f64,
) -> Result<Option<f64>, StatsError> {
    check_alpha(alpha)?;
    check_power(power)?;
    check_probability("the baseline", baseline)?;
    let root_of_units = count(n_per_arm).sqrt();
    // The planning formula, solved for the difference: n is enough when √n δ reaches what the formula asks for.
    let is_seen = |difference: f64| {
        let spread = Spread::between(baseline, (baseline + difference).min(1.0));
        difference * root_of_units >= spread.distance_needed(alpha, power)
    };
    let largest = 1.0 - baseline;
    if largest <= 0.0 || n_per_arm == 0 || !is_seen(largest) {
        return Ok(None);
    }
    Ok(Some(last_inside(0.0, largest, is_seen)))
}

/// Units needed in each arm to find a `difference` of means, of either sign, with `power`, when values vary by
/// `variance` (squared units of the metric) within each arm.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidPower`]; [`StatsError::NotPositive`] or [`StatsError::NotFinite`]
/// for the variance; [`StatsError::InvalidDifference`] for a difference of zero; [`StatsError::PlanTooLarge`] past
/// 10^18 units.
pub fn units_for_means(variance: f64, difference: f64, alpha: f64, power: f64) -> Result<u64, StatsError> {
    check_alpha(alpha)?;
    check_power(power)?;
    check_finite("the difference", difference)?;
    if difference == 0.0 {
        return Err(StatsError::InvalidDifference { difference, baseline: 0.0 });
    }
    let if_known = Spread::of_means(variance)?.units(difference, alpha, power)?;
    if degrees_of_freedom(if_known) >= noncentral_t::NORMAL_FROM {
        return Ok(if_known);
    }
    let is_enough = |n_per_arm: u64| {
        n_per_arm >= LEAST_FOR_A_SPREAD && power_of_t(variance, difference, n_per_arm, alpha) >= power - ROUNDING
    };
    // The formula leaves out the wrong side, so that it may be above what is needed as well as below.
    let (mut too_few, mut enough) = (if_known / 2, if_known.max(LEAST_FOR_A_SPREAD));
    while !is_enough(enough) {
        (too_few, enough) = (enough, 2 * enough);
    }
    if is_enough(too_few) {
        too_few = 1;
    }
    while enough - too_few > 1 {
        let middle = u64::midpoint(too_few, enough);
        if is_enough(middle) { enough = middle } else { too_few = middle }
    }
    Ok(enough)
}

/// Power, 0 to 1, to find a `difference` of means with `n_per_arm` units in each arm, when values vary by `variance`
/// within each arm. With no difference it is alpha; below two units an arm, which leave no spread to test by, zero.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotPositive`] or [`StatsError::NotFinite`] for the variance;
/// [`StatsError::NotFinite`] for the difference.
pub fn power_for_means(variance: f64, difference: f64, n_per_arm: u64, alpha: f64) -> Result<f64, StatsError> {
    check_alpha(alpha)?;
    check_finite("the difference", difference)?;
    check_positive("the variance", variance)?;
    Ok(if n_per_arm < LEAST_FOR_A_SPREAD { 0.0 } else { power_of_t(variance, difference, n_per_arm, alpha) })
}

/// The smallest difference of means, without its sign and in the metric's units, that `n_per_arm` units in each arm
/// find with `power`; none below two units an arm. Zero where the power is not above alpha.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidPower`]; [`StatsError::NotPositive`] or [`StatsError::NotFinite`]
/// for the variance.
pub fn detectable_difference_for_means(
    variance: f64,
    n_per_arm: u64,
    alpha: f64,
    power: f64,
) -> Result<Option<f64>, StatsError> {
    check_alpha(alpha)?;
    check_power(power)?;
    let needed = Spread::of_means(variance)?.distance_needed(alpha, power);
    if n_per_arm < LEAST_FOR_A_SPREAD {
        return Ok(None);
    }
    if power <= alpha {
        return Ok(Some(0.0));
    }
    let excess = |difference: f64| power_of_t(variance, difference, n_per_arm, alpha) - power;
    let mut high = 2.0 * needed.abs().max((2.0 * variance).sqrt()) / count(n_per_arm).sqrt();
    while excess(high) < 0.0 {
        high *= 2.0;
    }
    Ok(Some(find_root(excess, 0.0, high)))
}

/// Power of the two-sided t test of two arms of two units or more each.
fn power_of_t(variance: f64, difference: f64, n_per_arm: u64, alpha: f64) -> f64 {
    let degrees_of_freedom = degrees_of_freedom(n_per_arm);
    let noncentrality = difference.abs() * (count(n_per_arm) / (2.0 * variance)).sqrt();
    let critical = students_t::critical_value(alpha, degrees_of_freedom);
    noncentral_t::two_sided_power(critical, degrees_of_freedom, noncentrality)
}

/// Of two arms of equal size.
fn degrees_of_freedom(n_per_arm: u64) -> f64 {
    2.0 * (count(n_per_arm) - 1.0)
}

/// Standard deviation of √n × (difference of the arms' averages), if nothing differs and if the planned difference is
/// true.
#[derive(Debug, Clone, Copy)]
struct Spread {
    if_nothing_differs: f64,
    if_planned: f64,
}

impl Spread {
    fn of_proportions(baseline: f64, difference: f64) -> Result<Self, StatsError> {
        check_probability("the baseline", baseline)?;
        check_finite("the difference", difference)?;
        let changed = baseline + difference;
        // A sum such as 0.9 + 0.1 may pass 1 by rounding alone.
        if !(-1e-12..=1.0 + 1e-12).contains(&changed) {
            return Err(StatsError::InvalidDifference { difference, baseline });
        }
        Ok(Self::between(baseline, changed.clamp(0.0, 1.0)))
    }

    fn between(first: f64, second: f64) -> Self {
        let middle = f64::midpoint(first, second);
        Self {
            if_nothing_differs: (2.0 * middle * (1.0 - middle)).sqrt(),
            if_planned: (first * (1.0 - first) + second * (1.0 - second)).sqrt(),
        }
    }

    fn of_means(variance: f64) -> Result<Self, StatsError> {
        check_positive("the variance", variance)?;
        let either = (2.0 * variance).sqrt();
        Ok(Self { if_nothing_differs: either, if_planned: either })
    }

    /// What √n × difference has to reach: the root of the planning formula's numerator. Not above zero where the power
    /// asked for is so low that any sample has it.
    fn distance_needed(self, alpha: f64, power: f64) -> f64 {
        normal::critical_value(alpha) * self.if_nothing_differs + normal::quantile(power) * self.if_planned
    }

    fn units(self, difference: f64, alpha: f64, power: f64) -> Result<u64, StatsError> {
        let needed = self.distance_needed(alpha, power).max(0.0) / difference;
        // A rounding in the last bits must not cost a unit: the detectable difference of n units needs n units again.
        let units = (needed * needed * (1.0 - 1e-12)).ceil().max(1.0);
        if units <= MOST_UNITS { Ok(whole(units)) } else { Err(StatsError::PlanTooLarge) }
    }

    fn power(self, difference: f64, n_per_arm: u64, alpha: f64) -> f64 {
        if n_per_arm == 0 {
            return 0.0;
        }
        let distance = difference.abs() * count(n_per_arm).sqrt();
        let threshold = normal::critical_value(alpha) * self.if_nothing_differs;
        if self.if_planned <= 0.0 {
            // From nobody to everybody: the outcome is certain, and so is the verdict.
            return if distance > threshold { 1.0 } else { 0.0 };
        }
        let found = normal::lower_tail((distance - threshold) / self.if_planned);
        let found_on_the_wrong_side = normal::lower_tail((-distance - threshold) / self.if_planned);
        (found + found_on_the_wrong_side).min(1.0)
    }
}

/// A whole number of units, 0 to [`MOST_UNITS`], as an integer.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the callers have rounded it, and it lies in 0 to 10^18"
)]
pub(crate) fn whole(units: f64) -> u64 {
    units as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn units_for_proportions_agree_with_the_formula() {
        // tests/oracle/golden_numbers.py: 1093.739 and 13808.925 before rounding up, as in design/statistics.md.
        assert_eq!(units_for_proportions(0.20, 0.05, 0.05, 0.8), Ok(1094));
        assert_eq!(units_for_proportions(0.02, 0.005, 0.05, 0.8), Ok(13809));
        // Failures are as hard to tell apart as successes.
        assert_eq!(units_for_proportions(0.80, -0.05, 0.05, 0.8), Ok(1094));
    }

    #[test]
    fn power_agrees_with_statsmodels() {
        // statsmodels 0.15.0: power_proportions_2indep(0.05, 0.20, 1094).power and TTestIndPower().power.
        let power = power_for_proportions(0.20, 0.05, 1094, 0.05).unwrap();
        assert_close(power, 0.800094592050161, 1e-10);
        for (variance, difference, n, expected) in [
            (16.0, 0.5, 500, 0.5058490771205512),
            (1.0, 1.0, 16, 0.7813977924664225),
            (1.0, 1.0, 17, 0.8070367151472196),
            (1.0, 2.0, 2, 0.21830707484678244),
            // Mean 10, variance 3909.99977, a lift of 5 %: a difference of 0.5.
            (3909.99977, 0.5, 133333, 0.5416924118830935),
        ] {
            assert_close(power_for_means(variance, difference, n, 0.05).unwrap(), expected, 1e-9);
        }
    }

    #[test]
    fn units_for_means_agree_with_statsmodels() {
        // statsmodels 0.15.0: TTestIndPower().solve_power(difference / deviation, alpha=alpha, power=power) is 1005.62, 16.71,
        // 5.09, 3.62, 120.71.
        for (variance, difference, alpha, power, expected) in [
            (16.0, 0.5, 0.05, 0.8, 1006),
            (16.0, -0.5, 0.05, 0.8, 1006),
            (1.0, 1.0, 0.05, 0.8, 17),
            (1.0, 2.0, 0.05, 0.8, 6),
            (1.0, 3.0, 0.05, 0.9, 4),
            (4.0, 1.0, 0.01, 0.9, 121),
        ] {
            assert_eq!(units_for_means(variance, difference, alpha, power), Ok(expected), "{variance} {difference}");
        }
    }

    #[test]
    fn the_detectable_difference_turns_the_plan_round() {
        let rise = detectable_difference_for_proportions(0.20, 1094, 0.05, 0.8).unwrap().unwrap();
        assert_close(rise, 0.05, 1e-3);
        assert!(rise <= 0.05);
        assert_eq!(units_for_proportions(0.20, rise, 0.05, 0.8), Ok(1094));
        // SciPy 1.17.1: brentq over the power by nct, as in tests/oracle/plan_campaign.py.
        for (variance, n, expected) in [(16.0, 500, 0.7094332892745557), (1.0, 5, 2.024439339384543)] {
            let difference = detectable_difference_for_means(variance, n, 0.05, 0.8).unwrap().unwrap();
            assert_close(difference, expected, 1e-8);
        }
    }

    #[test]
    fn too_few_units_detect_nothing() {
        assert_eq!(detectable_difference_for_proportions(0.5, 2, 0.05, 0.8), Ok(None));
        assert_eq!(detectable_difference_for_proportions(0.5, 0, 0.05, 0.8), Ok(None));
        assert_eq!(detectable_difference_for_proportions(1.0, 100, 0.05, 0.8), Ok(None));
        assert_eq!(detectable_difference_for_means(1.0, 1, 0.05, 0.8), Ok(None));
        assert_eq!(detectable_difference_for_means(1.0, 9, 0.05, 0.05), Ok(Some(0.0)));
        assert_eq!(power_for_means(1.0, 1.0, 1, 0.05), Ok(0.0));
    }

    #[test]
    fn power_without_a_difference_is_alpha() {
        assert_close(power_for_means(4.0, 0.0, 100, 0.05).unwrap(), 0.05, 1e-10);
        assert_close(power_for_proportions(0.3, 0.0, 100, 0.05).unwrap(), 0.05, 1e-12);
        assert_close(power_for_proportions(0.0, 1.0, 10, 0.05).unwrap(), 1.0, 0.0);
    }

    #[test]
    fn impossible_plans_are_refused() {
        assert!(units_for_proportions(0.2, 0.0, 0.05, 0.8).is_err());
        assert!(units_for_proportions(0.9, 0.2, 0.05, 0.8).is_err());
        assert!(units_for_proportions(1.2, -0.5, 0.05, 0.8).is_err());
        assert!(units_for_proportions(0.2, 0.05, 1.5, 0.8).is_err());
        assert!(units_for_proportions(0.2, 0.05, 0.05, 1.0).is_err());
        assert!(units_for_means(0.0, 1.0, 0.05, 0.8).is_err());
        assert_eq!(units_for_means(1.0, 1e-12, 0.05, 0.8), Err(StatsError::PlanTooLarge));
        assert!(units_for_proportions(0.9, 0.1, 0.05, 0.8).is_ok());
    }
}
