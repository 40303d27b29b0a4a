//! Who gets what: a list of recipients, drawn into arms.
//!
//! Enters: a file with one row a recipient, the arms with their shares, and a seed. Leaves: an assignments log with each
//! recipient's arm and propensity, and the sample ratio of what was drawn.
//!
//! Within each stratum recipients are put into an order by a hash of their id and the seed, and the arms are dealt out along
//! it from a starting point that the hash of the stratum gives: each arm has its share to within one recipient, everyone's
//! chance of an arm is exactly its share, and neither the order of the list nor the machine makes a difference.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use datafusion::prelude::SessionContext;
use futures::StreamExt as _;
use itertools::Itertools as _;
use jiff::Timestamp;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{EngineError, Result};
use crate::ingest::input::Input;
use crate::query::{has_column, new_context, quoted, unit_table};
use crate::stats::{SampleRatio, sample_ratio_test};
use crate::table_file::{TableFile, check_name};

/// Shares that add up to one to within this do so.
const WHOLE_TO: f64 = 1e-9;

/// A list and how it is to be drawn into arms.
#[derive(Debug, Clone)]
pub struct AssignmentRequest {
    /// The list, in any format that an ingest reads.
    pub list: Input,
    /// Its column of recipients.
    pub unit: String,
    /// The experiment.
    pub experiment: String,
    /// The arms with their shares, which add up to one.
    pub arms: Vec<(String, f64)>,
    /// The arm that is to get no message.
    pub holdout: Option<String>,
    /// Columns within whose values each arm has its share.
    pub strata: Vec<String>,
    /// The same seed gives the same arms.
    pub seed: u64,
    /// When they were assigned.
    pub assigned_at: Timestamp,
}

/// What was drawn.
#[derive(Debug, Clone, Serialize)]
pub struct AssignmentSummary {
    /// The experiment.
    pub experiment: String,
    /// The seed.
    pub seed: u64,
    /// Recipients of each arm.
    pub arms: Vec<AssignedArm>,
    /// Strata in which they were drawn, one without any.
    pub strata: u64,
    /// Rows of the list whose recipient was there before: they were drawn once.
    pub repeated_rows: u64,
    /// Rows without a recipient, which were left out.
    pub rows_without_recipient: u64,
    /// Whether the arms have the sizes that they should have.
    pub sample_ratio: SampleRatio,
}

/// An arm that was drawn.
#[derive(Debug, Clone, Serialize)]
pub struct AssignedArm {
    /// The arm.
    pub arm: String,
    /// Its share.
    pub share: f64,
    /// Its recipients.
    pub n: u64,
}

/// Draws a list into arms and writes the assignments to a file (`.csv`, `.ndjson` or `.parquet`).
///
/// # Errors
/// When the list cannot be read or has not got a column, shares do not add up to one, or the file cannot be written.
pub async fn assign_list(request: &AssignmentRequest, out: &Path) -> Result<AssignmentSummary> {
    check_name(out)?;
    let total: f64 = request.arms.iter().map(|(_, share)| share).sum();
    if let Some(twice) = request.arms.iter().map(|(arm, _)| arm).duplicates().next() {
        return Err(EngineError::usage(format!("the arm \"{twice}\" is named twice")));
    }
    if request.arms.len() < 2 || (total - 1.0).abs() > WHOLE_TO || request.arms.iter().any(|(_, share)| *share <= 0.0) {
        return Err(EngineError::usage(format!(
            "two arms or more, each with a share above zero, all together one: {} add up to {total}",
            request.arms.iter().map(|(arm, share)| format!("{arm}={share}")).collect::<Vec<_>>().join(",")
        )));
    }
    if let Some(holdout) =
        request.holdout.as_ref().filter(|holdout| request.arms.iter().all(|(arm, _)| arm != *holdout))
    {
        return Err(EngineError::usage(format!("the holdout \"{holdout}\" is none of the arms")));
    }
    let (input, mut names) = (request.list.clone(), request.strata.clone());
    names.push(request.unit.clone());
    let table = tokio::task::spawn_blocking(move || unit_table(&input, &names)).await??;
    let schema = table.schema();
    let known = |column: &str| {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let missing = || {
            EngineError::usage(format!("{} has no column \"{column}\"; it has {}", request.list.name, names.join(", ")))
        };
        has_column(&schema, column).then(|| format!("arrow_cast({}, 'Utf8')", quoted(column))).ok_or_else(missing)
    };
    let unit = known(&request.unit)?;
    let strata = request.strata.iter().map(|column| known(column)).collect::<Result<Vec<_>>>()?;
    let stratum = if strata.is_empty() {
        "''".to_owned()
    } else {
        let parts: Vec<String> = strata.iter().map(|column| format!("coalesce({column}, '')")).collect();
        format!("concat_ws(chr(31), {})", parts.join(", "))
    };
    let context = new_context()?;
    context.register_table("list", table)?;
    // A recipient who is there several times is drawn once, in the first of the strata by name.
    let drawn = format!(
        "WITH units AS (SELECT {unit} AS unit, min({stratum}) AS stratum FROM list WHERE {unit} IS NOT NULL AND {unit} <> '' \
         GROUP BY {unit}) \
         SELECT unit, stratum, \
         row_number() OVER (PARTITION BY stratum ORDER BY unit_draw(unit, '{seed} {experiment}'), unit) AS place, \
         count(*) OVER (PARTITION BY stratum) AS size FROM units",
        seed = request.seed,
        experiment = request.experiment.replace('\'', "''"),
    );
    let counts = rows_of(&context, &unit).await?;
    let mut writer = Drawing::new(request, out)?;
    let mut stream = context.sql(&drawn).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        writer.write(&batch?)?;
    }
    let (drawn, strata) = writer.finish()?;
    let n: Vec<u64> = drawn.iter().map(|arm| arm.n).collect();
    if n.iter().sum::<u64>() == 0 {
        return Err(EngineError::refused(format!("{}: no row has a {}", request.list.name, request.unit)));
    }
    let shares: Vec<f64> = request.arms.iter().map(|(_, share)| *share).collect();
    Ok(AssignmentSummary {
        experiment: request.experiment.clone(),
        seed: request.seed,
        sample_ratio: sample_ratio_test(&n, &shares)?,
        repeated_rows: counts.0.saturating_sub(n.iter().sum()),
        rows_without_recipient: counts.1,
        arms: drawn,
        strata,
    })
}

