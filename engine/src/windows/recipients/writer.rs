//! The file: a row a recipient with the window that does best for it, or a row for each of its legal windows.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanBuilder, Float64Array, Float64Builder, RecordBatch, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema};

use super::classes::{Class, Classes, Ends, WindowFigures};
use super::{LevelCount, ReasonCount, RecipientWindowsRequest, RecipientWindowsSummary};
use crate::error::Result;
use crate::permission::{NO_LEGAL_WINDOW, UNKNOWN_TIME_ZONE};
use crate::query::threads;
use crate::report::cell_text;
use crate::stats::send_windows::{Identification, OUTLOOK_QUANTILE, RecipientCell, RecipientOutlook, WindowOutcome};
use crate::table_file::TableFile;
use crate::windows::analyze::Known;
use crate::windows::answer::{WindowsIdentification, WindowsLevel};
use crate::windows::slots::Slot;

/// What stands beside a window that is recommended.
const RECOMMENDED: &str = "recommended";
/// Digits after the point: those beyond hang on the order in which cores add up.
const DIGITS: f64 = 1e9;

/// A recipient as it was read.
struct Read {
    recipient: String,
    /// The class and the zone on whose clock the windows are; none where no zone may be its.
    class: Option<(usize, String)>,
    /// Its messages that count, where that was asked.
    messages: Option<f64>,
    /// The same by window; empty where they say nothing.
    cells: Vec<RecipientCell>,
}

/// What is said of a recipient.
struct Said {
    /// At which level windows were found; none where none are recommended.
    level: Option<WindowsLevel>,
    reason: &'static str,
    /// The recommended windows, of which any will do.
    windows: Vec<usize>,
    gain: Ends,
    /// The windows that have a row, each with what is known of it; without any there is one row without a window.
    shown: Vec<(usize, WindowFigures)>,
}

