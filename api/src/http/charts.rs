//! `GET /v1/charts/{kind}.svg` and `.png`: the pictures of reports and analyses.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use axum::routing::get;
use sendlift_engine::EngineError;
use sendlift_engine::chart::{Chart, ChartError, ChartSize, draw_svg, pictures, render_png};
use sendlift_engine::experiment::{ExperimentAnalysis, analyze_store};
use sendlift_engine::query::QuerySession;
use sendlift_engine::report::{Report, report};
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::params::{AnalysisWords, Params, ReportWords, point};
use super::problem::{Problem, ProblemDetails};
use super::reading::Reading;

/// The header that says what a picture leaves out: a JSON array of texts in ASCII.
const WARNINGS: &str = "x-sendlift-warnings";
/// The recipient's own hour, by which the chart of hours is grouped.
const LOCAL_HOUR: &str = "local_hour";

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/charts/{file}", get(draw_chart))
}

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Picture {
    /// From sent to converted, of a report.
    Funnel,
    /// Click rate by local hour, of a report.
    Hours,
    /// The lift of each metric, of an experiment.
    Lift,
    /// The difference in each segment, of an experiment.
    Segments,
}

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageFormat {
    Svg,
    Png,
}

impl ImageFormat {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Png => "image/png",
        }
    }
}

/// What is drawn, and how large. Funnel and hours take a report's parameters, lift and segments an analysis's.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ChartParams {
    /// Funnel, hours: only this campaign.
    campaign: Option<String>,
    /// Funnel: columns to group by, with commas between them (`campaign_id` unless given).
    by: Option<String>,
    /// Funnel, hours: only messages sent at or after this time.
    from: Option<String>,
    /// Funnel, hours: only messages sent before this time.
    to: Option<String>,
    /// Funnel, hours: the IANA zone of days, and of `from` and `to` without an offset (UTC unless given).
    time_zone: Option<String>,
    /// Lift, segments: the experiment.
    experiment: Option<String>,
    /// Lift: only this metric. Segments: this metric instead of the first.
    metric: Option<String>,
    /// Segments: the columns whose values are looked at one by one, with commas between them.
    segment: Option<String>,
    /// Lift, segments: the arm that the others are compared with.
    control: Option<String>,
    /// Lift, segments: two-sided error, 0 to 1 (0.05 unless given).
    alpha: Option<f64>,
    /// Lift, segments: how p values are adjusted: holm (unless given), bh or none.
    correction: Option<String>,
    /// Lift, segments: the planned share of each arm, as in `A=0.5,B=0.5`.
    allocation: Option<String>,
    /// A version of the facts, or a time: the picture as it was then.
    at: Option<String>,
    /// Pixels across, 320 to 4096 (800 unless given).
    width: Option<u32>,
    /// Pixels down, 320 to 4096 (500 unless given).
    height: Option<u32>,
}

