//! Honest numbers for what was picked because it looked good.
//!
//! Enters: estimates with their standard errors, and how they were picked. Leaves: intervals for the picked comparisons
//! of which no more than a share alpha miss ([`false_coverage_intervals`]), the best arm with the luck taken off its
//! estimate ([`best_arm`]), and a single estimate that was only looked at because it was significant
//! ([`significant_estimate`]).
//!
//! - Benjamini and Yekutieli (2005), Journal of the American Statistical Association 100: with R of m comparisons
//!   picked, intervals at confidence 1 − R alpha / m have a false coverage rate of at most alpha.
//! - Andrews, Kitagawa and `McCloskey` (2024), "Inference on winners", Quarterly Journal of Economics 139: given which
//!   arm is the best, and what the others show of it, its estimate Y is normal cut off below at the point L where
//!   another arm would have won. The *conditional* estimate μ solves P(cut-off normal(μ) > Y) = ½, and its interval the
//!   same at alpha / 2 and 1 − alpha / 2: exact, but very long when the race was close. The *hybrid* takes the
//!   distribution given too that Y lies within c of μ, the radius of a simultaneous interval at alpha / 10, and spends
//!   the rest of alpha: never longer than that simultaneous interval, and its chance to miss at most alpha.
//! - Zhong and Prentice (2008), Biostatistics 9: the likeliest effect given that |z| exceeded the critical value.
//!
//! Estimates are taken as normal with known standard errors.

use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative, check_positive};
use crate::interval::{Estimate, Interval};
use crate::multiple::benjamini_hochberg_available;
use crate::numeric::length;
use crate::root::find_root;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The share of alpha that the hybrid interval spends on the simultaneous one: what its authors recommend.
const SIMULTANEOUS_SHARE: f64 = 0.1;

/// Standard errors beyond which an end of the conditional interval counts as unbounded.
const FARTHEST: f64 = 1e9;

const TIE: &str = "another arm has the same estimate: what the best arm would have shown otherwise is not known";
const UNBOUNDED: &str = "unbounded below: the race was too close to say what the best arm would have shown otherwise";

/// A comparison that was made, picked or not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The effect, in any units.
    pub estimate: f64,
    /// Its standard error; above zero.
    pub standard_error: f64,
    /// Whether it was picked for the report.
    pub selected: bool,
}

/// Which comparisons Benjamini and Hochberg's rule picks at a false discovery rate of `alpha`; one without a p value is
/// never picked.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::InvalidProbability`] for a p value outside 0 to 1 or NaN.
pub fn selected_by_false_discovery_rate(p_values: &[Option<f64>], alpha: f64) -> Result<Vec<bool>, StatsError> {
    check_alpha(alpha)?;
    let adjusted = benjamini_hochberg_available(p_values)?;
    Ok(adjusted.into_iter().map(|p_value| p_value.is_some_and(|p_value| p_value < alpha)).collect())
}

/// The alpha at which to make the interval of each picked comparison, R alpha / m, with any method; none when nothing
/// was picked. `selected` has one entry for each comparison that could have been picked.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`].
pub fn false_coverage_alpha(selected: &[bool], alpha: f64) -> Result<Option<f64>, StatsError> {
    check_alpha(alpha)?;
    let picked = selected.iter().filter(|is_selected| **is_selected).count();
    Ok((picked > 0).then(|| length(picked) * alpha / length(selected.len())))
}

/// The picked comparisons with normal intervals whose false coverage rate is at most `alpha`; none for the others, in
/// the order given.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] for an estimate, and also [`StatsError::NotPositive`] for a
/// standard error that is not above zero.
pub fn false_coverage_intervals(candidates: &[Candidate], alpha: f64) -> Result<Vec<Option<Estimate>>, StatsError> {
    for candidate in candidates {
        check_finite("an estimate", candidate.estimate)?;
        check_positive("a standard error", candidate.standard_error)?;
    }
    let selected: Vec<bool> = candidates.iter().map(|candidate| candidate.selected).collect();
    let Some(adjusted_alpha) = false_coverage_alpha(&selected, alpha)? else {
        return Ok(vec![None; candidates.len()]);
    };
    let critical = normal::critical_value(adjusted_alpha);
    let intervals = candidates
        .iter()
        .map(|candidate| candidate.selected.then(|| around(candidate.estimate, critical * candidate.standard_error)));
    Ok(intervals.collect())
}

/// An arm in the race for the best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// What the arm showed: its mean, or its difference from a control that all share.
    pub estimate: f64,
    /// Its standard error; above zero.
    pub standard_error: f64,
}

