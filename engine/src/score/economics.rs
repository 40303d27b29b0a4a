//! What a message is worth: effect × margin − cost of its parts − what opt-outs lose.

use serde::Serialize;

use super::model::{ScoreModel, Scorer};
use super::request::{ModelChoice, ScoreRequest, Target};
use crate::error::Result;
use crate::event::Log;
use crate::event::message_parts::measure;
use crate::facts::{latest_rows, moment};
use crate::query::{QuerySession, text_literal};
use crate::report::{cell_number, cell_text};
use crate::stats::{Estimate, Interval};

/// Profit of the messages to an audience, beyond what would have come without them.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyProfit {
    /// Of each member of the audience.
    pub per_recipient: Estimate,
    /// Of all of them.
    pub total: Estimate,
}

impl PolicyProfit {
    /// Of `members` whose mean effect is estimated, and whose messages cost `costs` together, opt-outs included.
    pub(super) fn of(mean_effect: &Estimate, margin: f64, costs: f64, members: f64) -> Self {
        let each = |effect: f64| effect * margin - costs / members;
        let estimate = mean_effect.estimate.unwrap_or(0.0);
        let (low, high) = (mean_effect.low.unwrap_or(f64::NEG_INFINITY), mean_effect.high.unwrap_or(f64::INFINITY));
        let interval = |times: f64| Interval::from_ends(each(low) * times, each(high) * times);
        Self {
            per_recipient: Estimate::new(each(estimate), interval(1.0)),
            total: Estimate::new(each(estimate) * members, interval(members)),
        }
    }
}

/// What the messages of a treatment cost and bring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MessageProfit {
    /// Of one unit of the target.
    pub(super) margin: f64,
    /// Of the messages that the treatment is made of.
    pub(super) cost: f64,
    /// How many these are, beyond those of the control.
    pub(super) messages: f64,
    /// The share of messages that were followed by an opt-out: the probability of those of whom no model tells it.
    opt_out_rate: f64,
    /// What is lost with a recipient who opts out.
    opt_out_value: f64,
}

impl MessageProfit {
    /// SQL of what is expected of a recipient, from the SQL of the effect and of the probability of an opt-out a message.
    pub(super) fn sql(&self, effect: &str, opt_out: &str) -> String {
        format!(
            "({effect} * {:?} - {:?} - coalesce({opt_out}, {:?}) * {:?})",
            self.margin,
            self.cost,
            self.opt_out_rate,
            self.messages * self.opt_out_value
        )
    }

    /// Whether the arms differ in being sent to, and not only in what was sent.
    pub(super) fn is_of_sending(&self) -> bool {
        self.messages > 0.5
    }
}

/// What of a request's amounts this model can make little or nothing of.
fn without_use(request: &ScoreRequest, model: &ScoreModel) -> Option<&'static str> {
    let asked = &request.economics;
    let has_amounts = asked.margin.is_some() || asked.part_cost.is_some() || asked.opt_out_value > 0.0;
    let is_saved = matches!(request.model, ModelChoice::Saved(_));
    match &model.scorer {
        Scorer::Propensity(_) if has_amounts || request.text.is_some() => Some(
            "a margin, a cost, a text or the value of an opt-out say what a message is worth, which takes what it adds: score \
             with --model uplift",
        ),
        Scorer::Uplift(_) if asked.opt_out_value > 0.0 && model.opt_out.is_none() && is_saved => Some(
            "this model was trained without a value of opt-outs: their probability is the share of all messages for everybody",
        ),
        Scorer::Propensity(_) | Scorer::Uplift(_) => None,
    }
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
        notes.extend(without_use(request, model).map(str::to_owned));
        let Scorer::Uplift(scorer) = &model.scorer else { return Ok(Self { profit: None, notes }) };
        // Of a table of units one message each is taken.
        let messages = scorer.messages.unwrap_or(1.0);
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
            cost: part_cost * parts as f64 * messages,
            messages,
            opt_out_rate,
            opt_out_value: request.economics.opt_out_value,
        });
        Ok(Self { profit, notes })
    }
}
