//! Means, ratios and quantiles of skewed data.
//!
//! Revenue is zero for most and log-normal for those who buy; in the A/B replicates a fifth more of the recipients buy.
//! What recipients spend a click, and delays, are a fifth higher there.

use crate::random::{Binomial, Random, index, real};
use crate::study::{ALPHA, Claim, Method, Seen, Study};
use sendlift_stats::distribution::normal;
use sendlift_stats::quantile::{ValueCounts, compare_quantiles};
use sendlift_stats::skewed::{Cut, Winsorising, compare_logarithms, compare_winsorised, logarithm_moments};
use sendlift_stats::{Moments, RatioMoments, StatsError, compare_means, compare_ratios};
use std::f64::consts::TAU;
use std::iter::repeat_n;

/// Share of the control's recipients who buy.
const BUYERS: f64 = 0.05;
/// Mean logarithm of what a buyer spends: the median is 20.
const CENTRE: f64 = 3.0;
/// Buyers of an arm from which means are held to their claim.
const ENOUGH_BUYERS: f64 = 50.0;
/// What the treatment multiplies by.
const RISE: f64 = 1.2;

pub fn studies(quick: bool) -> Vec<Study> {
    if quick {
        return vec![
            normal_values(20, 10_000),
            revenue(1_000, 1_000, 1.0, 2_000),
            ratios(1_000, 1_000),
            quantiles(1_000, 1_000),
        ];
    }
    let mut studies = vec![normal_values(20, 40_000), normal_values(100, 20_000)];
    for spread in [1.0, 1.5] {
        for (units, replicates) in [(100, 20_000), (1_000, 20_000), (10_000, 5_000)] {
            studies.push(revenue(units, units, spread, replicates));
        }
    }
    studies.push(revenue(9_000, 1_000, 1.5, 5_000));
    studies.extend([ratios(100, 20_000), ratios(1_000, 10_000), ratios(10_000, 2_000)]);
    studies.extend([quantiles(100, 20_000), quantiles(1_000, 10_000), quantiles(10_000, 2_000)]);
    studies
}

/// Welch's t at its own: normal values, three times as widely spread in the treatment.
fn normal_values(units: u64, replicates: u64) -> Study {
    let difference = 0.5;
    let arm = move |centre: f64, spread: f64, random: &mut Random| {
        Moments::from_values((0..units).map(|_| centre + spread * random.normal()))
    };
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let control = arm(10.0, 1.0, random)?;
        let null = compare_means(&control, &arm(10.0, 3.0, random)?, ALPHA)?;
        let real = compare_means(&control, &arm(10.0 + difference, 3.0, random)?, ALPHA)?;
        Ok(vec![Seen::of(&null, &real, difference)])
    };
    Study {
        family: "Means",
        data: format!("normal, spreads 1 and 3, {units} an arm"),
        methods: vec![Method::new("Welch", Claim::NEAR)],
        replicates,
        simulate: Box::new(simulate),
    }
}

fn revenue(control_units: u64, treatment_units: u64, spread: f64, replicates: u64) -> Study {
    // A stated limit that about one buyer in forty passes.
    let limit = (CENTRE + 2.0 * spread).exp();
    let more_buyers = (RISE - 1.0) * BUYERS;
    let difference = more_buyers * mean_of_buyers(spread, |value| value);
    let winsorised_difference = more_buyers * mean_of_buyers(spread, |value| value.min(limit));
    let logarithm_difference = more_buyers * mean_of_buyers(spread, f64::ln_1p);

    let control_buyers = Binomial::new(control_units, BUYERS);
    let same_buyers = Binomial::new(treatment_units, BUYERS);
    let more_of_them = Binomial::new(treatment_units, RISE * BUYERS);
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let control = spending(control_units, control_buyers.draw(random), spread, random);
        let same = spending(treatment_units, same_buyers.draw(random), spread, random);
        let better = spending(treatment_units, more_of_them.draw(random), spread, random);

        let mean = |values: &[f64]| Moments::from_values(values.iter().copied());
        let welch_null = compare_means(&mean(&control)?, &mean(&same)?, ALPHA)?;
        let welch_real = compare_means(&mean(&control)?, &mean(&better)?, ALPHA)?;

        let by_share = compare_winsorised(&control, &same, Winsorising::default(), ALPHA)?.comparison;
        let stated = Winsorising { lower: None, upper: Some(Cut::Value(limit)) };
        let stated_null = compare_winsorised(&control, &same, stated, ALPHA)?.comparison;
        let stated_real = compare_winsorised(&control, &better, stated, ALPHA)?.comparison;

        let control_logarithms = logarithm_moments(&control)?;
        let logarithm_null = compare_logarithms(&control_logarithms, &logarithm_moments(&same)?, ALPHA)?;
        let logarithm_real = compare_logarithms(&control_logarithms, &logarithm_moments(&better)?, ALPHA)?;
        Ok(vec![
            Seen::of(&welch_null, &welch_real, difference),
            Seen { false_positive: Some(by_share.is_significant(ALPHA)), missed: None },
            Seen::of(&stated_null, &stated_real, winsorised_difference),
            Seen::of(&logarithm_null, &logarithm_real, logarithm_difference),
        ])
    };
    let buyers = BUYERS * real(control_units.min(treatment_units));
    let claim = Claim::NEAR.binding_if(control_units == treatment_units && buyers >= ENOUGH_BUYERS);
    let sizes = if control_units == treatment_units {
        format!("{control_units} an arm")
    } else {
        format!("{control_units} and {treatment_units}")
    };
    Study {
        family: "Revenue a recipient, 95 % zeros",
        data: format!("log-normal {spread}, {sizes}"),
        methods: vec![
            Method::new("Welch", claim),
            Method::new("winsorised at both arms' 99 % of buyers", claim),
            Method::new("winsorised at a stated limit", claim),
            Method::new("logarithm of 1 + revenue", claim),
        ],
        replicates,
        simulate: Box::new(simulate),
    }
}

