//! Appends groups of batches to a table: the rows of all in one data file, their identities beside them in one commit.
//!
//! Each batch of a group is in the table or is not, and is there once: a batch that was committed before, by whomever, or
//! comes twice in a group, is left out before the data file is written, and if another writer commits it in the meantime
//! the commit conflicts and the file is written anew without it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, MetadataExt as _, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError, Path};
use object_store::ObjectStoreExt as _;

use super::durable;
use super::markers::Markers;
use super::{ATTEMPTS, Appended, align, delta_writer, is_race};
use crate::error::Result;
use crate::store::commit::{delta_schema, holds_any, merged_schema, plain_schema};
use crate::store::{Store, of_table};

/// Commits after which old entries of a log are looked for, which means to list them all.
const CLEAN_EVERY: u64 = 100;

/// What a batch brings to a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    /// Who it is.
    pub(crate) batch_id: &'a str,
    /// The same with what is in it, where its name was given by somebody else and does not tell that.
    pub(crate) content_id: Option<&'a str>,
    /// Its rows; a batch may have none.
    pub(crate) rows: &'a [RecordBatch],
}

impl<'a> Member<'a> {
    /// Both identities, for the commit.
    fn ids(self) -> impl Iterator<Item = &'a str> {
        std::iter::once(self.batch_id).chain(self.content_id)
    }
}

/// What is known of a batch before it is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The table does not hold it.
    New,
    /// It does.
    Known,
    /// It holds another of this name.
    NameTaken,
}

impl Standing {
    /// What became of a batch that stood so, at this version.
    fn appended(self, version: u64) -> Appended {
        match self {
            Self::New => Appended::Committed(version),
            Self::Known => Appended::AlreadyThere(version),
            Self::NameTaken => Appended::NameTaken(version),
        }
    }
}

/// Appends groups of batches to one table. What was read of the table stays in memory, so that a commit costs the same
/// however many there were before.
pub(crate) struct GroupAppender {
    table: DeltaTable,
    /// The columns that the table has at least.
    schema: SchemaRef,
    markers: Markers,
}

impl GroupAppender {
    /// Opens a table, which is created with `schema` if it is not there.
    ///
    /// # Errors
    /// When the table cannot be created or read.
    pub(crate) async fn open(store: &Store, name: &str, schema: &SchemaRef) -> Result<Self> {
        let table = store.create_table(name, schema, &[]).await?;
        Ok(Self { table, schema: Arc::clone(schema), markers: Markers::default() })
    }

