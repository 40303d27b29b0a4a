//! All experiments at once: agreement with the Python oracle, laws, and what simulated portfolios say.

use crate::fixtures::cases;
use crate::support::{is_presentable, standard_normal};
use proptest::prelude::*;
use sendlift_stats::portfolio::{ExperimentEffect, PortfolioOptions, analyse_portfolio, design_errors};

fn experiment(estimate: f64, standard_error: f64) -> ExperimentEffect {
    ExperimentEffect { estimate, standard_error, declared_winner: None }
}

#[test]
fn the_portfolio_agrees_with_a_fine_grid() {
    // The oracle's trapezoidal rule on 6,001 places is right to some seven digits, quantiles of the spread to three.
    let critical = 1.959_963_984_540_054;
    for case in cases(include_str!("../oracle/fixtures/portfolio.csv")) {
        let list: Vec<ExperimentEffect> = case
            .values("estimates")
            .into_iter()
            .zip(case.values("errors"))
            .map(|(estimate, error)| experiment(estimate, error))
            .collect();
        let portfolio = analyse_portfolio(&list, PortfolioOptions { alpha: 0.05, minimum_effect: 0.01 }).unwrap();
        case.check("mean", portfolio.prior_mean.estimate, 1e-5, 1e-8);
        case.check("mean_low", portfolio.prior_mean.low, 1e-5, 1e-7);
        case.check("mean_high", portfolio.prior_mean.high, 1e-5, 1e-7);
        case.check("spread", portfolio.prior_spread.estimate, 1e-3, 2e-6);
        case.check("spread_low", portfolio.prior_spread.low, 3e-3, 1e-5);
        case.check("spread_high", portfolio.prior_spread.high, 3e-3, 1e-5);
        let expected = case.values("shrunk").into_iter().zip(case.values("deviations"));
        for (effect, (shrunk, deviation)) in portfolio.effects.iter().zip(expected) {
            assert!((effect.shrunk.estimate.unwrap() - shrunk).abs() < 1e-7);
            let reach = effect.shrunk.high.unwrap() - effect.shrunk.estimate.unwrap();
            assert!((reach / critical / deviation - 1.0).abs() < 1e-5);
        }
        case.check("wins", portfolio.expected_true_wins, 1e-5, 1e-8);
        case.check("wins_minimum", portfolio.expected_wins_above_minimum, 1e-5, 1e-8);
        assert_eq!(portfolio.declared.count as u64, case.count("winners"));
        case.check("false_share", portfolio.declared.expected_false_share, 1e-5, 1e-8);
        case.check("naive_total", Some(portfolio.declared.naive_total), 1e-9, 1e-12);
        case.check("total", portfolio.declared.expected_total.estimate, 1e-5, 1e-8);
        let total = &portfolio.declared.expected_total;
        let error = total.high.zip(total.estimate).map(|(high, estimate)| (high - estimate) / critical);
        case.check("total_error", error, 1e-5, 1e-8);
        case.check("curse_corrected", portfolio.declared.curse_corrected_total, 1e-8, 1e-10);
    }
}

