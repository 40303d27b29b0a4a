//! Query parameters: read with their types, refused with a reason, turned into what the engine takes.
//!
//! A parameter that is given several times counts as one list (`metric=click&metric=revenue` is
//! `metric=click,revenue`), and one without a value counts as not given. A name that an endpoint does not know is
//! refused. What several endpoints take is declared here once; an endpoint flattens it into its own parameters, where
//! everything is text until it is used (serde buffers what it flattens, and so loses that a text may be a number).

use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sendlift_engine::experiment::{
    AnalysisOptions, DEFAULT_PLANNED_UNITS, LooksSpec, MarginSpec, ProportionMethods, parse_allocation,
};
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
        Ok(Self(read(&canonical(parts.uri.query().unwrap_or_default()))?))
    }
}

/// The parameters in a canonical query string.
pub(super) fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let uri: Uri = format!("/?{query}").parse().map_err(|_| Problem::bad_request("the query string is not valid"))?;
    match Query::<T>::try_from_uri(&uri) {
        Ok(Query(params)) => Ok(params),
        Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
    }
}

/// A query string in which each name stands once, its values joined by commas, none is empty, and the names are in
/// order: two that ask the same are the same.
pub(super) fn canonical(query: &str) -> String {
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
    merged.sort_by_key(|(name, _)| *name);
    let pairs: Vec<String> = merged.into_iter().map(|(name, values)| format!("{name}={values}")).collect();
    pairs.join("&")
}

/// The parts of a list with commas.
pub(super) fn list(text: Option<&str>) -> Vec<String> {
    let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// At which point of the store's history to read.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PointParams {
    /// A version of the facts, or a time: the answer as it was then.
    at: Option<String>,
}

impl PointParams {
    pub(super) fn at(&self) -> Result<Option<At>, Problem> {
        Ok(self.at.as_deref().map(str::parse::<At>).transpose()?)
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
fn share(name: &str, text: &str) -> Result<f64, Problem> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err(Problem::bad_request(format!("{name} is {text}: give a share between 0 and 1, such as 0.05"))),
    }
}

/// Yes or no; no unless given.
pub(super) fn flag(name: &str, text: Option<&str>) -> Result<bool, Problem> {
    match text {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Problem::bad_request(format!("{name} is {other}: write true or false"))),
    }
}

/// A whole number above zero.
fn units(name: &str, text: &str) -> Result<u64, Problem> {
    match text.parse::<u64>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Problem::bad_request(format!("{name} is {text}: give a whole number above zero"))),
    }
}

/// How a report is grouped and bounded.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReportParams {
    /// Columns to group by, with commas between them: any column of the facts or of the recipients, or day, week,
    /// month, hour, or segment:NAME of a saved segment (`campaign_id` unless given).
    by: Option<String>,
    /// Only messages sent at or after this time.
    from: Option<String>,
    /// Only messages sent before this time.
    to: Option<String>,
    /// The IANA zone of days, weeks and months, and of `from` and `to` without an offset (UTC unless given).
    time_zone: Option<String>,
}

impl ReportParams {
    /// Whether groups are asked for.
    pub(super) fn is_grouped(&self) -> bool {
        self.by.is_some()
    }

    /// The report of one campaign or of all. Moments without an offset are in the report's zone.
    pub(super) fn request(&self, campaign: Option<&str>) -> Result<ReportRequest, Problem> {
        let defaults = ReportRequest::default();
        let zone_name = self.time_zone.as_deref().unwrap_or(&defaults.time_zone);
        let time_zone = zone(zone_name)?;
        Ok(ReportRequest {
            campaign: campaign.map(str::to_owned),
            by: self.by.as_deref().map_or(defaults.by, |by| list(Some(by))),
            from: moment("from", self.from.as_deref(), &time_zone)?,
            to: moment("to", self.to.as_deref(), &time_zone)?,
            time_zone: zone_name.to_owned(),
            ..ReportRequest::default()
        })
    }
}

