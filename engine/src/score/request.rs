//! What is asked of `score`.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{EngineError, Result};
use crate::permission::PermissionRules;
use crate::store::At;
use crate::windows::OwnFile;

/// Days ahead at most.
const LONGEST_HORIZON: u32 = 730;
/// Days that a frequency cap looks back at most: ten years.
const LONGEST_LOOK_BACK: u32 = 3_650;
/// Amounts at most, far from where numbers end.
const LARGEST_AMOUNT: f64 = 1e15;

/// What a model predicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A recipient who is sent to clicks a message within the horizon.
    Click,
    /// A recipient converts within the horizon, by any event.
    Conversion,
    /// A recipient converts within the horizon, by this event.
    Event(String),
    /// A recipient who is sent to opts out within the horizon.
    OptOut,
    /// The next message to a recipient within the horizon is followed by an opt-out.
    OptOutPerMessage,
    /// A customer of the last two horizons does not convert within the next.
    Churn,
}

impl Target {
    /// Its name, as it is asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Click => "click",
            Self::Conversion => "conversion",
            Self::Event(event) => event,
            Self::OptOut => "opt_out",
            Self::OptOutPerMessage => "opt_out_per_message",
            Self::Churn => "churn",
        }
    }

    /// Whom its score is about.
    #[must_use]
    pub fn units(&self) -> &'static str {
        match self {
            Self::Click | Self::OptOut | Self::OptOutPerMessage => {
                "recipients who were sent a message within the horizon"
            }
            Self::Conversion | Self::Event(_) => "recipients known by the moment",
            Self::Churn => "recipients who converted within the two horizons before the moment",
        }
    }
}

impl FromStr for Target {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.trim() {
            "click" => Self::Click,
            "conversion" => Self::Conversion,
            "opt_out" => Self::OptOut,
            "opt_out_per_message" => Self::OptOutPerMessage,
            "churn" => Self::Churn,
            "" => {
                return Err(EngineError::usage(
                    "a target is click, conversion, opt_out, opt_out_per_message, churn, or the name of a conversion's event",
                ));
            }
            event => Self::Event(event.to_owned()),
        })
    }
}

/// Which model answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelChoice {
    /// One of the probability of the target, trained now.
    Propensity,
    /// One of what a message adds to the target, trained now on a randomised experiment; none for the one there is.
    Uplift {
        /// The experiment.
        experiment: Option<String>,
    },
    /// One that is kept in the store.
    Saved(String),
}

/// What a message costs and brings, all in one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Economics {
    /// Margin of one unit of the target; that of the logs where there is none here.
    pub margin: Option<f64>,
    /// Cost of one part of a message; the mean of the logs where there is none here.
    pub part_cost: Option<f64>,
    /// What is lost with a recipient who opts out.
    pub opt_out_value: f64,
}

/// Who may be sent to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EligibilityRules {
    /// Channel of the message.
    pub channel: String,
    /// Purpose that consent must be for, where consents name one.
    pub purpose: String,
    /// A recipient with so many messages in `frequency_days` gets none.
    pub frequency_cap: Option<u64>,
    /// Days that the cap looks back.
    pub frequency_days: u32,
    /// A file of rules on hours of one's own.
    pub legal_hours: Option<OwnFile>,
}

impl Default for EligibilityRules {
    fn default() -> Self {
        let PermissionRules { channel, purpose, frequency_cap, frequency_days } = PermissionRules::default();
        Self { channel, purpose, frequency_cap, frequency_days, legal_hours: None }
    }
}

impl EligibilityRules {
    /// What a message needs permission for.
    ///
    /// # Errors
    /// When there is no such channel.
    pub(super) fn permission(&self) -> Result<PermissionRules> {
        let rules = PermissionRules {
            channel: self.channel.clone(),
            purpose: self.purpose.clone(),
            frequency_cap: self.frequency_cap,
            frequency_days: self.frequency_days,
        };
        rules.checked()
    }
}

