//! Experiments from the store: units and arms from the assignments log, or from the variants of the sends.
//!
//! Every metric is per assigned recipient. Click, delivery, reply, opt-out and cost are those of the experiment's messages.
//! A conversion counts, whatever message it is credited to, if it happened within the window after any of the experiment's
//! messages to that recipient (or names one of them): credit is not cause, and a later campaign must not take away what
//! an arm achieved. Where some who were assigned got no message, everybody's conversions count in the same windows.

mod draw;
mod listing;
mod metrics;
mod reading;
mod units_query;

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, Schema};
use datafusion::common::DFSchema;
use itertools::Itertools as _;

use super::analysis::{ExperimentAnalysis, analyze};
use super::definition::ExperimentDefinition;
use super::options::AnalysisOptions;
use super::sample::{ExperimentSample, MetricRole, MetricSample};
use crate::error::{EngineError, Result};
use crate::event::{Log, NO_ATTRIBUTES};
use crate::facts::{OUTCOMES, moment};
use crate::query::QuerySession;
use crate::report::{Grouping, LogsAtHand};
use crate::store::MESSAGE_FACTS;

use listing::source_of;
pub use listing::{ExperimentSummary, list_experiments};
pub(crate) use metrics::check_metric;

/// Segments of all metrics whose statistics are kept at most.
const MOST_KEPT_STATISTICS: usize = 100_000;
/// Days before an experiment in which the same metric is looked at.
const DAYS_BEFORE: i64 = 28;
/// What an analyst calls the covariates that the store makes of the time before.
const PRE_PERIOD: &str = "pre_period";

/// Analyses an experiment of the store by its definition, else with sensible defaults, which the analysis names in its
/// notes. What is asked for is laid over the definition.
///
/// # Errors
/// When the store has no such experiment, or a segment column does not exist.
pub async fn analyze_store(session: &QuerySession, id: &str, asked: &AnalysisOptions) -> Result<ExperimentAnalysis> {
    let definition = match &session.store {
        Some(store) => ExperimentDefinition::of(store, id).await?,
        None => None,
    };
    let definition = definition.as_ref();
    let laid_over = definition.map(|definition| definition.under(asked));
    let options = laid_over.as_ref().unwrap_or(asked);
    refuse_what_is_of_units(options)?;
    refuse_outcomes(options)?;
    let grouping = Grouping::resolve(session, &options.groupings(), "UTC").await?;
    let name = format!(
        "{} {} experiment as sent {id:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        env!("CARGO_PKG_VERSION"),
        session.settings.fingerprint(),
        (&options.metrics, &options.guardrails),
        options.segments,
        options.strata,
        (&options.covariates, options.path.is_some(), options.search),
        definition.map(|defined| (&defined.campaign, &defined.filter, defined.window_days)),
        grouping.segments(),
    );
    let notes: Vec<String> = grouping.notes().collect();
    let mut sample = if let Some(sample) = session.kept_for(&name).await {
        sample
    } else {
        let sample = sample_of(session, id, options, definition, grouping).await?;
        let statistics: usize = sample.metrics.iter().map(|metric| metric.segments.len() + metric.strata.len()).sum();
        if statistics <= MOST_KEPT_STATISTICS && sample.metrics.iter().all(MetricSample::can_be_kept) {
            session.keep(&name, &sample).await;
        }
        sample
    };
    if sample.arms.is_empty() {
        let filter = definition.and_then(|definition| definition.filter.as_ref());
        let of_which = filter.map(|filter| format!(" for which its filter, \"{filter}\", holds")).unwrap_or_default();
        return Err(EngineError::NotFound(format!(
            "the experiment \"{id}\" has no messages with a variant and no assignments{of_which} yet"
        )));
    }
    sample.notes.extend(notes);
    let control = sample.control(options.control.as_deref())?;
    if options.control.is_none() {
        sample.notes.push(format!("no control was named: {control} is taken for it"));
    }
    analyze(sample, options)
}

/// Refuses what can be asked of a table of units only.
fn refuse_what_is_of_units(options: &AnalysisOptions) -> Result<()> {
    if let Some(other) = options.covariates.iter().find(|name| *name != PRE_PERIOD) {
        return Err(EngineError::usage(format!(
            "covariate \"{other}\": of an experiment of the store the covariates are made of the {DAYS_BEFORE} days before \
             it; write {PRE_PERIOD} to have the decision rest on them, or --post-stratify for a column of the contacts"
        )));
    }
    if options.randomised_by.is_some() {
        return Err(EngineError::usage(
            "recipients are what the store's experiments randomise: --randomised-by is for a table of units",
        ));
    }
    Ok(())
}

