//! What a schedule that was never sent would have brought, judged from a log of sends with known propensities.
//!
//! Enters: for each recipient the sums over logged sends ([`RecipientSums`]), in which every send carries the
//! probability with which its choice (a slot, a variant) was made at the time, and the one that the proposed schedule
//! gives it. Leaves: the value a send of the proposed schedule, its gain over what was sent, and how much the log has
//! to say about it at all; where that is too little, **no value but the reasons**.
//!
//! | method | value | |
//! | --- | --- | --- |
//! | inverse propensity | Σ w r / n | unbiased, and noisy when weights are large |
//! | self-normalised | Σ w r / Σ w | the one to report without a model (Swaminathan and Joachims 2015, `NeurIPS`) |
//! | doubly robust | Σ (q(π) + w (r − q(a))) / n | right if propensities or model are (Dudík et al. 2011, ICML) |
//!
//! with w = target probability / logged propensity. Recipients are the unit: standard errors are those of linearised
//! ratios of sums over recipients, beside them a bootstrap by recipient (Poisson weights: Chamandy et al. 2012), which
//! depends on the seed and the recipient alone.
//!
//! Refused when, by Kish's effective sample size (Σw)² / Σw² of sends or of recipients, fewer than
//! [`LEAST_EFFECTIVE`] or [`LEAST_EFFECTIVE_SHARE`] of them are left; when more than [`MOST_UNUSABLE`] of the sends
//! have no usable propensity though the proposed schedule could have made them; or when more than [`MOST_UNCOVERED`] of
//! the proposed schedule lies where the log never went.

mod sums;
mod value;

pub use sums::{LoggedSend, Predictions, RecipientSums};

use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::numeric::{count, length};
use serde::{Deserialize, Serialize};
use value::{Linearised, Totals, Value, bootstrap, estimate_of};

/// Effective sends, and effective recipients, below which an evaluation is refused.
pub const LEAST_EFFECTIVE: f64 = 100.0;
/// The same as a share of sends, and of recipients.
pub const LEAST_EFFECTIVE_SHARE: f64 = 0.01;
/// Share of sends without a usable propensity above which an evaluation is refused.
pub const MOST_UNUSABLE: f64 = 0.01;
/// Share of the proposed schedule outside the log above which an evaluation is refused.
pub const MOST_UNCOVERED: f64 = 0.05;
/// Standard errors between the mean weight and what it should be from which on the propensities are doubted.
const DOUBTFUL: f64 = 4.0;

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EvaluationOptions {
    /// Of all intervals; a share in (0, 1).
    pub alpha: f64,
    /// Bootstrap samples; zero for none.
    pub replicates: u32,
    /// The same seed gives the same samples.
    pub seed: u64,
}

impl Default for EvaluationOptions {
    /// Alpha 5 %, 999 samples, seed one.
    fn default() -> Self {
        Self { alpha: 0.05, replicates: 999, seed: 1 }
    }
}

/// How a value was estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueMethod {
    /// Horvitz and Thompson's.
    InversePropensity,
    /// Hájek's.
    SelfNormalised,
    /// With a model of the outcome beside it.
    DoublyRobust,
}

/// The value of the proposed schedule by one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyValue {
    /// By which method.
    pub method: ValueMethod,
    /// Mean reward a send, with a linearised interval.
    pub value: Estimate,
    /// The interval of the same value by bootstrap.
    pub bootstrap: Interval,
    /// Value less that of the sends as they were, with a linearised interval that knows both come from one log.
    pub gain: Estimate,
    /// The interval of the gain by bootstrap.
    pub gain_bootstrap: Interval,
}

/// How much a log has to say about a proposed schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Recipients with a send that can be weighted.
    pub recipients: u64,
    /// Sends that can be weighted.
    pub sends: u64,
    /// Kish's effective number of sends; none without weights.
    pub effective_sends: Option<f64>,
    /// Kish's effective number of recipients, by their summed weights; none without weights.
    pub effective_recipients: Option<f64>,
    /// The largest weight of a send over the sum of all, 0 to 1; none without weights.
    pub largest_weight_share: Option<f64>,
    /// Share of all sends, 0 to 1, left out for want of a propensity.
    pub unusable_share: f64,
    /// Share of the proposed schedule, 0 to 1, outside the log.
    pub uncovered_share: f64,
    /// Mean weight of a send with its interval: about one less the uncovered share, if the propensities are right.
    pub mean_weight: Estimate,
}

/// The evaluation of a proposed schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyEvaluation {
    /// What the log has to say.
    pub overlap: Overlap,
    /// Why no value is given; empty where one is.
    pub refusals: Vec<String>,
    /// What else a reader has to know.
    pub warnings: Vec<String>,
    /// Mean reward of the sends as they were.
    pub logged: Estimate,
    /// Value by each method that can be used; none where refused.
    pub values: Vec<PolicyValue>,
}

