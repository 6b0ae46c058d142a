//! What curl processes are told to upload and to download.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Result;

use crate::bench::residency;
use crate::parts::minio::{Minio, REGION};

/// Which way the files go.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// Into the bucket.
    Up,
    /// From there into this directory, those of this keyspace.
    Down(&'a Path, &'a str),
}

/// Writes one configuration a process into `folder`: the files below `raw`, dealt out so that all
/// have the same number of bytes. The keys stand there too, not in the command line.
pub fn configure(
    folder: &Path,
    raw: &Path,
    way: Way<'_>,
    (minio, bucket): (&Minio, &str),
    processes: usize,
) -> Result<()> {
    let mut files = Vec::new();
    let below = match way {
        Way::Up => raw.to_owned(),
        Way::Down(_, keyspace) => raw.join(keyspace),
    };
    for path in residency::files(&below)? {
        files.push((fs::metadata(&path)?.len(), path));
    }
    files.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let key = minio.root();
    let first = format!(
        "silent\nshow-error\nfail-early\nfail\ncreate-dirs\nuser = \"{}:{}\"\n\
         aws-sigv4 = \"aws:amz:{REGION}:s3\"\n\
         header = \"x-amz-content-sha256: UNSIGNED-PAYLOAD\"\n",
        key.id, key.secret
    );
    let mut parts = vec![(0, first); processes];
    for (bytes, path) in files {
        let Some((sum, part)) = parts.iter_mut().min_by_key(|(sum, _)| *sum) else {
            break;
        };
        // A small file costs a request too.
        *sum += bytes + (64 << 10);
        let name = path.strip_prefix(raw)?;
        match way {
            Way::Up => writeln!(part, "upload-file = \"{}\"", path.display())?,
            Way::Down(into, _) => writeln!(part, "output = \"{}\"", into.join(name).display())?,
        }
        let (server, name) = (minio.endpoint(), name.display());
        writeln!(part, "url = \"{server}/{bucket}/raw/{name}\"")?;
    }
    fs::create_dir_all(folder)?;
    for (number, (_, text)) in parts.iter().enumerate() {
        let mut file = fs::File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join(format!("{number}.curl")))?;
        file.write_all(text.as_bytes())?;
    }
    Ok(())
}
