//! Population stability: agreement with `NumPy`, pandas and `SciPy`, laws, and false alarms.

use crate::fixtures::cases;
use crate::support::standard_normal;
use proptest::prelude::*;
use sendlift_stats::population_stability::{MODERATE_INDEX, PopulationStability};
use sendlift_stats::{QuantileBins, StabilityVerdict, population_stability_index};

#[test]
fn bins_and_indices_agree_with_scipy() {
    // Eleven digits in the fixture.
    let cases = cases(include_str!("../oracle/fixtures/population_stability.csv"));
    for case in &cases {
        let values = |column: &str| -> Vec<f64> {
            case.list(column).into_iter().map(|value| value.unwrap_or(f64::NAN)).collect()
        };
        let bins = QuantileBins::of_training(&values("training"));
        assert_eq!(bins.cut_points(), case.values("cut_points"));
        let counts =
            |column: &str| -> Vec<u64> { case.text(column).split(';').map(|count| count.parse().unwrap()).collect() };
        let (expected, actual) = (bins.counts(&values("training")), bins.counts(&values("now")));
        assert_eq!((&expected, &actual), (&counts("expected"), &counts("actual")));
        let stability = population_stability_index(&expected, &actual, 0.05).unwrap();
        case.check("index", stability.index, 1e-9, 1e-12);
        case.check("p", stability.p_value, 1e-9, 1e-14);
        case.check("critical", stability.critical_value, 1e-9, 0.0);
        case.check("by_chance", stability.expected_by_chance, 1e-9, 0.0);
    }
    assert_eq!(cases.len(), 90);
}

#[test]
fn a_population_that_stays_is_seldom_called_moved() {
    // Two hundred units of each sample and ten bins: the mean index is 0.09, and half of them would pass 0.08.
    let runs = 2_000;
    let (mut moved, mut significant, mut large) = (0, 0, 0);
    let mut sum = 0.0;
    for run in 0..runs {
        let sample =
            |from: u64| -> Vec<f64> { (0..200).map(|unit| standard_normal((run * 2 + from) * 200 + unit)).collect() };
        let (training, now) = (sample(0), sample(1));
        let bins = QuantileBins::of_training(&training);
        let stability: PopulationStability =
            population_stability_index(&bins.counts(&training), &bins.counts(&now), 0.05).unwrap();
        moved += u32::from(matches!(stability.verdict, StabilityVerdict::Moderate | StabilityVerdict::Shifted));
        significant += u32::from(stability.p_value.unwrap() < 0.05);
        large += u32::from(stability.index.unwrap() >= MODERATE_INDEX);
        sum += stability.index.unwrap();
    }
    assert!((sum / 2_000.0 / 0.09 - 1.0).abs() < 0.05, "{sum}");
    // 5 % of 2,000 is 100, give or take 10.
    assert!((70..=130).contains(&significant), "{significant}");
    assert!(moved == significant && large > 4 * moved, "{moved} {large}");
}

proptest! {
    #[test]
    fn indices_are_symmetric_and_can_be_shown(
        counts in prop::collection::vec((0_u64..2_000, 0_u64..2_000), 1..12),
    ) {
        let (expected, actual): (Vec<u64>, Vec<u64>) = counts.into_iter().unzip();
        let stability = population_stability_index(&expected, &actual, 0.05).unwrap();
        let turned = population_stability_index(&actual, &expected, 0.05).unwrap();
        prop_assert_eq!(stability.verdict, turned.verdict);
        prop_assert!(stability.index.zip(turned.index).is_none_or(|(own, other)| (own - other).abs() < 1e-12));
        let numbers = [stability.index, stability.p_value, stability.critical_value, stability.expected_by_chance];
        prop_assert!(numbers.iter().flatten().all(|number| number.is_finite() && *number >= 0.0), "{:?}", stability);
        prop_assert!(numbers.iter().all(Option::is_some) || stability.note.is_some());
        let rejects = stability.p_value.is_some_and(|p_value| p_value < 0.05);
        prop_assert_eq!(rejects, stability.critical_value.is_some_and(|most| stability.index.unwrap() > most));
        let itself = population_stability_index(&expected, &expected, 0.05).unwrap();
        prop_assert!(itself.index.is_none_or(|index| index <= 0.0));
    }

    #[test]
    fn bins_hold_every_value_and_no_more_than_ten(values in prop::collection::vec(-9.0..9.0_f64, 0..300)) {
        let bins = QuantileBins::of_training(&values);
        let counts = bins.counts(&values);
        prop_assert!(bins.cut_points().len() < 10 && bins.cut_points().windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(usize::try_from(counts.iter().sum::<u64>()).unwrap(), values.len());
        // No bin of the training sample is empty, but that of missing values.
        prop_assert!(values.is_empty() || counts[..counts.len() - 1].iter().all(|count| *count > 0));
    }
}
