//! The definition of a segment: a small JSON file of the store, with every condition that the name ever stood for.
//!
//! ```json
//! {
//!   "name": "vip",
//!   "versions": [
//!     { "version": 1, "predicate": "tier = 'gold'", "added_at": "2026-03-01T09:00:00Z" },
//!     { "version": 2, "predicate": "tier IN ('gold', 'platinum')", "added_at": "2026-04-01T09:00:00Z" }
//!   ]
//! }
//! ```
//!
//! A version never changes: what was reported by `segment:vip@1` can be asked again.

use deltalake::{DeltaTableError, Path as ObjectPath};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};

use super::column::OTHER;
use super::predicate::Predicate;
use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::store::Store;

/// Where segments are kept, a folder of the store that Delta readers do not look into.
const FOLDER: &str = "_segments";
/// Characters of a name at most, so that it can be that of a file.
const LONGEST_NAME: usize = 60;

/// A condition that a segment had from some time on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentVersion {
    /// Its number, from 1.
    pub version: u32,
    /// The condition, in SQL on the columns of the recipients log.
    pub predicate: String,
    /// When it was added.
    pub added_at: Timestamp,
}

/// A segment with its versions, the newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentDefinition {
    /// What it is called.
    pub name: String,
    /// Its versions, numbered from 1; there is at least one.
    pub versions: Vec<SegmentVersion>,
}

/// A segment to which a condition was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddedSegment {
    /// The segment with the condition.
    #[serde(flatten)]
    pub definition: SegmentDefinition,
    /// Whether this made a new version; not where the newest had the same condition.
    pub is_new: bool,
}

impl SegmentDefinition {
    /// Adds a condition under a name, as the first version or the next. The newest version's own condition changes
    /// nothing. `now` is the clock.
    ///
    /// # Errors
    /// When the name or the condition cannot be a segment's, there is no store, or it cannot be written to.
    pub async fn add(session: &QuerySession, name: &str, predicate: &str, now: Timestamp) -> Result<AddedSegment> {
        check_name(name)?;
        let Some(store) = &session.store else {
            return Err(EngineError::usage("segments are kept in a store: log files have none"));
        };
        let predicate = Predicate::read(session, predicate).await?;
        predicate.try_out(session).await?;
        let known = Self::all(store).await?;
        // Some file systems tell them not apart, and neither do people.
        if let Some(other) =
            known.iter().find(|other| other.name != name && other.name.to_lowercase() == name.to_lowercase())
        {
            return Err(EngineError::usage(format!(
                "there is a segment \"{}\", which differs from \"{name}\" by upper and lower case alone",
                other.name
            )));
        }
        let found = known.into_iter().find(|known| known.name == name);
        let mut definition = found.unwrap_or_else(|| Self { name: name.to_owned(), versions: Vec::new() });
        let newest = definition.newest();
        if newest.is_some_and(|newest| newest.predicate == predicate.text()) {
            return Ok(AddedSegment { definition, is_new: false });
        }
        let version = newest.map_or(1, |newest| newest.version + 1);
        definition.versions.push(SegmentVersion { version, predicate: predicate.text().to_owned(), added_at: now });
        definition.write(store).await?;
        Ok(AddedSegment { definition, is_new: true })
    }

