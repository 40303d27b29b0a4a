//! How far each segment departs from the slots' effects.
//!
//! Enters: working scores of every cell, and the spreads found for all segments together. Leaves: the joint posterior
//! of the slots' effects f and of every segment's departure g.
//!
//! The model is logit p = α + f(slot) + g(segment, slot) + u(campaign, slot) + factors. Each g has a covariance ω² Φ
//! Φᵀ, the leading eigenvectors of the slots' centred correlations, as many as keep the joint system small: departures
//! by day and by hour are among them. Every segment has an ω of its own, zero among its values, so that one segment
//! that departs is not drawn to the many that do not; how often each value occurs is learnt from all segments (an
//! empirical Bayes mixture: Efron 2010, "Large-Scale Inference", chapter 1). A segment's ω is weighed by what all
//! others leave it to explain, the others at their present values, in a few rounds.

use super::joint::JointSystem;
use super::matrix::{Matrix, Triangle, add_multiple, dot};
use super::posterior::{Gaussian, Spread, Standardised, column_deviations, correlation_factor, unstandardised};
use super::random::standard_normal;
use super::slots::WindowSlot;
use super::table::Table;
use super::working::Working;
use crate::numeric::length;

/// Standard deviations ω of a segment's departure that are weighed.
const DEPARTURE_DEVIATIONS: [f64; 6] = [0.0, 0.03, 0.06, 0.12, 0.25, 0.5];
/// How many segments of each ω are counted beforehand: the prior of the mixture.
const COUNTED_BEFOREHAND: [f64; 6] = [1.5, 0.3, 0.3, 0.3, 0.3, 0.3];
/// ω of the first round, and the least that what a segment has to explain is computed with.
const FIRST_DEVIATION: f64 = 0.12;
const LEAST_DEVIATION: f64 = 0.02;
const ROUNDS: usize = 5;
/// Coefficients of all departures together, and those that a segment has at least.
const MOST_COEFFICIENTS: usize = 240;
const FEWEST_COEFFICIENTS: usize = 4;
/// Combinations of the segments' ω that draws are made under, and steps that visit all of them in different orders.
const COMBINATIONS: usize = 20;
const STEPS: [usize; 8] = [1, 3, 7, 9, 11, 13, 17, 19];

/// Streams of random numbers of what the basis leaves out, one a segment, begin so far beyond the draws' own.
const BESIDE_BASIS: u64 = 1 << 32;

type Weights = [f64; DEPARTURE_DEVIATIONS.len()];

/// The joint posterior of slots, factors and departures.
#[derive(Debug, Clone)]
pub(super) struct Departures {
    standardised: Standardised,
    correlations: Triangle,
    basis: Matrix,
    slot_deviation: f64,
    columns: usize,
    /// Standard deviation, for an ω of one, of what the basis leaves out of a departure, by slot.
    beside_basis: Vec<f64>,
    /// By segment, how likely each ω is.
    weights: Vec<Weights>,
}

/// Effects of the columns, and departures by segment and slot.
pub(super) type JointEffects = (Vec<f64>, Vec<Vec<f64>>);

impl Departures {
    /// Weighs every segment's ω under given spreads of slots and campaigns. None where there are fewer than two
    /// segments or slots.
    pub(super) fn new(table: &Table, working: &Working, slots: &[WindowSlot], spread: Spread) -> Option<Self> {
        if table.segments.len() < 2 || table.slots < 2 {
            return None;
        }
        let mut departures = Self::unweighed(table, working, slots, spread)?;
        departures.weigh(table.segments.len())?;
        Some(departures)
    }

    /// The same before any ω is weighed.
    pub(super) fn unweighed(table: &Table, working: &Working, slots: &[WindowSlot], spread: Spread) -> Option<Self> {
        let segments = table.segments.len().max(1);
        let correlations = correlation_factor(spread.similarity, slots)?;
        let most = (MOST_COEFFICIENTS / segments).max(FEWEST_COEFFICIENTS).min(table.slots.saturating_sub(1));
        let correlations_of_departures = centred(&spread.similarity.correlations(slots));
        let basis = correlations_of_departures.leading_root(most);
        let beside = |slot: usize| correlations_of_departures.at(slot, slot) - dot(basis.row(slot), basis.row(slot));
        let system = JointSystem::new(table, working, &basis, spread.campaigns);
        Some(Self {
            standardised: Standardised::new(&system.information, &system.score, &correlations),
            correlations,
            beside_basis: (0..table.slots).map(|slot| beside(slot).max(0.0).sqrt()).collect(),
            basis,
            slot_deviation: spread.slots,
            columns: table.columns,
            weights: Vec::new(),
        })
    }

