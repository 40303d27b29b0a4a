//! `doctor`: looks a store over and says what is wrong with it, table by table and file by file, and what to do. It
//! changes nothing, and goes on after whatever it finds: each check that breaks down is a finding itself.
//!
//! [`log`]: are the entries of each table's log there, and can they be read; was any batch taken in twice? [`data`]:
//! are the data files there, of the size and with the rows that the log says; what lies about that nothing refers to?
//! [`facts`]: is every message among the facts once?

mod data;
mod facts;
mod log;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use deltalake::DeltaTable;
use futures::FutureExt as _;
use jiff::Timestamp;
use object_store::ObjectStore;
use serde::Serialize;

use self::log::Commits;
use super::TABLES;
use super::listing::LogListing;
use crate::error::{EngineError, Result};
use crate::settings::Settings;
use crate::store::{CORRECTIONS, MESSAGE_FACTS, QUARANTINE, Store};

/// Milliseconds after which what nothing refers to is no longer a running writer's.
const A_DAY: i64 = 86_400_000;
/// Files of a table that are named one by one; of more their number is told.
const NAMED_FILES: usize = 20;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Names, sizes, footers and counts.
    Quick,
    /// Every page of every data file, too.
    Deep,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something is wrong and wants a hand.
    Fault,
    /// Worth knowing; nothing has to be done.
    Note,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The table, unless it is about the whole store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The file, relative to the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it is.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// A table that could be opened.
#[derive(Debug, Clone, Serialize)]
pub struct TableState {
    /// The table.
    pub table: String,
    /// Its newest version.
    pub version: u64,
    /// Data files of that version.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows, where the log tells of every file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// The state of a store.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// The tables that could be opened.
    pub tables: Vec<TableState>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// What the checks of one table bring together.
#[derive(Default)]
struct Patient {
    findings: Vec<Finding>,
    table: Option<DeltaTable>,
    state: Option<TableState>,
    commits: Commits,
}

impl Patient {
    /// Whether queries over the table can be trusted.
    fn is_readable(&self) -> bool {
        self.table.is_some() && self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }
}

/// Looks a store over.
pub async fn examine(store: &Store, settings: &Settings, depth: Depth, now: Timestamp) -> Diagnosis {
    let now = now.as_millisecond();
    let mut patients: BTreeMap<&'static str, Patient> = BTreeMap::new();
    for name in TABLES {
        let patient = guarded(examine_table(store, name, depth, now)).await;
        patients.insert(
            name,
            patient.unwrap_or_else(|error| Patient { findings: vec![broken(name, &error)], ..Patient::default() }),
        );
    }
    let mut across = log::compare_with_quarantine(&patients);
    let facts_are_readable = patients.get(MESSAGE_FACTS).is_some_and(Patient::is_readable);
    if facts_are_readable {
        let tables: BTreeMap<&'static str, DeltaTable> = patients
            .iter()
            .filter(|(_, patient)| patient.is_readable())
            .filter_map(|(name, patient)| Some((*name, patient.table.clone()?)))
            .collect();
        let checked = guarded(facts::examine(store, settings, &tables)).await;
        across.extend(checked.unwrap_or_else(|error| vec![broken(MESSAGE_FACTS, &error)]));
    }
    let (mut tables, mut findings) = (Vec::new(), Vec::new());
    for name in TABLES {
        let Some(patient) = patients.remove(name) else { continue };
        tables.extend(patient.state);
        findings.extend(patient.findings);
    }
    findings.extend(across);
    findings.sort_by_key(|finding| finding.severity != Severity::Fault);
    let sound = findings.iter().all(|finding| finding.severity == Severity::Note);
    Diagnosis { sound, tables, findings }
}

/// The first file of a table's log that is broken, why and what to do: for those who cannot open the table.
pub(in crate::store) async fn broken_entry(name: &str, objects: &dyn ObjectStore) -> Option<(String, String)> {
    let looked = guarded(async {
        let log = LogListing::of(objects).await?;
        let mut findings = log::examine(name, objects, &log).await;
        findings.extend(log::read_commits(name, objects, &log).await.1);
        Ok(findings)
    });
    let is_fault = |finding: &Finding| finding.severity == Severity::Fault && finding.file.is_some();
    let found = looked.await.ok()?.into_iter().find(is_fault)?;
    Some((found.file?, format!("{}; {}", found.what, found.remedy)))
}

/// Runs a check so that its panic is an error and not the end: what it reads may be broken in any way.
async fn guarded<T>(check: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(check).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(EngineError::refused(words.unwrap_or("the check gave up").to_owned()))
    })
}

