//! Click rates by local hour: a dot and its interval for each hour of the day, and below it how many messages were
//! sent in it. An hour without messages stays empty: no rate is not a rate of zero.

use super::HourRow;
use super::canvas::Canvas;
use super::error::ChartError;
use super::number::{compact, counted, fixed, percent};
use super::palette::{BLUE, MUTED, RULE, SKY_BLUE};
use super::scale::{Scale, Ticks, reach, real, real_len, ticks, whole};
use super::size::ChartSize;
use super::text;

const HOURS: usize = 24;
/// Height of the hours and the axis title.
const AXIS: f64 = 44.0;
/// Height of the line that says what the dots are.
const HEAD: f64 = 22.0;
/// Between the rates and the counts, with room for the numbers on the bars.
const GAP: f64 = 24.0;
/// Half the width of an interval's caps and arrows.
const CAP: f64 = 5.0;
const COUNT_SIZE: f64 = 10.0;

/// An hour with messages; its rates are shares from 0 to 1.
#[derive(Debug, Clone, Copy)]
struct Hour {
    of_day: u8,
    sent: f64,
    clickers: f64,
    reached: f64,
    count: u64,
    rate: f64,
    low: f64,
    high: f64,
}

impl Hour {
    /// Nothing for an hour past 23 or a rate that is no number.
    fn new(row: &HourRow) -> Option<Self> {
        let numbers = [row.reached, row.rate, row.low, row.high];
        let is_drawable = usize::from(row.hour) < HOURS && numbers.iter().all(|number| number.is_finite());
        is_drawable.then(|| Self {
            of_day: row.hour,
            sent: real(row.sent),
            clickers: real(row.clickers),
            reached: row.reached,
            count: row.sent,
            rate: row.rate.clamp(0.0, 1.0),
            low: row.low.clamp(0.0, 1.0),
            high: row.high.clamp(0.0, 1.0),
        })
    }
}

/// Draws the hours into `buffer`; the warnings say what was left out.
pub(super) fn draw(
    buffer: &mut String,
    size: ChartSize,
    title: &str,
    subtitle: &str,
    rows: &[HourRow],
) -> Result<Vec<String>, ChartError> {
    let mut day: Vec<Hour> = Vec::new();
    let mut refused = 0;
    // An hour without messages has no rate, and nobody expects one.
    for row in rows.iter().filter(|row| row.sent > 0) {
        match Hour::new(row) {
            Some(hour) if day.iter().all(|known| known.of_day != hour.of_day) => day.push(hour),
            _ => refused += 1,
        }
    }
    let mut warnings = Vec::new();
    if refused > 0 {
        let hours = counted(refused, "hour");
        warnings.push(format!("{hours} left out: given twice, past 23, or with a rate that is no number"));
    }

    let canvas = Canvas::open(buffer, size, title, &[])?;
    if day.is_empty() {
        canvas.close_empty()?;
        return Ok(warnings);
    }
    let top = top_rate(&day);
    let is_cut = day.iter().any(|hour| hour.high > top);
    let plan = Plan::new(&canvas, &day, top, is_cut);
    plan.draw_rates(&canvas, &day, subtitle)?;
    plan.draw_counts(&canvas, &day)?;
    plan.draw_hours(&canvas)?;
    if is_cut {
        canvas.note("an arrow: the interval goes on beyond the axis")?;
    }
    canvas.close()?;
    Ok(warnings)
}

/// The rate at the top of the axis: every rate, and of every interval what [`reach`] allows.
fn top_rate(day: &[Hour]) -> f64 {
    let most = reach(day.iter().map(|hour| (hour.high - hour.low) / 2.0).collect());
    let top = day.iter().map(|hour| hour.rate.max(hour.high.min(hour.rate + most))).fold(mean_rate(day), f64::max);
    if top > 0.0 { top * 1.05 } else { 0.01 }
}

/// The rate over all hours, of the same people as the rates of the hours.
fn mean_rate(day: &[Hour]) -> f64 {
    let clickers: f64 = day.iter().map(|hour| hour.clickers).sum();
    let reached: f64 = day.iter().map(|hour| hour.reached).sum();
    if reached > 0.0 { (clickers / reached).clamp(0.0, 1.0) } else { 0.0 }
}

/// Where everything goes.
struct Plan {
    /// The left and the right edge of the day.
    from: f64,
    to: f64,
    /// Width of an hour.
    pitch: f64,
    marks: Ticks,
    mark_labels: Vec<String>,
    /// Rates to heights.
    rates: Scale,
    top_rate: f64,
    mean: f64,
    mean_label: String,
    counts_top: f64,
    counts_foot: f64,
}

