//! Stores, say, that were randomised with all their recipients.
//!
//! A cluster has 5 to 40 units; a tenth of the variance of a value lies between clusters, which leaves an analysis by unit
//! with a third of the true error. In the A/B replicates every value is higher by a fifth of a standard deviation.

use crate::random::{Random, real};
use crate::study::{ALPHA, Claim, Method, Seen, Study};
use sendlift_stats::cluster::cluster_effect;
use sendlift_stats::{
    ClusterTotal, Comparison, Moments, StatsError, WildBootstrap, compare_clustered_quantiles, compare_clusters,
    compare_means,
};

const FAMILY: &str = "Clusters";

/// Share of the variance that lies between clusters.
const BETWEEN: f64 = 0.1;
const DIFFERENCE: f64 = 0.2;

/// Vectors of signs of the bootstrap, where they are drawn.
const SIGNS: u32 = 199;

/// The values of each cluster of an arm.
type Arm = Vec<Vec<f64>>;

pub fn studies(quick: bool) -> Vec<Study> {
    if quick {
        return vec![errors(6, 4_000), errors(30, 1_000), bootstrap(6, 100), medians(30, 300)];
    }
    vec![
        errors(6, 40_000),
        errors(30, 20_000),
        errors(100, 5_000),
        bootstrap(6, 3_000),
        bootstrap(30, 1_000),
        medians(30, 5_000),
        medians(100, 2_000),
    ]
}

fn errors(clusters: u64, replicates: u64) -> Study {
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (control, same, better) = three_arms(clusters, random);
        let bootstrap = WildBootstrap { seed: random.word(), replicates: SIGNS };
        let bias_reduced = |treatment: &[Vec<f64>]| -> Result<Comparison, StatsError> {
            cluster_effect(&totals(&control), &totals(treatment))?.comparison(ALPHA, "CR2")
        };
        let chosen = |treatment: &[Vec<f64>]| -> Result<Comparison, StatsError> {
            Ok(compare_clusters(&totals(&control), &totals(treatment), ALPHA, bootstrap)?.comparison)
        };
        let by_unit = |treatment: &[Vec<f64>]| -> Result<Comparison, StatsError> {
            compare_means(&moments(&control)?, &moments(treatment)?, ALPHA)
        };
        Ok(vec![
            Seen::of(&bias_reduced(&same)?, &bias_reduced(&better)?, DIFFERENCE),
            Seen::of(&chosen(&same)?, &chosen(&better)?, DIFFERENCE),
            Seen::of(&by_unit(&same)?, &by_unit(&better)?, DIFFERENCE),
        ])
    };
    Study {
        family: FAMILY,
        data: described(clusters),
        methods: vec![
            Method::new("CR2", Claim::NEAR),
            Method::new("by the stated rule", Claim::NEAR),
            Method::new("each unit alone, for contrast", Claim::CONTRAST),
        ],
        replicates,
        simulate: Box::new(simulate),
    }
}

/// Slow, and so alone: its interval asks the bootstrap about a hundred times.
fn bootstrap(clusters: u64, replicates: u64) -> Study {
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (control, same, better) = three_arms(clusters, random);
        let bootstrap = WildBootstrap { seed: random.word(), replicates: SIGNS };
        let null = bootstrap.compare(&totals(&control), &totals(&same), ALPHA)?;
        let real = bootstrap.compare(&totals(&control), &totals(&better), ALPHA)?;
        Ok(vec![Seen::of(&null, &real, DIFFERENCE)])
    };
    Study {
        family: FAMILY,
        data: described(clusters),
        methods: vec![Method::new("wild bootstrap", Claim::CAUTIOUS)],
        replicates,
        simulate: Box::new(simulate),
    }
}

/// The median of all values, the same in shape whatever the arm.
fn medians(clusters: u64, replicates: u64) -> Study {
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (control, same, better) = three_arms(clusters, random);
        let null = compare_clustered_quantiles(&control, &same, 0.5, ALPHA)?;
        let real = compare_clustered_quantiles(&control, &better, 0.5, ALPHA)?;
        Ok(vec![Seen::of(&null, &real, DIFFERENCE)])
    };
    Study {
        family: FAMILY,
        data: described(clusters),
        methods: vec![Method::new("median over clusters", Claim::NEAR)],
        replicates,
        simulate: Box::new(simulate),
    }
}

fn described(clusters: u64) -> String {
    format!("{clusters} clusters an arm")
}

/// A control, a treatment that is no different, and one that is.
fn three_arms(clusters: u64, random: &mut Random) -> (Arm, Arm, Arm) {
    let control = arm(clusters, 0.0, random);
    let same = arm(clusters, 0.0, random);
    let better = arm(clusters, DIFFERENCE, random);
    (control, same, better)
}

fn arm(clusters: u64, mean: f64, random: &mut Random) -> Arm {
    let (between, within) = (BETWEEN.sqrt(), (1.0 - BETWEEN).sqrt());
    let mut arm: Arm = Vec::new();
    for _ in 0..clusters {
        let units = 5 + random.below(36);
        let own_mean = mean + between * random.normal();
        arm.push((0..units).map(|_| own_mean + within * random.normal()).collect());
    }
    arm
}

fn totals(arm: &[Vec<f64>]) -> Vec<ClusterTotal> {
    arm.iter().map(|values| ClusterTotal { units: real(values.len() as u64), total: values.iter().sum() }).collect()
}

fn moments(arm: &[Vec<f64>]) -> Result<Moments, StatsError> {
    Moments::from_values(arm.iter().flatten().copied())
}
