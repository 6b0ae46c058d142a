//! Threads that copy files and make each durable.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Result, anyhow};

use crate::bench::residency;

/// Copies the files below `from` to the same places below `to`, with fsync of each file.
pub fn run(from: &Path, to: &Path, threads: usize) -> Result<()> {
    let files = Mutex::new(residency::files(from)?);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&files, from, to)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a copy panicked"))?)
    })
}

fn work(files: &Mutex<Vec<PathBuf>>, from: &Path, to: &Path) -> Result<()> {
    loop {
        let next = files.lock().map_err(|_| anyhow!("a copy panicked"))?.pop();
        let Some(file) = next else {
            return Ok(());
        };
        let copy = to.join(file.strip_prefix(from)?);
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&file, &copy)?;
        File::open(&copy)?.sync_all()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_copied_to_its_place() {
        let [from, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for n in 0..9 {
            fs::create_dir_all(from.path().join(format!("k/{n}"))).unwrap();
            fs::write(from.path().join(format!("k/{n}/f")), [n; 100]).unwrap();
        }
        run(from.path(), to.path(), 4).unwrap();
        for n in 0..9 {
            let copied = fs::read(to.path().join(format!("k/{n}/f"))).unwrap();
            assert_eq!(copied, [n; 100]);
        }
    }
}
