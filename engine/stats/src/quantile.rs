//! Quantiles: the median order, the 90th percentile of delay.
//!
//! Enters: the values of each arm, sorted or counted, one a randomised unit, or the values of each cluster. Leaves: the
//! quantile with its interval, the difference of two arms' quantiles, and its lift. No density is estimated and nothing
//! is resampled.
//!
//! - Estimate: linear interpolation between order statistics, Hyndman and Fan's type 7 (1996, The American Statistician
//!   50(4)), which is `NumPy`'s, R's and Excel's default.
//! - Interval of one sample: from one order statistic to another, whose ranks follow from the binomial number of values
//!   below the quantile (David and Nagaraja 2003, "Order Statistics", section 7.1). Valid for every distribution and
//!   sample size; no tail is more than alpha / 2.
//! - Difference: each arm's standard error is the width of its 95 % interval over twice the z of the coverage that this
//!   interval really has (Price and Bonett 2002, Journal of Statistical Computation and Simulation 72(2), for any
//!   quantile), and the difference is taken as normal. That holds where the values around the quantile are many and
//!   not tied: an arm without both order statistics, or of whose interval most units share a few values, or which ends
//!   among many units of one value, is not tested.
//! - Clusters: the share of values below the quantile varies by the delta method over clusters, and the ranks n (q ± z ·
//!   its standard error) replace the binomial ones (Deng, Knoblich and Lu 2018, KDD, section 4, "outer" interval).

use crate::comparison::Comparison;
use crate::distribution::normal;
use crate::effect::{ArmValue, Effect, NO_UNITS};
use crate::error::{StatsError, check_alpha, check_finite};
use crate::interval::{Estimate, Interval};
use crate::numeric::{count, length};
use crate::ratio::RatioMoments;

/// What a comparison of quantiles says it was made by.
pub const QUANTILES_METHOD: &str =
    "order-statistic standard errors (Price and Bonett 2002), normal; Fieller interval for the lift";
/// What a comparison of quantiles over clusters says it was made by.
pub const CLUSTERED_QUANTILES_METHOD: &str = "order-statistic standard errors inflated by clusters (Deng et al. 2018), Welch's t over clusters; Fieller interval for the lift";

/// Level of the intervals that standard errors are taken from.
const STANDARD_ERROR_ALPHA: f64 = 0.05;
/// Beyond this binomial variance ranks are taken from the normal distribution, right to a rank or two in thousands.
const MOST_EXACT_VARIANCE: f64 = 1e6;

/// Fewer values than this around a quantile make steps, where more units than values are there.
const FEW_VALUES: u64 = 10;

const TOO_FEW_BELOW: &str = "too few units for a lower end of this quantile at this alpha";
const TOO_FEW_ABOVE: &str = "too few units for an upper end of this quantile at this alpha";
const TOO_FEW: &str = "too few units for an interval of this quantile";
const TIED: &str = "values tie at the quantile, so that its spread cannot be seen: compare the shares of units above a \
                    threshold instead";
const ONE_CLUSTER: &str = "an arm has a single cluster: its variance is unknown";

/// The values of one group in ascending order, equal ones counted.
///
/// The default is the empty group.
///
/// ```
/// use sendlift_stats::quantile::ValueCounts;
///
/// let orders = ValueCounts::from_values([3.0, 1.0, 2.0, 2.0])?;
/// assert_eq!(orders.quantile(0.5)?, Some(2.0));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ValueCounts {
    /// Ascending, each once.
    values: Vec<f64>,
    /// Units with the value of the same place or a smaller one.
    up_to: Vec<u64>,
}

impl ValueCounts {
    /// From values in any order.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] at a value that is NaN or infinite.
    pub fn from_values(values: impl IntoIterator<Item = f64>) -> Result<Self, StatsError> {
        Self::from_counts(values.into_iter().map(|value| (value, 1)))
    }

