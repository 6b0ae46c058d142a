//! Removes temporary files that killed processes left.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::root::{Root, modified, open_directory};
use crate::key::is_temporary_name;
use crate::{Error, Key};

/// Removes those below `prefix`, and those of the clock in the root itself.
pub(super) fn sweep(root: &Root, prefix: &Key, before: SystemTime) -> Result<u64, Error> {
    let failed = |e| root.failed(Some(prefix), e);
    let top = root.walk(std::iter::empty(), None).map_err(failed)?;
    let mut sweep = Sweep { before, removed: 0 };
    sweep.directory(top, 0).map_err(failed)?;
    match root.walk(prefix.segments(), None) {
        Ok(directory) => sweep.directory(directory, DEEPEST).map_err(failed)?,
        Err(Errno::NOENT) => {}
        Err(e) => return Err(failed(e)),
    }
    Ok(sweep.removed)
}

/// No key of ours has more segments.
const DEEPEST: usize = crate::key::MAX_BYTES / 2;

struct Sweep {
    before: SystemTime,
    removed: u64,
}

impl Sweep {
    /// Looks into a directory, and so many levels below.
    fn directory(&mut self, directory: OwnedFd, levels: usize) -> Result<(), Errno> {
        let mut entries = Dir::new(directory)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let directory = entries.fd()?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_temporary = name.to_str().is_ok_and(is_temporary_name);
            let mut kind = entry.file_type();
            if is_temporary || kind == FileType::Unknown {
                let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => continue,
                    stat => stat?,
                };
                kind = FileType::from_raw_mode(stat.st_mode);
                if is_temporary && kind == FileType::RegularFile && modified(&stat) < self.before {
                    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                        Ok(()) => self.removed += 1,
                        Err(Errno::NOENT) => {}
                        Err(e) => return Err(e),
                    }
                }
            }
            if levels > 0 && kind == FileType::Directory {
                let below = open_directory(directory, name)
                    .and_then(|below| self.directory(below, levels - 1));
                match below {
                    Ok(()) | Err(Errno::NOENT | Errno::STALE) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }
}
