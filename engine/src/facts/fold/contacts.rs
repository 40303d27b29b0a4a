//! Where a message's recipient lived when it was sent.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};

use super::ids::{Ids, NONE, Texts, hashes};
use crate::error::Result;

/// One row of a contact, valid for a time.
struct Period {
    country: u32,
    region: u32,
    time_zone: u32,
    from: i64,
    to: i64,
    /// Another period of the same contact, or [`NONE`].
    next: u32,
}

/// All contacts.
pub(super) struct Contacts {
    ids: Ids,
    /// The first period of each contact.
    first: Vec<u32>,
    periods: Vec<Period>,
    texts: Texts,
}

/// What is known of a recipient at a moment.
#[derive(Clone, Copy, Default)]
pub(super) struct Place<'a> {
    pub(super) country: Option<&'a str>,
    pub(super) region: Option<&'a str>,
    pub(super) time_zone: Option<&'a str>,
}

impl Contacts {
    pub(super) fn with_room(rows: usize) -> Result<Self> {
        Ok(Self { ids: Ids::with_room(rows)?, first: Vec::new(), periods: Vec::new(), texts: Texts::default() })
    }

    /// Takes in rows of `recipient_id`, `country`, `region`, `time_zone`, `valid_from`, `valid_to` (microseconds, the end
    /// exclusive).
    #[allow(clippy::cast_possible_truncation)] // The ids bound the periods.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.ids.check_room(batch.num_rows())?;
        let recipients = hashes(batch.column(0))?;
        let texts: Vec<_> = (1..4)
            .map(|column| arrow::compute::cast(batch.column(column), &DataType::Utf8))
            .collect::<std::result::Result<_, _>>()?;
        let [from, to] = [4, 5].map(|column| batch.column(column).as_primitive::<Int64Type>());
        for (row, recipient) in recipients.iter().enumerate() {
            let Some(recipient) = recipient else { continue };
            let mut text = |column: usize| {
                let texts = texts[column].as_string::<i32>();
                if texts.is_null(row) { NONE } else { self.texts.number(texts.value(row)) }
            };
            let (country, region, time_zone) = (text(0), text(1), text(2));
            let place = self.periods.len() as u32;
            let next = if self.ids.insert(*recipient).is_some() {
                self.first.push(place);
                NONE
            } else {
                let number = self.ids.get(*recipient).unwrap_or(0);
                std::mem::replace(&mut self.first[number as usize], place)
            };
            self.periods.push(Period { country, region, time_zone, from: from.value(row), to: to.value(row), next });
        }
        Ok(())
    }

    /// Where a recipient lived at a moment.
    pub(super) fn at(&self, recipient: u128, moment: i64) -> Place<'_> {
        let Some(number) = self.ids.get(recipient) else { return Place::default() };
        let mut place = self.first[number as usize];
        while let Some(period) = self.periods.get(place as usize) {
            if (period.from..period.to).contains(&moment) {
                return Place {
                    country: self.texts.text(period.country),
                    region: self.texts.text(period.region),
                    time_zone: self.texts.text(period.time_zone),
                };
            }
            place = period.next;
        }
        Place::default()
    }
}
