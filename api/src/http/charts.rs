//! `GET /v1/charts/{kind}.svg` and `.png`: the pictures of reports and analyses.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::get;
use sendlift_engine::EngineError;
use sendlift_engine::chart::{Chart, ChartError, ChartSize, Language, draw_svg, pictures, render_png};
use sendlift_engine::experiment::{AnalysisOptions, ExperimentAnalysis, analyze_store};
use sendlift_engine::query::QuerySession;
use sendlift_engine::report::{ReportRequest, report};
use sendlift_engine::windows::{WindowsRequest, analyze_one_segment};
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::answers::Made;
use super::params::{AnalysisParams, PointParams, ReportParams, list};
use super::problem::Problem;
use super::reading::Reading;
use super::segments::{behind_analysis, behind_groups};
use super::windows::{WindowsQuestion, rules_mark};

/// The header that says what a picture leaves out: a JSON array of texts in ASCII.
const WARNINGS: &str = "x-sendlift-warnings";
/// The recipient's own hour, by which the chart of hours is grouped.
const LOCAL_HOUR: &str = "local_hour";

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/charts/{file}", get(draw_chart))
}

/// What a picture shows, and of what.
#[derive(Debug, Clone)]
enum Picture {
    /// From sent to converted, of a report.
    Funnel(ReportRequest),
    /// Click rate by local hour, of a report.
    Hours(ReportRequest),
    /// The lift of each metric, of an experiment.
    Lift(Analysis),
    /// The difference in each segment, of an experiment.
    Segments(Analysis),
    /// When to send.
    Windows(WindowsPicture),
}

impl Picture {
    /// What it depends on besides the tables.
    async fn behind(&self, state: &AppState) -> Result<String, Problem> {
        match self {
            Self::Funnel(request) | Self::Hours(request) => behind_groups(state, &request.by).await,
            Self::Lift(analysis) | Self::Segments(analysis) => {
                behind_analysis(state, &analysis.experiment, &analysis.options).await
            }
            Self::Windows(windows) => behind_groups(state, &windows.columns()).await,
        }
    }
}

/// When to send, for all or for one segment.
#[derive(Debug, Clone)]
struct WindowsPicture {
    request: WindowsRequest,
    /// `column=value` for each column of the segment.
    segment: Vec<String>,
    language: Language,
}

impl WindowsPicture {
    fn asked(params: &ChartParams) -> Result<Self, Problem> {
        let language = match params.language.as_deref() {
            None => Language::English,
            Some(language) => Language::of(language)
                .ok_or_else(|| Problem::bad_request(format!("language \"{language}\" is neither en nor zh")))?,
        };
        let request = params.windows.request(params.campaign.as_deref())?;
        Ok(Self { request, segment: list(params.analysis.segment.as_deref()), language })
    }

    /// The columns of the segment.
    fn columns(&self) -> Vec<String> {
        self.segment.iter().filter_map(|condition| Some(condition.split_once('=')?.0.to_owned())).collect()
    }
}

/// An analysis, and the metric that a picture shows of it.
#[derive(Debug, Clone)]
struct Analysis {
    experiment: String,
    options: AnalysisOptions,
    metric: Option<String>,
}

impl Analysis {
    async fn of(&self, session: &QuerySession) -> Result<ExperimentAnalysis, Problem> {
        Ok(analyze_store(session, &self.experiment, &self.options).await?)
    }

    fn metric(&self) -> Option<&str> {
        self.metric.as_deref()
    }
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
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ChartParams {
    /// Funnel, hours: only this campaign.
    campaign: Option<String>,
    /// Lift, segments: the experiment.
    experiment: Option<String>,
    /// Lift: only this metric. Segments: this metric instead of the first.
    metric: Option<String>,
    /// Windows: en (unless given) or zh.
    language: Option<String>,
    /// Pixels across, 320 to 4096 (800 unless given).
    width: Option<u32>,
    /// Pixels down, 320 to 4096 (500 unless given).
    height: Option<u32>,
    #[serde(flatten)]
    #[param(ignore)]
    windows: WindowsQuestion,
    #[serde(flatten)]
    #[param(ignore)]
    report: ReportParams,
    #[serde(flatten)]
    #[param(ignore)]
    analysis: AnalysisParams,
    #[serde(flatten)]
    #[param(ignore)]
    point: PointParams,
}

/// Draws a chart
///
/// `funnel` and `hours` show a report and take its parameters (`by` is for the funnel alone), `lift` and `segments` an
/// experiment and take those of its analysis; `windows` shows when to send and takes the parameters of `/v1/windows`, with
/// `segment=country=DE` for one segment. What a picture leaves out is named in the header `x-sendlift-warnings`, a JSON array
/// of texts.
#[utoipa::path(
    get,
    path = "/v1/charts/{file}",
    tag = "charts",
    params(
        ("file" = String, Path, description = "The chart and its format: funnel, hours, lift, segments or windows, then .svg or .png"),
        ChartParams,
        WindowsQuestion,
        ReportParams,
        AnalysisParams,
        PointParams
    ),
    responses(
        (status = 200, description = "The picture", content(("image/svg+xml"), ("image/png"))),
        (status = 404, description = "There is no such chart or experiment")
    )
)]
pub(super) async fn draw_chart(
    State(state): State<AppState>,
    Path(file): Path<String>,
    reading: Reading<ChartParams>,
) -> Result<Response, Problem> {
    let mut drawing = Drawing::asked(&file, &reading.params)?;
    let mut behind = drawing.picture.behind(&state).await?;
    if let Picture::Windows(windows) = &mut drawing.picture {
        windows.request = state.rules.over(windows.request.clone());
        behind.push_str(&rules_mark(&state.rules));
    }
    let reading = reading.depending_on(&behind);
    let make = move |session: QuerySession| {
        let drawing = drawing.clone();
        async move { drawing.make(&session).await }
    };
    reading.answer(&state, reading.params.point.at()?, make).await
}

