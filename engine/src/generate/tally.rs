//! Counts during a run, and the truth computed from them at its end.
//!
//! Probabilities depend on a recipient only through their cell, so that counting recipients by cell (and summing the
//! mean value of their conversions) is enough: the expectations are exact sums over cells, and the memory is fixed.

use std::collections::BTreeMap;

use super::behaviour::{
    CELLS, Cell, LATE_CONVERSION_SHARE, PROFILES, WINDOW_DAYS, delivery_probability, opt_out_probability,
};
use super::calendar::{FIRST_HOUR, HOURS};
use super::places::COUNTRIES;
use super::population::{AGE_BAND_COUNT, AGE_BANDS, Arm, GENDERS, HOLDOUT_SHARE, Recipient, VARIANT_SHARE, VARIANTS};
use super::truth::{
    CampaignTruth, Counts, Effect, ExperimentTruth, GroupTruth, HourTruth, Incremental, Realised, Segments, Truth,
    definitions,
};
use super::world::World;

/// Number of variants.
const VARIANT_COUNT: usize = 2;
/// Metrics of a group, in the order of [`GroupTruth`].
const METRIC_COUNT: usize = 6;

/// Recipients of one variant by cell.
#[derive(Clone)]
struct CellTotals {
    recipients: Vec<u64>,
    /// Sum over the recipients of the expected value of one conversion.
    value: Vec<f64>,
}

impl CellTotals {
    fn new() -> Self {
        Self { recipients: vec![0; CELLS], value: vec![0.0; CELLS] }
    }

    fn add(&mut self, cell: Cell, value_mean: f64) {
        self.recipients[cell.number()] += 1;
        self.value[cell.number()] += value_mean;
    }

    /// The cells that anybody is in: cell, recipients, sum of values.
    fn occupied(&self) -> impl Iterator<Item = (Cell, u64, f64)> {
        let totals = self.recipients.iter().zip(&self.value).enumerate();
        totals
            .filter(|(_, (recipients, _))| **recipients > 0)
            .map(|(number, (recipients, value))| (Cell::from_number(number), *recipients, *value))
    }
}

/// What is counted during a run.
pub(super) struct Tally {
    /// Plain counts.
    pub(super) counts: Counts,
    /// By number of campaigns received and variant.
    assigned: Vec<[CellTotals; VARIANT_COUNT]>,
    /// By campaign and variant.
    sent: Vec<[CellTotals; VARIANT_COUNT]>,
    realised: Vec<[Realised; VARIANT_COUNT]>,
    hour_sends: [[u64; HOURS]; AGE_BAND_COUNT],
}

impl Tally {
    /// Nothing counted yet.
    pub(super) fn new(campaigns: usize) -> Self {
        let empty = [CellTotals::new(), CellTotals::new()];
        Self {
            counts: Counts::default(),
            assigned: vec![empty.clone(); campaigns + 1],
            sent: vec![empty; campaigns],
            realised: vec![[Realised::default(); VARIANT_COUNT]; campaigns],
            hour_sends: [[0; HOURS]; AGE_BAND_COUNT],
        }
    }

    /// A recipient was assigned, and so many campaigns will reach them.
    pub(super) fn assigned(&mut self, recipient: &Recipient, campaigns: usize) {
        self.counts.recipients += 1;
        match recipient.arm {
            Arm::Holdout => self.counts.holdout += 1,
            Arm::Variant(variant) => {
                self.assigned[campaigns][variant].add(Cell::of(recipient), recipient.value_mean);
                let count = if variant == 0 { &mut self.counts.control } else { &mut self.counts.treatment };
                *count += 1;
            }
        }
    }

    /// A message left.
    pub(super) fn sent(&mut self, campaign: usize, variant: usize, cell: Cell, value_mean: f64, hour: usize) {
        self.sent[campaign][variant].add(cell, value_mean);
        self.realised[campaign][variant].sent += 1;
        self.hour_sends[cell.age_band][hour] += 1;
    }

    /// A message was delivered.
    pub(super) fn delivered(&mut self, campaign: usize, variant: usize) {
        self.realised[campaign][variant].delivered += 1;
    }

    /// A recipient clicked in a message for the first time.
    pub(super) fn clicked(&mut self, campaign: usize, variant: usize) {
        self.realised[campaign][variant].clickers += 1;
    }

    /// A message caused a conversion.
    pub(super) fn converted(&mut self, campaign: usize, variant: usize, is_late: bool) {
        let realised = &mut self.realised[campaign][variant];
        let count = if is_late { &mut realised.late_conversions } else { &mut realised.caused_conversions };
        *count += 1;
    }

