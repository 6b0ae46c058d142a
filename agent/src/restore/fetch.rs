//! One file of a node, out of the storage.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::Fuse;
use futures::{StreamExt, TryStreamExt};
use store::{Chunks, Key, Store};
use tokio::time::sleep;

use super::RestoreError;
use super::target::file;
use crate::bandwidth::Bandwidth;
use crate::gentle::GentleWriter;

/// Ends the name of a file that is not whole.
const PARTIAL: &str = ".restoring";
/// How often one file is fetched at most: what is on its way for hours meets a broken connection.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(2);
/// Bytes that are written by one call.
const AT_ONCE: usize = 1 << 20;

/// A file as the manifest names it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Of the object.
    pub(super) key: String,
    /// Where it belongs.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

/// What it took to have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Fetched,
    /// It was there already, from before a restore was cut off.
    Kept,
}

/// Brings a file to its place, whole and with its content. Its directory is there.
pub(super) async fn fetch(
    store: &dyn Store,
    wanted: Wanted,
    bandwidth: &Bandwidth,
) -> Result<Got, RestoreError> {
    let there = wanted.clone();
    if on_disk(move || is_there(&there)).await? {
        return Ok(Got::Kept);
    }
    let mut attempt = 1;
    loop {
        match once(store, &wanted, bandwidth).await {
            Err(error) if error.is_temporary() && attempt < ATTEMPTS => {
                tracing::warn!(%error, "fetched again");
                sleep(PAUSE * attempt).await;
                attempt += 1;
            }
            other => return other.map(|()| Got::Fetched),
        }
    }
}

async fn once(
    store: &dyn Store,
    wanted: &Wanted,
    bandwidth: &Bandwidth,
) -> Result<(), RestoreError> {
    let key = Key::parse(&wanted.key)?;
    let content = match store.get(&key, None).await {
        Err(store::Error::NotFound { .. }) => {
            return Err(other_content(wanted, "it is not there".to_owned()));
        }
        other => other?,
    };
    if content.size != wanted.bytes {
        let why = format!("{} bytes instead of {}", content.size, wanted.bytes);
        return Err(other_content(wanted, why));
    }
    let path = partial(&wanted.path);
    let mut copy = on_disk(move || Copy::begin(path)).await?;
    let mut chunks = content.chunks.fuse();
    loop {
        let gathered = gather(&mut chunks, bandwidth).await?;
        if gathered.is_empty() {
            break;
        }
        copy = on_disk(move || copy.write(&gathered)).await?;
    }
    let hash = copy.hasher.finalize().to_hex();
    if hash.as_str() != wanted.blake3 {
        return Err(other_content(wanted, format!("BLAKE3 {hash}")));
    }
    let placed = wanted.path.clone();
    on_disk(move || fs::rename(&copy.path, &placed).map_err(|source| file(&placed, source))).await
}

/// What comes next, as much as is written by one call; nothing at the end.
async fn gather(
    chunks: &mut Fuse<Chunks>,
    bandwidth: &Bandwidth,
) -> Result<Vec<Bytes>, store::Error> {
    let (mut gathered, mut bytes) = (Vec::new(), 0);
    while bytes < AT_ONCE
        && let Some(chunk) = chunks.try_next().await?
    {
        bandwidth.take(chunk.len() as u64).await;
        bytes += chunk.len();
        gathered.push(chunk);
    }
    Ok(gathered)
}

fn other_content(wanted: &Wanted, why: String) -> RestoreError {
    RestoreError::Content {
        key: wanted.key.clone(),
        why,
    }
}

/// Work that blocks, for a moment: no thread is held while the network is waited for.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    let failed = |error| file(Path::new("a thread"), io::Error::other(error));
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Whether the file is there with its content: its size alone is no proof, after a loss of power.
fn is_there(wanted: &Wanted) -> Result<bool, RestoreError> {
    let failed = |source| file(&wanted.path, source);
    let there = match fs::File::open(&wanted.path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(there).map_err(failed)?;
    Ok(hasher.finalize().to_hex().as_str() == wanted.blake3)
}

/// What has come of a file, beside its place.
struct Copy {
    path: PathBuf,
    out: GentleWriter,
    hasher: blake3::Hasher,
}

impl Copy {
    fn begin(path: PathBuf) -> Result<Self, RestoreError> {
        // Another file than the one that an attempt before may still be writing to.
        let create = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            GentleWriter::create(&path)
        };
        let out = create().map_err(|source| file(&path, source))?;
        Ok(Self {
            path,
            out,
            hasher: blake3::Hasher::new(),
        })
    }

    fn write(mut self, chunks: &[Bytes]) -> Result<Self, RestoreError> {
        chunks.iter().for_each(|chunk| {
            self.hasher.update(chunk);
        });
        let written = self.out.append(chunks);
        written.map_err(|source| file(&self.path, source))?;
        Ok(self)
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(PARTIAL);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store::FileStore;
    use store::testing::{Fault, Faulty, Operation};

    use super::*;

    /// A storage with one object, whose first reads meet a broken connection, and what is wanted.
    async fn stage(faults: u64) -> (tempfile::TempDir, Faulty<FileStore>, Wanted) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("storage");
        std::fs::create_dir(&root).unwrap();
        let files = FileStore::open(&root).unwrap();
        let key = Key::parse("c/x").unwrap();
        files
            .create(&key, Bytes::from_static(b"rows"))
            .await
            .unwrap();
        let store = (1..=faults).fold(Faulty::new(files), |store, nth| {
            store.fail(Operation::Get, nth, Fault::AnswerLost)
        });
        let wanted = Wanted {
            key: "c/x".into(),
            path: home.path().join("x"),
            bytes: 4,
            blake3: blake3::hash(b"rows").to_hex().to_string(),
        };
        (home, store, wanted)
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_is_met_again_three_times_and_not_for_ever() {
        let free = Bandwidth::unlimited();
        let (_home, store, wanted) = stage(3).await;
        assert_eq!(
            fetch(&store, wanted.clone(), &free).await.unwrap(),
            Got::Fetched
        );
        assert_eq!(std::fs::read(&wanted.path).unwrap(), b"rows");
        assert_eq!(fetch(&store, wanted, &free).await.unwrap(), Got::Kept);
        let (_home, store, wanted) = stage(4).await;
        assert!(fetch(&store, wanted.clone(), &free).await.is_err());
        assert!(!wanted.path.exists());
        assert_eq!(store.calls(Operation::Get), 4);
    }
}
