//! The logs of tables: gaps, entries that cannot be read, batches that were taken in twice.

use std::collections::{BTreeMap, HashMap, HashSet};

use deltalake::{DeltaTable, ObjectMeta, Path};
use futures::StreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::super::listing::LogListing;
use super::super::log_of;
use super::data::footer;
use super::{Finding, NAMED_FILES, Patient, fault, first_line, made_anew_or_restored, note};
use crate::event::Log;
use crate::ingest::load::quarantine_id;
use crate::store::QUARANTINE;

/// Entries read at a time.
const AT_A_TIME: usize = 16;
/// The hint at the last checkpoint.
const HINT: &str = "_last_checkpoint";

/// What the entries of a log say that are still there.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// The identities of the batches that came with each version.
    pub(super) batches: BTreeMap<u64, Vec<String>>,
    /// Every data file that ever came.
    pub(super) added: HashSet<Path>,
    /// Whether the log reaches back to the table's beginning.
    is_whole: bool,
}

/// The entry of a version.
fn entry_name(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// Looks for gaps and for checkpoints that cannot be read.
pub(super) async fn examine(name: &str, objects: &dyn ObjectStore, log: &LogListing) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(latest) = log.latest() else { return findings };
    let checkpoint = log.checkpoints.keys().max().copied();
    let first = checkpoint.map_or(0, |checkpoint| checkpoint.saturating_add(1));
    // A name may claim any number of versions: they are not all looked for.
    let missing = (first..=latest).filter(|version| !log.commits.contains_key(version)).take(NAMED_FILES);
    let mut named = 0;
    for version in missing {
        let what = format!("version {version} is missing from the log, so that nothing after it can be read");
        findings.push(fault(name, Some(&entry_name(version)), what, made_anew_or_restored(name)));
        named += 1;
    }
    let wanted = latest.saturating_add(1).saturating_sub(first);
    let others = wanted.saturating_sub(log.commits.range(first..).count() as u64 + named);
    if others > 0 {
        let what = format!("{others} more versions are missing from the log");
        findings.push(fault(name, None, what, made_anew_or_restored(name)));
    }
    for file in checkpoint.and_then(|checkpoint| log.checkpoints.get(&checkpoint)).into_iter().flatten() {
        if file.location.extension() != Some("parquet") {
            continue;
        }
        if let Err(error) = footer(objects, &file.location, file.size).await {
            let what = format!("the newest checkpoint cannot be read: {error}");
            let remedy = if log.commits.contains_key(&0) {
                format!("remove it and {HINT}: the log is whole without them; `sendlift compact` writes a new one")
            } else {
                made_anew_or_restored(name)
            };
            findings.push(fault(name, Some(file.location.as_ref()), what, remedy));
        }
    }
    findings.extend(check_hint(name, objects, log).await);
    for file in log.others.iter().filter(|file| file.location.extension() == Some("tmp")) {
        let what = "an entry that its writer never finished".to_owned();
        findings.push(note(
            name,
            Some(file.location.as_ref()),
            what,
            "nothing reads it; remove it when no ingest runs".to_owned(),
        ));
    }
    findings
}

/// The hint must point at a checkpoint that is there, or the table cannot be opened.
async fn check_hint(name: &str, objects: &dyn ObjectStore, log: &LogListing) -> Option<Finding> {
    let hint = log.others.iter().find(|file| file.location.filename() == Some(HINT))?;
    let read = async {
        let bytes = objects.get(&hint.location).await.ok()?.bytes().await.ok()?;
        serde_json::from_slice::<serde_json::Value>(&bytes).ok()?["version"].as_u64()
    };
    let what = match read.await {
        Some(version) if log.checkpoints.contains_key(&version) => return None,
        Some(version) => format!("it points at a checkpoint of version {version}, which is not there"),
        None => "it cannot be read".to_owned(),
    };
    let remedy = "remove it: it only says where to begin to read; `sendlift compact` writes a new one".to_owned();
    Some(fault(name, Some(hint.location.as_ref()), what, remedy))
}

/// Reads every entry that is there. Those before a checkpoint are needed for earlier versions alone.
pub(super) async fn read_commits(name: &str, objects: &dyn ObjectStore, log: &LogListing) -> (Commits, Vec<Finding>) {
    let mut commits = Commits { is_whole: log.commits.contains_key(&0), ..Commits::default() };
    let mut findings = Vec::new();
    let needed = log.checkpoints.keys().max().map_or(0, |checkpoint| checkpoint.saturating_add(1));
    let read = |(version, entry): (u64, ObjectMeta)| async move { (version, entry_actions(objects, &entry).await) };
    let entries: Vec<(u64, ObjectMeta)> =
        log.commits.iter().map(|(version, entry)| (*version, entry.clone())).collect();
    let mut entries = futures::stream::iter(entries).map(read).buffered(AT_A_TIME);
    while let Some((version, actions)) = entries.next().await {
        match actions {
            Ok(actions) => commits.add(version, &actions),
            Err(what) => {
                let file = entry_name(version);
                if version < needed {
                    let what = format!("{what}; versions before the checkpoint at {} may be unreadable", needed - 1);
                    findings.push(note(name, Some(&file), what, "the newest version does not need it".to_owned()));
                } else {
                    findings.push(fault(name, Some(&file), what, remedy_for_entry(name, version, log.latest())));
                }
            }
        }
    }
    findings.extend(commits.twice(name));
    (commits, findings)
}

