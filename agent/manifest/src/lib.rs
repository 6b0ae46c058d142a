//! What is stored where, and in which form: key layout, manifest, tokens file, intents and
//! condemned lists. Pure: nothing here opens a file or a connection.
//!
//! The formats are specified in `docs/storage-layout.md`.

mod cluster;
mod intent;
mod layout;
mod line;
mod name;
mod reader;
mod sstable;
mod tokens;
mod writer;

pub use cluster::{ClusterLayout, ManifestKey, ObjectKeys};
pub use intent::{Condemned, Intent, IntentError, KeyLines};
pub use layout::{IntentKey, NodeLayout, ObjectPath};
pub use line::{
    Component, Contents, FORMAT_VERSION, Footer, Header, Line, NodeHeader, RingHash, SchemaObject,
    SchemaVersions, Scope, Snapshot, SsTable, Sum, Table,
};
pub use name::{BackupName, ClusterId, InvalidName};
pub use reader::{MAX_LINE, ManifestLines, ManifestReader, ReadError};
pub use sstable::{ComponentName, Descriptor, SsTableDir};
pub use tokens::{RingEndpoint, Tokens, TokensError};
pub use writer::{ManifestWriter, WriteError};

/// The first 16 hex digits of a BLAKE3, as they stand in object names.
pub fn hash16(hash: &blake3::Hash) -> String {
    hash.to_hex()[..16].to_owned()
}

/// Whether this version reads a format of this number.
fn same_major(version: &str) -> bool {
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    major(version) == major(FORMAT_VERSION)
}
