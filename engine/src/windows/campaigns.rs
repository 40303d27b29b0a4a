//! How the windows of each campaign came about: drawn, at one instant, or chosen.

use std::collections::BTreeMap;

use super::cells::Table;
use super::drawn::drawn;
use super::moments::{Moments, Propensity};
use super::slots::Slots;
use crate::facts::DAY_MICROSECONDS;
use crate::query::text_literal;
use crate::stats::send_windows::WindowAssignment;

/// A campaign whose messages went out within so much time went out at one instant.
const INSTANT_SECONDS: i64 = 2 * 60 * 60;
/// Of a campaign's messages so many must say with what probability their window was drawn.
const SHARE_WITH_PROPENSITY: f64 = 0.95;

/// How the windows of each campaign came about, and over how many days; the first and the last moment of all.
pub(super) fn read_campaigns(moments: &Moments, table: &mut Table, slots: &Slots) -> Option<(i64, i64)> {
    let (mut campaigns, mut impossible): (BTreeMap<&str, OfCampaign>, u64) = (BTreeMap::new(), 0);
    for moment in moments.of_those_that_take_part() {
        let of = campaigns.entry(moments.campaign(moment)).or_default();
        of.messages += moment.messages;
        match moment.propensity {
            Propensity::Drawn => of.drawn += moment.messages,
            Propensity::Certain => of.certain += moment.messages,
            Propensity::Impossible => impossible += moment.messages,
            Propensity::Unknown => {}
        }
        of.span = Some(together(of.span, moment.span));
    }
    let (mut span, mut said, mut without_propensity) = (None, Vec::new(), Vec::new());
    for (name, of) in campaigns {
        #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
        let with_propensity = (of.drawn + of.certain) as f64 / of.messages as f64;
        // Who had one legal window alone got it with certainty, which is no gap in the log.
        if with_propensity >= SHARE_WITH_PROPENSITY && of.drawn > 0 {
            said.push(name);
            without_propensity.push(of.messages - of.drawn);
        }
        let is_instant = of.span.is_some_and(|(first, last)| last - first <= INSTANT_SECONDS * 1_000_000);
        table.campaigns.push(name.to_owned());
        table.assignments.push(if is_instant { WindowAssignment::OneInstant } else { WindowAssignment::Chosen });
        span = of.span.map(|of_campaign| together(span, of_campaign)).or(span);
    }
    let found = drawn(moments, slots, &said);
    for (campaign, without) in said.iter().zip(without_propensity) {
        let Ok(place) = table.campaigns.binary_search_by(|name| name.as_str().cmp(campaign)) else { continue };
        if found.contains_key(*campaign) {
            table.assignments[place] = WindowAssignment::Randomised;
            table.left_out.without_propensity += without;
        }
    }
    let others = said.len() - found.len();
    table.drawn = found;
    if others > 0 {
        table.notes.push(format!(
            "{others} campaigns log a probability as send_propensity that is not that of these windows (one over it does not add up \
             to the messages of each window): they count as not drawn at random. It has to be the probability of the window, or \
             of the hour, and windows finer than those that were drawn cannot be compared"
        ));
    }
    if impossible > 0 {
        table.notes.push(format!(
            "{impossible} messages log a send_propensity that is no probability above 0 and up to 1 (25 is no 25 %): they count as \
             without one"
        ));
    }
    #[allow(clippy::cast_precision_loss)] // Days are few.
    if let Some((first, last)) = span {
        table.days = ((last - first) / DAY_MICROSECONDS + 1) as f64;
    }
    span
}

/// The messages of a campaign that take part.
#[derive(Debug, Default)]
struct OfCampaign {
    messages: u64,
    drawn: u64,
    certain: u64,
    span: Option<(i64, i64)>,
}

fn together(span: Option<(i64, i64)>, other: (i64, i64)) -> (i64, i64) {
    span.map_or(other, |(first, last)| (first.min(other.0), last.max(other.1)))
}

/// SQL for a message of a campaign whose windows were drawn.
pub(super) fn were_drawn_sql(table: &Table) -> String {
    let of = table.campaigns.iter().zip(&table.assignments);
    let drawn = of.filter(|(_, assignment)| **assignment == WindowAssignment::Randomised);
    let drawn: Vec<String> = drawn.map(|(name, _)| text_literal(name)).collect();
    match drawn.len() {
        0 => "FALSE".to_owned(),
        all if all == table.campaigns.len() => "TRUE".to_owned(),
        _ => format!("(coalesce(f.campaign_id, '') IN ({}))", drawn.join(", ")),
    }
}
