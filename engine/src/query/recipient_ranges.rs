//! Work on recipients part by part: ranges of ids, each of so many recipients that joining what is known of them, summing it
//! up and putting it in order takes little memory, however many there are.

use arrow::array::AsArray as _;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use itertools::Itertools as _;

use super::session::{QuerySession, text_literal};
use crate::error::Result;
use crate::event::Log;
use crate::store::MESSAGE_FACTS;

/// One id in so many is kept to find the ranges.
const SAMPLED: usize = 512;

/// Some of the ids of everybody who is a contact or was sent to, in order.
pub(crate) struct RecipientSample(Vec<String>);

impl RecipientSample {
    /// From the tables of a session.
    ///
    /// # Errors
    /// When a query fails.
    pub(crate) async fn of(session: &QuerySession) -> Result<Self> {
        let query = format!(
            "SELECT DISTINCT recipient_id FROM (SELECT recipient_id FROM {MESSAGE_FACTS} UNION ALL SELECT recipient_id FROM {}) \
             WHERE unit_draw(recipient_id, 'ranges') % {SAMPLED} = 0 ORDER BY recipient_id",
            Log::Recipients
        );
        let mut ids = Vec::new();
        for batch in session.collect(&query).await? {
            let column = cast(batch.column(0), &DataType::Utf8)?;
            ids.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        Ok(Self(ids))
    }

    /// Ranges of so many recipients, nearly, that hold everybody once, in the order of ids. Each range reads the facts again:
    /// the fewer the better that memory has room for.
    pub(crate) fn ranges(&self, recipients: usize) -> Vec<RecipientRange> {
        let Self(ids) = self;
        let wanted = (ids.len() * SAMPLED).div_ceil(recipients).max(1);
        let mut ends: Vec<&String> = (1..wanted).map(|end| &ids[end * ids.len() / wanted]).collect();
        ends.dedup();
        let from = std::iter::once(None).chain(ends.iter().map(|end| Some((*end).clone())));
        let before = ends.iter().map(|end| Some((*end).clone())).chain(std::iter::once(None));
        from.zip(before).map(|(from, before)| RecipientRange { from, before }).collect()
    }
}

/// Ids from one to before another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecipientRange {
    from: Option<String>,
    before: Option<String>,
}

impl RecipientRange {
    /// The session with what is known of these recipients alone: their messages, and in each log the rows that name them, or
    /// that name nobody but a message. Tables that are registered in it are its own.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub(crate) async fn within(&self, session: &QuerySession) -> Result<QuerySession> {
        if self.is_all() {
            return session.narrowed(&[], "TRUE").await;
        }
        let logs = Log::ALL.into_iter().filter(|log| log.has_recipient()).map(Log::name);
        let tables: Vec<&str> = logs.chain([MESSAGE_FACTS]).collect();
        session.narrowed(&tables, &format!("recipient_id IS NULL OR ({})", self.condition("recipient_id"))).await
    }

    fn is_all(&self) -> bool {
        self.from.is_none() && self.before.is_none()
    }

    /// The SQL by which the recipient in a column is in the range.
    pub(crate) fn condition(&self, column: &str) -> String {
        if self.is_all() {
            return "TRUE".to_owned();
        }
        let from = self.from.as_ref().map(|id| format!("{column} >= {}", text_literal(id)));
        let before = self.before.as_ref().map(|id| format!("{column} < {}", text_literal(id)));
        from.into_iter().chain(before).join(" AND ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_id_once_in_order() {
        let sample: Vec<String> = (0..16_000).map(|number| format!("r{number:05}")).collect();
        let ranges = RecipientSample(sample).ranges(2_000_000);
        assert_eq!(ranges.len(), 5);
        assert_eq!((&ranges[0].from, &ranges[4].before), (&None, &None));
        assert!(ranges.windows(2).all(|pair| pair[0].before == pair[1].from && pair[0].before.is_some()));
        let ends: Vec<&String> = ranges.iter().filter_map(|range| range.before.as_ref()).collect();
        assert!(ends.is_sorted());
        assert_eq!(ranges[1].condition("id"), "id >= 'r03200' AND id < 'r06400'");
        // Few recipients, or none at all, are one range.
        for few in [vec!["r1".to_owned(), "r2".to_owned(), "r3".to_owned()], Vec::new()] {
            assert_eq!(RecipientSample(few).ranges(2_000_000), [RecipientRange { from: None, before: None }]);
        }
        assert_eq!(RecipientSample(Vec::new()).ranges(1)[0].condition("id"), "TRUE");
    }
}
