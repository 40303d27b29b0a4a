//! Phone numbers and e-mail addresses become `recipient_id` here, and nowhere does the raw value go further.
//!
//! HMAC-SHA-256 (RFC 2104, FIPS 180-4) of the E.164 number or of the trimmed, lower-cased address, in hexadecimal, under a
//! key that the operator keeps outside the store. Without the key a list of all phone numbers (there are only some 10¹⁰)
//! could be hashed and matched; with it, only the operator can.

use std::borrow::Cow;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};
use sha2::Sha256;

use crate::error::{EngineError, Result};
use crate::event::Identity;

/// The operator's key, with the country that a number without a country code belongs to.
#[derive(Clone)]
pub struct IdentityHasher {
    mac: Hmac<Sha256>,
    default_country: Option<Region>,
}

impl std::fmt::Debug for IdentityHasher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IdentityHasher(key hidden)")
    }
}

/// A key shorter than this is refused: it could be guessed.
const SHORTEST_KEY: usize = 16;

impl IdentityHasher {
    /// Makes a hasher from a key and an optional ISO 3166 country (such as `US`) for numbers without a country code.
    ///
    /// # Errors
    /// When the key is shorter than 16 bytes, or the country is not two letters.
    pub fn new(key: &[u8], default_country: Option<&str>) -> Result<Self> {
        let key = key.trim_ascii();
        if key.len() < SHORTEST_KEY {
            return Err(EngineError::usage(format!(
                "the hash key has {} bytes: give at least {SHORTEST_KEY}, for example from `openssl rand -hex 32`",
                key.len()
            )));
        }
        let default_country = default_country.map(region).transpose()?;
        let mac = Hmac::<Sha256>::new_from_slice(key)
            .map_err(|error| EngineError::usage(format!("the hash key cannot be used: {error}")))?;
        Ok(Self { mac, default_country })
    }

    /// Reads the key from a file.
    ///
    /// # Errors
    /// When the file cannot be read or the key is too short.
    pub fn from_file(path: &Path, default_country: Option<&str>) -> Result<Self> {
        let key = std::fs::read(path).map_err(EngineError::io("read the hash key", path))?;
        Self::new(&key, default_country)
    }

    /// The recipient behind an address, or `None` when the text is not a phone number or an address.
    #[must_use]
    pub fn recipient(&self, kind: Identity, raw: &str) -> Option<String> {
        let normal = match kind {
            Identity::Phone => self.e164(raw)?,
            Identity::Email => normal_email(raw)?,
        };
        Some(self.hash(&normal))
    }

    /// The keyed hash of an attribute: of an address in its normal form, so that one number is one hash in every notation;
    /// of any other text as it is. `kind` is what the column is said to hold.
    #[must_use]
    pub(crate) fn attribute(&self, kind: Option<Identity>, text: &str) -> String {
        let address = match kind {
            Some(kind) => self.recipient(kind, text),
            None if looks_like_address(text) => {
                self.recipient(if text.contains(['@', '＠']) { Identity::Email } else { Identity::Phone }, text)
            }
            None => None,
        };
        address.unwrap_or_else(|| self.hash(text.trim()))
    }

    /// The keyed hash of any text, for attributes that hold addresses which need not be valid (a sender's name, say).
    #[must_use]
    pub fn hash(&self, text: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        hexadecimal(&mac.finalize().into_bytes())
    }

    fn e164(&self, raw: &str) -> Option<String> {
        let raw = ascii_digits(raw.trim());
        // Spreadsheets write a leading apostrophe.
        let raw = without_notation(raw.trim_start_matches('\''))?;
        let raw = raw.as_ref();
        let parsed = match PHONE_NUMBER_UTIL.parse(raw, self.default_country) {
            Ok(number) => number,
            // Providers often write E.164 without the plus.
            Err(_) if self.default_country.is_none() && raw.bytes().all(|byte| byte.is_ascii_digit()) => {
                PHONE_NUMBER_UTIL.parse(format!("+{raw}"), None).ok()?
            }
            Err(_) => return None,
        };
        if !PHONE_NUMBER_UTIL.is_possible_number(&parsed) {
            return None;
        }
        Some(PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164).into_owned())
    }
}

