//! Whether a storage keeps what backups rely on: create-only and touch, seen and not assumed.

use std::time::Duration;

use bytes::Bytes;

use crate::{At, Error, Key, Store};

/// Storages give timestamps in whole seconds, so a touch shows only after the second is over; one
/// that finds out only then that it has to touch in another way needs a little longer.
const PAUSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(1_100),
    Duration::from_millis(2_200),
];

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

/// Creates, creates again, touches and deletes `key`.
pub(crate) async fn write<S: Store + ?Sized>(store: &S, key: &Key) -> Result<WriteReport, Error> {
    let body = Bytes::from_static(b"A probe of this storage; may be deleted.\n");
    let size = body.len() as u64;
    match store.create(key, body.clone()).await {
        Ok(()) | Err(Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    let create_only = match store.create(key, body.clone()).await {
        Ok(()) => false,
        Err(Error::AlreadyExists { .. }) => true,
        Err(error) => return Err(error),
    };
    let read = store.read_small(key, 2 * size).await?;
    if read != body {
        let at = At {
            storage: store.name().into(),
            key: Some(key.clone()),
        };
        let reason = "it reads back with other content than was written".to_owned();
        return Err(Error::Corrupt { at, reason });
    }
    let touch_moves = touch_moves(store, key, size).await?;
    let may_delete = match store.delete(key).await {
        Ok(()) => true,
        Err(Error::Denied { .. }) => false,
        Err(error) => return Err(error),
    };
    Ok(WriteReport {
        create_only,
        touch_moves,
        may_delete,
    })
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
