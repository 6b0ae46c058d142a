//! Debian packages: what is missing is installed once, without starting the services that come
//! with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::cache;
use super::progress::step;
use super::run::Run;

/// Asked by Debian's maintainer scripts before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// 101 means that the action is forbidden. The comment is how we know the file as ours.
const FORBID: &str =
    "#!/bin/sh\n# of the cassandra-backup test bed, removed after installing\nexit 101\n";

/// Installs those of `packages` that are missing.
pub async fn ensure(packages: &[&str]) -> Result<()> {
    if missing(packages).await?.is_empty() {
        return Ok(());
    }
    let root = cache::root()?;
    fs::create_dir_all(&root)?;
    let _lock = cache::lock(&root.join(".packages.lock")).await?;
    // Somebody else may have installed them while we waited.
    let missing = missing(packages).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let log = root.join("packages.log");
    let apt = |action: &str| {
        Run::new("apt-get")
            .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300", action])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .log(&log)
    };
    step("update the list of Debian packages", apt("update").ok()).await?;
    let _quiet = NoServices::forbid(Path::new(POLICY))?;
    let install = apt("install").arg("--no-install-recommends").args(&missing);
    step(format!("install {}", missing.join(", ")), install.ok())
        .await
        .with_context(|| {
            format!(
                "install them by hand: apt-get install {}",
                missing.join(" ")
            )
        })
}

async fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let query = Run::new("dpkg-query")
        .args(["-W", "-f", "${binary:Package} ${db:Status-Status}\n"])
        .args(packages);
    // Exit code 1 says that some are unknown, and still lists the others.
    let (_, out, _) = query.finish().await?;
    Ok(not_installed(packages, &String::from_utf8_lossy(&out)))
}

fn not_installed<'a>(packages: &[&'a str], listed: &str) -> Vec<&'a str> {
    let installed: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        // Multi-arch packages are listed as name:architecture.
        .map(|name| name.split(':').next().unwrap_or(name))
        .collect();
    packages
        .iter()
        .copied()
        .filter(|package| !installed.contains(package))
        .collect()
}

/// While this lives, packages start no services.
struct NoServices<'a>(Option<&'a Path>);

impl<'a> NoServices<'a> {
    fn forbid(policy: &'a Path) -> Result<Self> {
        match fs::read_to_string(policy) {
            // The machine's owner has a policy of their own; it stays.
            Ok(text) if text != FORBID => return Ok(Self(None)),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("could not read {}: {error}", policy.display())
            }
            // Missing, or left by an installation of ours that was killed.
            _ => {}
        }
        fs::write(policy, FORBID)?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
        Ok(Self(Some(policy)))
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        if let Some(policy) = self.0 {
            let _ = fs::remove_file(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_fully_installed_counts() {
        let listed = "runc installed\nsocat config-files\nlibc6:amd64 installed\n";
        let missing = not_installed(&["runc", "socat", "libc6", "etcd-server"], listed);
        assert_eq!(missing, ["socat", "etcd-server"]);
    }

    #[test]
    fn services_are_forbidden_only_while_installing_and_an_owners_policy_stays() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy-rc.d");
        drop(NoServices::forbid(&policy).unwrap());
        assert!(!policy.exists());
        // Left by a killed installation: used again, then removed.
        fs::write(&policy, FORBID).unwrap();
        drop(NoServices::forbid(&policy).unwrap());
        assert!(!policy.exists());
        fs::write(&policy, "#!/bin/sh\nexit 0\n").unwrap();
        drop(NoServices::forbid(&policy).unwrap());
        assert_eq!(fs::read_to_string(&policy).unwrap(), "#!/bin/sh\nexit 0\n");
    }
}
