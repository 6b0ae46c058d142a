//! What the agent and its callers say to each other: request, events, reasons, exit codes.
//!
//! `cassandra-backup --request -` reads one line of JSON, a [`Request`], from standard input and
//! answers with one [`Event`] a line on standard output. The same events are kept in the run's
//! journal. There is no code here that runs anything: only the words that both sides share.

mod catalogue;
mod event;
mod probe;
mod purge;
mod reason;
mod request;
mod restore;
mod secret;
mod storage;
mod values;

pub use catalogue::{BackupFound, Catalogue, CatalogueRequest, NodeFound};
pub use event::{Event, EventKind, Outcome, Phase, Progress, Tally};
pub use probe::{ClusterFound, Probed, Restorable, Seen, Survey, Verdict};
pub use purge::{
    DeleteRequest, ExpiredBackup, MadeBy, NAMED_BACKUPS, PurgeLimits, PurgeRequest, Purged,
    RetentionPolicy,
};
pub use reason::{ExitCode, Reason};
pub use request::{
    BackupRequest, ClientCertificate, CoverageRequest, CqlAccess, InvalidRequest, JmxAccess,
    JmxTls, Limits, MAX_REQUEST_BYTES, Operation, PROTOCOL_VERSION, Password, ProbeRequest,
    Request, SweepRequest,
};
pub use restore::{Rehearsed, RestoreMode, RestorePlan, RestoreRequest, RestoreStep};
pub use secret::Secret;
pub use storage::{
    AzureAccess, AzureCredentials, GcsAccess, GcsCredentials, GcsTouch, S3Access, S3Credentials,
    S3Encryption, StorageAccess,
};
pub use values::{KeyspaceCoverage, NodeIdentity, RingMember, Scope, SnapshotTimes};
