//! How much more treatment does for those whom a priority puts first: the targeting operator characteristic (TOC), and
//! the area under it (AUTOC), a rank-weighted average treatment effect.
//!
//! Enters: an unbiased score of each unit's effect, such as the
//! [`doubly_robust_scores`](super::CrossFitted::doubly_robust_scores) of a cross-fit, and a priority that was made
//! without the unit. Leaves: [`RankAverageEffect`]. Yadlowsky, Fleming, Shah, Brunskill and Wager (2021), "Evaluating
//! treatment prioritization rules via rank-weighted average treatment effects", arXiv:2111.07966:
//!
//! ```text
//! TOC(φ) = mean score of the top share φ − mean score of all        AUTOC = Σ_i TOC(i/n) / n
//! ```
//!
//! in units of the outcome. Against the Qini, which asks how much is won over all shares, AUTOC weighs the very top: it
//! is the one to read when few benefit. Units of equal priority count as their mean. The standard error is that of a
//! half-sample bootstrap, as theirs and grf's, with each unit in a half with a chance of one half: the spread of the value
//! over halves about the value of all is the spread of the value of all about the truth.

use super::ranking::{CURVE_POINTS, RankingOptions, falling};
use super::units::check_lengths;
use crate::counter::{bits, unit};
use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite};
use crate::interval::Estimate;
use crate::numeric::length;
use crate::resampling::ResampledEstimate;
use serde::{Deserialize, Serialize};

/// The targeting operator characteristic at one share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetingPoint {
    /// Share of the units, those of highest priority: above 0, up to 1.
    pub share: f64,
    /// Their average effect less that of everyone, in units of the outcome.
    pub advantage: Estimate,
}

/// How much a priority knows of effects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankAverageEffect {
    /// The effect on everyone, in units of the outcome.
    pub average_effect: ResampledEstimate,
    /// Area under the targeting operator characteristic, in units of the outcome; zero for a priority that knows nothing.
    pub area: ResampledEstimate,
    /// Two-sided, of an area of zero; none without a standard error.
    pub p_value: Option<f64>,
    /// [`CURVE_POINTS`] points of the characteristic, intervals point by point.
    pub curve: Vec<TargetingPoint>,
}

/// The average effect by rank of `priority`, the highest first, from the `scores` of the units.
///
/// # Errors
/// [`StatsError::InvalidAlpha`]; [`StatsError::UnevenLists`]; [`StatsError::NotFinite`] for a score or a priority that is
/// no number; [`StatsError::NoUnits`].
pub fn rank_average_effect(
    scores: &[f64],
    priority: &[f64],
    options: RankingOptions,
) -> Result<RankAverageEffect, StatsError> {
    check_alpha(options.alpha)?;
    check_lengths("the score", scores.len(), "the priority", priority.len())?;
    for (&score, &priority) in scores.iter().zip(priority) {
        check_finite("a score", score)?;
        check_finite("a priority", priority)?;
    }
    if scores.is_empty() {
        return Err(StatsError::NoUnits);
    }
    let order: Vec<(f64, u64, bool)> =
        falling(priority).into_iter().map(|(place, ends_block)| (scores[place], place as u64, ends_block)).collect();
    let whole = Characteristic::of(&order, |_| true);
    let halves: Vec<Characteristic> = (0..u64::from(options.replicates))
        .map(|replicate| Characteristic::of(&order, |place| unit(bits(options.seed, replicate, place)) < 0.5))
        .collect();
    let critical_value = normal::critical_value(options.alpha);
    let estimate = |of: &dyn Fn(&Characteristic) -> f64| {
        let samples = halves.iter().map(of).collect();
        ResampledEstimate::by_standard_error(of(&whole), samples, options.replicates, critical_value)
    };
    let area = estimate(&|half| half.area);
    let p_value = area
        .standard_error
        .filter(|standard_error| *standard_error > 0.0)
        .map(|standard_error| normal::two_sided_p_value(whole.area / standard_error));
    Ok(RankAverageEffect {
        average_effect: estimate(&|half| half.mean),
        area,
        p_value,
        curve: (0..whole.points.len())
            .map(|place| TargetingPoint {
                share: length(place + 1) / f64::from(CURVE_POINTS),
                advantage: estimate(&|half| half.points[place]).value,
            })
            .collect(),
    })
}

