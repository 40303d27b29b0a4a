//! A schedule by Thompson sampling: which slot each recipient gets, with what probability, and why.
//!
//! Enters: draws from the posterior of every slot's value for each segment, the classes of recipients (how many, of
//! which segment, which slots are legal for them), how many messages each slot can carry, and a seed. Leaves: for each
//! class the probability of every slot, and for each recipient a slot with its propensity and the reason.
//!
//! The rule, for one class with L legal slots:
//!
//! 1. *Thompson part.* The chance that a slot is the best of the legal ones, by draws of the posterior (Thompson 1933,
//!    Biometrika 25; equal draws share); raised to the propensity floor where below it, the rest scaled down. A floor
//!    above 1 / L becomes 1 / L.
//! 2. *Uniform part.* 1 / L each, for a permanent share of recipients, so that every schedule can later be judged.
//! 3. *Caps.* Both parts of all classes are multiplied by one factor a slot, at most one, and scaled to add up again,
//!    until no slot is expected to carry more than it can: of all schedules within the caps the one nearest to the
//!    wanted (least Kullback–Leibler divergence; iterative proportional fitting, Deming and Stephan 1940, Csiszár 1975,
//!    Annals of Probability 3). **The probabilities after this are those drawn from and logged**: nobody is moved after
//!    the draw, so that propensities stay true.
//! 4. Where the slots cannot carry the list at all, the least possible share stays unscheduled, and that is said.
//!
//! A cap binds the *expected* load. As the draw of each recipient is independent, the load itself varies by its root;
//! the headroom, three such deviations by default, is kept free.
//!
//! The draw depends on the seed and the recipient's hash alone, whatever the order or number of threads.

mod caps;
mod draws;

pub use draws::PosteriorDraws;

use crate::counter::{bits, unit};
use crate::error::{StatsError, check_not_negative, check_probability};
use crate::numeric::{count, length};
use caps::{Part, within_caps};
use serde::{Deserialize, Serialize};

/// Streams of random numbers: which part, which slot.
const PART_STREAM: u64 = 1;
const SLOT_STREAM: u64 = 2;

/// Recipients who are alike to the schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientClass {
    /// How many there are.
    pub recipients: u64,
    /// Place of their segment's posterior in the list, from zero.
    pub segment: usize,
    /// For each slot, whether they may be sent to then.
    pub legal: Vec<bool>,
}

/// How to explore.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScheduleOptions {
    /// Least probability, 0 to 1, of a legal slot before caps.
    pub propensity_floor: f64,
    /// Share of recipients, 0 to 1, whose slot is drawn uniformly.
    pub uniform_share: f64,
    /// Standard deviations of its load that a capped slot keeps free; zero or more.
    pub headroom: f64,
    /// The same seed and recipient give the same slot. Take another for every campaign.
    pub seed: u64,
}

impl Default for ScheduleOptions {
    /// Floor 2 %, uniform share 10 %, headroom of three deviations, seed one.
    fn default() -> Self {
        Self { propensity_floor: 0.02, uniform_share: 0.1, headroom: 3.0, seed: 1 }
    }
}

/// Why a recipient has the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Drawn by the chance of each slot to be the best.
    Thompson,
    /// Drawn from the uniform part.
    Uniform,
    /// The only legal slot with room.
    OnlySlot,
}

/// A recipient's slot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The slot, from zero.
    pub slot: usize,
    /// Probability of this slot for this recipient among those of its class who get one, both parts together and caps
    /// allowed for: what to log, since who got none is not in the log.
    pub propensity: f64,
    /// From which part it came.
    pub reason: Reason,
}

/// The probabilities of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassSchedule {
    /// Chance of each slot to be the best of the legal ones; zero for the others.
    pub chance_best: Vec<f64>,
    /// Probability of each slot: zero where illegal, adding up to one less `unscheduled`.
    pub propensities: Vec<f64>,
    /// Probability of no slot, for want of capacity or of a legal slot.
    pub unscheduled: f64,
    /// Smallest propensity of a legal slot with room: the floor, unless a cap pressed it lower. None without one.
    pub least_propensity: Option<f64>,
    thompson: Vec<f64>,
    uniform: Vec<f64>,
}

