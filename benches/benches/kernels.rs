//! The kernels that every analysis calls: two arms to a comparison, and a thousand segments with their adjustment.
#![allow(missing_docs)] // criterion's macros make public items without docs

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sendlift_stats::{Moments, Proportion, compare_means, compare_proportions, holm_available};

fn comparisons(criterion: &mut Criterion) {
    let (control, treatment) = (Proportion { n: 21_306, successes: 2_262 }, Proportion { n: 21_307, successes: 3_894 });
    criterion.bench_function("compare_proportions", |bencher| {
        bencher.iter(|| compare_proportions(black_box(control), black_box(treatment), 0.05));
    });
    let control = Moments { n: 21_306, mean: 0.6528, sum_squared_deviations: 2_849_000.0 };
    let treatment = Moments { n: 21_307, mean: 1.4226, sum_squared_deviations: 6_707_000.0 };
    criterion.bench_function("compare_means", |bencher| {
        bencher.iter(|| compare_means(black_box(&control), black_box(&treatment), 0.05));
    });
}

fn thousand_segments(criterion: &mut Criterion) {
    let segments: Vec<(Proportion, Proportion)> = (0..1000_u64)
        .map(|segment| {
            let n = 500 + segment;
            (Proportion { n, successes: n / 10 }, Proportion { n, successes: n / 10 + segment % 30 })
        })
        .collect();
    criterion.bench_function("a thousand segments, adjusted", |bencher| {
        bencher.iter(|| {
            let p_values: Vec<Option<f64>> = black_box(&segments)
                .iter()
                .map(|(control, treatment)| compare_proportions(*control, *treatment, 0.05).ok()?.p_value)
                .collect();
            holm_available(&p_values)
        });
    });
}

criterion_group!(kernels, comparisons, thousand_segments);
criterion_main!(kernels);
