//! The slots' effects, with everything unknown about their spread averaged over.
//!
//! Enters: pooled contrasts for several τ, and the slots' places in the week. Leaves: the posterior of the effects
//! under given spreads, the weights of a grid of spreads by their marginal likelihood, and draws from the mixture.
//!
//! Effects are f = σ L z with z standard normal and L Lᵀ the correlations of the slots, so that σ = 0, no effect of the
//! hour at all, is a point of the grid like any other. With A and h the information and the score,
//!
//! ```text
//! B = I + D Lᵀ A L D,     E z = B⁻¹ D Lᵀ h,     log evidence = −½ log |B| + ½ hᵀ L D B⁻¹ D Lᵀ h
//! ```
//!
//! where D holds the standard deviations. Empirical Bayes in the sense of Morris (1983), with the spreads integrated
//! over instead of plugged in: intervals allow for their not being known.

use super::matrix::{Matrix, Triangle, dot};
use super::pooling::Pooled;
use super::random::standard_normal;
use super::slots::{SlotSimilarity, WindowSlot};
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// Standard deviations σ of slot effects that are weighed, on the log-odds scale or as shares of the mean amount.
const SLOT_DEVIATIONS: [f64; 9] = [0.0, 0.01, 0.02, 0.04, 0.08, 0.14, 0.22, 0.35, 0.6];
/// Standard deviations τ of a slot's effect between campaigns that are weighed.
pub(super) const CAMPAIGN_DEVIATIONS: [f64; 7] = [0.0, 0.03, 0.07, 0.12, 0.2, 0.35, 0.6];
/// Chance beforehand that the hour makes no difference at all. Small, and the rest of the prior flat near zero: more
/// would make intervals too short where there is an effect and little data.
const CHANCE_OF_NO_EFFECT: f64 = 0.05;
/// Scales of the half-Cauchy priors of σ and τ (Gelman 2006, Bayesian Analysis 1(3)), which are flat below: wider for
/// τ, since a handful of campaigns hardly tell it and too small a τ makes intervals too short.
const SLOT_SCALE: f64 = 0.15;
const CAMPAIGN_SCALE: f64 = 0.3;
/// Standard deviation beforehand of the effect of a holiday, an eve or a region.
const FACTOR_DEVIATION: f64 = 1.0;
/// Points of the grid with less than this weight beside the greatest are left out.
const LEAST_WEIGHT: f64 = 1e-4;

/// How far effects spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// What makes slots alike.
    pub similarity: SlotSimilarity,
    /// σ: standard deviation of the slots' effects, on the log-odds scale or as a share of the mean amount.
    pub slots: f64,
    /// τ: standard deviation of a slot's effect between campaigns, on the same scale.
    pub campaigns: f64,
}

/// Information and score of standard normal coefficients, each still to be multiplied by its standard deviation.
#[derive(Debug, Clone)]
pub(super) struct Standardised {
    pub(super) information: Matrix,
    pub(super) score: Vec<f64>,
}

/// The posterior of standard normal coefficients.
#[derive(Debug, Clone)]
pub(super) struct Gaussian {
    pub(super) mean: Vec<f64>,
    /// Of the precision.
    pub(super) factor: Triangle,
    pub(super) log_evidence: f64,
}

impl Standardised {
    /// Slots by their correlations' factor; all other columns as they are.
    pub(super) fn new(information: &Matrix, score: &[f64], correlations: &Triangle) -> Self {
        let slots = correlations.matrix().rows();
        let size = score.len();
        let lower = correlations.matrix();
        let root = Matrix::from_function(size, size, |row, column| {
            if row < slots && column < slots { lower.at(row, column) } else { f64::from(u8::from(row == column)) }
        });
        let information = root.transposed().times(&information.times(&root));
        Self { information, score: root.transposed_times_vector(score) }
    }

