//! Which backups stay in the storage: purges of CronBackups, and the deletion of a backup's data.
//!
//! A purge is a run of its own, never the tail of a backup. It is remembered in memory while it
//! runs; who restarts in the middle purges again, which deletes nothing that is to stay.

mod chores;
#[cfg(test)]
mod conversation;
mod due;
mod expired;
mod perform;
mod purge;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use chores::{Chore, Chores, Place};
pub(crate) use due::{Facts, Next, backoff, next};
pub(crate) use perform::{Maintained, perform};
pub(crate) use purge::purge;
pub(crate) use report::{Ended, conditions, news, told, without};
