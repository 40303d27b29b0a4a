//! The configuration file: flag over environment over file over default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sendlift_engine::settings::Settings;
use sendlift_engine::windows::{OwnFile, OwnRules};
use sendlift_engine::{EngineError, Result};
use serde::{Deserialize, Serialize};

use super::Context;
use super::output::say;

/// The file read when none is named and it is there.
const DEFAULT_FILE: &str = "sendlift.toml";

/// Everything that a configuration file may set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// The store, a folder or URL.
    pub(super) store: Option<String>,
    /// File with the key for hashing phone numbers and addresses.
    pub(super) hash_key_file: Option<PathBuf>,
    /// Country of phone numbers without a country code.
    pub(super) default_country: Option<String>,
    /// TOML file of legal hours, laid over those that are built in.
    pub(super) legal_hours: Option<PathBuf>,
    /// TOML file of holidays, laid over those that are built in.
    pub(super) holidays: Option<PathBuf>,
    /// The HTTP server.
    pub(super) serve: ServeSection,
    /// Attribution and machine clicks.
    pub(super) settings: Settings,
}

/// The HTTP server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServeSection {
    /// Address to listen on.
    pub(super) listen: Option<SocketAddr>,
    /// SHA-256 of each API key in hexadecimal (`printf %s KEY | sha256sum`); the keys themselves are not stored.
    pub(super) api_key_sha256: Vec<String>,
    /// Bytes of a request body at most.
    pub(super) max_body_bytes: Option<usize>,
    /// Seconds after which a request is given up.
    pub(super) timeout_seconds: Option<u64>,
    /// The cluster that queries run on, `df://host:port`; in the server itself without one.
    pub(super) cluster: Option<String>,
}

impl Config {
    /// The rules of windows that the file names.
    pub(super) fn rules(&self) -> Result<OwnRules> {
        Ok(OwnRules {
            legal_hours: self.legal_hours.as_deref().map(own_file).transpose()?,
            holidays: self.holidays.as_deref().map(own_file).transpose()?,
        })
    }

    pub(super) fn load(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).is_file() => Path::new(DEFAULT_FILE),
            None => return Ok(Self::default()),
        };
        let text = std::fs::read_to_string(path).map_err(EngineError::io("read the configuration", path))?;
        toml::from_str(&text).map_err(|error| EngineError::usage(format!("{}: {error}", path.display())))
    }
}

/// A file of rules.
pub(super) fn own_file(path: &Path) -> Result<OwnFile> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(OwnFile { name, text }),
        Err(error) => Err(EngineError::usage(format!("{name} cannot be read: {error}"))),
    }
}

/// Prints the configuration in force as TOML.
pub(super) fn show(context: &Context) -> anyhow::Result<()> {
    let mut config = context.config.clone();
    config.store = Some(context.store.clone());
    say!("{}", toml::to_string_pretty(&config)?.trim_end());
    Ok(())
}
