//! Sample ratios, and Bayesian decisions where nothing differs.

use crate::random::{Binomial, Random};
use crate::study::{ALPHA, Claim, Method, Seen, Study};
use sendlift_stats::sample_ratio_sequential::{DEFAULT_CONCENTRATION, sequential_sample_ratio_test};
use sendlift_stats::{
    BetaPosterior, BetaPrior, Effect, NormalPosterior, NormalPrior, Proportion, StatsError, outlooks_of_proportions,
    sample_ratio_test,
};

const SAMPLE_RATIO: &str = "Sample ratio";
const BAYES: &str = "Bayesian decisions";

/// An arm is declared better from this chance to win on; the other way round, from as much for the control: 5 % together.
const SURE: f64 = 1.0 - ALPHA / 2.0;

/// What the treatment multiplies a rate by in the A/B replicates.
const RISE: f64 = 1.5;

pub fn studies(quick: bool) -> Vec<Study> {
    if quick {
        return vec![
            one_ratio(2_000, 0.5, 10_000),
            ratio_by_look(20, 200, 2_000),
            decision(0.02, 1_000, 1_500),
            decision_by_look(0.02, 20, 250, 1_000),
        ];
    }
    let mut studies = Vec::new();
    for share in [0.5, 0.1] {
        studies.extend([200, 2_000, 20_000].map(|units| one_ratio(units, share, 40_000)));
    }
    studies.extend([5, 20, 100].map(|looks| ratio_by_look(looks, 200, 10_000)));
    for rate in [0.005, 0.02, 0.2] {
        studies.extend([100, 1_000, 10_000].map(|units| decision(rate, units, 5_000)));
    }
    studies.extend([5, 20, 100].map(|looks| decision_by_look(0.02, looks, 250, 5_000)));
    studies
}

/// `units` recipients, a `share` of them meant for the treatment.
fn one_ratio(units: u64, share: f64, replicates: u64) -> Study {
    let treated = Binomial::new(units, share);
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let treatment = treated.draw(random);
        let test = sample_ratio_test(&[units - treatment, treatment], &[1.0 - share, share])?;
        Ok(vec![found(test.p_value < ALPHA)])
    };
    Study {
        family: SAMPLE_RATIO,
        data: format!("{units} in all, {percent} % treated", percent = 100.0 * share),
        methods: vec![Method::new("chi-square", Claim::NEAR)],
        replicates,
        simulate: Box::new(simulate),
    }
}

fn ratio_by_look(looks: u64, units: u64, replicates: u64) -> Study {
    const WEIGHTS: [f64; 2] = [1.0, 1.0];
    let treated = Binomial::new(units, 0.5);
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let mut gained = Vec::new();
        let mut totals = [0, 0];
        let mut plain = false;
        for _ in 0..looks {
            let treatment = treated.draw(random);
            let gains = [units - treatment, treatment];
            totals = [totals[0] + gains[0], totals[1] + gains[1]];
            plain |= sample_ratio_test(&totals, &WEIGHTS)?.p_value < ALPHA;
            gained.push(gains);
        }
        let path = sequential_sample_ratio_test(&gained, &WEIGHTS, DEFAULT_CONCENTRATION)?;
        Ok(vec![found(path.iter().any(|look| look.p_value < ALPHA)), found(plain)])
    };
    Study {
        family: SAMPLE_RATIO,
        data: format!("{looks} looks, {units} in all each"),
        methods: vec![
            Method::new("anytime-valid", Claim::AT_MOST),
            Method::new("chi-square at every look, for contrast", Claim::CONTRAST),
        ],
        replicates,
        simulate: Box::new(simulate),
    }
}

fn found(false_positive: bool) -> Seen {
    Seen { false_positive: Some(false_positive), missed: None }
}

/// Priors are flat: without a prior that knows better, a decision at a chance to win of 97.5 % errs as a 5 % test does.
fn decision(rate: f64, units: u64, replicates: u64) -> Study {
    let same = Binomial::new(units, rate);
    let better = Binomial::new(units, RISE * rate);
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let control = Proportion::new(units, same.draw(random))?;
        let null = Proportion::new(units, same.draw(random))?;
        let real = Proportion::new(units, better.draw(random))?;
        let prior = BetaPrior::default();
        let posteriors = [BetaPosterior::new(control, prior)?, BetaPosterior::new(null, prior)?];
        let by_beta = outlooks_of_proportions(&posteriors).iter().any(|outlook| outlook.chance_to_win > SURE);
        let by_normal = posterior(control, null)?.is_some_and(is_decided);
        let missed = match posterior(control, real)? {
            Some(posterior) => !posterior.summary(ALPHA)?.contains((RISE - 1.0) * rate),
            None => false,
        };
        Ok(vec![found(by_beta), Seen { false_positive: Some(by_normal), missed: Some(missed) }])
    };
    let enough = units >= 1_000 && rate >= 0.02;
    Study {
        family: BAYES,
        data: format!("{percent} %, {units} an arm", percent = 100.0 * rate),
        methods: vec![
            Method::new("beta posteriors, chance to win above 97.5 %", Claim::NEAR.binding_if(enough)),
            Method::new("normal posterior of the difference, the same", Claim::NEAR.binding_if(enough)),
        ],
        replicates,
        simulate: Box::new(simulate),
    }
}

fn decision_by_look(rate: f64, looks: u64, units: u64, replicates: u64) -> Study {
    let same = Binomial::new(units, rate);
    let simulate = move |random: &mut Random| -> Result<Vec<Seen>, StatsError> {
        let (mut control, mut treatment) = (Proportion::default(), Proportion::default());
        for _ in 0..looks {
            control = control.merge(Proportion::new(units, same.draw(random))?);
            treatment = treatment.merge(Proportion::new(units, same.draw(random))?);
            if posterior(control, treatment)?.is_some_and(is_decided) {
                return Ok(vec![found(true)]);
            }
        }
        Ok(vec![found(false)])
    };
    Study {
        family: BAYES,
        data: format!("{percent} %, {looks} looks, {units} an arm each", percent = 100.0 * rate),
        methods: vec![Method::new("stopping at a chance to win above 97.5 %, for contrast", Claim::CONTRAST)],
        replicates,
        simulate: Box::new(simulate),
    }
}

/// The posterior of the difference of two rates under a flat prior; none where nothing varies.
fn posterior(control: Proportion, treatment: Proportion) -> Result<Option<NormalPosterior>, StatsError> {
    match Effect::of_means(&control.to_moments()?, &treatment.to_moments()?)? {
        Effect::Estimated(parts) => {
            NormalPosterior::of_effect(parts.difference, parts.standard_error, NormalPrior::Flat).map(Some)
        }
        Effect::Identical { .. } | Effect::Untestable { .. } => Ok(None),
    }
}

/// Whether either arm is declared better.
fn is_decided(posterior: NormalPosterior) -> bool {
    let chance_to_win = posterior.decision().chance_to_win;
    !(1.0 - SURE..=SURE).contains(&chance_to_win)
}
