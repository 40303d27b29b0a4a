//! How the tables of this folder know a country: by its ISO 3166 code of two letters.

/// The code in capitals, `GB` also where a log has `UK`.
pub(super) fn code(country: &str) -> String {
    let code = country.trim().to_ascii_uppercase();
    if code == "UK" { "GB".to_owned() } else { code }
}

/// Whether a code is written as one: two capitals.
pub(super) fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The part of a state's code that stands behind the country: `TX` of `US-TX` (ISO 3166-2) and of `tx`.
pub(super) fn state(country: &str, state: &str) -> String {
    let state = state.trim().to_ascii_uppercase();
    match state.strip_prefix(country).and_then(|rest| rest.strip_prefix('-')) {
        Some(rest) => rest.to_owned(),
        None => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_the_spellings_of_logs() {
        assert_eq!((code(" uk").as_str(), code("us").as_str()), ("GB", "US"));
        assert_eq!((state("US", "US-TX").as_str(), state("US", "tx ").as_str()), ("TX", "TX"));
        assert!(is_code("DE") && !is_code("de") && !is_code("DEU"));
    }
}
