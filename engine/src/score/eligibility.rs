//! Who may be sent to, and why not: opt-outs, consent, the frequency cap, legal hours.
//!
//! In: the rules, the moment. Out: SQL of the first reason that applies to a recipient, NULL for one who may be sent to. The
//! reasons in their order: `opted_out`, `no_consent`, `frequency_cap`, `unknown_time_zone`, `no_legal_window`.

use super::features::GIVEN;
use super::request::EligibilityRules;
use crate::error::Result;
use crate::event::Log;
use crate::facts::{DAY_MICROSECONDS, IS_STOP, LATEST_FIRST, latest_contacts, latest_of, latest_rows, moment};
use crate::query::{QuerySession, text_literal};
use crate::report::cell_text;
use crate::windows::{DEFAULT_PER_DAY, DayGroups, LegalMask, Slots};

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

/// The joins and the expression of the reason, for recipients of `s.recipient_id`.
pub(super) struct Eligibility {
    pub(super) joins: String,
    pub(super) reason: String,
    pub(super) notes: Vec<String>,
}

impl Eligibility {
    /// The rules as of a moment (microseconds since 1970).
    pub(super) async fn of(session: &QuerySession, rules: &EligibilityRules, at: i64) -> Result<Self> {
        // Who opted out after the moment of the features may not be sent to either: all that is known counts.
        let (until, channel) = (moment(at.max(session.as_of.as_microsecond())), text_literal(&rules.channel));
        let before = moment(at);
        let mut notes = Vec::new();
        let of_channel = |column: &str| format!("({column} IS NULL OR {column} = {channel})");
        // An opt-out of everything is one of this channel.
        let refusals = format!(
            "SELECT recipient_id, max(refused) AS refused FROM (\
             SELECT recipient_id, arrow_cast(requested_at, 'Int64') AS refused FROM {} WHERE requested_at <= {until} \
             AND ({} OR lower(btrim(scope)) IN ('all', 'global', 'any'))\n  \
             UNION ALL SELECT recipient_id, arrow_cast(received_at, 'Int64') AS refused FROM {} WHERE received_at <= {until} \
             AND recipient_id IS NOT NULL AND {IS_STOP}\n  \
             UNION ALL SELECT recipient_id, arrow_cast(opted_out_at, 'Int64') AS refused FROM message_facts \
             WHERE opted_out_at IS NOT NULL AND {}) GROUP BY recipient_id",
            latest_rows(Log::OptOuts, "recipient_id, requested_at, channel, scope"),
            of_channel("channel"),
            latest_rows(Log::Replies, "recipient_id, received_at, text, keyword_class"),
            // A reply that names only its message is credited there.
            of_channel("channel"),
        );
        let purpose = format!(
            "(purpose IS NULL OR lower(btrim(purpose)) IN ('all', 'any', {}))",
            text_literal(&rules.purpose.trim().to_lowercase())
        );
        let known = format!(
            "(SELECT * FROM {} WHERE captured_at <= {until} AND {} AND {purpose})",
            latest_rows(
                Log::Consents,
                "recipient_id, captured_at, status, expires_at, channel, purpose, ingested_at, source_file, source_row"
            ),
            of_channel("channel")
        );
        let consents = latest_of(
            &known,
            "recipient_id",
            &format!("captured_at DESC, {LATEST_FIRST}"),
            &format!(
                "recipient_id, arrow_cast(captured_at, 'Int64') AS captured, \
                 (lower(btrim(status)) IN {GIVEN} AND (expires_at IS NULL OR expires_at > {until})) AS in_force"
            ),
        );
        let any_consent =
            !session.collect("SELECT 1 FROM consents LIMIT 1").await?.iter().all(|batch| batch.num_rows() == 0);
        if !any_consent {
            notes.push("the store has no log of consents: nobody is left out for want of one".to_owned());
        }
        let since = at - i64::from(rules.frequency_days) * DAY_MICROSECONDS;
        let capped = match rules.frequency_cap {
            Some(cap) => format!("coalesce(e_m.messages, 0) >= {cap}"),
            None => "FALSE".to_owned(),
        };
        let unreachable = unreachable_places(session, rules).await?;
        let place = |condition: &str| if condition.is_empty() { "FALSE".to_owned() } else { condition.to_owned() };
        let reason = format!(
            "CASE WHEN e_o.refused IS NOT NULL AND (e_c.in_force IS NOT TRUE OR e_c.captured <= e_o.refused) THEN '{OPTED_OUT}' \
             WHEN {} THEN '{NO_CONSENT}' WHEN {capped} THEN '{FREQUENCY_CAP}' WHEN {} THEN '{UNKNOWN_TIME_ZONE}' \
             WHEN {} THEN '{NO_LEGAL_WINDOW}' END",
            if any_consent { "e_c.in_force IS NOT TRUE" } else { "FALSE" },
            place(&unreachable.unknown),
            place(&unreachable.illegal),
        );
        let joins = format!(
            " LEFT JOIN ({refusals}) AS e_o ON e_o.recipient_id = s.recipient_id \
             LEFT JOIN {consents} AS e_c ON e_c.recipient_id = s.recipient_id \
             LEFT JOIN (SELECT recipient_id, count(*) AS messages FROM message_facts WHERE arrow_cast(sent_at, 'Int64') > {since} \
             AND sent_at <= {before} AND channel IS NOT DISTINCT FROM {channel} GROUP BY recipient_id) AS e_m \
             ON e_m.recipient_id = s.recipient_id \
             LEFT JOIN ({PLACES}) AS e_p ON e_p.recipient_id = s.recipient_id",
            PLACES = places()
        );
        Ok(Self { joins, reason, notes })
    }
}

