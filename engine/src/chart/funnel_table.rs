//! The funnel of several campaigns as a table: a row a campaign, a column a stage, a bar in each cell.
//!
//! The first column's bars are counts, the others' are shares of the first stage, each column on its own scale: a
//! click rate of 3 % beside one of 2 % is seen, though both would be slivers beside the share delivered. The head of
//! the column says what its full bar means.

use super::FunnelRow;
use super::canvas::Canvas;
use super::error::ChartError;
use super::number::{compact, counted, fixed, percent, thousands};
use super::palette::{RULE, stage};
use super::scale::{real, real_len, whole};
use super::size::ChartSize;
use super::text;

/// Least and most height of a campaign's row.
const ROW: (f64, f64) = (21.0, 48.0);
/// Height of the two lines above the rows.
const HEAD: f64 = 40.0;
const GAP: f64 = 14.0;
/// A column narrower than this has no room for its own name.
const NARROWEST: f64 = 58.0;
const INSET: f64 = 6.0;

/// Draws two campaigns or more, each with at least one stage; the warnings say what was left out.
pub(super) fn draw(
    buffer: &mut String,
    size: ChartSize,
    title: &str,
    subtitle: &str,
    rows: &[&FunnelRow],
) -> Result<Vec<String>, ChartError> {
    let canvas = Canvas::open(buffer, size, title, &[subtitle])?;
    let stages = stage_names(rows);
    let base = stages.first().map_or("", String::as_str);
    let head = canvas.top() + canvas.px(HEAD);
    let mut notes = Vec::new();

    let mut fit = canvas.fit(rows.len(), canvas.bottom(false) - head, ROW);
    if fit.shown < rows.len() {
        fit = canvas.fit(rows.len(), canvas.bottom(true) - head, ROW);
        let hidden = counted(rows.len() - fit.shown, "more campaign");
        notes.push(format!("and {hidden} with fewer {base}"));
    }
    let shown_rows = largest(rows, base, fit.shown);

    let label = canvas.label();
    let labels: Vec<String> = shown_rows.iter().map(|row| text::label(&row.label)).collect();
    let names = text::shorten_all(&labels, 0.28 * canvas.width(), label.size);
    let columns_start = canvas.left() + text::widest(&names, label.size) + canvas.px(GAP);
    let room = canvas.right() - columns_start;
    let shown_stages = whole((room + canvas.px(GAP)) / canvas.px(NARROWEST + GAP)).clamp(1, stages.len().max(1));
    if shown_stages < stages.len() {
        let hidden = counted(stages.len() - shown_stages, "stage");
        notes.push(format!("{hidden} more at a greater width"));
    }
    let space = canvas.bottom(!notes.is_empty()) - head;
    let row_height = (space / real_len(shown_rows.len().max(1))).min(canvas.px(ROW.1));

    canvas.line((canvas.left(), head), (canvas.right(), head), RULE, 1.0)?;
    for (index, name) in names.iter().enumerate() {
        let upper = head + row_height * real_len(index);
        let lower = upper + row_height;
        canvas.text(name, (canvas.left(), f64::midpoint(upper, lower)), label)?;
        canvas.line((canvas.left(), lower), (canvas.right(), lower), RULE, 1.0)?;
    }

    let pitch = (room + canvas.px(GAP)) / real_len(shown_stages);
    for (index, name) in stages.iter().take(shown_stages).enumerate() {
        let start = columns_start + pitch * real_len(index);
        let column = Column { index, name, base, start, width: pitch - canvas.px(GAP), head, row_height };
        column.draw(&canvas, &shown_rows)?;
    }
    if !notes.is_empty() {
        canvas.note(&notes.join("; "))?;
    }
    canvas.close()?;
    Ok(notes)
}

/// All stages, each where the campaign that has most before it has it.
fn stage_names(rows: &[&FunnelRow]) -> Vec<String> {
    let mut names: Vec<(usize, String)> = Vec::new();
    for (place, (name, _)) in rows.iter().flat_map(|row| row.stages.iter().enumerate()) {
        match names.iter_mut().find(|(_, known)| known == name) {
            Some((known, _)) => *known = place.max(*known),
            None => names.push((place, name.clone())),
        }
    }
    names.sort_by_key(|(place, _)| *place);
    names.into_iter().map(|(_, name)| name).collect()
}

fn count_of(row: &FunnelRow, stage_name: &str) -> Option<u64> {
    let found = row.stages.iter().find(|(name, _)| name == stage_name);
    found.map(|(_, count)| *count)
}

/// The share of the first stage; nothing where nobody was in the first stage.
fn share_of(row: &FunnelRow, stage_name: &str, base: &str) -> Option<f64> {
    let all = count_of(row, base).filter(|count| *count > 0)?;
    Some(real(count_of(row, stage_name)?) / real(all))
}

/// The campaigns with the most in the first stage, in the order given.
fn largest<'a>(rows: &[&'a FunnelRow], base: &str, shown: usize) -> Vec<&'a FunnelRow> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|index| {
        let count = rows.get(*index).and_then(|row| count_of(row, base));
        std::cmp::Reverse(count.unwrap_or(0))
    });
    order.truncate(shown);
    order.sort_unstable();
    order.into_iter().filter_map(|index| rows.get(index).copied()).collect()
}

struct Column<'a> {
    index: usize,
    name: &'a str,
    base: &'a str,
    start: f64,
    width: f64,
    head: f64,
    row_height: f64,
}

