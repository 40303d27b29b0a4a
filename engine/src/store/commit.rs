//! Schemas between Arrow and Delta, and the commit that replaces whole days of the facts at once.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::DeltaTable;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, MetadataExt as _, Remove, StructField, StructType, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};

use super::append::is_race;
use crate::error::Result;

/// The columns of an Arrow schema as Delta knows them.
pub(super) fn delta_fields(schema: &Schema) -> Result<Vec<StructField>> {
    Ok(delta_schema(schema)?.fields().cloned().collect())
}

pub(super) fn delta_schema(schema: &Schema) -> std::result::Result<StructType, DeltaTableError> {
    use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
    let schema: StructType = schema.try_into_kernel()?;
    Ok(schema)
}

/// A schema with plain names, types and nullability: what Delta adds to fields is left out.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    let plain = |kind: &DataType| match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    };
    let fields = schema.fields().iter().map(|field| Field::new(field.name(), plain(field.data_type()), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns of the first schema, then those of the second that the first lacks, as text unless the vocabulary types
/// them. A column keeps the type it has.
pub(crate) fn merged_schema(stored: &SchemaRef, incoming: &Schema) -> SchemaRef {
    let missing: Vec<Field> = incoming
        .fields()
        .iter()
        .filter(|field| stored.column_with_name(field.name()).is_none())
        .map(|field| match field.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => Field::new(field.name(), DataType::Utf8, true),
            other => Field::new(field.name(), other.clone(), true),
        })
        .collect();
    if missing.is_empty() {
        return Arc::clone(stored);
    }
    let fields: Vec<Field> = stored.fields().iter().map(|field| field.as_ref().clone()).chain(missing).collect();
    Arc::new(Schema::new(fields))
}

/// A replacement of some of a table's files by others.
#[derive(Debug, Default)]
pub struct Replacement {
    /// Files that leave the table.
    pub removed: Vec<Remove>,
    /// Files that come.
    pub added: Vec<Add>,
    /// Which version of which source is reflected from now on, as application transactions: a second writer that brings
    /// the same source up to date at the same time conflicts, and starts again from what the first one left.
    pub reflects: Vec<(String, i64)>,
    /// The columns that the table must have.
    pub schema: Option<SchemaRef>,
}

/// Commits a replacement. `None` when another writer was faster: nothing was changed, and the replacement is outdated.
///
/// # Errors
/// When the commit fails for another reason.
pub async fn commit_replacement(table: &DeltaTable, replacement: Replacement) -> Result<Option<u64>> {
    let snapshot = table.snapshot()?;
    let mut actions: Vec<Action> = replacement.removed.into_iter().map(Action::Remove).collect();
    actions.extend(replacement.added.into_iter().map(Action::Add));
    if let Some(schema) = replacement.schema {
        let stored = plain_schema(&snapshot.snapshot().arrow_schema());
        let wider = merged_schema(&stored, &schema);
        if wider.fields().len() != stored.fields().len() {
            let metadata = snapshot.metadata().clone().with_schema(&delta_schema(&wider)?);
            actions.push(Action::Metadata(metadata.map_err(DeltaTableError::from)?));
        }
    }
    let transactions =
        replacement.reflects.into_iter().map(|(source, version)| Transaction::new(source, version)).collect();
    let properties = CommitProperties::default().with_application_transactions(transactions);
    let operation = DeltaOperation::Write { mode: SaveMode::Overwrite, partition_by: None, predicate: None };
    let commit =
        CommitBuilder::from(properties).with_actions(actions).build(Some(snapshot), table.log_store(), operation).await;
    match commit {
        Ok(commit) => Ok(Some(commit.version())),
        Err(error) if is_race(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
