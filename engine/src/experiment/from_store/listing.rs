//! Which experiments the store knows of, and where each comes from.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;
use serde::Serialize;

use crate::error::Result;
use crate::experiment::definition::ExperimentDefinition;
use crate::query::{QuerySession, text_literal};

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

/// Where an experiment comes from, by the rules of [`list_experiments`], without counting any.
pub(super) async fn source_of(session: &QuerySession, id: &str) -> Result<Option<&'static str>> {
    let id = text_literal(id);
    let assigned = format!("SELECT 1 FROM assignments WHERE experiment_id = {id} LIMIT 1");
    let sent = format!("SELECT 1 FROM message_facts WHERE experiment_id = {id} AND variant IS NOT NULL LIMIT 1");
    let campaign = format!(
        "SELECT 1 FROM (SELECT min(variant) AS first, max(variant) AS last FROM message_facts \
         WHERE campaign_id = {id} AND experiment_id IS NULL) WHERE first < last"
    );
    for (source, query) in [("assignments", assigned), ("sends", sent), ("campaign", campaign)] {
        if session.has_rows(&query).await? {
            return Ok(Some(source));
        }
    }
    Ok(None)
}