    /// The segment of that name in a store.
    ///
    /// # Errors
    /// When no segment can have such a name, or its file cannot be read.
    pub async fn of(store: &Store, name: &str) -> Result<Option<Self>> {
        check_name(name)?;
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(None) };
        let bytes = match objects.get(&path(name)?).await {
            Ok(found) => found.bytes().await.map_err(DeltaTableError::from)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(DeltaTableError::from(error).into()),
        };
        let definition = Self::read(&bytes, &format!("{name}.json"))?;
        // A file system without upper and lower case finds another's file.
        Ok(Some(definition).filter(|definition| definition.name == name))
    }

    /// All segments of a store, by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn all(store: &Store) -> Result<Vec<Self>> {
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut listed = objects.list(None);
        while let Some(object) = listed.try_next().await.map_err(DeltaTableError::from)? {
            if object.location.extension() != Some("json") {
                continue;
            }
            let got = objects.get(&object.location).await.map_err(DeltaTableError::from)?;
            let bytes = got.bytes().await.map_err(DeltaTableError::from)?;
            found.push(Self::read(&bytes, object.location.as_ref())?);
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }

    /// Removes a segment with all its versions.
    ///
    /// # Errors
    /// When there is none of that name, or the store cannot be written to.
    pub async fn remove(store: &Store, name: &str) -> Result<()> {
        if Self::of(store, name).await?.is_none() {
            return Err(EngineError::NotFound(missing(store, name).await?));
        }
        if let Some(objects) = store.side_files(FOLDER, false)? {
            objects.delete(&path(name)?).await.map_err(DeltaTableError::from)?;
        }
        Ok(())
    }

    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> Option<&SegmentVersion> {
        self.versions.last()
    }

    /// A version by its number, or the newest where none is named.
    pub(super) fn version(&self, asked: Option<u32>) -> Result<&SegmentVersion> {
        let found = match asked {
            None => self.newest(),
            Some(number) => self.versions.iter().find(|version| version.version == number),
        };
        found.ok_or_else(|| {
            EngineError::usage(format!(
                "the segment \"{}\" has no version {}: its newest is {}",
                self.name,
                asked.unwrap_or_default(),
                self.versions.len()
            ))
        })
    }

    fn read(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |why: &str| EngineError::usage(format!("{FOLDER}/{file} cannot be read: {why}"));
        let definition: Self = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
        let is_numbered = definition.versions.iter().zip(1..).all(|(version, number)| version.version == number);
        if definition.versions.is_empty() || !is_numbered {
            return Err(wrong("its versions are not numbered from 1"));
        }
        Ok(definition)
    }

    async fn write(&self, store: &Store) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self)?;
        if let Some(objects) = store.side_files(FOLDER, true)? {
            objects.put(&path(&self.name)?, bytes.into()).await.map_err(DeltaTableError::from)?;
        }
        Ok(())
    }
}

/// What to tell somebody who asks for a segment that is not there.
pub(super) async fn missing(store: &Store, name: &str) -> Result<String> {
    let known: Vec<String> = SegmentDefinition::all(store).await?.into_iter().map(|known| known.name).collect();
    Ok(if known.is_empty() {
        format!(
            "there is no segment \"{name}\"; the store has none: `sendlift segment add {name} --where SQL` keeps one"
        )
    } else {
        format!("there is no segment \"{name}\"; there are {}", known.join(", "))
    })
}

/// Refuses what cannot name a segment: the name is part of a grouping, and of a file's name.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |character: char| character.is_alphanumeric() || character == '_' || character == '-';
    if name.is_empty() || !name.chars().all(is_plain) || name.chars().count() > LONGEST_NAME {
        return Err(EngineError::usage(format!(
            "\"{name}\" cannot name a segment: a name has letters of any script, digits, _ and -, at most {LONGEST_NAME}"
        )));
    }
    if name == OTHER {
        return Err(EngineError::usage(format!(
            "\"{OTHER}\" stands for those who are not in a segment: give it another name"
        )));
    }
    Ok(())
}

/// The file as it is named: letters of any script stay what they are.
fn path(name: &str) -> Result<ObjectPath> {
    ObjectPath::parse(format!("{name}.json")).map_err(|error| EngineError::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_letters_of_any_script() {
        for name in ["vip", "VIP_2026", "young-germans", "高价值客户", "été"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "x".repeat(LONGEST_NAME + 1);
        for name in ["", "a b", "a/b", "../a", "a.b", "vip@1", "segment:vip", "a\"b", "a'b", "other", long.as_str()] {
            let message = check_name(name).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }

    const VIP: &str = r#"{"name": "vip", "versions": [
        {"version": 1, "predicate": "tier = 'gold'", "added_at": "2026-03-01T09:00:00Z"},
        {"version": 2, "predicate": "tier <> 'none'", "added_at": "2026-04-01T09:00:00Z"}]}"#;

    #[test]
    fn a_version_is_found_by_its_number() {
        let vip = SegmentDefinition::read(VIP.as_bytes(), "vip.json").unwrap();
        assert_eq!(vip.version(None).unwrap().predicate, "tier <> 'none'");
        assert_eq!(vip.version(Some(1)).unwrap().predicate, "tier = 'gold'");
        for asked in [0, 3] {
            let message = vip.version(Some(asked)).unwrap_err().to_string();
            assert!(message.contains(&format!("no version {asked}")) && message.contains("newest is 2"), "{message}");
        }
    }

    #[test]
    fn a_file_that_is_no_segment_is_told_with_its_name() {
        let renumbered = VIP.replace("\"version\": 2", "\"version\": 3");
        let extended = VIP.replace("\"name\"", "\"owner\": \"me\", \"name\"");
        for text in ["", "{}", r#"{"name": "vip", "versions": []}"#, renumbered.as_str(), extended.as_str()] {
            let message = SegmentDefinition::read(text.as_bytes(), "vip.json").unwrap_err().to_string();
            assert!(message.starts_with("_segments/vip.json cannot be read: "), "{message}");
        }
    }
}
