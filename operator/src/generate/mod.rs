//! Generated files.

mod reference;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cron;
use crate::metrics::Metrics;

/// Where the custom resource definitions belong.
pub(crate) const DEFINITIONS: [&str; 2] = ["crds/yaml", "charts/cassandra-backup/files"];
/// Where the pages belong.
pub(crate) const DOCS: &str = "docs";

/// Writes everything to where it belongs.
pub(crate) fn all() -> anyhow::Result<()> {
    definitions(&DEFINITIONS.map(PathBuf::from))?;
    pages(Path::new(DOCS))
}

/// Writes each custom resource definition into each of the folders.
pub(crate) fn definitions(folders: &[PathBuf]) -> anyhow::Result<()> {
    for folder in folders {
        for resource in crds::custom_resources() {
            write(&folder.join(&resource.file), &resource.to_yaml()?)?;
        }
    }
    Ok(())
}

/// Writes the pages that are made from the code.
pub(crate) fn pages(folder: &Path) -> anyhow::Result<()> {
    for (name, text) in documentation() {
        write(&folder.join(name), &text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn documentation() -> [(&'static str, String); 3] {
    [
        ("reasons.md", reasons()),
        ("metrics.md", Metrics::default().page()),
        ("fields.md", reference::page()),
    ]
}

/// The page of all reasons.
fn reasons() -> String {
    let mut page = String::from(
        "# Reasons\n\n\
         Why something is as it is, in one word. The same word is the reason of conditions and Events, stands at a node\n\
         in `status.nodes`, is the label `result` of metrics, and is what the agent ends with. The message beside it\n\
         names the thing and the cause. This page is made from the code by `cargo generate`.\n\n\
         ## Of backups, nodes, storages and the agent\n\
         With the exit code of an agent that ends for this reason: 0 is nothing to worry about, 75 is tried again.\n\n\
         | reason | exit code | what it means | what to do |\n|---|---|---|---|\n",
    );
    for reason in protocol::Reason::ALL {
        let code = reason.exit_code() as u8;
        let (meaning, remedy) = (reason.meaning(), reason.remedy());
        let _ = writeln!(page, "| `{reason}` | {code} | {meaning} | {remedy} |");
    }
    page.push_str(
        "\n## Of schedules\n\
         Of the conditions and Events of a [CronBackup](cron-backup.md).\n\n\
         | reason | what it means | what to do |\n|---|---|---|\n",
    );
    for reason in cron::Reason::ALL {
        let (meaning, remedy) = (reason.meaning(), reason.remedy());
        let _ = writeln!(page, "| `{reason}` | {meaning} | {remedy} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use protocol::ExitCode;

    use super::*;

    #[test]
    fn the_committed_pages_are_those_of_the_code() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCS);
        for (name, text) in documentation() {
            let committed = std::fs::read_to_string(docs.join(name)).unwrap_or_default();
            assert!(
                committed == text,
                "docs/{name} is out of date: run `cargo generate`"
            );
        }
    }

    #[test]
    fn every_reason_is_explained_in_whole_sentences_and_every_failure_has_a_remedy() {
        let agents = protocol::Reason::ALL.iter().map(|reason| {
            // What is tried again by itself may need nobody.
            let fails = !reason.is_retryable() && reason.exit_code() != ExitCode::Done;
            let fails = fails && *reason != protocol::Reason::Cancelled;
            (reason.as_str(), reason.meaning(), reason.remedy(), fails)
        });
        let schedules = cron::Reason::ALL.iter().map(|reason| {
            let fails = !reason.is_fine();
            (reason.as_str(), reason.meaning(), reason.remedy(), fails)
        });
        for (name, meaning, remedy, fails) in agents.chain(schedules) {
            for text in [meaning, remedy] {
                assert!(!text.contains(['|', '\n']), "{name}: {text}");
                assert!(text.is_empty() || text.ends_with('.'), "{name}: {text}");
            }
            assert!(!meaning.is_empty(), "{name}");
            assert!(!fails || !remedy.is_empty(), "{name} has no remedy");
        }
    }
}
