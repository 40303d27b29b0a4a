//! `sendlift compact`, `vacuum`, `forget` and `doctor`: the care of the store.

use std::io::BufRead as _;
use std::time::Instant;

use sendlift_engine::ingest::identity::IdentityHasher;
use sendlift_engine::store::Store;
use sendlift_engine::store::care::{self, Depth, Diagnosis, ForgetOptions, Forgotten, Person, VacuumOptions, Vacuumed};
use sendlift_engine::{EngineError, Result};
use serde::Serialize;

use super::Context;
use super::arguments::{DoctorArguments, ForgetArguments, VacuumArguments};
use super::output::{Cell, Format, Kind, Rows, grouped, print_csv_of, print_json, say};

/// Puts small files together.
pub(super) async fn compact(context: &Context) -> anyhow::Result<()> {
    let (started, format) = (Instant::now(), context.output()?);
    let done = care::compact(&store(context)?, context.settings()).await?;
    match format {
        Format::Json => return print_json(&done),
        Format::Csv => return print_csv_of(&done.tables),
        Format::Table => {}
    }
    let mut rows =
        Rows::new(&["table", "files before", "files after", "bytes before", "bytes after", "version", "checkpoint"], 1);
    for table in &done.tables {
        rows.push(vec![
            Cell::from(table.table.as_str()),
            Cell::count(table.files_before),
            Cell::count(table.files_after),
            Cell::count(table.bytes_before),
            Cell::count(table.bytes_after),
            Cell::from(table.version.map(|version| version.to_string())),
            Cell::from(table.checkpoint.then(|| "written".to_owned())),
        ]);
    }
    rows.print(format)?;
    if done.tables.iter().any(|table| table.version.is_some()) {
        say!("the files before stay for earlier versions until `sendlift vacuum` removes them");
    } else {
        say!("there was nothing to put together");
    }
    say!("{:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Removes what no kept version needs.
pub(super) async fn vacuum(context: &Context, arguments: &VacuumArguments) -> anyhow::Result<()> {
    let format = context.output()?;
    let options = VacuumOptions { keep_hours: arguments.keep, dry_run: arguments.dry_run, now: context.now };
    let done = care::vacuum(&store(context)?, &options).await?;
    match format {
        Format::Json => print_json(&done),
        Format::Csv => print_csv_of(&removed(&done)),
        Format::Table => print_vacuumed(&done),
    }
}

/// A removed file as a line of CSV.
#[derive(Serialize)]
struct Removed<'a> {
    table: &'a str,
    #[serde(flatten)]
    file: &'a care::RemovedFile,
}

fn removed(done: &Vacuumed) -> Vec<Removed<'_>> {
    let of_table = |table: &care::VacuumedTable| table.removed.len();
    let mut removed = Vec::with_capacity(done.tables.iter().map(of_table).sum());
    for table in &done.tables {
        removed.extend(table.removed.iter().map(|file| Removed { table: &table.table, file }));
    }
    removed
}

fn print_vacuumed(done: &Vacuumed) -> anyhow::Result<()> {
    let mut rows = Rows::new(&["table", "files", "bytes", "readable from version"], 1);
    for table in done.tables.iter().filter(|table| table.files > 0) {
        rows.push(vec![
            Cell::from(table.table.as_str()),
            Cell::count(table.files),
            Cell::count(table.bytes),
            Cell::from(table.readable_from.map(|version| version.to_string())),
        ]);
    }
    let files: u64 = done.tables.iter().map(|table| table.files).sum();
    let would = if done.dry_run { "would be " } else { "" };
    if files == 0 {
        say!("no file {would}removed: every one is needed, or younger than what is kept");
        return Ok(());
    }
    rows.print(Format::Table)?;
    for table in &done.tables {
        let Some(version) = table.readable_from else { continue };
        let since = table.readable_since.map(|since| format!(" of {since}")).unwrap_or_default();
        let verb = if done.dry_run { "could no longer" } else { "can no longer" };
        say!("{}: what was before version {version}{since} {verb} be read (--at)", table.table);
    }
    let listed = if done.dry_run { "; --format csv lists them" } else { "" };
    say!("{} files {would}removed{listed}", grouped(files));
    Ok(())
}

/// Erases recipients.
pub(super) async fn forget(context: &Context, arguments: &ForgetArguments) -> anyhow::Result<()> {
    let format = context.output()?;
    let hasher = context.hasher(arguments.hash_key_file.as_deref(), arguments.default_country.as_deref())?;
    let people = people(arguments, hasher.as_ref())?;
    let options = ForgetOptions {
        whole_quarantine: arguments.quarantine,
        vacuum: arguments.vacuum,
        dry_run: arguments.dry_run,
        now: context.now,
    };
    let done = care::forget(&store(context)?, context.settings(), &people, &options).await?;
    match format {
        Format::Json => print_json(&done),
        Format::Csv => print_csv_of(&done.tables),
        Format::Table => print_forgotten(&done),
    }
}

/// Whom to forget. What is wrong is told by its place, so that no address is shown.
fn people(arguments: &ForgetArguments, hasher: Option<&IdentityHasher>) -> Result<Vec<Person>> {
    let mut people = Vec::new();
    for (place, recipient) in (1_usize..).zip(&arguments.recipients) {
        if recipient == "-" {
            let lines = std::io::stdin().lock().lines();
            add_lines("standard input", lines, arguments.phone, hasher, &mut people)?;
        } else {
            add(&format!("recipient {place}"), recipient, arguments.phone, hasher, &mut people)?;
        }
    }
    if let Some(path) = &arguments.file {
        let file = std::fs::File::open(path).map_err(EngineError::io("read", path))?;
        let lines = std::io::BufReader::new(file).lines();
        add_lines(&path.display().to_string(), lines, arguments.phone, hasher, &mut people)?;
    }
    Ok(people)
}

