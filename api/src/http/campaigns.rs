//! Campaigns and their reports.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use sendlift_engine::query::{QuerySession, text_literal};
use sendlift_engine::report;
use sendlift_engine::store::MESSAGE_FACTS;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::answers::Made;
use super::params::{PointParams, ReportParams};
use super::problem::Problem;
use super::reading::Reading;
use super::segments::behind_groups;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/campaigns", get(list_campaigns))
        .route("/v1/campaigns/{id}/report", get(report_campaign))
        .route("/v1/report", get(report_all))
}

/// How one campaign's report is grouped and bounded, and as of when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneCampaignParams {
    #[serde(flatten)]
    report: ReportParams,
    #[serde(flatten)]
    point: PointParams,
}

/// Which campaigns a report is about, how it is grouped and bounded, and as of when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CampaignsParams {
    /// Only this campaign.
    campaign: Option<String>,
    #[serde(flatten)]
    #[param(ignore)]
    report: ReportParams,
    #[serde(flatten)]
    #[param(ignore)]
    point: PointParams,
}

/// The campaigns that the logs hold, the latest first
#[utoipa::path(
    get,
    path = "/v1/campaigns",
    tag = "campaigns",
    params(PointParams),
    responses((status = 200, description = "campaign_id, sent, first_sent_at, last_sent_at, matured of each", body = serde_json::Value, content_type = "application/json"))
)]
pub(super) async fn list_campaigns(
    State(state): State<AppState>,
    reading: Reading<PointParams>,
) -> Result<Response, Problem> {
    let at = reading.params.at()?;
    let make = |session: QuerySession| async move { Made::json(&report::list_campaigns(&session).await?) };
    reading.answer(&state, at, make).await
}

/// The results of one campaign
#[utoipa::path(
    get,
    path = "/v1/campaigns/{id}/report",
    tag = "campaigns",
    params(("id" = String, Path, description = "The campaign"), ReportParams, PointParams),
    responses(
        (status = 200, description = "The report: as_of, versions, by, rows", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no message of this campaign")
    )
)]
pub(super) async fn report_campaign(
    State(state): State<AppState>,
    Path(id): Path<String>,
    reading: Reading<OneCampaignParams>,
) -> Result<Response, Problem> {
    let request = reading.params.report.request(Some(&id))?;
    let behind = behind_groups(&state, &request.by).await?;
    let reading = reading.depending_on(&behind);
    let make = move |session: QuerySession| {
        let (id, request) = (id.clone(), request.clone());
        async move {
            let answer = report::report(&session, &request).await?;
            if answer.rows.is_empty() && !has_message(&session, &id).await? {
                return Err(Problem::not_found(format!(
                    "there is no message of campaign \"{id}\": GET /v1/campaigns lists those there are"
                )));
            }
            Made::json(&answer)
        }
    };
    reading.answer(&state, reading.params.point.at()?, make).await
}

/// The results of all campaigns, or of some
#[utoipa::path(
    get,
    path = "/v1/report",
    tag = "campaigns",
    params(CampaignsParams, ReportParams, PointParams),
    responses((status = 200, description = "The report: as_of, versions, by, rows", body = serde_json::Value, content_type = "application/json"))
)]
pub(super) async fn report_all(
    State(state): State<AppState>,
    reading: Reading<CampaignsParams>,
) -> Result<Response, Problem> {
    let request = reading.params.report.request(reading.params.campaign.as_deref())?;
    let behind = behind_groups(&state, &request.by).await?;
    let reading = reading.depending_on(&behind);
    let make = move |session: QuerySession| {
        let request = request.clone();
        async move { Made::json(&report::report(&session, &request).await?) }
    };
    reading.answer(&state, reading.params.point.at()?, make).await
}

/// Whether any message of a campaign was sent, in whatever time.
async fn has_message(session: &QuerySession, campaign: &str) -> Result<bool, Problem> {
    let sql = format!("SELECT 1 FROM {MESSAGE_FACTS} WHERE campaign_id = {} LIMIT 1", text_literal(campaign));
    let batches = session.collect(&sql).await?;
    Ok(batches.iter().any(|batch| batch.num_rows() > 0))
}
