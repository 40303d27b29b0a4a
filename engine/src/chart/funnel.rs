//! The funnel: how many messages reach each stage. One campaign becomes bars below each other, several become a
//! table with a bar in each cell ([`super::funnel_table`]), because bars of many campaigns cannot share one picture.

use super::FunnelRow;
use super::canvas::{Canvas, Ink};
use super::error::ChartError;
use super::funnel_table;
use super::number::{counted, percent, thousands};
use super::palette::{MUTED, stage};
use super::scale::{real, real_len};
use super::size::ChartSize;
use super::text;

/// Least and most height of a bar's row.
const ROW: (f64, f64) = (26.0, 96.0);
const GAP: f64 = 8.0;

/// Draws the campaigns into `buffer`; the warnings say what was left out.
pub(super) fn draw(
    buffer: &mut String,
    size: ChartSize,
    title: &str,
    subtitle: &str,
    rows: &[FunnelRow],
) -> Result<Vec<String>, ChartError> {
    let filled: Vec<&FunnelRow> = rows.iter().filter(|row| !row.stages.is_empty()).collect();
    let mut warnings = Vec::new();
    let empty = rows.len() - filled.len();
    if empty > 0 {
        warnings.push(format!("{} without any stage left out", counted(empty, "campaign")));
    }
    match filled.as_slice() {
        [] => Canvas::open(buffer, size, title, &[])?.close_empty()?,
        [only] => warnings.extend(draw_one(buffer, size, title, subtitle, only)?),
        several => warnings.extend(funnel_table::draw(buffer, size, title, subtitle, several)?),
    }
    Ok(warnings)
}

/// What stands to the right of a bar: the count, and what it is a share of.
struct Caption {
    count: String,
    share: String,
}

impl Caption {
    fn width(&self, gap: f64, size: f64) -> f64 {
        let share = if self.share.is_empty() { 0.0 } else { gap + text::width(&self.share, size) };
        text::width(&self.count, size) + share
    }
}

fn draw_one(
    buffer: &mut String,
    size: ChartSize,
    title: &str,
    subtitle: &str,
    row: &FunnelRow,
) -> Result<Option<String>, ChartError> {
    let canvas = Canvas::open(buffer, size, title, &[&text::label(&row.label), subtitle])?;
    let total = row.stages.len();
    let space = |is_noted| canvas.bottom(is_noted) - canvas.top();
    let mut rows = canvas.fit(total, space(false), ROW);
    let mut warning = None;
    if rows.shown < total {
        rows = canvas.fit(total, space(true), ROW);
        let note = format!("and {} more", counted(total - rows.shown, "stage"));
        canvas.note(&note)?;
        warning = Some(format!("{note} not drawn: ask for a higher picture"));
    }

    let stages = row.stages.get(..rows.shown).unwrap_or(&row.stages);
    let label = canvas.label();
    let names: Vec<String> = stages.iter().map(|(name, _)| text::label(name)).collect();
    let shown_names = text::shorten_all(&names, 0.25 * canvas.width(), label.size);
    let name_end = canvas.left() + text::widest(&shown_names, label.size);
    let bar_start = name_end + canvas.px(12.0);
    let room = canvas.right() - bar_start;
    let gap = canvas.px(GAP);

    // Long captions beside long bars leave no room for the bars: then only the share of the first stage stays.
    let mut captions = captions_of(stages, &names, true);
    let mut full = full_bar(stages, &captions, room, gap, label);
    if full < 0.35 * room {
        captions = captions_of(stages, &names, false);
        full = full_bar(stages, &captions, room, gap, label).max(canvas.px(20.0));
    }

    let biggest = largest(stages);
    let thickness = canvas.px(56.0).min(rows.height * 0.62);
    for (index, ((_, count), (name, caption))) in stages.iter().zip(shown_names.iter().zip(&captions)).enumerate() {
        let middle = canvas.top() + rows.height * (real_len(index) + 0.5);
        let (upper, lower) = (middle - thickness / 2.0, middle + thickness / 2.0);
        // A stage that anyone reached is seen, however few they are.
        let least = if *count > 0 { 1.0 } else { 0.0 };
        let bar_end = bar_start + (full * real(*count) / biggest).max(least);
        canvas.text(name, (name_end, middle), label.ending())?;
        canvas.bar((bar_start, upper), (bar_end, lower), stage(index), 1.0)?;
        canvas.text(&caption.count, (bar_end + gap, middle), label)?;
        let share_start = bar_end + gap + text::width(&caption.count, label.size) + gap;
        canvas.text(&caption.share, (share_start, middle), label.muted())?;
    }
    let foot = canvas.top() + rows.height * real_len(stages.len());
    canvas.line((bar_start, canvas.top()), (bar_start, foot), MUTED, 1.0)?;
    canvas.close()?;
    Ok(warning)
}

