//! From counts to the answer: identification first, then the fit, the legal mask, the other objectives.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::answer::{
    DayEffectShown, OtherObjective, WindowName, WindowOfWeek, WindowsAnswer, WindowsIdentification, WindowsLevel,
    WindowsPlan, WindowsRecommendation,
};
use super::cells::{Clicks, Table, count};
use super::legal::{LEGAL_NOTE, LegalMask};
use super::request::{Objective, WindowsRequest};
use super::slots::Slots;
use super::timing::sooner_or_more;
use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::stats::send_windows::{
    AnswerLevel, Identification, IdentifiedTiming, PlannedResponse, RandomisationPlan, RandomisationRequest,
    SendWindows, WindowAssignment, WindowDecision, WindowOptions, WindowOutlook, WindowSlot, fit, identify,
};

/// Assumed of a plan where nothing is known of the response yet.
const USUAL_CLICK_RATE: f64 = 0.08;

/// So many values are named where one is asked for that is not there.
const SHOWN_SEGMENTS: usize = 10;
/// Said of a segment that took no part in any comparison.
const NOTHING_OF_SEGMENT: &str = "no message of this segment went out in a window that was drawn, or that can be compared \
                                  with others: what holds for other segments need not hold for it";

/// The answer for all recipients, or one for each segment.
///
/// # Errors
/// When a column of the request does not exist, a rule file is wrong, or a query fails.
pub async fn analyze_windows(session: &QuerySession, request: &WindowsRequest) -> Result<Vec<WindowsAnswer>> {
    let known = Known::of(session, request).await?;
    known.answers(session, request).await
}

/// The answer for all recipients, or for the one segment that `column=value` says of each of its columns; `column=` is for
/// those without a value.
///
/// # Errors
/// As [`analyze_windows`], and when there are no such recipients.
pub async fn analyze_one_segment(
    session: &QuerySession,
    request: &WindowsRequest,
    segment: &[String],
) -> Result<WindowsAnswer> {
    let mut by = Vec::new();
    let mut wanted = Vec::new();
    for condition in segment {
        let Some((column, value)) = condition.split_once('=') else {
            return Err(EngineError::usage(format!(
                "the segment \"{condition}\" is no column and value: write {condition}=VALUE"
            )));
        };
        by.push(column.trim().to_owned());
        wanted.push(value.trim());
    }
    let answers = analyze_windows(session, &WindowsRequest { by: by.clone(), ..request.clone() }).await?;
    let values = |answer: &WindowsAnswer| -> Vec<String> {
        answer.by.values().map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
    };
    let known: Vec<String> = answers.iter().take(SHOWN_SEGMENTS).map(|answer| values(answer).join(" and ")).collect();
    let found = answers.into_iter().find(|answer| values(answer) == wanted);
    found.ok_or_else(|| match (known.is_empty(), by.is_empty()) {
        (true, _) | (_, true) => EngineError::NotFound("there are no messages to compare windows by".to_owned()),
        _ => EngineError::NotFound(format!(
            "there are no recipients with {}: of {} there are {}",
            segment.join(" and "),
            by.join(" and "),
            known.join(", ")
        )),
    })
}

/// All that an answer is made of.
pub(crate) struct Known {
    pub(crate) slots: Slots,
    pub(crate) table: Table,
    pub(crate) legal: LegalMask,
    /// Whether one campaign alone was asked about.
    is_of_one_campaign: bool,
}

impl Known {
    pub(crate) async fn of(session: &QuerySession, request: &WindowsRequest) -> Result<Self> {
        request.check(session).await?;
        let (slots, holidays, legal) = request.rules()?;
        let table = count(session, request, &slots, &holidays).await?;
        Ok(Self { slots, table, legal, is_of_one_campaign: request.campaign.is_some() })
    }

    /// Which windows are legal for the recipients of a segment (or of all).
    pub(crate) fn legal_for(&self, segment: Option<usize>) -> Vec<bool> {
        let of_segment = self.table.places_of.iter().filter(|(of, _)| segment.is_none_or(|segment| *of == segment));
        let mut places: Vec<usize> = of_segment.map(|(_, place)| *place).collect();
        places.sort_unstable();
        places.dedup();
        let places = places.into_iter().filter_map(|place| self.table.places.get(place));
        self.legal.legal_everywhere(self.slots.all(), places)
    }

    pub(crate) fn positions(&self, legal: &[bool]) -> Vec<WindowSlot> {
        self.slots.all().iter().zip(legal).map(|(slot, legal)| slot.position(*legal)).collect()
    }

