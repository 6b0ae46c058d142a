//! The least that a copy can do, for comparison: requests and copies without a backup around them.

pub mod copy;
pub mod curl;
pub mod manifest;
pub mod requests;
