//! Planning an experiment: how many units, what power, or what effect can be seen.
//!
//! Enters: what is known of the primary metric (the control's share, or the variance), and two of: the effect to be found,
//! the size, the power. Leaves: the third, with the days that it takes where the daily volume is known. Covariates that
//! remove variance make a plan smaller; looks before the end make it larger. See `sendlift_stats::plan_campaign` for the
//! formulas. Several arms share alpha in equal parts, as Holm's adjustment of the analysis begins.

use serde::Serialize;

use super::metric::MetricKind;
use crate::error::{EngineError, Result};
use crate::stats::distribution::normal;
use crate::stats::plan_campaign::{
    CampaignDesign, PlannedMetric, SharedAlpha, always_valid_inflation, days_for_units, units_per_arm_in_days,
};
use crate::stats::sequential::Spending;
use crate::stats::{GroupSequential, MixtureBoundary};

/// The power of a plan for which none is named.
pub const DEFAULT_POWER: f64 = 0.8;
/// More looks than these are no group-sequential plan: plan for an always-valid analysis.
const MOST_LOOKS: u32 = 50;
/// Units of an arm below which Student's t is plainly wider than the normal distribution.
const FEW_UNITS: u64 = 30;

/// The effect to be found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlannedEffect {
    /// In the metric's own units: 0.05 of a share is five percentage points.
    Difference(f64),
    /// Relative to the control: 0.25 is +25 %.
    Lift(f64),
}

/// How many units there will be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlannedSize {
    /// In each arm.
    PerArm(u64),
    /// In all arms together.
    Total(u64),
    /// As many as arrive in so many days.
    Days(u32),
}

/// Looks before the end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum PlannedLooks {
    /// None: one analysis at the end.
    #[default]
    AtTheEnd,
    /// So many, evenly spaced, the last at the end, with alpha spent by a function.
    Group(u32, Spending),
    /// Whenever one likes, with always-valid intervals.
    AnyTime,
}

/// What is known of an experiment to come.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRequest {
    /// The kind of the primary metric.
    pub metric: MetricKind,
    /// The control's share or mean.
    pub baseline: Option<f64>,
    /// The variance of a mean's values within an arm.
    pub variance: Option<f64>,
    /// The effect to be found.
    pub effect: Option<PlannedEffect>,
    /// The size, if it is given.
    pub size: Option<PlannedSize>,
    /// The power, 0 to 1, if it is given.
    pub power: Option<f64>,
    /// Two-sided error over all comparisons with the control.
    pub alpha: f64,
    /// Arms, the control among them.
    pub arms: u32,
    /// Units that arrive in a day, in all arms together.
    pub per_day: Option<f64>,
    /// Share of the variance that covariates remove, 0 to below 1.
    pub variance_removed: f64,
    /// Looks before the end.
    pub looks: PlannedLooks,
}

impl PlanRequest {
    /// A plan for two arms, a single analysis and the customary alpha; the effect and the size are still to be said.
    #[must_use]
    pub fn new(metric: MetricKind) -> Self {
        Self {
            metric,
            baseline: None,
            variance: None,
            effect: None,
            size: None,
            power: None,
            alpha: 0.05,
            arms: 2,
            per_day: None,
            variance_removed: 0.0,
            looks: PlannedLooks::AtTheEnd,
        }
    }
}

/// What a plan was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanQuestion {
    /// How many units?
    Size,
    /// With what power?
    Power,
    /// Which effect can be seen?
    Effect,
}

/// One look of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct LookPlanned {
    /// Units of each arm at the look.
    pub n_per_arm: u64,
    /// The size of z from which the experiment stops; none where no alpha is spent yet.
    pub critical_value: Option<f64>,
    /// The two-sided level that this critical value would have alone.
    pub nominal_alpha: f64,
}