/// The characteristic of some of the units; NaN of none.
struct Characteristic {
    mean: f64,
    area: f64,
    points: Vec<f64>,
}

impl Characteristic {
    /// `order` holds score, place and whether a block of equals ends, from the highest priority down.
    fn of(order: &[(f64, u64, bool)], chosen: impl Fn(u64) -> bool) -> Self {
        let number = length(order.iter().filter(|(_, place, _)| chosen(*place)).count());
        let mut points = Vec::with_capacity(CURVE_POINTS as usize);
        let (mut units, mut sum, mut means) = (0.0, 0.0, 0.0);
        let (mut block_units, mut block_sum) = (0.0, 0.0);
        for &(score, place, ends_block) in order {
            if chosen(place) {
                block_units += 1.0;
                block_sum += score;
            }
            if !ends_block || block_units <= 0.0 {
                continue;
            }
            let each = block_sum / block_units;
            let reached = units + block_units;
            while points.len() < CURVE_POINTS as usize {
                let target = number * length(points.len() + 1) / f64::from(CURVE_POINTS);
                if target > reached + 1e-9 * number {
                    break;
                }
                points.push((sum + each * (target - units)) / target);
            }
            while units < reached {
                units += 1.0;
                sum += each;
                means += sum / units;
            }
            (block_units, block_sum) = (0.0, 0.0);
        }
        let mean = sum / units;
        points.resize(CURVE_POINTS as usize, f64::NAN);
        for point in &mut points {
            *point -= mean;
        }
        Self { mean, area: means / units - mean, points }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn the_area_is_its_definition() {
        // Means from the top: 4, 3, 7/3, 2; of all: 2.
        let scores = [2.0, 4.0, 1.0, 1.0];
        let effect = rank_average_effect(&scores, &[3.0, 4.0, 2.0, 1.0], RankingOptions::default()).unwrap();
        assert_close(effect.area.value.estimate.unwrap(), (4.0 + 3.0 + 7.0 / 3.0 + 2.0) / 4.0 - 2.0, 1e-14);
        assert_close(effect.curve[24].advantage.estimate.unwrap(), 2.0, 1e-14);
        assert_close(effect.curve[99].advantage.estimate.unwrap(), 0.0, 1e-14);
        // All equal: whoever comes first is like everyone.
        let effect = rank_average_effect(&scores, &[1.0; 4], RankingOptions::default()).unwrap();
        assert_close(effect.area.value.estimate.unwrap(), 0.0, 1e-14);
    }

    #[test]
    fn intervals_cover() {
        // Priority is uniform on (0, 1) and the score is priority + noise: TOC(φ) = (1 − φ/2) − 1/2, AUTOC = 1/4.
        let (mut covered, mut null_covered) = (0, 0);
        for run in 0..200 {
            let draw = |stream: u64| (0..500).map(move |place| unit(bits(run, stream, place)));
            let priority: Vec<f64> = draw(201).collect();
            let scores: Vec<f64> =
                priority.iter().zip(draw(202)).map(|(own, noise)| own + 4.0 * (noise - 0.5)).collect();
            let options = RankingOptions { seed: run, ..RankingOptions::default() };
            covered += u32::from(rank_average_effect(&scores, &priority, options).unwrap().area.value.contains(0.25));
            let other: Vec<f64> = draw(203).collect();
            null_covered += u32::from(rank_average_effect(&scores, &other, options).unwrap().area.value.contains(0.0));
        }
        // 95 % of 200 is 190, give or take 3.
        assert!(covered >= 180 && null_covered >= 180, "{covered} {null_covered}");
    }

    #[test]
    fn impossible_input_is_refused() {
        let options = RankingOptions::default();
        assert_eq!(rank_average_effect(&[], &[], options), Err(StatsError::NoUnits));
        assert!(rank_average_effect(&[1.0], &[f64::NAN], options).is_err());
        assert!(rank_average_effect(&[f64::INFINITY], &[1.0], options).is_err());
        assert!(rank_average_effect(&[1.0], &[1.0, 2.0], options).is_err());
        let alone = rank_average_effect(&[1.0], &[1.0], options).unwrap();
        assert_eq!((alone.area.value.low, alone.p_value), (None, None));
        assert!(alone.area.value.note.is_some());
    }
}
