//! One half of the units: every segment's effect, its test, and segments taken together.
//!
//! Enters: both arms of each segment on this half. Leaves: what the search asks of it. Neither half knows of the other.

use super::{Arms, Question, SearchOptions};
use crate::adjust::{Stratum, compare_post_stratified};
use crate::comparison::{Comparison, compare_means, compare_proportions};
use crate::distribution::normal;
use crate::equivalence::Direction;
use crate::error::StatsError;
use crate::heterogeneity::{SegmentEffect, shrink};
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;
use crate::numeric::count;
use crate::proportion::Proportion;

const OVERLAPPING: &str = "segments overlap: their units together have to be counted, not added up";
const NONE_SELECTED: &str = "no segment was selected";

/// What an arm has to offer to be searched.
pub(super) trait ArmData: Copy {
    fn compare(control: Self, treatment: Self, alpha: f64) -> Result<Comparison, StatsError>;
    fn moments(self) -> Result<Moments, StatsError>;
}

impl ArmData for Proportion {
    fn compare(control: Self, treatment: Self, alpha: f64) -> Result<Comparison, StatsError> {
        compare_proportions(control, treatment, alpha)
    }

    fn moments(self) -> Result<Moments, StatsError> {
        self.to_moments()
    }
}

impl ArmData for Moments {
    fn compare(control: Self, treatment: Self, alpha: f64) -> Result<Comparison, StatsError> {
        compare_means(&control, &treatment, alpha)
    }

    fn moments(self) -> Result<Moments, StatsError> {
        self.check()?;
        Ok(self)
    }
}

/// 1 where higher is better, −1 where lower is.
pub(super) fn sign(direction: Direction) -> f64 {
    match direction {
        Direction::HigherIsBetter => 1.0,
        Direction::LowerIsBetter => -1.0,
    }
}

/// A two-sided p value, and on which side the estimate lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Test {
    /// Above zero where the estimate is better, below where it is worse.
    pub(super) better: f64,
    p_value: f64,
}

impl Test {
    pub(super) fn two_sided(self) -> f64 {
        self.p_value
    }

    pub(super) fn one_sided(self) -> f64 {
        if self.better > 0.0 { self.p_value / 2.0 } else { 1.0 - self.p_value / 2.0 }
    }
}

/// All segments on one half.
pub(super) struct Half<A> {
    arms: Vec<Arms<A>>,
    moments: Vec<Arms<Moments>>,
    comparisons: Vec<Comparison>,
    options: SearchOptions,
}

impl<A: ArmData> Half<A> {
    pub(super) fn new(arms: impl Iterator<Item = Arms<A>>, options: SearchOptions) -> Result<Self, StatsError> {
        let arms: Vec<Arms<A>> = arms.collect();
        let mut moments = Vec::with_capacity(arms.len());
        let mut comparisons = Vec::with_capacity(arms.len());
        for segment in &arms {
            moments.push(Arms { control: segment.control.moments()?, treatment: segment.treatment.moments()? });
            comparisons.push(A::compare(segment.control, segment.treatment, options.alpha)?);
        }
        Ok(Self { arms, moments, comparisons, options })
    }

    pub(super) fn has_units(&self, index: usize) -> bool {
        let segment = &self.moments[index];
        segment.control.n.min(segment.treatment.n) >= self.options.fewest_units
    }

    pub(super) fn compare(&self, index: usize, alpha: f64) -> Result<Comparison, StatsError> {
        A::compare(self.arms[index].control, self.arms[index].treatment, alpha)
    }

    /// The test of the question for one segment; none where it cannot be made.
    pub(super) fn test(&self, index: usize) -> Option<Test> {
        let (statistic, p_value) = match self.options.question {
            Question::BetterThanNone => {
                let comparison = &self.comparisons[index];
                (comparison.statistic?, comparison.p_value?)
            }
            Question::BetterThanTheRest => {
                let (difference, standard_error) = self.contrast(index)?;
                let z = difference / standard_error;
                (z, normal::two_sided_p_value(z))
            }
        };
        Some(Test { better: statistic * sign(self.options.direction), p_value })
    }

