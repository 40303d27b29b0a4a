//! The fit: from cells of counts to what is known of every window.
//!
//! Enters: the proof that hours can be compared, the slots, the cells and what is asked. Leaves: a [`SendWindows`].

use super::decision::{WindowDecision, abstention};
use super::departures::Departures;
use super::identification::{ContrastKind, IdentifiedTiming, TimingEvidence};
use super::levels::{Levels, mix};
use super::matrix::Matrix;
use super::outlook::{Group, WindowOutlook, credible, mean};
use super::pooling::{pool, support};
use super::posterior::{CAMPAIGN_DEVIATIONS, Mixture, Spread};
use super::slots::WindowSlot;
use super::table::{Table, WindowCell, WindowOutcome};
use super::working::{Effects, Working};
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative, check_positive, check_probability};
use crate::interval::Estimate;
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// What is asked of the fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowOptions {
    /// What is compared.
    pub outcome: WindowOutcome,
    /// Probability that intervals hold, in (0, 1).
    pub level: f64,
    /// Loss that is tolerated against the best window, as a share of current practice's response; above zero.
    pub tolerance: f64,
    /// Probability, 0 to 1, with which a recommendation has to be better than what it replaces.
    pub assurance: f64,
    /// Messages with contrasts below which a slot is not recommended.
    pub fewest_sends: u64,
    /// Campaigns with contrasts below which a slot is not recommended: one campaign shows only its own effects. With 1, and
    /// one campaign with contrasts, these are what is estimated.
    pub fewest_campaigns: usize,
    /// Draws from the posterior; above zero. With 2,000 a probability is known to a hundredth or so.
    pub draws: usize,
    /// Any number; the same gives the same result.
    pub seed: u64,
    /// Weights of the slots in current practice, zero or more, one a slot; those of slots that are not legal are not
    /// read. Without them, the messages of all cells.
    pub practice: Option<Vec<f64>>,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self {
            outcome: WindowOutcome::Rate,
            level: 0.9,
            tolerance: 0.02,
            assurance: 0.9,
            fewest_sends: 500,
            fewest_campaigns: 2,
            draws: 2_000,
            seed: 1,
            practice: None,
        }
    }
}

impl WindowOptions {
    fn check(&self, slots: usize) -> Result<(), StatsError> {
        check_alpha(1.0 - self.level)?;
        check_positive("the tolerated loss", self.tolerance)?;
        check_probability("the assurance", self.assurance)?;
        check_positive("the number of draws", length(self.draws))?;
        if let Some(practice) = &self.practice {
            if practice.len() != slots {
                return Err(StatsError::LengthsDiffer { counts: slots, weights: practice.len() });
            }
            practice.iter().try_for_each(|&weight| check_not_negative("the weight of a slot in practice", weight))?;
            check_finite("the sum of the weights in practice", practice.iter().sum())?;
        }
        Ok(())
    }
}

/// At which level the answer for a segment was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerLevel {
    /// The segment's own data ask for other windows than the overall answer.
    Segment,
    /// The overall answer holds: the segment does not depart from it enough to be seen, or at all.
    Overall,
}

/// What is known of one segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentOutlook {
    /// The segment, as in the cells.
    pub segment: usize,
    /// At which level its decision was found. The estimates of the slots are the segment's own, drawn towards those of
    /// all; where the level is `Overall`, the windows of the decision are those found for all, what they gain is the
    /// segment's own.
    pub level: AnswerLevel,
    /// Its slots and its decision.
    pub outlook: WindowOutlook,
}

/// The effect of a kind of day, which no slot is credited with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DayEffect {
    /// The kind of day, as in the cells: 1 a holiday, 2 its eve.
    pub day_kind: usize,
    /// Difference from an ordinary day, on the log-odds scale, or in amounts per message.
    pub effect: Estimate,
}

/// What is known of the windows of the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendWindows {
    /// What is compared; the answer depends on it, and a report has to name it.
    pub outcome: WindowOutcome,
    /// Which kind of contrasts the estimates rest on.
    pub kind: ContrastKind,
    /// Why hours can be compared, in words.
    pub reason: String,
    /// How much of the sends says something of hours.
    pub evidence: TimingEvidence,
    /// How far slots and campaigns spread, averaged over the posterior (root mean squares).
    pub spread: Spread,
    /// ω: by how much segments depart from the slots' effects, on the same scale; none with one segment.
    pub segment_deviation: Option<f64>,
    /// All recipients together.
    pub overall: WindowOutlook,
    /// Each segment, in rising order; empty with one segment.
    pub segments: Vec<SegmentOutlook>,
    /// Effects of kinds of day that occur.
    pub days: Vec<DayEffect>,
}

