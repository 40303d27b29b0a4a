//! Reads the statistics of an experiment from the table of its units.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::draw::{OpenWindows, maturity};
use super::metrics::{StoreColumn, StoreMetric, lower_is_better};
use super::{PRE_PERIOD, StoreExperiment};
use crate::error::Result;
use crate::event::{Log, NO_ATTRIBUTES};
use crate::experiment::checks::{Check, Verdict, sample_ratio_with_holdout};
use crate::experiment::covariates::{CovariateColumn, read_covariates};
use crate::experiment::incrementality::HeldOutMetric;
use crate::experiment::metric::{MetricForm, MetricKind};
use crate::experiment::on_delivered::SHARE_OF_DELIVERY;
use crate::experiment::options::AnalysisOptions;
use crate::experiment::sample::{ExperimentSample, MetricRole, MetricSample};
use crate::experiment::statistic::ArmStatistic;
use crate::experiment::unit_columns::{MetricColumns, UnitColumns, count_at, number_at};
use crate::query::{QuerySession, is_text, quoted};
use crate::report::{cell_number, cell_text, contacts_at};

/// Values of a column of the contacts up to which arms are compared by it: with more it is a name, or a number.
const MOST_VALUES: f64 = 60.0;

impl StoreExperiment<'_> {
    /// Reads the statistics of a table of units.
    pub(super) async fn read(
        &self,
        table: &str,
        begins_at: Option<i64>,
        (metrics, available): (&[StoreMetric], &[&StoreColumn]),
        options: &AnalysisOptions,
        sample: &mut ExperimentSample,
    ) -> Result<()> {
        self.read_arms(table, sample).await?;
        let draw_checks = self.draw_checks(table, sample).await?;
        sample.checks.extend(draw_checks);
        let counted = format!("{table} WHERE arms = 1 AND NOT apart AND arm IS NOT NULL");
        sample.metrics.extend(metrics.iter().map(|metric| {
            let mut sample = MetricSample::new(metric.spec.name.clone(), metric.kind, metric.role);
            sample.detail = metric.spec.detail();
            sample.lower_is_better = lower_is_better(&metric.spec);
            sample
        }));
        decide_by_what_all_can_do(sample);
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
        self.read_contact_columns(&counted, begins_at, sample).await?;
        self.read_days_of_assignment(&counted, sample).await?;
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

    /// How the arms are made up by each column of the contacts that has a few values, as it was before the experiment.
    async fn read_contact_columns(
        &self,
        counted: &str,
        begins_at: Option<i64>,
        sample: &mut ExperimentSample,
    ) -> Result<()> {
        let schema = self.session.schema(Log::Recipients.name()).await?;
        let attributes: Vec<String> = schema
            .fields()
            .iter()
            .filter(|field| is_text(field.data_type()) || field.data_type() == &DataType::Boolean)
            .map(|field| field.name().clone())
            .filter(|name| !NO_ATTRIBUTES.contains(&name.as_str()))
            .collect();
        let Some(begins_at) = begins_at.filter(|_| !attributes.is_empty() && sample.arms.len() > 1) else {
            return Ok(());
        };
        let distinct = attributes.iter().map(|name| format!("approx_distinct({})", quoted(name)));
        let distinct = format!("SELECT {} FROM recipients", distinct.collect::<Vec<_>>().join(", "));
        let distinct = self.session.collect(&distinct).await?;
        let Some(distinct) = distinct.iter().find(|batch| batch.num_rows() > 0) else { return Ok(()) };
        let mut columns = Vec::new();
        for (place, name) in attributes.into_iter().enumerate() {
            let values = cell_number(distinct, place, 0)?.unwrap_or(0.0);
            if (2.0..=MOST_VALUES).contains(&values) {
                columns.push(name);
            }
        }
        if columns.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = columns.iter().map(|name| format!("k.{}", quoted(name))).collect();
        // One pass over the contacts: a row an arm and value of each column; `grouping` is 0 for the column of a row.
        let query = format!(
            "SELECT u.arm, count(*), {}, {} FROM (SELECT recipient_id, arm FROM {counted}) AS u INNER JOIN {} AS k \
             ON k.recipient_id = u.recipient_id GROUP BY GROUPING SETS ({})",
            keys.iter().map(|key| format!("arrow_cast({key}, 'Utf8')")).collect::<Vec<_>>().join(", "),
            keys.iter().map(|key| format!("grouping({key})")).collect::<Vec<_>>().join(", "),
            contacts_at(self.session, &columns, begins_at - 1).await?,
            keys.iter().map(|key| format!("(u.arm, {key})")).collect::<Vec<_>>().join(", "),
        );
        let mut found: Vec<BTreeMap<Option<String>, Vec<u64>>> = vec![BTreeMap::new(); columns.len()];
        for batch in self.session.collect(&query).await? {
            for row in 0..batch.num_rows() {
                let arm = cell_text(&batch, 0, row)?;
                let Some(arm) = sample.arms.iter().position(|(name, _)| Some(name) == arm.as_ref()) else { continue };
                for (place, values) in found.iter_mut().enumerate() {
                    if cell_number(&batch, 2 + columns.len() + place, row)? == Some(0.0) {
                        let value = cell_text(&batch, 2 + place, row)?;
                        values.entry(value).or_insert_with(|| vec![0; sample.arms.len()])[arm] +=
                            count_at(&batch, 1, row);
                    }
                }
            }
        }
        let counts = found.into_iter().map(|values| values.into_values().collect());
        sample.contact_columns = columns.into_iter().zip(counts).collect();
        Ok(())
    }

    /// Conversions and revenue of all who were to get messages and of those held out, with what is credited to the messages.
    async fn read_held_out(
        &self,
        table: &str,
        available: &[&StoreColumn],
        sample: &mut ExperimentSample,
    ) -> Result<()> {
        if sample.kept_apart.is_empty() {
            return Ok(());
        }
        for name in ["conversions", "revenue"] {
            if !available.iter().any(|column| column.name == name) {
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
            let credit =
                format!("SELECT arrow_cast(sum(f.{name}), 'Float64') FROM message_facts AS f WHERE {}", self.belongs());
            let credit = self.session.collect(&credit).await?;
            let attributed = credit.first().and_then(|batch| number_at(batch, 0, 0)).unwrap_or(0.0).to_string();
            let has_other_window = self.window_days != self.session.settings.attribution.window_days;
            let name = name.to_owned();
            sample.held_out.push(HeldOutMetric { name, assigned, held_out, attributed, has_other_window });
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
        available: &[&StoreColumn],
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
                let known = available.iter().any(|known| known.name == name && known.before.is_some());
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
             count(*) FILTER (WHERE arrow_cast(last_sent, 'Int64') > {open_after}), min(day), max(day), \
             count(propensity) = count(*) AND max(propensity) - min(propensity) < 1e-9 \
             FROM {table} WHERE arms = 1 AND arm IS NOT NULL GROUP BY arm, apart ORDER BY arm"
        );
        let (mut sent, mut delivered) = (BTreeMap::new(), BTreeMap::new());
        let mut units = 0;
        let mut open_windows: Vec<OpenWindows> = Vec::new();
        let mut drawn: Vec<(String, u64, Option<f64>)> = Vec::new();
        let mut days: BTreeSet<String> = BTreeSet::new();
        for batch in self.session.collect(&query).await? {
            let count =
                |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row).unsigned_abs();
            for row in 0..batch.num_rows() {
                let arm = crate::report::cell_text(&batch, 0, row)?.unwrap_or_default();
                // Where the probability is the same throughout an arm it is the share that the arm should have.
                let is_share = batch.column(9).as_boolean();
                let share = (is_share.is_valid(row) && is_share.value(row))
                    .then(|| batch.column(5).as_primitive::<Float64Type>().value(row));
                drawn.push((arm.clone(), count(2, row), share));
                if batch.column(1).as_boolean().value(row) {
                    sample.kept_apart.push((arm, count(2, row)));
                    continue;
                }
                units += count(2, row);
                let (first, last) =
                    (crate::report::cell_text(&batch, 7, row)?, crate::report::cell_text(&batch, 8, row)?);
                days.extend([first, last].into_iter().flatten());
                open_windows.push((arm.clone(), count(3, row), count(6, row)));
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
        if !sample.kept_apart.is_empty() {
            sample.checks.extend(sample_ratio_with_holdout(&drawn)?);
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
        sample.checks.push(maturity(&open_windows, units)?);
        if !sample.kept_apart.is_empty() {
            let shown: Vec<String> = sample.kept_apart.iter().map(|(arm, n)| format!("{arm} ({n})")).collect();
            sample.notes.push(format!("held out and not compared: {}", shown.join(", ")));
        }
        Ok(())
    }
}

/// Where an arm was sent nothing at all, nobody in it can click or answer: what decides is the first metric that takes no
/// message.
fn decide_by_what_all_can_do(sample: &mut ExperimentSample) {
    let Some((_, sent)) = sample.stages.iter().find(|(stage, _)| stage == "sent") else { return };
    let is_sent_to = |arm: &String| sent.get(arm).is_some_and(|sent| *sent > 0);
    let Some((unsent, _)) = sample.arms.iter().find(|(arm, _)| !is_sent_to(arm)) else { return };
    if !sample.arms.iter().any(|(arm, _)| is_sent_to(arm)) {
        return;
    }
    let takes_a_message = |metric: &MetricSample| {
        let of_denominator = metric.kind == MetricKind::Ratio;
        of_denominator || matches!(metric.name.as_str(), "click" | "clicks" | "reply" | "delivery" | "messages")
    };
    let primary = sample.metrics.iter().position(|metric| metric.role == MetricRole::Primary);
    let Some(primary) = primary.filter(|place| takes_a_message(&sample.metrics[*place])) else { return };
    let other =
        sample.metrics.iter().position(|metric| metric.role == MetricRole::Secondary && !takes_a_message(metric));
    let name = sample.metrics[primary].name.clone();
    sample.metrics[primary].role = MetricRole::Secondary;
    if let Some(other) = other {
        sample.metrics[other].role = MetricRole::Primary;
    }
    sample.notes.push(format!(
        "{unsent} was sent nothing, and {name} takes a message: it cannot decide{}",
        if other.is_some() { "" } else { "; name a metric that does not, such as conversion" }
    ));
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
