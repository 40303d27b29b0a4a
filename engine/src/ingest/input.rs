//! Finds the files that a path names (a file, a folder, a glob, standard input) and opens them, whatever their compression.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::error::{EngineError, Result};

/// How gzip (RFC 1952) begins.
pub const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How a frame of Zstandard (RFC 8878) begins.
pub const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes to ingest, with the name under which messages and the quarantine speak of them.
#[derive(Debug, Clone)]
pub struct Input {
    /// Shown to the user and stored as `source_file`.
    pub name: String,
    /// Where the bytes are.
    pub origin: Origin,
}

/// Where an input's bytes are.
#[derive(Debug, Clone)]
pub enum Origin {
    /// In a file, which may be larger than memory.
    File(PathBuf),
    /// In memory: the body of a request, or standard input that had to be read twice.
    Memory(Bytes),
}

/// The layout of an input, seen from its first bytes rather than from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Separated values with a header; the delimiter is found from the header.
    Separated,
    /// One JSON object a line, or one JSON array of objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC file or stream.
    ArrowIpc,
}

impl Input {
    /// An input in memory.
    #[must_use]
    pub fn memory(name: impl Into<String>, bytes: Bytes) -> Self {
        Self { name: name.into(), origin: Origin::Memory(bytes) }
    }

    /// Bytes of the input as stored (compressed, if it is).
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.origin {
            Origin::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Origin::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// SHA-256 of the stored bytes in hexadecimal: the identity by which the same file is taken in only once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn digest(&self) -> Result<String> {
        let mut hasher = Sha256::new();
        let mut reader = self.open_stored()?;
        let mut buffer = vec![0_u8; 1 << 20];
        loop {
            let read = reader.read(&mut buffer).map_err(|error| self.unreadable(&error.to_string()))?;
            if read == 0 {
                return Ok(super::identity::hexadecimal(&hasher.finalize()));
            }
            hasher.update(&buffer[..read]);
        }
    }

    /// Opens the bytes as they are stored.
    fn open_stored(&self) -> Result<Box<dyn Read + Send>> {
        match &self.origin {
            Origin::File(path) => {
                let file = File::open(path).map_err(|error| self.unreadable(&error.to_string()))?;
                Ok(Box::new(file))
            }
            Origin::Memory(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
        }
    }

    /// Opens the bytes with gzip and zstd taken off.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(&self) -> Result<Box<dyn Read + Send>> {
        let (start, stored) = self.peek_stored()?;
        let whole = Cursor::new(start.clone()).chain(stored);
        if start.starts_with(&GZIP) {
            Ok(Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 18, whole))))
        } else if start.starts_with(&ZSTD) {
            let decoder =
                zstd::stream::read::Decoder::new(whole).map_err(|error| self.unreadable(&error.to_string()))?;
            Ok(Box::new(decoder))
        } else {
            Ok(Box::new(whole))
        }
    }

    /// Sees which layout the bytes have; an empty input counts as separated values without a header.
    ///
    /// # Errors
    /// When the file cannot be read, or its compression is damaged.
    pub fn layout(&self) -> Result<Layout> {
        let mut start = [0_u8; 4096];
        let filled = fill(&mut self.open()?, &mut start).map_err(|error| self.unreadable(&error.to_string()))?;
        let start = &start[..filled];
        if start.starts_with(b"PAR1") {
            return Ok(Layout::Parquet);
        }
        if start.starts_with(b"ARROW1") || start.starts_with(&[0xff, 0xff, 0xff, 0xff]) {
            return Ok(Layout::ArrowIpc);
        }
        let text = start.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(start);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => Ok(Layout::Json),
            _ => Ok(Layout::Separated),
        }
    }

    /// An error that names the input.
    #[must_use]
    pub fn unreadable(&self, reason: &str) -> EngineError {
        EngineError::UnreadableFile { path: PathBuf::from(&self.name), reason: reason.to_owned() }
    }

    fn peek_stored(&self) -> Result<(Vec<u8>, Box<dyn Read + Send>)> {
        let mut stored = self.open_stored()?;
        let mut start = [0_u8; 4];
        let filled = fill(&mut stored, &mut start).map_err(|error| self.unreadable(&error.to_string()))?;
        Ok((start[..filled].to_vec(), stored))
    }
}

