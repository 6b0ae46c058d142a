//! Reads a file of a snapshot once: for the storage, for its hash and for its checksum, at the
//! node's bandwidth, and without leaving it in the page cache.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::bandwidth::Bandwidth;
use crate::gentle::GentleFile;

/// The content of a data file is not what its `Digest.crc32` says.
#[derive(Debug, thiserror::Error)]
#[error("{path} has CRC32 {found:08x}, its Digest.crc32 says {expected:08x}: the file is damaged")]
pub struct Corrupt {
    /// The file.
    pub path: PathBuf,
    /// What the digest file says.
    pub expected: u32,
    /// What was read.
    pub found: u32,
}

/// The content of a file is not what it was when its hash became part of a key. Cassandra appends
/// to TOC.txt in place, also through a snapshot's link.
#[derive(Debug, thiserror::Error)]
#[error("{path} changed while the backup ran; the next attempt takes it as it is then")]
pub struct Changed {
    /// The file.
    pub path: PathBuf,
}

/// What a file's content must be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Its CRC32, as `Digest.crc32` says it of a data file.
    pub crc: Option<u32>,
    /// Its BLAKE3, where it is part of the key.
    pub hash: Option<blake3::Hash>,
}

/// A file that is read while it is uploaded.
pub struct FileSource {
    state: Option<Box<State>>,
    ahead: Option<JoinHandle<Step>>,
    bandwidth: Arc<Bandwidth>,
    counter: Arc<AtomicU64>,
    handed_on: u64,
    hash: Option<blake3::Hash>,
}

struct State {
    path: PathBuf,
    file: GentleFile,
    offset: u64,
    size: u64,
    piece: usize,
    hasher: blake3::Hasher,
    crc: Option<(crc32fast::Hasher, u32)>,
    expected_hash: Option<blake3::Hash>,
}

type Step = (Box<State>, io::Result<Option<Bytes>>);

impl FileSource {
    /// Opens a file of `size` bytes whose content must be as expected: else the end is an error
    /// ([`Corrupt`] or [`Changed`]) and the object never appears. `counter` is raised by every
    /// byte that is handed on.
    pub fn open(
        path: &Path,
        size: u64,
        expected: Expected,
        bandwidth: Arc<Bandwidth>,
        counter: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let state = State {
            path: path.to_owned(),
            file: GentleFile::open(path)?,
            offset: 0,
            size,
            piece: bandwidth.piece(),
            hasher: blake3::Hasher::new(),
            crc: expected.crc.map(|crc| (crc32fast::Hasher::new(), crc)),
            expected_hash: expected.hash,
        };
        Ok(Self {
            state: Some(Box::new(state)),
            ahead: None,
            bandwidth,
            counter,
            handed_on: 0,
            hash: None,
        })
    }

    /// The BLAKE3 of the whole file, once it was read to its end.
    pub fn hash(&self) -> Option<blake3::Hash> {
        self.hash
    }

    /// Reads the file to its end and returns its hash.
    pub async fn drain(mut self) -> io::Result<blake3::Hash> {
        use store::Source;
        while self.next().await?.is_some() {}
        self.hash
            .ok_or_else(|| io::Error::other("the file was not read to its end"))
    }

    /// Waits for what is read ahead. May be dropped while it waits: then nothing has happened.
    async fn come_back(&mut self) -> io::Result<Option<Bytes>> {
        let Some(ahead) = &mut self.ahead else {
            return Ok(None);
        };
        let joined = ahead.await;
        self.ahead = None;
        let (state, chunk) = joined.map_err(io::Error::other)?;
        self.state = Some(state);
        chunk
    }

    fn read_ahead(&mut self) {
        if let Some(mut state) = self.state.take() {
            self.ahead = Some(tokio::task::spawn_blocking(move || {
                let chunk = state.step();
                (state, chunk)
            }));
        }
    }
}

#[async_trait]
impl store::Source for FileSource {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.ahead.is_none() {
            self.read_ahead();
        }
        let chunk = self.come_back().await?;
        if let Some(chunk) = &chunk {
            self.read_ahead();
            let bytes = chunk.len() as u64;
            self.bandwidth.take(bytes).await;
            self.counter.fetch_add(bytes, Ordering::Relaxed);
            self.handed_on += bytes;
        } else {
            self.hash = self.state.as_ref().map(|state| state.hasher.finalize());
        }
        Ok(chunk)
    }

    async fn restart(&mut self) -> io::Result<()> {
        // What was read ahead counts as little as what came of it.
        let _ = self.come_back().await;
        self.counter.fetch_sub(self.handed_on, Ordering::Relaxed);
        (self.handed_on, self.hash) = (0, None);
        match &mut self.state {
            Some(state) => {
                state.begin_anew();
                Ok(())
            }
            None => Err(io::Error::other("the file cannot be read once more")),
        }
    }
}

