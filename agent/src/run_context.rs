//! What an operation is given to work with: who it is, where it may keep things, whom it tells.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::{EventKind, NodeIdentity, Phase, Progress, Reason};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Takes the events of a run.
pub trait Report: Send + Sync {
    /// Tells one event; gives it its number and time.
    fn event(&self, kind: EventKind);
}

/// One attempt of a run.
#[derive(Clone)]
pub struct Run {
    /// Given by the caller; makes the run idempotent.
    pub id: Uuid,
    /// Counts from 1.
    pub attempt: u32,
    /// Where journal and caches are kept; exists, and belongs to the process's user.
    pub state: PathBuf,
    /// Takes the events.
    pub report: Arc<dyn Report>,
    /// Cancelled on request and by signals.
    pub cancel: CancellationToken,
    /// Cancelled when a run that holds is told to go on.
    pub proceed: CancellationToken,
}

impl Run {
    /// Tells that a phase begins.
    pub fn phase(&self, phase: Phase, node: Option<&NodeIdentity>) {
        self.report.event(EventKind::Phase {
            phase,
            node: node.cloned(),
        });
    }

    /// Tells how far the run is.
    pub fn progress(&self, progress: Progress) {
        self.report.event(EventKind::Progress(progress));
    }

    /// Tells what the user should know although the run goes on.
    pub fn warn(&self, reason: Reason, message: impl Into<String>) {
        self.report.event(EventKind::Warning {
            reason,
            message: message.into(),
        });
    }
}

#[cfg(any(test, feature = "testing"))]
impl Run {
    /// The first attempt of a run that tells nobody anything.
    pub fn unheard(id: Uuid, state: PathBuf) -> Self {
        struct Nobody;
        impl Report for Nobody {
            fn event(&self, _: EventKind) {}
        }
        Self {
            id,
            attempt: 1,
            state,
            report: Arc::new(Nobody),
            cancel: CancellationToken::new(),
            proceed: CancellationToken::new(),
        }
    }
}