/// Refuses segments and strata that are themselves outcomes: a message decides who is in them, so that their arms are not
/// alike any more.
fn refuse_outcomes(options: &AnalysisOptions) -> Result<()> {
    match options.groupings().iter().find(|name| OUTCOMES.contains(&name.as_str())) {
        Some(name) => Err(EngineError::usage(format!(
            "\"{name}\" is what came of a message: arms that are alike as a whole are not alike within its values, and an effect \
             cannot be told there. Take a column that was known before"
        ))),
        None => Ok(()),
    }
}

/// The condition of a definition.
struct Filter<'a> {
    /// In SQL, on columns of `message_facts` or of the contacts.
    condition: &'a str,
    /// Its columns where all are of the contacts, so that it chooses units and not messages.
    contact_columns: Option<Vec<String>>,
    /// The query of the units that it chooses, where it chooses units.
    chosen: Option<String>,
}

/// Refuses a filter that does not parse, or by what came of the messages.
async fn check_filter<'a>(session: &QuerySession, filter: &'a str) -> Result<Filter<'a>> {
    let wrong = |why: String| EngineError::usage(format!("the filter of the experiment, \"{filter}\": {why}"));
    let facts = session.schema(MESSAGE_FACTS).await?;
    let contacts = session.schema(Log::Recipients.name()).await?;
    let attributes = contacts.fields().iter().filter(|field| !NO_ATTRIBUTES.contains(&field.name().as_str()));
    let of_contacts_alone = attributes.clone().filter(|field| facts.field_with_name(field.name()).is_err());
    let fields: Fields = facts.fields().iter().chain(of_contacts_alone).cloned().collect();
    let schema = DFSchema::try_from_qualified_schema("f", &Schema::new(fields.clone()))?;
    let condition = session.context().parse_sql_expr(filter, &schema).map_err(|error| {
        // The planner's list of columns names those that are refused below, too.
        let error = error.strip_backtrace();
        let why = error.split("Valid fields are").next().unwrap_or_default().trim_end();
        let allowed = fields.iter().map(|field| field.name().as_str()).filter(|name| !OUTCOMES.contains(name));
        wrong(format!("{}. It can use {}", why.trim_end_matches('.'), allowed.sorted().join(", ")))
    })?;
    let columns = condition.column_refs();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).sorted_unstable().dedup().collect();
    if let Some(name) = names.iter().find(|name| OUTCOMES.contains(name)) {
        return Err(wrong(format!(
            "\"{name}\" is what came of a message, which the arm has changed: filter by what was known before"
        )));
    }
    let is_of_contacts = |name: &&str| attributes.clone().any(|field| field.name() == name);
    let of_contacts = !names.is_empty() && names.iter().all(is_of_contacts);
    if !of_contacts
        && let Some(name) = names.iter().find(|name| facts.field_with_name(name).is_err())
        && let Some(other) = names.iter().find(|name| !is_of_contacts(name))
    {
        return Err(wrong(format!(
            "\"{name}\" is a column of the contacts and \"{other}\" one of the messages: a filter chooses contacts or messages"
        )));
    }
    let contact_columns = of_contacts.then(|| names.into_iter().map(str::to_owned).collect());
    Ok(Filter { condition: filter, contact_columns, chosen: None })
}

/// The sufficient statistics of an experiment, counted.
async fn sample_of(
    session: &QuerySession,
    id: &str,
    options: &AnalysisOptions,
    definition: Option<&ExperimentDefinition>,
    grouping: Grouping,
) -> Result<ExperimentSample> {
    let campaign = definition.and_then(|definition| definition.campaign.as_deref());
    let source = match campaign {
        Some(_) => Some("campaign"),
        None => source_of(session, id).await?,
    };
    let Some(source) = source else {
        let known = list_experiments(session).await?;
        let ids: Vec<&str> = known.iter().map(|summary| summary.experiment_id.as_str()).collect();
        let hint = if ids.is_empty() {
            "the logs hold none: sends need variants, or ingest an assignments log".to_owned()
        } else {
            format!("there are {}", ids.join(", "))
        };
        return Err(EngineError::NotFound(format!("there is no experiment \"{id}\"; {hint}")));
    };
    let grouping = grouping.with_history(session).await?;
    let at_hand = LogsAtHand::of(session).await?;
    let filter = definition.and_then(|definition| definition.filter.as_deref());
    let filter = match filter {
        Some(filter) => Some(check_filter(session, filter).await?),
        None => None,
    };
    let window_days = definition.and_then(|definition| definition.window_days);
    let window_days = window_days.unwrap_or(session.settings.attribution.window_days);
    let key = campaign.unwrap_or(id);
    StoreExperiment { session, id, key, filter, window_days, source, grouping, at_hand }.sample(options).await
}

