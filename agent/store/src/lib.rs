//! Where backups are kept: one trait, a folder per storage.
//!
//! [`Store`] is implemented by [`FileStore`], [`S3Store`], [`GcsStore`] and [`AzureStore`], which
//! pass one conformance suite. An object is written once and never overwritten with other content;
//! [`Error`] speaks of what a caller can act on, never of HTTP codes.
//!
//! What is not here: the layout of the keys, manifests and the order of a backup. This crate moves
//! bytes and keeps promises about single objects.

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod testing;

mod azure;
mod bucket;
mod budget;
mod crc;
mod error;
mod feed;
mod file;
mod gcs;
mod key;
mod probe;
mod s3;
mod store;
mod tls;

pub use azure::{AzureConfig, AzureCredentials, AzureStore};
pub use error::{At, Cause, Error};
pub use file::{FileConfig, FileStore};
pub use gcs::{GcsConfig, GcsCredentials, GcsStore, GcsTouch};
pub use key::{Child, InvalidKey, Key};
pub use probe::{FileSystem, ProbeReport, ProbeSteps, WriteReport, probe_left, probe_steps};
pub use s3::{Credentials, Encryption, S3Config, S3Store};
pub use store::{Chunks, Content, Kept, Named, Object, Objects, Outcome, Sink, Source, Store};
