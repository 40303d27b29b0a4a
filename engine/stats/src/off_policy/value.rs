//! Ratios of sums over recipients: their values, linearised standard errors, and bootstrap by recipient.

use super::sums::RecipientSums;
use super::{EvaluationOptions, ValueMethod};
use crate::binomial::index;
use crate::counter::{bits, poisson_one, split_mix};
use crate::distribution::normal;
use crate::interval::{Estimate, Interval};
use crate::numeric::{count, length};
use crate::resampling::percentile_interval;

/// Recipients beyond which the bootstrap draws groups of recipients instead: groups by hash are as independent, and a
/// few thousand of them fix a percentile as well as millions.
const MOST_RESAMPLED: usize = 20_000;

const NO_WEIGHT: &str = "no send has a weight: the proposed schedule makes none of the choices that were logged";
const ONE_RECIPIENT: &str = "a single recipient: nothing says how sure the value is";

/// A value Σ top / Σ bottom over recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Logged,
    Proposed(ValueMethod),
}

impl Value {
    fn top(self, totals: &Totals) -> f64 {
        match self {
            Self::Logged => totals.reward,
            Self::Proposed(ValueMethod::DoublyRobust) => totals.doubly_robust,
            Self::Proposed(_) => totals.weighted_reward,
        }
    }

    fn bottom(self, totals: &Totals) -> f64 {
        match self {
            Self::Proposed(ValueMethod::SelfNormalised) => totals.weight,
            _ => totals.sends,
        }
    }

    fn ratio(self, totals: &Totals) -> f64 {
        self.top(totals) / self.bottom(totals)
    }
}

/// The sums that values are made of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    sends: f64,
    reward: f64,
    weight: f64,
    weighted_reward: f64,
    doubly_robust: f64,
}

impl Totals {
    pub(super) fn of(sums: &RecipientSums) -> Self {
        Self {
            sends: count(sums.sends),
            reward: sums.reward,
            weight: sums.weight,
            weighted_reward: sums.weighted_reward,
            doubly_robust: sums.doubly_robust,
        }
    }

    /// The same with a reward of one for every send, whose value is the mean weight.
    pub(super) fn of_weights(sums: &RecipientSums) -> Self {
        Self { weighted_reward: sums.weight, ..Self::of(sums) }
    }

    fn add(&mut self, other: &Self, times: f64) {
        self.sends += times * other.sends;
        self.reward += times * other.reward;
        self.weight += times * other.weight;
        self.weighted_reward += times * other.weighted_reward;
        self.doubly_robust += times * other.doubly_robust;
    }
}

/// A value with the part of every recipient in its error.
#[derive(Debug, Clone)]
pub(super) struct Linearised {
    value: f64,
    influence: Vec<f64>,
}

impl Linearised {
    /// None where the sum below is zero.
    pub(super) fn of(recipients: &[Totals], value: Value) -> Option<Self> {
        let mut all = Totals::default();
        for totals in recipients {
            all.add(totals, 1.0);
        }
        let bottom = value.bottom(&all);
        if bottom <= 0.0 {
            return None;
        }
        let ratio = value.ratio(&all);
        let influence = recipients.iter().map(|own| (value.top(own) - ratio * value.bottom(own)) / bottom).collect();
        Some(Self { value: ratio, influence })
    }

    /// This value less another of the same recipients.
    pub(super) fn less(&self, other: &Self) -> Self {
        Self {
            value: self.value - other.value,
            influence: self.influence.iter().zip(&other.influence).map(|(own, other)| own - other).collect(),
        }
    }

    /// Standard error over recipients, with G / (G − 1); none with fewer than two.
    pub(super) fn standard_error(&self) -> Option<f64> {
        let recipients = length(self.influence.len());
        let squares: f64 = self.influence.iter().map(|part| part * part).sum();
        (recipients >= 2.0).then(|| (squares * recipients / (recipients - 1.0)).sqrt())
    }

    pub(super) fn estimate(&self, alpha: f64) -> Estimate {
        let interval = match self.standard_error() {
            Some(standard_error) => {
                let half_width = normal::critical_value(alpha) * standard_error;
                Interval::from_ends(self.value - half_width, self.value + half_width)
            }
            None => Interval::undefined(ONE_RECIPIENT),
        };
        Estimate::new(self.value, interval)
    }
}

/// An estimate where there is a value, and why there is none.
pub(super) fn estimate_of(linearised: Option<&Linearised>, alpha: f64) -> Estimate {
    linearised.map_or_else(|| Estimate::undefined(NO_WEIGHT), |linearised| linearised.estimate(alpha))
}

/// Percentile intervals of each value and of its gain over the logged one: recipients drawn with replacement, each a
/// Poisson number of times that depends on the seed, the replicate and the recipient alone.
pub(super) fn bootstrap(
    recipients: &[RecipientSums],
    methods: &[ValueMethod],
    options: EvaluationOptions,
) -> Vec<(Interval, Interval)> {
    let groups = grouped(recipients);
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); methods.len()];
    let mut gains = values.clone();
    for replicate in 0..u64::from(options.replicates) {
        let mut drawn = Totals::default();
        for (group, totals) in &groups {
            drawn.add(totals, f64::from(poisson_one(bits(options.seed, replicate, *group))));
        }
        let logged = Value::Logged.ratio(&drawn);
        for (place, method) in methods.iter().enumerate() {
            let value = Value::Proposed(*method).ratio(&drawn);
            if value.is_finite() && logged.is_finite() {
                values[place].push(value);
                gains[place].push(value - logged);
            }
        }
    }
    let interval = |draws: Vec<f64>| percentiles(draws, options);
    values.into_iter().map(interval).zip(gains.into_iter().map(interval)).collect()
}

/// The recipients themselves, or groups of them by hash where there are very many.
fn grouped(recipients: &[RecipientSums]) -> Vec<(u64, Totals)> {
    if recipients.len() <= MOST_RESAMPLED {
        return recipients.iter().map(|sums| (sums.recipient, Totals::of(sums))).collect();
    }
    let mut groups: Vec<(u64, Totals)> = (0..MOST_RESAMPLED as u64).map(|group| (group, Totals::default())).collect();
    for sums in recipients {
        let place = index(split_mix(sums.recipient) % MOST_RESAMPLED as u64);
        groups[place].1.add(&Totals::of(sums), 1.0);
    }
    groups
}

fn percentiles(draws: Vec<f64>, options: EvaluationOptions) -> Interval {
    let asked = f64::from(options.replicates);
    if length(draws.len()) < 0.9 * asked || draws.is_empty() {
        return Interval::undefined("too many bootstrap samples hold no weight at all");
    }
    percentile_interval(draws, options.alpha)
}
