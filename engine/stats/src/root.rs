//! Roots that are always found.
//!
//! Enters: a function or a yes/no question, and two points that lie on either side of the answer. Leaves: the point
//! where the answer changes, to the last few bits. Neither search can fail or leave its bracket.
//!
//! Chandrupatla (1997), "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function
//! without using derivatives", Advances in Engineering Software 28(3).

/// Steps after which a search gives up refining: bisection alone needs about 60, more only for roots near zero.
const MOST_STEPS: u32 = 400;

/// The root of `function` between two points where its sign differs. When the sign does not differ, the end where the
/// function is nearer to zero.
pub(crate) fn find_root(function: impl Fn(f64) -> f64, first: f64, second: f64) -> f64 {
    let (mut latest, mut opposite) = (second, first);
    let (mut value_latest, mut value_opposite) = (function(latest), function(opposite));
    if value_latest == 0.0 {
        return latest;
    }
    if value_opposite == 0.0 {
        return opposite;
    }
    if (value_latest > 0.0) == (value_opposite > 0.0) {
        return if value_latest.abs() < value_opposite.abs() { latest } else { opposite };
    }
    let mut step = 0.5;
    for _ in 0..MOST_STEPS {
        let middle = latest + step * (opposite - latest);
        let value_middle = function(middle);
        if value_middle == 0.0 {
            return middle;
        }
        let (previous, value_previous) = if (value_middle > 0.0) == (value_latest > 0.0) {
            (latest, value_latest)
        } else {
            let replaced = (opposite, value_opposite);
            opposite = latest;
            value_opposite = value_latest;
            replaced
        };
        latest = middle;
        value_latest = value_middle;

        let width = (opposite - latest).abs();
        let best = if value_latest.abs() < value_opposite.abs() { latest } else { opposite };
        let tolerance = 2.0 * f64::EPSILON * best.abs() + f64::MIN_POSITIVE;
        if width <= 2.0 * tolerance {
            break;
        }
        step = interpolated_step((latest, value_latest), (opposite, value_opposite), (previous, value_previous))
            .unwrap_or(0.5);
        let least = tolerance / width;
        step = step.max(least).min(1.0 - least);
    }
    if value_latest.abs() < value_opposite.abs() { latest } else { opposite }
}

/// Inverse quadratic interpolation through three `(point, value)` pairs, as a share of the way from `latest` to
/// `opposite`; none where Chandrupatla's criterion says that halving is safer.
fn interpolated_step(latest: (f64, f64), opposite: (f64, f64), previous: (f64, f64)) -> Option<f64> {
    let (point_latest, value_latest) = latest;
    let (point_opposite, value_opposite) = opposite;
    let (point_previous, value_previous) = previous;
    let position = (point_latest - point_opposite) / (point_previous - point_opposite);
    let height = (value_latest - value_opposite) / (value_previous - value_opposite);
    // Written so that a NaN answers no.
    let smooth = (0.0..=1.0).contains(&position) && height > 1.0 - (1.0 - position).sqrt() && height < position.sqrt();
    if !smooth {
        return None;
    }
    let own = value_latest / (value_opposite - value_latest) * value_previous / (value_opposite - value_previous);
    let other = (point_previous - point_latest) / (point_opposite - point_latest) * value_latest
        / (value_previous - value_latest)
        * value_opposite
        / (value_previous - value_opposite);
    let step = own + other;
    step.is_finite().then_some(step)
}

/// Walks from `inside`, where `is_inside` holds, towards `outside`, where it does not, and returns the last point found
/// to hold: the answer is never past the boundary, so a limit set by it cannot contradict the question.
///
/// Neither end is asked about; each stands on the caller's word.
pub(crate) fn last_inside(outside: f64, inside: f64, is_inside: impl Fn(f64) -> bool) -> f64 {
    let (mut outside, mut inside) = (outside, inside);
    for _ in 0..MOST_STEPS {
        if (inside - outside).abs() <= 2.0 * f64::EPSILON * inside.abs() {
            break;
        }
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
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn finds_smooth_and_flat_roots() {
        assert_close(find_root(|x| x * x - 2.0, 0.0, 2.0), 2.0_f64.sqrt(), 1e-15);
        assert_close(find_root(|x| x * x - 2.0, 2.0, 0.0), 2.0_f64.sqrt(), 1e-15);
        assert_close(find_root(|x| (x - 1.0).powi(3), 0.0, 3.0), 1.0, 1e-5);
        assert_close(find_root(|x| x - 1e-12, 0.0, 1.0), 1e-12, 1e-12);
    }

    #[test]
    fn survives_infinite_values_and_a_missing_root() {
        let root = find_root(|x| if x < 0.3 { f64::NEG_INFINITY } else { 1.0 }, 0.0, 1.0);
        assert_close(root, 0.3, 1e-12);
        assert_close(find_root(|x| x + 1.0, 0.0, 1.0), 0.0, 0.0);
    }

    #[test]
    fn stays_on_the_inner_side() {
        let limit = last_inside(0.0, 1.0, |x| x > 0.25);
        assert!(limit > 0.25);
        assert_close(limit, 0.25, 1e-14);
        let tiny = last_inside(0.0, 1.0, |x| x >= 1e-30);
        assert_close(tiny, 1e-30, 1e-12);
    }
}