/// Times that the likelihood is expanded before the last: after two, what is left out is of fourth order.
const EXPANSIONS: usize = 2;
/// τ for these.
const PROVISIONAL_TAU: f64 = 0.1;
/// Departures beyond which the likelihood is expanded again around them.
const LARGE_DEPARTURE: f64 = 0.05;
/// Streams of random numbers: of the effects, and of each group.
const OVERALL_STREAM: u64 = 10;
const JOINT_STREAM: u64 = 1;
const FIRST_SEGMENT_STREAM: u64 = 20;
const STREAMS_OF_A_GROUP: u64 = 10;

/// Estimates every window and decides which to recommend.
///
/// Only campaigns of the proof count for contrasts; the messages of all cells make up current practice. Deterministic:
/// the same input and seed give the same result. Takes time in proportion to cells and to campaigns × slots³: seconds
/// for 1,000 campaigns × 42 slots × 20 segments, and for 200 campaigns × 168 slots × 5 segments.
///
/// What a recommendation promises is a posterior mean, which is right on average over senders like those that the prior
/// expects. Where hours matter little and data are thin (effects of 5 % on ten campaigns that differ by 15 %), the few
/// recommendations that are made promise some 3 points too much; their intervals hold.
///
/// # Errors
///
/// [`StatsError::NumberOfSlots`], [`StatsError::SlotOutsideOfWeek`] or [`StatsError::UnknownSlot`] for slots that
/// cannot be; [`StatsError::NotFinite`], [`StatsError::Negative`], [`StatsError::NotPositive`] or
/// [`StatsError::InvalidProbability`] for cells or options that cannot be; [`StatsError::LengthsDiffer`] for a practice
/// that does not have one weight a slot.
pub fn fit(
    timing: &IdentifiedTiming,
    slots: &[WindowSlot],
    cells: &[WindowCell],
    options: &WindowOptions,
) -> Result<SendWindows, StatsError> {
    options.check(slots.len())?;
    let table = Table::new(timing, slots, cells, options.outcome)?;
    let (effects, working) = expanded(&table, slots);
    // One campaign cannot tell its own effects from those of windows: who asks about it asks about both together.
    let is_one = options.fewest_campaigns < 2 && table.campaigns.len() == 1;
    let deviations = if is_one { &CAMPAIGN_DEVIATIONS[..1] } else { &CAMPAIGN_DEVIATIONS[..] };
    let mixture = Mixture::new(slots, deviations, &pool(&table, &working, deviations));
    let spread = Spread {
        similarity: mixture.similarity(),
        slots: mixture.deviation(|spread| spread.slots),
        campaigns: mixture.deviation(|spread| spread.campaigns),
    };

    let draws = mixture.draws(options.draws, options.seed, 0);
    let days = day_effects(&table, &draws, options.level);
    let overall_sends: Vec<u64> = (0..slots.len()).map(|slot| table.sends.iter().map(|own| own[slot]).sum()).collect();
    let columns: Vec<&[f64]> = draws.iter().map(|(columns, _)| columns.as_slice()).collect();
    let group = Group {
        slots,
        options,
        sends: &overall_sends,
        support: support(&table, &working, None),
        levels: levels(&table, effects.clone(), None),
        effects: centred_draws(&table, &columns, None),
        taus: draws.iter().map(|(_, tau)| *tau).collect(),
        stream: OVERALL_STREAM,
    };
    let overall = match group.judged() {
        Ok(judged) => {
            let decision = match judged.choice(None) {
                Ok((chosen, chance)) => WindowDecision::Recommend(judged.recommendation(chosen, chance, false)),
                Err(cause) => abstention(cause, options.tolerance),
            };
            judged.outlook(decision)
        }
        Err(outlook) => *outlook,
    };

    let departures = fit_departures(&table, slots, working, effects, spread);
    let segments = departures
        .as_ref()
        .map_or_else(Vec::new, |found| segment_outlooks(&table, slots, options, found, &overall.decision));
    Ok(SendWindows {
        outcome: options.outcome,
        kind: timing.kind(),
        reason: timing.reason().to_owned(),
        evidence: timing.evidence(),
        spread,
        segment_deviation: departures.as_ref().map(|found| found.departures.overall_deviation()),
        overall,
        segments,
        days,
    })
}

/// The likelihood expanded around effects that are nearly the posterior's mean.
fn expanded(table: &Table, slots: &[WindowSlot]) -> (Effects, Working) {
    let mut effects = Effects::none(table);
    let mut working = Working::new(table, &effects);
    if table.outcome == WindowOutcome::Rate {
        for _ in 0..EXPANSIONS {
            let pooled = pool(table, &working, &[PROVISIONAL_TAU]);
            effects.columns = Mixture::new(slots, &[PROVISIONAL_TAU], &pooled).mean(table.columns);
            working = Working::new(table, &effects);
        }
    }
    (effects, working)
}

