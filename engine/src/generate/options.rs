//! What the caller may choose: how many messages, which story, which language, which file format and which seed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that is none of an option's values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {option} {given:?}: choose one of {known}")]
pub struct UnknownChoice {
    option: &'static str,
    given: String,
    known: &'static str,
}

/// The story that the logs tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// A shop's flash sale: promotional messages, purchases.
    #[default]
    Retail,
    /// A bank's payment reminder: service notices, payments, customers who lapse.
    Bank,
}

impl Scenario {
    /// The word on the command line and in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retail => "retail",
            Self::Bank => "bank",
        }
    }
}

impl FromStr for Scenario {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "retail" => Ok(Self::Retail),
            "bank" => Ok(Self::Bank),
            other => Err(UnknownChoice { option: "scenario", given: other.to_owned(), known: "retail, bank" }),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The file format of the logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Comma-separated values with a header; a missing value is empty.
    #[default]
    Csv,
    /// One JSON object a line; a missing value is left out.
    Ndjson,
    /// Parquet, compressed with Zstandard.
    Parquet,
    /// Arrow IPC, the file format.
    Arrow,
}

impl OutputFormat {
    /// The word on the command line, which is also the files' extension.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }
}

impl FromStr for OutputFormat {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "csv" => Ok(Self::Csv),
            "ndjson" => Ok(Self::Ndjson),
            "parquet" => Ok(Self::Parquet),
            "arrow" => Ok(Self::Arrow),
            other => {
                Err(UnknownChoice { option: "format", given: other.to_owned(), known: "csv, ndjson, parquet, arrow" })
            }
        }
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The language of the messages, which also decides where most recipients live and what currency they pay in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// English; mostly the United States; amounts in USD.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese; mostly China; amounts in CNY.
    #[serde(rename = "zh")]
    Chinese,
}

impl Language {
    /// The ISO 639-1 code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// The ISO 4217 code of all amounts in the logs.
    pub(super) const fn currency(self) -> &'static str {
        match self {
            Self::English => "USD",
            Self::Chinese => "CNY",
        }
    }

    /// How many units of the currency stand for one dollar: the stories' amounts are written in dollars.
    pub(super) const fn units_per_dollar(self) -> f64 {
        match self {
            Self::English => 1.0,
            Self::Chinese => 7.0,
        }
    }
}

impl FromStr for Language {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "en" => Ok(Self::English),
            "zh" => Ok(Self::Chinese),
            other => Err(UnknownChoice { option: "language", given: other.to_owned(), known: "en, zh" }),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// All choices. The logs depend on nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateOptions {
    /// Rows of the sends log, exactly.
    pub messages: u64,
    /// The same seed gives the same logs, another seed other ones.
    pub seed: u64,
    /// The story.
    pub scenario: Scenario,
    /// The files' format.
    pub format: OutputFormat,
    /// The messages' language.
    pub language: Language,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            messages: 100_000,
            seed: 1,
            scenario: Scenario::default(),
            format: OutputFormat::default(),
            language: Language::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_read_back_from_its_name() {
        for scenario in [Scenario::Retail, Scenario::Bank] {
            assert_eq!(scenario.to_string().parse::<Scenario>(), Ok(scenario));
        }
        for format in [OutputFormat::Csv, OutputFormat::Ndjson, OutputFormat::Parquet] {
            assert_eq!(format.to_string().parse::<OutputFormat>(), Ok(format));
        }
        for language in [Language::English, Language::Chinese] {
            assert_eq!(language.to_string().parse::<Language>(), Ok(language));
        }
    }

    #[test]
    fn an_unknown_choice_is_answered_with_the_known_ones() {
        let error = "fr".parse::<Language>().expect_err("French is not written yet");
        assert_eq!(error.to_string(), "unknown language \"fr\": choose one of en, zh");
    }
}
