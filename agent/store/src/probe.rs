//! Whether a storage keeps what backups rely on: create-only and touch, seen and not assumed.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::{At, Error, Key, Store};

/// Storages give timestamps in whole seconds, so a touch shows only after the second is over; one
/// that finds out only then that it has to touch in another way needs a little longer.
const PAUSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(1_100),
    Duration::from_millis(2_200),
];

const BODY: &[u8] = b"A probe of this storage; may be deleted.\n";

/// What a probe found. Being reachable and readable is not in it: without that there is no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The file system, for storages that are one.
    pub file_system: Option<FileSystem>,
    /// What writing showed, if it was asked for.
    pub write: Option<WriteReport>,
}

/// The file system below a storage of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// `st_dev` of the root: equal for two directories on the same device of one machine.
    pub device: u64,
    /// Bytes that the caller may still write.
    pub free: u64,
}

/// What writing, touching and deleting one object showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteReport {
    /// A second create of the same key was refused.
    pub create_only: bool,
    /// A touch moved the timestamp.
    pub touch_moves: bool,
    /// The identity may delete. Agents need not.
    pub may_delete: bool,
}

/// What each step of a probe showed; `None` for what was not tried, because it was not asked for
/// or because the object could not be written.
#[derive(Debug, Default)]
pub struct ProbeSteps {
    /// The object was written, or left there by an earlier probe.
    pub write: Option<Result<(), Error>>,
    /// A second create of the same key was refused.
    pub create_only: Option<Result<bool, Error>>,
    /// It reads back as it was written.
    pub read: Option<Result<(), Error>>,
    /// It can be listed, and is in the list if it was written.
    pub list: Option<Result<(), Error>>,
    /// A touch moved its timestamp.
    pub touch: Option<Result<bool, Error>>,
    /// It was deleted.
    pub delete: Option<Result<(), Error>>,
}

/// Creates `key`, creates it again, reads, lists and touches it, and with `delete` deletes it. A
/// step that fails does not keep the others from being tried.
pub async fn probe_steps<S: Store + ?Sized>(store: &S, key: &Key, delete: bool) -> ProbeSteps {
    let mut steps = ProbeSteps::default();
    let body = Bytes::from_static(BODY);
    let write = match store.create(key, body.clone()).await {
        Err(Error::AlreadyExists { .. }) => Ok(()),
        other => other,
    };
    let written = write.is_ok();
    steps.write = Some(write);
    if written {
        steps.create_only = Some(match store.create(key, body).await {
            Ok(()) => Ok(false),
            Err(Error::AlreadyExists { .. }) => Ok(true),
            Err(error) => Err(error),
        });
        steps.read = Some(read_back(store, key).await);
        steps.touch = Some(touch_moves(store, key, BODY.len() as u64).await);
    }
    steps.list = Some(listed(store, key, written).await);
    if delete {
        steps.delete = Some(store.delete(key).await);
    }
    steps
}

/// Reads and lists `key`, which another prober has left.
pub async fn probe_left<S: Store + ?Sized>(store: &S, key: &Key) -> ProbeSteps {
    ProbeSteps {
        read: Some(read_back(store, key).await),
        list: Some(listed(store, key, true).await),
        ..ProbeSteps::default()
    }
}

/// The steps in short; the first that failed is an error, but for a refused delete.
pub(crate) async fn write<S: Store + ?Sized>(store: &S, key: &Key) -> Result<WriteReport, Error> {
    let steps = probe_steps(store, key, true).await;
    steps.write.transpose()?;
    let create_only = steps.create_only.transpose()?.unwrap_or_default();
    steps.read.transpose()?;
    let touch_moves = steps.touch.transpose()?.unwrap_or_default();
    steps.list.transpose()?;
    let may_delete = match steps.delete {
        Some(Err(Error::Denied { .. })) | None => false,
        Some(Ok(())) => true,
        Some(Err(error)) => return Err(error),
    };
    Ok(WriteReport {
        create_only,
        touch_moves,
        may_delete,
    })
}

async fn read_back<S: Store + ?Sized>(store: &S, key: &Key) -> Result<(), Error> {
    let read = store.read_small(key, 2 * BODY.len() as u64).await?;
    if read == BODY {
        return Ok(());
    }
    Err(unlike(
        store,
        key,
        "it reads back with other content than was written",
    ))
}

async fn listed<S: Store + ?Sized>(store: &S, key: &Key, expected: bool) -> Result<(), Error> {
    // Beside it are only the objects of other probers.
    let above = Key::parse(key.split_last().0).unwrap_or_else(|_| key.clone());
    let mut objects = store.list(&above);
    while let Some(object) = objects.try_next().await? {
        if object.key == *key {
            return Ok(());
        }
    }
    if expected {
        return Err(unlike(store, key, "it was written and is in no list"));
    }
    Ok(())
}

fn unlike<S: Store + ?Sized>(store: &S, key: &Key, reason: &str) -> Error {
    let at = At {
        storage: store.name().into(),
        key: Some(key.clone()),
    };
    Error::Corrupt {
        at,
        reason: reason.to_owned(),
    }
}

/// Whether touching `key` moves its timestamp, within a few steps of the storage's clock.
pub(crate) async fn touch_moves<S: Store + ?Sized>(
    store: &S,
    key: &Key,
    size: u64,
) -> Result<bool, Error> {
    let before = store.stat(key).await?.modified;
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        store.touch(key, size).await?;
        if store.stat(key).await?.modified > before {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
