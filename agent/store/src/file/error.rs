//! What the operating system's errors mean to a storage.

use std::io;

use rustix::io::Errno;
use tokio::task::JoinHandle;

use super::root::Root;
use crate::{At, Error};

/// The meaning of an error of the operating system.
pub(super) fn from_io(at: At, error: io::Error) -> Error {
    let source = |error: io::Error| Box::new(error);
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => Error::NotFound { at },
        Some(Errno::EXIST) => Error::AlreadyExists { at },
        Some(Errno::NOSPC | Errno::DQUOT) => Error::NoSpace {
            at,
            source: source(error),
        },
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Error::Denied {
            at,
            source: source(error),
        },
        // What network file systems say when their server is away, and what passes by itself.
        Some(
            Errno::IO
            | Errno::STALE
            | Errno::TIMEDOUT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::NOTCONN
            | Errno::AGAIN
            | Errno::BUSY
            | Errno::NOMEM
            | Errno::MFILE
            | Errno::NFILE,
        ) => Error::Unavailable {
            at,
            source: source(error),
        },
        Some(Errno::LOOP | Errno::NOTDIR) => Error::Invalid {
            at,
            reason: "a symbolic link or a file stands in the path where a directory is expected; \
                     the storage follows no links"
                .to_owned(),
        },
        _ => Error::Refused {
            at,
            source: source(error),
        },
    }
}

/// Whether a directory went on the way, as clients of NFS are told: on a disk it is simply empty.
pub(super) fn is_stale(error: &Error) -> bool {
    let Error::Unavailable { source, .. } = error else {
        return false;
    };
    let source = source.downcast_ref::<io::Error>();
    source.and_then(Errno::from_io_error) == Some(Errno::STALE)
}

/// Waits for a task that blocks.
pub(super) async fn joined<T>(root: &Root, task: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(error) => Err(Error::Unavailable {
                at: root.at(None),
                source: Box::new(error),
            }),
        },
    }
}