/// How an experiment is analysed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AnalysisParams {
    /// The arm that the others are compared with.
    control: Option<String>,
    /// Columns whose values are looked at one by one, with commas between them; of the store also segment:NAME of a saved
    /// segment.
    pub(super) segment: Option<String>,
    /// Two-sided error, 0 to 1 (0.05 unless given).
    #[param(value_type = Option<f64>)]
    alpha: Option<String>,
    /// How p values are adjusted for the number of comparisons: holm (unless given), bh or none.
    correction: Option<String>,
    /// The planned share of each arm, as in `A=0.5,B=0.5` (equal shares unless given).
    allocation: Option<String>,
    /// Whether intervals and p values are added that hold however often one looks; the decision then rests on them.
    #[param(value_type = Option<bool>)]
    sequential: Option<String>,
    /// Units of both arms together (clusters, where these were randomised) near which these intervals are tightest, the same
    /// at every look (10,000 unless given).
    #[param(value_type = Option<u64>)]
    planned_units: Option<String>,
    /// Whether the chance to win, the expected loss and credible intervals are added, under a stated prior.
    #[param(value_type = Option<bool>)]
    bayesian: Option<String>,
    /// How much worse an arm may be on a metric, with commas between several: `opt_out=0.5pp` in percentage points of a
    /// share, `conversion=5%25` relative, `revenue=0.02` in the metric's own units; %2B before the value says that a rise
    /// is worse, - that a fall is (a rise of a guardrail and a fall of any other unless given).
    margin: Option<String>,
    /// Within how much of the control an arm counts as the same on a metric, written like a margin without a sign.
    equivalence: Option<String>,
    /// The test and the intervals of shares: score (unless given) or miettinen-nurminen.
    interval: Option<String>,
    /// An exact test of shares, which then decides: fisher, barnard or boschloo; where counts are small by a rule unless given.
    exact: Option<String>,
    /// Whether every arm is compared with every other, too.
    #[param(value_type = Option<bool>)]
    all_pairs: Option<String>,
    /// Columns of a table of units that were known before the assignment, with commas between them: results are adjusted
    /// for them and then decide; of the store `pre_period`.
    covariate: Option<String>,
    /// A column known before the assignment, by whose values results are post-stratified.
    post_stratify: Option<String>,
    /// The column of a table of units that names what was randomised where that is more than a row.
    randomised_by: Option<String>,
    /// The share of the planned units at each look so far, this one last, with commas between them.
    looks: Option<String>,
    /// Adds the path over the days on which units entered: of a table of units the column of the day, else `day`.
    path: Option<String>,
    /// Whether the segments are searched for those in which an arm works, found on one half and measured on the other.
    #[param(value_type = Option<bool>)]
    search: Option<String>,
    /// How the error is spent over the looks: obrien-fleming (unless given), pocock or even.
    spending: Option<String>,
}