/// A schedule for all classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// In the order given.
    pub classes: Vec<ClassSchedule>,
    /// Messages expected in each slot.
    pub expected_loads: Vec<f64>,
    /// Recipients expected to stay without a slot; zero where the slots can carry the list.
    pub expected_unscheduled: f64,
    /// What else a reader has to know.
    pub notes: Vec<String>,
    options: ScheduleOptions,
}

impl Schedule {
    /// The slot of one recipient of a class; none where the recipient stays unscheduled or there is no such class.
    ///
    /// `recipient` is a hash of the recipient's identifier.
    #[must_use]
    pub fn assign(&self, class: usize, recipient: u64) -> Option<Assignment> {
        let class = self.classes.get(class)?;
        let is_uniform = unit(bits(self.options.seed, PART_STREAM, recipient)) < self.options.uniform_share;
        let part = if is_uniform { &class.uniform } else { &class.thompson };
        let place = unit(bits(self.options.seed, SLOT_STREAM, recipient));
        let mut below = 0.0;
        let mut chosen = None;
        for (slot, &probability) in part.iter().enumerate().filter(|(_, probability)| **probability > 0.0) {
            below += probability;
            chosen = Some(slot);
            if place < below {
                break;
            }
        }
        // Past the last slot lies what is unscheduled, or a rounding of the sum.
        if place >= below && class.unscheduled > 0.0 {
            return None;
        }
        let slot = chosen?;
        let alone = class.propensities.iter().filter(|propensity| **propensity > 0.0).count() == 1;
        let reason = match (alone, is_uniform) {
            (true, _) => Reason::OnlySlot,
            (false, true) => Reason::Uniform,
            (false, false) => Reason::Thompson,
        };
        let scheduled: f64 = class.propensities.iter().sum();
        Some(Assignment { slot, propensity: (class.propensities[slot] / scheduled).min(1.0), reason })
    }
}

/// Plans a schedule: `posteriors` one a segment, `capacities` the messages each slot can carry, none where unlimited.
///
/// ```
/// use sendlift_stats::schedule::{PosteriorDraws, RecipientClass, ScheduleOptions, plan_schedule};
///
/// let posterior = PosteriorDraws::of_normal(&[0.08, 0.10], &[1e-4, 0.0, 0.0, 1e-4], 4_000, 1)?;
/// let class = RecipientClass { recipients: 10_000, segment: 0, legal: vec![true, true] };
/// let schedule = plan_schedule(&[class], &[posterior], &[None, None], ScheduleOptions::default())?;
/// let assignment = schedule.assign(0, 0xFEED);
/// assert!(assignment.is_some_and(|assignment| assignment.propensity >= 0.02));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidProbability`] for a floor or a share outside 0 to 1; [`StatsError::NotFinite`] or
/// [`StatsError::Negative`] for a headroom or a capacity below zero; [`StatsError::LengthsDiffer`] where a class, a
/// posterior and the capacities have not the same slots, or a class names a segment without a posterior.
pub fn plan_schedule(
    classes: &[RecipientClass],
    posteriors: &[PosteriorDraws],
    capacities: &[Option<f64>],
    options: ScheduleOptions,
) -> Result<Schedule, StatsError> {
    check_probability("the propensity floor", options.propensity_floor)?;
    check_probability("the uniform share", options.uniform_share)?;
    check_not_negative("the headroom", options.headroom)?;
    for capacity in capacities.iter().flatten() {
        check_not_negative("the capacity of a slot", *capacity)?;
    }
    let slots = capacities.len();
    let usable: Vec<f64> = capacities
        .iter()
        .map(|capacity| capacity.map_or(f64::INFINITY, |capacity| less_headroom(capacity, options.headroom)))
        .collect();
    let mut parts = Vec::with_capacity(2 * classes.len());
    let mut chances = Vec::with_capacity(classes.len());
    for class in classes {
        let posterior = posteriors
            .get(class.segment)
            .ok_or(StatsError::LengthsDiffer { counts: class.segment.saturating_add(1), weights: posteriors.len() })?;
        for found in [class.legal.len(), posterior.slots()] {
            if found != slots {
                return Err(StatsError::LengthsDiffer { counts: slots, weights: found });
            }
        }
        let chance_best = posterior.chance_best(&class.legal);
        // A slot that can carry nothing is as good as illegal: it takes no part in the floor.
        let open: Vec<bool> = class.legal.iter().zip(&usable).map(|(legal, usable)| *legal && *usable > 0.0).collect();
        let legal_slots = open.iter().filter(|open| **open).count();
        let best_of_open = posterior.chance_best(&open);
        let uniform = open.iter().map(|open| if *open { 1.0 / length(legal_slots) } else { 0.0 }).collect();
        let recipients = count(class.recipients);
        parts.push(Part {
            recipients: recipients * (1.0 - options.uniform_share),
            shares: floored(&best_of_open, &open, options.propensity_floor),
        });
        parts.push(Part { recipients: recipients * options.uniform_share, shares: uniform });
        chances.push(chance_best);
    }
    Ok(assembled(chances, &within_caps(&parts, &usable), classes, &usable, options))
}

