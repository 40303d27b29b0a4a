//! Which of a file's columns is which canonical one: a TOML file with a section a log. A preset is such a file in the binary,
//! so that the next vendor is a file, not code.
//!
//! ```toml
//! description = "what this reads"
//!
//! [sends]
//! time_formats = ["rfc2822", "iso8601"]   # tried in turn
//! time_zone = "UTC"                       # of times without an offset
//! null_values = ["NaN"]                   # texts that mean "nothing" in this file
//! keep = { direction = ["outbound-api"] } # rows with other values are left out (counted, not rejected)
//! skip = { direction = ["inbound"] }      # rows with these values are left out
//! may_lack = ["at"]                       # a row may lack it, although others of its file have it
//! negate = ["cost"]                       # the vendor writes costs as negative numbers
//! hash = ["from"]                         # attributes that hold addresses: stored as keyed hashes
//! drop = ["uri"]                          # attributes that nobody needs
//!
//! [sends.columns]                         # canonical column = the file's column, or several: the first that is filled
//! message_id = "sid"
//! phone = "to"                            # becomes recipient_id
//! sent_at = ["date_sent", "date_created"]
//!
//! [sends.join]                            # canonical column = parts joined by ":"; recipient_id stands for the hash
//! message_id = ["batch_id", "recipient_id"]
//!
//! [sends.constants]                       # canonical column = a value for every row that has none
//! channel = "sms"
//!
//! [sends.words.status]                    # the vendor's word = the canonical word
//! undelivered = "undelivered"
//!
//! [[deliveries.cases]]                    # canonical column = value, where the file's column has one of these values
//! column = "status"
//! value = "rejected"
//! where = { is_blocked = ["t"] }
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::times::TimeFormat;
use crate::error::{EngineError, Result};
use crate::event::Log;

/// A mapping file: one section a log.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// What the mapping reads, for the listing of presets.
    pub description: String,
    logs: BTreeMap<Log, LogMapping>,
    /// The preset's name, stored with each row as `source_preset`.
    pub preset: Option<String>,
}

/// The file as TOML has it: a section a log, so that a misspelt one is refused with its line.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MappingFile {
    description: String,
    recipients: Option<LogMapping>,
    assignments: Option<LogMapping>,
    sends: Option<LogMapping>,
    deliveries: Option<LogMapping>,
    opens: Option<LogMapping>,
    clicks: Option<LogMapping>,
    conversions: Option<LogMapping>,
    replies: Option<LogMapping>,
    opt_outs: Option<LogMapping>,
    consents: Option<LogMapping>,
}

impl From<MappingFile> for Mapping {
    fn from(file: MappingFile) -> Self {
        let sections = [
            (Log::Recipients, file.recipients),
            (Log::Assignments, file.assignments),
            (Log::Sends, file.sends),
            (Log::Deliveries, file.deliveries),
            (Log::Opens, file.opens),
            (Log::Clicks, file.clicks),
            (Log::Conversions, file.conversions),
            (Log::Replies, file.replies),
            (Log::OptOuts, file.opt_outs),
            (Log::Consents, file.consents),
        ];
        let logs = sections.into_iter().filter_map(|(log, section)| Some((log, section?))).collect();
        Self { description: file.description, logs, preset: None }
    }
}

/// How one log is read from a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogMapping {
    /// Canonical column (or `phone`, `email`) = the file's columns, of which the first filled one counts.
    pub columns: BTreeMap<String, OneOrMany>,
    /// Canonical column = columns whose texts are joined by `:`; `recipient_id` stands for the hashed one.
    pub join: BTreeMap<String, Vec<String>>,
    /// Canonical column = a text for every row that has none.
    pub constants: BTreeMap<String, String>,
    /// Conditional constants, the first that applies wins over `columns`.
    pub cases: Vec<Case>,
    /// Canonical column = the vendor's word = the canonical word.
    pub words: BTreeMap<String, BTreeMap<String, String>>,
    /// How moments are written, tried in turn.
    pub time_formats: Vec<TimeFormat>,
    /// The IANA zone of moments without an offset.
    pub time_zone: Option<String>,
    /// Texts that mean "nothing".
    pub null_values: Vec<String>,
    /// Only rows with one of these values count.
    pub keep: BTreeMap<String, Vec<String>>,
    /// Rows with one of these values do not count.
    pub skip: BTreeMap<String, Vec<String>>,
    /// Canonical columns whose sign is turned.
    pub negate: Vec<String>,
    /// Canonical columns that a row may lack, although others of its file have them.
    pub may_lack: Vec<String>,
    /// Attributes that are stored as keyed hashes.
    pub hash: Vec<String>,
    /// Attributes that are not stored.
    pub drop: Vec<String>,
}

/// A canonical column's value where a file's column has one of some values.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The canonical column.
    pub column: String,
    /// Its value.
    pub value: String,
    /// The file's columns and the values that each must have.
    #[serde(rename = "where")]
    pub condition: BTreeMap<String, Vec<String>>,
}

/// One name or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One name.
    One(String),
    /// Several, in order of preference.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The names in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// Presets in the binary: name and text.