    /// The truth about everything counted.
    pub(super) fn truth(&self, world: &World, rows: &BTreeMap<String, u64>) -> Truth {
        let by_age_band = |band: usize| (AGE_BANDS[band].to_owned(), self.hours(world, Some(band)));
        Truth {
            scenario: world.options.scenario,
            language: world.options.language,
            seed: world.options.seed,
            messages: world.options.messages,
            currency: world.options.language.currency().to_owned(),
            experiment_id: world.experiment_id().to_owned(),
            control: VARIANTS[0].to_owned(),
            treatment: VARIANTS[1].to_owned(),
            window_days: WINDOW_DAYS,
            allocation: [
                (Arm::Holdout, HOLDOUT_SHARE),
                (Arm::Variant(0), VARIANT_SHARE),
                (Arm::Variant(1), VARIANT_SHARE),
            ]
            .map(|(arm, share)| (arm.name().to_owned(), share))
            .into(),
            definitions: definitions(),
            campaigns: (0..self.sent.len())
                .map(|campaign| (world.campaigns[campaign].campaign_id.clone(), self.campaign(world, campaign)))
                .collect(),
            experiment: self.experiment(world),
            per_message: self.per_message(world),
            hours: self.hours(world, None),
            hours_by_age_band: (0..AGE_BAND_COUNT).map(by_age_band).collect(),
            incremental: self.incremental(world),
            counts: self.counts,
            rows: rows.clone(),
        }
    }

    fn campaign(&self, world: &World, campaign: usize) -> CampaignTruth {
        let mut groups = Groups::default();
        for totals in &self.sent[campaign] {
            groups.add(world, totals, 1);
        }
        let realised = &self.realised[campaign];
        CampaignTruth {
            overall: groups.overall.truth(),
            segments: groups.segment_truths(),
            realised: VARIANTS.iter().zip(realised).map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }

    fn experiment(&self, world: &World) -> ExperimentTruth {
        let mut groups = Groups::default();
        for (campaigns, variants) in (0..).zip(&self.assigned) {
            for totals in variants {
                groups.add(world, totals, campaigns);
            }
        }
        ExperimentTruth { overall: groups.overall.truth(), segments: groups.segment_truths() }
    }

    /// Expected delivered messages over all campaigns, by profile, of one age band or of all.
    fn delivered_by_profile(&self, age_band: Option<usize>) -> Vec<f64> {
        let mut delivered = vec![0.0; PROFILES];
        for totals in self.sent.iter().flatten() {
            for (cell, messages, _) in totals.occupied() {
                if age_band.is_none_or(|band| band == cell.age_band) {
                    delivered[cell.profile()] += messages as f64 * delivery_probability(cell.country);
                }
            }
        }
        delivered
    }

    fn hours(&self, world: &World, age_band: Option<usize>) -> Vec<HourTruth> {
        let delivered = self.delivered_by_profile(age_band);
        let sends = |hour: usize| -> u64 {
            let bands = self.hour_sends.iter().enumerate();
            bands.filter(|(band, _)| age_band.is_none_or(|one| one == *band)).map(|(_, hours)| hours[hour]).sum()
        };
        (0..HOURS)
            .map(|hour| HourTruth {
                hour: FIRST_HOUR + hour,
                sends: sends(hour),
                click: weighted_effect(&delivered, |variant, profile| world.behaviour.click(variant, profile, hour)),
                opt_out_rate: opt_out_probability(hour),
            })
            .collect()
    }

    fn per_message(&self, world: &World) -> Effect {
        let delivered = self.delivered_by_profile(None);
        weighted_effect(&delivered, |variant, profile| world.behaviour.mean_click(variant, profile))
    }

    fn incremental(&self, world: &World) -> BTreeMap<String, Incremental> {
        let mut arms = [Incremental::default(); VARIANT_COUNT];
        for variants in &self.sent {
            for (variant, (arm, totals)) in arms.iter_mut().zip(variants).enumerate() {
                for (cell, messages, value) in totals.occupied() {
                    let conversion = click_chance(world, variant, cell) * world.behaviour.conversion(cell.status);
                    arm.messages += messages;
                    arm.conversions += conversion * messages as f64;
                    arm.revenue += conversion * value;
                }
            }
        }
        for arm in &mut arms {
            arm.conversions_in_window = arm.conversions * (1.0 - LATE_CONVERSION_SHARE);
            arm.revenue_in_window = arm.revenue * (1.0 - LATE_CONVERSION_SHARE);
        }
        let [control, treatment] = arms;
        let all = Incremental {
            messages: control.messages + treatment.messages,
            conversions: control.conversions + treatment.conversions,
            conversions_in_window: control.conversions_in_window + treatment.conversions_in_window,
            revenue: control.revenue + treatment.revenue,
            revenue_in_window: control.revenue_in_window + treatment.revenue_in_window,
        };
        BTreeMap::from([
            (VARIANTS[0].to_owned(), control),
            (VARIANTS[1].to_owned(), treatment),
            ("all".to_owned(), all),
        ])
    }
}

/// The chance that a recipient of that cell gets the message and clicks, over the hours.
fn click_chance(world: &World, variant: usize, cell: Cell) -> f64 {
    delivery_probability(cell.country) * world.behaviour.mean_click(variant, cell.profile())
}

/// The effect on a rate that is averaged over profiles with those weights.
fn weighted_effect(weights: &[f64], rate: impl Fn(usize, usize) -> f64) -> Effect {
    let total: f64 = weights.iter().sum();
    let average = |variant: usize| {
        let sum: f64 = weights.iter().enumerate().map(|(profile, weight)| weight * rate(variant, profile)).sum();
        if total > 0.0 { sum / total } else { 0.0 }
    };
    Effect::between(average(0), average(1))
}

/// Sums of the metrics over the recipients of a group, under either variant.
#[derive(Clone, Default)]
struct GroupSums {
    recipients: u64,
    metrics: [[f64; METRIC_COUNT]; VARIANT_COUNT],
}

impl GroupSums {
    /// Recipients of one cell who get so many campaigns, whatever variant they really got.
    fn of_cell(world: &World, cell: Cell, recipients: u64, value: f64, campaigns: i32) -> Self {
        let count = recipients as f64;
        let sends = f64::from(campaigns);
        let organic = world.behaviour.organic_weekly(cell.status) * WINDOW_DAYS as f64 / 7.0;
        let metrics = std::array::from_fn(|variant| {
            let click = click_chance(world, variant, cell);
            let caused = click * world.behaviour.conversion(cell.status) * (1.0 - LATE_CONVERSION_SHARE);
            [
                count * (1.0 - (1.0 - click).powi(campaigns)),
                count * (1.0 - (-organic * sends).exp() * (1.0 - caused).powi(campaigns)),
                count * sends * (organic + caused),
                value * sends * (organic + caused),
                count * sends * caused,
                value * sends * caused,
            ]
        });
        Self { recipients, metrics }
    }

