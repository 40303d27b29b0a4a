//! The hours of the week: days down, hours across, and in each window the colour of its difference. A window that is
//! not legal is hatched, one with too few messages is empty: no colour is not a difference of zero.

use plotters::style::RGBColor;

use super::Language;
use super::canvas::{Canvas, Ink, Point};
use super::error::ChartError;
use super::interval_lines::{Figures, Line};
use super::palette::{FAINT, HATCH, INK, MUTED, PAPER, SHADE, diverging, readable_on};
use super::scale::{median, real_len, whole};
use super::text;
use super::week::{Block, HOURS, Standing, Week};

/// Height of the hours below the rows.
pub(super) const HOUR_MARKS: f64 = 22.0;
/// Height of a line of the legend.
pub(super) const LEGEND_LINE: f64 = 17.0;
/// Width of a sample in the legend, and of the ramp of colours.
const SAMPLE: f64 = 22.0;
const RAMP: f64 = 90.0;
const RAMP_STEPS: u8 = 30;
/// Words in a window are not written smaller than this, in pixels.
const LEAST_SIZE: f64 = 9.0;
/// Between two windows.
const GAP: f64 = 1.0;

/// Where the rows and the hours lie, and how differences become colours.
pub(super) struct HeatMap<'a> {
    week: &'a Week,
    figures: &'a Figures,
    language: Language,
    /// The left and the right edge of the day.
    span: (f64, f64),
    top: f64,
    row_height: f64,
    day_names: Vec<String>,
    /// The difference of the strongest colour.
    limit: f64,
}

impl<'a> HeatMap<'a> {
    pub(super) fn new(
        canvas: &Canvas<'_>,
        week: &'a Week,
        figures: &'a Figures,
        language: Language,
        row_height: f64,
    ) -> Self {
        let day_names: Vec<String> = week.days.iter().map(|days| language.days(*days)).collect();
        let ink = Self::day_ink(canvas);
        let hour = text::width(language.words().hour, ink.size);
        let room = text::widest(&day_names, ink.size).max(hour) + canvas.px(10.0);
        Self {
            week,
            figures,
            language,
            span: (canvas.left() + room, canvas.right()),
            top: canvas.top(),
            row_height,
            day_names,
            limit: limit(week),
        }
    }

    fn day_ink(canvas: &Canvas<'_>) -> Ink {
        canvas.label().sized(canvas.px(12.0))
    }

    /// The lower edge of the rows.
    pub(super) fn foot(&self) -> f64 {
        self.top + self.row_height * real_len(self.week.days.len())
    }

    fn at(&self, hours: u8) -> f64 {
        self.span.0 + (self.span.1 - self.span.0) * f64::from(hours) / f64::from(HOURS)
    }

    /// The rows and the hours below them.
    pub(super) fn draw(&self, canvas: &Canvas<'_>) -> Result<(), ChartError> {
        // Rows lower than their names are named now and then.
        let every = whole((0.95 * Self::day_ink(canvas).size / self.row_height).ceil()).max(1);
        for (index, name) in self.day_names.iter().enumerate().step_by(every) {
            let middle = self.top + self.row_height * (real_len(index) + 0.5);
            canvas.text(name, (canvas.left(), middle), Self::day_ink(canvas))?;
        }
        // Recommended windows last: their frames lie over their neighbours.
        for is_recommended in [false, true] {
            for block in self.week.blocks.iter().filter(|block| block.is_recommended == is_recommended) {
                self.draw_block(canvas, block)?;
            }
        }
        self.draw_hours(canvas)
    }

    fn draw_block(&self, canvas: &Canvas<'_>, block: &Block) -> Result<(), ChartError> {
        let Some(row) = self.week.days.iter().position(|days| *days == block.days) else {
            return Ok(());
        };
        let upper = self.top + self.row_height * real_len(row);
        let gap = canvas.px(GAP);
        for (place, (from, to)) in self.week.pieces(block).into_iter().enumerate() {
            let corners = ((self.at(from) + gap, upper + gap), (self.at(to) - gap, upper + self.row_height - gap));
            let look = Look::of(block, self.limit);
            look.draw(canvas, corners)?;
            if look != Look::Empty {
                for hour in from + 1..to {
                    let notch = canvas.px(3.0).min(0.2 * self.row_height);
                    let x = self.at(hour);
                    canvas.line((x, corners.1.1 - notch), (x, corners.1.1), PAPER, 1.0)?;
                }
            }
            if block.is_recommended {
                frame(canvas, corners)?;
            }
            if place == 0 {
                self.draw_words(canvas, block, look, corners)?;
            }
        }
        Ok(())
    }

