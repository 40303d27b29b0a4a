//! What an analyst may choose about an analysis, and how p values are adjusted.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::definition::{Costs, MinimumEffect};
use super::margins::MarginSpec;
use super::proportion_methods::ProportionMethods;
use super::sequential::LooksSpec;
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

/// What an analyst may choose about an analysis.
#[derive(Debug, Clone)]
pub struct AnalysisOptions {
    /// The control arm; by default the one named control or A, else the first.
    pub control: Option<String>,
    /// Two-sided error, 0 to 1.
    pub alpha: f64,
    /// Whether it was given, and goes before that of a definition.
    pub is_alpha_given: bool,
    /// Planned share of each arm; equal shares are assumed where it is not given.
    pub allocation: Vec<(String, f64)>,
    /// Adjustment of p values.
    pub correction: Correction,
    /// Whether it was given, and goes before that of a definition.
    pub is_correction_given: bool,
    /// Columns whose values are looked at one by one; of the store also `segment:NAME` of a saved segment.
    pub segments: Vec<String>,
    /// For an experiment of the store the metrics to analyse, the first of which decides; by default click, conversion,
    /// revenue and the guardrail `opt_out`.
    pub metrics: Vec<String>,
    /// Which of the metrics can only alarm; by default opt-outs and cost.
    pub guardrails: Option<Vec<String>>,
    /// The smallest effect on the primary metric worth having.
    pub minimum_effect: Option<MinimumEffect>,
    /// What things are worth, in one currency.
    pub costs: Costs,
    /// Always-valid intervals, tightest at so many units of both arms together, a number that must not follow the data;
    /// none without them.
    pub sequential: Option<u64>,
    /// The looks made so far at a group-sequential plan, this one last; the decision rests on them.
    pub looks: Option<LooksSpec>,
    /// Whether the Bayesian reading stands beside the tests.
    pub bayesian: bool,
    /// Margins by which an arm may be worse on a metric.
    pub margins: Vec<MarginSpec>,
    /// Margins within which an arm has to lie to count as the same as the control on a metric.
    pub equivalences: Vec<MarginSpec>,
    /// How shares are compared, where the stated rule is not to choose.
    pub proportions: ProportionMethods,
    /// Whether every arm is also compared with every other.
    pub all_pairs: bool,
    /// Whether segments are searched for those in which an arm works, found on one half and measured on the other.
    pub search: bool,
    /// Whether the path over the days is shown: of a unit table the column of the day on which each unit entered.
    pub path: Option<String>,
    /// Columns of a unit table that were known before the assignment; results are adjusted for them, and then decide.
    pub covariates: Vec<String>,
    /// A column known before the assignment, by whose values results are post-stratified.
    pub strata: Option<String>,
    /// The column of a unit table that names what was randomised, where that is more than a row: a shop, a household.
    pub randomised_by: Option<String>,
}

impl Default for AnalysisOptions {
    fn default() -> Self {
        Self {
            control: None,
            alpha: 0.05,
            is_alpha_given: false,
            allocation: Vec::new(),
            correction: Correction::default(),
            is_correction_given: false,
            segments: Vec::new(),
            metrics: Vec::new(),
            guardrails: None,
            minimum_effect: None,
            costs: Costs::default(),
            sequential: None,
            looks: None,
            bayesian: false,
            margins: Vec::new(),
            equivalences: Vec::new(),
            proportions: ProportionMethods::default(),
            all_pairs: false,
            search: false,
            path: None,
            covariates: Vec::new(),
            strata: None,
            randomised_by: None,
        }
    }
}

impl AnalysisOptions {
    /// Refuses what contradicts itself, or would be left out without a word.
    ///
    /// # Errors
    /// Says which two things do not go together.
    pub(crate) fn check(&self) -> crate::error::Result<()> {
        let of_clusters = self.randomised_by.is_some();
        let wrong = [
            (
                self.sequential.is_some() && self.looks.is_some(),
                "looks at a plan and always-valid results are two plans: ask for one",
            ),
            (of_clusters && self.path.is_some(), "a path is of units: leave out the days, or what was randomised"),
            (
                of_clusters && self.proportions.exact.is_some(),
                "an exact test is of units: leave it out, or what was randomised",
            ),
            (self.search && self.segments.is_empty(), "a search is among segments: name their column"),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, why)) => Err(EngineError::usage(why)),
            None => Ok(()),
        }
    }

    /// The columns and saved segments by which an experiment of the store is looked at: those of the segments, then that of
    /// the strata.
    #[must_use]
    pub fn groupings(&self) -> Vec<String> {
        self.segments.iter().chain(&self.strata).cloned().collect()
    }
}

/// Why shares of arms cannot be: more than one together.
pub(crate) fn refused_shares(shares: impl IntoIterator<Item = f64>) -> Option<String> {
    let sum: f64 = shares.into_iter().sum();
    (sum > 1.0 + 1e-6).then(|| format!("the shares of the arms add up to {sum}: together they are 1 at most"))
}

/// Reads `A=0.5,B=0.5`; an arm whose name has a comma stands in double quotes, `"10 %, today"=0.5,B=0.5`.
///
/// # Errors
/// When a part has no share, the share is no positive number, or shares add up to more than one.
pub fn parse_allocation(text: &str) -> Result<Vec<(String, f64)>, EngineError> {
    let mut is_quoted = false;
    let shares: Vec<(String, f64)> = text
        .split(|letter| {
            is_quoted ^= letter == '"';
            letter == ',' && !is_quoted
        })
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let wrong = || {
                EngineError::usage(format!(
                    "allocation \"{part}\": write ARM=SHARE, as in A=0.5,B=0.5; an arm whose name has a comma stands in double quotes"
                ))
            };
            let (arm, share) = part.rsplit_once('=').ok_or_else(wrong)?;
            let arm = arm.trim();
            let arm = arm.strip_prefix('"').and_then(|arm| arm.strip_suffix('"')).unwrap_or(arm);
            let share: f64 = share.trim().parse().map_err(|_| wrong())?;
            if !share.is_finite() || share < 0.0 {
                return Err(wrong());
            }
            Ok((arm.to_owned(), share))
        })
        .collect::<Result<_, EngineError>>()?;
    match refused_shares(shares.iter().map(|(_, share)| *share)) {
        Some(why) => Err(EngineError::usage(format!("allocation \"{text}\": {why}"))),
        None => Ok(shares),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_read() {
        assert_eq!(parse_allocation("A=0.95, B=0.05").unwrap()[1], ("B".to_owned(), 0.05));
        let odd = parse_allocation(r#""10 %, today"=0.5, a=b=0.3"#).unwrap();
        assert_eq!(odd, [("10 %, today".to_owned(), 0.5), ("a=b".to_owned(), 0.3)]);
        assert!(parse_allocation("A=0.7,B=0.7").is_err());
        assert!(parse_allocation("10 %, today=0.5,B=0.5").is_err());
        assert!(parse_allocation("A:1").is_err() && parse_allocation("A=x").is_err());
    }
}
