//! The closed vocabularies: words that vendors spell in their own ways, and the canonical word each becomes.
//!
//! Delivery statuses follow the vendors' documents and SMPP/CMPP's short words; channels and message types are our own.
//! A preset can add its vendor's words (`[LOG.words.COLUMN]` in its file).

/// A closed list of words with the canonical spelling of each. Spellings are lower case; lookup ignores case.
#[derive(Debug, PartialEq, Eq)]
pub struct WordList {
    /// What the list is called in a message to the user.
    pub name: &'static str,
    /// Pairs of (spelling, canonical word).
    pub words: &'static [(&'static str, &'static str)],
}

const CHANNEL_WORDS: [(&str, &str); 15] = [
    ("sms", "sms"),
    ("mms", "sms"),
    ("text", "sms"),
    ("短信", "sms"),
    ("email", "email"),
    ("e-mail", "email"),
    ("mail", "email"),
    ("邮件", "email"),
    ("push", "push"),
    ("mobile_push", "push"),
    ("web_push", "push"),
    ("whatsapp", "whatsapp"),
    ("rcs", "rcs"),
    ("ad", "ad"),
    ("ads", "ad"),
];

/// The channel of an opt-out or a consent that is about all of them.
pub(crate) const ALL_CHANNELS: &str = "all";

const ALL_CHANNELS_WORDS: [(&str, &str); 6] = [
    (ALL_CHANNELS, ALL_CHANNELS),
    ("any", ALL_CHANNELS),
    ("global", ALL_CHANNELS),
    ("*", ALL_CHANNELS),
    ("全部", ALL_CHANNELS),
    ("所有", ALL_CHANNELS),
];

/// Where a message goes out.
pub static CHANNELS: WordList = WordList { name: "channel", words: &CHANNEL_WORDS };

/// What an opt-out or a consent is about: a channel, or all of them.
pub static CHANNELS_OR_ALL: WordList = WordList {
    name: "channel",
    words: &{
        let mut words = [("", ""); CHANNEL_WORDS.len() + ALL_CHANNELS_WORDS.len()];
        let (of_channels, of_all) = words.split_at_mut(CHANNEL_WORDS.len());
        of_channels.copy_from_slice(&CHANNEL_WORDS);
        of_all.copy_from_slice(&ALL_CHANNELS_WORDS);
        words
    },
};

/// What a message is for.
pub static MESSAGE_TYPES: WordList = WordList {
    name: "message type",
    words: &[
        ("promo", "promo"),
        ("promotion", "promo"),
        ("promotional", "promo"),
        ("marketing", "promo"),
        ("bulk", "promo"),
        ("notice", "notice"),
        ("transactional", "notice"),
        ("notification", "notice"),
        ("reminder", "notice"),
        ("care", "care"),
        ("interactive", "interactive"),
        ("trigger", "interactive"),
    ],
};

/// What became of a message. See [`status_rank`] for which of several wins.
pub static STATUSES: WordList = WordList {
    name: "delivery status",
    words: &[
        ("accepted", "accepted"),
        ("acceptd", "accepted"),
        ("scheduled", "accepted"),
        ("buffered", "accepted"),
        ("queued", "queued"),
        ("pending", "queued"),
        ("enroute", "queued"),
        ("sending", "queued"),
        ("enrouted", "queued"),
        ("sent", "sent"),
        ("submitted", "sent"),
        ("dispatched", "sent"),
        ("delivered", "delivered"),
        ("delivrd", "delivered"),
        ("success", "delivered"),
        ("read", "read"),
        ("seen", "read"),
        ("undelivered", "undelivered"),
        ("undeliverable", "undelivered"),
        ("undeliv", "undelivered"),
        ("bounced", "undelivered"),
        ("failed", "failed"),
        ("fail", "failed"),
        ("aborted", "failed"),
        ("rejected", "rejected"),
        ("rejectd", "rejected"),
        ("blocked", "rejected"),
        ("expired", "expired"),
        ("canceled", "canceled"),
        ("cancelled", "canceled"),
        ("deleted", "canceled"),
        ("unknown", "unknown"),
    ],
};

/// How a reply or an opt-out asks for something.
pub static KEYWORD_CLASSES: WordList = WordList {
    name: "keyword class",
    words: &[
        ("stop", "stop"),
        ("opt_out", "stop"),
        ("unsubscribe", "stop"),
        ("help", "help"),
        ("start", "start"),
        ("yes", "yes"),
        ("no", "no"),
        ("other", "other"),
        ("none", "other"),
    ],
};

/// Canonical statuses with the rank that resolves several receipts of one message part: the higher rank wins, whatever
/// the order of arrival. Terminal stands over intermediate, delivered over expired and over failed.
pub const STATUS_RANKS: &[(&str, i64)] = &[
    ("unknown", 0),
    ("accepted", 1),
    ("queued", 2),
    ("sent", 3),
    ("expired", 4),
    ("canceled", 5),
    ("rejected", 6),
    ("failed", 7),
    ("undelivered", 8),
    ("delivered", 9),
    ("read", 10),
];

/// The lowest rank that is terminal: the message will not change its fate any more.
pub const FIRST_TERMINAL_RANK: i64 = 4;
/// The lowest rank that means the handset has it.
pub const FIRST_DELIVERED_RANK: i64 = 9;

/// A SQL expression that turns the canonical status in `column` into its rank.
#[must_use]
pub fn status_rank_sql(column: &str) -> String {
    use std::fmt::Write as _;
    let mut sql = format!("CASE {column}");
    // The commonest words come first, so that most rows stop at the first comparison.
    for (word, rank) in STATUS_RANKS.iter().rev() {
        let _ = write!(sql, " WHEN '{word}' THEN {rank}");
    }
    sql.push_str(" ELSE 0 END");
    sql
}

/// A SQL expression that turns a rank back into its canonical status.
#[must_use]
pub fn rank_status_sql(column: &str) -> String {
    use std::fmt::Write as _;
    let mut sql = format!("CASE {column}");
    for (word, rank) in STATUS_RANKS.iter().rev() {
        let _ = write!(sql, " WHEN {rank} THEN '{word}'");
    }
    sql.push_str(" END");
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_word_has_a_rank() {
        for (_, canonical) in STATUSES.words {
            assert!(STATUS_RANKS.iter().any(|(word, _)| word == canonical), "{canonical} has no rank");
        }
    }

    #[test]
    fn spellings_are_lower_case_and_unique() {
        for list in [&CHANNELS_OR_ALL, &MESSAGE_TYPES, &STATUSES, &KEYWORD_CLASSES] {
            let mut seen = std::collections::BTreeSet::new();
            for (spelling, _) in list.words {
                assert_eq!(*spelling, spelling.to_lowercase());
                assert!(seen.insert(spelling), "{spelling} twice in {}", list.name);
            }
        }
    }
}
