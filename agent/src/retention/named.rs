//! Backups that go because somebody said so, by name.

use manifest::BackupName;
use protocol::Reason;

use super::{Candidate, Decision, Expire, State, Verdict, newest_complete};

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
}

impl Refused {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotThere(_) => Reason::BackupNotFound,
            Self::Newest(_) => Reason::InvalidRequest,
            Self::Running(_) => Reason::Locked,
        }
    }
}

/// Decides over the backups of these names; either all can go or none does.
pub fn named(
    candidates: &[Candidate],
    names: &[BackupName],
    even_newest: bool,
) -> Result<Vec<Decision>, Refused> {
    let newest = newest_complete(candidates);
    names
        .iter()
        .map(|name| {
            let found = candidates.iter().find(|candidate| candidate.name == *name);
            let found = found.ok_or_else(|| Refused::NotThere(name.clone()))?;
            if found.state == State::Running {
                return Err(Refused::Running(name.clone()));
            }
            if !even_newest && newest.contains(&name) {
                return Err(Refused::Newest(name.clone()));
            }
            Ok(Decision {
                name: name.clone(),
                verdict: Verdict::Expire(Expire::Named),
            })
        })
        .collect()
}
