//! Schemas between Arrow and Delta, and the commit that replaces whole days of the facts at once.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::DeltaTable;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, MetadataExt as _, Remove, StructField, StructType, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};

use serde_json::Value;

use super::append::is_race;
use super::of_table;
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

/// What the commit of a version did, as the log has it. `None` when the log no longer has it.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn commit_actions(table: &DeltaTable, version: u64) -> Result<Option<Vec<Value>>> {
    let Some(entry) = table.log_store().read_commit_entry(version).await? else { return Ok(None) };
    let lines = entry.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(Some(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?))
}

/// Whether a file that a commit added or removed changes what the table says, or only rearranges it.
pub(crate) fn is_data_change(file: &Value) -> bool {
    file["dataChange"].as_bool().unwrap_or(true)
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
    actions.extend(replacement.added.iter().cloned().map(Action::Add));
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
    // On the very version that was replaced, or not at all: the check for conflicts that retries make lets a writer
    // remove a file that another has rearranged since, whose rows would then be there twice.
    let properties = CommitProperties::default().with_application_transactions(transactions).with_max_retries(0);
    let operation = DeltaOperation::Write { mode: SaveMode::Overwrite, partition_by: None, predicate: None };
    let commit =
        CommitBuilder::from(properties).with_actions(actions).build(Some(snapshot), table.log_store(), operation).await;
    match commit {
        Ok(commit) => Ok(Some(commit.version())),
        Err(error) if is_race(&error) => landed(table, &replacement.added).await,
        Err(error) => Err(of_table("write to", table)(error)),
    }
}

/// The version that holds files which a commit was to add, if any does: a remote store may have taken a commit in and
/// failed to say so, so that the next attempt finds that somebody, which was oneself, was faster.
pub(super) async fn landed(table: &DeltaTable, added: &[Add]) -> Result<Option<u64>> {
    let mut table = table.clone();
    table.update_state().await?;
    Ok(holds_any(&table, added)?.then(|| table.version()).flatten())
}

/// Whether the version that a table is loaded at refers to any of some files.
pub(super) fn holds_any(table: &DeltaTable, added: &[Add]) -> std::result::Result<bool, DeltaTableError> {
    let paths: HashSet<&str> = added.iter().map(|add| add.path.as_str()).collect();
    Ok(!paths.is_empty() && table.snapshot()?.log_data().iter().any(|file| paths.contains(&*file.path())))
}
