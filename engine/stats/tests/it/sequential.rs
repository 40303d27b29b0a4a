//! Laws of sequential statistics, and their agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{alpha, holds_its_estimate, is_presentable, moments, uniform};
use proptest::prelude::*;
use sendlift_stats::effect::{ArmValue, Effect};
use sendlift_stats::sequential::{
    BoundaryShape, GroupSequential, MixtureBoundary, Spending, always_valid_means, always_valid_proportions,
    running_comparisons,
};
use sendlift_stats::{Moments, Proportion, compare_means};

#[test]
fn always_valid_comparisons_agree_with_numpy() {
    // The fixture holds ten digits. The difference's ends lose digits where they nearly cancel, so they are held to
    // 1e-8 of the estimate's own scale.
    for case in cases(include_str!("../oracle/fixtures/always_valid.csv")) {
        let arm = |n: &str, mean: &str, variance: &str| {
            Moments::from_n_mean_variance(case.count(n), case.value(mean), case.value(variance)).unwrap()
        };
        let (control, treatment) = (arm("n_c", "mean_c", "var_c"), arm("n_t", "mean_t", "var_t"));
        let (planned, alpha) = (case.count("planned"), case.value("alpha"));
        let boundary = MixtureBoundary::new(planned, alpha).unwrap();
        case.check("critical", boundary.critical_value(control.n + treatment.n), 1e-9, 0.0);
        if control.n < 20 || treatment.n < 20 {
            continue;
        }
        let look = always_valid_means(&control, &treatment, planned, alpha).unwrap();
        let scale = 1e-8 * control.mean.abs();
        case.check("p", look.p_value, 1e-6, 1e-300);
        case.check("low", look.difference.low, 1e-8, scale);
        case.check("high", look.difference.high, 1e-8, scale);
        case.check("lift_low", look.lift.low, 1e-7, 1e-8);
        case.check("lift_high", look.lift.high, 1e-7, 1e-8);
    }
}

#[test]
fn arms_of_one_to_nine_are_hardly_ever_told_apart_without_an_effect() {
    // 400 experiments without an effect, looked at 40 times each. Without the floor on the small arm's spread a fifth and
    // more of them are "significant" at some look.
    let mut wrong = 0;
    for experiment in 0..400_u64 {
        let (mut counts, mut is_wrong) = ([[0_u64; 2]; 2], false);
        for unit in 0..2_000_u64 {
            let place = (experiment * 2_000 + unit) * 2;
            let arm = usize::from(uniform(place) < 0.9);
            counts[arm][0] += 1;
            counts[arm][1] += u64::from(uniform(place + 1) < 0.03);
            if unit % 50 == 49 {
                let [control, treatment] = counts.map(|[n, successes]| Proportion::new(n, successes).unwrap());
                is_wrong |= always_valid_proportions(control, treatment, 2_000, 0.05).unwrap().is_significant(0.05);
            }
        }
        wrong += u32::from(is_wrong);
    }
    assert!(wrong <= 20, "{wrong} of 400");
}

#[test]
fn group_sequential_plans_agree_with_gauss_legendre_quadrature() {
    // Two quadratures of the same integrals: each is right to about 1e-6 in a boundary, as seen by refining it.
    for case in cases(include_str!("../oracle/fixtures/group_sequential.csv")) {
        let (alpha, fractions) = (case.value("alpha"), case.values("fractions"));
        let plan = match case.text("kind") {
            "obrien_fleming" => GroupSequential::alpha_spending(Spending::OBrienFleming, &fractions, alpha),
            "pocock" => GroupSequential::alpha_spending(Spending::Pocock, &fractions, alpha),
            "planned_obrien_fleming" => GroupSequential::planned(BoundaryShape::OBrienFleming, &fractions, alpha),
            "planned_pocock" => GroupSequential::planned(BoundaryShape::Pocock, &fractions, alpha),
            exponent => {
                let spending = Spending::Power { exponent: exponent.parse().unwrap() };
                GroupSequential::alpha_spending(spending, &fractions, alpha)
            }
        };
        let plan = plan.unwrap();
        for (look, expected) in plan.looks.iter().zip(case.list("criticals")) {
            assert_eq!(look.critical_value.is_some(), expected.is_some(), "{plan:?}");
            let error = look.critical_value.unwrap_or(0.0) - expected.unwrap_or(0.0);
            assert!(error.abs() < 1e-5, "{plan:?} {expected:?}");
        }
        case.check("power", plan.power(case.value("drift")).ok(), 1e-5, 1e-6);

        let Some(z) = case.number("z") else { continue };
        let look: usize = case.text("look").parse().unwrap();
        // One unit of the drift is the standard error at the full information.
        let variance = 1.0 / fractions[look - 1];
        let control = ArmValue { value: 1.0, variance: 0.0 };
        let treatment = ArmValue { value: 1.0 + z * variance.sqrt(), variance };
        let effect = Effect::of_independent_arms(control, treatment, None).unwrap();
        let stopped = plan.analyse(look, &effect).unwrap().stopped.unwrap();
        case.check("p", Some(stopped.p_value), 1e-4, 1e-9);
        case.check("middle", stopped.difference.estimate, 1e-4, 1e-5);
        case.check("low", stopped.difference.low, 1e-4, 1e-5);
        case.check("high", stopped.difference.high, 1e-4, 1e-5);
    }
}

