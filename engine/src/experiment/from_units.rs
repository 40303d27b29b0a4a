//! Experiments from a table with one row a unit: the columns say the arm, the metrics and the segments.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext, col};

use super::analysis::{ExperimentAnalysis, analyze};
use super::checks::{Check, Verdict};
use super::covariates::{CovariateColumn, read_covariates};
use super::metric::{MetricForm, MetricKind, MetricSpec};
use super::options::AnalysisOptions;
use super::sample::{ExperimentSample, MetricRole, MetricSample};
use super::unit_columns::{MetricColumns, Rows as _, UnitColumns};
use crate::error::{EngineError, Result};
use crate::facts::{IdsSeen, look_through_ids};
use crate::ingest::input::Input;
use crate::query::{has_column, is_cheap_to_read, is_text, new_context, quoted, unit_table};

/// A unit table and which of its columns are what.
#[derive(Debug, Clone)]
pub struct UnitRequest {
    /// The file, in any format that an ingest reads.
    pub input: Input,
    /// The column that says each unit's arm.
    pub arm: String,
    /// The metrics, the first of which decides.
    pub metrics: Vec<MetricSpec>,
    /// The column that names the unit; each row is one if it is not given.
    pub unit: Option<String>,
    /// A condition in SQL on the file's columns; only rows that fulfil it are analysed.
    pub filter: Option<String>,
}

/// Analyses a unit table.
///
/// # Errors
/// When the file cannot be read, a column is missing or is no number, or the condition is no valid SQL.
pub async fn analyze_units(request: &UnitRequest, options: &AnalysisOptions) -> Result<ExperimentAnalysis> {
    let table = UnitTable::open(request, options).await?;
    let sample = table.sample(request, options).await?;
    analyze(sample, options)
}

/// The columns that the analysis needs under plain names: `arm`, `m0`… with the denominators `d0`…, the segments `s0`…, the
/// covariates `x0`…, `stratum`, `cluster`, `day`, and `unit` where some have several rows. Held in memory, unless the file is
/// one of columns: that is read again by each query, which takes less time than to fill so much memory, and works for a file
/// larger than it.
struct UnitTable {
    context: SessionContext,
    has_repeated_units: bool,
    rows_without_unit: u64,
}

impl UnitTable {
    async fn open(request: &UnitRequest, options: &AnalysisOptions) -> Result<Self> {
        let input = request.input.clone();
        let names: Vec<String> = std::iter::once(&request.arm)
            .chain(&request.unit)
            .chain(&options.segments)
            .chain(&options.strata)
            .chain(&options.randomised_by)
            .cloned()
            .collect();
        let table = tokio::task::spawn_blocking(move || unit_table(&input, &names)).await??;
        let is_held = !is_cheap_to_read(table.as_ref());
        let held = async |frame: DataFrame| {
            if is_held { frame.cache().await.map_err(reader_error) } else { Ok(frame) }
        };
        let schema = table.schema();
        let base = new_context()?;
        let context = SessionContext::new_with_config_rt(exact_names(base.copied_config()), base.runtime_env());
        crate::query::register_functions(&context);
        context.register_table("units", table)?;
        let arm = format!("arrow_cast({}, 'Utf8') AS arm", known(&schema, &request.arm, request)?);
        let unit = match &request.unit {
            Some(unit) => Some(format!("nullif(arrow_cast({}, 'Utf8'), '') AS unit", known(&schema, unit, request)?)),
            None => None,
        };
        if options.search && unit.is_none() {
            return Err(EngineError::usage("a search splits the units by their ids: name their column with --unit"));
        }
        let mut columns = vec![arm.clone()];
        for (position, metric) in request.metrics.iter().enumerate() {
            if request.metrics[..position].contains(metric) {
                return Err(EngineError::usage(format!(
                    "the metric \"{}\" is named twice: it would count as two tests",
                    metric.name
                )));
            }
            let column = known(&schema, &metric.name, request)?;
            columns.push(format!("{} AS m{position}", metric_value(&schema, &metric.name, &column)?));
            if let Some(denominator) = metric.denominator() {
                let column = known(&schema, denominator, request)?;
                columns.push(format!("{} AS d{position}", metric_value(&schema, denominator, &column)?));
            }
        }
        for (position, covariate) in options.covariates.iter().enumerate() {
            let column = known(&schema, covariate, request)?;
            let text = is_text(schema.field_with_name(covariate)?.data_type());
            let value =
                if text { format!("arrow_cast({column}, 'Utf8')") } else { metric_value(&schema, covariate, &column)? };
            columns.push(format!("{value} AS x{position}"));
        }
        for (name, column) in
            [("stratum", &options.strata), ("cluster", &options.randomised_by), ("day", &options.path)]
        {
            if let Some(column) = column {
                if name == "stratum" && (*column == request.arm || request.unit.as_ref() == Some(column)) {
                    return Err(EngineError::usage(format!(
                        "\"{column}\" says the unit or its arm: a stratum is a group of units with some of every arm"
                    )));
                }
                columns.push(format!("arrow_cast({}, 'Utf8') AS {name}", known(&schema, column, request)?));
            }
        }
        for (position, segment) in options.segments.iter().enumerate() {
            columns.push(format!("arrow_cast({}, 'Utf8') AS s{position}", known(&schema, segment, request)?));
        }
        let condition = request.filter.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
        let wrong_filter = |error: datafusion::error::DataFusionError| match &request.filter {
            Some(filter) => EngineError::usage(format!("filter \"{filter}\": {}", error.strip_backtrace())),
            None => error.into(),
        };
        let read_only =
            || datafusion::execution::context::SQLOptions::new().with_allow_ddl(false).with_allow_dml(false);
        let select = async |columns: &[String]| {
            let query = format!("SELECT {} FROM units{condition}", columns.join(", "));
            context.sql_with_options(&query, read_only()).await.map_err(wrong_filter)
        };
        let mut kept = held(select(&columns).await?).await?;
        let mut ids_seen = IdsSeen::default();
        if let Some(unit) = unit {
            // Ids are many and long: they are looked through by themselves, and only kept where some are there twice.
            let ids = select(&[unit.clone(), arm]).await?.filter(col("arm").is_not_null())?;
            let rows = kept.clone().count().await.map_err(reader_error)?;
            ids_seen = look_through_ids(ids, rows).await?;
            if ids_seen.repeated || ids_seen.missing > 0 || options.search {
                columns.push(unit);
                // Nobody can say whether such a row is a unit of its own.
                let named = select(&columns).await?.filter(col("arm").is_null().or(col("unit").is_not_null()))?;
                kept = held(named).await?;
            }
        }
        // Of clusters it matters that none is in two arms; its rows are many.
        let has_repeated_units = ids_seen.repeated || options.randomised_by.is_some();
        context.register_table("kept", kept.into_view())?;
        Ok(Self { context, has_repeated_units, rows_without_unit: ids_seen.missing })
    }

