//! Reading manifests and lists of keys out of a storage, line by line as the lines come.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use futures::TryStreamExt;
use manifest::{Footer, Header, IntentError, KeyLines, Line, MAX_LINE, ManifestLines, ReadError};
use serde::de::DeserializeOwned;
use store::{Chunks, Key, Store};

/// Why a file of ours in the storage could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The storage.
    #[error("{}", crate::chain(.0))]
    Store(#[from] store::Error),
    /// A manifest.
    #[error("cannot read the manifest {key}: {source}")]
    Manifest {
        /// Its key.
        key: Key,
        /// Why.
        source: ReadError,
    },
    /// An intent or a condemned list.
    #[error("cannot use the list of keys {key}: {source}")]
    Keys {
        /// Its key.
        key: Key,
        /// Why.
        source: IntentError,
    },
    /// A line that nobody of ours writes.
    #[error("{key} has a line of more than {MAX_LINE} bytes: it is no file of ours")]
    TooLong {
        /// Its key.
        key: Key,
    },
}

impl ReadFailure {
    /// Whether the file is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(store::Error::NotFound { .. }))
    }
}

/// The lines of an object.
struct Lines {
    key: Key,
    chunks: Chunks,
    buffer: BytesMut,
    /// Bytes of the buffer that were given as a line and are done with.
    given: usize,
}

impl Lines {
    async fn open(
        store: &dyn Store,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Self, ReadFailure> {
        Ok(Self {
            key: key.clone(),
            chunks: store.get(key, range).await?.chunks,
            buffer: BytesMut::new(),
            given: 0,
        })
    }

    /// The next line with its end, which the last may lack.
    async fn next(&mut self) -> Result<Option<&[u8]>, ReadFailure> {
        self.buffer.advance(self.given);
        self.given = 0;
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                self.given = searched + end + 1;
                break;
            }
            searched = self.buffer.len();
            if searched as u64 > MAX_LINE {
                return Err(ReadFailure::TooLong {
                    key: self.key.clone(),
                });
            }
            match self.chunks.try_next().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    self.given = self.buffer.len();
                    break;
                }
            }
        }
        Ok(Some(&self.buffer[..self.given]))
    }
}

/// A manifest that is being read. Nothing that it gave is to be believed before
/// [`ManifestStream::end`].
pub struct ManifestStream {
    lines: Lines,
    manifest: ManifestLines,
}

impl ManifestStream {
    /// Begins to read.
    pub async fn open(store: &dyn Store, key: &Key) -> Result<Self, ReadFailure> {
        Ok(Self {
            lines: Lines::open(store, key, None).await?,
            manifest: ManifestLines::default(),
        })
    }

    /// The next line: the header, then tables and SSTables; nothing after the last of them.
    pub async fn next(&mut self) -> Result<Option<Line>, ReadFailure> {
        let key = self.lines.key.clone();
        let Some(raw) = self.lines.next().await? else {
            return Ok(None);
        };
        let line = self.manifest.line(raw);
        let failed = |source| ReadFailure::Manifest { key, source };
        match line.map_err(failed)? {
            Some(line) => Ok(Some(line)),
            // What follows a footer is refused.
            None => self.nothing_more().await,
        }
    }

    async fn nothing_more(&mut self) -> Result<Option<Line>, ReadFailure> {
        match self.lines.next().await? {
            None => Ok(None),
            Some(_) => Err(ReadFailure::Manifest {
                key: self.lines.key.clone(),
                source: ReadError::NoFooter,
            }),
        }
    }

    /// The last line, with which the manifest is to be believed.
    pub fn end(self) -> Result<Footer, ReadFailure> {
        let key = self.lines.key;
        let failed = |source| ReadFailure::Manifest { key, source };
        self.manifest.finish().map_err(failed)
    }
}

/// Reads a manifest to its end and gives every line but the footer to `each`. Nothing that `each`
/// was given is to be believed before this returns.
pub async fn manifest(
    store: &dyn Store,
    key: &Key,
    mut each: impl FnMut(&Line),
) -> Result<(Header, Footer), ReadFailure> {
    let mut lines = ManifestStream::open(store, key).await?;
    let mut header = None;
    while let Some(line) = lines.next().await? {
        each(&line);
        if let Line::Header(found) = line {
            header = Some(*found);
        }
    }
    let footer = lines.end()?;
    let source = ReadError::NoHeader;
    let key = key.clone();
    let header = header.ok_or(ReadFailure::Manifest { key, source })?;
    Ok((header, footer))
}

/// Most headers are shorter: a node has at most some hundred tokens.
const HEADER: u64 = 64 << 10;

/// Reads the header of a manifest only; nothing is known of the rest.
pub async fn header(store: &dyn Store, key: &Key) -> Result<Header, ReadFailure> {
    let failed = |source| ReadFailure::Manifest {
        key: key.clone(),
        source,
    };
    for range in [Some(0..HEADER), None] {
        let mut lines = Lines::open(store, key, range).await?;
        let Some(raw) = lines.next().await? else {
            return Err(failed(ReadError::NoHeader));
        };
        if raw.ends_with(b"\n") {
            return match ManifestLines::default().line(raw).map_err(failed)? {
                Some(Line::Header(header)) => Ok(*header),
                _ => Err(failed(ReadError::NoHeader)),
            };
        }
    }
    Err(failed(ReadError::NoFooter))
}

/// Reads a list of keys and gives every key, below the cluster id, to `each`, with the head.
pub async fn keys<H: DeserializeOwned>(
    store: &dyn Store,
    key: &Key,
    mut each: impl FnMut(&H, String),
) -> Result<H, ReadFailure> {
    let failed = |source| ReadFailure::Keys {
        key: key.clone(),
        source,
    };
    let mut lines = Lines::open(store, key, None).await?;
    let mut list = KeyLines::default();
    while let Some(raw) = lines.next().await? {
        let named = list.line(raw).map_err(failed)?;
        if let (Some(head), Some(named)) = (list.head(), named) {
            each(head, named);
        }
    }
    list.finish().map_err(failed)
}

/// Reads the head of a list of keys only.
pub async fn keys_head<H: DeserializeOwned>(
    store: &dyn Store,
    key: &Key,
) -> Result<H, ReadFailure> {
    let failed = |source| ReadFailure::Keys {
        key: key.clone(),
        source,
    };
    let mut lines = Lines::open(store, key, Some(0..HEADER)).await?;
    let mut list = KeyLines::<H>::default();
    if let Some(raw) = lines.next().await? {
        list.line(raw).map_err(failed)?;
    }
    list.finish().map_err(failed)
}
