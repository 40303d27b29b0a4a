//! Rollups: the sums that a report is made of, kept in the store beside the tables.
//!
//! In: a [`QuerySession`] over a store and what is grouped by. Out: [`Sums`], by the same queries as without rollups
//! (`sums`), so that a report from a rollup is equal to one from the facts: what a rollup saves is to ask again. It
//! is kept with the versions of the tables that it was made from ([`kept`]). Where these are the session's, nothing is
//! asked at all. Where they are older, only the campaigns are asked for again whose sums may have changed since
//! ([`changes`]), and the others stay: a new day costs what its campaigns cost. A rollup that cannot be read, or of
//! which it cannot be told what changed, is made anew.
//!
//! Periods (`from`, `to`) and files have none, nor has a grouping with more groups than one would look at. Nothing in a
//! rollup is about a single person, and `forget` drops them all.

mod changes;
mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use deltalake::DeltaTable;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

pub(crate) use kept::drop_all;

use self::changes::Touched;
use self::kept::Kept;
use super::grouping::{Grouping, KeySource};
use super::sums::Sums;
use super::{LogsAtHand, ReportRequest};
use crate::error::Result;
use crate::query::QuerySession;
use crate::store::{At, Store};

/// Groups of a rollup at most: more are not looked at but exported, and take longer to read than to count.
const MOST_GROUPS: usize = 50_000;
/// The key of the campaign in a rollup that is kept by campaign.
const CAMPAIGN: &str = "campaign_id";

/// The rollups of a session over a store. Its clones share what was read.
#[derive(Clone)]
pub(crate) struct Rollups {
    store: Store,
    /// The tables that the session reads, by name.
    tables: Arc<BTreeMap<String, DeltaTable>>,
    /// Whether these are the newest versions, so that what is made of them is worth keeping.
    is_newest: bool,
    known: Arc<Mutex<BTreeMap<String, Cell>>>,
}

/// The sums of one shape, once they are known.
type Cell = Arc<OnceCell<Arc<Sums>>>;

impl Rollups {
    pub(crate) fn new(store: Store, tables: BTreeMap<String, DeltaTable>, at: Option<At>) -> Self {
        Self { store, tables: Arc::new(tables), is_newest: at.is_none(), known: Arc::default() }
    }

    /// What was kept under a name, if it was made from what the session reads.
    pub(crate) async fn exactly<T: Serialize + DeserializeOwned>(
        &self,
        session: &QuerySession,
        name: &str,
    ) -> Option<T> {
        let kept = Kept::<T>::read(&self.store, name).await?;
        let is_of_session = kept.facts == kept::table_id(self)?
            && kept.versions == kept::versions_of(session)
            && kept.as_of == session.as_of;
        is_of_session.then_some(kept.content)
    }

    /// Keeps something that was counted at the session's versions, if these are the newest.
    pub(crate) async fn keep<T: Serialize + DeserializeOwned + Clone>(
        &self,
        session: &QuerySession,
        name: &str,
        content: &T,
    ) {
        let Some(facts) = kept::table_id(self).filter(|_| self.is_newest) else { return };
        let versions = kept::versions_of(session);
        let kept = Kept { name: name.to_owned(), facts, versions, as_of: session.as_of, content: content.clone() };
        kept.write(&self.store).await;
    }

    fn cell(&self, shape: &Shape) -> Cell {
        // Every change is a single insertion: the map is whole also after a panic elsewhere.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(shape.name.clone()).or_default())
    }
}

/// What a rollup is a rollup of.
#[derive(Debug, Clone)]
struct Shape {
    /// Everything that the sums depend on besides the tables.
    name: String,
    /// The request over all campaigns.
    request: ReportRequest,
    grouping: Grouping,
    /// Whether its first key is the campaign, so that it can be renewed campaign by campaign.
    is_by_campaign: bool,
}

impl Shape {
    /// The shape that answers a request: that of the request over all campaigns, with the campaign as its first key
    /// where only one is asked for. `None` when no rollup can.
    async fn of(session: &QuerySession, request: &ReportRequest) -> Result<Option<Self>> {
        if request.from.is_some() || request.to.is_some() {
            return Ok(None);
        }
        let mut all = ReportRequest { campaign: None, ..request.clone() };
        if request.campaign.is_some() {
            all.by.insert(0, CAMPAIGN.to_owned());
        }
        let grouping = Grouping::resolve(session, &all.by, &all.time_zone).await?;
        let sources = grouping.sources();
        let zone = if sources.contains(&KeySource::SendTime) { all.time_zone.as_str() } else { "" };
        // The sums are of these versions of the segments, whatever is added while they are counted.
        all.by = grouping.pinned(&all.by);
        let segments: String = grouping.segments().iter().map(|segment| format!(" {segment:?}")).collect();
        let name = format!(
            "{} {} {:?} {:?} {zone}{segments}",
            env!("CARGO_PKG_VERSION"),
            session.settings.fingerprint(),
            grouping.expressions(),
            all.retention_days,
        );
        let is_by_campaign = sources.first() == Some(&KeySource::Facts(CAMPAIGN.to_owned()));
        Ok(Some(Self { name, request: all, grouping, is_by_campaign }))
    }

