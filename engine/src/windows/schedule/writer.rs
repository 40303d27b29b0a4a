//! The file of a schedule: each recipient's window, its probability and the reason.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use xxhash_rust::xxh3::xxh3_64;

use super::classes::Classes;
use super::list::Kind;
use super::{ReasonCount, ScheduleSummary, WindowLoad};
use crate::error::Result;
use crate::permission::{NO_LEGAL_WINDOW, UNKNOWN_TIME_ZONE};
use crate::stats::schedule::{Reason, Schedule};
use crate::table_file::TableFile;
use crate::windows::analyze::Known;
use crate::windows::answer::{WindowName, WindowsIdentification};

const NO_CAPACITY: &str = "no_capacity";

pub(super) struct Writer<'a> {
    known: &'a Known,
    file: TableFile,
    schema: Arc<Schema>,
    loads: Vec<u64>,
    left_out: Vec<ReasonCount>,
    recipients: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(known: &'a Known, out: &Path) -> Result<Self> {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        let schema = Arc::new(Schema::new(vec![
            text("recipient_id", false),
            text("weekday", true),
            text("window_start", true),
            text("window_end", true),
            text("time_zone", true),
            Field::new("send_propensity", DataType::Float64, true),
            text("reason", false),
        ]));
        Ok(Self {
            known,
            file: TableFile::at(out, Arc::clone(&schema))?,
            schema,
            loads: vec![0; known.slots.len()],
            left_out: Vec::new(),
            recipients: 0,
        })
    }

    pub(super) fn write(
        &mut self,
        rows: &[(Kind, String)],
        classes: &mut Classes<'_>,
        schedule: &Schedule,
    ) -> Result<()> {
        let mut texts: [StringBuilder; 5] = std::array::from_fn(|_| StringBuilder::new());
        let mut propensities: Vec<Option<f64>> = Vec::with_capacity(rows.len());
        for (kind, recipient) in rows {
            self.recipients += 1;
            let assigned = match classes.of(kind)? {
                Some((class, zone)) => {
                    let is_legal = classes.classes[class].legal.iter().any(|legal| *legal);
                    let found = schedule.assign(class, xxh3_64(recipient.as_bytes()));
                    let why = if is_legal { NO_CAPACITY } else { NO_LEGAL_WINDOW };
                    found.map(|found| (found, zone)).ok_or(why)
                }
                None => Err(kind.refusal.unwrap_or(UNKNOWN_TIME_ZONE)),
            };
            match assigned {
                Ok((found, zone)) => {
                    let slot = &self.known.slots.all()[found.slot];
                    self.loads[found.slot] += 1;
                    let cells = [slot.day.to_owned(), slot.start(), slot.end(), zone];
                    texts.iter_mut().zip(&cells).for_each(|(column, cell)| column.append_value(cell));
                    texts[4].append_value(match found.reason {
                        Reason::Thompson => "thompson",
                        Reason::Uniform => "uniform",
                        Reason::OnlySlot => "only_slot",
                    });
                    propensities.push(Some(found.propensity));
                }
                Err(reason) => {
                    texts.iter_mut().take(4).for_each(StringBuilder::append_null);
                    texts[4].append_value(reason);
                    propensities.push(None);
                    ReasonCount::count(&mut self.left_out, reason);
                }
            }
        }
        let [mut day, mut start, mut end, mut zone, mut reason] = texts;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, recipient)| recipient))),
            Arc::new(day.finish()),
            Arc::new(start.finish()),
            Arc::new(end.finish()),
            Arc::new(zone.finish()),
            Arc::new(Float64Array::from(propensities)),
            Arc::new(reason.finish()),
        ];
        self.file.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        Ok(())
    }

    pub(super) fn finish(self, identification: WindowsIdentification) -> Result<ScheduleSummary> {
        let (file, _) = self.file.finish()?;
        file.keep()?;
        let windows = self.known.slots.all().iter().zip(&self.loads).filter(|(_, n)| **n > 0);
        Ok(ScheduleSummary {
            identification,
            recipients: self.recipients,
            scheduled: self.loads.iter().sum(),
            left_out: self.left_out,
            windows: windows.map(|(slot, n)| WindowLoad { window: WindowName::of(slot), n: *n }).collect(),
            least_propensity: None,
            notes: Vec::new(),
        })
    }
}
