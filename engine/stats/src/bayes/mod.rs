//! Bayesian comparison of arms with stated priors.
//!
//! Enters: counts, moments or an effect with its standard error, and a prior. Leaves: posterior summaries
//! ([`BetaPosterior`], [`NormalPosterior`]), each arm's chance to be the best and the expected loss of choosing it
//! ([`outlooks_of_proportions`], [`outlooks_of_means`]), and the same for one effect ([`NormalPosterior::decision`]).
//!
//! ```text
//! rate | data ~ Beta(prior successes + successes, prior failures + failures)
//! mean | data ~ Normal, precisions added, means weighted by them
//! chance of arm i to win = ∫ f_i Π_{k≠i} F_k          F, f: distribution and density of each arm
//! expected loss of i     = ∫ F_i (1 − Π_{k≠i} F_k)    = E[(best of the others − i)⁺]
//! ```
//!
//! Gelman et al. (2013), "Bayesian Data Analysis", chapter 2; Miller (2015), "Formulas for Bayesian A/B testing";
//! Stucchio (2015), "Bayesian A/B testing at VWO", for the loss. Integrals are by Gauss and Legendre's rule on panels
//! of half a standard deviation, with no random numbers: right to some 12 digits, where simulation has three.
//!
//! These are statements about beliefs that start at the prior. They are not error rates: looking every day and stopping
//! when the chance to win passes 95 % finds winners among equal arms far more often than one time in twenty.

mod beta;
mod normal;
mod race;

pub use beta::{BetaPosterior, BetaPrior, outlooks_of_proportions};
pub use normal::{EffectDecision, NormalPosterior, NormalPrior, outlooks_of_means};
pub use race::ArmOutlook;
