//! The contract: every path of the API with its parameters and answers, as an `OpenAPI` document.
//!
//! A handler declares what is its own; what all have in common (problems, and 304 of what is read) is added here.

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

use super::problem::{PROBLEM_JSON, ProblemDetails};
use super::{analyze, campaigns, charts, experiments, health, jobs, logs, models, query, scores, segments, windows};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "sendlift",
        description = "Analytics and A/B testing of message campaigns. Times are RFC 3339 in UTC, rates are shares from 0 to 1, money is in major units of its currency. Reads of the logs carry an ETag made of the versions they read and answer 304 to If-None-Match. Errors are problem details (RFC 9457).",
        license(name = "Apache-2.0")
    ),
    paths(
        health::healthz,
        health::readyz,
        health::show_metrics,
        logs::take_in_log,
        campaigns::list_campaigns,
        windows::windows,
        windows::ask_for_recipient_windows,
        campaigns::report_campaign,
        campaigns::report_all,
        experiments::list_experiments,
        experiments::show_experiment,
        experiments::analyze_experiment,
        segments::list_segments,
        segments::show_segment,
        analyze::analyze_table,
        scores::ask_for_scores,
        jobs::list_jobs,
        jobs::show_job,
        jobs::end_job,
        jobs::download_result,
        models::list_models,
        models::show_model,
        query::run_query,
        charts::draw_chart
    ),
    components(schemas(ProblemDetails)),
    modifiers(&ApiKeys, &CommonAnswers),
    security((), ("bearer" = []), ("api_key" = [])),
    tags(
        (name = "logs", description = "Logs in"),
        (name = "campaigns", description = "Campaigns and their results"),
        (name = "windows", description = "When to send"),
        (name = "experiments", description = "Experiments and their analyses"),
        (name = "segments", description = "Conditions on the contacts, kept under names to group by"),
        (name = "scores", description = "Audience scores: asked for, made in the background as jobs, by models that are kept"),
        (name = "jobs", description = "What is made in the background: how far it is, its file, its end"),
        (name = "query", description = "SQL, read-only"),
        (name = "charts", description = "Pictures of the same answers"),
        (name = "health", description = "Alive, able to answer, counters")
    )
)]
struct Contract;

/// What is read there is no function of the logs' versions.
const UNTAGGED: [&str; 2] = ["/v1/jobs", "/v1/models"];

/// The two headers in which a key may come.
struct ApiKeys;

impl Modify for ApiKeys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components
            .add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key"))));
    }
}

/// The answers that need no word at the single path.
struct CommonAnswers;

impl Modify for CommonAnswers {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            if path.starts_with("/v1/")
                && !UNTAGGED.iter().any(|folder| path.starts_with(*folder))
                && let Some(read) = &mut item.get
            {
                let unchanged = Response::new("As the caller knows it (If-None-Match)");
                read.responses.responses.insert("304".to_owned(), unchanged.into());
            }
            for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
                let responses = &mut operation.responses.responses;
                responses.insert("default".to_owned(), Response::new("A problem").into());
                for (status, response) in responses {
                    if status.starts_with(['4', '5', 'd'])
                        && let RefOr::T(response) = response
                    {
                        let problem = Content::new(Some(Ref::from_schema_name("ProblemDetails")));
                        response.content.insert(PROBLEM_JSON.to_owned(), problem.into());
                    }
                }
            }
        }
    }
}

/// The contract as a document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    Contract::openapi()
}
