//! How many parts a text message takes: a text in, its alphabet and its number of parts out.
//!
//! GSM 03.38: 160 characters fit one message, 153 each part of a longer one; ten characters count two. A text with
//! any other character goes in UCS-2: 70 and 67 units, of which a character outside the basic plane takes two.
//! Neither a two-unit character nor an escaped one is ever split between parts.

/// Characters of the default GSM alphabet besides letters and digits of ASCII.
const GSM_BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
/// Characters of its extension table, which take two units.
const GSM_EXTENDED: &str = "^{}\\[]~|€\u{c}";

/// The alphabet in which a text is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Seven bits a character.
    Gsm7,
    /// Sixteen bits a unit.
    Ucs2,
}

impl Encoding {
    /// The word in the logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        }
    }

    /// Units that fit a message of one part, and each part of a longer one.
    const fn capacities(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }
}

/// The alphabet and the number of parts of a text.
pub(crate) fn measure(text: &str) -> (Encoding, i64) {
    let default_units: Option<Vec<usize>> = text.chars().map(gsm_units).collect();
    let Some(units) = default_units else {
        let wide_units: Vec<usize> = text.chars().map(char::len_utf16).collect();
        return (Encoding::Ucs2, parts(&wide_units, Encoding::Ucs2));
    };
    (Encoding::Gsm7, parts(&units, Encoding::Gsm7))
}

/// The units that a character takes in GSM 03.38, if it is there.
fn gsm_units(character: char) -> Option<usize> {
    if character.is_ascii_alphanumeric() || GSM_BASIC.contains(character) {
        Some(1)
    } else if GSM_EXTENDED.contains(character) {
        Some(2)
    } else {
        None
    }
}

fn parts(units: &[usize], encoding: Encoding) -> i64 {
    let (alone, joined) = encoding.capacities();
    if units.iter().sum::<usize>() <= alone {
        return 1;
    }
    let mut full_parts = 0;
    let mut filled = 0;
    for unit in units {
        if filled + unit > joined {
            full_parts += 1;
            filled = 0;
        }
        filled += unit;
    }
    full_parts + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, encoding: Encoding, expected: i64) {
        assert_eq!(measure(text), (encoding, expected), "{text}");
    }

    #[test]
    fn latin_texts_hold_160_and_then_153() {
        check("", Encoding::Gsm7, 1);
        check(&"a".repeat(160), Encoding::Gsm7, 1);
        check(&"a".repeat(161), Encoding::Gsm7, 2);
        check(&"a".repeat(306), Encoding::Gsm7, 2);
        check(&"a".repeat(307), Encoding::Gsm7, 3);
    }

    #[test]
    fn extended_characters_count_two_and_stay_whole() {
        check(&"€".repeat(80), Encoding::Gsm7, 1);
        check(&"€".repeat(81), Encoding::Gsm7, 2);
        // 76 fit a part of 153, since the last unit cannot hold half of one.
        check(&"€".repeat(152), Encoding::Gsm7, 2);
        check(&"€".repeat(153), Encoding::Gsm7, 3);
    }

    #[test]
    fn other_texts_hold_70_and_then_67() {
        check(&"促".repeat(70), Encoding::Ucs2, 1);
        check(&"促".repeat(71), Encoding::Ucs2, 2);
        check(&"促".repeat(134), Encoding::Ucs2, 2);
        check(&"促".repeat(135), Encoding::Ucs2, 3);
        check(&"🎁".repeat(35), Encoding::Ucs2, 1);
        check(&"🎁".repeat(67), Encoding::Ucs2, 3);
    }
}
