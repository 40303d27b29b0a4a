//! The Bayesian reading of a metric: chance to win, expected loss and credible intervals, under a stated prior.
//!
//! Enters: the statistics of the arms. Leaves: the outlook of every arm among all, and of every arm against the control.
//! Rates have beta posteriors after a uniform prior, means normal ones after a flat prior. Of a guardrail less is better,
//! and an arm wins with the least. These are statements of belief, not error rates: they do not license early stops.

use serde::Serialize;

use super::metric::MetricKind;
use super::sample::ByArm;
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::bayes::{outlooks_of_means, outlooks_of_proportions};
use crate::stats::{ArmOutlook, BetaPosterior, BetaPrior, Estimate, NormalPosterior, NormalPrior, Proportion};

const UNIFORM_PRIOR: &str = "uniform, Beta(1, 1): one success and one failure in each arm";
const FLAT_PRIOR: &str = "flat: every mean equally likely; the arms' variances are taken as known";
const NO_CLUSTERED_POSTERIOR: &str = "a quantile of clusters has no posterior here: read its interval";
const NO_POSTERIOR: &str = "an arm has fewer than two units, or no value varies in it: nothing says how sure to be";

/// The outlook of all arms on one metric.
#[derive(Debug, Clone, Serialize)]
pub struct BayesianMetric {
    /// What was believed beforehand.
    pub prior: &'static str,
    /// Whether the greatest value wins; of a guardrail the least does.
    pub higher_is_better: bool,
    /// Each arm, the control too.
    pub arms: Vec<BayesianArm>,
    /// Why there is no outlook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// The outlook of one arm among all.
#[derive(Debug, Clone, Serialize)]
pub struct BayesianArm {
    /// The arm.
    pub arm: String,
    /// Probability that it is the best of all arms.
    pub chance_to_win: f64,
    /// What choosing it is expected to cost against the best of the others, in the metric's own units.
    pub expected_loss: f64,
    /// The posterior mean with its credible interval, in the metric's own units.
    pub posterior: Estimate,
}

/// The outlook of one arm against the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BayesianComparison {
    /// Probability that the arm is better than the control.
    pub chance_to_win: f64,
    /// What choosing the arm instead of the control is expected to cost, in the metric's own units.
    pub expected_loss: f64,
    /// The posterior difference with its credible interval, by the normal approximation.
    pub difference: Estimate,
    /// What was believed beforehand.
    pub prior: &'static str,
}

/// The outlook of all arms.
pub(crate) fn outlook_of_arms(
    kind: MetricKind,
    arms: &ByArm,
    higher_is_better: bool,
    alpha: f64,
) -> Result<BayesianMetric> {
    let statistics: Vec<&ArmStatistic> = arms.values().collect();
    let posteriors = Posteriors::of(&statistics)?;
    let prior = prior_of(posteriors.as_ref(), kind);
    let mut outlook = BayesianMetric { prior, higher_is_better, arms: Vec::new(), note: None };
    let Some(posteriors) = posteriors else {
        let is_clustered = statistics.iter().any(|arm| matches!(arm, ArmStatistic::ClusteredQuantile { .. }));
        outlook.note = Some(if is_clustered { NO_CLUSTERED_POSTERIOR } else { NO_POSTERIOR });
        return Ok(outlook);
    };
    let chances = posteriors.outlooks(&statistics, higher_is_better)?;
    for ((arm, chance), posterior) in arms.keys().zip(chances).zip(posteriors.summaries(alpha)?) {
        outlook.arms.push(BayesianArm {
            arm: arm.clone(),
            chance_to_win: chance.chance_to_win,
            expected_loss: chance.expected_loss,
            posterior,
        });
    }
    Ok(outlook)
}

/// The outlook of an arm against the control; none where an arm's data do not say how sure to be.
pub(crate) fn outlook_against(
    kind: MetricKind,
    control: &ArmStatistic,
    treatment: &ArmStatistic,
    higher_is_better: bool,
    alpha: f64,
) -> Result<Option<BayesianComparison>> {
    let arms = [control, treatment];
    let Some(posteriors) = Posteriors::of(&arms)? else { return Ok(None) };
    let outlooks = posteriors.outlooks(&arms, higher_is_better)?;
    let (Some(outlook), Some(difference)) = (outlooks.last(), posteriors.difference()) else { return Ok(None) };
    Ok(Some(BayesianComparison {
        chance_to_win: outlook.chance_to_win,
        expected_loss: outlook.expected_loss,
        difference: difference.summary(alpha)?,
        prior: prior_of(Some(&posteriors), kind),
    }))
}

/// Shares of clusters are told by a normal posterior, as means are.
fn prior_of(posteriors: Option<&Posteriors>, kind: MetricKind) -> &'static str {
    match (posteriors, kind) {
        (Some(Posteriors::Rates(_)), _) | (None, MetricKind::Proportion) => UNIFORM_PRIOR,
        _ => FLAT_PRIOR,
    }
}

/// The posteriors of arms, in their order.
enum Posteriors {
    Rates(Vec<BetaPosterior>),
    Means(Vec<NormalPosterior>),
}

