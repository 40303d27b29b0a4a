//! Experiments from the store: units and arms from the assignments log, or from the variants of the sends.
//!
//! Every metric is per assigned recipient. Click, delivery, reply, opt-out and cost are those of the experiment's messages.
//! A conversion counts, whatever message it is credited to, if it happened within the window after any of the experiment's
//! messages to that recipient (or names one of them): credit is not cause, and a later campaign must not take away what
//! an arm achieved. Recipients who were assigned and never sent to count in the window after the experiment's first send.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

use super::analysis::{ExperimentAnalysis, analyze};
use super::checks::{Check, Verdict};
use super::covariates::{CovariateColumn, read_covariates};
use super::definition::{ExperimentDefinition, lower_is_better};
use super::incrementality::HeldOutMetric;
use super::metric::{MetricForm, MetricKind, MetricSpec};
use super::on_delivered::SHARE_OF_DELIVERY;
use super::options::AnalysisOptions;
use super::sample::{ExperimentSample, MetricRole, MetricSample};
use super::statistic::ArmStatistic;
use super::unit_columns::{MetricColumns, UnitColumns, count_at, number_at};
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::query::{QuerySession, text_literal};
use crate::report::{Grouping, LogsAtHand};

/// The metrics of an analysis for which none are named.
const DEFAULT_METRICS: [&str; 4] = ["click", "conversion", "revenue", "opt_out"];

/// Segments of all metrics whose statistics are kept at most.
const MOST_KEPT_STATISTICS: usize = 100_000;

/// One experiment that the store knows of.
#[derive(Debug, Clone, Serialize)]
pub struct ExperimentSummary {
    /// Its id: that of the assignments or sends, or the campaign whose sends carry variants.
    pub experiment_id: String,
    /// Its arms.
    pub arms: Vec<String>,
    /// Recipients assigned, or sent to where there are no assignments.
    pub units: u64,
    /// When its first message was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_sent_at: Option<Timestamp>,
    /// `assignments`, `sends` (by `experiment_id`), `campaign` (a campaign whose sends carry variants), or `definition` where
    /// there is nothing else yet.
    pub source: &'static str,
    /// Whether it has a definition, which the analysis goes by.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_defined: bool,
}

/// How many values a column has in a group: none, one, or 2 for several. A set of the values for each of millions of groups
/// would not fit into memory.
fn none_one_or_several(column: &str) -> String {
    format!("CASE WHEN min({column}) IS NULL THEN 0 WHEN min({column}) = max({column}) THEN 1 ELSE 2 END")
}

/// The experiments that the logs hold: those of the assignments and the sends, and campaigns with several variants that
/// belong to none.
///
/// # Errors
/// When a query fails.
pub async fn list_experiments(session: &QuerySession) -> Result<Vec<ExperimentSummary>> {
    let assigned = "SELECT experiment_id, array_to_string(array_sort(array_agg(DISTINCT arm)), '\u{1f}'), count(DISTINCT recipient_id), \
                    (SELECT min(f.sent_at) FROM message_facts AS f WHERE f.experiment_id = a.experiment_id) \
                    FROM assignments AS a GROUP BY experiment_id ORDER BY experiment_id";
    let sent = "SELECT experiment_id, array_to_string(array_sort(array_agg(DISTINCT variant)), '\u{1f}'), count(DISTINCT recipient_id), min(sent_at) \
                FROM message_facts WHERE experiment_id IS NOT NULL AND variant IS NOT NULL GROUP BY experiment_id ORDER BY experiment_id";
    let campaigns = "SELECT campaign_id, array_to_string(array_sort(array_agg(DISTINCT variant)), '\u{1f}'), count(DISTINCT recipient_id), min(sent_at) \
                     FROM message_facts WHERE variant IS NOT NULL AND experiment_id IS NULL GROUP BY campaign_id \
                     HAVING count(DISTINCT variant) > 1 ORDER BY campaign_id";
    let mut found: Vec<ExperimentSummary> = Vec::new();
    for (source, query) in [("assignments", assigned), ("sends", sent), ("campaign", campaigns)] {
        for batch in session.collect(query).await? {
            for row in 0..batch.num_rows() {
                let summary = read_summary(&batch, row, source)?;
                if !found.iter().any(|known| known.experiment_id == summary.experiment_id) {
                    found.push(summary);
                }
            }
        }
    }
    if let Some(store) = &session.store {
        for definition in ExperimentDefinition::all(store).await? {
            let campaign = definition.campaign.as_deref();
            let of_campaign = found.iter().find(|known| Some(known.experiment_id.as_str()) == campaign).cloned();
            match (found.iter_mut().find(|known| known.experiment_id == definition.name), of_campaign) {
                (Some(known), _) => known.is_defined = true,
                (None, Some(campaign)) => {
                    found.push(ExperimentSummary { experiment_id: definition.name, is_defined: true, ..campaign });
                }
                (None, None) => found.push(ExperimentSummary {
                    experiment_id: definition.name,
                    arms: Vec::new(),
                    units: 0,
                    first_sent_at: None,
                    source: "definition",
                    is_defined: true,
                }),
            }
        }
    }
    Ok(found)
}