/// The arm with the highest estimate, and what to expect of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestArm {
    /// Its place in the list, from zero.
    pub index: usize,
    /// As if it had been the only arm: too high on average, and its interval misses too often.
    pub naive: Estimate,
    /// Median-unbiased given that this arm was the best, with an exact interval.
    pub conditional: Estimate,
    /// Nearly median-unbiased and always bounded: the one to report.
    pub hybrid: Estimate,
    /// Below this estimate another arm would have been the best; none without another arm.
    pub cut_off: Option<f64>,
    /// The methods, in words.
    pub method: String,
}

/// The arm with the highest estimate, the first of equals, with estimates and intervals at confidence 1 − `alpha` that
/// allow for its having been picked.
///
/// `shared_variance` is the part of every squared standard error that all arms share: zero for means of independent
/// arms, the squared standard error of the control's mean for differences from one control. Where lower is better, turn
/// the signs.
///
/// ```
/// use sendlift_stats::selection::{Contender, best_arm};
///
/// let arms = [1.0, 2.0, 2.5].map(|estimate| Contender { estimate, standard_error: 1.0 });
/// let best = best_arm(&arms, 0.0, 0.05)?;
/// assert_eq!(best.index, 2);
/// assert!(best.hybrid.estimate.is_some_and(|estimate| estimate < 2.5));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::TooFewArms`] without an arm; [`StatsError::NotFinite`],
/// [`StatsError::NotPositive`] or [`StatsError::Negative`] for an estimate that is not finite, a standard error that is
/// not above zero, or a shared variance that is below zero or leaves an arm none of its own.
pub fn best_arm(contenders: &[Contender], shared_variance: f64, alpha: f64) -> Result<BestArm, StatsError> {
    check_alpha(alpha)?;
    check_not_negative("the shared variance", shared_variance)?;
    for contender in contenders {
        check_finite("an estimate", contender.estimate)?;
        check_positive("a standard error", contender.standard_error)?;
        let own = contender.standard_error * contender.standard_error - shared_variance;
        check_positive("a squared standard error less the shared variance", own)?;
    }
    let Some((index, best)) = contenders
        .iter()
        .enumerate()
        .reduce(|leader, next| if next.1.estimate > leader.1.estimate { next } else { leader })
    else {
        return Err(StatsError::TooFewArms { arms: 0 });
    };
    let seen = best.estimate;
    let error = best.standard_error;
    // What the others tell of the best arm through the noise that they share is taken out of them first.
    let common = shared_variance / (error * error);
    let others = contenders.iter().enumerate().filter(|(other, _)| *other != index);
    let cut_off = others.map(|(_, other)| seen - (seen - other.estimate) / (1.0 - common)).reduce(f64::max);
    let race = Race { seen, error, cut_off: cut_off.unwrap_or(f64::NEG_INFINITY) };

    // Šidák's inequality: the simultaneous interval holds at least this for arms that share noise too.
    let simultaneous_alpha = -(-alpha * SIMULTANEOUS_SHARE).ln_1p() / length(contenders.len());
    let radius = normal::critical_value(-(-simultaneous_alpha).exp_m1());
    let rest = (alpha - alpha * SIMULTANEOUS_SHARE) / (1.0 - alpha * SIMULTANEOUS_SHARE);
    let hybrid = if race.is_tie() {
        // Given a tie the data leave one point, the lowest that is possible; the simultaneous interval holds without the
        // condition.
        let radius = normal::critical_value(-((-alpha).ln_1p() / length(contenders.len())).exp_m1());
        let ends = around(seen, radius * error);
        Estimate::from_parts(None, Interval { low: ends.low, high: ends.high, note: Some(TIE.to_owned()) })
    } else {
        Estimate::new(
            race.hybrid(0.5, radius),
            Interval::from_ends(race.hybrid(rest / 2.0, radius), race.hybrid(1.0 - rest / 2.0, radius)),
        )
    };
    Ok(BestArm {
        index,
        naive: around(seen, normal::critical_value(alpha) * error),
        conditional: race.conditional_estimate(alpha),
        hybrid,
        cut_off: cut_off.filter(|cut_off| cut_off.is_finite()),
        method: "Andrews, Kitagawa and McCloskey (2024): conditional and hybrid inference on the best arm".to_owned(),
    })
}

fn around(estimate: f64, half_width: f64) -> Estimate {
    Estimate::new(estimate, Interval::from_ends(estimate - half_width, estimate + half_width))
}

