//! How metrics are named, and what is compared: a share, a mean, a ratio of sums, a quantile.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::EngineError;

/// Of the values that are not zero, the share that winsorising cuts where nothing is said.
const DEFAULT_SHARE_CUT: f64 = 0.01;

/// The kind of a metric, which decides how arms are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Yes or no for each unit.
    Proportion,
    /// A number for each unit.
    Mean,
    /// A sum over all units by another sum: revenue per click.
    Ratio,
    /// A quantile of the units' numbers.
    Quantile,
}

/// What is compared of a column.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum MetricForm {
    /// A proportion where all values are zeros and ones, else a mean.
    #[default]
    ByValues,
    /// The share of ones.
    Proportion,
    /// The mean.
    Mean,
    /// The mean, with the greatest values of all arms together cut to one limit.
    Winsorised {
        /// Of the values that are not zero, the share that lies beyond the limit, 0 to 1.
        share_cut: f64,
    },
    /// The mean of ln(1 + value).
    Logarithm,
    /// The sum of the column by the sum of another.
    Ratio {
        /// The other column.
        denominator: String,
    },
    /// A quantile.
    Quantile {
        /// The share of values below it, between 0 and 1.
        share: f64,
    },
}

/// A metric: `NAME`, or `NAME:FORM`, where the form is `proportion`, `mean`, `winsorised[=SHARE]`, `log`, `quantile=Q` or
/// `ratio=DENOMINATOR`. Without a form, a column of zeros and ones is a proportion and any other a mean.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSpec {
    /// The column.
    pub name: String,
    /// What is compared of it.
    pub form: MetricForm,
}

impl MetricSpec {
    /// What tells it from other metrics of the same column, such as `quantile 0.9`; nothing where the kind says it all.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match &self.form {
            MetricForm::ByValues | MetricForm::Proportion | MetricForm::Mean => None,
            MetricForm::Winsorised { share_cut } => Some(format!("winsorised {share_cut}")),
            MetricForm::Logarithm => Some("log".to_owned()),
            MetricForm::Ratio { denominator } => Some(format!("per {denominator}")),
            MetricForm::Quantile { share } => Some(format!("quantile {share}")),
        }
    }

    /// The column that the metric's sum is divided by, of a ratio.
    pub(crate) fn denominator(&self) -> Option<&str> {
        match &self.form {
            MetricForm::Ratio { denominator } => Some(denominator),
            _ => None,
        }
    }
}

impl std::fmt::Display for MetricSpec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.detail() {
            Some(detail) => write!(formatter, "{} ({detail})", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

impl FromStr for MetricSpec {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let (name, form) = match text.rsplit_once(':') {
            None => (text, MetricForm::ByValues),
            Some((name, form)) => (name, form_of(form).map_err(|why| wrong(text, &why))?),
        };
        let name = name.trim();
        if name.is_empty() {
            return Err(wrong(text, "it has no name"));
        }
        Ok(Self { name: name.to_owned(), form })
    }
}

fn wrong(text: &str, why: &str) -> EngineError {
    EngineError::usage(format!(
        "metric \"{text}\": {why}; use NAME, NAME:proportion, NAME:mean, NAME:winsorised=SHARE, NAME:log, NAME:quantile=Q \
         or NAME:ratio=DENOMINATOR"
    ))
}

fn form_of(text: &str) -> Result<MetricForm, String> {
    let (form, value) = match text.split_once('=') {
        Some((form, value)) => (form.trim(), Some(value.trim())),
        None => (text.trim(), None),
    };
    let share = |value: &str| {
        let share = value.parse::<f64>().ok().filter(|share| *share > 0.0 && *share < 1.0);
        share.ok_or_else(|| format!("\"{value}\" is not between 0 and 1"))
    };
    match (form, value) {
        ("proportion", None) => Ok(MetricForm::Proportion),
        ("mean", None) => Ok(MetricForm::Mean),
        ("log", None) => Ok(MetricForm::Logarithm),
        ("winsorised" | "winsorized", None) => Ok(MetricForm::Winsorised { share_cut: DEFAULT_SHARE_CUT }),
        ("winsorised" | "winsorized", Some(value)) => Ok(MetricForm::Winsorised { share_cut: share(value)? }),
        ("quantile", Some(value)) => Ok(MetricForm::Quantile { share: share(value)? }),
        ("ratio", Some(value)) if !value.is_empty() => Ok(MetricForm::Ratio { denominator: value.to_owned() }),
        ("quantile", None) => Err("a quantile needs the share of values below it, as in quantile=0.9".to_owned()),
        ("ratio", _) => Err("a ratio needs the column to divide by, as in ratio=clicks".to_owned()),
        _ => Err(format!("there is no kind \"{text}\"")),
    }
}

/// A metric's name with what tells it from others of the same name.
pub(crate) fn labelled(name: &str, detail: Option<&str>) -> String {
    detail.map_or_else(|| name.to_owned(), |detail| format!("{name} ({detail})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let form = |text: &str| text.parse::<MetricSpec>().map(|spec| spec.form).map_err(|error| error.to_string());
        assert_eq!(form("visit"), Ok(MetricForm::ByValues));
        assert_eq!(form("spend:mean"), Ok(MetricForm::Mean));
        assert_eq!(form("spend:winsorized"), Ok(MetricForm::Winsorised { share_cut: 0.01 }));
        assert_eq!(form("spend:winsorised=0.05"), Ok(MetricForm::Winsorised { share_cut: 0.05 }));
        assert_eq!(form("spend:quantile=0.9"), Ok(MetricForm::Quantile { share: 0.9 }));
        assert_eq!(form("a:b:ratio=clicks"), Ok(MetricForm::Ratio { denominator: "clicks".to_owned() }));
        for wrong in
            ["spend:median", "spend:quantile", "spend:quantile=1", "spend:ratio", "spend:ratio=", ":mean", "x:log=2"]
        {
            let error = form(wrong).unwrap_err();
            assert!(error.contains(wrong) && error.contains("quantile=Q"), "{error}");
        }
    }
}
