//! The one place that draws: a frame with a title, and lines, bars, dots and text on it, in pixels, through plotters
//! into an SVG. Everything grows with the picture, so that 1600 by 1000 is 800 by 500 seen closer.
//!
//! Plotters measures no text in this build (its `ttf` feature needs system libraries), so its own axes and legends
//! are not used: [`super::text`] estimates widths, and each chart lays itself out.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor};

use super::error::ChartError;
use super::palette::{INK, MUTED, PAPER};
use super::scale::{pixel, real_len, whole};
use super::size::ChartSize;
use super::text;

/// A browser takes the first of these that the viewer has; resvg is told to take the bundled face.
const FAMILY: &str = "Noto Sans SC, Noto Sans CJK SC, sans-serif";

/// Plotters divides a font's size by this before it writes it.
const PLOTTERS_FONT_SIZE: f64 = 1.24;

/// The size that the measures in the charts are written for.
const NOMINAL: ChartSize = ChartSize { width: 800, height: 500 };

/// Across and down, from the upper left corner, in pixels.
pub(super) type Point = (f64, f64);

/// How a text is written: its middle is at the height asked for, and it begins, ends or is centred there.
#[derive(Clone, Copy)]
pub(super) struct Ink {
    /// Font size in pixels.
    pub(super) size: f64,
    color: RGBColor,
    anchor: HPos,
}

impl Ink {
    pub(super) fn muted(self) -> Self {
        Self { color: MUTED, ..self }
    }

    pub(super) fn colored(self, color: RGBColor) -> Self {
        Self { color, ..self }
    }

    /// At a font size in pixels.
    pub(super) fn sized(self, size: f64) -> Self {
        Self { size, ..self }
    }

    /// The text ends where it is put.
    pub(super) fn ending(self) -> Self {
        Self { anchor: HPos::Right, ..self }
    }

    pub(super) fn centred(self) -> Self {
        Self { anchor: HPos::Center, ..self }
    }
}

/// Rows that fit below each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// How many are shown, at least one.
    pub(super) shown: usize,
    /// Height of each in pixels.
    pub(super) height: f64,
}

/// A picture being drawn.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    width: f64,
    height: f64,
    scale: f64,
    top: f64,
}

impl<'a> Canvas<'a> {
    /// White paper with the title at the upper left, and below it a line for each subtitle that is not empty.
    pub(super) fn open(
        buffer: &'a mut String,
        size: ChartSize,
        title: &str,
        subtitles: &[&str],
    ) -> Result<Self, ChartError> {
        let area = SVGBackend::with_string(buffer, (size.width, size.height)).into_drawing_area();
        area.fill(&PAPER)?;
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let across = width / f64::from(NOMINAL.width);
        let down = height / f64::from(NOMINAL.height);
        let mut canvas = Self {
            area,
            width,
            height,
            // Below 0.8, text would be smaller than 10 pixels.
            scale: across.min(down).max(0.8),
            top: 0.0,
        };
        let room = canvas.right() - canvas.left();
        let heading = canvas.label().sized(canvas.px(18.0));
        let shown = text::shorten(&text::clean(title), room, heading.size);
        canvas.text(&shown, (canvas.left(), canvas.px(26.0)), heading)?;
        canvas.top = canvas.px(50.0);
        let label = canvas.label().muted();
        for (index, subtitle) in subtitles.iter().filter(|line| !line.is_empty()).enumerate() {
            let below = 19.0 * real_len(index);
            let shown = text::shorten(&text::clean(subtitle), room, label.size);
            canvas.text(&shown, (canvas.left(), canvas.px(48.0 + below)), label)?;
            canvas.top = canvas.px(68.0 + below);
        }
        Ok(canvas)
    }

    /// Ends the picture.
    pub(super) fn close(self) -> Result<(), ChartError> {
        Ok(self.area.present()?)
    }

    /// Goes on below a height: what was above it is taken.
    pub(super) fn start_below(&mut self, y: f64) {
        self.top = y;
    }

    /// Ends a picture that has nothing to show.
    pub(super) fn close_empty(self) -> Result<(), ChartError> {
        let middle = (self.width / 2.0, f64::midpoint(self.top, self.bottom(false)));
        let ink = self.label().sized(self.px(16.0)).muted().centred();
        self.text("no data yet", middle, ink)?;
        self.close()
    }

    /// A measure of the nominal picture in the pixels of this one.
    pub(super) fn px(&self, nominal: f64) -> f64 {
        nominal * self.scale
    }

    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// The height in nominal pixels: how much fits below each other.
    pub(super) fn nominal_height(&self) -> f64 {
        self.height / self.scale
    }

    pub(super) fn left(&self) -> f64 {
        self.px(20.0)
    }

    pub(super) fn right(&self) -> f64 {
        self.width - self.px(20.0)
    }

    /// The first free pixel below the title.
    pub(super) fn top(&self) -> f64 {
        self.top
    }

    /// The last free pixel, above the note if there is one.
    pub(super) fn bottom(&self, is_noted: bool) -> f64 {
        self.height - self.px(if is_noted { 32.0 } else { 16.0 })
    }

    /// Names and values.
    pub(super) fn label(&self) -> Ink {
        Ink { size: self.px(13.0), color: INK, anchor: HPos::Left }
    }

