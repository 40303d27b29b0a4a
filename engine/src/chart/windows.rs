//! Send windows: above, the week as a heat map of differences to current practice; below, the same windows with their
//! intervals and how many messages they rest on, in the order of the week, so that neither picture is a ranking.
//!
//! Where hours cannot be told from campaigns there are no windows: the picture is then a page that says so.

use super::axis::{self, Axis};
use super::canvas::Canvas;
use super::error::ChartError;
use super::heat_map::{self, HeatMap};
use super::interval_lines::{Figures, axis_ends};
use super::number::{compact, counted, thousands};
use super::palette::{BAND, MUTED, ORANGE};
use super::scale::{real_len, whole};
use super::size::ChartSize;
use super::text;
use super::week::{Block, Standing, Week};
use super::{AxisUnit, Language, WindowRow};

/// Least and most height of a row of the heat map, and of one that has the picture to itself.
const MAP_ROW: (f64, f64) = (14.5, 26.0);
const LONE_MAP_ROW: f64 = 56.0;
/// Least and most height of a row with an interval.
const ROW: (f64, f64) = (14.0, 26.0);
/// Height of the words over the columns.
const HEAD: f64 = 16.0;
/// Between the legend and the intervals.
const SPACE: f64 = 8.0;
const GAP: f64 = 14.0;
/// Height of a line of words.
const LINE: f64 = 18.0;

/// What is to be drawn, as [`super::Chart::Windows`] has it.
pub(super) struct Content<'a> {
    pub(super) title: &'a str,
    pub(super) subtitle: &'a str,
    pub(super) words: &'a [String],
    pub(super) axis: &'a str,
    pub(super) unit: AxisUnit,
    pub(super) language: Language,
    pub(super) rows: &'a [WindowRow],
}

/// Draws the week into `buffer`; the warnings say what was left out.
pub(super) fn draw(buffer: &mut String, size: ChartSize, content: &Content<'_>) -> Result<Vec<String>, ChartError> {
    let mut canvas = Canvas::open(buffer, size, content.title, &[content.subtitle])?;
    let week = Week::new(content.rows, content.unit, content.language);
    let mut warnings = Vec::new();
    if week.refused > 0 {
        let windows = counted(week.refused, "window");
        warnings.push(format!("{windows} left out: days or hours that there are not, or that another window has"));
    }
    let words: Vec<String> = content.words.iter().map(|it| text::clean(it)).filter(|it| !it.is_empty()).collect();
    if week.blocks.is_empty() {
        if words.is_empty() {
            canvas.close_empty()?;
        } else {
            warnings.extend(draw_page(&canvas, &words)?);
            canvas.close()?;
        }
        return Ok(warnings);
    }
    warnings.extend(draw_words(&mut canvas, &words)?);
    warnings.extend(draw_week(&canvas, &week, content)?);
    canvas.close()?;
    Ok(warnings)
}

const CUT: &str = "the words in the picture are cut short: ask for a larger picture";

/// Font sizes of a page: its heading and its text, and the height of a line as a share of either.
const PAGE: [(f64, f64); 3] = [(19.0, 15.5), (17.0, 14.0), (16.0, 13.0)];
const PAGE_LINE: f64 = 1.5;

/// A page of words: the first paragraph as a heading, the others below it, as large as all of them fit.
fn draw_page(canvas: &Canvas<'_>, words: &[String]) -> Result<Option<String>, ChartError> {
    let (left, right) = (canvas.left() + canvas.px(22.0), canvas.right() - canvas.px(16.0));
    let (top, bottom) = (canvas.top() + canvas.px(4.0), canvas.bottom(false));
    let (inset, between) = (canvas.px(12.0), canvas.px(11.0));
    let laid_out = |(heading, plain): (f64, f64)| {
        let mut y = top + inset;
        let mut lines = Vec::new();
        for (index, paragraph) in words.iter().enumerate() {
            let size = canvas.px(if index == 0 { heading } else { plain });
            let height = PAGE_LINE * size;
            let fitting = whole((bottom - inset - y) / height);
            let (found, is_cut) = text::wrap(paragraph, right - left, size, fitting);
            for line in found {
                lines.push((line, y + height / 2.0, size));
                y += height;
            }
            if is_cut {
                return (lines, bottom, true);
            }
            y += between;
        }
        (lines, y - between + inset, false)
    };
    let smallest = || laid_out(PAGE[PAGE.len() - 1]);
    let (lines, foot, is_cut) = PAGE.into_iter().map(laid_out).find(|(_, _, is_cut)| !is_cut).unwrap_or_else(smallest);
    canvas.bar((canvas.left(), top), (canvas.right(), foot), BAND, 1.0)?;
    canvas.bar((canvas.left(), top), (canvas.left() + canvas.px(5.0), foot), ORANGE, 1.0)?;
    for (line, y, size) in lines {
        canvas.text(&line, (left, y), canvas.label().sized(size))?;
    }
    Ok(is_cut.then(|| CUT.to_owned()))
}