pub(super) struct Writer<'a> {
    known: &'a Known,
    request: &'a RecipientWindowsRequest,
    /// Whether the number of a recipient's own messages is in the batches.
    has_messages: bool,
    /// Whether these are there by window, too.
    by_window: bool,
    file: TableFile,
    schema: Arc<Schema>,
    pub(super) recipients: u64,
    levels: Vec<LevelCount>,
    without: Vec<ReasonCount>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        known: &'a Known,
        request: &'a RecipientWindowsRequest,
        (has_messages, by_window): (bool, bool),
        out: &Path,
    ) -> Result<Self> {
        let text = |name: &str| Field::new(name, DataType::Utf8, name != "recipient_id" && name != "reason");
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let mut fields =
            vec![text("recipient_id"), text("level"), text("weekday"), text("window_start"), text("window_end")];
        fields.push(text("time_zone"));
        fields.push(Field::new("is_recommended", DataType::Boolean, false));
        for name in ["rate", "difference"] {
            fields.extend(["", "_low", "_high"].map(|end| number(&format!("{name}{end}"))));
        }
        fields.extend([number("chance_of_best"), number("expected_loss")]);
        fields.extend(["gain", "gain_low", "gain_high", "messages"].map(number));
        fields.extend([text("windows"), text("reason")]);
        let schema = Arc::new(Schema::new(fields));
        Ok(Self {
            known,
            request,
            has_messages,
            by_window,
            file: TableFile::at(out, Arc::clone(&schema))?,
            schema,
            recipients: 0,
            levels: Vec::new(),
            without: Vec::new(),
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, classes: &mut Classes<'_>) -> Result<()> {
        let read = self.read(batch, classes)?;
        self.recipients += read.len() as u64;
        let said = self.said(&read, classes.all());
        for said in &said {
            match said.level {
                Some(level) => match self.levels.iter_mut().find(|known| known.level == level) {
                    Some(known) => known.n += 1,
                    None => self.levels.push(LevelCount { level, n: 1 }),
                },
                None => ReasonCount::count(&mut self.without, said.reason),
            }
        }
        let batch = self.batch(&read, &said)?;
        self.file.write(&batch)?;
        Ok(())
    }

    fn read(&self, batch: &RecordBatch, classes: &mut Classes<'_>) -> Result<Vec<Read>> {
        let by = self.request.windows.by.len();
        let slots = self.known.slots.len();
        let width = usize::from(self.has_messages) + if self.by_window { 2 * slots } else { 0 };
        let mut own: Vec<Float64Array> = Vec::new();
        for column in 0..width {
            let numbers = cast(batch.column(4 + by + column), &DataType::Float64)?;
            own.push(numbers.as_primitive::<Float64Type>().clone());
        }
        let number = |column: usize, row: usize| {
            own.get(column).filter(|numbers| numbers.is_valid(row)).map_or(0.0, |numbers| numbers.value(row))
        };
        (0..batch.num_rows())
            .map(|row| {
                let text = |column: usize| cell_text(batch, column, row);
                let segment = (0..by).map(|key| text(4 + key)).collect::<Result<Vec<_>>>()?;
                let place = (text(1)?, text(2)?);
                let class = classes.of(&place, text(3)?.as_deref(), &segment)?;
                let cell =
                    |slot: usize| RecipientCell { n: number(1 + 2 * slot, row), residuals: number(2 + 2 * slot, row) };
                let cells = if self.by_window { (0..slots).map(cell).collect() } else { Vec::new() };
                let messages = self.has_messages.then(|| number(0, row));
                Ok(Read { recipient: text(0)?.unwrap_or_default(), class, messages, cells })
            })
            .collect()
    }

    /// What is said of the recipients of a batch, dealt out to the cores.
    fn said(&self, read: &[Read], classes: &[Class]) -> Vec<Said> {
        let part = read.len().div_ceil(threads()).max(1);
        let every_window = self.request.every_window;
        let is_rate = self.request.windows.objective.outcome() == WindowOutcome::Rate;
        let of_part = move |read: &[Read]| -> Vec<Said> {
            read.iter().map(|read| said_of(read, classes, every_window, is_rate)).collect()
        };
        std::thread::scope(|scope| {
            let parts: Vec<_> = read.chunks(part).map(|read| scope.spawn(move || of_part(read))).collect();
            let parts = parts.into_iter();
            parts.flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }

    fn batch(&self, read: &[Read], said: &[Said]) -> Result<RecordBatch> {
        let slots = self.known.slots.all();
        let names: Vec<String> = slots.iter().map(Slot::plain_name).collect();
        let mut texts: [StringBuilder; 8] = std::array::from_fn(|_| StringBuilder::new());
        let mut numbers: [Float64Builder; 12] = std::array::from_fn(|_| Float64Builder::new());
        let mut recommended = BooleanBuilder::new();
        for (read, said) in read.iter().zip(said) {
            let nothing = [(usize::MAX, WindowFigures::default())];
            let shown = if said.shown.is_empty() { nothing.as_slice() } else { said.shown.as_slice() };
            let set: Vec<&str> = said.windows.iter().filter_map(|slot| names.get(*slot)).map(String::as_str).collect();
            for (slot, figures) in shown {
                let named = slots.get(*slot);
                let cells = [
                    Some(read.recipient.clone()),
                    said.level.map(|level| level.name().to_owned()),
                    named.map(|slot| slot.day.to_owned()),
                    named.map(Slot::start),
                    named.map(Slot::end),
                    read.class.as_ref().map(|(_, zone)| zone.clone()),
                    (!set.is_empty()).then(|| set.join("; ")),
                    Some(said.reason.to_owned()),
                ];
                texts.iter_mut().zip(cells).for_each(|(column, cell)| column.append_option(cell));
                recommended.append_value(said.windows.contains(slot));
                let (rate, difference, gain) = (figures.rate, figures.difference, said.gain);
                let cells = [
                    [rate.estimate, rate.low, rate.high],
                    [difference.estimate, difference.low, difference.high],
                    [figures.chance_of_best, figures.expected_loss, gain.estimate],
                    [gain.low, gain.high, read.messages],
                ];
                let cells = cells.into_iter().flatten();
                numbers.iter_mut().zip(cells).for_each(|(column, cell)| column.append_option(cell.map(rounded)));
            }
        }
        let [recipient, level, day, start, end, zone, set, reason] = texts.map(|mut column| column.finish());
        let mut columns: Vec<ArrayRef> =
            [recipient, level, day, start, end, zone].map(|text| Arc::new(text) as _).into();
        columns.push(Arc::new(recommended.finish()));
        columns.extend(numbers.map(|mut column| Arc::new(column.finish()) as ArrayRef));
        columns.extend([set, reason].map(|text| Arc::new(text) as ArrayRef));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    pub(super) fn finish(self, identification: &Identification) -> Result<RecipientWindowsSummary> {
        let (file, _) = self.file.finish()?;
        file.keep()?;
        let (identification, reason) = WindowsIdentification::told(identification);
        Ok(RecipientWindowsSummary {
            identification,
            reason: reason.to_owned(),
            recipients: self.recipients,
            levels: self.levels,
            without: self.without,
            spread: None,
            notes: Vec::new(),
        })
    }
}

/// What is said of one recipient: what its own messages ask for, else what its class has.
fn said_of(read: &Read, classes: &[Class], every_window: bool, is_rate: bool) -> Said {
    let nothing = |reason| Said { level: None, reason, windows: Vec::new(), gain: Ends::default(), shown: Vec::new() };
    let Some(class) = read.class.as_ref().and_then(|(class, _)| classes.get(*class)) else {
        return nothing(UNKNOWN_TIME_ZONE);
    };
    if class.windows.iter().all(|window| !window.is_legal) {
        return nothing(NO_LEGAL_WINDOW);
    }
    let has_messages = read.cells.iter().any(|cell| cell.n > 0.0);
    let own = class.own.as_ref().filter(|_| has_messages).map(|own| own.outlook(&read.cells));
    let figures = |slot: usize| match &own {
        Some(own) => own_figures(&class.windows[slot], own, slot, is_rate),
        None => class.windows[slot].clone(),
    };
    let mut said = nothing("");
    match (own.as_ref().and_then(|own| own.own_windows.clone().zip(own.gain.as_ref())), &class.answer) {
        (Some((windows, gain)), _) => {
            said = Said { level: Some(WindowsLevel::Recipient), windows, gain: Ends::from(gain), ..said };
        }
        (None, Ok((level, windows, gain))) => {
            said = Said { level: Some(*level), windows: windows.clone(), gain: *gain, ..said };
        }
        (None, Err(why)) => said.reason = why,
    }
    if said.level.is_some() {
        said.reason = RECOMMENDED;
    }
    if every_window {
        let legal = (0..class.windows.len()).filter(|slot| class.windows[*slot].is_legal);
        said.shown = legal.map(|slot| (slot, figures(slot))).collect();
    } else {
        let loss = |figures: &WindowFigures| figures.expected_loss.unwrap_or(f64::INFINITY);
        let chosen = said.windows.iter().map(|slot| (*slot, figures(*slot)));
        said.shown = chosen.min_by(|left, right| loss(&left.1).total_cmp(&loss(&right.1))).into_iter().collect();
    }
    said
}

/// A window's figures with what the recipient's own messages add to them.
fn own_figures(of_class: &WindowFigures, own: &RecipientOutlook, slot: usize, is_rate: bool) -> WindowFigures {
    let found = own.slots[slot];
    let (mean, deviation) = found.difference;
    let known = of_class.difference;
    let spread =
        |ends: Ends| ends.high.zip(ends.low).map_or(0.0, |(high, low)| (high - low) / (2.0 * OUTLOOK_QUANTILE));
    let shift = mean - known.estimate.unwrap_or(0.0) + own.level;
    // What is not known of the recipient comes on top of what is not known of the rate of all.
    let more = (deviation * deviation - spread(known).powi(2)).max(0.0).sqrt();
    let around = |estimate: f64, deviation: f64| Ends {
        estimate: Some(estimate),
        low: Some(estimate - OUTLOOK_QUANTILE * deviation),
        high: Some(estimate + OUTLOOK_QUANTILE * deviation),
    };
    let rate = of_class.rate.estimate.map(|rate| around(rate + shift, spread(of_class.rate).hypot(more)));
    WindowFigures {
        is_legal: of_class.is_legal,
        rate: rate.map(|rate| if is_rate { rate.within(0.0, 1.0) } else { rate }).unwrap_or_default(),
        difference: known.estimate.map(|_| around(mean, deviation)).unwrap_or_default(),
        chance_of_best: found.chance_of_best,
        expected_loss: found.expected_loss,
    }
}

fn rounded(number: f64) -> f64 {
    if number.abs() < 1e6 { (number * DIGITS).round() / DIGITS } else { number }
}