/// A plan.
#[derive(Debug, Clone, Serialize)]
pub struct ExperimentPlan {
    /// What was asked for.
    pub question: PlanQuestion,
    /// The kind of the primary metric.
    pub metric: MetricKind,
    /// The control's share or mean, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// The variance of a mean's values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance: Option<f64>,
    /// The effect that was asked about, in the metric's own units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// The same, relative to the control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lift: Option<f64>,
    /// Arms, the control among them.
    pub arms: u32,
    /// Two-sided error over all comparisons with the control.
    pub alpha: f64,
    /// Alpha of each of them.
    pub comparison_alpha: f64,
    /// Units in each arm.
    pub n_per_arm: u64,
    /// Units in all arms together.
    pub n_total: u64,
    /// Power of each comparison: the one asked for, or the one that the size has for the effect.
    pub power: f64,
    /// The smallest effect, without its sign and in the metric's own units, that is found with the power that was asked
    /// for (80 % unless another was); none where nothing can be found.
    pub minimum_detectable_effect: Option<f64>,
    /// The same, relative to the control, where its share or mean is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_detectable_lift: Option<f64>,
    /// Share of the variance that covariates remove.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance_removed: Option<f64>,
    /// By how many times the looks enlarge the sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inflation: Option<f64>,
    /// The looks, where their number is planned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub looks: Vec<LookPlanned>,
    /// Days until all units have arrived, where the daily volume is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u64>,
    /// What the plan takes for granted.
    pub notes: Vec<String>,
}

/// Plans an experiment.
///
/// # Errors
/// When what is given is too little, too much, or cannot be.
pub fn plan_experiment(request: &PlanRequest) -> Result<ExperimentPlan> {
    let metric = planned_metric(request)?;
    let difference = difference_of(request)?;
    if request.arms < 2 {
        return Err(EngineError::usage(format!(
            "{} arms: a plan needs at least two, the control among them",
            request.arms
        )));
    }
    let design = CampaignDesign {
        treatments: request.arms - 1,
        shared_alpha: SharedAlpha::Bonferroni,
        variance_removed: request.variance_removed,
        ..CampaignDesign::simple(metric, request.alpha, request.power.unwrap_or(DEFAULT_POWER))
    };
    let boundaries = Boundaries::new(request.looks, &design)?;
    let design = CampaignDesign { inflation: boundaries.inflation(&design)?, ..design };
    let (question, n_per_arm) = match (difference, size_per_arm(request)?) {
        (Some(difference), None) => (PlanQuestion::Size, design.units(difference)?.per_arm),
        (Some(_), Some(size)) => (PlanQuestion::Power, size),
        (None, Some(size)) => (PlanQuestion::Effect, size),
        (None, None) => {
            return Err(EngineError::usage(
                "give the effect to be found (a difference or a lift), or the size (units, or units a day and days)",
            ));
        }
    };
    if question == PlanQuestion::Power && request.power.is_some() {
        return Err(EngineError::usage(
            "the effect, the size and the power are all given: leave out the one that is asked for",
        ));
    }
    let (power, minimum_detectable_effect) = match (question, difference) {
        (PlanQuestion::Size, Some(difference)) => (design.power, Some(difference.abs())),
        (PlanQuestion::Power, Some(difference)) => {
            (boundaries.power(&design, difference, n_per_arm)?, design.detectable_difference(n_per_arm)?)
        }
        _ => (design.power, design.detectable_difference(n_per_arm)?),
    };
    let relative = |difference: f64| request.baseline.filter(|base| *base != 0.0).map(|base| difference / base.abs());
    let n_total = n_per_arm.saturating_mul(u64::from(request.arms));
    let days = request.per_day.map(|per_day| days_for_units(n_total, per_day)).transpose()?;
    Ok(ExperimentPlan {
        question,
        metric: request.metric,
        baseline: request.baseline,
        variance: request.variance,
        difference,
        lift: difference.and_then(relative),
        arms: request.arms,
        alpha: request.alpha,
        comparison_alpha: design.comparison_alpha()?,
        n_per_arm,
        n_total,
        power,
        minimum_detectable_effect,
        minimum_detectable_lift: minimum_detectable_effect.and_then(relative),
        variance_removed: (request.variance_removed > 0.0).then_some(request.variance_removed),
        inflation: (design.inflation > 1.0).then_some(design.inflation),
        looks: boundaries.looks(n_per_arm),
        days,
        notes: notes(request, (question, n_per_arm), &design, days),
    })
}