    /// What a message brings now, for the sizes of a plan.
    fn response(&self, objective: Objective) -> PlannedResponse {
        let cells = self.table.cells.iter().map(|cell| cell.of(objective, Clicks::Human));
        let (n, sum, squares) = cells.fold((0_u64, 0.0, 0.0), |(n, sum, squares), cell| {
            (n + cell.n, sum + cell.sum, squares + cell.sum_of_squares)
        });
        #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
        let n = n as f64;
        let mean = sum / n.max(1.0);
        let variance = squares / n.max(1.0) - mean * mean;
        match objective {
            Objective::Revenue | Objective::Profit if mean != 0.0 && variance > 0.0 => {
                PlannedResponse::Amount { mean, variance }
            }
            Objective::Click | Objective::Conversion if mean > 0.0 && mean < 0.8 => {
                PlannedResponse::Rate { rate: mean }
            }
            _ => PlannedResponse::Rate { rate: USUAL_CLICK_RATE },
        }
    }

    fn randomisation(&self, objective: Objective) -> RandomisationRequest {
        let usual = RandomisationRequest::usual(self.response(objective));
        let (sends, campaigns) = (self.table.sends(), self.table.campaigns.len());
        #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
        let (sends, campaigns) = (sends as f64, campaigns as f64);
        let (sends_per_campaign, sends_per_day) = match self.table.volume {
            _ if sends > 0.0 && campaigns > 0.0 => (sends / campaigns, sends / self.table.days.max(1.0)),
            Some(volume) => (volume.a_campaign, volume.a_day),
            None => return usual,
        };
        RandomisationRequest { sends_per_campaign, sends_per_day, ..usual }
    }

    pub(crate) fn identification(&self, objective: Objective, legal: &[bool]) -> Result<Identification> {
        Ok(identify(&self.positions(legal), &self.table.timings(), &self.randomisation(objective))?)
    }

    pub(crate) fn fit(
        &self,
        timing: &IdentifiedTiming,
        objective: Objective,
        clicks: Clicks,
        legal: &[bool],
        seed: u64,
    ) -> Result<SendWindows> {
        let cells: Vec<_> = self.table.cells.iter().map(|cell| cell.of(objective, clicks)).collect();
        let usual = WindowOptions::default();
        // Who asks about one campaign asks what that one showed; of all, one campaign shows only its own effects.
        let fewest_campaigns = if self.is_of_one_campaign { 1 } else { usual.fewest_campaigns };
        // Practice is what was sent; where messages are weighted, their effective numbers are others.
        let is_weighted = self.table.cells.iter().any(|cell| cell.effective < cell.n);
        let practice = (is_weighted && self.table.segments.len() < 2).then(|| {
            let mut sends = vec![0.0; self.slots.len()];
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            self.table.cells.iter().for_each(|cell| sends[cell.slot] += cell.n as f64);
            sends
        });
        let options = WindowOptions { outcome: objective.outcome(), seed, fewest_campaigns, practice, ..usual };
        Ok(fit(timing, &self.positions(legal), &cells, &options)?)
    }

    /// Whether some of a segment's own messages let hours be compared: one that was drawn, or those that went out at one
    /// instant and came at different hours, which one clock does not show. What holds for others need not hold for a segment of
    /// which nothing is known.
    pub(crate) fn speaks(&self, timing: &IdentifiedTiming, segment: Option<usize>) -> bool {
        let Some(segment) = segment else { return true };
        let own = self.table.cells.iter().filter(|cell| cell.segment == segment);
        let mut at_one_instant: BTreeMap<usize, usize> = BTreeMap::new();
        own.filter(|cell| timing.uses(cell.campaign, cell.stratum)).any(|cell| {
            self.table.assignments.get(cell.campaign) != Some(&WindowAssignment::OneInstant)
                || *at_one_instant.entry(cell.campaign).or_insert(cell.slot) != cell.slot
        })
    }

