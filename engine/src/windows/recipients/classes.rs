//! What recipients share for whom the same windows are legal and who are of one segment: the fit under that mask, and what it
//! recommends.

use crate::error::Result;
use crate::stats::Estimate;
use crate::stats::send_windows::{
    AbstentionCause, IdentifiedTiming, RecipientSpread, RecipientWindows, SendWindows, WindowDecision, WindowOptions,
};
use crate::windows::analyze::{Known, level_of, outlook_of};
use crate::windows::answer::WindowsLevel;
use crate::windows::cells::{Clicks, Place};
use crate::windows::legal::LegalByPlace;
use crate::windows::request::WindowsRequest;

/// Nothing tells one window from another.
const NOT_IDENTIFIABLE: &str = "not_identifiable";

/// What is known of one window.
#[derive(Debug, Clone, Default)]
pub(super) struct WindowFigures {
    pub(super) is_legal: bool,
    pub(super) rate: Ends,
    pub(super) difference: Ends,
    pub(super) chance_of_best: Option<f64>,
    pub(super) expected_loss: Option<f64>,
}

/// An estimate with its interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Ends {
    pub(super) estimate: Option<f64>,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

impl Ends {
    /// Brought within what is possible.
    pub(super) fn within(self, least: f64, most: f64) -> Self {
        let bounded = |end: Option<f64>| end.map(|end| end.clamp(least, most));
        Self { estimate: bounded(self.estimate), low: bounded(self.low), high: bounded(self.high) }
    }
}

impl From<&Estimate> for Ends {
    fn from(found: &Estimate) -> Self {
        Self { estimate: found.estimate, low: found.low, high: found.high }
    }
}

/// Recipients with one answer, but for what their own messages say.
#[derive(Debug, Clone)]
pub(super) struct Class {
    segment: Option<usize>,
    legal: Vec<bool>,
    /// The windows that are recommended, of which any will do, at what level, and what they gain; or the reason why none.
    pub(super) answer: std::result::Result<(WindowsLevel, Vec<usize>, Ends), &'static str>,
    /// Every window of the week.
    pub(super) windows: Vec<WindowFigures>,
    /// What a recipient's own messages are judged by; none where recipients cannot be told to differ.
    pub(super) own: Option<RecipientWindows>,
}

/// The fit under one mask.
struct Masked {
    legal: Vec<bool>,
    /// With the proof that hours can be compared.
    fit: Option<(IdentifiedTiming, SendWindows)>,
}

/// The classes that occur, each made when it first does.
pub(super) struct Classes<'a> {
    known: &'a Known,
    request: &'a WindowsRequest,
    spread: Option<RecipientSpread>,
    places: LegalByPlace<'a>,
    fits: Vec<Masked>,
    classes: Vec<Class>,
}

impl<'a> Classes<'a> {
    pub(super) fn new(known: &'a Known, request: &'a WindowsRequest, spread: Option<RecipientSpread>) -> Self {
        let places = LegalByPlace::new(&known.legal, known.slots.all());
        Self { known, request, spread, places, fits: Vec::new(), classes: Vec::new() }
    }

    /// The class of a recipient and the zone on whose clock its windows are; none where no zone may be its.
    pub(super) fn of(
        &mut self,
        place: &Place,
        zone: Option<&str>,
        segment: &[Option<String>],
    ) -> Result<Option<(usize, String)>> {
        let Some((zone, legal)) = self.places.of(place, zone)? else { return Ok(None) };
        // A segment that was never sent to has the answer for all.
        let segment =
            if segment.is_empty() { None } else { self.known.table.segments.iter().position(|known| known == segment) };
        let known = self.classes.iter().position(|class| class.segment == segment && class.legal == legal);
        if let Some(known) = known {
            return Ok(Some((known, zone.to_owned())));
        }
        let (zone, legal) = (zone.to_owned(), legal.to_vec());
        let class = self.class(segment, legal)?;
        self.classes.push(class);
        Ok(Some((self.classes.len() - 1, zone)))
    }

    pub(super) fn all(&self) -> &[Class] {
        &self.classes
    }

    fn class(&mut self, segment: Option<usize>, legal: Vec<bool>) -> Result<Class> {
        let masked = self.fit(&legal)?;
        let found = self.fits[masked].fit.as_ref().filter(|(timing, _)| self.known.speaks(timing, segment));
        let Some((_, fit)) = found else {
            let windows = legal.iter().map(|legal| WindowFigures { is_legal: *legal, ..WindowFigures::default() });
            let windows = windows.collect();
            return Ok(Class { segment, legal, answer: Err(NOT_IDENTIFIABLE), windows, own: None });
        };
        let (outlook, level) = outlook_of(fit, segment);
        let (answer, recommended) = match &outlook.decision {
            WindowDecision::Recommend(found) => (
                Ok((level_of(Some(level), self.request), found.slots.clone(), Ends::from(&found.gain))),
                found.slots.as_slice(),
            ),
            WindowDecision::Abstain { cause, .. } => (Err(cause_name(*cause)), [].as_slice()),
        };
        let windows = outlook.slots.iter().map(|slot| WindowFigures {
            is_legal: slot.legal,
            rate: Ends::from(&slot.response),
            difference: Ends::from(&slot.difference),
            chance_of_best: slot.chance_of_best,
            expected_loss: slot.expected_loss,
        });
        let windows = windows.collect();
        let spread = self.spread.filter(RecipientSpread::recipients_differ);
        let usual = WindowOptions::default();
        let own = spread.map(|spread| {
            let judged_by = (usual.tolerance, usual.assurance);
            RecipientWindows::new(outlook, recommended, spread, judged_by, self.request.seed)
        });
        Ok(Class { segment, legal, answer, windows, own })
    }

    /// The place of the fit under a mask.
    fn fit(&mut self, legal: &[bool]) -> Result<usize> {
        if let Some(known) = self.fits.iter().position(|masked| masked.legal == legal) {
            return Ok(known);
        }
        let objective = self.request.objective;
        let identification = self.known.identification(objective, legal)?;
        let fit = match identification.timing() {
            Some(timing) => {
                let fit = self.known.fit(timing, objective, Clicks::Human, legal, self.request.seed)?;
                Some((timing.clone(), fit))
            }
            None => None,
        };
        self.fits.push(Masked { legal: legal.to_vec(), fit });
        Ok(self.fits.len() - 1)
    }
}

fn cause_name(cause: AbstentionCause) -> &'static str {
    match cause {
        AbstentionCause::NoLegalSlot => crate::permission::NO_LEGAL_WINDOW,
        AbstentionCause::NoOutcome => "no_outcome",
        AbstentionCause::NotSupported => "not_supported",
        AbstentionCause::PracticeIsGoodEnough => "practice_is_good_enough",
        AbstentionCause::NotToldApart => "not_told_apart",
    }
}
