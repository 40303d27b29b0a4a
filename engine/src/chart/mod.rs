//! Charts of campaigns and experiments: plain numbers and labels in, an SVG out, and a PNG of that SVG.
//!
//! Four kinds: the funnel of campaigns, intervals around estimates (a forest plot, for lifts and for segments), click
//! rates by local hour, and send windows over the local week. Nothing here knows where the numbers come from, so that the command line, the server
//! and the notebooks draw the same picture of the same object.
//!
//! What a reader of a picture must be able to rely on:
//! - nothing is invented: missing and infinite values are never drawn as zero, and an interval without an end is an
//!   arrow;
//! - nothing overlaps: what does not fit is shortened or counted at the foot, and named in the warnings;
//! - names are drawn as they are written, Chinese and emoji too, also on a machine without fonts ([`render_png`]).

mod axis;
mod canvas;
mod coverage;
mod error;
mod fonts;
mod funnel;
mod funnel_table;
mod heat_map;
mod hours;
mod interval_lines;
mod intervals;
mod natural;
mod number;
mod palette;
pub mod pictures;
mod raster;
mod scale;
mod size;
mod text;
mod week;
mod windows;
mod words;

pub use error::ChartError;
pub use natural::{compare_groups, compare_naturally};
pub use raster::{Png, render_png};
pub use size::{ChartSize, MAX_SIDE, MIN_SIDE};
pub use words::Language;

/// A campaign, or whatever else a funnel is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunnelRow {
    /// Its name, as it is to be read.
    pub label: String,
    /// Name and count of each stage, in order: sent, delivered, clickers, converters. Shares are of the first.
    pub stages: Vec<(String, u64)>,
}

/// An arm against control, or a segment: an estimate and its interval, in the unit of the axis.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalRow {
    /// The arm or the segment.
    pub label: String,
    /// Nothing when it could not be estimated; the row is then grey and shows its detail.
    pub estimate: Option<f64>,
    /// Nothing when the interval has no lower end.
    pub low: Option<f64>,
    /// Nothing when the interval has no upper end.
    pub high: Option<f64>,
    /// Why there is no estimate, or what is worth knowing about it ("n = 12,000").
    pub detail: Option<String>,
}

/// The messages sent in one hour of the recipients' day.
#[derive(Debug, Clone, PartialEq)]
pub struct HourRow {
    /// From 0 to 23, in local time.
    pub hour: u8,
    /// Messages sent.
    pub sent: u64,
    /// Recipients who clicked.
    pub clickers: u64,
    /// Recipients whom the rate is a share of.
    pub reached: f64,
    /// Clickers among the recipients reached, a share from 0 to 1.
    pub rate: f64,
    /// Lower end of the rate's interval, a share.
    pub low: f64,
    /// Upper end of the rate's interval, a share.
    pub high: f64,
}

/// A window of the local week: what it would change to send all messages in it.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowRow {
    /// ISO numbers of the first and the last of its days: (1, 5) is Monday to Friday.
    pub days: (u8, u8),
    /// Local hour in which it begins, 0 to 23.
    pub start: u8,
    /// Local hour in which it ends, 0 to 24; not above the start for a window through midnight, which belongs to the
    /// day on which it begins.
    pub end: u8,
    /// Whether promotion may be sent all through it; otherwise it is hatched and not compared.
    pub legal: bool,
    /// Whether enough messages went out in it; otherwise it stays empty and is not compared.
    pub supported: bool,
    /// Whether it is one of the windows to use; framed, with a star.
    pub recommended: bool,
    /// Messages that were sent in it.
    pub sends: u64,
    /// Its difference to current practice, a message.
    pub difference: Option<f64>,
    /// Nothing when the interval has no lower end.
    pub low: Option<f64>,
    /// Nothing when the interval has no upper end.
    pub high: Option<f64>,
}

/// In what the values along an axis are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AxisUnit {
    /// As they are.
    Plain,
    /// Shares of something as percentages: 0.077 as 7.7 %.
    Percent,
    /// Differences between two shares in percentage points: 0.077 as 7.7 pp.
    PercentagePoints,
}

impl AxisUnit {
    /// What a value is multiplied by before it is shown.
    const fn factor(self) -> f64 {
        match self {
            Self::Plain => 1.0,
            Self::Percent | Self::PercentagePoints => 100.0,
        }
    }

    /// What follows a value that is shown.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Percent => " %",
            Self::PercentagePoints => " pp",
        }
    }
}

