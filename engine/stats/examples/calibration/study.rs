//! A study: one kind of data, simulated many times, and the methods that have to cope with it.
//!
//! Enters: a [`Study`]. Leaves: for each of its methods how often it was wrong. Every replicate draws a control, a
//! treatment that does not differ (A/A: is something found all the same?) and one that does (A/B: does the interval hold
//! the true difference?). Replicates are dealt out to threads; as each has its own random numbers and only counts are
//! added up, the result does not depend on how many threads there are.

use crate::random::Random;
use sendlift_stats::{Comparison, StatsError};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The error rate of every test and interval here.
pub const ALPHA: f64 = 0.05;

/// Replicates that a thread takes at a time.
const BLOCK: u64 = 16;

/// The true error rates that a method claims for a kind of data.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub least: f64,
    pub most: f64,
    /// Whether a breach is a fault. Where not, it is a known failure, and only marked.
    pub binding: bool,
}

impl Claim {
    /// An approximation that is close: tighter than Bradley's (1978) 2.5 to 7.5 %.
    pub const NEAR: Self = Self { least: 0.035, most: 0.065, binding: true };
    /// An approximation that may be cautious.
    pub const CAUTIOUS: Self = Self { least: 0.0, most: 0.065, binding: true };
    /// A guarantee.
    pub const AT_MOST: Self = Self { least: 0.0, most: ALPHA, binding: true };
    /// What would be expected of a method that is shown because it does not give it.
    pub const CONTRAST: Self = Self { least: 0.035, most: 0.065, binding: false };

    /// Binding only under a condition, such as enough data.
    pub fn binding_if(self, condition: bool) -> Self {
        Self { binding: self.binding && condition, ..self }
    }
}

/// A method in a study.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    pub name: &'static str,
    pub claim: Claim,
}

impl Method {
    pub fn new(name: &'static str, claim: Claim) -> Self {
        Self { name, claim }
    }
}

/// What one replicate showed of one method; none where the method has no test, or no interval.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// A/A: a difference was found.
    pub false_positive: Option<bool>,
    /// A/B: the interval did not hold the true difference.
    pub missed: Option<bool>,
}

impl Seen {
    /// Of comparisons without and with a true difference. What could not be tested found nothing, and an interval
    /// without ends excludes nothing.
    pub fn of(null: &Comparison, real: &Comparison, difference: f64) -> Self {
        Self { false_positive: Some(null.is_significant(ALPHA)), missed: Some(!real.difference.contains(difference)) }
    }
}

/// How often a method was wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub tests: u64,
    pub false_positives: u64,
    pub intervals: u64,
    pub misses: u64,
}

impl Tally {
    fn record(&mut self, seen: Seen) {
        if let Some(found) = seen.false_positive {
            self.tests += 1;
            self.false_positives += u64::from(found);
        }
        if let Some(missed) = seen.missed {
            self.intervals += 1;
            self.misses += u64::from(missed);
        }
    }

    fn merge(&mut self, other: Self) {
        self.tests += other.tests;
        self.false_positives += other.false_positives;
        self.intervals += other.intervals;
        self.misses += other.misses;
    }
}

/// One replicate: an entry for each method, in order.
pub type Simulation = dyn Fn(&mut Random) -> Result<Vec<Seen>, StatsError> + Sync;

/// One kind of data.
pub struct Study {
    /// The heading that it stands under.
    pub family: &'static str,
    /// The data in words.
    pub data: String,
    pub methods: Vec<Method>,
    pub replicates: u64,
    pub simulate: Box<Simulation>,
}

impl Study {
    /// Simulates; `place` tells the random numbers of one study from those of another.
    pub fn run(&self, seed: u64, place: u64, threads: usize) -> Result<Vec<Tally>, StatsError> {
        let next = AtomicU64::new(0);
        let work = || -> Result<Vec<Tally>, StatsError> {
            let mut tallies = vec![Tally::default(); self.methods.len()];
            loop {
                let first = next.fetch_add(BLOCK, Ordering::Relaxed);
                if first >= self.replicates {
                    return Ok(tallies);
                }
                for replicate in first..(first + BLOCK).min(self.replicates) {
                    let mut random = Random::new(seed, place, replicate);
                    for (tally, seen) in tallies.iter_mut().zip((self.simulate)(&mut random)?) {
                        tally.record(seen);
                    }
                }
            }
        };
        let parts = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| match worker.join() {
                    Ok(part) => part,
                    Err(panic) => resume_unwind(panic),
                })
                .collect::<Result<Vec<_>, StatsError>>()
        })?;
        let mut tallies = vec![Tally::default(); self.methods.len()];
        for part in parts {
            for (tally, other) in tallies.iter_mut().zip(part) {
                tally.merge(other);
            }
        }
        Ok(tallies)
    }
}
