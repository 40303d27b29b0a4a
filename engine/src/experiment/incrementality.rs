//! What the messages brought beyond what would have come anyway, from recipients who were held out; beside it what was
//! credited to the messages.
//!
//! Enters: conversions and revenue of the assigned and of the held out, in the same windows, and what the attribution
//! credits. Leaves: the incremental totals with intervals (Welch, the holdout's spread being at least that of both), and by how much the credit is inflated.

use serde::{Deserialize, Serialize};

use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::mean::with_spread_of_both;
use crate::stats::{Estimate, compare_means};

/// One metric of the assigned and of the held out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeldOutMetric {
    pub(crate) name: String,
    pub(crate) assigned: ArmStatistic,
    pub(crate) held_out: ArmStatistic,
    /// What is credited to the experiment's messages, as a text that keeps every digit.
    pub(crate) attributed: String,
    /// Whether credit is given within another time than the experiment's conversions are counted in: the two are not alike.
    #[serde(default)]
    pub(crate) has_other_window: bool,
}

/// The experiment's messages against no message.
#[derive(Debug, Clone, Serialize)]
pub struct Incrementality {
    /// Recipients assigned to an arm that gets messages.
    pub assigned: u64,
    /// Recipients held out.
    pub held_out: u64,
    /// Each metric.
    pub metrics: Vec<IncrementalMetric>,
}

/// A metric beyond what would have come anyway.
#[derive(Debug, Clone, Serialize)]
pub struct IncrementalMetric {
    /// `conversions` or `revenue`.
    pub metric: String,
    /// More for each assigned recipient than for each held out.
    pub per_recipient: Estimate,
    /// The same over all assigned.
    pub incremental: Estimate,
    /// Its p value.
    pub p_value: Option<f64>,
    /// What the attribution credits to the messages: a label, not a cause.
    pub attributed: f64,
    /// Credited by incremental: 3 says that two thirds of what is credited would have come anyway. None unless the
    /// messages certainly brought something, nor where the experiment counts within another time than credit is given in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inflation: Option<f64>,
}

/// What the messages brought; none without anybody held out.
pub(crate) fn incrementality(metrics: &[HeldOutMetric], alpha: f64) -> Result<Option<Incrementality>> {
    let Some(first) = metrics.first().filter(|metric| metric.held_out.n() > 0 && metric.assigned.n() > 0) else {
        return Ok(None);
    };
    let mut found = Incrementality { assigned: first.assigned.n(), held_out: first.held_out.n(), metrics: Vec::new() };
    for metric in metrics {
        // A holdout is small: that none of it converted does not make its rate certain.
        let (held_out, assigned) = with_spread_of_both(&metric.held_out.moments()?, &metric.assigned.moments()?)?;
        let comparison = compare_means(&held_out, &assigned, alpha)?;
        #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
        let recipients = metric.assigned.n() as f64;
        let difference = comparison.difference;
        let times = |end: Option<f64>| end.map(|end| end * recipients);
        let incremental = Estimate {
            estimate: times(difference.estimate),
            low: times(difference.low),
            high: times(difference.high),
            note: difference.note.clone(),
        };
        let attributed: f64 = metric.attributed.parse().unwrap_or(0.0);
        let certain = incremental.low.is_some_and(|low| low > 0.0) && !metric.has_other_window;
        found.metrics.push(IncrementalMetric {
            metric: metric.name.clone(),
            inflation: incremental.estimate.filter(|_| certain).map(|incremental| attributed / incremental),
            per_recipient: difference,
            incremental,
            p_value: comparison.p_value,
            attributed,
        });
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Moments;

    #[test]
    fn credit_is_held_against_what_no_message_brings() {
        let mean = |n, mean, variance| ArmStatistic::Mean(Moments::from_n_mean_variance(n, mean, variance).unwrap());
        let metric = |held_out| HeldOutMetric {
            name: "conversions".to_owned(),
            assigned: mean(10_000, 0.10, 0.09),
            held_out,
            attributed: "900".to_owned(),
            has_other_window: false,
        };
        let found = incrementality(&[metric(mean(1_000, 0.07, 0.065))], 0.05).unwrap().unwrap();
        // 0.03 more for each of 10,000; 900 are credited: three times as many.
        let conversions = &found.metrics[0];
        assert!((conversions.incremental.estimate.unwrap() - 300.0).abs() < 1e-9);
        assert!((conversions.inflation.unwrap() - 3.0).abs() < 1e-9);
        let unclear = incrementality(&[metric(mean(1_000, 0.095, 0.086))], 0.05).unwrap().unwrap();
        assert_eq!(unclear.metrics[0].inflation, None);
        assert!(incrementality(&[metric(ArmStatistic::Mean(Moments::default()))], 0.05).unwrap().is_none());
        // Nobody of 86 converted, where 2.2 % of the others did: (1 - 0.022)^86 is 15 %, which proves nothing.
        let none = HeldOutMetric { assigned: mean(4_914, 0.022, 0.0215), ..metric(mean(86, 0.0, 0.0)) };
        let found = incrementality(&[none], 0.05).unwrap().unwrap();
        assert!(found.metrics[0].p_value.unwrap() > 0.1 && found.metrics[0].inflation.is_none(), "{:?}", found.metrics);
    }
}
