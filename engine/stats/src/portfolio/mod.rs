//! All experiments at once: what they taught together, and what shipping their winners is worth.
//!
//! Enters: the effect of every experiment in one unit (a lift, a difference of the same metric) with its standard
//! error, losers and undecided ones included: a list of winners alone has lost what corrects it. Leaves: where effects
//! usually lie and how far they spread, each effect drawn towards that, how many true wins to expect, how many declared
//! winners are none and by how much they exaggerate, and the value to expect of them. Higher is better; where lower is,
//! turn the signs.
//!
//! - Effects are taken as normal around a common mean; how far they spread is not known and is averaged over, with a
//!   flat prior on the standard deviation (hierarchical normal model, Gelman 2006). With fewer than four experiments
//!   they are drawn together by [`shrink`] (`DerSimonian` and Laird 1986), without intervals.
//! - [`design_errors`]: Gelman and Carlin (2014).
//! - The value of the winners without a prior: Lee and Shen (2018), "Winner's curse: bias estimation for total effects
//!   of features in online controlled experiments", KDD.
//! - [`flag_overlaps`]: pairs of experiments with recipients in common.

mod design;
mod overlap;
mod spread;

pub use design::{DesignErrors, design_errors};
pub use overlap::{FlaggedPair, RecipientOverlap, flag_overlaps};

use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative, check_positive};
use crate::heterogeneity::{Heterogeneity, SegmentEffect, heterogeneity, shrink};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use serde::{Deserialize, Serialize};
use spread::Spread;

const TOO_FEW: &str = "fewer than four experiments: how far effects spread is too poorly known";
const ONLY_CHANCE: &str = "effects spread no further than chance alone gives; the upper end of the spread says how far \
                           they may differ all the same";
const NO_WINNERS: &str = "no winner was declared";

/// One experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExperimentEffect {
    /// Its effect, in the unit of all of them; above zero is better.
    pub estimate: f64,
    /// Its standard error; above zero.
    pub standard_error: f64,
    /// Whether it was declared a winner; none for the usual rule, significant and above zero.
    pub declared_winner: Option<bool>,
}

/// How to look at a portfolio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PortfolioOptions {
    /// Of the tests that declare winners (two-sided) and of all intervals; a share in (0, 1).
    pub alpha: f64,
    /// The smallest effect worth having, zero or more, in the unit of the effects.
    pub minimum_effect: f64,
}

impl Default for PortfolioOptions {
    /// Alpha 5 %, and any effect above zero worth having.
    fn default() -> Self {
        Self { alpha: 0.05, minimum_effect: 0.0 }
    }
}

/// One experiment in the light of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortfolioEffect {
    /// Whether it was declared a winner.
    pub declared_winner: bool,
    /// Its estimate alone, with a normal interval.
    pub naive: Estimate,
    /// Drawn towards the mean of all; no interval with fewer than four experiments.
    pub shrunk: Estimate,
    /// Posterior chance, 0 to 1, that the effect is above zero; none with fewer than four experiments.
    pub chance_above_zero: Option<f64>,
    /// Posterior chance, 0 to 1, that it is above the minimum effect.
    pub chance_above_minimum: Option<f64>,
    /// What this experiment's size does to significant estimates, were the shrunk effect the true one.
    pub design: DesignErrors,
}

/// The declared winners together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeclaredWinners {
    /// How many there are.
    pub count: usize,
    /// How many of them to expect above zero; none with fewer than four experiments.
    pub expected_true: Option<f64>,
    /// How many of them to expect above the minimum effect.
    pub expected_above_minimum: Option<f64>,
    /// Share of them, 0 to 1, to expect at or below zero: winners of the wrong sign. None without winners.
    pub expected_false_share: Option<f64>,
    /// Sum of their estimates: too large, because each was declared for being large.
    pub naive_total: f64,
    /// Sum of their shrunk effects: what shipping all of them is expected to bring, if effects add up.
    pub expected_total: Estimate,
    /// Naive over expected total: by how much the winners exaggerate. None unless both are above zero.
    pub exaggeration: Option<f64>,
    /// The total less Lee and Shen's estimate of the winner's curse: no prior, noisier. None where winners were not all
    /// declared by the usual rule, to which the correction belongs.
    pub curse_corrected_total: Option<f64>,
}

