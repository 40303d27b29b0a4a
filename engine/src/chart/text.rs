//! Text before it is drawn: how wide it will be, and how to make it fit.
//!
//! An SVG does not say how wide its text turns out: the viewer's font decides. The widths here are those of the
//! bundled face, with some slack for the fonts that a browser may use instead. Labels that are too long lose their
//! middle, because campaign names differ at their ends ("…, wave 1", "…, wave 2"), and stay distinct.

use std::collections::HashMap;

const ELLIPSIS: &str = "\u{2026}";

/// In place of a name that is not there.
pub(super) const DASH: &str = "\u{2013}";

/// The usual sans-serif fonts are a little wider than the bundled one.
const SLACK: f64 = 1.06;

/// Widths of the characters from space to tilde, in thousandths of the font size: Noto Sans CJK SC, regular.
const ASCII: [u16; 95] = [
    224, 323, 474, 555, 555, 921, 680, 278, 338, 338, 467, 555, 278, 347, 278, 392, 555, 555, 555, 555, 555, 555, 555,
    555, 555, 555, 278, 278, 555, 555, 555, 474, 946, 608, 657, 638, 688, 589, 552, 689, 728, 293, 535, 646, 543, 812,
    723, 742, 633, 742, 635, 596, 599, 721, 575, 878, 573, 531, 603, 338, 392, 338, 555, 559, 606, 563, 618, 510, 620,
    554, 325, 564, 607, 275, 275, 552, 284, 926, 610, 606, 620, 620, 388, 468, 377, 607, 521, 802, 498, 521, 475, 338,
    270, 338, 555,
];

/// Characters that take no room of their own: they change the one before, or join it to the next.
pub(super) fn joins(character: char) -> bool {
    matches!(
        character,
        '\u{300}'..='\u{36F}'
            | '\u{200B}'..='\u{200D}'
            | '\u{20D0}'..='\u{20FF}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{1F3FB}'..='\u{1F3FF}'
            | '\u{E0020}'..='\u{E007F}'
    )
}

/// Width of a character as a share of the font size.
fn em(character: char) -> f64 {
    if joins(character) {
        return 0.0;
    }
    match character {
        ' '..='~' => u32::from(character)
            .checked_sub(32)
            .and_then(|index| ASCII.get(usize::try_from(index).ok()?))
            .map_or(0.6, |width| f64::from(*width) / 1000.0),
        // Accented Latin, Greek, Cyrillic and the other alphabets: a generous average.
        '\0'..='\u{10FF}' | '\u{1E00}'..='\u{1FFF}' => 0.64,
        // Dashes, quotes, the minus.
        '\u{2010}'..='\u{2013}' | '\u{2018}'..='\u{201E}' | '\u{2212}' => 0.56,
        // Emoji are wider than they are high.
        '\u{2600}'..='\u{27BF}' | '\u{1F000}'..='\u{1FAFF}' => 1.28,
        // Chinese, Japanese, Korean, full-width forms, and whatever else is about square.
        _ => 1.0,
    }
}

/// The width of a line of text in pixels, at a font size in pixels.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(em).sum::<f64>() * size * SLACK
}

/// The widest of some lines, in pixels.
pub(super) fn widest<S: AsRef<str>>(texts: &[S], size: f64) -> f64 {
    texts.iter().map(|text| width(text.as_ref(), size)).fold(0.0, f64::max)
}

/// Text as it may stand in an XML document: one line, without control characters, which XML forbids, and without
/// the marks that turn the direction of all that follows.
pub(super) fn clean(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|character| if character.is_whitespace() { ' ' } else { character })
        .filter(|character| {
            !character.is_control()
                && !matches!(
                    character,
                    '\u{202A}'..='\u{202E}'
                        | '\u{2066}'..='\u{2069}'
                        | '\u{FEFF}'
                        | '\u{FFFE}'
                        | '\u{FFFF}'
                )
        })
        .collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A label as it may be drawn; an empty one becomes a dash, so that its row is seen to have no name.
pub(super) fn label(text: &str) -> String {
    let cleaned = clean(text);
    if cleaned.is_empty() { DASH.to_owned() } else { cleaned }
}

/// The text in pieces that must not be cut: an accent stays with its letter, a joined emoji stays whole.
fn clusters(text: &str) -> Vec<&str> {
    let mut starts = Vec::new();
    let mut is_joined = true;
    for (index, character) in text.char_indices() {
        if starts.is_empty() || !(joins(character) || is_joined) {
            starts.push(index);
        }
        is_joined = character == '\u{200D}';
    }
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| text.get(*start..end)).collect()
}

