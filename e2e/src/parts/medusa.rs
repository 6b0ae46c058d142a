//! Medusa, DataStax' backup tool, from PyPI.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cassandra::host::HostCassandra;
use super::minio::{Minio, REGION};
use super::python::{self, Program};

/// Its version.
pub const VERSION: &str = "0.31.0";

/// The program.
pub async fn ensure() -> Result<Program> {
    python::ensure("medusa", &format!("cassandra-medusa=={VERSION}"), "medusa").await
}

/// Where Medusa keeps backups.
#[derive(Debug, Clone, Copy)]
pub enum Storage<'a> {
    /// A directory.
    Local(&'a Path),
    /// A bucket.
    S3(&'a Minio, &'a str),
}

/// How fast Medusa may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// As it comes: one file at a time, 50 MB/s on S3.
    Default,
    /// Eight files at a time, without a limit worth the name.
    Tuned,
}

/// Writes a configuration into `folder`; returns its path. Cassandra is stopped by it, and not
/// started: who called it does that.
pub async fn configure(
    folder: &Path,
    cassandra: &HostCassandra,
    storage: Storage<'_>,
    speed: Speed,
) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let nodetool = folder.join("nodetool");
    fs::write(&nodetool, cassandra.nodetool_script().await?)?;
    fs::set_permissions(&nodetool, fs::Permissions::from_mode(0o755))?;
    let stop = folder.join("stop");
    if let Some(pid) = cassandra.pid() {
        let script = format!(
            "#!/bin/sh\nkill {pid}\nwhile kill -0 {pid} 2>/dev/null; do sleep 0.02; done\n"
        );
        fs::write(&stop, script)?;
        fs::set_permissions(&stop, fs::Permissions::from_mode(0o755))?;
    }
    let storage = match storage {
        Storage::Local(root) => {
            fs::create_dir_all(root)?;
            let name = root.file_name().context("a storage without a name")?;
            let base = root.parent().context("a storage without a parent")?;
            format!(
                "storage_provider = local\nbase_path = {}\nbucket_name = {}\n",
                base.display(),
                name.display()
            )
        }
        Storage::S3(minio, bucket) => {
            let (key, address) = (minio.root(), minio.address());
            let keys = folder.join("credentials");
            fs::write(
                &keys,
                format!(
                    "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                    key.id, key.secret
                ),
            )?;
            fs::set_permissions(&keys, fs::Permissions::from_mode(0o600))?;
            format!(
                "storage_provider = s3_compatible\nbucket_name = {bucket}\nkey_file = {}\n\
                 api_profile = default\nhost = {}\nport = {}\nsecure = False\nregion = {REGION}\n\
                 s3_addressing_style = path\n",
                keys.display(),
                address.ip(),
                address.port()
            )
        }
    };
    let speed = match speed {
        Speed::Default => "",
        Speed::Tuned => "concurrent_transfers = 8\ntransfer_max_bandwidth = 10GB/s\n",
    };
    let ini = folder.join("medusa.ini");
    let text = format!(
        "[cassandra]\nconfig_file = {}\nnodetool_executable = {}\nuse_sudo = False\n\
         resolve_ip_addresses = False\nstop_cmd = {}\nstart_cmd = true\n[storage]\nfqdn = {}\nuse_sudo_for_restore = False\n\
         {storage}{speed}[monitoring]\nmonitoring_provider = None\n",
        cassandra.yaml().display(),
        nodetool.display(),
        stop.display(),
        cassandra.address(),
    );
    fs::write(&ini, text)?;
    Ok(ini)
}
