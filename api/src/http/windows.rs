//! `GET /v1/windows`: when to send, with how sure that is.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use sendlift_engine::query::QuerySession;
use sendlift_engine::windows::{DayGroups, OwnFile, OwnRules, WindowsRequest, analyze_windows};
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::answers::Made;
use super::auth::hash_api_key;
use super::params::{PointParams, flag, list};
use super::problem::Problem;
use super::reading::Reading;
use super::segments::behind_groups;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/windows", get(windows))
}

/// Of whom the windows are, and what they are to be good for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowsParams {
    /// Only this campaign.
    campaign: Option<String>,
    /// Columns whose values are answered one by one, or segment:NAME of a saved segment, with commas between them; the
    /// answer is then a list.
    by: Option<String>,
    /// click (unless given), conversion, revenue or profit.
    objective: Option<String>,
    /// Windows a day between 09:00 and 21:00 (4 unless given).
    #[param(value_type = Option<u32>)]
    slots: Option<String>,
    /// Whether each day of the week stands by itself; Monday to Friday are together otherwise.
    #[param(value_type = Option<bool>)]
    each_day: Option<String>,
    /// Days from the send within which the outcome has to come (those of attribution unless given).
    #[param(value_type = Option<u32>)]
    horizon: Option<String>,
    /// With objective=profit: what an opt-out costs.
    #[param(value_type = Option<f64>)]
    opt_out_cost: Option<String>,
    #[serde(flatten)]
    #[param(ignore)]
    point: PointParams,
}

/// What answers under rules of one's own hang on.
pub(super) fn rules_mark(rules: &OwnRules) -> String {
    let text = |file: &Option<OwnFile>| file.as_ref().map(|file| file.text.clone()).unwrap_or_default();
    let own = format!("{}\0{}", text(&rules.legal_hours), text(&rules.holidays));
    if own.len() == 1 { String::new() } else { hash_api_key(&own) }
}

impl WindowsParams {
    fn request(&self) -> Result<WindowsRequest, Problem> {
        let mut request = WindowsRequest {
            campaign: self.campaign.clone(),
            by: list(self.by.as_deref()),
            days: if flag("each_day", self.each_day.as_deref())? { DayGroups::Days } else { DayGroups::Week },
            ..WindowsRequest::default()
        };
        let whole = |name: &str, text: &str| {
            text.parse::<u32>().map_err(|_| Problem::bad_request(format!("{name} \"{text}\" is no whole number")))
        };
        if let Some(objective) = &self.objective {
            request.objective = objective.parse()?;
        }
        if let Some(slots) = &self.slots {
            request.windows_a_day = whole("slots", slots)?;
        }
        if let Some(horizon) = &self.horizon {
            let days = whole("horizon", horizon)?;
            if !(1..=365).contains(&days) {
                return Err(Problem::bad_request(format!("horizon {days} is not between 1 and 365 days")));
            }
            request.horizon_days = Some(days);
        }
        if let Some(cost) = &self.opt_out_cost {
            request.opt_out_cost = cost
                .parse::<f64>()
                .ok()
                .filter(|cost| cost.is_finite())
                .ok_or_else(|| Problem::bad_request(format!("opt_out_cost \"{cost}\" is no number")))?;
        }
        Ok(request)
    }
}

/// When to send: the windows of the week, how sure that is, and a recommendation or the reason why there is none
#[utoipa::path(
    get,
    path = "/v1/windows",
    tag = "windows",
    params(WindowsParams, PointParams),
    responses(
        (status = 200, description = "objective, identification, level, windows, recommendation, plan; a list of these with by", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no such campaign")
    )
)]
pub(super) async fn windows(
    State(state): State<AppState>,
    reading: Reading<WindowsParams>,
) -> Result<Response, Problem> {
    let request = state.rules.over(reading.params.request()?);
    let behind = format!("{} {}", behind_groups(&state, &request.by).await?, rules_mark(&state.rules));
    let reading = reading.depending_on(&behind);
    let at = reading.params.point.at()?;
    let make = move |session: QuerySession| {
        let request = request.clone();
        async move {
            let answers = analyze_windows(&session, &request).await?;
            if request.by.is_empty() { Made::json(&answers.first()) } else { Made::json(&answers) }
        }
    };
    reading.answer(&state, at, make).await
}