/// An entry that cannot be read: the last one may be a write that a crash of the machine cut off.
fn remedy_for_entry(name: &str, version: u64, latest: Option<u64>) -> String {
    if latest == Some(version) && log_of(name).is_some() {
        let remedy = "put it back from a copy of the store; without one remove it, since it is the last, and ingest \
                      the files that came with it again (vacuum removes its data files)";
        return remedy.to_owned();
    }
    made_anew_or_restored(name)
}

/// The actions of an entry, or what is wrong with it. The words do not repeat what stands there.
async fn entry_actions(objects: &dyn ObjectStore, entry: &ObjectMeta) -> Result<Vec<serde_json::Value>, String> {
    const KINDS: [&str; 8] = ["commitInfo", "metaData", "protocol", "add", "remove", "txn", "cdc", "domainMetadata"];
    let read = async { objects.get(&entry.location).await?.bytes().await };
    let bytes = read.await.map_err(|error| format!("the log entry cannot be read: {error}"))?;
    if bytes.is_empty() {
        return Err("the log entry is empty".to_owned());
    }
    let mut actions = Vec::new();
    for (line, text) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, text)| !text.is_empty()) {
        let action: serde_json::Value = serde_json::from_slice(text).map_err(|error| {
            format!(
                "line {} of the log entry is not JSON (column {}), so that it is cut off or overwritten",
                line + 1,
                error.column()
            )
        })?;
        let is_known = action.as_object().is_some_and(|action| action.keys().any(|key| KINDS.contains(&key.as_str())));
        if !is_known {
            return Err(format!("line {} of the log entry is none of the actions of a Delta log", line + 1));
        }
        actions.push(action);
    }
    Ok(actions)
}

impl Commits {
    fn add(&mut self, version: u64, actions: &[serde_json::Value]) {
        let batches: Vec<String> =
            actions.iter().filter_map(|action| action["txn"]["appId"].as_str()).map(str::to_owned).collect();
        if !batches.is_empty() {
            self.batches.insert(version, batches);
        }
        let added = actions.iter().filter_map(|action| action["add"]["path"].as_str());
        self.added.extend(added.filter_map(|path| Path::from_url_path(path).ok()));
    }

    /// Batches that came with several versions of a log or of the quarantine.
    fn twice(&self, name: &str) -> Vec<Finding> {
        if log_of(name).is_none() && name != QUARANTINE {
            return Vec::new();
        }
        let mut first: HashMap<&str, u64> = HashMap::new();
        let mut findings = Vec::new();
        for (version, batches) in &self.batches {
            for batch in batches {
                let known = *first.entry(batch).or_insert(*version);
                if known != *version {
                    let what = format!(
                        "the same batch was taken in with versions {known} and {version}: its rows are there twice"
                    );
                    let remedy = format!(
                        "ask who wrote version {version} ({name} is written by sendlift alone); {}",
                        made_anew_or_restored(name)
                    );
                    findings.push(fault(name, Some(&entry_name(*version)), what, remedy));
                }
            }
        }
        findings
    }
}

/// The newest version must know the batches that its log names, or they would be taken in again.
pub(super) async fn check_markers(name: &str, table: &DeltaTable, commits: &Commits) -> Vec<Finding> {
    if log_of(name).is_none() {
        return Vec::new();
    }
    // The oldest and the newest stand for all: each look reads the whole log.
    let ends = [commits.batches.values().next(), commits.batches.values().next_back()];
    let mut findings = Vec::new();
    for batch in ends.into_iter().flatten().filter_map(|batches| batches.first()) {
        let log_store = table.log_store();
        let known = match table.snapshot() {
            Ok(snapshot) => snapshot.transaction_version(log_store.as_ref(), batch).await,
            Err(error) => Err(error),
        };
        let what = match known {
            Ok(Some(_)) => continue,
            Ok(None) => "the newest version does not know a batch that its log names: its file would be taken in again"
                .to_owned(),
            Err(error) => format!("which batches were taken in cannot be told: {}", first_line(&error)),
        };
        findings.push(fault(name, None, what, made_anew_or_restored(name)));
    }
    findings
}

/// Rejected rows are committed before the rows of their log: where these never came, the ingest was cut off in between.
pub(super) fn compare_with_quarantine(patients: &BTreeMap<&'static str, Patient>) -> Vec<Finding> {
    let Some(quarantine) = patients.get(QUARANTINE) else { return Vec::new() };
    let mut came: HashSet<String> = HashSet::new();
    let mut whole: HashSet<&'static str> = HashSet::new();
    for log in Log::ALL {
        let Some(patient) = patients.get(log.name()) else { continue };
        let batches = patient.commits.batches.values().flatten();
        came.extend(batches.map(|batch| quarantine_id(log, batch)));
        if patient.commits.is_whole {
            whole.insert(log.name());
        }
    }
    let mut findings = Vec::new();
    for (version, batches) in &quarantine.commits.batches {
        // One call, of one log, however many of its files are missing.
        let missing = batches.iter().find(|batch| !came.contains(*batch));
        let Some((log, _)) = missing.and_then(|batch| batch.split_once(':')) else { continue };
        if whole.contains(log) {
            let what =
                format!("version {version} holds rejected rows of an ingest into {log} whose other rows never came");
            let remedy = "it was cut off, or refused: run it again, and nothing comes twice".to_owned();
            findings.push(note(QUARANTINE, None, what, remedy));
        }
    }
    findings
}
