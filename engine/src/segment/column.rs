//! A segment as a column of the contacts: its name for those in it, `other` for all others.
//!
//! In: a name of a grouping, as in `segment:vip` (the newest version) or `segment:vip@1`. Out: the SQL that computes the
//! column beside the contacts' own, so that whoever joins the contacts as of a moment has the segment as of that moment.
//! Somebody of whom no contact is known, and somebody of whom the condition cannot be told, is not in it.

use super::definition::{SegmentDefinition, missing};
use super::predicate::Predicate;
use crate::error::{EngineError, Result};
use crate::query::{QuerySession, quoted, text_literal};
use crate::store::Store;

/// What a segment's name is written after in a grouping.
const PREFIX: &str = "segment";
/// The value of those who are not in a segment.
pub(super) const OTHER: &str = "other";

/// The segment that a name of a grouping asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reference<'a> {
    name: &'a str,
    /// The newest where none is named.
    version: Option<u32>,
}

impl<'a> Reference<'a> {
    /// `None` where the name is no segment's.
    fn read(by: &'a str) -> Result<Option<Self>> {
        let Some((prefix, asked)) = by.trim().split_once(':') else { return Ok(None) };
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Ok(None);
        }
        let Some((name, version)) = asked.split_once('@') else {
            return Ok(Some(Self { name: asked, version: None }));
        };
        let version = version
            .parse::<u32>()
            .map_err(|_| EngineError::usage(format!("\"{by}\": a version is a number, as in {PREFIX}:{name}@1")))?;
        Ok(Some(Self { name, version: Some(version) }))
    }
}

/// One version of a segment, as a column of the contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentColumn {
    name: String,
    version: u32,
    /// What the column is called: `segment:NAME@V`, which no two versions share.
    column: String,
    predicate: Predicate,
}

impl SegmentColumn {
    /// The segment that a name of a grouping asks for; `None` where it is no segment's.
    ///
    /// # Errors
    /// When there is no such segment or version, or its condition names columns that the contacts do not have.
    pub(crate) async fn named(session: &QuerySession, by: &str) -> Result<Option<Self>> {
        let Some(asked) = Reference::read(by)? else { return Ok(None) };
        let Some(store) = &session.store else {
            return Err(EngineError::usage(format!(
                "\"{by}\" is a segment, and segments are kept in a store: log files have none, ingest them first"
            )));
        };
        let Some(definition) = SegmentDefinition::of(store, asked.name).await? else {
            return Err(EngineError::usage(missing(store, asked.name).await?));
        };
        let found = definition.version(asked.version)?;
        let predicate = Predicate::read(session, &found.predicate).await.map_err(|error| match error {
            EngineError::Usage(why) => {
                EngineError::usage(format!("segment \"{}\", version {}: {why}", asked.name, found.version))
            }
            other => other,
        })?;
        let column = format!("{PREFIX}:{}@{}", definition.name, found.version);
        Ok(Some(Self { version: found.version, name: definition.name, column, predicate }))
    }

    /// What the column is called, which is also the name by which this very version is asked for.
    pub(crate) fn column(&self) -> &str {
        &self.column
    }

    /// The columns of the contacts that it is made of.
    pub(crate) fn made_of(&self) -> &[String] {
        self.predicate.columns()
    }

    /// The SQL that computes the column where those that it is made of are in scope.
    pub(crate) fn computed(&self) -> String {
        format!(
            "CASE WHEN {} THEN {} ELSE {} END AS {}",
            self.predicate.sql(),
            text_literal(&self.name),
            text_literal(OTHER),
            quoted(&self.column)
        )
    }

    /// The SQL of the column's value where the contacts are joined under an alias, and may be missing.
    pub(crate) fn value(&self, contacts: &str) -> String {
        format!("coalesce({contacts}.{}, {})", quoted(&self.column), text_literal(OTHER))
    }

    /// What a reader of an answer must know of it.
    pub(crate) fn note(&self) -> String {
        format!("{PREFIX}:{} is version {}: {}", self.name, self.version, self.predicate.text())
    }
}

/// What the segments that some names ask for are at present, as one text: an answer that is kept holds as long as it stays
/// the same. A segment that is not there is left out.
///
/// # Errors
/// When a name asks for what cannot be a segment, or a segment cannot be read.
pub async fn segments_behind(store: &Store, by: &[String]) -> Result<String> {
    let mut behind = String::new();
    for name in by {
        if let Some(asked) = Reference::read(name)?
            && let Some(definition) = SegmentDefinition::of(store, asked.name).await?
        {
            behind.push_str(&format!("{name} {:?}\n", definition.version(asked.version).ok()));
        }
    }
    Ok(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_asked_for_by_name_and_version() {
        let read = |by| Reference::read(by).unwrap().map(|asked| (asked.name, asked.version));
        assert_eq!(read("segment:vip"), Some(("vip", None)));
        assert_eq!(read(" Segment:高价值@12 "), Some(("高价值", Some(12))));
        for column in ["country", "segment", "utm:source", ""] {
            assert_eq!(read(column), None, "{column}");
        }
        for wrong in ["segment:vip@", "segment:vip@new", "segment:vip@1@2", "segment:vip@-1"] {
            let message = Reference::read(wrong).unwrap_err().to_string();
            assert!(message.contains(wrong) && message.contains("segment:vip@1"), "{message}");
        }
    }
}