/// Reads until the buffer is full or the reader ends; returns how many bytes were read.
pub(crate) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The inputs that a path names, in the order of their names: a file, every file of a folder (hidden ones apart), what a
/// glob matches, or standard input for `-`.
///
/// # Errors
/// When nothing is there, or standard input cannot be read.
pub fn resolve(path: &str) -> Result<Vec<Input>> {
    if path == "-" {
        // Its identity is known only once it is read, and its layout may need its end: it goes to a temporary file.
        return Ok(vec![spool("standard input", &mut std::io::stdin().lock())?]);
    }
    let as_path = Path::new(path);
    let paths = if as_path.is_dir() {
        files_of(as_path)?
    } else if as_path.exists() || !path.contains(['*', '?', '[']) {
        vec![as_path.to_path_buf()]
    } else {
        let matches =
            glob::glob(path).map_err(|error| EngineError::usage(format!("\"{path}\" is not a valid glob: {error}")))?;
        let mut found: Vec<PathBuf> = matches.filter_map(Result::ok).filter(|found| found.is_file()).collect();
        found.sort();
        found
    };
    if paths.is_empty() {
        return Err(EngineError::UnreadableFile {
            path: as_path.to_path_buf(),
            reason: "there is no file; check the folder or the glob".to_owned(),
        });
    }
    paths
        .into_iter()
        .map(|found| {
            let input = Input { name: found.display().to_string(), origin: Origin::File(found.clone()) };
            // Opening now names a missing file before anything is written.
            let mut file = File::open(&found).map_err(|error| input.unreadable(&error.to_string()))?;
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            // What a pipe gives can be read once only: `<(zcat sends.csv.gz)`, `/dev/stdin`.
            if is_file { Ok(input) } else { spool(&input.name, &mut file) }
        })
        .collect()
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(EngineError::io("list", folder))?;
    for entry in entries {
        let path = entry.map_err(EngineError::io("list", folder))?.path();
        let hidden = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with('.') || name.starts_with('_')
        });
        if hidden {
            continue;
        }
        if path.is_dir() {
            found.extend(files_of(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// How the names of temporary files begin that hold what can be read once only.
const SPOOLED: &str = "sendlift-stdin-";

fn spool(name: &str, from: &mut impl Read) -> Result<Input> {
    let path = std::env::temp_dir().join(format!("{SPOOLED}{}", uuid::Uuid::new_v4()));
    let mut file = File::create(&path).map_err(EngineError::io("create", &path))?;
    std::io::copy(from, &mut file).map_err(EngineError::io("write", &path))?;
    Ok(Input { name: name.to_owned(), origin: Origin::File(path) })
}

impl Input {
    /// Removes what was spooled of standard input or a pipe; anything else is left alone.
    pub fn discard_spool(&self) {
        if let Origin::File(path) = &self.origin
            && path.starts_with(std::env::temp_dir())
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SPOOLED))
        {
            // A left-over temporary file is harmless; the system clears its folder.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn layout_of(bytes: &[u8]) -> Layout {
        Input::memory("test", Bytes::copy_from_slice(bytes)).layout().unwrap()
    }

    #[test]
    fn the_layout_is_seen_from_the_bytes() {
        assert_eq!(layout_of(b"a,b\n1,2\n"), Layout::Separated);
        assert_eq!(layout_of(b"\xef\xbb\xbf{\"a\":1}"), Layout::Json);
        assert_eq!(layout_of(b" \n[{\"a\":1}]"), Layout::Json);
        assert_eq!(layout_of(b"PAR1...."), Layout::Parquet);
        assert_eq!(layout_of(b""), Layout::Separated);
    }

    #[test]
    fn compression_is_taken_off() {
        let text = b"message_id\nm1\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for bytes in [gzip.finish().unwrap(), zstd, text.to_vec()] {
            let mut read = Vec::new();
            Input::memory("test", bytes.into()).open().unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_read_once_and_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let writing = path.clone();
        let writer = std::thread::spawn(move || std::fs::write(writing, "message_id\nm1\n").unwrap());
        let inputs = resolve(path.to_str().unwrap()).unwrap();
        writer.join().unwrap();
        let [input] = inputs.as_slice() else { panic!("{inputs:?}") };
        assert_eq!(input.digest().unwrap(), input.digest().unwrap());
        let mut text = String::new();
        input.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), input.name.as_str()), ("message_id\nm1\n", path.to_str().unwrap()));
        input.discard_spool();
        assert!(input.open().is_err() && path.exists());
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = resolve("no/such/sends.csv").unwrap_err().to_string();
        assert!(message.contains("no/such/sends.csv"), "{message}");
        let message = resolve("no/such/*.csv").unwrap_err().to_string();
        assert!(message.contains("no/such/*.csv"), "{message}");
    }
}