/// All experiments together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Portfolio {
    /// Mean of the true effects (posterior median); the interval allows for their unknown spread from four experiments
    /// on.
    pub prior_mean: Estimate,
    /// Standard deviation of the true effects: posterior median and interval; with fewer than four experiments the
    /// square root of `DerSimonian` and Laird's τ², without interval.
    pub prior_spread: Estimate,
    /// Cochran's Q and what goes with it.
    pub heterogeneity: Heterogeneity,
    /// Each experiment, in the order given.
    pub effects: Vec<PortfolioEffect>,
    /// Experiments to expect with a true effect above zero; none with fewer than four.
    pub expected_true_wins: Option<f64>,
    /// Experiments to expect with a true effect above the minimum.
    pub expected_wins_above_minimum: Option<f64>,
    /// The declared winners.
    pub declared: DeclaredWinners,
    /// What else a reader has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Looks at all experiments together.
///
/// ```
/// use sendlift_stats::portfolio::{ExperimentEffect, PortfolioOptions, analyse_portfolio};
///
/// let experiments = [0.09, 0.01, -0.02, 0.03, 0.00, 0.02]
///     .map(|estimate| ExperimentEffect { estimate, standard_error: 0.03, declared_winner: None });
/// let portfolio = analyse_portfolio(&experiments, PortfolioOptions::default())?;
/// assert_eq!(portfolio.declared.count, 1);
/// assert!(portfolio.declared.expected_total.estimate < Some(0.09));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::TooFewEffects`] with fewer than two experiments;
/// [`StatsError::NotFinite`], [`StatsError::NotPositive`] or [`StatsError::Negative`] for an estimate that is not
/// finite, a standard error not above zero (or so small that its square's inverse overflows), or a minimum effect below
/// zero.
pub fn analyse_portfolio(experiments: &[ExperimentEffect], options: PortfolioOptions) -> Result<Portfolio, StatsError> {
    check_alpha(options.alpha)?;
    check_not_negative("the minimum effect", options.minimum_effect)?;
    let mut effects = Vec::with_capacity(experiments.len());
    for experiment in experiments {
        check_finite("the effect of an experiment", experiment.estimate)?;
        check_positive("the standard error of an experiment", experiment.standard_error)?;
        effects.push(SegmentEffect {
            estimate: experiment.estimate,
            variance: experiment.standard_error * experiment.standard_error,
        });
    }
    let heterogeneity = heterogeneity(&effects)?;
    let all = Pool { spread: Spread::new(&effects, &heterogeneity), shrunk: shrunk(&effects)?, options };
    let critical = normal::critical_value(options.alpha);
    let analysed = experiments
        .iter()
        .enumerate()
        .map(|(index, experiment)| all.analyse(index, *experiment, critical))
        .collect::<Result<Vec<PortfolioEffect>, StatsError>>()?;
    let total = |chance: fn(&PortfolioEffect) -> Option<f64>| analysed.iter().map(chance).sum::<Option<f64>>();
    let half_width = critical * heterogeneity.variance.sqrt();
    let (prior_mean, prior_spread) = match &all.spread {
        Some(spread) => (spread.mean().quantiles(options.alpha), spread.spread(options.alpha)),
        None => (
            around(heterogeneity.mean, half_width),
            Estimate::new(heterogeneity.tau_squared.sqrt(), Interval::undefined(TOO_FEW)),
        ),
    };
    Ok(Portfolio {
        prior_mean,
        prior_spread,
        expected_true_wins: total(|effect| effect.chance_above_zero),
        expected_wins_above_minimum: total(|effect| effect.chance_above_minimum),
        declared: all.declared_winners(experiments, &analysed, critical),
        note: (heterogeneity.tau_squared <= 0.0).then(|| ONLY_CHANCE.to_owned()),
        heterogeneity,
        effects: analysed,
    })
}