fn read_summary(batch: &RecordBatch, row: usize, source: &'static str) -> Result<ExperimentSummary> {
    let text = |column: usize| crate::report::cell_text(batch, column, row);
    let first = batch.column(3).as_primitive::<TimestampMicrosecondType>();
    Ok(ExperimentSummary {
        experiment_id: text(0)?.unwrap_or_default(),
        arms: text(1)?.unwrap_or_default().split('\u{1f}').filter(|arm| !arm.is_empty()).map(str::to_owned).collect(),
        units: batch.column(2).as_primitive::<Int64Type>().value(row).unsigned_abs(),
        first_sent_at: if first.is_null(row) { None } else { Timestamp::from_microsecond(first.value(row)).ok() },
        source,
        is_defined: false,
    })
}

/// Analyses an experiment of the store by its definition, else with sensible defaults, which the analysis names in its
/// notes. What is asked for is laid over the definition.
///
/// # Errors
/// When the store has no such experiment, or a segment column does not exist.
pub async fn analyze_store(session: &QuerySession, id: &str, asked: &AnalysisOptions) -> Result<ExperimentAnalysis> {
    let definition = match &session.store {
        Some(store) => ExperimentDefinition::of(store, id).await?,
        None => None,
    };
    let definition = definition.as_ref();
    let laid_over = definition.map(|definition| definition.under(asked));
    let options = laid_over.as_ref().unwrap_or(asked);
    let name = format!(
        "{} {} experiment with holdout {id:?} {:?} {:?} {:?} {:?} {:?}",
        env!("CARGO_PKG_VERSION"),
        session.settings.fingerprint(),
        (&options.metrics, &options.guardrails),
        options.segments,
        options.strata,
        (&options.covariates, options.path.is_some(), options.search),
        definition.map(|defined| (&defined.campaign, &defined.filter, defined.window_days)),
    );
    let mut sample = if let Some(sample) = session.kept_for(&name).await {
        sample
    } else {
        let sample = sample_of(session, id, options, definition).await?;
        let statistics: usize = sample.metrics.iter().map(|metric| metric.segments.len() + metric.strata.len()).sum();
        if statistics <= MOST_KEPT_STATISTICS && sample.metrics.iter().all(MetricSample::can_be_kept) {
            session.keep(&name, &sample).await;
        }
        sample
    };
    if sample.arms.is_empty() {
        return Err(EngineError::NotFound(format!(
            "the experiment \"{id}\" has no messages with a variant and no assignments yet"
        )));
    }
    let control = sample.control(options.control.as_deref())?;
    if options.control.is_none() {
        sample.notes.push(format!("no control was named: {control} is taken for it"));
    }
    analyze(sample, options)
}

/// The sufficient statistics of an experiment, counted.
async fn sample_of(
    session: &QuerySession,
    id: &str,
    options: &AnalysisOptions,
    definition: Option<&ExperimentDefinition>,
) -> Result<ExperimentSample> {
    let campaign = definition.and_then(|definition| definition.campaign.as_deref());
    let source = match campaign {
        Some(_) => Some("campaign"),
        None => source_of(session, id).await?,
    };
    let Some(source) = source else {
        let known = list_experiments(session).await?;
        let ids: Vec<&str> = known.iter().map(|summary| summary.experiment_id.as_str()).collect();
        let hint = if ids.is_empty() {
            "the logs hold none: sends need variants, or ingest an assignments log".to_owned()
        } else {
            format!("there are {}", ids.join(", "))
        };
        return Err(EngineError::NotFound(format!("there is no experiment \"{id}\"; {hint}")));
    };
    if let Some(other) = options.covariates.iter().find(|name| *name != PRE_PERIOD) {
        return Err(EngineError::usage(format!(
            "covariate \"{other}\": of an experiment of the store the covariates are made of the {DAYS_BEFORE} days before \
             it; write {PRE_PERIOD} to have the decision rest on them, or --post-stratify for a column of the contacts"
        )));
    }
    if options.randomised_by.is_some() {
        return Err(EngineError::usage(
            "recipients are what the store's experiments randomise: --randomised-by is for a table of units",
        ));
    }
    // The strata are one more key, the last.
    let by: Vec<String> = options.segments.iter().chain(&options.strata).cloned().collect();
    let grouping = Grouping::resolve(session, &by, "UTC").await?.with_history(session).await?;
    let at_hand = LogsAtHand::of(session).await?;
    let filter = definition.and_then(|definition| definition.filter.as_deref());
    if let Some(filter) = filter {
        let probe = format!("SELECT 1 FROM message_facts AS f WHERE ({filter}) LIMIT 1");
        session.sql(&probe).await.map_err(|error| {
            EngineError::usage(format!(
                "the filter of the experiment, \"{filter}\": {error}; its columns are those of message_facts"
            ))
        })?;
    }
    let window_days = definition.and_then(|definition| definition.window_days);
    let window_days = window_days.unwrap_or(session.settings.attribution.window_days);
    let key = campaign.unwrap_or(id);
    StoreExperiment { session, id, key, filter, window_days, source, grouping, at_hand }.sample(options).await
}

