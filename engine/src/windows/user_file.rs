//! A TOML file that a user may edit: what is wrong in it is told with its line.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::DeTable;

use crate::error::{EngineError, Result};

/// The text of a file and what to call it in errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct UserFile<'a> {
    text: &'a str,
    source: &'a str,
}

impl<'a> UserFile<'a> {
    pub(super) fn new(text: &'a str, source: &'a str) -> Self {
        Self { text, source }
    }

    /// The file as a type.
    ///
    /// # Errors
    /// With the line, when it is no TOML, or not of the type's shape.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T> {
        toml::from_str(self.text).map_err(|error| self.no_toml(&error))
    }

    /// The file as it stands, every key and value with its place.
    ///
    /// # Errors
    /// With the line, when it is no TOML.
    pub(super) fn table(self) -> Result<Spanned<DeTable<'a>>> {
        DeTable::parse(self.text).map_err(|error| self.no_toml(&error))
    }

    fn no_toml(self, error: &toml::de::Error) -> EngineError {
        match error.span() {
            Some(span) => self.wrong(span, error.message()),
            None => EngineError::usage(format!("{}: {}", self.source, error.message())),
        }
    }

    /// The error that something at that place cannot be.
    pub(super) fn wrong(self, span: Range<usize>, why: &str) -> EngineError {
        let line = self.text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
        EngineError::usage(format!("{} line {line}: {why}", self.source))
    }
}
