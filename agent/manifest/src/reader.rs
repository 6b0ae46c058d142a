use std::io::{self, BufRead, Read};

use crate::{FORMAT_VERSION, Footer, Header, Line};

/// A line holds one SSTable; even one with hundreds of index files stays far below.
const MAX_LINE: u64 = 16 << 20;

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

/// Reads a manifest line by line. Nothing that it gave is to be believed before
/// [`ManifestReader::next`] has returned `None` without an error.
pub struct ManifestReader<R> {
    input: R,
    hasher: blake3::Hasher,
    line: Vec<u8>,
    number: u64,
    header: Header,
    footer: Option<Footer>,
}

impl<R: BufRead> ManifestReader<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut line = Vec::new();
        let mut hasher = blake3::Hasher::new();
        let mut input = input;
        let header = match read_line(&mut input, &mut line, 1)? {
            Some(Line::Header(header)) => *header,
            _ => return Err(ReadError::NoHeader),
        };
        hasher.update(&line);
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        if major(&header.format_version) != major(FORMAT_VERSION) {
            return Err(ReadError::Version(header.format_version));
        }
        Ok(Self {
            input,
            hasher,
            line,
            number: 1,
            header,
            footer: None,
        })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The last line, once all was read and found right.
    pub fn footer(&self) -> Option<&Footer> {
        self.footer.as_ref()
    }

    /// The next table or SSTable; `None` after the footer was read and found right.
    #[allow(clippy::should_implement_trait)] // an Iterator goes on after an error; this must not
    pub fn next(&mut self) -> Result<Option<Line>, ReadError> {
        if self.footer.is_some() {
            return Ok(None);
        }
        self.number += 1;
        match read_line(&mut self.input, &mut self.line, self.number)? {
            Some(Line::Footer(footer)) => {
                let found = self.hasher.finalize().to_hex().to_string();
                if found != footer.blake3 {
                    return Err(ReadError::Hash {
                        expected: footer.blake3,
                        found,
                    });
                }
                if read_raw(&mut self.input, &mut self.line, self.number + 1)? {
                    return Err(ReadError::NoFooter);
                }
                self.footer = Some(footer);
                Ok(None)
            }
            Some(Line::Header(_)) => Err(ReadError::Misplaced(self.number)),
            Some(line) => {
                self.hasher.update(&self.line);
                Ok(Some(line))
            }
            None => Err(ReadError::NoFooter),
        }
    }
}

fn read_line<R: BufRead>(
    input: &mut R,
    buffer: &mut Vec<u8>,
    number: u64,
) -> Result<Option<Line>, ReadError> {
    if !read_raw(input, buffer, number)? {
        return Ok(None);
    }
    if !buffer.ends_with(b"\n") {
        return Err(ReadError::NoFooter);
    }
    serde_json::from_slice(buffer)
        .map(Some)
        .map_err(|source| ReadError::Line {
            line: number,
            source,
        })
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
