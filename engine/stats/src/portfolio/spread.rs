//! Where true effects lie and how far they spread, with the spread's own uncertainty carried along.
//!
//! Enters: effects with their variances, four or more. Leaves: the posterior of the spread τ as places with weights,
//! and for any sum of effects its posterior as a mixture of normals over those places.
//!
//! Effects are normal(μ, τ²), flat priors on μ and on τ itself (Gelman 2006, "Prior distributions for variance
//! parameters in hierarchical models", Bayesian Analysis 1(3); proper from three effects on). Given τ all is normal and
//! closed; over τ it is integrated by Gauss and Legendre's rule in u = τ / (τ + scale), on the stretch of (0, 1) where
//! the posterior is not negligible. A single best τ in its place, zero more often than not when there are few
//! experiments, makes intervals too short and winners too sure.

use crate::distribution::normal;
use crate::heterogeneity::{Heterogeneity, SegmentEffect};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use crate::quadrature::{NODES, Panel, running_weights};
use crate::root::find_root;

/// Cells of the search for the stretch that matters.
const COARSE: usize = 400;
/// Panels of ten nodes on the stretch.
const PANELS: usize = 24;
/// Log densities this far below the highest are left out: a part in 10^13.
const NEGLIGIBLE: f64 = 30.0;

/// A possible spread, how likely it is, and what follows from it.
#[derive(Debug, Clone, Copy)]
struct Place {
    tau_squared: f64,
    weight: f64,
    mean: f64,
    mean_variance: f64,
}

/// A mixture of normals, each with its weight.
#[derive(Debug, Clone)]
pub(super) struct Mixture(Vec<(f64, f64, f64)>);

impl Mixture {
    pub(super) fn mean(&self) -> f64 {
        self.0.iter().map(|(weight, mean, _)| weight * mean).sum()
    }

    pub(super) fn variance(&self) -> f64 {
        let centre = self.mean();
        self.0.iter().map(|(weight, mean, variance)| weight * (variance + (mean - centre).powi(2))).sum()
    }

    /// Probability, 0 to 1, above `threshold`.
    pub(super) fn chance_above(&self, threshold: f64) -> f64 {
        let chance = |(weight, mean, variance): &(f64, f64, f64)| {
            weight * normal::lower_tail((mean - threshold) / variance.sqrt())
        };
        self.0.iter().map(chance).sum::<f64>().clamp(0.0, 1.0)
    }

    /// The median with the interval of equal tails at confidence 1 − `alpha`, for what may have no variance.
    pub(super) fn quantiles(&self, alpha: f64) -> Estimate {
        let centre = self.mean();
        let reach = self.0.iter().map(|(_, mean, variance)| (mean - centre).abs() + 40.0 * variance.sqrt());
        let reach = reach.fold(0.0, f64::max);
        let quantile =
            |above: f64| find_root(|threshold| self.chance_above(threshold) - above, centre - reach, centre + reach);
        Estimate::new(quantile(0.5), Interval::from_ends(quantile(1.0 - alpha / 2.0), quantile(alpha / 2.0)))
    }

    /// The mean with a normal interval of the mixture's standard deviation at confidence 1 − `alpha`.
    pub(super) fn estimate(&self, alpha: f64) -> Estimate {
        let half_width = normal::critical_value(alpha) * self.variance().sqrt();
        Estimate::new(self.mean(), Interval::from_ends(self.mean() - half_width, self.mean() + half_width))
    }
}

/// The posterior of the spread.
#[derive(Debug, Clone)]
pub(super) struct Spread<'a> {
    effects: &'a [SegmentEffect],
    places: Vec<Place>,
    /// (τ, probability of no more) in rising order.
    running: Vec<(f64, f64)>,
}

