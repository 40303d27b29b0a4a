//! Send windows that say when they know.
//!
//! In: the facts of all messages. Out: for all recipients or for segments the legal local windows with what each brings,
//! how sure that is, and a recommendation or the reason why there is none.
//!
//! 1. **Identification** (`sendlift_stats::send_windows::identify`): were hours drawn at random, seen at different local
//!    hours of one instant, or chosen? Where they were chosen there is a plan that would make them comparable, and no
//!    ranking.
//! 2. **Estimation** from contrasts within campaigns, shrunk ([`analyze`]).
//! 3. **The law** masks the answer ([`legal`], `legal_hours`): a window is legal if it is so all through and wherever the
//!    recipients live.
//!
//! | file | subject |
//! | --- | --- |
//! | [`slots`] | the windows of the week |
//! | [`request`], [`answer`] | what is asked and answered |
//! | [`cells`] with [`moments`], [`outcomes`], [`campaigns`], [`calendar`] | from the facts to counts; when messages went out; what one brought; how windows came about; the kind of a day |
//! | [`drawn`] | whether logged propensities are those of the windows |
//! | [`analyze`], [`timing`] | from counts to the answer; sooner or more |
//! | [`holidays`] | public holidays and their eves, days of their own |
//! | [`legal`], [`legal_hours`] | when promotion may be sent |
//! | [`recipients`] | a file with the windows of each recipient |
//! | [`schedule`], [`evaluate`] | a schedule that learns; what a schedule would have brought |

mod analyze;
mod answer;
mod calendar;
mod campaigns;
mod cells;
mod country;
mod drawn;
mod evaluate;
pub mod holidays;
mod legal;
pub mod legal_hours;
mod moments;
mod outcomes;
mod recipients;
mod request;
mod schedule;
mod slots;
mod timing;
mod user_file;
pub mod zones;

pub use analyze::{analyze_one_segment, analyze_windows};
pub use answer::{
    DayEffectShown, OtherObjective, WindowName, WindowOfWeek, WindowsAnswer, WindowsIdentification, WindowsLevel,
    WindowsPlan, WindowsRecommendation,
};
pub use cells::LeftOut;
pub use evaluate::{EvaluationRequest, ScheduleEvaluation, evaluate_schedule};
pub(crate) use legal::{LegalByPlace, LegalMask};
pub(crate) use recipients::PlaceWindows;
pub use recipients::{
    HoursSpread, LevelCount, RecipientWindowsRequest, RecipientWindowsSummary, check_recipient_windows,
    write_recipient_windows,
};
pub use request::{Objective, OwnFile, OwnRules, WindowsRequest};
pub use schedule::{ReasonCount, ScheduleRequest, ScheduleSummary, WindowLoad, schedule_list};
pub use slots::{DEFAULT_PER_DAY, DayGroups, Slot, Slots};
