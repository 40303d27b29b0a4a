//! Cumulative incidence in discrete time, with the derivatives that its variance and that of the mean time need.
//!
//! Enters: at risk, clicks and opt-outs of each interval. Leaves: estimates at the horizon with their covariances.
//!
//! With hazards h = clicks / at risk and o = opt-outs / at risk, survival S multiplies 1 − h − o, and a total
//! Θ = Σ w S₋ h over intervals (w = 1 is the incidence, w = the time of the interval the sum of times) has the
//! derivatives
//!
//! ```text
//! ∂Θ/∂h_j = w_j S_{j−1} − (Θ_end − Θ_j) / (1 − h_j − o_j),    ∂Θ/∂o_j = −(Θ_end − Θ_j) / (1 − h_j − o_j)
//! ```
//!
//! while the hazards of an interval are multinomial shares of those at risk, independent between intervals.

use super::{ClickInterval, IntervalCounts};
use crate::numeric::count;

/// What of an interval is summed up.
#[derive(Debug, Clone)]
pub(super) struct Total {
    pub(super) value: f64,
    /// For each interval its derivative by the hazard of clicks, and by that of opt-outs.
    by_hazards: Vec<(f64, f64)>,
}

/// A group's hazards, interval by interval, up to the first without anyone at risk.
#[derive(Debug, Clone)]
pub(super) struct Hazards {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    at_risk: f64,
    click: f64,
    opt_out: f64,
    /// Share without either before the interval.
    survival: f64,
    /// The middle of the interval.
    time: f64,
    width: f64,
}

impl Hazards {
    pub(super) fn of(counts: &[IntervalCounts], intervals: &[ClickInterval]) -> Self {
        let mut survival = 1.0;
        let mut rows = Vec::with_capacity(counts.len());
        for (counts, interval) in counts.iter().zip(intervals) {
            if counts.at_risk == 0 {
                break;
            }
            let at_risk = count(counts.at_risk);
            let (click, opt_out) = (count(counts.clicks) / at_risk, count(counts.opt_outs) / at_risk);
            let time = f64::midpoint(interval.start, interval.end);
            rows.push(Row { at_risk, click, opt_out, survival, time, width: interval.end - interval.start });
            let leaving = count(counts.clicks.saturating_add(counts.opt_outs)) / at_risk;
            survival *= (1.0 - leaving).max(0.0);
        }
        Self { rows }
    }

    /// Intervals with anyone at risk.
    pub(super) fn intervals(&self) -> usize {
        self.rows.len()
    }

    /// Cumulative incidence of clicks at the end of each interval.
    pub(super) fn clicks(&self) -> Total {
        self.total(|_| 1.0, |row| row.click, true)
    }

    /// Cumulative incidence of opt-outs at the horizon.
    pub(super) fn opt_outs(&self) -> Total {
        self.total(|_| 1.0, |row| row.opt_out, false)
    }

    /// Sum over clicks of the time to them, a recipient.
    pub(super) fn times(&self) -> Total {
        self.total(|row| row.time, |row| row.click, true)
    }

    fn total(&self, weight: fn(&Row) -> f64, hazard: fn(&Row) -> f64, of_clicks: bool) -> Total {
        let parts: Vec<f64> = self.rows.iter().map(|row| weight(row) * row.survival * hazard(row)).collect();
        let value: f64 = parts.iter().sum();
        let mut later = value;
        let by_hazards = self
            .rows
            .iter()
            .zip(&parts)
            .map(|(row, part)| {
                later -= part;
                let staying = 1.0 - row.click - row.opt_out;
                // Nobody is left after an interval that all leave in: nothing later depends on it.
                let shared = if staying > 0.0 { -later.max(0.0) / staying } else { 0.0 };
                let own = weight(row) * row.survival;
                if of_clicks { (own + shared, shared) } else { (shared, own + shared) }
            })
            .collect();
        Total { value, by_hazards }
    }

    /// Covariance of two totals.
    pub(super) fn covariance(&self, left: &Total, right: &Total) -> f64 {
        let pairs = left.by_hazards.iter().zip(&right.by_hazards);
        self.rows
            .iter()
            .zip(pairs)
            .map(|(row, (left, right))| {
                let mean_left = left.0 * row.click + left.1 * row.opt_out;
                let mean_right = right.0 * row.click + right.1 * row.opt_out;
                let product = left.0 * right.0 * row.click + left.1 * right.1 * row.opt_out;
                (product - mean_left * mean_right) / row.at_risk
            })
            .sum()
    }

    /// The time by which half of the clicks up to the horizon have come, evenly spread within an interval.
    pub(super) fn median_time(&self) -> Option<f64> {
        let all = self.clicks().value;
        if all <= 0.0 {
            return None;
        }
        let mut before = 0.0;
        for row in &self.rows {
            let own = row.survival * row.click;
            if own > 0.0 && before + own >= all / 2.0 {
                let share = ((all / 2.0 - before) / own).clamp(0.0, 1.0);
                return Some(row.time - row.width / 2.0 + row.width * share);
            }
            before += own;
        }
        None
    }
}