/// Departures of segments, with what they were found by.
struct FoundDepartures {
    departures: Departures,
    working: Working,
    effects: Effects,
    tau: f64,
}

fn fit_departures(
    table: &Table,
    slots: &[WindowSlot],
    working: Working,
    mut effects: Effects,
    spread: Spread,
) -> Option<FoundDepartures> {
    let mut working = working;
    let mut departures = Departures::new(table, &working, slots, spread)?;
    (effects.columns, effects.segments) = departures.mean();
    let greatest = effects.segments.iter().flatten().fold(0.0_f64, |most, departure| most.max(departure.abs()));
    if table.outcome == WindowOutcome::Rate && greatest > LARGE_DEPARTURE {
        working = Working::new(table, &effects);
        departures = Departures::new(table, &working, slots, spread)?;
        (effects.columns, effects.segments) = departures.mean();
    }
    Some(FoundDepartures { departures, working, effects, tau: spread.campaigns })
}

/// Every segment, with its own answer where its data ask for one.
fn segment_outlooks(
    table: &Table,
    slots: &[WindowSlot],
    options: &WindowOptions,
    found: &FoundDepartures,
    overall: &WindowDecision,
) -> Vec<SegmentOutlook> {
    let draws = found.departures.draws(options.draws, options.seed, JOINT_STREAM);
    let overall_slots = match overall {
        WindowDecision::Recommend(recommendation) => Some(recommendation.slots.as_slice()),
        WindowDecision::Abstain { .. } => None,
    };
    let mut outlooks = Vec::with_capacity(table.segments.len());
    for (place, &segment) in table.segments.iter().enumerate() {
        let effects: Vec<Vec<f64>> = draws
            .iter()
            .map(|(columns, departures)| columns.iter().zip(&departures[place]).map(|(f, g)| f + g).collect())
            .collect();
        let columns: Vec<&[f64]> = effects.iter().map(Vec::as_slice).collect();
        let group = Group {
            slots,
            options,
            sends: &table.sends[place],
            support: support(table, &found.working, Some(place)),
            levels: levels(table, found.effects.clone(), Some(place)),
            effects: centred_draws(table, &columns, Some(place)),
            taus: vec![found.tau; draws.len()],
            stream: FIRST_SEGMENT_STREAM + STREAMS_OF_A_GROUP * place as u64,
        };
        let departs = found.departures.chance_of_departure(place) >= options.assurance;
        let (level, outlook) = match group.judged() {
            Ok(judged) => match judged.choice(overall_slots) {
                Ok((chosen, chance)) if departs => {
                    let own = WindowDecision::Recommend(judged.recommendation(chosen, chance, true));
                    (AnswerLevel::Segment, judged.outlook(own))
                }
                choice => match overall_slots.and_then(|slots| judged.without_those_that_lose(slots, choice)) {
                    Some(own) => (AnswerLevel::Segment, judged.outlook(own)),
                    None => (AnswerLevel::Overall, judged.outlook(judged.inherited(overall))),
                },
            },
            Err(outlook) => (AnswerLevel::Overall, WindowOutlook { decision: overall.clone(), ..*outlook }),
        };
        outlooks.push(SegmentOutlook { segment, level, outlook });
    }
    outlooks
}

/// The level of a group, at effects that are centred on its mix.
fn levels(table: &Table, mut effects: Effects, segment: Option<usize>) -> Option<Levels> {
    let mix = mix(table, segment);
    let departures = segment.and_then(|segment| effects.segments.get(segment));
    let own = |slot: usize| departures.map_or(0.0, |departures| departures[slot]);
    let centre: f64 = mix.iter().enumerate().map(|(slot, share)| share * (effects.columns[slot] + own(slot))).sum();
    for effect in &mut effects.columns[..table.slots] {
        *effect -= centre;
    }
    Levels::new(table, &effects, segment)
}

/// Draws of slots' effects, each centred on the mix of a group.
fn centred_draws(table: &Table, draws: &[&[f64]], segment: Option<usize>) -> Matrix {
    let mix = mix(table, segment);
    let centres: Vec<f64> =
        draws.iter().map(|columns| columns.iter().zip(&mix).map(|(effect, share)| effect * share).sum()).collect();
    Matrix::from_function(table.slots, draws.len(), |slot, draw| draws[draw][slot] - centres[draw])
}

fn day_effects(table: &Table, draws: &[(Vec<f64>, f64)], level: f64) -> Vec<DayEffect> {
    let columns = table.slots..;
    let effects = table.day_kinds.iter().zip(columns).map(|(&day_kind, column)| {
        let values: Vec<f64> = draws.iter().map(|(columns, _)| columns[column] * table.scale).collect();
        DayEffect { day_kind, effect: credible(mean(&values), values, level) }
    });
    effects.collect()
}
