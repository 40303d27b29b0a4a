//! What evaluation needs of each recipient: sums over the sends, which merge in any order.
//!
//! Enters: sends with the propensity that was logged and the probability that the proposed schedule gives the same
//! choice. Leaves: [`RecipientSums`].

use crate::error::{StatsError, check_finite, check_probability};
use serde::{Deserialize, Serialize};

/// What a model of the outcome expects, made without the rows that it is used on (cross-fitting).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    /// The reward expected of the choice that was made.
    pub of_logged: f64,
    /// The reward expected of the proposed schedule: the sum over choices of its probability times what is expected.
    pub of_target: f64,
}

/// One send in a log.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoggedSend {
    /// A number that stands for the recipient, such as a hash of the identifier.
    pub recipient: u64,
    /// What the send brought: 1 for a click, or margin less cost.
    pub reward: f64,
    /// Probability, 0 to 1, with which the choice was made at the time; none where it was not logged.
    pub logged_propensity: Option<f64>,
    /// Probability, 0 to 1, that the proposed schedule makes the same choice for this recipient.
    pub target_probability: f64,
    /// Probability, 0 to 1, that it makes a choice which the log could not have made here.
    pub uncovered: f64,
    /// What a model expects; none without one.
    pub predictions: Option<Predictions>,
}

/// Sums over the sends of one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RecipientSums {
    /// A number that stands for the recipient.
    pub recipient: u64,
    /// Sends that can be weighted; all sums below are over these.
    pub sends: u64,
    /// Sends without a usable propensity that the proposed schedule could have made: left out, and counted.
    pub unusable: u64,
    /// Sum of rewards.
    pub reward: f64,
    /// Sum of weights, target probability / logged propensity.
    pub weight: f64,
    /// Sum of squared weights.
    pub squared_weight: f64,
    /// The largest weight.
    pub largest_weight: f64,
    /// Sum of weight × reward.
    pub weighted_reward: f64,
    /// Sum of uncovered probability.
    pub uncovered: f64,
    /// Sends with predictions.
    pub predicted: u64,
    /// Sum over those of target prediction + weight × (reward − prediction of the logged choice).
    pub doubly_robust: f64,
}

impl RecipientSums {
    /// The sums of one send.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidProbability`] for a probability outside 0 to 1; [`StatsError::NotFinite`] for a reward, a
    /// prediction or a weight that is NaN or infinite.
    pub fn of_send(send: &LoggedSend) -> Result<Self, StatsError> {
        check_finite("the reward of a send", send.reward)?;
        check_probability("the target probability of a send", send.target_probability)?;
        check_probability("the uncovered probability of a send", send.uncovered)?;
        let propensity = send.logged_propensity.unwrap_or(0.0);
        check_probability("the logged propensity of a send", propensity)?;
        if let Some(predictions) = send.predictions {
            check_finite("the prediction for the logged choice", predictions.of_logged)?;
            check_finite("the prediction for the proposed schedule", predictions.of_target)?;
        }
        let empty = Self { recipient: send.recipient, ..Self::default() };
        let weight = match (send.target_probability > 0.0, propensity > 0.0) {
            (false, _) => 0.0,
            (true, true) => send.target_probability / propensity,
            (true, false) => return Ok(Self { unusable: 1, ..empty }),
        };
        check_finite("the weight of a send", weight * weight)?;
        Ok(Self {
            sends: 1,
            reward: send.reward,
            weight,
            squared_weight: weight * weight,
            largest_weight: weight,
            weighted_reward: weight * send.reward,
            uncovered: send.uncovered,
            predicted: u64::from(send.predictions.is_some()),
            doubly_robust: send
                .predictions
                .map_or(0.0, |model| model.of_target + weight * (send.reward - model.of_logged)),
            ..empty
        })
    }

    /// The sums of every recipient, in rising order of their number.
    ///
    /// # Errors
    ///
    /// As [`Self::of_send`].
    pub fn of_sends(sends: &[LoggedSend]) -> Result<Vec<Self>, StatsError> {
        let all = sends.iter().map(Self::of_send).collect::<Result<Vec<Self>, StatsError>>()?;
        Ok(merged(all))
    }

    /// Both sums together, under the recipient of the first.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            recipient: self.recipient,
            sends: self.sends.saturating_add(other.sends),
            unusable: self.unusable.saturating_add(other.unusable),
            reward: self.reward + other.reward,
            weight: self.weight + other.weight,
            squared_weight: self.squared_weight + other.squared_weight,
            largest_weight: self.largest_weight.max(other.largest_weight),
            weighted_reward: self.weighted_reward + other.weighted_reward,
            uncovered: self.uncovered + other.uncovered,
            predicted: self.predicted.saturating_add(other.predicted),
            doubly_robust: self.doubly_robust + other.doubly_robust,
        }
    }

    /// Refuses sums that no sends have: the fields are public, and may come from a file.
    pub(super) fn check(&self) -> Result<(), StatsError> {
        for (quantity, value) in [
            ("the sum of rewards", self.reward),
            ("the sum of weighted rewards", self.weighted_reward),
            ("the sum of doubly robust scores", self.doubly_robust),
        ] {
            check_finite(quantity, value)?;
        }
        for (quantity, value) in [
            ("the sum of weights", self.weight),
            ("the sum of squared weights", self.squared_weight),
            ("the largest weight", self.largest_weight),
            ("the sum of uncovered probabilities", self.uncovered),
        ] {
            crate::error::check_not_negative(quantity, value)?;
        }
        if self.predicted > self.sends {
            return Err(StatsError::SuccessesExceedUnits { successes: self.predicted, n: self.sends });
        }
        Ok(())
    }
}

/// One entry a recipient, in rising order: the same whatever the order of the entries that came in.
pub(super) fn merged(mut entries: Vec<RecipientSums>) -> Vec<RecipientSums> {
    // Ordered by all that floats are added from, so that sums do not depend on the order of arrival.
    entries.sort_by(|left, right| {
        left.recipient
            .cmp(&right.recipient)
            .then(left.weight.total_cmp(&right.weight))
            .then(left.reward.total_cmp(&right.reward))
            .then(left.doubly_robust.total_cmp(&right.doubly_robust))
            .then(left.uncovered.total_cmp(&right.uncovered))
    });
    let mut together: Vec<RecipientSums> = Vec::with_capacity(entries.len());
    for entry in entries {
        match together.last_mut() {
            Some(last) if last.recipient == entry.recipient => *last = last.merge(entry),
            _ => together.push(entry),
        }
    }
    together
}
