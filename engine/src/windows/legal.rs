//! Which windows are legal for a group of recipients: those that are so all through, wherever any of them lives.

use std::collections::BTreeMap;

use jiff::Span;
use jiff::civil::{Date, date};

use super::cells::Place;
use super::legal_hours::{Jurisdiction, LegalHours};
use super::request::OwnFile;
use super::slots::Slot;
use super::zones::{Candidates, moments_of, zone};
use crate::error::Result;

/// What the mask assumes.
pub(crate) const LEGAL_NOTE: &str = "legal hours are those of promotion on ordinary days; a country without a rule has the convention, an unknown \
                    one all rules together. Input for a lawyer, not advice";

/// A Monday in winter and one in summer, on neither of which clocks change within the week.
const MONDAYS: [Date; 2] = [date(2026, 1, 12), date(2026, 7, 13)];

/// The rules on hours, as a mask.
#[derive(Debug, Clone)]
pub(crate) struct LegalMask {
    rules: LegalHours,
}

impl LegalMask {
    /// The built-in rules, with a file of one's own laid over them.
    pub(crate) fn new(own: Option<&OwnFile>) -> Result<Self> {
        let rules = LegalHours::built_in()?;
        Ok(Self {
            rules: match own {
                Some(own) => rules.with_file(&own.text, &own.name)?,
                None => rules,
            },
        })
    }

    /// For each window, whether it is legal in every one of the places; without a place by all rules there are.
    pub(crate) fn legal_everywhere<'a>(
        &self,
        slots: &[Slot],
        places: impl IntoIterator<Item = &'a Place>,
    ) -> Vec<bool> {
        let mut legal = vec![true; slots.len()];
        let mut bound: Vec<Jurisdiction<'a>> = places
            .into_iter()
            .map(|(country, region)| Jurisdiction {
                country: country.as_deref(),
                state: region.as_deref(),
                message_type: None,
            })
            .collect();
        if bound.is_empty() {
            bound.push(Jurisdiction::default());
        }
        for whose in bound {
            for (legal, slot) in legal.iter_mut().zip(slots) {
                *legal = *legal && self.rules.slot_legal(whose, slot, false);
            }
        }
        legal
    }

    /// For each window on the clock of the first of several candidate zones, whether it is legal on the clocks of all of
    /// them, in winter and in summer; with that zone's name. None where no zone may be theirs.
    pub(crate) fn legal_in_all_zones(
        &self,
        slots: &[Slot],
        place: &Place,
    ) -> Result<Option<(&'static str, Vec<bool>)>> {
        let candidates = Candidates::of(place.0.as_deref(), place.1.as_deref())?;
        let Some(name) = candidates.names().next() else { return Ok(None) };
        let reference = zone(name)?;
        let whose = Jurisdiction { country: place.0.as_deref(), state: place.1.as_deref(), message_type: None };
        let mut legal = Vec::with_capacity(slots.len());
        for slot in slots {
            let mut holds = true;
            for weekday in slot.weekdays {
                for monday in MONDAYS {
                    let date = monday.saturating_add(Span::new().days(weekday.to_monday_zero_offset()));
                    let moments = moments_of(date, &slot.minutes, &reference)?;
                    holds = holds
                        && candidates.all_legal(&moments, |date, minutes| {
                            self.rules.allows_all(whose, date.weekday(), false, minutes)
                        });
                }
            }
            legal.push(holds);
        }
        Ok(Some((name, legal)))
    }
}

/// The legal windows of recipients one after another, each place looked up once.
pub(crate) struct LegalByPlace<'a> {
    mask: &'a LegalMask,
    slots: &'a [Slot],
    with_zone: BTreeMap<Place, Vec<bool>>,
    /// For places of recipients without a zone: the clock that their windows are on, and which are legal.
    without_zone: BTreeMap<Place, Option<(&'static str, Vec<bool>)>>,
}

impl<'a> LegalByPlace<'a> {
    pub(crate) fn new(mask: &'a LegalMask, slots: &'a [Slot]) -> Self {
        Self { mask, slots, with_zone: BTreeMap::new(), without_zone: BTreeMap::new() }
    }

    /// The zone on whose clock the windows of a recipient are, and which of them are legal: its own, or of a recipient whose
    /// zone is missing or no zone at all those that are legal on all clocks it may have, on the clock of the first. None where no zone may
    /// be its.
    pub(crate) fn of<'k>(&'k mut self, place: &Place, zone: Option<&'k str>) -> Result<Option<(&'k str, &'k [bool])>> {
        if let Some(zone) = zone.filter(|zone| jiff::tz::TimeZone::get(zone).is_ok()) {
            if !self.with_zone.contains_key(place) {
                self.with_zone.insert(place.clone(), self.mask.legal_everywhere(self.slots, [place]));
            }
            return Ok(self.with_zone.get(place).map(|legal| (zone, legal.as_slice())));
        }
        if !self.without_zone.contains_key(place) {
            self.without_zone.insert(place.clone(), self.mask.legal_in_all_zones(self.slots, place)?);
        }
        let found = self.without_zone.get(place).and_then(Option::as_ref);
        Ok(found.map(|(zone, legal)| (*zone, legal.as_slice())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::slots::{DayGroups, Slots};

    #[test]
    fn an_unknown_zone_has_what_is_legal_in_all_of_its_candidates() {
        let mask = LegalMask::new(None).unwrap();
        let slots = Slots::new(4, DayGroups::Week).unwrap();
        let place = |country: &str| (Some(country.to_owned()), None);
        // Four hours and more apart: 09:00 in New York is 06:00 in Los Angeles.
        let (_, legal) = mask.legal_in_all_zones(slots.all(), &place("US")).unwrap().unwrap();
        let (_, one_zone) = mask.legal_in_all_zones(slots.all(), &place("CN")).unwrap().unwrap();
        assert!(legal.iter().filter(|legal| **legal).count() < one_zone.iter().filter(|legal| **legal).count());
        assert!(one_zone.iter().any(|legal| *legal));
    }

    #[test]
    fn the_strictest_of_all_places_counts() {
        let mask = LegalMask::new(None).unwrap();
        let slots = Slots::new(4, DayGroups::Week).unwrap();
        let legal = |places: &[(&str, &str)]| -> Vec<String> {
            let places: Vec<Place> = places
                .iter()
                .map(|(country, state)| (Some((*country).to_owned()), Some((*state).to_owned())))
                .collect();
            let legal = mask.legal_everywhere(slots.all(), &places);
            let names = slots.all().iter().zip(legal).filter(|(_, legal)| *legal);
            names.map(|(slot, _)| format!("{} {}", slot.day, slot.start())).collect()
        };
        // Florida ends at 20:00: the window to 21:00 is not legal for both states together.
        assert!(legal(&[("US", "CA")]).contains(&"weekday 18:00".to_owned()));
        assert!(!legal(&[("US", "CA"), ("US", "FL")]).contains(&"weekday 18:00".to_owned()));
        // France allows no promotion on Sundays, nobody allows the night.
        assert!(legal(&[("FR", "")]).iter().all(|name| !name.starts_with("sunday")));
        assert!(legal(&[("DE", "")]).iter().all(|name| !name.ends_with("00:00") && !name.ends_with("21:00")));
        // Nothing known of anybody: all rules at once.
        let unknown = mask.legal_everywhere(slots.all(), &[]);
        assert!(unknown.iter().filter(|legal| **legal).count() <= legal(&[("FR", "")]).len());
    }
}