/// The shrunk estimates alone.
fn shrunk(effects: &[SegmentEffect]) -> Result<Vec<f64>, StatsError> {
    Ok(shrink(effects)?.into_iter().map(|shrunk| shrunk.estimate).collect())
}

fn around(estimate: f64, half_width: f64) -> Estimate {
    Estimate::new(estimate, Interval::from_ends(estimate - half_width, estimate + half_width))
}

fn is_significant_win(experiment: ExperimentEffect, critical: f64) -> bool {
    experiment.estimate > critical * experiment.standard_error
}

/// All effects, and what is known of them together.
struct Pool<'a> {
    /// None with too few of them.
    spread: Option<Spread<'a>>,
    /// Used in that case.
    shrunk: Vec<f64>,
    options: PortfolioOptions,
}

impl Pool<'_> {
    fn analyse(
        &self,
        index: usize,
        experiment: ExperimentEffect,
        critical: f64,
    ) -> Result<PortfolioEffect, StatsError> {
        let posterior = self.spread.as_ref().map(|spread| spread.sum(&[index]));
        let shrunk = posterior.as_ref().map_or(self.shrunk[index], spread::Mixture::mean);
        Ok(PortfolioEffect {
            declared_winner: experiment.declared_winner.unwrap_or_else(|| is_significant_win(experiment, critical)),
            naive: around(experiment.estimate, critical * experiment.standard_error),
            shrunk: self.sum(&[index]),
            chance_above_zero: posterior.as_ref().map(|posterior| posterior.chance_above(0.0)),
            chance_above_minimum: posterior
                .as_ref()
                .map(|posterior| posterior.chance_above(self.options.minimum_effect)),
            design: design_errors(shrunk, experiment.standard_error, self.options.alpha)?,
        })
    }

    /// The sum of some of the effects, with its interval where the spread is known well enough.
    fn sum(&self, indices: &[usize]) -> Estimate {
        match &self.spread {
            Some(spread) => spread.sum(indices).estimate(self.options.alpha),
            None => Estimate::new(indices.iter().map(|&index| self.shrunk[index]).sum(), Interval::undefined(TOO_FEW)),
        }
    }

    fn declared_winners(
        &self,
        experiments: &[ExperimentEffect],
        analysed: &[PortfolioEffect],
        critical: f64,
    ) -> DeclaredWinners {
        let winners: Vec<usize> = (0..analysed.len()).filter(|&index| analysed[index].declared_winner).collect();
        let total = |chance: fn(&PortfolioEffect) -> Option<f64>| {
            let known = self.spread.is_some();
            known.then(|| winners.iter().filter_map(|&index| chance(&analysed[index])).sum::<f64>())
        };
        let expected_true = total(|effect| effect.chance_above_zero);
        let naive_total: f64 = winners.iter().map(|&index| experiments[index].estimate).sum();
        let expected_total = if winners.is_empty() { Estimate::undefined(NO_WINNERS) } else { self.sum(&winners) };
        let by_the_rule = experiments
            .iter()
            .zip(analysed)
            .all(|(experiment, analysed)| analysed.declared_winner == is_significant_win(*experiment, critical));
        let curse: f64 = experiments
            .iter()
            .map(|experiment| {
                experiment.standard_error * design::density(critical - experiment.estimate / experiment.standard_error)
            })
            .sum();
        DeclaredWinners {
            count: winners.len(),
            expected_true,
            expected_above_minimum: total(|effect| effect.chance_above_minimum),
            expected_false_share: expected_true
                .filter(|_| !winners.is_empty())
                .map(|expected| (1.0 - expected / length(winners.len())).clamp(0.0, 1.0)),
            naive_total,
            exaggeration: expected_total
                .estimate
                .filter(|expected| naive_total > 0.0 && *expected > 0.0)
                .map(|expected| naive_total / expected)
                .filter(|times| times.is_finite()),
            expected_total,
            curse_corrected_total: (by_the_rule && !winners.is_empty()).then_some(naive_total - curse),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn experiments(pairs: &[(f64, f64)]) -> Vec<ExperimentEffect> {
        pairs
            .iter()
            .map(|&(estimate, standard_error)| ExperimentEffect { estimate, standard_error, declared_winner: None })
            .collect()
    }

    #[test]
    fn without_winners_there_is_nothing_to_ship() {
        let portfolio = analyse_portfolio(&experiments(&[(0.0, 0.1); 5]), PortfolioOptions::default()).unwrap();
        assert_eq!(portfolio.declared.count, 0);
        assert_eq!(portfolio.declared.expected_false_share, None);
        assert_eq!(portfolio.declared.expected_total.estimate, None);
        assert_eq!(portfolio.declared.expected_true, Some(0.0));
        assert_close(portfolio.expected_true_wins.unwrap(), 2.5, 1e-12);
        assert!(portfolio.note.unwrap().contains("no further than chance"));
    }

    #[test]
    fn a_few_experiments_say_little() {
        let portfolio =
            analyse_portfolio(&experiments(&[(0.5, 0.1), (0.0, 0.1)]), PortfolioOptions::default()).unwrap();
        assert_eq!(portfolio.expected_true_wins, None);
        assert_eq!(portfolio.declared.count, 1);
        assert_eq!(portfolio.declared.expected_true, None);
        assert_eq!(portfolio.declared.expected_total.low, None);
        assert!(portfolio.declared.expected_total.estimate.unwrap() < 0.5);
    }

    #[test]
    fn winners_declared_otherwise_have_no_curse_by_the_rule() {
        let mut list = experiments(&[(0.5, 0.1), (0.0, 0.1), (0.1, 0.1), (-0.1, 0.1), (0.2, 0.1)]);
        let by_rule = analyse_portfolio(&list, PortfolioOptions::default()).unwrap();
        assert!(by_rule.declared.curse_corrected_total.unwrap() < by_rule.declared.naive_total);
        list[2].declared_winner = Some(true);
        let by_hand = analyse_portfolio(&list, PortfolioOptions::default()).unwrap();
        assert_eq!(by_hand.declared.count, 3);
        assert_eq!(by_hand.declared.curse_corrected_total, None);
    }

    #[test]
    fn scales_from_tiny_to_huge() {
        let list = experiments(&[(0.5, 0.1), (0.0, 0.2), (0.1, 0.1), (-0.1, 0.3), (0.2, 0.1)]);
        let plain = analyse_portfolio(&list, PortfolioOptions::default()).unwrap();
        for factor in [1e-100, 1e100] {
            let scaled: Vec<ExperimentEffect> = list
                .iter()
                .map(|experiment| ExperimentEffect {
                    estimate: experiment.estimate * factor,
                    standard_error: experiment.standard_error * factor,
                    declared_winner: None,
                })
                .collect();
            let portfolio = analyse_portfolio(&scaled, PortfolioOptions::default()).unwrap();
            assert_close(portfolio.expected_true_wins.unwrap(), plain.expected_true_wins.unwrap(), 1e-9);
            let high = portfolio.prior_spread.high.unwrap() / factor;
            assert_close(high, plain.prior_spread.high.unwrap(), 1e-9);
        }
    }

    #[test]
    fn impossible_input_is_refused() {
        let options = PortfolioOptions::default();
        assert!(analyse_portfolio(&experiments(&[(0.1, 0.1)]), options).is_err());
        assert!(analyse_portfolio(&experiments(&[(0.1, 0.1), (0.1, 0.0)]), options).is_err());
        assert!(analyse_portfolio(&experiments(&[(0.1, 0.1), (f64::NAN, 0.1)]), options).is_err());
        assert!(analyse_portfolio(&experiments(&[(0.1, 0.1), (0.1, 1e-200)]), options).is_err());
        let fine = experiments(&[(0.1, 0.1), (0.2, 0.1)]);
        assert!(analyse_portfolio(&fine, PortfolioOptions { alpha: 0.0, ..options }).is_err());
        assert!(analyse_portfolio(&fine, PortfolioOptions { minimum_effect: -1.0, ..options }).is_err());
    }
}
