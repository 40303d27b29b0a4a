//! Windows for each recipient: the answer of its segment or of all, or one of its own where its own messages ask for one.
//!
//! In: the facts, and what is asked of windows. Out: a file with a row a recipient, or a row for each of its legal windows.
//!
//! 1. [`RecipientRange`]: ranges of ids. All that follows but the fit is done range by range.
//! 2. [`own`]: where windows were drawn at random, each recipient's messages and residuals by window, into files beside the
//!    one that is asked for; how far recipients differ in their hours.
//! 3. [`classes`]: what recipients share for whom the same windows are legal and who are of one segment: the fit under that
//!    mask.
//! 4. [`writer`]: where everybody is and of which segment, with the answer, in the order of ids.
//!
//! Most lists are too thin for hours of one's own: where recipients cannot be told to differ, none has an answer of its own.

mod classes;
mod own;
mod places;
mod writer;

use std::path::{Path, PathBuf};

use datafusion::prelude::ParquetReadOptions;
use futures::StreamExt as _;
use itertools::Itertools as _;
use serde::{Deserialize, Serialize};

use super::analyze::Known;
use super::answer::{WindowsIdentification, WindowsLevel};
use super::request::WindowsRequest;
use super::schedule::ReasonCount;
use crate::error::Result;
use crate::facts::recipient_places;
use crate::progress::{Progress, check_cancelled};
use crate::query::{QuerySession, RecipientRange, RecipientSample};
use crate::segment::ContactColumns;
use crate::stats::send_windows::{Identification, RecipientMoments, RecipientSpread};
use crate::table_file::{Scratch, check_name};
use classes::Classes;
use own::count_own_messages;
pub(crate) use places::PlaceWindows;
use writer::Writer;

/// Recipients whose messages are summed up at a time: some hundreds of bytes each.
const OF_A_RANGE: usize = 2_000_000;

/// The table of the recipients' own messages.
const OWN: &str = "own_messages";

/// What is asked of the windows of each recipient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecipientWindowsRequest {
    /// What windows are compared by; `by` are columns of the contacts. Its members stand beside the other in JSON.
    #[serde(flatten)]
    pub windows: WindowsRequest,
    /// A row for each legal window of a recipient, not one a recipient.
    pub every_window: bool,
}

/// Looks at what is asked for before any work is done: numbers, rule files, the campaign and the columns.
///
/// # Errors
/// When it cannot be.
pub async fn check_recipient_windows(session: &QuerySession, request: &RecipientWindowsRequest) -> Result<()> {
    let asked = &request.windows;
    asked.check(session).await?;
    ContactColumns::of(session, &asked.by, session.as_of.as_microsecond()).await.map(drop)
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct RecipientWindowsSummary {
    /// Whether windows could be compared.
    pub identification: WindowsIdentification,
    /// Why, in words.
    pub reason: String,
    /// Recipients in the file.
    pub recipients: u64,
    /// Recipients with a recommendation, by the level at which it was found.
    pub levels: Vec<LevelCount>,
    /// Those without one, by reason.
    pub without: Vec<ReasonCount>,
    /// How far recipients differ in their hours; none where windows were not drawn at random, or hardly anybody has several
    /// messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<HoursSpread>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

/// Recipients by the level of their answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelCount {
    /// The level.
    pub level: WindowsLevel,
    /// How many.
    pub n: u64,
}

/// How far recipients differ in their hours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HoursSpread {
    /// Variance of recipients' own effects of a window, in squared units of what a message brings: an unbiased estimate,
    /// below zero by chance where there are none.
    pub variance: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Whether it is above zero by more than chance (one-sided error of 1 %); else nobody has an answer of its own.
    pub recipients_differ: bool,
}

/// Writes the windows of each recipient into a file (`.parquet`, `.csv`, `.ndjson` or `.arrow`), in the order of ids.
///
/// # Errors
/// When a column does not exist, a rule file is wrong, a query fails, or the file cannot be written.
pub async fn write_recipient_windows(
    session: &QuerySession,
    request: &RecipientWindowsRequest,
    out: &Path,
    progress: &dyn Progress,
) -> Result<RecipientWindowsSummary> {
    check_name(out)?;
    let asked = &request.windows;
    let columns = ContactColumns::of(session, &asked.by, session.as_of.as_microsecond()).await?;
    progress.at("comparing windows", 0, None);
    let known = Known::of(session, asked).await?;
    let identification = known.identification(asked.objective, &vec![true; known.slots.len()])?;
    let scratch = Scratch::beside(out, ".sendlift-windows-")?;
    let ranges = RecipientSample::of(session).await?.ranges(OF_A_RANGE);
    let mut parts: Vec<(RecipientRange, Option<PathBuf>)> = ranges.into_iter().map(|range| (range, None)).collect();
    let mut spread = None;
    if matches!(identification, Identification::Causal(_)) {
        let (mut moments, mut recipients) = (RecipientMoments::default(), 0);
        for (place, (range, own)) in parts.iter_mut().enumerate() {
            let within = range.within(session).await?;
            let path = scratch.path().join(format!("own-{place}.parquet"));
            let told = (progress, &mut recipients);
            moments.merge(&count_own_messages(&within, &known, asked, &path, told).await?);
            *own = Some(path);
        }
        spread = moments.spread().map(rounded);
    }
    let work = Work { session, request, known: &known, columns: &columns, parts: &parts, spread };
    let mut summary = work.write(&identification, out, progress).await?;
    summary.spread = spread.map(|spread| HoursSpread {
        variance: spread.slots,
        standard_error: spread.slots_error,
        recipients_differ: spread.recipients_differ(),
    });
    summary.notes.extend(columns.notes());
    summary.notes.extend(why_no_own(summary.identification, spread));
    Ok(summary)
}

