//! `GET /v1/windows`: when to send, with how sure that is; `POST /v1/windows/recipients`: the same for each recipient, as a
//! file that is made in the background.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use sendlift_engine::query::QuerySession;
use sendlift_engine::windows::{OwnFile, OwnRules, RecipientWindowsRequest, WindowsRequest, analyze_windows};
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::answers::Made;
use super::auth::hash_api_key;
use super::job_body::JobBody;
use super::jobs::accept;
use super::params::{PointParams, flag, list};
use super::problem::Problem;
use super::reading::Reading;
use super::segments::behind_groups;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/windows", get(windows)).route("/v1/windows/recipients", post(ask_for_recipient_windows))
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
    #[serde(flatten)]
    #[param(ignore)]
    question: WindowsQuestion,
    #[serde(flatten)]
    #[param(ignore)]
    point: PointParams,
}

/// What windows are to be good for, and which there are.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WindowsQuestion {
    /// What windows are to be good for: click (unless given), conversion, revenue or profit.
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
}

/// What answers under rules of one's own hang on.
pub(super) fn rules_mark(rules: &OwnRules) -> String {
    let text = |file: &Option<OwnFile>| file.as_ref().map(|file| file.text.clone()).unwrap_or_default();
    let own = format!("{}\0{}", text(&rules.legal_hours), text(&rules.holidays));
    if own.len() == 1 { String::new() } else { hash_api_key(&own) }
}

impl WindowsQuestion {
    /// The question of all recipients, or of those of one campaign.
    pub(super) fn request(&self, campaign: Option<&str>) -> Result<WindowsRequest, Problem> {
        let mut request = WindowsRequest {
            campaign: campaign.map(str::to_owned),
            days: flag("each_day", self.each_day.as_deref())?.into(),
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
            request.horizon_days = Some(whole("horizon", horizon)?);
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
    params(WindowsParams, WindowsQuestion, PointParams),
    responses(
        (status = 200, description = "objective, identification, level, windows, recommendation, plan; a list of these with by", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no such campaign")
    )
)]
pub(super) async fn windows(
    State(state): State<AppState>,
    reading: Reading<WindowsParams>,
) -> Result<Response, Problem> {
    let params = &reading.params;
    let asked = params.question.request(params.campaign.as_deref())?;
    let request = state.rules.over(WindowsRequest { by: list(params.by.as_deref()), ..asked });
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

/// Has the windows of each recipient written into a file, as a job
///
/// The body has the members of GET /v1/windows, everything with a default: `campaign`, `by` (a list), `objective`, `slots`,
/// `each_day`, `horizon`, `opt_out_cost`; `seed`; `legal_hours` and `holidays` ({"name": …, "text": …}, the content of a
/// file). `every_window`: a row for each legal window of a recipient, not one a recipient. `format` of the file: parquet
/// (unless given), csv, ndjson or arrow.
#[utoipa::path(
    post,
    path = "/v1/windows/recipients",
    tag = "windows",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name of this job: the same name again is the same job")
    ),
    request_body(content = serde_json::Value, content_type = "application/json", description = "What is asked for; {} asks for the windows for clicks"),
    responses(
        (status = 202, description = "The job, as at the path that the header Location names", body = serde_json::Value, content_type = "application/json"),
        (status = 400, description = "This cannot be asked"),
        (status = 404, description = "There is no such campaign"),
        (status = 422, description = "Something else was asked for under this Idempotency-Key"),
        (status = 503, description = "Too many jobs wait")
    )
)]
pub(super) async fn ask_for_recipient_windows(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut body = JobBody::read(&headers, &body, "windows of recipients")?;
    let format = body.format;
    let every_window = body.take_flag("every_window")?;
    let windows = state.rules.over(body.request()?);
    accept(&state, &headers, RecipientWindowsRequest { windows, every_window }, format).await
}
