//! The recursion behind group-sequential boundaries.
//!
//! Enters: looks at shares of the planned information, a symmetric boundary at each, and a drift (the expected z at the
//! full information). Leaves: the probability of crossing at each look.
//!
//! The standardised statistic of a growing sample is a Gaussian random walk with independent increments. Armitage,
//! `McPherson` and Rowe (1969), Journal of the Royal Statistical Society A 132, carry its density inside the boundaries
//! from look to look; the grid and Simpson's weights are those of Jennison and Turnbull (2000), "Group Sequential
//! Methods with Applications to Clinical Trials", section 19.2: points close together within three standard deviations
//! of the mean and further and further apart beyond. The grid is refined where looks follow closely, so that
//! probabilities are right to about 1e-7.

use crate::distribution::normal;
use std::f64::consts::TAU;

/// Refinement of the grid: Jennison and Turnbull use 16 for six digits.
const FEWEST_STEPS: f64 = 24.0;
/// The finest grid: for looks that differ by a ten-thousandth of the information.
const MOST_STEPS: f64 = 400.0;
/// Grid steps a standard deviation of the narrowest increment needs.
const STEPS_PER_DEVIATION: f64 = 4.0;

/// What is still inside the boundaries after the looks so far.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    drift: f64,
    /// Share of the information at the latest look; zero before the first.
    fraction: f64,
    /// Points of the score z √fraction, and the probability mass at each.
    masses: Vec<(f64, f64)>,
}

impl Walk {
    pub(super) fn new(drift: f64) -> Self {
        Self { drift, fraction: 0.0, masses: vec![(0.0, 1.0)] }
    }

    /// Probability of still being inside before the look at `fraction`, and of a z of at least `bound` there.
    pub(super) fn above(&self, fraction: f64, bound: f64) -> f64 {
        let (mean_step, deviation) = self.increment(fraction);
        let score = bound * fraction.sqrt() - mean_step;
        self.masses.iter().map(|&(point, mass)| mass * normal::upper_tail((score - point) / deviation)).sum()
    }

    /// Probability of still being inside before the look at `fraction`, and of a z of at most −`bound` there.
    pub(super) fn below(&self, fraction: f64, bound: f64) -> f64 {
        let (mean_step, deviation) = self.increment(fraction);
        let score = -bound * fraction.sqrt() - mean_step;
        self.masses.iter().map(|&(point, mass)| mass * normal::upper_tail((point - score) / deviation)).sum()
    }

    /// Mean and standard deviation of the score's step to `fraction`.
    fn increment(&self, fraction: f64) -> (f64, f64) {
        let step = fraction - self.fraction;
        (self.drift * step, step.sqrt())
    }

    /// Moves past the look at `fraction` with |z| below `bound`; `next` is the fraction of the look after it.
    pub(super) fn advance(&mut self, fraction: f64, bound: f64, next: f64) {
        let (mean_step, deviation) = self.increment(fraction);
        let root = fraction.sqrt();
        let narrowest = ((fraction - self.fraction) / fraction).min((next - fraction) / fraction);
        let steps = (STEPS_PER_DEVIATION / narrowest.sqrt()).clamp(FEWEST_STEPS, MOST_STEPS).ceil();
        let scale = root / deviation / TAU.sqrt();
        let moved = grid(steps, self.drift * root, bound)
            .into_iter()
            .map(|(z, weight)| {
                let score = z * root;
                let density: f64 = self
                    .masses
                    .iter()
                    .map(|&(point, mass)| {
                        let distance = (score - point - mean_step) / deviation;
                        mass * (-0.5 * distance * distance).exp()
                    })
                    .sum();
                (score, density * scale * weight)
            })
            .collect();
        self.masses = moved;
        self.fraction = fraction;
    }
}

/// Points of z within ±`bound`, and Simpson's weight of each, refined around `centre`; empty when the whole grid lies
/// outside.
fn grid(steps: f64, centre: f64, bound: f64) -> Vec<(f64, f64)> {
    let edges = edges(steps, centre, bound);
    let mut nodes: Vec<(f64, f64)> = edges.first().map(|&first| (first, 0.0)).into_iter().collect();
    for (&left, &right) in edges.iter().zip(edges.iter().skip(1)) {
        let sixth = (right - left) / 6.0;
        if let Some(last) = nodes.last_mut() {
            last.1 += sixth;
        }
        nodes.push((f64::midpoint(left, right), 4.0 * sixth));
        nodes.push((right, sixth));
    }
    nodes
}

/// Ends of the intervals that Simpson's rule is applied to, ascending.
fn edges(steps: f64, centre: f64, bound: f64) -> Vec<f64> {
    let far = 3.0 + 4.0 * steps.ln();
    let (first, last) = (centre - far, centre + far);
    let mut edges = Vec::new();
    if first <= -bound && -bound <= last {
        edges.push(-bound);
    }
    let mut index = 1.0;
    while index < 6.0 * steps {
        let distance = if index < steps {
            -3.0 - 4.0 * (steps / index).ln()
        } else if index <= 5.0 * steps {
            -3.0 + 1.5 * (index - steps) / steps
        } else {
            3.0 + 4.0 * (steps / (6.0 * steps - index)).ln()
        };
        let point = centre + distance;
        if -bound < point && point < bound {
            edges.push(point);
        }
        index += 1.0;
    }
    if first <= bound && bound <= last {
        edges.push(bound);
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn one_look_is_the_normal_distribution() {
        let walk = Walk::new(1.0);
        assert_close(walk.above(1.0, 1.5), normal::upper_tail(0.5), 1e-12);
        assert_close(walk.below(1.0, 1.5), normal::upper_tail(2.5), 1e-12);
        assert_close(walk.above(0.25, 1.5), normal::upper_tail(1.0), 1e-12);
    }

    #[test]
    fn nothing_is_lost_between_looks() {
        for drift in [0.0, 2.0, -3.0] {
            for middle in [0.1, 0.5, 0.97] {
                let mut walk = Walk::new(drift);
                walk.advance(middle, f64::INFINITY, 1.0);
                // Without a boundary on the way the last look is as if it were the only one.
                assert_close(walk.above(1.0, 1.0), normal::upper_tail(1.0 - drift), 5e-6);
                let inside = Walk::new(drift);
                let mut bounded = Walk::new(drift);
                bounded.advance(middle, 1.5, 1.0);
                let crossed = inside.above(middle, 1.5) + inside.below(middle, 1.5);
                let later = bounded.above(1.0, 0.0) + bounded.below(1.0, 0.0);
                assert_close(crossed + later, 1.0, 1e-6);
            }
        }
    }

    #[test]
    fn a_walk_that_left_has_no_mass() {
        let mut walk = Walk::new(200.0);
        walk.advance(0.5, 2.0, 1.0);
        assert!(walk.above(1.0, 2.0) < 1e-12);
    }
}
