//! Statistics of campaign experiments: pure functions over sufficient statistics.
//!
//! **Enters**: counts ([`Proportion`]: units and successes) or centred moments ([`Moments`]: units, mean, sum of
//! squared deviations) of each arm, one observation a randomised unit, and an error rate `alpha`. **Leaves**: estimates
//! with intervals ([`Estimate`]), tests ([`Comparison`]), checks and plans, ready to serialise. Nothing here reads a
//! file, a clock, the environment or a random number: the same input gives the same answer to the last bit.
//!
//! Which method when, for the analyst, and how often each errs: `docs/statistics.md` at the root of the repository.
//!
//! Rules that hold everywhere:
//!
//! - **One test, and intervals that cannot contradict it.** `p < alpha` exactly when zero lies outside the interval of
//!   the difference, exactly when it lies outside the interval of the lift (wherever a lift is defined). Proportions
//!   invert the pooled z test; means invert Welch's t test, by Fieller for the lift.
//! - **Never NaN, never a silent zero.** What cannot be computed is `None`, and a note says why.
//! - **A lift is relative to the size of the control**, `(treatment − control) / |control|`: a positive difference is a
//!   positive lift, for a negative baseline too.
//! - `alpha` is a share in (0, 1): 0.05 asks for 95 % intervals. Tests are two-sided.
//! - An `Err` is the caller's mistake (a NaN, more successes than units); thin data is never an error.
//!
//! | module | subject |
//! | --- | --- |
//! | [`comparison`] | the hinge: two arms in, difference, lift, statistic and p value out |
//! | [`proportion`] | counts; Wilson, pooled z, score and Newcombe intervals |
//! | [`moments`], [`mean`] | mergeable moments; Welch's t, Fieller's lift |
//! | [`interval`] | what an estimate and an interval look like, bounded or not |
//! | [`sample_ratio`] | were the arms filled in the intended shares? |
//! | [`multiple`] | p values corrected for several comparisons |
//! | [`mod@heterogeneity`] | do segments differ, and by how much to shrink them |
//! | [`plan`] | units needed, power, smallest detectable effect |
//! | [`plan_campaign`] | covariates, looks, several arms, days; test-then-roll of a finite list |
//! | [`proportion::exact`] | Fisher, Boschloo, Barnard, and which to use for small counts |
//! | [`equivalence`] | non-inferiority, superiority by a margin, equivalence |
//! | [`bayes`] | posteriors, chance to win, expected loss |
//! | [`complier`] | effect on the delivered, with Fieller's set |
//! | [`selection`] | false-coverage-rate intervals, the best arm without its luck |
//! | [`sample_ratio_sequential`] | the sample ratio, looked at every day |
//! | [`effect`] | any difference with a standard error: test, interval, Fieller's lift, at any critical value |
//! | [`sequential`] | always-valid confidence sequences; group-sequential plans and what to report at a stop |
//! | [`ratio`], [`cluster`] | delta-method ratios; units smaller than the randomised one (CR2, wild bootstrap) |
//! | [`send_windows`] | at which hour of the week messages do best: contrasts within campaigns, or a plan to get them |
//! | [`adjust`] | CUPED, Lin's regression (HC2), post-stratification |
//! | [`quantile`], [`skewed`] | order-statistic quantiles, clusters too; winsorised and logarithmic revenue |
//! | [`segment_search`] | segments where a treatment works: found on one half, measured on the other |
//! | [`portfolio`] | all experiments at once: shrunk effects, true wins to expect, what the winners are worth |
//! | [`imbalance`] | were the arms alike before, was the arm drawn at random, did messages arrive alike? |
//! | [`off_policy`] | what a schedule that was never sent would have brought, from a log with propensities |
//! | [`schedule`] | Thompson sampling of send slots: true propensities within floors, legal slots and caps |
//! | [`time_to_click`] | sooner or more: first clicks by interval, opt-outs competing |
//! | [`learner`] | feature values, and what a model must be able to do to be used here |
//! | [`logistic`], [`linear_regression`] | ridge regressions of a binary outcome and of a number; what each feature contributes |
//! | [`linear_predictor`] | what they share: standardised features, missing values, the choice of a penalty |
//! | [`uplift`] | whom a message moves: effects unit by unit, and how well they rank |
//! | [`audience`] | whom to send to within a budget and a cap, and what it may be promised to bring |
//! | [`mod@prediction_quality`] | how good predicted probabilities are: ranking, losses, reliability, lift; which of two models is better |
//! | [`calibration`] | scores made into probabilities that mean what they say: isotonic, Platt |
//! | [`population_stability`] | has a feature or a score moved since the model was fitted? |
//! | [`distribution`] | tails and quantiles, accurate where p values are tiny |

