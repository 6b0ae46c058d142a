//! Reads a file of a snapshot once: for the storage, for its hash and for its checksum, at the
//! node's bandwidth, and without leaving it in the page cache.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use store::Sink;
use tokio::task::JoinHandle;
use tokio::time::Instant;

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

    async fn pour(&mut self, sink: Arc<dyn Sink>) -> io::Result<()> {
        let stop = StopOnDrop::default();
        let mut buffer = Vec::new();
        loop {
            let Some(mut state) = self.state.take() else {
                return Err(io::Error::other("the file is being read already"));
            };
            let (sink, bandwidth) = (Arc::clone(&sink), Arc::clone(&self.bandwidth));
            let (counter, stop) = (Arc::clone(&self.counter), Arc::clone(&stop.0));
            let pouring = tokio::task::spawn_blocking(move || {
                let poured = state.pour(&mut buffer, &*sink, &bandwidth, &counter, &stop);
                (state, buffer, poured)
            });
            let (state, kept, poured) = pouring.await.map_err(io::Error::other)?;
            buffer = kept;
            self.handed_on = state.offset;
            let state = self.state.insert(state);
            match poured? {
                // No thread is held while the bandwidth makes it wait.
                Poured::Until(paid) => tokio::time::sleep_until(paid).await,
                Poured::All => {
                    self.hash = Some(state.hasher.finalize());
                    return Ok(());
                }
            }
        }
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

/// Tells a thread that nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How far a thread has poured.
enum Poured {
    /// To the end.
    All,
    /// Not before this time more may be moved.
    Until(Instant),
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
        let mut buffer = Vec::new();
        let read = self.read(&mut buffer)?;
        Ok(read.then(|| buffer.into()))
    }

    /// Pours until the end, or until the bandwidth is used up for now.
    fn pour(
        &mut self,
        buffer: &mut Vec<u8>,
        sink: &dyn Sink,
        bandwidth: &Bandwidth,
        counter: &AtomicU64,
        stop: &AtomicBool,
    ) -> io::Result<Poured> {
        while self.read(buffer)? {
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            sink.write(buffer)?;
            let bytes = buffer.len() as u64;
            counter.fetch_add(bytes, Ordering::Relaxed);
            if let Some(paid) = bandwidth.reserve(bytes, Instant::now()) {
                return Ok(Poured::Until(paid));
            }
        }
        Ok(Poured::All)
    }

    /// Reads the next chunk into `buffer`; false after the last one, when the checks have passed.
    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let left = self.size - self.offset;
        if left == 0 {
            return self.check_end().map(|()| false);
        }
        buffer.resize(self.piece.min(left as usize), 0);
        let read = self.file.read_at(buffer, self.offset)?;
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
        self.hasher.update(buffer);
        if let Some((crc, _)) = &mut self.crc {
            crc.update(buffer);
        }
        self.offset += read as u64;
        Ok(true)
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
mod tests;
