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
use crate::windows::{DEFAULT_PER_DAY, DayGroups, LegalByPlace, LegalMask, PlaceWindows, Slots};

/// What is joined to recipients of `s.recipient_id` to tell the first reason not to send.
pub(super) struct Eligibility {
    permission: PermissionJoins,
    /// The channel by its canonical word.
    pub(super) channel: String,
    /// The table of places with what holds there, and the session that has it.
    places: (QuerySession, String),
}

impl Eligibility {
    /// The rules as of a moment (microseconds since 1970); `ranges` hold all recipients. With `windows` each place has the one
    /// that does best there.
    pub(super) async fn of(
        session: &QuerySession,
        rules: &EligibilityRules,
        at: i64,
        ranges: &[RecipientRange],
        windows: Option<&PlaceWindows>,
    ) -> Result<Self> {
        let asked = rules.permission()?;
        let permission = asked.joins(session, "s.recipient_id", at).await?;
        let table = format!("places_{}", uuid::Uuid::new_v4().simple());
        let places = places(session, rules, ranges, windows).await?;
        let places = MemTable::try_new(places.schema(), vec![vec![places]])?;
        session.context().register_table(table.as_str(), Arc::new(places))?;
        Ok(Self { permission, channel: asked.channel, places: (session.clone(), table) })
    }

    /// The SQL of the joins.
    pub(super) fn joins(&self) -> String {
        format!(
            "{} LEFT JOIN (SELECT p.recipient_id, u.reason, u.best_window FROM ({}) AS p INNER JOIN {} AS u ON u.place = {}) AS e_p \
             ON e_p.recipient_id = s.recipient_id",
            self.permission.joins,
            recipient_places(),
            self.places.1,
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

    /// The SQL of the window that does best at a recipient's place, NULL where none is known to.
    pub(super) fn window() -> &'static str {
        "e_p.best_window"
    }
}

impl Drop for Eligibility {
    fn drop(&mut self) {
        let (session, table) = &self.places;
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

/// The places, each with the reason why nothing legal can reach it, if there is one, and its best window, if that is known.
async fn places(
    session: &QuerySession,
    rules: &EligibilityRules,
    ranges: &[RecipientRange],
    windows: Option<&PlaceWindows>,
) -> Result<RecordBatch> {
    let mask = LegalMask::new(rules.legal_hours.as_ref())?;
    let slots = Slots::new(DEFAULT_PER_DAY, DayGroups::Week)?;
    let query = format!(
        "SELECT DISTINCT p.country, p.region, p.time_zone, {} FROM ({}) AS p",
        place_key("p"),
        recipient_places()
    );
    let mut legal = LegalByPlace::new(&mask, slots.all());
    let (mut names, mut places, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
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
            reasons.push(match legal.of(&place, time_zone.as_deref())? {
                None => Some(UNKNOWN_TIME_ZONE),
                Some((_, legal)) if legal.iter().any(|legal| *legal) => None,
                Some(_) => Some(NO_LEGAL_WINDOW),
            });
            names.push(text(3)?);
            places.push((place, time_zone));
        }
    }
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let best = match windows {
        Some(windows) => windows.best(&places)?,
        None => vec![None; places.len()],
    };
    let schema = Arc::new(Schema::new(vec![text("place"), text("reason"), text("best_window")]));
    let columns = [StringArray::from(names), StringArray::from(reasons), StringArray::from(best)];
    Ok(RecordBatch::try_new(schema, columns.map(|column| Arc::new(column) as _).into())?)
}
