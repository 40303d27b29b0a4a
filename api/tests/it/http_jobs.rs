//! Files that take long, over HTTP: asked for, made in the background, fetched, cancelled, and begun again by the next server.

use std::time::Duration;

use axum::http::{Request, StatusCode};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use jiff::Timestamp;
use sendlift_engine::generate::OutputFormat;
use sendlift_engine::jobs::{Job, JobState};
use sendlift_engine::score::{ModelChoice, ScoreRequest};
use serde_json::{Value, json};

use super::http_support::{Answer, Server};

/// Enough messages for a model of conversions.
const MESSAGES: u64 = 20_000;
/// A moment with two horizons of messages before it.
const AS_OF: &str = "2026-05-20T00:00:00Z";

async fn ask(server: &Server, body: &Value) -> Answer {
    server.post("/v1/scores", "application/json", body.to_string()).await
}

async fn ask_as(server: &Server, key: &str, body: &Value) -> Answer {
    let request = Request::post("/v1/scores").header("content-type", "application/json");
    server.ask(request.header("idempotency-key", key), body.to_string()).await
}

/// The id of a job that was accepted.
fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let job = answer.json();
    let id = job["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    id
}

/// The job once nothing will become of it any more.
async fn finished(server: &Server, id: &str) -> Value {
    for _ in 0..3_000 {
        let job = server.get(&format!("/v1/jobs/{id}")).await.ok().json();
        if !["queued", "running"].contains(&job["state"].as_str().unwrap()) {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("five minutes later job {id} is not finished");
}

async fn done(server: &Server, id: &str) -> Value {
    let job = finished(server, id).await;
    assert_eq!(job["state"], "done", "{job}");
    assert!(job["started_at"].is_string() && job["finished_at"].is_string() && job.get("error").is_none(), "{job}");
    job
}

async fn result(server: &Server, id: &str) -> Answer {
    let result = server.get(&format!("/v1/jobs/{id}/result")).await.ok();
    assert_eq!(result.header("content-length"), result.body.len().to_string());
    result
}

#[tokio::test]
async fn scores_are_made_in_the_background_and_fetched() {
    let server = Server::generated(MESSAGES).await;
    let body = json!({ "as_of": AS_OF, "horizon_days": 20 });
    let first = accepted(&ask(&server, &body).await);
    let job = done(&server, &first).await;
    assert_eq!((&job["request"]["horizon_days"], &job["request"]["format"]), (&20.into(), &"parquet".into()));
    assert_eq!(job["kind"], "score");
    assert_eq!(job["result"], format!("/v1/jobs/{first}/result"));
    let written = i64::try_from(job["summary"]["written"].as_u64().unwrap()).unwrap();
    assert!(written > 0, "{job}");

    let parquet = result(&server, &first).await;
    assert_eq!(parquet.header("content-type"), "application/vnd.apache.parquet");
    assert_eq!(parquet.header("content-disposition"), format!("attachment; filename=\"scores-{first}.parquet\""));
    let reader = ParquetRecordBatchReaderBuilder::try_new(parquet.body).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), written);
    assert!(reader.schema().column_with_name("recipient_id").is_some());

    let model = job["summary"]["model"]["id"].as_str().unwrap().to_owned();
    let models = server.get("/v1/models").await.ok().json();
    assert_eq!((&models[0]["id"], &models[0]["kind"]), (&model.as_str().into(), &"propensity".into()));
    let details = server.get(&format!("/v1/models/{model}")).await.ok().json();
    assert_eq!(details["model"], models[0]);
    assert!(details["quality"]["quality"].is_object() && details["quality"].get("classifier").is_none(), "{details}");
    server.get("/v1/models/none").await.problem(StatusCode::NOT_FOUND);

    let body = json!({
        "as_of": "2026-05-20", "model": { "saved": model }, "include_ineligible": true, "format": "csv"
    });
    let second = accepted(&ask(&server, &body).await);
    let job = done(&server, &second).await;
    let csv = result(&server, &second).await;
    assert_eq!(csv.header("content-type"), "text/csv");
    assert_eq!(csv.text().lines().count() as u64, 1 + job["summary"]["recipients"].as_u64().unwrap());

    let listed = server.get("/v1/jobs").await.ok().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert_eq!(server.delete(&format!("/v1/jobs/{first}")).await.status, StatusCode::NO_CONTENT);
    for uri in [format!("/v1/jobs/{first}"), format!("/v1/jobs/{first}/result")] {
        server.get(&uri).await.problem(StatusCode::NOT_FOUND);
    }
    assert_eq!(server.get("/v1/jobs").await.ok().json()[0]["id"], second.as_str());

    // A server that was killed while a job was under way.
    let request = ScoreRequest {
        model: ModelChoice::Saved(model),
        as_of: Some(AS_OF.parse().unwrap()),
        ..ScoreRequest::default()
    };
    let mut left = Job::new(request, OutputFormat::Ndjson, None, Timestamp::now()).unwrap();
    left.state = JobState::Running;
    left.put(&server.store()).await.unwrap();
    let next = server.beside();
    drop(server);
    let job = done(&next, &left.id).await;
    let lines = result(&next, &left.id).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert_eq!(lines.text().lines().count() as u64, job["summary"]["written"].as_u64().unwrap());
    // What was finished before is there still.
    assert_eq!(result(&next, &second).await.body, csv.body);
}

