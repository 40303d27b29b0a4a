//! Laws of posteriors, and their agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{close, moments, proportion};
use proptest::prelude::*;
use sendlift_stats::Proportion;
use sendlift_stats::bayes::{
    ArmOutlook, BetaPosterior, BetaPrior, NormalPosterior, NormalPrior, outlooks_of_means, outlooks_of_proportions,
};

/// Fails unless chances and losses agree with the oracle's to its own error: `SciPy`'s quad adds up pieces good to
/// 1e-14, and its beta distribution function is good to about 1e-12.
fn check(outlooks: &[ArmOutlook], chances: &[f64], losses: &[f64]) {
    assert_eq!(outlooks.len(), chances.len());
    for ((outlook, chance), loss) in outlooks.iter().zip(chances).zip(losses) {
        assert!((outlook.chance_to_win - chance).abs() < 1e-9, "{outlook:?} {chance}");
        assert!((outlook.expected_loss - loss).abs() < 1e-9 * loss.max(1.0), "{outlook:?} {loss}");
    }
}

#[test]
fn beta_posteriors_agree_with_scipy() {
    for case in cases(include_str!("../oracle/fixtures/bayes_proportions.csv")) {
        let prior = BetaPrior { successes: case.value("prior_successes"), failures: case.value("prior_failures") };
        let counts =
            |column: &str| -> Vec<u64> { case.text(column).split(';').map(|item| item.parse().unwrap()).collect() };
        let arms: Vec<BetaPosterior> = counts("n")
            .into_iter()
            .zip(counts("successes"))
            .map(|(n, successes)| BetaPosterior::new(Proportion::new(n, successes).unwrap(), prior).unwrap())
            .collect();
        check(&outlooks_of_proportions(&arms), &case.values("chances"), &case.values("losses"));
        let summary = arms[0].summary(0.05).unwrap();
        case.check("mean", summary.estimate, 1e-13, 0.0);
        case.check("low", summary.low, 1e-9, 0.0);
        case.check("high", summary.high, 1e-9, 0.0);
    }
}

#[test]
fn normal_posteriors_agree_with_scipy() {
    for case in cases(include_str!("../oracle/fixtures/bayes_means.csv")) {
        let pairs = case.values("means").into_iter().zip(case.values("spreads"));
        let arms: Vec<NormalPosterior> =
            pairs.map(|(mean, spread)| NormalPosterior::of_effect(mean, spread, NormalPrior::Flat).unwrap()).collect();
        check(&outlooks_of_means(&arms).unwrap(), &case.values("chances"), &case.values("losses"));
    }
}

/// Fails unless the chances are a distribution and every loss is a loss.
fn check_laws(outlooks: &[ArmOutlook]) -> Result<(), TestCaseError> {
    let total: f64 = outlooks.iter().map(|outlook| outlook.chance_to_win).sum();
    prop_assert!((total - 1.0).abs() < 1e-8, "{:?}", outlooks);
    for outlook in outlooks {
        prop_assert!((0.0..=1.0).contains(&outlook.chance_to_win));
        prop_assert!(outlook.expected_loss >= 0.0 && outlook.expected_loss.is_finite());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn chances_of_proportions_add_up(arms in prop::collection::vec(proportion(), 1..5)) {
        let posteriors: Vec<BetaPosterior> =
            arms.iter().map(|&arm| BetaPosterior::new(arm, BetaPrior::default()).unwrap()).collect();
        check_laws(&outlooks_of_proportions(&posteriors))?;
    }

    #[test]
    fn chances_of_means_add_up(arms in prop::collection::vec(moments(), 1..5)) {
        let posteriors: Vec<NormalPosterior> =
            arms.iter().map(|arm| NormalPosterior::of_mean(arm, NormalPrior::Flat).unwrap().unwrap()).collect();
        check_laws(&outlooks_of_means(&posteriors).unwrap())?;
    }

    #[test]
    fn the_order_of_arms_does_not_matter(first in proportion(), second in proportion()) {
        let posterior = |arm: Proportion| BetaPosterior::new(arm, BetaPrior::default()).unwrap();
        let there = outlooks_of_proportions(&[posterior(first), posterior(second)]);
        let back = outlooks_of_proportions(&[posterior(second), posterior(first)]);
        prop_assert!((there[0].chance_to_win - back[1].chance_to_win).abs() < 1e-12);
        prop_assert!((there[0].expected_loss - back[1].expected_loss).abs() < 1e-12);
    }

    #[test]
    fn credible_intervals_hold_their_share(arm in proportion()) {
        let posterior = BetaPosterior::new(arm, BetaPrior::default()).unwrap();
        let summary = posterior.summary(0.1).unwrap();
        let (low, high) = (summary.low.unwrap(), summary.high.unwrap());
        prop_assert!(0.0 <= low && low < high && high <= 1.0);
        prop_assert!(close(posterior.quantile(0.05).unwrap(), low, 1e-12));
        prop_assert!(close(posterior.quantile(0.95).unwrap(), high, 1e-12));
    }

    #[test]
    fn a_prior_draws_in(estimate in -5.0..5.0_f64, error in 0.01..3.0_f64, spread in 0.01..3.0_f64) {
        let prior = NormalPrior::Normal { mean: 0.0, standard_deviation: spread };
        let posterior = NormalPosterior::of_effect(estimate, error, prior).unwrap();
        prop_assert!(posterior.mean.abs() <= estimate.abs());
        prop_assert!(posterior.standard_deviation < error.min(spread));
        let decision = posterior.decision();
        // The two losses differ by the effect itself.
        prop_assert!(close(decision.loss_of_control - decision.loss_of_treatment, posterior.mean, 1e-12));
    }
}
