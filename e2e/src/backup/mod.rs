//! Backups as tests judge them: read from the storage alone, by the specification of the formats
//! and without the product's own code.

pub mod read;
pub mod restore;
pub mod schema;
pub mod storage;

pub use read::Backup;
pub use storage::Storage;
