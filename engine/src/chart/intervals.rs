//! The forest plot: a row an arm or a segment, its estimate as a dot, its interval as a line with caps, against the
//! line of no difference. What the picture cannot show exactly, the numbers at the right say.
//!
//! A missing end is unbounded and drawn as an arrow, and so is an interval that would squeeze the others
//! ([`super::scale::reach`]). A row without an estimate keeps its place, in grey, and says why.

use super::axis::{self, Axis};
use super::canvas::Canvas;
use super::error::ChartError;
use super::interval_lines::{Figures, Line, axis_ends};
use super::number::counted;
use super::palette::{BAND, PAPER};
use super::scale::real_len;
use super::size::ChartSize;
use super::text;
use super::{AxisUnit, IntervalRow};

/// Least and most height of a row.
const ROW: (f64, f64) = (22.0, 100.0);
const GAP: f64 = 14.0;
/// From this height on, a row has a second line for its detail.
const TWO_LINES: f64 = 36.0;

/// Draws the rows into `buffer`; the warnings say what was left out.
pub(super) fn draw(
    buffer: &mut String,
    size: ChartSize,
    title: &str,
    axis_title: &str,
    unit: AxisUnit,
    rows: &[IntervalRow],
) -> Result<Vec<String>, ChartError> {
    let canvas = Canvas::open(buffer, size, title, &[])?;
    if rows.is_empty() {
        canvas.close_empty()?;
        return Ok(Vec::new());
    }
    let lines: Vec<Line> = rows.iter().map(|row| Line::new(row, unit.factor())).collect();
    let ends = axis_ends(&lines);
    let figures = Figures::new(&lines, unit.suffix());

    let space = |is_noted| canvas.bottom(is_noted) - canvas.top() - canvas.px(axis::HEIGHT);
    let is_cut = lines.iter().any(|line| line.is_beyond(ends));
    let mut fit = canvas.fit(lines.len(), space(is_cut), ROW);
    let mut warnings = Vec::new();
    let mut notes = Vec::new();
    if fit.shown < lines.len() {
        fit = canvas.fit(lines.len(), space(true), ROW);
        let note = format!("and {}", counted(lines.len() - fit.shown, "more row"));
        warnings.push(format!("{note} not drawn: ask for a higher picture"));
        notes.push(note);
    }
    if is_cut {
        notes.push("an arrow: the interval goes on beyond the axis".to_owned());
    }

    let shown = lines.get(..fit.shown).unwrap_or(&lines);
    let plan = Plan::new(&canvas, shown, &figures, ends, fit.height);
    plan.draw_bands(&canvas, shown.len())?;
    // Without any estimate there is nothing to measure along an axis.
    if lines.iter().any(|line| line.estimate.is_some()) {
        plan.axis.draw_marks(&canvas, (canvas.top(), plan.foot), figures.unit)?;
        plan.axis.draw_title(&canvas, axis_title, plan.foot)?;
    }
    for (index, line) in shown.iter().enumerate() {
        plan.draw_label(&canvas, index, line)?;
        if let Some(estimate) = line.estimate {
            plan.axis.draw_interval(&canvas, line, estimate, plan.middle(&canvas, index))?;
        } else {
            plan.draw_reason(&canvas, index, line)?;
        }
    }
    if !notes.is_empty() {
        canvas.note(&notes.join("; "))?;
    }
    canvas.close()?;
    Ok(warnings)
}

/// The three columns: labels, the plot between `from` and `to`, values.
struct Columns {
    labels: Vec<String>,
    /// Width of the labels and their details.
    label_room: f64,
    from: f64,
    to: f64,
    values: Vec<String>,
}

/// Where everything goes.
struct Plan {
    columns: Columns,
    row_height: f64,
    /// The lower edge of the last row.
    foot: f64,
    axis: Axis,
}