fn planned_metric(request: &PlanRequest) -> Result<PlannedMetric> {
    match request.metric {
        MetricKind::Ratio | MetricKind::Quantile => Err(EngineError::usage(
            "sizes are planned for a proportion or a mean: give the variance of the units' values",
        )),
        MetricKind::Proportion => {
            if request.variance.is_some() {
                return Err(EngineError::usage(
                    "the variance of a proportion follows from its baseline: leave it out, or plan for a mean",
                ));
            }
            let baseline = request.baseline.ok_or_else(|| {
                EngineError::usage("the baseline is missing: give the control's share, 0 to 1 (0.2 is 20 %)")
            })?;
            Ok(PlannedMetric::Proportion { baseline })
        }
        MetricKind::Mean => {
            let variance = request.variance.ok_or_else(|| {
                EngineError::usage("the spread is missing: give the metric's variance or its standard deviation")
            })?;
            Ok(PlannedMetric::Mean { variance })
        }
    }
}

/// The effect in the metric's own units.
fn difference_of(request: &PlanRequest) -> Result<Option<f64>> {
    match (request.effect, request.baseline) {
        (None, _) => Ok(None),
        (Some(PlannedEffect::Difference(difference)), _) => Ok(Some(difference)),
        (Some(PlannedEffect::Lift(lift)), Some(baseline)) if baseline != 0.0 => Ok(Some(lift * baseline.abs())),
        (Some(PlannedEffect::Lift(_)), _) => Err(EngineError::usage(
            "a lift is relative to the control: give its share or mean as the baseline, other than zero, or a difference",
        )),
    }
}

fn size_per_arm(request: &PlanRequest) -> Result<Option<u64>> {
    let size = match request.size {
        None => return Ok(None),
        Some(PlannedSize::PerArm(units)) => units,
        Some(PlannedSize::Total(units)) => units / u64::from(request.arms),
        Some(PlannedSize::Days(days)) => {
            let per_day = request.per_day.ok_or_else(|| {
                EngineError::usage("days alone are no size: give the units that arrive in a day, too")
            })?;
            units_per_arm_in_days(days, per_day, request.arms)?
        }
    };
    if size == 0 {
        return Err(EngineError::usage("that size leaves an arm without units"));
    }
    Ok(Some(size))
}

/// The boundaries that the looks are held against.
enum Boundaries {
    AtTheEnd,
    Group(GroupSequential),
    AnyTime,
}

impl Boundaries {
    fn new(looks: PlannedLooks, design: &CampaignDesign) -> Result<Self> {
        match looks {
            PlannedLooks::AtTheEnd => Ok(Self::AtTheEnd),
            PlannedLooks::AnyTime => Ok(Self::AnyTime),
            PlannedLooks::Group(looks, spending) => {
                if !(1..=MOST_LOOKS).contains(&looks) {
                    return Err(EngineError::usage(format!(
                        "{looks} looks: plan 1 to {MOST_LOOKS}, or for an always-valid analysis, which allows any number"
                    )));
                }
                let fractions: Vec<f64> = (1..=looks).map(|look| f64::from(look) / f64::from(looks)).collect();
                Ok(Self::Group(GroupSequential::alpha_spending(spending, &fractions, design.comparison_alpha()?)?))
            }
        }
    }

    /// By how many times the sample has to be larger than that of a single analysis with the design's power.
    fn inflation(&self, design: &CampaignDesign) -> Result<f64> {
        Ok(match self {
            Self::AtTheEnd => 1.0,
            // A single look is a fixed sample, but for rounding.
            Self::Group(plan) => plan.inflation_factor(design.power)?.max(1.0),
            Self::AnyTime => always_valid_inflation(design.comparison_alpha()?, design.power)?,
        })
    }

    /// The power to find a difference with so many units in each arm.
    fn power(&self, design: &CampaignDesign, difference: f64, n_per_arm: u64) -> Result<f64> {
        let single = CampaignDesign { inflation: 1.0, ..*design };
        let at_the_end = single.power_at(difference, n_per_arm)?;
        let alpha = design.comparison_alpha()?;
        // The z to be expected at the end: that at which a single analysis has the power it has.
        let expected = normal::critical_value(alpha) + normal::quantile(at_the_end.max(alpha).min(1.0 - 1e-15));
        Ok(match self {
            Self::AtTheEnd => at_the_end,
            Self::Group(plan) => plan.power(expected)?,
            Self::AnyTime => {
                // At the planned size the boundary is the same for every plan.
                let boundary = MixtureBoundary::new(1, alpha)?.critical_value(1).unwrap_or(f64::INFINITY);
                normal::lower_tail(expected - boundary)
            }
        })
    }

