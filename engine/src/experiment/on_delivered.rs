//! The effect on the delivered: a labelled secondary, never the headline.
//!
//! Enters: a metric's statistics of two arms by whether the messages were delivered. Leaves: the complier average causal
//! effect with Fieller's interval and what has to be true for it (Angrist, Imbens and Rubin 1996). It is given where the
//! control was delivered to less than half as often as the arm: between two texts that both arrive, the text itself moves
//! the outcome, and delivery is not what differs.

use serde::Serialize;

use super::metric::MetricKind;
use super::sample::MetricSample;
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::{ComplierTest, DeliveryArm, Estimate, Moments, complier_effect};

/// The control's delivered share, relative to the arm's, from which on there is no effect of delivery to speak of.
pub(crate) const SHARE_OF_DELIVERY: f64 = 0.5;

const SECONDARY: &str = "secondary: the effect of delivery on those whom the assignment made receive the message; \
                         messages of unknown delivery count as undelivered";

/// The effect of delivery.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectOnDelivered {
    /// Always `complier_average_causal_effect`.
    pub estimand: &'static str,
    /// In the metric's own units, with Fieller's interval; of one sign exactly when the intention to treat is.
    pub effect: Estimate,
    /// Its standard error, by the delta method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Two-sided p value of no effect, that of the intention to treat.
    pub p_value: Option<f64>,
    /// Delivered share of the arm less that of the control: the share of compliers.
    pub compliance: Estimate,
    /// What has to be true for the effect to be causal.
    pub assumptions: Vec<String>,
    /// The estimate and the interval, in words.
    pub method: String,
    /// What it is.
    pub note: &'static str,
}

/// The effect of delivery in an arm; none where delivery is not known, or does not tell the arms apart.
pub(crate) fn effect_on_delivered(
    metric: &MetricSample,
    control: &str,
    arm: &str,
    alpha: f64,
) -> Result<Option<EffectOnDelivered>> {
    // Delivery itself is what the assignment moves, and what is sent and paid for is so whether it arrives or not.
    if matches!(metric.name.as_str(), "delivery" | "cost" | "messages") {
        return Ok(None);
    }
    let (Some(baseline), Some(treated)) = (delivery_of(metric, control)?, delivery_of(metric, arm)?) else {
        return Ok(None);
    };
    let (Some(fewer), Some(more)) = (baseline.delivery().rate(), treated.delivery().rate()) else {
        return Ok(None);
    };
    if fewer >= SHARE_OF_DELIVERY * more {
        return Ok(None);
    }
    let test = match metric.kind {
        MetricKind::Proportion => ComplierTest::PooledZ,
        _ => ComplierTest::Welch,
    };
    let found = complier_effect(&baseline, &treated, test, alpha)?;
    Ok(Some(EffectOnDelivered {
        estimand: "complier_average_causal_effect",
        effect: found.effect,
        standard_error: found.standard_error,
        p_value: found.p_value,
        compliance: found.compliance,
        assumptions: found.assumptions,
        method: found.method,
        note: SECONDARY,
    }))
}

/// An arm by delivery; none where the source does not tell it.
fn delivery_of(metric: &MetricSample, arm: &str) -> Result<Option<DeliveryArm>> {
    let (delivered, undelivered) = (metric.delivered.get(arm), metric.undelivered.get(arm));
    if delivered.is_none() && undelivered.is_none() {
        return Ok(None);
    }
    let moments = |group: Option<&ArmStatistic>| group.map_or(Ok(Moments::default()), ArmStatistic::moments);
    Ok(Some(DeliveryArm { delivered: moments(delivered)?, undelivered: moments(undelivered)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::sample::MetricRole;
    use crate::stats::Proportion;

    /// (successes, units) of the delivered and the undelivered, of a control and an arm.
    fn metric(control: [(u64, u64); 2], arm: [(u64, u64); 2]) -> MetricSample {
        let mut metric = MetricSample::new("voted".to_owned(), MetricKind::Mean, MetricRole::Primary);
        for (name, [delivered, undelivered]) in [("A", control), ("B", arm)] {
            let moments =
                |(successes, n)| ArmStatistic::Mean(Proportion::new(n, successes).unwrap().to_moments().unwrap());
            metric.delivered.insert(name.to_owned(), moments(delivered));
            metric.undelivered.insert(name.to_owned(), moments(undelivered));
        }
        metric
    }

    #[test]
    fn outvotes_effect() {
        // Schein et al. (2021) print 11.88 percentage points; digits by NumPy (stats/tests/oracle/complier.py).
        let early = metric([(202, 251), (901, 1203)], [(8804, 11_105), (11_713, 14_905)]);
        let found = effect_on_delivered(&early, "A", "B", 0.05).unwrap().unwrap();
        for (actual, expected) in [
            (found.effect.estimate, 0.118_805_260_050),
            (found.effect.low, 0.030_128_828_880),
            (found.effect.high, 0.208_348_949_154),
            (found.p_value, 0.008_734_007_784),
        ] {
            assert!((actual.unwrap() - expected).abs() < 1e-9, "{actual:?} is not {expected}");
        }
        assert!(found.assumptions.len() >= 3 && found.note.starts_with("secondary"));
    }

    #[test]
    fn two_texts_that_both_arrive_have_none() {
        let both = metric([(20, 900), (1, 100)], [(40, 600), (3, 400)]);
        assert!(effect_on_delivered(&both, "A", "B", 0.05).unwrap().is_none());
        let unknown = MetricSample::new("click".to_owned(), MetricKind::Proportion, MetricRole::Primary);
        assert!(effect_on_delivered(&unknown, "A", "B", 0.05).unwrap().is_none());
    }
}
