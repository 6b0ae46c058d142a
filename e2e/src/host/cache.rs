//! The cache for what is built or fetched: a folder outside the checkout, so that a clean checkout
//! starts in seconds on a machine that has run the bed before.
//!
//! An artefact is a directory `<cache>/<name>/<key>`. The key names everything that decides the
//! content, so an artefact that is there is right, and is never changed.

use std::fs::{self, File, FileTimes, TryLockError};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

/// Artefacts nobody asked for in this time are removed when another of the same name is built.
const KEEP_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// The cache folder: `$CASSANDRA_BACKUP_CACHE`, else `cassandra-backup-bed` in `$XDG_CACHE_HOME`
/// or `~/.cache`.
pub fn root() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CASSANDRA_BACKUP_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::home_dir()
            .context("no place for the cache: set HOME or CASSANDRA_BACKUP_CACHE")?
            .join(".cache"),
    };
    Ok(base.join("cassandra-backup-bed"))
}

/// A key of 16 hex digits from everything that decides an artefact's content. Parts are delimited,
/// so `["ab", "c"]` and `["a", "bc"]` differ.
pub fn key<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        let part = part.as_ref();
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// The directory of the artefact `name` with this `key`, which `build` fills when it is missing.
///
/// `build` gets an empty directory. It is synced and renamed into place only when `build` succeeds,
/// so a killed build leaves nothing that could be mistaken for the artefact. Two processes never
/// build the same one: the second waits for the first.
pub async fn ensure<F, Fut>(name: &str, key: &str, build: F) -> Result<PathBuf>
where
    F: FnOnce(PathBuf) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let folder = root()?.join(name);
    ensure_in(&folder, key, build)
        .await
        .with_context(|| format!("could not make {name} {key} in {}", folder.display()))
}

async fn ensure_in<F, Fut>(folder: &Path, key: &str, build: F) -> Result<PathBuf>
where
    F: FnOnce(PathBuf) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    if key.is_empty() || key.starts_with('.') || key.contains('/') {
        bail!("a cache key is a plain file name, not {key:?}");
    }
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let artefact = folder.join(key);
    let lock = lock(&folder.join(format!(".{key}.lock"))).await?;
    // The lock file's time says when the artefact was last asked for.
    lock.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
    if artefact.is_dir() {
        return Ok(artefact);
    }
    let unfinished = folder.join(format!(".{key}.unfinished"));
    remove(&unfinished)?;
    fs::create_dir(&unfinished)?;
    if let Err(error) = build(unfinished.clone()).await {
        // What is left is removed by the next try at the latest; the build's error matters more.
        let _ = remove(&unfinished);
        return Err(error);
    }
    // One call for the whole file system: trees of thousands of small files take one journal
    // commit this way.
    rustix::fs::syncfs(File::open(&unfinished)?)?;
    fs::rename(&unfinished, &artefact)?;
    File::open(folder)?.sync_all()?;
    remove_unused(folder, key);
    Ok(artefact)
}

/// Takes an exclusive lock on `path`; the kernel gives it back when the file is closed, however
/// the process ends.
pub async fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // Asked again instead of blocked in a thread, so that waiting can be cancelled.
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("could not lock {}", path.display()));
            }
        }
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Removes siblings of `used` that were not asked for in a long time. Best effort: what cannot be
/// removed costs space and nothing else.
fn remove_unused(folder: &Path, used: &str) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name == used || name.starts_with('.') {
            continue;
        }
        let path = folder.join(format!(".{name}.lock"));
        let Ok(lock) = File::options().append(true).open(&path) else {
            continue;
        };
        let unused = lock
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|used| used.elapsed().is_ok_and(|age| age > KEEP_UNUSED));
        if unused && lock.try_lock().is_ok() {
            let _ = remove(&entry.path());
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn two_who_ask_at_once_build_once_and_a_failed_build_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let failed = ensure_in(folder.path(), "k", |dir| async move {
            fs::write(dir.join("half"), "x")?;
            bail!("no")
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "no");
        assert!(!folder.path().join("k").exists());

        let builds = AtomicUsize::new(0);
        let ask = || {
            ensure_in(folder.path(), "k", |dir| {
                builds.fetch_add(1, Ordering::SeqCst);
                async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    fs::write(dir.join("whole"), "x")?;
                    Ok(())
                }
            })
        };
        let (one, two) = tokio::join!(ask(), ask());
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(builds.load(Ordering::SeqCst), 1);
        let names: Vec<_> = fs::read_dir(folder.path().join("k"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["whole"]);
    }

    #[tokio::test]
    async fn what_nobody_used_for_long_goes_when_another_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = |_| async { Ok(()) };
        for key in ["old", "recent"] {
            ensure_in(folder.path(), key, nothing).await.unwrap();
        }
        let long_ago = SystemTime::now() - KEEP_UNUSED - Duration::from_secs(60);
        File::options()
            .append(true)
            .open(folder.path().join(".old.lock"))
            .unwrap()
            .set_times(FileTimes::new().set_modified(long_ago))
            .unwrap();
        ensure_in(folder.path(), "new", nothing).await.unwrap();
        assert!(!folder.path().join("old").exists());
        assert!(folder.path().join("recent").exists());
    }

    #[test]
    fn keys_differ_where_the_parts_do() {
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
        assert_eq!(key(["a"]).len(), 16);
    }
}