/// A list of scores that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreRequest {
    /// Which model.
    pub model: ModelChoice,
    /// The arm that an uplift is measured against; those held out where there is none here.
    pub control: Option<String>,
    /// The arm whose uplift is measured; all but the control together where there is none here.
    pub treatment: Option<String>,
    /// What it predicts; a saved model says so itself.
    pub target: Target,
    /// Days ahead.
    pub horizon_days: u32,
    /// The moment that features are counted up to; the end of the logs where there is none.
    #[serde(deserialize_with = "moment_or_day")]
    pub as_of: Option<Timestamp>,
    /// A condition in SQL on the columns of the contacts and on features: whom to score.
    pub filter: Option<String>,
    /// Columns whose segments are summed up.
    pub by: Vec<String>,
    /// What messages cost and bring.
    pub economics: Economics,
    /// The text to be sent, which tells its parts; one part without it.
    pub text: Option<String>,
    /// Cost of all messages at most.
    pub budget: Option<f64>,
    /// Messages at most.
    pub max_recipients: Option<u64>,
    /// Who may be sent to.
    pub eligibility: EligibilityRules,
    /// Whether those who may not be sent to are in the file too, marked as such.
    pub include_ineligible: bool,
    /// Chooses the units that a model is trained on, where there are too many.
    pub seed: u64,
}

impl Default for ScoreRequest {
    fn default() -> Self {
        Self {
            model: ModelChoice::Propensity,
            control: None,
            treatment: None,
            target: Target::Conversion,
            horizon_days: 30,
            as_of: None,
            filter: None,
            by: Vec::new(),
            economics: Economics::default(),
            text: None,
            budget: None,
            max_recipients: None,
            eligibility: EligibilityRules::default(),
            include_ineligible: false,
            seed: 1,
        }
    }
}

impl ScoreRequest {
    /// Refuses numbers that mean nothing.
    ///
    /// # Errors
    /// For a horizon of no days or of more than two years, for amounts below zero or not finite, and for a channel that there is not.
    pub fn check(&self) -> Result<()> {
        if !(1..=LONGEST_HORIZON).contains(&self.horizon_days) {
            return Err(EngineError::usage(format!(
                "the horizon is {} days: give 1 to {LONGEST_HORIZON}",
                self.horizon_days
            )));
        }
        let amounts = [
            ("the margin", self.economics.margin),
            ("the cost of a part", self.economics.part_cost),
            ("the value lost with an opt-out", Some(self.economics.opt_out_value)),
            ("the budget", self.budget),
        ];
        for (name, amount) in amounts {
            if amount.is_some_and(|amount| !(0.0..=LARGEST_AMOUNT).contains(&amount)) {
                return Err(EngineError::usage(format!("{name} is an amount from zero to {LARGEST_AMOUNT:e}")));
            }
        }
        if !(1..=LONGEST_LOOK_BACK).contains(&self.eligibility.frequency_days) {
            return Err(EngineError::usage(format!(
                "the frequency cap looks back {} days: give 1 to {LONGEST_LOOK_BACK}",
                self.eligibility.frequency_days
            )));
        }
        self.eligibility.permission()?;
        if !matches!(self.model, ModelChoice::Uplift { .. }) && (self.control.is_some() || self.treatment.is_some()) {
            return Err(EngineError::usage(
                "a control and a treatment are the arms of an uplift: ask for one with --model uplift, or leave them out",
            ));
        }
        Ok(())
    }
}

/// A moment, or a day for its beginning in UTC, as on the command line.
fn moment_or_day<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    match text.parse::<At>() {
        Ok(At::Time(moment)) => Ok(Some(moment)),
        Ok(At::Version(_)) | Err(_) => {
            Err(serde::de::Error::custom(format!("\"{text}\" is no moment: write 2026-05-20 or 2026-05-20T12:00:00Z")))
        }
    }
}
