//! The file system of an image, as a value: what is in it, before anything is written.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::run::Run;

/// One entry of a file system. Everything belongs to root but what says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Directory { mode: u32, owner: u32 },
    File { mode: u32, content: Content },
    Link { target: String },
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    At(PathBuf),
    Bytes(Vec<u8>),
}

/// A file system: absolute paths and what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rootfs {
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Rootfs {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory that belongs to the user `owner`.
    pub fn directory(mut self, path: &str, mode: u32, owner: u32) -> Self {
        self.add(path, Entry::Directory { mode, owner });
        self
    }

    /// Adds a file with these bytes.
    pub fn text(mut self, path: &str, mode: u32, text: impl Into<Vec<u8>>) -> Self {
        self.add(
            path,
            Entry::File {
                mode,
                content: Content::Bytes(text.into()),
            },
        );
        self
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.add(
            path,
            Entry::Link {
                target: target.to_owned(),
            },
        );
        self
    }

    /// Adds a copy of a file of this machine, executable if that is.
    pub fn file(mut self, path: &str, source: &Path) -> Result<Self> {
        self.add(path, copy(source)?);
        Ok(self)
    }

    /// Adds a copy of a directory of this machine with everything below it.
    pub fn tree(mut self, path: &str, source: &Path) -> Result<Self> {
        self.add_tree(path, source)?;
        Ok(self)
    }

    fn add_tree(&mut self, path: &str, source: &Path) -> Result<()> {
        let entries = fs::read_dir(source).with_context(|| source.display().to_string())?;
        self.add(
            path,
            Entry::Directory {
                mode: 0o755,
                owner: 0,
            },
        );
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().into_string();
            let Ok(name) = name else {
                bail!("{} is not UTF-8", entry.path().display())
            };
            let path = format!("{path}/{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add_tree(&path, &entry.path())?;
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path())?;
                // A link that leaves its tree (Debian's JDK has them) becomes what it points to.
                let inside =
                    target.is_relative() && entry.path().canonicalize()?.starts_with(source);
                let link = Entry::Link {
                    target: target.to_string_lossy().into_owned(),
                };
                self.add(&path, if inside { link } else { copy(&entry.path())? });
            } else {
                self.add(&path, copy(&entry.path())?);
            }
        }
        Ok(())
    }

    /// Adds the shared libraries that these programs and libraries of this machine load, but for
    /// those that stand beside them.
    pub async fn libraries(mut self, of: &[PathBuf]) -> Result<Self> {
        for file in of {
            // Exit code 1 means "not a dynamic executable".
            let (_, out, _) = Run::new("ldd").arg(file).finish().await?;
            for library in loaded(&String::from_utf8_lossy(&out)) {
                let beside = file.ancestors().skip(1).take(3).any(|dir| {
                    dir != Path::new("/")
                        && library.starts_with(dir)
                        && dir.components().count() > 2
                });
                if !beside {
                    let path = library.to_string_lossy().into_owned();
                    let source = library.canonicalize()?;
                    self = self.file(&path, &source)?;
                }
            }
        }
        Ok(self)
    }

    /// A hash of everything in it.
    pub(super) fn hash(&self) -> Result<blake3::Hasher> {
        let mut hasher = blake3::Hasher::new();
        let mut say = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        for (path, entry) in &self.entries {
            say(path.as_bytes());
            match entry {
                Entry::Directory { mode, owner } => say(format!("d {mode} {owner}").as_bytes()),
                Entry::Link { target } => say(format!("l {target}").as_bytes()),
                Entry::File { mode, content } => {
                    say(format!("f {mode}").as_bytes());
                    say(content.hash()?.as_bytes());
                }
            }
        }
        Ok(hasher)
    }

    fn add(&mut self, path: &str, entry: Entry) {
        let parents: Vec<_> = path
            .match_indices('/')
            .skip(1)
            .map(|(end, _)| &path[..end])
            .collect();
        for parent in parents {
            self.entries
                .entry(parent.to_owned())
                .or_insert(Entry::Directory {
                    mode: 0o755,
                    owner: 0,
                });
        }
        self.entries.insert(path.to_owned(), entry);
    }
}

impl Content {
    fn hash(&self) -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        match self {
            Self::Bytes(bytes) => drop(hasher.update(bytes)),
            Self::At(path) => {
                let mut file = fs::File::open(path)?;
                let mut buffer = vec![0; 1 << 18];
                loop {
                    match file.read(&mut buffer)? {
                        0 => break,
                        read => drop(hasher.update(&buffer[..read])),
                    }
                }
            }
        }
        Ok(hasher.finalize())
    }
}

fn copy(source: &Path) -> Result<Entry> {
    let metadata = fs::metadata(source).with_context(|| source.display().to_string())?;
    let mode = if metadata.permissions().mode() & 0o100 == 0 {
        0o644
    } else {
        0o755
    };
    Ok(Entry::File {
        mode,
        content: Content::At(source.to_owned()),
    })
}

/// The paths in what ldd prints.
fn loaded(ldd: &str) -> Vec<PathBuf> {
    let paths = ldd.lines().filter_map(|line| {
        let line = line.trim();
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.split(" (").next()?.trim();
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_made_and_keep_what_was_said_of_them() {
        let rootfs = Rootfs::new()
            .directory("/a", 0o700, 9)
            .text("/a/b/c", 0o644, "x");
        let paths: Vec<_> = rootfs.entries.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/a", "/a/b", "/a/b/c"]);
        assert_eq!(
            rootfs.entries["/a"],
            Entry::Directory {
                mode: 0o700,
                owner: 9
            }
        );
    }

    #[test]
    fn the_hash_follows_the_content_and_not_the_file_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            Rootfs::new()
                .file("/f", &path)
                .unwrap()
                .hash()
                .unwrap()
                .finalize()
        };
        assert_eq!(of("one", "same"), of("two", "same"));
        assert_ne!(of("one", "same"), of("two", "other"));
    }

    #[test]
    fn what_ldd_says_is_understood() {
        let out = "\tlinux-vdso.so.1 (0x00007f4c)\n\tlibz.so.1 => /lib/libz.so.1 (0x00007f4c)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f4c)\n";
        let expected = ["/lib/libz.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(loaded(out), expected);
        assert!(loaded("\tnot a dynamic executable\n").is_empty());
    }
}
