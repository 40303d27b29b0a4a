//! The bodies that ask for a job: JSON members with defaults, among them the format of the file.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use sendlift_engine::generate::OutputFormat;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::table::media_type;

/// The member that is not the engine's.
pub(super) const FORMAT: &str = "format";

/// The members of a body, but for those that were taken out.
pub(super) struct JobBody {
    members: Map<String, Value>,
    /// The format of the file.
    pub(super) format: OutputFormat,
    /// What is asked for, for errors: "scores".
    subject: &'static str,
}

impl JobBody {
    /// Reads a body; anything but a JSON object is refused.
    pub(super) fn read(headers: &HeaderMap, body: &[u8], subject: &'static str) -> Result<Self, Problem> {
        if let Some(other) = media_type(headers).filter(|kind| kind != "application/json") {
            let detail = format!("Content-Type {other} is no request for {subject}: send application/json");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let Json(mut members) = Json::<Map<String, Value>>::from_bytes(body)
            .map_err(|rejection| refused(subject, &rejection.body_text()))?;
        let format = match members.remove(FORMAT) {
            None => OutputFormat::Parquet,
            Some(Value::String(name)) => {
                name.parse::<OutputFormat>().map_err(|error| refused(subject, &format!("{FORMAT}: {error}")))?
            }
            Some(other) => return Err(refused(subject, &format!("{FORMAT}: {other} is not the name of a format"))),
        };
        Ok(Self { members, format, subject })
    }

    /// Takes out a member that is true or false; false where it is not there.
    pub(super) fn take_flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.members.remove(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(refused(self.subject, &format!("{name}: {other} is neither true nor false"))),
        }
    }

    /// What the members that are left ask for.
    pub(super) fn request<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let rest = serde_json::to_vec(&self.members).map_err(|error| Problem::internal(&error))?;
        let Json(request) = Json::<T>::from_bytes(&rest).map_err(|rejection| {
            let text = rejection.body_text();
            // The place is not one in what the caller sent.
            refused(self.subject, text.split(" at line ").next().unwrap_or(&text))
        })?;
        Ok(request)
    }
}

fn refused(subject: &str, why: &str) -> Problem {
    Problem::bad_request(format!("the body is no request for {subject}: {why}"))
}

#[cfg(test)]
mod tests {
    use sendlift_engine::score::{ModelChoice, ScoreRequest, Target};
    use sendlift_engine::windows::WindowsRequest;

    use super::*;

    fn read(body: &str) -> Result<JobBody, Problem> {
        JobBody::read(&HeaderMap::new(), body.as_bytes(), "scores")
    }

    #[test]
    fn an_empty_request_has_every_default() {
        let body = read("{}").unwrap();
        assert_eq!(body.format, OutputFormat::Parquet);
        assert_eq!(body.request::<ScoreRequest>().unwrap(), ScoreRequest::default());
        let mut body = read("{}").unwrap();
        assert!(!body.take_flag("every_window").unwrap());
        assert_eq!(body.request::<WindowsRequest>().unwrap(), WindowsRequest::default());
        let body =
            read(r#"{"format":"csv","target":{"event":"signup"},"model":{"uplift":{}},"horizon_days":7}"#).unwrap();
        assert_eq!(body.format, OutputFormat::Csv);
        let request: ScoreRequest = body.request().unwrap();
        assert_eq!((request.horizon_days, request.target), (7, Target::Event("signup".to_owned())));
        assert_eq!(request.model, ModelChoice::Uplift { experiment: None });
    }

    #[test]
    fn what_is_wrong_in_a_body_is_named() {
        for (body, named) in [
            (r#"{"horizon":7}"#, "horizon"),
            (r#"{"horizon_days":"soon"}"#, "horizon_days"),
            (r#"{"economics":{"price":1}}"#, "price"),
            (r#"{"model":{"uplift":{"test":"x"}}}"#, "test"),
            (r#"{"as_of":"tomorrow"}"#, "as_of"),
            (r#"{"format":"xlsx"}"#, "xlsx"),
            (r#"{"format":7}"#, "format"),
            ("[]", "map"),
            ("{", "EOF"),
        ] {
            let refused = read(body).and_then(JobBody::request::<ScoreRequest>).unwrap_err();
            assert!(refused.reason().contains(named), "{body}: {}", refused.reason());
        }
        for (body, named) in [
            (r#"{"slots":"many"}"#, "invalid type"),
            (r#"{"windows_a_day":4}"#, "windows_a_day"),
            (r#"{"objective":"clicks"}"#, "clicks"),
        ] {
            let refused = read(body).and_then(JobBody::request::<WindowsRequest>).unwrap_err();
            assert!(refused.reason().contains(named), "{body}: {}", refused.reason());
        }
        assert!(read(r#"{"every_window":1}"#).unwrap().take_flag("every_window").is_err());
    }
}
