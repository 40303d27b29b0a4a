//! Query parameters: read with their types, refused with a reason, turned into what the engine takes.
//!
//! A parameter that is given several times counts as one list (`metric=click&metric=revenue` is
//! `metric=click,revenue`), and one without a value counts as not given. A name that an endpoint does not know is
//! refused.

use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sendlift_engine::experiment::{AnalysisOptions, parse_allocation};
use sendlift_engine::ingest::times::{TimeParser, zone};
use sendlift_engine::report::ReportRequest;
use sendlift_engine::store::At;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::problem::Problem;

/// The query parameters of a request, by the type that an endpoint declares.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Params<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let merged = format!("/?{}", merge_repeated(parts.uri.query().unwrap_or_default()));
        let uri: Uri = merged.parse().map_err(|_| Problem::bad_request("the query string is not valid"))?;
        match Query::<T>::try_from_uri(&uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
        }
    }
}

/// A query string in which each name stands once, its values joined by commas, and none is empty.
fn merge_repeated(query: &str) -> String {
    let mut merged: Vec<(&str, String)> = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if value.is_empty() {
            continue;
        }
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                values.push_str("%2C");
                values.push_str(value);
            }
            None => merged.push((name, value.to_owned())),
        }
    }
    let pairs: Vec<String> = merged.into_iter().map(|(name, values)| format!("{name}={values}")).collect();
    pairs.join("&")
}

/// The parts of a list with commas.
pub(super) fn list(text: Option<&str>) -> Vec<String> {
    let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// The point in the store's history that `at` names: a version of the facts, or a moment.
pub(super) fn point(at: Option<&str>) -> Result<Option<At>, Problem> {
    Ok(at.map(str::parse::<At>).transpose()?)
}

/// At which point of the store's history to read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PointParams {
    /// A version of the facts, or a time: the answer as it was then.
    at: Option<String>,
}

impl PointParams {
    pub(super) fn point(&self) -> Result<Option<At>, Problem> {
        point(self.at.as_deref())
    }
}

fn moment(name: &str, text: Option<&str>, time_zone: &TimeZone) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let microseconds = TimeParser::new(&[], time_zone.clone()).parse(text);
    let parsed = microseconds.and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok());
    match parsed {
        Some(moment) => Ok(Some(moment)),
        None => Err(Problem::bad_request(format!(
            "{name}: \"{text}\" is not a time such as 2026-03-02 or 2026-03-02T10:00:00Z (a plus sign is written %2B)"
        ))),
    }
}

/// A share strictly between 0 and 1.
pub(super) fn share(name: &str, value: f64) -> Result<f64, Problem> {
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    Err(Problem::bad_request(format!("{name} is {value}: give a share between 0 and 1, such as 0.05")))
}

/// The parameters of a report, as they were given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReportWords<'a> {
    pub(super) campaign: Option<&'a str>,
    pub(super) by: Option<&'a str>,
    pub(super) from: Option<&'a str>,
    pub(super) to: Option<&'a str>,
    pub(super) time_zone: Option<&'a str>,
}

impl ReportWords<'_> {
    /// The report that is asked for. Moments without an offset are in the report's zone.
    pub(super) fn request(&self) -> Result<ReportRequest, Problem> {
        let defaults = ReportRequest::default();
        let zone_name = self.time_zone.unwrap_or(&defaults.time_zone);
        let time_zone = zone(zone_name)?;
        Ok(ReportRequest {
            campaign: self.campaign.map(str::to_owned),
            by: if self.by.is_some() { list(self.by) } else { defaults.by },
            from: moment("from", self.from, &time_zone)?,
            to: moment("to", self.to, &time_zone)?,
            time_zone: zone_name.to_owned(),
            ..ReportRequest::default()
        })
    }
}

/// The parameters of an analysis, as they were given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AnalysisWords<'a> {
    pub(super) control: Option<&'a str>,
    pub(super) alpha: Option<f64>,
    pub(super) correction: Option<&'a str>,
    pub(super) allocation: Option<&'a str>,
    pub(super) segment: Option<&'a str>,
    /// The metrics of an experiment of the store; those of a table are columns, which its request names.
    pub(super) metric: Option<&'a str>,
}

impl AnalysisWords<'_> {
    /// The options that are asked for.
    pub(super) fn options(&self) -> Result<AnalysisOptions, Problem> {
        let mut options = AnalysisOptions {
            control: self.control.map(str::to_owned),
            allocation: parse_allocation(self.allocation.unwrap_or_default())?,
            segments: list(self.segment),
            metrics: list(self.metric),
            ..AnalysisOptions::default()
        };
        if let Some(alpha) = self.alpha {
            options.alpha = share("alpha", alpha)?;
        }
        if let Some(correction) = self.correction {
            options.correction = correction.parse()?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        metric: Option<String>,
        alpha: Option<f64>,
    }

    async fn read(uri: &'static str) -> Result<Example, Problem> {
        let (mut parts, ()) = axum::http::Request::builder().uri(uri).body(()).unwrap().into_parts();
        let Params(example) = Params::<Example>::from_request_parts(&mut parts, &()).await?;
        Ok(example)
    }

    #[tokio::test]
    async fn repeated_parameters_are_a_list_and_empty_ones_are_not_there() {
        let example = read("/v1/analyze?metric=click&metric=revenue%3Amean&alpha=").await.unwrap();
        assert_eq!(list(example.metric.as_deref()), ["click", "revenue:mean"]);
        assert_eq!(example.alpha, None);
        assert_eq!(read("/v1/analyze?alpha=0.1").await.unwrap().alpha, Some(0.1));
        assert!(read("/v1/analyze").await.is_ok());
    }

    #[tokio::test]
    async fn unknown_and_wrong_parameters_are_refused() {
        assert!(read("/v1/analyze?metrics=click").await.is_err());
        assert!(read("/v1/analyze?alpha=small").await.is_err());
    }

    #[test]
    fn words_become_requests() {
        let words = ReportWords {
            by: Some("country, day"),
            from: Some("2026-03-02"),
            time_zone: Some("Asia/Shanghai"),
            ..ReportWords::default()
        };
        let request = words.request().unwrap();
        assert_eq!(request.by, ["country", "day"]);
        assert_eq!(request.from, Some("2026-03-01T16:00:00Z".parse().unwrap()));
        assert!(ReportWords { to: Some("soon"), ..ReportWords::default() }.request().is_err());
        assert!(ReportWords { time_zone: Some("Mars"), ..ReportWords::default() }.request().is_err());

        let words = AnalysisWords { alpha: Some(0.1), allocation: Some("A=0.95,B=0.05"), ..AnalysisWords::default() };
        assert_eq!(words.options().unwrap().allocation.len(), 2);
        assert!(AnalysisWords { alpha: Some(1.5), ..AnalysisWords::default() }.options().is_err());
        assert!(AnalysisWords { correction: Some("luck"), ..AnalysisWords::default() }.options().is_err());
    }
}
