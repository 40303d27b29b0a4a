//! What those of whom much is predicted really bring: effects by part of the predicted effect, the promise that an
//! audience chosen by predictions can keep.
//!
//! Enters: randomised units, and for each way to learn effects that was tried, what it predicts of units that it had not
//! seen and their doubly robust scores. Leaves: [`EffectsByPrediction`], the mean score of the units in each part, from
//! those with the least predicted effect up; and for an audience, whose members fall into parts by their own predictions,
//! the mean effect to expect with its standard error:
//!
//! ```text
//! effect of an audience  =  Σ_k w_k m_k       variance  =  c Σ_k w_k² s_k² / n_k       w_k: share of the audience in part k
//! c  =  1 + (Σ_k w_k z_k)² / (K Σ_k w_k²)                                             z_k: normal score of part k of K
//! ```
//!
//! with `m_k`, `s_k` and `n_k` the mean, standard deviation and number of scores in part k. The factor c is there because
//! the folds of a cross-fit judge each other: units that two folds have in common in their noise are put first by each for
//! the other, so that the folds' means go up and down together. To first order, where predictions are nothing but noise,
//! the covariance of two of F folds is (E z w)²σ²/(F − 1), F(F − 1) times of which over F² is c − 1 times the variance of
//! independent units, whatever F; where predictions tell something it is less. c is 1 for an audience of all and at
//! most 1.41 for one above a threshold.
//!
//! The mean of the predictions themselves flatters whom they chose. So does the mean score by the best of several ways where the same units chose it:
//! with no effect at all the way that ranks best by chance still shows one. Each half of the units is therefore put into
//! parts by the way that ranks the *other* half best (sample splitting with the halves exchanged: Chernozhukov et al. 2018,
//! "Double/debiased machine learning", Econometrics Journal 21(1), section 3).

use super::ranking::{RankingOptions, evaluate_ranking};
use super::units::{RandomisedUnits, check_lengths};
use crate::counter::bits;
use crate::distribution::normal;
use crate::error::{StatsError, check_finite};
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;
use crate::numeric::length;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Parts at most.
const MOST_PARTS: usize = 100;
/// Units in a part at least, where there are as many.
const UNITS_OF_A_PART: usize = 30;

/// One way to learn effects, by what it says of units that it had not seen.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// The predicted effect of each unit.
    pub effects: &'a [f64],
    /// The doubly robust score of each.
    pub doubly_robust_scores: &'a [f64],
    /// The fold of each.
    pub folds: &'a [u32],
}

/// The units of one part of what is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PredictedPart {
    /// The least predicted effect in it, in units of the outcome.
    pub least: f64,
    /// How many there are.
    pub units: u64,
    /// Their average effect, in units of the outcome.
    pub effect: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// Effects by part of what is predicted, the least predicted first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffectsByPrediction {
    /// At most a hundred, each with as many units.
    pub parts: Vec<PredictedPart>,
}

/// How many of an audience fall into each part.
#[derive(Debug, Clone, PartialEq)]
pub struct AudienceParts<'a> {
    effects: &'a EffectsByPrediction,
    weights: Vec<f64>,
    members: f64,
}

