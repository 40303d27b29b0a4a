//! Who may ask: holders of an API key, or, where there is none, this machine alone.
//!
//! The server knows the SHA-256 of each key, not the key. A key is long and random (there is no dictionary to try), so
//! that one pass of a fast hash is enough; digests are compared in constant time.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// The header of a key, for callers that cannot send `Authorization`.
pub(super) const API_KEY: &str = "x-api-key";
/// Where a browser says whether a request comes from a page of another site.
const FETCH_SITE: &str = "sec-fetch-site";
/// Hexadecimal digits of a SHA-256.
pub(super) const HASH_DIGITS: usize = 64;

/// The lower-case hexadecimal SHA-256 of an API key, as a [`ServeConfig`](super::ServeConfig) wants it.
#[must_use]
pub fn hash_api_key(key: &str) -> String {
    hash(key.as_bytes())
}

fn hash(key: &[u8]) -> String {
    let digest = Sha256::digest(key);
    let mut text = String::with_capacity(HASH_DIGITS);
    for byte in &digest[..] {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The hashes of the keys that open the API.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    key_hashes: Arc<[String]>,
}

impl Guard {
    pub(super) fn new(key_hashes: &[String]) -> Self {
        Self { key_hashes: key_hashes.iter().map(|hash| hash.to_ascii_lowercase()).collect() }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if self.key_hashes.is_empty() {
            return check_machine(headers);
        }
        let Some(key) = presented_key(headers) else {
            return Err(unauthorized("send an API key, as \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\""));
        };
        let presented = hash(key);
        // Every hash is looked at, so that the time does not tell which one was nearly right.
        let known = self.key_hashes.iter().fold(false, |known, hash| known | same(hash, &presented));
        if known { Ok(()) } else { Err(unauthorized("the API key is not one of this server's")) }
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

fn presented_key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(API_KEY) {
        return Some(key.as_bytes().trim_ascii());
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}

fn same(left: &str, right: &str) -> bool {
    let difference = left.bytes().zip(right.bytes()).fold(0, |difference, (left, right)| difference | (left ^ right));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

/// Without a key the server listens on this machine alone. A page of another site in a browser on it can still send
/// requests here, or have its own name point here (DNS rebinding): both are refused.
fn check_machine(headers: &HeaderMap) -> Result<(), Problem> {
    let other_site = headers.get(FETCH_SITE).is_some_and(|site| site == "cross-site");
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if !other_site && host.is_none_or(is_this_machine) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "this server has no API key and answers only requests that this machine makes to localhost: set an API key",
    ))
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Middleware: lets a request through that may ask.
pub(super) async fn require_key(State(guard): State<Guard>, request: Request, next: Next) -> Result<Response, Problem> {
    guard.check(request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    /// FIPS 180-4, the test vector of "abc".
    #[test]
    fn the_hash_is_sha_256() {
        assert_eq!(hash_api_key("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_key_opens_in_either_header() {
        let guard = Guard::new(&[hash_api_key("first"), hash_api_key("second").to_uppercase()]);
        for (name, value) in
            [("authorization", "Bearer second"), ("authorization", "bearer first"), ("x-api-key", "second")]
        {
            assert!(guard.check(&headers(name, value)).is_ok(), "{name}: {value}");
        }
        for (name, value) in
            [("authorization", "Basic second"), ("x-api-key", "third"), ("x-api-key", ""), ("host", "x")]
        {
            assert!(guard.check(&headers(name, value)).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn a_hash_that_is_no_hash_opens_nothing() {
        let guard = Guard::new(&[String::new(), "not a hash".to_owned()]);
        assert!(guard.check(&headers("x-api-key", "not a hash")).is_err());
    }

    #[test]
    fn without_a_key_only_this_machine_may_ask() {
        let guard = Guard::new(&[]);
        assert!(guard.check(&HeaderMap::new()).is_ok());
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]", "LOCALHOST"] {
            assert!(guard.check(&headers("host", host)).is_ok(), "{host}");
        }
        for host in ["rebound.example:8080", "192.0.2.7", "localhost.example"] {
            assert!(guard.check(&headers("host", host)).is_err(), "{host}");
        }
        assert!(guard.check(&headers("sec-fetch-site", "cross-site")).is_err());
        assert!(guard.check(&headers("sec-fetch-site", "same-origin")).is_ok());
    }
}
