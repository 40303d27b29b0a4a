//! Tests and intervals of two rates.
//!
//! A/B: the treatment's rate is half as high again as the control's. Results are kept by table of counts, which is no
//! more than memory: the same table has the same result.

use crate::random::{Binomial, Random, real};
use crate::study::{ALPHA, Claim, Method, Seen, Study};
use sendlift_stats::proportion::{
    ProportionTest, boschloo_exact_test, fisher_exact_test, newcombe_interval, recommended_for,
};
use sendlift_stats::{Proportion, StatsError, compare_proportions};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const FAMILY: &str = "Proportions";

/// Expected successes of an arm from which the approximations are held to their claim.
const ENOUGH_EXPECTED: f64 = 20.0;

/// Of the standard normal distribution, for Wald's interval.
const CRITICAL: f64 = 1.959_963_984_540_054;

pub fn studies(quick: bool) -> Vec<Study> {
    if quick {
        return vec![study(100, 0.02, true, 10_000), study(1_000, 0.02, false, 4_000), study(1_000, 0.2, false, 4_000)];
    }
    let mut studies = Vec::new();
    for (rate, exact_up_to) in [(0.005, 1_000), (0.02, 100), (0.2, 100)] {
        for (units, replicates) in [(100, 20_000), (1_000, 10_000), (10_000, 4_000)] {
            studies.push(study(units, rate, units <= exact_up_to, replicates));
        }
    }
    studies
}

/// The rates of the arms in an A/B replicate.
#[derive(Debug, Clone, Copy)]
struct Truth {
    control: f64,
    treatment: f64,
}

impl Truth {
    fn difference(self) -> f64 {
        self.treatment - self.control
    }

    fn odds_ratio(self) -> f64 {
        self.treatment / (1.0 - self.treatment) / (self.control / (1.0 - self.control))
    }
}

fn study(units: u64, rate: f64, exact: bool, replicates: u64) -> Study {
    let truth = Truth { control: rate, treatment: 1.5 * rate };
    let enough = real(units) * rate >= ENOUGH_EXPECTED;
    let mut methods = vec![
        Method::new("pooled z, score interval", Claim::NEAR.binding_if(enough)),
        Method::new("Newcombe's interval", Claim::CAUTIOUS.binding_if(enough)),
        Method::new("Fisher, Cornfield's odds ratio", Claim::AT_MOST),
        Method::new("Wald, for contrast", Claim::CONTRAST),
    ];
    if exact {
        methods.push(Method::new("Boschloo, Chan and Zhang's interval", Claim::AT_MOST));
        methods.push(Method::new("by the stated rule", Claim::CAUTIOUS));
    }
    let same = Binomial::new(units, truth.control);
    let better = Binomial::new(units, truth.treatment);
    let memory: Mutex<HashMap<(u64, u64), Vec<Seen>>> = Mutex::default();
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let control = same.draw(random);
        let tables = [(control, same.draw(random)), (control, better.draw(random))];
        let mut judged = Vec::with_capacity(tables.len());
        for table in tables {
            let known = memory.lock().unwrap_or_else(PoisonError::into_inner).get(&table).cloned();
            let seen = if let Some(seen) = known {
                seen
            } else {
                let seen = judge(units, table, truth, exact)?;
                memory.lock().unwrap_or_else(PoisonError::into_inner).insert(table, seen.clone());
                seen
            };
            judged.push(seen);
        }
        let [null, real] = &judged[..] else { return Ok(Vec::new()) };
        Ok(null
            .iter()
            .zip(real)
            .map(|(null, real)| Seen { false_positive: null.false_positive, missed: real.missed })
            .collect())
    };
    Study {
        family: FAMILY,
        data: format!("{percent} %, {units} an arm", percent = 100.0 * rate),
        methods,
        replicates,
        simulate: Box::new(simulate),
    }
}

/// What each method says of a table of (control, treatment) successes.
fn judge(units: u64, table: (u64, u64), truth: Truth, exact: bool) -> Result<Vec<Seen>, StatsError> {
    let (control, treatment) = (Proportion::new(units, table.0)?, Proportion::new(units, table.1)?);
    let difference = truth.difference();
    let pooled = compare_proportions(control, treatment, ALPHA)?;
    let pooled = Seen::of(&pooled, &pooled, difference);
    let newcombe = newcombe_interval(control, treatment, ALPHA)?;
    let fisher = fisher_exact_test(control, treatment, ALPHA)?;
    let fisher = Seen {
        false_positive: Some(fisher.p_value.is_some_and(|p_value| p_value < ALPHA)),
        missed: Some(!fisher.odds_ratio.contains(truth.odds_ratio())),
    };
    let mut seen = vec![
        pooled,
        Seen { false_positive: None, missed: Some(!newcombe.contains(difference)) },
        fisher,
        wald(units, table, difference),
    ];
    if exact {
        let boschloo = boschloo_exact_test(control, treatment, ALPHA)?;
        let boschloo = Seen {
            false_positive: Some(boschloo.p_value.is_some_and(|p_value| p_value < ALPHA)),
            missed: Some(!boschloo.difference.contains(difference)),
        };
        seen.push(boschloo);
        seen.push(match recommended_for(control, treatment)?.test {
            ProportionTest::PooledZ => pooled,
            ProportionTest::Boschloo => boschloo,
            ProportionTest::Fisher | ProportionTest::Barnard => fisher,
        });
    }
    Ok(seen)
}

/// The interval of the textbooks, estimate ± z × unpooled standard error, and the test that it inverts. Not in the crate:
/// without successes its standard error is zero.
fn wald(units: u64, table: (u64, u64), difference: f64) -> Seen {
    let units = real(units);
    let (control, treatment) = (real(table.0) / units, real(table.1) / units);
    let variance = (control * (1.0 - control) + treatment * (1.0 - treatment)) / units;
    let half_width = CRITICAL * variance.sqrt();
    let estimate = treatment - control;
    Seen { false_positive: Some(estimate.abs() > half_width), missed: Some((estimate - difference).abs() > half_width) }
}
