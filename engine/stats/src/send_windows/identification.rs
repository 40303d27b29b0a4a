//! Can these campaigns tell one hour from another at all?
//!
//! Enters: for each campaign how its windows were assigned and how many messages of each stratum went out in each.
//! Leaves: an [`Identification`]: causal, quasi-experimental, or not identifiable. Only the first two hold an
//! [`IdentifiedTiming`], which [`super::fit()`] asks for and nobody else can make: where hours cannot be compared there
//! is no ranking to show by accident.
//!
//! Hours are confounded with campaign, audience, weekday and holiday, so that only contrasts within a campaign count:
//!
//! - drawn at random within campaign and stratum, with logged propensities: causal;
//! - one instant that regions see at different local hours: collinear with geography unless the same regions are seen
//!   at other hours in other campaigns; with region effects quasi-experimental;
//! - one hour a campaign, or hours that somebody or something chose for each recipient: not identifiable.

use super::randomisation_plan::{RandomisationPlan, RandomisationRequest};
use super::slots::{WindowSlot, check_slots};
use crate::error::StatsError;
use crate::numeric::count;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How the windows of a campaign came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowAssignment {
    /// Drawn at random for each recipient, with the propensities logged.
    Randomised,
    /// One instant for everybody: local windows differ by region alone.
    OneInstant,
    /// Chosen: by a person, a schedule, the recipients' past, or a queue that held messages back.
    Chosen,
}

/// Messages of one stratum in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StratumSends {
    /// Region or time-zone group; the same number means the same group in every campaign.
    pub stratum: usize,
    /// Index into the slots.
    pub slot: usize,
    /// Messages sent.
    pub n: u64,
}

/// When the messages of a campaign went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignTiming {
    /// The campaign, as in the cells.
    pub campaign: usize,
    /// How its windows came about.
    pub assignment: WindowAssignment,
    /// Messages by stratum and window, in any order.
    pub sends: Vec<StratumSends>,
}

/// Which kind of contrasts the estimates rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContrastKind {
    /// Between windows drawn at random within campaign and stratum.
    Causal,
    /// Between regions that one instant reached at different local hours, less what these regions differ by otherwise.
    QuasiExperimental,
}

/// How much of the sends can say something of hours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimingEvidence {
    /// Campaigns with at least one message.
    pub campaigns: usize,
    /// Campaigns with randomised contrasts.
    pub causal_campaigns: usize,
    /// Campaigns with contrasts between regions at one instant.
    pub quasi_experimental_campaigns: usize,
    /// Messages of all campaigns.
    pub sends: u64,
    /// Share of messages, 0 to 1, in strata whose windows were drawn and differ.
    pub causal_share: f64,
    /// Share of messages, 0 to 1, in campaigns of one instant whose regions saw different windows.
    pub quasi_experimental_share: f64,
}

/// The proof that hours can be compared, and with which campaigns. Made by [`identify`] alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IdentifiedTiming {
    kind: ContrastKind,
    campaigns: BTreeSet<usize>,
    /// Of campaigns at one instant the regions, by campaign, that lie on the border of two windows.
    #[serde(skip)]
    on_a_border: BTreeSet<(usize, usize)>,
    evidence: TimingEvidence,
    reason: String,
}

impl IdentifiedTiming {
    /// Which kind of contrasts the estimates rest on.
    #[must_use]
    pub fn kind(&self) -> ContrastKind {
        self.kind
    }

    /// The campaigns whose contrasts count; the fit leaves all others out.
    #[must_use]
    pub fn campaigns(&self) -> &BTreeSet<usize> {
        &self.campaigns
    }

    /// Whether the messages of a campaign to a stratum can say something of hours.
    #[must_use]
    pub fn uses(&self, campaign: usize, stratum: usize) -> bool {
        self.campaigns.contains(&campaign) && !self.on_a_border.contains(&(campaign, stratum))
    }

    /// How much of the sends can say something of hours.
    #[must_use]
    pub fn evidence(&self) -> TimingEvidence {
        self.evidence
    }

