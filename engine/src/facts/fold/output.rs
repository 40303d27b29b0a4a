//! The rows of `folded_messages`: the columns of the sends, and beside them what was folded.

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, Decimal128Array, Int64Array, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use super::clicks::Clicked;
use super::contacts::Place;
use super::events::{Converted, Earned};
use super::ids::{NONE, hashes, numbers, with_plain_texts};
use super::{Folded, column, orders};
use crate::error::{EngineError, Result};
use crate::facts::sql::MONEY_SUM;

impl Folded {
    /// A batch of sends (`message_id`, `recipient_id`, `sent_at`, where ids repeat the three columns of the order of
    /// reception, then those that are wanted) in the columns of `schema`.
    pub(super) fn rows(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut batch = batch.clone();
        if !self.newest.is_empty() {
            let orders = orders(&with_plain_texts(&batch)?, 3);
            let keep = hashes(batch.column(0))?
                .into_iter()
                .zip(&orders)
                .map(|(id, order)| id.is_some_and(|id| self.newest.get(&id).is_none_or(|newest| newest == order)));
            batch = arrow::compute::filter_record_batch(&batch, &keep.collect::<Vec<bool>>().into())?;
        }
        let numbers = numbers(batch.column(0), &self.ids)?;
        if numbers.contains(&NONE) {
            return Err(EngineError::refused("the sends log changed while it was read: try again"));
        }
        let sent = arrow::compute::cast(batch.column(2), &DataType::Int64)?;
        let rows = Rows::new(self, numbers, sent.as_primitive::<Int64Type>().clone());
        let places = self.places(&batch, &rows, schema)?;
        let columns = schema
            .fields()
            .iter()
            .map(|field| match batch.column_by_name(field.name()) {
                Some(column) => Ok(arrow::compute::cast(column, field.data_type())?),
                None => rows.column(field.name(), &places),
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }

    fn places(&self, batch: &RecordBatch, rows: &Rows<'_>, schema: &SchemaRef) -> Result<Vec<Place<'_>>> {
        let wanted = [column::COUNTRY, column::REGION, column::TIME_ZONE];
        let Some(contacts) =
            self.contacts.as_ref().filter(|_| wanted.iter().any(|name| schema.column_with_name(name).is_some()))
        else {
            return Ok(vec![Place::default(); rows.numbers.len()]);
        };
        let recipients = hashes(batch.column(1))?;
        let at = rows.sent.values().iter();
        Ok(recipients
            .into_iter()
            .zip(at)
            .map(|(recipient, sent)| recipient.map_or_else(Place::default, |recipient| contacts.at(recipient, *sent)))
            .collect())
    }
}

/// The numbers and moments of a batch's messages.
struct Rows<'a> {
    folded: &'a Folded,
    numbers: Vec<u32>,
    sent: Int64Array,
    // By row, for the columns that ask: what is there of few messages is looked for once, not for each column.
    clicked: OnceCell<Vec<Option<&'a Clicked>>>,
    converted: OnceCell<Vec<Option<&'a Converted>>>,
    earned: OnceCell<Vec<Option<Earned<'a>>>>,
}

impl<'a> Rows<'a> {
    fn new(folded: &'a Folded, numbers: Vec<u32>, sent: Int64Array) -> Self {
        Self { folded, numbers, sent, clicked: OnceCell::new(), converted: OnceCell::new(), earned: OnceCell::new() }
    }

    fn clicked(&self) -> impl Iterator<Item = Option<&'a Clicked>> {
        let clicks = self.folded.clicks.as_ref();
        let of = self.clicked.get_or_init(|| self.numbers.iter().map(|number| clicks?.get(*number)).collect());
        of.iter().copied()
    }

    fn converted(&self) -> impl Iterator<Item = Option<&'a Converted>> {
        let conversions = &self.folded.credited.conversions;
        let of = self.converted.get_or_init(|| self.numbers.iter().map(|number| conversions.get(*number)).collect());
        of.iter().copied()
    }

    fn earned(&self) -> impl Iterator<Item = Option<&Earned<'a>>> {
        let earned = |converted: Option<&'a Converted>| converted.map(|of| self.folded.credited.earned(of));
        self.earned.get_or_init(|| self.converted().map(earned).collect()).iter().map(Option::as_ref)
    }

    fn column(&self, name: &str, places: &[Place<'_>]) -> Result<ArrayRef> {
        let folded = self.folded;
        let receipts = folded.receipts.as_ref();
        let clicks = |value: fn(&Clicked) -> i64| counts(self.clicked().map(|of| of.map_or(0, value)));
        let sent = self.sent.values().iter();
        Ok(match name {
            column::RANK => {
                Arc::new(self.numbers.iter().map(|number| receipts?.resolved(*number)).collect::<Int64Array>())
            }
            column::RECEIPTS => counts(self.numbers.iter().map(|number| receipts.map_or(0, |of| of.count(*number)))),
            column::DELIVERED_AT => moments(self.numbers.iter().map(|number| receipts?.delivered_at(*number))),
            column::ERROR_CODE => texts(self.numbers.iter().map(|number| receipts?.error_code(*number))),
            column::CARRIER => texts(self.numbers.iter().map(|number| receipts?.carrier(*number))),
            column::PRICE_CURRENCY => texts(self.numbers.iter().map(|number| receipts?.currency(*number))),
            column::PRICE => money(self.numbers.iter().map(|number| receipts?.price(*number))),
            column::CLICKS => clicks(|of| of.clicks),
            column::MACHINE_CLICKS => clicks(|of| of.machine_clicks),
            column::FIRST_CLICK_AT => moments(self.clicked().map(|of| of?.first_click_at)),
            column::FIRST_CLICK_DEVICE => texts(self.clicked().map(|of| of?.first_click_device)),
            column::MACHINE_CLICK_REASON => texts(self.clicked().map(|of| of?.reason.as_deref())),
            column::CONVERSIONS => counts(self.converted().map(|of| of.map_or(0, |of| of.conversions))),
            column::OUTSIDE => {
                let outside =
                    |(of, sent): (Option<&Converted>, &i64)| of.map_or(0, |of| folded.credited.outside(of, *sent));
                counts(self.converted().zip(sent).map(outside))
            }
            column::CONVERTED_AT => moments(self.converted().map(|of| of?.converted_at)),
            column::REVENUE => money(self.earned().map(|of| of?.revenue)),
            column::MARGIN => money(self.earned().map(|of| of?.margin)),
            column::REVENUE_CURRENCY => texts(self.earned().map(|of| of?.currency)),
            column::REVENUE_OTHER => texts(self.earned().map(|of| of?.other.as_deref())),
            column::OPTED_OUT_AT => moments(self.numbers.iter().map(|number| *folded.credited.refusals.get(*number)?)),
            column::REPLIES => {
                let replies = |number: &u32| folded.credited.answers.get(*number).copied().unwrap_or(0);
                counts(self.numbers.iter().map(replies))
            }
            column::COUNTRY => texts(places.iter().map(|place| place.country)),
            column::REGION => texts(places.iter().map(|place| place.region)),
            column::TIME_ZONE => texts(places.iter().map(|place| place.time_zone)),
            other => return Err(EngineError::usage(format!("there is no column \"{other}\""))),
        })
    }
}

fn counts(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn moments(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn money(values: impl Iterator<Item = Option<i128>>) -> ArrayRef {
    Arc::new(values.collect::<Decimal128Array>().with_data_type(MONEY_SUM))
}

fn texts<'t>(values: impl Iterator<Item = Option<&'t str>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}