    /// From `(value, units)` in any order: a histogram of exact values. The same value may come more than once.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] at a value that is NaN or infinite.
    pub fn from_counts(counts: impl IntoIterator<Item = (f64, u64)>) -> Result<Self, StatsError> {
        let mut sorted = Vec::new();
        for (value, units) in counts {
            check_finite("a value of the metric", value)?;
            if units > 0 {
                // A negative zero is a zero.
                sorted.push((value + 0.0, units));
            }
        }
        sorted.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        let mut groups = Self::default();
        let mut units_so_far = 0_u64;
        for (value, units) in sorted {
            units_so_far = units_so_far.saturating_add(units);
            let is_repeated = groups.values.last().is_some_and(|last| last.total_cmp(&value).is_eq());
            if is_repeated {
                groups.up_to.pop();
            } else {
                groups.values.push(value);
            }
            groups.up_to.push(units_so_far);
        }
        Ok(groups)
    }

    /// Both groups together.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let both = self.counts().chain(other.counts());
        // Every value has been checked already.
        Self::from_counts(both).unwrap_or_default()
    }

    /// Units in the group.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.up_to.last().copied().unwrap_or(0)
    }

    /// Each value with its units, ascending.
    pub fn counts(&self) -> impl Iterator<Item = (f64, u64)> {
        let before = std::iter::once(0).chain(self.up_to.iter().copied());
        self.values.iter().zip(&self.up_to).zip(before).map(|((&value, &up_to), before)| (value, up_to - before))
    }

    /// The quantile at `share` (in (0, 1)), interpolated as type 7; none without units.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidProbability`] unless `share` lies between 0 and 1.
    pub fn quantile(&self, share: f64) -> Result<Option<f64>, StatsError> {
        check_share(share)?;
        let n = self.n();
        if n == 0 {
            return Ok(None);
        }
        let position = count(n - 1) * share;
        let below = position.floor();
        let rank = whole(below) + 1;
        let (Some(low), Some(high)) = (self.order_statistic(rank), self.order_statistic((rank + 1).min(n))) else {
            return Ok(None);
        };
        // As two parts of a whole, so that far values of opposite signs do not overflow; equal ones stay as they are.
        let part = position - below;
        Ok(Some(if low < high { low * (1.0 - part) + high * part } else { low }))
    }

    /// The value of a rank, 1 for the smallest; none for a rank that the group does not have.
    #[must_use]
    pub fn order_statistic(&self, rank: u64) -> Option<f64> {
        if rank == 0 {
            return None;
        }
        let place = self.up_to.partition_point(|&up_to| up_to < rank);
        self.values.get(place).copied()
    }
}

impl ValueCounts {
    /// Whether the units of some ranks share so few values that the quantile jumps from one to the next: what lies between
    /// two order statistics is then a step of the scale and no spread.
    fn is_tied_between(&self, low: f64, high: f64, ranks: Ranks) -> bool {
        let units = ranks.high.unwrap_or(0).saturating_sub(ranks.low.unwrap_or(0)) + 1;
        let first = self.values.partition_point(|value| *value < low);
        let values = self.values[first..].partition_point(|value| *value <= high) as u64;
        let are_few = values < FEW_VALUES && 2 * values < units;
        // An end among more units of one value than the interval has, as the zeros of those who bought nothing: beyond it
        // nothing is spread.
        are_few || self.units_of(low) > units || self.units_of(high) > units
    }

    /// Units with that value.
    fn units_of(&self, value: f64) -> u64 {
        let place = self.values.partition_point(|known| *known < value);
        let before = place.checked_sub(1).and_then(|before| self.up_to.get(before)).copied().unwrap_or(0);
        match self.values.get(place) {
            Some(known) if known.total_cmp(&value).is_eq() => self.up_to[place] - before,
            _ => 0,
        }
    }
}

