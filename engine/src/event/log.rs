//! The logs, their columns and keys, and the provenance columns that every stored row carries.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

use super::column::ColumnKind::{Boolean, Integer, Money, Number, Text, Time, Word};
use super::column::ColumnSpec;
use super::words::{CHANNELS, CHANNELS_OR_ALL, KEYWORD_CLASSES, MESSAGE_TYPES, STATUSES};
use crate::error::EngineError;

/// Digits of an amount of money in all.
pub const MONEY_PRECISION: u8 = 18;
/// Digits of an amount of money after the point: an SMS costs fractions of a cent.
pub const MONEY_SCALE: i8 = 6;

/// When the row was received; of two rows with one key, the latest received wins.
pub const INGESTED_AT: &str = "ingested_at";
/// The file the row came from.
pub const SOURCE_FILE: &str = "source_file";
/// The row's number in that file.
pub const SOURCE_ROW: &str = "source_row";

/// The type of every stored moment.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The columns that say where a stored row came from.
#[must_use]
pub fn provenance_fields() -> [Field; 3] {
    [
        Field::new(INGESTED_AT, timestamp_type(), true),
        Field::new(SOURCE_FILE, DataType::Utf8, true),
        Field::new(SOURCE_ROW, DataType::Int64, true),
    ]
}

/// One of the logs that a company's provider, link shortener and shop leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// The CRM's contacts.
    Recipients,
    /// Who was assigned to which arm of which experiment.
    Assignments,
    /// Messages submitted to the provider.
    Sends,
    /// Delivery receipts.
    Deliveries,
    /// Opens, for the channels that can tell; a text message cannot.
    Opens,
    /// Clicks on tracked links.
    Clicks,
    /// Purchases and other goals.
    Conversions,
    /// Texts that recipients sent back.
    Replies,
    /// Requests not to be written to.
    OptOuts,
    /// Consents given and withdrawn.
    Consents,
}

impl Log {
    /// All logs, in the order in which a command takes them in.
    pub const ALL: [Self; 10] = [
        Self::Recipients,
        Self::Assignments,
        Self::Sends,
        Self::Deliveries,
        Self::Opens,
        Self::Clicks,
        Self::Conversions,
        Self::Replies,
        Self::OptOuts,
        Self::Consents,
    ];

    /// The name in commands, in paths and as a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recipients => "recipients",
            Self::Assignments => "assignments",
            Self::Sends => "sends",
            Self::Deliveries => "deliveries",
            Self::Opens => "opens",
            Self::Clicks => "clicks",
            Self::Conversions => "conversions",
            Self::Replies => "replies",
            Self::OptOuts => "opt_outs",
            Self::Consents => "consents",
        }
    }

    /// The canonical columns.
    #[must_use]
    pub const fn columns(self) -> &'static [ColumnSpec] {
        match self {
            Self::Recipients => RECIPIENTS,
            Self::Assignments => ASSIGNMENTS,
            Self::Sends => SENDS,
            Self::Deliveries => DELIVERIES,
            Self::Opens => OPENS,
            Self::Clicks => CLICKS,
            Self::Conversions => CONVERSIONS,
            Self::Replies => REPLIES,
            Self::OptOuts => OPT_OUTS,
            Self::Consents => CONSENTS,
        }
    }

    /// The canonical column of that name.
    #[must_use]
    pub fn column(self, name: &str) -> Option<&'static ColumnSpec> {
        self.columns().iter().find(|column| column.name == name)
    }

    /// The moment by which the log is ordered in time, whose range is validated and whose statistics let queries skip files.
    #[must_use]
    pub const fn time_column(self) -> &'static str {
        match self {
            Self::Recipients => "updated_at",
            Self::Assignments => "assigned_at",
            Self::Sends => "sent_at",
            Self::Deliveries | Self::Opens => "at",
            Self::Clicks => "clicked_at",
            Self::Conversions => "occurred_at",
            Self::Replies => "received_at",
            Self::OptOuts => "requested_at",
            Self::Consents => "captured_at",
        }
    }

    /// Sets of columns of which a row must fill at least one, because each alone says whom or what the row is about.
    #[must_use]
    pub const fn needs_one_of(self) -> &'static [&'static str] {
        match self {
            Self::Conversions | Self::Replies => &["recipient_id", "message_id"],
            _ => &[],
        }
    }

    /// Whether rows are about a recipient, so that a `phone` or `email` column can stand for `recipient_id`.
    #[must_use]
    pub fn has_recipient(self) -> bool {
        self.column("recipient_id").is_some()
    }
}

impl fmt::Display for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Log {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        Self::ALL.into_iter().find(|log| log.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|log| log.name()).collect();
            EngineError::usage(format!("there is no log \"{text}\": choose one of {}", known.join(", ")))
        })
    }
}

/// Columns of the contacts that are no attributes of a person, or are told by other features.
pub(crate) const NO_ATTRIBUTES: [&str; 9] = [
    "recipient_id",
    "time_zone",
    "time_zone_source",
    "signed_up_at",
    "birthday",
    "updated_at",
    INGESTED_AT,
    SOURCE_FILE,
    SOURCE_ROW,
];

