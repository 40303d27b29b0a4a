//! Recipients of one kind: who share what is known of them, and the windows that are legal for them.

use std::collections::BTreeMap;

use super::Segments;
use super::list::Kind;
use crate::error::Result;
use crate::stats::schedule::RecipientClass;
use crate::windows::analyze::Known;
use crate::windows::cells::Place;

pub(super) struct Classes<'a> {
    pub(super) known: &'a Known,
    pub(super) segments: &'a Segments,
    pub(super) classes: Vec<RecipientClass>,
    /// For places of recipients without a zone: the clock that their windows are on, and which are legal.
    pub(super) without_zone: BTreeMap<Place, Option<(&'static str, Vec<bool>)>>,
}

impl Classes<'_> {
    /// The class of a recipient, a new one if need be; none for one who gets no window.
    pub(super) fn of(&mut self, kind: &Kind) -> Result<Option<usize>> {
        if kind.refusal.is_some() {
            return Ok(None);
        }
        let Some(legal) = self.legal(kind)? else { return Ok(None) };
        // The first posterior is that of all; a segment that was never seen has it.
        let segment = self.segments.iter().position(|known| *known == kind.segment).map_or(0, |place| place + 1);
        let known = self.classes.iter().position(|class| class.segment == segment && class.legal == legal);
        Ok(Some(known.unwrap_or_else(|| {
            self.classes.push(RecipientClass { recipients: 0, segment, legal });
            self.classes.len() - 1
        })))
    }

    /// The legal windows; of a recipient whose zone is not known those that are legal on all clocks it may have, on the
    /// clock of the first.
    fn legal(&mut self, kind: &Kind) -> Result<Option<Vec<bool>>> {
        let slots = self.known.slots.all();
        if kind.zone.is_some() {
            return Ok(Some(self.known.legal.legal_everywhere(slots, [&kind.place])));
        }
        if let Some(known) = self.without_zone.get(&kind.place) {
            return Ok(known.as_ref().map(|(_, legal)| legal.clone()));
        }
        let found = self.known.legal.legal_in_all_zones(slots, &kind.place)?;
        let legal = found.as_ref().map(|(_, legal)| legal.clone());
        self.without_zone.insert(kind.place.clone(), found);
        Ok(legal)
    }

    /// The zone on whose clock the window of a recipient is.
    pub(super) fn zone<'k>(&self, kind: &'k Kind) -> Option<&'k str> {
        let own = kind.zone.as_deref();
        own.or_else(|| self.without_zone.get(&kind.place)?.as_ref().map(|(name, _)| *name))
    }
}
