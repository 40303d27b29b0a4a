//! From a table with one row a unit to the statistics of each metric, by arm and segment, in a few queries.
//!
//! The table has a column `arm`, and for each metric a column of numbers and, of a ratio, one of denominators. Where whole
//! clusters were randomised a column names each row's cluster: then totals and values are kept by cluster.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};

use super::metric::{MetricForm, MetricKind, MetricSpec};
use super::sample::{ByArm, Cut, MetricSample};
use super::statistic::ArmStatistic;
use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::query::functions::{CROSS_MOMENTS, CrossMomentsCell};
use crate::stats::{ClusterTotal, CrossMoments, RatioMoments, ValueCounts};

/// What queries are asked of.
pub(crate) trait Rows {
    /// All rows of a query.
    async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>>;
}

impl Rows for QuerySession {
    async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.collect(sql).await
    }
}

impl Rows for datafusion::prelude::SessionContext {
    async fn rows(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        Ok(self.sql(sql).await?.collect().await?)
    }
}

/// Statistics by arm for each value of a column.
pub(crate) type ByValue = BTreeMap<Option<String>, ByArm>;

/// The columns of one metric.
#[derive(Debug, Clone)]
pub(crate) struct MetricColumns {
    /// The number of each unit.
    pub(crate) value: String,
    /// What it is divided by, of a ratio.
    pub(crate) denominator: Option<String>,
    /// What is compared of them: never by the values here, which have been looked at.
    pub(crate) form: MetricForm,
    /// The greatest value that is left as it is, of a winsorised mean.
    pub(crate) limit: Option<f64>,
}

impl MetricColumns {
    /// The columns of a metric whose kind is known.
    pub(crate) fn new(spec: &MetricSpec, kind: MetricKind, value: String, denominator: String) -> Self {
        let form = match (&spec.form, kind) {
            (MetricForm::ByValues, MetricKind::Proportion) => MetricForm::Proportion,
            (MetricForm::ByValues, _) => MetricForm::Mean,
            (form, _) => form.clone(),
        };
        let denominator = matches!(form, MetricForm::Ratio { .. }).then_some(denominator);
        Self { value, denominator, form, limit: None }
    }

    /// The value as it is compared; null where the unit takes no part.
    pub(crate) fn number(&self) -> String {
        let value = &self.value;
        match (&self.form, self.limit, &self.denominator) {
            (MetricForm::Logarithm, _, _) => format!("ln(1 + {value})"),
            (_, Some(limit), _) => format!("CASE WHEN {value} > {limit:?} THEN {limit:?} ELSE {value} END"),
            (_, _, Some(denominator)) => format!("CASE WHEN {denominator} IS NULL THEN NULL ELSE {value} END"),
            _ => value.clone(),
        }
    }

    /// The denominator; null where the unit takes no part.
    pub(crate) fn divisor(&self) -> Option<String> {
        let value = &self.value;
        self.denominator.as_ref().map(|column| format!("CASE WHEN {value} IS NULL THEN NULL ELSE {column} END"))
    }

    fn quantile(&self) -> Option<f64> {
        match self.form {
            MetricForm::Quantile { share } => Some(share),
            _ => None,
        }
    }

    /// The value and, of a ratio, the denominator: what statistics are made of.
    pub(crate) fn outcome(&self) -> Vec<String> {
        std::iter::once(self.number()).chain(self.divisor()).collect()
    }

    /// The statistic that the moments of the [outcome](Self::outcome) make.
    fn statistic(&self, moments: &CrossMoments) -> Result<ArmStatistic> {
        let value = moments.column(0);
        if self.denominator.is_some() {
            let divisor = moments.column(1);
            return Ok(ArmStatistic::Ratio(RatioMoments {
                n: moments.n,
                numerator_mean: value.mean,
                denominator_mean: divisor.mean,
                numerator_squares: value.sum_squared_deviations,
                denominator_squares: divisor.sum_squared_deviations,
                products: moments.product(0, 1),
            }));
        }
        let kind = if self.form == MetricForm::Proportion { MetricKind::Proportion } else { MetricKind::Mean };
        let variance = value.variance().unwrap_or(0.0);
        Ok(match (ArmStatistic::from_aggregate(kind, value.n, value.mean, variance)?, &self.form) {
            (ArmStatistic::Mean(moments), MetricForm::Logarithm) => ArmStatistic::Logarithm(moments),
            (statistic, _) => statistic,
        })
    }
}

