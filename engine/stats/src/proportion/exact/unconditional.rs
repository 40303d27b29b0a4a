//! What Barnard's and Boschloo's tests share: the largest chance of a set of tables over all rates, and the score
//! statistic.
//!
//! Enters: a set of tables, as a share of each total or as a number of control outcomes in each row, and a difference
//! of the two rates. Leaves: the greatest probability of the set, over every pair of rates with that difference.
//!
//! The rate is walked in equal steps of its arcsine, in which a binomial proportion is equally sharp everywhere, with
//! at least two steps a standard error; the best peaks are then closed in on by golden section. Nothing is random.

use crate::binomial::{Window, index, whole};
use crate::numeric::{count, length};
use crate::proportion::Arm;
use crate::proportion::score_difference::variance_under;
use std::f64::consts::FRAC_PI_2;

/// Local peaks of the walk that are refined.
const PEAKS_REFINED: usize = 4;

/// Golden sections of a peak: its place is then known to a few millionths of a step, and its height, which is flat
/// there, to one part in 10^11.
const SECTIONS: u32 = 26;

/// A walk whose best value is below this share of a limit stays below the limit between its steps too. Steps of half a
/// standard error left a peak at most 0.9 % above the best step in arms of 1 to 2,000 units, in tables of few successes
/// and of many.
const BETWEEN_STEPS: f64 = 0.95;

/// The golden ratio less one.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// The greatest value of a function, and where it is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greatest {
    pub(super) value: f64,
    pub(super) at: f64,
}

/// Steps of the walk for two arms with `units` units together.
fn steps(units: u64) -> usize {
    48 + index(whole((4.0 * count(units).sqrt()).ceil()))
}

/// A function of a rate between two rates, walked in equal steps of an angle: rate = low + (high − low) sin² angle.
struct Walk<F> {
    low: f64,
    high: f64,
    steps: usize,
    function: F,
}

impl<F: Fn(f64) -> f64> Walk<F> {
    /// Between two rates of zero to one, with at least two steps a standard error of either arm at any rate: from one
    /// step to the next the arcsine of √rate then moves by no more than 1 / (4 √`units`), half of its standard error.
    fn between(low: f64, high: f64, units: u64, function: F) -> Self {
        let high = high.max(low);
        // The arcsine moves by up to √(2 (high − low)) a radian of the angle, and there are π / 2 of them.
        let turns = 4.0 * FRAC_PI_2 * (2.0 * (high - low) * count(units)).sqrt();
        Self { low, high, steps: 12 + index(whole(turns.ceil())), function }
    }

    fn width(&self) -> f64 {
        FRAC_PI_2 / length(self.steps)
    }

    fn rate(&self, angle: f64) -> f64 {
        self.low + (self.high - self.low) * angle.sin().powi(2)
    }

    fn value(&self, angle: f64) -> f64 {
        (self.function)(self.rate(angle))
    }

    fn value_at(&self, step: usize) -> f64 {
        self.value(self.width() * length(step))
    }

    /// The steps that are no lower than those beside them, the highest first.
    fn peaks(&self, values: &[f64]) -> Vec<usize> {
        let is_peak = |&step: &usize| {
            let here = values[step];
            (step == 0 || here >= values[step - 1]) && (step == self.steps || here >= values[step + 1])
        };
        let mut peaks: Vec<usize> = (0..=self.steps).filter(is_peak).collect();
        peaks.sort_by(|&left, &right| values[right].total_cmp(&values[left]));
        peaks
    }