#[tokio::test]
async fn the_windows_of_each_recipient_are_a_job() {
    let server = Server::generated(2_000).await;
    let post = async |body: Value| server.post("/v1/windows/recipients", "application/json", body.to_string()).await;
    let body = json!({ "by": ["country"], "objective": "conversion", "each_day": true, "slots": 3, "format": "csv" });
    let id = accepted(&post(body).await);
    let job = done(&server, &id).await;
    assert_eq!(job["kind"], "recipient_windows");
    let asked = &job["request"];
    assert_eq!((&asked["by"], &asked["slots"], &asked["each_day"]), (&json!(["country"]), &3.into(), &true.into()));
    let answer = server.get("/v1/windows?objective=conversion&each_day=true&slots=3").await.ok().json();
    assert_eq!(job["summary"]["identification"], answer["identification"]);
    let recipients = server
        .post("/v1/query", "application/json", json!({ "sql": "SELECT count(*) AS n FROM recipients" }).to_string())
        .await
        .ok()
        .json();
    assert_eq!(job["summary"]["recipients"], recipients[0]["n"]);
    let file = result(&server, &id).await;
    assert_eq!(file.header("content-disposition"), format!("attachment; filename=\"windows-{id}.csv\""));
    assert_eq!(file.text().lines().count() as u64, 1 + job["summary"]["recipients"].as_u64().unwrap());
    // A row for each legal window is more.
    let every = accepted(&post(json!({ "every_window": true, "format": "ndjson" })).await);
    let job = done(&server, &every).await;
    assert!(
        result(&server, &every).await.text().lines().count() as u64
            > 2 * job["summary"]["recipients"].as_u64().unwrap()
    );
    for (body, named) in [
        (json!({ "every_window": "yes" }), "every_window"),
        (json!({ "windows": 3 }), "windows"),
        (json!({ "slots": 99 }), "99 windows a day"),
        (json!({ "horizon": 0 }), "horizon 0"),
        (json!({ "by": ["no_such_column"] }), "no_such_column"),
        (json!({ "by": ["clicks"] }), "came of a message"),
        (json!({ "legal_hours": { "name": "own.toml", "text": "nonsense" } }), "own.toml"),
    ] {
        let detail = post(body.clone()).await.problem(StatusCode::BAD_REQUEST);
        assert!(detail.contains(named), "{body}: {detail}");
    }
    post(json!({ "campaign": "none" })).await.problem(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_job_that_is_cancelled_leaves_no_result() {
    let server = Server::generated(MESSAGES).await;
    let body = json!({ "as_of": AS_OF, "horizon_days": 20 });
    let running = accepted(&ask(&server, &body).await);
    let waiting = accepted(&ask(&server, &body).await);
    assert_ne!(running, waiting);
    for id in [&waiting, &running] {
        let uri = format!("/v1/jobs/{id}");
        server.get(&format!("{uri}/result")).await.problem(StatusCode::CONFLICT);
        assert_eq!(server.delete(&uri).await.ok().json()["state"], "cancelled");
        assert_eq!(server.get(&uri).await.ok().json()["state"], "cancelled");
        let detail = server.get(&format!("{uri}/result")).await.problem(StatusCode::CONFLICT);
        assert!(detail.contains("cancelled"), "{detail}");
    }
    // The next one has its turn when the cancelled one has ended.
    let next = accepted(&ask(&server, &body).await);
    done(&server, &next).await;
    let store = server.store();
    for id in [&running, &waiting] {
        let job = Job::of(&store, id).await.unwrap().unwrap();
        assert_eq!(job.state, JobState::Cancelled);
        assert!(job.result(&store).await.unwrap().is_none());
        assert_eq!(server.delete(&format!("/v1/jobs/{id}")).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(server.get("/v1/jobs").await.ok().json().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_job_that_cannot_be_done_says_why() {
    let server = Server::new();
    let id = accepted(&ask(&server, &json!({})).await);
    let job = finished(&server, &id).await;
    assert_eq!((&job["state"], &job["error"]["status"]), (&"failed".into(), &422.into()), "{job}");
    assert!(job["error"]["detail"].as_str().unwrap().contains("no messages"), "{job}");
    assert!(job.get("summary").is_none() && job.get("result").is_none(), "{job}");
    server.get(&format!("/v1/jobs/{id}/result")).await.problem(StatusCode::CONFLICT);
    assert_eq!(server.delete(&format!("/v1/jobs/{id}")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get("/v1/jobs").await.ok().json(), json!([]));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_at_once() {
    let server = Server::new();
    for (body, named) in [
        (json!({ "horizon": 7 }), "horizon"),
        (json!({ "horizon_days": "soon" }), "horizon_days"),
        (json!({ "horizon_days": 0 }), "horizon"),
        (json!({ "budget": -1 }), "budget"),
        (json!({ "eligibility": { "chanel": "sms" } }), "chanel"),
        (json!({ "format": "xlsx" }), "xlsx"),
        (json!([]), "map"),
        // Columns and conditions are looked at before the job is accepted.
        (json!({ "by": ["no_such_column"] }), "no_such_column"),
        (json!({ "by": ["recipient_id"] }), "another for each recipient"),
        (json!({ "filter": "no_such_column > 1" }), "no_such_column"),
        (json!({ "filter": "1; DROP TABLE sends" }), "condition"),
    ] {
        let detail = ask(&server, &body).await.problem(StatusCode::BAD_REQUEST);
        assert!(detail.contains(named), "{body}: {detail}");
    }
    ask(&server, &json!({ "model": { "saved": "none" } })).await.problem(StatusCode::NOT_FOUND);
    // Nobody was assigned to anything.
    let uplift = json!({ "model": { "uplift": { "experiment": "none" } } });
    let detail = ask(&server, &uplift).await.problem(StatusCode::UNPROCESSABLE_ENTITY);
    assert!(detail.contains("there are no assignments"), "{detail}");
    server.post("/v1/scores", "text/csv", "a,b").await.problem(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    ask_as(&server, " ", &json!({})).await.problem(StatusCode::BAD_REQUEST);
    assert_eq!(server.get("/v1/jobs").await.ok().json(), json!([]));
    for id in ["none", "0123456789abcdef0123456789abcdef", "..%2F..%2Fsecret"] {
        let uri = format!("/v1/jobs/{id}");
        server.get(&uri).await.problem(StatusCode::NOT_FOUND);
        server.delete(&uri).await.problem(StatusCode::NOT_FOUND);
        server.get(&format!("{uri}/result")).await.problem(StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_key_that_comes_twice_is_one_job() {
    let server = Server::new();
    let body = json!({ "economics": { "margin": 0.1 }, "format": "csv" });
    let (first, second) = tokio::join!(ask_as(&server, "monday", &body), ask_as(&server, "monday", &body));
    let id = accepted(&first);
    assert_eq!(accepted(&second), id);
    finished(&server, &id).await;
    assert_eq!(accepted(&ask_as(&server.beside(), "monday", &body).await), id);
    assert_ne!(accepted(&ask_as(&server, "tuesday", &body).await), id);
    for other in [json!({ "economics": { "margin": 0.2 }, "format": "csv" }), json!({ "economics": { "margin": 0.1 } })]
    {
        let detail = ask_as(&server, "monday", &other).await.problem(StatusCode::UNPROCESSABLE_ENTITY);
        assert!(detail.contains("Idempotency-Key"), "{detail}");
    }
}

#[tokio::test]
async fn what_a_server_left_is_begun_again_unless_it_ended_too_often() {
    let server = Server::new();
    // By then it has looked for what others left.
    server.delete("/v1/jobs/none").await.problem(StatusCode::NOT_FOUND);
    let store = server.store();
    let mut left = Vec::new();
    for (state, interruptions) in [(JobState::Queued, 5), (JobState::Running, 0), (JobState::Running, 5)] {
        let mut job = Job::new(ScoreRequest::default(), OutputFormat::Csv, None, Timestamp::UNIX_EPOCH).unwrap();
        job.state = state;
        job.interruptions = interruptions;
        job.put(&store).await.unwrap();
        left.push(job.id);
    }
    let next = server.beside();
    // The store is empty: whatever is begun fails for want of messages.
    for (id, status) in left.iter().zip([422_u16, 422, 500]) {
        let job = finished(&next, id).await;
        assert_eq!((&job["state"], &job["error"]["status"]), (&"failed".into(), &Value::from(status)), "{job}");
    }
    assert_eq!(Job::of(&store, &left[1]).await.unwrap().unwrap().interruptions, 1);
}