    fn uses_contacts(&self) -> bool {
        self.grouping.sources().iter().any(|source| matches!(source, KeySource::Contacts(_) | KeySource::Segment(_)))
    }
}

/// The sums of a request, from a rollup where there is one or one can be made; `None` when the request has to be counted by
/// itself.
pub(super) async fn sums(session: &QuerySession, request: &ReportRequest) -> Result<Option<Arc<Sums>>> {
    let Some(rollups) = &session.rollups else { return Ok(None) };
    let Some(shape) = Shape::of(session, request).await? else { return Ok(None) };
    let cell = rollups.cell(&shape);
    let all = if cell.initialized() || request.campaign.is_none() {
        cell.get_or_try_init(|| renewed_or_made(session, rollups, &shape)).await?
    } else {
        // For one campaign the others are not counted, unless somebody has done so before.
        let Some(kept) = Kept::<Sums>::read(&rollups.store, &shape.name).await else { return Ok(None) };
        cell.get_or_try_init(|| current(session, rollups, &shape, Some(kept))).await?
    };
    Ok(Some(match &request.campaign {
        Some(campaign) => Arc::new(all.of_campaign(campaign)),
        None => Arc::clone(all),
    }))
}

async fn renewed_or_made(session: &QuerySession, rollups: &Rollups, shape: &Shape) -> Result<Arc<Sums>> {
    let kept = Kept::<Sums>::read(&rollups.store, &shape.name).await;
    current(session, rollups, shape, kept).await
}

/// The sums at the session's versions: the kept ones, those with some campaigns counted again, or new ones.
async fn current(
    session: &QuerySession,
    rollups: &Rollups,
    shape: &Shape,
    kept: Option<Kept<Sums>>,
) -> Result<Arc<Sums>> {
    let versions = kept::versions_of(session);
    let Some(facts) = kept::table_id(rollups) else {
        return Sums::of(session, &shape.request, None).await.map(Arc::new);
    };
    let kept = kept.filter(|kept| kept.facts == facts);
    let touched = match &kept {
        Some(kept) => changes::touched(session, rollups, shape, kept).await?,
        None => Touched::All,
    };
    let sums = match (kept, touched) {
        (Some(kept), Touched::Nothing) if kept.versions == versions && kept.as_of == session.as_of => {
            return Ok(Arc::new(kept.content));
        }
        (Some(kept), Touched::Nothing) => Sums { at_hand: LogsAtHand::of(session).await?, ..kept.content },
        (Some(kept), Touched::Some(campaigns)) => renewed(session, shape, kept.content, &campaigns).await?,
        (_, _) => Sums::of(session, &shape.request, None).await?,
    };
    if rollups.is_newest && sums.counts.len() <= MOST_GROUPS {
        let kept = Kept { name: shape.name.clone(), facts, versions, as_of: session.as_of, content: sums };
        kept.write(&rollups.store).await;
        return Ok(Arc::new(kept.content));
    }
    Ok(Arc::new(sums))
}

/// The sums with some campaigns counted again.
async fn renewed(
    session: &QuerySession,
    shape: &Shape,
    mut sums: Sums,
    campaigns: &BTreeSet<Option<String>>,
) -> Result<Sums> {
    let counted = Sums::of(session, &shape.request, Some(campaigns)).await?;
    let stays = |keys: &[Option<String>]| keys.first().is_none_or(|campaign| !campaigns.contains(campaign));
    sums.at_hand = counted.at_hand;
    sums.counts.retain(|counts| stays(&counts.keys));
    sums.counts.extend(counted.counts);
    // Within a campaign the groups are in the order in which they were counted; one without a name is the last.
    sums.counts.sort_by(|left, right| {
        let campaign = |keys: &[Option<String>]| keys.first().cloned().flatten();
        let (left, right) = (campaign(&left.keys), campaign(&right.keys));
        (left.is_none(), left).cmp(&(right.is_none(), right))
    });
    sums.money.retain(|keys, _| stays(keys));
    sums.money.extend(counted.money);
    sums.retained.retain(|keys, _| stays(keys));
    sums.retained.extend(counted.retained);
    // Recipients who were held out belong to no campaign, so that what they did may concern all of them.
    sums.holdout = Sums::holdout(session, &shape.request, &sums.money, sums.at_hand).await?;
    Ok(sums)
}

/// The moment before which a conversion concerns the retention of nobody who converted at `last` or earlier.
fn retention_ends(last: Timestamp, request: &ReportRequest) -> i64 {
    const DAY: i64 = 86_400_000_000;
    last.as_microsecond().saturating_add(i64::from(request.retention_days.1) * DAY)
}
