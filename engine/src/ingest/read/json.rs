//! JSON logs: one object a line, or one array of objects. Nested objects become columns with dotted names
//! (`data.message_sid`), lists stay JSON text, and every cell becomes text as it was written, so that a number keeps its
//! digits. An object that cannot be read is a broken row; the next one starts at the next line (or the next comma).

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text_columns::TextColumns;
use super::{BrokenRow, CHUNK_ROWS, RawChunk, RawRows};
use crate::error::Result;
use crate::ingest::input::{Input, fill};

const BLOCK: usize = 4 << 20;
/// Objects and lists in one another at most: as many as JSON readers usually take.
const DEEPEST: usize = 128;
/// An object longer than this is taken for one that is never closed.
const LONGEST_OBJECT: usize = 1 << 22;

/// Chunks of a JSON log.
pub(super) struct JsonChunks {
    input: Input,
    reader: Box<dyn Read + Send>,
    pending: Vec<u8>,
    at_end: bool,
    /// Objects are elements of one array rather than lines.
    in_array: bool,
    line: i64,
    /// The number of the last row. Rows are told by their lines; of several on one line each next one has the next number,
    /// so that the later is known from the earlier.
    last_row: i64,
    /// Columns seen so far; later chunks start with them.
    names: Vec<String>,
    failed: bool,
}

impl JsonChunks {
    pub(super) fn open(input: &Input) -> Result<Self> {
        let mut chunks = Self {
            input: input.clone(),
            reader: input.open()?,
            pending: Vec::new(),
            at_end: false,
            in_array: false,
            line: 1,
            last_row: 0,
            names: Vec::new(),
            failed: false,
        };
        chunks.refill()?;
        let mark = usize::from(chunks.pending.starts_with(&[0xef, 0xbb, 0xbf])) * 3;
        chunks.pending.drain(..mark);
        let start = chunks.pending.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
        if chunks.pending.get(start) == Some(&b'[') {
            chunks.in_array = true;
            chunks.line += newlines(&chunks.pending[..=start]);
            chunks.pending.drain(..=start);
        }
        Ok(chunks)
    }

    fn refill(&mut self) -> Result<()> {
        let start = self.pending.len();
        self.pending.resize(start + BLOCK, 0);
        let read = fill(&mut self.reader, &mut self.pending[start..])
            .map_err(|error| self.input.unreadable(&format!("{error} (is the file cut off or damaged?)")))?;
        self.pending.truncate(start + read);
        self.at_end = read < BLOCK;
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<Option<RawChunk>> {
        loop {
            if !self.at_end && self.pending.len() < BLOCK {
                self.refill()?;
            }
            let chunk = self.parse_pending()?;
            if chunk.row_count() > 0 {
                return Ok(Some(chunk));
            }
            if self.at_end {
                return Ok(None);
            }
            self.refill()?;
        }
    }

    fn parse_pending(&mut self) -> Result<RawChunk> {
        let mut columns = TextColumns::new(&self.names, CHUNK_ROWS.min(self.pending.len() / 64 + 1));
        let (mut rows, mut spans, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        let mut position = 0;
        let mut line = self.line;
        while columns.rows() < CHUNK_ROWS {
            let gap = self.gap(position);
            line += newlines(&self.pending[position..position + gap]);
            position += gap;
            if position >= self.pending.len() {
                break;
            }
            let Some(length) = self.object_length(position) else { break };
            let bytes = &self.pending[position..position + length];
            self.last_row = line.max(self.last_row + 1);
            match read_object(bytes, &mut columns) {
                Ok(()) => {
                    columns.end_row();
                    rows.push(self.last_row);
                    spans.push((position, position + length));
                }
                Err(reason) => {
                    broken.push(BrokenRow {
                        row: self.last_row,
                        reason,
                        raw: String::from_utf8_lossy(bytes).trim_end().to_owned(),
                    });
                }
            }
            line += newlines(bytes);
            position += length;
        }
        let left = self.pending.split_off(position);
        let buffer = std::mem::replace(&mut self.pending, left);
        self.line = line;
        self.names = columns.names().to_vec();
        Ok(RawChunk { frame: columns.finish()?, rows, raw: RawRows::Text { buffer, spans }, broken })
    }

    /// Bytes between two objects: white space, and in an array the commas and the closing bracket.
    fn gap(&self, position: usize) -> usize {
        self.pending[position..]
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace() || (self.in_array && matches!(byte, b',' | b']')))
            .count()
    }

    /// Bytes of the object (or the broken line) at a position; `None` when more bytes are needed to tell.
    fn object_length(&self, position: usize) -> Option<usize> {
        let bytes = &self.pending[position..];
        let end = if self.in_array { closing_brace(bytes) } else { bytes.iter().position(|byte| *byte == b'\n') };
        match end {
            Some(length) => Some(length),
            None if self.at_end => Some(bytes.len()),
            // Something never closed: give up its first line and go on behind it.
            None if bytes.len() > LONGEST_OBJECT => {
                Some(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()).max(1))
            }
            None => None,
        }
    }
}