    /// The posterior under given standard deviations, one a coefficient. None where rounding makes a precision of what
    /// is none.
    pub(super) fn given(&self, deviations: &[f64]) -> Option<Gaussian> {
        let size = deviations.len();
        let precision = Matrix::from_function(size, size, |row, column| {
            let own = f64::from(u8::from(row == column));
            own + deviations[row] * deviations[column] * self.information.at(row, column)
        });
        let factor = precision.cholesky()?;
        let score: Vec<f64> = self.score.iter().zip(deviations).map(|(score, deviation)| score * deviation).collect();
        let half = factor.forward(&score);
        let log_evidence = 0.5 * dot(&half, &half) - factor.log_determinant();
        let mean = factor.backward(half);
        let usable = log_evidence.is_finite() && mean.iter().all(|value| value.is_finite());
        usable.then_some(Gaussian { mean, factor, log_evidence })
    }
}

impl Gaussian {
    /// One draw of the coefficients.
    pub(super) fn draw(&self, seed: u64, stream: u64, draw: u64) -> Vec<f64> {
        let noise = (0..self.mean.len() as u64).map(|place| standard_normal([seed, stream, draw], place)).collect();
        self.factor.backward(noise).iter().zip(&self.mean).map(|(noise, mean)| noise + mean).collect()
    }
}

/// One point of the grid of spreads, with its posterior.
#[derive(Debug, Clone)]
struct Point {
    spread: Spread,
    correlations: usize,
    weight: f64,
    gaussian: Gaussian,
}

/// The posterior of slots and factors, over the grid of spreads.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    points: Vec<Point>,
    factors: Vec<Triangle>,
    slots: usize,
}

/// Prior shares of the points of a grid in rising order: the density times the stretch that is nearest to the point.
fn half_cauchy(grid: &[f64], scale: f64) -> Vec<f64> {
    let weights: Vec<f64> = (0..grid.len())
        .map(|place| {
            let below = if place == 0 { 0.0 } else { f64::midpoint(grid[place - 1], grid[place]) };
            let above = grid.get(place + 1).map_or(grid[place], |&next| f64::midpoint(grid[place], next));
            (above - below) / (1.0 + (grid[place] / scale).powi(2))
        })
        .collect();
    let total: f64 = weights.iter().sum();
    if total > 0.0 { weights.iter().map(|weight| weight / total).collect() } else { vec![1.0; grid.len()] }
}

/// The factor of the correlations of slots; none for correlations that are none.
pub(super) fn correlation_factor(similarity: SlotSimilarity, slots: &[WindowSlot]) -> Option<Triangle> {
    similarity.correlations(slots).cholesky()
}

/// Standard deviations of slots and of the other columns.
pub(super) fn column_deviations(slot_deviation: f64, slots: usize, columns: usize) -> Vec<f64> {
    (0..columns).map(|column| if column < slots { slot_deviation } else { FACTOR_DEVIATION }).collect()
}

impl Mixture {
    /// Weighs every point of the grid. `pooled` holds the contrasts for each of `taus`.
    pub(super) fn new(slots: &[WindowSlot], taus: &[f64], pooled: &[Pooled]) -> Self {
        let mut mixture = Self { points: Vec::new(), factors: Vec::new(), slots: slots.len() };
        let candidates = SlotSimilarity::CANDIDATES;
        for similarity in candidates {
            let Some(factor) = correlation_factor(similarity, slots) else { continue };
            let first = mixture.factors.is_empty();
            for ((&tau, tau_prior), contrasts) in taus.iter().zip(half_cauchy(taus, CAMPAIGN_SCALE)).zip(pooled) {
                let standardised = Standardised::new(&contrasts.information, &contrasts.score, &factor);
                for (deviation, prior) in SLOT_DEVIATIONS.into_iter().zip(half_cauchy(&SLOT_DEVIATIONS, SLOT_SCALE)) {
                    // Without an effect, what makes slots alike does not matter.
                    if deviation == 0.0 && !first {
                        continue;
                    }
                    let effect = (1.0 - CHANCE_OF_NO_EFFECT) * prior / length(candidates.len());
                    let prior = tau_prior * if deviation == 0.0 { CHANCE_OF_NO_EFFECT } else { effect };
                    let deviations = column_deviations(deviation, slots.len(), contrasts.score.len());
                    let Some(gaussian) = standardised.given(&deviations) else { continue };
                    let weight = prior.ln() + contrasts.log_constant + gaussian.log_evidence;
                    let spread = Spread { similarity, slots: deviation, campaigns: tau };
                    mixture.points.push(Point { spread, correlations: mixture.factors.len(), weight, gaussian });
                }
            }
            mixture.factors.push(factor);
        }
        mixture.normalise();
        mixture
    }