/// Rows with a recipient, and rows without.
async fn rows_of(context: &SessionContext, unit: &str) -> Result<(u64, u64)> {
    let with = format!("{unit} IS NOT NULL AND {unit} <> ''");
    let query = format!("SELECT count(*) FILTER (WHERE {with}), count(*) FROM list");
    let batches = context.sql(&query).await?.collect().await?;
    let count = |column: usize| {
        batches.first().map_or(0, |batch| batch.column(column).as_primitive::<Int64Type>().value(0).unsigned_abs())
    };
    Ok((count(0), count(1) - count(0)))
}

/// The file of assignments on its way.
struct Drawing<'a> {
    request: &'a AssignmentRequest,
    file: TableFile,
    schema: Arc<Schema>,
    /// The upper end of each arm's part of the whole.
    ends: Vec<f64>,
    arms: Vec<AssignedArm>,
    strata: u64,
}

impl<'a> Drawing<'a> {
    fn new(request: &'a AssignmentRequest, out: &Path) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("experiment_id", DataType::Utf8, false),
            Field::new("recipient_id", DataType::Utf8, false),
            Field::new("arm", DataType::Utf8, false),
            Field::new("is_holdout", DataType::Boolean, false),
            Field::new("assigned_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new("propensity", DataType::Float64, false),
        ]));
        let mut so_far = 0.0;
        let mut ends: Vec<f64> = Vec::with_capacity(request.arms.len());
        for (_, share) in &request.arms {
            so_far += share;
            ends.push(so_far);
        }
        let arms =
            request.arms.iter().map(|(arm, share)| AssignedArm { arm: arm.clone(), share: *share, n: 0 }).collect();
        Ok(Self { file: TableFile::at(out, Arc::clone(&schema))?, request, schema, ends, arms, strata: 0 })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let units = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let strata = arrow::compute::cast(batch.column(1), &DataType::Utf8)?;
        let strata = strata.as_string::<i32>();
        let number = |column: usize| arrow::compute::cast(batch.column(column), &DataType::Int64);
        let (places, sizes) = (number(2)?, number(3)?);
        let (places, sizes) = (places.as_primitive::<Int64Type>(), sizes.as_primitive::<Int64Type>());
        let mut chosen = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            if places.value(row) == 1 {
                self.strata += 1;
            }
            // Where in the deal the stratum begins, 0 to 1: by it every recipient's chance is exactly the share.
            let start = share_of_hash(xxh3_64_with_seed(strata.value(row).as_bytes(), self.request.seed));
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            let position = ((places.value(row) - 1) as f64 + start) / sizes.value(row) as f64;
            let arm = self.ends.iter().position(|end| position < *end).unwrap_or(self.ends.len() - 1);
            self.arms[arm].n += 1;
            chosen.push(arm);
        }
        let rows = batch.num_rows();
        let of = |arm: &usize| &self.request.arms[*arm];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![self.request.experiment.as_str(); rows])),
            units,
            Arc::new(StringArray::from_iter_values(chosen.iter().map(|arm| of(arm).0.as_str()))),
            Arc::new(
                chosen
                    .iter()
                    .map(|arm| Some(Some(&of(arm).0) == self.request.holdout.as_ref()))
                    .collect::<BooleanArray>(),
            ),
            Arc::new(
                TimestampMicrosecondArray::from(vec![self.request.assigned_at.as_microsecond(); rows])
                    .with_timezone("UTC"),
            ),
            Arc::new(chosen.iter().map(|arm| Some(of(arm).1)).collect::<Float64Array>()),
        ];
        self.file.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        Ok(())
    }

    fn finish(self) -> Result<(Vec<AssignedArm>, u64)> {
        let (file, _) = self.file.finish()?;
        file.keep()?;
        Ok((self.arms, self.strata))
    }
}

/// A number from 0 to below 1.
#[allow(clippy::cast_precision_loss)] // 53 bits fit.
fn share_of_hash(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}