impl Iterator for JsonChunks {
    type Item = Result<RawChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_chunk();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// The length up to and including the brace that closes the object at the start, strings and escapes minded. An element
/// that is no object ends before the next comma or bracket.
fn closing_brace(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'{') {
        return bytes.iter().position(|byte| matches!(byte, b',' | b']' | b'\n')).map(|length| length.max(1));
    }
    let mut nesting = Nesting::default();
    bytes.iter().position(|byte| nesting.after(*byte) == 0).map(|position| position + 1)
}

/// How deep in objects and lists a place lies, byte by byte, strings and escapes minded.
#[derive(Default)]
struct Nesting {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Nesting {
    /// The depth behind one more byte.
    fn after(&mut self, byte: u8) -> usize {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'{' | b'[' if !self.quoted => self.depth += 1,
            b'}' | b']' if !self.quoted => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth
    }
}

fn newlines(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(i64::MAX)
}

/// Reads one object into the row under construction. The whole object is checked before the first cell is set, so that a
/// broken one leaves no cell behind.
fn read_object(bytes: &[u8], columns: &mut TextColumns) -> std::result::Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not valid UTF-8".to_owned())?;
    let raw: &RawValue = serde_json::from_str(text.trim()).map_err(|error| format!("is not valid JSON: {error}"))?;
    if !raw.get().starts_with('{') {
        return Err("is not a JSON object".to_owned());
    }
    if nests_too_deep(raw.get()) {
        return Err(format!("nests more than {DEEPEST} levels deep"));
    }
    let mut cursor = 0;
    read_members(raw.get(), "", columns, &mut cursor)
}

/// Whether objects and lists lie in one another deeper than is read.
fn nests_too_deep(object: &str) -> bool {
    // Hardly any row has so many that it could.
    let opened = object.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    let mut nesting = Nesting::default();
    opened > DEEPEST && object.bytes().any(|byte| nesting.after(byte) > DEEPEST)
}

fn read_members(
    object: &str,
    prefix: &str,
    columns: &mut TextColumns,
    cursor: &mut usize,
) -> std::result::Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    Members { prefix, columns, cursor }
        .deserialize(&mut deserializer)
        .map_err(|error| format!("is not valid JSON: {error}"))
}

