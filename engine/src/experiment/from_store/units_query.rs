//! The SQL of the units: one row a recipient, with its arm, its metrics and the same before the experiment.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;

use super::metrics::StoreColumn;
use super::{DAYS_BEFORE, Filter, StoreExperiment};
use crate::error::Result;
use crate::facts::{DAY_MICROSECONDS, counted_events, owned_conversions};
use crate::query::text_literal;
use crate::report::contacts_at;

/// Reasons for which a click is surely a machine's; with any other it is probably one.
const CERTAIN_MACHINES: [&str; 2] = ["preview user agent", "HEAD request"];

/// How many values a column has in a group: none, one, or 2 for several. A set of the values for each of millions of groups
/// would not fit into memory.
fn none_one_or_several(column: &str) -> String {
    format!("CASE WHEN min({column}) IS NULL THEN 0 WHEN min({column}) = max({column}) THEN 1 ELSE 2 END")
}

impl StoreExperiment<'_> {
    /// The condition by which messages (`f`) are the experiment's.
    pub(super) fn belongs(&self) -> String {
        let column = if self.source == "campaign" { "campaign_id" } else { "experiment_id" };
        let filter = match &self.filter {
            // Which contacts it chooses is known once the experiment's beginning is.
            Some(Filter { chosen: None, contact_columns: Some(_), .. }) | None => String::new(),
            Some(Filter { chosen: None, condition, .. }) => format!(" AND ({condition})"),
            Some(Filter { chosen: Some(_), .. }) => self.of_chosen("f.recipient_id"),
        };
        format!("f.{column} = {}{filter}", text_literal(self.key))
    }

    /// ` AND` the condition that a recipient is among those whom a filter of contacts chooses; nothing where there is none.
    pub(super) fn of_chosen(&self, recipient: &str) -> String {
        let chosen = self.filter.as_ref().and_then(|filter| filter.chosen.as_ref());
        chosen.map(|chosen| format!(" AND {recipient} IN ({chosen})")).unwrap_or_default()
    }

    /// Finds out whom a filter of contacts chooses, as they were before the experiment began.
    pub(super) async fn choose_units(&mut self, begins_at: Option<i64>) -> Result<()> {
        let Some(filter) = &mut self.filter else { return Ok(()) };
        let Some(names) = &filter.contact_columns else { return Ok(()) };
        let contacts = contacts_at(self.session, names, begins_at.unwrap_or(i64::MAX) - 1).await?;
        filter.chosen = Some(format!("SELECT f.recipient_id FROM {contacts} AS f WHERE {}", filter.condition));
        Ok(())
    }

    /// Where somebody who was assigned got no message: the windows in which everybody's conversions count, sent to or not, in
    /// microseconds since 1970, both ends included. Each campaign opens one with its first send and closes it when the window
    /// of its last has run out. Windows after each recipient's own messages would count more of the conversions that come
    /// anyway for those who got more messages, and nobody held back has any.
    pub(super) async fn common_windows(&self) -> Result<Option<Vec<(i64, i64)>>> {
        if self.source != "assignments" {
            return Ok(None);
        }
        let unsent = format!(
            "SELECT 1 FROM assignments AS a WHERE a.experiment_id = {}{} AND NOT EXISTS (\
             SELECT 1 FROM message_facts AS f WHERE {} AND f.recipient_id = a.recipient_id) LIMIT 1",
            text_literal(self.key),
            self.of_chosen("a.recipient_id"),
            self.belongs()
        );
        if !self.session.has_rows(&unsent).await? {
            return Ok(None);
        }
        let campaigns = format!(
            "SELECT arrow_cast(first, 'Int64') AS opens, arrow_cast(last, 'Int64') AS closes FROM (\
             SELECT min(f.sent_at) AS first, max(f.sent_at) AS last FROM message_facts AS f WHERE {} GROUP BY f.campaign_id) \
             ORDER BY opens",
            self.belongs()
        );
        let mut windows: Vec<(i64, i64)> = Vec::new();
        for batch in self.session.collect(&campaigns).await? {
            let [first, last] = [0, 1].map(|column| batch.column(column).as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let (opens, closes) = (first.value(row), last.value(row) + self.window());
                match windows.last_mut() {
                    Some(window) if opens <= window.1 => window.1 = window.1.max(closes),
                    _ => windows.push((opens, closes)),
                }
            }
        }
        Ok(Some(windows))
    }

    /// The first assignment or send of the experiment, in microseconds since 1970; none where it has no times.
    pub(super) async fn begins_at(&self) -> Result<Option<i64>> {
        let id = text_literal(self.key);
        let sent = format!(
            "SELECT arrow_cast(min(f.sent_at), 'Int64') AS moment FROM message_facts AS f WHERE {}",
            self.belongs()
        );
        let query = if self.source == "assignments" {
            format!(
                "SELECT min(moment) FROM ({sent} UNION ALL \
                 SELECT arrow_cast(min(assigned_at), 'Int64') FROM assignments WHERE experiment_id = {id})"
            )
        } else {
            sent
        };
        let found = self.session.collect(&query).await?;
        Ok(found.first().and_then(|batch| {
            let moments = batch.column(0).as_primitive::<Int64Type>();
            (batch.num_rows() > 0 && !moments.is_null(0)).then(|| moments.value(0))
        }))
    }

    /// One row a unit: `arm`, `arms` (how many it was seen in: none, one, or 2 for several), `apart`, `assigned_day`,
    /// `sent_variant` and `sent_variants` (of its messages), `stage_sent`, `stage_delivered`, `last_sent`, `m_NAME` for each
    /// column, `x_NAME` for the same before the experiment, the clicks under other rules for machines (`m_click_all`,
    /// `m_click_strict`), and `k0`… for the segments.
    pub(super) async fn units_query(
        &self,
        available: &[&StoreColumn],
        begins_at: Option<i64>,
        common_windows: Option<&[(i64, i64)]>,
        of_contacts: Option<&str>,
    ) -> Result<String> {
        let id = text_literal(self.key);
        let keys = self.grouping.keys();
        let of_first_send: String =
            keys.iter().map(|key| format!(", first_value({key} ORDER BY sent_at, message_id) AS {key}")).collect();
        let key_columns: String = self
            .grouping
            .expressions()
            .iter()
            .zip(&keys)
            .map(|(expression, key)| format!(", {expression} AS {key}"))
            .collect();
        let mut with = vec![
            format!(
                "messages AS (SELECT f.*{key_columns} FROM message_facts AS f{} WHERE {} AND f.recipient_id IS NOT NULL)",
                self.grouping.join(),
                self.belongs()
            ),
            format!(
                "sent AS (SELECT recipient_id, min(variant) AS variant, {variants} AS variants,\n  \
                 max(sent_at) AS last_sent, arrow_cast(arrow_cast(min(sent_at), 'Date32'), 'Utf8') AS first_day, max(CASE WHEN delivery = 'delivered' THEN 1 ELSE 0 END) AS delivered,\n  \
                 max(CASE WHEN clicks > 0 THEN 1 ELSE 0 END) AS click, max(CASE WHEN replies > 0 THEN 1 ELSE 0 END) AS reply,\n  \
                 max(CASE WHEN clicks + machine_clicks > 0 THEN 1 ELSE 0 END) AS click_all,\n  \
                 max(CASE WHEN clicks > 0 OR (machine_clicks > 0 AND machine_click_reason NOT IN ({strict})) THEN 1 ELSE 0 END) AS click_strict,\n  \
                 count(*) AS messages, sum(clicks) AS clicks, max(opt_outs) AS opt_out, arrow_cast(sum(cost), 'Float64') AS cost{of_first_send} FROM messages GROUP BY recipient_id)",
                variants = none_one_or_several("variant"),
                strict = CERTAIN_MACHINES.map(text_literal).join(", "),
            ),
        ];
        if let Some(begins_at) = begins_at {
            with.extend(self.before(begins_at).await?);
        }
        if self.at_hand.conversions {
            with.push(self.outcomes(common_windows).await?);
        }
        let from_assignments = self.source == "assignments";
        let (columns, from) = if from_assignments {
            with.push(format!(
                "assigned AS (SELECT recipient_id, min(arm) AS arm, {arms} AS arms, bool_or(coalesce(is_holdout, FALSE)) AS apart,\n  \
                 arrow_cast(arrow_cast(min(assigned_at), 'Date32'), 'Utf8') AS assigned_day,\n  \
                 avg(propensity) AS propensity FROM assignments AS a WHERE experiment_id = {id}{chosen} GROUP BY recipient_id)",
                arms = none_one_or_several("arm"),
                chosen = self.of_chosen("a.recipient_id"),
            ));
            (
                "a.recipient_id, a.arm, a.arms, a.apart, a.propensity, coalesce(s.first_day, a.assigned_day) AS day, a.assigned_day, \
                 s.variant AS sent_variant, s.variants AS sent_variants",
                "assigned AS a LEFT JOIN sent AS s ON s.recipient_id = a.recipient_id",
            )
        } else {
            (
                "s.recipient_id, s.variant AS arm, s.variants AS arms, FALSE AS apart, arrow_cast(NULL, 'Float64') AS propensity, s.first_day AS day, \
                 arrow_cast(NULL, 'Utf8') AS assigned_day, s.variant AS sent_variant, s.variants AS sent_variants",
                "sent AS s",
            )
        };
        let unit = if from_assignments { "a.recipient_id" } else { "s.recipient_id" };
        let outcomes = if self.at_hand.conversions {
            format!(" LEFT JOIN outcomes AS o ON o.recipient_id = {unit}")
        } else {
            String::new()
        };
        let mut joins = outcomes;
        let mut values = String::new();
        for column in available {
            values.push_str(&format!(", arrow_cast(coalesce({}, 0), 'Float64') AS m_{}", column.value, column.name));
            if let Some(value) = column.before.filter(|_| begins_at.is_some()) {
                values.push_str(&format!(", arrow_cast(coalesce({value}, 0), 'Float64') AS x_{}", column.name));
            }
        }
        if self.at_hand.clicks {
            for rule in ["click_all", "click_strict"] {
                values.push_str(&format!(", arrow_cast(coalesce(s.{rule}, 0), 'Float64') AS m_{rule}"));
            }
        }
        let key_values: String = match of_contacts.filter(|_| from_assignments) {
            Some(of_contacts) => {
                with.push(format!("contact_keys AS ({of_contacts})"));
                joins.push_str(&format!(" LEFT JOIN contact_keys AS c ON c.recipient_id = {unit}"));
                let value =
                    |key: &String| format!(", CASE WHEN s.recipient_id IS NULL THEN c.{key} ELSE s.{key} END AS {key}");
                keys.iter().map(value).collect()
            }
            None => keys.iter().map(|key| format!(", s.{key}")).collect(),
        };
        if begins_at.is_some() {
            joins.push_str(&format!(" LEFT JOIN before_messages AS b ON b.recipient_id = {unit}"));
            if self.at_hand.conversions {
                joins.push_str(&format!(" LEFT JOIN before_goals AS g ON g.recipient_id = {unit}"));
            }
        }
        Ok(format!(
            "WITH {}\nSELECT {columns}, CASE WHEN s.recipient_id IS NULL THEN 0 ELSE 1 END AS stage_sent, coalesce(s.delivered, 0) AS stage_delivered, s.last_sent{values}{}\nFROM {from}{joins}",
            with.join(",\n"),
            key_values,
        ))
    }

    /// What the recipients did in the days before the experiment: messages and their clicks, conversions.
    async fn before(&self, begins_at: i64) -> Result<Vec<String>> {
        let from = begins_at - DAYS_BEFORE * DAY_MICROSECONDS;
        let within = |column: &str| {
            format!("arrow_cast({column}, 'Int64') >= {from} AND arrow_cast({column}, 'Int64') < {begins_at}")
        };
        let mut parts = vec![format!(
            "before_messages AS (SELECT recipient_id, count(*) AS messages,\n  \
             sum(CASE WHEN delivery = 'delivered' THEN 1 ELSE 0 END) AS delivered,\n  \
             sum(CASE WHEN arrow_cast(first_click_at, 'Int64') < {begins_at} THEN 1 ELSE 0 END) AS clicks\n  \
             FROM message_facts WHERE {} AND recipient_id IS NOT NULL GROUP BY recipient_id)",
            within("sent_at")
        )];
        if self.at_hand.conversions {
            parts.push(format!(
                "before_goals AS (SELECT recipient_id, count(*) AS conversions, sum(arrow_cast(value, 'Float64')) AS revenue\n  \
                 FROM {} WHERE {} AND {} GROUP BY recipient_id)",
                owned_conversions(self.session, "conversion_id, event, occurred_at, value").await?,
                counted_events(&self.session.settings),
                within("occurred_at")
            ));
        }
        Ok(parts)
    }

    /// Conversions of each unit, each once, refunds taken back: in windows that are the same for everybody, or in those after
    /// its own messages.
    async fn outcomes(&self, common_windows: Option<&[(i64, i64)]>) -> Result<String> {
        let moment = |column: &str| format!("arrow_cast({column}, 'Int64')");
        let happened = moment("g.occurred_at");
        let hits = if let Some(windows) = common_windows {
            let within = windows.iter().map(|(opens, closes)| format!("({happened} BETWEEN {opens} AND {closes})"));
            let within = within.collect::<Vec<_>>().join(" OR ");
            format!(
                "SELECT DISTINCT a.recipient_id, g.conversion_id, g.value FROM (SELECT recipient_id, min({assigned}) AS assigned FROM assignments \
                 WHERE experiment_id = {} GROUP BY recipient_id) AS a JOIN goals AS g ON g.recipient_id = a.recipient_id\n  \
                 WHERE ({}) AND (a.assigned IS NULL OR {happened} >= a.assigned)",
                text_literal(self.key),
                if within.is_empty() { "FALSE" } else { &within },
                assigned = moment("assigned_at"),
            )
        } else {
            format!(
                "SELECT m.recipient_id, g.conversion_id, g.value FROM messages AS m JOIN goals AS g ON g.recipient_id = m.recipient_id\n  \
                 WHERE {sent} <= {happened} AND {happened} - {sent} <= {}\n  \
                 UNION SELECT m.recipient_id, g.conversion_id, g.value FROM messages AS m JOIN goals AS g ON g.message_id = m.message_id",
                self.window(),
                sent = moment("m.sent_at"),
            )
        };
        Ok(format!(
            "goals AS (SELECT conversion_id, recipient_id, message_id, occurred_at, CASE WHEN refunded_at IS NULL THEN arrow_cast(value, 'Float64') ELSE 0 END AS value\n  \
             FROM {goals} WHERE {events}),\n\
             hits AS ({hits}),\n\
             outcomes AS (SELECT recipient_id, count(*) AS conversions, sum(value) AS revenue FROM hits GROUP BY recipient_id)",
            goals =
                owned_conversions(self.session, "conversion_id, message_id, event, occurred_at, value, refunded_at")
                    .await?,
            events = counted_events(&self.session.settings),
        ))
    }
}
