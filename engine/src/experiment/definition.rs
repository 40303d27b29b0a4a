//! The definition of an experiment: a small TOML file, written before the first look and kept in the store.
//!
//! ```toml
//! name = "spring-copy"            # what the experiment is called
//! campaign = "spring-sale"        # whose messages it has; without it those that carry the name
//! filter = "country = 'DE'"       # a condition in SQL on the columns of message_facts
//! control = "A"
//! arms = { A = 0.5, B = 0.5 }     # the planned shares
//! primary = "conversion"
//! secondary = ["click", "revenue:winsorised=0.01"]
//! guardrails = ["opt_out", "delivery"]
//! minimum_effect = "0.5pp"        # the smallest effect worth having: pp, % of the control, or the metric's own units
//! window_days = 7                 # within which a conversion counts
//!
//! [margins]                       # by how much a metric may get worse
//! opt_out = "0.2pp"
//!
//! [costs]                         # in one currency; a unit of the primary metric is worth `value`
//! value = 20.0
//! opt_out = 5.0
//! message = 0.04                  # where the logs have no cost
//!
//! [analysis]
//! alpha = 0.05
//! correction = "holm"
//! sequential = true
//! planned_units = 20000
//! bayesian = false
//! segments = ["country"]
//! covariates = ["pre_period"]
//! post_stratify = "age_band"
//! interval = "miettinen-nurminen" # of shares; score unless given
//! exact = "barnard"               # of shares, whatever the counts: fisher, barnard or boschloo
//!
//! [equivalence]                   # within which an arm counts as the same as the control
//! delivery = "1pp"
//! ```
//!
//! What is said on the command line or in a request is laid over it.

use std::collections::BTreeMap;
use std::ops::Range;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use deltalake::Path as ObjectPath;
use object_store::ObjectStoreExt as _;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::from_store::check_metric;
use super::margins::MarginSpec;
use super::metric::MetricSpec;
use super::options::{AnalysisOptions, Correction, refused_shares};
use super::proportion_methods::ProportionMethods;
use super::sequential::DEFAULT_PLANNED_UNITS;
use crate::error::{EngineError, Result};
use crate::store::Store;

/// Where definitions are kept, a folder of the store that Delta readers do not look into.
const FOLDER: &str = "_experiments";

/// What an effect or a message is worth, in one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Costs {
    /// Of one unit of the primary metric: one conversion, or 1.0 where it is an amount already.
    pub value: Option<f64>,
    /// Of one recipient who opts out.
    pub opt_out: Option<f64>,
    /// Of one message, where the logs do not say what it cost.
    pub message: Option<f64>,
}

/// The smallest effect worth having.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MinimumEffect {
    /// In the metric's own units.
    Difference(f64),
    /// Relative to the control.
    Lift(f64),
}

impl MinimumEffect {
    /// In the metric's own units, for a control's mean.
    pub(crate) fn difference(self, baseline: f64) -> f64 {
        match self {
            Self::Difference(difference) => difference,
            Self::Lift(lift) => lift * baseline.abs(),
        }
    }
}

/// Costs with their places in the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CostsTable {
    value: Option<Spanned<f64>>,
    opt_out: Option<Spanned<f64>>,
    message: Option<Spanned<f64>>,
}