/// Marks that must not begin a line.
const CLOSING: &str = "，。；：、！？）」』】》〉”’％…,.;:!?)]}%";
/// Marks that must not end a line.
const OPENING: &str = "（「『【《〈“‘([{";

/// A text in lines that are no wider than `room` pixels: broken between words, and between Chinese characters, but not
/// before a mark that closes nor after one that opens. At most `most` lines; of a longer text the last line ends in an
/// ellipsis, and the answer's second half says so.
pub(super) fn wrap(text: &str, room: f64, size: f64, most: usize) -> (Vec<String>, bool) {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for (piece, is_spaced) in pieces(text) {
        let joined = if is_spaced && !line.is_empty() { format!("{line} {piece}") } else { format!("{line}{piece}") };
        if width(&joined, size) <= room {
            line = joined;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for cluster in clusters(&piece) {
            if !line.is_empty() && width(&line, size) + width(cluster, size) > room {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(cluster);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    let is_cut = lines.len() > most;
    if is_cut {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let mut kept = clusters(last);
            while !kept.is_empty() && width(&kept.concat(), size) + width(ELLIPSIS, size) > room {
                kept.pop();
            }
            *last = format!("{}{ELLIPSIS}", kept.concat().trim_end());
        }
    }
    (lines, is_cut)
}

/// What stays together on a line, and whether a space comes before it.
fn pieces(text: &str) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> = Vec::new();
    let mut is_spaced = false;
    let mut previous: Option<char> = None;
    for cluster in clusters(text) {
        let Some(first) = cluster.chars().next() else { continue };
        if first.is_whitespace() {
            is_spaced = true;
            continue;
        }
        let is_wide = |character: char| em(character) >= 1.0;
        let may_break = previous.is_none_or(|last| {
            !OPENING.contains(last) && !CLOSING.contains(first) && (is_spaced || is_wide(first) || is_wide(last))
        });
        match found.last_mut() {
            Some((piece, _)) if !may_break => {
                if is_spaced {
                    piece.push(' ');
                }
                piece.push_str(cluster);
            }
            _ => found.push((cluster.to_owned(), is_spaced)),
        }
        is_spaced = false;
        previous = Some(first);
    }
    found
}

/// Takes out the middle of a text that is wider than `room` pixels.
pub(super) fn shorten(text: &str, room: f64, size: f64) -> String {
    shorten_to(text, room, size, 0.6)
}

/// `head` is the share of the room for what stands before the ellipsis.
fn shorten_to(text: &str, room: f64, size: f64, head: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let rest = room - width(ELLIPSIS, size);
    let pieces = clusters(text);
    let mut used = 0.0;
    let mut before = 0;
    for piece in &pieces {
        let next = used + width(piece, size);
        if next > rest * head {
            break;
        }
        used = next;
        before += 1;
    }
    let mut after = pieces.len();
    for piece in pieces.iter().skip(before).rev() {
        used += width(piece, size);
        if used > rest {
            break;
        }
        after -= 1;
    }
    let first: String = pieces.iter().take(before).copied().collect();
    let last: String = pieces.iter().skip(after).copied().collect();
    format!("{}{ELLIPSIS}{}", first.trim_end(), last.trim_start())
}

/// Shortens labels that stand beside each other, so that labels that differ still differ afterwards: by cutting at
/// another place when the middle is where they differ, and by numbering them when no cut helps.
pub(super) fn shorten_all<S: AsRef<str>>(texts: &[S], room: f64, size: f64) -> Vec<String> {
    let cut_at =
        |head: f64| -> Vec<String> { texts.iter().map(|text| shorten_to(text.as_ref(), room, size, head)).collect() };
    let clear = [0.6, 0.35, 0.85, 0.1].into_iter().map(cut_at).find(|cut| ambiguous(texts, cut).is_empty());
    if let Some(cut) = clear {
        return cut;
    }
    let mut shortened = cut_at(0.6);
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for index in ambiguous(texts, &shortened) {
        let (Some(text), Some(place)) = (texts.get(index), shortened.get_mut(index)) else {
            continue;
        };
        let next = numbers.len() + 1;
        let number = *numbers.entry(text.as_ref()).or_insert(next);
        let tail = format!(" #{number}");
        *place = shorten(text.as_ref(), room - width(&tail, size), size) + &tail;
    }
    shortened
}

/// The places of the labels that look like another, different one.
fn ambiguous<S: AsRef<str>>(texts: &[S], shortened: &[String]) -> Vec<usize> {
    let mut origins: HashMap<&str, Vec<&str>> = HashMap::new();
    for (text, short) in texts.iter().zip(shortened) {
        let known = origins.entry(short.as_str()).or_default();
        if !known.contains(&text.as_ref()) {
            known.push(text.as_ref());
        }
    }
    shortened
        .iter()
        .enumerate()
        .filter(|(_, short)| origins.get(short.as_str()).is_some_and(|known| known.len() > 1))
        .map(|(index, _)| index)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn chinese_is_square_and_latin_is_narrow() {
        assert!((width("春节特惠", 10.0) - 40.0 * SLACK).abs() < 1e-9);
        assert!(width("spring", 10.0) < 40.0);
        assert!((width("e\u{301}", 10.0) - width("e", 10.0)).abs() < 1e-9);
        assert!(width("", 10.0).abs() < 1e-9);
        assert!((widest(&["a", "aaa", "aa"], 10.0) - width("aaa", 10.0)).abs() < 1e-9);
    }

    #[test]
    fn short_texts_stay_and_long_ones_fit() {
        assert_eq!(shorten("spring", 100.0, 12.0), "spring");
        for text in [
            "Loyalty win-back, a long name that never ends, wave 2",
            "双十一预热第一波短信召回沉默客户超长名称测试",
            "👨\u{200D}👩\u{200D}👧 family family family family 👍\u{1F3FD}",
        ] {
            for room in [10.0, 40.0, 90.0, 130.0] {
                let short = shorten(text, room, 12.0);
                assert!(short.contains(ELLIPSIS), "{short}");
                assert!(short == ELLIPSIS || width(&short, 12.0) <= room, "{short}");
            }
        }
    }

    #[test]
    fn both_ends_of_a_name_are_kept() {
        let short = shorten("Loyalty win-back, a long name, wave 2", 120.0, 12.0);
        assert!(short.starts_with("Loyalty"), "{short}");
        assert!(short.ends_with('2'), "{short}");
    }

    #[test]
    fn labels_that_differ_still_differ() {
        let ends: Vec<String> =
            (0..20).map(|wave| format!("Loyalty win-back with a very long name, wave {wave}")).collect();
        let middles: Vec<String> =
            (0..20).map(|wave| format!("the same long beginning {wave} and the same long ending of a name")).collect();
        for texts in [ends, middles] {
            let short = shorten_all(&texts, 120.0, 12.0);
            let distinct: HashSet<&String> = short.iter().collect();
            assert_eq!(distinct.len(), texts.len(), "{short:?}");
            assert!(short.iter().all(|text| width(text, 12.0) <= 120.0), "{short:?}");
        }
    }

    #[test]
    fn equal_labels_stay_equal() {
        let texts = ["a name that is far too long for the room"; 2];
        let short = shorten_all(&texts, 60.0, 12.0);
        assert_eq!(short.first(), short.last());
    }

    #[test]
    fn accents_and_joined_emoji_are_not_cut() {
        assert_eq!(clusters("e\u{301}a"), ["e\u{301}", "a"]);
        assert_eq!(clusters("👨\u{200D}👩 x"), ["👨\u{200D}👩", " ", "x"]);
        assert!(clusters("").is_empty());
    }

    #[test]
    fn lines_break_between_words_and_between_chinese_characters() {
        let (lines, is_cut) = wrap("one two three four", width("one two ", 12.0), 12.0, 9);
        assert_eq!(lines, ["one two", "three", "four"]);
        assert!(!is_cut);
        let (lines, _) = wrap("春节特惠，全场包邮（限今日）。", 5.2 * 12.0 * SLACK, 12.0, 9);
        assert_eq!(lines, ["春节特惠，", "全场包邮", "（限今", "日）。"]);
        assert!(wrap("", 50.0, 12.0, 3).0.is_empty());
    }

    #[test]
    fn lines_fit_whatever_the_text() {
        for text in ["a wordthatislongerthanthewholeline and more", "双十一预热，第一波短信召回 SMS recall 👍 100 %。"]
        {
            for room in [30.0, 60.0, 200.0] {
                let (lines, _) = wrap(text, room, 12.0, 99);
                assert!(lines.iter().all(|line| width(line, 12.0) <= room + 13.0 * SLACK), "{lines:?}");
                let whole: String = lines.concat().chars().filter(|character| *character != ' ').collect();
                assert_eq!(whole, text.replace(' ', ""));
                let (cut, is_cut) = wrap(text, room, 12.0, 1);
                assert!(cut.len() == 1 && width(&cut[0], 12.0) <= room, "{cut:?}");
                assert_eq!(is_cut, lines.len() > 1);
                assert_eq!(cut[0].ends_with(ELLIPSIS), is_cut);
            }
        }
    }

    #[test]
    fn what_xml_forbids_is_taken_out() {
        assert_eq!(clean(" a\u{0}\u{1b}b\n\tc\u{202E}\u{FFFF} "), "ab c");
        assert_eq!(label("\u{7}"), "\u{2013}");
    }
}
