//! The order in which people read names: `w3` before `w11`, because the numbers inside names compare as numbers.
//!
//! In: the names that rows of tables and pictures show. Out: an order. Answers as JSON keep their own.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// Compares two names, runs of digits by their value and all else by character.
#[must_use]
pub fn compare_naturally(left: &str, right: &str) -> Ordering {
    let (left_pieces, right_pieces) = (pieces(left), pieces(right));
    let different = left_pieces
        .iter()
        .zip(&right_pieces)
        .map(|(one, other)| compare_pieces(one, other))
        .find(|order| order.is_ne());
    different
        .unwrap_or_else(|| left_pieces.len().cmp(&right_pieces.len()))
        // 07 and 7 are one number and two names.
        .then_with(|| left.cmp(right))
}

/// Compares two groups or segments, column by column; a missing value comes last.
#[must_use]
pub fn compare_groups(left: &Map<String, Value>, right: &Map<String, Value>) -> Ordering {
    let values = left.values().zip(right.values()).map(|pair| match pair {
        (Value::String(one), Value::String(other)) => compare_naturally(one, other),
        (one, other) => one.is_null().cmp(&other.is_null()),
    });
    left.keys().cmp(right.keys()).then_with(|| values.fold(Ordering::Equal, Ordering::then))
}

/// The name as runs of digits and runs of anything else.
fn pieces(name: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let end = rest.find(|character: char| character.is_ascii_digit() != is_number).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn compare_pieces(left: &str, right: &str) -> Ordering {
    let is_number = |piece: &str| piece.starts_with(|first: char| first.is_ascii_digit());
    if !(is_number(left) && is_number(right)) {
        return left.cmp(right);
    }
    // Without leading zeros the longer number is the greater one, however long it is.
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_names_compare_as_numbers() {
        let mut names =
            ["w11", "w3", "w1", "w", "v2.10", "v2.9", "春节10", "春节9", "99999999999999999999999", "7", "07"];
        names.sort_by(|left, right| compare_naturally(left, right));
        assert_eq!(
            names,
            ["07", "7", "99999999999999999999999", "v2.9", "v2.10", "w", "w1", "w3", "w11", "春节9", "春节10"]
        );
        let mut hours = ["10", "9", "0", "23"];
        hours.sort_by(|left, right| compare_naturally(left, right));
        assert_eq!(hours, ["0", "9", "10", "23"]);
        let mut bands = ["65+", "18-24", "5-9", "10-17"];
        bands.sort_by(|left, right| compare_naturally(left, right));
        assert_eq!(bands, ["5-9", "10-17", "18-24", "65+"]);
    }

    #[test]
    fn groups_compare_column_by_column_and_missing_values_come_last() {
        let group = |campaign: Value, arm: &str| {
            Map::from_iter([("campaign_id".to_owned(), campaign), ("variant".to_owned(), Value::from(arm))])
        };
        let mut groups = [
            group(Value::Null, "A"),
            group(Value::from("w11"), "A"),
            group(Value::from("w3"), "B"),
            group(Value::from("w3"), "A"),
        ];
        groups.sort_by(compare_groups);
        let shown: Vec<(&Value, &Value)> =
            groups.iter().map(|group| (&group["campaign_id"], &group["variant"])).collect();
        let (w3, w11) = (Value::from("w3"), Value::from("w11"));
        let (a, b) = (Value::from("A"), Value::from("B"));
        assert_eq!(shown, [(&w3, &a), (&w3, &b), (&w11, &a), (&Value::Null, &a)]);
    }
}
