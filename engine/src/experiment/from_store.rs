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
use std::collections::BTreeMap;

use super::analysis::{ExperimentAnalysis, analyze};
use super::checks::{Check, Verdict};
use super::on_delivered::SHARE_OF_DELIVERY;
use super::options::{AnalysisOptions, MetricKind};
use super::sample::{ExperimentSample, MetricRole, MetricSample, add_statistics, statistic_sql};
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
    /// `assignments`, `sends` (by `experiment_id`) or `campaign` (a campaign whose sends carry variants).
    pub source: &'static str,
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
    })
}

/// Analyses an experiment of the store with sensible defaults, which the analysis names in its notes.
///
/// # Errors
/// When the store has no such experiment, or a segment column does not exist.
pub async fn analyze_store(session: &QuerySession, id: &str, options: &AnalysisOptions) -> Result<ExperimentAnalysis> {
    let name = format!(
        "{} {} experiment by delivery {id:?} {:?} {:?}",
        env!("CARGO_PKG_VERSION"),
        session.settings.fingerprint(),
        options.metrics,
        options.segments
    );
    let mut sample = if let Some(sample) = session.kept_for(&name).await {
        sample
    } else {
        let sample = sample_of(session, id, options).await?;
        let statistics: usize = sample.metrics.iter().map(|metric| metric.segments.len()).sum();
        if statistics <= MOST_KEPT_STATISTICS {
            session.keep(&name, &sample).await;
        }
        sample
    };
    let control = sample.control(options.control.as_deref())?;
    if options.control.is_none() {
        sample.notes.push(format!("no control was named: {control} is taken for it"));
    }
    analyze(sample, options)
}

/// The sufficient statistics of an experiment, counted.
async fn sample_of(session: &QuerySession, id: &str, options: &AnalysisOptions) -> Result<ExperimentSample> {
    let Some(source) = source_of(session, id).await? else {
        let known = list_experiments(session).await?;
        let ids: Vec<&str> = known.iter().map(|summary| summary.experiment_id.as_str()).collect();
        let hint = if ids.is_empty() {
            "the logs hold none: sends need variants, or ingest an assignments log".to_owned()
        } else {
            format!("there are {}", ids.join(", "))
        };
        return Err(EngineError::NotFound(format!("there is no experiment \"{id}\"; {hint}")));
    };
    let grouping = Grouping::resolve(session, &options.segments, "UTC").await?.with_history(session).await?;
    let at_hand = LogsAtHand::of(session).await?;
    StoreExperiment { session, id, source, grouping, at_hand }.sample(options).await
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
    id: &'a str,
    source: &'static str,
    grouping: Grouping,
    at_hand: LogsAtHand,
}

