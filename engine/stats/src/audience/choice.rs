//! The search for the units: Lagrangian relaxation of the budget by bisection, then swaps at the margin.
//!
//! Enters: profits above zero, costs, budget and cap. Leaves: [`Choice`].
//!
//! At a price λ of money the best units under the cap are those of the greatest profit − λ cost above zero. The dearer
//! money is, the less they cost; bisection finds the λ where they come to cost no more than the budget. Their profit at
//! that price plus λ × budget bounds that of any audience (weak duality). Units that are in, or out, at both ends of the
//! bracket whatever happens between are settled, so that later steps look at ever fewer.

use crate::numeric::CarefulSum;
use std::cmp::Ordering;

/// Rounding of sums of costs that must not cost a unit.
const ROUNDING: f64 = 1e-12;
/// Bisection steps: so many halvings leave no float between two others.
const MOST_STEPS: u32 = 64;

/// The units to choose from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) profit: &'a [f64],
    pub(super) cost: &'a [f64],
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Choice {
    pub(super) units: Vec<usize>,
    pub(super) bound: f64,
    pub(super) budget_price: f64,
    pub(super) unit_price: f64,
}

/// The best units of a pool at a price of money.
#[derive(Debug, Clone)]
struct Best {
    units: Vec<usize>,
    cost: f64,
    /// The least profit less price that is chosen where all slots are taken; zero where some are free.
    threshold: f64,
    /// Sum of profit less price.
    value: f64,
}

