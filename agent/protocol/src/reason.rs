use std::fmt;

use serde::{Deserialize, Serialize};

/// Exit codes of `cassandra-backup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Done = 0,
    /// Failed, and no code below says why.
    Failed = 1,
    /// The request or the command line is wrong.
    Usage = 2,
    /// The backup or the storage does not exist.
    NotFound = 10,
    /// Another run holds the node.
    Locked = 11,
    /// Credentials or permissions are missing or wrong.
    Denied = 12,
    /// Content is not what its checksum says.
    Mismatch = 13,
    /// No space left.
    NoSpace = 14,
    /// The deadline passed.
    Deadline = 15,
    /// Worth retrying later, unchanged.
    Retry = 75,
    /// Cancelled on request.
    Cancelled = 130,
}

/// Declares [`Reason`] with, for each, its exit code, what it means and what to do, which is empty
/// where nothing is to be done.
macro_rules! reasons {
    ($($name:ident, $exit:ident, $meaning:literal, $remedy:literal;)*) => {
        /// Why something is as it is. The same word is used as exit reason of the agent, reason
        /// of conditions and Events, and label of metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
            /// A reason of a newer version that this one does not know.
            #[serde(other)]
            Unknown,
        }

        impl Reason {
            /// Every reason, for documentation and tests.
            pub const ALL: &[Reason] = &[$(Reason::$name,)* Reason::Unknown];

            /// The name as it appears in conditions, Events and JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)*
                    Reason::Unknown => "Unknown",
                }
            }

            /// The exit code of an agent that ends for this reason.
            pub fn exit_code(self) -> ExitCode {
                match self {
                    $(Reason::$name => ExitCode::$exit,)*
                    Reason::Unknown => ExitCode::Failed,
                }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Reason::$name => $meaning,)*
                    Reason::Unknown => "A reason that this version does not know.",
                }
            }

            /// What to do; empty if nothing is to be done.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Reason::$name => $remedy,)*
                    Reason::Unknown => "Update it.",
                }
            }

            /// What it means and what to do, in a few sentences.
            pub fn explanation(self) -> &'static str {
                let both = match self {
                    $(Reason::$name => concat!($meaning, " ", $remedy),)*
                    Reason::Unknown => "A reason that this version does not know. Update it.",
                };
                both.trim_end()
            }
        }
    };
}

