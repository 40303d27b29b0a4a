//! Separated values (CSV, TSV, semicolons, bars) by RFC 4180 as real files follow it: quoted newlines, CRLF, a byte-order
//! mark, a header in the middle, rows with too few or too many fields, quotes that are never closed, broken UTF-8.
//!
//! `csv-core` takes the records apart; this file keeps them in step with their raw text, so that a rejected row can be
//! shown, and finds its way again after a row that is broken: the first line of it is rejected and reading goes on with
//! the next line, so that one stray quote does not swallow the rest of the file.

use std::borrow::Cow;
use std::io::Read;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::text_columns::TextColumns;
use super::{BrokenRow, CHUNK_ROWS, RawChunk, RawRows};
use crate::error::Result;
use crate::ingest::input::{Input, fill};

/// Bytes read at a time.
const BLOCK: usize = 4 << 20;
/// A record longer than this is taken for a quote that is never closed.
const LONGEST_RECORD: usize = 1 << 18;
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Chunks of a file of separated values.
pub(super) struct SeparatedChunks {
    input: Input,
    reader: Box<dyn Read + Send>,
    parser: Reader,
    delimiter: u8,
    /// Bytes read and not yet handed out, from the start of a record on.
    pending: Vec<u8>,
    at_end: bool,
    header: Vec<String>,
    /// The line at which `pending` starts.
    line: u64,
    /// The number of the last row: that of its line, or where lines end otherwise than by a line feed, of the row.
    last_row: i64,
    /// Scratch space for one record's unescaped fields and their ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
    failed: bool,
}

/// What the parser found at some position.
enum Record {
    /// A record of this many bytes and fields.
    Whole { length: usize, field_bytes: usize, fields: usize },
    /// The bytes end before the record does.
    Incomplete,
    /// Nothing but the end of the file (or blank lines before it).
    End,
}

impl SeparatedChunks {
    pub(super) fn open(input: &Input) -> Result<Self> {
        let mut chunks = Self {
            input: input.clone(),
            reader: input.open()?,
            parser: Reader::new(),
            delimiter: b',',
            pending: Vec::new(),
            at_end: false,
            header: Vec::new(),
            line: 1,
            last_row: 1,
            fields: vec![0; 1 << 16],
            ends: vec![0; 256],
            failed: false,
        };
        chunks.refill()?;
        chunks.read_header()?;
        Ok(chunks)
    }

    /// Reads another block behind the pending bytes.
    fn refill(&mut self) -> Result<()> {
        let start = self.pending.len();
        self.pending.resize(start + BLOCK, 0);
        let read = fill(&mut self.reader, &mut self.pending[start..])
            .map_err(|error| self.input.unreadable(&format!("{error} (is the file cut off or damaged?)")))?;
        self.pending.truncate(start + read);
        self.at_end = read < BLOCK;
        Ok(())
    }

    fn read_header(&mut self) -> Result<()> {
        let mark = usize::from(self.pending.starts_with(&[0xef, 0xbb, 0xbf])) * 3;
        if self.pending.starts_with(&[0xff, 0xfe]) || self.pending.starts_with(&[0xfe, 0xff]) {
            return Err(self.input.unreadable("it is UTF-16; save it as UTF-8"));
        }
        let skipped = mark + leading_blank(&self.pending[mark..]);
        self.advance(skipped);
        self.delimiter = sniff_delimiter(&self.pending);
        self.parser = ReaderBuilder::new().delimiter(self.delimiter).build();
        match self.record_at(0) {
            Record::Whole { length, field_bytes, fields } => {
                if self.pending[..length].contains(&0) {
                    return Err(self.input.unreadable("it is binary, neither text nor Parquet nor Arrow"));
                }
                let mut header: Vec<String> = Vec::with_capacity(fields);
                for field in split(&self.fields[..field_bytes], &self.ends[..fields]) {
                    let name = String::from_utf8_lossy(field).trim().to_owned();
                    header.push(distinct(&header, name));
                }
                self.header = header;
                self.advance(length);
            }
            Record::Incomplete => {
                return Err(self.input.unreadable("its first line is no header: a quote is never closed"));
            }
            Record::End => self.pending.clear(),
        }
        Ok(())
    }

    /// Drops bytes from the front and counts their lines.
    fn advance(&mut self, bytes: usize) {
        self.line += newlines(&self.pending[..bytes]);
        self.pending.drain(..bytes);
    }