    /// From logarithms to shares.
    fn normalise(&mut self) {
        let greatest = self.points.iter().map(|point| point.weight).fold(f64::NEG_INFINITY, f64::max);
        for point in &mut self.points {
            point.weight = (point.weight - greatest).exp();
        }
        self.points.retain(|point| point.weight >= LEAST_WEIGHT);
        let total: f64 = self.points.iter().map(|point| point.weight).sum();
        for point in &mut self.points {
            point.weight /= total;
        }
    }

    /// The posterior mean of every column.
    pub(super) fn mean(&self, columns: usize) -> Vec<f64> {
        let mut mean = vec![0.0; columns];
        for point in &self.points {
            let effects = self.effects(point, &point.gaussian.mean);
            for (total, effect) in mean.iter_mut().zip(effects) {
                *total += point.weight * effect;
            }
        }
        mean
    }

    /// Root mean square over the posterior of a spread.
    pub(super) fn deviation(&self, of: impl Fn(&Spread) -> f64) -> f64 {
        self.points.iter().map(|point| point.weight * of(&point.spread).powi(2)).sum::<f64>().sqrt()
    }

    /// The average similarity over the posterior; the first candidate where no slot has an effect.
    pub(super) fn similarity(&self) -> SlotSimilarity {
        let with_effect = || self.points.iter().filter(|point| point.spread.slots > 0.0);
        let total: f64 = with_effect().map(|point| point.weight).sum();
        if total <= 0.0 {
            return SlotSimilarity::CANDIDATES[0];
        }
        let average = |of: fn(&SlotSimilarity) -> f64| {
            with_effect().map(|point| point.weight * of(&point.spread.similarity)).sum::<f64>() / total
        };
        SlotSimilarity {
            day: average(|similarity| similarity.day),
            hour: average(|similarity| similarity.hour),
            week: average(|similarity| similarity.week),
            own: average(|similarity| similarity.own),
        }
    }

    /// Draws of every column, and the τ that each was drawn under. Points take turns by their weight, so that each has
    /// its share of the draws to the nearest one.
    pub(super) fn draws(&self, draws: usize, seed: u64, stream: u64) -> Vec<(Vec<f64>, f64)> {
        let mut place = 0;
        let mut so_far = self.points.first().map_or(0.0, |point| point.weight);
        (0..draws)
            .filter_map(|draw| {
                let share = (length(draw) + 0.5) / length(draws);
                while share > so_far && place + 1 < self.points.len() {
                    place += 1;
                    so_far += self.points[place].weight;
                }
                let point = self.points.get(place)?;
                let coefficients = point.gaussian.draw(seed, stream, draw as u64);
                Some((self.effects(point, &coefficients), point.spread.campaigns))
            })
            .collect()
    }

    /// Columns' effects from standard normal coefficients.
    fn effects(&self, point: &Point, coefficients: &[f64]) -> Vec<f64> {
        let deviations = column_deviations(point.spread.slots, self.slots, coefficients.len());
        unstandardised(coefficients, &deviations, &self.factors[point.correlations])
    }
}

/// Effects of columns from their standard normal coefficients.
pub(super) fn unstandardised(coefficients: &[f64], deviations: &[f64], correlations: &Triangle) -> Vec<f64> {
    let slots = correlations.matrix().rows();
    let mut effects: Vec<f64> =
        coefficients.iter().zip(deviations).map(|(value, deviation)| value * deviation).collect();
    let of_slots = correlations.matrix().times_vector(&effects[..slots]);
    effects[..slots].copy_from_slice(&of_slots);
    effects
}