/// A few lines below the title: the first paragraph in ink, the others muted.
fn draw_words(canvas: &mut Canvas<'_>, words: &[String]) -> Result<Option<String>, ChartError> {
    let height = canvas.nominal_height();
    let mut left = if height < 420.0 {
        1
    } else if height < 600.0 {
        2
    } else {
        4
    };
    let mut is_cut = false;
    let mut y = canvas.top();
    for (index, paragraph) in words.iter().enumerate() {
        let ink = if index == 0 { canvas.label() } else { canvas.label().muted() };
        let (lines, is_shortened) = text::wrap(paragraph, canvas.right() - canvas.left(), ink.size, left);
        is_cut |= is_shortened;
        for line in &lines {
            canvas.text(line, (canvas.left(), y), ink)?;
            y += canvas.px(LINE);
        }
        left -= lines.len();
    }
    // The rows begin half a line below the middle of the last one.
    canvas.start_below(if words.is_empty() { y } else { y + canvas.px(2.0) });
    Ok(is_cut.then(|| CUT.to_owned()))
}

/// The heat map and, where they have room, the intervals.
fn draw_week(canvas: &Canvas<'_>, week: &Week, content: &Content<'_>) -> Result<Vec<String>, ChartError> {
    let words = content.language.words();
    let mut compared: Vec<&Block> = week.blocks.iter().filter(|block| block.standing == Standing::Compared).collect();
    let lines = || week.blocks.iter().filter(|block| block.standing == Standing::Compared).map(|block| &block.line);
    let figures = Figures::new(lines(), content.unit.suffix());
    let ends = axis_ends(lines());
    let is_beyond = lines().any(|line| line.is_beyond(ends));

    let height_of_map = |row: f64| HeatMap::new(canvas, week, &figures, content.language, row);
    let legend = canvas.px(heat_map::LEGEND_LINE) * real_len(height_of_map(1.0).legend_lines(canvas));
    let below_rows = canvas.px(heat_map::HOUR_MARKS) + legend;
    // The foot is kept free for a note: nearly every week has a night.
    let room = canvas.bottom(true) - canvas.top() - below_rows;
    let around_rows = canvas.px(SPACE + HEAD + axis::HEIGHT);
    let days = real_len(week.days.len());
    let wanted = around_rows + canvas.px(ROW.0) * real_len(compared.len());
    let map_row = ((room - wanted) / days).clamp(canvas.px(MAP_ROW.0), canvas.px(MAP_ROW.1));
    let room_below = room - map_row * days - around_rows;
    let fitting = whole(room_below / canvas.px(ROW.0)).min(compared.len());

    let mut warnings = Vec::new();
    let mut notes = Vec::new();
    let is_alone = fitting < compared.len().min(2) || compared.is_empty();
    // Without intervals the map takes the room, less a line that may say why there are none.
    let lone_row = ((room - canvas.px(SPACE + LINE)) / days).min(canvas.px(LONE_MAP_ROW));
    let map = height_of_map(if is_alone { lone_row } else { map_row });
    map.draw(canvas)?;
    let legend_top = map.foot() + canvas.px(heat_map::HOUR_MARKS);
    map.draw_legend(canvas, legend_top)?;
    if is_alone {
        if compared.is_empty() {
            let below = (canvas.left(), legend_top + legend + canvas.px(SPACE + LINE / 2.0));
            let why = if week.has(Standing::Unsupported) { words.nothing_to_compare } else { words.nothing_legal };
            let shown = text::shorten(why, canvas.right() - canvas.left(), canvas.label().size);
            canvas.text(&shown, below, canvas.label())?;
        } else {
            warnings.push("the windows with their intervals are not drawn: ask for a higher picture".to_owned());
        }
    } else {
        if fitting < compared.len() {
            let more = compared.len() - fitting;
            notes.push(content.language.more_windows(more));
            let windows = counted(more, "window");
            warnings.push(format!("{windows} with fewer messages not drawn below: ask for a higher picture"));
            compared = most_telling(&compared, fitting);
        }
        if is_beyond {
            notes.push(words.arrow.to_owned());
        }
        let row_height = (room_below / real_len(fitting)).min(canvas.px(ROW.1));
        let top = legend_top + legend + canvas.px(SPACE + HEAD);
        let forest = Forest::new(canvas, &compared, &figures, (top, row_height), words.messages);
        forest.draw(canvas, ends, content.axis, &figures)?;
    }
    if week.has_night() {
        notes.push(words.night.to_owned());
    }
    draw_notes(canvas, &notes, words.semicolon)?;
    Ok(warnings)
}