/// A picture that is asked for.
#[derive(Debug, Clone)]
struct Drawing {
    picture: Picture,
    format: ImageFormat,
    size: ChartSize,
}

impl Drawing {
    /// The drawing that a file's name and the parameters describe.
    fn asked(file: &str, params: &ChartParams) -> Result<Self, Problem> {
        let unknown = || {
            Problem::not_found(format!(
                "there is no chart \"{file}\": ask for funnel, hours, lift, segments or windows, as .svg or .png (funnel.svg, say)"
            ))
        };
        let (kind, extension) = file.rsplit_once('.').ok_or_else(unknown)?;
        let format = match extension {
            "svg" => ImageFormat::Svg,
            "png" => ImageFormat::Png,
            _ => return Err(unknown()),
        };
        let report = || params.report.request(params.campaign.as_deref());
        let picture = match kind {
            "funnel" => Picture::Funnel(report()?),
            "hours" => Picture::Hours(ReportRequest { by: vec![LOCAL_HOUR.to_owned()], ..report()? }),
            "lift" => Picture::Lift(params.analysis()?),
            "segments" if params.analysis.segment.is_none() => {
                return Err(Problem::bad_request("segment is missing: name a column, as in segment=country"));
            }
            "segments" => Picture::Segments(params.analysis()?),
            "windows" if params.report.is_grouped() => {
                return Err(Problem::bad_request(
                    "by: the picture shows the windows of all recipients or of one segment (segment=country=DE); GET /v1/windows?by= has \
                     those of each segment",
                ));
            }
            "windows" => Picture::Windows(WindowsPicture::asked(params)?),
            _ => return Err(unknown()),
        };
        Ok(Self { picture, format, size: params.size()? })
    }

    async fn make(self, session: &QuerySession) -> Result<Made, Problem> {
        let chart = match &self.picture {
            Picture::Funnel(request) => pictures::funnel(&report(session, request).await?),
            Picture::Hours(request) => pictures::hours(&report(session, request).await?),
            Picture::Lift(analysis) => pictures::lift(&analysis.of(session).await?, analysis.metric())?,
            Picture::Windows(windows) => {
                let answer = analyze_one_segment(session, &windows.request, &windows.segment).await?;
                pictures::windows_chart(&answer, windows.language)?
            }
            Picture::Segments(analysis) => pictures::segments(&analysis.of(session).await?, analysis.metric())?,
        };
        let drawn = tokio::task::spawn_blocking(move || draw(&chart, self.size, self.format)).await;
        let (image, warnings) = drawn.map_err(|error| Problem::internal(&error))?.map_err(EngineError::from)?;
        let made = Made::new(self.format.media_type(), image);
        Ok(match warnings_header(&warnings) {
            Some(value) => made.with_header(WARNINGS, value),
            None => made,
        })
    }
}

impl ChartParams {
    fn size(&self) -> Result<ChartSize, Problem> {
        let usual = ChartSize::default();
        let size = ChartSize { width: self.width.unwrap_or(usual.width), height: self.height.unwrap_or(usual.height) };
        size.check().map_err(|error| Problem::bad_request(error.to_string()))?;
        Ok(size)
    }

    fn analysis(&self) -> Result<Analysis, Problem> {
        let Some(experiment) = self.experiment.clone() else {
            return Err(Problem::bad_request("experiment is missing: GET /v1/experiments lists those there are"));
        };
        Ok(Analysis { experiment, options: self.analysis.options(None)?, metric: self.metric.clone() })
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
        let params = ChartParams { experiment: Some("subject".to_owned()), ..ChartParams::default() };
        let funnel = Drawing::asked("funnel.svg", &params).unwrap();
        assert!(matches!(funnel.picture, Picture::Funnel(_)) && funnel.format == ImageFormat::Svg);
        let lift = Drawing::asked("lift.png", &params).unwrap();
        assert!(matches!(lift.picture, Picture::Lift(_)) && lift.format == ImageFormat::Png);
        for wrong in ["funnel", "funnel.gif", "pie.svg", ".svg", "", "segments.svg"] {
            assert!(Drawing::asked(wrong, &params).is_err(), "{wrong}");
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