/// A quantile of one sample with its order-statistic interval at confidence 1 − `alpha`.
///
/// ```
/// use sendlift_stats::quantile::{ValueCounts, estimate_quantile};
///
/// let delays = ValueCounts::from_values((1..=99).map(f64::from))?;
/// let median = estimate_quantile(&delays, 0.5, 0.05)?;
/// assert_eq!((median.low, median.estimate, median.high), (Some(40.0), Some(50.0), Some(60.0)));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidProbability`] unless `share` lies between 0 and 1.
pub fn estimate_quantile(sample: &ValueCounts, share: f64, alpha: f64) -> Result<Estimate, StatsError> {
    check_alpha(alpha)?;
    let Some(quantile) = sample.quantile(share)? else {
        return Ok(Estimate::undefined(NO_UNITS));
    };
    let ranks = Ranks::binomial(sample.n(), share, alpha);
    // In tiny samples the interpolated quantile of a far tail can lie past a rank that is already far enough.
    let low = ranks.low.and_then(|rank| sample.order_statistic(rank)).map(|end| end.min(quantile));
    let high = ranks.high.and_then(|rank| sample.order_statistic(rank)).map(|end| end.max(quantile));
    let note = match (low, high) {
        (Some(_), Some(_)) => None,
        (None, Some(_)) => Some(TOO_FEW_BELOW),
        (Some(_), None) => Some(TOO_FEW_ABOVE),
        (None, None) => Some(TOO_FEW),
    };
    Ok(Estimate::new(quantile, Interval { low, high, note: note.map(str::to_owned) }))
}

/// The effect on a quantile: what [`compare_quantiles`] tests, for use by sequential methods too.
///
/// # Errors
///
/// [`StatsError::InvalidProbability`] unless `share` lies between 0 and 1.
pub fn quantile_effect(control: &ValueCounts, treatment: &ValueCounts, share: f64) -> Result<Effect, StatsError> {
    let (Some(control_value), Some(treatment_value)) = (control.quantile(share)?, treatment.quantile(share)?) else {
        return Ok(Effect::untestable(NO_UNITS));
    };
    let control_spread = spread_between(control, Ranks::binomial(control.n(), share, STANDARD_ERROR_ALPHA));
    let treatment_spread = spread_between(treatment, Ranks::binomial(treatment.n(), share, STANDARD_ERROR_ALPHA));
    effect_of((control_value, control_spread), (treatment_value, treatment_spread), None)
}

/// Compares the quantiles of two arms at `share` (0.5 for the median).
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidProbability`] unless `share` lies between 0 and 1.
pub fn compare_quantiles(
    control: &ValueCounts,
    treatment: &ValueCounts,
    share: f64,
    alpha: f64,
) -> Result<Comparison, StatsError> {
    quantile_effect(control, treatment, share)?.comparison(alpha, QUANTILES_METHOD)
}

/// Compares the quantiles of all values of two arms of clusters: messages of recipients, recipients of stores. Each
/// cluster is the list of its values.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidProbability`] unless `share` lies between 0 and 1;
/// [`StatsError::NotFinite`] at a value that is NaN or infinite.
pub fn compare_clustered_quantiles<Cluster: AsRef<[f64]>>(
    control: &[Cluster],
    treatment: &[Cluster],
    share: f64,
    alpha: f64,
) -> Result<Comparison, StatsError> {
    let clusters = |arm: &[Cluster]| count(arm.iter().filter(|cluster| !cluster.as_ref().is_empty()).count() as u64);
    let numbers = (clusters(control), clusters(treatment));
    let (control, treatment) = (clustered(control, share)?, clustered(treatment, share)?);
    let effect = match (control, treatment) {
        (Some(control), Some(treatment)) => {
            // Few clusters make an uncertain standard error: Welch's degrees of freedom, of clusters (Satterthwaite 1946).
            let freedom = match (&control.1, &treatment.1) {
                (Ok(left), Ok(right)) => {
                    let (left, right) = (left * left, right * right);
                    let parts = left * left / (numbers.0 - 1.0) + right * right / (numbers.1 - 1.0);
                    Some((left + right) * (left + right) / parts).filter(|freedom| freedom.is_finite())
                }
                _ => None,
            };
            effect_of(control, treatment, freedom)?
        }
        _ => Effect::untestable(NO_UNITS),
    };
    effect.comparison(alpha, CLUSTERED_QUANTILES_METHOD)
}

