//! One run at a time on a node. The lock is an abstract Unix socket named by Cassandra's host id:
//! it needs no file, holds in all containers of a pod, and is free the moment its process ends,
//! however it ends.

use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::control::{self, Holder};
use crate::run_context::Run;

/// How long to ask a holder that does not answer, which is one that is about to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it.
    #[error(
        "run {run_id} (process {pid}) is at work on this node; wait for it, or end it with: cassandra-backup cancel --run {run_id}"
    )]
    Held {
        /// The other run.
        run_id: Uuid,
        /// Its process id in its container.
        pid: u32,
    },
    /// The socket could not be made, or its holder does not say who it is.
    #[error("cannot take the lock of node {host_id}, the abstract socket {name}: {source}")]
    Io {
        /// Cassandra's host id.
        host_id: Uuid,
        /// The socket.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// Holds the node until it is dropped.
#[derive(Debug)]
pub struct NodeLock {
    answering: JoinHandle<()>,
}

impl Drop for NodeLock {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// Takes the lock of a node for a run, in whose runtime it answers who holds it.
pub async fn take(host_id: Uuid, run: &Run) -> Result<NodeLock, LockError> {
    let name = format!("cassandra-backup/{host_id}");
    let failed = |source| LockError::Io {
        host_id,
        name: name.clone(),
        source,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match control::listen(&name) {
            Ok(listener) => {
                let holder = Holder {
                    run_id: run.id,
                    pid: std::process::id(),
                };
                let answer = control::answer(listener, holder, run.clone());
                return Ok(NodeLock {
                    answering: tokio::spawn(answer),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let asked = name.clone();
                let answer = tokio::task::spawn_blocking(move || control::holder(&asked)).await;
                match answer.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                    Ok(Holder { run_id, pid }) => return Err(LockError::Held { run_id, pid }),
                    Err(error) if Instant::now() >= deadline => return Err(failed(error)),
                    // It ended between the two calls, or is ending.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn run() -> Run {
        Run::unheard(Uuid::new_v4(), PathBuf::new())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_run_is_told_who_holds_the_node() {
        let (host, first) = (Uuid::new_v4(), run());
        let _lock = take(host, &first).await.unwrap();
        match take(host, &run()).await.unwrap_err() {
            LockError::Held { run_id, pid } => {
                assert_eq!((run_id, pid), (first.id, std::process::id()));
            }
            other => panic!("{other}"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_lock_of_an_ended_run_is_free_and_nodes_do_not_disturb_each_other() {
        let host = Uuid::new_v4();
        let lock = take(host, &run()).await.unwrap();
        let _other_node = take(Uuid::new_v4(), &run()).await.unwrap();
        drop(lock);
        take(host, &run()).await.unwrap();
    }
}
