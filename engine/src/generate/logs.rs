//! The nine logs: their columns, each with its table under construction and its file.
//!
//! Names are the canonical ones, so that ingest needs no mapping; the columns that the canonical logs do not know
//! (`age_band`, `spend_90d`, `customer_status`, a send's `carrier`) become attributes there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::columns::{Flag, Integer, LogTable, Number, Text, Time, log_table};
use super::error::GenerateError;
use super::options::OutputFormat;
use crate::table_file::{PendingFile, TableFile};

log_table! {
    /// The customers' contacts.
    Recipients, "recipients" {
        recipient_id: Text,
        country: Text,
        region: Text,
        time_zone: Text,
        time_zone_source: Text,
        age: Integer,
        gender: Text,
        interests: Text,
        signed_up_at: Time,
        birthday: Text,
        age_band: Text,
        spend_90d: Number,
        customer_status: Text,
    }
}

log_table! {
    /// Who was put in which arm.
    Assignments, "assignments" {
        experiment_id: Text,
        recipient_id: Text,
        arm: Text,
        is_holdout: Flag,
        assigned_at: Time,
        propensity: Number,
    }
}

log_table! {
    /// Messages submitted.
    Sends, "sends" {
        message_id: Text,
        campaign_id: Text,
        variant: Text,
        experiment_id: Text,
        recipient_id: Text,
        channel: Text,
        message_type: Text,
        scheduled_at: Time,
        sent_at: Time,
        text: Text,
        template_id: Text,
        parts: Integer,
        encoding: Text,
        cost: Number,
        currency: Text,
        send_propensity: Number,
        carrier: Text,
    }
}

log_table! {
    /// Receipts of message parts.
    Deliveries, "deliveries" {
        message_id: Text,
        part_no: Integer,
        status: Text,
        at: Time,
        received_at: Time,
        error_code: Text,
        carrier: Text,
    }
}

log_table! {
    /// Clicks on tracked links, by people and by machines.
    Clicks, "clicks" {
        click_id: Text,
        message_id: Text,
        link: Text,
        clicked_at: Time,
        user_agent: Text,
        ip_hash: Text,
        method: Text,
    }
}

log_table! {
    /// Purchases and payments.
    Conversions, "conversions" {
        conversion_id: Text,
        recipient_id: Text,
        message_id: Text,
        event: Text,
        occurred_at: Time,
        value: Number,
        margin: Number,
        currency: Text,
        refunded_at: Time,
        coupon: Text,
    }
}

log_table! {
    /// What people wrote back.
    Replies, "replies" {
        reply_id: Text,
        recipient_id: Text,
        received_at: Time,
        text: Text,
        keyword_class: Text,
        message_id: Text,
        r#match: Text,
    }
}

log_table! {
    /// Requests not to be written to.
    OptOuts, "opt_outs" {
        opt_out_id: Text,
        recipient_id: Text,
        channel: Text,
        scope: Text,
        method: Text,
        requested_at: Time,
    }
}

log_table! {
    /// Consents given.
    Consents, "consents" {
        consent_id: Text,
        recipient_id: Text,
        channel: Text,
        purpose: Text,
        status: Text,
        method: Text,
        captured_at: Time,
    }
}

/// One log: the rows of the current batch, and the file that takes them.
pub(super) struct Log<T> {
    /// The rows since the last flush.
    pub(super) rows: T,
    file: TableFile,
}

impl<T: LogTable> Log<T> {
    fn create(directory: &Path, format: OutputFormat) -> Result<Self, GenerateError> {
        Ok(Self { rows: T::default(), file: TableFile::create(directory, T::NAME, T::schema(), format)? })
    }

    fn flush(&mut self) -> Result<(), GenerateError> {
        let batch = self.rows.take().map_err(|source| self.file.rows_error(source))?;
        Ok(self.file.write(&batch)?)
    }

    fn finish(mut self, finished: &mut FinishedLogs) -> Result<(), GenerateError> {
        self.flush()?;
        let (file, rows) = self.file.finish()?;
        finished.files.push(file);
        finished.rows.insert(T::NAME.to_owned(), rows);
        Ok(())
    }
}

/// All logs.
pub(super) struct Logs {
    pub(super) recipients: Log<Recipients>,
    pub(super) assignments: Log<Assignments>,
    pub(super) sends: Log<Sends>,
    pub(super) deliveries: Log<Deliveries>,
    pub(super) clicks: Log<Clicks>,
    pub(super) conversions: Log<Conversions>,
    pub(super) replies: Log<Replies>,
    pub(super) opt_outs: Log<OptOuts>,
    pub(super) consents: Log<Consents>,
}

impl Logs {
    /// Opens all files in the directory.
    pub(super) fn create(directory: &Path, format: OutputFormat) -> Result<Self, GenerateError> {
        Ok(Self {
            recipients: Log::create(directory, format)?,
            assignments: Log::create(directory, format)?,
            sends: Log::create(directory, format)?,
            deliveries: Log::create(directory, format)?,
            clicks: Log::create(directory, format)?,
            conversions: Log::create(directory, format)?,
            replies: Log::create(directory, format)?,
            opt_outs: Log::create(directory, format)?,
            consents: Log::create(directory, format)?,
        })
    }

    /// Writes the current batch of every log: what bounds the memory.
    pub(super) fn flush(&mut self) -> Result<(), GenerateError> {
        self.recipients.flush()?;
        self.assignments.flush()?;
        self.sends.flush()?;
        self.deliveries.flush()?;
        self.clicks.flush()?;
        self.conversions.flush()?;
        self.replies.flush()?;
        self.opt_outs.flush()?;
        self.consents.flush()
    }

    /// Ends all files, still under their temporary names.
    pub(super) fn finish(self) -> Result<FinishedLogs, GenerateError> {
        let mut finished = FinishedLogs::default();
        self.recipients.finish(&mut finished)?;
        self.assignments.finish(&mut finished)?;
        self.sends.finish(&mut finished)?;
        self.deliveries.finish(&mut finished)?;
        self.clicks.finish(&mut finished)?;
        self.conversions.finish(&mut finished)?;
        self.replies.finish(&mut finished)?;
        self.opt_outs.finish(&mut finished)?;
        self.consents.finish(&mut finished)?;
        Ok(finished)
    }
}

/// Files that are whole but not yet under their own names.
#[derive(Default)]
pub(super) struct FinishedLogs {
    files: Vec<PendingFile>,
    /// Rows by log.
    pub(super) rows: BTreeMap<String, u64>,
}

impl FinishedLogs {
    /// Gives every file its own name.
    pub(super) fn keep(self) -> Result<Vec<PathBuf>, GenerateError> {
        self.files.into_iter().map(|file| Ok(file.keep()?)).collect()
    }
}