impl<'a> Spread<'a> {
    /// The posterior, or none with fewer than four effects.
    pub(super) fn new(effects: &'a [SegmentEffect], heterogeneity: &Heterogeneity) -> Option<Self> {
        if effects.len() < 4 {
            return None;
        }
        // Typical noise and the plain estimate of τ: the posterior lies around their size.
        let typical_variance = length(effects.len()) * heterogeneity.fixed_variance;
        let scale = (typical_variance + heterogeneity.tau_squared).sqrt();
        let log_density = |u: f64| {
            let tau = scale * u / (1.0 - u);
            log_likelihood(effects, tau * tau).0 - 2.0 * (1.0 - u).ln()
        };
        let (low, high) = stretch(&log_density);
        let width = (high - low) / length(PANELS);
        let panels: Vec<Panel> = (0..PANELS)
            .map(|index| Panel { low: low + width * length(index), high: low + width * length(index + 1) })
            .collect();
        let nodes: Vec<f64> = panels.iter().flat_map(|panel| panel.places()).collect();
        let logs: Vec<f64> = nodes.iter().map(|&u| log_density(u)).collect();
        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let densities: Vec<f64> = logs.iter().map(|log| (log - highest).exp()).collect();
        let weights: Vec<f64> = panels
            .iter()
            .flat_map(|panel| panel.weights())
            .zip(&densities)
            .map(|(weight, density)| weight * density)
            .collect();
        let total: f64 = weights.iter().sum();
        let places = nodes
            .iter()
            .zip(&weights)
            .map(|(u, weight)| {
                let tau = scale * u / (1.0 - u);
                let (_, mean, mean_variance) = log_likelihood(effects, tau * tau);
                Place { tau_squared: tau * tau, weight: weight / total, mean, mean_variance }
            })
            .collect();
        let mut running = vec![(scale * low / (1.0 - low), 0.0)];
        let mut before = 0.0;
        for (index, panel) in panels.iter().enumerate() {
            let own = &densities[index * NODES..(index + 1) * NODES];
            for (row, u) in running_weights().iter().zip(panel.places()) {
                let part: f64 = row.iter().zip(own).map(|(weight, density)| weight * density).sum();
                running.push((scale * u / (1.0 - u), (before + part * panel.half_width()) / total));
            }
            before += weights[index * NODES..(index + 1) * NODES].iter().sum::<f64>();
        }
        Some(Self { effects, places, running })
    }

    /// The common mean.
    pub(super) fn mean(&self) -> Mixture {
        Mixture(self.places.iter().map(|place| (place.weight, place.mean, place.mean_variance)).collect())
    }

    /// The sum of the effects at `indices`: the noise of each is its own, the error of the mean is shared by all.
    pub(super) fn sum(&self, indices: &[usize]) -> Mixture {
        let part = |place: &Place| {
            let (mut mean, mut own, mut drawn) = (0.0, 0.0, 0.0);
            for &index in indices {
                let effect = self.effects[index];
                let drawn_in = effect.variance / (effect.variance + place.tau_squared);
                mean += place.mean + (1.0 - drawn_in) * (effect.estimate - place.mean);
                own += effect.variance * (1.0 - drawn_in);
                drawn += drawn_in;
            }
            (place.weight, mean, own + drawn * drawn * place.mean_variance)
        };
        Mixture(self.places.iter().map(part).collect())
    }

    /// The median of τ with the credible interval of equal tails, right to some four digits.
    pub(super) fn spread(&self, alpha: f64) -> Estimate {
        let ends = Interval::from_ends(self.quantile(alpha / 2.0), self.quantile(1.0 - alpha / 2.0));
        Estimate::new(self.quantile(0.5), ends)
    }

    fn quantile(&self, probability: f64) -> f64 {
        let after = self.running.partition_point(|(_, below)| *below < probability);
        let (Some(&(high, above)), Some(&(low, below))) =
            (self.running.get(after), self.running.get(after.saturating_sub(1)))
        else {
            return self.running.last().map_or(0.0, |(tau, _)| *tau);
        };
        let share = if above > below { (probability - below) / (above - below) } else { 1.0 };
        low + (high - low) * share.clamp(0.0, 1.0)
    }
}

