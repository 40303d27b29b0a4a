//! The rows of a forest plot before they have a place: what enters may be missing, infinite or not a number, what
//! leaves can be drawn. Here too: how far the axis reaches, and with how many digits the values are written.

use plotters::style::RGBColor;

use super::IntervalRow;
use super::number::{fixed, signed};
use super::palette::{BLUE, MUTED, VERMILLION};
use super::scale::{median, reach, whole};
use super::text;

/// A row in the units that are shown: percentage points for a share, with nothing that is not a number.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) detail: Option<String>,
    pub(super) estimate: Option<f64>,
    /// No end is no bound.
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

impl Line {
    /// Multiplies a row's values by `factor`; values that are not finite become missing ones.
    pub(super) fn new(row: &IntervalRow, factor: f64) -> Self {
        let shown = |value: Option<f64>| value.map(|it| it * factor).filter(|it| it.is_finite());
        let (low, high) = match (shown(row.low), shown(row.high)) {
            (Some(low), Some(high)) if low > high => (Some(high), Some(low)),
            ends => ends,
        };
        let detail = row.detail.as_deref().map(text::clean);
        Self {
            label: text::label(&row.label),
            detail: detail.filter(|words| !words.is_empty()),
            estimate: shown(row.estimate),
            low,
            high,
        }
    }

    pub(super) fn half_width(&self) -> Option<f64> {
        Some((self.high? - self.low?) / 2.0)
    }

    /// Which side of zero the whole interval is on. The colour judges nothing: more opt-outs are blue too.
    pub(super) fn color(&self) -> RGBColor {
        if self.low.is_some_and(|low| low > 0.0) {
            BLUE
        } else if self.high.is_some_and(|high| high < 0.0) {
            VERMILLION
        } else {
            MUTED
        }
    }

    /// Does the interval go on past an end of the axis?
    pub(super) fn is_beyond(&self, (low, high): (f64, f64)) -> bool {
        self.estimate.is_some() && (self.low.is_none_or(|end| end < low) || self.high.is_none_or(|end| end > high))
    }
}

/// The values at the ends of the axis: zero, every estimate, and of every interval what [`reach`] allows.
pub(super) fn axis_ends<'a>(lines: impl IntoIterator<Item = &'a Line> + Clone) -> (f64, f64) {
    let most = reach(lines.clone().into_iter().filter_map(Line::half_width).collect());
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    for line in lines {
        let Some(estimate) = line.estimate else {
            continue;
        };
        let lower = line.low.unwrap_or(estimate).max(estimate - most);
        let upper = line.high.unwrap_or(estimate).min(estimate + most);
        low = low.min(estimate).min(lower);
        high = high.max(estimate).max(upper);
    }
    let length = high - low;
    if length > 0.0 && length.is_finite() { (low - 0.05 * length, high + 0.05 * length) } else { (-1.0, 1.0) }
}

/// How the values of one chart are written, all alike.
pub(super) struct Figures {
    decimals: usize,
    /// What follows an estimate: a percent sign, percentage points, or nothing.
    pub(super) unit: &'static str,
}

impl Figures {
    /// As many decimals as show one digit of the typical half-width, or of the typical estimate without intervals.
    pub(super) fn new<'a>(lines: impl IntoIterator<Item = &'a Line> + Clone, unit: &'static str) -> Self {
        let above_zero = |value: &f64| *value > 0.0;
        let half_widths: Vec<f64> = lines.clone().into_iter().filter_map(Line::half_width).filter(above_zero).collect();
        let estimates: Vec<f64> =
            lines.into_iter().filter_map(|line| line.estimate.map(f64::abs)).filter(above_zero).collect();
        let typical = median(half_widths).or_else(|| median(estimates)).unwrap_or(1.0);
        let decimals = if typical >= 10.0 { 0 } else { whole((-typical.log10() - 1e-9).ceil()).clamp(1, 5) };
        Self { decimals, unit }
    }

    /// `+7.7 %`; nothing without an estimate.
    pub(super) fn estimate(&self, line: &Line) -> String {
        line.estimate.map_or_else(String::new, |value| format!("{}{}", signed(value, self.decimals), self.unit))
    }

    /// `+7.7`: a value without its unit.
    pub(super) fn bare(&self, value: f64) -> String {
        signed(value, self.decimals)
    }

    /// `+7.7 % [6.9, 8.4]`; nothing without an estimate.
    pub(super) fn estimate_and_interval(&self, line: &Line) -> String {
        if line.estimate.is_none() {
            return String::new();
        }
        let low =
            line.low.map_or_else(|| "(\u{2212}\u{221E}".to_owned(), |end| format!("[{}", fixed(end, self.decimals)));
        let high = line.high.map_or_else(|| "\u{221E})".to_owned(), |end| format!("{}]", fixed(end, self.decimals)));
        format!("{} {low}, {high}", self.estimate(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(estimate: Option<f64>, low: Option<f64>, high: Option<f64>) -> Line {
        let row = IntervalRow { label: "b".to_owned(), estimate, low, high, detail: None };
        Line::new(&row, 100.0)
    }

    #[test]
    fn values_read_like_a_report() {
        let bounded = line(Some(0.0772), Some(0.0691), Some(0.0843));
        let open = line(Some(-0.02), None, Some(f64::INFINITY));
        let lines = [bounded, open];
        let figures = Figures::new(&lines, " %");
        let written: Vec<String> = lines.iter().map(|line| figures.estimate_and_interval(line)).collect();
        assert_eq!(written, ["+7.7 % [6.9, 8.4]", "\u{2212}2.0 % (\u{2212}\u{221E}, \u{221E})"]);
    }

    #[test]
    fn what_is_not_a_number_is_missing() {
        let broken = line(Some(f64::NAN), Some(f64::NEG_INFINITY), Some(f64::MAX));
        assert!(broken.estimate.is_none() && broken.low.is_none() && broken.high.is_none());
        let figures = Figures::new(std::slice::from_ref(&broken), "");
        assert_eq!(figures.estimate_and_interval(&broken), "");
        let (low, high) = axis_ends([&broken]);
        assert!(low < high);
    }

    #[test]
    fn ends_in_the_wrong_order_are_turned() {
        let turned = line(Some(0.1), Some(0.2), Some(0.05));
        assert!(turned.low < turned.estimate && turned.estimate < turned.high);
    }

    #[test]
    fn the_axis_holds_zero_and_every_estimate() {
        let lines = [
            line(Some(0.08), Some(0.07), Some(0.09)),
            line(Some(0.05), Some(0.03), Some(0.07)),
            line(Some(0.40), Some(-0.50), Some(1.30)),
        ];
        let (low, high) = axis_ends(&lines);
        assert!(low < 0.0 && high > 40.0 && high < 130.0, "{low} {high}");
        let beyond: Vec<bool> = lines.iter().map(|line| line.is_beyond((low, high))).collect();
        assert_eq!(beyond, [false, false, true]);
    }

    #[test]
    fn colours_tell_the_side_of_zero() {
        assert_eq!(line(Some(0.1), Some(0.05), None).color(), BLUE);
        assert_eq!(line(Some(-0.1), None, Some(-0.05)).color(), VERMILLION);
        assert_eq!(line(Some(0.1), Some(-0.05), Some(0.2)).color(), MUTED);
    }
}