fn broken(table: &str, error: &EngineError) -> Finding {
    let what = format!("it could not be looked through: {}", first_line(error));
    fault(table, None, what, made_anew_or_restored(table))
}

/// What an error says; some libraries add where in their code it was.
fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

async fn examine_table(store: &Store, name: &'static str, depth: Depth, now: i64) -> Result<Patient> {
    let mut patient = Patient::default();
    if let Some(folder) = store.folder() {
        if !folder.join(name).is_dir() {
            return Ok(patient);
        }
        if !folder.join(name).join("_delta_log").is_dir() {
            let what = "the folder has no log: an ingest was cut off when it began, or the log was removed";
            let remedy = "nothing reads it; if it holds data files, put the log back from a copy of the store";
            patient.findings.push(note(name, None, what.to_owned(), remedy.to_owned()));
            return Ok(patient);
        }
    }
    let objects = store.builder(name)?.build()?.object_store();
    let listing = LogListing::of(objects.as_ref()).await?;
    if listing.latest().is_none() {
        if store.folder().is_some() {
            let what = "the log is empty: the table was never made, or its log was removed".to_owned();
            patient.findings.push(note(name, None, what, "the next ingest makes it".to_owned()));
        }
        return Ok(patient);
    }
    patient.findings.extend(log::examine(name, objects.as_ref(), &listing).await);
    let (commits, findings) = log::read_commits(name, objects.as_ref(), &listing).await;
    patient.commits = commits;
    patient.findings.extend(findings);
    match guarded(store.table(name)).await {
        Ok(Some(table)) => patient.table = Some(table),
        failed => {
            let what = match failed {
                Ok(_) => "its log is no table's".to_owned(),
                Err(error) => format!("it cannot be opened: {}", first_line(&error)),
            };
            patient.findings.push(fault(name, None, what, made_anew_or_restored(name)));
        }
    }
    if let Some(table) = patient.table.clone() {
        patient.findings.extend(log::check_markers(name, &table, &patient.commits).await);
        let checked = data::examine(name, &table, &patient.commits, depth, now).await?;
        patient.state = checked.state;
        patient.findings.extend(checked.findings);
    }
    patient.findings.extend(data::unfinished_files(store, name, now).await);
    Ok(patient)
}

fn fault(table: &str, file: Option<&str>, what: String, remedy: String) -> Finding {
    let (table, file) = (Some(table.to_owned()), file.map(str::to_owned));
    Finding { severity: Severity::Fault, table, file, what, remedy }
}

fn note(table: &str, file: Option<&str>, what: String, remedy: String) -> Finding {
    Finding { severity: Severity::Note, ..fault(table, file, what, remedy) }
}

/// What to do about a table that has lost something.
fn made_anew_or_restored(table: &str) -> String {
    match table {
        MESSAGE_FACTS | CORRECTIONS => format!(
            "remove the folders {MESSAGE_FACTS} and {CORRECTIONS}: both are made from the logs, and the next report \
             makes them anew"
        ),
        QUARANTINE => {
            "put it back from a copy of the store; without one move the folder away: it holds rejected rows alone"
                .to_owned()
        }
        log => format!(
            "put it back from a copy of the store; without one move the folder {log} away, with {MESSAGE_FACTS} and \
             {CORRECTIONS}, and ingest the {log} files again (the other logs are not affected)"
        ),
    }
}