/// What each of `units` recipients spends, of whom `buyers` do.
fn spending(units: u64, buyers: u64, spread: f64, random: &mut Random) -> Vec<f64> {
    let mut values: Vec<f64> = (0..buyers).map(|_| random.log_normal(CENTRE, spread)).collect();
    values.resize(index(units), 0.0);
    values
}

/// The true mean, over buyers, of a function of what they spend: the midpoint rule over the normal distribution.
fn mean_of_buyers(spread: f64, function: impl Fn(f64) -> f64) -> f64 {
    const STEPS: u32 = 8_000;
    const FARTHEST: f64 = 10.0;
    let width = 2.0 * FARTHEST / f64::from(STEPS);
    let sum: f64 = (0..STEPS)
        .map(|step| {
            let z = -FARTHEST + width * (f64::from(step) + 0.5);
            (-0.5 * z * z).exp() * function((CENTRE + spread * z).exp())
        })
        .sum();
    sum * width / TAU.sqrt()
}

/// Revenue a click, the recipient being the unit: all clicks of one recipient are worth the same.
fn ratios(units: u64, replicates: u64) -> Study {
    const SPREAD: f64 = 0.8;
    let difference = (RISE - 1.0) * (SPREAD * SPREAD / 2.0).exp();
    let arm = move |rise: f64, random: &mut Random| -> Vec<(f64, u16)> {
        (0..units).map(|_| (rise * random.log_normal(0.0, SPREAD), clicks(random))).collect()
    };
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (control, same, better) = (arm(1.0, random), arm(1.0, random), arm(RISE, random));
        let by_recipient = |arm: &[(f64, u16)]| {
            RatioMoments::from_values(arm.iter().map(|&(value, clicks)| (value * f64::from(clicks), f64::from(clicks))))
        };
        let by_click = |arm: &[(f64, u16)]| {
            Moments::from_values(arm.iter().flat_map(|&(value, clicks)| repeat_n(value, usize::from(clicks))))
        };
        let ratio = by_recipient(&control)?;
        let naive = by_click(&control)?;
        Ok(vec![
            Seen::of(
                &compare_ratios(&ratio, &by_recipient(&same)?, ALPHA)?,
                &compare_ratios(&ratio, &by_recipient(&better)?, ALPHA)?,
                difference,
            ),
            Seen::of(
                &compare_means(&naive, &by_click(&same)?, ALPHA)?,
                &compare_means(&naive, &by_click(&better)?, ALPHA)?,
                difference,
            ),
        ])
    };
    Study {
        family: "Revenue a click",
        data: format!("{units} recipients an arm, 0 to 5 clicks each"),
        methods: vec![
            Method::new("delta method over recipients", Claim::NEAR.binding_if(units >= 1_000)),
            Method::new("each click as a unit, for contrast", Claim::CONTRAST),
        ],
        replicates,
        simulate: Box::new(simulate),
    }
}

/// How often a recipient clicks.
fn clicks(random: &mut Random) -> u16 {
    let share = random.uniform();
    if share < 0.6 {
        0
    } else if share < 0.85 {
        1
    } else if share < 0.95 {
        2
    } else {
        5
    }
}

/// Quantiles of log-normal delays.
fn quantiles(units: u64, replicates: u64) -> Study {
    const SHARES: [f64; 2] = [0.5, 0.9];
    let arm = move |rise: f64, random: &mut Random| {
        ValueCounts::from_values((0..units).map(|_| rise * random.log_normal(CENTRE, 1.0)))
    };
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (control, same, better) = (arm(1.0, random)?, arm(1.0, random)?, arm(RISE, random)?);
        let mut seen = Vec::with_capacity(SHARES.len());
        for share in SHARES {
            let difference = (RISE - 1.0) * (CENTRE + normal::quantile(share)).exp();
            let null = compare_quantiles(&control, &same, share, ALPHA)?;
            let real = compare_quantiles(&control, &better, share, ALPHA)?;
            seen.push(Seen::of(&null, &real, difference));
        }
        Ok(seen)
    };
    let claim = Claim::NEAR.binding_if(units >= 1_000);
    Study {
        family: "Quantiles",
        data: format!("log-normal, {units} an arm"),
        methods: vec![Method::new("median", claim), Method::new("90th percentile", claim)],
        replicates,
        simulate: Box::new(simulate),
    }
}
