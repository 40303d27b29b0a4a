//! A model as it is told: how it was made and how good it is, without what only a program wants to know of it.

use serde::Serialize;
use serde_json::Value;

use super::model::{ModelSummary, ScoreModel};
use crate::error::Result;

/// Parts of a scorer that say nothing to a reader.
const FOR_PROGRAMS: [&str; 3] = ["classifier", "model", "calibration"];

/// A model with how good it is.
#[derive(Debug, Clone, Serialize)]
pub struct ModelDetails {
    /// The model in short.
    pub model: ModelSummary,
    /// How good it is, and those that were tried and not chosen.
    pub quality: Value,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

impl ScoreModel {
    /// The model with how good it is.
    ///
    /// # Errors
    /// When it cannot be put into JSON.
    pub fn details(&self) -> Result<ModelDetails> {
        let mut quality = serde_json::to_value(&self.scorer)?;
        if let Some(fields) = quality.as_object_mut() {
            for part in FOR_PROGRAMS {
                fields.remove(part);
            }
        }
        Ok(ModelDetails { model: self.summary(), quality, notes: self.notes.clone() })
    }
}