const PRESETS: &[(&str, &str)] =
    &[("rees46", include_str!("presets/rees46.toml")), ("twilio", include_str!("presets/twilio.toml"))];

impl Mapping {
    /// Reads a mapping from TOML; `origin` names it in errors.
    ///
    /// # Errors
    /// When the TOML is wrong or names a canonical column that does not exist; the message has the line.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let file: MappingFile =
            toml::from_str(text).map_err(|error| EngineError::usage(format!("mapping {origin}: {error}")))?;
        let mapping = Self::from(file);
        mapping.check(origin)?;
        Ok(mapping)
    }

    /// Reads a mapping from a file.
    ///
    /// # Errors
    /// As [`Mapping::parse`], and when the file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(EngineError::io("read the mapping", path))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The preset of that name.
    ///
    /// # Errors
    /// When there is none; the message lists those that there are.
    pub fn preset(name: &str) -> Result<Self> {
        let (_, text) = PRESETS.iter().find(|(preset, _)| *preset == name).ok_or_else(|| {
            let known: Vec<&str> = PRESETS.iter().map(|(preset, _)| *preset).collect();
            EngineError::usage(format!(
                "there is no preset \"{name}\": choose one of {}, or write a --map file",
                known.join(", ")
            ))
        })?;
        let mut mapping = Self::parse(text, name)?;
        mapping.preset = Some(name.to_owned());
        Ok(mapping)
    }

    /// The names of the presets with what each reads.
    ///
    /// # Errors
    /// When a preset in the binary is damaged.
    pub fn presets() -> Result<Vec<(&'static str, String)>> {
        PRESETS.iter().map(|(name, text)| Ok((*name, Self::parse(text, name)?.description))).collect()
    }

    /// The section of a log; an empty one when the mapping has none.
    #[must_use]
    pub fn section(&self, log: Log) -> LogMapping {
        self.logs.get(&log).cloned().unwrap_or_default()
    }

    /// Whether the mapping says nothing, so that files are read under their own column names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.preset.is_none()
    }

    /// Lays another mapping over this one: its sections replace this one's column by column.
    #[must_use]
    pub fn overlaid_by(mut self, over: Self) -> Self {
        for (log, section) in over.logs {
            let base = self.logs.entry(log).or_default();
            base.columns.extend(section.columns);
            base.join.extend(section.join);
            base.constants.extend(section.constants);
            base.words.extend(section.words);
            base.keep.extend(section.keep);
            base.skip.extend(section.skip);
            base.cases.splice(0..0, section.cases);
            base.null_values.extend(section.null_values);
            base.negate.extend(section.negate);
            base.may_lack.extend(section.may_lack);
            base.hash.extend(section.hash);
            base.drop.extend(section.drop);
            if !section.time_formats.is_empty() {
                base.time_formats = section.time_formats;
            }
            if section.time_zone.is_some() {
                base.time_zone = section.time_zone;
            }
        }
        self
    }

    fn check(&self, origin: &str) -> Result<()> {
        for (log, section) in &self.logs {
            let targets = section
                .columns
                .keys()
                .chain(section.join.keys())
                .chain(section.constants.keys())
                .chain(section.words.keys())
                .chain(section.negate.iter())
                .chain(section.may_lack.iter())
                .chain(section.cases.iter().map(|case| &case.column));
            for target in targets {
                let address = matches!(target.as_str(), "phone" | "email") && log.has_recipient();
                if log.column(target).is_none() && !address {
                    let known: Vec<&str> = log.columns().iter().map(|column| column.name).collect();
                    return Err(EngineError::usage(format!(
                        "mapping {origin}: [{log}] has no column \"{target}\"; it has {}{}",
                        known.join(", "),
                        if log.has_recipient() { " (and phone or email, which become recipient_id)" } else { "" }
                    )));
                }
            }
            if let Some(name) = &section.time_zone {
                super::times::zone(name)
                    .map_err(|error| EngineError::usage(format!("mapping {origin}: [{log}] {error}")))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_sound() {
        for (name, description) in Mapping::presets().unwrap() {
            assert!(!description.is_empty(), "{name} says nothing");
        }
    }

    #[test]
    fn a_wrong_mapping_says_what_and_where() {
        for (text, expected) in [
            ("[sends.columns]\nmessage = \"sid\"", "no column \"message\""),
            ("[send]\n", "send"),
            ("[sends]\ntime_formats = [\"rfc822\"]", "rfc822"),
            ("[sends]\ntime_zone = \"Mars\"", "Mars"),
            ("[sends]\ncolums = {}", "colums"),
        ] {
            let message = Mapping::parse(text, "my.toml").unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("my.toml"), "{message}");
        }
    }

    #[test]
    fn a_map_is_laid_over_a_preset() {
        let over = Mapping::parse("[sends.columns]\ncampaign_id = \"friendly_name\"", "over").unwrap();
        let section = Mapping::preset("twilio").unwrap().overlaid_by(over).section(Log::Sends);
        assert_eq!(section.columns["campaign_id"].names(), ["friendly_name"]);
        assert!(section.columns.contains_key("message_id"));
    }
}
