//! What became of recipients after a moment: the units and outcomes that a model of propensity learns from.

use crate::error::{EngineError, Result};
use crate::facts::{counted_events, moment, owned_conversions};
use crate::query::{QuerySession, text_literal};
use crate::report::cell_text;

use super::request::Target;

/// A query of `recipient_id` and `outcome` (0 or 1), each recipient once: what happened from a moment, exclusive, to another,
/// inclusive (microseconds since 1970). Recipients who are not in it have the outcome `otherwise`; without one they are no
/// units.
pub(super) struct Labels {
    pub(super) query: String,
    pub(super) otherwise: Option<f64>,
}

pub(super) async fn labels(session: &QuerySession, target: &Target, from: i64, to: i64) -> Result<Labels> {
    let (after, until) = (moment(from), moment(to));
    let of_messages = |at: &str| Labels {
        query: format!(
            "SELECT recipient_id, max(CASE WHEN {at} IS NOT NULL AND {at} <= {until} THEN 1.0 ELSE 0.0 END) AS outcome \
             FROM message_facts WHERE sent_at > {after} AND sent_at <= {until} GROUP BY recipient_id"
        ),
        otherwise: None,
    };
    let event = match target {
        Target::Click => return Ok(of_messages("first_click_at")),
        Target::OptOut => return Ok(of_messages("opted_out_at")),
        Target::OptOutPerMessage => return Ok(of_first_messages(&after, &until)),
        Target::Conversion | Target::Churn => format!(" AND {}", counted_events(&session.settings)),
        Target::Event(event) => format!(" AND event = {}", text_literal(event)),
    };
    let conversions = owned_conversions(session, "occurred_at, event").await?;
    if *target == Target::Churn {
        return Ok(Labels {
            query: format!(
                "SELECT recipient_id, CASE WHEN max(occurred_at) > {after} THEN 0.0 ELSE 1.0 END AS outcome \
                 FROM {conversions} WHERE occurred_at > {} AND occurred_at <= {until}{event} \
                 GROUP BY recipient_id HAVING min(occurred_at) <= {after}",
                moment(from - 2 * (to - from))
            ),
            otherwise: None,
        });
    }
    Ok(Labels {
        query: format!(
            "SELECT DISTINCT recipient_id, 1.0 AS outcome FROM {conversions} \
             WHERE occurred_at > {after} AND occurred_at <= {until}{event}"
        ),
        otherwise: Some(0.0),
    })
}

/// Refuses an event that no conversion has.
pub(super) async fn check_event(session: &QuerySession, target: &Target) -> Result<()> {
    let Target::Event(event) = target else { return Ok(()) };
    let named = format!("SELECT 1 FROM conversions WHERE event = {} LIMIT 1", text_literal(event));
    if session.has_rows(&named).await? {
        return Ok(());
    }
    let mut known = Vec::new();
    for batch in
        session.collect("SELECT DISTINCT event FROM conversions WHERE event IS NOT NULL ORDER BY 1 LIMIT 20").await?
    {
        for row in 0..batch.num_rows() {
            known.extend(cell_text(&batch, 0, row)?);
        }
    }
    let known = if known.is_empty() { "none has one".to_owned() } else { format!("they have {}", known.join(", ")) };
    Err(EngineError::usage(format!(
        "no conversion has the event \"{event}\"; {known}. Ask for one of these, or for click, conversion, churn or opt_out"
    )))
}

/// Whether the first message of each recipient in the period was followed by an opt-out.
fn of_first_messages(after: &str, until: &str) -> Labels {
    Labels {
        query: format!(
            "SELECT recipient_id, CASE WHEN opted_out_at IS NOT NULL AND opted_out_at <= {until} THEN 1.0 ELSE 0.0 END AS outcome \
             FROM (SELECT recipient_id, opted_out_at, row_number() OVER (PARTITION BY recipient_id ORDER BY sent_at, message_id) \
             AS place FROM message_facts WHERE sent_at > {after} AND sent_at <= {until}) WHERE place = 1"
        ),
        otherwise: None,
    }
}
