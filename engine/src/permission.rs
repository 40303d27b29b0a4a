//! Who may be sent to: what the logs of opt-outs, replies, consents and messages say of each recipient.
//!
//! In: the rules and the moment up to which the logs count. Out: SQL to be joined, with the first reason not to send:
//! `opted_out`, `no_consent`, `frequency_cap`. The reasons of place and clock are named here too, and found where windows are. An opt-out or a consent that names no channel, or all of them, is one of every
//! channel.

use itertools::Itertools as _;

use crate::error::{EngineError, Result};
use crate::event::words::CHANNELS;
use crate::event::{ALL_CHANNELS, Log};
use crate::facts::{DAY_MICROSECONDS, IS_STOP, LATEST_FIRST, latest_of, latest_rows, moment};
use crate::query::{QuerySession, text_literal};
use crate::report::cell_text;

/// Words of a consent that was given.
pub(crate) const GIVEN: &str = "('granted', 'given', 'active', 'opted_in', 'opted-in', 'opt_in', 'opt-in', 'optin', 'double_opt_in', \
    'double-opt-in', 'subscribed', 'confirmed', 'consented', 'yes', 'true', '1', '同意', '已同意', '已订阅')";
/// Words of one that was not, or no longer is.
const NOT_GIVEN: &str = "('withdrawn', 'revoked', 'denied', 'refused', 'declined', 'expired', 'opted_out', 'opted-out', 'opt_out', \
    'opt-out', 'unsubscribed', 'pending', 'unknown', 'none', 'no', 'false', '0', '拒绝', '撤回', '已撤回', '已退订')";

/// Asked not to be sent to, and gave no consent since.
pub const OPTED_OUT: &str = "opted_out";
/// Has no consent in force for the channel and the purpose.
pub const NO_CONSENT: &str = "no_consent";
/// Had as many messages lately as one may have.
pub const FREQUENCY_CAP: &str = "frequency_cap";
/// Nothing tells on what clock the recipient lives.
pub const UNKNOWN_TIME_ZONE: &str = "unknown_time_zone";
/// No window of the week is legal.
pub const NO_LEGAL_WINDOW: &str = "no_legal_window";

/// What a message needs permission for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionRules {
    /// Channel of the message.
    pub channel: String,
    /// Purpose that consent must be for, where consents name one.
    pub purpose: String,
    /// A recipient with so many messages of the channel in `frequency_days` gets none.
    pub frequency_cap: Option<u64>,
    /// Days that the cap looks back.
    pub frequency_days: u32,
}

impl Default for PermissionRules {
    /// A text message for marketing, however many there were.
    fn default() -> Self {
        Self { channel: "sms".to_owned(), purpose: "marketing".to_owned(), frequency_cap: None, frequency_days: 7 }
    }
}

/// Joins that bring in who may be sent to.
pub(crate) struct PermissionJoins {
    /// SQL of the joins.
    pub(crate) joins: String,
    /// The branches of a `CASE` with the first reason not to send.
    pub(crate) branches: String,
    /// What a reader of an answer must know.
    pub(crate) notes: Vec<String>,
}

impl PermissionRules {
    /// The rules with the channel by its canonical word: under another one no opt-out would be found.
    ///
    /// # Errors
    /// When there is no such channel.
    pub(crate) fn checked(mut self) -> Result<Self> {
        let asked = self.channel.trim().to_lowercase();
        let Some((_, word)) = CHANNELS.words.iter().find(|(spelling, _)| *spelling == asked) else {
            let known: Vec<&str> = CHANNELS.words.iter().map(|(_, word)| *word).dedup().collect();
            return Err(EngineError::usage(format!(
                "there is no channel \"{}\": choose one of {}",
                self.channel,
                known.join(", ")
            )));
        };
        (*word).clone_into(&mut self.channel);
        Ok(self)
    }