impl EffectsByPrediction {
    /// The effects by what is predicted by the chosen way's model of all units: `predicted`, of these same units, which
    /// only says where a part begins.
    ///
    /// # Errors
    /// [`StatsError::UnevenLists`]; [`StatsError::NotFinite`] for a prediction or a score that is no number;
    /// [`StatsError::NoUnits`] where the chosen way is none of them.
    pub fn of(
        units: RandomisedUnits<'_>,
        ways: &[Way<'_>],
        chosen: usize,
        predicted: &[f64],
        seed: u64,
    ) -> Result<Self, StatsError> {
        check_lengths("the outcome", units.len(), "the prediction", predicted.len())?;
        for way in ways {
            check_lengths("the outcome", units.len(), "the fold", way.folds.len())?;
            check_lengths("the outcome", units.len(), "the prediction", way.effects.len())?;
            check_lengths("the outcome", units.len(), "the score", way.doubly_robust_scores.len())?;
            for (&effect, &score) in way.effects.iter().zip(way.doubly_robust_scores) {
                check_finite("a prediction", effect)?;
                check_finite("a score", score)?;
            }
        }
        if chosen >= ways.len() {
            return Err(StatsError::NoUnits);
        }
        let parts = (units.len() / UNITS_OF_A_PART).clamp(1, MOST_PARTS);
        let draw = |unit: usize| bits(seed, 1, unit as u64);
        let half =
            |first: bool| -> Vec<usize> { (0..units.len()).filter(|unit| (draw(*unit) & 1 == 0) == first).collect() };
        let halves = [half(true), half(false)];
        let mut scores = vec![Vec::new(); parts];
        for (place, rows) in halves.iter().enumerate() {
            let way = best_on(units, ways, &halves[1 - place]).unwrap_or(chosen);
            let way = &ways[way];
            // Each fold by itself: a fold whose outcomes are low by chance has models, of the others, that predict more of it.
            let mut folds: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            for unit in rows {
                folds.entry(way.folds[*unit]).or_default().push(*unit);
            }
            for mut order in folds.into_values() {
                // Of equal predictions chance decides.
                order.sort_by(|left, right| {
                    way.effects[*left].total_cmp(&way.effects[*right]).then(draw(*left).cmp(&draw(*right)))
                });
                for (rank, unit) in order.iter().enumerate() {
                    scores[rank * parts / order.len()].push(way.doubly_robust_scores[*unit]);
                }
            }
        }
        let mut predicted = predicted.to_vec();
        predicted.sort_unstable_by(f64::total_cmp);
        let part = |(part, scores): (usize, Vec<f64>)| -> Result<PredictedPart, StatsError> {
            let moments = Moments::from_values(scores)?;
            Ok(PredictedPart {
                least: predicted[part * predicted.len() / parts],
                units: moments.n,
                effect: moments.mean,
                standard_error: moments.squared_standard_error().map_or(f64::INFINITY, f64::sqrt),
            })
        };
        Ok(Self { parts: scores.into_iter().enumerate().map(part).collect::<Result<_, _>>()? })
    }

    /// An audience without members.
    #[must_use]
    pub fn audience(&self) -> AudienceParts<'_> {
        AudienceParts { effects: self, weights: vec![0.0; self.parts.len()], members: 0.0 }
    }

    /// The parts that a predicted effect falls into: one, or several that begin with the same prediction.
    fn parts_of(&self, predicted: f64) -> Range<usize> {
        let end = self.parts.partition_point(|part| part.least <= predicted).max(1);
        let least = self.parts[end - 1].least;
        self.parts.partition_point(|part| part.least < least)..end
    }
}

impl AudienceParts<'_> {
    /// Counts a member by its predicted effect.
    pub fn add(&mut self, predicted: f64) {
        self.add_many(predicted, 1.0);
    }

    /// Counts so many members of whom the same effect is predicted.
    pub fn add_many(&mut self, predicted: f64, members: f64) {
        let parts = self.effects.parts_of(predicted);
        let share = members / length(parts.len());
        for part in parts {
            self.weights[part] += share;
        }
        self.members += members;
    }

    /// The mean effect of the members; none of no members. `critical_value` is the number of standard errors on each side.
    #[must_use]
    pub fn mean_effect(&self, critical_value: f64) -> Option<Estimate> {
        if self.members <= 0.0 {
            return None;
        }
        let weighted = || self.effects.parts.iter().zip(&self.weights).filter(|(_, weight)| **weight > 0.0);
        let mean = weighted().map(|(part, weight)| weight * part.effect).sum::<f64>() / self.members;
        let variance: f64 = weighted().map(|(part, weight)| (weight * part.standard_error).powi(2)).sum();
        let spread = critical_value * (variance * self.folds_together()).sqrt() / self.members;
        Some(Estimate::new(mean, Interval::from_ends(mean - spread, mean + spread)))
    }

    /// By how much the variance is larger than that of independent units.
    fn folds_together(&self) -> f64 {
        let parts = length(self.weights.len());
        let scores = (0..self.weights.len()).map(|part| normal::quantile((length(part) + 0.5) / parts));
        let along: f64 = self.weights.iter().zip(scores).map(|(weight, score)| weight * score).sum();
        let squares: f64 = self.weights.iter().map(|weight| weight * weight).sum();
        1.0 + along * along / (parts * squares)
    }
}

