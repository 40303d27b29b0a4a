//! At which hour of the week messages do best, from contrasts within campaigns alone.
//!
//! Enters: when the messages of each campaign went out and how that came about, and counts of the outcome by campaign,
//! stratum, segment, slot and kind of day ([`WindowCell`]). Leaves: an [`Identification`], and where hours can be
//! compared, [`SendWindows`]: every slot's response with its interval, its difference from current practice, its chance
//! to be best, and a set of windows to recommend or the reason why none is. Where hours cannot be compared there is a
//! [`RandomisationPlan`] and never a ranking: [`fit()`] asks for an [`IdentifiedTiming`], which only [`identify`]
//! makes.
//!
//! The outcome is that of a message within a fixed time from its *send*; messages whose time has not run out are left
//! out by the caller, as are automated clicks. A message that was held to the end of quiet hours belongs to the slot in
//! which it was scheduled, or nowhere.
//!
//! Propensities of a randomised campaign may depend on campaign, stratum and segment, not on anything else of a
//! recipient: within these, windows have to be drawn alike for everybody.
//!
//! 1. **Intercepts** by campaign × stratum × segment are eliminated (`working` in the source): what a campaign offered,
//!    and to whom, never speaks for an hour. Where one instant met regions at different hours, intercepts are by
//!    campaign × segment, and regions have effects of their own.
//! 2. **Random effects** u(campaign, slot) with variance τ²: many messages in one campaign are one look at a slot, not
//!    many.
//! 3. **Shrinkage** of slots towards no effect and towards their neighbours of the day and the week, and of segments
//!    towards the slots; σ, τ and what makes slots alike averaged over a grid by their marginal likelihood.
//! 4. **Draws** from the posterior, turned to rates at the average mix.
//! 5. **Decision**: legal slots of which none is expected to lose more than is tolerated, or an abstention.
//!
//! | file | subject |
//! | --- | --- |
//! | `slots` | the week, which windows are alike |
//! | `identification`, `randomisation_plan` | can hours be compared, and what would make them so |
//! | `table`, `working`, `pooling` | blocks, their likelihood, campaigns added up |
//! | `posterior`; `joint`, `departures` | slots; segments beside them; spreads averaged over |
//! | `levels`, `outlook`, `decision`, `fit` | rates, what is known of each slot, what to do |
//! | `recipients` | do single recipients differ, and what is known of each |
//! | `given_spread` | the posterior where the spreads are known |
//! | `matrix`, `random` | as much linear algebra as is needed, counter-based draws |

pub mod decision;
mod departures;
pub mod fit;
pub mod given_spread;
pub mod identification;
mod joint;
mod levels;
mod matrix;
pub mod outlook;
mod pooling;
pub mod posterior;
mod random;
pub mod randomisation_plan;
pub mod recipients;
pub mod slots;
pub mod table;
mod working;

pub use decision::{AbstentionCause, Recommendation, WindowDecision};
pub use fit::{AnswerLevel, DayEffect, SegmentOutlook, SendWindows, WindowOptions, fit};
pub use given_spread::{EffectsPosterior, posterior_given_spread};
pub use identification::{
    CampaignTiming, ContrastKind, Identification, IdentifiedTiming, StratumSends, TimingEvidence, WindowAssignment,
    identify,
};
pub use outlook::{OUTLOOK_QUANTILE, SlotOutlook, WindowOutlook};
pub use posterior::Spread;
pub use randomisation_plan::{PlannedResponse, RandomisationPlan, RandomisationRequest};
pub use recipients::{
    RecipientCell, RecipientMoments, RecipientOutlook, RecipientSlot, RecipientSpread, RecipientWindows,
};
pub use slots::{SlotSimilarity, WindowSlot};
pub use table::{WindowCell, WindowOutcome};

#[cfg(test)]
mod tests;
