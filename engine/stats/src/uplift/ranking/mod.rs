//! How well a score ranks units by what treatment does to them: the Qini curve, its coefficient, and the area under the
//! uplift curve, with bootstrap intervals.
//!
//! Enters: randomised units and a score for each, predicted without the unit
//! ([`effects`](super::CrossFitted::effects) of a cross-fit, or units that no model learnt from). Leaves:
//! [`RankingQuality`], or the difference between two scores on the same units.
//!
//! With `N_t`, `N_c` the weights and `S_t`, `S_c` the weighted outcomes of treated and control among the top share φ of the
//! units, and a bar for those of all of them:
//!
//! ```text
//! Qini curve     Q(φ) = (S_t − S_c N_t / N_c) / N̄_t       Radcliffe (2007), per unit of the population
//! Qini           ∫ (Q(φ) − φ Q(1)) dφ                     over a random order, the diagonal
//! normalised     Qini / that of the perfect order         scikit-uplift's qini_auc_score
//! uplift curve   U(φ) = φ (S_t / N_t − S_c / N_c)         Gutierrez and Gérardy (2017)
//! AUUC           ∫ U(φ) dφ                                a random order has half the average effect
//! ```
//!
//! Each is per unit of the population, in units of the outcome: Q(φ) is what treating the top φ brings, divided by
//! everyone. Radcliffe's Q counts are `N̄_t` times ours; scikit-uplift's curve has the number of units on its other axis,
//! so that its areas are larger by the number of units times `N̄_t` (Qini) or squared (uplift), and its scores, normalised,
//! have none of it. Where units had different probabilities of treatment each weighs one over the probability of its
//! arm; otherwise each weighs one, and `N_t / N_c` is the scaling of unequal arms. While one arm is empty its sum counts as
//! zero, as there. The perfect order puts treated units with the outcome first and control units with it last; it exists
//! for outcomes of 0 and 1 only. Areas are trapezoids between units; units with equal scores are one block, crossed in a
//! straight line.
//!
//! Radcliffe (2007), "Using control groups to target on predicted lift", Direct Marketing Analytics Journal; Gutierrez
//! and Gérardy (2017), "Causal inference and uplift modelling: a review of the literature", PMLR 67. Intervals are
//! percentiles of a bootstrap by unit with Poisson weights (Chamandy et al. 2012): conditional on the score, for the
//! population that the units come from.

mod curve;

use super::units::{RandomisedUnits, check_lengths};
use crate::error::{StatsError, check_alpha, check_finite};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use crate::resampling::{ResampledEstimate, percentile_interval, poisson_draws};
pub(crate) use curve::falling;
use curve::{Measures, Ranked};
use serde::{Deserialize, Serialize};

/// Shares at which curves are told: one in a hundred, two, up to everyone.
pub const CURVE_POINTS: u32 = 100;

const NOT_BINARY: &str = "there is a perfect order for outcomes of 0 and 1 only, and only where some have it";
const ONE_ARM_SO_FAR: &str = "only one arm among the units so far";

/// How to evaluate a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankingOptions {
    /// Of all intervals; a share in (0, 1).
    pub alpha: f64,
    /// Bootstrap samples; zero for no intervals.
    pub replicates: u32,
    /// The same seed gives the same samples.
    pub seed: u64,
}

impl Default for RankingOptions {
    /// Alpha 5 %, 200 samples, seed one.
    fn default() -> Self {
        Self { alpha: 0.05, replicates: 200, seed: 1 }
    }
}

/// The curves at one share of the units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankingPoint {
    /// Share of the units treated, those with the highest scores: above 0, up to 1.
    pub share: f64,
    /// The Qini curve: what treating them brings, per unit of the population, in units of the outcome.
    pub incremental: Estimate,
    /// What treating as many at random brings, per unit of the population.
    pub at_random: f64,
    /// The average effect among them; none while they are all of one arm.
    pub uplift: Estimate,
}

/// How well a score ranks units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankingQuality {
    /// Units treated.
    pub treated: u64,
    /// Units not treated.
    pub control: u64,
    /// The effect on everyone, treated less control, in units of the outcome.
    pub average_effect: ResampledEstimate,
    /// The Qini coefficient: area between the Qini curve and the diagonal, per unit of the population. Zero for an
    /// order that is no better than chance.
    pub qini: ResampledEstimate,
    /// The same over that of the perfect order, as scikit-uplift's `qini_auc_score`; none unless outcomes are 0 and 1.
    pub normalised_qini: ResampledEstimate,
    /// Area under the uplift curve, per unit of the population: for a random order, half the average effect.
    pub area_under_uplift_curve: ResampledEstimate,
    /// [`CURVE_POINTS`] points of the curves, intervals point by point; both start in the origin.
    pub curve: Vec<RankingPoint>,
}

/// How much better one score ranks than another, on the same units and the same bootstrap samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankingDifference {
    /// Qini coefficient of the first less that of the second.
    pub qini: ResampledEstimate,
    /// Area under the uplift curve of the first less that of the second.
    pub area_under_uplift_curve: ResampledEstimate,
}

