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

/// Fails unless `actual` is within `relative` of `expected` (absolutely where `expected` is zero).
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_close(actual: f64, expected: f64, relative: f64) {
    let scale = if expected == 0.0 { 1.0 } else { expected.abs() };
    let error = (actual - expected).abs() / scale;
    assert!(error <= relative, "{actual} is not {expected}: off by {error:e}, allowed {relative:e}");
}