impl Plan {
    fn new(canvas: &Canvas<'_>, lines: &[Line], figures: &Figures, ends: (f64, f64), row_height: f64) -> Self {
        let size = canvas.label().size;
        let names: Vec<&str> = lines.iter().map(|line| line.label.as_str()).collect();
        let details: Vec<&str> = lines
            .iter()
            .filter(|line| line.estimate.is_some() && row_height >= canvas.px(TWO_LINES))
            .filter_map(|line| line.detail.as_deref())
            .collect();
        let detail_room = text::widest(&details, canvas.small().size);
        let columns = |share: f64, values: Vec<String>| -> Columns {
            let most = share * canvas.width();
            let labels = text::shorten_all(&names, most, size);
            let label_room = text::widest(&labels, size).max(detail_room.min(most));
            Columns {
                from: canvas.left() + label_room + canvas.px(GAP),
                to: canvas.right() - text::widest(&values, size) - canvas.px(GAP),
                labels,
                label_room,
                values,
            }
        };

        // On a narrow picture, the intervals in numbers give way first, then the labels, then the estimates.
        let full = lines.iter().map(|line| figures.estimate_and_interval(line));
        let brief = || -> Vec<String> { lines.iter().map(|line| figures.estimate(line)).collect() };
        let is_wide = |choice: &Columns| choice.to - choice.from >= 0.36 * canvas.width();
        let chosen = Some(columns(0.32, full.collect()))
            .filter(is_wide)
            .or_else(|| Some(columns(0.32, brief())).filter(is_wide))
            .or_else(|| Some(columns(0.25, brief())).filter(is_wide))
            .unwrap_or_else(|| columns(0.25, vec![String::new(); lines.len()]));
        let axis = Axis::new(ends, (chosen.from, chosen.to));
        Self { columns: chosen, row_height, foot: canvas.top() + row_height * real_len(lines.len()), axis }
    }

    fn middle(&self, canvas: &Canvas<'_>, index: usize) -> f64 {
        canvas.top() + self.row_height * (real_len(index) + 0.5)
    }

    /// Every second row lies on a grey band, which leads the eye from the label to the value.
    fn draw_bands(&self, canvas: &Canvas<'_>, count: usize) -> Result<(), ChartError> {
        let margin = canvas.px(6.0);
        for index in (0..count).step_by(2) {
            let upper = canvas.top() + self.row_height * real_len(index);
            let from = (canvas.left() - margin, upper);
            let to = (canvas.right() + margin, upper + self.row_height);
            canvas.bar(from, to, BAND, 1.0)?;
        }
        Ok(())
    }

    fn draw_label(&self, canvas: &Canvas<'_>, index: usize, line: &Line) -> Result<(), ChartError> {
        let middle = self.middle(canvas, index);
        let label = canvas.label();
        let name = self.columns.labels.get(index).map_or("", String::as_str);
        if line.estimate.is_none() {
            return canvas.text(name, (canvas.left(), middle), label.muted());
        }
        let value = self.columns.values.get(index).map_or("", String::as_str);
        canvas.text(value, (canvas.right(), middle), label.ending())?;
        match &line.detail {
            Some(detail) if self.row_height >= canvas.px(TWO_LINES) => {
                let small = canvas.small();
                let shown = text::shorten(detail, self.columns.label_room, small.size);
                let above = (canvas.left(), middle - canvas.px(8.0));
                canvas.text(name, above, label)?;
                canvas.text(&shown, (canvas.left(), middle + canvas.px(9.0)), small)
            }
            _ => canvas.text(name, (canvas.left(), middle), label),
        }
    }

