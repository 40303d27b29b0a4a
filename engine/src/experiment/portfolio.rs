//! All experiments at once: what the winners are worth once the luck of the best is taken off.
//!
//! Enters: the same metric of every experiment of a store. Leaves: each arm's effect drawn towards what experiments here
//! usually bring, how many of the declared winners are true, and which experiments share recipients.

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use serde::Serialize;

use super::checks::Verdict;
use super::from_store::{analyze_store, list_experiments};
use super::options::AnalysisOptions;
use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::stats::portfolio::{
    DeclaredWinners, ExperimentEffect, PortfolioEffect, PortfolioOptions, RecipientOverlap, analyse_portfolio,
    flag_overlaps,
};
use crate::stats::{Estimate, Heterogeneity};

/// Experiments of which one has so many of its recipients in another are flagged.
const LEAST_SHARE_SHARED: f64 = 0.1;

const SHARED: &str = "their results are not independent, and one may have moved the other";

/// What is asked of a portfolio.
#[derive(Debug, Clone)]
pub struct PortfolioRequest {
    /// The metric, one of the store's.
    pub metric: String,
    /// Two-sided error of each experiment.
    pub alpha: f64,
    /// The smallest effect worth having, in the metric's own units.
    pub minimum_effect: f64,
}

/// All experiments of a store on one metric.
#[derive(Debug, Clone, Serialize)]
pub struct ExperimentPortfolio {
    /// The metric; effects are differences in its own units.
    pub metric: String,
    /// What an experiment here usually brings.
    pub prior_mean: Estimate,
    /// How far effects spread, a standard deviation.
    pub prior_spread: Estimate,
    /// Whether they spread further than noise.
    pub heterogeneity: Heterogeneity,
    /// Each arm of each experiment.
    pub effects: Vec<NamedEffect>,
    /// Effects that are above zero, expected over all.
    pub expected_true_wins: Option<f64>,
    /// Effects above the smallest one worth having.
    pub expected_wins_above_minimum: Option<f64>,
    /// What the declared winners are worth.
    pub declared: DeclaredWinners,
    /// Experiments that share recipients: their results are not independent, and one may have moved the other.
    pub overlaps: Vec<SharedRecipients>,
    /// Experiments that take no part, and why.
    pub left_out: Vec<String>,
    /// What else a reader has to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One arm of an experiment.
#[derive(Debug, Clone, Serialize)]
pub struct NamedEffect {
    /// The experiment.
    pub experiment: String,
    /// The arm.
    pub arm: String,
    /// What it is held against.
    pub control: String,
    /// As found, and drawn towards the others.
    #[serde(flatten)]
    pub effect: PortfolioEffect,
}

/// Two experiments with recipients in common.
#[derive(Debug, Clone, Serialize)]
pub struct SharedRecipients {
    /// One.
    pub first: String,
    /// The other.
    pub second: String,
    /// Recipients in both.
    pub shared: u64,
    /// The same as a share of the smaller one's.
    pub share_of_smaller: f64,
    /// What that means.
    pub note: String,
}

/// Looks at all experiments of a store.
///
/// # Errors
/// When the store has no experiment that the metric can be told of.
pub async fn experiment_portfolio(session: &QuerySession, request: &PortfolioRequest) -> Result<ExperimentPortfolio> {
    let options = AnalysisOptions {
        metrics: vec![request.metric.clone()],
        alpha: request.alpha,
        is_alpha_given: true,
        ..AnalysisOptions::default()
    };
    let (mut names, mut effects, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_turned = false;
    let known = list_experiments(session).await?;
    for summary in known.iter().filter(|summary| summary.source != "definition") {
        let id = &summary.experiment_id;
        let analysis = match analyze_store(session, id, &options).await {
            Ok(analysis) => analysis,
            // One definition that does not fit its logs is no reason to tell nothing of the others.
            Err(
                why @ (EngineError::Usage(_)
                | EngineError::Refused(_)
                | EngineError::NotFound(_)
                | EngineError::Statistics(_)),
            ) => {
                left_out.push(format!("{id}: {why}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(failed) = analysis.checks.iter().find(|check| check.verdict == Verdict::Fail) {
            left_out.push(format!("{id}: check {} failed", failed.check));
            continue;
        }
        let Some(metric) = analysis.metrics.first() else {
            left_out.push(format!("{id}: the logs do not tell {}", request.metric));
            continue;
        };
        for comparison in &metric.comparisons {
            let difference = &comparison.comparison.difference;
            let square = |arm: &str| {
                let found = metric.arms.iter().find(|found| found.arm == arm)?;
                #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
                Some(found.variance? / found.n as f64)
            };
            let spread =
                square(&comparison.control).zip(square(&comparison.arm)).map(|(left, right)| (left + right).sqrt());
            let (Some(estimate), Some(standard_error)) = (difference.estimate, spread.filter(|spread| *spread > 0.0))
            else {
                left_out.push(format!("{id}, {}: too few units to say how sure it is", comparison.arm));
                continue;
            };
            is_turned |= metric.lower_is_better;
            let sign = if metric.lower_is_better { -1.0 } else { 1.0 };
            effects.push(ExperimentEffect { estimate: sign * estimate, standard_error, declared_winner: None });
            names.push((id.clone(), comparison.arm.clone(), comparison.control.clone()));
        }
    }
    if effects.is_empty() {
        return Err(EngineError::NotFound(format!(
            "there is no experiment whose {} can be compared{}",
            request.metric,
            if left_out.is_empty() { String::new() } else { format!(": {}", left_out.join("; ")) }
        )));
    }
    if effects.len() < 2 {
        return Err(EngineError::NotFound(format!(
            "a portfolio takes two experiments or arms and more; there is one whose {} can be compared{}",
            request.metric,
            if left_out.is_empty() { String::new() } else { format!(" (left out: {})", left_out.join("; ")) }
        )));
    }
    let mut found =
        analyse_portfolio(&effects, PortfolioOptions { alpha: request.alpha, minimum_effect: request.minimum_effect })?;
    if is_turned {
        let note = format!("less of {} is better: effects are falls, and one above zero is good", request.metric);
        found.note = Some(found.note.map_or(note.clone(), |known| format!("{note}; {known}")));
    }
    let named = names.into_iter().zip(found.effects);
    Ok(ExperimentPortfolio {
        metric: request.metric.clone(),
        prior_mean: found.prior_mean,
        prior_spread: found.prior_spread,
        heterogeneity: found.heterogeneity,
        effects: named
            .map(|((experiment, arm, control), effect)| NamedEffect { experiment, arm, control, effect })
            .collect(),
        expected_true_wins: found.expected_true_wins,
        expected_wins_above_minimum: found.expected_wins_above_minimum,
        declared: found.declared,
        overlaps: overlaps(session).await?,
        left_out,
        note: found.note,
    })
}

/// Pairs of experiments that share recipients.
async fn overlaps(session: &QuerySession) -> Result<Vec<SharedRecipients>> {
    let members = "SELECT DISTINCT experiment_id AS e, recipient_id FROM assignments WHERE NOT coalesce(is_holdout, FALSE) \
                   UNION SELECT DISTINCT coalesce(experiment_id, campaign_id) AS e, recipient_id FROM message_facts \
                   WHERE variant IS NOT NULL AND recipient_id IS NOT NULL";
    let sizes = format!("SELECT e, count(*) FROM ({members}) GROUP BY e ORDER BY e");
    let (mut names, mut recipients) = (Vec::new(), Vec::new());
    for batch in session.collect(&sizes).await? {
        for row in 0..batch.num_rows() {
            names.extend(crate::report::cell_text(&batch, 0, row)?);
            recipients.push(batch.column(1).as_primitive::<Int64Type>().value(row).unsigned_abs());
        }
    }
    let shared = format!(
        "WITH members AS ({members}) SELECT a.e, b.e, count(*) FROM members AS a JOIN members AS b \
         ON a.recipient_id = b.recipient_id WHERE a.e < b.e GROUP BY a.e, b.e ORDER BY a.e, b.e"
    );
    let mut pairs = Vec::new();
    for batch in session.collect(&shared).await? {
        for row in 0..batch.num_rows() {
            let place = |column: usize| -> Result<Option<usize>> {
                let name = crate::report::cell_text(&batch, column, row)?;
                Ok(names.iter().position(|known| Some(known) == name.as_ref()))
            };
            let (Some(first), Some(second)) = (place(0)?, place(1)?) else { continue };
            pairs.push(RecipientOverlap {
                first,
                second,
                shared: batch.column(2).as_primitive::<Int64Type>().value(row).unsigned_abs(),
                first_recipients: recipients[first],
                second_recipients: recipients[second],
                arm_correlation: None,
                outcome_correlation: None,
            });
        }
    }
    let flagged = flag_overlaps(&pairs, LEAST_SHARE_SHARED)?;
    Ok(flagged
        .into_iter()
        .map(|pair| {
            let counted = pairs.iter().find(|counted| (counted.first, counted.second) == (pair.first, pair.second));
            SharedRecipients {
                first: names[pair.first].clone(),
                second: names[pair.second].clone(),
                shared: counted.map_or(0, |counted| counted.shared),
                share_of_smaller: pair.share_of_smaller,
                note: SHARED.to_owned(),
            }
        })
        .collect())
}
