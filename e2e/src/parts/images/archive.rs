//! Images as tars in docker-archive form, written without Docker: the same content gives the same
//! bytes.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{Context, Digest, SHA256};
use serde_json::json;
use tar::{EntryType, Header};

use super::Config;
use super::rootfs::{Content, Entry, Rootfs};

/// Writes the image `name` to `path`.
pub(super) fn write(path: &Path, name: &str, rootfs: &Rootfs, config: &Config) -> Result<()> {
    let layer = tempfile::NamedTempFile::new_in(path.parent().context("no folder")?)?;
    let mut hashing = Hashing {
        inner: BufWriter::new(layer.as_file()),
        hasher: Context::new(&SHA256),
    };
    write_layer(&mut hashing, rootfs)?;
    hashing.flush()?;
    let digest = hex(hashing.hasher.finish());
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": config.user,
            "Env": config.env,
            "Entrypoint": config.entrypoint,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    }))?;
    let config_name = format!("{}.json", hex(aws_lc_rs::digest::digest(&SHA256, &config)));
    let layer_name = format!("{digest}/layer.tar");
    let manifest = serde_json::to_vec(&json!([{
        "Config": config_name,
        "RepoTags": [name],
        "Layers": [layer_name],
    }]))?;

    let mut archive = tar::Builder::new(BufWriter::new(File::create(path)?));
    let mut add = |name: &str, size: u64, content: &mut dyn Read| -> Result<()> {
        let mut header = header(EntryType::Regular, 0o644, 0);
        header.set_size(size);
        Ok(archive.append_data(&mut header, name, content)?)
    };
    add(&config_name, config.len() as u64, &mut config.as_slice())?;
    let mut layer = layer.reopen()?;
    add(&layer_name, layer.metadata()?.len(), &mut layer)?;
    add(
        "manifest.json",
        manifest.len() as u64,
        &mut manifest.as_slice(),
    )?;
    archive.into_inner()?.flush()?;
    Ok(())
}

fn write_layer(out: impl Write, rootfs: &Rootfs) -> Result<()> {
    let mut layer = tar::Builder::new(out);
    for (path, entry) in &rootfs.entries {
        let name = path.trim_start_matches('/');
        match entry {
            Entry::Directory { mode, owner } => {
                let mut header = header(EntryType::Directory, *mode, *owner);
                layer.append_data(&mut header, format!("{name}/"), std::io::empty())?;
            }
            Entry::Link { target } => {
                layer.append_link(&mut header(EntryType::Symlink, 0o777, 0), name, target)?;
            }
            Entry::File { mode, content } => {
                let mut header = header(EntryType::Regular, *mode, 0);
                match content {
                    Content::Bytes(bytes) => {
                        header.set_size(bytes.len() as u64);
                        layer.append_data(&mut header, name, bytes.as_slice())?;
                    }
                    Content::At(path) => {
                        let file = File::open(path).with_context(|| path.display().to_string())?;
                        header.set_size(file.metadata()?.len());
                        layer.append_data(&mut header, name, file)?;
                    }
                }
            }
        }
    }
    layer.into_inner()?;
    Ok(())
}

fn header(kind: EntryType, mode: u32, owner: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.into());
    header.set_gid(owner.into());
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Passes bytes on and keeps their SHA-256, by which images name their layers.
struct Hashing<W> {
    inner: W,
    hasher: Context,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn hex(digest: Digest) -> String {
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_gives_the_same_bytes_whenever_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("program");
        std::fs::write(&source, "#!/bin/sh\n").unwrap();
        let write = |name: &str| {
            let rootfs = Rootfs::new()
                .directory("/data", 0o700, 999)
                .link("/bin/sh", "busybox")
                .file("/bin/program", &source)
                .unwrap()
                .text(&format!("/{}", "long/".repeat(40)), 0o644, "x");
            let path = folder.path().join(name);
            super::write(&path, "docker.io/bed/x:1", &rootfs, &Config::default()).unwrap();
            std::fs::read(path).unwrap()
        };
        let first = write("one");
        File::options().append(true).open(&source).unwrap();
        assert_eq!(first, write("two"));
        std::fs::write(&source, "#!/bin/sh\nexit\n").unwrap();
        assert_ne!(first, write("three"));
    }
}
