//! Mounts of this machine.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// Its type: `ext4`, `overlay`.
    pub kind: String,
}

/// All mounts, in the order in which they were made.
pub fn list() -> Vec<Mount> {
    parse(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// Unmounts everything below `dir`, but not `dir` itself, which the machine's owner may have put on
/// a disk of its own.
pub fn unmount_below(dir: &Path) -> Result<()> {
    // The last first: it may cover others.
    for mount in list()
        .iter()
        .rev()
        .filter(|mount| mount.point != dir && mount.point.starts_with(dir))
    {
        // Detached, so that a process that is just ending cannot keep it.
        match unmount(&mount.point, UnmountFlags::DETACH) {
            // Gone with the one that it was in.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("could not unmount {}", mount.point.display()));
            }
        }
    }
    Ok(())
}

/// Parses proc(5) `mounts`: device, point, type, options, with spaces written as `\040`.
fn parse(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        Some(Mount {
            point: unescape(fields.next()?),
            kind: fields.next()?.to_owned(),
        })
    };
    text.lines().filter_map(mount).collect()
}

fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match after.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_with_their_spaces() {
        let text =
            "overlay /var/lib/a\\040b\\134c overlay rw,lowerdir=/x 0 0\nproc /proc proc rw 0 0\n";
        let mounts = parse(text);
        assert_eq!(
            mounts[0],
            Mount {
                point: "/var/lib/a b\\c".into(),
                kind: "overlay".into()
            }
        );
        assert_eq!(mounts.len(), 2);
    }

    #[test]
    fn this_machine_has_a_root() {
        assert!(list().iter().any(|mount| mount.point == Path::new("/")));
    }
}
