//! Numbers as people read them: thousands separated, a true minus sign, and as many digits as mean something.

/// A true minus: a hyphen is too short to be seen before a digit.
const MINUS: char = '\u{2212}';

/// `1234567` as `1,234,567`.
pub(super) fn thousands(count: u64) -> String {
    grouped(&count.to_string())
}

fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with so many decimals; a negative number that rounds to zero loses its sign.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    written(value, decimals, "")
}

/// Like [`fixed`], with a plus before what is above zero: for differences and lifts.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    written(value, decimals, "+")
}

fn written(value: f64, decimals: usize, plus: &str) -> String {
    let size = value.abs();
    let text = if size < 1e12 {
        let plain = format!("{size:.decimals$}");
        match plain.split_once('.') {
            Some((whole, fraction)) => format!("{}.{fraction}", grouped(whole)),
            None => grouped(&plain),
        }
    } else {
        format!("{size:.2e}")
    };
    if !text.contains(|digit: char| ('1'..='9').contains(&digit)) {
        text
    } else if value < 0.0 {
        format!("{MINUS}{text}")
    } else {
        format!("{plus}{text}")
    }
}

/// A share as a percentage with about three digits that count: `0.0321` as `3.21 %`, `0.97` as `97.0 %`.
pub(super) fn percent(share: f64) -> String {
    let points = share * 100.0;
    let size = points.abs();
    if size > 0.0 && size < 0.0005 {
        return "< 0.001 %".to_owned();
    }
    let is_whole = size < 1e-12 || (size - 100.0).abs() < 1e-9;
    let decimals = if is_whole {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 0.1 {
        2
    } else {
        3
    };
    format!("{} %", fixed(points, decimals))
}

/// A count in about four characters, for narrow columns: `12345` as `12k`, `1234` as `1.2k`.
pub(super) fn compact(count: u64) -> String {
    let size = super::scale::real(count);
    for (unit, suffix) in [(1e9, "bn"), (1e6, "m"), (1e3, "k")] {
        let scaled = size / unit;
        // From 999,500 on, a rounded "1000k" would be longer than "1.0m".
        if scaled >= 0.9995 && count >= 1000 {
            let decimals = usize::from(scaled < 9.95);
            return format!("{scaled:.decimals$}{suffix}");
        }
    }
    count.to_string()
}

/// `1` and `row` as `1 row`, `12` and `row` as `12 rows`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(&count.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands_separators() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(thousands(count), text);
        }
    }

    #[test]
    fn signs_are_true_and_zero_has_none() {
        assert_eq!(signed(7.72, 1), "+7.7");
        assert_eq!(signed(-1234.5, 2), "\u{2212}1,234.50");
        assert_eq!(signed(-0.04, 1), "0.0");
        assert_eq!(signed(0.0, 0), "0");
        assert_eq!(fixed(8.4, 1), "8.4");
        assert_eq!(fixed(-2e300, 1), "\u{2212}2.00e300");
    }

    #[test]
    fn percentages_have_sensible_digits() {
        for (share, text) in [
            (0.0, "0 %"),
            (1.0, "100 %"),
            (0.9724, "97.2 %"),
            (0.0321, "3.21 %"),
            (0.004_52, "0.45 %"),
            (0.000_321, "0.032 %"),
            (0.000_001, "< 0.001 %"),
            (1.5, "150.0 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn compact_counts_stay_short() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0k"),
            (1_234, "1.2k"),
            (12_345, "12k"),
            (999_499, "999k"),
            (999_999, "1.0m"),
            (4_500_000_000, "4.5bn"),
        ] {
            assert_eq!(compact(count), text);
        }
    }

    #[test]
    fn nouns_follow_their_count() {
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(1200, "row"), "1,200 rows");
    }
}
