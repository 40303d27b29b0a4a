//! Retention: of those who converted, who converted again between so many days after their first conversion?

use std::collections::BTreeMap;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;

use super::grouping::Grouping;
use super::query::cell_text;
use crate::error::Result;
use crate::facts::{DAY_MICROSECONDS, owned_conversions};
use crate::query::QuerySession;

/// Per group: converters whose later period has closed, and those of them who came back in it.
pub(crate) type Retained = BTreeMap<Vec<Option<String>>, (u64, u64)>;

/// Counts converters who converted again more than `days.0` and at most `days.1` days after their first conversion. Those
/// whose period has not closed by the session's `as_of` are left out of both numbers.
pub(crate) async fn retained(
    session: &QuerySession,
    base: &str,
    grouping: &Grouping,
    days: (u32, u32),
) -> Result<Retained> {
    let keys = grouping.keys();
    let list = keys.iter().map(|key| format!("{key}, ")).collect::<String>();
    let qualified = keys.iter().map(|key| format!("u.{key}, ")).collect::<String>();
    let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
    let (from, to) = (i64::from(days.0) * DAY_MICROSECONDS, i64::from(days.1) * DAY_MICROSECONDS);
    let events = crate::facts::counted_events(&session.settings);
    let conversions = owned_conversions(session, "conversion_id, event, occurred_at").await?;
    let latest_start = session.as_of.as_microsecond().saturating_sub(to);
    let query = format!(
        "WITH base AS ({base}), converters AS (\n\
         SELECT {list}campaign_id, recipient_id, min(arrow_cast(converted_at, 'Int64')) AS first_at\n\
         FROM base WHERE conversions > 0 GROUP BY {list}campaign_id, recipient_id),\n\
         later AS (SELECT DISTINCT recipient_id, conversion_id, arrow_cast(occurred_at, 'Int64') AS at FROM {conversions} WHERE {events}),\n\
         kept AS (SELECT {qualified}u.campaign_id, u.recipient_id, max(CASE WHEN l.at > u.first_at + {from} AND l.at <= u.first_at + {to} THEN 1 ELSE 0 END) AS came_back\n\
         FROM converters AS u LEFT JOIN later AS l ON l.recipient_id = u.recipient_id\n\
         WHERE u.first_at <= {latest_start} GROUP BY {qualified}u.campaign_id, u.recipient_id)\n\
         SELECT {list}count(*), sum(came_back) FROM kept{group}"
    );
    let mut retained = Retained::new();
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            let group = (0..keys.len()).map(|key| cell_text(&batch, key, row)).collect::<Result<Vec<_>>>()?;
            let number = |position: usize| {
                let column = batch.column(keys.len() + position).as_primitive::<Int64Type>();
                column.iter().nth(row).flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
            };
            if number(0) > 0 {
                retained.insert(group, (number(0), number(1)));
            }
        }
    }
    Ok(retained)
}
