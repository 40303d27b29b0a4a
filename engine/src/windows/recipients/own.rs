//! Each recipient's own messages by window, where windows were drawn at random: how many, and by how much they brought more
//! than the other messages of their campaign, zone, segment and window.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::datasource::MemTable;
use futures::StreamExt as _;
use itertools::Itertools as _;

use crate::error::Result;
use crate::progress::{Progress, check_cancelled};
use crate::query::QuerySession;
use crate::report::Grouping;
use crate::stats::send_windows::{RecipientCell, RecipientMoments, WindowAssignment};
use crate::table_file::TableFile;
use crate::windows::analyze::Known;
use crate::windows::cells::{Clicks, PLACE, WITH_PROPENSITY, takes_part};
use crate::windows::outcomes::outcome_sql;
use crate::windows::request::WindowsRequest;

/// The table of the means of cells.
const MEANS: &str = "cell_means";

/// Stands for a value that is missing, which no text of a log is.
const MISSING: &str = "\u{1}";

/// For each campaign whose windows were drawn, place, window and segment the mean of what a message brought. A message's
/// residual against the mean of the others is its distance from the mean of all, stretched by n / (n - 1).
fn cell_means(known: &Known, request: &WindowsRequest) -> Result<RecordBatch> {
    let table = &known.table;
    let mut sums: BTreeMap<(usize, usize, usize, usize), (f64, f64)> = BTreeMap::new();
    for cell in &table.cells {
        if table.assignments.get(cell.campaign) == Some(&WindowAssignment::Randomised) {
            let sum = sums.entry((cell.campaign, cell.stratum, cell.slot, cell.segment)).or_default();
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            let n = cell.n as f64;
            *sum = (sum.0 + n, sum.1 + cell.of(request.objective, Clicks::Human).sum);
        }
    }
    // Alone in its cell a message has nothing to be compared with.
    sums.retain(|_, (n, _)| *n > 1.0);
    let text = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let name = |names: &'_ [String], place: usize| names.get(place).map_or("", String::as_str).to_owned();
    let campaigns: Vec<String> = sums.keys().map(|key| name(&table.campaigns, key.0)).collect();
    let strata: Vec<String> = sums.keys().map(|key| name(&table.strata, key.1)).collect();
    #[allow(clippy::cast_possible_wrap)] // Windows of a week.
    let slots: Vec<i64> = sums.keys().map(|key| key.2 as i64).collect();
    let mut fields = vec![
        Field::new("campaign", DataType::Utf8, false),
        Field::new("stratum", DataType::Utf8, false),
        Field::new("slot", DataType::Int64, false),
        Field::new("mean", DataType::Float64, false),
        Field::new("stretch", DataType::Float64, false),
    ];
    let mut columns: Vec<ArrayRef> = vec![
        text(campaigns.iter().map(String::as_str).collect()),
        text(strata.iter().map(String::as_str).collect()),
        Arc::new(Int64Array::from(slots)),
        Arc::new(Float64Array::from_iter_values(sums.values().map(|(n, sum)| sum / n))),
        Arc::new(Float64Array::from_iter_values(sums.values().map(|(n, _)| n / (n - 1.0)))),
    ];
    for place in 0..request.by.len() {
        let value = |segment: usize| {
            let values = table.segments.get(segment).and_then(|values| values.get(place));
            values.and_then(|value| value.as_deref()).unwrap_or(MISSING)
        };
        fields.push(Field::new(format!("k{place}"), DataType::Utf8, false));
        columns.push(text(sums.keys().map(|key| value(key.3)).collect()));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Counts the messages of a session's recipients into a file of `recipient_id`, `n` (messages that count), and of each window
/// `n0` (messages) and `e0` (sum of residuals). The session is one that nobody else has. `recipients` are those of sessions
/// before this one.
pub(super) async fn count_own_messages(
    session: &QuerySession,
    known: &Known,
    request: &WindowsRequest,
    path: &Path,
    (progress, recipients): (&dyn Progress, &mut u64),
) -> Result<RecipientMoments> {
    let means = cell_means(known, request)?;
    session.context().register_table(MEANS, Arc::new(MemTable::try_new(means.schema(), vec![vec![means]])?))?;
    let grouping = Grouping::resolve(session, &request.by, "UTC").await?.with_history(session).await?;
    let slots = known.slots.len();
    let of_segment = grouping
        .expressions()
        .iter()
        .enumerate()
        .map(|(place, key)| format!(" AND c.k{place} = coalesce(arrow_cast({key}, 'Utf8'), '{MISSING}')"));
    let sums = (0..slots).map(|slot| {
        format!(
            "arrow_cast(count(*) FILTER (WHERE slot = {slot}), 'Float64') AS n{slot}, \
             arrow_cast(coalesce(sum(arrow_cast(residual, 'Decimal128(38, 12)')) FILTER (WHERE slot = {slot}), 0), 'Float64') AS e{slot}"
        )
    });
    // Sums of decimals do not hang on the order of rows, so that the same logs give the same file.
    let query = format!(
        "SELECT recipient_id, arrow_cast(count(*), 'Float64') AS n, {}, sum(residual * residual) AS squares FROM (\
         SELECT f.recipient_id, c.slot, ({} - c.mean) * c.stretch AS residual FROM message_facts AS f{} INNER JOIN {MEANS} AS c \
         ON c.campaign = coalesce(f.campaign_id, '') AND c.stratum = {PLACE} AND c.slot = arrow_cast({}, 'Int64'){} \
         WHERE f.recipient_id IS NOT NULL AND {WITH_PROPENSITY} AND {}) GROUP BY recipient_id",
        sums.collect_vec().join(", "),
        outcome_sql(session, request),
        grouping.join(),
        known.slots.sql("f.local_weekday", "f.local_hour"),
        of_segment.collect_vec().concat(),
        takes_part(session, request).await?,
    );
    let mut stream = session.sql(&query).await?.execute_stream().await?;
    let mut fields = vec![Field::new("recipient_id", DataType::Utf8, false), Field::new("n", DataType::Float64, false)];
    for slot in 0..slots {
        fields.extend(["n", "e"].map(|kind| Field::new(format!("{kind}{slot}"), DataType::Float64, false)));
    }
    let schema = Arc::new(Schema::new(fields));
    let mut file = TableFile::at(path, Arc::clone(&schema))?;
    let mut moments = RecipientMoments::default();
    let mut cells = vec![RecipientCell::default(); slots];
    while let Some(batch) = stream.next().await {
        check_cancelled(progress)?;
        let batch = batch?;
        let numbers: Vec<&Float64Array> =
            (2..batch.num_columns()).map(|column| batch.column(column).as_primitive::<Float64Type>()).collect();
        for row in 0..batch.num_rows() {
            for (slot, cell) in cells.iter_mut().enumerate() {
                *cell = RecipientCell { n: numbers[2 * slot].value(row), residuals: numbers[2 * slot + 1].value(row) };
            }
            let squares = numbers[2 * slots];
            moments.add(&cells, if squares.is_null(row) { 0.0 } else { squares.value(row) })?;
        }
        *recipients += batch.num_rows() as u64;
        let mut columns = vec![arrow::compute::cast(batch.column(0), &DataType::Utf8)?];
        columns.extend(batch.columns()[1..2 * slots + 2].iter().cloned());
        file.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        progress.at("reading recipients", *recipients, None);
    }
    file.finish()?.0.keep()?;
    Ok(moments)
}
