//! Lines of the log, and what each of them says it is about.

use tracing::{Span, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use uuid::Uuid;

use crate::node::Job;

/// Writes one JSON object a line.
pub(crate) fn lines<W>(filter: EnvFilter, to: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(to)
        .finish()
}

/// What is done about a backup as a whole. `backup` is its name in the storage.
pub(crate) fn of_backup(namespace: &str, resource: &str, backup: &str) -> Span {
    tracing::info_span!("backup", namespace, resource, backup)
}

/// What is done about a restore as a whole.
pub(crate) fn of_restore(namespace: &str, resource: &str) -> Span {
    tracing::info_span!("restore", namespace, resource)
}

/// What is done about a node's share of a backup.
pub(crate) fn of_node(job: &Job, pod: &str, run: Uuid) -> Span {
    tracing::info_span!(
        "node",
        namespace = job.reach.namespace,
        resource = job.resource,
        backup = job.backup,
        pod,
        %run
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, OnceLock};

    use serde_json::Value;
    use tracing::Dispatch;
    use tracing::subscriber::DefaultGuard;

    use super::*;

    /// The lines that a test's thread writes.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        /// Captures until the guard is dropped.
        pub(crate) fn begin() -> (Self, DefaultGuard) {
            // While there is one subscriber only, tracing takes what another thread, which has
            // none, wants of a line for what all want of it.
            static SECOND: OnceLock<Dispatch> = OnceLock::new();
            SECOND.get_or_init(|| Dispatch::new(lines(EnvFilter::new("off"), io::sink)));
            let captured = Self::default();
            let to = captured.clone();
            let lines = lines(EnvFilter::new("operator=trace"), move || to.clone());
            (captured, tracing::subscriber::set_default(lines))
        }

        pub(crate) fn lines(&self) -> Vec<Value> {
            let bytes = self.0.lock().unwrap();
            let lines = std::str::from_utf8(&bytes).unwrap().lines();
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }
}
