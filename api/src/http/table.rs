//! A table in the body of a request: NDJSON, JSON, CSV, Parquet or Arrow IPC, plain or compressed.
//!
//! The engine sees the layout and the compression from the bytes; the headers are looked at only to refuse what no
//! reader could read, before the body is received.

use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use sendlift_engine::ingest::input::{GZIP, ZSTD};

use super::problem::Problem;

/// The media types of the tables that the engine reads.
const TABLE_TYPES: [&str; 12] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/json",
    "text/csv",
    "text/tab-separated-values",
    "application/vnd.apache.parquet",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.arrow.stream",
    "application/gzip",
    "application/zstd",
    "application/octet-stream",
];
/// The compressions that the engine takes off.
const ENCODINGS: [&str; 4] = ["identity", "gzip", "x-gzip", "zstd"];

/// The bytes of a table, as they were sent.
#[derive(Debug)]
pub(super) struct TableBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for TableBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_headers(request.headers())?;
        let encoding = word(request.headers(), CONTENT_ENCODING);
        match Bytes::from_request(request, state).await {
            Ok(bytes) => check_encoding(encoding.as_deref(), &bytes).map(|()| Self(bytes)),
            Err(rejection) => Err(Problem::of_framework(rejection.status(), &rejection.body_text())),
        }
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(kind) = media_type(headers)
        && !TABLE_TYPES.contains(&kind.as_str())
    {
        return Err(unsupported(format!("Content-Type {kind} is no table: send one of {}", TABLE_TYPES.join(", "))));
    }
    if let Some(encoding) = word(headers, CONTENT_ENCODING)
        && !ENCODINGS.contains(&encoding.as_str())
    {
        return Err(unsupported(format!("Content-Encoding {encoding} is not known here: send gzip, zstd or none")));
    }
    Ok(())
}

/// Refuses a body that is not compressed as its header says.
fn check_encoding(encoding: Option<&str>, bytes: &[u8]) -> Result<(), Problem> {
    let start: &[u8] = match encoding {
        Some("gzip" | "x-gzip") => &GZIP,
        Some("zstd") => &ZSTD,
        _ => return Ok(()),
    };
    if bytes.starts_with(start) {
        return Ok(());
    }
    let why = format!("Content-Encoding is {}, and the body is not compressed so", encoding.unwrap_or_default());
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why))
}

fn unsupported(detail: String) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

/// The media type of a body, without its parameters and in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    word(headers, CONTENT_TYPE)
}

fn word(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(name)?.as_bytes()).to_ascii_lowercase();
    text.split(';').next().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &'static str, encoding: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        headers
    }

    #[test]
    fn only_tables_are_taken() {
        assert!(check_headers(&HeaderMap::new()).is_ok());
        assert!(check_headers(&headers("Text/CSV; charset=utf-8", "gzip")).is_ok());
        assert!(check_encoding(Some("gzip"), b"abc").is_err() && check_encoding(Some("identity"), b"abc").is_ok());
        assert!(check_encoding(Some("gzip"), &[0x1f, 0x8b, 8]).is_ok());
        assert!(check_headers(&headers("application/vnd.apache.parquet", "identity")).is_ok());
        assert!(check_headers(&headers("application/x-www-form-urlencoded", "identity")).is_err());
        assert!(check_headers(&headers("text/csv", "br")).is_err());
    }
}
