//! SQL over HTTP: the formats of the rows, their limit, and that nothing but reading is possible.

use std::io::Cursor;

use arrow::ipc::reader::StreamReader;
use axum::http::{Request, StatusCode};

use super::http_support::{Answer, MESSAGES, Server};

const BY_ARM: &str = "SELECT variant, count(*) AS messages FROM sends GROUP BY variant ORDER BY variant";

async fn query(server: &Server, accept: &str, sql: &str) -> Answer {
    server
        .ask(Request::post("/v1/query").header("content-type", "text/plain").header("accept", accept), sql.to_owned())
        .await
}

#[tokio::test]
async fn rows_come_in_the_format_that_is_asked_for() {
    let server = Server::filled().await;
    let body = serde_json::json!({ "sql": BY_ARM }).to_string();
    let json = server.post("/v1/query", "application/json", body).await.ok();
    assert_eq!(json.header("content-type"), "application/json");
    assert_eq!(json.text(), r#"[{"variant":"A","messages":100},{"variant":"B","messages":100}]"#);

    let csv = query(&server, "text/csv", BY_ARM).await.ok();
    assert_eq!((csv.header("content-type"), csv.text().as_str()), ("text/csv", "variant,messages\nA,100\nB,100\n"));

    let stream =
        query(&server, "application/vnd.apache.arrow.stream", "SELECT message_id, sent_at FROM sends").await.ok();
    let reader = StreamReader::try_new(Cursor::new(stream.body), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), MESSAGES);

    let parquet = query(&server, "application/vnd.apache.parquet", BY_ARM).await.ok();
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));

    query(&server, "text/html", BY_ARM).await.problem(StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn no_rows_and_no_values_are_shown_as_such() {
    let server = Server::new();
    let nobody = "SELECT message_id FROM sends";
    assert_eq!(query(&server, "*/*", nobody).await.ok().text(), "[]");
    assert_eq!(query(&server, "text/csv", nobody).await.ok().text(), "message_id\n");
    let stream = query(&server, "application/vnd.apache.arrow.stream", nobody).await.ok();
    assert_eq!(StreamReader::try_new(Cursor::new(stream.body), None).unwrap().count(), 0);
    let nothing = "SELECT CAST(NULL AS VARCHAR) AS nothing";
    assert_eq!(query(&server, "*/*", nothing).await.ok().text(), r#"[{"nothing":null}]"#);
}

#[tokio::test]
async fn a_limit_is_kept() {
    let server = Server::filled().await;
    for (limit, expected) in [(0, 0), (7, 7), (MESSAGES + 1, MESSAGES)] {
        let uri = format!("/v1/query?limit={limit}");
        let rows = server.post(&uri, "text/plain", "SELECT message_id FROM sends").await.ok().json();
        assert_eq!(rows.as_array().map(Vec::len), Some(expected));
    }
    server.post("/v1/query?limit=-1", "text/plain", "SELECT 1").await.problem(StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn nothing_but_reading_is_possible() {
    let server = Server::filled().await;
    for sql in [
        "DROP TABLE sends",
        "DELETE FROM sends",
        "INSERT INTO sends (message_id) VALUES ('x')",
        "CREATE TABLE copied AS SELECT * FROM sends",
        "CREATE EXTERNAL TABLE passwords STORED AS CSV LOCATION '/etc/passwd'",
        "COPY sends TO 'sends.csv'",
        "SET datafusion.execution.batch_size = 1",
        "SELECT * FROM 'sends.csv'",
    ] {
        let detail = query(&server, "*/*", sql).await.problem(StatusCode::BAD_REQUEST);
        assert!(detail.starts_with("sql: ") || detail.starts_with("there is no table"), "{sql}: {detail}");
    }
    let count = query(&server, "*/*", "SELECT count(*) AS n FROM sends").await.ok().json();
    assert_eq!(count[0]["n"], MESSAGES);
}

#[tokio::test]
async fn a_wrong_statement_is_a_problem() {
    let server = Server::filled().await;
    for sql in ["SELEC 1", "SELECT colour FROM sends", "SELECT 1 FROM letters", "", "SELECT 1; SELECT 2"] {
        query(&server, "*/*", sql).await.problem(StatusCode::BAD_REQUEST);
    }
    let fails_on_the_rows = format!("SELECT 1 / (count(*) - {MESSAGES}) FROM sends");
    query(&server, "*/*", &fails_on_the_rows).await.problem(StatusCode::UNPROCESSABLE_ENTITY);
    server.post("/v1/query", "application/json", "{\"query\": \"SELECT 1\"}").await.problem(StatusCode::BAD_REQUEST);
    server.post("/v1/query", "text/csv", "SELECT 1").await.problem(StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_long_statement_ends_no_server() {
    let server = Server::filled().await;
    let ids: Vec<String> = (0..10_000).map(|id| format!("'r{id}'")).collect();
    let listed = format!("SELECT count(*) AS n FROM message_facts WHERE recipient_id IN ({})", ids.join(","));
    assert_eq!(query(&server, "*/*", &listed).await.ok().status, StatusCode::OK);
    let chained = format!("SELECT {} AS n", vec!["1"; 5_000].join("+"));
    assert_eq!(query(&server, "*/*", &chained).await.ok().text(), r#"[{"n":5000}]"#);
    let too_long = format!("SELECT {} AS n", vec!["1"; 100_000].join("+"));
    let refused = query(&server, "*/*", &too_long).await.problem(StatusCode::BAD_REQUEST);
    assert!(refused.contains("131072 bytes"), "{refused}");
    server.get("/healthz").await.ok();
}

#[tokio::test]
async fn nothing_is_made_out_of_a_number() {
    let server = Server::new();
    for sql in ["SELECT repeat('x', 2000000000)", "SELECT lpad('x', 2000000000)", "SELECT array_repeat(1, 2000000000)"]
    {
        let refused = query(&server, "*/*", sql).await.problem(StatusCode::BAD_REQUEST);
        assert!(refused.contains("Invalid function"), "{sql}: {refused}");
    }
}
