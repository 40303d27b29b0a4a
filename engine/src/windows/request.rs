//! What is asked about send windows, and the objectives that an answer may have.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::slots::{DEFAULT_PER_DAY, DayGroups};
use crate::error::{EngineError, Result};
use crate::stats::send_windows::WindowOutcome;

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

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowsRequest {
    /// One campaign alone.
    pub campaign: Option<String>,
    /// The columns of the segments.
    pub by: Vec<String>,
    /// What a window is to be good for.
    pub objective: Objective,
    /// Windows between 09:00 and 21:00 of a day.
    pub windows_a_day: u32,
    /// Which days share their windows.
    pub days: DayGroups,
    /// Days from the send within which the outcome has to come; that of attribution where nothing is said.
    pub horizon_days: Option<u32>,
    /// What an opt-out costs, in the currency of the margins, for the objective profit.
    pub opt_out_cost: f64,
    /// Legal hours in place of those that are built in, as the text of a rule file.
    pub legal_hours: Option<String>,
    /// More holidays, as the text of a file.
    pub holidays: Option<String>,
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