struct StoreExperiment<'a> {
    session: &'a QuerySession,
    /// What it is called.
    id: &'a str,
    /// The experiment or the campaign of its messages.
    key: &'a str,
    /// A condition on its messages or its units.
    filter: Option<Filter<'a>>,
    /// Days within which a conversion counts.
    window_days: u32,
    source: &'static str,
    grouping: Grouping,
    at_hand: LogsAtHand,
}

impl StoreExperiment<'_> {
    /// Counts the units and reads their statistics.
    async fn sample(mut self, options: &AnalysisOptions) -> Result<ExperimentSample> {
        let mut sample = ExperimentSample {
            experiment: self.id.to_owned(),
            unit: "recipient".to_owned(),
            kind: "store".into(),
            versions: self.session.versions.clone(),
            ..ExperimentSample::default()
        };
        let begins_at = self.begins_at().await?;
        self.choose_units(begins_at).await?;
        let (metrics, available) =
            self.metrics(&options.metrics, options.guardrails.as_deref(), &mut sample.notes).await?;
        let common_windows = self.common_windows().await?;
        if common_windows.is_some() && self.at_hand.conversions {
            sample.notes.push(format!(
                "some of the assigned got no message: everybody's conversions count in the same windows, from each campaign's first \
                 send to {} days after its last",
                self.window_days
            ));
        }
        // Who got no message is in the segments by what the contacts tell.
        let of_contacts = match begins_at.filter(|_| common_windows.is_some()) {
            Some(begins_at) => self.grouping.of_contacts(self.session, "assigned", &moment(begins_at)).await?,
            None => None,
        };
        let units = self.units_query(&available, begins_at, common_windows.as_deref(), of_contacts.as_deref()).await?;
        let units = self.session.sql(&units).await?.cache().await?;
        let context = self.session.context();
        // One analysis at a time reads this name; a table of another analysis must not be in the way.
        let table = format!("units_{}", uuid::Uuid::new_v4().simple());
        context.register_table(table.as_str(), units.into_view())?;
        let read = self.read(&table, begins_at, (&metrics, &available), options, &mut sample).await;
        context.deregister_table(table.as_str())?;
        read?;
        let of_role = |role: Option<MetricRole>| {
            let metrics = sample.metrics.iter().zip(&metrics);
            let metrics = metrics.filter(|(metric, _)| role.is_none_or(|role| metric.role == role));
            metrics.map(|(_, asked)| asked.spec.to_string()).collect::<Vec<_>>().join(", ")
        };
        let (primary, guardrails) = (of_role(Some(MetricRole::Primary)), of_role(Some(MetricRole::Guardrail)));
        let note = format!(
            "metrics {}; decided by {}{}; window {} days",
            of_role(None),
            if primary.is_empty() { "none" } else { &primary },
            if guardrails.is_empty() { guardrails } else { format!("; guardrails {guardrails}") },
            self.window_days
        );
        sample.notes.insert(0, note);
        if let Some(filter) = &self.filter {
            let of_whom = if filter.chosen.is_some() {
                "only contacts of which it holds count"
            } else {
                "only messages of which it holds count, of everybody who was assigned"
            };
            sample.notes.insert(1, format!("filter {}: {of_whom}", filter.condition));
        }
        Ok(sample)
    }

    /// The window of conversions in microseconds.
    fn window(&self) -> i64 {
        i64::from(self.window_days) * 86_400_000_000
    }

    async fn count_rows(&self, query: &str) -> Result<usize> {
        Ok(self.session.collect(query).await?.iter().map(RecordBatch::num_rows).sum())
    }
}
