//! What a message is worth: effect × margin − cost of its parts − what opt-outs lose.

use serde::{Deserialize, Serialize};

use super::ALPHA;
use super::model::{ScoreModel, Scorer};
use super::request::{ScoreRequest, Target};
use crate::error::Result;
use crate::event::Log;
use crate::event::message_parts::measure;
use crate::facts::{latest_rows, moment};
use crate::query::{QuerySession, text_literal};
use crate::report::{cell_number, cell_text};
use crate::stats::audience::Audience;
use crate::stats::distribution::normal::critical_value;
use crate::stats::{Estimate, Interval};

use super::apply::AudienceSummary;

/// Effects of the experiment's units whose predicted effect is so large or larger: what an audience chosen by the prediction
/// really brings, told by units that the predictions had not seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EffectAbove {
    /// The least predicted effect among them.
    pub predicted: f64,
    /// How many there are.
    pub units: u64,
    /// Mean of their doubly robust scores: their average effect, in units of the outcome.
    pub effect: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// The effects of the units above each hundredth of what is predicted.
pub(super) fn effects_above(predicted: &[f64], scores: &[f64]) -> Vec<EffectAbove> {
    let mut order: Vec<usize> = (0..predicted.len()).collect();
    order.sort_by(|left, right| predicted[*right].total_cmp(&predicted[*left]).then(left.cmp(right)));
    let mut found: Vec<EffectAbove> = Vec::new();
    let (mut sum, mut squares) = (0.0, 0.0);
    for (place, unit) in order.iter().enumerate() {
        sum += scores[*unit];
        squares += scores[*unit] * scores[*unit];
        let units = place + 1;
        let is_last_of_its_value = order.get(units).is_none_or(|next| predicted[*next] < predicted[*unit]);
        let hundredth = units * 100 / order.len() > found.len();
        if is_last_of_its_value && hundredth && units > 1 {
            #[allow(clippy::cast_precision_loss)] // Units held in memory.
            let n = units as f64;
            let effect = sum / n;
            let variance = ((squares - n * effect * effect) / (n - 1.0)).max(0.0);
            found.push(EffectAbove {
                predicted: predicted[*unit],
                units: units as u64,
                effect,
                standard_error: (variance / n).sqrt(),
            });
        }
    }
    found
}

/// Profit of the messages to an audience, beyond what would have come without them.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyProfit {
    /// Of each message.
    pub per_message: Estimate,
    /// Of all of them.
    pub total: Estimate,
}

/// What one message costs and brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MessageProfit {
    /// Of one unit of the target.
    pub(super) margin: f64,
    /// Of the message.
    pub(super) cost: f64,
    /// Opt-outs a message × the value lost with each.
    pub(super) opt_out_loss: f64,
}

/// The amounts of a request, those not given taken from the logs.
pub(super) struct MessageEconomics {
    /// None where an amount is not known.
    pub(super) profit: Option<MessageProfit>,
    pub(super) notes: Vec<String>,
}