/// The name under which an unknown column is kept as an attribute: lower case, with the characters that a Delta table
/// cannot have in a column name turned into `_`, and out of the way of the provenance columns.
#[must_use]
pub fn attribute_name(raw: &str) -> String {
    let name: String = raw
        .trim()
        .chars()
        .map(|character| match character {
            ' ' | ',' | ';' | '{' | '}' | '(' | ')' | '\n' | '\r' | '\t' | '=' | '.' | '"' | '`' => '_',
            other => other,
        })
        .flat_map(char::to_lowercase)
        .collect();
    match name.as_str() {
        "" => "unnamed".to_owned(),
        INGESTED_AT | SOURCE_FILE | SOURCE_ROW => format!("input_{name}"),
        _ => name,
    }
}

/// The column of the currency of amounts.
pub(crate) const CURRENCY: &str = "currency";

/// A name in lower case whose words are parted by `_`, however they were: `Phone.Number`, `phone-number`, `phoneNumber`.
fn in_lower_words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for letter in name.trim().chars() {
        if after_lower && letter.is_uppercase() {
            words.push('_');
        }
        after_lower = letter.is_lowercase();
        let is_mark = letter.is_whitespace() || matches!(letter, '.' | '-' | '/' | ':' | '[' | ']');
        if is_mark { words.push('_') } else { words.extend(letter.to_lowercase()) }
    }
    words
}

/// Whether a column of this name holds a phone number or an e-mail address, so that its raw value must never be stored.
#[must_use]
pub fn is_identity_name(name: &str) -> Option<Identity> {
    const PHONES: &[&str] = &[
        "phone",
        "phone_number",
        "phonenumber",
        "mobile",
        "mobile_number",
        "mobile_no",
        "phone_no",
        "mobile_phone",
        "msisdn",
        "cell",
        "cell_phone",
        "cellphone",
        "cell_number",
        "telephone",
        "telephone_number",
        "telephone_no",
        "tel",
        "tel_no",
        "to_number",
        "手机",
        "手机号",
        "手机号码",
        "电话",
        "电话号码",
    ];
    const EMAILS: &[&str] =
        &["email", "email_address", "e_mail", "mail", "mail_address", "邮箱", "电子邮箱", "邮件地址"];
    let name = in_lower_words(name);
    // `customer_phone`, `contact.email`, `phone1`, `联系电话`; not `has_email`, which says whether there is one.
    let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '_');
    let is_of = |known: &&str| match name.strip_suffix(known) {
        None | Some("has_" | "is_" | "no_") => false,
        Some(before) => before.is_empty() || !known.is_ascii() || before.ends_with('_'),
    };
    if PHONES.iter().any(is_of) {
        Some(Identity::Phone)
    } else if EMAILS.iter().any(is_of) {
        Some(Identity::Email)
    } else {
        None
    }
}

/// What kind of raw address a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A phone number, normalised to E.164 before it is hashed.
    Phone,
    /// An e-mail address, lower-cased before it is hashed.
    Email,
}

const RECIPIENTS: &[ColumnSpec] = &[
    ColumnSpec::required("recipient_id", Text),
    ColumnSpec::optional("country", Text),
    ColumnSpec::optional("region", Text),
    ColumnSpec::optional("time_zone", Text),
    ColumnSpec::optional("time_zone_source", Text),
    ColumnSpec::optional("age", Text),
    ColumnSpec::optional("gender", Text),
    ColumnSpec::optional("interests", Text),
    ColumnSpec::optional("signed_up_at", Time),
    ColumnSpec::optional("birthday", Text),
    ColumnSpec::optional("updated_at", Time),
];

const ASSIGNMENTS: &[ColumnSpec] = &[
    ColumnSpec::required("experiment_id", Text),
    ColumnSpec::required("recipient_id", Text),
    ColumnSpec::required("arm", Text),
    ColumnSpec::optional("is_holdout", Boolean),
    ColumnSpec::if_present("assigned_at", Time),
    ColumnSpec::optional("propensity", Number).non_negative(),
];

const SENDS: &[ColumnSpec] = &[
    ColumnSpec::required("message_id", Text),
    ColumnSpec::if_present("campaign_id", Text),
    ColumnSpec::optional("variant", Text),
    ColumnSpec::optional("experiment_id", Text),
    ColumnSpec::required("recipient_id", Text),
    ColumnSpec::if_present("channel", Word(&CHANNELS)),
    ColumnSpec::if_present("message_type", Word(&MESSAGE_TYPES)),
    ColumnSpec::optional("scheduled_at", Time),
    ColumnSpec::required("sent_at", Time),
    ColumnSpec::optional("country", Text),
    ColumnSpec::optional("region", Text),
    ColumnSpec::optional("time_zone", Text),
    ColumnSpec::optional("text", Text),
    ColumnSpec::optional("template_id", Text),
    ColumnSpec::optional("parts", Integer).non_negative(),
    ColumnSpec::optional("encoding", Text),
    ColumnSpec::optional("cost", Money).non_negative(),
    ColumnSpec::optional("currency", Text),
    ColumnSpec::optional("send_propensity", Number).alias(&["propensity"]).non_negative(),
];

