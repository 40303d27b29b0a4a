//! How much more often the units with the highest predictions have the outcome.
//!
//! Enters: units in order of their predictions. Leaves: for each tenth of the units its share with the outcome, the lift
//! over all units, and how many of all outcomes it and those above hold.
//!
//! A decile is a part of the units that it is compared with. With f its share of the units and R the ratio of its rate
//! to that of the rest, the lift is R / (f R + 1 − f), which rises with R: its interval is Koopman's score interval of R
//! (1984, Biometrics 40(2)) carried over. It is finite without an outcome among the rest too: 1 / f is the most.

use super::{group, share};
use crate::error::StatsError;
use crate::interval::{Estimate, Interval};
use crate::numeric::count;
use crate::proportion::{Proportion, VarianceCorrection, score_interval_ratio};
use serde::{Deserialize, Serialize};

/// Groups of equal counts.
const DECILES: usize = 10;
const NO_OUTCOME: &str = "no unit has the outcome";
const NO_REST: &str = "all units are in one decile";

/// A tenth of the units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiftDecile {
    /// 1 for the highest predictions, to 10; with fewer than ten units, some are left out.
    pub decile: u64,
    /// Units in it; counts differ by one at most. Of equal predictions the unit that was given first is higher.
    pub units: u64,
    /// Those of them with the outcome.
    pub outcomes: u64,
    /// Mean of their predictions, 0 to 1.
    pub mean_predicted: f64,
    /// Share with the outcome, 0 to 1, with Wilson's interval.
    pub observed: Estimate,
    /// That share / the share of all units.
    pub lift: Estimate,
    /// Share of all outcomes in this decile and those above, 0 to 1; none without an outcome.
    pub captured: Option<f64>,
}

/// `order` is of falling predictions.
pub(super) fn lift_by_decile(
    predictions: &[f64],
    outcomes: &[bool],
    order: &[usize],
    alpha: f64,
) -> Result<Vec<LiftDecile>, StatsError> {
    let all = group(outcomes, order);
    let mut table = Vec::with_capacity(DECILES);
    let mut captured = 0;
    for decile in 0..DECILES {
        let start = order.len() * decile / DECILES;
        let units = &order[start..order.len() * (decile + 1) / DECILES];
        if units.is_empty() {
            continue;
        }
        let own = group(outcomes, units);
        captured += own.successes;
        let rest = Proportion { n: all.n - own.n, successes: all.successes - own.successes };
        table.push(LiftDecile {
            decile: decile as u64 + 1,
            units: own.n,
            outcomes: own.successes,
            mean_predicted: units.iter().map(|&unit| predictions[unit]).sum::<f64>() / count(own.n),
            observed: share(own, alpha)?,
            lift: lift(own, rest, alpha)?,
            captured: (all.successes > 0).then(|| count(captured) / count(all.successes)),
        });
    }
    Ok(table)
}

/// The rate of a part over that of the part and the rest.
fn lift(own: Proportion, rest: Proportion, alpha: f64) -> Result<Estimate, StatsError> {
    let all = own.merge(rest);
    let (Some(rate), Some(overall)) = (own.rate(), all.rate().filter(|rate| *rate > 0.0)) else {
        return Ok(Estimate::undefined(NO_OUTCOME));
    };
    if rest.n == 0 {
        return Ok(Estimate::new(rate / overall, Interval::undefined(NO_REST)));
    }
    let part = count(own.n) / count(all.n);
    let ratio = score_interval_ratio(rest, own, alpha, VarianceCorrection::Uncorrected)?;
    let carried = |ratio: f64| ratio / (part * ratio + 1.0 - part);
    let ends = Interval::from_ends(ratio.low.map_or(0.0, carried), ratio.high.map_or(1.0 / part, carried));
    Ok(Estimate::new(rate / overall, ends))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::super::descending;
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn deciles_differ_by_one_unit_at_most_and_capture_everything() {
        let predictions: Vec<f64> = (0..37).map(|unit| f64::from(unit % 6) / 10.0).collect();
        let outcomes: Vec<bool> = (0..37).map(|unit| unit % 6 > 3).collect();
        let table = lift_by_decile(&predictions, &outcomes, &descending(&predictions), 0.05).unwrap();
        assert!(table.iter().all(|decile| (3..=4).contains(&decile.units)));
        assert_eq!(table.iter().map(|decile| decile.units).sum::<u64>(), 37);
        assert_eq!(table[9].captured, Some(1.0));
        assert_close(table[0].lift.estimate.unwrap(), 37.0 / 12.0, 1e-14);
        assert_eq!(table[9].lift.estimate, Some(0.0));
        assert_eq!(table[9].lift.low, Some(0.0));
    }

    #[test]
    fn lifts_end_where_the_part_can_be_no_better() {
        // Every outcome lies in the part.
        let best = lift(Proportion { n: 10, successes: 3 }, Proportion { n: 90, successes: 0 }, 0.05).unwrap();
        assert_close(best.estimate.unwrap(), 10.0, 1e-14);
        assert_close(best.high.unwrap(), 10.0, 1e-14);
        assert!(best.low.unwrap() > 1.0 && best.note.is_none());
        let none = lift(Proportion { n: 10, successes: 0 }, Proportion { n: 90, successes: 0 }, 0.05).unwrap();
        assert_eq!(none, Estimate::undefined(NO_OUTCOME));
        let alone = lift(Proportion { n: 1, successes: 1 }, Proportion::default(), 0.05).unwrap();
        assert_eq!((alone.estimate, alone.note.as_deref()), (Some(1.0), Some(NO_REST)));
    }
}
