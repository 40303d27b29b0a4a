//! `sendlift segment`: conditions on the contacts, kept under names.

use sendlift_engine::segment::{SegmentDefinition, segment_sizes};

use super::Context;
use super::output::{Cell, Format, Rows, print_json, say};
use super::segment_arguments::{SegmentArguments, SegmentCommand};

pub(super) async fn run(context: &Context, arguments: &SegmentArguments) -> anyhow::Result<()> {
    match &arguments.command {
        SegmentCommand::Add { name, predicate } => add(context, name, predicate).await,
        SegmentCommand::List => list(context).await,
        SegmentCommand::Show { name } => show(context, name).await,
        SegmentCommand::Remove { name } => remove(context, name).await,
    }
}

async fn add(context: &Context, name: &str, predicate: &str) -> anyhow::Result<()> {
    let format = context.output()?;
    let session = context.session(None).await?;
    let added = SegmentDefinition::add(&session, name, predicate, context.now).await?;
    match format {
        Format::Json => return print_json(&added),
        Format::Csv => return print_versions(&added.definition, format),
        Format::Table => {}
    }
    let number = added.definition.newest().map_or(0, |newest| newest.version);
    if added.is_new {
        say!("segment {name} has version {number}: `sendlift report --by segment:{name}` goes by it");
    } else {
        say!("segment {name} had this condition already, as version {number}: nothing changes");
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let format = context.output()?;
    let segments = SegmentDefinition::all(&context.existing_store()?).await?;
    if format == Format::Json {
        return print_json(&segments);
    }
    let mut rows = Rows::new(&["segment", "condition", "added", "version"], 3);
    for segment in &segments {
        if let Some(newest) = segment.newest() {
            rows.push(vec![
                Cell::from(segment.name.as_str()),
                Cell::from(newest.predicate.as_str()),
                Cell::from(newest.added_at.to_string()),
                Cell::count(newest.version.into()),
            ]);
        }
    }
    rows.print(format)?;
    if format == Format::Table && segments.is_empty() {
        say!("the store has no segments: `sendlift segment add NAME --where SQL` keeps one");
    }
    Ok(())
}

async fn show(context: &Context, name: &str) -> anyhow::Result<()> {
    let format = context.output()?;
    let sizes = segment_sizes(&context.session(None).await?, name).await?;
    if format == Format::Json {
        return print_json(&sizes);
    }
    let mut rows = Rows::new(&["segment", "condition", "added", "contacts", "of"], 3);
    for size in &sizes.versions {
        rows.push(vec![
            Cell::from(format!("{}@{}", sizes.name, size.version.version)),
            Cell::from(size.version.predicate.as_str()),
            Cell::from(size.version.added_at.to_string()),
            size.contacts.map_or_else(|| Cell::from(None), Cell::count),
            Cell::count(sizes.contacts),
        ]);
    }
    rows.print(format)?;
    if format == Format::Table {
        for size in &sizes.versions {
            if let Some(note) = &size.note {
                say!("note: version {}: {note}", size.version.version);
            }
        }
        say!("segment:{name} is the newest version; segment:{name}@1 the first");
    }
    Ok(())
}

async fn remove(context: &Context, name: &str) -> anyhow::Result<()> {
    let format = context.output()?;
    SegmentDefinition::remove(&context.existing_store()?, name).await?;
    match format {
        Format::Json => print_json(&serde_json::json!({ "removed": name })),
        Format::Csv => {
            let mut rows = Rows::new(&["removed"], 1);
            rows.push(vec![Cell::from(name)]);
            rows.print(format)
        }
        Format::Table => {
            say!("segment {name} is removed with all its versions");
            Ok(())
        }
    }
}

/// One row a version.
fn print_versions(segment: &SegmentDefinition, format: Format) -> anyhow::Result<()> {
    let mut rows = Rows::new(&["segment", "condition", "added", "version"], 3);
    for version in &segment.versions {
        rows.push(vec![
            Cell::from(segment.name.as_str()),
            Cell::from(version.predicate.as_str()),
            Cell::from(version.added_at.to_string()),
            Cell::count(version.version.into()),
        ]);
    }
    rows.print(format)
}
