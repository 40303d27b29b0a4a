//! Looks before the end.
//!
//! A false positive is a difference found at any look of a replicate, a miss an interval of any look that does not hold the
//! true difference. In the A/B replicates the treatment's rate (or share of buyers) is half as high again.

use crate::random::{Binomial, Random, real};
use crate::study::{ALPHA, Claim, Method, Seen, Study};
use sendlift_stats::sequential::{BoundaryShape, GroupSequential, Spending, always_valid_means};
use sendlift_stats::{Comparison, Effect, EstimatedEffect, Moments, Proportion, StatsError};

/// Of the standard normal distribution, for the tests that know nothing of looks.
const CRITICAL: f64 = 1.959_963_984_540_054;

/// Share of recipients who buy, and the logarithm of what they spend.
const BUYERS: f64 = 0.05;
const CENTRE: f64 = 3.0;
const SPREAD: f64 = 1.0;

/// What the treatment multiplies a rate by.
const RISE: f64 = 1.5;

/// Expected successes of an arm at the first look from which the always-valid interval is held to its claim: with none
/// in either arm it has no width.
const ENOUGH_AT_FIRST: f64 = 5.0;

pub fn studies(quick: bool) -> Result<Vec<Study>, StatsError> {
    if quick {
        return Ok(vec![
            always_valid_rates(0.02, 20, 250, 3_000),
            always_valid_revenue(20, 500, 300),
            few_looks(0.2, 3, 1_000, 3_000)?,
            at_the_stop(0.2, 3, 200, 150)?,
        ]);
    }
    let mut studies = Vec::new();
    for looks in [5, 20, 100] {
        for (rate, units) in [(0.005, 100), (0.005, 1_000), (0.02, 250), (0.2, 100)] {
            studies.push(always_valid_rates(rate, looks, units, 5_000));
        }
    }
    for (looks, units) in [(20, 100), (20, 500), (100, 500)] {
        studies.push(always_valid_revenue(looks, units, 3_000));
    }
    for looks in [3, 5] {
        for (rate, units) in [(0.02, 1_000), (0.2, 200), (0.2, 1_000)] {
            studies.push(few_looks(rate, looks, units, 20_000)?);
        }
        studies.push(at_the_stop(0.2, looks, 200, 2_000)?);
    }
    Ok(studies)
}

/// The arms at one look.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    control: Moments,
    treatment: Moments,
}

impl Look {
    fn effect(&self) -> Result<Effect, StatsError> {
        Effect::of_means(&self.control, &self.treatment)
    }
}

/// The arms at each of a number of looks; each look has all units before it.
fn path(
    looks: u64,
    random: &mut Random,
    mut batch: impl FnMut(&mut Random) -> Result<Look, StatsError>,
) -> Result<Vec<Look>, StatsError> {
    let mut so_far = Look::default();
    let mut path = Vec::new();
    for _ in 0..looks {
        let added = batch(random)?;
        so_far =
            Look { control: so_far.control.merge(added.control), treatment: so_far.treatment.merge(added.treatment) };
        path.push(so_far);
    }
    Ok(path)
}

/// Recipients, of each arm, that come between two looks.
#[derive(Debug, Clone)]
struct Rates {
    units: u64,
    control: Binomial,
    better: Binomial,
    difference: f64,
}

impl Rates {
    fn new(units: u64, rate: f64) -> Self {
        Self {
            units,
            control: Binomial::new(units, rate),
            better: Binomial::new(units, RISE * rate),
            difference: (RISE - 1.0) * rate,
        }
    }

    /// Both arms alike, or the treatment better.
    fn path(&self, looks: u64, is_better: bool, random: &mut Random) -> Result<Vec<Look>, StatsError> {
        let treatment = if is_better { &self.better } else { &self.control };
        path(looks, random, |random| {
            Ok(Look {
                control: Proportion::new(self.units, self.control.draw(random))?.to_moments()?,
                treatment: Proportion::new(self.units, treatment.draw(random))?.to_moments()?,
            })
        })
    }
}

fn always_valid_rates(rate: f64, looks: u64, units: u64, replicates: u64) -> Study {
    let rates = Rates::new(units, rate);
    let difference = rates.difference;
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let null = rates.path(looks, false, random)?;
        let real = rates.path(looks, true, random)?;
        seen_always(&null, &real, difference)
    };
    let enough = real(units) * rate >= ENOUGH_AT_FIRST;
    Study {
        family: "Any number of looks",
        data: format!("{percent} %, {looks} looks, {units} an arm each", percent = 100.0 * rate),
        methods: always_valid_methods(enough),
        replicates,
        simulate: Box::new(simulate),
    }
}

fn always_valid_revenue(looks: u64, units: u64, replicates: u64) -> Study {
    let control_buyers = Binomial::new(units, BUYERS);
    let more_buyers = Binomial::new(units, RISE * BUYERS);
    let difference = (RISE - 1.0) * BUYERS * (CENTRE + SPREAD * SPREAD / 2.0).exp();
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let mut paths = Vec::with_capacity(2);
        for buyers in [&control_buyers, &more_buyers] {
            paths.push(path(looks, random, |random| {
                Ok(Look {
                    control: spending(units, control_buyers.draw(random), random)?,
                    treatment: spending(units, buyers.draw(random), random)?,
                })
            })?);
        }
        let [null, real] = &paths[..] else { return Ok(Vec::new()) };
        seen_always(null, real, difference)
    };
    Study {
        family: "Any number of looks",
        data: format!("revenue, 95 % zeros, {looks} looks, {units} an arm each"),
        methods: always_valid_methods(real(units) * BUYERS >= 4.0 * ENOUGH_AT_FIRST),
        replicates,
        simulate: Box::new(simulate),
    }
}

