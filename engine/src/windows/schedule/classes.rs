//! Recipients of one kind: who share what is known of them, and the windows that are legal for them.

use super::Segments;
use super::list::Kind;
use crate::error::Result;
use crate::stats::schedule::RecipientClass;
use crate::windows::legal::LegalByPlace;

pub(super) struct Classes<'a> {
    pub(super) legal: LegalByPlace<'a>,
    pub(super) segments: &'a Segments,
    pub(super) classes: Vec<RecipientClass>,
}

impl Classes<'_> {
    /// The class of a recipient, a new one if need be, and the zone on whose clock its window is; none for one who gets no
    /// window.
    pub(super) fn of(&mut self, kind: &Kind) -> Result<Option<(usize, String)>> {
        if kind.refusal.is_some() {
            return Ok(None);
        }
        let Some((zone, legal)) = self.legal.of(&kind.place, kind.zone.as_deref())? else { return Ok(None) };
        // The first posterior is that of all; a segment that was never seen has it.
        let segment = self.segments.iter().position(|known| *known == kind.segment).map_or(0, |place| place + 1);
        let known = self.classes.iter().position(|class| class.segment == segment && class.legal == legal);
        let class = known.unwrap_or_else(|| {
            self.classes.push(RecipientClass { recipients: 0, segment, legal: legal.to_vec() });
            self.classes.len() - 1
        });
        Ok(Some((class, zone.to_owned())))
    }
}