/// Where an experiment comes from, by the rules of [`list_experiments`], without counting any.
async fn source_of(session: &QuerySession, id: &str) -> Result<Option<&'static str>> {
    let id = text_literal(id);
    let assigned = format!("SELECT 1 FROM assignments WHERE experiment_id = {id} LIMIT 1");
    let sent = format!("SELECT 1 FROM message_facts WHERE experiment_id = {id} AND variant IS NOT NULL LIMIT 1");
    let campaign = format!(
        "SELECT 1 FROM (SELECT min(variant) AS first, max(variant) AS last FROM message_facts \
         WHERE campaign_id = {id} AND experiment_id IS NULL) WHERE first < last"
    );
    for (source, query) in [("assignments", assigned), ("sends", sent), ("campaign", campaign)] {
        if session.collect(&query).await?.iter().any(|batch| batch.num_rows() > 0) {
            return Ok(Some(source));
        }
    }
    Ok(None)
}

struct StoreExperiment<'a> {
    session: &'a QuerySession,
    /// What it is called.
    id: &'a str,
    /// The experiment or the campaign of its messages.
    key: &'a str,
    /// A condition on its messages.
    filter: Option<&'a str>,
    /// Days within which a conversion counts.
    window_days: u32,
    source: &'static str,
    grouping: Grouping,
    at_hand: LogsAtHand,
}

/// A metric of the store.
struct StoreMetric {
    spec: MetricSpec,
    kind: MetricKind,
    role: MetricRole,
}

/// The metrics that the store can tell of each recipient.
pub(crate) const METRICS: [&str; 10] =
    ["click", "conversion", "revenue", "delivery", "reply", "cost", "opt_out", "clicks", "conversions", "messages"];

/// Days before an experiment in which the same metric is looked at.
const DAYS_BEFORE: i64 = 28;
/// Reasons for which a click is surely a machine's; with any other it is probably one.
const CERTAIN_MACHINES: [&str; 2] = ["preview user agent", "HEAD request"];
/// What an analyst calls the covariates that the store makes of the time before.
pub const PRE_PERIOD: &str = "pre_period";

/// A column of the units: its name, the SQL of its value, that of the same before the experiment, and whether the logs at
/// hand tell it.
struct StoreColumn {
    name: &'static str,
    value: &'static str,
    before: Option<&'static str>,
    kind: MetricKind,
    at_hand: bool,
}