    /// The joins for a column of recipients, with messages counted up to `at` (microseconds since 1970). Of opt-outs and
    /// consents all that is known counts: who opted out later may not be sent to either, nor whose consent has expired by the
    /// clock of the session.
    pub(crate) async fn joins(&self, session: &QuerySession, recipient: &str, at: i64) -> Result<PermissionJoins> {
        let now = at.max(session.as_of.as_microsecond()).max(session.opened_at.as_microsecond());
        let has_consents = session.has_rows("SELECT 1 FROM consents LIMIT 1").await?;
        let mut notes = Vec::new();
        if !has_consents {
            notes.push("the store has no log of consents: nobody is left out for want of one".to_owned());
        }
        notes.extend(unknown_words(session).await?);
        let no_consent = if has_consents { "p_c.in_force IS NOT TRUE" } else { "FALSE" };
        let capped = match self.frequency_cap {
            Some(cap) => format!("coalesce(p_m.messages, 0) >= {cap}"),
            None => "FALSE".to_owned(),
        };
        let since = at - i64::from(self.frequency_days) * DAY_MICROSECONDS;
        Ok(PermissionJoins {
            joins: format!(
                " LEFT JOIN {} AS p_o ON p_o.recipient_id = {recipient} LEFT JOIN {} AS p_c ON p_c.recipient_id = {recipient} \
                 LEFT JOIN (SELECT recipient_id, count(*) AS messages FROM message_facts WHERE arrow_cast(sent_at, 'Int64') > {since} \
                 AND sent_at <= {} AND {} GROUP BY recipient_id) AS p_m ON p_m.recipient_id = {recipient}",
                self.refusals(),
                self.consents(&moment(now)),
                moment(at),
                self.concerns("channel")
            ),
            branches: format!(
                "WHEN p_o.refused IS NOT NULL AND (p_c.in_force IS NOT TRUE OR p_c.captured <= p_o.refused) THEN '{OPTED_OUT}' \
                 WHEN {no_consent} THEN '{NO_CONSENT}' WHEN {capped} THEN '{FREQUENCY_CAP}'"
            ),
            notes,
        })
    }

    fn concerns(&self, column: &str) -> String {
        format!("({column} IS NULL OR {column} IN ('{ALL_CHANNELS}', {}))", text_literal(&self.channel))
    }

    /// A query of `recipient_id` and `refused`, the last moment (microseconds since 1970) at which each asked not to be sent
    /// to: by the log of opt-outs, by a reply, or by either as it was credited to a message.
    fn refusals(&self) -> String {
        format!(
            "(SELECT recipient_id, max(refused) AS refused FROM (\
             SELECT recipient_id, arrow_cast(requested_at, 'Int64') AS refused FROM {} WHERE ({} OR lower(btrim(scope)) IN ('all', 'global', 'any'))\n  \
             UNION ALL SELECT recipient_id, arrow_cast(received_at, 'Int64') AS refused FROM {} WHERE recipient_id IS NOT NULL AND {IS_STOP}\n  \
             UNION ALL SELECT recipient_id, arrow_cast(opted_out_at, 'Int64') AS refused FROM message_facts \
             WHERE opted_out_at IS NOT NULL AND {}\n  \
             UNION ALL SELECT f.recipient_id, arrow_cast(o.received_at, 'Int64') AS refused FROM (\
             SELECT message_id, received_at FROM {} WHERE recipient_id IS NULL AND {IS_STOP}) AS o \
             INNER JOIN message_facts AS f ON f.message_id = o.message_id WHERE {}) GROUP BY recipient_id)",
            latest_rows(Log::OptOuts, "recipient_id, requested_at, channel, scope"),
            self.concerns("channel"),
            latest_rows(Log::Replies, "recipient_id, received_at, text, keyword_class"),
            self.concerns("channel"),
            // The facts have the first refusal of a message; a later one may come after a new consent.
            latest_rows(Log::Replies, "message_id, recipient_id, received_at, text, keyword_class"),
            self.concerns("f.channel"),
        )
    }

    /// A query of `recipient_id`, `captured` (microseconds since 1970) and `in_force` of each recipient's latest consent.
    fn consents(&self, now: &str) -> String {
        let purpose = format!(
            "(purpose IS NULL OR lower(btrim(purpose)) IN ('all', 'any', {}))",
            text_literal(&self.purpose.trim().to_lowercase())
        );
        let known = format!(
            "(SELECT * FROM {} WHERE captured_at <= {now} AND {} AND {purpose})",
            latest_rows(
                Log::Consents,
                "recipient_id, captured_at, status, expires_at, channel, purpose, ingested_at, source_file, source_row"
            ),
            self.concerns("channel")
        );
        latest_of(
            &known,
            "recipient_id",
            &format!("captured_at DESC, {LATEST_FIRST}"),
            &format!(
                "recipient_id, arrow_cast(captured_at, 'Int64') AS captured, \
                 (lower(btrim(status)) IN {GIVEN} AND (expires_at IS NULL OR expires_at > {now})) AS in_force"
            ),
        )
    }
}

/// What is told of consents whose status is a word of no list: they count as not given.
async fn unknown_words(session: &QuerySession) -> Result<Option<String>> {
    let query = format!(
        "SELECT lower(btrim(status)) AS word, count(*) FROM consents WHERE lower(btrim(status)) NOT IN {GIVEN} \
         AND lower(btrim(status)) NOT IN {NOT_GIVEN} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5"
    );
    let mut words = Vec::new();
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            let word = cell_text(&batch, 0, row)?.unwrap_or_default();
            let n = cell_text(&batch, 1, row)?.unwrap_or_default();
            words.push(format!("\"{word}\" ({n})"));
        }
    }
    Ok((!words.is_empty())
        .then(|| format!("consents with a status that is no known word count as not given: {}", words.join(", "))))
}