    fn looks(&self, n_per_arm: u64) -> Vec<LookPlanned> {
        let Self::Group(plan) = self else { return Vec::new() };
        let number = u64::try_from(plan.looks.len()).unwrap_or(u64::MAX).max(1);
        (1..=number)
            .zip(&plan.looks)
            .map(|(position, look)| LookPlanned {
                n_per_arm: n_per_arm.saturating_mul(position).div_ceil(number).min(n_per_arm),
                critical_value: look.critical_value,
                nominal_alpha: look.nominal_alpha,
            })
            .collect()
    }
}

fn notes(
    request: &PlanRequest,
    (question, n_per_arm): (PlanQuestion, u64),
    design: &CampaignDesign,
    days: Option<u64>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if request.arms > 2 {
        let others = request.arms - 1;
        notes.push(format!(
            "{others} comparisons with one control share alpha in equal parts, as Holm's adjustment begins"
        ));
    }
    if request.metric == MetricKind::Proportion && question != PlanQuestion::Size {
        notes.push(format!(
            "the minimum detectable effect is a rise, found with power {}; of a fall, plan for the share of failures",
            design.power
        ));
    }
    if request.metric == MetricKind::Mean && n_per_arm < FEW_UNITS {
        notes.push(format!(
            "the size is by the normal distribution; Welch's t test, which the analysis uses, needs one or two units an arm more \
             where there are fewer than {FEW_UNITS}"
        ));
    }
    match request.looks {
        PlannedLooks::AtTheEnd => {}
        PlannedLooks::Group(looks, _) => notes.push(format!(
            "{looks} looks, evenly spaced: stop at the first whose z passes its critical value; the size is that of the last"
        )),
        PlannedLooks::AnyTime => notes.push(
            "always-valid analysis, tightest near the planned size; power counts the look at that size alone".to_owned(),
        ),
    }
    if request.variance_removed > 0.0 {
        notes.push(format!("covariates are taken to remove {:.0} % of the variance", request.variance_removed * 100.0));
    }
    if days.is_some() {
        notes.push(
            "the days are those of sending; analyse when the conversion window of the last day has closed".to_owned(),
        );
    }
    notes.push(
        "one metric decides, tested alone: where several are analysed together their p values are adjusted, which costs power; \
         for k metrics plan with alpha divided by k"
            .to_owned(),
    );
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(baseline: f64) -> PlanRequest {
        PlanRequest { baseline: Some(baseline), ..PlanRequest::new(MetricKind::Proportion) }
    }

    fn close(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
    }

    #[test]
    fn the_three_questions_are_one() {
        // 20 → 25 % needs 1094 an arm, 2 → 2.5 % 13809: Fleiss, Levin and Paik (2003), chapter 4, as in stats::plan.
        let by_lift = PlanRequest { effect: Some(PlannedEffect::Lift(0.25)), ..share(0.2) };
        let plan = plan_experiment(&by_lift).unwrap();
        assert_eq!((plan.question, plan.n_per_arm, plan.n_total), (PlanQuestion::Size, 1094, 2188));
        close(plan.minimum_detectable_effect.unwrap(), 0.05, 1e-12);
        let small = PlanRequest { effect: Some(PlannedEffect::Difference(0.005)), ..share(0.02) };
        assert_eq!(plan_experiment(&small).unwrap().n_per_arm, 13_809);

        let power = plan_experiment(&PlanRequest { size: Some(PlannedSize::PerArm(1094)), ..by_lift.clone() }).unwrap();
        assert_eq!(power.question, PlanQuestion::Power);
        close(power.power, 0.8, 1e-3);
        let effect = plan_experiment(&PlanRequest { size: Some(PlannedSize::Total(2188)), ..share(0.2) }).unwrap();
        assert_eq!(effect.question, PlanQuestion::Effect);
        close(effect.minimum_detectable_effect.unwrap(), 0.05, 1e-4);
        close(effect.minimum_detectable_lift.unwrap(), 0.25, 5e-4);
    }

    #[test]
    fn means_days_and_covariates() {
        // statsmodels 0.15.0, TTestIndPower().solve_power(0.5 / 4, alpha=0.05, power=0.8) is 1005.62 (as stats::plan_campaign).
        let mean = PlanRequest {
            variance: Some(16.0),
            effect: Some(PlannedEffect::Difference(-0.5)),
            per_day: Some(100.0),
            ..PlanRequest::new(MetricKind::Mean)
        };
        let plan = plan_experiment(&mean).unwrap();
        assert_eq!((plan.n_per_arm, plan.days), (1006, Some(21)));
        let less = plan_experiment(&PlanRequest { variance_removed: 0.5, ..mean.clone() }).unwrap();
        assert_eq!(less.n_per_arm, 503);
        let in_time =
            plan_experiment(&PlanRequest { effect: None, size: Some(PlannedSize::Days(21)), ..mean }).unwrap();
        assert_eq!((in_time.n_per_arm, in_time.days), (1050, Some(21)));
        assert!(in_time.minimum_detectable_effect.unwrap() < 0.5);
    }

    #[test]
    fn looks_enlarge_a_plan_and_keep_its_power() {
        let request = PlanRequest { effect: Some(PlannedEffect::Difference(0.05)), ..share(0.2) };
        let mut sizes = Vec::new();
        for looks in [
            PlannedLooks::AtTheEnd,
            PlannedLooks::Group(5, Spending::OBrienFleming),
            PlannedLooks::Group(5, Spending::Pocock),
            PlannedLooks::AnyTime,
        ] {
            let plan = plan_experiment(&PlanRequest { looks, ..request.clone() }).unwrap();
            let size = Some(PlannedSize::PerArm(plan.n_per_arm));
            let back = plan_experiment(&PlanRequest { size, looks, ..request.clone() }).unwrap();
            close(back.power, 0.8, 2e-3);
            sizes.push(plan.n_per_arm);
        }
        assert!(sizes.is_sorted(), "{sizes:?}");
        // (3.0352 + 0.8416)² / (1.9600 + 0.8416)² = 1.9149 times: see stats::plan_campaign.
        assert_eq!(sizes[3], 2095);
        let plan = plan_experiment(&PlanRequest { looks: PlannedLooks::Group(5, Spending::OBrienFleming), ..request })
            .unwrap();
        // Lan and DeMets (1983), K = 5: 4.8769, 3.3570, 2.6803, 2.2898, 2.0310, to 4e-4 of ldbounds.
        for (look, expected) in plan.looks.iter().zip([4.8769, 3.3570, 2.6803, 2.2898, 2.0310]) {
            close(look.critical_value.unwrap(), expected, 1e-3);
        }
        assert_eq!(plan.looks.last().unwrap().n_per_arm, plan.n_per_arm);
    }

    #[test]
    fn what_is_missing_or_contradictory_is_named() {
        let mean = PlanRequest::new(MetricKind::Mean);
        let lift = Some(PlannedEffect::Lift(0.1));
        let size = Some(PlannedSize::PerArm(100));
        for (request, expected) in [
            (PlanRequest::new(MetricKind::Proportion), "baseline is missing"),
            (mean.clone(), "spread is missing"),
            (PlanRequest { variance: Some(1.0), effect: lift, ..mean.clone() }, "relative to the control"),
            (share(0.2), "give the effect"),
            (PlanRequest { variance: Some(1.0), ..share(0.2) }, "follows from its baseline"),
            (PlanRequest { effect: lift, size, power: Some(0.9), ..share(0.2) }, "leave out the one"),
            (PlanRequest { size: Some(PlannedSize::Days(3)), ..share(0.2) }, "days alone"),
            (PlanRequest { size: Some(PlannedSize::Total(1)), ..share(0.2) }, "without units"),
            (PlanRequest { effect: lift, arms: 1, ..share(0.2) }, "at least two"),
            (
                PlanRequest { effect: lift, looks: PlannedLooks::Group(0, Spending::Pocock), ..share(0.2) },
                "0 looks: plan 1 to 50",
            ),
            (PlanRequest { effect: Some(PlannedEffect::Difference(0.9)), ..share(0.2) }, "stays in range"),
        ] {
            let error = plan_experiment(&request).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