/// Evaluates the ranking by `score`, the highest first.
///
/// ```
/// use sendlift_stats::uplift::{RandomisedUnits, ranking::{RankingOptions, evaluate_ranking}};
///
/// // The message moves the first half of 4,000 people, and the score knows.
/// let treated: Vec<bool> = (0..4_000).map(|unit| unit % 2 == 0).collect();
/// let outcome: Vec<f64> = (0..4_000)
///     .map(|unit| f64::from(u8::from(unit % 10 == 1 || (unit < 2_000 && unit % 10 == 2))))
///     .collect();
/// let score: Vec<f64> = (0..4_000).map(|unit| f64::from(u8::from(unit < 2_000))).collect();
/// let units = RandomisedUnits::new(&outcome, &treated, &[0.5; 4_000])?;
/// let quality = evaluate_ranking(units, &score, RankingOptions::default())?;
/// assert!(quality.qini.value.low.is_some_and(|low| low > 0.0));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
/// [`StatsError::InvalidAlpha`]; [`StatsError::UnevenLists`] unless there is a score a unit; [`StatsError::NotFinite`]
/// for a score that is no number.
pub fn evaluate_ranking(
    units: RandomisedUnits<'_>,
    score: &[f64],
    options: RankingOptions,
) -> Result<RankingQuality, StatsError> {
    check_alpha(options.alpha)?;
    let ranked = ranked(units, score)?;
    let measures = ranked.measure(&vec![1; units.len()]);
    let samples = resample(units.len(), options, |draws| ranked.measure(draws));
    let resampled = |of: fn(&Measures) -> f64| estimate(&measures, &samples, options, of);
    let treated = units.number_treated();
    Ok(RankingQuality {
        treated: treated as u64,
        control: (units.len() - treated) as u64,
        average_effect: resampled(|sample| sample.average_effect),
        qini: resampled(|sample| sample.qini),
        normalised_qini: if measures.normalised_qini.is_finite() {
            resampled(|sample| sample.normalised_qini)
        } else {
            ResampledEstimate::undefined(NOT_BINARY)
        },
        area_under_uplift_curve: resampled(|sample| sample.area_under_uplift_curve),
        curve: curve(&measures, &samples, options),
    })
}

/// Compares two scores on the same units, each bootstrap sample being the same for both.
///
/// # Errors
/// As [`evaluate_ranking`], for either score.
pub fn compare_rankings(
    units: RandomisedUnits<'_>,
    first: &[f64],
    second: &[f64],
    options: RankingOptions,
) -> Result<RankingDifference, StatsError> {
    check_alpha(options.alpha)?;
    let (first, second) = (ranked(units, first)?, ranked(units, second)?);
    let difference = |draws: &[u8]| first.measure(draws).less(&second.measure(draws));
    let measures = difference(&vec![1; units.len()]);
    let samples = resample(units.len(), options, difference);
    Ok(RankingDifference {
        qini: estimate(&measures, &samples, options, |sample| sample.qini),
        area_under_uplift_curve: estimate(&measures, &samples, options, |sample| sample.area_under_uplift_curve),
    })
}

fn ranked(units: RandomisedUnits<'_>, score: &[f64]) -> Result<Ranked, StatsError> {
    check_lengths("the outcome", units.len(), "the score", score.len())?;
    for &value in score {
        check_finite("a score", value)?;
    }
    Ok(Ranked::new(units, score))
}

fn resample(units: usize, options: RankingOptions, measure: impl Fn(&[u8]) -> Measures) -> Vec<Measures> {
    let mut draws = vec![0; units];
    (0..u64::from(options.replicates))
        .map(|replicate| {
            poisson_draws(options.seed, replicate, &mut draws);
            measure(&draws)
        })
        .collect()
}

fn estimate(
    measures: &Measures,
    samples: &[Measures],
    options: RankingOptions,
    of: fn(&Measures) -> f64,
) -> ResampledEstimate {
    ResampledEstimate::by_percentiles(of(measures), samples.iter().map(of).collect(), options.replicates, options.alpha)
}

fn curve(measures: &Measures, samples: &[Measures], options: RankingOptions) -> Vec<RankingPoint> {
    let interval = |of: &dyn Fn(&Measures) -> f64| -> Interval {
        let values: Vec<f64> = samples.iter().map(of).filter(|value| value.is_finite()).collect();
        // As for the areas: an interval of the samples that happen to have a value is none.
        let enough = length(values.len()) >= 0.9 * length(samples.len());
        percentile_interval(if enough { values } else { Vec::new() }, options.alpha)
    };
    measures
        .points
        .iter()
        .enumerate()
        .map(|(place, point)| {
            let share = length(place + 1) / f64::from(CURVE_POINTS);
            let uplift = if point.uplift.is_finite() {
                Estimate::new(point.uplift, interval(&|sample| sample.points[place].uplift))
            } else {
                Estimate::undefined(ONE_ARM_SO_FAR)
            };
            RankingPoint {
                share,
                incremental: Estimate::new(point.incremental, interval(&|sample| sample.points[place].incremental)),
                at_random: share * measures.average_effect,
                uplift,
            }
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