proptest! {
    #[test]
    fn test_and_intervals_never_contradict_one_another(
        control in moments(),
        treatment in moments(),
        planned in 1_u64..10_000_000,
        alpha in alpha(),
    ) {
        let look = always_valid_means(&control, &treatment, planned, alpha).unwrap();
        for estimate in [&look.difference, &look.lift] {
            prop_assert!(is_presentable(estimate), "{:?}", estimate);
            prop_assert!(holds_its_estimate(estimate), "{:?}", estimate);
        }
        let Some(p_value) = look.p_value else { return Ok(()) };
        prop_assert!((0.0..=1.0).contains(&p_value));
        let found = p_value < alpha;
        prop_assert_eq!(found, !look.difference.contains_zero(), "{:?}", look);
        if look.lift.estimate.is_some() {
            prop_assert_eq!(found, !look.lift.contains_zero(), "{:?}", look);
        }
        // Looking at any time costs: never more than an ordinary test finds, Welch's t apart in tiny samples.
        if found && control.n.min(treatment.n) > 200 {
            prop_assert!(compare_means(&control, &treatment, alpha).unwrap().is_significant(alpha));
        }
    }

    #[test]
    fn what_was_found_stays_found(
        differences in prop::collection::vec(-1.0..1.0_f64, 1..20),
        alpha in alpha(),
    ) {
        let boundary = MixtureBoundary::new(5_000, alpha).unwrap();
        let control = Moments::from_n_mean_variance(1_000, 3.0, 4.0).unwrap();
        let looks: Vec<_> = differences
            .iter()
            .map(|difference| {
                let treatment = Moments::from_n_mean_variance(1_000, 3.0 + difference, 4.0).unwrap();
                boundary.compare(&Effect::of_means(&control, &treatment).unwrap(), 2_000)
            })
            .collect();
        let path = running_comparisons(&looks);
        prop_assert_eq!(path.len(), looks.len());
        for pair in path.windows(2) {
            prop_assert!(pair[1].p_value.unwrap() <= pair[0].p_value.unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn spending_spends_what_it_says(
        steps in prop::collection::vec(0.05..1.0_f64, 1..5),
        alpha in prop::sample::select(vec![0.2, 0.05, 0.01]),
        kind in 0_usize..3,
    ) {
        let total: f64 = steps.iter().sum();
        let mut so_far = 0.0;
        let fractions: Vec<f64> = steps.iter().map(|step| { so_far += step / total; so_far.min(1.0) }).collect();
        let spending = [Spending::OBrienFleming, Spending::Pocock, Spending::Power { exponent: 1.5 }][kind];
        let plan = GroupSequential::alpha_spending(spending, &fractions, alpha).unwrap();
        let crossed = plan.crossing_probabilities(0.0).unwrap();
        let mut before = 0.0;
        for (look, crossed) in plan.looks.iter().zip(crossed) {
            prop_assert!(look.alpha_spent >= before);
            prop_assert!((look.alpha_spent - before - crossed).abs() < 1e-6, "{:?}", plan);
            before = look.alpha_spent;
        }
        prop_assert!(before <= alpha + 1e-9);
        prop_assert!(plan.power(3.0).unwrap() > plan.power(1.0).unwrap());
        prop_assert!((plan.power(-2.0).unwrap() - plan.power(2.0).unwrap()).abs() < 1e-6);
    }
}
