//! Which of several independent posteriors is the greatest, and by how much.
//!
//! Enters: the density of each arm on one axis, and the panels on which it is smooth. Leaves: each arm's chance to be
//! the greatest, and the expected loss of choosing it. Distribution functions are running integrals of the densities,
//! kept from both sides, so that a chance of 1e-12 is that and not a rounding of one minus the rest.

use crate::numeric::count;
use crate::quadrature::{NODES, Panel, running_weights};
use serde::{Deserialize, Serialize};

/// What the posteriors say of one arm among several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ArmOutlook {
    /// Probability, 0 to 1, that this arm is the best: the greatest rate or mean.
    pub chance_to_win: f64,
    /// What choosing this arm is expected to cost against the best of the others, in the metric's units; zero or more.
    pub expected_loss: f64,
}

/// A distribution on an axis that all arms share.
pub(super) trait Posterior {
    /// Density at a place on the axis.
    fn density(&self, place: f64) -> f64;

    /// Ends of the panels on which the density is smooth, in rising order, beyond which a negligible share lies.
    fn panel_ends(&self) -> Vec<f64>;

    /// How fast the quantity itself rises along the axis.
    fn slope(place: f64) -> f64;

    /// Parts that a panel between the arms has to be cut into for the slope to be smooth on each.
    fn parts(panel: Panel) -> u64;
}

/// The outlook of each arm, in the order given.
pub(super) fn race<P: Posterior>(arms: &[P]) -> Vec<ArmOutlook> {
    let running = running_weights();
    let panels: Vec<PanelOfArms> = panels_of(arms).into_iter().map(|panel| PanelOfArms::new(panel, arms)).collect();

    // The share of each arm that lies beyond each panel.
    let mut beyond = vec![0.0; arms.len()];
    let mut beyond_panels = Vec::with_capacity(panels.len());
    for panel in panels.iter().rev() {
        beyond_panels.push(beyond.clone());
        for (share, mass) in beyond.iter_mut().zip(&panel.masses) {
            *share += mass;
        }
    }
    beyond_panels.reverse();

    let mut outlooks = vec![ArmOutlook { chance_to_win: 0.0, expected_loss: 0.0 }; arms.len()];
    let mut before = vec![0.0; arms.len()];
    for (panel, beyond) in panels.iter().zip(&beyond_panels) {
        let places = panel.panel.places();
        let weights = panel.panel.weights();
        for node in 0..NODES {
            let tails: Vec<Tails> = (0..arms.len())
                .map(|arm| {
                    let sum: f64 =
                        running[node].iter().zip(&panel.densities[arm]).map(|(part, value)| part * value).sum();
                    let inside = panel.panel.half_width() * sum;
                    Tails {
                        below: (before[arm] + inside).clamp(0.0, 1.0),
                        above: (beyond[arm] + panel.masses[arm] - inside).clamp(0.0, 1.0),
                    }
                })
                .collect();
            let slope = P::slope(places[node]);
            for (arm, outlook) in outlooks.iter_mut().enumerate() {
                let (all_below, some_above) = others(&tails, arm);
                outlook.chance_to_win += weights[node] * panel.densities[arm][node] * all_below;
                outlook.expected_loss += weights[node] * slope * tails[arm].below * some_above;
            }
        }
        for (share, mass) in before.iter_mut().zip(&panel.masses) {
            *share += mass;
        }
    }
    for outlook in &mut outlooks {
        outlook.chance_to_win = outlook.chance_to_win.clamp(0.0, 1.0);
    }
    outlooks
}

/// The probability below and above a place.
#[derive(Debug, Clone, Copy)]
struct Tails {
    below: f64,
    above: f64,
}

/// The probability that all arms but one lie below, and that some other lies above: each a sum or product of positive
/// terms.
fn others(tails: &[Tails], arm: usize) -> (f64, f64) {
    let mut all_below = 1.0;
    let mut some_above = 0.0;
    for (_, tail) in tails.iter().enumerate().filter(|(other, _)| *other != arm) {
        all_below *= tail.below;
        some_above += (1.0 - some_above) * tail.above;
    }
    (all_below, some_above)
}

/// The densities of all arms on one panel.
#[derive(Debug, Clone)]
struct PanelOfArms {
    panel: Panel,
    densities: Vec<[f64; NODES]>,
    masses: Vec<f64>,
}

impl PanelOfArms {
    fn new<P: Posterior>(panel: Panel, arms: &[P]) -> Self {
        let weights = panel.weights();
        let places = panel.places();
        let densities: Vec<[f64; NODES]> = arms.iter().map(|arm| places.map(|place| arm.density(place))).collect();
        let mass =
            |values: &[f64; NODES]| -> f64 { values.iter().zip(&weights).map(|(value, weight)| value * weight).sum() };
        let masses = densities.iter().map(mass).collect();
        Self { panel, densities, masses }
    }
}

/// The panels of all arms laid over one another.
fn panels_of<P: Posterior>(arms: &[P]) -> Vec<Panel> {
    let mut ends: Vec<f64> = arms.iter().flat_map(Posterior::panel_ends).collect();
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    let mut panels = Vec::with_capacity(ends.len());
    for pair in ends.windows(2) {
        let &[low, high] = pair else { continue };
        let parts = P::parts(Panel { low, high }).max(1);
        let width = (high - low) / count(parts);
        let mut start = low;
        for part in 1..=parts {
            let end = if part == parts { high } else { low + width * count(part) };
            panels.push(Panel { low: start, high: end });
            start = end;
        }
    }
    panels
}

/// Shares of the whole that the panels hold: one, if they reach far enough.
#[cfg(test)]
pub(super) fn total_mass<P: Posterior>(arm: &P) -> f64 {
    let ends = arm.panel_ends();
    let pairs = ends.iter().zip(ends.iter().skip(1));
    let total: f64 = pairs.map(|(&low, &high)| Panel { low, high }.integral(|place| arm.density(place))).sum();
    assert!(ends.len() < 2_000);
    total
}