    /// How each member stands: in the table as far as is known, or earlier in the list.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    pub(crate) async fn standing(&mut self, members: &[Member<'_>]) -> Result<Vec<Standing>> {
        self.markers.catch_up(&self.table).await?;
        let mut standing = Vec::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            let earlier = members[..index].iter().find(|earlier| earlier.batch_id == member.batch_id);
            standing.push(if self.markers.hold(&self.table, member.batch_id).await? {
                match member.content_id {
                    Some(content) if !self.markers.hold(&self.table, content).await? => Standing::NameTaken,
                    _ => Standing::Known,
                }
            } else {
                match earlier {
                    Some(earlier) if earlier.content_id != member.content_id => Standing::NameTaken,
                    Some(_) => Standing::Known,
                    None => Standing::New,
                }
            });
        }
        Ok(standing)
    }

    /// Commits the members that the table does not hold, all in one version, and says for each what became of it. When it
    /// returns, the rows are as durable as the store can make them.
    ///
    /// # Errors
    /// When writing fails, or the commit does for another reason than a race, which is tried again.
    pub(crate) async fn append(&mut self, members: &[Member<'_>]) -> Result<Vec<Appended>> {
        for attempt in 0.. {
            let standing = self.standing(members).await?;
            let fresh: Vec<Member<'_>> = members
                .iter()
                .zip(&standing)
                .filter(|(_, standing)| **standing == Standing::New)
                .map(|(member, _)| *member)
                .collect();
            if fresh.is_empty() {
                return Ok(standing.into_iter().map(|standing| standing.appended(self.version())).collect());
            }
            let schema = self.schema_of(&fresh);
            let files = self.write(&fresh, &schema).await?;
            let version = match self.commit(&fresh, &schema, &files).await {
                Ok(version) => version,
                Err(error) if attempt < ATTEMPTS && is_race(&error) => {
                    self.table.update_state().await?;
                    if !holds_any(&self.table, &files)? {
                        self.remove(&files).await;
                        continue;
                    }
                    // It was committed, though the store did not say so.
                    self.version()
                }
                // Perhaps it was committed all the same: the files stay, and if nothing refers to them vacuum removes them.
                Err(error) => return Err(of_table("write to", &self.table)(error)),
            };
            self.markers.add(version, fresh.iter().flat_map(|member| member.ids()));
            return Ok(standing.into_iter().map(|standing| standing.appended(version)).collect());
        }
        unreachable!("the loop above returns")
    }

    fn version(&self) -> u64 {
        self.table.version().unwrap_or_default()
    }

    /// The columns of one data file for all members.
    fn schema_of(&self, members: &[Member<'_>]) -> SchemaRef {
        let stored = self.table.snapshot().map(|snapshot| plain_schema(&snapshot.snapshot().arrow_schema()));
        let known = stored.map_or_else(|_| Arc::clone(&self.schema), |stored| merged_schema(&stored, &self.schema));
        let batches = members.iter().flat_map(|member| member.rows);
        batches.fold(known, |schema, batch| merged_schema(&schema, &batch.schema()))
    }

    async fn write(&self, members: &[Member<'_>], schema: &SchemaRef) -> Result<Vec<Add>> {
        let mut writer = delta_writer(&self.table, schema, &[]);
        for batch in members.iter().flat_map(|member| member.rows).filter(|batch| batch.num_rows() > 0) {
            let written = match align(batch, schema) {
                Ok(aligned) => writer.write(&aligned).await.map_err(of_table("write to", &self.table)),
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(%error, "an unfinished data file could not be removed; vacuum will");
                }
                return Err(error);
            }
        }
        let files = writer.close().await.map_err(of_table("write to", &self.table))?;
        durable::sync_files(&self.table, &files).await?;
        Ok(files)
    }

    async fn commit(
        &mut self,
        members: &[Member<'_>],
        schema: &SchemaRef,
        files: &[Add],
    ) -> std::result::Result<u64, DeltaTableError> {
        let snapshot = self.table.snapshot()?;
        let mut actions: Vec<Action> = files.iter().cloned().map(Action::Add).collect();
        let stored = plain_schema(&snapshot.snapshot().arrow_schema());
        let wider = merged_schema(&stored, schema);
        if wider.fields().len() != stored.fields().len() {
            let metadata = snapshot.metadata().clone().with_schema(&delta_schema(&wider)?)?;
            actions.push(Action::Metadata(metadata));
        }
        let transactions = members.iter().flat_map(|member| member.ids()).map(|id| Transaction::new(id, 1)).collect();
        // What the table says about it holds, and is looked at now and then.
        let cleans = if (snapshot.version() + 1).is_multiple_of(CLEAN_EVERY) { None } else { Some(false) };
        let properties =
            CommitProperties::default().with_application_transactions(transactions).with_cleanup_expired_logs(cleans);
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let prepared = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(snapshot), durable::log_store(&self.table), operation)
            .into_prepared_commit_future()
            .await?;
        let committed = prepared.await?;
        let version = committed.version;
        // From here on it is committed, whatever becomes of the checkpoint that may be due.
        match committed.await {
            Ok(done) => self.table.state = Some(done.snapshot),
            Err(error) => tracing::warn!(%error, version, "after a commit the table's log could not be tidied up"),
        }
        Ok(version)
    }

    async fn remove(&self, files: &[Add]) {
        let store = self.table.object_store();
        for file in files {
            if let Err(error) = store.delete(&Path::from(file.path.as_str())).await {
                tracing::warn!(%error, path = file.path, "an uncommitted data file could not be removed; vacuum will");
            }
        }
    }
}
