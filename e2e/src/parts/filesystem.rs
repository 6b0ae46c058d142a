//! File systems of their own, mounted below a directory of the caller's: a backup storage that is
//! another device than the data, and a disk that is full soon.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::host::run::Run;

/// What a file system is kept on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Memory.
    Tmpfs,
    /// ext4 in a sparse file beside the mount point.
    Ext4,
}

/// A mounted file system. Dropping it unmounts it, and its content is gone.
///
/// A mount that outlives its process stands below the directory that was given; whoever heals that
/// directory unmounts what is mounted below it (`Ext4` frees its loop device with the mount).
#[derive(Debug)]
pub struct Filesystem {
    path: PathBuf,
    image: Option<PathBuf>,
}

impl Filesystem {
    /// Mounts an empty file system of about `bytes` bytes at `<folder>/<name>`, where everybody
    /// may write.
    pub async fn mount(folder: &Path, name: &str, kind: Kind, bytes: u64) -> Result<Self> {
        let path = folder.join(name);
        fs::create_dir_all(&path)?;
        let image = match kind {
            Kind::Tmpfs => {
                let options = std::ffi::CString::new(format!("size={bytes},mode=1777"))?;
                mount(
                    "bed",
                    &path,
                    "tmpfs",
                    MountFlags::empty(),
                    Some(options.as_c_str()),
                )
                .with_context(|| format!("could not mount a tmpfs on {}", path.display()))?;
                None
            }
            Kind::Ext4 => {
                let image = folder.join(format!("{name}.ext4"));
                fs::File::create(&image)?.set_len(bytes)?;
                Run::new("mkfs.ext4")
                    .args(["-q", "-F", "-m", "0"])
                    .arg(&image)
                    .ok()
                    .await?;
                // mount(8) makes a loop device that the kernel frees when it is unmounted.
                Run::new("mount")
                    .args(["-o", "loop"])
                    .arg(&image)
                    .arg(&path)
                    .ok()
                    .await?;
                Some(image)
            }
        };
        let filesystem = Self { path, image };
        if kind == Kind::Ext4 {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&filesystem.path, fs::Permissions::from_mode(0o1777))?;
        }
        Ok(filesystem)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are free for everybody.
    pub fn free(&self) -> Result<u64> {
        let about = rustix::fs::statvfs(&self.path)?;
        Ok(about.f_bavail * about.f_frsize)
    }

    /// Fills it with one file until `left` bytes are free.
    pub fn fill(&self, left: u64) -> Result<()> {
        let file = fs::File::create(self.path.join("filling"))?;
        let bytes = self.free()?.saturating_sub(left);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        Ok(())
    }

    /// Takes away what [`Filesystem::fill`] put there.
    pub fn relieve(&self) -> Result<()> {
        Ok(fs::remove_file(self.path.join("filling"))?)
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        // Detached: gone from here at once, and for good when the last open file is closed.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.path);
        if let Some(image) = &self.image {
            let _ = fs::remove_file(image);
        }
    }
}
