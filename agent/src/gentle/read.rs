//! Reads a file and leaves the page cache as it was: what was resident stays, what was not is gone.
//!
//! Three ways, the first that kernel and file system know: `RWF_DONTCACHE` (Linux 6.14), then
//! `O_DIRECT`, then plain reads followed by `POSIX_FADV_DONTNEED` on the pages that were not
//! resident before. A page that somebody else reads between our look and our advice is dropped by
//! the last way, too; it comes back with their next read.

// mmap and mincore have no safe wrapper in the crates that we use: a mapping is an address.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::{num::NonZero, ptr};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags};

/// `RWF_DONTCACHE`: pages that a call brought in are dropped after it, others stay.
pub(super) const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// What `O_DIRECT` wants addresses, offsets and lengths to be multiples of: no block device at hand
/// has larger blocks. A file system that wants more refuses the read, and the next way is taken.
const BLOCK: usize = 4096;

/// How a file is read. The first is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `RWF_DONTCACHE`.
    DontCache,
    /// `O_DIRECT`, past the page cache.
    Direct,
    /// Plain, and then advice about the pages that were not there before.
    Advise,
}

/// A file that is read gently.
#[derive(Debug)]
pub struct GentleFile {
    file: File,
    way: Way,
    /// The file once more, where it is read directly.
    direct: Option<File>,
    /// Where direct reads land: `O_DIRECT` takes aligned memory only.
    landing: Vec<u8>,
}

impl GentleFile {
    /// Opens a file for reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_by(path, Way::DontCache)
    }

    /// The same, with this way as the first one.
    pub fn open_by(path: &Path, way: Way) -> io::Result<Self> {
        let mut gentle = Self {
            file: File::open(path)?,
            way,
            direct: None,
            landing: Vec::new(),
        };
        if way != Way::DontCache {
            gentle.fall_back_to(way);
        }
        Ok(gentle)
    }

    /// Size in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads at `offset`; 0 bytes mean the end.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.way == Way::DontCache {
            let mut slices = [IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&self.file, &mut slices, offset, DONT_CACHE) {
                Ok(read) => return Ok(read),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.fall_back_to(Way::Direct);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        if let Some(direct) = &self.direct {
            match read_direct(direct, &mut self.landing, buffer, offset) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    self.fall_back_to(Way::Advise);
                }
                result => return result,
            }
        }
        read_and_advise(&self.file, buffer, offset)
    }

    /// Reads at `offset` until the buffer is full; an early end is an error.
    pub fn read_exact_at(&mut self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
            }
        }
        Ok(())
    }

    fn fall_back_to(&mut self, way: Way) {
        self.direct = match way {
            // The link in /proc leads to this very file, whatever has become of its name.
            Way::Direct => OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECT)
                .open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
                .ok(),
            Way::DontCache | Way::Advise => None,
        };
        self.way = match &self.direct {
            Some(_) => Way::Direct,
            None => {
                // Read-ahead would bring pages in before we look whether they are there.
                let _ = fadvise(&self.file, 0, None, Advice::Random);
                Way::Advise
            }
        };
    }
}

/// Reads a whole small file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = GentleFile::open(path)?;
    let mut bytes = vec![0; file.size()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn read_direct(
    file: &File,
    landing: &mut Vec<u8>,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let skip = (offset % BLOCK as u64) as usize;
    let wanted = (skip + buffer.len()).next_multiple_of(BLOCK);
    if landing.len() < wanted + BLOCK {
        landing.resize(wanted + BLOCK, 0);
    }
    let start = landing.as_ptr().align_offset(BLOCK);
    let aligned = &mut landing[start..start + wanted];
    let read = file.read_at(aligned, offset - skip as u64)?;
    let useful = read.saturating_sub(skip).min(buffer.len());
    buffer[..useful].copy_from_slice(&aligned[skip..skip + useful]);
    Ok(useful)
}

fn read_and_advise(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let page = page_size();
    let start = offset - offset % page;
    let pages = (offset + buffer.len() as u64 - start).div_ceil(page) as usize;
    // Where the kernel does not say, nothing is dropped: a page of Cassandra's is worth more than
    // one of ours costs.
    let resident = resident(file, start, pages).unwrap_or_else(|_| vec![true; pages]);
    let read = file.read_at(buffer, offset)?;
    let mut at = start;
    for run in resident.chunk_by(|a, b| a == b) {
        let length = run.len() as u64 * page;
        if !run[0]
            && let Some(length) = NonZero::new(length)
        {
            let _ = fadvise(file, at, Some(length), Advice::DontNeed);
        }
        at += length;
    }
    Ok(read)
}

/// Which of the pages of a file from `start` on, a multiple of the page size, are in the page
/// cache. Pages past the end are not.
pub fn resident(file: &File, start: u64, pages: usize) -> io::Result<Vec<bool>> {
    let length = pages * page_size() as usize;
    if length == 0 {
        return Ok(Vec::new());
    }
    let failed = || Err(io::Error::last_os_error());
    let Ok(offset) = libc::off_t::try_from(start) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: a new mapping, where the kernel likes; nothing of ours is replaced.
    let map = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset,
        )
    };
    if map == libc::MAP_FAILED {
        return failed();
    }
    let mut states = vec![0u8; pages];
    // SAFETY: `map` is a mapping of `length` bytes, and `states` has a byte for each page of it.
    let told = unsafe { libc::mincore(map, length, states.as_mut_ptr()) };
    let result = match told {
        0 => Ok(states.iter().map(|state| state & 1 != 0).collect()),
        _ => failed(),
    };
    // SAFETY: the mapping of above, to which no reference was ever made.
    unsafe { libc::munmap(map, length) };
    result
}

