//! The metrics that the store can tell of each recipient: one table, and what of it is analysed.
//!
//! A metric is there if the logs that it needs hold any rows, and amounts if they are in one currency.

use itertools::Itertools as _;

use super::StoreExperiment;
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::experiment::metric::{MetricForm, MetricKind, MetricSpec};
use crate::experiment::sample::MetricRole;
use crate::facts::{counted_events, latest_rows};

/// The metrics of an analysis for which none are named.
const DEFAULT_METRICS: [&str; 4] = ["click", "conversion", "revenue", "opt_out"];

/// A metric of the store.
pub(super) struct StoreMetric {
    pub(super) spec: MetricSpec,
    pub(super) kind: MetricKind,
    pub(super) role: MetricRole,
}

/// What has to be at hand for a column of the units.
#[derive(Debug, Clone, Copy)]
enum Need {
    Nothing,
    Clicks,
    Conversions,
    /// Conversions, all in one currency.
    Revenue,
    Deliveries,
    Replies,
    /// What messages cost, all in one currency.
    Costs,
    OptOuts,
}

/// A column of the units.
#[derive(Debug)]
pub(super) struct StoreColumn {
    /// The name of the metric.
    pub(super) name: &'static str,
    kind: MetricKind,
    /// The SQL of its value.
    pub(super) value: &'static str,
    /// That of the same before the experiment.
    pub(super) before: Option<&'static str>,
    need: Need,
}

/// The metrics that the store can tell of each recipient.
static METRICS: [StoreColumn; 10] = {
    const fn column(
        name: &'static str,
        kind: MetricKind,
        value: &'static str,
        before: Option<&'static str>,
        need: Need,
    ) -> StoreColumn {
        StoreColumn { name, kind, value, before, need }
    }
    let (share, number) = (MetricKind::Proportion, MetricKind::Mean);
    let bought = "CASE WHEN o.conversions > 0 THEN 1 ELSE 0 END";
    [
        column("click", share, "s.click", Some("b.clicks"), Need::Clicks),
        column("conversion", share, bought, Some("g.conversions"), Need::Conversions),
        column("revenue", number, "o.revenue", Some("g.revenue"), Need::Revenue),
        column("delivery", share, "s.delivered", Some("b.delivered"), Need::Deliveries),
        column("reply", share, "s.reply", None, Need::Replies),
        column("cost", number, "s.cost", None, Need::Costs),
        column("opt_out", share, "s.opt_out", None, Need::OptOuts),
        column("clicks", number, "s.clicks", Some("b.clicks"), Need::Clicks),
        column("conversions", number, "o.conversions", Some("g.conversions"), Need::Conversions),
        column("messages", number, "s.messages", Some("b.messages"), Need::Nothing),
    ]
};

fn column_named(name: &str) -> Result<&'static StoreColumn> {
    METRICS.iter().find(|column| column.name == name).ok_or_else(|| {
        let known = METRICS.each_ref().map(|column| column.name).join(", ");
        EngineError::usage(format!("the store knows no metric \"{name}\"; it knows {known}"))
    })
}

/// Refuses a metric that the store does not know.
pub(crate) fn check_metric(spec: &MetricSpec) -> Result<()> {
    column_named(&spec.name).map(|_| ())
}

/// Whether less of a metric is better.
pub(super) fn lower_is_better(spec: &MetricSpec) -> bool {
    matches!(spec.name.as_str(), "opt_out" | "cost") && !matches!(spec.form, MetricForm::Ratio { .. })
}

impl StoreExperiment<'_> {
    /// The metrics to analyse: those asked for, else click, conversion, revenue and the guardrail `opt_out`. The first is
    /// the primary one. With them the columns that the logs at hand tell.
    pub(super) async fn metrics(
        &self,
        wanted: &[String],
        guardrails: Option<&[String]>,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<StoreMetric>, Vec<&'static StoreColumn>)> {
        let currencies = format!(
            "SELECT DISTINCT c.currency FROM {} AS c WHERE c.value IS NOT NULL AND {}{}",
            latest_rows(Log::Conversions, "value, currency, event, recipient_id"),
            counted_events(&self.session.settings),
            self.of_chosen("c.recipient_id"),
        );
        let currencies = self.count_rows(&currencies).await?;
        let cost_currencies = format!(
            "SELECT DISTINCT f.currency FROM message_facts AS f WHERE f.cost IS NOT NULL AND {}",
            self.belongs()
        );
        let cost_currencies = self.count_rows(&cost_currencies).await?;
        let is_at_hand = |column: &StoreColumn| match column.need {
            Need::Nothing => true,
            Need::Clicks => self.at_hand.clicks,
            Need::Conversions => self.at_hand.conversions,
            Need::Revenue => self.at_hand.conversions && currencies == 1,
            Need::Deliveries => self.at_hand.deliveries,
            Need::Replies => self.at_hand.replies,
            Need::Costs => cost_currencies == 1,
            Need::OptOuts => self.at_hand.opt_outs,
        };
        let names: Vec<String> =
            if wanted.is_empty() { DEFAULT_METRICS.map(str::to_owned).into() } else { wanted.to_vec() };
        if let Some(twice) = names.iter().duplicates().next() {
            return Err(EngineError::usage(format!(
                "the metric \"{twice}\" is named twice: it would count as two tests"
            )));
        }
        let mut metrics: Vec<StoreMetric> = Vec::new();
        for text in &names {
            let spec: MetricSpec = text.parse()?;
            let mut left_out = None;
            for name in [Some(spec.name.as_str()), spec.denominator()].into_iter().flatten() {
                let column = column_named(name)?;
                if !is_at_hand(column) {
                    let several = match column.need {
                        Need::Revenue => currencies > 1,
                        Need::Costs => cost_currencies > 1,
                        _ => false,
                    };
                    left_out = Some(if several {
                        "amounts are in several currencies, which are not added up"
                    } else {
                        "the logs at hand do not tell it"
                    });
                }
            }
            if let Some(why) = left_out {
                notes.push(format!("{text} is left out: {why}"));
                continue;
            }
            let by_column = column_named(&spec.name)?.kind;
            let kind = match &spec.form {
                MetricForm::Ratio { .. } => MetricKind::Ratio,
                MetricForm::Quantile { .. } => MetricKind::Quantile,
                MetricForm::Proportion if by_column == MetricKind::Mean => {
                    return Err(EngineError::usage(format!("metric \"{text}\" is no proportion: use {}", spec.name)));
                }
                MetricForm::ByValues | MetricForm::Proportion => by_column,
                _ => MetricKind::Mean,
            };
            let alarms = match guardrails {
                Some(named) => named.contains(text),
                // Less of these is better: they can alarm, they cannot win.
                None => lower_is_better(&spec),
            };
            let role = if alarms {
                MetricRole::Guardrail
            } else if metrics.iter().all(|metric| metric.role != MetricRole::Primary) {
                MetricRole::Primary
            } else {
                MetricRole::Secondary
            };
            metrics.push(StoreMetric { spec, kind, role });
        }
        Ok((metrics, METRICS.iter().filter(|column| is_at_hand(column)).collect()))
    }
}
