//! From values to pixels: linear scales, axis ticks, and how much of an axis the intervals may claim.
//! The casts between integers and floats that drawing needs are here too, so that each is justified once.

/// A count as a number to draw with: exact to 2^53, which no log of messages reaches.
#[allow(clippy::cast_precision_loss, reason = "a picture has a few thousand pixels; counts are exact to 2^53")]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

/// A number of rows or columns as a number to draw with.
#[allow(clippy::cast_precision_loss, reason = "rows and columns of one picture are few")]
pub(super) fn real_len(len: usize) -> f64 {
    len as f64
}

/// The nearest pixel. What is not a number goes to 0, and what is far outside stays far outside: no cast overflows.
#[allow(clippy::cast_possible_truncation, reason = "clamped to a range that i32 holds")]
pub(super) fn pixel(value: f64) -> i32 {
    value.clamp(-1e6, 1e6).round() as i32
}

/// The nearest part of a colour.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a range that u8 holds")]
pub(super) fn byte(value: f64) -> u8 {
    value.clamp(0.0, 255.0).round() as u8
}

/// How many whole times: rounds down, never below zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a range that usize holds")]
pub(super) fn whole(value: f64) -> usize {
    value.clamp(0.0, 1e6) as usize
}

/// Maps the values of an axis to pixels, linearly. Values beyond an end land on that end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// `low` is drawn at pixel `from`, `high` at pixel `to`; `low` must be below `high`.
    pub(super) fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self { low, high, from, to }
    }

    /// The pixel of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let inside = value.max(self.low).min(self.high);
        self.from + (inside - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The pixels between two values that are `step` apart.
    pub(super) fn length(&self, step: f64) -> f64 {
        (step / (self.high - self.low) * (self.to - self.from)).abs()
    }
}

/// The marks of an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ticks {
    /// Rising, `step` apart, none outside the axis.
    pub(super) values: Vec<f64>,
    pub(super) step: f64,
    /// Decimals that tell one mark from the next.
    pub(super) decimals: usize,
}

/// Marks at round values (1, 2 or 5 times a power of ten), at most about `most` of them between `low` and `high`.
pub(super) fn ticks(low: f64, high: f64, most: usize) -> Ticks {
    let coarse = (high - low) / real_len(most.max(1));
    let magnitude = 10_f64.powf(coarse.log10().floor());
    // A hair of slack, so that 0.2 / 2 is still a step of 0.1.
    let step = [1.0, 2.0, 5.0]
        .into_iter()
        .map(|multiple| multiple * magnitude)
        .find(|step| *step >= coarse * (1.0 - 1e-9))
        .unwrap_or(10.0 * magnitude);
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    let count = if last < first { 0 } else { whole(last - first) + 1 };
    let values = (0..count).map(|index| (first + real_len(index)) * step).collect();
    let decimals = whole((-step.log10() - 1e-9).ceil().min(6.0));
    Ticks { values, step, decimals }
}

/// The middle value, or the upper of the two; nothing of nothing.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// How far from its estimate an interval may stretch an axis: four times the typical half-width.
///
/// One segment with a handful of recipients has an interval so wide that, drawn whole, it would squeeze all others
/// into a dot. Such an interval is cut off at the axis with an arrow, and its ends are printed.
pub(super) fn reach(half_widths: Vec<f64>) -> f64 {
    median(half_widths).map_or(f64::INFINITY, |half| 4.0 * half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_inside_and_few() {
        let plain = ticks(0.0, 10.0, 5);
        let whole_values: Vec<i32> = plain.values.iter().map(|value| pixel(*value)).collect();
        assert_eq!(whole_values, [0, 2, 4, 6, 8, 10]);
        assert_eq!(plain.decimals, 0);
        for (low, high) in [(-0.031, 0.084), (-5.0, 1234.5), (0.0, 1e-7), (0.012, 0.018)] {
            for most in 1..=9 {
                let marks = ticks(low, high, most);
                assert!(marks.values.len() <= most + 1, "{marks:?}");
                assert!(
                    marks
                        .values
                        .iter()
                        .all(|mark| { *mark >= low - marks.step * 1e-6 && *mark <= high + marks.step * 1e-6 }),
                    "{marks:?}"
                );
            }
        }
    }

    #[test]
    fn decimals_tell_ticks_apart() {
        assert_eq!(ticks(0.0, 0.5, 5).decimals, 1);
        assert_eq!(ticks(0.0, 0.1, 5).decimals, 2);
        assert_eq!(ticks(0.0, 5000.0, 5).decimals, 0);
    }

    #[test]
    fn a_scale_keeps_values_on_the_axis() {
        let scale = Scale::new((0.0, 10.0), (100.0, 200.0));
        assert_eq!(pixel(scale.at(5.0)), 150);
        assert_eq!(pixel(scale.at(-1e300)), 100);
        assert_eq!(pixel(scale.at(f64::INFINITY)), 200);
        assert_eq!(pixel(scale.length(1.0)), 10);
    }

    #[test]
    fn casts_never_overflow() {
        assert_eq!(pixel(f64::NAN), 0);
        assert_eq!(pixel(f64::INFINITY), 1_000_000);
        assert_eq!(whole(-3.0), 0);
        assert_eq!(whole(f64::NAN), 0);
        assert_eq!(whole(2.9), 2);
    }

    #[test]
    fn one_wide_interval_does_not_set_the_reach() {
        let reached = reach(vec![1.0, 1.0, 1.0, 500.0]);
        assert!((reached - 4.0).abs() < 1e-12);
        assert!(reach(Vec::new()).is_infinite());
    }
}