impl AnalysisParams {
    /// The options that are asked for, with the metrics of an experiment of the store; those of a table are columns,
    /// which its request names.
    pub(super) fn options(&self, metrics: Option<&str>) -> Result<AnalysisOptions, Problem> {
        let mut options = AnalysisOptions {
            control: self.control.clone(),
            allocation: parse_allocation(self.allocation.as_deref().unwrap_or_default())?,
            segments: list(self.segment.as_deref()),
            metrics: list(metrics),
            bayesian: flag("bayesian", self.bayesian.as_deref())?,
            all_pairs: flag("all_pairs", self.all_pairs.as_deref())?,
            margins: list(self.margin.as_deref())
                .iter()
                .map(|margin| margin.parse::<MarginSpec>())
                .collect::<Result<Vec<_>, _>>()?,
            equivalences: list(self.equivalence.as_deref())
                .iter()
                .map(|margin| margin.parse::<MarginSpec>())
                .collect::<Result<Vec<_>, _>>()?,
            proportions: ProportionMethods::read(self.interval.as_deref(), self.exact.as_deref())?,
            search: flag("search", self.search.as_deref())?,
            path: self.path.clone(),
            covariates: list(self.covariate.as_deref()),
            strata: self.post_stratify.clone(),
            randomised_by: self.randomised_by.clone(),
            ..AnalysisOptions::default()
        };
        if self.spending.is_some() && self.looks.is_none() {
            return Err(Problem::bad_request("spending is for looks"));
        }
        if let Some(looks) = &self.looks {
            options.looks = Some(LooksSpec::read(looks, self.spending.as_deref().unwrap_or("obrien-fleming"))?);
        }
        let planned_units = self.planned_units.as_deref().map(|text| units("planned_units", text)).transpose()?;
        if flag("sequential", self.sequential.as_deref())? {
            options.sequential = Some(planned_units.unwrap_or(DEFAULT_PLANNED_UNITS));
        } else if planned_units.is_some() {
            return Err(Problem::bad_request("planned_units is for sequential=true"));
        }
        if let Some(alpha) = &self.alpha {
            options.alpha = share("alpha", alpha)?;
            options.is_alpha_given = true;
        }
        if let Some(correction) = &self.correction {
            options.correction = correction.parse()?;
            options.is_correction_given = true;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an endpoint declares: parameters of its own, and some that others take, too.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        metric: Option<String>,
        width: Option<u32>,
        #[serde(flatten)]
        analysis: AnalysisParams,
        #[serde(flatten)]
        point: PointParams,
    }

    fn example(query: &str) -> Result<Example, Problem> {
        read(&canonical(query))
    }

    #[test]
    fn repeated_parameters_are_a_list_and_empty_ones_are_not_there() {
        let read = example("metric=click&alpha=&metric=revenue%3Amean&width=800&at=7&control=A").unwrap();
        assert_eq!(list(read.metric.as_deref()), ["click", "revenue:mean"]);
        assert_eq!((read.width, read.analysis.alpha.as_deref()), (Some(800), None));
        assert_eq!(read.analysis.control.as_deref(), Some("A"));
        assert_eq!(read.point.at().unwrap(), Some(At::Version(7)));
        assert!(example("").is_ok());
    }

    #[test]
    fn the_order_and_what_is_empty_make_no_difference() {
        assert_eq!(canonical("to=2&by=a&from=&by=b"), "by=a%2Cb&to=2");
        assert_eq!(canonical("&"), "");
    }

    #[test]
    fn unknown_and_wrong_parameters_are_refused() {
        for wrong in ["metrics=click", "width=wide", "segments=country", "alpha=small&metrics=click"] {
            assert!(example(wrong).is_err(), "{wrong}");
        }
        assert!(read::<PointParams>("by=day").is_err());
    }

    #[test]
    fn parameters_become_requests() {
        let text = |text: &str| Some(text.to_owned());
        let params = ReportParams {
            by: text("country, day"),
            from: text("2026-03-02"),
            time_zone: text("Asia/Shanghai"),
            ..ReportParams::default()
        };
        let request = params.request(Some("spring")).unwrap();
        assert_eq!((request.campaign.as_deref(), request.by.len()), (Some("spring"), 2));
        assert_eq!(request.from, Some("2026-03-01T16:00:00Z".parse().unwrap()));
        assert!(ReportParams { to: text("soon"), ..ReportParams::default() }.request(None).is_err());
        assert!(ReportParams { time_zone: text("Mars"), ..ReportParams::default() }.request(None).is_err());

        let params =
            AnalysisParams { alpha: text("0.1"), allocation: text("A=0.95,B=0.05"), ..AnalysisParams::default() };
        assert_eq!(params.options(None).unwrap().allocation.len(), 2);
        for alpha in ["1.5", "small", "NaN"] {
            assert!(AnalysisParams { alpha: text(alpha), ..AnalysisParams::default() }.options(None).is_err());
        }
        assert!(AnalysisParams { correction: text("luck"), ..AnalysisParams::default() }.options(None).is_err());
        let sequential = |sequential: &str, planned: Option<String>| {
            let params =
                AnalysisParams { sequential: text(sequential), planned_units: planned, ..AnalysisParams::default() };
            params.options(None).map(|options| options.sequential)
        };
        assert_eq!(sequential("true", None).unwrap(), Some(DEFAULT_PLANNED_UNITS));
        assert_eq!(sequential("true", text("500")).unwrap(), Some(500));
        assert!(sequential("maybe", None).is_err() && sequential("true", text("0")).is_err());
        assert!(sequential("false", text("500")).is_err());
        let bayesian = AnalysisParams { bayesian: text("true"), ..AnalysisParams::default() };
        assert!(bayesian.options(None).unwrap().bayesian);
    }
}
