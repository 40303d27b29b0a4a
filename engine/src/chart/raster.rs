//! SVG in, PNG out: the very SVG that [`super::draw_svg`] makes, drawn by resvg with the faces of [`super::fonts`],
//! so that there is one drawing path and the two pictures say the same.
//!
//! resvg draws a box for a character that no face has. A box tells the reader nothing, so such a character is
//! replaced by a question mark, and the warning names it.

use std::collections::BTreeSet;
use std::sync::Arc;

use resvg::{tiny_skia, usvg};

use super::error::ChartError;
use super::fonts::{self, Fonts};
use super::size::MAX_SIDE;
use super::text;

/// So many characters are named in a warning; the rest are counted.
const NAMED: usize = 12;

/// A picture as PNG, opaque, at the size of the SVG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Png {
    /// The file.
    pub bytes: Vec<u8>,
    /// What is not as it should be: the characters that no font draws.
    pub warnings: Vec<String>,
}

/// Draws an SVG made by [`draw_svg`](super::draw_svg) as PNG, pixel for pixel.
///
/// # Errors
/// [`ChartError::ReadSvg`] when the text is no SVG, [`ChartError::Size`] when its size is 0 or above
/// [`MAX_SIDE`], and [`ChartError::EncodePng`] or [`ChartError::Fonts`] when the machine or the build is at fault.
pub fn render_png(svg: &str) -> Result<Png, ChartError> {
    let mut faces = Fonts::bundled()?;
    let lacking = fonts::lacking(svg);
    // Accents and joiners that the carried faces lack are not worth a search: the sign they belong to is drawn.
    let (modifiers, signs): (BTreeSet<char>, BTreeSet<char>) =
        lacking.into_iter().partition(|character| text::joins(*character));
    let mut undrawn = BTreeSet::new();
    if !signs.is_empty() {
        undrawn = faces.complete(signs);
    }

    let mut shown = substitute(svg, &undrawn, &modifiers);
    let mut tree = parse(&shown, &faces)?;
    let stuck = stuck_characters(&tree);
    if !stuck.is_empty() {
        shown = substitute(&shown, &stuck, &BTreeSet::new());
        tree = parse(&shown, &faces)?;
        undrawn.extend(stuck);
    }

    let mut warnings = Vec::new();
    if !undrawn.is_empty() {
        warnings.push(format!(
            "no font here draws {}: shown as ? in the PNG; install a font that has them, or use the SVG",
            listed(&undrawn)
        ));
    }
    Ok(Png { bytes: paint(&tree)?, warnings })
}

fn parse(svg: &str, faces: &Fonts) -> Result<usvg::Tree, ChartError> {
    let text_face = faces.text_face;
    let options = usvg::Options {
        fontdb: Arc::clone(&faces.database),
        font_resolver: usvg::FontResolver {
            // Whatever family the SVG names for browsers: the same face on every machine.
            select_font: Box::new(move |_, _| Some(text_face)),
            select_fallback: Box::new(|character, used, database| fonts::another_face(character, used, database)),
        },
        ..usvg::Options::default()
    };
    Ok(usvg::Tree::from_str(svg, &options)?)
}

fn paint(tree: &usvg::Tree) -> Result<Vec<u8>, ChartError> {
    let size = tree.size().to_int_size();
    let (width, height) = (size.width(), size.height());
    let refused = ChartError::Size { width, height };
    if width.max(height) > MAX_SIDE {
        return Err(refused);
    }
    let Some(mut pixmap) = tiny_skia::Pixmap::new(width, height) else {
        return Err(refused);
    };
    pixmap.fill(tiny_skia::Color::WHITE);
    resvg::render(tree, tiny_skia::Transform::identity(), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| ChartError::EncodePng(Box::new(error)))
}

/// The text with question marks for some characters, and without some others.
fn substitute(svg: &str, undrawn: &BTreeSet<char>, dropped: &BTreeSet<char>) -> String {
    svg.chars()
        .filter(|character| !dropped.contains(character))
        .map(|character| if undrawn.contains(&character) { '?' } else { character })
        .collect()
}

