//! What names may look like that become part of a path in the storage.

/// Longest cluster id or backup name in storage.
pub const MAX_NAME_LENGTH: usize = 128;

/// Cluster ids and backup names in storage, as a regular expression (RE2).
pub const ALLOWED_NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";
