//! The rows of `folded_messages`: the columns of the sends, and beside them what was folded.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, Decimal128Array, Int64Array, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use super::clicks::Clicked;
use super::contacts::Place;
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
        let rows = Rows { folded: self, numbers, sent: sent.as_primitive::<Int64Type>().clone() };
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
}

impl<'a> Rows<'a> {
    fn column(&self, name: &str, places: &[Place<'_>]) -> Result<ArrayRef> {
        let folded = self.folded;
        let receipts = folded.receipts.as_ref();
        let converted = |number: u32| folded.credited.conversions.get(number);
        let earned = |number: u32| converted(number).map(|converted| folded.credited.earned(converted));
        Ok(match name {
            column::RANK => self.numbers_of(|number, _| receipts?.resolved(number)),
            column::RECEIPTS => self.numbers_of(|number, _| Some(receipts.map_or(0, |of| of.count(number)))),
            column::DELIVERED_AT => self.moments(|number| receipts?.delivered_at(number)),
            column::ERROR_CODE => self.texts(|number| receipts?.error_code(number)),
            column::CARRIER => self.texts(|number| receipts?.carrier(number)),
            column::PRICE_CURRENCY => self.texts(|number| receipts?.currency(number)),
            column::PRICE => self.money(|number| receipts?.price(number)),
            column::CLICKS => self.numbers_of(|number, _| Some(self.clicked(number).map_or(0, |of| of.clicks))),
            column::MACHINE_CLICKS => {
                self.numbers_of(|number, _| Some(self.clicked(number).map_or(0, |of| of.machine_clicks)))
            }
            column::FIRST_CLICK_AT => self.moments(|number| self.clicked(number)?.first_click_at),
            column::FIRST_CLICK_DEVICE => self.texts(|number| self.clicked(number)?.first_click_device),
            column::MACHINE_CLICK_REASON => self.texts(|number| self.clicked(number)?.reason.as_deref()),
            column::CONVERSIONS => self.numbers_of(|number, _| Some(converted(number).map_or(0, |of| of.conversions))),
            column::OUTSIDE => self
                .numbers_of(|number, sent| Some(converted(number).map_or(0, |of| folded.credited.outside(of, sent)))),
            column::CONVERTED_AT => self.moments(|number| converted(number)?.converted_at),
            column::REVENUE => self.money(|number| earned(number)?.revenue),
            column::MARGIN => self.money(|number| earned(number)?.margin),
            column::REVENUE_CURRENCY => self.texts(|number| earned(number)?.currency),
            column::REVENUE_OTHER => {
                let mut texts = StringBuilder::new();
                self.numbers.iter().for_each(|number| texts.append_option(earned(*number).and_then(|of| of.other)));
                Arc::new(texts.finish())
            }
            column::OPTED_OUT_AT => self.moments(|number| *folded.credited.refusals.get(number)?),
            column::REPLIES => {
                self.numbers_of(|number, _| Some(folded.credited.answers.get(number).copied().unwrap_or(0)))
            }
            column::COUNTRY => texts(places.iter().map(|place| place.country)),
            column::REGION => texts(places.iter().map(|place| place.region)),
            column::TIME_ZONE => texts(places.iter().map(|place| place.time_zone)),
            other => return Err(EngineError::usage(format!("there is no column \"{other}\""))),
        })
    }

    fn clicked(&self, number: u32) -> Option<&'a Clicked> {
        self.folded.clicks.as_ref()?.get(number)
    }

    fn numbers_of(&self, value: impl Fn(u32, i64) -> Option<i64>) -> ArrayRef {
        let rows = self.numbers.iter().zip(self.sent.values());
        Arc::new(rows.map(|(number, sent)| value(*number, *sent)).collect::<Int64Array>())
    }

    fn moments(&self, value: impl Fn(u32) -> Option<i64>) -> ArrayRef {
        let moments: TimestampMicrosecondArray = self.numbers.iter().map(|number| value(*number)).collect();
        Arc::new(moments.with_timezone("UTC"))
    }

    fn money(&self, value: impl Fn(u32) -> Option<i128>) -> ArrayRef {
        let amounts: Decimal128Array = self.numbers.iter().map(|number| value(*number)).collect();
        Arc::new(amounts.with_data_type(MONEY_SUM))
    }

    fn texts<'t>(&self, value: impl Fn(u32) -> Option<&'t str>) -> ArrayRef {
        texts(self.numbers.iter().map(|number| value(*number)))
    }
}

fn texts<'t>(values: impl Iterator<Item = Option<&'t str>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}
