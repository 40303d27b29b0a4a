//! What was known of the units before the experiment, read beside each metric.
//!
//! A column of numbers is one covariate, and units without a number count with the mean of all. A column of texts becomes
//! one covariate for each of its most frequent values but the first.

use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::datatypes::Float64Type;

use super::checks::{Check, Verdict};
use super::metric::MetricKind;
use super::sample::{Covariates, MetricSample};
use super::unit_columns::{Rows, UnitColumns, count_at, number_at};
use crate::error::Result;
use crate::query::text_literal;

/// Values of a column of texts that become covariates at most.
const MOST_VALUES: usize = 20;
/// Units up to which several covariates are adjusted for from the units themselves (HC2); beyond it their moments, which
/// give the same variance but for terms of one over the units, are enough.
const MOST_UNITS_KEPT: u64 = 1_000_000;

/// A column that was known before the assignment.
#[derive(Debug, Clone)]
pub(crate) struct CovariateColumn {
    /// What the analyst calls it.
    pub(crate) name: String,
    /// Its name in the table.
    pub(crate) column: String,
    /// Whether it holds texts.
    pub(crate) text: bool,
}

/// Reads the covariates of every metric that has an outcome for each unit: all but quantiles.
pub(crate) async fn read_covariates<R: Rows>(
    table: &UnitColumns<'_, R>,
    arms: &[(String, u64)],
    checks: &mut Vec<Check>,
    metrics: &mut [MetricSample],
    columns: &[CovariateColumn],
    named: bool,
) -> Result<()> {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for column in columns {
        if column.text {
            for value in frequent_values(table, &column.column).await? {
                names.push(format!("{} = {value}", column.name));
                values.push(format!("CASE WHEN {} = {} THEN 1.0 ELSE 0.0 END", column.column, text_literal(&value)));
            }
            continue;
        }
        let query = format!("SELECT avg({0}), count(*) - count({0}) FROM {1}", column.column, table.from);
        let (mut mean, mut missing) = (None, 0);
        if let Some(batch) = table.rows.rows(&query).await?.first() {
            (mean, missing) = (number_at(batch, 0, 0), count_at(batch, 1, 0));
        }
        let Some(mean) = mean else {
            let detail = format!("covariate {} has no value at all and is left out", column.name);
            checks.push(Check::new("covariates", Verdict::Warn, detail));
            continue;
        };
        if missing > 0 && named {
            let detail = format!("covariate {}: {missing} units have no value and count with the mean", column.name);
            checks.push(Check::new("covariates", Verdict::Warn, detail));
        }
        names.push(column.name.clone());
        values.push(format!("coalesce({}, {mean:?})", column.column));
    }
    if names.is_empty() {
        return Ok(());
    }
    let units: u64 = arms.iter().map(|(_, n)| *n).sum();
    let moments = table.cross_moments(&values, |place| metrics[place].kind != MetricKind::Quantile).await?;
    for ((columns, metric), moments) in table.metrics.iter().zip(metrics).zip(moments) {
        if metric.kind == MetricKind::Quantile {
            continue;
        }
        let all: Vec<String> = columns.outcome().into_iter().chain(values.iter().cloned()).collect();
        let keep_units = names.len() > 1 && metric.kind != MetricKind::Ratio && units <= MOST_UNITS_KEPT;
        let units = if keep_units { units_of(table, &all).await? } else { BTreeMap::new() };
        metric.covariates = Some(Covariates { names: names.clone(), moments, units, named });
    }
    Ok(())
}

/// The most frequent values of a column of texts, without the first: to that the others are held.
async fn frequent_values<R: Rows>(table: &UnitColumns<'_, R>, column: &str) -> Result<Vec<String>> {
    let query = format!(
        "SELECT {column}, count(*) AS n FROM {} AND {column} IS NOT NULL GROUP BY {column} ORDER BY n DESC, {column} LIMIT {}",
        table.from,
        MOST_VALUES + 1
    );
    let mut found = Vec::new();
    for batch in table.rows.rows(&query).await? {
        for row in 0..batch.num_rows() {
            found.extend(crate::report::cell_text(&batch, 0, row)?);
        }
    }
    Ok(found.into_iter().skip(1).collect())
}

/// The columns of each unit that has all of them, by arm, row after row.
async fn units_of<R: Rows>(table: &UnitColumns<'_, R>, columns: &[String]) -> Result<BTreeMap<String, Vec<f64>>> {
    let complete: String = columns.iter().map(|column| format!(" AND {column} IS NOT NULL")).collect();
    let values: String = columns.iter().map(|column| format!(", arrow_cast({column}, 'Float64')")).collect();
    let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for batch in table.rows.rows(&format!("SELECT arm{values} FROM {}{complete}", table.from)).await? {
        let numbers: Vec<_> =
            (1..batch.num_columns()).map(|column| batch.column(column).as_primitive::<Float64Type>()).collect();
        for row in 0..batch.num_rows() {
            let arm = crate::report::cell_text(&batch, 0, row)?.unwrap_or_default();
            found.entry(arm).or_default().extend(numbers.iter().map(|column| column.value(row)));
        }
    }
    Ok(found)
}