impl Plan {
    fn new(canvas: &Canvas<'_>, day: &[Hour], top_rate: f64, is_noted: bool) -> Self {
        let small = canvas.small().size;
        let counts_foot = canvas.bottom(is_noted) - canvas.px(AXIS);
        let body = counts_foot - canvas.top();
        let counts_top = counts_foot - (0.17 * body).max(canvas.px(34.0));
        let rates_top = canvas.top() + canvas.px(HEAD);
        let rates_foot = counts_top - canvas.px(GAP);

        let lines = whole((rates_foot - rates_top) / canvas.px(34.0)).max(2);
        // In percentage points, so that the marks are round there.
        let marks = ticks(0.0, 100.0 * top_rate, lines);
        let mark_labels: Vec<String> =
            marks.values.iter().map(|value| format!("{} %", fixed(*value, marks.decimals))).collect();
        let mean = mean_rate(day);
        let mean_label = format!("all {}", percent(mean));

        let left_room = text::widest(&mark_labels, small).max(text::width("sent", small));
        let from = canvas.left() + left_room + canvas.px(8.0);
        let to = canvas.right() - text::width(&mean_label, small) - canvas.px(8.0);
        Self {
            from,
            to,
            pitch: (to - from) / real_len(HOURS),
            marks,
            mark_labels,
            rates: Scale::new((0.0, top_rate), (rates_foot, rates_top)),
            top_rate,
            mean,
            mean_label,
            counts_top,
            counts_foot,
        }
    }

    /// The middle of an hour.
    fn across(&self, hour: u8) -> f64 {
        self.from + (f64::from(hour) + 0.5) * self.pitch
    }

    fn draw_rates(&self, canvas: &Canvas<'_>, day: &[Hour], subtitle: &str) -> Result<(), ChartError> {
        let small = canvas.small();
        let label = canvas.label().muted();
        let head = (canvas.left(), canvas.top() + canvas.px(4.0));
        let shown = text::shorten(&text::clean(subtitle), canvas.right() - canvas.left(), label.size);
        canvas.text(&shown, head, label)?;
        for (points, label) in self.marks.values.iter().zip(&self.mark_labels) {
            let y = self.rates.at(points / 100.0);
            canvas.line((self.from, y), (self.to, y), RULE, 1.0)?;
            canvas.text(label, (self.from - canvas.px(8.0), y), small.ending())?;
        }
        self.draw_mean(canvas)?;

        let cap = canvas.px(CAP).min(0.3 * self.pitch);
        for hour in day {
            let x = self.across(hour.of_day);
            let (low, high) = (self.rates.at(hour.low), self.rates.at(hour.high));
            canvas.line((x, low), (x, high), BLUE, 2.0)?;
            canvas.line((x - cap, low), (x + cap, low), BLUE, 2.0)?;
            if hour.high > self.top_rate {
                let tip = (x, high - canvas.px(2.0));
                let back = high + canvas.px(7.0);
                canvas.triangle([tip, (x - cap, back), (x + cap, back)], BLUE)?;
            } else {
                canvas.line((x - cap, high), (x + cap, high), BLUE, 2.0)?;
            }
            canvas.dot((x, self.rates.at(hour.rate)), 4.5, BLUE)?;
        }
        Ok(())
    }

    /// The rate over all hours, as a dashed line to compare each hour with.
    fn draw_mean(&self, canvas: &Canvas<'_>) -> Result<(), ChartError> {
        let y = self.rates.at(self.mean);
        let mut x = self.from;
        while x < self.to {
            let end = (x + canvas.px(5.0)).min(self.to);
            canvas.line((x, y), (end, y), MUTED, 1.0)?;
            x += canvas.px(9.0);
        }
        let beside = (self.to + canvas.px(8.0), y);
        canvas.text(&self.mean_label, beside, canvas.small())
    }