    async fn sample(&self, request: &UnitRequest, options: &AnalysisOptions) -> Result<ExperimentSample> {
        let mut sample = ExperimentSample {
            experiment: request.input.name.clone(),
            unit: request.unit.clone().unwrap_or_else(|| "row".to_owned()),
            kind: "units".into(),
            ..ExperimentSample::default()
        };
        if self.rows_without_unit > 0 {
            let detail = format!("{} rows without a value of {} are left out", self.rows_without_unit, sample.unit);
            sample.checks.push(Check::new("missing_unit", Verdict::Warn, detail));
        }
        let clusters = options.randomised_by.is_some();
        let of_units = [
            (!options.covariates.is_empty(), "--covariate"),
            (options.strata.is_some(), "--post-stratify"),
            (options.search, "--search"),
        ];
        if let Some((_, option)) = of_units.iter().find(|(given, _)| clusters && *given) {
            return Err(EngineError::usage(format!(
                "{option} looks at units one by one, and with --randomised-by whole clusters were randomised: leave one of them out"
            )));
        }
        if let Some(metric) = request.metrics.iter().find(|metric| clusters && metric.form == MetricForm::Logarithm) {
            return Err(EngineError::usage(format!(
                "metric {metric}: a logarithm is of units, and with --randomised-by whole clusters were randomised: take the plain or the \
                 winsorised mean"
            )));
        }
        if let Some(column) = &options.randomised_by {
            sample.unit.clone_from(column);
            let without =
                count(&self.context, "SELECT count(*) FROM kept WHERE arm IS NOT NULL AND cluster IS NULL").await?;
            if without > 0 {
                let detail = format!("{without} rows without a {column} are left out");
                sample.checks.push(Check::new("missing_cluster", Verdict::Warn, detail));
            }
        }
        let source = if self.has_repeated_units { self.check_units(&mut sample, clusters).await? } else { "kept" };
        let shapes = self.read_arms(source, request, &mut sample, clusters).await?;
        if sample.arms.is_empty() {
            return Err(EngineError::refused(format!(
                "{}: no unit is left to analyse{}",
                request.input.name,
                if request.filter.is_some() { " under the filter" } else { "" }
            )));
        }
        sample.metrics = metrics_of(request, &shapes, &mut sample.checks)?;
        let columns = request.metrics.iter().zip(&sample.metrics).enumerate().map(|(position, (spec, metric))| {
            MetricColumns::new(spec, metric.kind, format!("m{position}"), format!("d{position}"))
        });
        let mut table = UnitColumns {
            rows: &self.context,
            from: format!("{source} WHERE arm IS NOT NULL"),
            metrics: columns.collect(),
            cluster: clusters.then(|| "cluster".to_owned()),
        };
        let segments: Vec<(String, String)> =
            options.segments.iter().enumerate().map(|(index, name)| (name.clone(), format!("s{index}"))).collect();
        table.read(&mut sample.metrics, &segments).await?;
        if options.strata.is_some() {
            let strata = table.read_by(&sample.metrics, "stratum").await?;
            for (metric, strata) in sample.metrics.iter_mut().zip(strata) {
                metric.strata = strata;
            }
        }
        if options.search {
            table.read_halves(&mut sample.metrics, &segments, "unit").await?;
        }
        if options.path.is_some() {
            let undated = table.read_path(&mut sample.metrics, "day").await?;
            if undated > 0 {
                sample.notes.push(format!("{undated} units without a day are in no row of the path"));
            }
        }
        let schema = self.context.table("kept").await?;
        let named = options.covariates.iter().enumerate().map(|(position, name)| {
            let column = format!("x{position}");
            let text = schema
                .schema()
                .field_with_unqualified_name(&column)
                .is_ok_and(|field| field.data_type() == &DataType::Utf8);
            CovariateColumn { name: name.clone(), column, text }
        });
        let named: Vec<CovariateColumn> = named.collect();
        if !named.is_empty() {
            let (arms, checks) = (&sample.arms, &mut sample.checks);
            read_covariates(&table, arms, checks, &mut sample.metrics, &named, true).await?;
        }
        Ok(sample)
    }