/// A number that some tool took for an amount, as its digits: 14155550100.0, 14155550100.00, 1.41555501E10; any other text as it
/// is. None for one whose digits were rounded away (1.41556E+10), which is somebody else's number.
fn without_notation(raw: &str) -> Option<Cow<'_, str>> {
    /// Digits that a spreadsheet shows of a large number, at most.
    const SHOWN: usize = 6;
    let (mantissa, exponent) = match raw.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (raw, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole.trim_start_matches('+')) || !(fraction.is_empty() || all_digits(fraction)) {
        return Some(Cow::Borrowed(raw));
    }
    let Some(exponent) = exponent else {
        let is_whole = fraction.bytes().all(|digit| digit == b'0');
        return Some(Cow::Borrowed(if is_whole { whole } else { raw }));
    };
    let Ok(exponent) = exponent.parse::<usize>() else { return Some(Cow::Borrowed(raw)) };
    let fraction = fraction.trim_end_matches('0');
    let digits = whole.trim_start_matches('+').len() + fraction.len();
    if digits <= SHOWN || fraction.len() > exponent || exponent > 20 {
        return None;
    }
    Some(Cow::Owned(format!("{whole}{fraction}{}", "0".repeat(exponent - fraction.len()))))
}

/// A text with full-width digits and plus signs as the usual ones.
fn ascii_digits(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let plain = |character: char| match character {
        '０'..='９' => char::from_digit(u32::from(character) - u32::from('０'), 10).unwrap_or(character),
        '＋' => '+',
        other => other,
    };
    Cow::Owned(text.chars().map(plain).collect())
}

fn normal_email(raw: &str) -> Option<String> {
    let address = raw.trim().to_lowercase();
    let (local, domain) = address.rsplit_once('@')?;
    let plausible = !local.is_empty() && domain.contains('.') && !address.contains(char::is_whitespace);
    plausible.then_some(address)
}

