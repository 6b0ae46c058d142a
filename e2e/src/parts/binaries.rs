//! Our own programs, built as users get them: optimised and static.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::sync::OnceCell;

use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::tools;

/// Where the programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// `cassandra-backup`, the agent.
    pub agent: PathBuf,
    /// `cassandra-backup-operator`.
    pub operator: PathBuf,
}

/// Builds both by a nested cargo, in the same target directory, once in the life of this process;
/// quick when nothing changed.
pub async fn build() -> Result<Binaries> {
    static BUILT: OnceCell<Binaries> = OnceCell::const_new();
    BUILT.get_or_try_init(build_now).await.cloned()
}

async fn build_now() -> Result<Binaries> {
    tools::require(&[tools::CARGO])?;
    let cargo = cargo()?
        .args([
            "build",
            "--release",
            "--message-format=json-render-diagnostics",
        ])
        .args(["-p", "cassandra-backup", "-p", "operator"]);
    let messages = step("build the agent and the operator", cargo.output()).await?;
    Ok(Binaries {
        agent: executable(&messages, "cassandra-backup")?,
        operator: executable(&messages, "cassandra-backup-operator")?,
    })
}

/// An example of the agent's, as the tests have it: not optimised.
pub async fn example(name: &str) -> Result<PathBuf> {
    build_as_tests("--example", name).await
}

/// kubectl's plugin, as the tests have it.
pub async fn plugin() -> Result<PathBuf> {
    build_as_tests("--bin", "kubectl-cassandra_backup").await
}

async fn build_as_tests(kind: &str, name: &str) -> Result<PathBuf> {
    tools::require(&[tools::CARGO])?;
    let cargo = cargo()?
        // Of no package: with the features that the tests are built with, else most is built anew.
        .args(["build", "--message-format=json-render-diagnostics"])
        .args([kind, name]);
    let messages = step(format!("build {name}"), cargo.output()).await?;
    executable(&messages, name)
}

/// Cargo in the workspace, without what the cargo that runs us has told us of our own package: the
/// build script of ring looks at that, and all that needs ring would be built anew.
fn cargo() -> Result<Run> {
    let mut cargo = Run::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo = cargo.without_env(&name);
        }
    }
    Ok(cargo.dir(workspace()?).tells())
}

/// The root of the workspace.
pub fn workspace() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the crate e2e has no workspace")
}

/// Finds the executable `name` in cargo's messages, one JSON object a line.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        if message["target"]["name"] == name
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    bail!("cargo built no executable {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_found_by_the_name_of_its_target() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"a\"},\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"b\"},\"executable\":\"/t/b\"}\n";
        assert_eq!(executable(messages, "b").unwrap(), Path::new("/t/b"));
        assert!(executable(messages, "a").is_err());
    }
}
