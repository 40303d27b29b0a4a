//! At which hour of the week messages do best, from contrasts within campaigns alone.

pub mod identification;
mod matrix;
pub mod randomisation_plan;
pub mod slots;

pub use identification::{
    CampaignTiming, ContrastKind, Identification, IdentifiedTiming, StratumSends, TimingEvidence, WindowAssignment,
    identify,
};
pub use randomisation_plan::{PlannedResponse, RandomisationPlan, RandomisationRequest};
pub use slots::{SlotSimilarity, WindowSlot};
