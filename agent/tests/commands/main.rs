//! The commands that look at a storage, on a storage of files with backups as agents write them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod clusters;
mod documented;
mod list;
mod purge;
mod requests;
mod restore;
mod stage;
mod terminal;
mod verify;
