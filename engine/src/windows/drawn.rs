//! Are the logged propensities those of the windows that are asked about?
//!
//! In: the campaigns that say with what probability their messages' moments were drawn. Out: of which of them windows (or the
//! hours within them) were drawn so.
//!
//! Where something is drawn with the probability that was logged, one over it adds up, over the messages that got it, to the
//! messages that might have got it (Horvitz and Thompson 1952, JASA 47). A probability of something else (the variant, the
//! article shown), windows finer than those that were drawn, or a habit behind the draw do not add up so, and hours that
//! differ then may differ by who was sent to in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use super::moments::{Moments, Propensity};
use super::slots::Slots;

/// What was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawn {
    /// Windows of the week.
    Windows,
    /// Windows of a day, where several days share their windows here.
    WindowsOfDays,
    /// Hours of the clock.
    Hours,
    /// Hours of a day.
    HoursOfDays,
}

impl Drawn {
    const ALL: [Self; 4] = [Self::Windows, Self::WindowsOfDays, Self::Hours, Self::HoursOfDays];

    /// What is one and the same to the lottery, as a number.
    fn key(self, slot: i64, weekday: i64, hour: i64) -> i64 {
        match self {
            Self::Windows => slot,
            Self::WindowsOfDays => slot * 8 + weekday,
            Self::Hours => slot * 24 + hour,
            Self::HoursOfDays => (slot * 8 + weekday) * 24 + hour,
        }
    }

    /// The window of what is one to the lottery.
    fn slot(self, key: i64) -> i64 {
        match self {
            Self::Windows => key,
            Self::WindowsOfDays => key / 8,
            Self::Hours => key / 24,
            Self::HoursOfDays => key / (8 * 24),
        }
    }

    /// Whether hours were drawn and not windows.
    pub(super) fn is_of_hours(self) -> bool {
        matches!(self, Self::Hours | Self::HoursOfDays)
    }
}

/// Messages of one campaign and place that a window would have to get before it speaks.
const FEWEST_EXPECTED: f64 = 10.0;
/// How far from one the totals may come, in the middle of all windows: a share.
const FROM_ONE: f64 = 0.1;
/// What adds up to less than this share of the messages was not drawn so: half a window's days or hours, a habit.
const LEAST_SHARE: f64 = 0.8;
/// Messages that are late, or repeated by hand, fall into windows that were not drawn: so few of a campaign's are no reason to
/// doubt the others.
const MOST_STRAYS: f64 = 0.005;
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

impl AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.n += other.n;
        self.inverse += other.inverse;
        self.variance += other.variance;
    }
}

/// What a campaign drew.
#[derive(Debug, Clone)]
pub(super) struct DrawnCampaign {
    pub(super) what: Drawn,
    /// The windows that it used, with how many parts of each were drawn by themselves.
    pub(super) parts: BTreeMap<usize, usize>,
    /// Windows that were not drawn, with a few messages that went astray.
    pub(super) strays: BTreeSet<usize>,
}

impl DrawnCampaign {
    /// From the moments that were used: window, weekday and hour.
    fn new(what: Drawn, moments: &BTreeSet<(i64, i64, i64)>, strays: &BTreeSet<i64>) -> Self {
        let keys: BTreeSet<(i64, i64)> =
            moments.iter().map(|(slot, weekday, hour)| (*slot, what.key(*slot, *weekday, *hour))).collect();
        let place = |slot: i64| usize::try_from(slot).unwrap_or(usize::MAX);
        let mut parts = BTreeMap::new();
        for (slot, _) in keys.iter().filter(|(_, key)| !strays.contains(key)) {
            *parts.entry(place(*slot)).or_default() += 1;
        }
        let strays = strays.iter().map(|key| place(what.slot(*key))).filter(|slot| !parts.contains_key(slot)).collect();
        Self { what, parts, strays }
    }
}

/// By campaign, place and moment: a window, or an hour of a day.
type Totals<'a> = BTreeMap<&'a str, BTreeMap<usize, BTreeMap<i64, Total>>>;

