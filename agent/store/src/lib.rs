//! Where backups are kept: one trait, a file per storage.
