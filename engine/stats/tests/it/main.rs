//! Laws that hold for any data, checked on random data.
//!
//! Enters: counts and moments drawn by proptest. Leaves: nothing, or the smallest data that break a law.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod adjusting;
mod mean_laws;
mod merging;
mod planning;
mod proportion_laws;
mod shrinking;
mod support;
