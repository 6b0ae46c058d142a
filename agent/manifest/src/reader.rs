use std::io::{self, BufRead, Read};

use crate::{FORMAT_VERSION, Footer, Header, Line, same_major};

/// The longest line, in bytes. It holds one SSTable; even one with hundreds of index files stays far
/// below.
pub const MAX_LINE: u64 = 16 << 20;

/// Why a manifest is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file or stream below.
    #[error("cannot read the manifest: {0}")]
    Io(#[from] io::Error),
    /// A line is not what the format says.
    #[error("manifest line {line} is not understood: {source}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A line of absurd length.
    #[error("manifest line {0} is longer than {MAX_LINE} bytes")]
    TooLong(u64),
    /// A newer format.
    #[error("the manifest has format {0}, this version reads {FORMAT_VERSION}: update it")]
    Version(String),
    /// It does not begin with a header.
    #[error("the manifest does not begin with a header")]
    NoHeader,
    /// It was cut, or something follows its end.
    #[error("the manifest does not end with its footer: it was cut or changed")]
    NoFooter,
    /// Its bytes are not those that were written.
    #[error("the manifest's hash is {found}, its footer says {expected}: it was changed")]
    Hash {
        /// What the footer says.
        expected: String,
        /// What was read.
        found: String,
    },
    /// A header or a second footer in the middle.
    #[error("manifest line {0} is out of place")]
    Misplaced(u64),
}

/// Checks a manifest line by line, as the lines come. Nothing that it gave is to be believed before
/// [`ManifestLines::finish`].
#[derive(Debug, Default)]
pub struct ManifestLines {
    hasher: blake3::Hasher,
    number: u64,
    footer: Option<Footer>,
}

impl ManifestLines {
    /// Takes the next line, its end included, and gives what it says: first the header, then
    /// tables and SSTables; nothing for the footer.
    pub fn line(&mut self, raw: &[u8]) -> Result<Option<Line>, ReadError> {
        self.number += 1;
        if self.footer.is_some() || (self.number > 1 && !raw.ends_with(b"\n")) {
            return Err(ReadError::NoFooter);
        }
        let failed = |source| ReadError::Line {
            line: self.number,
            source,
        };
        match parse(raw).map_err(failed)? {
            Line::Header(header) if self.number == 1 => {
                if !raw.ends_with(b"\n") {
                    return Err(ReadError::NoFooter);
                }
                if !same_major(&header.format_version) {
                    return Err(ReadError::Version(header.format_version));
                }
                self.hasher.update(raw);
                Ok(Some(Line::Header(header)))
            }
            _ if self.number == 1 => Err(ReadError::NoHeader),
            Line::Header(_) => Err(ReadError::Misplaced(self.number)),
            Line::Footer(footer) => {
                let found = self.hasher.finalize().to_hex().to_string();
                if found != footer.blake3 {
                    return Err(ReadError::Hash {
                        expected: footer.blake3,
                        found,
                    });
                }
                self.footer = Some(footer);
                Ok(None)
            }
            line => {
                self.hasher.update(raw);
                Ok(Some(line))
            }
        }
    }

    /// Ends the manifest: now it is believed, or not.
    pub fn finish(self) -> Result<Footer, ReadError> {
        match (self.number, self.footer) {
            (0, _) => Err(ReadError::NoHeader),
            (_, footer) => footer.ok_or(ReadError::NoFooter),
        }
    }
}

/// Reads a manifest line by line. Nothing that it gave is to be believed before
/// [`ManifestReader::next`] has returned `None` without an error.
pub struct ManifestReader<R> {
    input: R,
    line: Vec<u8>,
    lines: ManifestLines,
    header: Header,
}

impl<R: BufRead> ManifestReader<R> {
    /// Reads the header.
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let mut line = Vec::new();
        let mut lines = ManifestLines::default();
        if !read_raw(&mut input, &mut line, 1)? {
            return Err(ReadError::NoHeader);
        }
        let Some(Line::Header(header)) = lines.line(&line)? else {
            return Err(ReadError::NoHeader);
        };
        Ok(Self {
            input,
            line,
            lines,
            header: *header,
        })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The last line, once all was read and found right.
    pub fn footer(&self) -> Option<&Footer> {
        self.lines.footer.as_ref()
    }

    /// The next table or SSTable; `None` after the footer was read and found right.
    #[allow(clippy::should_implement_trait)] // an Iterator goes on after an error; this must not
    pub fn next(&mut self) -> Result<Option<Line>, ReadError> {
        if self.lines.footer.is_some() {
            return Ok(None);
        }
        if !self.read()? {
            return Err(ReadError::NoFooter);
        }
        let line = self.lines.line(&self.line)?;
        if line.is_none() && self.read()? {
            self.lines.footer = None;
            return Err(ReadError::NoFooter);
        }
        Ok(line)
    }

    fn read(&mut self) -> Result<bool, ReadError> {
        read_raw(&mut self.input, &mut self.line, self.lines.number + 1)
    }
}

/// Reads a line. An enum with its tag inside is read into a tree first, and then once more from there;
/// lines that begin with it, as ours do, need not be.
fn parse(raw: &[u8]) -> Result<Line, serde_json::Error> {
    let after = raw.strip_prefix(br#"{"kind":""#);
    let kind = after.and_then(|after| after.split(|byte| *byte == b'"').next());
    match kind {
        Some(b"sstable") => serde_json::from_slice(raw).map(Line::SsTable),
        Some(b"table") => serde_json::from_slice(raw).map(Line::Table),
        Some(b"header") => serde_json::from_slice(raw).map(Line::Header),
        Some(b"footer") => serde_json::from_slice(raw).map(Line::Footer),
        _ => serde_json::from_slice(raw),
    }
}

/// Reads one line with its end; false at the end of the input.
fn read_raw<R: BufRead>(
    input: &mut R,
    buffer: &mut Vec<u8>,
    number: u64,
) -> Result<bool, ReadError> {
    buffer.clear();
    input
        .by_ref()
        .take(MAX_LINE + 1)
        .read_until(b'\n', buffer)?;
    if buffer.len() as u64 > MAX_LINE {
        return Err(ReadError::TooLong(number));
    }
    Ok(!buffer.is_empty())
}
