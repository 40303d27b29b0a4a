//! Which characters a font face has a glyph for, read from the face's `cmap` table (ISO/IEC 14496-22, formats 4 and
//! 12: the two that fonts for Unicode use). The libraries that draw text keep this to themselves, and draw a box.

use std::collections::BTreeSet;

/// The characters of `wanted` that the face draws as outlines. A damaged file, and a face that holds only bitmaps,
/// which are not drawn here, draws nothing.
pub(super) fn drawn(data: &[u8], face: u32, wanted: &BTreeSet<char>) -> BTreeSet<char> {
    let maps = character_maps(data, face).unwrap_or_default();
    wanted
        .iter()
        .copied()
        .filter(|character| {
            let code = u32::from(*character);
            maps.iter().any(|map| has_glyph(map, code).unwrap_or(false))
        })
        .collect()
}

/// The tables from characters to glyphs of a face that has outlines.
fn character_maps(data: &[u8], face: u32) -> Option<Vec<&[u8]>> {
    let start = face_start(data, face)?;
    let has_outlines = [b"glyf", b"CFF ", b"CFF2"].into_iter().any(|tag| table(data, start, *tag).is_some());
    if !has_outlines {
        return None;
    }
    let cmap = table(data, start, *b"cmap")?;
    let count = usize::from(u16_at(cmap, 2)?);
    let offsets = (0..count).filter_map(|index| size_at(cmap, 4 + 8 * index + 4));
    Some(offsets.filter_map(|offset| cmap.get(offset..)).collect())
}

/// Where a face begins: at once, or further on in a collection of faces.
fn face_start(data: &[u8], face: u32) -> Option<usize> {
    if data.get(..4)? == b"ttcf" { size_at(data, 12 + 4 * usize::try_from(face).ok()?) } else { Some(0) }
}

fn table(data: &[u8], start: usize, tag: [u8; 4]) -> Option<&[u8]> {
    let count = usize::from(u16_at(data, start.checked_add(4)?)?);
    let record = (0..count)
        .filter_map(|index| data.get(start.checked_add(12 + 16 * index)?..))
        .find(|record| record.starts_with(&tag))?;
    let from = size_at(record, 8)?;
    data.get(from..from.checked_add(size_at(record, 12)?)?)
}

/// Does a table map the code point to a glyph other than the box for missing ones?
fn has_glyph(map: &[u8], code: u32) -> Option<bool> {
    match u16_at(map, 0)? {
        4 => has_glyph_in_segments(map, u16::try_from(code).ok()?),
        12 => has_glyph_in_groups(map, code),
        _ => None,
    }
}

/// Format 4: segments of the first 65,536 code points.
fn has_glyph_in_segments(map: &[u8], code: u16) -> Option<bool> {
    let length = usize::from(u16_at(map, 6)?);
    for at in (0..length).step_by(2) {
        if u16_at(map, 14 + at)? < code {
            continue;
        }
        let first = u16_at(map, 16 + length + at)?;
        if code < first {
            return Some(false);
        }
        let delta = u16_at(map, 16 + 2 * length + at)?;
        let place = 16 + 3 * length + at;
        let offset = u16_at(map, place)?;
        let glyph = if offset == 0 {
            code.wrapping_add(delta)
        } else {
            // The offset counts from where it stands itself.
            let glyph_at = place + usize::from(offset) + 2 * usize::from(code - first);
            match u16_at(map, glyph_at)? {
                0 => 0,
                glyph => glyph.wrapping_add(delta),
            }
        };
        return Some(glyph != 0);
    }
    Some(false)
}

/// Format 12: groups of code points whose glyphs follow each other.
fn has_glyph_in_groups(map: &[u8], code: u32) -> Option<bool> {
    for index in 0..size_at(map, 12)? {
        let at = 16 + 12 * index;
        let (first, last) = (u32_at(map, at)?, u32_at(map, at + 4)?);
        if (first..=last).contains(&code) {
            let glyph = u64::from(u32_at(map, at + 8)?) + u64::from(code - first);
            return Some(glyph != 0);
        }
    }
    Some(false)
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn size_at(data: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(data, at)?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::fonts::BUNDLED;
    use super::*;

    fn drawn_by(name: &str, text: &str) -> String {
        let wanted: BTreeSet<char> = text.chars().collect();
        BUNDLED.iter().filter(|(known, _)| *known == name).flat_map(|(_, data)| drawn(data, 0, &wanted)).collect()
    }

    #[test]
    fn the_bundled_faces_draw_what_they_are_for() {
        let chinese = "\u{2026}一丁七春节惠镕喆囧龍鬱，。（）％";
        let drawn_chinese = drawn_by("Noto Sans CJK SC", chinese);
        let mut expected: Vec<char> = chinese.chars().collect();
        expected.sort_unstable();
        assert_eq!(drawn_chinese, expected.iter().collect::<String>());
        assert_eq!(drawn_by("Noto Sans", "AŁжệ春"), "AŁжệ");
        assert_eq!(drawn_by("Noto Emoji", "A春\u{1F389}"), "\u{1F389}");
    }

    #[test]
    fn what_no_face_draws_is_not_claimed() {
        for (name, _) in &BUNDLED {
            assert_eq!(drawn_by(name, "\u{10FFFD}\u{E000}\u{0E01}"), "");
        }
    }

    #[test]
    fn damaged_fonts_draw_nothing() {
        let wanted: BTreeSet<char> = ['a', '春'].into();
        for (_, data) in &BUNDLED {
            for length in (0..4_000).step_by(7) {
                let cut = data.get(..length).unwrap_or(data);
                assert!(drawn(cut, 0, &wanted).is_empty());
            }
        }
        assert!(drawn(&[0xFF; 4096], 3, &wanted).is_empty());
        assert!(drawn(b"ttcf", 0, &wanted).is_empty());
    }
}