impl Posteriors {
    /// None where an arm has no posterior.
    fn of(arms: &[&ArmStatistic]) -> Result<Option<Self>> {
        // Shares of clusters have the normal posterior of a mean.
        if arms.iter().all(|arm| matches!(arm, ArmStatistic::Proportion(_))) {
            let rates: Vec<BetaPosterior> = arms
                .iter()
                .map(|arm| Ok(BetaPosterior::new(counts_of(arm), BetaPrior::default())?))
                .collect::<Result<_>>()?;
            return Ok(Some(Self::Rates(rates)));
        }
        let mut means = Vec::with_capacity(arms.len());
        for arm in arms {
            let Some(posterior) = NormalPosterior::of_mean(&arm.moments()?, NormalPrior::Flat)? else {
                return Ok(None);
            };
            means.push(posterior);
        }
        Ok(Some(Self::Means(means)))
    }

    /// Where less is better, failures are counted, or signs turned.
    fn outlooks(&self, arms: &[&ArmStatistic], higher_is_better: bool) -> Result<Vec<ArmOutlook>> {
        Ok(match self {
            Self::Rates(rates) if higher_is_better => outlooks_of_proportions(rates),
            Self::Rates(_) => {
                let failures: Vec<BetaPosterior> = arms
                    .iter()
                    .map(|arm| {
                        let counts = counts_of(arm);
                        let failures = Proportion { successes: counts.n - counts.successes, ..counts };
                        Ok(BetaPosterior::new(failures, BetaPrior::default())?)
                    })
                    .collect::<Result<_>>()?;
                outlooks_of_proportions(&failures)
            }
            Self::Means(means) if higher_is_better => outlooks_of_means(means)?,
            Self::Means(means) => {
                let turned: Vec<NormalPosterior> =
                    means.iter().map(|mean| NormalPosterior { mean: -mean.mean, ..*mean }).collect();
                outlooks_of_means(&turned)?
            }
        })
    }

    fn summaries(&self, alpha: f64) -> Result<Vec<Estimate>> {
        match self {
            Self::Rates(rates) => rates.iter().map(|rate| Ok(rate.summary(alpha)?)).collect(),
            Self::Means(means) => means.iter().map(|mean| Ok(mean.summary(alpha)?)).collect(),
        }
    }

    /// The second less the first.
    fn difference(&self) -> Option<NormalPosterior> {
        let (control, treatment) = match self {
            Self::Rates(rates) => {
                let normal = |rate: &BetaPosterior| (rate.mean(), rate.standard_deviation());
                (normal(rates.first()?), normal(rates.get(1)?))
            }
            Self::Means(means) => {
                let normal = |mean: &NormalPosterior| (mean.mean, mean.standard_deviation);
                (normal(means.first()?), normal(means.get(1)?))
            }
        };
        Some(NormalPosterior { mean: treatment.0 - control.0, standard_deviation: treatment.1.hypot(control.1) })
    }
}

/// The counts of an arm; those of a mean, which has none, are empty.
fn counts_of(arm: &ArmStatistic) -> Proportion {
    match arm {
        ArmStatistic::Proportion(proportion) => *proportion,
        _ => Proportion::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Moments;

    fn share(n: u64, successes: u64) -> ArmStatistic {
        ArmStatistic::Proportion(Proportion::new(n, successes).unwrap())
    }

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-5, "{actual} is not {expected}");
    }

    #[test]
    fn rates_under_the_uniform_prior() {
        // 49/100 against 51/100: gbstats' own test, .61077 and .019116; see stats::bayes.
        let found =
            outlook_against(MetricKind::Proportion, &share(100, 49), &share(100, 51), true, 0.05).unwrap().unwrap();
        close(found.chance_to_win, 0.61077);
        close(found.expected_loss, 0.019_116);
        assert!(found.difference.contains_zero());
        // Of opt-outs fewer are better: the chances turn round.
        let fewer =
            outlook_against(MetricKind::Proportion, &share(100, 49), &share(100, 51), false, 0.05).unwrap().unwrap();
        close(fewer.chance_to_win, 1.0 - 0.61077);

        let arms: ByArm = [("A", 100, 49), ("B", 100, 51), ("C", 100, 60)]
            .map(|(arm, n, successes)| (arm.to_owned(), share(n, successes)))
            .into();
        let all = outlook_of_arms(MetricKind::Proportion, &arms, true, 0.05).unwrap();
        close(all.arms.iter().map(|arm| arm.chance_to_win).sum(), 1.0);
        assert!(all.arms[2].chance_to_win > 0.8 && all.arms[2].posterior.contains(0.6));
    }

    #[test]
    fn means_without_spread_have_no_outlook() {
        let mean = |n, mean, variance| ArmStatistic::Mean(Moments::from_n_mean_variance(n, mean, variance).unwrap());
        let (control, treatment) = (mean(3407, 0.41, 15.21), mean(3461, 0.7, 38.44));
        let found = outlook_against(MetricKind::Mean, &control, &treatment, true, 0.05).unwrap().unwrap();
        // One less half of the normal two-sided p value: z = .29 / √(15.21 / 3407 + 38.44 / 3461) = 2.3241.
        close(found.chance_to_win, 0.98994);
        assert!(outlook_against(MetricKind::Mean, &control, &mean(1, 3.0, 0.0), true, 0.05).unwrap().is_none());
        let arms: ByArm = [("A".to_owned(), control), ("B".to_owned(), mean(5, 1.0, 0.0))].into();
        let none = outlook_of_arms(MetricKind::Mean, &arms, true, 0.05).unwrap();
        assert!(none.arms.is_empty() && none.note.is_some());
    }
}