/// A spread to ten digits: those beyond hang on the order in which recipients were added up.
fn rounded(spread: RecipientSpread) -> RecipientSpread {
    let ten = |number: f64| format!("{number:.9e}").parse().unwrap_or(number);
    RecipientSpread {
        noise: ten(spread.noise),
        levels: ten(spread.levels),
        slots: ten(spread.slots),
        slots_error: ten(spread.slots_error),
    }
}

/// Why nobody has an answer of its own.
fn why_no_own(kind: WindowsIdentification, spread: Option<RecipientSpread>) -> Option<String> {
    match (kind, spread) {
        (WindowsIdentification::Causal, Some(spread)) if spread.recipients_differ() => None,
        (WindowsIdentification::Causal, Some(_)) => Some(
            "recipients do not differ in their hours by more than chance: everybody has the answer of the segment or of all"
                .to_owned(),
        ),
        (WindowsIdentification::Causal, None) => Some(
            "hardly any recipient has several messages in drawn windows: whether they differ in their hours cannot be told"
                .to_owned(),
        ),
        (WindowsIdentification::QuasiExperimental, _) => Some(
            "windows were not drawn at random: a recipient's own hours cannot be told from what was sent then".to_owned(),
        ),
        (WindowsIdentification::NotIdentifiable, _) => Some(
            "hours cannot be told from campaigns: `sendlift windows` has the plan that would change that".to_owned(),
        ),
    }
}

/// What the file is written from.
struct Work<'a> {
    session: &'a QuerySession,
    request: &'a RecipientWindowsRequest,
    known: &'a Known,
    columns: &'a ContactColumns,
    /// Ranges of recipients, each with the file of their own messages where windows were drawn.
    parts: &'a [(RecipientRange, Option<PathBuf>)],
    spread: Option<RecipientSpread>,
}

impl Work<'_> {
    async fn write(
        &self,
        identification: &Identification,
        out: &Path,
        progress: &dyn Progress,
    ) -> Result<RecipientWindowsSummary> {
        let mut classes = Classes::new(self.known, &self.request.windows, self.spread);
        let has_own = self.parts.iter().any(|(_, own)| own.is_some());
        let mut writer = Writer::new(self.known, self.request, (has_own, self.differ()), out)?;
        for (range, own) in self.parts {
            let within = range.within(self.session).await?;
            if let Some(path) = own {
                let path = path.to_string_lossy();
                within.context().register_parquet(OWN, path.as_ref(), ParquetReadOptions::default()).await?;
            }
            let mut stream = within.sql(&self.query(own.is_some())).await?.execute_stream().await?;
            while let Some(batch) = stream.next().await {
                check_cancelled(progress)?;
                writer.write(&batch?, &mut classes)?;
                progress.at("writing windows", writer.recipients, None);
            }
        }
        writer.finish(identification)
    }

    /// Whether recipients differ, so that their own messages are looked at window by window.
    fn differ(&self) -> bool {
        self.spread.is_some_and(|spread| spread.recipients_differ())
    }

    fn query(&self, has_own: bool) -> String {
        let keys =
            self.columns.values.iter().enumerate().map(|(place, value)| format!(", {value} AS k{place}")).join("");
        // A right join keeps the order of its right side, so that places alone are put in order, and not all that is joined.
        let contacts =
            if keys.is_empty() { String::new() } else { format!("{} AS k RIGHT JOIN ", self.columns.contacts) };
        let of_contacts = if keys.is_empty() { "" } else { " ON k.recipient_id = p.recipient_id" };
        let places = format!("({contacts}({}) AS p{of_contacts})", recipient_places());
        let (columns, rows) = if has_own {
            let slots = if self.differ() { self.known.slots.len() } else { 0 };
            let each = (0..slots).map(|slot| format!(", o.n{slot}, o.e{slot}")).join("");
            (format!(", o.n{each}"), format!("{OWN} AS o RIGHT JOIN {places} ON o.recipient_id = p.recipient_id"))
        } else {
            (String::new(), places)
        };
        format!(
            "SELECT p.recipient_id, p.country, p.region, p.time_zone{keys}{columns} FROM {rows} \
             WHERE p.recipient_id IS NOT NULL ORDER BY p.recipient_id"
        )
    }
}