    /// The difference, or why there is none, as long as it fits.
    fn draw_words(
        &self,
        canvas: &Canvas<'_>,
        block: &Block,
        look: Look,
        (from, to): (Point, Point),
    ) -> Result<(), ChartError> {
        let words = self.language.words();
        let mut choices = Vec::new();
        match block.line.estimate {
            Some(value) if block.standing == Standing::Compared => {
                let (full, bare) = (self.figures.estimate(&block.line), self.figures.bare(value));
                if block.is_recommended {
                    choices.extend([format!("★ {full}"), format!("★ {bare}")]);
                }
                choices.extend([full, bare]);
            }
            _ if block.standing == Standing::Illegal => choices.push(words.not_legal.to_owned()),
            _ => choices.extend([words.too_few, words.few].map(str::to_owned)),
        }
        let size = canvas.small().size.min(0.8 * (to.1 - from.1));
        let ink = canvas.small().centred().colored(look.ink()).sized(size);
        let room = to.0 - from.0 - canvas.px(6.0);
        let is_readable = size >= LEAST_SIZE;
        let Some(shown) = choices.iter().find(|choice| is_readable && text::width(choice, size) <= room) else {
            return Ok(());
        };
        let middle = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
        if look.is_busy() {
            let (across, down) = (text::width(shown, ink.size) / 2.0 + canvas.px(3.0), ink.size * 0.6);
            let upper = (middle.0 - across, (middle.1 - down).max(from.1));
            let lower = (middle.0 + across, (middle.1 + down).min(to.1));
            canvas.bar(upper, lower, look.ground(), 1.0)?;
        }
        canvas.text(shown, middle, ink)
    }

    /// The hours stand at the lines between them.
    fn draw_hours(&self, canvas: &Canvas<'_>) -> Result<(), ChartError> {
        let small = canvas.small().centred();
        let room = text::width("23", small.size) + canvas.px(6.0);
        let pitch = (self.span.1 - self.span.0) / f64::from(HOURS);
        let every = [1, 2, 3, 4, 6].into_iter().find(|every| f64::from(*every) * pitch >= room).unwrap_or(12_u8);
        let y = self.foot() + canvas.px(10.0);
        canvas.text(self.language.words().hour, (canvas.left(), y), canvas.small())?;
        // The picture has room for half a number beyond its last line.
        for past in (0..=HOURS).step_by(usize::from(every)) {
            let hour = (self.week.first_hour + past) % HOURS;
            canvas.text(&hour.to_string(), (self.at(past), y), small)?;
        }
        Ok(())
    }

    /// What the colours and patterns mean, in lines from `top` on; only what is in the picture.
    pub(super) fn draw_legend(&self, canvas: &Canvas<'_>, top: f64) -> Result<(), ChartError> {
        for (line, from, key) in self.legend(canvas) {
            let middle = top + canvas.px(LEGEND_LINE) * (real_len(line) + 0.5);
            key.draw(canvas, (from, middle), self)?;
        }
        Ok(())
    }

    /// How many lines the legend has.
    pub(super) fn legend_lines(&self, canvas: &Canvas<'_>) -> usize {
        self.legend(canvas).last().map_or(0, |(line, _, _)| line + 1)
    }

    /// Line and left edge of each key.
    fn legend(&self, canvas: &Canvas<'_>) -> Vec<(usize, f64, Key)> {
        let week = self.week;
        let keys = [
            (Key::Ramp, week.has(Standing::Compared)),
            (Key::Recommended, week.has_recommended()),
            (Key::Look(Look::Hatched), week.has(Standing::Illegal)),
            (Key::Look(Look::Empty), week.has(Standing::Unsupported)),
        ];
        let (mut line, mut x) = (0, canvas.left());
        let mut placed = Vec::new();
        for (key, _) in keys.into_iter().filter(|(_, is_there)| *is_there) {
            let width = key.width(canvas, self);
            if x > canvas.left() && x + width > canvas.right() {
                line += 1;
                x = canvas.left();
            }
            placed.push((line, x, key));
            x += width + canvas.px(18.0);
        }
        placed
    }

    /// The ends of the ramp in words.
    fn ramp_ends(&self) -> (String, String) {
        let unit = self.figures.unit;
        (
            self.figures.bare(-self.limit),
            format!("{}{unit} {}", self.figures.bare(self.limit), self.language.words().against),
        )
    }
}

