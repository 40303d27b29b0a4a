//! Are the logged propensities those of the windows that are asked about?
//!
//! In: the campaigns that say with what probability their messages' moments were drawn. Out: of which of them windows (or the
//! hours within them) were drawn so.
//!
//! Where something is drawn with the probability that was logged, one over it adds up, over the messages that got it, to the
//! messages that might have got it (Horvitz and Thompson 1952, JASA 47). A probability of something else (the variant, the
//! article shown), windows finer than those that were drawn, or a habit behind the draw do not add up so, and hours that
//! differ then may differ by who was sent to in them.

use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::datatypes::{Float64Type, Int64Type};

use super::cells::{PLACE, WITH_PROPENSITY, held_sql, texts};
use super::slots::Slots;
use crate::error::Result;
use crate::query::{QuerySession, text_literal};

/// What was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawn {
    Windows,
    /// Single hours, and with them windows.
    Hours,
}

/// Messages of one campaign and place that a window would have to get before it speaks.
const FEWEST_EXPECTED: f64 = 10.0;
/// What adds up to less than this share of the messages was not drawn so: half a window's days or hours, a habit.
const LEAST_SHARE: f64 = 0.8;
/// How far windows may be from one another, as a share.
const TOLERATED: f64 = 0.25;
/// How much of either must be beyond chance, in standard deviations: there are many windows in many campaigns.
const DEVIATIONS: f64 = 5.0;

/// Messages with some moment: one over their propensities added up, and the variance of that.
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    n: f64,
    inverse: f64,
    variance: f64,
}

/// By campaign, place and moment: a window, or an hour of a day.
type Totals = BTreeMap<String, BTreeMap<String, BTreeMap<i64, Total>>>;

/// Asks each of some campaigns what was drawn; one of which nothing was is not among the answers.
pub(super) async fn drawn(
    session: &QuerySession,
    slots: &Slots,
    campaigns: &[String],
) -> Result<BTreeMap<String, Drawn>> {
    if campaigns.is_empty() {
        return Ok(BTreeMap::new());
    }
    let named: Vec<String> = campaigns.iter().map(|name| text_literal(name)).collect();
    let query = format!(
        "SELECT coalesce(f.campaign_id, ''), {PLACE}, arrow_cast({}, 'Int64'), arrow_cast(f.local_weekday * 24 + f.local_hour, 'Int64'), \
         arrow_cast(count(*), 'Float64'), sum(1 / f.send_propensity), \
         sum((1 - f.send_propensity) / (f.send_propensity * f.send_propensity)) FROM message_facts AS f \
         WHERE coalesce(f.campaign_id, '') IN ({}) AND f.local_hour IS NOT NULL AND NOT {} AND {WITH_PROPENSITY} GROUP BY 1, 2, 3, 4",
        slots.sql("f.local_weekday", "f.local_hour"),
        named.join(", "),
        held_sql()
    );
    let (mut by_window, mut by_hour) = (Totals::new(), Totals::new());
    for batch in session.collect(&query).await? {
        let (names, places) = (texts(&batch, 0)?, texts(&batch, 1)?);
        for row in 0..batch.num_rows() {
            let whole = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            let number = |column: usize| batch.column(column).as_primitive::<Float64Type>().value(row);
            for (totals, moment) in [(&mut by_window, whole(2)), (&mut by_hour, whole(3))] {
                let places_of = totals.entry(names.value(row).to_owned()).or_default();
                let total = places_of.entry(places.value(row).to_owned()).or_default().entry(moment).or_default();
                total.n += number(4);
                total.inverse += number(5);
                total.variance += number(6);
            }
        }
    }
    let mut found = BTreeMap::new();
    for (campaign, windows) in &by_window {
        let hours = by_hour.get(campaign).is_some_and(adds_up);
        if hours {
            found.insert(campaign.clone(), Drawn::Hours);
        } else if adds_up(windows) {
            found.insert(campaign.clone(), Drawn::Windows);
        }
    }
    // What is too little to be seen in one campaign may be seen in all of them.
    let together = |of: &Totals, what: Drawn| {
        let own = of.iter().filter(|(campaign, _)| found.get(*campaign) == Some(&what));
        let places = own.flat_map(|(campaign, places)| places.iter().map(move |(place, of)| ((campaign, place), of)));
        shares(places).is_none_or(|shares| are_alike(&shares))
    };
    let doubtful: Vec<Drawn> = [(&by_hour, Drawn::Hours), (&by_window, Drawn::Windows)]
        .into_iter()
        .filter(|(of, what)| !together(of, *what))
        .map(|(_, what)| what)
        .collect();
    found.retain(|_, what| !doubtful.contains(what));
    Ok(found)
}