/// Draws a chart
///
/// `funnel` and `hours` show a report, `lift` and `segments` an experiment. What a picture leaves out is named in the
/// header `x-sendlift-warnings`, a JSON array of texts.
#[utoipa::path(
    get,
    path = "/v1/charts/{file}",
    tag = "charts",
    params(
        ("file" = String, Path, description = "The chart and its format: funnel, hours, lift or segments, then .svg or .png"),
        ChartParams
    ),
    responses(
        (status = 200, description = "The picture", content(("image/svg+xml"), ("image/png"))),
        (status = 304, description = "As the caller knows it (If-None-Match)"),
        (status = 404, description = "There is no such chart, experiment or campaign", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn draw_chart(
    State(state): State<AppState>,
    Path(file): Path<String>,
    Params(params): Params<ChartParams>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (picture, format) = chart_of(&file)?;
    let size = params.size()?;
    let reading = Reading::open(&state, point(params.at.as_deref())?, &uri).await?;
    if let Some(unchanged) = reading.unchanged(&headers) {
        return Ok(unchanged);
    }
    let session = &reading.session;
    let metric = params.metric.as_deref();
    let chart = match picture {
        Picture::Funnel => pictures::funnel(&params.report(session, params.by.as_deref()).await?),
        Picture::Hours => pictures::hours(&params.report(session, Some(LOCAL_HOUR)).await?),
        Picture::Lift => pictures::lift(&params.analysis(session).await?, metric)?,
        Picture::Segments if params.segment.is_none() => {
            return Err(Problem::bad_request("segment is missing: name a column, as in segment=country"));
        }
        Picture::Segments => pictures::segments(&params.analysis(session).await?, metric)?,
    };
    let drawn = tokio::task::spawn_blocking(move || draw(&chart, size, format)).await;
    let (image, warnings) = drawn.map_err(|error| Problem::internal(&error))?.map_err(EngineError::from)?;
    let mut response = reading.tagged(([(CONTENT_TYPE, format.media_type())], image));
    if let Some(value) = warnings_header(&warnings) {
        response.headers_mut().insert(WARNINGS, value);
    }
    Ok(response)
}

fn chart_of(file: &str) -> Result<(Picture, ImageFormat), Problem> {
    let unknown = || {
        Problem::not_found(format!(
            "there is no chart \"{file}\": ask for funnel, hours, lift or segments, as .svg or .png (funnel.svg, say)"
        ))
    };
    let (kind, extension) = file.rsplit_once('.').ok_or_else(unknown)?;
    let picture = match kind {
        "funnel" => Picture::Funnel,
        "hours" => Picture::Hours,
        "lift" => Picture::Lift,
        "segments" => Picture::Segments,
        _ => return Err(unknown()),
    };
    let format = match extension {
        "svg" => ImageFormat::Svg,
        "png" => ImageFormat::Png,
        _ => return Err(unknown()),
    };
    Ok((picture, format))
}

impl ChartParams {
    fn size(&self) -> Result<ChartSize, Problem> {
        let usual = ChartSize::default();
        let size = ChartSize { width: self.width.unwrap_or(usual.width), height: self.height.unwrap_or(usual.height) };
        size.check().map_err(|error| Problem::bad_request(error.to_string()))?;
        Ok(size)
    }

    async fn report(&self, session: &QuerySession, by: Option<&str>) -> Result<Report, Problem> {
        let words = ReportWords {
            campaign: self.campaign.as_deref(),
            by,
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            time_zone: self.time_zone.as_deref(),
        };
        let request = words.request()?;
        Ok(Box::pin(report(session, &request)).await?)
    }

    async fn analysis(&self, session: &QuerySession) -> Result<ExperimentAnalysis, Problem> {
        let Some(experiment) = self.experiment.as_deref() else {
            return Err(Problem::bad_request("experiment is missing: GET /v1/experiments lists those there are"));
        };
        let words = AnalysisWords {
            control: self.control.as_deref(),
            alpha: self.alpha,
            correction: self.correction.as_deref(),
            allocation: self.allocation.as_deref(),
            segment: self.segment.as_deref(),
            metric: None,
        };
        let options = words.options()?;
        Ok(Box::pin(analyze_store(session, experiment, &options)).await?)
    }
}

/// The picture's bytes, and what it leaves out.
fn draw(chart: &Chart, size: ChartSize, format: ImageFormat) -> Result<(Vec<u8>, Vec<String>), ChartError> {
    let svg = draw_svg(chart, size)?;
    match format {
        ImageFormat::Svg => Ok((svg.text.into_bytes(), svg.warnings)),
        ImageFormat::Png => {
            let png = render_png(&svg.text)?;
            Ok((png.bytes, svg.warnings.into_iter().chain(png.warnings).collect()))
        }
    }
}

/// Warnings as a JSON array whose characters all fit into a header; nothing when there are none.
fn warnings_header(warnings: &[String]) -> Option<HeaderValue> {
    if warnings.is_empty() {
        return None;
    }
    let mut ascii = String::new();
    for unit in serde_json::to_string(warnings).ok()?.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_graphic() || byte == b' ' => ascii.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    HeaderValue::from_str(&ascii).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_named_like_a_file() {
        assert_eq!(chart_of("funnel.svg").unwrap(), (Picture::Funnel, ImageFormat::Svg));
        assert_eq!(chart_of("segments.png").unwrap(), (Picture::Segments, ImageFormat::Png));
        for wrong in ["funnel", "funnel.gif", "pie.svg", ".svg", ""] {
            assert!(chart_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn warnings_are_json_in_ascii() {
        assert!(warnings_header(&[]).is_none());
        let warnings = ["春节 is shortened".to_owned(), "2 rows \"left\" out".to_owned()];
        let header = warnings_header(&warnings).unwrap();
        let read: Vec<String> = serde_json::from_str(header.to_str().unwrap()).unwrap();
        assert_eq!(read, warnings);
    }
}
