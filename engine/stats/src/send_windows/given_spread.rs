//! The posterior under spreads that are given, not learnt.
//!
//! Enters: the data, and standard deviations of slots, campaigns and departures. Leaves: the mean and covariance of the
//! slots' effects and the departures of segments: what the fit averages over its grid. For checks against other
//! software, and for whoever knows the spreads from elsewhere.

use super::departures::Departures;
use super::identification::IdentifiedTiming;
use super::matrix::Matrix;
use super::pooling::pool;
use super::posterior::{Spread, Standardised, column_deviations, correlation_factor, unstandardised};
use super::slots::WindowSlot;
use super::table::{Table, WindowCell, WindowOutcome};
use super::working::{Effects, Working};
use crate::error::{StatsError, check_not_negative};
use serde::{Deserialize, Serialize};

/// Expansions of the likelihood; some five suffice.
const MOST_EXPANSIONS: usize = 60;
/// Change of an effect at which they end.
const SETTLED: f64 = 1e-11;

/// Effects of slots under given spreads, on the log-odds scale, or as shares of the mean amount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffectsPosterior {
    /// Mean effect of each slot. Only differences are known from data; their average is that of the prior.
    pub slots: Vec<f64>,
    /// Covariance of the slots' effects, a row a slot.
    pub covariance: Vec<Vec<f64>>,
    /// Mean departure of each segment in rising order, by slot; empty where no departures were given.
    pub departures: Vec<Vec<f64>>,
}

/// The posterior where the spreads are `spread`, and each segment departs with a standard deviation of its own
/// (`departures`, one a segment in rising order; empty for none).
///
/// The normal approximation at the mode of the likelihood with campaigns' own effects integrated out linearly
/// (marginal quasi-likelihood: Breslow and Clayton 1993, Journal of the American Statistical Association 88). None
/// where the correlations of the slots are none, or no number results.
///
/// # Errors
///
/// As [`super::fit()`]; [`StatsError::Negative`] or [`StatsError::NotFinite`] for a spread;
/// [`StatsError::LengthsDiffer`] for departures of other segments than those of the cells.
pub fn posterior_given_spread(
    timing: &IdentifiedTiming,
    slots: &[WindowSlot],
    cells: &[WindowCell],
    outcome: WindowOutcome,
    spread: Spread,
    departures: &[f64],
) -> Result<Option<EffectsPosterior>, StatsError> {
    let table = Table::new(timing, slots, cells, outcome)?;
    for &deviation in [spread.slots, spread.campaigns].iter().chain(departures) {
        check_not_negative("a standard deviation of effects", deviation)?;
    }
    if !departures.is_empty() && departures.len() != table.segments.len() {
        return Err(StatsError::LengthsDiffer { counts: table.segments.len(), weights: departures.len() });
    }
    let mut effects = Effects::none(&table);
    let mut posterior = None;
    for _ in 0..MOST_EXPANSIONS {
        let working = Working::new(&table, &effects);
        let Some((next, covariance)) = once(&table, slots, &working, spread, departures) else {
            return Ok(None);
        };
        let change = next.columns.iter().zip(&effects.columns).map(|(next, last)| (next - last).abs());
        let change = change.fold(0.0_f64, f64::max);
        posterior = Some(EffectsPosterior {
            slots: next.columns[..slots.len()].to_vec(),
            covariance: (0..slots.len()).map(|slot| covariance.row(slot).to_vec()).collect(),
            departures: next.segments.clone(),
        });
        effects = next;
        if change < SETTLED {
            break;
        }
    }
    Ok(posterior)
}

/// Mean effects and the slots' covariance from one expansion.
fn once(
    table: &Table,
    slots: &[WindowSlot],
    working: &Working,
    spread: Spread,
    departures: &[f64],
) -> Option<(Effects, Matrix)> {
    let correlations = correlation_factor(spread.similarity, slots)?;
    let deviations = column_deviations(spread.slots, slots.len(), table.columns);
    let (effects, gaussian) = if departures.is_empty() {
        let pooled = pool(table, working, &[spread.campaigns]).pop()?;
        let gaussian = Standardised::new(&pooled.information, &pooled.score, &correlations).given(&deviations)?;
        let columns = unstandardised(&gaussian.mean, &deviations, &correlations);
        (Effects { columns, segments: Vec::new() }, gaussian)
    } else {
        let joint = Departures::unweighed(table, working, slots, spread)?;
        let gaussian = joint.given(departures)?;
        let (columns, segments) = joint.effects(&gaussian.mean, departures);
        (Effects { columns, segments }, gaussian)
    };
    // The slots' effects are σ L z: half of their covariance is the factor's inverse times that.
    let lower = correlations.matrix();
    let mut half = Matrix::from_function(gaussian.mean.len(), slots.len(), |row, column| {
        if row < slots.len() { spread.slots * lower.at(column, row) } else { 0.0 }
    });
    gaussian.factor.forward_in_place(&mut half);
    let mut covariance = Matrix::zeros(slots.len(), slots.len());
    covariance.add_square(&half);
    covariance.mirror();
    Some((effects, covariance))
}