    /// Takes one record apart, from a position of the pending bytes.
    fn record_at(&mut self, start: usize) -> Record {
        self.parser.reset();
        let (mut consumed, mut field_bytes, mut fields) = (0, 0, 0);
        loop {
            let bytes = &self.pending[start + consumed..];
            let (result, read, wrote, ended) =
                self.parser.read_record(bytes, &mut self.fields[field_bytes..], &mut self.ends[fields..]);
            consumed += read;
            field_bytes += wrote;
            fields += ended;
            match result {
                ReadRecordResult::Record => return Record::Whole { length: consumed, field_bytes, fields },
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::End => return Record::End,
                // At the end of the file an empty input tells the parser so, and it ends the last record.
                ReadRecordResult::InputEmpty if self.at_end => {}
                ReadRecordResult::InputEmpty => return Record::Incomplete,
            }
        }
    }

    fn next_chunk(&mut self) -> Result<Option<RawChunk>> {
        loop {
            let chunk = self.parse_pending()?;
            let exhausted = self.at_end && self.pending.is_empty();
            if chunk.row_count() > 0 {
                return Ok(Some(chunk));
            }
            if exhausted {
                return Ok(None);
            }
            if !self.at_end {
                self.refill()?;
            }
        }
    }

    /// Takes records from the pending bytes until they are incomplete or the chunk is full.
    fn parse_pending(&mut self) -> Result<RawChunk> {
        if !self.at_end && self.pending.len() < BLOCK {
            self.refill()?;
        }
        let mut columns = TextColumns::new(&self.header, CHUNK_ROWS.min(self.pending.len() / 16 + 1));
        let (mut rows, mut spans, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        let mut position = 0;
        let mut line = self.line;
        while position < self.pending.len() && columns.rows() < CHUNK_ROWS {
            let blank = leading_blank(&self.pending[position..]);
            line += newlines(&self.pending[position..position + blank]);
            position += blank;
            let found = self.record_at(position);
            let rest = self.pending.len() - position;
            let length = match found {
                Record::End => {
                    position = self.pending.len();
                    break;
                }
                Record::Incomplete if rest <= LONGEST_RECORD => break,
                Record::Incomplete => None,
                Record::Whole { length, .. } if length > LONGEST_RECORD => None,
                Record::Whole { length, .. } => Some(length),
            };
            let row = i64::try_from(line).unwrap_or(i64::MAX).max(self.last_row + 1);
            self.last_row = row;
            let problem = match (length, &found) {
                (Some(length), Record::Whole { field_bytes, fields, .. }) => {
                    self.take_record(&mut columns, position, length, *field_bytes, *fields)
                }
                _ => Some("a quote is opened and never closed".to_owned()),
            };
            let taken = match (problem, length) {
                (None, Some(length)) => {
                    rows.push(row);
                    spans.push((position, position + trim_end(&self.pending[position..position + length])));
                    length
                }
                (problem, length) => {
                    // Only the first line of a record that is broken over several is given up.
                    let first_line = line_length(&self.pending[position..]);
                    let taken = length.map_or(first_line, |length| length.min(first_line));
                    let bytes = &self.pending[position..position + taken];
                    broken.push(BrokenRow {
                        row,
                        reason: problem.unwrap_or_default(),
                        raw: String::from_utf8_lossy(&bytes[..trim_end(bytes)]).into_owned(),
                    });
                    taken
                }
            };
            line += newlines(&self.pending[position..position + taken]);
            position += taken;
        }
        // The chunk keeps the bytes it was made of; what is left starts the next one.
        let left = self.pending.split_off(position);
        let buffer = std::mem::replace(&mut self.pending, left);
        self.line = line;
        Ok(RawChunk { frame: columns.finish()?, rows, raw: RawRows::Text { buffer, spans }, broken })
    }

    /// Adds the record just taken apart as a row, or says what is wrong with it.
    fn take_record(
        &self,
        columns: &mut TextColumns,
        start: usize,
        length: usize,
        field_bytes: usize,
        fields: usize,
    ) -> Option<String> {
        let raw = &self.pending[start..start + length];
        let spans_lines = raw[..trim_end(raw)].contains(&b'\n');
        if fields != self.header.len() {
            let unclosed = if spans_lines { " (a quote may be open over several lines)" } else { "" };
            return Some(format!("has {fields} fields where the header has {}{unclosed}", self.header.len()));
        }
        // A quote open at the end of the file makes everything after it one field. A lone quote inside a field (5" pipe)
        // opens nothing.
        let ends_file = self.at_end && start + length == self.pending.len();
        if ends_file && quotes(raw) % 2 == 1 && (spans_lines || opens_with_quote(raw, self.delimiter)) {
            return Some("a quote is opened and never closed".to_owned());
        }
        if spans_lines && !closes_its_quotes(raw, self.delimiter) {
            return Some("a quote is opened and closed in the middle of a later line".to_owned());
        }
        if std::str::from_utf8(raw).is_err() {
            return Some("is not valid UTF-8".to_owned());
        }
        let Ok(text) = std::str::from_utf8(&self.fields[..field_bytes]) else {
            return Some("is not valid UTF-8".to_owned());
        };
        let ends = &self.ends[..fields];
        if is_header_again(text, ends, &self.header) {
            return Some("is the header again".to_owned());
        }
        let has_quotes = raw.contains(&b'"');
        let mut begin = 0;
        for (position, end) in ends.iter().enumerate() {
            let cell = text.get(begin..*end).unwrap_or_default();
            // Spaces between quotes are meant; those around a cell without are how people align columns.
            let is_padded = cell.starts_with(' ') || cell.ends_with(' ');
            let is_meant = !is_padded || (has_quotes && is_quoted(raw, self.delimiter, position));
            columns.set(position, &if is_meant { Cow::Borrowed(cell) } else { without_padding(cell) });
            begin = *end;
        }
        columns.end_row();
        None
    }
}

/// A cell without the spaces around it. A quote after such a space opens nothing by RFC 4180, but whoever wrote it meant it to.
fn without_padding(cell: &str) -> Cow<'_, str> {
    let cell = cell.trim_matches(' ');
    let inner = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"'));
    match inner.map(|inner| inner.replace("\"\"", "\0")) {
        // Every quote inside is one that is written twice.
        Some(inner) if !inner.contains('"') => Cow::Owned(inner.replace('\0', "\"")),
        _ => Cow::Borrowed(cell),
    }
}