/// A quantile over clusters with its standard error; none without values.
fn clustered<Cluster: AsRef<[f64]>>(clusters: &[Cluster], share: f64) -> Result<Option<ValueSpread>, StatsError> {
    let sample = ValueCounts::from_values(clusters.iter().flat_map(|cluster| cluster.as_ref().iter().copied()))?;
    let Some(quantile) = sample.quantile(share)? else {
        return Ok(None);
    };
    let shares_below = RatioMoments::from_values(clusters.iter().filter_map(|cluster| {
        let values = cluster.as_ref();
        let below = values.iter().filter(|value| **value <= quantile).count();
        (!values.is_empty()).then(|| (length(below), length(values.len())))
    }))?;
    let spread = match shares_below.squared_standard_error() {
        None => Err(ONE_CLUSTER),
        Some(square) => spread_between(&sample, Ranks::normal(sample.n(), share, square.sqrt(), STANDARD_ERROR_ALPHA)),
    };
    Ok(Some((quantile, spread)))
}

/// An arm's quantile, and its standard error or why there is none.
type ValueSpread = (f64, Result<f64, &'static str>);

fn effect_of(
    control: ValueSpread,
    treatment: ValueSpread,
    degrees_of_freedom: Option<f64>,
) -> Result<Effect, StatsError> {
    match (control.1, treatment.1) {
        (Ok(control_error), Ok(treatment_error)) => Effect::of_independent_arms(
            ArmValue { value: control.0, variance: control_error * control_error },
            ArmValue { value: treatment.0, variance: treatment_error * treatment_error },
            degrees_of_freedom,
        ),
        (Err(note), _) | (_, Err(note)) => {
            Ok(Effect::Untestable { values: Some((control.0, treatment.0)), note: note.to_owned() })
        }
    }
}

/// The standard error that order statistics at these ranks show.
fn spread_between(sample: &ValueCounts, ranks: Ranks) -> Result<f64, &'static str> {
    let low = ranks.low.and_then(|rank| sample.order_statistic(rank));
    let high = ranks.high.and_then(|rank| sample.order_statistic(rank));
    let (Some(low), Some(high)) = (low, high) else {
        return Err(TOO_FEW);
    };
    if low < high && !sample.is_tied_between(low, high, ranks) {
        Ok((high / 2.0 - low / 2.0) / normal::critical_value(ranks.outside))
    } else {
        Err(TIED)
    }
}

/// The order statistics between which a quantile lies.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ranks {
    /// None where even the smallest value leaves too much below.
    low: Option<u64>,
    /// None where even the greatest value leaves too much above.
    high: Option<u64>,
    /// Probability that the quantile is not between them.
    outside: f64,
}

impl Ranks {
    /// The narrowest ranks that leave at most alpha / 2 on either side: the number of values below the quantile is
    /// binomial.
    fn binomial(n: u64, share: f64, alpha: f64) -> Self {
        let variance = count(n) * share * (1.0 - share);
        if variance > MOST_EXACT_VARIANCE {
            return Self::normal(n, share, (share * (1.0 - share) / count(n)).sqrt(), alpha);
        }
        let side = alpha / 2.0;
        let probabilities = binomial_probabilities(n, share);
        // The quantile lies below the value of rank r when fewer than r values do.
        let (mut low, mut below) = (None, 0.0);
        let mut sum = 0.0;
        for &(successes, probability) in &probabilities {
            sum += probability;
            if sum > side {
                break;
            }
            // P(B ≤ successes) is small enough: the rank after them may be the lower end.
            low = Some(successes + 1);
            below = sum;
        }
        // Ranks whose probability was too small to list are taken, if the list starts above zero.
        if low.is_none() {
            low = probabilities.first().map(|first| first.0).filter(|&successes| successes > 0);
        }
        let (mut high, mut above) = (None, 0.0);
        let mut sum = 0.0;
        for &(successes, probability) in probabilities.iter().rev() {
            sum += probability;
            if sum > side || successes == 0 {
                break;
            }
            // P(B ≥ successes) is small enough: the value of that rank may be the upper end.
            high = Some(successes);
            above = sum;
        }
        if high.is_none() {
            high = probabilities.last().map(|last| last.0 + 1).filter(|&rank| rank <= n);
        }
        Self { low, high, outside: below + above }
    }

