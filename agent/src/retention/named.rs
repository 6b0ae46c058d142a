//! Backups that go because somebody said so, by name.

use std::collections::BTreeSet;

use jiff::Timestamp;
use manifest::BackupName;
use protocol::Reason;
use uuid::Uuid;

use super::{Candidate, Decision, Expire, State, Verdict, newest_complete};

/// Backups that are to go.
#[derive(Clone, Copy, Debug)]
pub struct ByName<'a> {
    /// Their names.
    pub names: &'a [BackupName],
    /// Whether the newest complete one may go.
    pub even_newest: bool,
    /// The runs that made them; nothing where it does not matter who did.
    pub runs: Option<&'a BTreeSet<Uuid>>,
}

/// Why a backup is not deleted by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not there.
    #[error("there is no backup {0}; `list` names those there")]
    NotThere(BackupName),
    /// It is what a restore would want first.
    #[error(
        "{0} is the newest complete backup of its series and scope: make another first, or say --even-newest"
    )]
    Newest(BackupName),
    /// Somebody is at work on it.
    #[error("a node may be at work on {0}: cancel it, or wait for its deadline")]
    Running(BackupName),
    /// It is another backup of that name.
    #[error(
        "run {by} made the backup {name} that is there, which is none of those that it is to be deleted for: it is somebody else's, and nothing is deleted"
    )]
    Foreign {
        /// Its name.
        name: BackupName,
        /// The run.
        by: Uuid,
    },
    /// Nobody can tell what it is.
    #[error("nothing of {name} is deleted, as its manifests cannot be read: {cause}")]
    Unreadable {
        /// Its name.
        name: BackupName,
        /// What is wrong with one of them.
        cause: String,
    },
    /// A request of its run may still be on its way.
    #[error(
        "{name} was committed just now, and a request of its run may still be on its way to the storage: it can be deleted from {from} on"
    )]
    JustCommitted {
        /// Its name.
        name: BackupName,
        /// By the storage's clock.
        from: Timestamp,
    },
}

impl Refused {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotThere(_) => Reason::BackupNotFound,
            Self::Newest(_) => Reason::InvalidRequest,
            Self::Running(_) | Self::JustCommitted { .. } => Reason::Locked,
            Self::Foreign { .. } => Reason::BackupExists,
            Self::Unreadable { .. } => Reason::ContentMismatch,
        }
    }
}

/// Decides over the backups of these names; either all can go or none does.
pub fn named(candidates: &[Candidate], asked: ByName<'_>) -> Result<Vec<Decision>, Refused> {
    let newest = newest_complete(candidates);
    asked
        .names
        .iter()
        .map(|name| {
            let found = candidates.iter().find(|candidate| candidate.name == *name);
            let found = found.ok_or_else(|| Refused::NotThere(name.clone()))?;
            if found.state == State::Running {
                return Err(Refused::Running(name.clone()));
            }
            let foreign = |run: &&Uuid| asked.runs.is_some_and(|runs| !runs.contains(run));
            if let Some(by) = found.runs.iter().find(foreign) {
                return Err(Refused::Foreign {
                    name: name.clone(),
                    by: *by,
                });
            }
            if !asked.even_newest && newest.contains(&name) {
                return Err(Refused::Newest(name.clone()));
            }
            Ok(Decision {
                name: name.clone(),
                verdict: Verdict::Expire(Expire::Named),
            })
        })
        .collect()
}
