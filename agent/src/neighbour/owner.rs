// Changing the user must reach every thread. Rustix changes the calling thread only; glibc's
// functions tell all threads, and the libc crate has them as unsafe foreign functions.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use rustix::process::{geteuid, getgroups};

use super::groups::groups_of;
use super::priority::hide_memory;
use crate::state;

/// A user and its group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The process could not become the owner of the data.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The directory could not be looked at.
    #[error(
        "cannot see who owns the data directory {path}: {source}; run beside Cassandra, with its mounts, as root or as its user",
        path = .path.display()
    )]
    Look {
        /// The data directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state directory could not be handed over.
    #[error("cannot give the state directory {path} to user {uid}: {source}; name another with --state-dir", path = .path.display())]
    HandOver {
        /// The state directory.
        path: PathBuf,
        /// To whom.
        uid: u32,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused.
    #[error(
        "cannot become user {uid}, group {gid}, the owner of the data, by {call}: {source}; start as that user, or allow the capabilities SETUID and SETGID"
    )]
    Refused {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// The system call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Becomes the user and group that own Cassandra's data directory, in all threads and for ever, so
/// that what is written can be read by Cassandra and what is attacked in us is not root. Gives the
/// state directory to that user first.
///
/// Says whom it became; None when there was nothing to do: the process is not root, or the data is
/// root's. Credentials that only root can read (such as `/root/.aws`) must be read before.
pub fn become_owner_of(data: &Path, state: &Path) -> Result<Option<Owner>, OwnerError> {
    let metadata = fs::metadata(data).map_err(|source| OwnerError::Look {
        path: data.to_path_buf(),
        source,
    })?;
    let owner = Owner {
        uid: metadata.uid(),
        gid: metadata.gid(),
    };
    if !geteuid().is_root() || owner.uid == 0 {
        return Ok(None);
    }
    state::hand_over(state, Uid::from_raw(owner.uid), Gid::from_raw(owner.gid)).map_err(
        |source| OwnerError::HandOver {
            path: state.to_path_buf(),
            uid: owner.uid,
            source,
        },
    )?;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let inherited: Vec<u32> = getgroups()
        .unwrap_or_default()
        .into_iter()
        .map(Gid::as_raw)
        .collect();
    let groups = groups_of(
        owner.uid,
        owner.gid,
        &read("/etc/passwd"),
        &read("/etc/group"),
        &inherited,
    );
    change(owner, &groups)?;
    Ok(Some(owner))
}

fn change(Owner { uid, gid }: Owner, groups: &[u32]) -> Result<(), OwnerError> {
    let done = |call, result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(OwnerError::Refused {
            uid,
            gid,
            call,
            source: io::Error::last_os_error(),
        }),
    };
    // The user comes last: without root's rights the groups cannot be changed any more.
    // SAFETY: the pointer and the length are those of one slice, which is only read.
    done("setgroups", unsafe {
        libc::setgroups(groups.len(), groups.as_ptr())
    })?;
    // SAFETY: takes three numbers.
    done("setresgid", unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: takes three numbers.
    done("setresuid", unsafe { libc::setresuid(uid, uid, uid) })?;
    // The kernel sets it anew at a change of user, to what fs.suid_dumpable says.
    hide_memory().map_err(|source| OwnerError::Refused {
        uid,
        gid,
        call: "PR_SET_DUMPABLE",
        source,
    })
}