struct Members<'a> {
    prefix: &'a str,
    columns: &'a mut TextColumns,
    cursor: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<(), A::Error> {
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            let value: &RawValue = members.next_value()?;
            let name: Cow<'_, str> =
                if self.prefix.is_empty() { key } else { Cow::Owned(format!("{}.{key}", self.prefix)) };
            let text = value.get();
            match text.as_bytes().first() {
                Some(b'{') => {
                    read_members(text, &name, self.columns, self.cursor).map_err(serde::de::Error::custom)?;
                }
                Some(b'"') => {
                    let position = self.columns.position(&name, *self.cursor);
                    if text.contains('\\') {
                        // A lone surrogate has no text; the row keeps it as it was written.
                        let unescaped = serde_json::from_str::<String>(text);
                        self.columns.set(position, unescaped.as_deref().unwrap_or(&text[1..text.len() - 1]));
                    } else {
                        self.columns.set(position, &text[1..text.len() - 1]);
                    }
                    *self.cursor = position + 1;
                }
                Some(b'n') => {
                    let position = self.columns.position(&name, *self.cursor);
                    self.columns.set(position, "");
                    *self.cursor = position + 1;
                }
                _ => {
                    let position = self.columns.position(&name, *self.cursor);
                    self.columns.set(position, text);
                    *self.cursor = position + 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_nests_without_end_is_broken_and_ends_nothing() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let text = format!("{}\n{}\n{}\n", nested(3), nested(100_000), nested(100));
        let (good, broken) = read(&text);
        assert_eq!(good.len(), 2, "{broken:?}");
        assert_eq!(broken[0].reason, "nests more than 128 levels deep");
    }

    fn read(text: &str) -> (Vec<(i64, String)>, Vec<BrokenRow>) {
        let input = Input::memory("test.json", bytes::Bytes::copy_from_slice(text.as_bytes()));
        let (mut good, mut broken) = (Vec::new(), Vec::new());
        for chunk in JsonChunks::open(&input).unwrap() {
            let chunk = chunk.unwrap();
            for (position, row) in chunk.rows.iter().enumerate() {
                let cells: Vec<String> = chunk
                    .frame
                    .columns()
                    .iter()
                    .map(|column| format!("{}={}", column.name(), column.str().unwrap().get(position).unwrap_or("∅")))
                    .collect();
                good.push((*row, cells.join(" ")));
            }
            broken.extend(chunk.broken);
        }
        (good, broken)
    }

    #[test]
    fn lines_with_changing_keys_nested_objects_and_lists() {
        let (good, broken) = read(
            "{\"a\":1.50,\"b\":\"x\\n\\u77ed\"}\n\n{\"b\":null,\"c\":{\"d\":true,\"e\":{\"f\":\"深\"}},\"g\":[1, 2]}\n{\"a\":\"\"}",
        );
        assert!(broken.is_empty(), "{broken:?}");
        assert_eq!(
            good,
            [
                (1, "a=1.50 b=x\n短 c.d=∅ c.e.f=∅ g=∅".to_owned()),
                (3, "a=∅ b=∅ c.d=true c.e.f=深 g=[1, 2]".to_owned()),
                (4, "a=∅ b=∅ c.d=∅ c.e.f=∅ g=∅".to_owned()),
            ]
        );
    }

    #[test]
    fn an_array_is_read_element_by_element() {
        let (good, broken) = read("\u{feff}[\n {\"a\": \"]}\\\"\"},\n {\"a\": 2,},\n 7,\n {\"a\": 3}\n]\n");
        assert_eq!(good, [(2, "a=]}\"".to_owned()), (5, "a=3".to_owned())]);
        assert_eq!(broken.iter().map(|row| row.row).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn of_several_rows_on_a_line_each_has_its_own_number() {
        let (good, broken) = read("[{\"a\":1},{\"a\":2}, x,\n{\"a\":3},\n\n\n{\"a\":4},{\"a\":5}]");
        assert_eq!(good.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 2, 4, 5, 6]);
        assert_eq!(broken.iter().map(|row| row.row).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_broken_line_does_not_leak_into_the_next() {
        let (good, broken) = read("{\"a\":1,\"b\":2\n{\"a\":3}\n[1]\nnull\n");
        assert_eq!(good, [(2, "a=3".to_owned())]);
        assert_eq!(broken.iter().map(|row| row.row).collect::<Vec<_>>(), [1, 3, 4]);
    }
}