/// Characters of texts that came out with a box although a face has each of them: resvg fills in face by face only
/// where all faces make the same number of glyphs of a text, which scripts with ligatures do not.
fn stuck_characters(tree: &usvg::Tree) -> BTreeSet<char> {
    let mut texts = Vec::new();
    collect_boxed(tree.root(), &mut texts);
    texts.iter().flat_map(|text| fonts::beyond_text_face(text)).collect()
}

fn collect_boxed(group: &usvg::Group, texts: &mut Vec<String>) {
    for node in group.children() {
        match node {
            usvg::Node::Group(inner) => collect_boxed(inner, texts),
            usvg::Node::Text(text) => {
                let mut glyphs = text.layouted().iter().flat_map(|span| span.positioned_glyphs.iter());
                // Glyph 0 is the box.
                if glyphs.any(|glyph| glyph.id.0 == 0) {
                    texts.push(text.chunks().iter().map(usvg::TextChunk::text).collect());
                }
            }
            usvg::Node::Path(_) | usvg::Node::Image(_) => {}
        }
    }
}

/// `'ก' (U+0E01), 'ข' (U+0E02) and 3 more`.
fn listed(characters: &BTreeSet<char>) -> String {
    let named: Vec<String> = characters
        .iter()
        .take(NAMED)
        .map(|character| format!("'{character}' (U+{:04X})", u32::from(*character)))
        .collect();
    let rest = characters.len().saturating_sub(NAMED);
    if rest == 0 { named.join(", ") } else { format!("{} and {rest} more", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn svg(label: &str) -> String {
        format!(
            "<svg width=\"300\" height=\"40\" viewBox=\"0 0 300 40\" xmlns=\"http://www.w3.org/2000/svg\">\n\
             <text x=\"10\" y=\"20\" dy=\"0.5ex\" font-family=\"Noto Sans SC, sans-serif\" font-size=\"16\">\n\
             {label}\n</text>\n</svg>\n"
        )
    }

    /// Dark pixels.
    fn ink(png: &Png) -> Result<usize, Box<dyn std::error::Error>> {
        let pixmap = tiny_skia::Pixmap::decode_png(&png.bytes)?;
        assert_eq!((pixmap.width(), pixmap.height()), (300, 40));
        let dark = pixmap.pixels().iter().filter(|pixel| pixel.red() < 128);
        Ok(dark.count())
    }

    #[test]
    fn every_script_that_is_carried_leaves_ink_and_no_warning() -> Outcome {
        for label in ["spring sale", "春节特惠", "Łódź 春节 ệ", "Весна", "\u{1F389} 大促", "❤\u{FE0F} 会员 👍\u{1F3FD}"]
        {
            let png = render_png(&svg(label))?;
            assert!(ink(&png)? > 100, "{label}");
            assert!(png.warnings.is_empty(), "{:?}", png.warnings);
        }
        assert_eq!(ink(&render_png(&svg(" "))?)?, 0);
        Ok(())
    }

    #[test]
    fn what_no_font_draws_becomes_a_question_mark_and_a_warning() -> Outcome {
        let odd = render_png(&svg("春\u{10FFFD}"))?;
        let plain = render_png(&svg("春?"))?;
        assert_eq!(odd.bytes, plain.bytes);
        assert_eq!(odd.warnings.len(), 1);
        assert!(odd.warnings.iter().all(|warning| warning.contains("U+10FFFD")));
        Ok(())
    }

    #[test]
    fn what_is_no_svg_is_refused() {
        assert!(matches!(render_png("春"), Err(ChartError::ReadSvg(_))));
        let huge = svg("a").replacen("300", "30000", 1);
        assert!(matches!(render_png(&huge), Err(ChartError::Size { .. })));
    }

    #[test]
    fn a_long_list_is_cut() {
        let many: BTreeSet<char> = ('\u{E000}'..'\u{E010}').collect();
        assert!(listed(&many).ends_with("and 4 more"), "{}", listed(&many));
    }
}