    /// Axis labels, details and notes.
    pub(super) fn small(&self) -> Ink {
        Ink { size: self.px(11.5), color: MUTED, anchor: HPos::Left }
    }

    /// How many of `count` rows fit in `space` pixels, each between `least` and `most` nominal pixels high.
    pub(super) fn fit(&self, count: usize, space: f64, (least, most): (f64, f64)) -> Rows {
        let shown = whole(space / self.px(least)).clamp(1, count.max(1));
        Rows { shown, height: (space / real_len(shown)).min(self.px(most)) }
    }

    /// The line at the foot.
    pub(super) fn note(&self, note: &str) -> Result<(), ChartError> {
        let ink = self.small();
        let shown = text::shorten(&text::clean(note), self.right() - self.left(), ink.size);
        self.text(&shown, (self.left(), self.height - self.px(16.0)), ink)
    }

    pub(super) fn text(&self, text: &str, (x, y): Point, ink: Ink) -> Result<(), ChartError> {
        if text.is_empty() {
            return Ok(());
        }
        let style = (FAMILY, ink.size * PLOTTERS_FONT_SIZE)
            .into_font()
            .color(&ink.color)
            .pos(Pos::new(ink.anchor, VPos::Center));
        Ok(self.area.draw_text(text, &style, (pixel(x), pixel(y)))?)
    }

    /// A filled rectangle, without an outline. `opacity` is from 0 to 1.
    pub(super) fn bar(
        &self,
        (left, top): Point,
        (right, bottom): Point,
        color: RGBColor,
        opacity: f64,
    ) -> Result<(), ChartError> {
        let corners = [(pixel(left), pixel(top)), (pixel(right), pixel(bottom))];
        let style = color.mix(opacity).filled();
        Ok(self.area.draw(&Rectangle::new(corners, style))?)
    }

    /// The edges of a rectangle, `stroke` nominal pixels wide.
    pub(super) fn outline(
        &self,
        (left, top): Point,
        (right, bottom): Point,
        color: RGBColor,
        stroke: f64,
    ) -> Result<(), ChartError> {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        corners.windows(2).try_for_each(|edge| match edge {
            [from, to] => self.line(*from, *to, color, stroke),
            _ => Ok(()),
        })
    }

    /// Slanted lines across a rectangle, `pitch` nominal pixels apart.
    pub(super) fn hatch(
        &self,
        (left, top): Point,
        (right, bottom): Point,
        color: RGBColor,
        pitch: f64,
    ) -> Result<(), ChartError> {
        let (width, height) = (right - left, bottom - top);
        let step = self.px(pitch).max(2.0);
        // A line from the foot at `foot` rises to the right at 45 degrees; the parts outside are cut off.
        let mut foot = step - height;
        while foot < width {
            let (from, to) = (foot.max(0.0), (foot + height).min(width));
            if to > from {
                let rise = |across: f64| bottom - (across - foot);
                self.line((left + from, rise(from)), (left + to, rise(to)), color, 1.0)?;
            }
            foot += step;
        }
        Ok(())
    }

    /// A straight line, `stroke` nominal pixels wide.
    pub(super) fn line(
        &self,
        (from_x, from_y): Point,
        (to_x, to_y): Point,
        color: RGBColor,
        stroke: f64,
    ) -> Result<(), ChartError> {
        let points = vec![(pixel(from_x), pixel(from_y)), (pixel(to_x), pixel(to_y))];
        let width = u32::try_from(pixel(self.px(stroke))).unwrap_or(1).max(1);
        let style = color.stroke_width(width);
        Ok(self.area.draw(&PathElement::new(points, style))?)
    }

    /// A filled disc, `radius` nominal pixels from its middle to its edge.
    pub(super) fn dot(&self, (x, y): Point, radius: f64, color: RGBColor) -> Result<(), ChartError> {
        let size = pixel(self.px(radius)).max(2);
        let middle = (pixel(x), pixel(y));
        Ok(self.area.draw(&Circle::new(middle, size, color.filled()))?)
    }

    /// A filled triangle.
    pub(super) fn triangle(&self, corners: [Point; 3], color: RGBColor) -> Result<(), ChartError> {
        let points: Vec<(i32, i32)> = corners.iter().map(|(x, y)| (pixel(*x), pixel(*y))).collect();
        Ok(self.area.draw(&Polygon::new(points, color.filled()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hatching_stays_inside_whatever_the_shape() -> Result<(), ChartError> {
        for (right, bottom) in [(300.0, 120.0), (110.0, 400.0), (102.0, 101.0), (100.0, 100.0)] {
            let mut svg = String::new();
            let canvas = Canvas::open(&mut svg, NOMINAL, "", &[])?;
            canvas.hatch((100.0, 100.0), (right, bottom), INK, 6.0)?;
            canvas.close()?;
            let lines: Vec<&str> = svg.split("points=\"").skip(1).filter_map(|it| it.split('"').next()).collect();
            assert_eq!(lines.len() > 4, right * bottom > 25_000.0, "{svg}");
            for point in lines.iter().flat_map(|line| line.split_whitespace()) {
                let place = point.split_once(',').and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
                let Some((x, y)): Option<(f64, f64)> = place else { panic!("{point}") };
                assert!((100.0..=right).contains(&x) && (100.0..=bottom).contains(&y), "{point} in {svg}");
            }
        }
        Ok(())
    }
}
