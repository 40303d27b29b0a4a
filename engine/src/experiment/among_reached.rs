//! Bounds on the effect among those whom both arms reach, where carriers delivered one text more than another.
//!
//! Enters: who was assigned, delivered and responded in two arms. Leaves: Lee's bounds (2009), for responses that only a
//! delivered message makes possible: clicks and replies. They are a labelled secondary; the headline, of all assigned, stays
//! fair.

use serde::Serialize;

use super::analysis::MetricAnalysis;
use super::sample::ExperimentSample;
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::imbalance::{DeliveredArm, DeliveryVerdict, delivery_balance};
use crate::stats::{Estimate, Interval};

/// Responses that nobody gives who got no message.
const OF_THE_DELIVERED: [&str; 2] = ["click", "reply"];
/// Delivery that differs by more than chance gives once in so many experiments.
const DIFFERS: f64 = 0.001;
const SECONDARY: &str = "secondary: bounds on the difference of rates among those whom both arms would have reached; whoever the \
                         arm with fewer deliveries reached, the other is taken to have reached too (Lee 2009)";

/// The effect among those whom both arms reach.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectAmongReached {
    /// Whether the effect is there all the same.
    pub verdict: DeliveryVerdict,
    /// Delivered share of the assigned, arm less control.
    pub delivery: Estimate,
    /// Share of the delivered of the arm with more that is trimmed away.
    pub trimmed_share: Option<f64>,
    /// The lowest and the highest difference that the counts allow.
    pub bounds: Interval,
    /// The same with sampling error, at confidence 1 − alpha.
    pub bounds_interval: Interval,
    /// Points of the headline's difference that the additional deliveries alone could make.
    pub due_to_delivery: Interval,
    /// What it is.
    pub note: &'static str,
}

/// Adds the bounds to the comparisons of clicks and replies between arms that were not delivered to alike.
pub(crate) fn add_effects_among_reached(
    metrics: &mut [MetricAnalysis],
    sample: &ExperimentSample,
    alpha: f64,
) -> Result<()> {
    let Some((_, delivered)) = sample.stages.iter().find(|(stage, _)| stage == "delivered") else { return Ok(()) };
    for (metric, counted) in metrics.iter_mut().zip(&sample.metrics) {
        if !OF_THE_DELIVERED.contains(&metric.metric.as_str()) {
            continue;
        }
        let arm = |name: &str| match counted.overall.get(name) {
            Some(ArmStatistic::Proportion(found)) => {
                let reached = delivered.get(name).copied().unwrap_or(0).min(found.n);
                // A click without a receipt is no delivery that is known of.
                (found.successes <= reached).then_some(DeliveredArm {
                    assigned: found.n,
                    delivered: reached,
                    successes: found.successes,
                })
            }
            _ => None,
        };
        for found in &mut metric.comparisons {
            let (Some(control), Some(treatment)) = (arm(&found.control), arm(&found.arm)) else { continue };
            let balance = delivery_balance(control, treatment, alpha)?;
            let differs = balance.delivery.p_value.is_some_and(|p_value| p_value < DIFFERS);
            if !differs || found.complier.is_some() || balance.verdict == DeliveryVerdict::CannotTell {
                continue;
            }
            found.among_reached = Some(EffectAmongReached {
                verdict: balance.verdict,
                delivery: balance.delivery.difference,
                trimmed_share: balance.trimmed_share,
                bounds: balance.bounds,
                bounds_interval: balance.bounds_interval,
                due_to_delivery: balance.due_to_delivery,
                note: SECONDARY,
            });
        }
    }
    Ok(())
}