impl Iterator for SeparatedChunks {
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

fn split<'a>(fields: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(move |(start, end)| &fields[start..*end])
}

fn is_header_again(text: &str, ends: &[usize], header: &[String]) -> bool {
    let mut begin = 0;
    header.iter().zip(ends).all(|(name, end)| {
        let same = text.get(begin..*end).is_some_and(|cell| cell.trim() == name);
        begin = *end;
        same
    })
}

/// A header's name, with a number behind it if the name was there before.
fn distinct(before: &[String], name: String) -> String {
    if !before.contains(&name) {
        return name;
    }
    let mut number = 2;
    loop {
        let candidate = format!("{name}_{number}");
        if !before.contains(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

/// The delimiter that splits the first line into most fields outside quotes; a comma when none does.
fn sniff_delimiter(bytes: &[u8]) -> u8 {
    let line = &bytes[..line_length(bytes)];
    let count = |delimiter: u8| {
        let mut quoted = false;
        line.iter()
            .filter(|byte| {
                quoted ^= **byte == b'"';
                !quoted && **byte == delimiter
            })
            .count()
    };
    DELIMITERS
        .into_iter()
        .rev()
        .max_by_key(|delimiter| count(*delimiter))
        .filter(|best| count(*best) > 0)
        .unwrap_or(b',')
}

fn line_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |position| position + 1)
}

fn leading_blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count()
}

fn trim_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |position| position + 1)
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Whether a field of a record, counted from 0, stands between quotes.
fn is_quoted(record: &[u8], delimiter: u8, field: usize) -> bool {
    let (mut quoted, mut inside, mut at_start, mut before) = (false, false, true, 0);
    for byte in record {
        if at_start && before == field {
            return *byte == b'"';
        }
        if *byte == b'"' && (at_start || quoted) {
            (quoted, inside) = (true, !inside);
        }
        at_start = *byte == delimiter && !inside;
        if at_start {
            (quoted, before) = (false, before + 1);
        }
    }
    false
}

/// Whether every quoted field of a record ends where a field may end: a quote that closes before a letter belongs to
/// another field, and the record is several lines that an open quote ran together.
fn closes_its_quotes(record: &[u8], delimiter: u8) -> bool {
    let (mut quoted, mut field_start) = (false, true);
    let mut bytes = record.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if quoted && byte == b'"' {
            match bytes.peek() {
                Some(b'"') => {
                    bytes.next();
                }
                Some(next) if *next != delimiter && !matches!(next, b'\r' | b'\n') => return false,
                _ => quoted = false,
            }
        } else if !quoted {
            quoted = field_start && byte == b'"';
            field_start = byte == delimiter;
        }
    }
    true
}

/// Whether some field of a record begins with a quote.
fn opens_with_quote(record: &[u8], delimiter: u8) -> bool {
    record.starts_with(b"\"") || record.windows(2).any(|pair| pair == [delimiter, b'"'])
}