impl PolicyEvaluation {
    /// The value by one method; none where it was refused or could not be used.
    #[must_use]
    pub fn value(&self, method: ValueMethod) -> Option<&PolicyValue> {
        self.values.iter().find(|value| value.method == method)
    }
}

/// Evaluates a proposed schedule. Entries of the same recipient are put together; their order does not matter.
///
/// ```
/// use sendlift_stats::off_policy::{EvaluationOptions, LoggedSend, RecipientSums, ValueMethod, evaluate_policy};
///
/// // Two slots drawn evenly; the second brings twice as much. The proposal sends everything there.
/// let sends: Vec<LoggedSend> = (0..2_000)
///     .map(|recipient| LoggedSend {
///         recipient,
///         reward: if recipient % 2 == 0 { 0.1 } else { 0.2 },
///         logged_propensity: Some(0.5),
///         target_probability: if recipient % 2 == 0 { 0.0 } else { 1.0 },
///         uncovered: 0.0,
///         predictions: None,
///     })
///     .collect();
/// let evaluation = evaluate_policy(&RecipientSums::of_sends(&sends)?, EvaluationOptions::default())?;
/// let value = evaluation.value(ValueMethod::SelfNormalised).and_then(|value| value.value.estimate);
/// assert!(value.is_some_and(|value| (value - 0.2).abs() < 1e-12));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`], [`StatsError::Negative`] or
/// [`StatsError::SuccessesExceedUnits`] for sums that no sends have; [`StatsError::NoUnits`] without a send.
pub fn evaluate_policy(
    recipients: &[RecipientSums],
    options: EvaluationOptions,
) -> Result<PolicyEvaluation, StatsError> {
    check_alpha(options.alpha)?;
    for sums in recipients {
        sums.check()?;
    }
    let all = sums::merged(recipients.to_vec());
    let unusable: f64 = all.iter().map(|sums| count(sums.unusable)).sum();
    let usable: Vec<RecipientSums> = all.into_iter().filter(|sums| sums.sends > 0).collect();
    let sends = usable.iter().fold(0_u64, |total, sums| total.saturating_add(sums.sends));
    if sends == 0 && unusable <= 0.0 {
        return Err(StatsError::NoUnits);
    }
    let overlap = overlap(&usable, sends, unusable, options.alpha);
    let refusals = refusals(&overlap);
    let totals: Vec<Totals> = usable.iter().map(Totals::of).collect();
    let logged = Linearised::of(&totals, Value::Logged);
    let mut warnings = Vec::new();
    if let Some(warning) = doubtful_weights(&usable, &overlap) {
        warnings.push(warning);
    }
    let mut methods = vec![ValueMethod::InversePropensity, ValueMethod::SelfNormalised];
    let predicted = usable.iter().fold(0_u64, |total, sums| total.saturating_add(sums.predicted));
    if predicted == sends {
        methods.push(ValueMethod::DoublyRobust);
    } else if predicted > 0 {
        warnings.push(format!("{predicted} of {sends} sends have predictions: doubly robust needs them for all"));
    }
    let values = if refusals.is_empty() { values(&usable, &methods, logged.as_ref(), options) } else { Vec::new() };
    Ok(PolicyEvaluation { overlap, refusals, warnings, logged: estimate_of(logged.as_ref(), options.alpha), values })
}

fn values(
    recipients: &[RecipientSums],
    methods: &[ValueMethod],
    logged: Option<&Linearised>,
    options: EvaluationOptions,
) -> Vec<PolicyValue> {
    let intervals = bootstrap(recipients, methods, options);
    let totals: Vec<Totals> = recipients.iter().map(Totals::of).collect();
    methods
        .iter()
        .zip(intervals)
        .map(|(&method, (bootstrap, gain_bootstrap))| {
            let value = Linearised::of(&totals, Value::Proposed(method));
            let gain = value.as_ref().zip(logged).map(|(value, logged)| value.less(logged));
            PolicyValue {
                method,
                value: estimate_of(value.as_ref(), options.alpha),
                bootstrap,
                gain: estimate_of(gain.as_ref(), options.alpha),
                gain_bootstrap,
            }
        })
        .collect()
}

fn overlap(recipients: &[RecipientSums], sends: u64, unusable: f64, alpha: f64) -> Overlap {
    let total = |value: fn(&RecipientSums) -> f64| recipients.iter().map(value).sum::<f64>();
    let weight = total(|sums| sums.weight);
    let kish =
        |squares: f64| (weight > 0.0 && squares > 0.0).then(|| weight * weight / squares).filter(|n| n.is_finite());
    let largest = recipients.iter().map(|sums| sums.largest_weight).fold(0.0, f64::max);
    Overlap {
        recipients: recipients.len() as u64,
        sends,
        effective_sends: kish(total(|sums| sums.squared_weight)),
        effective_recipients: kish(total(|sums| sums.weight * sums.weight)),
        largest_weight_share: (weight > 0.0).then(|| (largest / weight).min(1.0)),
        unusable_share: unusable / (count(sends) + unusable),
        uncovered_share: if sends > 0 { (total(|sums| sums.uncovered) / count(sends)).min(1.0) } else { 0.0 },
        mean_weight: estimate_of(mean_weight(recipients).as_ref(), alpha),
    }
}