/// Revenue of `units` recipients, of whom `buyers` buy.
fn spending(units: u64, buyers: u64, random: &mut Random) -> Result<Moments, StatsError> {
    let bought = Moments::from_values((0..buyers).map(|_| random.log_normal(CENTRE, SPREAD)))?;
    Ok(bought.merge(Moments::from_n_mean_variance(units - buyers, 0.0, 0.0)?))
}

fn always_valid_methods(enough: bool) -> Vec<Method> {
    vec![
        Method::new("always valid", Claim::AT_MOST.binding_if(enough)),
        Method::new("plain test at every look, for contrast", Claim::CONTRAST),
    ]
}

fn seen_always(null: &[Look], real: &[Look], difference: f64) -> Result<Vec<Seen>, StatsError> {
    let planned = real.last().map_or(1, |look| look.control.n + look.treatment.n);
    let at_each = |path: &[Look]| -> Result<Vec<Comparison>, StatsError> {
        path.iter().map(|look| always_valid_means(&look.control, &look.treatment, planned, ALPHA)).collect()
    };
    let always_valid = Seen {
        false_positive: Some(at_each(null)?.iter().any(|look| look.is_significant(ALPHA))),
        missed: Some(at_each(real)?.iter().any(|look| !look.difference.contains(difference))),
    };
    let bounds = vec![Some(CRITICAL); real.len()];
    Ok(vec![always_valid, seen_within(&bounds, null, real, difference)?])
}

/// What a test with a critical value at each look finds, and whether the estimate ± critical value × standard error ever
/// misses. None is a look without a test.
fn seen_within(bounds: &[Option<f64>], null: &[Look], real: &[Look], difference: f64) -> Result<Seen, StatsError> {
    let is_beyond = |path: &[Look], hypothesis: f64| -> Result<bool, StatsError> {
        for (look, bound) in path.iter().zip(bounds) {
            if let (Effect::Estimated(parts), Some(bound)) = (look.effect()?, bound)
                && distance(&parts, hypothesis) > *bound
            {
                return Ok(true);
            }
        }
        Ok(false)
    };
    Ok(Seen { false_positive: Some(is_beyond(null, 0.0)?), missed: Some(is_beyond(real, difference)?) })
}

/// Standard errors between an effect and a hypothesis.
fn distance(effect: &EstimatedEffect, hypothesis: f64) -> f64 {
    (effect.difference - hypothesis).abs() / effect.standard_error
}

/// The plans that are tried, with looks equally far apart.
fn plans(looks: u64) -> Result<[(&'static str, GroupSequential); 3], StatsError> {
    let fractions: Vec<f64> = (1..=looks).map(|look| real(look) / real(looks)).collect();
    Ok([
        ("O'Brien-Fleming", GroupSequential::planned(BoundaryShape::OBrienFleming, &fractions, ALPHA)?),
        ("Pocock", GroupSequential::planned(BoundaryShape::Pocock, &fractions, ALPHA)?),
        ("alpha spending", GroupSequential::alpha_spending(Spending::OBrienFleming, &fractions, ALPHA)?),
    ])
}

/// The boundaries, and the repeated intervals, which hold at every look.
fn few_looks(rate: f64, looks: u64, units: u64, replicates: u64) -> Result<Study, StatsError> {
    let plans = plans(looks)?;
    let mut methods: Vec<Method> = plans.iter().map(|&(name, _)| Method::new(name, Claim::NEAR)).collect();
    methods.push(Method::new("plain test at every look, for contrast", Claim::CONTRAST));
    let mut bounds: Vec<Vec<Option<f64>>> =
        plans.iter().map(|(_, plan)| plan.looks.iter().map(|look| look.critical_value).collect()).collect();
    bounds.push(vec![Some(CRITICAL); bounds[0].len()]);
    let rates = Rates::new(units, rate);
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let null = rates.path(looks, false, random)?;
        let real = rates.path(looks, true, random)?;
        bounds.iter().map(|bounds| seen_within(bounds, &null, &real, rates.difference)).collect()
    };
    Ok(Study {
        family: "A few planned looks",
        data: format!("{percent} %, {looks} looks, {units} an arm each", percent = 100.0 * rate),
        methods,
        replicates,
        simulate: Box::new(simulate),
    })
}

/// The interval that is reported when the experiment stops, at a crossing or at the end. Slow, and so alone: it integrates
/// over the looks before at some thirty differences.
fn at_the_stop(rate: f64, looks: u64, units: u64, replicates: u64) -> Result<Study, StatsError> {
    let plans = plans(looks)?;
    let methods = plans.iter().map(|&(name, _)| Method::new(name, Claim::NEAR)).collect();
    let rates = Rates::new(units, rate);
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let real = rates.path(looks, true, random)?;
        plans
            .iter()
            .map(|(_, plan)| -> Result<Seen, StatsError> {
                for (look, number) in real.iter().zip(1..) {
                    if let Some(stopped) = plan.analyse(number, &look.effect()?)?.stopped {
                        let missed = !stopped.difference.contains(rates.difference);
                        return Ok(Seen { false_positive: None, missed: Some(missed) });
                    }
                }
                Ok(Seen::default())
            })
            .collect()
    };
    Ok(Study {
        family: "A few planned looks",
        data: format!("{percent} %, {looks} looks, interval at the stop", percent = 100.0 * rate),
        methods,
        replicates,
        simulate: Box::new(simulate),
    })
}