/// Bytes of a page of memory.
pub fn page_size() -> u64 {
    // SAFETY: takes a number and returns one.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::fsync;

    use super::*;

    const PAGES: usize = 600;

    /// Beside this program, which is on a disk: /tmp may be memory.
    fn on_disk() -> tempfile::TempDir {
        let program = std::env::current_exe().unwrap();
        tempfile::tempdir_in(program.parent().unwrap()).unwrap()
    }

    /// A file on a disk, nothing of it in the page cache but the pages of `warm`.
    fn file(
        directory: &Path,
        bytes: usize,
        warm: &[std::ops::Range<usize>],
    ) -> (std::path::PathBuf, Vec<u8>) {
        let path = directory.join("nb-1-big-Data.db");
        let content: Vec<u8> = (0..bytes).map(|n| (n * 7 + n / 4096) as u8).collect();
        let mut file = File::create(&path).unwrap();
        file.write_all(&content).unwrap();
        fsync(&file).unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let file = File::open(&path).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        for pages in warm {
            let page = page_size() as usize;
            let mut buffer = vec![0; pages.len() * page];
            file.read_at(&mut buffer, (pages.start * page) as u64)
                .unwrap();
        }
        (path, content)
    }

    fn resident_pages(path: &Path, bytes: usize) -> Vec<usize> {
        let pages = bytes.div_ceil(page_size() as usize);
        let states = resident(&File::open(path).unwrap(), 0, pages).unwrap();
        (0..pages).filter(|page| states[*page]).collect()
    }

    fn read_whole(file: &mut GentleFile, chunk: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut buffer = vec![0; chunk];
            match file.read_at(&mut buffer, all.len() as u64).unwrap() {
                0 => return all,
                read => all.extend_from_slice(&buffer[..read]),
            }
        }
    }

    #[test]
    fn what_was_resident_stays_and_what_was_not_is_gone_by_every_way() {
        for way in [Way::DontCache, Way::Direct, Way::Advise] {
            let directory = on_disk();
            let bytes = PAGES * page_size() as usize - 100;
            let warm = [3..5, 300..340, PAGES - 1..PAGES];
            let (path, content) = file(directory.path(), bytes, &warm);
            let before = resident_pages(&path, bytes);
            let expected: Vec<usize> = warm.into_iter().flatten().collect();
            assert_eq!(before, expected, "{way:?}: the test's own file");

            let mut file = GentleFile::open_by(&path, way).unwrap();
            assert!(read_whole(&mut file, 1 << 20) == content, "{way:?}");
            assert_eq!(
                file.way, way,
                "this kernel or file system takes another way"
            );
            assert_eq!(resident_pages(&path, bytes), before, "{way:?}");
        }
    }

    #[test]
    fn small_reads_at_any_place_give_the_content_and_leave_nothing() {
        for way in [Way::DontCache, Way::Direct, Way::Advise] {
            let directory = on_disk();
            let bytes = 10_007;
            let (path, content) = file(directory.path(), bytes, &[]);
            let mut file = GentleFile::open_by(&path, way).unwrap();
            for (at, length) in [(0, 24), (4095, 2), (8192, 1815), (9983, 24), (5, 9000)] {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, at as u64).unwrap();
                assert!(buffer == content[at..at + length], "{way:?} at {at}");
            }
            let mut past = [0; 10];
            assert_eq!(file.read_at(&mut past, 10_000).unwrap(), 7, "{way:?}");
            assert_eq!(file.read_at(&mut past, 10_007).unwrap(), 0, "{way:?}");
            assert_eq!(file.read_at(&mut past, 20_000).unwrap(), 0, "{way:?}");
            let end = file.read_exact_at(&mut past, 10_000).unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(resident_pages(&path, bytes), [0; 0], "{way:?}");
        }
    }

    #[test]
    fn a_file_system_without_the_first_ways_is_read_by_the_last() {
        // Files of /proc take neither flag.
        let path = Path::new("/proc/self/status");
        let mut file = GentleFile::open(path).unwrap();
        let text = String::from_utf8(read_whole(&mut file, 1 << 16)).unwrap();
        assert!(text.contains("VmRSS:"), "{text}");
        assert_eq!(file.way, Way::Advise);
    }

    #[test]
    fn a_small_file_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nb-1-big-Digest.crc32");
        for content in ["", "123456"] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).unwrap(), content.as_bytes());
        }
        assert!(read(&directory.path().join("none")).is_err());
    }
}