reasons! {
    Succeeded, Done, "All that was asked for is done.", "";
    Failed, Failed, "Something failed that has no reason of its own; the message says what.", "Do what the message says; the operator's log and the run's journal have more.";
    Interrupted, Retry, "The run ended without a result, because its process was killed or its pod went away. A new attempt continues with what is already stored.", "If it comes again, look why the pod or the process ends.";
    Cancelled, Cancelled, "The run was cancelled on request.", "";
    DeadlineExceeded, Deadline, "The run did not end before its deadline.", "Give it more time, more bandwidth, or fewer tables.";

    InvalidRequest, Usage, "The request or the command line is wrong; the message names the field.", "Correct it.";
    KeyspaceNotFound, Usage, "A keyspace that was asked for does not exist on the node.", "Check its name.";
    TableNotFound, Usage, "A table that was asked for does not exist on the node, or in the backup.", "Check its name.";
    BackupExists, Usage, "A backup of this name was already made by another run. Names are never used twice.", "Choose another.";
    StorageUnsuitable, Usage, "The storage must not be used this way, such as a directory on the root file system or on the device of the data.", "Mount a separate volume.";
    NotSupported, Usage, "This version does not support what was asked for; the message says what.", "Ask for something else, or update.";

    BackupNotFound, NotFound, "The backup does not exist in the storage.", "`cassandra-backup list` shows those that do.";
    StorageNotFound, NotFound, "The bucket or directory does not exist.", "Create it or correct its name.";

    Locked, Locked, "Another run is at work on this node; the message names it.", "Wait for its end, or cancel it.";
    ClusterBusy, Locked, "Another backup or restore of this cluster is at work; the message names it. This one begins when that has ended.", "Wait, or cancel one of them.";
    StorageDenied, Denied, "The storage refused the credentials, or they lack a permission.", "Correct the secret or the policy.";
    JmxDenied, Denied, "Cassandra's JMX refused the password or the certificate, these lack a permission, or its own certificate is not trusted.", "Correct the secret.";
    CqlDenied, Denied, "Cassandra's CQL refused the user or the password, or asks for one and there is none.", "Correct the secret.";

    CorruptSSTable, Mismatch, "A file of Cassandra does not match its own checksum: the disk or the file is damaged.", "Scrub or replace the node; `allowCorrupt` leaves the SSTable out.";
    ContentMismatch, Mismatch, "An object in the storage is not what the manifest says, or a manifest cannot be believed.", "`cassandra-backup verify --level content` names what is wrong. `--repair` removes wrong objects; the next backup uploads them again if the node still has the file, so save first what you may need. A backup with a damaged manifest is lost for its node: restore another one. A manifest of a newer format needs a newer version.";

    NoSpace, NoSpace, "The storage is full, or the disk that is restored to.", "Free space or enlarge it.";

    StorageUnavailable, Retry, "The storage does not answer, or answers that it is overloaded. The operator tries again; a command has to be run again.", "If it stays, look at the storage and at the network between.";
    JmxUnreachable, Retry, "Nothing that speaks JMX answers at the address. The operator tries again; a command has to be run again.", "See whether Cassandra is up and JMX is enabled there.";
    CqlUnreachable, Retry, "Nothing that speaks CQL answers at the address, and a restore needs it for the schema. The operator tries again; a command has to be run again.", "See whether Cassandra is up and `start_native_transport` is on.";
    CassandraNotReady, Retry, "Cassandra is starting, joining, draining or drained, or its ring is not at rest, so that it cannot do now what was asked for. The operator tries again; a command has to be run again.", "If it stays, look at Cassandra's log.";
    SnapshotIncomplete, Retry, "After the snapshot call, a table or a file of it was missing on disk. The operator tries again; a command has to be run again.", "If it comes again, look at the disk and at Cassandra's log.";
    PurgeInProgress, Retry, "A purge is about to delete objects that this run needs. The operator tries again when that has ended; a command has to be run again then.", "";
    OutOfMemory, Retry, "Less memory is left in the container than the agent needs beside Cassandra.", "Raise the container's memory limit, or lower Cassandra's heap.";

    PodsNotFound, Failed, "No pod matches the selector.", "Correct `spec.cassandra.podSelector`.";
    PodNotReady, Retry, "The pod is not running or not ready, or its container is not running. It is waited for.", "If it stays, look at the pod.";
    NodeWithoutPod, Failed, "A member of the ring has no pod among the selected ones, so that its data is not in the backup.", "Correct `spec.cassandra.podSelector`, or limit `spec.datacenters`.";
    AgentNotInjectable, Failed, "The agent could not be brought into the container: no shell, or no directory that is writable and executable.", "Use `spec.agent.mode: Container`.";
    SecretNotFound, Failed, "A secret or a key of it that the resource names does not exist.", "Create it, or correct the name.";
    BackupStorageNotFound, Failed, "The BackupStorage that the resource names does not exist in its namespace.", "Create it, or correct the name.";
    MaintenanceCredentialsMissing, Failed, "The operator has no credentials of its own for this storage, since the pods use the identity of their environment.", "Set `maintenanceCredentials` or `maintenancePod` in the BackupStorage.";
    MaintenancePodNotStarted, Retry, "The pod in which the storage is looked after could not be made, or did not start; the message says why. It is tried again.", "Do what the message says: make the service account, raise a quota, let the node pull the operator's image.";
    StorageReadOnly, Failed, "The BackupStorage has `readOnly: true`: nothing is written to it or deleted from it.", "Name another one.";
    NodesIncomplete, Failed, "Some nodes are backed up and some are not; `status.nodes` says which and why.", "Do what the reasons of those nodes say; the next backup uploads only what is missing.";

    SchemaIncomplete, Done, "The schema could not be read over CQL; the backup has the tables' own schema files, without keyspaces, functions and roles.", "Correct `spec.cassandra.cql`.";
    SchemaChanged, Done, "The schema changed while the backup ran. Tables that were made meanwhile may be missing from it.", "Make another backup if they matter.";
    RingChanged, Done, "The ring changed while the backup ran. Data of nodes that came or went meanwhile may be missing from it.", "Make another backup once the ring is at rest.";
    SnapshotNotCleared, Done, "The snapshot could not be removed from the node and uses disk space there. It is removed later, by the next run at the latest.", "";
    SSTableLeftOut, Done, "A damaged SSTable was left out of the backup, as asked.", "Scrub or replace the node.";
    RestoreRefused, Usage, "The restore would lose or mix something, or does not fit the cluster; the message says what. Nothing was changed.", "Do what the message says.";
    RestoreNote, Done, "Something about a restore that you should know; the message says what.", "";
    LimitedNeighbour, Done, "The kernel or the container did not allow a measure that keeps the agent out of Cassandra's way; the message names it.", "";

    RestoreDiffers, Mismatch, "After a rehearsal Cassandra did not have what the backup recorded of its SSTables; the message says where.", "Look at Cassandra's log of the rehearsal, rehearse once more, and an older backup, and keep that.";
    Restored, Done, "A rehearsal has restored the backup, and Cassandra had what the backup recorded.", "";
    PodTemplateNotFound, Failed, "The PodTemplate that `spec.verify` names does not exist in its namespace.", "Create it, or correct the name.";
    RehearsalPodFailed, Failed, "The pod of a rehearsal could not be made, did not become ready, or has ended; the message says why.", "Do what the message says: correct the PodTemplate, raise a quota or the pod's memory.";

    Expired, NotFound, "The backup's data was deleted by retention, or is not in the storage any more.", "Use another backup: `cassandra-backup list` shows those that are there.";
    DeletingData, Done, "The resource is deleted, and the backup's data goes first.", "";
    DataDeleted, Done, "The backup's data is deleted, except what other backups need, and the resource goes.", "";
    DataDeletionSkipped, Done, "The resource goes without its data, since its annotation says so.", "";

    Pending, Done, "Waiting to start.", "";
    Running, Done, "At work.", "";
    Reachable, Done, "The storage answered a probe.", "";
    Probed, Done, "A probe saw that it is so.", "";
    NotProbed, Done, "The operator did not ask the storage, since only the pods mount it or only they have an identity for it, which check it at each backup; or what is in it could not be looked into, or not in time.", "";
}

impl Reason {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        self.exit_code() == ExitCode::Retry
    }

    /// Whether somebody did not take the credentials.
    pub fn is_denial(self) -> bool {
        self.exit_code() == ExitCode::Denied
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_is_written_as_its_name_and_read_back() {
        for reason in Reason::ALL {
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), *reason);
        }
    }

    #[test]
    fn a_reason_of_a_newer_version_is_read_as_unknown() {
        assert_eq!(
            serde_json::from_str::<Reason>("\"FromTheFuture\"").unwrap(),
            Reason::Unknown
        );
    }
}
