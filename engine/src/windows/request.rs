//! What is asked about send windows, and the objectives that an answer may have.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::cells::of_campaign;
use super::holidays::Holidays;
use super::legal::LegalMask;
use super::slots::{DEFAULT_PER_DAY, DayGroups, Slots};
use crate::error::{EngineError, Result};
use crate::facts::OUTCOMES;
use crate::query::QuerySession;
use crate::report::{Grouping, known_groupings};
use crate::stats::send_windows::WindowOutcome;

/// Columns of the facts that tell when a message was sent, or how that was drawn.
const TIMES: [&str; 6] = ["sent_at", "scheduled_at", "sent_date", "local_hour", "local_weekday", "send_propensity"];
/// The longest time that an outcome may take.
const MOST_HORIZON_DAYS: u32 = 365;
/// Columns with another value for each message or recipient.
const NAMES: [&str; 2] = ["message_id", "recipient_id"];

/// What a good window is good for. They may disagree: every answer names its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// A human click.
    #[default]
    Click,
    /// A conversion.
    Conversion,
    /// What was spent.
    Revenue,
    /// Margin less what the message cost less what an opt-out costs.
    Profit,
}

impl Objective {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Click, Self::Conversion, Self::Revenue, Self::Profit];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Click => "click",
            Self::Conversion => "conversion",
            Self::Revenue => "revenue",
            Self::Profit => "profit",
        }
    }

    /// A share of messages, or an amount of each.
    #[must_use]
    pub fn outcome(self) -> WindowOutcome {
        match self {
            Self::Click | Self::Conversion => WindowOutcome::Rate,
            Self::Revenue | Self::Profit => WindowOutcome::Amount,
        }
    }
}

impl FromStr for Objective {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|objective| objective.name() == text).ok_or_else(|| {
            EngineError::usage(format!("\"{text}\" is no objective: use click, conversion, revenue or profit"))
        })
    }
}

/// A file of rules of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFile {
    /// What errors call it: its path.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The rules that a sender lays over those that are built in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnRules {
    /// Legal hours.
    pub legal_hours: Option<OwnFile>,
    /// Holidays.
    pub holidays: Option<OwnFile>,
}

impl OwnRules {
    /// A request under these rules, unless it has its own.
    #[must_use]
    pub fn over(&self, request: WindowsRequest) -> WindowsRequest {
        WindowsRequest {
            legal_hours: request.legal_hours.or_else(|| self.legal_hours.clone()),
            holidays: request.holidays.or_else(|| self.holidays.clone()),
            ..request
        }
    }
}

/// What is asked for. In JSON every member has a default, and one that is not known is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowsRequest {
    /// One campaign alone.
    pub campaign: Option<String>,
    /// The columns of the segments, or `segment:NAME` of a saved one.
    pub by: Vec<String>,
    /// What a window is to be good for.
    pub objective: Objective,
    /// Windows between 09:00 and 21:00 of a day.
    #[serde(rename = "slots")]
    pub windows_a_day: u32,
    /// Which days share their windows.
    #[serde(rename = "each_day")]
    pub days: DayGroups,
    /// Days from the send within which the outcome has to come, 1 to 365; that of attribution where nothing is said.
    #[serde(rename = "horizon")]
    pub horizon_days: Option<u32>,
    /// What an opt-out costs, in the currency of the margins, for the objective profit.
    pub opt_out_cost: f64,
    /// Legal hours, laid over those that are built in.
    pub legal_hours: Option<OwnFile>,
    /// Holidays, laid over those that are built in.
    pub holidays: Option<OwnFile>,
    /// The same gives the same answer.
    pub seed: u64,
}

impl Default for WindowsRequest {
    fn default() -> Self {
        Self {
            campaign: None,
            by: Vec::new(),
            objective: Objective::default(),
            windows_a_day: DEFAULT_PER_DAY,
            days: DayGroups::default(),
            horizon_days: None,
            opt_out_cost: 0.0,
            legal_hours: None,
            holidays: None,
            seed: 1,
        }
    }
}

impl WindowsRequest {
    /// Refuses numbers out of their range and rule files with an error.
    pub(crate) fn check_values(&self) -> Result<()> {
        if !(self.opt_out_cost.is_finite() && self.opt_out_cost >= 0.0) {
            let cost = self.opt_out_cost;
            return Err(EngineError::usage(format!("an opt-out cannot cost {cost}: give an amount of zero or more")));
        }
        if let Some(days) = self.horizon_days.filter(|days| !(1..=MOST_HORIZON_DAYS).contains(days)) {
            return Err(EngineError::usage(format!("horizon {days} is not between 1 and {MOST_HORIZON_DAYS} days")));
        }
        self.rules().map(drop)
    }

    /// The windows of the week, the holidays and the law that are asked for.
    pub(super) fn rules(&self) -> Result<(Slots, Holidays, LegalMask)> {
        let slots = Slots::new(self.windows_a_day, self.days)?;
        let mut holidays = Holidays::built_in()?;
        if let Some(own) = &self.holidays {
            holidays = holidays.with_file(&own.text, &own.name)?;
        }
        Ok((slots, holidays, LegalMask::new(self.legal_hours.as_ref())?))
    }

    /// The same, and refuses a campaign that is not there and columns that segments cannot be made of.
    pub(crate) async fn check(&self, session: &QuerySession) -> Result<()> {
        self.check_values()?;
        if let Some(wanted) = &self.campaign {
            let any = format!("SELECT 1 FROM message_facts AS f WHERE {} LIMIT 1", of_campaign(self));
            if !session.has_rows(&any).await? {
                return Err(EngineError::NotFound(format!(
                    "there is no campaign \"{wanted}\": `sendlift report --by campaign_id` lists them"
                )));
            }
        }
        let grouping = Grouping::resolve(session, &self.by, "UTC").await?;
        let columns = grouping.columns();
        for (place, (name, column)) in self.by.iter().zip(&columns).enumerate() {
            if let Some(why) = refusal(column) {
                return Err(EngineError::usage(format!(
                    "\"{name}\" {why}: windows are found for segments that are known before a message is sent; there are {}",
                    segment_columns(session).await?.join(", ")
                )));
            }
            if columns[..place].contains(column) {
                return Err(EngineError::usage(format!("the column \"{name}\" is there twice: name each once")));
            }
        }
        Ok(())
    }
}

/// Why segments cannot be made of a column of the facts or the contacts.
fn refusal(column: &str) -> Option<&'static str> {
    if OUTCOMES.contains(&column) || column == "error_code" {
        Some("tells what came of a message")
    } else if TIMES.contains(&column) {
        Some("tells when a message was sent")
    } else if NAMES.contains(&column) {
        Some("is another for each message or recipient")
    } else {
        None
    }
}

/// The columns that segments can be made of.
async fn segment_columns(session: &QuerySession) -> Result<Vec<String>> {
    let known = known_groupings(session).await?;
    let grouping = Grouping::resolve(session, &known, "UTC").await?;
    let usable = known.iter().zip(grouping.columns()).filter(|(_, column)| refusal(column).is_none());
    Ok(usable.map(|(name, _)| name.clone()).collect())
}