/// The way that ranks some of the units best; none where these are all of one arm.
fn best_on(units: RandomisedUnits<'_>, ways: &[Way<'_>], rows: &[usize]) -> Option<usize> {
    let of = |values: &[f64]| -> Vec<f64> { rows.iter().map(|row| values[*row]).collect() };
    let (outcome, probability) = (of(units.outcome()), of(units.assignment_probability()));
    let treated: Vec<bool> = rows.iter().map(|row| units.treated()[*row]).collect();
    let part = RandomisedUnits::new(&outcome, &treated, &probability).ok()?;
    let options = RankingOptions { replicates: 0, ..RankingOptions::default() };
    let qini = |way: &Way<'_>| -> f64 {
        let quality = evaluate_ranking(part, &of(way.effects), options);
        quality.ok().and_then(|quality| quality.qini.value.estimate).unwrap_or(f64::NEG_INFINITY)
    };
    let values: Vec<f64> = ways.iter().map(qini).collect();
    (0..values.len()).reduce(|best, way| if values[way] > values[best] { way } else { best })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::simulated::{CellMeans, LeastSquares, World};
    use super::super::{CrossFitted, CrossFitting, UpliftMethod, fit_uplift};
    use super::*;
    use crate::learner::{Learner, Predictor as _};
    use crate::numeric::assert_close;

    #[test]
    fn parts_are_mean_scores_from_the_least_predicted_up() {
        // One way, and effects that are the predictions exactly: a part's effect is the mean of its predictions.
        let effects: Vec<f64> = (0..300).map(|unit| f64::from(unit) / 300.0).collect();
        let treated: Vec<bool> = (0..300).map(|unit| unit % 2 == 0).collect();
        let probability = vec![0.5; 300];
        let units = RandomisedUnits::new(&effects, &treated, &probability).unwrap();
        let way = Way { effects: &effects, doubly_robust_scores: &effects, folds: &[0; 300] };
        let found = EffectsByPrediction::of(units, &[way], 0, &effects, 1).unwrap();
        assert_eq!(found.parts.len(), 10);
        for (part, place) in found.parts.iter().zip(0..) {
            assert_close(part.least, f64::from(place) / 10.0, 1e-12);
            // The halves are drawn: their tenths end a little beside those of all.
            assert_close(part.effect, f64::from(place) / 10.0 + 0.05, 0.03);
        }
        let mut audience = found.audience();
        assert!(audience.mean_effect(1.96).is_none());
        for predicted in [0.95, 0.15, -3.0, 7.0] {
            audience.add(predicted);
        }
        let parts: Vec<f64> = found.parts.iter().map(|part| part.effect).collect();
        let expected = (2.0 * parts[9] + parts[1] + parts[0]) / 4.0;
        let mean = audience.mean_effect(1.96).unwrap();
        assert_close(mean.estimate.unwrap(), expected, 1e-12);
        let error = |place: usize| found.parts[place].standard_error;
        let variance = ((2.0 * error(9)).powi(2) + error(1).powi(2) + error(0).powi(2)) / 16.0;
        // Normal scores of the tenths: SciPy norm.ppf(.95) = 1.6448536, of .15 -1.0364334, of .05 -1.6448536.
        let factor = 1.0 + (2.0 * 1.644_853_6 - 1.036_433_4 - 1.644_853_6_f64).powi(2) / (10.0 * 6.0);
        let spread = (variance * factor).sqrt();
        assert_close(mean.high.unwrap() - expected, 1.96 * spread, 1e-8);
    }

    #[test]
    fn predictions_that_are_all_alike_promise_the_average_effect() {
        let world = World::new(2_000, 9, |_, _| 0.5, |x, _| x, |_, _| 0.3);
        let scores = world.units().inverse_probability_scores();
        let alike = vec![0.3; 2_000];
        let way = Way { effects: &alike, doubly_robust_scores: &scores, folds: &[0; 2_000] };
        let found = EffectsByPrediction::of(world.units(), &[way], 0, &alike, 1).unwrap();
        let mut audience = found.audience();
        audience.add(0.3);
        let mean = scores.iter().sum::<f64>() / length(scores.len());
        assert_close(audience.mean_effect(1.96).unwrap().estimate.unwrap(), mean, 0.02);
    }

    /// What is learnt from one world, and what it predicts of another.
    fn fit<L: Learner>(
        method: UpliftMethod,
        learner: &L,
        world: &World,
        others: &World,
        seed: u64,
    ) -> (CrossFitted<()>, Vec<f64>, Vec<f64>) {
        let folds = CrossFitting { seed, ..CrossFitting::default() };
        let fitted = fit_uplift(method, learner, learner, &world.features, world.units(), folds).unwrap();
        let (of_others, own) = (fitted.model.predict(&others.features), fitted.model.predict(&world.features));
        (fitted.map_model(|_| ()), of_others, own)
    }

    /// How often, of so many worlds, the interval of an audience's mean effect has the truth in it, on its low side, and how
    /// often an effect is seen.
    fn coverage(worlds: u64, members: usize, effect: impl Fn(f64, f64) -> f64 + Copy) -> (f64, f64) {
        let (mut covered, mut seen) = (0.0, 0.0);
        for seed in 0..worlds {
            let world = World::new(1_500, 1_000 + seed, |_, _| 0.5, |x, z| x * z, effect);
            let others = World::new(1_500, 500_000 + seed, |_, _| 0.5, |x, z| x * z, effect);
            let mut tried: Vec<(CrossFitted<()>, Vec<f64>, Vec<f64>)> = Vec::new();
            for method in [UpliftMethod::TLearner, UpliftMethod::XLearner, UpliftMethod::DoublyRobust] {
                tried.push(fit(method, &LeastSquares, &world, &others, seed));
                for cells in [5, 20] {
                    tried.push(fit(method, &CellMeans { cells: Some(cells) }, &world, &others, seed));
                }
            }
            let ways: Vec<Way<'_>> = tried
                .iter()
                .map(|(fitted, ..)| Way {
                    effects: &fitted.effects,
                    doubly_robust_scores: &fitted.doubly_robust_scores,
                    folds: &fitted.folds,
                })
                .collect();
            let all: Vec<usize> = (0..1_500).collect();
            let chosen = best_on(world.units(), &ways, &all).unwrap();
            let found = EffectsByPrediction::of(world.units(), &ways, chosen, &tried[chosen].2, seed).unwrap();
            let mut audience = found.audience();
            let mut truth = 0.0;
            let mut order: Vec<usize> = all;
            order.sort_by(|left, right| tried[chosen].1[*right].total_cmp(&tried[chosen].1[*left]));
            for &member in &order[..members] {
                audience.add(tried[chosen].1[member]);
                truth += others.effect[member];
            }
            let mean = audience.mean_effect(1.959_963_984_540_054).unwrap();
            let truth = truth / length(members);
            covered += f64::from(u8::from(mean.low.unwrap() <= truth && truth <= mean.high.unwrap()));
            seen += f64::from(u8::from(mean.low.unwrap() > 0.0));
        }
        let worlds = length(usize::try_from(worlds).unwrap());
        (covered / worlds, seen / worlds)
    }

    #[test]
    fn an_audience_chosen_by_the_best_of_nine_ways_is_promised_nothing_where_there_is_nothing() {
        for members in [75, 300, 750] {
            let (covered, seen) = coverage(400, members, |_, _| 0.0);
            // Monte-Carlo error of a share of .95 of 400: .011; of .025: .008.
            assert!(covered > 0.9 && seen < 0.07, "{members}: covered {covered}, seen {seen}");
        }
    }

    #[test]
    fn an_audience_is_promised_what_it_brings() {
        for members in [150, 300, 750] {
            let (covered, seen) = coverage(400, members, |x, _| 0.4 * (x - 0.3));
            assert!(covered > 0.9 && seen > 0.7, "{members}: covered {covered}, seen {seen}");
        }
    }

    #[test]
    fn where_one_group_alone_is_moved_it_is_promised_its_effect() {
        // A half of the units has an effect, all of them the same: parts of that half differ by noise alone.
        for members in [300, 750] {
            let (covered, seen) = coverage(400, members, |x, _| if x < 0.5 { 0.2 } else { 0.0 });
            assert!(covered > 0.92 && seen > 0.9, "{members}: covered {covered}, seen {seen}");
        }
    }
}