    fn merge(&mut self, other: &Self) {
        self.recipients += other.recipients;
        for (sum, more) in self.metrics.iter_mut().flatten().zip(other.metrics.iter().flatten()) {
            *sum += more;
        }
    }

    fn truth(&self) -> GroupTruth {
        let per_recipient = 1.0 / (self.recipients.max(1) as f64);
        let [click, conversion, conversions, revenue, caused_conversions, caused_revenue] =
            std::array::from_fn(|metric| {
                Effect::between(self.metrics[0][metric] * per_recipient, self.metrics[1][metric] * per_recipient)
            });
        GroupTruth {
            recipients: self.recipients,
            click,
            conversion,
            conversions,
            revenue,
            caused_conversions,
            caused_revenue,
        }
    }
}

/// All recipients, and the same by segment.
#[derive(Default)]
struct Groups {
    overall: GroupSums,
    segments: BTreeMap<&'static str, BTreeMap<&'static str, GroupSums>>,
}

impl Groups {
    fn add(&mut self, world: &World, totals: &CellTotals, campaigns: i32) {
        for (cell, recipients, value) in totals.occupied() {
            let sums = GroupSums::of_cell(world, cell, recipients, value, campaigns);
            self.overall.merge(&sums);
            let segments = [
                ("age_band", AGE_BANDS[cell.age_band]),
                ("gender", GENDERS[cell.gender]),
                ("country", COUNTRIES[cell.country].code),
                ("customer_status", world.population.statuses()[cell.status]),
            ];
            for (column, name) in segments {
                self.segments.entry(column).or_default().entry(name).or_default().merge(&sums);
            }
        }
    }

    fn segment_truths(&self) -> Segments {
        let values = |groups: &BTreeMap<&'static str, GroupSums>| -> BTreeMap<String, GroupTruth> {
            groups.iter().map(|(name, sums)| ((*name).to_owned(), sums.truth())).collect()
        };
        self.segments.iter().map(|(column, groups)| ((*column).to_owned(), values(groups))).collect()
    }
}