pub mod adjust;
pub mod audience;
pub mod bayes;
pub mod calibration;
pub mod cluster;
pub mod comparison;
pub mod complier;
pub mod distribution;
pub mod effect;
pub mod equivalence;
pub mod error;
pub mod heterogeneity;
pub mod imbalance;
pub mod interval;
pub mod learner;
pub mod linear_predictor;
pub mod linear_regression;
pub mod logistic;
pub mod mean;
pub mod moments;
pub mod multiple;
pub mod off_policy;
pub mod plan;
pub mod plan_campaign;
pub mod population_stability;
pub mod portfolio;
pub mod prediction_quality;
pub mod proportion;
pub mod quantile;
pub mod ratio;
pub mod sample_ratio;
pub mod sample_ratio_sequential;
pub mod schedule;
pub mod segment_search;
pub mod selection;
pub mod send_windows;
pub mod sequential;
pub mod skewed;
pub mod time_to_click;
pub mod uplift;

mod binomial;
mod counter;
mod numeric;
mod quadrature;
mod resampling;
mod root;

pub use adjust::{
    Adjusted, CrossMoments, Outcome, Slopes, compare_adjusted, compare_adjusted_units, compare_post_stratified,
};
pub use bayes::{
    ArmOutlook, BetaPosterior, BetaPrior, EffectDecision, NormalPosterior, NormalPrior, outlooks_of_means,
    outlooks_of_proportions,
};
pub use calibration::Calibration;
pub use cluster::{ClusterTotal, WildBootstrap, compare_clusters};
pub use comparison::{Comparison, compare_means, compare_proportions, compare_proportions_with};
pub use complier::{ComplierEffect, ComplierTest, DeliveryArm, KeptEffects, complier_effect};
pub use effect::{ArmValue, Effect, EstimatedEffect};
pub use equivalence::{
    Direction, EquivalenceTest, Margin, MarginTest, MarginVerdict, equivalence_test, non_inferiority_test,
    superiority_test,
};
pub use error::StatsError;
pub use heterogeneity::{Heterogeneity, SegmentEffect, Shrunk, heterogeneity, shrink};
pub use interval::{Estimate, Interval};
pub use learner::{FeatureMatrix, Learner, Predictor};
pub use linear_predictor::{LinearPredictor, Penalty};
pub use linear_regression::{LinearModel, RidgeLinear};
pub use logistic::{LogisticModel, RidgeLogistic};
pub use moments::Moments;
pub use multiple::{benjamini_hochberg, benjamini_hochberg_available, holm, holm_available};
pub use population_stability::{PopulationStability, QuantileBins, StabilityVerdict, population_stability_index};
pub use prediction_quality::{PredictionQuality, QualityOptions, compare_predictions, prediction_quality};
pub use proportion::{Proportion, VarianceCorrection};
pub use quantile::{ValueCounts, compare_clustered_quantiles, compare_quantiles, estimate_quantile};
pub use ratio::{RatioMoments, compare_ratios, ratio_effect};
pub use resampling::ResampledEstimate;
pub use sample_ratio::{SampleRatio, sample_ratio_test};
pub use sample_ratio_sequential::{SampleRatioLook, anytime_sample_ratio_test, sequential_sample_ratio_test};
pub use selection::{BestArm, Contender, best_arm, false_coverage_intervals, significant_estimate};
pub use sequential::{
    GroupSequential, MixtureBoundary, always_valid_means, always_valid_proportions, running_comparisons,
};
pub use skewed::{Winsorising, compare_logarithms, compare_winsorised};
