//! The engine from the outside: logs in, facts, reports and experiments out.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod care;
mod exactly_once;
mod experiment_agreement;
mod experiment_delivery;
mod experiment_design;
mod experiment_kinds;
mod experiment_trust;
mod facts_laws;
mod formats;
mod known_truth;
mod malformed;
mod parquet_logs;
mod permission;
mod privacy;
mod read_only;
mod real_data;
mod reports;
mod score;
mod segments;
mod send_windows;
mod send_windows_drawn;
mod support;
mod vendors;
