//! One pass down a ranking: the curves, and the areas under them.
//!
//! Enters: units in the order of a score, and how many times each counts. Leaves: [`Measures`], NaN where an arm is
//! empty or there is no perfect order.

use super::super::units::RandomisedUnits;
use super::CURVE_POINTS;
use crate::numeric::length;

/// Units from the highest score to the lowest.
#[derive(Debug, Clone)]
pub(super) struct Ranked {
    units: Vec<RankedUnit>,
    binary: bool,
}

#[derive(Debug, Clone, Copy)]
struct RankedUnit {
    outcome: f64,
    weight: f64,
    /// Its place before sorting.
    unit: usize,
    treated: bool,
    ends_block: bool,
}

/// The curves at a share, per unit of the population.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) incremental: f64,
    /// NaN while an arm is empty.
    pub(super) uplift: f64,
}

/// What a pass finds, per unit of the population.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measures {
    pub(super) average_effect: f64,
    pub(super) qini: f64,
    pub(super) normalised_qini: f64,
    pub(super) area_under_uplift_curve: f64,
    pub(super) points: Vec<Point>,
}

impl Measures {
    /// The areas less those of another ranking; the rest stays.
    pub(super) fn less(mut self, other: &Self) -> Self {
        self.qini -= other.qini;
        self.area_under_uplift_curve -= other.area_under_uplift_curve;
        self
    }
}

/// Sums so far down a ranking.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// Units, each as often as it is drawn.
    units: f64,
    /// Weight and weighted outcome of the control and, second, of the treated.
    arms: [[f64; 2]; 2],
}

/// Both curves, not yet divided by anything: Radcliffe's Q, and the uplift so far times the units so far.
#[derive(Debug, Clone, Copy, Default)]
struct Heights {
    qini: f64,
    uplift: f64,
}

/// What is known at the foot of a ranking, not yet divided by anything.
#[derive(Debug, Clone)]
struct Descent {
    sums: Sums,
    areas: Heights,
    points: Vec<Point>,
    /// Sums of outcomes, control and treated: of a binary one, the units that have it, for the perfect order.
    responders: [f64; 2],
}

impl Sums {
    fn add(&mut self, unit: &RankedUnit, draws: u8) {
        let draws = f64::from(draws);
        let weight = draws * unit.weight;
        let arm = &mut self.arms[usize::from(unit.treated)];
        arm[0] += weight;
        arm[1] += weight * unit.outcome;
        self.units += draws;
    }

    fn both_arms(&self) -> bool {
        self.arms.iter().all(|[weight, _]| *weight > 0.0)
    }

    fn heights(&self) -> Heights {
        let mean = |[weight, outcome]: [f64; 2]| if weight > 0.0 { outcome / weight } else { 0.0 };
        let [control, treated] = self.arms;
        let expected = mean(control);
        Heights { qini: treated[1] - expected * treated[0], uplift: (mean(treated) - expected) * self.units }
    }
}

impl Ranked {
    pub(super) fn new(units: RandomisedUnits<'_>, score: &[f64]) -> Self {
        let order = falling(score);
        let even = units.evenly_randomised();
        let ranked = order
            .into_iter()
            .map(|(unit, ends_block)| RankedUnit {
                outcome: units.outcome()[unit],
                // Equal weights cancel; ones keep the sums whole.
                weight: if even { 1.0 } else { units.weight(unit) },
                unit,
                treated: units.treated()[unit],
                ends_block,
            })
            .collect();
        Self { units: ranked, binary: units.binary() }
    }

    /// Everything, with each unit counted as often as `draws` says at its place before sorting.
    pub(super) fn measure(&self, draws: &[u8]) -> Measures {
        let descent = self.descend(draws);
        let (all, end) = (&descent.sums, descent.sums.heights());
        if !all.both_arms() {
            let point = Point { incremental: f64::NAN, uplift: f64::NAN };
            return Measures {
                average_effect: f64::NAN,
                qini: f64::NAN,
                normalised_qini: f64::NAN,
                area_under_uplift_curve: f64::NAN,
                points: vec![point; CURVE_POINTS as usize],
            };
        }
        let diagonal = all.units * end.qini / 2.0;
        let above_diagonal = descent.areas.qini - diagonal;
        let normalised_qini = if self.binary {
            let perfect = perfect_area(all, descent.responders) - diagonal;
            if perfect > 0.0 { above_diagonal / perfect } else { f64::NAN }
        } else {
            f64::NAN
        };
        let weight_treated = all.arms[1][0];
        let per_unit = |point: &Point| Point { incremental: point.incremental / weight_treated, ..*point };
        Measures {
            average_effect: end.uplift / all.units,
            qini: above_diagonal / all.units / weight_treated,
            normalised_qini,
            area_under_uplift_curve: descent.areas.uplift / all.units / all.units,
            points: descent.points.iter().map(per_unit).collect(),
        }
    }

    fn descend(&self, draws: &[u8]) -> Descent {
        let number: f64 = draws.iter().map(|draws| f64::from(*draws)).sum();
        let mut areas = Heights::default();
        let mut points = Vec::with_capacity(CURVE_POINTS as usize);
        let mut next_point = number / f64::from(CURVE_POINTS);
        let mut sums = Sums::default();
        let mut responders = [0.0; 2];
        let (mut before, mut units_before) = (Heights::default(), 0.0);
        for unit in &self.units {
            let drawn = draws[unit.unit];
            sums.add(unit, drawn);
            responders[usize::from(unit.treated)] += f64::from(drawn) * unit.outcome;
            if !unit.ends_block || sums.units <= units_before {
                continue;
            }
            let now = sums.heights();
            let step = sums.units - units_before;
            areas.qini += step * (before.qini + now.qini) / 2.0;
            areas.uplift += step * (before.uplift + now.uplift) / 2.0;
            // The last share is everyone; what rounding leaves over must not lose it.
            while next_point <= sums.units + 1e-9 * number && points.len() < CURVE_POINTS as usize {
                let along = ((next_point - units_before) / step).min(1.0);
                let qini = before.qini + along * (now.qini - before.qini);
                let uplift = before.uplift + along * (now.uplift - before.uplift);
                points.push(Point {
                    incremental: qini,
                    uplift: if sums.both_arms() { uplift / next_point } else { f64::NAN },
                });
                next_point = number * length(points.len() + 1) / f64::from(CURVE_POINTS);
            }
            (before, units_before) = (now, sums.units);
        }
        Descent { sums, areas, points, responders }
    }
}

/// Area under the Qini curve of the perfect order: treated with the outcome, then everyone without it, then control with
/// it.
fn perfect_area(all: &Sums, [control_responders, treated_responders]: [f64; 2]) -> f64 {
    let most = all.arms[1][1];
    let end = all.heights().qini;
    treated_responders * most / 2.0
        + (all.units - treated_responders - control_responders) * most
        + control_responders * (most + end) / 2.0
}

/// Places in falling order of their score, and whether each is the last of its equals.
pub(crate) fn falling(score: &[f64]) -> Vec<(usize, bool)> {
    // Adding zero makes the two zeros one.
    let mut order: Vec<(f64, usize)> = score.iter().map(|score| score + 0.0).zip(0..).collect();
    order.sort_unstable_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
    (0..order.len())
        .map(|rank| {
            let (score, place) = order[rank];
            (place, order.get(rank + 1).is_none_or(|next| next.0.total_cmp(&score).is_ne()))
        })
        .collect()
}