/// Where each recipient is: as the contact says, else as the messages do.
fn places() -> String {
    format!(
        "SELECT coalesce(k.recipient_id, f.recipient_id) AS recipient_id, coalesce(k.country, f.country) AS country, \
         coalesce(k.region, f.region) AS region, coalesce(k.time_zone, f.time_zone) AS time_zone \
         FROM {} AS k FULL JOIN (SELECT recipient_id, max(country) AS country, max(region) AS region, \
         max(time_zone) AS time_zone FROM message_facts GROUP BY recipient_id) AS f ON f.recipient_id = k.recipient_id",
        latest_contacts("recipient_id, country, region, time_zone")
    )
}

/// Conditions on `e_p` of recipients whom nothing legal can reach.
struct Unreachable {
    unknown: String,
    illegal: String,
}

async fn unreachable_places(session: &QuerySession, rules: &EligibilityRules) -> Result<Unreachable> {
    let mask = LegalMask::new(rules.legal_hours.as_ref())?;
    let slots = Slots::new(DEFAULT_PER_DAY, DayGroups::Week)?;
    let query = format!("SELECT DISTINCT country, region, time_zone FROM ({})", places());
    let (mut unknown, mut illegal) = (Vec::new(), Vec::new());
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            let [country, region, time_zone] = [0, 1, 2].map(|column| cell_text(&batch, column, row));
            let (place, time_zone) = ((country?, region?), time_zone?);
            let is_known = time_zone.as_ref().is_some_and(|zone| jiff::tz::TimeZone::get(zone).is_ok());
            let legal = if is_known {
                Some(mask.legal_everywhere(slots.all(), [&place]))
            } else {
                mask.legal_in_all_zones(slots.all(), &place)?.map(|(_, legal)| legal)
            };
            let list = match legal {
                None => &mut unknown,
                Some(legal) if legal.iter().any(|legal| *legal) => continue,
                Some(_) => &mut illegal,
            };
            let is = |column: &str, value: Option<&String>| match value {
                Some(value) => format!("e_p.{column} = {}", text_literal(value)),
                None => format!("e_p.{column} IS NULL"),
            };
            list.push(format!(
                "({} AND {} AND {})",
                is("country", place.0.as_ref()),
                is("region", place.1.as_ref()),
                is("time_zone", time_zone.as_ref())
            ));
        }
    }
    Ok(Unreachable { unknown: unknown.join(" OR "), illegal: illegal.join(" OR ") })
}