impl MessageEconomics {
    pub(super) async fn of(
        session: &QuerySession,
        request: &ScoreRequest,
        model: &ScoreModel,
        at: i64,
    ) -> Result<Self> {
        let mut notes = Vec::new();
        if !matches!(model.scorer, Scorer::Uplift(_)) {
            return Ok(Self { profit: None, notes });
        }
        let until = moment(at);
        let parts = request.text.as_deref().map_or(1, |text| measure(text).1);
        let event = match &model.target {
            Target::Event(event) => format!(" AND event = {}", text_literal(event)),
            _ => String::new(),
        };
        let of_logs = async |query: String| -> Result<Vec<(Option<String>, f64)>> {
            let mut found = Vec::new();
            for batch in session.collect(&query).await? {
                for row in 0..batch.num_rows() {
                    if let Some(number) = cell_number(&batch, 1, row)? {
                        found.push((cell_text(&batch, 0, row)?, number));
                    }
                }
            }
            Ok(found)
        };
        let (mut margin, mut part_cost) = (request.economics.margin, request.economics.part_cost);
        let mut currencies = Vec::new();
        if margin.is_none() {
            let known = of_logs(format!(
                "SELECT currency, avg(CASE WHEN refunded_at IS NULL OR refunded_at > {until} THEN margin \
                 ELSE arrow_cast(0, 'Decimal128(18, 6)') END) FROM {} \
                 WHERE margin IS NOT NULL AND occurred_at <= {until}{event} GROUP BY currency",
                latest_rows(Log::Conversions, "currency, margin, refunded_at, occurred_at, event")
            ))
            .await?;
            match known.as_slice() {
                [(currency, mean)] => {
                    margin = Some(*mean);
                    currencies.extend(currency.clone());
                    notes.push(format!("the margin is the mean of the logs, {mean:.4}"));
                }
                [] => notes
                    .push("the logs have no margins: give one with --margin to know what a message brings".to_owned()),
                _ => notes.push(
                    "margins are in several currencies, which are not added up: give one with --margin".to_owned(),
                ),
            }
        }
        if part_cost.is_none() {
            let known = of_logs(format!(
                "SELECT currency, arrow_cast(sum(cost), 'Float64') / sum(coalesce(parts, 1)) FROM message_facts \
                 WHERE cost IS NOT NULL AND sent_at <= {until} GROUP BY currency"
            ))
            .await?;
            match known.as_slice() {
                [(currency, mean)] => {
                    part_cost = Some(*mean);
                    currencies.extend(currency.clone());
                    notes.push(format!("the cost of a part is the mean of the logs, {mean:.5}"));
                }
                [] => notes.push("the logs have no costs: give that of a part with --part-cost".to_owned()),
                _ => notes.push(
                    "costs are in several currencies, which are not added up: give one with --part-cost".to_owned(),
                ),
            }
        }
        currencies.dedup();
        if let [first, second] = currencies.as_slice() {
            notes.push(format!(
                "margins are in {first} and costs in {second}, which are not added up: give both in one currency with --margin \
                 and --part-cost"
            ));
            return Ok(Self { profit: None, notes });
        }
        let opt_outs = of_logs(format!(
            "SELECT 'all', sum(CASE WHEN opted_out_at IS NOT NULL AND opted_out_at <= {until} THEN 1.0 ELSE 0.0 END) / count(*) \
             FROM message_facts WHERE sent_at <= {until}"
        ))
        .await?;
        let opt_out_rate = opt_outs.first().map_or(0.0, |(_, rate)| *rate);
        #[allow(clippy::cast_precision_loss)] // A few parts.
        let profit = margin.zip(part_cost).map(|(margin, part_cost)| MessageProfit {
            margin,
            cost: part_cost * parts as f64,
            opt_out_loss: opt_out_rate * request.economics.opt_out_value,
        });
        Ok(Self { profit, notes })
    }

    /// The audience, with what the experiment's own units say of such a one.
    pub(super) fn summary(
        &self,
        audience: &Audience,
        least_effect: Option<f64>,
        model: &ScoreModel,
    ) -> AudienceSummary {
        let mut notes: Vec<String> = audience.note.iter().cloned().collect();
        let Scorer::Uplift(scorer) = &model.scorer else {
            return AudienceSummary::new(audience, None, notes);
        };
        let like = least_effect.and_then(|least| {
            let known = &scorer.effects_above;
            known.iter().find(|above| above.predicted <= least).or_else(|| known.last())
        });
        let by_experiment = self.profit.zip(like).map(|(profit, like)| {
            let of = |effect: f64| effect * profit.margin - profit.cost - profit.opt_out_loss;
            let spread = critical_value(ALPHA) * like.standard_error * profit.margin.abs();
            let value = of(like.effect);
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            let n = audience.units as f64;
            PolicyProfit {
                per_message: Estimate::new(value, Interval::from_ends(value - spread, value + spread)),
                total: Estimate::new(value * n, Interval::from_ends((value - spread) * n, (value + spread) * n)),
            }
        });
        if by_experiment.as_ref().is_some_and(|profit| profit.per_message.low.is_some_and(|low| low <= 0.0)) {
            notes.push("the experiment cannot tell the profit of such an audience from a loss".to_owned());
        }
        AudienceSummary::new(audience, by_experiment, notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_above_are_means_of_the_scores_of_those_predicted_highest() {
        // Predicted 99, 98 … 0, each twice; the score of a unit is what is predicted of it, and one more for every other.
        let predicted: Vec<f64> = (0..200).map(|unit| f64::from(unit / 2)).collect();
        let scores: Vec<f64> = (0..200).map(|unit| f64::from(unit / 2) + f64::from(unit % 2)).collect();
        let above = effects_above(&predicted, &scores);
        assert_eq!(above.len(), 100);
        assert_eq!((above[0].units, above[0].predicted, above[0].effect), (2, 99.0, 99.5));
        assert!((above[99].effect - 50.0).abs() < 1e-12 && above[99].units == 200);
        // The standard error of the mean of 99 and 100 is 0.5.
        assert!((above[0].standard_error - 0.5).abs() < 1e-9);
        // All alike is one group.
        assert_eq!(effects_above(&[1.0; 10], &[2.0; 10]).len(), 1);
    }
}
