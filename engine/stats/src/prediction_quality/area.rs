//! The area under the ROC curve, and how sure it is.
//!
//! Enters: units in order of their predictions. Leaves: the area with its interval, and for each unit the share of the
//! other class that it is rightly ranked against, from whose variances and covariances over units all errors follow.
//!
//! `DeLong`, `DeLong` and Clarke-Pearson (1988), Biometrics 44(3). With m units that have the outcome and n that have
//! not, Var(area) = S₁/m + S₀/n, S₁ and S₀ the sample variances of those shares within each class; for two models the
//! covariances. The shares come from one pass over sorted predictions, ties counted half: what Sun and Xu (2014), IEEE
//! Signal Processing Letters 21(11), write with midranks.

use super::{ONE_CLASS, ties};
use crate::distribution::normal;
use crate::interval::{Estimate, Interval};
use crate::logistic::{log_odds, probability};
use crate::numeric::length;

const ONE_UNIT: &str = "a class has a single unit: the area's error is unknown";
const SAME_PREDICTION: &str = "every prediction is the same: nothing is ranked";
const WITHOUT_FAIL: &str = "classes do not overlap: the area's error is zero in these units, and unknown in others";

/// For each unit the share of the other class that it is rightly ranked against, 0 to 1.
#[derive(Debug, Clone)]
pub(super) struct Placements<'a> {
    shares: Vec<f64>,
    outcomes: &'a [bool],
    with: usize,
    without: usize,
}

impl<'a> Placements<'a> {
    /// None where a class is empty. `order` is of falling predictions.
    pub(super) fn of(predictions: &[f64], outcomes: &'a [bool], order: &[usize]) -> Option<Self> {
        let with = outcomes.iter().filter(|&&outcome| outcome).count();
        let without = outcomes.len() - with;
        if with == 0 || without == 0 {
            return None;
        }
        let mut shares = vec![0.0; outcomes.len()];
        let (mut with_above, mut without_above) = (0, 0);
        for tied in ties(predictions, order) {
            let with_here = tied.iter().filter(|&&unit| outcomes[unit]).count();
            let without_here = tied.len() - with_here;
            let below = without - without_above - without_here;
            let of_with = (length(below) + 0.5 * length(without_here)) / length(without);
            let of_without = (length(with_above) + 0.5 * length(with_here)) / length(with);
            for &unit in tied {
                shares[unit] = if outcomes[unit] { of_with } else { of_without };
            }
            with_above += with_here;
            without_above += without_here;
        }
        Some(Self { shares, outcomes, with, without })
    }

    fn of_class(&self, class: bool) -> impl Iterator<Item = f64> {
        self.shares.iter().zip(self.outcomes).filter(move |&(_, outcome)| *outcome == class).map(|(share, _)| *share)
    }

    fn mean(&self, class: bool) -> f64 {
        self.of_class(class).sum::<f64>() / length(if class { self.with } else { self.without })
    }

    pub(super) fn area(&self) -> f64 {
        self.mean(true).clamp(0.0, 1.0)
    }

    /// Covariance of the areas of two models on the same units; of one with itself the variance. None where a class has
    /// a single unit.
    pub(super) fn covariance(&self, other: &Self) -> Option<f64> {
        let of_class = |class: bool, units: usize| {
            let (own_mean, other_mean) = (self.mean(class), other.mean(class));
            let products = self.of_class(class).zip(other.of_class(class));
            let sum: f64 = products.map(|(own, other)| (own - own_mean) * (other - other_mean)).sum();
            (units > 1).then(|| sum / length(units - 1) / length(units))
        };
        Some(of_class(true, self.with)? + of_class(false, self.without)?)
    }
}

/// The area with its interval on the scale of log-odds.
pub(super) fn estimate(predictions: &[f64], outcomes: &[bool], order: &[usize], alpha: f64) -> Estimate {
    let Some(placements) = Placements::of(predictions, outcomes, order) else {
        return Estimate::undefined(ONE_CLASS);
    };
    let area = placements.area();
    let unsure = |note: &str| Estimate::new(area, Interval::undefined(note));
    let Some(variance) = placements.covariance(&placements) else {
        return unsure(ONE_UNIT);
    };
    if ties(predictions, order).count() == 1 {
        return unsure(SAME_PREDICTION);
    }
    if area <= 0.0 || area >= 1.0 || variance <= 0.0 {
        return unsure(WITHOUT_FAIL);
    }
    let half_width = normal::critical_value(alpha) * variance.sqrt() / (area * (1.0 - area));
    let centre = log_odds(area);
    Estimate::new(area, Interval::from_ends(probability(centre - half_width), probability(centre + half_width)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::descending;
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn ties_count_half() {
        // Pairs of with and without: 3 · 2. Right: 0.8 twice, 0.5 once and a tie, 0.1 none: 3.5 of 6.
        let (predictions, outcomes) = ([0.8, 0.5, 0.1, 0.5, 0.3], [true, true, true, false, false]);
        let order = descending(&predictions);
        let placements = Placements::of(&predictions, &outcomes, &order).unwrap();
        assert_close(placements.area(), 3.5 / 6.0, 1e-15);
        // Shares of those with: 1, 0.75, 0; of those without: 0.5, 2/3.
        let with = (7.0_f64 / 12.0, [1.0, 0.75, 0.0]);
        let squares: f64 = with.1.iter().map(|share| (share - with.0) * (share - with.0)).sum();
        let expected = squares / 6.0 + (1.0_f64 / 12.0).powi(2);
        assert_close(placements.covariance(&placements).unwrap(), expected, 1e-14);
    }

    #[test]
    fn no_interval_without_an_error() {
        let of =
            |predictions: &[f64], outcomes: &[bool]| estimate(predictions, outcomes, &descending(predictions), 0.05);
        let perfect = of(&[0.9, 0.8, 0.2, 0.1], &[true, true, false, false]);
        assert_eq!((perfect.estimate, perfect.note.as_deref()), (Some(1.0), Some(WITHOUT_FAIL)));
        let constant = of(&[0.5; 4], &[true, true, false, false]);
        assert_eq!((constant.estimate, constant.note.as_deref()), (Some(0.5), Some(SAME_PREDICTION)));
        let single = of(&[0.9, 0.8, 0.2], &[false, true, false]);
        assert_eq!((single.estimate, single.note.as_deref()), (Some(0.5), Some(ONE_UNIT)));
        assert_eq!(of(&[0.5], &[true]).note.as_deref(), Some(ONE_CLASS));
    }
}