    fn draw_counts(&self, canvas: &Canvas<'_>, day: &[Hour]) -> Result<(), ChartError> {
        let middle = f64::midpoint(self.counts_top, self.counts_foot);
        let beside = (self.from - canvas.px(8.0), middle);
        canvas.text("sent", beside, canvas.small().ending())?;

        let most = day.iter().map(|hour| hour.sent).fold(1.0, f64::max);
        let heights = Scale::new((0.0, most), (self.counts_foot, self.counts_top));
        let ink = canvas.small().centred().sized(canvas.px(COUNT_SIZE));
        let counts: Vec<String> = day.iter().map(|hour| compact(hour.count)).collect();
        let is_room = text::widest(&counts, ink.size) + canvas.px(2.0) <= self.pitch;
        for (hour, count) in day.iter().zip(&counts) {
            let x = self.across(hour.of_day);
            let half = 0.34 * self.pitch;
            // A sliver is still a bar: messages went out.
            let upper = heights.at(hour.sent).min(self.counts_foot - 1.0);
            canvas.bar((x - half, upper), (x + half, self.counts_foot), SKY_BLUE, 0.6)?;
            if is_room {
                canvas.text(count, (x, upper - canvas.px(8.0)), ink)?;
            }
        }
        let (start, end) = ((self.from, self.counts_foot), (self.to, self.counts_foot));
        canvas.line(start, end, MUTED, 1.0)
    }

    fn draw_hours(&self, canvas: &Canvas<'_>) -> Result<(), ChartError> {
        let small = canvas.small().centred();
        let room = text::width("23", small.size) + canvas.px(6.0);
        let every = [1, 2, 3, 4, 6].into_iter().find(|every| f64::from(*every) * self.pitch >= room).unwrap_or(12_u8);
        for hour in (0..24).step_by(usize::from(every)) {
            let below = (self.across(hour), self.counts_foot + canvas.px(13.0));
            canvas.text(&hour.to_string(), below, small)?;
        }
        let centre = f64::midpoint(self.from, self.to);
        let title = (centre, self.counts_foot + canvas.px(32.0));
        canvas.text("local hour", title, canvas.label().muted().centred())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hour: u8, sent: u64, clickers: u64) -> HourRow {
        let rate = real(clickers) / real(sent.max(1));
        HourRow { hour, sent, clickers, reached: real(sent), rate, low: 0.8 * rate, high: 1.2 * rate }
    }

    fn draw_rows(rows: &[HourRow]) -> Result<(String, Vec<String>), ChartError> {
        let mut svg = String::new();
        let warnings = draw(&mut svg, ChartSize::default(), "Clicks", "with 95 % intervals", rows)?;
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        Ok((svg, warnings))
    }

    #[test]
    fn hours_with_messages_have_a_dot_and_a_bar() -> Result<(), ChartError> {
        let rows: Vec<HourRow> = (0..24).map(|hour| row(hour, if hour < 6 { 0 } else { 12_345 }, 400)).collect();
        let (svg, warnings) = draw_rows(&rows)?;
        assert_eq!(svg.matches("<circle").count(), 18);
        for shown in [
            "12k",
            "local hour",
            "with 95 % intervals",
            "all 3.24 %",
            "
23
",
        ] {
            assert!(svg.contains(shown), "{shown} is not in {svg}");
        }
        assert!(warnings.is_empty(), "{warnings:?}");
        Ok(())
    }

    #[test]
    fn the_rate_of_all_hours_is_of_those_reached() -> Result<(), ChartError> {
        let rows = [HourRow { reached: 50.0, ..row(8, 100, 4) }, HourRow { reached: 150.0, ..row(9, 200, 6) }];
        assert!(draw_rows(&rows)?.0.contains("all 5.00 %"));
        Ok(())
    }

    #[test]
    fn a_wide_interval_does_not_flatten_the_others() -> Result<(), ChartError> {
        let mut rows: Vec<HourRow> = (8..20).map(|hour| row(hour, 10_000, 300)).collect();
        rows.push(HourRow { high: 0.9, ..row(3, 5, 1) });
        let (svg, _) = draw_rows(&rows)?;
        assert_eq!(svg.matches("<polygon").count(), 1);
        assert!(svg.contains("an arrow"), "{svg}");
        Ok(())
    }

    #[test]
    fn no_hours_and_one_hour_are_drawn() -> Result<(), ChartError> {
        assert!(draw_rows(&[])?.0.contains("no data yet"));
        assert!(draw_rows(&[row(3, 0, 0)])?.0.contains("no data yet"));
        assert_eq!(draw_rows(&[row(3, 7, 0)])?.0.matches("<circle").count(), 1);
        Ok(())
    }

    #[test]
    fn what_cannot_be_drawn_is_named() -> Result<(), ChartError> {
        let broken = HourRow { rate: f64::NAN, ..row(4, 10, 1) };
        let rows = [row(3, 10, 1), row(3, 20, 2), row(24, 10, 1), broken];
        let (svg, warnings) = draw_rows(&rows)?;
        assert_eq!(svg.matches("<circle").count(), 1);
        assert_eq!(warnings.len(), 1);
        assert!(warnings.iter().all(|warning| warning.starts_with("3 hours")));
        Ok(())
    }
}