    /// The greatest value between the steps on either side of a peak, or the first one found to be `enough`.
    fn refined(&self, peak: usize, value: f64, enough: f64) -> Greatest {
        let width = self.width();
        let mut best = Greatest { value, at: self.rate(width * length(peak)) };
        let mut left = width * length(peak.saturating_sub(1));
        let mut right = width * length((peak + 1).min(self.steps));
        let mut lower = right - GOLDEN * (right - left);
        let mut upper = left + GOLDEN * (right - left);
        let (mut at_lower, mut at_upper) = (self.value(lower), self.value(upper));
        for _ in 0..SECTIONS {
            if at_lower.max(at_upper) >= enough {
                break;
            }
            if at_lower > at_upper {
                right = upper;
                upper = lower;
                at_upper = at_lower;
                lower = right - GOLDEN * (right - left);
                at_lower = self.value(lower);
            } else {
                left = lower;
                lower = upper;
                at_lower = at_upper;
                upper = left + GOLDEN * (right - left);
                at_upper = self.value(upper);
            }
        }
        for (angle, found) in [(lower, at_lower), (upper, at_upper)] {
            if found > best.value {
                best = Greatest { value: found, at: self.rate(angle) };
            }
        }
        best
    }

    /// A rate at which the function is `enough`, if there is one. `first_try` is the rate to begin with.
    fn reaching(&self, enough: f64, first_try: f64) -> Option<f64> {
        let first_try = first_try.clamp(self.low, self.high);
        if (self.function)(first_try) >= enough {
            return Some(first_try);
        }
        let mut values = Vec::with_capacity(self.steps + 1);
        for step in 0..=self.steps {
            let value = self.value_at(step);
            if value >= enough {
                return Some(self.rate(self.width() * length(step)));
            }
            values.push(value);
        }
        self.peaks(&values)
            .into_iter()
            .take(PEAKS_REFINED)
            .filter(|&peak| values[peak] >= BETWEEN_STEPS * enough)
            .map(|peak| self.refined(peak, values[peak], enough))
            .find(|best| best.value >= enough)
            .map(|best| best.at)
    }
}

/// The greatest value of `function` between `low` and `high`.
fn greatest(low: f64, high: f64, steps: usize, function: impl Fn(f64) -> f64) -> Greatest {
    let walk = Walk { low, high, steps, function };
    let values: Vec<f64> = (0..=steps).map(|step| walk.value_at(step)).collect();
    let mut best = Greatest { value: 0.0, at: low };
    for peak in walk.peaks(&values).into_iter().take(PEAKS_REFINED) {
        let found = walk.refined(peak, values[peak], f64::INFINITY);
        if found.value > best.value {
            best = found;
        }
    }
    best
}

/// The greatest probability of a set of tables when both arms share a rate. `shares[s]` is the probability of the set
/// given that there are s successes in both arms together, which does not depend on the rate.
pub(super) fn greatest_at_common_rate(shares: &[f64]) -> Greatest {
    let best = greatest(0.0, 1.0, steps(units_of(shares)), |rate| probability_at_common_rate(shares, rate));
    Greatest { value: best.value.min(1.0), at: best.at }
}

/// A common rate that gives such a set a probability of `enough`, if there is one. `first_try` is the rate to begin
/// with.
pub(super) fn reaching_at_common_rate(shares: &[f64], enough: f64, first_try: f64) -> Option<f64> {
    let function = |rate: f64| probability_at_common_rate(shares, rate);
    Walk { low: 0.0, high: 1.0, steps: steps(units_of(shares)), function }.reaching(enough, first_try)
}

fn units_of(shares: &[f64]) -> u64 {
    shares.len().saturating_sub(1) as u64
}

fn probability_at_common_rate(shares: &[f64], rate: f64) -> f64 {
    let window = Window::new(units_of(shares), rate);
    shares.iter().skip(window.first).zip(&window.weights).map(|(share, weight)| share * weight).sum()
}

/// A set of tables: in row i, with i successes in the first arm, those with fewer than `below[i]` successes in the
/// second arm, and those with at least `from[i]`.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) first_units: u64,
    pub(super) second_units: u64,
    pub(super) below: Vec<usize>,
    pub(super) from: Vec<usize>,
}

impl Region {
    /// The set without an upper part.
    pub(super) fn one_sided(first_units: u64, second_units: u64, below: Vec<usize>) -> Self {
        let beyond = index(second_units) + 1;
        let from = vec![beyond; below.len()];
        Self { first_units, second_units, below, from }
    }