/// The mean weight of a send: the value by inverse propensity of a reward of one.
fn mean_weight(recipients: &[RecipientSums]) -> Option<Linearised> {
    let ones: Vec<Totals> = recipients.iter().map(Totals::of_weights).collect();
    Linearised::of(&ones, Value::Proposed(ValueMethod::InversePropensity))
}

fn refusals(overlap: &Overlap) -> Vec<String> {
    let mut reasons = Vec::new();
    for (what, effective, of) in [
        ("sends", overlap.effective_sends, overlap.sends),
        ("recipients", overlap.effective_recipients, overlap.recipients),
    ] {
        let least = LEAST_EFFECTIVE.max(LEAST_EFFECTIVE_SHARE * count(of));
        let effective = effective.unwrap_or(0.0);
        if effective < least {
            reasons.push(format!(
                "the log is worth {effective:.0} of its {of} {what} to this schedule, and {least:.0} are needed: \
                 propose one nearer to what was sent, or log more"
            ));
        }
    }
    if overlap.unusable_share > MOST_UNUSABLE {
        reasons.push(format!(
            "{:.1} % of the sends have no propensity though the schedule could have made them: log propensities",
            100.0 * overlap.unusable_share
        ));
    }
    if overlap.uncovered_share > MOST_UNCOVERED {
        reasons.push(format!(
            "{:.1} % of the schedule lies where the log never went: explore there first",
            100.0 * overlap.uncovered_share
        ));
    }
    reasons
}

