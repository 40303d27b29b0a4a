//! The window that does best at each place, for lists in which recipients are not told apart otherwise.

use super::classes::Classes;
use crate::error::Result;
use crate::query::QuerySession;
use crate::windows::analyze::Known;
use crate::windows::cells::Place;
use crate::windows::request::WindowsRequest;
use crate::windows::slots::Slot;

/// What is known of the windows of one channel.
pub(crate) struct PlaceWindows {
    known: Known,
    request: WindowsRequest,
    channel: String,
}

impl PlaceWindows {
    /// From the messages of a channel; none where it has none.
    ///
    /// # Errors
    /// When a rule file is wrong or a query fails.
    pub(crate) async fn of(session: &QuerySession, request: WindowsRequest, channel: &str) -> Result<Option<Self>> {
        let request = WindowsRequest { by: vec!["channel".to_owned()], ..request };
        let known = Known::of(session, &request).await?;
        let is_known = known.table.segments.contains(&vec![Some(channel.to_owned())]);
        Ok(is_known.then(|| Self { known, request, channel: channel.to_owned() }))
    }

    /// For each place and zone the legal window that is expected to lose least, of those that are recommended there, such as
    /// `weekday 18:00-21:00`; none where none is.
    ///
    /// # Errors
    /// When a zone is none, or a fit fails.
    pub(crate) fn best(&self, places: &[(Place, Option<String>)]) -> Result<Vec<Option<String>>> {
        let mut classes = Classes::new(&self.known, &self.request, None);
        let segment = [Some(self.channel.clone())];
        places
            .iter()
            .map(|(place, zone)| {
                let Some((class, _)) = classes.of(place, zone.as_deref(), &segment)? else { return Ok(None) };
                let class = &classes.all()[class];
                let Ok((_, slots, _)) = &class.answer else { return Ok(None) };
                let loss = |slot: &usize| class.windows[*slot].expected_loss.unwrap_or(f64::INFINITY);
                let best = slots.iter().copied().min_by(|left, right| loss(left).total_cmp(&loss(right)));
                Ok(best.and_then(|slot| self.known.slots.all().get(slot)).map(Slot::plain_name))
            })
            .collect()
    }
}