/// What is to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Chart {
    /// How many messages reach each stage: bars for one campaign, a table of bars for several.
    Funnel {
        /// The heading.
        title: String,
        /// What the percentages are of, in a line below the heading.
        subtitle: String,
        /// The campaigns; the largest are shown when not all fit.
        rows: Vec<FunnelRow>,
    },
    /// Estimates and their intervals against zero: lift by arm, lift by segment.
    Intervals {
        /// The heading.
        title: String,
        /// What is measured along the axis.
        axis: String,
        /// In what the values are shown.
        unit: AxisUnit,
        /// In the order in which they are to be read; the first are shown when not all fit.
        rows: Vec<IntervalRow>,
    },
    /// Click rate and messages by local hour.
    Hours {
        /// The heading.
        title: String,
        /// What the rates are of, and the level of their intervals.
        subtitle: String,
        /// The hours with messages, in any order.
        rows: Vec<HourRow>,
    },
    /// The local week: differences to current practice as a heat map, and the windows with their intervals below it.
    /// Without rows the words fill the picture: why there is no answer, and what to do.
    Windows {
        /// The heading.
        title: String,
        /// What was counted, in a line below the heading.
        subtitle: String,
        /// What to read out of it, a paragraph each, the most important first: lines below the subtitle.
        words: Vec<String>,
        /// What is measured along the axis of the intervals.
        axis: String,
        /// In what the differences are shown.
        unit: AxisUnit,
        /// In which language days and legend are written.
        language: Language,
        /// The windows, in any order; no two share an hour of the week.
        rows: Vec<WindowRow>,
    },
}

impl Chart {
    fn title(&self) -> &str {
        match self {
            Self::Funnel { title, .. }
            | Self::Intervals { title, .. }
            | Self::Hours { title, .. }
            | Self::Windows { title, .. } => title,
        }
    }
}

/// A picture as SVG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg {
    /// The document.
    pub text: String,
    /// What the picture leaves out, for the reader of the command's output.
    pub warnings: Vec<String>,
}

/// Draws a chart. The same chart and size give the same text, to the byte.
///
/// # Errors
/// [`ChartError::Size`] when the size is out of range; [`ChartError::Draw`] when the drawing library refuses, which
/// it does not do when it writes to memory.
///
/// # Examples
/// ```
/// use sendlift_engine::chart::{Chart, ChartSize, FunnelRow, draw_svg, render_png};
///
/// let chart = Chart::Funnel {
///     title: "春节特惠".to_owned(),
///     subtitle: "each % is of messages sent".to_owned(),
///     rows: vec![FunnelRow {
///         label: "SMS".to_owned(),
///         stages: vec![("sent".to_owned(), 1_000), ("clickers".to_owned(), 31)],
///     }],
/// };
/// let svg = draw_svg(&chart, ChartSize::default())?;
/// assert!(svg.text.contains("3.10 % of sent"));
/// let png = render_png(&svg.text)?;
/// assert!(png.warnings.is_empty());
/// # Ok::<(), sendlift_engine::chart::ChartError>(())
/// ```
pub fn draw_svg(chart: &Chart, size: ChartSize) -> Result<Svg, ChartError> {
    size.check()?;
    let mut drawing = String::new();
    let warnings = match chart {
        Chart::Funnel { title, subtitle, rows } => funnel::draw(&mut drawing, size, title, subtitle, rows)?,
        Chart::Intervals { title, axis, unit, rows } => intervals::draw(&mut drawing, size, title, axis, *unit, rows)?,
        Chart::Hours { title, subtitle, rows } => hours::draw(&mut drawing, size, title, subtitle, rows)?,
        Chart::Windows { title, subtitle, words, axis, unit, language, rows } => {
            let content = windows::Content { title, subtitle, words, axis, unit: *unit, language: *language, rows };
            windows::draw(&mut drawing, size, &content)?
        }
    };
    Ok(Svg { text: with_title(&drawing, chart.title()), warnings })
}

/// Gives the document its title, whole, for those who hear the picture rather than see it.
fn with_title(drawing: &str, title: &str) -> String {
    let Some((opening, rest)) = drawing.split_once('>') else {
        return drawing.to_owned();
    };
    let escaped = text::clean(title).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("{opening} role=\"img\">\n<title>{escaped}</title>{rest}")
}

#[cfg(test)]
mod tests;