#[test]
fn winners_bring_what_is_expected_of_them() {
    let runs = 150_u64;
    let (mut truth, mut expected, mut naive, mut curse_corrected) = (0.0, 0.0, 0.0, 0.0);
    let (mut false_winners, mut expected_false, mut total_covered, mut covered, mut effects) = (0.0, 0.0, 0, 0, 0);
    let mut with_winners = 0;
    for run in 0..runs {
        let truths: Vec<f64> = (0..40).map(|place| 0.01 + 0.02 * standard_normal(run * 1_000 + place)).collect();
        let list: Vec<ExperimentEffect> = (0_u32..40)
            .zip(&truths)
            .map(|(place, truth)| {
                let error = 0.01 + 0.0005 * f64::from(place);
                experiment(truth + error * standard_normal(run * 1_000 + 500 + u64::from(place)), error)
            })
            .collect();
        let portfolio = analyse_portfolio(&list, PortfolioOptions::default()).unwrap();
        for (effect, truth) in portfolio.effects.iter().zip(&truths) {
            effects += 1;
            covered += u32::from(effect.shrunk.contains(*truth));
        }
        if portfolio.declared.count == 0 {
            continue;
        }
        with_winners += 1;
        let winners = || portfolio.effects.iter().zip(&truths).filter(|(effect, _)| effect.declared_winner);
        let won: f64 = winners().map(|(_, truth)| truth).sum();
        total_covered += u32::from(portfolio.declared.expected_total.contains(won));
        truth += won;
        expected += portfolio.declared.expected_total.estimate.unwrap();
        naive += portfolio.declared.naive_total;
        curse_corrected += portfolio.declared.curse_corrected_total.unwrap();
        false_winners += winners().map(|(_, truth)| f64::from(u8::from(*truth <= 0.0))).sum::<f64>();
        let count = f64::from(u32::try_from(portfolio.declared.count).unwrap());
        expected_false += portfolio.declared.expected_false_share.unwrap() * count;
    }
    let coverage = f64::from(covered) / f64::from(effects);
    let total_coverage = f64::from(total_covered) / f64::from(with_winners);
    // Of 3,000 runs: expected / true 1.01, naive / true 1.57, curse-corrected / true 1.00, coverage of effects 93.7 %
    // and of totals 94.2 %, 303 false winners where 316 were expected.
    assert!((expected / truth - 1.0).abs() < 0.08);
    assert!(naive / truth > 1.2);
    assert!(curse_corrected / truth < naive / truth);
    assert!(coverage > 0.925, "{coverage}");
    assert!(total_coverage > 0.88, "{total_coverage}");
    assert!((expected_false / false_winners - 1.0).abs() < 0.6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn numbers_stay_where_they_belong(
        pairs in prop::collection::vec((-5.0..5.0_f64, 0.001..3.0_f64), 2..30),
        minimum in 0.0..2.0_f64,
    ) {
        let list: Vec<ExperimentEffect> = pairs.iter().map(|&(estimate, error)| experiment(estimate, error)).collect();
        let options = PortfolioOptions { alpha: 0.05, minimum_effect: minimum };
        let portfolio = analyse_portfolio(&list, options).unwrap();
        prop_assert!(is_presentable(&portfolio.prior_mean) && is_presentable(&portfolio.prior_spread));
        prop_assert!(portfolio.prior_spread.low <= portfolio.prior_spread.high);
        let count = f64::from(u32::try_from(list.len()).unwrap());
        if let Some(wins) = portfolio.expected_true_wins {
            prop_assert!((0.0..=count).contains(&wins));
            prop_assert!(portfolio.expected_wins_above_minimum.unwrap() <= wins);
        }
        prop_assert!(is_presentable(&portfolio.declared.expected_total));
        prop_assert!(portfolio.declared.expected_false_share.is_none_or(|share| (0.0..=1.0).contains(&share)));
        let lowest = list.iter().map(|experiment| experiment.estimate).fold(f64::INFINITY, f64::min);
        let highest = list.iter().map(|experiment| experiment.estimate).fold(f64::NEG_INFINITY, f64::max);
        for effect in &portfolio.effects {
            let shrunk = effect.shrunk.estimate.unwrap();
            prop_assert!(lowest - 1e-9 <= shrunk && shrunk <= highest + 1e-9);
        }
    }

    #[test]
    fn a_larger_effect_exaggerates_less(size in 0.01..5.0_f64, alpha in 0.001..0.2_f64) {
        let small = design_errors(size, 1.0, alpha).unwrap();
        let large = design_errors(size * 1.2, 1.0, alpha).unwrap();
        prop_assert!(large.power >= small.power);
        prop_assert!(large.type_s <= small.type_s && small.type_s.unwrap() <= 0.5);
        prop_assert!(large.exaggeration.unwrap() <= small.exaggeration.unwrap() + 1e-9);
        prop_assert!(large.exaggeration.unwrap() >= 1.0);
    }
}