/// The best arm's estimate, and where it would not have been the best.
#[derive(Debug, Clone, Copy)]
struct Race {
    seen: f64,
    error: f64,
    cut_off: f64,
}

impl Race {
    fn is_tie(self) -> bool {
        self.cut_off >= self.seen
    }

    fn conditional_estimate(self, alpha: f64) -> Estimate {
        if self.is_tie() {
            return Estimate::undefined(TIE);
        }
        let low = self.conditional(alpha / 2.0);
        let high = self.conditional(1.0 - alpha / 2.0);
        let interval = Interval { low, high, note: low.is_none().then(|| UNBOUNDED.to_owned()) };
        Estimate::from_parts(self.conditional(0.5), interval)
    }

    /// The mean at which the cut-off normal exceeds the estimate with probability `share`; none where it is further
    /// below than can be computed.
    fn conditional(self, share: f64) -> Option<f64> {
        let excess = |mean: f64| {
            let seen = (self.seen - mean) / self.error;
            let cut_off = (self.cut_off - mean) / self.error;
            log_ratio_of_tails(seen, cut_off) - share.ln()
        };
        // Without the cut the probability is smaller, so the usual limit lies above the answer.
        let high = self.seen + self.error * normal::quantile(share);
        if excess(high) <= 0.0 {
            return Some(high);
        }
        let mut width = self.error;
        while excess(high - width) > 0.0 {
            width *= 2.0;
            if width > FARTHEST * self.error {
                return None;
            }
        }
        Some(find_root(excess, high - width, high))
    }

    /// The mean at which the estimate is exceeded with probability `share`, given that it lies above the cut-off and
    /// within `radius` standard errors of the mean.
    fn hybrid(self, share: f64, radius: f64) -> f64 {
        let beyond = normal::upper_tail(radius);
        let excess = |mean: f64| {
            let seen = (self.seen - mean) / self.error;
            let least = ((self.cut_off - mean) / self.error).max(-radius);
            let possible = normal::upper_tail(least) - beyond;
            let exceeded = normal::upper_tail(seen) - beyond;
            // Where rounding leaves no room, the mean is the lowest that is possible, and nothing exceeds it.
            if possible > 0.0 { (exceeded / possible).clamp(0.0, 1.0) - share } else { -share }
        };
        find_root(excess, self.seen - radius * self.error, self.seen + radius * self.error)
    }
}

/// ln of P(Z > `far`) / P(Z > `near`) for a standard normal Z and `far` ≥ `near`, wherever the two lie.
fn log_ratio_of_tails(far: f64, near: f64) -> f64 {
    if near < 0.0 {
        return (normal::upper_tail(far) / normal::upper_tail(near)).ln();
    }
    // The densities are divided before they can vanish: φ(a) / φ(b) = e^−(a − b)(a + b)/2.
    (mills_ratio(far) / mills_ratio(near)).ln() - (far - near) * (far + near) / 2.0
}

/// P(Z > z) / φ(z) for z of zero or more.
fn mills_ratio(z: f64) -> f64 {
    if z < 5.0 {
        return normal::upper_tail(z) * (2.0 * PI).sqrt() * (0.5 * z * z).exp();
    }
    // NIST DLMF 7.9.2, from the inside out: z + 1/(z + 2/(z + 3/…)).
    let denominator = (1..=60_u32).rev().fold(z, |inner, level| z + f64::from(level) / inner);
    1.0 / denominator
}