    /// The difference of one segment with its squared standard error; none with fewer than two units in an arm.
    fn effect(&self, index: usize) -> Option<(f64, f64)> {
        let segment = &self.moments[index];
        let variance = segment.control.squared_standard_error()? + segment.treatment.squared_standard_error()?;
        Some((segment.treatment.mean - segment.control.mean, variance))
    }

    fn units(&self, index: usize) -> f64 {
        count(self.moments[index].control.n) + count(self.moments[index].treatment.n)
    }

    /// A segment's difference less that of the others weighted by their units, with its standard error.
    fn contrast(&self, index: usize) -> Option<(f64, f64)> {
        if !self.options.disjoint {
            return None;
        }
        let (own, own_variance) = self.effect(index)?;
        let others: Vec<(f64, f64, f64)> = (0..self.arms.len())
            .filter(|other| *other != index)
            .filter_map(|other| self.effect(other).map(|(effect, variance)| (self.units(other), effect, variance)))
            .collect();
        let units: f64 = others.iter().map(|other| other.0).sum();
        if units <= 0.0 {
            return None;
        }
        let rest: f64 = others.iter().map(|(own_units, effect, _)| own_units / units * effect).sum();
        let rest_variance: f64 =
            others.iter().map(|(own_units, _, variance)| (own_units / units).powi(2) * variance).sum();
        let standard_error = (own_variance + rest_variance).sqrt();
        (standard_error > 0.0 && standard_error.is_finite()).then_some((own - rest, standard_error))
    }

    pub(super) fn against_the_rest(&self, index: usize, alpha: f64) -> Estimate {
        let Some((difference, standard_error)) = self.contrast(index) else {
            return Estimate::undefined(if self.options.disjoint {
                "too few units to compare with"
            } else {
                OVERLAPPING
            });
        };
        let half_width = normal::critical_value(alpha) * standard_error;
        Estimate::new(difference, Interval::from_ends(difference - half_width, difference + half_width))
    }

    /// Each difference drawn towards the mean of all, as far as there are at least two that vary.
    pub(super) fn shrunk(&self) -> Result<Vec<Option<f64>>, StatsError> {
        let effects: Vec<Option<SegmentEffect>> = (0..self.arms.len())
            .map(|index| {
                let (estimate, variance) = self.effect(index).filter(|_| self.has_units(index))?;
                // A variance so small that its inverse overflows comes of rounding alone.
                (variance > 0.0 && (1.0 / variance).is_finite()).then_some(SegmentEffect { estimate, variance })
            })
            .collect();
        let present: Vec<SegmentEffect> = effects.iter().flatten().copied().collect();
        if present.len() < 2 {
            return Ok(vec![None; effects.len()]);
        }
        let mut shrunk = shrink(&present)?.into_iter();
        Ok(effects.iter().map(|effect| effect.and_then(|_| shrunk.next()).map(|shrunk| shrunk.estimate)).collect())
    }

    /// The segments at `indices` as one, each weighted by its units, so that shares of the arms that differ between
    /// segments do not matter.
    pub(super) fn together(&self, indices: &[usize]) -> Result<Comparison, StatsError> {
        let alpha = self.options.alpha;
        match indices {
            [] => Ok(nothing(NONE_SELECTED)),
            [only] => self.compare(*only, alpha),
            _ if !self.options.disjoint => Ok(nothing(OVERLAPPING)),
            _ => {
                let strata: Vec<Stratum> = indices
                    .iter()
                    .map(|&index| &self.moments[index])
                    .map(|segment| Stratum { control: segment.control, treatment: segment.treatment })
                    .collect();
                Ok(compare_post_stratified(&strata, alpha)?.comparison)
            }
        }
    }
}

/// A comparison of nothing, and why.
fn nothing(note: &str) -> Comparison {
    Comparison {
        difference: Estimate::undefined(note),
        lift: Estimate::undefined(note),
        statistic: None,
        p_value: None,
        method: String::new(),
    }
}
