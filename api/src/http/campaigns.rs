//! Campaigns and their reports.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use sendlift_engine::query::{QuerySession, text_literal};
use sendlift_engine::report;
use sendlift_engine::store::MESSAGE_FACTS;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::params::{Params, PointParams, ReportWords, point};
use super::problem::{Problem, ProblemDetails};
use super::reading::Reading;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/campaigns", get(list_campaigns))
        .route("/v1/campaigns/{id}/report", get(report_campaign))
        .route("/v1/report", get(report_all))
}

/// How one campaign's report is grouped and bounded.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CampaignReportParams {
    /// Columns to group by, with commas between them: any column of the facts or of the recipients, or day, week,
    /// month, hour.
    by: Option<String>,
    /// Only messages sent at or after this time.
    from: Option<String>,
    /// Only messages sent before this time.
    to: Option<String>,
    /// A version of the facts, or a time: the report as it was then.
    at: Option<String>,
    /// The IANA zone of days, weeks and months, and of `from` and `to` without an offset (UTC unless given).
    time_zone: Option<String>,
}

/// Which campaigns a report is about, how it is grouped and bounded.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportParams {
    /// Columns to group by, with commas between them: any column of the facts or of the recipients, or day, week,
    /// month, hour.
    by: Option<String>,
    /// Only this campaign.
    campaign: Option<String>,
    /// Only messages sent at or after this time.
    from: Option<String>,
    /// Only messages sent before this time.
    to: Option<String>,
    /// A version of the facts, or a time: the report as it was then.
    at: Option<String>,
    /// The IANA zone of days, weeks and months, and of `from` and `to` without an offset (UTC unless given).
    time_zone: Option<String>,
}

/// The campaigns that the logs hold, the latest first
#[utoipa::path(
    get,
    path = "/v1/campaigns",
    tag = "campaigns",
    params(PointParams),
    responses(
        (status = 200, description = "campaign_id, sent, first_sent_at, last_sent_at, matured of each", body = serde_json::Value, content_type = "application/json"),
        (status = 304, description = "As the caller knows it (If-None-Match)"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn list_campaigns(
    State(state): State<AppState>,
    Params(params): Params<PointParams>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reading = Reading::open(&state, params.point()?, &uri).await?;
    if let Some(unchanged) = reading.unchanged(&headers) {
        return Ok(unchanged);
    }
    Ok(reading.json(&report::list_campaigns(&reading.session).await?))
}

/// The results of one campaign
#[utoipa::path(
    get,
    path = "/v1/campaigns/{id}/report",
    tag = "campaigns",
    params(("id" = String, Path, description = "The campaign"), CampaignReportParams),
    responses(
        (status = 200, description = "The report: as_of, versions, by, rows", body = serde_json::Value, content_type = "application/json"),
        (status = 304, description = "As the caller knows it (If-None-Match)"),
        (status = 404, description = "There is no message of this campaign", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn report_campaign(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Params(params): Params<CampaignReportParams>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let words = ReportWords {
        campaign: Some(&id),
        by: params.by.as_deref(),
        from: params.from.as_deref(),
        to: params.to.as_deref(),
        time_zone: params.time_zone.as_deref(),
    };
    let request = words.request()?;
    let reading = Reading::open(&state, point(params.at.as_deref())?, &uri).await?;
    if let Some(unchanged) = reading.unchanged(&headers) {
        return Ok(unchanged);
    }
    let answer = Box::pin(report::report(&reading.session, &request)).await?;
    if answer.rows.is_empty() && !has_message(&reading.session, &id).await? {
        return Err(Problem::not_found(format!(
            "there is no message of campaign \"{id}\": GET /v1/campaigns lists those there are"
        )));
    }
    Ok(reading.json(&answer))
}

/// The results of all campaigns, or of some
#[utoipa::path(
    get,
    path = "/v1/report",
    tag = "campaigns",
    params(ReportParams),
    responses(
        (status = 200, description = "The report: as_of, versions, by, rows", body = serde_json::Value, content_type = "application/json"),
        (status = 304, description = "As the caller knows it (If-None-Match)"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn report_all(
    State(state): State<AppState>,
    Params(params): Params<ReportParams>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let words = ReportWords {
        campaign: params.campaign.as_deref(),
        by: params.by.as_deref(),
        from: params.from.as_deref(),
        to: params.to.as_deref(),
        time_zone: params.time_zone.as_deref(),
    };
    let request = words.request()?;
    let reading = Reading::open(&state, point(params.at.as_deref())?, &uri).await?;
    if let Some(unchanged) = reading.unchanged(&headers) {
        return Ok(unchanged);
    }
    Ok(reading.json(&Box::pin(report::report(&reading.session, &request)).await?))
}

/// Whether any message of a campaign was sent, in whatever time.
async fn has_message(session: &QuerySession, campaign: &str) -> Result<bool, Problem> {
    let sql = format!("SELECT 1 FROM {MESSAGE_FACTS} WHERE campaign_id = {} LIMIT 1", text_literal(campaign));
    let batches = session.collect(&sql).await?;
    Ok(batches.iter().any(|batch| batch.num_rows() > 0))
}