/// `cross_moments(…)` over some columns, for each of several.
fn moments_of(several: impl Iterator<Item = Vec<String>>) -> String {
    let named = several.enumerate().map(|(place, columns)| {
        // Two metrics may be of one expression, which a query has once under each name.
        format!("{CROSS_MOMENTS}({}) AS moments{place}", columns.join(", "))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// A table of units and what its columns are.
pub(crate) struct UnitColumns<'a, R> {
    /// Where queries go.
    pub(crate) rows: &'a R,
    /// The table and the condition that its rows fulfil: `t WHERE arm IS NOT NULL`.
    pub(crate) from: String,
    /// In the order of the metrics.
    pub(crate) metrics: Vec<MetricColumns>,
    /// The column that names the randomised cluster.
    pub(crate) cluster: Option<String>,
}

impl<R: Rows> UnitColumns<'_, R> {
    /// Reads all statistics into the metrics: overall, and by each segment column (its name, and that in the table).
    pub(crate) async fn read(&mut self, samples: &mut [MetricSample], segments: &[(String, String)]) -> Result<()> {
        self.cut(samples).await?;
        match segments.split_first() {
            // Whoever is in one segment column is in all of it: its parts make the whole.
            Some(((name, column), others)) if self.cluster.is_none() => {
                self.read_moments(samples, Some((name, column)), true).await?;
                self.read_quantiles(samples, Some((name, column))).await?;
                self.read_quantiles(samples, None).await?;
                for (name, column) in others {
                    self.read_grouped(samples, Some((name, column))).await?;
                }
            }
            _ => {
                self.read_grouped(samples, None).await?;
                for (name, column) in segments {
                    self.read_grouped(samples, Some((name, column))).await?;
                }
            }
        }
        Ok(())
    }

    /// Reads the statistics on either half of the units for a search among segments, whose columns have a name and one in
    /// the table. `id` is the column of the units' ids.
    pub(crate) async fn read_halves(
        &self,
        samples: &mut [MetricSample],
        segments: &[(String, String)],
        id: &str,
    ) -> Result<()> {
        for (name, column) in segments {
            // A value and the half in one key: the half is one character in front.
            let key = format!("concat(arrow_cast(unit_half({id}), 'Utf8'), {column})");
            let found = self.read_by(samples, &format!("CASE WHEN {column} IS NULL THEN NULL ELSE {key} END")).await?;
            for (sample, values) in samples.iter_mut().zip(found) {
                let halves = sample.halves.entry(name.clone()).or_default();
                for (key, arms) in values {
                    let Some((half, value)) = key.as_deref().and_then(|key| key.split_at_checked(1)) else { continue };
                    let both = halves.entry(Some(value.to_owned())).or_default();
                    both[usize::from(half == "1")] = arms;
                }
            }
        }
        Ok(())
    }

    /// Reads the statistics of the units that entered on each day, of metrics whose parts add up.
    pub(crate) async fn read_path(&self, samples: &mut [MetricSample], day: &str) -> Result<u64> {
        let by_day = self.read_by(samples, day).await?;
        let mut without = 0;
        for (sample, days) in samples.iter_mut().zip(by_day) {
            let adds_up = self.cluster.is_none() && sample.kind != MetricKind::Quantile;
            if adds_up {
                let undated = days.get(&None).map_or(0, |arms| arms.values().map(ArmStatistic::n).sum());
                without = without.max(undated);
                sample.path = days.into_iter().filter_map(|(day, arms)| Some((day?, arms))).collect();
            }
        }
        Ok(without)
    }

    /// The statistics of each metric by the values of a column, apart from its segments.
    pub(crate) async fn read_by(&self, samples: &[MetricSample], column: &str) -> Result<Vec<ByValue>> {
        let mut found: Vec<MetricSample> =
            samples.iter().map(|sample| MetricSample::new(sample.name.clone(), sample.kind, sample.role)).collect();
        let (name, column) = (column.to_owned(), column.to_owned());
        self.read_grouped(&mut found, Some((&name, &column))).await?;
        let by_value =
            |sample: MetricSample| sample.segments.into_iter().map(|((_, value), arms)| (value, arms)).collect();
        Ok(found.into_iter().map(by_value).collect())
    }

    /// Finds the limits of what is winsorised, over all arms together, and says what was cut. The rule is that of
    /// [`crate::stats::skewed::Cut::ShareOfNonzero`].
    async fn cut(&mut self, samples: &mut [MetricSample]) -> Result<()> {
        for (place, sample) in samples.iter_mut().enumerate() {
            let Some(columns) = self.metrics.get(place).cloned() else { continue };
            let value = &columns.value;
            if columns.form == MetricForm::Logarithm {
                let negative = self.rows.rows(&format!("SELECT count(*) FROM {} AND {value} < 0", self.from)).await?;
                let negative = negative.first().map_or(0, |batch| count_at(batch, 0, 0));
                if negative > 0 {
                    return Err(EngineError::usage(format!(
                        "metric \"{}:log\": {negative} values are below zero and have no logarithm; use {0}:winsorised or {0}:mean",
                        sample.name
                    )));
                }
            }
            let MetricForm::Winsorised { share_cut } = columns.form else { continue };
            let query = format!("SELECT {value}, count(*) FROM {} AND {value} <> 0 GROUP BY {value}", self.from);
            let counts = self.value_counts(&query).await?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let beyond = (counts.n() as f64 * share_cut).floor() as u64;
            let Some(limit) = counts.order_statistic(counts.n().saturating_sub(beyond).max(1)) else { continue };
            if let Some(columns) = self.metrics.get_mut(place) {
                columns.limit = Some(limit);
            }
            let query = format!(
                "SELECT arm, count(*), sum({value}) FROM {} AND {value} > {limit:?} GROUP BY arm ORDER BY arm",
                self.from
            );
            let (mut units, mut amount) = (BTreeMap::new(), 0.0);
            for batch in self.rows.rows(&query).await? {
                for row in 0..batch.num_rows() {
                    let arm = crate::report::cell_text(&batch, 0, row)?.unwrap_or_default();
                    let n = count_at(&batch, 1, row);
                    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
                    let over = number_at(&batch, 2, row).unwrap_or(0.0) - limit * n as f64;
                    amount += over;
                    units.insert(arm, n);
                }
            }
            sample.cut = Some(Cut { limit, share_cut, units, amount });
        }
        Ok(())
    }

    async fn read_grouped(&self, samples: &mut [MetricSample], segment: Option<(&String, &String)>) -> Result<()> {
        if let Some(cluster) = &self.cluster {
            let key = segment.map(|(_, column)| format!(", {column}")).unwrap_or_default();
            return self.read_clusters(samples, segment.map(|(name, _)| name.as_str()), &key, cluster).await;
        }
        self.read_moments(samples, segment, segment.is_none()).await?;
        self.read_quantiles(samples, segment).await
    }

    /// All statistics but quantiles, by arm and segment, and of all segments together if these are wanted.
    async fn read_moments(
        &self,
        samples: &mut [MetricSample],
        segment: Option<(&String, &String)>,
        overall: bool,
    ) -> Result<()> {
        let key = segment.map(|(_, column)| format!(", {column}")).unwrap_or_default();
        let read: Vec<usize> =
            (0..self.metrics.len()).filter(|place| self.metrics[*place].quantile().is_none()).collect();
        if read.is_empty() {
            return Ok(());
        }
        let aggregates = moments_of(read.iter().map(|place| self.metrics[*place].outcome()));
        let query = format!("SELECT arm{key}, {aggregates} FROM {} GROUP BY arm{key}", self.from);
        // In the order of places: sums of doubles depend on theirs.
        let mut found: BTreeMap<Place, Vec<CrossMomentsCell>> = BTreeMap::new();
        let width = if segment.is_some() { 2 } else { 1 };
        for batch in self.rows.rows(&query).await? {
            for row in 0..batch.num_rows() {
                let place = Place::of(&batch, row, segment.map(|(name, _)| name.as_str()))?;
                let cells = read.iter().enumerate().map(|(position, metric)| {
                    let outcome = self.metrics[*metric].outcome().len();
                    CrossMomentsCell::read(batch.column(width + position), row, outcome)
                });
                found.insert(place, cells.collect());
            }
        }
        for (place, cells) in found {
            for (metric, cell) in read.iter().zip(cells) {
                let (columns, sample) = (&self.metrics[*metric], &mut samples[*metric]);
                let statistic = columns.statistic(&cell.moments)?;
                if overall {
                    let whole = match sample.overall.get(&place.arm) {
                        Some(known) => known.merge(&statistic)?,
                        None => statistic.clone(),
                    };
                    sample.overall.insert(place.arm.clone(), whole);
                    if let (MetricForm::Mean, Some(least), Some(greatest)) =
                        (&columns.form, cell.least.first(), cell.greatest.first())
                    {
                        let ends = sample.extremes.entry(place.arm.clone()).or_insert((*least, *greatest));
                        *ends = (ends.0.min(*least), ends.1.max(*greatest));
                    }
                }
                if place.segment.is_some() {
                    place.insert(sample, statistic);
                }
            }
        }
        Ok(())
    }

    /// Quantiles by arm and segment.
    async fn read_quantiles(&self, samples: &mut [MetricSample], segment: Option<(&String, &String)>) -> Result<()> {
        let key = segment.map(|(_, column)| format!(", {column}")).unwrap_or_default();
        let width = if segment.is_some() { 2 } else { 1 };
        for (columns, sample) in self.metrics.iter().zip(samples.iter_mut()) {
            let Some(share) = columns.quantile() else { continue };
            let value = &columns.value;
            let query = format!(
                "SELECT arm{key}, {value}, count(*) FROM {} AND {value} IS NOT NULL GROUP BY arm{key}, {value}",
                self.from
            );
            let mut found: BTreeMap<Place, Vec<(f64, u64)>> = BTreeMap::new();
            for batch in self.rows.rows(&query).await? {
                for row in 0..batch.num_rows() {
                    let place = Place::of(&batch, row, segment.map(|(name, _)| name.as_str()))?;
                    let value = number_at(&batch, width, row).unwrap_or(0.0);
                    found.entry(place).or_default().push((value, count_at(&batch, width + 1, row)));
                }
            }
            for (place, counts) in found {
                place.insert(sample, ArmStatistic::Quantile { share, values: ValueCounts::from_counts(counts)? });
            }
        }
        Ok(())
    }

    /// One row a cluster, arm and segment.
    async fn read_clusters(
        &self,
        samples: &mut [MetricSample],
        segment: Option<&str>,
        key: &str,
        cluster: &str,
    ) -> Result<()> {
        let width = if segment.is_some() { 2 } else { 1 };
        let from = format!("{} AND {cluster} IS NOT NULL", self.from);
        for (columns, sample) in self.metrics.iter().zip(samples.iter_mut()) {
            let number = columns.number();
            if columns.form == MetricForm::Logarithm {
                return Err(EngineError::usage(format!(
                    "metric \"{}:log\" is not available where clusters were randomised; use {0}:winsorised or {0}:mean",
                    sample.name
                )));
            }
            if let Some(share) = columns.quantile() {
                let query = format!(
                    "SELECT arm{key}, array_agg({number}) FILTER (WHERE {number} IS NOT NULL) FROM {from} GROUP BY arm{key}, {cluster}"
                );
                let mut found: BTreeMap<Place, Vec<Vec<f64>>> = BTreeMap::new();
                for batch in self.rows.rows(&query).await? {
                    let lists = batch.column(width).as_list::<i32>();
                    for row in 0..batch.num_rows() {
                        if lists.is_null(row) {
                            continue;
                        }
                        let values = lists.value(row).as_primitive::<Float64Type>().iter().flatten().collect();
                        found.entry(Place::of(&batch, row, segment)?).or_default().push(values);
                    }
                }
                for (place, clusters) in found {
                    place.insert(sample, ArmStatistic::ClusteredQuantile { share, clusters });
                }
                continue;
            }
            let size = columns
                .divisor()
                .map_or_else(|| format!("arrow_cast(count({number}), 'Float64')"), |divisor| format!("sum({divisor})"));
            let query = format!(
                "SELECT arm{key}, count({number}), sum({number}), {size} AS size FROM {from} GROUP BY arm{key}, {cluster}"
            );
            let mut found: BTreeMap<Place, Vec<ClusterTotal>> = BTreeMap::new();
            for batch in self.rows.rows(&query).await? {
                for row in 0..batch.num_rows() {
                    let number = |place: usize| number_at(&batch, width + place, row).unwrap_or(0.0);
                    if count_at(&batch, width, row) > 0 {
                        let cluster = ClusterTotal { units: number(2), total: number(1) };
                        found.entry(Place::of(&batch, row, segment)?).or_default().push(cluster);
                    }
                }
            }
            // A denominator below zero is no size that a cluster can have: the delta method alone takes it.
            let has_sizes = found.values().flatten().all(|cluster| cluster.units >= 0.0);
            for (place, clusters) in found {
                place.insert(
                    sample,
                    if columns.denominator.is_none() {
                        ArmStatistic::Clusters(clusters)
                    } else if has_sizes {
                        ArmStatistic::RatioOfClusters(clusters)
                    } else {
                        let pairs = clusters.into_iter().map(|cluster| (cluster.total, cluster.units));
                        ArmStatistic::Ratio(RatioMoments::from_values(pairs)?)
                    },
                );
            }
        }
        Ok(())
    }

    async fn value_counts(&self, query: &str) -> Result<ValueCounts> {
        let mut counts = Vec::new();
        for batch in self.rows.rows(query).await? {
            for row in 0..batch.num_rows() {
                if let Some(value) = number_at(&batch, 0, row) {
                    counts.push((value, count_at(&batch, 1, row)));
                }
            }
        }
        Ok(ValueCounts::from_counts(counts)?)
    }

    /// The cross moments by arm of each metric's outcome with some more columns: those rows count in which none is null.
    /// In one pass, in the order of the metrics, without those that `is_read` leaves out.
    pub(crate) async fn cross_moments(
        &self,
        more: &[String],
        is_read: impl Fn(usize) -> bool,
    ) -> Result<Vec<BTreeMap<String, CrossMoments>>> {
        let mut found = vec![BTreeMap::new(); self.metrics.len()];
        let read: Vec<(usize, Vec<String>)> = (0..self.metrics.len())
            .filter(|place| is_read(*place))
            .map(|place| (place, self.metrics[place].outcome().into_iter().chain(more.iter().cloned()).collect()))
            .collect();
        if read.is_empty() {
            return Ok(found);
        }
        let aggregates = moments_of(read.iter().map(|(_, columns)| columns.clone()));
        let query = format!("SELECT arm, {aggregates} FROM {} GROUP BY arm", self.from);
        for batch in self.rows.rows(&query).await? {
            for row in 0..batch.num_rows() {
                let arm = crate::report::cell_text(&batch, 0, row)?.unwrap_or_default();
                for (position, (place, columns)) in read.iter().enumerate() {
                    let cell = CrossMomentsCell::read(batch.column(1 + position), row, columns.len());
                    found[*place].insert(arm.clone(), cell.moments);
                }
            }
        }
        Ok(found)
    }
}

/// An arm, overall or in a segment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    arm: String,
    segment: Option<(String, Option<String>)>,
}

impl Place {
    /// That of a row, whose first columns are the arm and the value of the segment.
    fn of(batch: &RecordBatch, row: usize, segment: Option<&str>) -> Result<Self> {
        let arm = crate::report::cell_text(batch, 0, row)?.unwrap_or_default();
        let segment = match segment {
            Some(name) => Some((name.to_owned(), crate::report::cell_text(batch, 1, row)?)),
            None => None,
        };
        Ok(Self { arm, segment })
    }

    fn insert(&self, sample: &mut MetricSample, statistic: ArmStatistic) {
        let arms = match &self.segment {
            Some(segment) => sample.segments.entry(segment.clone()).or_default(),
            None => &mut sample.overall,
        };
        arms.insert(self.arm.clone(), statistic);
    }
}

/// A count in a cell.
pub(crate) fn count_at(batch: &RecordBatch, column: usize, row: usize) -> u64 {
    batch.column(column).as_primitive::<Int64Type>().value(row).unsigned_abs()
}

/// A number in a cell.
pub(crate) fn number_at(batch: &RecordBatch, column: usize, row: usize) -> Option<f64> {
    let column = batch.column(column).as_primitive::<Float64Type>();
    (!column.is_null(row)).then(|| column.value(row))
}