/// The captions of a campaign's stages; the longer ones also tell the share of the stage before.
fn captions_of(stages: &[(String, u64)], names: &[String], is_long: bool) -> Vec<Caption> {
    let first = stages.first().map_or(0, |(_, count)| *count);
    let mut captions = Vec::with_capacity(stages.len());
    for (index, (_, count)) in stages.iter().enumerate() {
        let mut share = String::new();
        if index > 0 && first > 0 {
            share = percent(real(*count) / real(first));
            if is_long {
                let of_first = names.first().map_or("", String::as_str);
                share = format!("{share} of {of_first}");
            }
        }
        if is_long
            && index > 1
            && let Some((_, before)) = stages.get(index - 1)
            && let Some(name) = names.get(index - 1)
            && *before > 0
        {
            let of_before = percent(real(*count) / real(*before));
            share = format!("{share}, {of_before} of {name}");
        }
        captions.push(Caption { count: thousands(*count), share });
    }
    captions
}

/// The length of the longest bar, such that no caption runs over the right edge.
fn full_bar(stages: &[(String, u64)], captions: &[Caption], room: f64, gap: f64, label: Ink) -> f64 {
    let biggest = largest(stages);
    stages
        .iter()
        .zip(captions)
        .filter(|((_, count), _)| *count > 0)
        .map(|((_, count), caption)| (room - gap - caption.width(gap, label.size)) * biggest / real(*count))
        .fold(room, f64::min)
}

/// The largest count, at least 1: it divides.
fn largest(stages: &[(String, u64)]) -> f64 {
    let most = stages.iter().map(|(_, count)| *count).max().unwrap_or(0);
    real(most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(counts: &[u64]) -> Vec<(String, u64)> {
        ["sent", "delivered", "clickers", "converters"]
            .iter()
            .zip(counts)
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    fn draw_rows(rows: &[FunnelRow]) -> Result<(String, Vec<String>), ChartError> {
        let mut svg = String::new();
        let warnings = draw(&mut svg, ChartSize::default(), "Results", "% of messages sent", rows)?;
        Ok((svg, warnings))
    }

    #[test]
    fn one_campaign_shows_counts_and_shares() -> Result<(), ChartError> {
        let row =
            FunnelRow { label: "春节特惠".to_owned(), stages: stages(&[1_234_567, 1_187_653, 88_024, 5_185]) };
        let (svg, warnings) = draw_rows(&[row])?;
        for shown in
            ["春节特惠", "% of messages sent", "1,234,567", "96.2 % of sent", "7.13 % of sent, 7.41 % of delivered"]
        {
            assert!(svg.contains(shown), "{shown} is not in {svg}");
        }
        assert!(warnings.is_empty(), "{warnings:?}");
        Ok(())
    }

    #[test]
    fn nothing_sent_divides_nothing_by_nothing() -> Result<(), ChartError> {
        let row = FunnelRow { label: String::new(), stages: stages(&[0, 0, 0, 0]) };
        let (svg, _) = draw_rows(&[row])?;
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        Ok(())
    }

    #[test]
    fn more_stages_than_rows_are_counted_at_the_foot() -> Result<(), ChartError> {
        let row = FunnelRow {
            label: "long".to_owned(),
            stages: (0..40).map(|index| (format!("stage {index}"), 100 - index)).collect(),
        };
        let (svg, warnings) = draw_rows(&[row])?;
        assert!(svg.contains("more"), "{svg}");
        assert_eq!(warnings.len(), 1);
        Ok(())
    }

    #[test]
    fn no_campaign_says_so() -> Result<(), ChartError> {
        let nameless = FunnelRow { label: "empty".to_owned(), stages: Vec::new() };
        assert!(draw_rows(&[])?.0.contains("no data yet"));
        let (svg, warnings) = draw_rows(&[nameless])?;
        assert!(svg.contains("no data yet"));
        assert_eq!(warnings, ["1 campaign without any stage left out"]);
        Ok(())
    }
}
