//! Whether features and scores are still what they were when a model was trained.

use serde::{Deserialize, Serialize};

use super::ALPHA;
use super::features::{ColumnKind, Encoding};
use crate::error::Result;
use crate::stats::FeatureMatrix;
use crate::stats::population_stability::{
    PopulationStability, QuantileBins, StabilityVerdict, population_stability_index,
};

/// How a feature's units are counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bins {
    /// By value; a column of the matrix.
    Values { column: usize, bins: QuantileBins },
    /// By category: so many columns of the matrix from one on, and one bin more for a missing value.
    Categories { first: usize, columns: usize },
}

impl Bins {
    fn counts(&self, features: &FeatureMatrix) -> Vec<u64> {
        match self {
            Self::Values { column, bins } => bins.counts(features.column(*column)),
            Self::Categories { first, columns } => {
                let mut counts: Vec<u64> = (*first..first + columns)
                    .map(|column| features.column(column).iter().filter(|value| **value > 0.5).count() as u64)
                    .collect();
                counts.push(features.rows() as u64 - counts.iter().sum::<u64>());
                counts
            }
        }
    }
}

/// One feature, or the score, as training saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counted {
    name: String,
    bins: Bins,
    counts: Vec<u64>,
}

/// What training saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DriftReference {
    features: Vec<Counted>,
    score: QuantileBins,
    score_counts: Vec<u64>,
}

impl DriftReference {
    pub(super) fn of(encoding: &Encoding, features: &FeatureMatrix, scores: &[f64]) -> Self {
        let mut place = 0;
        let counted = encoding
            .columns
            .iter()
            .map(|column| {
                let bins = match &column.kind {
                    ColumnKind::Number { .. } => {
                        Bins::Values { column: place, bins: QuantileBins::of_training(features.column(place)) }
                    }
                    ColumnKind::Category { values } => Bins::Categories { first: place, columns: values.len() + 1 },
                };
                place += column.width();
                Counted { name: column.name.clone(), counts: bins.counts(features), bins }
            })
            .collect();
        let score = QuantileBins::of_training(scores);
        Self { features: counted, score_counts: score.counts(scores), score }
    }
}

/// What a scoring sees, batch by batch.
pub(super) struct DriftCounts {
    features: Vec<Vec<u64>>,
    score: Vec<u64>,
}

impl DriftCounts {
    pub(super) fn new(reference: &DriftReference) -> Self {
        Self {
            features: reference.features.iter().map(|feature| vec![0; feature.counts.len()]).collect(),
            score: vec![0; reference.score_counts.len()],
        }
    }

    pub(super) fn add(&mut self, reference: &DriftReference, features: &FeatureMatrix, scores: &[f64]) {
        let add = |sums: &mut Vec<u64>, more: Vec<u64>| sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        for (sums, feature) in self.features.iter_mut().zip(&reference.features) {
            add(sums, feature.bins.counts(features));
        }
        add(&mut self.score, reference.score.counts(scores));
    }

    pub(super) fn finish(self, reference: &DriftReference) -> Result<Drift> {
        let score = population_stability_index(&reference.score_counts, &self.score, ALPHA)?;
        let mut features = self
            .features
            .iter()
            .zip(&reference.features)
            .map(|(now, then)| {
                let stability = population_stability_index(&then.counts, now, ALPHA)?;
                Ok(FeatureDrift::of(&then.name, &stability))
            })
            .collect::<Result<Vec<_>>>()?;
        features.sort_by(|left, right| right.index.unwrap_or(0.0).total_cmp(&left.index.unwrap_or(0.0)));
        Ok(Drift { score: FeatureDrift::of("score", &score), features })
    }
}

/// How far a feature or the score has moved since training: the population stability index (Siddiqi 2006), below 0.1 for
/// hardly, above 0.25 for so far that a model should be trained anew.
#[derive(Debug, Clone, Serialize)]
pub struct FeatureDrift {
    /// The feature.
    pub name: String,
    /// The index; none without units.
    pub index: Option<f64>,
    /// The index that chance exceeds in one of twenty.
    pub critical_value: Option<f64>,
    /// What follows.
    pub verdict: StabilityVerdict,
}

impl FeatureDrift {
    fn of(name: &str, stability: &PopulationStability) -> Self {
        Self {
            name: name.to_owned(),
            index: stability.index,
            critical_value: stability.critical_value,
            verdict: stability.verdict,
        }
    }
}

/// Drift of the score and of every feature, the greatest first.
#[derive(Debug, Clone, Serialize)]
pub struct Drift {
    /// Of the score.
    pub score: FeatureDrift,
    /// Of the features.
    pub features: Vec<FeatureDrift>,
}