    /// The greatest probability of the set over all pairs of rates with first − second = `difference`.
    pub(super) fn greatest_at_difference(&self, difference: f64) -> f64 {
        let low = (-difference).max(0.0);
        let high = (1.0 - difference).min(1.0);
        let steps = steps(self.first_units.saturating_add(self.second_units));
        let best = greatest(low, high.max(low), steps, |second_rate| {
            self.probability((second_rate + difference).clamp(0.0, 1.0), second_rate.clamp(0.0, 1.0))
        });
        best.value.min(1.0)
    }

    /// A rate of the second arm between `rates`, with first − second = `difference`, that gives the set a probability
    /// of `enough`, if there is one. `first_try` is the rate to begin with.
    pub(super) fn reaching(&self, enough: f64, difference: f64, rates: (f64, f64), first_try: f64) -> Option<f64> {
        let units = self.first_units.max(self.second_units);
        let probability = |second_rate: f64| {
            self.probability((second_rate + difference).clamp(0.0, 1.0), second_rate.clamp(0.0, 1.0))
        };
        Walk::between(rates.0, rates.1, units, probability).reaching(enough, first_try)
    }

    /// The probability of the set at two rates.
    fn probability(&self, first_rate: f64, second_rate: f64) -> f64 {
        let first = Window::new(self.first_units, first_rate);
        let second = Window::new(self.second_units, second_rate);
        let totals = second.running_totals();
        let all = totals.last().copied().unwrap_or(0.0);
        let fewer_than = |successes: usize| {
            let entry = successes.saturating_sub(second.first);
            totals.get(entry).copied().unwrap_or(all)
        };
        let rows = self.below.iter().zip(&self.from).skip(first.first);
        rows.zip(&first.weights)
            .map(|((&below, &from), weight)| weight * (fewer_than(below) + (all - fewer_than(from)).max(0.0)))
            .sum()
    }
}

/// How many standard errors, as the hypothesis has them, the difference of the rates lies from `difference`: the score
/// statistic of Mee (1984), Biometrics 40(4), and of Farrington and Manning (1990), Statistics in Medicine 9. It rises
/// with the successes of the first arm, and falls with those of the second and with `difference`.
pub(super) fn score(first: Arm, second: Arm, difference: f64) -> f64 {
    let distance = first.rate - second.rate - difference;
    if distance == 0.0 {
        return 0.0;
    }
    // Infinite where the hypothesis leaves no variance.
    distance / variance_under(first, second, difference).max(0.0).sqrt()
}

/// Halves the distance between a difference that is outside and one that is inside, until it is below one part in
/// 10^10, and gives the last one found inside.
pub(super) fn boundary(outside: f64, inside: f64, is_inside: impl Fn(f64) -> bool) -> f64 {
    let (mut outside, mut inside) = (outside, inside);
    while (inside - outside).abs() > 1e-10 {
        let middle = f64::midpoint(outside, inside);
        if is_inside(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    inside
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn finds_the_higher_of_two_peaks() {
        let best =
            greatest(0.0, 1.0, 60, |x| (-200.0 * (x - 0.2).powi(2)).exp() + 1.1 * (-900.0 * (x - 0.9).powi(2)).exp());
        assert_close(best.value, 1.1, 1e-10);
        assert_close(best.at, 0.9, 1e-5);
        let at_an_end = greatest(0.25, 1.0, 60, |x| 1.0 - x);
        assert_close(at_an_end.value, 0.75, 0.0);
    }

    #[test]
    fn a_set_of_one_table_is_likeliest_at_its_own_rates() {
        // One success among one unit against none among one: p (1 − q) is 1/4 at equal rates, and (1 + d)² / 4 at d.
        assert_close(greatest_at_common_rate(&[0.0, 0.5, 0.0]).value, 0.25, 1e-11);
        let region = Region::one_sided(1, 1, vec![0, 1]);
        assert_close(region.greatest_at_difference(0.0), 0.25, 1e-11);
        assert_close(region.greatest_at_difference(0.2), 0.36, 1e-11);
        assert_close(region.greatest_at_difference(-1.0), 0.0, 0.0);
        assert_close(region.greatest_at_difference(1.0), 1.0, 0.0);
    }
}
