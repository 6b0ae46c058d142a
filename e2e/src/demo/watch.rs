//! A backup's nodes as they move: a table that is drawn over on a terminal, a line for each change
//! elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crds::{Amount, BackupPhase, CassandraBackup, NodeStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use crate::bed::Namespace;
use crate::product::resources::phase;

const PATIENCE: Duration = Duration::from_secs(300);

/// Shows the nodes until the backup has ended.
pub(super) async fn until_the_end(namespace: &Namespace, name: &str) -> Result<CassandraBackup> {
    let backups = namespace.api::<CassandraBackup>();
    let mut board = Board::default();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let backup = backups.get(name).await.context("the backup is gone")?;
        for node in backup.status.iter().flat_map(|status| &status.nodes) {
            board.show(node);
        }
        if phase(&backup).is_some_and(BackupPhase::is_final) {
            board.end();
            return Ok(backup);
        }
        sleep(Duration::from_millis(200)).await;
    }
    bail!(
        "the backup {name} has not ended after {} s",
        PATIENCE.as_secs()
    )
}

#[derive(Default)]
struct Board {
    lines: MultiProgress,
    nodes: BTreeMap<String, (ProgressBar, String)>,
}

impl Board {
    fn show(&mut self, node: &NodeStatus) {
        let (bar, shown) = self.nodes.entry(node.pod.clone()).or_insert_with(|| {
            let line = ProgressBar::new(0).with_style(
                ProgressStyle::with_template("  {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            (self.lines.add(line), String::new())
        });
        let now = describe(node);
        if *shown == now {
            return;
        }
        if bar.is_hidden() {
            // Progress within a phase is not worth a line.
            let phase = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
            if phase(shown) != phase(&now) {
                println!("  {now}");
            }
        } else {
            bar.set_message(now.clone());
        }
        *shown = now;
    }

    /// Leaves the last state on the screen.
    fn end(&self) {
        for (bar, shown) in self.nodes.values() {
            bar.finish_with_message(shown.clone());
        }
    }
}

fn describe(node: &NodeStatus) -> String {
    let size = |amount: &Option<Amount>| amount.as_ref().map_or("-".into(), |one| one.size.clone());
    format!(
        "{:<10} {:<13} uploaded {:>9}  reused {:>9}  of {:>9}",
        node.pod,
        format!("{:?}", node.phase),
        size(&node.uploaded),
        size(&node.reused),
        size(&node.total),
    )
}