/// The difference of the strongest colour: the largest that is shown, but no less than the typical width of an interval,
/// so that noise stays pale.
fn limit(week: &Week) -> f64 {
    let lines = || week.blocks.iter().filter(|block| block.standing == Standing::Compared).map(|block| &block.line);
    let largest = lines().filter_map(|line| line.estimate).map(f64::abs).fold(0.0, f64::max);
    let noise = median(lines().filter_map(Line::half_width).collect()).unwrap_or(0.0);
    let limit = largest.max(2.0 * noise);
    if limit > 0.0 && limit.is_finite() { limit } else { 1.0 }
}

fn frame(canvas: &Canvas<'_>, (from, to): (Point, Point)) -> Result<(), ChartError> {
    canvas.outline(from, to, INK, 2.0)
}

/// What fills a window.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Look {
    /// A share of the strongest colour, -1 to 1.
    Colored(f64),
    Hatched,
    Empty,
}

impl Look {
    fn of(block: &Block, limit: f64) -> Self {
        match (block.standing, block.line.estimate) {
            (Standing::Compared, Some(value)) => Self::Colored(value / limit),
            (Standing::Illegal, _) => Self::Hatched,
            _ => Self::Empty,
        }
    }

    fn ground(self) -> RGBColor {
        match self {
            Self::Colored(share) => diverging(share),
            Self::Hatched => SHADE,
            Self::Empty => PAPER,
        }
    }

    fn ink(self) -> RGBColor {
        match self {
            Self::Colored(share) => readable_on(diverging(share)),
            Self::Hatched | Self::Empty => MUTED,
        }
    }

    /// Would a pattern run through words?
    fn is_busy(self) -> bool {
        !matches!(self, Self::Colored(_))
    }

    fn draw(self, canvas: &Canvas<'_>, (from, to): (Point, Point)) -> Result<(), ChartError> {
        canvas.bar(from, to, self.ground(), 1.0)?;
        match self {
            Self::Colored(_) => Ok(()),
            Self::Hatched => canvas.hatch(from, to, HATCH, 7.0),
            Self::Empty => {
                let pitch = canvas.px(9.0);
                let middle = f64::midpoint(from.1, to.1);
                let mut x = from.0 + pitch / 2.0;
                while x < to.0 - pitch / 4.0 {
                    canvas.bar((x, middle), (x + canvas.px(1.0), middle + canvas.px(1.0)), FAINT, 1.0)?;
                    x += pitch;
                }
                canvas.outline(from, to, FAINT, 1.0)
            }
        }
    }
}

/// An entry of the legend.
#[derive(Debug, Clone, Copy)]
enum Key {
    Ramp,
    Recommended,
    Look(Look),
}

impl Key {
    fn words(self, language: Language) -> String {
        let words = language.words();
        match self {
            Self::Ramp => String::new(),
            Self::Recommended => format!("★ {}", words.recommended),
            Self::Look(Look::Hatched) => words.not_legal.to_owned(),
            Self::Look(_) => words.too_few.to_owned(),
        }
    }

    fn width(self, canvas: &Canvas<'_>, map: &HeatMap<'_>) -> f64 {
        let size = canvas.small().size;
        if matches!(self, Self::Ramp) {
            let (low, high) = map.ramp_ends();
            return text::width(&low, size) + text::width(&high, size) + canvas.px(RAMP + 12.0);
        }
        text::width(&self.words(map.language), size) + canvas.px(SAMPLE + 6.0)
    }

    fn draw(self, canvas: &Canvas<'_>, (from, middle): Point, map: &HeatMap<'_>) -> Result<(), ChartError> {
        let small = canvas.small();
        let half = canvas.px(5.5);
        if matches!(self, Self::Ramp) {
            let (low, high) = map.ramp_ends();
            canvas.text(&low, (from, middle), small)?;
            let start = from + text::width(&low, small.size) + canvas.px(6.0);
            let width = canvas.px(RAMP);
            for step in 0..RAMP_STEPS {
                let share = |step: u8| f64::from(step) / f64::from(RAMP_STEPS);
                let (left, right) = (start + width * share(step), start + width * share(step + 1));
                let color = diverging(2.0 * f64::midpoint(share(step), share(step + 1)) - 1.0);
                canvas.bar((left, middle - half), (right, middle + half), color, 1.0)?;
            }
            return canvas.text(&high, (start + width + canvas.px(6.0), middle), small);
        }
        let corners = ((from, middle - half), (from + canvas.px(SAMPLE), middle + half));
        match self {
            Self::Look(look) => look.draw(canvas, corners)?,
            _ => frame(canvas, corners)?,
        }
        let beside = (corners.1.0 + canvas.px(6.0), middle);
        canvas.text(&self.words(map.language), beside, small)
    }
}