/// Whether a `recipient_id` looks like a raw address that should have been mapped as `phone` or `email`.
#[must_use]
pub fn looks_like_address(text: &str) -> bool {
    let text = ascii_digits(text.trim());
    let text = text.as_ref();
    // As they stand in links and in the names of some providers.
    let number =
        ["tel:", "sms:", "whatsapp:", "rcs:"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    // The plus may stand in a bracket with the country's code.
    if let Some(digits) = number.trim_start_matches(['(', '（', ' ']).strip_prefix('+') {
        let is_mark = |character: char| {
            matches!(character, ' ' | '-' | '.' | '/' | '(' | ')' | '（' | '）' | '－' | '\u{a0}' | '　')
        };
        let plain: String = digits.chars().filter(|character| !is_mark(*character)).collect();
        return (8..=15).contains(&plain.len()) && plain.bytes().all(|byte| byte.is_ascii_digit());
    }
    normal_email(text).is_some()
}

/// Stands where something may not be kept.
pub(super) const HIDDEN: &str = "[hidden]";

/// Takes out of a raw row whatever may be an address: runs of seven or more digits, with the marks people write between
/// them, and words with an @. Used where a row is too broken to know its columns.
#[must_use]
pub fn mask_addresses(raw: &str) -> String {
    let mut masked = String::with_capacity(raw.len());
    let mut word = String::new();
    let flush = |word: &mut String, masked: &mut String| {
        let digits = word.chars().filter(|character| character.is_numeric()).count();
        if (digits >= 7 && !starts_with_date(word)) || word.contains(['@', '＠']) {
            masked.push_str(HIDDEN);
        } else {
            masked.push_str(word);
        }
        word.clear();
    };
    let is_mark = |character: char| {
        matches!(
            character,
            '+' | '＋' | '-' | '－' | '.' | '(' | ')' | '（' | '）' | ' ' | '　' | '@' | '＠' | '_' | '/'
        )
    };
    for character in raw.chars() {
        if character.is_alphanumeric() || is_mark(character) {
            word.push(character);
        } else {
            flush(&mut word, &mut masked);
            masked.push(character);
        }
    }
    flush(&mut word, &mut masked);
    masked
}

/// Takes out of a raw row what plainly is an address: `+` and eight to fifteen digits, and words with an @ and a domain.
#[must_use]
pub fn mask_plain_addresses(raw: &str) -> String {
    if !raw.contains(['+', '@']) {
        return raw.to_owned();
    }
    let is_part =
        |character: char| character.is_alphanumeric() || matches!(character, '+' | '-' | '.' | '@' | '_' | '%');
    let mut masked = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(start) = rest.find(is_part) {
        let end = rest[start..].find(|character| !is_part(character)).map_or(rest.len(), |length| start + length);
        masked.push_str(&rest[..start]);
        let word = &rest[start..end];
        masked.push_str(if looks_like_address(word) { HIDDEN } else { word });
        rest = &rest[end..];
    }
    masked.push_str(rest);
    masked
}

/// Whether a word begins as a date of our times, which is no phone number: year, month and day in any order that has the year
/// at an end, parted by one mark, and perhaps a time after it.
fn starts_with_date(word: &str) -> bool {
    let word = word.trim_start();
    let length_of_date = word.bytes().take_while(|byte| byte.is_ascii_digit() || b"-/.".contains(byte)).count();
    let (date, time) = word.split_at(length_of_date);
    let Some(mark) = date.chars().find(|character| !character.is_ascii_digit()) else { return false };
    let parts: Vec<&str> = date.split(mark).collect();
    let is_year = |part: &str| part.len() == 4 && (part.starts_with("19") || part.starts_with("20"));
    let is_small = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_date = match parts.as_slice() {
        [year, month, day] if is_year(year) => is_small(month) && is_small(day),
        [day, month, year] if is_year(year) => is_small(day) && is_small(month),
        _ => false,
    };
    is_date && time.bytes().filter(u8::is_ascii_digit).count() <= 6
}

/// Lower-case hexadecimal digits of bytes.
#[must_use]
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The region of a country's two letters; not every pair of letters is a country.
fn region(country: &str) -> Result<Region> {
    let region = country.to_uppercase().parse::<Region>().ok();
    region.filter(|region| PHONE_NUMBER_UTIL.get_supported_regions().any(|known| known == *region)).ok_or_else(|| {
        EngineError::usage(format!(
            "\"{country}\" is not a country with phone numbers: write its two letters, such as US or CN"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(country: Option<&str>) -> IdentityHasher {
        IdentityHasher::new(b"0123456789abcdef0123456789abcdef", country).unwrap()
    }

    #[test]
    fn an_attribute_has_one_hash_in_every_notation() {
        let hasher = IdentityHasher::new(&[b'k'; 32], Some("US")).unwrap();
        let number = hasher.recipient(Identity::Phone, "+14155552671").unwrap();
        for text in ["(415) 555-2671", "4155552671", "1-415-555-2671", " +1 415 555 2671"] {
            assert_eq!(hasher.attribute(Some(Identity::Phone), text), number, "{text}");
        }
        assert_eq!(hasher.attribute(None, "+1 415 555 2671"), number);
        // What is no address is hashed as it is.
        assert_eq!(hasher.attribute(Some(Identity::Phone), "none"), hasher.hash("none"));
        assert_eq!(hasher.attribute(None, "My Shop"), hasher.hash("My Shop"));
    }

    #[test]
    fn dates_are_no_addresses() {
        for date in [
            "2026-03-02T10:15:30Z",
            "02/03/2026 10:00",
            "2/3/2026",
            "02.03.2026 10",
            "2026/3/2 9:05",
            "2026-03-02 101530",
        ] {
            assert_eq!(mask_addresses(&format!("m2,{date},c")), format!("m2,{date},c"));
        }
        for number in ["2026-555-1234", "030/12345678", "01.02.20.26.30", "13/8001/38000", "2026-03-02 13800138000"] {
            assert!(mask_addresses(number).contains("[hidden]"), "{number}");
        }
    }

    #[test]
    fn one_number_in_many_spellings_is_one_recipient() {
        let with_country = hasher(Some("US"));
        let expected = with_country.hash("+14155552671");
        for spelling in ["+1 415-555-2671", "(415) 555-2671", "4155552671", "0014155552671", "+14155552671"] {
            let found = with_country.recipient(Identity::Phone, spelling);
            if spelling.starts_with("001") {
                // 00 is not the international prefix of the United States (011 is): not a number there.
                assert_ne!(found.as_ref(), Some(&expected));
            } else {
                assert_eq!(found.as_ref(), Some(&expected), "{spelling}");
            }
        }
        assert_eq!(hasher(None).recipient(Identity::Phone, "14155552671"), Some(expected));
        assert_eq!(
            hasher(Some("CN")).recipient(Identity::Phone, "138 0013 8000"),
            Some(hasher(None).hash("+8613800138000"))
        );
    }

    #[test]
    fn what_is_no_address_is_none() {
        assert_eq!(hasher(Some("US")).recipient(Identity::Phone, "call me"), None);
        assert_eq!(hasher(Some("US")).recipient(Identity::Phone, "12"), None);
        assert_eq!(hasher(None).recipient(Identity::Email, "nobody"), None);
        assert_eq!(
            hasher(None).recipient(Identity::Email, " Ana.Li@Example.COM "),
            Some(hasher(None).hash("ana.li@example.com"))
        );
    }

    /// RFC 4231, test case 1, whose key of 20 bytes passes the shortest length.
    #[test]
    fn the_hash_is_hmac_sha_256() {
        let hasher = IdentityHasher::new(&[0x0b; 20], None);
        // 0x0b is ASCII vertical tab, which is not trimmed as white space.
        assert_eq!(
            hasher.unwrap().hash("Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn short_keys_are_refused() {
        assert!(IdentityHasher::new(b"secret", None).unwrap_err().to_string().contains("16"));
    }

    #[test]
    fn masks_leave_no_number_behind() {
        let masked = mask_addresses("m1,+1 (415) 555-2671,ana@example.com,\"hello, 13800138000\",2");
        for leak in ["555", "ana@", "13800138000"] {
            assert!(!masked.contains(leak), "{masked}");
        }
        assert!(masked.contains("m1") && masked.contains("hello"));
        assert_eq!(
            mask_plain_addresses("m1,+14155552671,a.b@c.example,+5 %,2026-03-02T10:00:00+08:00"),
            "m1,[hidden],[hidden],+5 %,2026-03-02T10:00:00+08:00"
        );
        assert!(looks_like_address("＋１４１５５５５２６７１"));
        assert_eq!(mask_addresses("a３,１４１５５５５２６７１,春节"), "a３,[hidden],春节");
        for number in [
            "+1 415 555 2671",
            "+1-415-555-2671",
            "+1(415)5552671",
            "tel:+14155552671",
            "whatsapp:+14155552671",
            "（+86）13800138000",
        ] {
            assert!(looks_like_address(number), "{number}");
        }
        for name in ["+a1 415 555 2671", "+1 2", "a+1 415 555 2671", "+49-new-customer-2026"] {
            assert!(!looks_like_address(name), "{name}");
        }
        assert!(looks_like_address("+14155552671") && looks_like_address("a@b.co") && !looks_like_address("hh1085"));
    }

    #[test]
    fn a_number_is_one_however_a_tool_wrote_it() {
        let hasher = IdentityHasher::new(b"a key of more than sixteen bytes", Some("CN")).unwrap();
        let hash = |text: &str| hasher.recipient(Identity::Phone, text);
        let known = hash("+8613800138000").unwrap();
        for text in ["13800138000", "13800138000.0", "13800138000.00", "1.3800138E10", "1.3800138e10", "'13800138000"] {
            assert_eq!(hash(text).as_ref(), Some(&known), "{text}");
        }
        // Digits that were rounded away cannot be made up.
        for text in ["1.38E+10", "1.38001E10", "1.38E10", "1.38001380001E10", "1E400"] {
            assert_eq!(hash(text), None, "{text}");
        }
    }
}
