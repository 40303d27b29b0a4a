//! Who may be sent to, and why not: opt-outs, consent, the frequency cap, legal hours.
//!
//! In: the rules, the moment. Out: SQL of the first reason that applies to a recipient, NULL for one who may be sent to. The
//! reasons in their order: `opted_out`, `no_consent`, `frequency_cap`, `unknown_time_zone`, `no_legal_window`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;

use super::request::EligibilityRules;
use crate::error::Result;
use crate::facts::recipient_places;
use crate::permission::{NO_LEGAL_WINDOW, PermissionJoins, UNKNOWN_TIME_ZONE};
use crate::query::{QuerySession, RecipientRange};
use crate::report::cell_text;
use crate::windows::{DEFAULT_PER_DAY, DayGroups, LegalByPlace, LegalMask, Slots};

/// What is joined to recipients of `s.recipient_id` to tell the first reason not to send.
pub(super) struct Eligibility {
    permission: PermissionJoins,
    /// The channel by its canonical word.
    pub(super) channel: String,
    /// The table of places whom nothing legal can reach, and the session that has it.
    unreachable: (QuerySession, String),
}

impl Eligibility {
    /// The rules as of a moment (microseconds since 1970); `ranges` hold all recipients.
    pub(super) async fn of(
        session: &QuerySession,
        rules: &EligibilityRules,
        at: i64,
        ranges: &[RecipientRange],
    ) -> Result<Self> {
        let asked = rules.permission()?;
        let permission = asked.joins(session, "s.recipient_id", at).await?;
        let table = format!("unreachable_{}", uuid::Uuid::new_v4().simple());
        let places = unreachable_places(session, rules, ranges).await?;
        let places = MemTable::try_new(places.schema(), vec![vec![places]])?;
        session.context().register_table(table.as_str(), Arc::new(places))?;
        Ok(Self { permission, channel: asked.channel, unreachable: (session.clone(), table) })
    }

    /// The SQL of the joins.
    pub(super) fn joins(&self) -> String {
        format!(
            "{} LEFT JOIN (SELECT p.recipient_id, u.reason FROM ({}) AS p INNER JOIN {} AS u ON u.place = {}) AS e_p \
             ON e_p.recipient_id = s.recipient_id",
            self.permission.joins,
            recipient_places(),
            self.unreachable.1,
            place_key("p")
        )
    }

    /// What a reader of the scores must know of it.
    pub(super) fn notes(&self) -> &[String] {
        &self.permission.notes
    }

    /// The SQL of the reason, NULL for one who may be sent to.
    pub(super) fn reason(&self) -> String {
        format!("CASE {} ELSE e_p.reason END", self.permission.branches)
    }
}

impl Drop for Eligibility {
    fn drop(&mut self) {
        let (session, table) = &self.unreachable;
        // A session that is gone has no table any more.
        let _ = session.context().deregister_table(table.as_str());
    }
}

/// A place as one text, by which places are joined.
fn place_key(alias: &str) -> String {
    format!(
        "concat(coalesce({alias}.country, ''), chr(31), coalesce({alias}.region, ''), chr(31), coalesce({alias}.time_zone, ''))"
    )
}

/// The places whom nothing legal can reach, each with the reason.
async fn unreachable_places(
    session: &QuerySession,
    rules: &EligibilityRules,
    ranges: &[RecipientRange],
) -> Result<RecordBatch> {
    let mask = LegalMask::new(rules.legal_hours.as_ref())?;
    let slots = Slots::new(DEFAULT_PER_DAY, DayGroups::Week)?;
    let query = format!(
        "SELECT DISTINCT p.country, p.region, p.time_zone, {} FROM ({}) AS p",
        place_key("p"),
        recipient_places()
    );
    let mut places = LegalByPlace::new(&mask, slots.all());
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    let mut batches = Vec::new();
    for range in ranges {
        batches.extend(range.within(session).await?.collect(&query).await?);
    }
    let mut known = HashSet::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let text = |column: usize| cell_text(&batch, column, row);
            if !known.insert(text(3)?) {
                continue;
            }
            let (place, time_zone) = ((text(0)?, text(1)?), text(2)?);
            let reason = match places.of(&place, time_zone.as_deref())? {
                None => UNKNOWN_TIME_ZONE,
                Some((_, legal)) if legal.iter().any(|legal| *legal) => continue,
                Some(_) => NO_LEGAL_WINDOW,
            };
            found.push(text(3)?);
            reasons.push(reason);
        }
    }
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let schema = Arc::new(Schema::new(vec![text("place"), text("reason")]));
    Ok(RecordBatch::try_new(
        schema,
        vec![Arc::new(StringArray::from(found)), Arc::new(StringArray::from_iter_values(reasons))],
    )?)
}