fn assembled(
    chances: Vec<Vec<f64>>,
    parts: &[Vec<f64>],
    classes: &[RecipientClass],
    caps: &[f64],
    options: ScheduleOptions,
) -> Schedule {
    let mut expected_loads = vec![0.0; caps.len()];
    let (mut expected_unscheduled, mut expected_without_room) = (0.0, 0.0);
    let (mut without_legal_slot, mut pressed) = (0_u64, 0_u64);
    let mut schedules = Vec::with_capacity(classes.len());
    for ((class, chance_best), pair) in classes.iter().zip(chances).zip(parts.chunks(2)) {
        let [thompson, uniform] = pair else { continue };
        let mix = |(thompson, uniform): (&f64, &f64)| {
            (1.0 - options.uniform_share) * thompson + options.uniform_share * uniform
        };
        let propensities: Vec<f64> = thompson.iter().zip(uniform).map(mix).collect();
        for (load, propensity) in expected_loads.iter_mut().zip(&propensities) {
            *load += count(class.recipients) * propensity;
        }
        let scheduled: f64 = propensities.iter().sum();
        // Rounding leaves a few parts in 10^16.
        let unscheduled = if scheduled > 1.0 - 1e-9 { 0.0 } else { 1.0 - scheduled };
        expected_unscheduled += count(class.recipients) * unscheduled;
        if class.legal.iter().any(|legal| *legal) {
            expected_without_room += count(class.recipients) * unscheduled;
        } else {
            without_legal_slot = without_legal_slot.saturating_add(class.recipients);
        }
        let positive = propensities.iter().copied().filter(|propensity| *propensity > 0.0);
        let least_propensity = positive.clone().reduce(f64::min);
        let floor = options.propensity_floor.min(1.0 / length(positive.count().max(1)));
        if least_propensity.is_some_and(|least| least < floor * (1.0 - 1e-6)) {
            pressed = pressed.saturating_add(class.recipients);
        }
        schedules.push(ClassSchedule {
            chance_best,
            propensities,
            unscheduled,
            least_propensity,
            thompson: thompson.clone(),
            uniform: uniform.clone(),
        });
    }
    let mut notes = Vec::new();
    if expected_without_room > 0.0 {
        let kept_free = if options.headroom > 0.0 {
            format!(", each up to {} standard deviations of its load below what it can carry", options.headroom)
        } else {
            String::new()
        };
        notes.push(format!(
            "about {:.0} recipients get no window: those that are legal for them are full{kept_free}",
            expected_without_room.max(1.0)
        ));
    }
    if without_legal_slot > 0 {
        notes.push(format!("no window is legal for {without_legal_slot} recipients"));
    }
    if expected_loads.iter().zip(caps).any(|(load, cap)| *load > cap * (1.0 + 1e-3)) {
        notes.push("a window is expected to get more than it can carry: look at the loads before sending".to_owned());
    }
    if pressed > 0 {
        notes.push(format!(
            "what windows can carry presses the probability of one below the floor for {pressed} recipients"
        ));
    }
    Schedule { classes: schedules, expected_loads, expected_unscheduled, notes, options }
}

