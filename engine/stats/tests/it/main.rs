//! Laws that hold for any data, checked on random data.
//!
//! Enters: counts and moments drawn by proptest. Leaves: nothing, or the smallest data that break a law.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod adjusting;
mod adjustment;
mod audience;
mod bayes;
mod calibration;
mod cluster;
mod complier;
mod equivalence;
mod exact_tests;
mod fixtures;
mod imbalance;
mod logistic;
mod mean_laws;
mod merging;
mod off_policy;
mod plan_campaign;
mod planning;
mod population_stability;
mod portfolio;
mod prediction_quality;
mod proportion_laws;
mod quantile;
mod ratio;
mod recipient_windows;
mod sample_ratio_sequential;
mod schedule;
mod segment_search;
mod selection;
mod send_windows;
mod sequential;
mod shrinking;
mod skewed;
mod support;
mod time_to_click;
mod uplift;