impl CostsTable {
    /// The costs, or where one is that is no amount, and why.
    fn checked(self) -> std::result::Result<Costs, (Range<usize>, String)> {
        let amount = |name: &str, cost: Option<Spanned<f64>>| match cost {
            Some(cost) if !(0.0..=1e15).contains(cost.get_ref()) => {
                Err((cost.span(), format!("the cost \"{name}\" is no amount of zero or more")))
            }
            cost => Ok(cost.map(Spanned::into_inner)),
        };
        Ok(Costs {
            value: amount("value", self.value)?,
            opt_out: amount("opt_out", self.opt_out)?,
            message: amount("message", self.message)?,
        })
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AnalysisTable {
    alpha: Option<Spanned<f64>>,
    correction: Option<Spanned<String>>,
    sequential: bool,
    planned_units: Option<Spanned<u64>>,
    bayesian: bool,
    all_pairs: bool,
    interval: Option<Spanned<String>>,
    exact: Option<Spanned<String>>,
    segments: Vec<String>,
    covariates: Vec<String>,
    post_stratify: Option<String>,
}

impl AnalysisTable {
    /// How shares are compared, or where that is not known, and why.
    fn proportions(&self) -> std::result::Result<ProportionMethods, (Range<usize>, String)> {
        let text = |asked: Option<&Spanned<String>>| asked.map(|asked| asked.get_ref().clone());
        let read = |interval: Option<&Spanned<String>>, exact: Option<&Spanned<String>>| {
            let asked = interval.or(exact).map_or(0..0, Spanned::span);
            ProportionMethods::read(text(interval).as_deref(), text(exact).as_deref())
                .map_err(|error| (asked, error.to_string()))
        };
        Ok(ProportionMethods { exact: read(None, self.exact.as_ref())?.exact, ..read(self.interval.as_ref(), None)? })
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    campaign: Option<String>,
    filter: Option<Spanned<String>>,
    control: Option<Spanned<String>>,
    #[serde(default)]
    arms: BTreeMap<String, Spanned<f64>>,
    #[serde(default)]
    unit: Option<Spanned<String>>,
    primary: Spanned<String>,
    #[serde(default)]
    secondary: Vec<Spanned<String>>,
    #[serde(default)]
    guardrails: Vec<Spanned<String>>,
    minimum_effect: Option<Spanned<NumberOrText>>,
    window_days: Option<Spanned<u32>>,
    #[serde(default)]
    margins: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    equivalence: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    costs: CostsTable,
    #[serde(default)]
    analysis: AnalysisTable,
}

impl File {
    /// Why the arms, or the control among them, cannot be, and where.
    fn check_arms(&self) -> std::result::Result<(), (Range<usize>, String)> {
        for (arm, share) in &self.arms {
            if !share.get_ref().is_finite() || *share.get_ref() < 0.0 {
                return Err((share.span(), format!("the share of arm \"{arm}\" is no positive number")));
            }
        }
        let Some(first) = self.arms.values().next() else { return Ok(()) };
        if let Some(why) = refused_shares(self.arms.values().map(|share| *share.get_ref())) {
            return Err((first.span(), why));
        }
        if self.arms.values().filter(|share| *share.get_ref() > 0.0).count() < 2 {
            return Err((first.span(), "an experiment needs two arms with a share above zero".to_owned()));
        }
        if let Some(control) = self.control.as_ref().filter(|control| !self.arms.contains_key(control.get_ref())) {
            let arms: Vec<&str> = self.arms.keys().map(String::as_str).collect();
            let why = format!("the control \"{}\" is none of the arms {}", control.get_ref(), arms.join(", "));
            return Err((control.span(), why));
        }
        Ok(())
    }
}

/// The definition of an experiment, checked.
#[derive(Debug, Clone)]
pub struct ExperimentDefinition {
    /// What the experiment is called.
    pub name: String,
    /// The campaign whose messages it has; without one those that carry the name.
    pub campaign: Option<String>,
    /// A condition in SQL on the columns of `message_facts`.
    pub filter: Option<String>,
    /// Days within which a conversion counts, where they are not those of the store.
    pub window_days: Option<u32>,
    /// How it is analysed.
    options: AnalysisOptions,
    /// The file as it was written.
    pub text: String,
}

/// Days of the longest window: ten years.
const LONGEST_WINDOW: u32 = 3_660;

impl ExperimentDefinition {
    /// Reads a definition; `source` names the file in errors.
    ///
    /// # Errors
    /// With the line, when the file is no TOML, or something in it cannot be.
    pub fn read(text: &str, source: &str) -> Result<Self> {
        let line = |span: Range<usize>| text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
        let wrong = |span: Range<usize>, why: &str| EngineError::usage(format!("{source} line {}: {why}", line(span)));
        let file: File = toml::from_str(text).map_err(|error: toml::de::Error| {
            let place = error.span().map_or(String::new(), |span| format!(" line {}", line(span)));
            EngineError::usage(format!("{source}{place}: {}", error.message()))
        })?;
        let name = file.name.get_ref().trim().to_owned();
        if name.is_empty() || name.contains(['/', '\\']) {
            return Err(wrong(file.name.span(), "the name is empty or has a slash in it"));
        }
        if let Some(unit) = file.unit.as_ref().filter(|unit| unit.get_ref() != "recipient") {
            return Err(wrong(unit.span(), "the unit of an experiment of the store is the recipient"));
        }
        file.check_arms().map_err(|(span, why)| wrong(span, &why))?;
        if let Some(filter) = &file.filter
            && let Some(why) = refused_condition(filter.get_ref())
        {
            return Err(wrong(filter.span(), &format!("the filter is no condition in SQL: {why}")));
        }
        let costs = file.costs.checked().map_err(|(span, why)| wrong(span, &why))?;
        let listed = std::iter::once(&file.primary).chain(&file.secondary).chain(&file.guardrails);
        let mut metrics = Vec::new();
        for metric in listed {
            let known = metric.get_ref().parse::<MetricSpec>().and_then(|spec| check_metric(&spec));
            known.map_err(|error| wrong(metric.span(), &error.to_string()))?;
            if metrics.contains(metric.get_ref()) {
                let why = format!("the metric \"{}\" is named twice: it would count as two tests", metric.get_ref());
                return Err(wrong(metric.span(), &why));
            }
            metrics.push(metric.get_ref().clone());
        }
        let specs = |of: &BTreeMap<String, Spanned<String>>| {
            margin_specs(of, &metrics).map_err(|(span, why)| wrong(span, &why))
        };
        let (margins, equivalences) = (specs(&file.margins)?, specs(&file.equivalence)?);
        let minimum_effect = match &file.minimum_effect {
            None => None,
            Some(text) => Some(minimum_effect(&text.get_ref().text()).ok_or_else(|| {
                wrong(text.span(), "write the minimum effect as 0.5pp, 5% or a number above zero in the metric's units")
            })?),
        };
        if let Some(days) = file.window_days.as_ref().filter(|days| !(1..=LONGEST_WINDOW).contains(days.get_ref())) {
            return Err(wrong(days.span(), &format!("the window is 1 to {LONGEST_WINDOW} days")));
        }
        let analysis = file.analysis;
        if let Some(units) = analysis.planned_units.as_ref().filter(|units| *units.get_ref() == 0) {
            return Err(wrong(units.span(), "the planned units are at least one"));
        }
        let planned_units = analysis.planned_units.as_ref().map(|units| *units.get_ref());
        let proportions = analysis.proportions().map_err(|(span, why)| wrong(span, &why))?;
        let mut options = AnalysisOptions {
            control: file.control.map(Spanned::into_inner),
            allocation: file.arms.into_iter().map(|(arm, share)| (arm, share.into_inner())).collect(),
            segments: analysis.segments,
            guardrails: Some(file.guardrails.iter().map(|metric| metric.get_ref().clone()).collect()),
            metrics,
            sequential: analysis.sequential.then(|| planned_units.unwrap_or(DEFAULT_PLANNED_UNITS)),
            bayesian: analysis.bayesian,
            margins,
            equivalences,
            proportions,
            all_pairs: analysis.all_pairs,
            covariates: analysis.covariates,
            strata: analysis.post_stratify,
            minimum_effect,
            costs,
            ..AnalysisOptions::default()
        };
        if let Some(alpha) = analysis.alpha {
            if !(*alpha.get_ref() > 0.0 && *alpha.get_ref() < 1.0) {
                return Err(wrong(alpha.span(), "alpha is not between 0 and 1"));
            }
            options.alpha = alpha.into_inner();
        }
        if let Some(correction) = analysis.correction {
            options.correction = correction
                .get_ref()
                .parse::<Correction>()
                .map_err(|error| wrong(correction.span(), &error.to_string()))?;
        }
        Ok(Self {
            name,
            campaign: file.campaign,
            filter: file.filter.map(Spanned::into_inner),
            window_days: file.window_days.map(Spanned::into_inner),
            options,
            text: text.to_owned(),
        })
    }

    /// The columns and saved segments by which it is looked at where nothing else is asked for.
    #[must_use]
    pub fn groupings(&self) -> Vec<String> {
        self.options.groupings()
    }

    /// What was asked for, laid over the definition.
    pub(crate) fn under(&self, asked: &AnalysisOptions) -> AnalysisOptions {
        let defined = &self.options;
        let plain = AnalysisOptions::default();
        let list =
            |asked: &[String], defined: &[String]| if asked.is_empty() { defined.to_vec() } else { asked.to_vec() };
        AnalysisOptions {
            control: asked.control.clone().or_else(|| defined.control.clone()),
            alpha: if asked.is_alpha_given { asked.alpha } else { defined.alpha },
            allocation: if asked.allocation.is_empty() { defined.allocation.clone() } else { asked.allocation.clone() },
            correction: if asked.is_correction_given { asked.correction } else { defined.correction },
            segments: list(&asked.segments, &defined.segments),
            // Other metrics than those of the definition have other roles.
            guardrails: if asked.metrics.is_empty() { defined.guardrails.clone() } else { plain.guardrails },
            metrics: list(&asked.metrics, &defined.metrics),
            sequential: asked.sequential.or(defined.sequential.filter(|_| asked.looks.is_none())),
            bayesian: asked.bayesian || defined.bayesian,
            margins: if asked.margins.is_empty() && asked.metrics.is_empty() {
                defined.margins.clone()
            } else {
                asked.margins.clone()
            },
            equivalences: if asked.equivalences.is_empty() && asked.metrics.is_empty() {
                defined.equivalences.clone()
            } else {
                asked.equivalences.clone()
            },
            proportions: asked.proportions.or(defined.proportions),
            all_pairs: asked.all_pairs || defined.all_pairs,
            covariates: list(&asked.covariates, &defined.covariates),
            strata: asked.strata.clone().or_else(|| defined.strata.clone()),
            minimum_effect: defined.minimum_effect.filter(|_| asked.metrics.is_empty()),
            costs: if asked.metrics.is_empty() { defined.costs } else { Costs::default() },
            ..asked.clone()
        }
    }

    /// Keeps the definition in the store.
    ///
    /// # Errors
    /// When there is another one of that name and it is not to be replaced, or the store cannot be written to.
    pub async fn add_to(&self, store: &Store, replace: bool) -> Result<()> {
        if let Some(known) = Self::of(store, &self.name).await?
            && known.text != self.text
            && !replace
        {
            return Err(EngineError::usage(format!(
                "the store has another definition of \"{}\": an experiment is defined before it is looked at; --replace \
                 overwrites it",
                self.name
            )));
        }
        let Some(objects) = store.side_files(FOLDER, true)? else { return Ok(()) };
        let written = objects.put(&path(&self.name), self.text.clone().into_bytes().into()).await;
        written.map_err(deltalake::DeltaTableError::from)?;
        Ok(())
    }

    /// The definition of that name in a store.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub async fn of(store: &Store, name: &str) -> Result<Option<Self>> {
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(None) };
        let bytes = match objects.get(&path(name)).await {
            Ok(found) => found.bytes().await.map_err(deltalake::DeltaTableError::from)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(deltalake::DeltaTableError::from(error).into()),
        };
        let text = String::from_utf8_lossy(&bytes);
        Self::read(&text, &format!("{FOLDER}/{name}.toml")).map(Some)
    }

    /// All definitions of a store, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn all(store: &Store) -> Result<Vec<Self>> {
        use futures::TryStreamExt as _;
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut listed = object_store::ObjectStore::list(objects.as_ref(), None);
        while let Some(object) = listed.try_next().await.map_err(deltalake::DeltaTableError::from)? {
            let got = objects.get(&object.location).await.map_err(deltalake::DeltaTableError::from)?;
            let bytes = got.bytes().await.map_err(deltalake::DeltaTableError::from)?;
            let name = object.location.to_string();
            found.push(Self::read(&String::from_utf8_lossy(&bytes), &format!("{FOLDER}/{name}"))?);
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }
}

/// Reads margins by metric, or says where one is wrong, and why.
fn margin_specs(
    of: &BTreeMap<String, Spanned<String>>,
    metrics: &[String],
) -> std::result::Result<Vec<MarginSpec>, (Range<usize>, String)> {
    let spec = |(metric, margin): (&String, &Spanned<String>)| {
        if !metrics.contains(metric) {
            return Err((margin.span(), format!("\"{metric}\" is no metric of the experiment")));
        }
        let text = format!("{metric}={}", margin.get_ref());
        text.parse().map_err(|error: EngineError| (margin.span(), error.to_string()))
    };
    of.iter().map(spec).collect()
}

fn path(name: &str) -> ObjectPath {
    ObjectPath::from(format!("{name}.toml"))
}

/// A number, or a text with what it is of.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

impl NumberOrText {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

fn minimum_effect(text: &str) -> Option<MinimumEffect> {
    let positive = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    let text = text.trim();
    if let Some(points) = text.strip_suffix("pp") {
        positive(points).filter(|points| *points < 100.0).map(|points| MinimumEffect::Difference(points / 100.0))
    } else if let Some(percent) = text.strip_suffix('%') {
        positive(percent).map(|percent| MinimumEffect::Lift(percent / 100.0))
    } else {
        positive(text).map(MinimumEffect::Difference)
    }
}

/// Why a text is no condition, as far as its grammar tells; whether its columns exist is known when it is asked.
fn refused_condition(text: &str) -> Option<String> {
    let dialect = GenericDialect {};
    let parsed = Parser::new(&dialect).try_with_sql(text).and_then(|mut parser| {
        parser.parse_expr()?;
        parser.expect_token(&Token::EOF)
    });
    parsed.err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPRING: &str = r#"
name = "spring-copy"
campaign = "spring-sale"
control = "A"
arms = { A = 0.5, B = 0.5 }
primary = "conversion"
secondary = ["click"]
guardrails = ["opt_out"]
minimum_effect = "0.5pp"

[margins]
opt_out = "0.2pp"

[analysis]
alpha = 0.1
sequential = true
"#;

    #[test]
    fn a_definition_stands_under_what_is_asked_for() {
        let definition = ExperimentDefinition::read(SPRING, "spring.toml").unwrap();
        let defined = definition.under(&AnalysisOptions::default());
        assert_eq!(defined.metrics, ["conversion", "click", "opt_out"]);
        assert_eq!((defined.alpha, defined.sequential), (0.1, Some(DEFAULT_PLANNED_UNITS)));
        assert_eq!(defined.minimum_effect, Some(MinimumEffect::Difference(0.005)));
        let asked = AnalysisOptions {
            alpha: 0.05,
            is_alpha_given: true,
            metrics: vec!["click".to_owned()],
            ..AnalysisOptions::default()
        };
        let asked = definition.under(&asked);
        assert_eq!((asked.alpha, asked.metrics.len(), asked.margins.len()), (0.05, 1, 0));
        assert_eq!(asked.allocation.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (change, with, line, word) in [
            ("primary = \"conversion\"", "primary = \"sales\"", 6, "sales"),
            ("primary = \"conversion\"", "primary = 3", 6, "string"),
            ("control = \"A\"", "control = \"C\"", 4, "none of the arms"),
            ("minimum_effect = \"0.5pp\"", "minimum_effect = \"much\"", 9, "minimum effect"),
            ("alpha = 0.1", "alpha = 2.0", 15, "alpha"),
            ("sequential = true", "peeking = true", 16, "peeking"),
            ("opt_out = \"0.2pp\"", "revenue = \"0.2pp\"", 12, "no metric of the experiment"),
            ("arms = { A = 0.5, B = 0.5 }", "arms = { A = -1.0 }", 5, "share"),
            ("arms = { A = 0.5, B = 0.5 }", "arms = { A = 0.5 }", 5, "two arms"),
            ("arms = { A = 0.5, B = 0.5 }", "arms = { A = 0.5, B = 0.0 }", 5, "two arms"),
            ("secondary = [\"click\"]", "secondary = [\"click\", \"click\"]", 7, "named twice"),
            ("minimum_effect = \"0.5pp\"", "filter = \"country = = 'DE'\"", 9, "filter"),
            ("minimum_effect = \"0.5pp\"", "filter = \"country = 'DE') OR (1 = 1\"", 9, "filter"),
            ("sequential = true", "planned_units = 0", 16, "planned units"),
            ("name = \"spring-copy\"", "name = \"a/b\"", 2, "slash"),
            ("name = \"spring-copy\"", "name = ", 2, "spring.toml"),
        ] {
            let text = SPRING.replace(change, with);
            assert_ne!(text, SPRING, "{change}");
            let error = ExperimentDefinition::read(&text, "spring.toml").unwrap_err().to_string();
            assert!(error.contains(&format!("spring.toml line {line}:")) && error.contains(word), "{error}");
        }
    }
}