impl StoreExperiment<'_> {
    async fn sample(&self, options: &AnalysisOptions) -> Result<ExperimentSample> {
        let mut sample = ExperimentSample {
            experiment: self.id.to_owned(),
            unit: "recipient".to_owned(),
            kind: "store".into(),
            versions: self.session.versions.clone(),
            ..ExperimentSample::default()
        };
        let (metrics, available) =
            self.metrics(&options.metrics, options.guardrails.as_deref(), &mut sample.notes).await?;
        let names = |role: Option<MetricRole>| {
            let of_role = metrics.iter().filter(|metric| role.is_none_or(|role| metric.role == role));
            of_role.map(|metric| metric.spec.to_string()).collect::<Vec<_>>().join(", ")
        };
        let guardrails = names(Some(MetricRole::Guardrail));
        let guardrails = if guardrails.is_empty() { guardrails } else { format!("; guardrails {guardrails}") };
        sample.notes.push(format!(
            "metrics {}; decided by {}{guardrails}; window {} days",
            names(None),
            metrics
                .iter()
                .find(|metric| metric.role == MetricRole::Primary)
                .map_or("none", |metric| metric.spec.name.as_str()),
            self.window_days
        ));
        let begins_at = self.begins_at().await?;
        let units = self.session.sql(&self.units_query(&available, begins_at)).await?.cache().await?;
        let context = self.session.context();
        // One analysis at a time reads this name; a table of another analysis must not be in the way.
        let table = format!("units_{}", uuid::Uuid::new_v4().simple());
        context.register_table(table.as_str(), units.into_view())?;
        let read = self.read(&table, &metrics, &available, options, &mut sample).await;
        context.deregister_table(table.as_str())?;
        read?;
        Ok(sample)
    }

    /// What the store knows of each unit.
    fn columns(&self, currencies: usize, cost_currencies: usize) -> Vec<StoreColumn> {
        let column = |name, kind, value, before, at_hand| StoreColumn { name, value, before, kind, at_hand };
        let (share, number) = (MetricKind::Proportion, MetricKind::Mean);
        let (goals, clicks) = (self.at_hand.conversions, self.at_hand.clicks);
        vec![
            column("click", share, "s.click", Some("b.clicks"), clicks),
            column("conversion", share, "CASE WHEN o.conversions > 0 THEN 1 ELSE 0 END", Some("g.conversions"), goals),
            column("revenue", number, "o.revenue", Some("g.revenue"), goals && currencies == 1),
            column("delivery", share, "s.delivered", Some("b.delivered"), self.at_hand.deliveries),
            column("reply", share, "s.reply", None, self.at_hand.replies),
            column("cost", number, "s.cost", None, cost_currencies == 1),
            column("opt_out", share, "s.opt_out", None, self.at_hand.opt_outs),
            column("clicks", number, "s.clicks", Some("b.clicks"), clicks),
            column("conversions", number, "o.conversions", Some("g.conversions"), goals),
            column("messages", number, "s.messages", Some("b.messages"), true),
        ]
    }

    /// The metrics to analyse: those asked for, else click, conversion, revenue and the guardrail `opt_out`. The first is
    /// the primary one.
    async fn metrics(
        &self,
        wanted: &[String],
        guardrails: Option<&[String]>,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<StoreMetric>, Vec<StoreColumn>)> {
        let currencies = self.count_rows("SELECT DISTINCT currency FROM conversions WHERE value IS NOT NULL").await?;
        let cost_currencies =
            self.count_rows("SELECT DISTINCT currency FROM message_facts WHERE cost IS NOT NULL").await?;
        let available = self.columns(currencies, cost_currencies);
        let names: Vec<String> =
            if wanted.is_empty() { DEFAULT_METRICS.map(str::to_owned).into() } else { wanted.to_vec() };
        let mut metrics: Vec<StoreMetric> = Vec::new();
        for text in &names {
            let spec: MetricSpec = text.parse()?;
            let mut left_out = None;
            for name in [Some(spec.name.as_str()), spec.denominator()].into_iter().flatten() {
                let Some(column) = available.iter().find(|column| column.name == name) else {
                    let known: Vec<&str> = available.iter().map(|column| column.name).collect();
                    return Err(EngineError::usage(format!(
                        "the store knows no metric \"{name}\"; it knows {}",
                        known.join(", ")
                    )));
                };
                if !column.at_hand {
                    let several = (name == "revenue" && currencies > 1) || (name == "cost" && cost_currencies > 1);
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
            let by_column = available.iter().find(|column| column.name == spec.name).map(|column| column.kind);
            let kind = match &spec.form {
                MetricForm::Ratio { .. } => MetricKind::Ratio,
                MetricForm::Quantile { .. } => MetricKind::Quantile,
                MetricForm::Proportion if by_column == Some(MetricKind::Mean) => {
                    return Err(EngineError::usage(format!("metric \"{text}\" is no proportion: use {}", spec.name)));
                }
                MetricForm::ByValues | MetricForm::Proportion => by_column.unwrap_or(MetricKind::Mean),
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
        Ok((metrics, available))
    }

    /// The window of conversions in microseconds.
    fn window(&self) -> i64 {
        i64::from(self.window_days) * 86_400_000_000
    }

    async fn count_rows(&self, query: &str) -> Result<usize> {
        Ok(self.session.collect(query).await?.iter().map(RecordBatch::num_rows).sum())
    }

    /// The first assignment or send of the experiment, in microseconds since 1970; none where it has no times.
    async fn begins_at(&self) -> Result<Option<i64>> {
        let id = text_literal(self.key);
        let belongs = if self.source == "campaign" { "campaign_id" } else { "experiment_id" };
        let sent =
            format!("SELECT arrow_cast(min(sent_at), 'Int64') AS moment FROM message_facts WHERE {belongs} = {id}");
        let query = if self.source == "assignments" {
            format!(
                "SELECT min(moment) FROM ({sent} UNION ALL \
                 SELECT arrow_cast(min(assigned_at), 'Int64') FROM assignments WHERE experiment_id = {id})"
            )
        } else {
            sent
        };
        let found = self.session.collect(&query).await?;
        Ok(found.first().and_then(|batch| {
            let moments = batch.column(0).as_primitive::<Int64Type>();
            (batch.num_rows() > 0 && !moments.is_null(0)).then(|| moments.value(0))
        }))
    }

    /// One row a unit: `arm`, `arms` (how many it was seen in: none, one, or 2 for several), `apart`, `stage_sent`,
    /// `stage_delivered`, `last_sent`, `m_NAME` for each column, `x_NAME` for the same before the experiment, the clicks
    /// under other rules for machines (`m_click_all`, `m_click_strict`), and `k0`… for the segments.
    fn units_query(&self, available: &[StoreColumn], begins_at: Option<i64>) -> String {
        let id = text_literal(self.key);
        let window = self.window();
        let filter = self.filter.map(|filter| format!(" AND ({filter})")).unwrap_or_default();
        let belongs = if self.source == "campaign" { "f.campaign_id" } else { "f.experiment_id" };
        let keys = self.grouping.keys();
        let first_keys = |prefix: &str| keys.iter().map(|key| format!(", {prefix}{key}")).collect::<String>();
        let of_first_send: String =
            keys.iter().map(|key| format!(", first_value({key} ORDER BY sent_at, message_id) AS {key}")).collect();
        let key_columns: String = self
            .grouping
            .expressions()
            .iter()
            .zip(&keys)
            .map(|(expression, key)| format!(", {expression} AS {key}"))
            .collect();
        let mut with = vec![
            format!(
                "messages AS (SELECT f.*{key_columns} FROM message_facts AS f{} WHERE {belongs} = {id}{filter} AND f.recipient_id IS NOT NULL)",
                self.grouping.join()
            ),
            format!(
                "sent AS (SELECT recipient_id, min(variant) AS variant, {variants} AS variants,\n  \
                 max(sent_at) AS last_sent, arrow_cast(arrow_cast(min(sent_at), 'Date32'), 'Utf8') AS first_day, max(CASE WHEN delivery = 'delivered' THEN 1 ELSE 0 END) AS delivered,\n  \
                 max(CASE WHEN clicks > 0 THEN 1 ELSE 0 END) AS click, max(CASE WHEN replies > 0 THEN 1 ELSE 0 END) AS reply,\n  \
                 max(CASE WHEN clicks + machine_clicks > 0 THEN 1 ELSE 0 END) AS click_all,\n  \
                 max(CASE WHEN clicks > 0 OR (machine_clicks > 0 AND machine_click_reason NOT IN ({strict})) THEN 1 ELSE 0 END) AS click_strict,\n  \
                 count(*) AS messages, sum(clicks) AS clicks, max(opt_outs) AS opt_out, arrow_cast(sum(cost), 'Float64') AS cost{of_first_send} FROM messages GROUP BY recipient_id)",
                variants = none_one_or_several("variant"),
                strict = CERTAIN_MACHINES.map(text_literal).join(", "),
            ),
        ];
        let before = begins_at.map(|begins_at| self.before(begins_at));
        with.extend(before.iter().flatten().cloned());
        if self.at_hand.conversions {
            with.push(self.outcomes(window));
        }
        let from_assignments = self.source == "assignments";
        let (columns, from) = if from_assignments {
            with.push(format!(
                "assigned AS (SELECT recipient_id, min(arm) AS arm, {arms} AS arms, bool_or(coalesce(is_holdout, FALSE)) AS apart,\n  \
                 arrow_cast(arrow_cast(min(assigned_at), 'Date32'), 'Utf8') AS assigned_day,\n  \
                 avg(propensity) AS propensity FROM assignments WHERE experiment_id = {id} GROUP BY recipient_id)",
                arms = none_one_or_several("arm"),
            ));
            (
                "a.recipient_id, a.arm, a.arms, a.apart, a.propensity, coalesce(s.first_day, a.assigned_day) AS day",
                "assigned AS a LEFT JOIN sent AS s ON s.recipient_id = a.recipient_id",
            )
        } else {
            (
                "s.recipient_id, s.variant AS arm, s.variants AS arms, FALSE AS apart, arrow_cast(NULL, 'Float64') AS propensity, s.first_day AS day",
                "sent AS s",
            )
        };
        let unit = if from_assignments { "a.recipient_id" } else { "s.recipient_id" };
        let outcomes = if self.at_hand.conversions {
            format!(" LEFT JOIN outcomes AS o ON o.recipient_id = {unit}")
        } else {
            String::new()
        };
        let mut joins = outcomes;
        let mut values = String::new();
        for column in available.iter().filter(|column| column.at_hand) {
            values.push_str(&format!(", arrow_cast(coalesce({}, 0), 'Float64') AS m_{}", column.value, column.name));
            if let Some(value) = column.before.filter(|_| before.is_some()) {
                values.push_str(&format!(", arrow_cast(coalesce({value}, 0), 'Float64') AS x_{}", column.name));
            }
        }
        if self.at_hand.clicks {
            for rule in ["click_all", "click_strict"] {
                values.push_str(&format!(", arrow_cast(coalesce(s.{rule}, 0), 'Float64') AS m_{rule}"));
            }
        }
        if before.is_some() {
            joins.push_str(&format!(" LEFT JOIN before_messages AS b ON b.recipient_id = {unit}"));
            if self.at_hand.conversions {
                joins.push_str(&format!(" LEFT JOIN before_goals AS g ON g.recipient_id = {unit}"));
            }
        }
        format!(
            "WITH {}\nSELECT {columns}, CASE WHEN s.recipient_id IS NULL THEN 0 ELSE 1 END AS stage_sent, coalesce(s.delivered, 0) AS stage_delivered, s.last_sent{values}{}\nFROM {from}{joins}",
            with.join(",\n"),
            first_keys("s."),
        )
    }

    /// What the recipients did in the days before the experiment: messages and their clicks, conversions.
    fn before(&self, begins_at: i64) -> Vec<String> {
        let from = begins_at - DAYS_BEFORE * 86_400_000_000;
        let within = |column: &str| {
            format!("arrow_cast({column}, 'Int64') >= {from} AND arrow_cast({column}, 'Int64') < {begins_at}")
        };
        let mut parts = vec![format!(
            "before_messages AS (SELECT recipient_id, count(*) AS messages,\n  \
             sum(CASE WHEN delivery = 'delivered' THEN 1 ELSE 0 END) AS delivered,\n  \
             sum(CASE WHEN arrow_cast(first_click_at, 'Int64') < {begins_at} THEN 1 ELSE 0 END) AS clicks\n  \
             FROM message_facts WHERE {} AND recipient_id IS NOT NULL GROUP BY recipient_id)",
            within("sent_at")
        )];
        if self.at_hand.conversions {
            parts.push(format!(
                "before_goals AS (SELECT recipient_id, count(*) AS conversions, sum(arrow_cast(value, 'Float64')) AS revenue\n  \
                 FROM {} WHERE {} AND {} GROUP BY recipient_id)",
                crate::facts::latest_rows(Log::Conversions, "conversion_id, recipient_id, event, occurred_at, value"),
                crate::facts::counted_events(&self.session.settings),
                within("occurred_at")
            ));
        }
        parts
    }

    /// Conversions of each unit in the windows after its messages, each once, refunds taken back.
    fn outcomes(&self, window: i64) -> String {
        let moment = |column: &str| format!("arrow_cast({column}, 'Int64')");
        let unsent = if self.source == "assignments" {
            format!(
                "\n  UNION SELECT a.recipient_id, g.conversion_id, g.value FROM assignments AS a JOIN goals AS g ON g.recipient_id = a.recipient_id\n  \
                 CROSS JOIN (SELECT min(sent_at) AS opened FROM messages) AS start\n  \
                 WHERE a.experiment_id = {} AND a.recipient_id NOT IN (SELECT recipient_id FROM sent)\n  \
                 AND {happened} >= {opened} AND {happened} - {opened} <= {window}",
                text_literal(self.key),
                happened = moment("g.occurred_at"),
                opened = moment("start.opened"),
            )
        } else {
            String::new()
        };
        format!(
            "goals AS (SELECT conversion_id, recipient_id, message_id, occurred_at, CASE WHEN refunded_at IS NULL THEN arrow_cast(value, 'Float64') ELSE 0 END AS value\n  \
             FROM {goals} WHERE {events}),\n\
             hits AS (SELECT m.recipient_id, g.conversion_id, g.value FROM messages AS m JOIN goals AS g ON g.recipient_id = m.recipient_id\n  \
             WHERE {sent} <= {happened} AND {happened} - {sent} <= {window}\n  \
             UNION SELECT m.recipient_id, g.conversion_id, g.value FROM messages AS m JOIN goals AS g ON g.message_id = m.message_id{unsent}),\n\
             outcomes AS (SELECT recipient_id, count(*) AS conversions, sum(value) AS revenue FROM hits GROUP BY recipient_id)",
            goals = crate::facts::latest_rows(
                Log::Conversions,
                "conversion_id, recipient_id, message_id, event, occurred_at, value, refunded_at"
            ),
            events = crate::facts::counted_events(&self.session.settings),
            sent = moment("m.sent_at"),
            happened = moment("g.occurred_at"),
        )
    }

    async fn read(
        &self,
        table: &str,
        metrics: &[StoreMetric],
        available: &[StoreColumn],
        options: &AnalysisOptions,
        sample: &mut ExperimentSample,
    ) -> Result<()> {
        self.read_arms(table, sample).await?;
        let counted = format!("{table} WHERE arms = 1 AND NOT apart AND arm IS NOT NULL");
        sample.metrics.extend(metrics.iter().map(|metric| {
            let mut sample = MetricSample::new(metric.spec.name.clone(), metric.kind, metric.role);
            sample.detail = metric.spec.detail();
            sample.lower_is_better = lower_is_better(&metric.spec);
            sample
        }));
        let columns = metrics.iter().map(|metric| {
            let denominator = metric.spec.denominator().unwrap_or_default();
            MetricColumns::new(&metric.spec, metric.kind, format!("m_{}", metric.spec.name), format!("m_{denominator}"))
        });
        let mut units =
            UnitColumns { rows: self.session, from: counted.clone(), metrics: columns.collect(), cluster: None };
        let mut keys = self.grouping.keys();
        let stratum = options.strata.as_ref().and_then(|_| keys.pop());
        let segments: Vec<(String, String)> = options.segments.iter().cloned().zip(keys).collect();
        units.read(&mut sample.metrics, &segments).await?;
        if let Some(stratum) = stratum {
            let strata = units.read_by(&sample.metrics, &stratum).await?;
            for (metric, strata) in sample.metrics.iter_mut().zip(strata) {
                metric.strata = strata;
            }
        }
        if options.search {
            units.read_halves(&mut sample.metrics, &segments, "recipient_id").await?;
        }
        if options.path.is_some() {
            units.read_path(&mut sample.metrics, "day").await?;
        }
        self.read_held_out(table, available, sample).await?;
        self.read_clicks(&units, sample).await?;
        self.read_before(&units, available, options, sample).await?;
        if self.at_hand.deliveries && delivery_differs(sample) {
            let reached = "CASE WHEN stage_delivered > 0 THEN 'yes' ELSE 'no' END";
            let by_delivery = units.read_by(&sample.metrics, reached).await?;
            for (metric, mut found) in sample.metrics.iter_mut().zip(by_delivery) {
                if matches!(metric.kind, MetricKind::Proportion | MetricKind::Mean) {
                    let mut group = |value: &str| found.remove(&Some(value.to_owned())).unwrap_or_default();
                    (metric.delivered, metric.undelivered) = (group("yes"), group("no"));
                }
            }
        }
        Ok(())
    }

    /// Conversions and revenue of all who were to get messages and of those held out, with what is credited to the messages.
    async fn read_held_out(&self, table: &str, available: &[StoreColumn], sample: &mut ExperimentSample) -> Result<()> {
        if sample.kept_apart.is_empty() {
            return Ok(());
        }
        let belongs = if self.source == "campaign" { "campaign_id" } else { "experiment_id" };
        for (name, credited) in [("conversions", "conversions"), ("revenue", "revenue")] {
            if !available.iter().any(|column| column.name == name && column.at_hand) {
                continue;
            }
            let query = format!(
                "SELECT apart, count(m_{name}), avg(m_{name}), var_samp(m_{name}) FROM {table} WHERE arms = 1 AND arm IS NOT NULL \
                 GROUP BY apart"
            );
            let empty = || ArmStatistic::empty(MetricKind::Mean);
            let (mut assigned, mut held_out) = (empty(), empty());
            for batch in self.session.collect(&query).await? {
                for row in 0..batch.num_rows() {
                    let number = |column: usize| number_at(&batch, column, row).unwrap_or(0.0);
                    let n = count_at(&batch, 1, row);
                    let found = ArmStatistic::from_aggregate(MetricKind::Mean, n, number(2), number(3))?;
                    if batch.column(0).as_boolean().value(row) { held_out = found } else { assigned = found }
                }
            }
            let credit = format!(
                "SELECT arrow_cast(sum({credited}), 'Float64') FROM message_facts WHERE {belongs} = {}",
                text_literal(self.key)
            );
            let credit = self.session.collect(&credit).await?;
            let attributed = credit.first().and_then(|batch| number_at(batch, 0, 0)).unwrap_or(0.0).to_string();
            sample.held_out.push(HeldOutMetric { name: name.to_owned(), assigned, held_out, attributed });
        }
        Ok(())
    }

    /// The share that clicked under other rules for machines.
    async fn read_clicks(&self, units: &UnitColumns<'_, QuerySession>, sample: &mut ExperimentSample) -> Result<()> {
        let is_click = |metric: &&mut MetricSample| metric.name == "click" && metric.kind == MetricKind::Proportion;
        let Some(metric) = sample.metrics.iter_mut().find(is_click) else { return Ok(()) };
        let rules = [("none", "m_click_all"), ("certain", "m_click_strict")];
        let columns = rules.map(|(_, column)| MetricColumns {
            value: column.to_owned(),
            denominator: None,
            form: MetricForm::Proportion,
            limit: None,
        });
        let mut other =
            UnitColumns { rows: self.session, from: units.from.clone(), metrics: columns.into(), cluster: None };
        let mut found = rules.map(|(rule, _)| MetricSample::new(rule.to_owned(), metric.kind, metric.role));
        other.read(&mut found, &[]).await?;
        metric.other_click_rules = found.map(|sample| (sample.name, sample.overall)).into();
        Ok(())
    }

    /// The same metric in the days before the experiment, as a covariate of each metric that has one which varies.
    async fn read_before(
        &self,
        units: &UnitColumns<'_, QuerySession>,
        available: &[StoreColumn],
        options: &AnalysisOptions,
        sample: &mut ExperimentSample,
    ) -> Result<()> {
        let named = options.covariates.iter().any(|name| name == PRE_PERIOD);
        for (columns, metric) in units.metrics.iter().zip(&mut sample.metrics) {
            let used = [Some(&columns.value), columns.denominator.as_ref()];
            let names = used.into_iter().flatten().filter_map(|column| column.strip_prefix("m_"));
            let mut covariates = Vec::new();
            for name in names {
                let column = format!("x_{name}");
                let known = available.iter().any(|known| known.name == name && known.at_hand && known.before.is_some());
                if !known || !self.has_column(&units.from, &column).await? {
                    continue;
                }
                covariates.push(CovariateColumn { name: format!("{name} before"), column, text: false });
            }
            if covariates.is_empty() {
                continue;
            }
            let alone = UnitColumns {
                rows: self.session,
                from: units.from.clone(),
                metrics: vec![columns.clone()],
                cluster: None,
            };
            let metric = std::slice::from_mut(metric);
            read_covariates(&alone, &sample.arms, &mut sample.checks, metric, &covariates, named).await?;
        }
        Ok(())
    }

    /// Whether a column of the units is there and not zero throughout.
    async fn has_column(&self, from: &str, column: &str) -> Result<bool> {
        let table = from.split(' ').next().unwrap_or_default();
        if self.session.context().table(table).await?.schema().field_with_unqualified_name(column).is_err() {
            return Ok(false);
        }
        let query = format!("SELECT 1 FROM {from} AND {column} <> 0 LIMIT 1");
        Ok(self.count_rows(&query).await? > 0)
    }

    async fn read_arms(&self, table: &str, sample: &mut ExperimentSample) -> Result<()> {
        let open_after = self.session.as_of.as_microsecond() - self.window();
        let query = format!(
            "SELECT arm, apart, count(*), sum(stage_sent), sum(stage_delivered), avg(propensity), \
             count(*) FILTER (WHERE arrow_cast(last_sent, 'Int64') > {open_after}), min(day), max(day) \
             FROM {table} WHERE arms = 1 AND arm IS NOT NULL GROUP BY arm, apart ORDER BY arm"
        );
        let (mut sent, mut delivered) = (BTreeMap::new(), BTreeMap::new());
        let (mut units, mut open) = (0, 0);
        let mut days: BTreeSet<String> = BTreeSet::new();
        for batch in self.session.collect(&query).await? {
            let count =
                |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row).unsigned_abs();
            for row in 0..batch.num_rows() {
                let arm = crate::report::cell_text(&batch, 0, row)?.unwrap_or_default();
                if batch.column(1).as_boolean().value(row) {
                    sample.kept_apart.push((arm, count(2, row)));
                    continue;
                }
                units += count(2, row);
                let (first, last) =
                    (crate::report::cell_text(&batch, 7, row)?, crate::report::cell_text(&batch, 8, row)?);
                days.extend([first, last].into_iter().flatten());
                open += count(6, row);
                sent.insert(arm.clone(), count(3, row));
                delivered.insert(arm.clone(), count(4, row));
                let propensity = batch.column(5).as_primitive::<Float64Type>();
                if !propensity.is_null(row) {
                    sample.allocation.push((arm.clone(), propensity.value(row)));
                }
                sample.arms.push((arm, count(2, row)));
            }
        }
        if let (Some(first), Some(last)) = (days.first(), days.last())
            && let (Ok(first), Ok(last)) = (first.parse::<jiff::civil::Date>(), last.parse::<jiff::civil::Date>())
        {
            sample.days = last.since(first).ok().map(|span| span.get_days().unsigned_abs() + 1);
        }
        if sample.allocation.len() < sample.arms.len() {
            sample.allocation.clear();
        }
        sample.stages.push(("sent".into(), sent));
        if self.at_hand.deliveries {
            sample.stages.push(("delivered".into(), delivered));
        }
        let crossed = self.session.collect(&format!("SELECT count(*) FROM {table} WHERE arms > 1")).await?;
        let crossed = crossed.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0));
        sample.checks.push(Check::new(
            "crossed_units",
            if crossed > 0 { Verdict::Warn } else { Verdict::Ok },
            format!(
                "{crossed} recipients were seen in more than one arm{}",
                if crossed > 0 { " and are left out" } else { "" }
            ),
        ));
        let verdict = if open > 0 { Verdict::Warn } else { Verdict::Ok };
        let detail = if open > 0 {
            format!("the window of {open} of {units} recipients is still open: their conversions are not complete")
        } else {
            "every recipient's window has closed".to_owned()
        };
        sample.checks.push(Check::new("maturity", verdict, detail));
        if !sample.kept_apart.is_empty() {
            let shown: Vec<String> = sample.kept_apart.iter().map(|(arm, n)| format!("{arm} ({n})")).collect();
            sample.notes.push(format!("held out and not compared: {}", shown.join(", ")));
        }
        Ok(())
    }
}

/// Whether some arm was delivered to so much less than another that delivery is what tells them apart.
#[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
fn delivery_differs(sample: &ExperimentSample) -> bool {
    let Some((_, delivered)) = sample.stages.iter().find(|(stage, _)| stage == "delivered") else { return false };
    let arms = sample.arms.iter().filter(|(_, units)| *units > 0);
    let shares = arms.map(|(arm, units)| delivered.get(arm).copied().unwrap_or(0) as f64 / *units as f64);
    let (least, most) =
        shares.fold((f64::INFINITY, 0.0_f64), |(least, most), share| (least.min(share), most.max(share)));
    least < SHARE_OF_DELIVERY * most
}
