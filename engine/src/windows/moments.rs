//! When the messages went out, where to and with what probability, in one pass over the facts: who takes part, how windows
//! came about and whether they were drawn are all told from it.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::cells::{LeftOut, OF_PLACE, Place, ZONED, held_sql, texts};
use crate::error::Result;
use crate::facts::DAY_MICROSECONDS;
use crate::query::QuerySession;

/// What the logs say of the probability with which a message's moment was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Propensity {
    /// Nothing.
    Unknown,
    /// What cannot be one: zero, below it or above one.
    Impossible,
    /// There was one moment alone.
    Certain,
    /// It was drawn among others.
    Drawn,
}

/// The messages of a campaign to a place at an hour of its week.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    campaign: usize,
    /// A number for the clock, the country and the region of the recipients.
    pub(super) place: usize,
    /// The ISO day of the week (1 is Monday) and the hour on their clock, where it is known.
    pub(super) local: Option<(i64, i64)>,
    /// Held back after the moment that they were scheduled for.
    is_held: bool,
    /// Their time to respond has run out.
    is_ripe: bool,
    pub(super) propensity: Propensity,
    pub(super) messages: u64,
    /// The first and the last, in microseconds since 1970.
    pub(super) span: (i64, i64),
    /// One over their propensities added up, and the variance of that.
    pub(super) inverse: f64,
    pub(super) variance: f64,
}

/// Messages of a campaign, and of a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Volume {
    pub(super) a_campaign: f64,
    pub(super) a_day: f64,
}

/// All moments.
#[derive(Debug)]
pub(super) struct Moments {
    campaigns: Vec<String>,
    /// Country and region, each once.
    places: BTreeSet<Place>,
    moments: Vec<Moment>,
}

impl Moments {
    /// Of the messages that a condition holds for; those before `ripe` had their time to respond.
    pub(super) async fn read(session: &QuerySession, condition: &str, ripe: i64, propensity: &str) -> Result<Self> {
        let sent = "arrow_cast(f.sent_at, 'Int64')";
        let is_drawn = format!("{propensity} > 0 AND {propensity} < 1");
        let query = format!(
            "SELECT f.campaign_id, {OF_PLACE}, {ZONED}, f.local_weekday, f.local_hour, {held}, {sent} <= {ripe}, \
             CASE WHEN {is_drawn} THEN 2 WHEN {propensity} = 1 THEN 1 WHEN {propensity} IS NULL THEN 0 ELSE 3 END, \
             count(*), min({sent}), max({sent}), sum(CASE WHEN {is_drawn} THEN 1 / {propensity} ELSE 0.0 END), \
             sum(CASE WHEN {is_drawn} THEN (1 - {propensity}) / ({propensity} * {propensity}) ELSE 0.0 END) \
             FROM message_facts AS f WHERE {condition} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
            held = held_sql()
        );
        let mut read = Self { campaigns: Vec::new(), places: BTreeSet::new(), moments: Vec::new() };
        let (mut campaigns, mut clocks) = (BTreeMap::new(), BTreeMap::new());
        for batch in session.collect(&query).await? {
            let [campaign, zone, country, region] = [0, 1, 2, 3].map(|column| texts(&batch, column));
            let (campaign, zone, country, region) = (campaign?, zone?, country?, region?);
            let class = arrow::compute::cast(batch.column(9), &DataType::Int64)?;
            for row in 0..batch.num_rows() {
                let is = |column: usize| batch.column(column).as_boolean().value(row);
                let whole = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
                let number = |column: usize| batch.column(column).as_primitive::<Float64Type>().value(row);
                let text = |of: &arrow::array::StringArray| {
                    Some(of.value(row)).filter(|text| of.is_valid(row) && !text.is_empty()).map(str::to_owned)
                };
                let next = campaigns.len();
                let name = text(&campaign).unwrap_or_default();
                let of_campaign = *campaigns.entry(name).or_insert_with_key(|name| {
                    read.campaigns.push(name.clone());
                    next
                });
                let place = (text(&country), text(&region));
                let next = clocks.len();
                let clock = *clocks.entry((text(&zone), place.clone())).or_insert(next);
                read.places.insert(place);
                read.moments.push(Moment {
                    campaign: of_campaign,
                    place: clock,
                    local: is(4).then(|| (whole(5), whole(6))),
                    is_held: is(7),
                    is_ripe: is(8),
                    propensity: match class.as_primitive::<Int64Type>().value(row) {
                        3 => Propensity::Impossible,
                        2 => Propensity::Drawn,
                        1 => Propensity::Certain,
                        _ => Propensity::Unknown,
                    },
                    messages: whole(10).unsigned_abs(),
                    span: (whole(11), whole(12)),
                    inverse: number(13),
                    variance: number(14),
                });
            }
        }
        Ok(read)
    }

    /// The name of a moment's campaign, empty where it has none.
    pub(super) fn campaign(&self, moment: &Moment) -> &str {
        &self.campaigns[moment.campaign]
    }

    /// Messages in a known zone that were not held back.
    pub(super) fn of_those_on_time(&self) -> impl Iterator<Item = &Moment> {
        self.moments.iter().filter(|moment| moment.local.is_some() && !moment.is_held)
    }

    /// Messages that are counted: on time, and their time to respond has run out.
    pub(super) fn of_those_that_take_part(&self) -> impl Iterator<Item = &Moment> {
        self.of_those_on_time().filter(|moment| moment.is_ripe)
    }

    /// How much is sent, whether or not it can be counted.
    pub(super) fn volume(&self) -> Option<Volume> {
        let spans = self.moments.iter().map(|moment| moment.span);
        let (first, last) = spans.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?;
        let messages: u64 = self.moments.iter().map(|moment| moment.messages).sum();
        #[allow(clippy::cast_precision_loss)] // Counts and days are far below 2^53.
        let of = |n: u64, by: u64| n as f64 / by as f64;
        let days = ((last - first) / DAY_MICROSECONDS + 1).unsigned_abs();
        Some(Volume { a_campaign: of(messages, self.campaigns.len() as u64), a_day: of(messages, days) })
    }

    /// Messages that are not counted, by reason.
    pub(super) fn left_out(&self) -> LeftOut {
        let count = |of: fn(&Moment) -> bool| {
            self.moments.iter().filter(|moment| of(moment)).map(|moment| moment.messages).sum()
        };
        LeftOut {
            immature: count(|moment| !moment.is_ripe),
            without_time_zone: count(|moment| moment.is_ripe && moment.local.is_none()),
            held_back: count(|moment| moment.is_ripe && moment.local.is_some() && moment.is_held),
            without_propensity: 0,
        }
    }

    /// Countries and regions, each once and in order.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.places.iter().cloned()
    }

    /// Countries as the logs write them, each once and in order.
    pub(super) fn countries(&self) -> impl Iterator<Item = &str> {
        let countries: BTreeSet<&str> = self.places.iter().filter_map(|(country, _)| country.as_deref()).collect();
        countries.into_iter()
    }
}