    async fn answers(&self, session: &QuerySession, request: &WindowsRequest) -> Result<Vec<WindowsAnswer>> {
        let segments: Vec<Option<usize>> =
            if request.by.is_empty() { vec![None] } else { (0..self.table.segments.len()).map(Some).collect() };
        // Segments with the same legal windows share a fit.
        let mut by_mask: BTreeMap<Vec<bool>, Vec<Option<usize>>> = BTreeMap::new();
        for segment in segments {
            by_mask.entry(self.legal_for(segment)).or_default().push(segment);
        }
        let mut answers = Vec::new();
        for (legal, segments) in by_mask {
            let identification = self.identification(request.objective, &legal)?;
            let fitted = match identification.timing() {
                Some(timing) => Some(self.fits(timing, request, &legal)?),
                None => None,
            };
            for segment in segments {
                let told = identification.timing().filter(|timing| !self.speaks(timing, segment)).map(|timing| {
                    Identification::NotIdentifiable {
                        reason: NOTHING_OF_SEGMENT.to_owned(),
                        evidence: timing.evidence(),
                        plan: None,
                    }
                });
                let mut answer = match &told {
                    Some(unknown) => self.answer(request, segment, &legal, unknown, None),
                    None => self.answer(request, segment, &legal, &identification, fitted.as_ref()),
                };
                if segment.is_none() && !answer.recommendation.abstained && request.objective == Objective::Click {
                    answer.sooner_or_more =
                        sooner_or_more(session, request, self, &answer.recommendation.windows).await?;
                }
                answers.push((segment, answer));
            }
        }
        answers.sort_by(|(left, _), (right, _)| {
            let name = |segment: &Option<usize>| segment.and_then(|segment| self.table.segments.get(segment));
            name(left).cmp(&name(right))
        });
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// The fit of the objective asked for, of all others that the logs tell, and of clicks with the suspected ones.
    fn fits(&self, timing: &IdentifiedTiming, request: &WindowsRequest, legal: &[bool]) -> Result<Fits> {
        let fit = |objective, clicks| self.fit(timing, objective, clicks, legal, request.seed);
        let others = self.table.known.iter().filter(|objective| **objective != request.objective);
        Ok(Fits {
            asked: fit(request.objective, Clicks::Human)?,
            others: others.map(|objective| Ok((*objective, fit(*objective, Clicks::Human)?))).collect::<Result<_>>()?,
            with_machines: if request.objective == Objective::Click {
                Some(fit(Objective::Click, Clicks::All)?)
            } else {
                None
            },
        })
    }

    fn answer(
        &self,
        request: &WindowsRequest,
        segment: Option<usize>,
        legal: &[bool],
        identification: &Identification,
        fitted: Option<&Fits>,
    ) -> WindowsAnswer {
        let of_segment = |cell: &&super::cells::Cell| segment.is_none_or(|segment| cell.segment == segment);
        let cells = || self.table.cells.iter().filter(of_segment);
        let mut campaigns: Vec<usize> = cells().map(|cell| cell.campaign).collect();
        campaigns.sort_unstable();
        campaigns.dedup();
        let (kind, reason) = WindowsIdentification::told(identification);
        let (evidence, plan) = match identification {
            Identification::Causal(timing) => (timing.evidence(), None),
            Identification::QuasiExperimental { timing, plan } => (timing.evidence(), plan.as_ref()),
            Identification::NotIdentifiable { evidence, plan, .. } => (*evidence, plan.as_ref()),
        };
        let outlook = fitted.map(|fits| outlook_of(&fits.asked, segment));
        let names = |slots: &[usize]| -> Vec<WindowName> {
            slots.iter().filter_map(|slot| self.slots.all().get(*slot)).map(WindowName::of).collect()
        };
        let recommendation = match outlook.map(|(outlook, _)| &outlook.decision) {
            Some(WindowDecision::Recommend(found)) => WindowsRecommendation {
                abstained: false,
                windows: names(&found.slots),
                expected_gain: Some(found.gain.clone()),
                relative_gain: Some(found.relative_gain.clone()),
                chance_of_gain: Some(found.chance_of_gain),
                cause: None,
                why: vec![found.reason.clone()],
            },
            Some(WindowDecision::Abstain { cause, reason }) => {
                WindowsRecommendation { cause: Some(*cause), ..abstained(reason) }
            }
            None => abstained(reason),
        };
        let by_name = |fit: &SendWindows| match &outlook_of(fit, segment).0.decision {
            WindowDecision::Recommend(found) => names(&found.slots),
            WindowDecision::Abstain { .. } => Vec::new(),
        };
        let other = |objective, fit: &SendWindows| {
            let windows = by_name(fit);
            let differs = windows != recommendation.windows;
            OtherObjective { objective, abstained: windows.is_empty(), windows, differs }
        };
        let mut notes = self.table.notes.clone();
        if legal.iter().all(|legal| !legal) {
            notes.push(
                "no window is legal wherever these recipients live: ask by country (--by country), or give your own rules"
                    .to_owned(),
            );
        }
        if self.is_of_one_campaign {
            notes.push(
                "this is what one campaign showed: how far its hours are those of others, one campaign cannot tell"
                    .to_owned(),
            );
        }
        notes.push(LEGAL_NOTE.to_owned());
        WindowsAnswer {
            objective: request.objective,
            identification: kind,
            reason: reason.to_owned(),
            level: level_of(outlook.map(|(_, level)| level), request),
            by: self.names_of(segment, request),
            sends: cells().map(|cell| cell.n).sum(),
            campaigns: campaigns.len(),
            left_out: self.table.left_out,
            evidence,
            practice: outlook.map(|(outlook, _)| outlook.practice.clone()),
            windows: outlook.map_or_else(Vec::new, |(outlook, _)| self.windows(outlook, segment)),
            objectives: fitted
                .map(|fits| fits.others.iter().map(|(objective, fit)| other(*objective, fit)).collect())
                .unwrap_or_default(),
            with_machine_clicks: fitted
                .and_then(|fits| fits.with_machines.as_ref())
                .map(|fit| other(Objective::Click, fit)),
            days: fitted.map(|fits| days_of(&fits.asked)).unwrap_or_default(),
            recommendation,
            sooner_or_more: None,
            plan: plan.map(|plan| self.plan(plan, legal, request.objective)),
            notes,
        }
    }

    fn windows(&self, outlook: &WindowOutlook, segment: Option<usize>) -> Vec<WindowOfWeek> {
        let sends = |slot: usize| {
            let cells = self.table.cells.iter().filter(|cell| cell.slot == slot);
            cells.filter(|cell| segment.is_none_or(|segment| cell.segment == segment)).map(|cell| cell.n).sum()
        };
        let slots = outlook.slots.iter().filter_map(|found| Some((found, self.slots.all().get(found.slot)?)));
        slots
            .map(|(found, slot)| {
                let name = WindowName::of(slot);
                WindowOfWeek {
                    weekday: name.weekday,
                    start: name.start,
                    end: name.end,
                    legal: found.legal,
                    supported: found.supported,
                    sends: sends(found.slot),
                    rate: found.response.clone(),
                    difference: found.difference.clone(),
                    chance_of_best: found.chance_of_best,
                    expected_loss: found.expected_loss,
                }
            })
            .collect()
    }

    fn names_of(&self, segment: Option<usize>, request: &WindowsRequest) -> Map<String, Value> {
        let values = segment.and_then(|segment| self.table.segments.get(segment));
        let value = |value: &Option<String>| value.as_deref().map_or(Value::Null, Value::from);
        values.map(|values| request.by.iter().cloned().zip(values.iter().map(value)).collect()).unwrap_or_default()
    }

    pub(crate) fn plan(&self, plan: &RandomisationPlan, legal: &[bool], objective: Objective) -> WindowsPlan {
        let slots = self.slots.all().iter().zip(legal).filter(|(_, legal)| **legal);
        let volume = match self.table.volume {
            Some(_) => "at the volume so far".to_owned(),
            None => format!("of {} messages each, one a day", plan.sends / plan.campaigns.max(1)),
        };
        let words = format!(
            "draw the window of each recipient at random, {:.1} % of each campaign in each of {} legal windows, and log the \
             probability as send_propensity: {} messages a window, {} campaigns or about {} days {volume}, to see \
             a tenth more or less {}",
            plan.share_per_window * 100.0,
            plan.windows,
            plan.sends_per_window,
            plan.campaigns,
            plan.days,
            objective.name()
        );
        WindowsPlan { draw_from: slots.map(|(slot, _)| WindowName::of(slot)).collect(), sizes: *plan, words }
    }
}

struct Fits {
    asked: SendWindows,
    others: Vec<(Objective, SendWindows)>,
    with_machines: Option<SendWindows>,
}

fn abstained(reason: &str) -> WindowsRecommendation {
    WindowsRecommendation {
        abstained: true,
        windows: Vec::new(),
        expected_gain: None,
        relative_gain: None,
        chance_of_gain: None,
        cause: None,
        why: vec![reason.to_owned()],
    }
}

/// The outlook of a segment and the level of its decision: with one segment alone it is that of all.
pub(crate) fn outlook_of(fit: &SendWindows, segment: Option<usize>) -> (&WindowOutlook, AnswerLevel) {
    let found = fit.segments.iter().find(|found| Some(found.segment) == segment);
    found.map_or((&fit.overall, AnswerLevel::Overall), |found| (&found.outlook, found.level))
}

pub(crate) fn level_of(level: Option<AnswerLevel>, request: &WindowsRequest) -> WindowsLevel {
    match level {
        Some(AnswerLevel::Segment) if request.by == ["country"] => WindowsLevel::Country,
        Some(AnswerLevel::Segment) => WindowsLevel::Segment,
        _ => WindowsLevel::All,
    }
}

fn days_of(fit: &SendWindows) -> Vec<DayEffectShown> {
    let shown = fit.days.iter().filter_map(|day| {
        let name = match day.day_kind {
            1 => "holiday",
            2 => "eve",
            _ => return None,
        };
        Some(DayEffectShown { day: name, effect: day.effect.clone() })
    });
    shown.collect()
}