    /// The ranks n (q ± z s), `deviation` being the standard error s of the share of values below the quantile.
    fn normal(n: u64, share: f64, deviation: f64, alpha: f64) -> Self {
        let reach = normal::critical_value(alpha) * deviation;
        let (low, high) = ((count(n) * (share - reach)).floor(), (count(n) * (share + reach)).ceil() + 1.0);
        Self { low: (low >= 1.0).then(|| whole(low)), high: (high <= count(n)).then(|| whole(high)), outside: alpha }
    }
}

/// The binomial probabilities of `n` trials, ascending, without those too small to matter. Ratios of neighbours from the
/// mode outwards: no logarithm of a factorial loses digits.
fn binomial_probabilities(n: u64, share: f64) -> Vec<(u64, f64)> {
    const NEGLIGIBLE: f64 = 1e-25;
    let odds = share / (1.0 - share);
    let mode = whole((count(n) * share).floor()).min(n);
    let mut weights = Vec::new();
    let (mut successes, mut weight) = (mode, 1.0);
    while successes > 0 && weight > NEGLIGIBLE {
        weight *= count(successes) / (count(n - successes + 1) * odds);
        successes -= 1;
        weights.push((successes, weight));
    }
    weights.reverse();
    weights.push((mode, 1.0));
    (successes, weight) = (mode, 1.0);
    while successes < n && weight > NEGLIGIBLE {
        weight *= count(n - successes) * odds / count(successes + 1);
        successes += 1;
        weights.push((successes, weight));
    }
    let total: f64 = weights.iter().map(|entry| entry.1).sum();
    for entry in &mut weights {
        entry.1 /= total;
    }
    weights
}

fn check_share(share: f64) -> Result<(), StatsError> {
    if share > 0.0 && share < 1.0 {
        Ok(())
    } else {
        Err(StatsError::InvalidProbability { quantity: "the share of values below the quantile", value: share })
    }
}