const DELIVERIES: &[ColumnSpec] = &[
    ColumnSpec::required("message_id", Text),
    ColumnSpec::optional("part_no", Integer).non_negative(),
    ColumnSpec::required("status", Word(&STATUSES)),
    ColumnSpec::if_present("at", Time).alias(&["delivered_at", "status_at"]),
    ColumnSpec::optional("received_at", Time),
    ColumnSpec::optional("error_code", Text),
    ColumnSpec::optional("error_class", Text),
    ColumnSpec::optional("carrier", Text),
    ColumnSpec::optional("price", Money).non_negative(),
    ColumnSpec::optional("currency", Text),
];

const OPENS: &[ColumnSpec] = &[
    ColumnSpec::required("message_id", Text),
    ColumnSpec::required("at", Time).alias(&["opened_at"]),
    ColumnSpec::optional("user_agent", Text),
];

const CLICKS: &[ColumnSpec] = &[
    ColumnSpec::optional("click_id", Text),
    ColumnSpec::optional("message_id", Text),
    ColumnSpec::if_present("link", Text),
    ColumnSpec::required("clicked_at", Time),
    ColumnSpec::optional("user_agent", Text),
    ColumnSpec::optional("method", Text),
    ColumnSpec::optional("ip_hash", Text),
    ColumnSpec::optional("bot_score", Number),
    ColumnSpec::optional("bot_reason", Text),
];

const CONVERSIONS: &[ColumnSpec] = &[
    ColumnSpec::required("conversion_id", Text),
    ColumnSpec::optional("recipient_id", Text),
    ColumnSpec::optional("message_id", Text),
    ColumnSpec::if_present("event", Text),
    ColumnSpec::required("occurred_at", Time),
    ColumnSpec::optional("value", Money).non_negative(),
    ColumnSpec::optional("margin", Money),
    ColumnSpec::optional("currency", Text),
    ColumnSpec::optional("refunded_at", Time),
    ColumnSpec::optional("coupon", Text),
];

const REPLIES: &[ColumnSpec] = &[
    ColumnSpec::optional("reply_id", Text).alias(&["id"]),
    ColumnSpec::optional("recipient_id", Text),
    ColumnSpec::required("received_at", Time),
    ColumnSpec::optional("text", Text),
    ColumnSpec::if_present("keyword_class", Word(&KEYWORD_CLASSES)),
    ColumnSpec::optional("message_id", Text),
    ColumnSpec::optional("match", Text),
];

const OPT_OUTS: &[ColumnSpec] = &[
    ColumnSpec::optional("id", Text).alias(&["opt_out_id"]),
    ColumnSpec::required("recipient_id", Text),
    ColumnSpec::optional("channel", Word(&CHANNELS_OR_ALL)),
    ColumnSpec::optional("scope", Text),
    ColumnSpec::optional("method", Text),
    ColumnSpec::required("requested_at", Time),
    ColumnSpec::optional("message_id", Text),
];

const CONSENTS: &[ColumnSpec] = &[
    ColumnSpec::optional("id", Text).alias(&["consent_id"]),
    ColumnSpec::required("recipient_id", Text),
    ColumnSpec::optional("channel", Word(&CHANNELS_OR_ALL)),
    ColumnSpec::optional("purpose", Text),
    ColumnSpec::required("status", Text),
    ColumnSpec::optional("method", Text),
    ColumnSpec::required("captured_at", Time),
    ColumnSpec::optional("expires_at", Time),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_has_its_time_column_and_is_found_by_name() {
        for log in Log::ALL {
            assert!(log.column(log.time_column()).is_some(), "{log} lacks its time column");
            assert_eq!(log.name().parse::<Log>().unwrap(), log);
            for name in log.needs_one_of() {
                assert!(log.column(name).is_some());
            }
        }
        assert!("orders".parse::<Log>().unwrap_err().to_string().contains("sends"));
    }

    #[test]
    fn attribute_names_fit_a_delta_table() {
        assert_eq!(attribute_name(" Age Band (years) "), "age_band__years_");
        assert_eq!(attribute_name("城市"), "城市");
        assert_eq!(attribute_name("data.message"), "data_message");
        assert_eq!(attribute_name("Source_File"), "input_source_file");
        assert_eq!(attribute_name(""), "unnamed");
    }

    #[test]
    fn address_columns_are_recognised() {
        assert_eq!(is_identity_name("Phone Number"), Some(Identity::Phone));
        assert_eq!(is_identity_name("手机号"), Some(Identity::Phone));
        assert_eq!(is_identity_name("E-mail"), Some(Identity::Email));
        for (name, identity) in [
            ("customer_phone", Identity::Phone),
            ("联系电话", Identity::Phone),
            ("mobile_no", Identity::Phone),
            ("user_email", Identity::Email),
            ("contact.email", Identity::Email),
        ] {
            assert_eq!(is_identity_name(name), Some(identity), "{name}");
        }
        for name in ["email_provider", "has_email", "phonebook", "hotel", "hotel_name", "excel", "telco"] {
            assert_eq!(is_identity_name(name), None, "{name}");
        }
    }
}