/// The likeliest effect given that it was found significant at `alpha`, in the units of the estimate: smaller than the
/// estimate, much so where it was barely significant. None where the estimate is not significant.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] for the estimate; [`StatsError::NotFinite`] or
/// [`StatsError::NotPositive`] for a standard error that is not above zero.
pub fn significant_estimate(estimate: f64, standard_error: f64, alpha: f64) -> Result<Option<f64>, StatsError> {
    check_alpha(alpha)?;
    check_finite("the estimate", estimate)?;
    check_positive("the standard error", standard_error)?;
    let critical = normal::critical_value(alpha);
    let seen = (estimate / standard_error).abs();
    if !seen.is_finite() {
        return Ok(Some(estimate));
    }
    if seen <= critical {
        return Ok(None);
    }
    // The derivative of ln φ(z − μ) − ln P(|Z + μ| > critical).
    let slope = |mean: f64| {
        let found = normal::upper_tail(critical - mean) + normal::upper_tail(critical + mean);
        let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
        seen - mean - (density(critical - mean) - density(critical + mean)) / found
    };
    let likeliest = find_root(slope, 0.0, seen);
    Ok(Some((likeliest * standard_error).copysign(estimate)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn contenders(estimates: &[f64], error: f64) -> Vec<Contender> {
        estimates.iter().map(|&estimate| Contender { estimate, standard_error: error }).collect()
    }

    /// Fails unless the third arm is the best, with the cut-off, then estimate, low and high: conditional, hybrid.
    fn check_best(estimates: &[f64], errors: &[f64], shared_variance: f64, expected: &[f64; 7]) {
        let arms: Vec<Contender> = estimates
            .iter()
            .zip(errors)
            .map(|(&estimate, &standard_error)| Contender { estimate, standard_error })
            .collect();
        let best = best_arm(&arms, shared_variance, 0.05).unwrap();
        assert_eq!(best.index, 2);
        let numbers = [
            best.cut_off,
            best.conditional.estimate,
            best.conditional.low,
            best.conditional.high,
            best.hybrid.estimate,
            best.hybrid.low,
            best.hybrid.high,
        ];
        for (number, expected) in numbers.into_iter().zip(expected) {
            assert_close(number.unwrap(), *expected, 1e-8);
        }
    }

    #[test]
    fn picked_intervals_widen_by_how_few_were_picked() {
        // Benjamini and Yekutieli (2005), definition 1: 2 of 8 at 5 % are given at 98.75 %. SciPy 1.17.1:
        // scipy.stats.norm.isf(0.0125 / 2) is 2.497705474412374.
        let mut candidates = [Candidate { estimate: 1.0, standard_error: 2.0, selected: false }; 8];
        candidates[1].selected = true;
        candidates[6].selected = true;
        let intervals = false_coverage_intervals(&candidates, 0.05).unwrap();
        assert_eq!(intervals.iter().flatten().count(), 2);
        let picked = intervals[6].clone().unwrap();
        assert_close(picked.high.unwrap(), 1.0 + 2.0 * 2.497705474412374, 1e-12);
        assert_eq!(intervals[0], None);
        // All of them picked is no selection; none picked has no interval.
        assert_eq!(false_coverage_alpha(&[true, true], 0.05), Ok(Some(0.05)));
        assert_eq!(false_coverage_alpha(&[false, false], 0.05), Ok(None));
        assert_eq!(false_coverage_alpha(&[], 0.05), Ok(None));
        assert_eq!(false_coverage_intervals(&[], 0.05), Ok(vec![]));
    }

    #[test]
    fn the_false_discovery_rate_picks() {
        let picked = selected_by_false_discovery_rate(&[Some(0.01), None, Some(0.9), Some(0.02)], 0.05).unwrap();
        assert_eq!(picked, [true, false, false, true]);
        assert!(selected_by_false_discovery_rate(&[Some(1.5)], 0.05).is_err());
    }

    #[test]
    fn the_best_arm_agrees_with_the_definition() {
        // tests/oracle/selection.py: the cut-off normal by mpmath 1.4.1, its equations solved with 30 digits.
        check_best(
            &[1.0, 2.0, 2.5],
            &[1.0, 1.0, 1.0],
            0.0,
            &[
                2.0,
                1.4274648951922706,
                -4.99449762293997,
                4.309306351758268,
                1.4349615639342341,
                -0.6160606567166849,
                4.358239576837068,
            ],
        );
        check_best(
            &[0.012, 0.02, 0.021, 0.005],
            &[0.006, 0.005, 0.007, 0.004],
            0.0,
            &[
                0.02,
                -0.012074493065386448,
                -0.15998441167923916,
                0.029923238574207672,
                0.00019943503835577624,
                -0.0015572958138140955,
                0.030386245334363567,
            ],
        );
        check_best(
            &[1.0, 2.0, 2.5],
            &[1.0, 1.0, 1.0],
            0.5,
            &[
                1.5,
                2.186275524749718,
                -1.432572688361671,
                4.432672391124521,
                2.1881523356210977,
                -0.5061672159690773,
                4.477079364500216,
            ],
        );
    }

    #[test]
    fn a_clear_winner_keeps_its_estimate() {
        let best = best_arm(&contenders(&[0.0, 100.0, 1.0], 1.0), 0.0, 0.05).unwrap();
        assert_eq!(best.index, 1);
        assert_close(best.conditional.estimate.unwrap(), 100.0, 1e-9);
        assert_close(best.conditional.low.unwrap(), best.naive.low.unwrap(), 1e-9);
        assert_close(best.hybrid.estimate.unwrap(), 100.0, 1e-6);
        let alone = best_arm(&contenders(&[3.0], 0.5), 0.0, 0.05).unwrap();
        assert_eq!(alone.cut_off, None);
        assert_close(alone.conditional.low.unwrap(), alone.naive.low.unwrap(), 1e-12);
        assert_close(alone.hybrid.estimate.unwrap(), 3.0, 1e-9);
    }

    #[test]
    fn a_close_race_is_said_to_be_so() {
        let tie = best_arm(&contenders(&[2.0, 2.0], 1.0), 0.0, 0.05).unwrap();
        assert_eq!(tie.index, 0);
        assert_eq!((tie.conditional.estimate, tie.conditional.note.as_deref()), (None, Some(TIE)));
        // The simultaneous interval: SciPy 1.17.1, norm.isf((1 - 0.95 ** (1 / 2)) / 2) = 2.2364766.
        assert_eq!((tie.hybrid.estimate, tie.hybrid.note.as_deref()), (None, Some(TIE)));
        assert_close(tie.hybrid.low.unwrap(), 2.0 - 2.2364766, 1e-6);
        assert_close(tie.hybrid.high.unwrap(), 2.0 + 2.2364766, 1e-6);
        let close = best_arm(&contenders(&[2.0, 2.0 + 1e-12], 1.0), 0.0, 0.05).unwrap();
        assert_eq!(close.conditional.low, None);
        assert_eq!(close.conditional.note.as_deref(), Some(UNBOUNDED));
        assert!(close.hybrid.low.is_some());
    }

    #[test]
    fn tails_far_out_are_divided_before_they_vanish() {
        // mpmath 1.4.1, 30 digits: log(erfc(a / sqrt(2)) / erfc(b / sqrt(2))).
        assert_close(log_ratio_of_tails(1.0, -2.0), -1.8180087356803, 1e-11);
        assert_close(log_ratio_of_tails(3.0, 0.5), -5.431814459916731, 1e-11);
        assert_close(log_ratio_of_tails(6.0, 5.5), -2.957392597349445, 1e-11);
        assert_close(log_ratio_of_tails(60.0, 50.0), -550.1821995411473, 1e-11);
        assert_close(log_ratio_of_tails(1000.5, 1000.0), -500.1254998740424, 1e-11);
    }

    #[test]
    fn significance_alone_exaggerates() {
        // design/statistics.md prints .5626, 1.1379, 2.5224 and 3.9428; digits by SciPy 1.17.1's brentq on the score.
        let likeliest = |z: f64| significant_estimate(z, 1.0, 0.05).unwrap().unwrap();
        assert_close(likeliest(2.1), 0.562606939438272, 1e-9);
        assert_close(likeliest(2.5), 1.1379207151253865, 1e-9);
        assert_close(likeliest(3.0), 2.5224313081491094, 1e-9);
        assert_close(likeliest(4.0), 3.942772705278634, 1e-9);
        assert_close(likeliest(-3.0), -2.5224313081491094, 1e-9);
        assert_close(likeliest(1e6), 1e6, 1e-12);
        assert_eq!(significant_estimate(1.9, 1.0, 0.05), Ok(None));
        assert_close(significant_estimate(0.03, 0.01, 0.05).unwrap().unwrap(), 0.025224313081491094, 1e-9);
        assert_eq!(significant_estimate(1e300, 1e-300, 0.05), Ok(Some(1e300)));
    }

    #[test]
    fn impossible_input_is_refused() {
        let arms = contenders(&[1.0, 2.0], 1.0);
        assert_eq!(best_arm(&[], 0.0, 0.05), Err(StatsError::TooFewArms { arms: 0 }));
        assert!(best_arm(&arms, 1.0, 0.05).is_err());
        assert!(best_arm(&arms, -0.1, 0.05).is_err());
        assert!(best_arm(&arms, 0.0, 0.0).is_err());
        assert!(best_arm(&contenders(&[1.0, f64::NAN], 1.0), 0.0, 0.05).is_err());
        assert!(best_arm(&contenders(&[1.0, 2.0], 0.0), 0.0, 0.05).is_err());
        assert!(significant_estimate(1.0, 0.0, 0.05).is_err());
        assert!(significant_estimate(f64::NAN, 1.0, 0.05).is_err());
        let broken = Candidate { estimate: 1.0, standard_error: -1.0, selected: true };
        assert!(false_coverage_intervals(&[broken], 0.05).is_err());
    }
}
