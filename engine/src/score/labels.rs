//! What became of recipients after a moment: the units and outcomes that a model of propensity learns from.

use crate::error::Result;
use crate::facts::{moment, owned_conversions};
use crate::query::{QuerySession, text_literal};

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
        Target::Conversion | Target::Churn => String::new(),
        Target::Event(event) => format!(" AND event = {}", text_literal(event)),
    };
    let conversions = owned_conversions(session, "occurred_at, event").await?;
    if *target == Target::Churn {
        return Ok(Labels {
            query: format!(
                "SELECT recipient_id, CASE WHEN max(occurred_at) > {after} THEN 0.0 ELSE 1.0 END AS outcome \
                 FROM {conversions} WHERE occurred_at > {} AND occurred_at <= {until} \
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
