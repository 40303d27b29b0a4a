//! What the tests share: a store in a temporary folder, logs as text, queries as lists of texts.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use sendlift_engine::Result;
use sendlift_engine::event::Log;
use sendlift_engine::facts::refresh;
use sendlift_engine::ingest::input::{Input, resolve};
use sendlift_engine::ingest::load::{IngestOptions, LogInput, LogOutcome, ingest};
use sendlift_engine::query::{LogFiles, QuerySession, Source};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::Store;

/// The clock of the tests: after every event in them.
pub(crate) fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn options() -> IngestOptions {
    IngestOptions::new(now())
}

pub(crate) struct TestStore {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store").to_str().unwrap()).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Takes in texts of logs with given options, and brings the facts up to date.
    pub(crate) async fn try_ingest(&self, logs: &[(Log, &str)], options: &IngestOptions) -> Result<Vec<LogOutcome>> {
        let inputs: Vec<LogInput> = logs.iter().map(|(log, text)| text_input(*log, text)).collect();
        let outcomes = ingest(&self.store, &inputs, options, &|_| ()).await?;
        refresh(&self.store, &Settings::default()).await?;
        Ok(outcomes)
    }

    pub(crate) async fn ingest(&self, logs: &[(Log, &str)]) -> Vec<LogOutcome> {
        self.try_ingest(logs, &options()).await.unwrap()
    }

    pub(crate) async fn ingest_files(&self, logs: &[(Log, &Path)]) -> Vec<LogOutcome> {
        let inputs: Vec<LogInput> = logs.iter().map(|(log, path)| file_input(*log, path)).collect();
        let outcomes = ingest(&self.store, &inputs, &options(), &|_| ()).await.unwrap();
        refresh(&self.store, &Settings::default()).await.unwrap();
        outcomes
    }

    pub(crate) async fn session(&self) -> QuerySession {
        QuerySession::open(&Source::Store(self.store.clone(), None), &Settings::default(), now()).await.unwrap()
    }

    /// The rows of a query as texts, cells joined by bars.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        rows_of(&self.session().await, sql).await
    }
}

pub(crate) fn text_input(log: Log, text: &str) -> LogInput {
    let input = Input::memory(format!("{log}.test"), Bytes::copy_from_slice(text.as_bytes()));
    LogInput { log, inputs: vec![input], idempotency_key: None }
}

pub(crate) fn file_input(log: Log, path: &Path) -> LogInput {
    LogInput { log, inputs: resolve(path.to_str().unwrap()).unwrap(), idempotency_key: None }
}

/// Logs read straight from their files.
pub(crate) async fn session_of_files(logs: &[LogInput]) -> QuerySession {
    let files = logs
        .iter()
        .map(|input| LogFiles::new(input.log, input.inputs.clone(), &options().validator, now()).unwrap())
        .collect();
    QuerySession::open(&Source::Files(files), &Settings::default(), now()).await.unwrap()
}

/// The rows of a query as texts, cells joined by bars, nothing as ∅.
pub(crate) async fn rows_of(session: &QuerySession, sql: &str) -> Vec<String> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let format = FormatOptions::default().with_null("∅");
    let mut rows = Vec::new();
    for batch in session.collect(sql).await.unwrap() {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &format).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

/// A small campaign: three messages with their receipts, clicks and orders.
pub(crate) const SENDS: &str = "message_id,campaign_id,variant,recipient_id,channel,message_type,sent_at,cost,currency,time_zone\n\
    m1,spring,A,r1,sms,promo,2026-03-02T10:00:00Z,0.01,USD,America/New_York\n\
    m2,spring,B,r2,sms,promo,2026-03-02T10:00:00Z,0.01,USD,Asia/Shanghai\n\
    m3,spring,B,r3,sms,promo,2026-03-02T11:00:00Z,0.02,USD,\n";
pub(crate) const DELIVERIES: &str = "message_id,status,at\n\
    m1,delivered,2026-03-02T10:00:05Z\nm1,sent,2026-03-02T10:00:01Z\n\
    m2,expired,2026-03-05T10:00:00Z\nm2,delivered,2026-03-02T10:00:09Z\nm3,undelivered,2026-03-02T11:00:09Z\n";
pub(crate) const CLICKS: &str = "click_id,message_id,link,clicked_at,user_agent\n\
    c1,m1,l,2026-03-02T10:05:00Z,Mozilla/5.0\nc2,m1,l,2026-03-02T10:06:00Z,Mozilla/5.0\n\
    c3,m2,l,2026-03-02T10:00:10Z,Mozilla/5.0\nc4,m2,l,2026-03-02T12:00:00Z,Google-PageRenderer\n";
pub(crate) const CONVERSIONS: &str = "conversion_id,recipient_id,message_id,event,occurred_at,value,currency,refunded_at\n\
    o1,r1,,purchase,2026-03-03T10:00:00Z,20.50,USD,\n\
    o2,r2,,purchase,2026-03-09T10:00:00Z,10,USD,\n\
    o3,r2,,purchase,2026-03-09T10:00:00.000001Z,10,USD,\n\
    o4,r3,m1,purchase,2026-05-01T10:00:00Z,5,USD,2026-05-02T00:00:00Z\n";

/// A coin that anybody can toss again: a number below 10,000.
pub(crate) fn toss(a: u32, b: u32, c: u32) -> u32 {
    let mut x = u64::from(a) << 40 ^ u64::from(b) << 20 ^ u64::from(c);
    x = (x ^ x >> 31).wrapping_mul(0x7fb5_d329_728e_a185);
    x = (x ^ x >> 27).wrapping_mul(0x81da_def4_bc2d_d44d);
    u32::try_from((x ^ x >> 33) % 10_000).unwrap()
}