fn add_lines(
    source: &str,
    lines: impl Iterator<Item = std::io::Result<String>>,
    is_phone: bool,
    hasher: Option<&IdentityHasher>,
    people: &mut Vec<Person>,
) -> Result<()> {
    for (number, line) in (1_usize..).zip(lines) {
        let line = line.map_err(EngineError::io("read", source))?;
        if !line.trim().is_empty() {
            add(&format!("{source} line {number}"), &line, is_phone, hasher, people)?;
        }
    }
    Ok(())
}

fn add(
    place: &str,
    text: &str,
    is_phone: bool,
    hasher: Option<&IdentityHasher>,
    people: &mut Vec<Person>,
) -> Result<()> {
    let person =
        Person::read(text, is_phone, hasher).map_err(|error| EngineError::usage(format!("{place}: {error}")))?;
    if !people.contains(&person) {
        people.push(person);
    }
    Ok(())
}

/// Ids that are named one by one.
const NAMED_IDS: usize = 5;

fn print_forgotten(done: &Forgotten) -> anyhow::Result<()> {
    let would = if done.dry_run { "would be " } else { "" };
    let named: Vec<&str> = done.recipients.iter().take(NAMED_IDS).map(String::as_str).collect();
    let more = if done.recipients.len() > named.len() { " …" } else { "" };
    say!("recipients: {}{more}", named.join(", "));
    if done.tables.is_empty() {
        say!("the store holds nothing about them");
    } else {
        let mut rows = Rows::new(&["table", "rows", "cells emptied", "files", "version"], 1);
        for table in &done.tables {
            rows.push(vec![
                Cell::from(table.table.as_str()),
                Cell::count(table.rows),
                Cell::count(table.cells),
                Cell::count(table.files),
                Cell::from(table.version.map(|version| version.to_string())),
            ]);
        }
        rows.print(Format::Table)?;
        let rows: u64 = done.tables.iter().map(|table| table.rows).sum();
        say!("{} rows {would}erased, of {} messages to them", grouped(rows), grouped(done.messages));
    }
    if done.unsearched_rejected_rows > 0 {
        say!(
            "{} rejected rows hide addresses and could not be searched: `--quarantine` empties the quarantine",
            grouped(done.unsearched_rejected_rows)
        );
    }
    if let Some(vacuumed) = &done.vacuumed {
        print_vacuumed(vacuumed)?;
        say!("files that a killed ingest left less than a day ago stay: `sendlift vacuum` removes them tomorrow");
    } else if done.earlier_versions_may_hold_rows {
        say!("earlier versions hold the rows until `sendlift vacuum` removes their files; `--vacuum` does it at once");
    }
    Ok(())
}

/// Looks for damage.
pub(super) async fn doctor(context: &Context, arguments: &DoctorArguments) -> anyhow::Result<()> {
    let format = context.output()?;
    let depth = if arguments.deep { Depth::Deep } else { Depth::Quick };
    let diagnosis = care::examine(&store(context)?, context.settings(), depth, context.now).await;
    match format {
        Format::Json => print_json(&diagnosis)?,
        Format::Csv => print_csv_of(&diagnosis.findings)?,
        Format::Table => print_diagnosis(&diagnosis)?,
    }
    if diagnosis.sound {
        return Ok(());
    }
    let faults = diagnosis.findings.iter().filter(|finding| finding.severity == care::Severity::Fault).count();
    let findings = if faults == 1 { "finding says" } else { "findings say" };
    anyhow::bail!("the store at {} is not sound: {faults} {findings} what to do", context.store)
}

fn print_diagnosis(diagnosis: &Diagnosis) -> anyhow::Result<()> {
    let mut rows = Rows::new(&["table", "version", "files", "bytes", "rows"], 1);
    for table in &diagnosis.tables {
        rows.push(vec![
            Cell::from(table.table.as_str()),
            Cell::from(table.version.to_string()),
            Cell::count(table.files),
            Cell::count(table.bytes),
            Cell::from(table.rows.map(grouped)),
        ]);
    }
    rows.print(Format::Table)?;
    if !diagnosis.findings.is_empty() {
        let columns = ["", "table", "file", "what", "what to do"].map(|name| (name.to_owned(), Kind::Text));
        let mut rows = Rows::of_columns(columns.into_iter());
        for finding in &diagnosis.findings {
            let severity = if finding.severity == care::Severity::Fault { "FAULT" } else { "note" };
            rows.push(vec![
                Cell::from(severity),
                Cell::from(finding.table.clone()),
                Cell::from(finding.file.clone()),
                Cell::from(finding.what.as_str()),
                Cell::from(finding.remedy.as_str()),
            ]);
        }
        say!();
        rows.print(Format::Table)?;
    }
    if diagnosis.sound {
        say!("the store is sound");
    }
    Ok(())
}

/// The store, which must be there.
fn store(context: &Context) -> Result<Store> {
    let store = context.store()?;
    if store.folder().is_some_and(|folder| !folder.exists()) {
        return Err(EngineError::usage(format!(
            "there is no store at {}: ingest logs into it first (sendlift ingest sends=sends.csv), or name another \
             with --store",
            context.store
        )));
    }
    Ok(store)
}
