//! What the rows of a report are made of, before rates and intervals.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::grouping::Grouping;
use super::holdout::{self, HoldoutMargins};
use super::money::{self, Money};
use super::precise::pairs;
use super::query::{self, Counts};
use super::retention::{self, Retained};
use super::{LogsAtHand, ReportRequest};
use crate::error::Result;
use crate::query::QuerySession;

/// The sums of all groups of a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) at_hand: LogsAtHand,
    /// In the order of the groups.
    pub(super) counts: Vec<Counts>,
    #[serde(with = "pairs")]
    pub(super) money: Money,
    #[serde(with = "pairs")]
    pub(super) retained: Retained,
    #[serde(with = "pairs")]
    pub(super) holdout: HoldoutMargins,
}

impl Sums {
    /// Adds up a request, or some campaigns of it: then without the comparison with the held out.
    pub(super) async fn of(
        session: &QuerySession,
        request: &ReportRequest,
        campaigns: Option<&BTreeSet<Option<String>>>,
    ) -> Result<Self> {
        let at_hand = LogsAtHand::of(session).await?;
        let grouping = Grouping::resolve(session, &request.by, &request.time_zone).await?.with_history(session).await?;
        let base = query::base(request, &grouping, campaigns);
        let query::Counted { counts, money } = query::count(session, &base, &grouping).await?;
        let money = match money {
            Some(money) => money,
            None => money::by_currency(session, &base, &grouping).await?,
        };
        let retained = if at_hand.conversions {
            retention::retained(session, &base, &grouping, request.retention_days).await?
        } else {
            Retained::default()
        };
        let holdout = match campaigns {
            Some(_) => HoldoutMargins::default(),
            None => Self::holdout(session, request, &money, at_hand).await?,
        };
        Ok(Self { at_hand, counts, money, retained, holdout })
    }

    /// What the held out earned, beside each group that they stand for.
    pub(super) async fn holdout(
        session: &QuerySession,
        request: &ReportRequest,
        money: &Money,
        at_hand: LogsAtHand,
    ) -> Result<HoldoutMargins> {
        if !at_hand.conversions {
            return Ok(HoldoutMargins::default());
        }
        let grouping = Grouping::resolve(session, &request.by, &request.time_zone).await?.with_history(session).await?;
        let base = query::base(request, &grouping, None);
        holdout::margins(session, &base, &grouping, money).await
    }

    /// Those of one campaign, where the campaign is the first key; their keys are those after it.
    pub(super) fn of_campaign(&self, campaign: &str) -> Self {
        let is_its = |keys: &[Option<String>]| keys.first().is_some_and(|key| key.as_deref() == Some(campaign));
        let others = |keys: &[Option<String>]| keys.iter().skip(1).cloned().collect::<Vec<_>>();
        let counts = self.counts.iter().filter(|counts| is_its(&counts.keys));
        Self {
            at_hand: self.at_hand,
            counts: counts.map(|counts| Counts { keys: others(&counts.keys), ..counts.clone() }).collect(),
            money: of_keys(&self.money, is_its, others),
            retained: of_keys(&self.retained, is_its, others),
            holdout: of_keys(&self.holdout, is_its, others),
        }
    }
}

type ByGroup<T> = std::collections::BTreeMap<Vec<Option<String>>, T>;

fn of_keys<T: Clone>(
    all: &ByGroup<T>,
    is_its: impl Fn(&[Option<String>]) -> bool,
    others: impl Fn(&[Option<String>]) -> Vec<Option<String>>,
) -> ByGroup<T> {
    all.iter().filter(|(keys, _)| is_its(keys)).map(|(keys, value)| (others(keys), value.clone())).collect()
}
