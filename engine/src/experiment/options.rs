//! What an analyst may choose about an analysis, and how metrics are named.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::margins::MarginSpec;
use crate::error::EngineError;

/// How p values are adjusted for the number of comparisons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Holm 1979: no more than alpha chance of any false finding.
    #[default]
    Holm,
    /// Benjamini–Hochberg 1995: no more than alpha of the findings false, on average.
    BenjaminiHochberg,
    /// None.
    None,
}

impl FromStr for Correction {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "holm" => Ok(Self::Holm),
            "bh" => Ok(Self::BenjaminiHochberg),
            "none" => Ok(Self::None),
            other => Err(EngineError::usage(format!("\"{other}\" is not a correction: use holm, bh or none"))),
        }
    }
}

impl Correction {
    /// Adjusts a family of p values; a missing one stays missing and does not count.
    pub(crate) fn adjust(self, p_values: &[Option<f64>]) -> crate::error::Result<Vec<Option<f64>>> {
        Ok(match self {
            Self::Holm => crate::stats::holm_available(p_values)?,
            Self::BenjaminiHochberg => crate::stats::benjamini_hochberg_available(p_values)?,
            Self::None => p_values.to_vec(),
        })
    }
}

/// The kind of a metric, which decides how arms are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Yes or no for each unit.
    Proportion,
    /// A number for each unit.
    Mean,
}

/// A metric of a unit table: `NAME`, `NAME:proportion` or `NAME:mean`. Without a kind, a column of zeros and ones is a
/// proportion and any other a mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricSpec {
    /// The column.
    pub name: String,
    /// The kind, if the user says it.
    pub kind: Option<MetricKind>,
}

impl FromStr for MetricSpec {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let (name, kind) = match text.rsplit_once(':') {
            None => (text, None),
            Some((name, "proportion")) => (name, Some(MetricKind::Proportion)),
            Some((name, "mean")) => (name, Some(MetricKind::Mean)),
            Some((_, kind)) => {
                return Err(EngineError::usage(format!(
                    "metric \"{text}\": kind \"{kind}\" is not available in this version; use NAME, NAME:proportion or NAME:mean"
                )));
            }
        };
        if name.is_empty() {
            return Err(EngineError::usage(format!("metric \"{text}\" has no name")));
        }
        Ok(Self { name: name.to_owned(), kind })
    }
}

/// What an analyst may choose about an analysis.
#[derive(Debug, Clone)]
pub struct AnalysisOptions {
    /// The control arm; by default the one named control or A, else the first.
    pub control: Option<String>,
    /// Two-sided error, 0 to 1.
    pub alpha: f64,
    /// Planned share of each arm; equal shares are assumed where it is not given.
    pub allocation: Vec<(String, f64)>,
    /// Adjustment of p values.
    pub correction: Correction,
    /// Columns whose values are looked at one by one.
    pub segments: Vec<String>,
    /// For an experiment of the store the metrics to analyse, the first of which decides; by default click, conversion,
    /// revenue and the guardrail `opt_out`.
    pub metrics: Vec<String>,
    /// Always-valid intervals, tightest at so many units of both arms together, a number that must not follow the data;
    /// none without them.
    pub sequential: Option<u64>,
    /// Whether the Bayesian reading stands beside the tests.
    pub bayesian: bool,
    /// Margins by which an arm may be worse on a metric.
    pub margins: Vec<MarginSpec>,
    /// Whether every arm is also compared with every other.
    pub all_pairs: bool,
}

impl Default for AnalysisOptions {
    fn default() -> Self {
        Self {
            control: None,
            alpha: 0.05,
            allocation: Vec::new(),
            correction: Correction::default(),
            segments: Vec::new(),
            metrics: Vec::new(),
            sequential: None,
            bayesian: false,
            margins: Vec::new(),
            all_pairs: false,
        }
    }
}

/// Reads `A=0.5,B=0.5`.
///
/// # Errors
/// When a part has no share or the share is no positive number.
pub fn parse_allocation(text: &str) -> Result<Vec<(String, f64)>, EngineError> {
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let wrong = || EngineError::usage(format!("allocation \"{part}\": write ARM=SHARE, as in A=0.5,B=0.5"));
            let (arm, share) = part.split_once('=').ok_or_else(wrong)?;
            let share: f64 = share.trim().parse().map_err(|_| wrong())?;
            if !share.is_finite() || share < 0.0 {
                return Err(wrong());
            }
            Ok((arm.trim().to_owned(), share))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_and_allocations_are_read() {
        assert_eq!("visit".parse::<MetricSpec>().unwrap().kind, None);
        assert_eq!("spend:mean".parse::<MetricSpec>().unwrap().kind, Some(MetricKind::Mean));
        assert!("spend:median".parse::<MetricSpec>().unwrap_err().to_string().contains("median"));
        assert_eq!(parse_allocation("A=0.95, B=0.05").unwrap()[1], ("B".to_owned(), 0.05));
        assert!(parse_allocation("A:1").is_err() && parse_allocation("A=x").is_err());
    }
}