    /// Why the hours can be compared, in words.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Whether hours can be compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Identification {
    /// Windows were drawn at random: their differences are effects of the hour.
    Causal(IdentifiedTiming),
    /// Regions saw one instant at different local hours: differences are effects of the hour if regions respond alike
    /// to everything else.
    QuasiExperimental {
        /// What [`super::fit()`] asks for.
        timing: IdentifiedTiming,
        /// What would make it causal; none with fewer than two legal windows.
        plan: Option<RandomisationPlan>,
    },
    /// Hours cannot be told from campaigns, audiences and weekdays. There is no ranking.
    NotIdentifiable {
        /// Why, in words.
        reason: String,
        /// How much of the sends could say something.
        evidence: TimingEvidence,
        /// What would make hours comparable; none with fewer than two legal windows.
        plan: Option<RandomisationPlan>,
    },
}

impl Identification {
    /// The proof, where there is one.
    #[must_use]
    pub fn timing(&self) -> Option<&IdentifiedTiming> {
        match self {
            Self::Causal(timing) | Self::QuasiExperimental { timing, .. } => Some(timing),
            Self::NotIdentifiable { .. } => None,
        }
    }
}

/// Finds out whether hours can be compared, and plans what would make them so. A campaign may be listed in parts with
/// the same assignment; parts with different assignments count as chosen.
///
/// # Errors
///
/// [`StatsError::NumberOfSlots`] or [`StatsError::SlotOutsideOfWeek`] for slots that cannot be;
/// [`StatsError::UnknownSlot`] for sends in a slot that is not described; as [`RandomisationRequest::plan`].
pub fn identify(
    slots: &[WindowSlot],
    timings: &[CampaignTiming],
    request: &RandomisationRequest,
) -> Result<Identification, StatsError> {
    check_slots(slots)?;
    let mut campaigns: BTreeMap<usize, Sends> = BTreeMap::new();
    for timing in timings {
        let campaign = campaigns.entry(timing.campaign).or_insert_with(|| Sends::new(timing.assignment));
        if campaign.assignment != timing.assignment {
            campaign.assignment = WindowAssignment::Chosen;
        }
        for sends in timing.sends.iter().filter(|sends| sends.n > 0) {
            if sends.slot >= slots.len() {
                return Err(StatsError::UnknownSlot { slot: sends.slot, slots: slots.len() });
            }
            *campaign.strata.entry(sends.stratum).or_default().entry(sends.slot).or_default() += sends.n;
        }
    }
    campaigns.retain(|_, campaign| !campaign.strata.is_empty());

    let causal: BTreeSet<usize> = keys_where(&campaigns, |campaign| campaign.randomised_sends() > 0);
    let instants: BTreeSet<usize> = keys_where(&campaigns, Sends::is_one_instant_at_several_hours);
    let separable = regions_change_their_hours(&campaigns, &instants);
    let sends: u64 = campaigns.values().map(Sends::total).sum();
    let share = |part: u64| if sends > 0 { count(part) / count(sends) } else { 0.0 };
    let evidence = TimingEvidence {
        campaigns: campaigns.len(),
        causal_campaigns: causal.len(),
        quasi_experimental_campaigns: instants.len(),
        sends,
        causal_share: share(campaigns.values().map(Sends::randomised_sends).sum()),
        quasi_experimental_share: share(
            campaigns
                .iter()
                .filter(|(key, _)| instants.contains(key))
                .map(|(_, campaign)| campaign.within_a_window())
                .sum(),
        ),
    };
    if !causal.is_empty() {
        let reason = format!(
            "windows were drawn at random within {} of {} campaigns, {:.0} % of sends",
            evidence.causal_campaigns,
            evidence.campaigns,
            100.0 * evidence.causal_share
        );
        let on_a_border = BTreeSet::new();
        let timing = IdentifiedTiming { kind: ContrastKind::Causal, campaigns: causal, on_a_border, evidence, reason };
        return Ok(Identification::Causal(timing));
    }
    let legal = slots.iter().filter(|slot| slot.legal).count();
    let plan = if legal >= 2 { Some(request.plan(legal)?) } else { None };
    if separable {
        let reason = format!(
            "no window was drawn at random; in {} of {} campaigns regions saw one instant at different local hours",
            evidence.quasi_experimental_campaigns, evidence.campaigns
        );
        let kept = campaigns.iter().filter(|(key, _)| instants.contains(key));
        let on_a_border = kept.flat_map(|(&key, campaign)| campaign.on_a_border().map(move |stratum| (key, stratum)));
        let on_a_border = on_a_border.collect();
        let kind = ContrastKind::QuasiExperimental;
        let timing = IdentifiedTiming { kind, campaigns: instants, on_a_border, evidence, reason };
        return Ok(Identification::QuasiExperimental { timing, plan });
    }
    Ok(Identification::NotIdentifiable { reason: why_not(&campaigns, &instants), evidence, plan })
}

