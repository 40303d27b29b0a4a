//! The built-in rules against the compliance table, and files of one's own.

use super::*;
use crate::windows::slots::{DayGroups, Slots};

fn place(text: &str) -> Jurisdiction<'_> {
    let (country, state) = text.split_once(' ').map_or((text, None), |(country, state)| (country, Some(state)));
    Jurisdiction { country: Some(country).filter(|country| *country != "?"), state, message_type: Some("promo") }
}

fn against(hours: &LegalHours, whose: Jurisdiction<'_>, local: &str, is_holiday: bool) -> String {
    match hours.allows(whose, local.parse().unwrap(), is_holiday) {
        Legal::Legal => String::new(),
        Legal::Illegal(rules) => rules.join(" "),
    }
}

/// 2 March 2026 is a Monday, 7 and 8 March are a Saturday and a Sunday.
#[test]
fn a_local_time_is_legal_or_the_rules_against_it_are_named() {
    let hours = LegalHours::built_in().unwrap();
    for (whose, local, rules) in [
        ("US NY", "2026-03-02T07:59:59", "US-HOURS"),
        ("US NY", "2026-03-02T08:00", ""),
        ("US NY", "2026-03-08T20:59:59.9", ""),
        ("US NY", "2026-03-02T21:00", "US-HOURS"),
        ("US FL", "2026-03-02T19:59", ""),
        ("US FL", "2026-03-02T20:30", "US-FL"),
        ("US FL", "2026-03-02T23:00", "US-HOURS US-FL"),
        ("US OK", "2026-03-02T20:30", "US-OK"),
        ("US WA", "2026-03-02T20:30", "US-WA"),
        ("US CT", "2026-03-02T08:30", "US-CT"),
        ("US TX", "2026-03-02T08:30", "US-TX"),
        ("us us-tx", "2026-03-07T09:00", ""),
        ("US TX", "2026-03-08T11:59", "US-TX"),
        ("US TX", "2026-03-08T12:00", ""),
        // Without a state, or with a word that is none, every state's rule binds.
        ("US", "2026-03-02T20:30", "US-CT US-FL US-OK US-WA"),
        ("US Texas", "2026-03-08T11:00", "US-TX"),
        ("US", "2026-03-02T09:00", ""),
        ("FR", "2026-03-07T21:59", ""),
        ("FR", "2026-03-07T22:00", "FR-HOURS"),
        ("FR", "2026-03-08T12:00", "FR-HOURS"),
        ("CN GD", "2026-03-08T19:59", ""),
        ("CN", "2026-03-02T20:00", "CN-HOURS-ALIYUN"),
        ("CN", "2026-03-02T22:00", "CN-HOURS-ALIYUN CN-HOURS-HUAWEI"),
        ("IN", "2026-03-02T08:59", "IN-HOURS"),
        ("UK", "2026-03-08T20:59", ""),
        ("GB ENG", "2026-03-08T21:00", "CONVENTION"),
        ("NP", "2026-03-02T07:00", "CONVENTION"),
        ("DE", "2026-03-02T23:59:59", "CONVENTION"),
        // Without a country every rule there is.
        ("?", "2026-03-02T09:00", ""),
        ("?", "2026-03-02T08:30", "US-CT US-TX IN-HOURS"),
        ("?", "2026-03-08T13:00", "FR-HOURS"),
    ] {
        assert_eq!(against(&hours, place(whose), local, false), rules, "{whose} {local}");
    }
    assert_eq!(against(&hours, place("FR"), "2026-07-14T12:00", true), "FR-HOURS");
    assert_eq!(against(&hours, place("DE"), "2026-10-03T12:00", true), "");
    let notice = Jurisdiction { message_type: Some("notice"), ..place("US TX") };
    assert_eq!(against(&hours, notice, "2026-03-02T03:00", false), "");
    let unknown = Jurisdiction { message_type: None, ..place("US NY") };
    assert_eq!(against(&hours, unknown, "2026-03-02T03:00", false), "US-HOURS");
}

