//! What the condition of a segment may be: yes or no, in SQL, on the contacts' own columns, and the same at every moment.
//!
//! In: the text as somebody wrote it. Out: the text again, with the columns that it looks at. It is parsed as one
//! expression that ends where the text ends, so that it can stand in parentheses in any query that has these columns.

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ExprSchemable as _, Volatility};

use crate::error::{EngineError, Result};
use crate::event::{INGESTED_AT, Log, SOURCE_FILE, SOURCE_ROW};
use crate::query::QuerySession;

/// Columns of the contacts that no segment is made of: who somebody is, and where and when a row came.
const NOT_ATTRIBUTES: [&str; 5] = ["recipient_id", "updated_at", INGESTED_AT, SOURCE_FILE, SOURCE_ROW];

/// The condition of a segment, checked against the contacts of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Predicate {
    text: String,
    /// The columns that it looks at, each once.
    columns: Vec<String>,
}

impl Predicate {
    /// Reads a condition.
    ///
    /// # Errors
    /// When it does not parse, names what is no column of the contacts, looks at several rows, or changes by itself.
    pub(crate) async fn read(session: &QuerySession, text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EngineError::usage("a segment needs a condition, such as country = 'DE'"));
        }
        let contacts = session.schema(Log::Recipients.name()).await?;
        let attributes = contacts.fields().iter().filter(|field| !NOT_ATTRIBUTES.contains(&field.name().as_str()));
        let attributes: Vec<Field> = attributes.map(|field| (**field).clone()).collect();
        let known = attributes.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        let schema = DFSchema::try_from(Schema::new(attributes))?;
        let told = |error: DataFusionError| unreadable(text, &error, &known);
        let condition = session.context().parse_sql_expr(text, &schema).map_err(told)?;

        if let Some(why) = refused_part(&condition)? {
            return Err(EngineError::usage(format!("the condition \"{text}\" cannot be a segment's: {why}")));
        }
        let kind = condition.get_type(&schema).map_err(told)?;
        if kind != DataType::Boolean {
            return Err(EngineError::usage(format!(
                "the condition \"{text}\" gives {kind} and not yes or no: write one such as country = 'DE'"
            )));
        }
        let mut columns: Vec<String> = condition.column_refs().into_iter().map(|column| column.name.clone()).collect();
        columns.sort();
        columns.dedup();
        if columns.is_empty() {
            return Err(EngineError::usage(format!(
                "the condition \"{text}\" names no column of the contacts; there are {known}"
            )));
        }
        Ok(Self { text: text.to_owned(), columns })
    }

    /// The columns of the contacts that it looks at.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The text as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The condition for a query in whose scope its columns are.
    pub(crate) fn sql(&self) -> String {
        // On a line of its own: it may end with a comment.
        format!("(\n{}\n)", self.text)
    }

    /// Evaluates it over all rows of the contacts: a cast that fails for one of them is known before it is kept.
    pub(crate) async fn try_out(&self, session: &QuerySession) -> Result<()> {
        let query = format!("SELECT count(*) FILTER (WHERE {}) FROM {}", self.sql(), Log::Recipients);
        match session.collect(&query).await {
            Ok(_) => Ok(()),
            Err(EngineError::Query(error)) if is_of_the_condition(&error) => Err(EngineError::usage(format!(
                "the condition \"{}\" cannot be told of every contact: {}",
                self.text,
                error.strip_backtrace()
            ))),
            Err(other) => Err(other),
        }
    }
}

/// Why a condition cannot be told of one contact at a time, by its first part that cannot.
pub(crate) fn refused_part(condition: &Expr) -> Result<Option<String>> {
    let mut refused = None;
    condition.apply(|part| {
        refused = refusal(part);
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(refused)
}

/// Whether an error is about what was asked, and not about the files that it was asked of.
pub(crate) fn is_of_the_condition(error: &DataFusionError) -> bool {
    use DataFusionError::{ArrowError, Execution, Plan, SchemaError};
    matches!(error.find_root(), ArrowError(..) | Execution(_) | Plan(_) | SchemaError(..))
        // A condition that is evaluated while a file is read fails inside of the reader's error.
        || error.to_string().contains("Error evaluating filter predicate")
}

/// The parser's or the planner's own words; of a column that is not there, which there are.
fn unreadable(text: &str, error: &DataFusionError, known: &str) -> EngineError {
    if let DataFusionError::SchemaError(cause, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, .. } = cause.as_ref()
    {
        return EngineError::usage(format!(
            "there is no column \"{}\" to make a segment of; there are {known} (a text stands in single quotes)",
            field.flat_name()
        ));
    }
    EngineError::usage(format!(
        "the condition \"{text}\" cannot be read: {}; it is one on the columns {known}, without subqueries",
        error.strip_backtrace()
    ))
}

/// Why a part of a condition has no place in it.
fn refusal(part: &Expr) -> Option<String> {
    match part {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            Some(format!("{}() gives another value at another time, and the same must come out again", call.name()))
        }
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::SimilarTo(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::InList(_)
        | Expr::ScalarFunction(_) => None,
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => {
            Some("it looks at one contact at a time, without aggregates".to_owned())
        }
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => {
            Some("it looks at one contact at a time, without subqueries".to_owned())
        }
        other => Some(format!("\"{other}\" has no place in it")),
    }
}
