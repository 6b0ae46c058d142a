//! One file of a node, out of the storage.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use store::{Key, Store};
use tokio::sync::mpsc;

use super::RestoreError;
use super::target::file;

/// Ends the name of a file that is not whole.
const PARTIAL: &str = ".restoring";
/// Chunks between the network and the disk. A chunk is at most 1 MiB.
const AHEAD: usize = 2;

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
pub(super) async fn fetch(store: &dyn Store, wanted: Wanted) -> Result<Got, RestoreError> {
    let there = wanted.clone();
    if on_disk(move || is_there(&there)).await? {
        return Ok(Got::Kept);
    }
    let key = Key::parse(&wanted.key)?;
    let content = match store.get(&key, None).await {
        Err(store::Error::NotFound { .. }) => {
            return Err(other_content(&wanted, "it is not there".to_owned()));
        }
        other => other?,
    };
    if content.size != wanted.bytes {
        let why = format!("{} bytes instead of {}", content.size, wanted.bytes);
        return Err(other_content(&wanted, why));
    }
    let (send, receive) = mpsc::channel(AHEAD);
    let writing = wanted.clone();
    let written = tokio::task::spawn_blocking(move || write(&writing, receive));
    let mut chunks = content.chunks;
    let mut broken = None;
    loop {
        match chunks.try_next().await {
            // The other side says why it takes no more.
            Ok(Some(chunk)) => match send.send(chunk).await {
                Ok(()) => {}
                Err(_) => break,
            },
            Ok(None) => break,
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    drop(send);
    let hash = written
        .await
        .map_err(|error| file(&wanted.path, io::Error::other(error)))??;
    if let Some(error) = broken {
        return Err(error.into());
    }
    if hash != wanted.blake3 {
        return Err(other_content(&wanted, format!("BLAKE3 {hash}")));
    }
    let placed = wanted.path.clone();
    on_disk(move || fs::rename(partial(&placed), &placed).map_err(|source| file(&placed, source)))
        .await?;
    Ok(Got::Fetched)
}

fn other_content(wanted: &Wanted, why: String) -> RestoreError {
    RestoreError::Content {
        key: wanted.key.clone(),
        why,
    }
}

async fn on_disk<T: Send + 'static>(
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

/// Writes what comes beside the place. Returns its hash.
fn write(
    wanted: &Wanted,
    mut chunks: mpsc::Receiver<bytes::Bytes>,
) -> Result<String, RestoreError> {
    let path = partial(&wanted.path);
    let failed = |source| file(&path, source);
    let mut out = fs::File::create(&path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    while let Some(chunk) = chunks.blocking_recv() {
        hasher.update(&chunk);
        out.write_all(&chunk).map_err(failed)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(PARTIAL);
    path.with_file_name(name)
}
