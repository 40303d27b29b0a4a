//! The colours of the charts: Okabe and Ito's set, which people with any of the common colour blindnesses tell
//! apart (Okabe & Ito 2008, "Color Universal Design"), on white, with greys for what is not data.

use plotters::style::RGBColor;

pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
/// Titles, labels and values.
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
/// What explains: axis labels, notes, rows without an estimate. Seven to one against the paper.
pub(super) const MUTED: RGBColor = RGBColor(89, 89, 89);
/// Lines that guide the eye.
pub(super) const RULE: RGBColor = RGBColor(217, 217, 217);
/// Every second row of a table.
pub(super) const BAND: RGBColor = RGBColor(245, 246, 247);

pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const SKY_BLUE: RGBColor = RGBColor(86, 180, 233);
pub(super) const VERMILLION: RGBColor = RGBColor(213, 94, 0);
const BLUISH_GREEN: RGBColor = RGBColor(0, 158, 115);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const REDDISH_PURPLE: RGBColor = RGBColor(204, 121, 167);

const STAGES: [RGBColor; 6] = [BLUE, SKY_BLUE, BLUISH_GREEN, ORANGE, REDDISH_PURPLE, VERMILLION];

/// The colour of a funnel's stage, the first being 0; after six they come round again.
pub(super) fn stage(index: usize) -> RGBColor {
    STAGES[index % STAGES.len()]
}