impl Search<'_> {
    /// The most profitable of `pool`.
    pub(super) fn without_budget(&self, pool: &[usize], most_units: usize) -> Choice {
        if most_units == 0 {
            return self.nobody(pool, true);
        }
        let best = self.best(pool, most_units, 0.0);
        Choice {
            unit_price: unit_price(&best, pool.len(), most_units),
            bound: best.value,
            units: best.units,
            budget_price: 0.0,
        }
    }

    /// The best of `pool` within `budget`. A unit that the whole budget does not pay for is never chosen.
    pub(super) fn within(&self, pool: &[usize], budget: f64, most_units: usize) -> Choice {
        let allowed = budget * (1.0 + ROUNDING);
        let (mut pool, beyond): (Vec<usize>, Vec<usize>) =
            pool.iter().copied().partition(|&unit| self.cost[unit] <= allowed);
        if most_units == 0 || pool.is_empty() {
            return self.nobody(if pool.is_empty() { &beyond } else { &pool }, most_units == 0);
        }
        let mut slots = most_units.min(pool.len());
        let free = self.best(&pool, slots, 0.0);
        if free.cost <= allowed {
            return Choice {
                unit_price: unit_price(&free, pool.len(), slots),
                bound: free.value,
                units: free.units,
                budget_price: 0.0,
            };
        }
        let dearest =
            pool.iter().filter(|&&unit| self.cost[unit] > 0.0).map(|&unit| self.profit[unit] / self.cost[unit]);
        // Twice the best return: only what costs nothing is worth having.
        let (mut low, mut high) = (0.0_f64, (2.0 * dearest.fold(0.0, f64::max)).min(f64::MAX));
        let (mut at_low, mut at_high) = (free, self.best(&pool, slots, high));
        let mut settled = Vec::new();
        let (mut settled_cost, mut settled_profit) = (CarefulSum::default(), CarefulSum::default());
        for _ in 0..MOST_STEPS {
            // Halfway in the order of floats, which is that of their bits: any scale of prices takes as many steps.
            let middle = f64::from_bits(u64::midpoint(low.to_bits(), high.to_bits()));
            if middle <= low || middle >= high {
                break;
            }
            let best = self.best(&pool, slots, middle);
            if settled_cost.value() + best.cost > allowed {
                (low, at_low) = (middle, best);
            } else {
                (high, at_high) = (middle, best);
            }
            // Profit less price only falls along the bracket, and so does the threshold.
            let before = pool.len();
            pool.retain(|&unit| {
                let most = self.reduced(unit, low);
                let is_out = most <= 0.0 || most < at_high.threshold;
                let is_in = self.reduced(unit, high) > at_low.threshold;
                if is_in {
                    settled.push(unit);
                    settled_cost.add(self.cost[unit]);
                    settled_profit.add(self.profit[unit]);
                    slots -= 1;
                }
                !is_in && !is_out
            });
            if pool.len() < before {
                (at_low, at_high) = (self.best(&pool, slots, low), self.best(&pool, slots, high));
            }
        }
        let bound = settled_profit.value() + high * (budget - settled_cost.value()) + at_high.value;
        let unit_price = if settled.len() + at_high.units.len() == most_units { at_high.threshold } else { 0.0 };
        let mut chosen = settled;
        let mut spent = settled_cost;
        spent.add(at_high.cost);
        chosen.extend(self.swapped(&at_high.units, &at_low.units, &mut spent, allowed));
        self.fill(&mut chosen, spent, allowed, most_units);
        Choice { units: chosen, bound, budget_price: high, unit_price }
    }

    /// Profit less the price of its cost.
    fn reduced(&self, unit: usize, price: f64) -> f64 {
        self.profit[unit] - price * self.cost[unit]
    }

    /// The best of `pool` for so many slots; of equals those that cost less, then those that come first.
    fn best(&self, pool: &[usize], slots: usize, price: f64) -> Best {
        let mut valued: Vec<(f64, usize)> =
            pool.iter().map(|&unit| (self.reduced(unit, price), unit)).filter(|(reduced, _)| *reduced > 0.0).collect();
        let full = slots > 0 && valued.len() >= slots;
        if full && valued.len() > slots {
            valued.select_nth_unstable_by(slots - 1, |left, right| {
                right
                    .0
                    .total_cmp(&left.0)
                    .then_with(|| self.cost[left.1].total_cmp(&self.cost[right.1]))
                    .then(left.1.cmp(&right.1))
            });
        }
        valued.truncate(slots);
        Best {
            cost: CarefulSum::of(valued.iter().map(|(_, unit)| self.cost[*unit])).value(),
            threshold: if full {
                valued.iter().map(|(reduced, _)| *reduced).fold(f64::INFINITY, f64::min)
            } else {
                0.0
            },
            value: CarefulSum::of(valued.iter().map(|(reduced, _)| *reduced)).value(),
            units: valued.into_iter().map(|(_, unit)| unit).collect(),
        }
    }

    /// From the units that the budget pays for towards those that it just does not, as far as it goes. At the margin
    /// both are worth the same less their price, so that whoever costs more brings more.
    fn swapped(&self, affordable: &[usize], beyond: &[usize], spent: &mut CarefulSum, allowed: f64) -> Vec<usize> {
        let only = |of: &[usize], other: &[usize]| -> Vec<usize> {
            let mut sorted = other.to_vec();
            sorted.sort_unstable();
            let mut own: Vec<usize> = of.iter().copied().filter(|unit| sorted.binary_search(unit).is_err()).collect();
            own.sort_unstable_by(|one, other| self.cheaper(*one, *other));
            own
        };
        let leaving = only(affordable, beyond);
        let coming: Vec<usize> = only(beyond, affordable).into_iter().rev().collect();
        let mut chosen: Vec<usize> = affordable.to_vec();
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for (place, &unit) in coming.iter().enumerate() {
            let leaver = leaving.get(place).copied();
            let more = self.cost[unit] - leaver.map_or(0.0, |leaver| self.cost[leaver]);
            let gain = self.profit[unit] - leaver.map_or(0.0, |leaver| self.profit[leaver]);
            if gain > 0.0 && spent.value() + more <= allowed {
                spent.add(more);
                come.push(unit);
                gone.extend(leaver);
            }
        }
        gone.sort_unstable();
        chosen.retain(|unit| gone.binary_search(unit).is_err());
        chosen.extend(come);
        chosen
    }

    /// Adds whoever still fits, the best return first.
    fn fill(&self, chosen: &mut Vec<usize>, mut spent: CarefulSum, allowed: f64, most_units: usize) {
        if chosen.len() >= most_units {
            return;
        }
        let mut taken = vec![false; self.profit.len()];
        for &unit in chosen.iter() {
            taken[unit] = true;
        }
        let mut rest: Vec<usize> = (0..self.profit.len())
            .filter(|&unit| !taken[unit] && self.profit[unit] > 0.0 && spent.value() + self.cost[unit] <= allowed)
            .collect();
        rest.sort_unstable_by(|&one, &other| {
            // The better return without dividing by a cost of zero.
            let (one_return, other_return) = (self.profit[one] * self.cost[other], self.profit[other] * self.cost[one]);
            other_return.total_cmp(&one_return).then_with(|| self.cheaper(one, other))
        });
        for unit in rest {
            if chosen.len() == most_units {
                return;
            }
            if spent.value() + self.cost[unit] <= allowed {
                spent.add(self.cost[unit]);
                chosen.push(unit);
            }
        }
    }

    /// Orders by cost, then by profit from the highest, then by place.
    fn cheaper(&self, one: usize, other: usize) -> Ordering {
        self.cost[one]
            .total_cmp(&self.cost[other])
            .then_with(|| self.profit[other].total_cmp(&self.profit[one]))
            .then(one.cmp(&other))
    }

    /// Nobody, and what the first slot or the first unit of money would bring.
    fn nobody(&self, pool: &[usize], no_slot: bool) -> Choice {
        let greatest = |of: &dyn Fn(usize) -> f64| pool.iter().map(|&unit| of(unit)).fold(0.0, f64::max);
        if no_slot {
            Choice { unit_price: greatest(&|unit| self.profit[unit]), ..Choice::default() }
        } else {
            Choice { budget_price: greatest(&|unit| self.profit[unit] / self.cost[unit]), ..Choice::default() }
        }
    }
}

/// What one more unit would bring, about that of the last one chosen; zero where there is room for all.
fn unit_price(best: &Best, pool: usize, slots: usize) -> f64 {
    if pool > slots { best.threshold } else { 0.0 }
}