impl State {
    fn begin_anew(&mut self) {
        self.offset = 0;
        self.hasher.reset();
        if let Some((crc, _)) = &mut self.crc {
            crc.reset();
        }
    }

    /// The next chunk, or the checks at the end.
    fn step(&mut self) -> io::Result<Option<Bytes>> {
        let left = self.size - self.offset;
        if left == 0 {
            return self.check_end().map(|()| None);
        }
        let mut buffer = vec![0; self.piece.min(left as usize)];
        let read = self.file.read_at(&mut buffer, self.offset)?;
        if read == 0 {
            let text = format!(
                "{} ended at {} of {} bytes",
                self.path.display(),
                self.offset,
                self.size
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        buffer.truncate(read);
        self.hasher.update(&buffer);
        if let Some((crc, _)) = &mut self.crc {
            crc.update(&buffer);
        }
        self.offset += read as u64;
        Ok(Some(buffer.into()))
    }

    fn check_end(&self) -> io::Result<()> {
        let invalid = |error| Err(io::Error::new(io::ErrorKind::InvalidData, error));
        if let Some((crc, expected)) = &self.crc {
            let (expected, found) = (*expected, crc.clone().finalize());
            if found != expected {
                let path = self.path.clone();
                return invalid(Box::<dyn std::error::Error + Send + Sync>::from(Corrupt {
                    path,
                    expected,
                    found,
                }));
            }
        }
        match self.expected_hash {
            Some(expected) if expected != self.hasher.finalize() => {
                let path = self.path.clone();
                invalid(Box::<dyn std::error::Error + Send + Sync>::from(Changed {
                    path,
                }))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use store::Source;

    use super::*;

    const CHUNK: usize = 1 << 20;

    fn source(path: &Path, size: u64, crc: Option<u32>) -> FileSource {
        let bandwidth = Arc::new(Bandwidth::unlimited());
        FileSource::open(
            path,
            size,
            Expected { crc, hash: None },
            bandwidth,
            Arc::default(),
        )
        .unwrap()
    }

    #[tokio::test]
    async fn a_file_is_read_whole_with_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let path = dir.path().join(size.to_string());
            let content: Vec<u8> = (0..size).map(|n| n as u8).collect();
            std::fs::write(&path, &content).unwrap();
            let mut source = source(&path, size as u64, Some(crc32fast::hash(&content)));
            let mut read = Vec::new();
            while let Some(chunk) = source.next().await.unwrap() {
                read.extend_from_slice(&chunk);
            }
            assert!(read == content);
            assert_eq!(source.hash(), Some(blake3::hash(&content)));
        }
    }

    #[tokio::test]
    async fn a_wrong_checksum_is_an_error_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nb-1-big-Data.db");
        std::fs::write(&path, b"abc").unwrap();
        let mut source = source(&path, 3, Some(1));
        assert!(source.next().await.unwrap().is_some());
        let error = source.next().await.unwrap_err();
        assert!(error.get_ref().unwrap().is::<Corrupt>(), "{error}");
        assert_eq!(source.hash(), None);
    }

    #[tokio::test]
    async fn a_file_is_read_anew_from_any_point_and_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..3 * CHUNK).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let counter = Arc::new(AtomicU64::new(0));
        let expected = Expected {
            crc: Some(crc32fast::hash(&content)),
            hash: Some(blake3::hash(&content)),
        };
        let bandwidth = Arc::new(Bandwidth::unlimited());
        let size = content.len() as u64;
        let mut source =
            FileSource::open(&path, size, expected, bandwidth, counter.clone()).unwrap();
        for chunks in 0..5 {
            for _ in 0..chunks {
                source.next().await.unwrap();
            }
            source.restart().await.unwrap();
            assert_eq!(source.hash(), None);
            assert_eq!(counter.load(Ordering::Relaxed), 0);
        }
        let mut read = Vec::new();
        while let Some(chunk) = source.next().await.unwrap() {
            read.extend_from_slice(&chunk);
        }
        assert!(read == content);
        assert_eq!(source.hash(), expected.hash);
        assert_eq!(counter.load(Ordering::Relaxed), size);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        let mut source = source(&path, 4, None);
        assert!(source.next().await.unwrap().is_some());
        assert!(source.next().await.is_err());
    }
}
