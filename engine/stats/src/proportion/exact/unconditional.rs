//! What Barnard's and Boschloo's tests share: the largest chance of a set of tables over all rates.
//!
//! Enters: a set of tables, as a share of each total or as a number of control outcomes in each row, and a difference
//! of the two rates. Leaves: the greatest probability of the set, over every pair of rates with that difference.
//!
//! The rate is walked in equal steps of its arcsine, in which a binomial proportion is equally sharp everywhere, with
//! at least two steps a standard error; the best peaks are then closed in on by golden section. Nothing is random.

use crate::binomial::{Window, index, whole};
use crate::numeric::{count, length};
use std::f64::consts::FRAC_PI_2;

/// Local peaks of the walk that are refined.
const PEAKS_REFINED: usize = 4;

/// Golden sections of a peak: its place is then known to a few millionths of a step, and its height, which is flat
/// there, to one part in 10^11.
const SECTIONS: u32 = 26;

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

/// The greatest value of `function` between `low` and `high`.
fn greatest(low: f64, high: f64, steps: usize, function: impl Fn(f64) -> f64) -> Greatest {
    let width = FRAC_PI_2 / length(steps);
    let rate = |angle: f64| low + (high - low) * angle.sin().powi(2);
    let value = |angle: f64| function(rate(angle));
    let values: Vec<f64> = (0..=steps).map(|step| value(width * length(step))).collect();

    let is_peak = |&step: &usize| {
        let here = values[step];
        (step == 0 || here >= values[step - 1]) && (step == steps || here >= values[step + 1])
    };
    let mut peaks: Vec<usize> = (0..=steps).filter(is_peak).collect();
    peaks.sort_by(|&left, &right| values[right].total_cmp(&values[left]));

    let mut best = Greatest { value: 0.0, at: low };
    for &peak in peaks.iter().take(PEAKS_REFINED) {
        let middle = width * length(peak);
        let mut left = width * length(peak.saturating_sub(1));
        let mut right = width * length((peak + 1).min(steps));
        let mut lower = right - GOLDEN * (right - left);
        let mut upper = left + GOLDEN * (right - left);
        let (mut at_lower, mut at_upper) = (value(lower), value(upper));
        for _ in 0..SECTIONS {
            if at_lower > at_upper {
                right = upper;
                upper = lower;
                at_upper = at_lower;
                lower = right - GOLDEN * (right - left);
                at_lower = value(lower);
            } else {
                left = lower;
                lower = upper;
                at_lower = at_upper;
                upper = left + GOLDEN * (right - left);
                at_upper = value(upper);
            }
        }
        for (angle, found) in [(middle, values[peak]), (lower, at_lower), (upper, at_upper)] {
            if found > best.value {
                best = Greatest { value: found, at: rate(angle) };
            }
        }
    }
    best
}

/// The greatest probability of a set of tables when both arms share a rate. `shares[s]` is the probability of the set
/// given that there are s successes in both arms together, which does not depend on the rate.
pub(super) fn greatest_at_common_rate(shares: &[f64]) -> Greatest {
    let units = shares.len().saturating_sub(1) as u64;
    let best = greatest(0.0, 1.0, steps(units), |rate| {
        let window = Window::new(units, rate);
        shares.iter().skip(window.first).zip(&window.weights).map(|(share, weight)| share * weight).sum()
    });
    Greatest { value: best.value.min(1.0), at: best.at }
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