    fn weigh(&mut self, segments: usize) -> Option<()> {
        let mut shares = COUNTED_BEFOREHAND;
        let mut deviations = vec![FIRST_DEVIATION; segments];
        for _ in 0..ROUNDS {
            let gaussian = self.given(&deviations)?;
            let mut weights = Vec::with_capacity(segments);
            for (segment, &deviation) in deviations.iter().enumerate() {
                weights.push(self.left_to_explain(&gaussian, segment, deviation)?.weigh(&shares));
            }
            shares = COUNTED_BEFOREHAND;
            for own in &weights {
                add_multiple(&mut shares, 1.0, own);
            }
            self.weights = weights;
            deviations = (0..segments).map(|segment| self.deviation(segment).max(LEAST_DEVIATION)).collect();
        }
        Some(())
    }

    /// The posterior where each segment has a given ω.
    pub(super) fn given(&self, deviations: &[f64]) -> Option<Gaussian> {
        self.standardised.given(&self.coefficient_deviations(deviations))
    }

    /// Information and score of a segment's coefficients, all else integrated out: its posterior less its prior.
    fn left_to_explain(&self, gaussian: &Gaussian, segment: usize, deviation: f64) -> Option<Cavity> {
        let width = self.basis.columns();
        let start = self.columns + segment * width;
        let size = gaussian.mean.len();
        let mut root = Matrix::from_function(size, width, |row, column| f64::from(u8::from(row == start + column)));
        gaussian.factor.forward_in_place(&mut root);
        let mut covariance = Matrix::zeros(width, width);
        covariance.add_square(&root);
        covariance.mirror();
        let factor = covariance.cholesky()?;
        let score = factor.backward(factor.forward(&gaussian.mean[start..start + width]));
        let mut half = Matrix::from_function(width, width, |row, column| f64::from(u8::from(row == column)));
        factor.forward_in_place(&mut half);
        let mut information = Matrix::zeros(width, width);
        information.add_square(&half);
        information.mirror();
        let variance = deviation * deviation;
        let information = Matrix::from_function(width, width, |row, column| {
            (information.at(row, column) - f64::from(u8::from(row == column))) / variance
        });
        Some(Cavity { information, score: score.iter().map(|value| value / deviation).collect() })
    }

    /// Standard deviation of every coefficient.
    fn coefficient_deviations(&self, departures: &[f64]) -> Vec<f64> {
        let mut deviations = column_deviations(self.slot_deviation, self.correlations.matrix().rows(), self.columns);
        for &departure in departures {
            deviations.resize(deviations.len() + self.basis.columns(), departure);
        }
        deviations
    }

    /// Effects from standard normal coefficients.
    pub(super) fn effects(&self, coefficients: &[f64], departures: &[f64]) -> JointEffects {
        let deviations = self.coefficient_deviations(departures);
        let columns = unstandardised(&coefficients[..self.columns], &deviations, &self.correlations);
        let width = self.basis.columns();
        let of_segment = |segment: usize| {
            let start = self.columns + segment * width;
            let own: Vec<f64> =
                coefficients[start..start + width].iter().map(|value| value * departures[segment]).collect();
            self.basis.times_vector(&own)
        };
        (columns, (0..departures.len()).map(of_segment).collect())
    }

    /// The posterior mean, over the combinations of ω that draws are made under.
    pub(super) fn mean(&self) -> JointEffects {
        let slots = self.correlations.matrix().rows();
        let mut mean = (vec![0.0; self.columns], vec![vec![0.0; slots]; self.weights.len()]);
        let combinations = self.combinations();
        let share = 1.0 / length(combinations.len().max(1));
        for (deviations, gaussian) in combinations {
            let (columns, departures) = self.effects(&gaussian.mean, &deviations);
            add_multiple(&mut mean.0, share, &columns);
            for (total, departure) in mean.1.iter_mut().zip(&departures) {
                add_multiple(total, share, departure);
            }
        }
        mean
    }

    /// Root mean square of a segment's ω over its posterior.
    fn deviation(&self, segment: usize) -> f64 {
        let squares = self.weights[segment].iter().zip(DEPARTURE_DEVIATIONS);
        squares.map(|(weight, deviation)| weight * deviation * deviation).sum::<f64>().sqrt()
    }

    /// Root mean square of ω over segments.
    pub(super) fn overall_deviation(&self) -> f64 {
        let segments = self.weights.len();
        ((0..segments).map(|segment| self.deviation(segment).powi(2)).sum::<f64>() / length(segments)).sqrt()
    }