    /// Units in several arms are crossed: counted and left out. A unit that is there twice in one arm makes the rows
    /// something else than units.
    async fn check_units(&self, sample: &mut ExperimentSample, clusters: bool) -> Result<&'static str> {
        let unit = if clusters { "cluster" } else { "unit" };
        let crossed = count(
            &self.context,
            &format!("SELECT count(*) FROM (SELECT {unit} FROM kept WHERE arm IS NOT NULL AND {unit} IS NOT NULL GROUP BY {unit} HAVING min(arm) < max(arm))"),
        )
        .await?;
        let repeated = if clusters {
            0
        } else {
            count(
                &self.context,
                "SELECT count(*) FROM (SELECT unit FROM kept WHERE arm IS NOT NULL GROUP BY unit HAVING count(*) > 1 AND min(arm) = max(arm))",
            )
            .await?
        };
        if repeated > 0 {
            let detail = format!(
                "{repeated} units have more than one row: an analysis of rows would count them several times; give one row a unit, or --randomised-by with the column of the unit"
            );
            sample.checks.push(Check::new("duplicate_units", Verdict::Fail, detail));
        }
        if crossed == 0 {
            return Ok("kept");
        }
        let what = if clusters { "clusters" } else { "units" };
        let detail = format!("{crossed} {what} are in more than one arm and are left out");
        sample.checks.push(Check::new("crossed_units", Verdict::Warn, detail));
        let uncrossed = self
            .context
            .sql(&format!(
                "SELECT * FROM kept WHERE {unit} NOT IN (SELECT {unit} FROM kept WHERE arm IS NOT NULL AND {unit} IS NOT NULL \
                 GROUP BY {unit} HAVING min(arm) < max(arm))",
            ))
            .await?;
        self.context.register_table("uncrossed", uncrossed.into_view())?;
        Ok("uncrossed")
    }

    /// Counts the units of each arm, and of each metric the units without a value and those with one that is neither 0 nor 1,
    /// where that is asked.
    async fn read_arms(
        &self,
        source: &str,
        request: &UnitRequest,
        sample: &mut ExperimentSample,
        clusters: bool,
    ) -> Result<Vec<(i64, i64)>> {
        let shapes = request.metrics.iter().enumerate().map(|(position, spec)| {
            let missing = match spec.denominator() {
                Some(_) => format!("count(*) FILTER (WHERE m{position} IS NULL OR d{position} IS NULL)"),
                None => format!("count(*) - count(m{position})"),
            };
            let neither = match spec.form {
                MetricForm::Proportion | MetricForm::ByValues => {
                    format!("count(*) FILTER (WHERE m{position} NOT IN (0, 1))")
                }
                _ => "0".to_owned(),
            };
            format!(", {missing} AS missing{position}, {neither} AS neither{position}")
        });
        let units = if clusters { "count(DISTINCT cluster)" } else { "count(*)" };
        let query = format!(
            "SELECT arm, {units} AS units, count(*) AS all_rows{} FROM {source} GROUP BY arm ORDER BY arm",
            shapes.collect::<String>()
        );
        let mut found = vec![(0, 0); request.metrics.len()];
        let mut without_arm = 0;
        for batch in self.context.rows(&query).await? {
            let arms = batch.column(0).as_string::<i32>();
            let number = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            for row in 0..batch.num_rows() {
                if arms.is_null(row) {
                    without_arm = number(2, row).unsigned_abs();
                    continue;
                }
                sample.arms.push((arms.value(row).to_owned(), number(1, row).unsigned_abs()));
                for (position, (missing, neither)) in found.iter_mut().enumerate() {
                    *missing += number(3 + 2 * position, row);
                    *neither += number(4 + 2 * position, row);
                }
            }
        }
        if source != "kept" {
            without_arm = count(&self.context, "SELECT count(*) - count(arm) FROM kept").await?;
        }
        if without_arm > 0 {
            let detail = format!("{without_arm} rows without an arm are left out");
            sample.checks.insert(0, Check::new("missing_arm", Verdict::Warn, detail));
        }
        Ok(found)
    }
}