/// The log likelihood of τ² with μ integrated out, and the mean of μ given τ² with its variance.
fn log_likelihood(effects: &[SegmentEffect], tau_squared: f64) -> (f64, f64, f64) {
    let (mut weights, mut mean, mut squares, mut logs) = (0.0, 0.0, 0.0, 0.0);
    for effect in effects {
        let variance = effect.variance + tau_squared;
        let weight = 1.0 / variance;
        let before = weights;
        weights += weight;
        let distance = effect.estimate - mean;
        mean += distance * (weight / weights);
        // The sum of weighted squares around the mean, updated as the mean moves.
        squares += before * (weight / weights) * distance * distance;
        logs += variance.ln();
    }
    (-0.5 * (logs + squares + weights.ln()), mean, 1.0 / weights)
}

/// The part of (0, 1) where a density is not negligible, closed in on three times.
fn stretch(log_density: &impl Fn(f64) -> f64) -> (f64, f64) {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..3 {
        let width = (high - low) / length(COARSE);
        let logs: Vec<f64> = (0..COARSE).map(|cell| log_density(low + width * (length(cell) + 0.5))).collect();
        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let matters = |log: &f64| *log > highest - NEGLIGIBLE;
        let first = logs.iter().position(matters).unwrap_or(0);
        let last = logs.iter().rposition(matters).unwrap_or(COARSE - 1);
        let start = low;
        low = start + width * length(first.saturating_sub(1));
        high = start + width * length((last + 2).min(COARSE));
    }
    (low, high)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::heterogeneity::heterogeneity;
    use crate::numeric::assert_close;

    fn effects(pairs: &[(f64, f64)]) -> Vec<SegmentEffect> {
        pairs.iter().map(|&(estimate, error)| SegmentEffect { estimate, variance: error * error }).collect()
    }

    #[test]
    fn the_eight_schools_are_those_of_the_textbook() {
        // tests/oracle/portfolio.py, 6,001 places of ln τ; textbooks, by simulation, print a mean of some 11 for school
        // A and some 6 for school C.
        let schools = effects(&[
            (28.0, 15.0),
            (8.0, 10.0),
            (-3.0, 16.0),
            (7.0, 11.0),
            (-1.0, 9.0),
            (1.0, 11.0),
            (18.0, 10.0),
            (12.0, 18.0),
        ]);
        let spread = Spread::new(&schools, &heterogeneity(&schools).unwrap()).unwrap();
        for (index, mean, deviation) in [(0, 11.400261432, 8.3414165928), (2, 6.1307466218, 7.7651674)] {
            let effect = spread.sum(&[index]);
            assert_close(effect.mean(), mean, 1e-6);
            assert_close(effect.variance().sqrt(), deviation, 1e-6);
        }
        let mean = spread.mean().quantiles(0.05);
        assert_close(mean.estimate.unwrap(), 7.891700283746533, 1e-5);
        assert_close(mean.low.unwrap(), -2.0902206449395977, 1e-5);
        assert_close(mean.high.unwrap(), 18.218143413432255, 1e-5);
        let tau = spread.spread(0.05);
        assert_close(tau.estimate.unwrap(), 5.238515931732792, 1e-4);
        assert_close(tau.low.unwrap(), 0.2426970493875764, 1e-4);
        assert_close(tau.high.unwrap(), 20.752814906794818, 1e-4);
    }

    #[test]
    fn weights_are_a_distribution() {
        let many: Vec<(f64, f64)> = (0..2_000_u32).map(|place| (f64::from(place % 7) - 3.0, 0.5)).collect();
        for list in [vec![(0.0, 1.0); 4], vec![(0.0, 1e-6), (1e6, 1.0), (5.0, 2.0), (3.0, 1e6)], many] {
            let list = effects(&list);
            let spread = Spread::new(&list, &heterogeneity(&list).unwrap()).unwrap();
            assert_close(spread.places.iter().map(|place| place.weight).sum(), 1.0, 1e-12);
            assert_close(spread.running.last().unwrap().1, 1.0, 1e-3);
            assert!(spread.running.windows(2).all(|pair| pair[0].1 <= pair[1].1 + 1e-12));
            let tau = spread.spread(0.05);
            assert!(tau.low <= tau.estimate && tau.estimate <= tau.high, "{tau:?}");
        }
        assert!(Spread::new(&effects(&[(0.0, 1.0); 3]), &heterogeneity(&effects(&[(0.0, 1.0); 3])).unwrap()).is_none());
    }
}