/// A mean weight that cannot come of right propensities.
fn doubtful_weights(recipients: &[RecipientSums], overlap: &Overlap) -> Option<String> {
    let mean = overlap.mean_weight.estimate?;
    let standard_error = mean_weight(recipients)?.standard_error()?;
    let expected = 1.0 - overlap.uncovered_share;
    // Rounding alone must not raise it where all weights are one.
    let apart = (mean - expected).abs() - 1e-9 * length(recipients.len()).sqrt();
    (apart > DOUBTFUL * standard_error).then(|| {
        format!(
            "the mean weight is {mean:.3} where {expected:.3} is expected: check that the logged propensities are those \
             used, and that target probabilities add up to one"
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]
mod tests {
    use super::*;
    use crate::counter::{bits, unit};
    use crate::numeric::assert_close;

    fn send(recipient: u64, reward: f64, propensity: f64, target: f64) -> LoggedSend {
        LoggedSend {
            recipient,
            reward,
            logged_propensity: Some(propensity),
            target_probability: target,
            uncovered: 0.0,
            predictions: None,
        }
    }

    fn evaluate(sends: &[LoggedSend]) -> PolicyEvaluation {
        evaluate_policy(&RecipientSums::of_sends(sends).unwrap(), EvaluationOptions::default()).unwrap()
    }

    #[test]
    fn the_logged_schedule_is_worth_what_it_brought() {
        let sends: Vec<LoggedSend> =
            (0..1_000).map(|place| send(place / 2, unit(bits(1, 1, place)), 0.25, 0.25)).collect();
        let evaluation = evaluate(&sends);
        assert!(evaluation.refusals.is_empty() && evaluation.warnings.is_empty(), "{evaluation:?}");
        assert_close(evaluation.overlap.effective_sends.unwrap(), 1_000.0, 1e-12);
        for value in &evaluation.values {
            assert_close(value.value.estimate.unwrap(), evaluation.logged.estimate.unwrap(), 1e-12);
            assert_close(value.gain.high.unwrap(), 0.0, 1e-12);
            assert_close(value.gain_bootstrap.low.unwrap(), 0.0, 1e-12);
        }
        assert!(evaluation.value(ValueMethod::DoublyRobust).is_none());
    }

    #[test]
    fn poor_overlap_is_refused_with_its_reason() {
        // One send in a thousand carries all of the weight.
        let mut sends: Vec<LoggedSend> = (0..999).map(|place| send(place, 1.0, 0.9, 0.01)).collect();
        sends.push(send(999, 1.0, 0.0001, 0.99));
        let evaluation = evaluate(&sends);
        assert!(evaluation.values.is_empty());
        assert!(evaluation.refusals[0].contains("worth 1 of its 1000 sends"), "{:?}", evaluation.refusals);
        assert!(evaluation.overlap.largest_weight_share.unwrap() > 0.99);
        assert!(evaluation.logged.estimate.is_some());

        let unlogged: Vec<LoggedSend> = (0..1_000)
            .map(|place| LoggedSend {
                logged_propensity: (place % 20 > 0).then_some(0.5),
                ..send(place, 1.0, 0.5, 0.5)
            })
            .collect();
        let evaluation = evaluate(&unlogged);
        assert!(evaluation.refusals[0].contains("no propensity"), "{:?}", evaluation.refusals);
        assert_close(evaluation.overlap.unusable_share, 0.05, 1e-12);

        let outside: Vec<LoggedSend> =
            (0..1_000).map(|place| LoggedSend { uncovered: 0.06, ..send(place, 1.0, 0.5, 0.47) }).collect();
        assert!(evaluate(&outside).refusals[0].contains("never went"));

        // Many sends, few recipients.
        let few: Vec<LoggedSend> = (0..5_000).map(|place| send(place % 50, 1.0, 0.5, 0.5)).collect();
        assert!(evaluate(&few).refusals[0].contains("50 recipients"));
    }

    #[test]
    fn wrong_propensities_are_doubted() {
        let sends: Vec<LoggedSend> =
            (0..1_000).map(|place| send(place, 0.0, if place % 2 == 0 { 0.5 } else { 0.4 }, 0.8)).collect();
        let evaluation = evaluate(&sends);
        assert!(evaluation.warnings[0].contains("mean weight is 1.800"), "{:?}", evaluation.warnings);
    }

    #[test]
    fn samples_do_not_depend_on_the_order() {
        let sends: Vec<LoggedSend> =
            (0..900).map(|place| send(place % 300, unit(bits(2, 1, place)), 0.5, unit(bits(2, 2, place)))).collect();
        let mut turned = sends.clone();
        turned.reverse();
        assert_eq!(evaluate(&sends), evaluate(&turned));
        // Entries of one recipient are put together, however they come.
        let apart: Vec<RecipientSums> = sends.iter().map(|send| RecipientSums::of_send(send).unwrap()).collect();
        assert_eq!(evaluate_policy(&apart, EvaluationOptions::default()).unwrap(), evaluate(&sends));
        let other = EvaluationOptions { seed: 2, ..EvaluationOptions::default() };
        let reseeded = evaluate_policy(&apart, other).unwrap();
        assert_ne!(reseeded.values[1].bootstrap, evaluate(&sends).values[1].bootstrap);
        assert_eq!(reseeded.values[1].value, evaluate(&sends).values[1].value);
    }

    #[test]
    fn very_many_recipients_are_drawn_in_groups() {
        let sends: Vec<LoggedSend> =
            (0..25_000).map(|place| send(place, unit(bits(3, 1, place)), 0.5, unit(bits(3, 2, place)))).collect();
        let options = EvaluationOptions { replicates: 199, ..EvaluationOptions::default() };
        let evaluation = evaluate_policy(&RecipientSums::of_sends(&sends).unwrap(), options).unwrap();
        let value = evaluation.value(ValueMethod::SelfNormalised).unwrap();
        let linearised = value.value.high.unwrap() - value.value.low.unwrap();
        let drawn = value.bootstrap.high.unwrap() - value.bootstrap.low.unwrap();
        assert_close(drawn, linearised, 0.25);
    }

    #[test]
    fn nothing_to_weigh_is_said() {
        let evaluation = evaluate(&(0..200).map(|place| send(place, 1.0, 0.5, 0.0)).collect::<Vec<_>>());
        assert_eq!(evaluation.overlap.effective_sends, None);
        assert!(!evaluation.refusals.is_empty());
        let unusable = LoggedSend { logged_propensity: None, ..send(1, 1.0, 0.5, 0.5) };
        let evaluation = evaluate(&[unusable]);
        assert_eq!((evaluation.overlap.sends, evaluation.logged.estimate), (0, None));
        assert_eq!(evaluate_policy(&[], EvaluationOptions::default()), Err(StatsError::NoUnits));
    }

    #[test]
    fn impossible_input_is_refused() {
        for broken in [
            send(1, f64::NAN, 0.5, 0.5),
            send(1, 1.0, 1.5, 0.5),
            send(1, 1.0, -0.1, 0.5),
            send(1, 1.0, 0.5, f64::NAN),
            send(1, 1.0, 1e-300, 1.0),
        ] {
            assert!(RecipientSums::of_send(&broken).is_err(), "{broken:?}");
        }
        let broken = RecipientSums { sends: 1, weight: f64::INFINITY, ..RecipientSums::default() };
        assert!(evaluate_policy(&[broken], EvaluationOptions::default()).is_err());
        let options = EvaluationOptions { alpha: 1.0, ..EvaluationOptions::default() };
        assert!(evaluate_policy(&[RecipientSums::default()], options).is_err());
    }
}