    /// Why a row has no estimate, over the plot and the values, with the grid wiped away behind it.
    fn draw_reason(&self, canvas: &Canvas<'_>, index: usize, line: &Line) -> Result<(), ChartError> {
        let middle = self.middle(canvas, index);
        let small = canvas.small();
        let reason = line.detail.as_deref().unwrap_or("no estimate");
        let shown = text::shorten(reason, canvas.right() - self.columns.from, small.size);
        let half = canvas.px(9.0);
        let end = self.columns.from + text::width(&shown, small.size) + canvas.px(4.0);
        let paper = if index.is_multiple_of(2) { BAND } else { PAPER };
        let upper_left = (self.columns.from - canvas.px(4.0), middle - half);
        canvas.bar(upper_left, (end, middle + half), paper, 1.0)?;
        canvas.text(&shown, (self.columns.from, middle), small)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, estimate: Option<f64>, low: Option<f64>, high: Option<f64>) -> IntervalRow {
        IntervalRow {
            label: label.to_owned(),
            estimate,
            low,
            high,
            detail: estimate.is_none().then(|| "too few converters".to_owned()),
        }
    }

    fn draw_rows(rows: &[IntervalRow], unit: AxisUnit) -> Result<(String, Vec<String>), ChartError> {
        let mut svg = String::new();
        let size = ChartSize::default();
        let warnings = draw(&mut svg, size, "Lift", "relative lift", unit, rows)?;
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        Ok((svg, warnings))
    }

    #[test]
    fn rows_have_dots_values_and_reasons() -> Result<(), ChartError> {
        let rows = [
            row("b", Some(0.0772), Some(0.0691), Some(0.0843)),
            row("免邮", Some(-0.03), Some(-0.05), Some(-0.01)),
            row("small", None, None, None),
        ];
        let (svg, warnings) = draw_rows(&rows, AxisUnit::Percent)?;
        for shown in ["+7.7 % [6.9, 8.4]", "免邮", "too few converters", "relative lift", "0 %"] {
            assert!(svg.contains(shown), "{shown} is not in {svg}");
        }
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("<polygon").count(), 0);
        assert!(warnings.is_empty(), "{warnings:?}");
        let (svg, _) = draw_rows(&rows, AxisUnit::PercentagePoints)?;
        assert!(svg.contains("+7.7 pp [6.9, 8.4]") && svg.contains("0 pp") && !svg.contains('%'), "{svg}");
        Ok(())
    }

    #[test]
    fn a_missing_end_is_an_arrow() -> Result<(), ChartError> {
        let rows = [row("b", Some(0.05), Some(0.02), None), row("c", Some(0.05), Some(0.03), Some(0.06))];
        let (svg, _) = draw_rows(&rows, AxisUnit::Percent)?;
        assert_eq!(svg.matches("<polygon").count(), 1);
        assert!(svg.contains("an arrow"), "{svg}");
        Ok(())
    }

    #[test]
    fn broken_and_extreme_numbers_draw_something() -> Result<(), ChartError> {
        let extreme = [
            row("nan", Some(f64::NAN), Some(f64::NAN), Some(f64::NAN)),
            row("boundless", Some(1.0), Some(f64::NEG_INFINITY), Some(f64::INFINITY)),
            row("huge", Some(1e300), Some(-1e300), Some(1e300)),
            row("tiny", Some(1e-300), Some(0.0), Some(1e-300)),
        ];
        for count in 0..=extreme.len() {
            for unit in [AxisUnit::Plain, AxisUnit::Percent, AxisUnit::PercentagePoints] {
                let rows = extreme.get(..count).unwrap_or(&extreme);
                draw_rows(rows, unit)?;
            }
        }
        draw_rows(&[row("zero", Some(0.0), Some(0.0), Some(0.0))], AxisUnit::Percent)?;
        Ok(())
    }

    #[test]
    fn too_many_rows_are_counted_at_the_foot() -> Result<(), ChartError> {
        let rows: Vec<IntervalRow> =
            (0..60).map(|index| row(&format!("segment {index}"), Some(0.01), Some(0.0), Some(0.02))).collect();
        let (svg, warnings) = draw_rows(&rows, AxisUnit::Percent)?;
        assert!(svg.contains("more rows"), "{svg}");
        assert_eq!(warnings.len(), 1);
        Ok(())
    }
}