    /// Probability that a segment departs at all.
    pub(super) fn chance_of_departure(&self, segment: usize) -> f64 {
        1.0 - self.weights[segment][0]
    }

    /// Combinations of ω that are all as likely: each segment takes its values in their shares, segments in different
    /// orders.
    fn combinations(&self) -> Vec<(Vec<f64>, Gaussian)> {
        (0..COMBINATIONS)
            .filter_map(|combination| {
                let deviations: Vec<f64> = self
                    .weights
                    .iter()
                    .enumerate()
                    .map(|(segment, weights)| {
                        let place = (combination * STEPS[segment % STEPS.len()] + segment * 7) % COMBINATIONS;
                        quantile_of(weights, (length(place) + 0.5) / length(COMBINATIONS))
                    })
                    .collect();
                let gaussian = self.given(&deviations)?;
                Some((deviations, gaussian))
            })
            .collect()
    }

    /// Draws from the joint posterior. What the basis leaves out is drawn as it was believed beforehand: the data were
    /// not asked, and the intervals are wider for it.
    pub(super) fn draws(&self, draws: usize, seed: u64, stream: u64) -> Vec<JointEffects> {
        let combinations = self.combinations();
        if combinations.is_empty() {
            return Vec::new();
        }
        (0..draws)
            .map(|draw| {
                let (deviations, gaussian) = &combinations[draw % combinations.len()];
                let mut effects = self.effects(&gaussian.draw(seed, stream, draw as u64), deviations);
                for (segment, (departure, &deviation)) in effects.1.iter_mut().zip(deviations).enumerate() {
                    let key = [seed, stream + BESIDE_BASIS + segment as u64, draw as u64];
                    for (slot, (effect, &beside)) in departure.iter_mut().zip(&self.beside_basis).enumerate() {
                        if beside * deviation > 0.0 {
                            *effect += beside * deviation * standard_normal(key, slot as u64);
                        }
                    }
                }
                effects
            })
            .collect()
    }
}

/// What is left for the coefficients of one segment to explain.
struct Cavity {
    information: Matrix,
    score: Vec<f64>,
}

impl Cavity {
    /// How likely each ω is, given how often each occurs.
    fn weigh(&self, shares: &Weights) -> Weights {
        let total: f64 = shares.iter().sum();
        let mut weights = [f64::NEG_INFINITY; DEPARTURE_DEVIATIONS.len()];
        for ((weight, deviation), share) in weights.iter_mut().zip(DEPARTURE_DEVIATIONS).zip(shares) {
            if let Some(log_evidence) = self.log_evidence(deviation) {
                *weight = (share / total).ln() + log_evidence;
            }
        }
        let greatest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights = weights.map(|weight| (weight - greatest).exp());
        let total: f64 = weights.iter().sum();
        weights.map(|weight| weight / total)
    }

    fn log_evidence(&self, deviation: f64) -> Option<f64> {
        let size = self.score.len();
        let precision = Matrix::from_function(size, size, |row, column| {
            f64::from(u8::from(row == column)) + deviation * deviation * self.information.at(row, column)
        });
        let factor = precision.cholesky()?;
        let scaled: Vec<f64> = self.score.iter().map(|score| score * deviation).collect();
        let half = factor.forward(&scaled);
        let log_evidence = 0.5 * dot(&half, &half) - factor.log_determinant();
        log_evidence.is_finite().then_some(log_evidence)
    }
}

/// The ω below which a share of its posterior lies.
fn quantile_of(weights: &Weights, share: f64) -> f64 {
    let mut so_far = 0.0;
    for (weight, deviation) in weights.iter().zip(DEPARTURE_DEVIATIONS) {
        so_far += weight;
        if so_far >= share {
            return deviation;
        }
    }
    DEPARTURE_DEVIATIONS[DEPARTURE_DEVIATIONS.len() - 1]
}

/// Correlations of departures from the average slot, with an average variance of one.
fn centred(correlations: &Matrix) -> Matrix {
    let size = correlations.rows();
    let means: Vec<f64> = (0..size).map(|row| correlations.row(row).iter().sum::<f64>() / length(size)).collect();
    let mean = means.iter().sum::<f64>() / length(size);
    let centred = Matrix::from_function(size, size, |row, column| {
        correlations.at(row, column) - means[row] - means[column] + mean
    });
    let variance = (0..size).map(|place| centred.at(place, place)).sum::<f64>() / length(size);
    if variance <= 0.0 {
        return centred;
    }
    Matrix::from_function(size, size, |row, column| centred.at(row, column) / variance)
}