/// Asks each of some campaigns what was drawn; one of which nothing was is not among the answers. Too small a campaign to
/// be told goes by what the others together show.
pub(super) fn drawn(moments: &Moments, slots: &Slots, campaigns: &[&str]) -> BTreeMap<String, DrawnCampaign> {
    let mut totals: [Totals<'_>; 4] = Default::default();
    let mut used: BTreeMap<&str, BTreeSet<(i64, i64, i64)>> = BTreeMap::new();
    for moment in moments.of_those_on_time().filter(|moment| moment.propensity == Propensity::Drawn) {
        let campaign = moments.campaign(moment);
        let Some((weekday, hour)) = moment.local.filter(|_| campaigns.binary_search(&campaign).is_ok()) else {
            continue;
        };
        let slot = i64::try_from(slots.of_hour(weekday, hour)).unwrap_or(i64::MAX);
        used.entry(campaign).or_default().insert((slot, weekday, hour));
        #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
        let total = Total { n: moment.messages as f64, inverse: moment.inverse, variance: moment.variance };
        for (totals, what) in totals.iter_mut().zip(Drawn::ALL) {
            let places = totals.entry(campaign).or_default();
            *places.entry(moment.place).or_default().entry(what.key(slot, weekday, hour)).or_default() += total;
        }
    }
    let mut found: BTreeMap<&str, (Drawn, BTreeSet<i64>)> = BTreeMap::new();
    let mut untold = Vec::new();
    for campaign in totals[0].keys() {
        let of = Drawn::ALL.iter().zip(&totals).filter_map(|(what, totals)| Some((*what, totals.get(campaign)?)));
        match what_adds_up(of.map(|(what, places)| (what, shares(places.values())))) {
            Told::Drawn(what, strays) => {
                found.insert(campaign, (what, strays));
            }
            Told::NotDrawn => {}
            Told::TooLittle => untold.push(campaign),
        }
    }
    // What is too little to be seen in one campaign may be seen in all of them.
    let together = Drawn::ALL.iter().zip(&totals).map(|(what, totals)| {
        let mut places: BTreeMap<usize, BTreeMap<i64, Total>> = BTreeMap::new();
        for (place, moments) in untold.iter().filter_map(|campaign| totals.get(*campaign)).flatten() {
            for (moment, total) in moments {
                *places.entry(*place).or_default().entry(*moment).or_default() += *total;
            }
        }
        (*what, shares(places.values()))
    });
    let usual = match what_adds_up(together) {
        Told::Drawn(what, _) => Some(what),
        Told::NotDrawn => None,
        Told::TooLittle => Some(found.values().next().map_or(Drawn::Windows, |(what, _)| *what)),
    };
    if let Some(what) = usual {
        found.extend(untold.into_iter().map(|campaign| (*campaign, (what, BTreeSet::new()))));
    }
    let with_parts = |(campaign, (what, strays)): (&str, (Drawn, BTreeSet<i64>))| {
        let moments = used.remove(campaign).unwrap_or_default();
        (campaign.to_owned(), DrawnCampaign::new(what, &moments, &strays))
    };
    found.into_iter().map(with_parts).collect()
}

/// What the totals tell.
enum Told {
    /// Apart from a few messages with these moments.
    Drawn(Drawn, BTreeSet<i64>),
    NotDrawn,
    /// There are too few messages.
    TooLittle,
}

/// The first way to draw whose totals are those of the logged probabilities.
fn what_adds_up(of: impl Iterator<Item = (Drawn, Option<Vec<Share>>)>) -> Told {
    let mut told = Told::TooLittle;
    for (what, shares) in of {
        let Some(shares) = shares else { continue };
        if let Some(strays) = alike_but_for(shares) {
            return Told::Drawn(what, strays);
        }
        told = Told::NotDrawn;
    }
    told
}

/// What a moment's totals come to.
#[derive(Debug, Clone, Copy)]
struct Share {
    moment: i64,
    /// Of the messages that might have got it; one where it was drawn as logged.
    share: f64,
    deviation: f64,
    messages: f64,
}

impl Share {
    /// Whether what was logged adds up to far less than the messages that might have got it.
    fn is_too_few(&self) -> bool {
        self.share + DEVIATIONS * self.deviation < LEAST_SHARE
    }
}

/// What each moment's totals come to; none where no moment has enough of them.
fn shares<'a>(places: impl Iterator<Item = &'a BTreeMap<i64, Total>> + Clone) -> Option<Vec<Share>> {
    let mut usual: BTreeMap<i64, Total> = BTreeMap::new();
    for moments in places.clone() {
        for (moment, total) in moments {
            *usual.entry(*moment).or_default() += *total;
        }
    }
    // Where a moment is not allowed nobody gets it: only places with some of it count, and such as must have some.
    let mut sums: BTreeMap<i64, (Total, f64)> = BTreeMap::new();
    for moments in places {
        let messages: f64 = moments.values().map(|total| total.n).sum();
        for (moment, total) in moments {
            let expected = usual.get(moment).map_or(0.0, |usual| messages * usual.n / usual.inverse);
            if expected >= FEWEST_EXPECTED {
                let (sum, might) = sums.entry(*moment).or_default();
                *sum += *total;
                *might += messages;
            }
        }
    }
    let shares = sums.iter().map(|(moment, (sum, might))| Share {
        moment: *moment,
        share: sum.inverse / might,
        deviation: sum.variance.sqrt() / might,
        messages: sum.n,
    });
    Some(shares.collect::<Vec<_>>()).filter(|shares| !shares.is_empty())
}