/// The sends of one campaign, by stratum and slot.
struct Sends {
    assignment: WindowAssignment,
    strata: BTreeMap<usize, BTreeMap<usize, u64>>,
}

impl Sends {
    fn new(assignment: WindowAssignment) -> Self {
        Self { assignment, strata: BTreeMap::new() }
    }

    fn total(&self) -> u64 {
        self.strata.values().flat_map(BTreeMap::values).sum()
    }

    /// Messages of strata that were randomised over at least two windows.
    fn randomised_sends(&self) -> u64 {
        if self.assignment != WindowAssignment::Randomised {
            return 0;
        }
        self.strata.values().filter(|slots| slots.len() > 1).flat_map(BTreeMap::values).sum()
    }

    /// Whether regions saw one instant at different hours. A region whose clock is off the full hour may lie on the border of two
    /// windows: who of it came first is not known to be chance, and it is left out. Where most are such, nothing is left.
    fn is_one_instant_at_several_hours(&self) -> bool {
        let slots: BTreeSet<usize> = self.slot_of_strata().into_iter().map(|(_, slot)| slot).collect();
        let most = 2 * self.within_a_window() > self.total();
        self.assignment == WindowAssignment::OneInstant && most && slots.len() > 1
    }

    /// Messages to regions that saw them in one window.
    fn within_a_window(&self) -> u64 {
        self.strata.values().filter(|slots| slots.len() == 1).flat_map(BTreeMap::values).sum()
    }

    /// Regions that saw them in several windows.
    fn on_a_border(&self) -> impl Iterator<Item = usize> {
        self.strata.iter().filter(|(_, slots)| slots.len() > 1).map(|(&stratum, _)| stratum)
    }

    fn slots(&self) -> BTreeSet<usize> {
        self.strata.values().flat_map(BTreeMap::keys).copied().collect()
    }

    /// The slot of each stratum that has one, of a campaign at one instant.
    fn slot_of_strata(&self) -> Vec<(usize, usize)> {
        let whole = self.strata.iter().filter(|(_, slots)| slots.len() == 1);
        whole.filter_map(|(&stratum, slots)| slots.keys().next().map(|&slot| (stratum, slot))).collect()
    }
}

fn keys_where(campaigns: &BTreeMap<usize, Sends>, holds: impl Fn(&Sends) -> bool) -> BTreeSet<usize> {
    campaigns.iter().filter(|(_, campaign)| holds(campaign)).map(|(&key, _)| key).collect()
}

/// Whether two regions are seen at one pair of hours in one campaign and at another pair in another: else what the
/// hours do and what the regions are cannot be told apart.
fn regions_change_their_hours(campaigns: &BTreeMap<usize, Sends>, instants: &BTreeSet<usize>) -> bool {
    let mut pairs: BTreeMap<(usize, usize), (usize, usize)> = BTreeMap::new();
    for campaign in instants.iter().filter_map(|key| campaigns.get(key)) {
        let strata = campaign.slot_of_strata();
        for (place, &(first, first_slot)) in strata.iter().enumerate() {
            for &(second, second_slot) in &strata[place + 1..] {
                let seen = *pairs.entry((first, second)).or_insert((first_slot, second_slot));
                if seen != (first_slot, second_slot) {
                    return true;
                }
            }
        }
    }
    false
}

