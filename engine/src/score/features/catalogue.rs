//! The table of features: every one with its name, the SQL that counts it and what it is. `docs/scores.md` has the same
//! table, and a test keeps the two equal.
//!
//! The SQL reads rows that hold only what had happened by the moment (see [`super::query`]): a message of yesterday that is
//! clicked tomorrow is a message without a click. Ages are in days before the moment.

/// Rows that a feature is counted over, one recipient at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureRows {
    /// Messages sent: `age`, `was_delivered`, `was_clicked`, `was_converted`, `click_hour`, `click_delay`, `device` and columns
    /// of `message_facts`.
    Messages,
    /// Conversions: `age` and `net_value`, less refunds.
    Conversions,
    /// Replies that do not ask to stop: `age`.
    Replies,
    /// Consents that were given: `age`.
    Consents,
}

/// One feature.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Its name, in files and models.
    pub name: &'static str,
    /// What it is counted over.
    pub rows: FeatureRows,
    /// The aggregate.
    pub sql: &'static str,
    /// What a recipient without any such row has; none for a missing value.
    pub without: Option<&'static str>,
    /// What it is, with its unit.
    pub what: &'static str,
}

const fn count(rows: FeatureRows, name: &'static str, sql: &'static str, what: &'static str) -> Feature {
    Feature { name, rows, sql, without: Some("0"), what }
}

const fn value(rows: FeatureRows, name: &'static str, sql: &'static str, what: &'static str) -> Feature {
    Feature { name, rows, sql, without: None, what }
}

use FeatureRows::{Consents, Conversions, Messages, Replies};

/// The features that every store has. Shrunk rates, texts and the contacts' attributes come on top.
pub const FEATURES: [Feature; 33] = [
    count(Messages, "messages", "count(*)", "messages sent"),
    count(Messages, "messages_7d", "count(*) FILTER (WHERE age <= 7)", "messages of the last 7 days (fatigue)"),
    count(Messages, "messages_30d", "count(*) FILTER (WHERE age <= 30)", "messages of the last 30 days (fatigue)"),
    count(Messages, "messages_90d", "count(*) FILTER (WHERE age <= 90)", "messages of the last 90 days (fatigue)"),
    count(Messages, "delivered", "count(*) FILTER (WHERE was_delivered)", "messages known to be delivered"),
    value(Messages, "days_since_message", "min(age)", "days since the last message"),
    value(Messages, "days_since_first_message", "max(age)", "days since the first message"),
    value(Messages, "parts_mean", "avg(parts)", "parts of a message, mean"),
    count(Messages, "clicks", "count(*) FILTER (WHERE was_clicked)", "messages that a person clicked"),
    count(
        Messages,
        "clicks_90d",
        "count(*) FILTER (WHERE was_clicked AND age <= 90)",
        "messages of the last 90 days that a person clicked",
    ),
    value(Messages, "days_since_click", "min(click_age)", "days since the last first click on a message (recency)"),
    value(
        Messages,
        "click_delay_hours",
        "sum(click_delay) / (3600000000.0 * count(click_delay))",
        "hours from a message to its first click, mean",
    ),
    count(Messages, "clicks_night", "count(*) FILTER (WHERE click_hour < 6)", "first clicks at 0 to 6 local time"),
    count(
        Messages,
        "clicks_morning",
        "count(*) FILTER (WHERE click_hour BETWEEN 6 AND 11)",
        "first clicks at 6 to 12 local time",
    ),
    count(
        Messages,
        "clicks_afternoon",
        "count(*) FILTER (WHERE click_hour BETWEEN 12 AND 17)",
        "first clicks at 12 to 18 local time",
    ),
    count(
        Messages,
        "clicks_evening",
        "count(*) FILTER (WHERE click_hour >= 18)",
        "first clicks at 18 to 24 local time",
    ),
    count(Messages, "clicks_phone", "count(*) FILTER (WHERE device IN ('ios', 'android'))", "first clicks on a phone"),
    count(Messages, "clicks_desktop", "count(*) FILTER (WHERE device = 'desktop')", "first clicks on a computer"),
    count(Messages, "converted", "count(*) FILTER (WHERE was_converted)", "messages that a conversion is credited to"),
    count(Conversions, "conversions", "count(*)", "conversions (frequency)"),
    count(Conversions, "conversions_30d", "count(*) FILTER (WHERE age <= 30)", "conversions of the last 30 days"),
    count(Conversions, "conversions_90d", "count(*) FILTER (WHERE age <= 90)", "conversions of the last 90 days"),
    value(Conversions, "days_since_conversion", "min(age)", "days since the last conversion (recency)"),
    value(Conversions, "days_since_first_conversion", "max(age)", "days since the first conversion"),
    count(
        Conversions,
        "monetary_value",
        "sum(net_value)",
        "value of the conversions less refunds, in the currency that most have (monetary value)",
    ),
    count(Conversions, "monetary_value_90d", "sum(net_value) FILTER (WHERE age <= 90)", "the same of the last 90 days"),
    value(Conversions, "order_value_mean", "avg(net_value)", "value of a conversion, mean"),
    count(Conversions, "refunds", "count(*) FILTER (WHERE was_refunded)", "conversions that were refunded"),
    count(Replies, "replies", "count(*)", "replies that do not ask to stop"),
    count(Replies, "replies_90d", "count(*) FILTER (WHERE age <= 90)", "the same of the last 90 days"),
    value(Replies, "days_since_reply", "min(age)", "days since the last of them"),
    value(Consents, "days_since_opt_in", "min(age)", "days since consent was last given"),
    value(Consents, "days_since_first_opt_in", "max(age)", "days since consent was first given"),
];

/// Features of the texts that were sent in the last 90 days, where the log of sends has texts. A text is that of its campaign
/// and variant; see [`super::texts`].
pub const TEXT_FEATURES: [Feature; 4] = [
    value(Messages, "text_characters", "avg(text_characters) FILTER (WHERE age <= 90)", "characters of a text, mean"),
    value(Messages, "text_link_share", "avg(text_link) FILTER (WHERE age <= 90)", "share of texts with a link"),
    value(
        Messages,
        "text_call_to_action_share",
        "avg(text_call_to_action) FILTER (WHERE age <= 90)",
        "share of texts with a call to action",
    ),
    value(
        Messages,
        "text_personalised_share",
        "avg(text_personalised) FILTER (WHERE age <= 90)",
        "share of texts that differ from recipient to recipient",
    ),
];

/// What is made of other features, and of the contact, in the last step.
pub const MADE: [(&str, &str); 3] = [
    ("click_rate", "share of the messages that a person clicked, shrunk to that of all recipients"),
    ("conversion_rate", "share of the messages with a conversion credited, shrunk to that of all recipients"),
    ("days_since_sign_up", "days since the contact signed up"),
];

/// Messages with the rate of all that are laid beside a recipient's own in a shrunk rate.
pub const PRIOR_MESSAGES: u32 = 10;