/// A rank as an integer.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the callers have rounded it, and it lies between zero and a count of units"
)]
fn whole(rank: f64) -> u64 {
    rank as u64
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

    fn up_to(n: u32) -> ValueCounts {
        ValueCounts::from_values((1..=n).map(f64::from)).unwrap()
    }

    #[test]
    fn steps_of_a_scale_are_no_spread() {
        // Half of the orders are zero: the median is on the edge of a step, and whether it is 0 or 1 is chance. Tested as if
        // the step were a spread, such tables without any effect were told apart in 40 to 48 % of the cases.
        let orders = |zeros: u64| ValueCounts::from_counts([(0.0, zeros), (1.0, 1_000 - zeros)]).unwrap();
        let found = compare_quantiles(&orders(507), &orders(495), 0.5, 0.05).unwrap();
        assert!(found.p_value.is_none() && found.difference.note.as_deref() == Some(TIED), "{found:?}");
        let prices =
            |cheap: u64| ValueCounts::from_counts([(9.99, cheap), (19.99, 300), (29.99, 700 - cheap)]).unwrap();
        assert!(compare_quantiles(&prices(345), &prices(355), 0.35, 0.05).unwrap().p_value.is_none());
        // Amounts in cents are many values, also where each is there several times.
        let amounts =
            |shift: u32| ValueCounts::from_counts((0..500).map(|cent| (f64::from(cent + shift) / 100.0, 20))).unwrap();
        assert!(compare_quantiles(&amounts(0), &amounts(3), 0.5, 0.05).unwrap().p_value.is_some());
        // One in twenty spends something, and the 95th percentile is where spending begins.
        let spent = |buyers: u32| {
            let buyers = (1..=buyers).map(|buyer| (f64::from(buyer) * 1.37, 1));
            ValueCounts::from_counts(buyers.chain([(0.0, 1_900)])).unwrap()
        };
        assert!(compare_quantiles(&spent(100), &spent(104), 0.955, 0.05).unwrap().p_value.is_none());
        assert!(compare_quantiles(&spent(200), &spent(210), 0.955, 0.05).unwrap().p_value.is_some());
        let few = ValueCounts::from_values((0..20).map(f64::from)).unwrap();
        assert!(compare_quantiles(&few, &few, 0.5, 0.05).unwrap().p_value.is_some());
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        // SciPy 1.17.1, scipy.stats.binom: the ranks of distribution-free 95 % intervals of a median; for n = 15 they
        // are 4 and 12, as in Conover (1999), "Practical Nonparametric Statistics", table A3.
        for (n, low, high) in [(6, 1, 6), (15, 4, 12), (25, 8, 18), (50, 18, 33), (99, 40, 60), (1000, 469, 532)] {
            let ranks = Ranks::binomial(n, 0.5, 0.05);
            assert_eq!((ranks.low, ranks.high), (Some(low), Some(high)), "{n}");
            assert!(ranks.outside <= 0.05);
        }
        assert_close(Ranks::binomial(15, 0.5, 0.05).outside, 0.03515625, 1e-12);
        let five = Ranks::binomial(5, 0.5, 0.05);
        assert_eq!((five.low, five.high), (None, None));
        let rare = Ranks::binomial(100, 0.99, 0.05);
        assert_eq!((rare.low, rare.high), (Some(97), None));
    }

    #[test]
    fn large_samples_join_small_ones() {
        let exact = Ranks::binomial(3_999_000, 0.5, 0.05);
        let normal = Ranks::normal(3_999_000, 0.5, (0.25 / 3_999_000_f64).sqrt(), 0.05);
        assert!(exact.low.unwrap().abs_diff(normal.low.unwrap()) <= 2);
        assert!(exact.high.unwrap().abs_diff(normal.high.unwrap()) <= 2);
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8, 16], q), linear (type 7).
        let sample = ValueCounts::from_values([4.0, 1.0, 16.0, 2.0, 8.0]).unwrap();
        for (share, expected) in [(0.5, 4.0), (0.1, 1.4), (0.9, 12.8), (0.25, 2.0), (0.99, 15.68)] {
            assert_close(sample.quantile(share).unwrap().unwrap(), expected, 1e-14);
        }
        let counted = ValueCounts::from_counts([(2.0, 1), (0.0, 3), (2.0, 2), (-0.0, 1), (9.0, 0)]).unwrap();
        assert_eq!(counted, ValueCounts::from_values([0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0]).unwrap());
        assert_eq!(counted.n(), 7);
        assert_eq!(counted.counts().collect::<Vec<_>>(), [(0.0, 4), (2.0, 3)]);
        assert_eq!(counted.merge(&ValueCounts::default()), counted);
    }

    #[test]
    fn a_difference_of_medians() {
        // tests/oracle/quantile.py: NumPy and scipy.stats.binom.
        let control = up_to(99);
        let treatment = ValueCounts::from_values((1..=80).map(|value| 20.0 + 1.5 * f64::from(value))).unwrap();
        let comparison = compare_quantiles(&control, &treatment, 0.5, 0.05).unwrap();
        assert_close(comparison.difference.estimate.unwrap(), 30.75, 1e-14);
        assert_close(comparison.p_value.unwrap(), 0.00022063788052951758, 1e-9);
        assert_close(comparison.difference.low.unwrap(), 14.435242361360242, 1e-10);
        assert_close(comparison.difference.high.unwrap(), 47.06475763863976, 1e-10);
    }

    #[test]
    fn clusters_widen_the_interval() {
        // tests/oracle/quantile.py: NumPy. Thirty recipients whose three messages are nearly the same.
        let arm = |shift: f64| -> Vec<Vec<f64>> {
            (0..30_i32)
                .map(|recipient| {
                    let level = f64::from((recipient * 37) % 31) + shift;
                    vec![level, level + 0.25, level + 0.5]
                })
                .collect()
        };
        let (control, treatment) = (arm(0.0), arm(6.0));
        let comparison = compare_clustered_quantiles(&control, &treatment, 0.5, 0.05).unwrap();
        assert_close(comparison.difference.estimate.unwrap(), 6.0, 1e-14);
        assert_close(comparison.p_value.unwrap(), 0.15351470858222838, 1e-9);
        assert_close(comparison.difference.low.unwrap(), -2.3049597898584366, 1e-9);
        assert_close(comparison.difference.high.unwrap(), 14.304959789858437, 1e-9);
        let flat = |arm: &[Vec<f64>]| ValueCounts::from_values(arm.iter().flatten().copied()).unwrap();
        let naive = compare_quantiles(&flat(&control), &flat(&treatment), 0.5, 0.05).unwrap();
        assert!(naive.p_value.unwrap() < comparison.p_value.unwrap());
    }

    #[test]
    fn few_clusters_do_not_find_what_is_not_there() {
        use crate::counter::{bits, unit};
        // Clusters of twenty whose levels differ more than their values do; no effect.
        for clusters in [2_u64, 3, 6] {
            let mut found = 0.0;
            for world in 0..400 {
                let arm = |stream: u64| -> Vec<Vec<f64>> {
                    (0..clusters)
                        .map(|cluster| {
                            let level = 5.0 * unit(bits(world, stream, cluster));
                            (0..20).map(|place| level + unit(bits(world, stream + 10 + cluster, place))).collect()
                        })
                        .collect()
                };
                let comparison = compare_clustered_quantiles(&arm(0), &arm(100), 0.5, 0.05).unwrap();
                found += f64::from(u8::from(comparison.p_value.is_some_and(|p_value| p_value < 0.05)));
            }
            assert!(found / 400.0 < 0.09, "{clusters}: {}", found / 400.0);
        }
    }

    #[test]
    fn thin_or_tied_data_is_explained() {
        let some = up_to(50);
        let zeros = ValueCounts::from_counts([(0.0, 90), (5.0, 10)]).unwrap();
        for (other, note) in
            [(ValueCounts::default(), NO_UNITS), (up_to(1), TOO_FEW), (up_to(5), TOO_FEW), (zeros, TIED)]
        {
            let comparison = compare_quantiles(&some, &other, 0.5, 0.05).unwrap();
            assert_eq!((comparison.p_value, comparison.difference.low), (None, None));
            assert_eq!(comparison.difference.note.as_deref(), Some(note));
            assert!(comparison.lift.note.is_some());
        }
        let few = estimate_quantile(&up_to(4), 0.5, 0.05).unwrap();
        assert_eq!((few.estimate, few.low, few.high), (Some(2.5), None, None));
        let tail = estimate_quantile(&up_to(100), 0.99, 0.05).unwrap();
        assert_eq!((tail.high, tail.note.as_deref()), (None, Some(TOO_FEW_ABOVE)));
        let none: [Vec<f64>; 0] = [];
        let one = [vec![1.0, 2.0, 3.0]];
        assert_eq!(compare_clustered_quantiles(&none, &none, 0.5, 0.05).unwrap().p_value, None);
        let single = compare_clustered_quantiles(&one, &one, 0.5, 0.05).unwrap();
        assert_eq!(single.difference.note.as_deref(), Some(ONE_CLUSTER));
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(ValueCounts::from_values([1.0, f64::NAN]).is_err());
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(estimate_quantile(&up_to(9), share, 0.05).is_err());
            assert!(compare_quantiles(&up_to(9), &up_to(9), share, 0.05).is_err());
        }
        assert!(estimate_quantile(&up_to(9), 0.5, 0.0).is_err());
        assert!(compare_quantiles(&up_to(9), &up_to(9), 0.5, 1.0).is_err());
    }
}