fn why_not(campaigns: &BTreeMap<usize, Sends>, instants: &BTreeSet<usize>) -> String {
    let several = campaigns.values().any(|campaign| campaign.slots().len() > 1);
    let reason = if campaigns.is_empty() {
        "no message counts: none was sent, or of none the recipient's time zone is known and the time to respond has run out"
    } else if !instants.is_empty() {
        "regions saw one instant at different local hours, but always the same ones: hour and region cannot be told \
         apart"
    } else if several {
        "windows differ within campaigns, but were not drawn at random: whom a window reached and what the window did \
         cannot be told apart"
    } else {
        "every campaign went out in one window: window and campaign cannot be told apart"
    };
    reason.to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::slots::tests::week_of;
    use super::*;
    use crate::send_windows::PlannedResponse;

    fn timing(campaign: usize, assignment: WindowAssignment, sends: &[(usize, usize, u64)]) -> CampaignTiming {
        let sends = sends.iter().map(|&(stratum, slot, n)| StratumSends { stratum, slot, n }).collect();
        CampaignTiming { campaign, assignment, sends }
    }

    fn answer(timings: &[CampaignTiming]) -> Identification {
        let request = RandomisationRequest::usual(PlannedResponse::Rate { rate: 0.08 });
        identify(&week_of(7, 6), timings, &request).unwrap()
    }

    #[test]
    fn drawn_windows_are_causal_and_leave_other_campaigns_out() {
        let timings = [
            timing(3, WindowAssignment::Randomised, &[(0, 4, 100), (0, 5, 100), (1, 4, 50)]),
            timing(5, WindowAssignment::Chosen, &[(0, 1, 200), (0, 2, 50)]),
            timing(9, WindowAssignment::Randomised, &[(0, 4, 100)]),
        ];
        let Identification::Causal(identified) = answer(&timings) else { panic!() };
        assert_eq!(identified.campaigns().iter().copied().collect::<Vec<_>>(), [3]);
        assert_eq!(identified.evidence().campaigns, 3);
        assert!((identified.evidence().causal_share - 200.0 / 600.0).abs() < 1e-15);
    }

    #[test]
    fn regions_at_one_instant_are_quasi_experimental_when_their_hours_change() {
        let morning = timing(0, WindowAssignment::OneInstant, &[(0, 2, 100), (1, 3, 100)]);
        let evening = timing(1, WindowAssignment::OneInstant, &[(0, 4, 100), (1, 5, 100)]);
        let again = timing(2, WindowAssignment::OneInstant, &[(0, 2, 70), (1, 3, 30)]);
        let both = answer(&[morning.clone(), evening]);
        assert!(matches!(both, Identification::QuasiExperimental { plan: Some(_), .. }), "{both:?}");
        let same = answer(&[morning, again]);
        assert!(same.timing().is_none());
        let Identification::NotIdentifiable { reason, plan, .. } = same else { panic!() };
        assert!(reason.contains("region") && plan.is_some());
    }

    #[test]
    fn a_region_on_the_border_of_two_windows_is_left_out_alone() {
        let border = |campaign, slot| {
            let sends = [(0, slot, 100), (1, slot + 1, 100), (2, slot, 30), (2, slot + 1, 20)];
            timing(campaign, WindowAssignment::OneInstant, &sends)
        };
        let Identification::QuasiExperimental { timing: found, .. } = answer(&[border(0, 2), border(1, 4)]) else {
            panic!()
        };
        assert_eq!(found.evidence().quasi_experimental_campaigns, 2);
        assert!((found.evidence().quasi_experimental_share - 400.0 / 500.0).abs() < 1e-15);
        assert!(found.uses(0, 0) && found.uses(1, 1) && !found.uses(0, 2) && !found.uses(1, 2) && !found.uses(7, 0));
        // Where most lie on a border there is no instant that regions saw at hours of their own.
        let mostly = |campaign, slot| {
            let sends = [(0, slot, 10), (1, slot + 1, 10), (2, slot, 30), (2, slot + 1, 20)];
            timing(campaign, WindowAssignment::OneInstant, &sends)
        };
        assert!(answer(&[mostly(0, 2), mostly(1, 4)]).timing().is_none());
    }

    #[test]
    fn confounded_hours_have_no_proof() {
        for timings in [
            vec![],
            vec![timing(0, WindowAssignment::Randomised, &[(0, 3, 1_000)])],
            vec![
                timing(0, WindowAssignment::Chosen, &[(0, 3, 1_000), (0, 4, 1_000)]),
                timing(1, WindowAssignment::Chosen, &[(0, 7, 1_000)]),
            ],
            // Said to be randomised in one part only.
            vec![
                timing(0, WindowAssignment::Randomised, &[(0, 3, 1_000)]),
                timing(0, WindowAssignment::Chosen, &[(0, 4, 1_000)]),
            ],
        ] {
            let result = answer(&timings);
            assert!(matches!(result, Identification::NotIdentifiable { .. }), "{result:?}");
        }
    }

    #[test]
    fn unknown_slots_are_refused() {
        let request = RandomisationRequest::usual(PlannedResponse::Rate { rate: 0.08 });
        let timings = [timing(0, WindowAssignment::Randomised, &[(0, 3, 10)])];
        assert!(identify(&week_of(1, 2), &timings, &request).is_err());
    }
}