#[test]
fn a_slot_is_legal_whole_or_in_part() {
    let hours = LegalHours::built_in().unwrap();
    let slots = Slots::default();
    let slot = |local: &str| &slots.all()[slots.of(local.parse().unwrap())];
    for (whose, local, is_holiday, legal, part) in [
        ("US NY", "2026-03-02T19:00", false, true, Some((18 * 60, 21 * 60))),
        ("US FL", "2026-03-02T19:00", false, false, Some((18 * 60, 20 * 60))),
        ("US TX", "2026-03-08T10:00", false, false, None),
        ("US TX", "2026-03-08T13:00", false, true, Some((12 * 60, 15 * 60))),
        ("US NY", "2026-03-02T03:00", false, false, Some((8 * 60, 9 * 60))),
        ("US NY", "2026-03-02T22:00", false, false, None),
        ("FR", "2026-03-02T22:00", false, false, Some((21 * 60, 22 * 60))),
        ("FR", "2026-03-02T13:00", true, false, None),
        ("IN", "2026-03-02T10:00", false, true, Some((9 * 60, 12 * 60))),
        ("?", "2026-03-02T13:00", false, true, Some((12 * 60, 15 * 60))),
        ("?", "2026-03-08T13:00", false, false, None),
    ] {
        let slot = slot(local);
        assert_eq!(hours.slot_legal(place(whose), slot, is_holiday), legal, "{whose} {local}");
        let found = hours.legal_part(place(whose), slot, is_holiday).map(|part| (part.start, part.end));
        assert_eq!(found, part, "{whose} {local}");
    }
    // A slot of several days is legal where each of them is.
    let weekdays = Slots::new(4, DayGroups::Week).unwrap();
    let own = "[[rule]]\nid = \"X\"\ncountry = \"DE\"\ncitation = \"\"\nversion = \"\"\nstatus = \"convention\"\n\
               hours = [{ days = \"mon-thu\", from = \"09:00\", to = \"12:00\" }, { days = \"fri\", from = \"09:00\", \
               to = \"10:00\" }, { days = \"fri\", from = \"10:30\", to = \"11:00\" }]";
    let own = LegalHours::read(own, "own.toml").unwrap();
    assert!(!own.slot_legal(place("DE"), &weekdays.all()[1], false));
    assert_eq!(own.legal_part(place("DE"), &weekdays.all()[1], false), Some(540..600));
    assert!(own.slot_legal(place("FR"), &weekdays.all()[1], false));
}

#[test]
fn a_file_of_ones_own_is_laid_over() {
    let text = "remove = [\"CN-HOURS-ALIYUN\"]\n[[rule]]\nid = \"US-HOURS\"\ncountry = \"US\"\ncitation = \"ours\"\n\
                version = \"2\"\nstatus = \"verified\"\nmessage_types = [\"promo\", \"notice\"]\n\
                hours = [{ days = \"sat-mon\", from = \"10:00\", to = \"12:00\" }, { days = \"Sun, mon\", \
                from = \"12:00\", to = \"24:00\" }]";
    let hours = LegalHours::built_in().unwrap().with_file(text, "own.toml").unwrap();
    assert_eq!(against(&hours, place("CN"), "2026-03-02T21:00", false), "");
    assert_eq!(against(&hours, place("US NY"), "2026-03-02T23:59", false), "");
    assert_eq!(against(&hours, place("US NY"), "2026-03-03T11:00", false), "US-HOURS");
    let notice = Jurisdiction { message_type: Some("notice"), ..place("US NY") };
    assert_eq!(against(&hours, notice, "2026-03-07T12:00", false), "US-HOURS");
    let rule = hours.rule("US-HOURS").unwrap();
    assert_eq!((rule.citation.as_str(), rule.hours[6].as_slice()), ("ours", std::slice::from_ref(&(600..1440))));
    assert_eq!(hours.rules().len(), LegalHours::built_in().unwrap().rules().len() - 1);
}

const RULE: &str = r#"
[[rule]]
id = "AT-HOURS"
country = "AT"
states = []
hours = [
  { days = "mon-fri", from = "09:00", to = "20:00" },
]
citation = "ours"
version = "2026-11"
status = "convention"
"#;

#[test]
fn what_is_wrong_is_told_with_its_line() {
    assert!(LegalHours::read(RULE, "own.toml").is_ok());
    for (change, with, line, word) in [
        ("to = \"20:00\"", "until = \"20:00\"", 7, "until"),
        ("to = \"20:00\"", "to = \"09:00\"", 7, "not before"),
        ("to = \"20:00\"", "to = \"24:01\"", 7, "24:01"),
        ("from = \"09:00\"", "from = \"9am\"", 7, "9am"),
        ("from = \"09:00\"", "from = 9", 7, "string"),
        ("mon-fri", "mon-fry", 7, "fry"),
        ("country = \"AT\"", "country = \"Austria\"", 4, "two capitals"),
        ("country = \"AT\"\nstates = []", "country = \"US\"\nstates = [\"Texas\"]", 5, "Texas"),
        ("states = []", "state = []", 5, "state"),
        ("states = []", "message_types = [\"spam\"]", 5, "spam"),
        ("\"convention\"", "\"hearsay\"", 11, "hearsay"),
        ("status", "remove = 1\nstatus", 11, "remove"),
        ("\n[[rule]]", "remove = [\"US-NY\"]\n[[rule]]", 1, "US-NY"),
        ("version = \"2026-11\"\n", "", 2, "version"),
        ("id = \"AT-HOURS\"", "id = ", 3, ""),
    ] {
        let text = RULE.replacen(change, with, 1);
        assert_ne!(text, RULE, "{change}");
        let error = LegalHours::read(&text, "own.toml").unwrap_err().to_string();
        assert!(error.starts_with(&format!("own.toml line {line}:")) && error.contains(word), "{error}");
    }
    let twice = LegalHours::read(&RULE.repeat(2), "own.toml").unwrap_err().to_string();
    assert!(twice.starts_with("own.toml line 14:") && twice.contains("twice"), "{twice}");
}
