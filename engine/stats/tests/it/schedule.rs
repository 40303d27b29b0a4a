//! Schedules: agreement with the convex problem that the Python oracle solves, and laws of propensities.

use crate::fixtures::cases;
use proptest::prelude::*;
use sendlift_stats::schedule::{PosteriorDraws, RecipientClass, Schedule, ScheduleOptions, plan_schedule};

#[test]
fn propensities_solve_the_convex_problem() {
    // The oracle's minimiser stops at a gradient of 1e-11, ours at loads within 1e-9: five digits of a share.
    for case in cases(include_str!("../oracle/fixtures/schedule.csv")) {
        let sizes: Vec<u64> = case.text("sizes").split(';').map(|size| size.parse().unwrap()).collect();
        let caps = case.list("caps");
        let slots = caps.len();
        let legal: Vec<bool> = case.text("legal").split(';').map(|flag| flag == "1").collect();
        let wins: Vec<usize> = case.text("wins").split(';').map(|wins| wins.parse().unwrap()).collect();
        let posteriors: Vec<PosteriorDraws> = wins
            .chunks(slots)
            .map(|wins| {
                let winners = wins.iter().enumerate().flat_map(|(slot, times)| std::iter::repeat_n(slot, *times));
                let one_hot =
                    winners.flat_map(|winner| (0..slots).map(move |slot| f64::from(u8::from(slot == winner))));
                PosteriorDraws::from_rows(slots, one_hot.collect()).unwrap()
            })
            .collect();
        let classes: Vec<RecipientClass> = sizes
            .iter()
            .zip(legal.chunks(slots))
            .enumerate()
            .map(|(segment, (recipients, legal))| RecipientClass {
                recipients: *recipients,
                segment,
                legal: legal.to_vec(),
            })
            .collect();
        let options = ScheduleOptions {
            propensity_floor: case.value("floor"),
            uniform_share: case.value("uniform"),
            headroom: 0.0,
            seed: 1,
        };
        let schedule = plan_schedule(&classes, &posteriors, &caps, options).unwrap();
        let seen = |list: fn(&sendlift_stats::schedule::ClassSchedule) -> &Vec<f64>| -> Vec<f64> {
            schedule.classes.iter().flat_map(|class| list(class).clone()).collect()
        };
        for (seen, expected) in seen(|class| &class.chance_best).iter().zip(case.values("chances")) {
            assert!((seen - expected).abs() < 1e-9);
        }
        for (seen, expected) in seen(|class| &class.propensities).iter().zip(case.values("propensities")) {
            assert!((seen - expected).abs() < 1e-5, "{seen} is not {expected}: {:?}", case.text("caps"));
        }
        assert!(schedule.expected_unscheduled < 1e-9);
    }
}

fn random_schedule(
    slots: usize,
    classes: &[(u64, u64)],
    means: &[f64],
    caps: &[Option<f64>],
    options: ScheduleOptions,
) -> Schedule {
    let mut covariance = vec![0.0; slots * slots];
    for slot in 0..slots {
        covariance[slot * slots + slot] = 0.3;
    }
    let posterior = PosteriorDraws::of_normal(&means[..slots], &covariance, 300, 5).unwrap();
    let classes: Vec<RecipientClass> = classes
        .iter()
        .map(|&(recipients, mask)| RecipientClass {
            recipients,
            segment: 0,
            legal: (0..slots).map(|slot| (mask >> slot) & 1 == 1).collect(),
        })
        .collect();
    plan_schedule(&classes, &[posterior], &caps[..slots], options).unwrap()
}

#[test]
fn slots_are_drawn_as_often_as_logged() {
    let caps = [None, Some(2_000.0), None, Some(500.0)];
    let schedule = random_schedule(4, &[(10_000, 0b1111)], &[0.0, 1.0, 0.5, 1.5], &caps, ScheduleOptions::default());
    let mut drawn = [0.0; 4];
    for recipient in 0..100_000 {
        let assignment = schedule.assign(0, recipient).unwrap();
        assert!((assignment.propensity - schedule.classes[0].propensities[assignment.slot]).abs() < 1e-15);
        drawn[assignment.slot] += 1.0;
    }
    let statistic: f64 = drawn
        .iter()
        .zip(&schedule.classes[0].propensities)
        .map(|(drawn, propensity)| (drawn - 1e5 * propensity).powi(2) / (1e5 * propensity))
        .sum();
    // Chi-square with three degrees of freedom: 16.3 once in a thousand.
    assert!(statistic < 16.3, "{statistic}");
    // The inverse propensity weights of a slot add up to the list.
    let weighed: f64 = (0..100_000)
        .filter_map(|recipient| schedule.assign(0, recipient))
        .filter(|assignment| assignment.slot == 3)
        .map(|assignment| 1.0 / assignment.propensity)
        .sum();
    assert!((weighed / 1e5 - 1.0).abs() < 0.06, "{weighed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn propensities_are_a_distribution_within_caps(
        slots in 1_usize..7,
        classes in prop::collection::vec((1_u64..5_000, 0_u64..64), 1..6),
        means in prop::collection::vec(-1.0..1.0_f64, 6),
        caps in prop::collection::vec(prop::option::of(0.0..6_000.0_f64), 6),
        floor in 0.0..0.3_f64,
        uniform in 0.0..1.0_f64,
    ) {
        let options = ScheduleOptions { propensity_floor: floor, uniform_share: uniform, headroom: 0.0, seed: 3 };
        let schedule = random_schedule(slots, &classes, &means, &caps, options);
        for (class, &(_, mask)) in schedule.classes.iter().zip(&classes) {
            let sum: f64 = class.propensities.iter().sum();
            prop_assert!((sum + class.unscheduled - 1.0).abs() < 1e-6, "{sum} {}", class.unscheduled);
            for (slot, &propensity) in class.propensities.iter().enumerate() {
                prop_assert!((0.0..=1.0 + 1e-9).contains(&propensity));
                let is_open = (mask >> slot) & 1 == 1 && caps[slot].is_none_or(|cap| cap > 0.0);
                prop_assert!(is_open || propensity == 0.0);
            }
        }
        for (load, cap) in schedule.expected_loads.iter().zip(&caps) {
            prop_assert!(cap.is_none_or(|cap| *load <= cap * (1.0 + 1e-3) + 1e-6), "{load} {cap:?}");
        }
    }

    #[test]
    fn without_caps_the_floor_holds(
        slots in 1_usize..7,
        mask in 1_u64..64,
        means in prop::collection::vec(-3.0..3.0_f64, 6),
        floor in 0.0..0.5_f64,
        uniform in 0.0..1.0_f64,
    ) {
        let options = ScheduleOptions { propensity_floor: floor, uniform_share: uniform, headroom: 3.0, seed: 3 };
        let schedule = random_schedule(slots, &[(100, mask)], &means, &[None; 6], options);
        let legal = (0..slots).filter(|slot| (mask >> slot) & 1 == 1).count();
        if legal > 0 {
            let floor = floor.min(1.0 / f64::from(u32::try_from(legal).unwrap()));
            prop_assert!(schedule.classes[0].least_propensity.unwrap_or(1.0) >= floor - 1e-9 || floor == 0.0);
            prop_assert!((schedule.classes[0].propensities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
