//! Writes a new file and leaves next to nothing of it in the page cache, which is Cassandra's.
//!
//! Two ways, the first that kernel and file system know: `RWF_DONTCACHE` (Linux 6.14), with which the kernel
//! begins to write at once and drops each page that is on the disk; then plain writes, of which every 16 MiB
//! are brought to the disk and dropped before the next.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, pwritev, pwritev2};

use super::read::DONT_CACHE;

/// Bytes of a file that may wait in the page cache for their way to the disk.
const BEHIND: u64 = 16 << 20;

/// A new file that is written gently. That all of it is on the disk is for others to see to.
#[derive(Debug)]
pub struct GentleWriter {
    file: File,
    /// Bytes that are written.
    offset: u64,
    /// Whether pages are dropped by the kernel.
    uncached: bool,
    /// Bytes since the last that were brought to the disk, where they are not.
    behind: u64,
}

impl GentleWriter {
    /// Makes the file; one that is there is an error.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::create_new(path)?,
            offset: 0,
            uncached: true,
            behind: 0,
        })
    }

    /// Appends `chunks`. Many at once are better than few: each call begins to write to the disk.
    pub fn append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        // Some answers of HTTP/2 end with nothing, and a write of that would look like one that does not go on.
        let chunks = chunks.iter().filter(|it| !it.is_empty());
        let mut slices: Vec<IoSlice<'_>> = chunks.map(|it| IoSlice::new(it)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let written = self.write(left)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.offset += written as u64;
            self.behind += written as u64;
            IoSlice::advance_slices(&mut left, written);
        }
        if !self.uncached && self.behind >= BEHIND {
            self.file.sync_data()?;
            fadvise(&self.file, 0, None, Advice::DontNeed)?;
            self.behind = 0;
        }
        Ok(())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // More than the kernel takes of one call (IOV_MAX) are an error.
        let slices = &slices[..slices.len().min(1024)];
        loop {
            let written = match self.uncached {
                true => pwritev2(&self.file, slices, self.offset, DONT_CACHE),
                false => pwritev(&self.file, slices, self.offset),
            };
            match written {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) if self.uncached => {
                    self.uncached = false;
                }
                written => return Ok(written?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::{page_size, resident};
    use super::*;

    /// Beside this program, which is on a disk: /tmp may be memory.
    fn on_disk() -> tempfile::TempDir {
        let program = std::env::current_exe().unwrap();
        tempfile::tempdir_in(program.parent().unwrap()).unwrap()
    }

    fn knows_the_first_way(directory: &Path) -> bool {
        let file = tempfile::tempfile_in(directory).unwrap();
        pwritev2(&file, &[IoSlice::new(b"x")], 0, DONT_CACHE).is_ok()
    }

    fn write(path: &Path, uncached: bool, mib: usize) -> (GentleWriter, Vec<u8>) {
        let content: Vec<u8> = (0..mib << 20).map(|n| (n * 7 + n / 4096) as u8).collect();
        let mut writer = GentleWriter::create(path).unwrap();
        writer.uncached = uncached;
        for part in content.chunks(5 << 20) {
            let chunks: Vec<Bytes> = part.chunks(3000).map(Bytes::copy_from_slice).collect();
            writer.append(&chunks).unwrap();
            writer.append(&[Bytes::new()]).unwrap();
        }
        // Some kernels and file systems know the second way only.
        let known = uncached && knows_the_first_way(path.parent().unwrap());
        assert_eq!(writer.uncached, known);
        (writer, content)
    }

    #[test]
    fn what_is_written_is_there_and_not_in_the_page_cache_by_either_way() {
        for uncached in [true, false] {
            let directory = on_disk();
            let path = directory.path().join("f");
            let (writer, content) = write(&path, uncached, 40);
            writer.file.sync_all().unwrap();
            let pages = content.len() / page_size() as usize;
            let states = resident(&writer.file, 0, pages).unwrap();
            let left = states.iter().filter(|it| **it).count() as u64 * page_size();
            assert!(
                left <= BEHIND,
                "{uncached}: {left} bytes are in the page cache"
            );
            assert!(std::fs::read(&path).unwrap() == content, "{uncached}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let directory = on_disk();
        let path = directory.path().join("f");
        std::fs::write(&path, b"x").unwrap();
        let kind = GentleWriter::create(&path).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_full_disk_is_told() {
        let mut writer = GentleWriter {
            file: File::options().write(true).open("/dev/full").unwrap(),
            offset: 0,
            uncached: true,
            behind: 0,
        };
        let failed = writer.append(&[Bytes::from_static(b"x")]).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        // A device has no page cache.
        assert!(!writer.uncached);
    }
}
