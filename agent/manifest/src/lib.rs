//! What is stored where, and in which form: key layout, manifest, tokens file, intents and
//! condemned lists. Pure: nothing here opens a file or a connection.
//!
//! The formats are specified in `docs/storage-layout.md`.

mod intent;
mod layout;
mod line;
mod name;
mod reader;
mod sstable;
mod tokens;
mod writer;

pub use intent::{Condemned, Intent, IntentError};
pub use layout::{IntentKey, NodeLayout, ObjectPath};
pub use line::{
    Component, FORMAT_VERSION, Footer, Header, Line, NodeHeader, RingHash, SchemaObject,
    SchemaVersions, Scope, Snapshot, SsTable, Sum, Table,
};
pub use name::{BackupName, ClusterId, InvalidName};
pub use reader::{ManifestReader, ReadError};
pub use sstable::{ComponentName, Descriptor, SsTableDir};
pub use tokens::{RingEndpoint, Tokens, TokensError};
pub use writer::{ManifestWriter, WriteError};

/// The first 16 hex digits of a BLAKE3, as they stand in object names.
pub fn hash16(hash: &blake3::Hash) -> String {
    hash.to_hex()[..16].to_owned()
}