/// The moments of a few messages without which all others are alike; none at all where others are not.
fn alike_but_for(shares: Vec<Share>) -> Option<BTreeSet<i64>> {
    let all: f64 = shares.iter().map(|share| share.messages).sum();
    let (strays, others): (Vec<Share>, Vec<Share>) = shares.into_iter().partition(Share::is_too_few);
    let astray: f64 = strays.iter().map(|share| share.messages).sum();
    let are_few = astray <= MOST_STRAYS * all;
    (are_few && !others.is_empty() && are_alike(&others)).then(|| strays.iter().map(|share| share.moment).collect())
}

fn are_alike(shares: &[Share]) -> bool {
    let mut in_order: Vec<(f64, f64)> = shares.iter().map(|share| (share.share, share.messages)).collect();
    in_order.sort_by(|one, other| one.0.total_cmp(&other.0));
    let half = in_order.iter().map(|(_, n)| n).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let middle = in_order.iter().find(|(_, n)| {
        below += n;
        below >= half
    });
    let middle = middle.map_or(1.0, |(share, _)| *share);
    let of_all = shares.iter().map(|share| share.deviation * share.deviation).sum::<f64>().sqrt()
        / f64::from(u32::try_from(shares.len()).unwrap_or(u32::MAX));
    if (middle - 1.0).abs() > FROM_ONE.max(DEVIATIONS * of_all) {
        return false;
    }
    shares.iter().all(|share| {
        let (chance, distance) = (DEVIATIONS * share.deviation, (share.share - middle).abs());
        // Its own variance says little of a moment with few messages; that of the middle says more.
        let is_far = distance > chance.max(chance * (middle / share.share).sqrt()) && distance > TOLERATED * middle;
        !share.is_too_few() && !is_far
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
        shares(places.iter()).is_none_or(|shares| alike_but_for(shares).is_some())
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
    fn a_few_messages_that_went_astray_are_set_apart() {
        let late = |n: f64| place(&[(0, 4_990.0, 0.5), (1, 5_000.0, 0.5), (2, n, 0.5)]);
        let strays = |n: f64| shares([late(n)].iter()).and_then(alike_but_for);
        assert_eq!(strays(30.0), Some(BTreeSet::from([2])));
        assert_eq!(strays(200.0), None);
        let moments = BTreeSet::from([(0, 1, 9), (1, 1, 13), (2, 1, 17)]);
        let campaign = DrawnCampaign::new(Drawn::Windows, &moments, &BTreeSet::from([2]));
        assert_eq!(campaign.parts, BTreeMap::from([(0, 1), (1, 1)]));
        assert_eq!(campaign.strays, BTreeSet::from([2]));
    }

    #[test]
    fn a_probability_of_something_else_does_not() {
        // One of two variants, in windows by habit.
        assert!(!holds(&[place(&[(0, 7_000.0, 0.5), (1, 2_000.0, 0.5), (2, 1_000.0, 0.5)])]));
        // One variant of ten, in windows that are used alike by habit.
        assert!(!holds(&[place(&[(0, 2_500.0, 0.1), (1, 2_500.0, 0.1), (2, 2_500.0, 0.1), (3, 2_500.0, 0.1)])]));
        // One article of eighty.
        assert!(!holds(&[place(&[(0, 7_000.0, 0.0125), (1, 2_000.0, 0.0125), (2, 1_000.0, 0.0125)])]));
        // Hours of windows that were drawn at a half: each gets a part of them.
        assert!(!holds(&[place(&[(0, 300.0, 0.5), (1, 200.0, 0.5), (2, 250.0, 0.5), (3, 250.0, 0.5)])]));
    }
}
