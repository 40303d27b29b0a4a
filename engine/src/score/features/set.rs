//! A set of features: which there are in a store, and what the query of them must know, fixed at one moment and kept with a
//! model, so that a model sees the same features whenever it is asked.

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use serde::{Deserialize, Serialize};

use super::catalogue::{FEATURES, MADE, TEXT_FEATURES};
use super::texts::TextFeatures;
use crate::error::{EngineError, Result};
use crate::event::{Log, NO_ATTRIBUTES};
use crate::facts::moment;
use crate::query::QuerySession;
use crate::report::{cell_text, contacts_have_history};

/// What a shrunk rate is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateOutcome {
    /// A click by a person.
    Clicked,
    /// A conversion that is credited to the message.
    Converted,
}

impl RateOutcome {
    /// The feature that counts it.
    pub(super) fn count(self) -> &'static str {
        match self {
            Self::Clicked => "clicks",
            Self::Converted => "converted",
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Clicked => "clicked",
            Self::Converted => "converted",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Clicked => MADE[0].0,
            Self::Converted => MADE[1].0,
        }
    }
}

/// A rate of a recipient's messages, shrunk to that of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShrunkRate {
    /// What it is of.
    pub outcome: RateOutcome,
    /// The column and value of the messages that it looks at; none for all messages.
    pub kind: Option<(String, String)>,
    /// The share among the messages of all recipients, when the set was fixed.
    pub base: f64,
}

impl ShrunkRate {
    /// The feature's name.
    pub fn name(&self) -> String {
        match &self.kind {
            None => self.outcome.name().to_owned(),
            Some((column, value)) => format!("{}_{column}_{value}", self.outcome.name()),
        }
    }
}

/// The features of a store's recipients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureSet {
    /// Shrunk rates, of all messages and by channel and type where there are several.
    pub rates: Vec<ShrunkRate>,
    /// The currency of monetary values; none where amounts name none.
    pub currency: Option<String>,
    /// Whether texts are looked at.
    pub has_texts: bool,
    /// Whether the contacts tell when they signed up.
    pub has_sign_up: bool,
    /// Whether a contact may have several rows, each valid for a while.
    pub contacts_have_history: bool,
    /// Columns of the contacts.
    pub attributes: Vec<String>,
}

impl FeatureSet {
    /// The features of a session's recipients, with what is fixed taken from what had happened by a moment
    /// (microseconds since 1970).
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub async fn fix(session: &QuerySession, at: i64) -> Result<Self> {
        let contacts = session.schema(Log::Recipients.name()).await?;
        let attributes = contacts
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !NO_ATTRIBUTES.contains(&name.as_str()))
            .collect();
        Ok(Self {
            rates: shrunk_rates(session, at).await?,
            currency: main_currency(session, at).await?,
            has_texts: TextFeatures::count(session, at).await?.is_some(),
            has_sign_up: contacts.column_with_name("signed_up_at").is_some(),
            contacts_have_history: contacts_have_history(session).await?,
            attributes,
        })
    }

    /// The set over a store as it is now: whether contacts have a history may have changed since it was fixed.
    ///
    /// # Errors
    /// When the contacts cannot be read.
    pub(crate) async fn over(&self, session: &QuerySession) -> Result<Self> {
        Ok(Self { contacts_have_history: contacts_have_history(session).await?, ..self.clone() })
    }

    /// Refuses a store whose contacts lack a column that the set was fixed with.
    ///
    /// # Errors
    /// With the missing columns.
    pub(crate) async fn check_store(&self, session: &QuerySession) -> Result<()> {
        let contacts = session.schema(Log::Recipients.name()).await?;
        let missing: Vec<&str> = self
            .attributes
            .iter()
            .map(String::as_str)
            .chain(self.has_sign_up.then_some("signed_up_at"))
            .filter(|name| contacts.column_with_name(name).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(EngineError::refused(format!(
            "the model was trained on a store whose contacts have the columns {}, which this one lacks: train a model here, or \
             bring the columns in",
            missing.join(", ")
        )))
    }

    /// The names of all features, in the order of the query's columns after `recipient_id`.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.numbers();
        let numbers = names.len();
        for name in &self.attributes {
            // A column of the contacts with a feature's name is told apart.
            let mut own = name.clone();
            while names[..numbers].contains(&own) || (own != *name && self.attributes.contains(&own)) {
                own.insert_str(0, "contact_");
            }
            names.push(own);
        }
        names
    }

    /// The names of those that are numbers.
    pub fn numbers(&self) -> Vec<String> {
        let mut names: Vec<String> = self.counted().map(|feature| feature.name.to_owned()).collect();
        names.extend(self.rates.iter().map(ShrunkRate::name));
        names.push(MADE[2].0.to_owned());
        names
    }
}