/// The metrics with their kinds and roles, without statistics yet; of each how many units have no value, and how many one that
/// is neither 0 nor 1.
fn metrics_of(request: &UnitRequest, shapes: &[(i64, i64)], checks: &mut Vec<Check>) -> Result<Vec<MetricSample>> {
    let mut metrics = Vec::new();
    for (position, spec) in request.metrics.iter().enumerate() {
        let (missing, neither) = shapes[position];
        let kind = match spec.form {
            MetricForm::Proportion if neither > 0 => {
                return Err(EngineError::usage(format!(
                    "metric \"{0}\" is no proportion: {neither} values are neither 0 nor 1; use {0}:mean",
                    spec.name
                )));
            }
            MetricForm::Proportion => MetricKind::Proportion,
            MetricForm::ByValues if neither == 0 => MetricKind::Proportion,
            MetricForm::Ratio { .. } => MetricKind::Ratio,
            MetricForm::Quantile { .. } => MetricKind::Quantile,
            _ => MetricKind::Mean,
        };
        if missing > 0 {
            let detail = format!("{}: {missing} units have no value and are left out of this metric", spec.name);
            checks.push(Check::new("missing_values", Verdict::Warn, detail));
        }
        // As in a store: opt-outs alarm, and nobody wins by them.
        let role = match position {
            _ if spec.name == "opt_out" => MetricRole::Guardrail,
            0 => MetricRole::Primary,
            _ => MetricRole::Secondary,
        };
        let mut metric = MetricSample::new(spec.name.clone(), kind, role);
        metric.detail = spec.detail();
        metrics.push(metric);
    }
    Ok(metrics)
}

/// Names in a filter mean the file's columns as they are written there.
fn exact_names(mut config: SessionConfig) -> SessionConfig {
    config.options_mut().sql_parser.enable_ident_normalization = false;
    config
}

/// An error of the reader inside the query is told as such.
fn reader_error(error: datafusion::error::DataFusionError) -> EngineError {
    match error.find_root() {
        datafusion::error::DataFusionError::External(inner) => match inner.downcast_ref::<EngineError>() {
            Some(inner) => EngineError::refused(inner.to_string()),
            None => EngineError::refused(inner.to_string()),
        },
        _ => error.into(),
    }
}

fn known(schema: &SchemaRef, column: &str, request: &UnitRequest) -> Result<String> {
    if has_column(schema, column) {
        return Ok(quoted(column));
    }
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Err(EngineError::usage(format!("{} has no column \"{column}\"; it has {}", request.input.name, names.join(", "))))
}

fn metric_value(schema: &SchemaRef, name: &str, column: &str) -> Result<String> {
    let kind = schema.field_with_name(name)?.data_type();
    if is_text(kind) {
        return Err(EngineError::usage(format!(
            "metric \"{name}\" is not a column of numbers: some cells are text (write yes as 1 and no as 0)"
        )));
    }
    let number = format!("arrow_cast({column}, 'Float64')");
    // A double can be NaN or infinite, which no statistic survives: such a cell has no value.
    Ok(format!("CASE WHEN isnan({number}) OR abs({number}) > 1e300 THEN NULL ELSE {number} END"))
}

async fn count(context: &SessionContext, sql: &str) -> Result<u64> {
    let batches = context.sql(sql).await?.collect().await?;
    Ok(batches.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0).unsigned_abs()))
}