/// The expected load m at which a load m + z √m is still within the cap: a sum of independent draws has no larger
/// variance than its mean.
fn less_headroom(capacity: f64, deviations: f64) -> f64 {
    let root = ((deviations * deviations + 4.0 * capacity).sqrt() - deviations) / 2.0;
    root * root
}

/// Chances raised to a floor where they are open and below it, the others scaled down by one factor, adding up to one.
fn floored(chances: &[f64], open: &[bool], floor: f64) -> Vec<f64> {
    let legal = open.iter().filter(|open| **open).count();
    if legal == 0 {
        return vec![0.0; chances.len()];
    }
    let floor = floor.min(1.0 / length(legal));
    let mut at_floor: Vec<bool> = open.iter().map(|open| !open).collect();
    loop {
        let raised = at_floor.iter().zip(open).filter(|(at_floor, open)| **at_floor && **open).count();
        let free: f64 = chances.iter().zip(&at_floor).filter(|(_, at)| !**at).map(|(chance, _)| chance).sum();
        let left = 1.0 - floor * length(raised);
        let scale = if free > 0.0 { left / free } else { 0.0 };
        // Each round raises at least one more slot, so that this ends.
        let below = (0..chances.len()).find(|&slot| !at_floor[slot] && chances[slot] * scale < floor);
        match below {
            Some(slot) if raised + 1 < legal => at_floor[slot] = true,
            _ => {
                let share = |slot: usize| match (open[slot], at_floor[slot]) {
                    (false, _) => 0.0,
                    (true, true) => floor,
                    (true, false) => (chances[slot] * scale).max(0.0),
                };
                return (0..chances.len()).map(share).collect();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn posterior() -> PosteriorDraws {
        // The third is the best nine times of ten, the first never.
        let rows = (0..10).flat_map(|draw| if draw < 9 { [0.0, 1.0, 2.0] } else { [0.0, 2.0, 1.0] }).collect();
        PosteriorDraws::from_rows(3, rows).unwrap()
    }

    fn class(recipients: u64, legal: [bool; 3]) -> RecipientClass {
        RecipientClass { recipients, segment: 0, legal: legal.to_vec() }
    }

    fn plan(classes: &[RecipientClass], caps: [Option<f64>; 3]) -> Schedule {
        plan_schedule(classes, &[posterior()], &caps, ScheduleOptions { headroom: 0.0, ..ScheduleOptions::default() })
            .unwrap()
    }

    #[test]
    fn the_parts_are_mixed_as_stated() {
        let schedule = plan(&[class(1_000, [true; 3])], [None; 3]);
        let own = &schedule.classes[0];
        assert_eq!(own.chance_best, [0.0, 0.1, 0.9]);
        // The first is raised to 2 %, the others scaled to 98 %; a tenth of all is uniform.
        for (slot, thompson) in [0.02, 0.098, 0.882].into_iter().enumerate() {
            assert_close(own.propensities[slot], 0.9 * thompson + 0.1 / 3.0, 1e-12);
            assert_close(schedule.expected_loads[slot], 1_000.0 * own.propensities[slot], 1e-12);
        }
        assert_eq!((own.unscheduled, schedule.notes.len()), (0.0, 0));
    }

    #[test]
    fn illegal_slots_are_never_drawn() {
        let schedule = plan(&[class(1_000, [true, false, true]), class(10, [false, true, false])], [None; 3]);
        assert_eq!(schedule.classes[0].propensities[1], 0.0);
        assert!((0..5_000).all(|recipient| schedule.assign(0, recipient).unwrap().slot != 1));
        let only = schedule.assign(1, 77).unwrap();
        assert_eq!((only.slot, only.propensity, only.reason), (1, 1.0, Reason::OnlySlot));
        assert_eq!(schedule.assign(2, 1), None);
    }

    #[test]
    fn caps_are_in_the_propensities() {
        let schedule = plan(&[class(1_000, [true; 3])], [None, None, Some(300.0)]);
        assert_close(schedule.expected_loads[2], 300.0, 1e-6);
        assert_close(schedule.classes[0].propensities.iter().sum(), 1.0, 1e-9);
        // The cap is kept by those drawn, too, with headroom.
        let options = ScheduleOptions::default();
        let caps = [None, None, Some(300.0)];
        let schedule = plan_schedule(&[class(1_000, [true; 3])], &[posterior()], &caps, options).unwrap();
        let drawn = (0..1_000).filter(|recipient| schedule.assign(0, *recipient).unwrap().slot == 2).count();
        assert!(drawn <= 300, "{drawn}");
    }

    #[test]
    fn too_little_capacity_is_said() {
        let schedule = plan(&[class(1_000, [true; 3])], [Some(100.0), Some(100.0), Some(300.0)]);
        assert_close(schedule.expected_unscheduled, 500.0, 1e-4);
        assert_eq!(schedule.notes[0], "about 500 recipients get no window: those that are legal for them are full");
        let options = ScheduleOptions::default();
        let caps = [Some(100.0), Some(100.0), Some(300.0)];
        let roomy = plan_schedule(&[class(1_000, [true; 3])], &[posterior()], &caps, options).unwrap();
        assert!(roomy.notes[0].ends_with("each up to 3 standard deviations of its load below what it can carry"));
        let unscheduled = (0..1_000).filter(|recipient| schedule.assign(0, *recipient).is_none()).count();
        assert!((400..600).contains(&unscheduled), "{unscheduled}");
        let closed = plan(&[class(10, [true, false, false])], [Some(0.0), None, None]);
        assert_eq!((closed.classes[0].unscheduled, closed.assign(0, 1)), (1.0, None));
        // Where nothing is legal nothing is full.
        let lawless = plan(&[class(10, [false; 3])], [None; 3]);
        assert_eq!(lawless.classes[0].unscheduled, 1.0);
        assert_eq!(lawless.notes, ["no window is legal for 10 recipients"]);
        assert_eq!(plan(&[], [None; 3]).expected_loads, [0.0; 3]);
    }

    #[test]
    fn floors_that_cannot_be_are_lowered() {
        let options = ScheduleOptions { propensity_floor: 0.9, ..ScheduleOptions::default() };
        let schedule = plan_schedule(&[class(5, [true; 3])], &[posterior()], &[None; 3], options).unwrap();
        for propensity in &schedule.classes[0].propensities {
            assert_close(*propensity, 1.0 / 3.0, 1e-12);
        }
    }

    #[test]
    fn impossible_input_is_refused() {
        let good = ScheduleOptions::default();
        let refused = |classes: &[RecipientClass], caps: &[Option<f64>], options| {
            plan_schedule(classes, &[posterior()], caps, options).is_err()
        };
        let one = [class(5, [true; 3])];
        assert!(refused(&one, &[None; 2], good));
        assert!(refused(&one, &[Some(-1.0), None, None], good));
        assert!(refused(&one, &[Some(f64::NAN), None, None], good));
        assert!(refused(&[RecipientClass { segment: 1, ..one[0].clone() }], &[None; 3], good));
        assert!(refused(&[RecipientClass { legal: vec![true], ..one[0].clone() }], &[None; 3], good));
        assert!(refused(&one, &[None; 3], ScheduleOptions { uniform_share: 1.1, ..good }));
        assert!(refused(&one, &[None; 3], ScheduleOptions { propensity_floor: f64::NAN, ..good }));
        assert!(refused(&one, &[None; 3], ScheduleOptions { headroom: -1.0, ..good }));
    }
}