/// What a feature is, in words; an attribute of the contacts is what its column is.
#[must_use]
pub fn feature_meaning(name: &str) -> &'static str {
    let counted = FEATURES.iter().chain(&TEXT_FEATURES).find(|feature| feature.name == name);
    if let Some(feature) = counted {
        return feature.what;
    }
    let made = MADE.iter().find(|(made, _)| name == *made || name.starts_with(&format!("{made}_")));
    made.map_or("attribute of the contact", |(_, what)| what)
}

async fn shrunk_rates(session: &QuerySession, at: i64) -> Result<Vec<ShrunkRate>> {
    let count = |of: &str| format!("count(*) FILTER (WHERE {of} IS NOT NULL AND {of} <= {})", moment(at));
    let rows = session
        .collect(&format!(
            "SELECT channel, message_type, count(*), {}, {} FROM message_facts WHERE sent_at <= {} \
             GROUP BY channel, message_type ORDER BY channel, message_type",
            count("first_click_at"),
            count("converted_at"),
            moment(at)
        ))
        .await?;
    let mut kinds: Vec<([Option<String>; 2], [i64; 3])> = Vec::new();
    for batch in &rows {
        for row in 0..batch.num_rows() {
            let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            kinds.push(([cell_text(batch, 0, row)?, cell_text(batch, 1, row)?], [number(2), number(3), number(4)]));
        }
    }
    let rates = |kind: Option<(String, String)>, chosen: &dyn Fn(&[Option<String>; 2]) -> bool| {
        let mut sums = [0_i64; 3];
        for (_, counts) in kinds.iter().filter(|(kind, _)| chosen(kind)) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
        let base = |hits: i64| hits as f64 / (sums[0] as f64).max(1.0);
        [(RateOutcome::Clicked, sums[1]), (RateOutcome::Converted, sums[2])].map(|(outcome, hits)| ShrunkRate {
            outcome,
            kind: kind.clone(),
            base: base(hits),
        })
    };
    let mut found: Vec<ShrunkRate> = rates(None, &|_| true).into();
    for (place, column) in ["channel", "message_type"].into_iter().enumerate() {
        let mut values: Vec<&String> = kinds.iter().filter_map(|(kind, _)| kind[place].as_ref()).collect();
        values.sort();
        values.dedup();
        // One kind alone has the rate of all messages.
        for value in values.iter().filter(|_| values.len() > 1) {
            found.extend(rates(Some((column.to_owned(), (*value).clone())), &|kind| {
                kind[place].as_ref() == Some(*value)
            }));
        }
    }
    Ok(found)
}

/// The currency that most conversions have until a moment; before the first, that of most afterwards: in which currency one
/// is paid says nothing of who pays.
async fn main_currency(session: &QuerySession, at: i64) -> Result<Option<String>> {
    let rows = session
        .collect(&format!(
            "SELECT currency FROM conversions WHERE value IS NOT NULL \
             GROUP BY currency ORDER BY count(*) FILTER (WHERE occurred_at <= {}) DESC, count(*) DESC, currency LIMIT 1",
            moment(at)
        ))
        .await?;
    match rows.iter().find(|batch| batch.num_rows() > 0) {
        Some(batch) => cell_text(batch, 0, 0),
        None => Ok(None),
    }
}
