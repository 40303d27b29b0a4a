//! Covariates and strata.
//!
//! The effect differs with the covariate (or from stratum to stratum), and what the interval has to hold is its mean over
//! all who could have been recipients.

use crate::random::{Random, index};
use crate::study::{ALPHA, Claim, Method, Seen, Study};
use sendlift_stats::adjust::Stratum;
use sendlift_stats::{
    Comparison, CrossMoments, Moments, Outcome, Slopes, StatsError, compare_adjusted, compare_adjusted_units,
    compare_post_stratified,
};

const FAMILY: &str = "Covariate adjustment";

/// The mean effect on a number.
const DIFFERENCE: f64 = 0.3;

/// Outcome, then covariates, of each unit.
type Rows = Vec<Vec<f64>>;

pub fn studies(quick: bool) -> Vec<Study> {
    if quick {
        return vec![numbers(1_000, 400), rates(1_000, 500), strata(1_000, 1_000)];
    }
    let mut studies = Vec::new();
    for (units, replicates) in [(100, 10_000), (1_000, 5_000), (10_000, 1_000)] {
        studies.extend([numbers(units, replicates), rates(units, replicates), strata(units, replicates)]);
    }
    studies
}

/// A skewed number with two normal covariates.
fn numbers(units: u64, replicates: u64) -> Study {
    let arm = move |effect: f64, random: &mut Random| -> Rows {
        (0..units)
            .map(|_| {
                let (first, second) = (random.normal(), random.normal());
                let own_effect = effect * (1.0 + 0.7 * first);
                vec![5.0 + 0.7 * first + 0.4 * second + own_effect + noise(random), first, second]
            })
            .collect()
    };
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (control, same, better) = (arm(0.0, random), arm(0.0, random), arm(DIFFERENCE, random));
        seen_by_all(&control, &same, &better, DIFFERENCE)
    };
    Study {
        family: FAMILY,
        data: format!("skewed number, two covariates, {units} an arm"),
        methods: methods(units),
        replicates,
        simulate: Box::new(simulate),
    }
}

/// Conversions, and whether the recipient converted in the weeks before.
fn rates(units: u64, replicates: u64) -> Study {
    const BEFORE: f64 = 0.3;
    const DIFFERENCE_OF_RATES: f64 = 0.03;
    let arm = move |effect: f64, random: &mut Random| -> Rows {
        (0..units)
            .map(|_| {
                let before = random.uniform() < BEFORE;
                // All of the effect is on those who converted before.
                let rate = if before { 0.4 + effect / BEFORE } else { 0.1 };
                vec![zero_or_one(random.uniform() < rate), zero_or_one(before)]
            })
            .collect()
    };
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (control, same, better) = (arm(0.0, random), arm(0.0, random), arm(DIFFERENCE_OF_RATES, random));
        seen_by_all(&control, &same, &better, DIFFERENCE_OF_RATES)
    };
    Study {
        family: FAMILY,
        data: format!("19 %, the same before, {units} an arm"),
        methods: methods(units),
        replicates,
        simulate: Box::new(simulate),
    }
}

fn zero_or_one(met: bool) -> f64 {
    f64::from(u8::from(met))
}

/// Skewed, with mean zero.
fn noise(random: &mut Random) -> f64 {
    const SPREAD: f64 = 0.6;
    random.log_normal(0.0, SPREAD) - (SPREAD * SPREAD / 2.0).exp()
}

fn methods(units: u64) -> Vec<Method> {
    let claim = Claim::NEAR.binding_if(units >= 1_000);
    vec![
        Method::new("CUPED", claim),
        Method::new("Lin, from moments", claim),
        Method::new("Lin, HC2 of the units", claim),
    ]
}

fn seen_by_all(
    control: &[Vec<f64>],
    same: &[Vec<f64>],
    better: &[Vec<f64>],
    difference: f64,
) -> Result<Vec<Seen>, StatsError> {
    let from_moments = |treatment: &[Vec<f64>], slopes: Slopes| -> Result<Comparison, StatsError> {
        let (control, treatment) = (CrossMoments::from_rows(control)?, CrossMoments::from_rows(treatment)?);
        Ok(compare_adjusted(&control, &treatment, Outcome::Mean, slopes, ALPHA)?.comparison)
    };
    let from_units = |treatment: &[Vec<f64>]| -> Result<Comparison, StatsError> {
        Ok(compare_adjusted_units(control, treatment, ALPHA)?.comparison)
    };
    Ok(vec![
        Seen::of(&from_moments(same, Slopes::Common)?, &from_moments(better, Slopes::Common)?, difference),
        Seen::of(&from_moments(same, Slopes::ByArm)?, &from_moments(better, Slopes::ByArm)?, difference),
        Seen::of(&from_units(same)?, &from_units(better)?, difference),
    ])
}

/// Five strata of chance sizes, each as likely as the others; the mean of the effects is [`DIFFERENCE`].
fn strata(units: u64, replicates: u64) -> Study {
    const MEANS: [f64; 5] = [0.0, 1.0, 2.0, 3.0, 6.0];
    const EFFECTS: [f64; 5] = [0.0, 0.1, 0.3, 0.5, 0.6];
    let arm = move |effect: f64, random: &mut Random| -> Result<Vec<Moments>, StatsError> {
        let mut values = vec![Vec::new(); MEANS.len()];
        for _ in 0..units {
            let stratum = index(random.below(MEANS.len() as u64));
            values[stratum].push(MEANS[stratum] + effect * EFFECTS[stratum] + noise(random));
        }
        values.into_iter().map(Moments::from_values).collect()
    };
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (control, same, better) = (arm(0.0, random)?, arm(0.0, random)?, arm(1.0, random)?);
        let compare = |treatment: &[Moments]| -> Result<Comparison, StatsError> {
            let strata: Vec<Stratum> =
                control.iter().zip(treatment).map(|(&control, &treatment)| Stratum { control, treatment }).collect();
            Ok(compare_post_stratified(&strata, ALPHA)?.comparison)
        };
        Ok(vec![Seen::of(&compare(&same)?, &compare(&better)?, DIFFERENCE)])
    };
    Study {
        family: FAMILY,
        data: format!("five strata, {units} an arm"),
        methods: vec![Method::new("post-stratification", Claim::NEAR.binding_if(units >= 1_000))],
        replicates,
        simulate: Box::new(simulate),
    }
}