impl Column<'_> {
    fn draw(&self, canvas: &Canvas<'_>, rows: &[&FunnelRow]) -> Result<(), ChartError> {
        let lengths: Vec<Option<f64>> = rows.iter().map(|row| self.length(row)).collect();
        let full = lengths.iter().flatten().copied().fold(0.0, f64::max);
        self.draw_head(canvas, full)?;

        let label = canvas.label();
        let small = canvas.small();
        let inset = canvas.px(INSET);
        for (index, (row, length)) in rows.iter().zip(&lengths).enumerate() {
            let middle = self.head + self.row_height * (real_len(index) + 0.5);
            let at = (self.start + inset, middle);
            let Some(count) = count_of(row, self.name) else {
                canvas.text("\u{2013}", at, label.muted())?;
                continue;
            };
            if let Some(length) = length
                && *length > 0.0
            {
                let half = self.row_height * 0.36;
                // A sliver is still a bar: somebody got there.
                let end = self.start + (self.width * length / full).max(1.0);
                let color = stage(self.index);
                canvas.bar((self.start, middle - half), (end, middle + half), color, 0.38)?;
            }
            let written = thousands(count);
            if self.index == 0 {
                let is_room = text::width(&written, label.size) + inset <= self.width;
                let shown = if is_room { written } else { compact(count) };
                canvas.text(&shown, at, label)?;
                continue;
            }
            let share = length.map_or_else(|| "\u{2013}".to_owned(), percent);
            canvas.text(&share, at, label)?;
            let taken = text::width(&share, label.size) + text::width(&written, small.size);
            if taken + canvas.px(24.0) <= self.width {
                let end = (self.start + self.width - canvas.px(4.0), middle);
                canvas.text(&written, end, small.ending())?;
            }
        }
        Ok(())
    }

    /// What the bar of a cell stands for.
    fn length(&self, row: &FunnelRow) -> Option<f64> {
        if self.index == 0 { count_of(row, self.name).map(real) } else { share_of(row, self.name, self.base) }
    }

    /// The stage's name, and below it what the bars mean, as fully as there is room to say it.
    fn draw_head(&self, canvas: &Canvas<'_>, full: f64) -> Result<(), ChartError> {
        let label = canvas.label();
        let small = canvas.small();
        let name = text::shorten(&text::label(self.name), self.width, label.size);
        canvas.text(&name, (self.start, canvas.top() + canvas.px(10.0)), label)?;

        let base = text::label(self.base);
        let explained = if self.index == 0 {
            let counts = fixed(full, 0);
            vec![format!("full bar {counts}"), format!("to {counts}")]
        } else if full > 0.0 {
            let share = percent(full);
            vec![format!("% of {base}, full bar {share}"), format!("% of {base}, to {share}"), format!("% of {base}")]
        } else {
            vec![format!("% of {base}")]
        };
        let fitting = explained.iter().find(|line| text::width(line, small.size) <= self.width);
        if let Some(line) = fitting {
            canvas.text(line, (self.start, canvas.top() + canvas.px(28.0)), small)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, counts: &[u64]) -> FunnelRow {
        let names = ["sent", "delivered", "clickers", "converters"];
        FunnelRow {
            label: label.to_owned(),
            stages: names.iter().zip(counts).map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }

    fn draw_rows(rows: &[FunnelRow], size: ChartSize) -> Result<(String, Vec<String>), ChartError> {
        let mut svg = String::new();
        let borrowed: Vec<&FunnelRow> = rows.iter().collect();
        let warnings = draw(&mut svg, size, "Results", "% of messages sent", &borrowed)?;
        Ok((svg, warnings))
    }

    #[test]
    fn each_campaign_has_its_counts_and_shares() -> Result<(), ChartError> {
        let rows = [
            row("春节", &[1_000, 970, 30, 2]),
            row("spring", &[2_000, 1_900, 80, 9]),
            row("nobody", &[0, 0, 0, 0]),
            row("only sent", &[7]),
        ];
        let (svg, warnings) = draw_rows(&rows, ChartSize::default())?;
        for shown in ["春节", "% of messages sent", "97.0 %", "1,900", "4.00 %", "full bar 2,000", "nobody"] {
            assert!(svg.contains(shown), "{shown} is not in {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(warnings.is_empty(), "{warnings:?}");
        Ok(())
    }

    #[test]
    fn too_many_campaigns_leave_the_largest() -> Result<(), ChartError> {
        let rows: Vec<FunnelRow> =
            (1..=60).map(|index| row(&format!("campaign {index}."), &[index * 10, index * 9, index])).collect();
        let (svg, warnings) = draw_rows(&rows, ChartSize::default())?;
        assert!(svg.contains("campaign 60."));
        assert!(!svg.contains("campaign 1."));
        assert!(svg.contains("more campaigns with fewer sent"), "{svg}");
        assert_eq!(warnings.len(), 1);
        Ok(())
    }

    #[test]
    fn too_many_stages_are_counted() -> Result<(), ChartError> {
        let rows = [
            row("a campaign with a long name, wave 1", &[10, 9, 3, 1]),
            row("a campaign with a long name, wave 2", &[20, 18, 9, 4]),
        ];
        let small = ChartSize { width: 320, height: 320 };
        let (_, warnings) = draw_rows(&rows, small)?;
        assert_eq!(warnings, ["1 stage more at a greater width"]);
        Ok(())
    }
}