/// A metric of the store: its name, kind, role and column in the units query.
struct StoreMetric {
    name: &'static str,
    kind: MetricKind,
    role: MetricRole,
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
        let metrics = self.metrics(&options.metrics, &mut sample.notes).await?;
        let names = |role: Option<MetricRole>| {
            let of_role = metrics.iter().filter(|metric| role.is_none_or(|role| metric.role == role));
            of_role.map(|metric| metric.name).collect::<Vec<_>>().join(", ")
        };
        let guardrails = names(Some(MetricRole::Guardrail));
        let guardrails = if guardrails.is_empty() { guardrails } else { format!("; guardrails {guardrails}") };
        sample.notes.push(format!(
            "metrics {}; decided by {}{guardrails}; window {} days",
            names(None),
            metrics.iter().find(|metric| metric.role == MetricRole::Primary).map_or("none", |metric| metric.name),
            self.session.settings.attribution.window_days
        ));
        let units = self.session.sql(&self.units_query(&metrics)).await?.cache().await?;
        let context = self.session.context();
        // One analysis at a time reads this name; a table of another analysis must not be in the way.
        let table = format!("units_{}", uuid::Uuid::new_v4().simple());
        context.register_table(table.as_str(), units.into_view())?;
        let read = self.read(&table, &metrics, options, &mut sample).await;
        context.deregister_table(table.as_str())?;
        read?;
        Ok(sample)
    }

    /// The metrics to analyse: those asked for, else click, conversion, revenue and the guardrail `opt_out`. The first is
    /// the primary one.
    async fn metrics(&self, wanted: &[String], notes: &mut Vec<String>) -> Result<Vec<StoreMetric>> {
        let currencies = self.count_rows("SELECT DISTINCT currency FROM conversions WHERE value IS NOT NULL").await?;
        let cost_currencies =
            self.count_rows("SELECT DISTINCT currency FROM message_facts WHERE cost IS NOT NULL").await?;
        let available: Vec<(&'static str, MetricKind, bool)> = vec![
            ("click", MetricKind::Proportion, self.at_hand.clicks),
            ("conversion", MetricKind::Proportion, self.at_hand.conversions),
            ("revenue", MetricKind::Mean, self.at_hand.conversions && currencies == 1),
            ("delivery", MetricKind::Proportion, self.at_hand.deliveries),
            ("reply", MetricKind::Proportion, self.at_hand.replies),
            ("cost", MetricKind::Mean, cost_currencies == 1),
            ("opt_out", MetricKind::Proportion, self.at_hand.opt_outs),
        ];
        let names: Vec<String> =
            if wanted.is_empty() { DEFAULT_METRICS.map(str::to_owned).into() } else { wanted.to_vec() };
        let mut metrics: Vec<StoreMetric> = Vec::new();
        for name in &names {
            let Some((name, kind, at_hand)) = available.iter().find(|(known, _, _)| known == name) else {
                let known: Vec<&str> = available.iter().map(|(known, _, _)| *known).collect();
                return Err(EngineError::usage(format!(
                    "the store knows no metric \"{name}\"; it knows {}",
                    known.join(", ")
                )));
            };
            if !at_hand {
                let several = (*name == "revenue" && currencies > 1) || (*name == "cost" && cost_currencies > 1);
                let why = if several {
                    "amounts are in several currencies, which are not added up"
                } else {
                    "the logs at hand do not tell it"
                };
                notes.push(format!("{name} is left out: {why}"));
                continue;
            }
            // Less of these is better: they can alarm, they cannot win.
            let role = if matches!(*name, "opt_out" | "cost") {
                MetricRole::Guardrail
            } else if metrics.is_empty() {
                MetricRole::Primary
            } else {
                MetricRole::Secondary
            };
            metrics.push(StoreMetric { name, kind: *kind, role });
        }
        Ok(metrics)
    }

    async fn count_rows(&self, query: &str) -> Result<usize> {
        Ok(self.session.collect(query).await?.iter().map(RecordBatch::num_rows).sum())
    }

    /// One row a unit: `arm`, `arms` (how many it was seen in: none, one, or 2 for several), `apart`, `stage_sent`, `stage_delivered`, `last_sent`,
    /// `m_NAME` for each metric, and `k0`… for the segments.
    fn units_query(&self, metrics: &[StoreMetric]) -> String {
        let id = text_literal(self.id);
        let window = self.session.settings.attribution.window_microseconds();
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
                "messages AS (SELECT f.*{key_columns} FROM message_facts AS f{} WHERE {belongs} = {id} AND f.recipient_id IS NOT NULL)",
                self.grouping.join()
            ),
            format!(
                "sent AS (SELECT recipient_id, min(variant) AS variant, {variants} AS variants,\n  \
                 max(sent_at) AS last_sent, max(CASE WHEN delivery = 'delivered' THEN 1 ELSE 0 END) AS delivered,\n  \
                 max(CASE WHEN clicks > 0 THEN 1 ELSE 0 END) AS click, max(CASE WHEN replies > 0 THEN 1 ELSE 0 END) AS reply,\n  \
                 max(opt_outs) AS opt_out, arrow_cast(sum(cost), 'Float64') AS cost{of_first_send} FROM messages GROUP BY recipient_id)",
                variants = none_one_or_several("variant"),
            ),
        ];
        if self.at_hand.conversions {
            with.push(self.outcomes(window));
        }
        let from_assignments = self.source == "assignments";
        let (columns, from) = if from_assignments {
            with.push(format!(
                "assigned AS (SELECT recipient_id, min(arm) AS arm, {arms} AS arms, bool_or(coalesce(is_holdout, FALSE)) AS apart,\n  \
                 avg(propensity) AS propensity FROM assignments WHERE experiment_id = {id} GROUP BY recipient_id)",
                arms = none_one_or_several("arm"),
            ));
            (
                "a.recipient_id, a.arm, a.arms, a.apart, a.propensity",
                "assigned AS a LEFT JOIN sent AS s ON s.recipient_id = a.recipient_id",
            )
        } else {
            (
                "s.recipient_id, s.variant AS arm, s.variants AS arms, FALSE AS apart, arrow_cast(NULL, 'Float64') AS propensity",
                "sent AS s",
            )
        };
        let unit = if from_assignments { "a.recipient_id" } else { "s.recipient_id" };
        let outcomes = if self.at_hand.conversions {
            format!(" LEFT JOIN outcomes AS o ON o.recipient_id = {unit}")
        } else {
            String::new()
        };
        let values: String = metrics
            .iter()
            .map(|metric| {
                let value = match metric.name {
                    "conversion" => "CASE WHEN o.conversions > 0 THEN 1 ELSE 0 END",
                    "revenue" => "o.revenue",
                    "delivery" => "s.delivered",
                    "click" => "s.click",
                    "reply" => "s.reply",
                    "cost" => "s.cost",
                    _ => "s.opt_out",
                };
                format!(", arrow_cast(coalesce({value}, 0), 'Float64') AS m_{}", metric.name)
            })
            .collect();
        format!(
            "WITH {}\nSELECT {columns}, CASE WHEN s.recipient_id IS NULL THEN 0 ELSE 1 END AS stage_sent, coalesce(s.delivered, 0) AS stage_delivered, s.last_sent{values}{}\nFROM {from}{outcomes}",
            with.join(",\n"),
            first_keys("s."),
        )
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
                text_literal(self.id),
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
        options: &AnalysisOptions,
        sample: &mut ExperimentSample,
    ) -> Result<()> {
        self.read_arms(table, sample).await?;
        let counted = format!("{table} WHERE arms = 1 AND NOT apart AND arm IS NOT NULL");
        sample
            .metrics
            .extend(metrics.iter().map(|metric| MetricSample::new(metric.name.to_owned(), metric.kind, metric.role)));
        let statistics: String =
            metrics.iter().map(|metric| format!(", {}", statistic_sql(&format!("m_{}", metric.name)))).collect();
        let overall = format!("SELECT arm{statistics} FROM {counted} GROUP BY arm");
        add_statistics(&mut sample.metrics, &self.session.collect(&overall).await?, None)?;
        for (name, key) in options.segments.iter().zip(self.grouping.keys()) {
            let by_segment = format!("SELECT arm, {key}{statistics} FROM {counted} GROUP BY arm, {key}");
            add_statistics(&mut sample.metrics, &self.session.collect(&by_segment).await?, Some(name))?;
        }
        if self.at_hand.deliveries && delivery_differs(sample) {
            let reached = "CASE WHEN stage_delivered > 0 THEN 'yes' ELSE 'no' END";
            let by_delivery = format!("SELECT arm, {reached}{statistics} FROM {counted} GROUP BY arm, {reached}");
            let mut found: Vec<MetricSample> = metrics
                .iter()
                .map(|metric| MetricSample::new(metric.name.to_owned(), metric.kind, metric.role))
                .collect();
            add_statistics(&mut found, &self.session.collect(&by_delivery).await?, Some("reached"))?;
            for (metric, mut found) in sample.metrics.iter_mut().zip(found) {
                let mut group = |value: &str| found.segments.remove(&("reached".to_owned(), Some(value.to_owned())));
                metric.delivered = group("yes").unwrap_or_default();
                metric.undelivered = group("no").unwrap_or_default();
            }
        }
        Ok(())
    }

    async fn read_arms(&self, table: &str, sample: &mut ExperimentSample) -> Result<()> {
        let open_after = self.session.as_of.as_microsecond() - self.session.settings.attribution.window_microseconds();
        let query = format!(
            "SELECT arm, apart, count(*), sum(stage_sent), sum(stage_delivered), avg(propensity), \
             count(*) FILTER (WHERE arrow_cast(last_sent, 'Int64') > {open_after}) \
             FROM {table} WHERE arms = 1 AND arm IS NOT NULL GROUP BY arm, apart ORDER BY arm"
        );
        let (mut sent, mut delivered) = (BTreeMap::new(), BTreeMap::new());
        let (mut units, mut open) = (0, 0);
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