fn quotes(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'"').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (Vec<String>, Vec<(i64, String)>, Vec<BrokenRow>) {
        let input = Input::memory("test.csv", bytes::Bytes::copy_from_slice(text));
        let (mut header, mut good, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in SeparatedChunks::open(&input).unwrap() {
            let chunk = chunk.unwrap();
            header = chunk.frame.get_column_names().iter().map(std::string::ToString::to_string).collect();
            for (position, row) in chunk.rows.iter().enumerate() {
                let cells: Vec<String> = chunk
                    .frame
                    .columns()
                    .iter()
                    .map(|column| column.str().unwrap().get(position).unwrap_or("∅").to_owned())
                    .collect();
                good.push((*row, cells.join("~")));
            }
            broken.extend(chunk.broken);
        }
        (header, good, broken)
    }

    fn reasons(broken: &[BrokenRow]) -> Vec<(i64, &str)> {
        broken.iter().map(|row| (row.row, row.reason.as_str())).collect()
    }

    #[test]
    fn plain_rows_with_every_delimiter_and_line_end() {
        for text in ["a,b\n1,x\n2,\n", "a;b\r\n1;x\r\n2;\r\n", "a\tb\n1\tx\n2\t", "\u{feff}a|b\n\n1|x\n\n2|\n\n"] {
            let (header, good, broken) = read(text.as_bytes());
            assert_eq!(header, ["a", "b"], "{text:?}");
            assert_eq!(good.iter().map(|(_, cells)| cells.as_str()).collect::<Vec<_>>(), ["1~x", "2~∅"], "{text:?}");
            assert!(broken.is_empty());
        }
    }

    #[test]
    fn a_quote_after_a_space_is_one() {
        let (_, good, broken) = read(b"a,b\n1, \"r 1\"\n2, \"say \"\"hi\"\"\" \n3, 5\" pipe\n4, \"a\" or \"b\"\n");
        let cells: Vec<&str> = good.iter().map(|(_, cells)| cells.as_str()).collect();
        assert_eq!(cells, ["1~r 1", "2~say \"hi\"", "3~5\" pipe", "4~\"a\" or \"b\""], "{broken:?}");
    }

    #[test]
    fn lines_that_end_in_a_carriage_return_alone_are_numbered_by_row() {
        let (_, good, _) = read(b"id,text\r1,one\r2,two\r3,three\r");
        assert_eq!(good.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2, 3, 4]);
    }

    #[test]
    fn quoted_newlines_keep_the_line_numbers() {
        let (_, good, broken) = read(b"id,text\n1,\"two\nlines, \"\"quoted\"\"\"\n2,plain\n");
        assert_eq!(good, [(2, "1~two\nlines, \"quoted\"".to_owned()), (4, "2~plain".to_owned())]);
        assert!(broken.is_empty());
    }

    #[test]
    fn broken_rows_are_set_aside_and_the_rest_goes_on() {
        let (_, good, broken) = read(b"a,b\n1,x\n2\n3,y,z\na,b\n4,\xff\xfe\n5,w\n");
        assert_eq!(good, [(2, "1~x".to_owned()), (7, "5~w".to_owned())]);
        assert_eq!(
            reasons(&broken),
            [
                (3, "has 1 fields where the header has 2"),
                (4, "has 3 fields where the header has 2"),
                (5, "is the header again"),
                (6, "is not valid UTF-8"),
            ]
        );
        assert_eq!(broken[1].raw, "3,y,z");
    }

    #[test]
    fn an_open_quote_costs_one_row() {
        let (_, good, broken) = read(b"a,b\n1,\"x\n2,y\n3,z\n");
        assert_eq!(good, [(3, "2~y".to_owned()), (4, "3~z".to_owned())]);
        assert_eq!(broken[0].row, 2);
        let (_, good, broken) = read(b"a,b\n1,\"x\n2,y\n3,\"z\"\n4,w");
        assert_eq!(good.len(), 3, "{good:?} {broken:?}");
        assert_eq!(broken[0].row, 2);
    }

    #[test]
    fn empty_files_and_lone_headers_have_no_rows() {
        for text in [&b""[..], b"\n\n", b"a,b", b"a,b\n", b"\xef\xbb\xbf"] {
            let (_, good, broken) = read(text);
            assert!(good.is_empty() && broken.is_empty());
        }
    }

    #[test]
    fn a_file_of_many_blocks_loses_nothing() {
        let mut text = String::from("id,text\n");
        let rows: u32 = 300_000;
        for row in 0..rows {
            text.push_str(&format!("{row},\"some text, with a comma and\na second line {row}\"\n"));
        }
        let (_, good, broken) = read(text.as_bytes());
        assert_eq!((good.len(), broken.len()), (rows as usize, 0));
        assert_eq!(good[rows as usize - 1].0, 2 + 2 * (i64::from(rows) - 1));
    }
}
