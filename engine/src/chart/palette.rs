//! The colours of the charts: Okabe and Ito's set, which people with any of the common colour blindnesses tell
//! apart (Okabe & Ito 2008, "Color Universal Design"), on white, with greys for what is not data.

use plotters::style::RGBColor;

use super::scale::byte;

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
/// What is out of the question: hatching.
pub(super) const HATCH: RGBColor = RGBColor(176, 176, 176);
/// The ground under hatching.
pub(super) const SHADE: RGBColor = RGBColor(233, 233, 233);
/// The outline of what is empty.
pub(super) const FAINT: RGBColor = RGBColor(150, 150, 150);
/// No difference, between vermillion and blue.
const NEUTRAL: RGBColor = RGBColor(245, 245, 242);
const BLUISH_GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const ORANGE: RGBColor = RGBColor(230, 159, 0);
const REDDISH_PURPLE: RGBColor = RGBColor(204, 121, 167);

const STAGES: [RGBColor; 6] = [BLUE, SKY_BLUE, BLUISH_GREEN, ORANGE, REDDISH_PURPLE, VERMILLION];

/// The colour of a funnel's stage, the first being 0; after six they come round again.
pub(super) fn stage(index: usize) -> RGBColor {
    STAGES[index % STAGES.len()]
}

/// From vermillion (-1) over almost white (0) to blue (1). These two are told apart with any common colour blindness;
/// both darken evenly, so that the size of a difference is seen without colour too.
pub(super) fn diverging(share: f64) -> RGBColor {
    let share = if share.is_finite() { share.clamp(-1.0, 1.0) } else { 0.0 };
    let end = if share < 0.0 { VERMILLION } else { BLUE };
    let mix = |from: u8, to: u8| f64::from(from) + (f64::from(to) - f64::from(from)) * share.abs();
    RGBColor(byte(mix(NEUTRAL.0, end.0)), byte(mix(NEUTRAL.1, end.1)), byte(mix(NEUTRAL.2, end.2)))
}

/// Ink or paper, whichever is read better on a colour.
pub(super) fn readable_on(ground: RGBColor) -> RGBColor {
    let contrast = |ink: RGBColor| {
        let (one, other) = (luminance(ink), luminance(ground));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    };
    if contrast(INK) >= contrast(PAPER) { INK } else { PAPER }
}

/// Relative luminance as in WCAG 2, 0 to 1.
fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
    let linear = |value: u8| {
        let share = f64::from(value) / 255.0;
        if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stronger_differences_are_darker_on_both_sides() {
        for side in [-1.0, 1.0] {
            let steps: Vec<f64> = (0..=10).map(|step| luminance(diverging(side * f64::from(step) / 10.0))).collect();
            assert!(steps.windows(2).all(|pair| pair[0] > pair[1]), "{steps:?}");
        }
        assert_eq!(diverging(f64::NAN), NEUTRAL);
        assert_eq!(diverging(7.0), BLUE);
        assert_eq!(diverging(-7.0), VERMILLION);
    }

    #[test]
    fn words_on_any_colour_have_contrast() {
        for step in -20..=20 {
            let ground = diverging(f64::from(step) / 20.0);
            let (one, other) = (luminance(ground), luminance(readable_on(ground)));
            let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
            assert!(contrast > 3.9, "{contrast} at {step}");
        }
    }
}