/// The recommended windows and those with most messages, as many as fit, in their order.
fn most_telling<'a>(blocks: &[&'a Block], fitting: usize) -> Vec<&'a Block> {
    let mut places: Vec<usize> = (0..blocks.len()).collect();
    let rank = |place: &usize| blocks.get(*place).map(|block| (block.is_recommended, block.sends));
    places.sort_by_key(|place| std::cmp::Reverse(rank(place)));
    places.truncate(fitting);
    places.sort_unstable();
    places.iter().filter_map(|place| blocks.get(*place).copied()).collect()
}

/// As many notes as have room in the line at the foot.
fn draw_notes(canvas: &Canvas<'_>, notes: &[String], between: &str) -> Result<(), ChartError> {
    let room = canvas.right() - canvas.left();
    let fits = |count: usize| text::width(&notes[..count].join(between), canvas.small().size) <= room;
    let count = (1..=notes.len()).rev().find(|count| fits(*count)).unwrap_or(notes.len().min(1));
    canvas.note(&notes[..count].join(between))
}

/// How something of a window is written.
type Write<'a> = &'a dyn Fn(&Block) -> String;

/// The windows below each other with their intervals.
struct Forest<'a> {
    blocks: &'a [&'a Block],
    top: f64,
    row_height: f64,
    labels: Vec<String>,
    /// The left and the right edge of the plot.
    span: (f64, f64),
    values: Vec<String>,
    /// Where the values end.
    values_end: f64,
    sends: Vec<String>,
    head: &'static str,
}

impl<'a> Forest<'a> {
    fn new(
        canvas: &Canvas<'_>,
        blocks: &'a [&'a Block],
        figures: &Figures,
        (top, row_height): (f64, f64),
        head: &'static str,
    ) -> Self {
        let size = canvas.small().size;
        let names: Vec<&str> = blocks.iter().map(|block| block.line.label.as_str()).collect();
        let labels = text::shorten_all(&names, 0.34 * canvas.width(), size);
        let from = canvas.left() + text::widest(&labels, size) + canvas.px(GAP);
        let of_each = |write: Write<'_>| blocks.iter().map(|block| write(block)).collect();
        let full = |block: &Block| figures.estimate_and_interval(&block.line);
        let brief = |block: &Block| figures.estimate(&block.line);
        let none = |_: &Block| String::new();
        let exact = |block: &Block| thousands(block.sends);
        let short = |block: &Block| compact(block.sends);
        let columns = |values: Vec<String>, sends: Vec<String>| {
            let room = |texts: &[String], least: f64| {
                let widest = text::widest(texts, size);
                if widest > 0.0 { widest.max(least) + canvas.px(GAP) } else { 0.0 }
            };
            let values_end = canvas.right() - room(&sends, text::width(head, size));
            let to = values_end - room(&values, 0.0);
            Self { blocks, top, row_height, labels: labels.clone(), span: (from, to), values, values_end, sends, head }
        };
        // On a narrow picture the intervals in numbers give way first, then the estimates, and the counts last.
        let choices: [(Write<'_>, Write<'_>); 4] =
            [(&full, &exact), (&brief, &exact), (&brief, &short), (&none, &short)];
        choices
            .into_iter()
            .map(|(values, sends)| columns(of_each(values), of_each(sends)))
            .find(|choice| choice.span.1 - choice.span.0 >= 0.34 * canvas.width())
            .unwrap_or_else(|| columns(Vec::new(), Vec::new()))
    }

    fn draw(&self, canvas: &Canvas<'_>, ends: (f64, f64), title: &str, figures: &Figures) -> Result<(), ChartError> {
        let foot = self.top + self.row_height * real_len(self.blocks.len());
        let margin = canvas.px(6.0);
        for index in (0..self.blocks.len()).step_by(2) {
            let upper = self.top + self.row_height * real_len(index);
            let from = (canvas.left() - margin, upper);
            canvas.bar(from, (canvas.right() + margin, upper + self.row_height), BAND, 1.0)?;
        }
        let axis = Axis::new(ends, self.span);
        axis.draw_marks(canvas, (self.top, foot), figures.unit)?;
        axis.draw_title(canvas, title, foot)?;
        let small = canvas.small();
        if !self.sends.is_empty() {
            canvas.text(self.head, (canvas.right(), self.top - canvas.px(8.5)), small.ending())?;
        }
        let ink = canvas.label().sized(small.size);
        for (index, block) in self.blocks.iter().enumerate() {
            let middle = self.top + self.row_height * (real_len(index) + 0.5);
            let at = |texts: &'_ [String]| texts.get(index).cloned().unwrap_or_default();
            canvas.text(&at(&self.labels), (canvas.left(), middle), ink)?;
            canvas.text(&at(&self.values), (self.values_end, middle), ink.ending())?;
            canvas.text(&at(&self.sends), (canvas.right(), middle), ink.colored(MUTED).ending())?;
            if let Some(estimate) = block.line.estimate {
                axis.draw_interval(canvas, &block.line, estimate, middle)?;
            }
        }
        Ok(())
    }
}