/// Whether the totals of a campaign are those of what was drawn with the logged probabilities.
fn adds_up(places: &BTreeMap<String, BTreeMap<i64, Total>>) -> bool {
    shares(places.iter()).is_none_or(|shares| are_alike(&shares))
}

/// What each moment's totals come to, as a share of the messages that might have got it, with its standard deviation and
/// its messages; none where no moment has enough of them.
fn shares<'a, K>(places: impl Iterator<Item = (K, &'a BTreeMap<i64, Total>)> + Clone) -> Option<Vec<(f64, f64, f64)>> {
    let mut usual: BTreeMap<i64, Total> = BTreeMap::new();
    for (_, moments) in places.clone() {
        for (moment, total) in moments {
            let known = usual.entry(*moment).or_default();
            known.n += total.n;
            known.inverse += total.inverse;
        }
    }
    // Where a moment is not allowed nobody gets it: only places with some of it count, and such as must have some.
    let mut sums: BTreeMap<i64, (Total, f64)> = BTreeMap::new();
    for (_, moments) in places {
        let messages: f64 = moments.values().map(|total| total.n).sum();
        for (moment, total) in moments {
            let expected = usual.get(moment).map_or(0.0, |usual| messages * usual.n / usual.inverse);
            if expected >= FEWEST_EXPECTED {
                let (sum, might) = sums.entry(*moment).or_default();
                sum.n += total.n;
                sum.inverse += total.inverse;
                sum.variance += total.variance;
                *might += messages;
            }
        }
    }
    let shares = sums.values().map(|(sum, might)| (sum.inverse / might, sum.variance.sqrt() / might, sum.n));
    Some(shares.collect::<Vec<_>>()).filter(|shares| !shares.is_empty())
}

fn are_alike(shares: &[(f64, f64, f64)]) -> bool {
    let mut in_order: Vec<(f64, f64)> = shares.iter().map(|(share, _, n)| (*share, *n)).collect();
    in_order.sort_by(|one, other| one.0.total_cmp(&other.0));
    let half = in_order.iter().map(|(_, n)| n).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let middle = in_order.iter().find(|(_, n)| {
        below += n;
        below >= half
    });
    let middle = middle.map_or(1.0, |(share, _)| *share);
    shares.iter().all(|(share, deviation, _)| {
        let (chance, distance) = (DEVIATIONS * deviation, (share - middle).abs());
        let too_few = share + chance < LEAST_SHARE;
        // Its own variance says little of a moment with few messages; that of the middle says more.
        let is_far =
            distance > chance.max(DEVIATIONS * deviation * (middle / share).sqrt()) && distance > TOLERATED * middle;
        !too_few && !is_far
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(n: f64, propensity: f64) -> Total {
        Total { n, inverse: n / propensity, variance: n * (1.0 - propensity) / (propensity * propensity) }
    }

    fn place(moments: &[(i64, f64, f64)]) -> BTreeMap<i64, Total> {
        moments.iter().map(|(moment, n, propensity)| (*moment, total(*n, *propensity))).collect()
    }

    fn holds(places: &[BTreeMap<i64, Total>]) -> bool {
        shares(places.iter().enumerate()).is_none_or(|shares| are_alike(&shares))
    }

    #[test]
    fn what_was_drawn_with_its_probabilities_adds_up() {
        assert!(holds(&[place(&[(0, 2_500.0, 0.25), (1, 2_450.0, 0.25), (2, 5_050.0, 0.5)])]));
        // A window that is not allowed in one of the places.
        assert!(holds(&[place(&[(0, 500.0, 0.5), (1, 500.0, 0.5)]), place(&[(0, 1_000.0, 1.0 - 1e-9)])]));
        // Of few messages nothing is said.
        assert!(holds(&[place(&[(0, 9.0, 0.5)])]));
    }

    #[test]
    fn a_probability_of_something_else_does_not() {
        // One of two variants, in windows by habit.
        assert!(!holds(&[place(&[(0, 7_000.0, 0.5), (1, 2_000.0, 0.5), (2, 1_000.0, 0.5)])]));
        // One article of eighty.
        assert!(!holds(&[place(&[(0, 7_000.0, 0.0125), (1, 2_000.0, 0.0125), (2, 1_000.0, 0.0125)])]));
        // Hours of windows that were drawn at a half: each gets a part of them.
        assert!(!holds(&[place(&[(0, 300.0, 0.5), (1, 200.0, 0.5), (2, 250.0, 0.5), (3, 250.0, 0.5)])]));
    }
}
