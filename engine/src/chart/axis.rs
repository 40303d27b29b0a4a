//! The axis under intervals: its marks, the line of no difference, and the intervals along it.

use super::canvas::Canvas;
use super::error::ChartError;
use super::interval_lines::Line;
use super::number::signed;
use super::palette::{INK, RULE};
use super::scale::{Scale, Ticks, ticks};
use super::text;

/// Height of the tick labels and the axis title, in nominal pixels.
pub(super) const HEIGHT: f64 = 44.0;
/// Half the height of an interval's caps and arrows.
const CAP: f64 = 5.0;

/// A horizontal axis of differences.
pub(super) struct Axis {
    /// The values at its ends.
    ends: (f64, f64),
    /// The pixels at its ends.
    span: (f64, f64),
    scale: Scale,
}

impl Axis {
    pub(super) fn new(ends: (f64, f64), span: (f64, f64)) -> Self {
        Self { ends, span, scale: Scale::new(ends, span) }
    }

    /// The marks through the rows between two heights, their values below, and the line of no difference.
    pub(super) fn draw_marks(
        &self,
        canvas: &Canvas<'_>,
        (top, foot): (f64, f64),
        unit: &str,
    ) -> Result<(), ChartError> {
        let small = canvas.small();
        let (marks, labels) = self.marks(canvas, unit);
        for (value, label) in marks.values.iter().zip(&labels) {
            let x = self.scale.at(*value);
            canvas.line((x, top), (x, foot), RULE, 1.0)?;
            let below = (x, foot + canvas.px(14.0));
            canvas.text(label, below, small.centred())?;
        }
        let zero = self.scale.at(0.0);
        let over = canvas.px(4.0);
        canvas.line((zero, top - over), (zero, foot + over), INK, 1.0)
    }

    /// What is measured, below the marks: under the plot, but not beyond the edges of the picture.
    pub(super) fn draw_title(&self, canvas: &Canvas<'_>, title: &str, foot: f64) -> Result<(), ChartError> {
        let ink = canvas.label().muted().centred();
        let room = canvas.right() - canvas.left();
        let title = text::shorten(&text::clean(title), room, ink.size);
        let half = text::width(&title, ink.size) / 2.0;
        let centre = f64::midpoint(self.span.0, self.span.1).max(canvas.left() + half).min(canvas.right() - half);
        canvas.text(&title, (centre, foot + canvas.px(33.0)), ink)
    }

    /// As many tick marks as have room for their labels.
    fn marks(&self, canvas: &Canvas<'_>, unit: &str) -> (Ticks, Vec<String>) {
        let (low, high) = self.ends;
        let label_all = |marks: &Ticks| -> Vec<String> {
            let values = marks.values.iter();
            values.map(|value| format!("{}{unit}", signed(*value, marks.decimals))).collect()
        };
        let fits = |marks: &Ticks| {
            let widest = text::widest(&label_all(marks), canvas.small().size);
            widest + canvas.px(16.0) <= self.scale.length(marks.step)
        };
        let marks = (2..=9).rev().map(|most| ticks(low, high, most)).find(fits).unwrap_or_else(|| ticks(low, high, 1));
        let labels = label_all(&marks);
        (marks, labels)
    }

    /// An estimate as a dot and its interval as a line with caps; an end that is missing or beyond the axis is an arrow.
    pub(super) fn draw_interval(
        &self,
        canvas: &Canvas<'_>,
        line: &Line,
        estimate: f64,
        middle: f64,
    ) -> Result<(), ChartError> {
        let color = line.color();
        let (axis_low, axis_high) = self.ends;
        let from = self.scale.at(line.low.unwrap_or(axis_low));
        let to = self.scale.at(line.high.unwrap_or(axis_high));
        canvas.line((from, middle), (to, middle), color, 2.0)?;

        let cap = canvas.px(CAP);
        let is_low_beyond = line.low.is_none_or(|low| low < axis_low);
        let is_high_beyond = line.high.is_none_or(|high| high > axis_high);
        for (x, is_beyond, outward) in [(from, is_low_beyond, -1.0), (to, is_high_beyond, 1.0)] {
            if is_beyond {
                let tip = (x + outward * canvas.px(2.0), middle);
                let back = x - outward * canvas.px(7.0);
                canvas.triangle([tip, (back, middle - cap), (back, middle + cap)], color)?;
            } else {
                canvas.line((x, middle - cap), (x, middle + cap), color, 2.0)?;
            }
        }
        canvas.dot((self.scale.at(estimate), middle), CAP, color)
    }
}
