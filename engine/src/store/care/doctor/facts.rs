//! The facts against the logs that they were made from.

use std::collections::BTreeMap;

use deltalake::DeltaTable;

use super::super::count;
use super::{Finding, fault, made_anew_or_restored, note};
use crate::error::Result;
use crate::event::Log;
use crate::facts::{FEEDING_LOGS, reflected_version};
use crate::query::QuerySession;
use crate::settings::Settings;
use crate::store::{MESSAGE_FACTS, Store};

/// The application id under which the facts remember their settings.
const SETTINGS_ID: &str = "settings";

/// Checks the facts against the readable ones of the logs.
pub(super) async fn examine(
    store: &Store,
    settings: &Settings,
    tables: &BTreeMap<&'static str, DeltaTable>,
) -> Result<Vec<Finding>> {
    let Some(facts) = tables.get(MESSAGE_FACTS) else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    let mut behind: Vec<&'static str> = Vec::new();
    let mut sends = None;
    for log in FEEDING_LOGS {
        let reflected = reflected_version(facts, log).await?;
        let newest = tables.get(log.name()).and_then(DeltaTable::version);
        match (reflected, newest) {
            (Some(reflected), Some(newest)) if reflected > newest => {
                let what = format!("they were made from version {reflected} of {log}, which has {newest} at most");
                findings.push(fault(MESSAGE_FACTS, None, what, made_anew_or_restored(MESSAGE_FACTS)));
            }
            (reflected, Some(newest)) => {
                if reflected != Some(newest) {
                    behind.push(log.name());
                }
                if log == Log::Sends {
                    sends = reflected;
                }
            }
            (Some(_), None) => {
                // One that is there and cannot be read has findings of its own.
                if let Ok(None) = store.table(log.name()).await {
                    let what = format!("they were made with a log of {log}, which is not there any more");
                    findings.push(fault(MESSAGE_FACTS, None, what, made_anew_or_restored(MESSAGE_FACTS)));
                }
            }
            (None, None) => {}
        }
    }
    let log_store = facts.log_store();
    let known = facts.snapshot()?.transaction_version(log_store.as_ref(), SETTINGS_ID).await?;
    let next_report = "the next report brings them up to date".to_owned();
    if known != Some(settings.fingerprint()) {
        let what = "they were made under other settings or by another version of the rules".to_owned();
        findings.push(note(MESSAGE_FACTS, None, what, "the next report makes them anew".to_owned()));
    } else if !behind.is_empty() {
        let what = format!("they do not reflect the newest {}", behind.join(", "));
        findings.push(note(MESSAGE_FACTS, None, what, next_report));
    }
    if let Some(version) = sends.filter(|_| findings.iter().all(|finding| finding.severity == super::Severity::Note)) {
        let logs = [(Log::Sends, Some(store.table_at_version(Log::Sends.name(), version).await?))];
        let mut session = QuerySession::logs_alone(&logs, settings).await?;
        session.register(MESSAGE_FACTS, Some(facts.clone()), &crate::facts::minimal_schema()).await?;
        findings.extend(compare(&session).await?);
    }
    Ok(findings)
}

/// Every message once.
async fn compare(session: &QuerySession) -> Result<Vec<Finding>> {
    let sent = count(session, "SELECT count(*) FROM (SELECT message_id FROM sends GROUP BY message_id)").await?;
    let facts = count(session, "SELECT count(*) FROM message_facts").await?;
    let told =
        count(session, "SELECT count(*) FROM (SELECT message_id FROM message_facts GROUP BY message_id)").await?;
    let mut findings = Vec::new();
    let mut wrong = |what: String| {
        findings.push(fault(MESSAGE_FACTS, None, what, made_anew_or_restored(MESSAGE_FACTS)));
    };
    if facts > told {
        wrong(format!("{} facts are about messages that another fact is about already", facts - told));
    }
    let without = |from: &str, others: &str| {
        format!(
            "SELECT count(*) FROM (SELECT a.message_id FROM {from} AS a LEFT ANTI JOIN {others} AS b \
             ON a.message_id = b.message_id GROUP BY a.message_id)"
        )
    };
    // Equal numbers could still be of different messages.
    let missing = count(session, &without("sends", MESSAGE_FACTS)).await?;
    if missing > 0 {
        wrong(format!("{missing} of {sent} messages have no fact"));
    }
    let unknown = count(session, &without(MESSAGE_FACTS, "sends")).await?;
    if unknown > 0 {
        wrong(format!("{unknown} facts are about messages that the sends do not hold"));
    }
    Ok(findings)
}
