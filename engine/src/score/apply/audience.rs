//! Whom to send to: known only when everybody is, so that the file is written without it first and then again, marked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::datatypes::{Float64Type, SchemaRef};

use super::rows::{ELIGIBLE, EXPECTED_PROFIT, IN_AUDIENCE, SCORE, column};
use super::summary::AudienceSummary;
use crate::error::{EngineError, Result};
use crate::score::ALPHA;
use crate::score::economics::{MessageProfit, PolicyProfit};
use crate::stats::audience::{Audience, AudienceLimits, AudienceUnits, Uncertainty, choose_audience};
use crate::stats::distribution::normal::critical_value;
use crate::stats::uplift::by_prediction::EffectsByPrediction;
use crate::table_file::TableFile;

/// What an audience is chosen from.
#[derive(Default)]
pub(super) struct Candidates {
    effects: Vec<f64>,
    profits: Vec<f64>,
}

impl Candidates {
    pub(super) fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let effects = column(rows, SCORE)?.as_primitive::<Float64Type>();
        let profits = column(rows, EXPECTED_PROFIT)?.as_primitive::<Float64Type>();
        let eligible = column(rows, ELIGIBLE)?.as_boolean();
        for row in 0..rows.num_rows() {
            let may = eligible.is_valid(row) && eligible.value(row) && profits.is_valid(row);
            // One who may not be sent to is worth nothing.
            self.profits.push(if may { profits.value(row) } else { 0.0 });
            self.effects.push(effects.value(row));
        }
        Ok(())
    }

    pub(super) fn choose(&self, cost: f64, limits: AudienceLimits) -> Result<Audience> {
        let costs = vec![cost; self.profits.len()];
        let units = AudienceUnits { profit: &self.profits, cost: &costs, uncertainty: Uncertainty::Unknown };
        Ok(choose_audience(units, limits, ALPHA)?)
    }

    /// The audience, with what the experiment's own units say of such a one.
    pub(super) fn summary(
        &self,
        chosen: &Audience,
        profit: &MessageProfit,
        effects: &EffectsByPrediction,
    ) -> AudienceSummary {
        let mut notes: Vec<String> = chosen.note.iter().cloned().collect();
        let mut like = effects.audience();
        // What is predicted of a member less its profit: what its message costs, opt-outs included.
        let mut costs = 0.0;
        let members = self.effects.iter().zip(&self.profits).zip(&chosen.chosen).filter(|(_, chosen)| **chosen);
        for ((effect, expected), _) in members {
            like.add(*effect);
            costs += effect * profit.margin - expected;
        }
        let mean = like.mean_effect(critical_value(ALPHA));
        #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
        let by_experiment = mean.map(|mean| PolicyProfit::of(&mean, profit.margin, costs, chosen.units as f64));
        if by_experiment.as_ref().is_some_and(|profit| profit.per_recipient.low.is_some_and(|low| low <= 0.0)) {
            notes.push("the experiment cannot tell the profit of such an audience from a loss".to_owned());
        }
        AudienceSummary::new(chosen, by_experiment, notes)
    }
}

/// The file that is being written.
pub(super) struct Pending<'a> {
    file: TableFile,
    out: &'a Path,
    schema: SchemaRef,
    pub(super) rows: u64,
    /// Where it is written without the audience first.
    unmarked: Option<PathBuf>,
}

impl<'a> Pending<'a> {
    pub(super) fn new(scratch: &Path, out: &'a Path, with_audience: bool, schema: SchemaRef) -> Result<Self> {
        let unmarked = with_audience.then(|| scratch.join("without_audience.parquet"));
        let file = TableFile::at(unmarked.as_deref().unwrap_or(out), Arc::clone(&schema))?;
        Ok(Self { file, unmarked, out, schema, rows: 0 })
    }

    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows() as u64;
        Ok(self.file.write(rows)?)
    }

    /// Writes the file again, with whom to send to.
    pub(super) fn mark(self, chosen: &[bool]) -> Result<Self> {
        let Some(unmarked) = &self.unmarked else { return Ok(self) };
        self.file.finish()?.0.keep()?;
        let input = std::fs::File::open(unmarked).map_err(EngineError::io("read", unmarked))?;
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(input)?.build()?;
        let mut file = TableFile::at(self.out, Arc::clone(&self.schema))?;
        let marked = self.schema.index_of(IN_AUDIENCE)?;
        let mut place = 0;
        for batch in reader {
            let batch = batch?;
            let end = place + batch.num_rows();
            let mut columns = batch.columns().to_vec();
            columns[marked] = Arc::new(BooleanArray::from(chosen[place..end].to_vec()));
            file.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
            place = end;
        }
        Ok(Self { file, unmarked: None, ..self })
    }

    /// Gives the file its name; how many rows it has.
    pub(super) fn finish(self) -> Result<u64> {
        self.file.finish()?.0.keep()?;
        Ok(self.rows)
    }
}
