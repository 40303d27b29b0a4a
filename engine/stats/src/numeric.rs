//! Conversions from counts to floating point, in one place with the reason that they are sound.
//!
//! Enters: a count. Leaves: the nearest `f64`.

/// A count as a float: exact up to 2^53, and beyond it wrong by less than one part in 10^15.
#[allow(clippy::cast_precision_loss, reason = "a rounding of one part in 10^15 is far below sampling error")]
pub(crate) fn count(units: u64) -> f64 {
    units as f64
}

/// A length as a float.
#[allow(clippy::cast_precision_loss, reason = "no list held in memory reaches 2^53 items")]
pub(crate) fn length(items: usize) -> f64 {
    items as f64
}

/// A running sum that loses no more than its last digit, however many values it adds (Neumaier 1974, ZAMM 54).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct CarefulSum {
    total: f64,
    lost: f64,
}

impl CarefulSum {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sum = Self::default();
        values.for_each(|value| sum.add(value));
        sum
    }

    pub(crate) fn add(&mut self, value: f64) {
        let total = self.total + value;
        self.lost +=
            if self.total.abs() >= value.abs() { (self.total - total) + value } else { (value - total) + self.total };
        self.total = total;
    }

    pub(crate) fn value(&self) -> f64 {
        self.total + self.lost
    }
}

/// Fails unless `actual` is within `relative` of `expected` (absolutely where `expected` is zero).
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_close(actual: f64, expected: f64, relative: f64) {
    let scale = if expected == 0.0 { 1.0 } else { expected.abs() };
    let error = (actual - expected).abs() / scale;
    assert!(error <= relative, "{actual} is not {expected}: off by {error:e}, allowed {relative:e}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_careful_sum_loses_nothing() {
        assert_close(CarefulSum::of([1.0, 1e100, 1.0, -1e100].into_iter()).value(), 2.0, 0.0);
        assert_close(CarefulSum::of((0..1_000_000).map(|_| 0.1)).value(), 100_000.0, 1e-15);
    }
}
