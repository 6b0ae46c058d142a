//! One backup or restore, live until it has ended: a bar for each node on a terminal, else a line for each change.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use crate::connection::Connection;
use crate::look::{Look, NodeLook};
use crate::table::{columns, draw};

/// How often it is looked at. The operator writes at most every five seconds.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many looks may fail in a row.
const PATIENCE: u32 = 30;

/// Follows it to its end; the exit code says whether that was good.
pub async fn run(connection: &Connection, name: &str, once: bool) -> Result<ExitCode> {
    let mut look = Look::of(&connection.job(name).await?);
    if !once && look.ended.is_none() {
        let mut screen = Screen::new();
        let mut failed = 0;
        while look.ended.is_none() {
            screen.show(&look);
            tokio::time::sleep(INTERVAL).await;
            match connection.job(name).await {
                Ok(job) => (look, failed) = (Look::of(&job), 0),
                Err(error) if failed >= PATIENCE => return Err(error),
                Err(_) => failed += 1,
            }
        }
        screen.show(&look);
        screen.close();
    }
    print!("{}", summary(&look));
    Ok(match look.went_wrong() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// How it is, or was in the end.
fn summary(look: &Look) -> String {
    let mut text = format!("{}: {}\n", look.title, look.phase);
    if !look.why.is_empty() {
        text.push_str(&format!("{}\n", look.why));
    }
    if let Some(proof) = &look.proof {
        text.push_str(&format!("Verified: {}\n", proof.told));
    }
    if !look.nodes.is_empty() {
        let mut table = columns(["NODE", "PHASE", "MOVED", "TO MOVE", "THERE ALREADY", "WHY"]);
        for node in &look.nodes {
            table.add_row([
                node.pod.clone(),
                node.phase.clone(),
                HumanBytes(node.done).to_string(),
                node.total
                    .map_or(String::new(), |it| HumanBytes(it).to_string()),
                HumanBytes(node.reused).to_string(),
                node.note.clone(),
            ]);
        }
        text.push_str(&draw(table));
    }
    for warning in &look.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

enum Screen {
    Bars {
        all: MultiProgress,
        head: ProgressBar,
        nodes: BTreeMap<String, ProgressBar>,
    },
    Lines {
        last: Option<Look>,
    },
}

impl Screen {
    fn new() -> Self {
        if !stdout().is_terminal() {
            return Self::Lines { last: None };
        }
        let all = MultiProgress::new();
        let head = all.add(ProgressBar::new_spinner());
        head.enable_steady_tick(Duration::from_millis(100));
        Self::Bars {
            all,
            head,
            nodes: BTreeMap::new(),
        }
    }

    fn show(&mut self, look: &Look) {
        match self {
            Self::Bars { all, head, nodes } => {
                head.set_message(format!(
                    "{}: {} (Ctrl-C leaves it at work)",
                    look.title, look.phase
                ));
                for node in &look.nodes {
                    let bar = nodes.entry(node.pod.clone()).or_insert_with(|| {
                        all.add(ProgressBar::no_length().with_prefix(node.pod.clone()))
                    });
                    draw_bar(bar, node);
                }
            }
            Self::Lines { last } => {
                for line in changes(last.as_ref(), look) {
                    println!("{line}");
                }
                *last = Some(look.clone());
            }
        }
    }

    fn close(&self) {
        if let Self::Bars { all, .. } = self {
            // What it ended with is said below.
            let _ = all.clear();
        }
    }
}

fn draw_bar(bar: &ProgressBar, node: &NodeLook) {
    let template = match node.total {
        Some(total) if total > 0 => {
            bar.set_length(total);
            "{prefix:20} {msg:14} [{bar:30}] {bytes:>11} of {total_bytes:11} {binary_bytes_per_sec:14} {eta}"
        }
        _ => "{prefix:20} {wide_msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_position(node.done);
    bar.set_message(match (node.total, node.note.is_empty()) {
        (None, false) => format!("{} {}", node.phase, node.note),
        _ => node.phase.clone(),
    });
}

/// What is new since the last look, a line each.
fn changes(last: Option<&Look>, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    if last.is_none_or(|last| last.phase != look.phase) {
        lines.push(format!("{}: {}", look.title, look.phase));
    }
    for node in &look.nodes {
        let before = last.and_then(|last| last.nodes.iter().find(|it| it.pod == node.pod));
        let same = before.is_some_and(|it| (&it.phase, &it.note) == (&node.phase, &node.note));
        if !same {
            let note = if node.note.is_empty() { "" } else { " " };
            lines.push(format!("{}: {}{note}{}", node.pod, node.phase, node.note));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::Proof;

    fn node(pod: &str, phase: &str, note: &str) -> NodeLook {
        NodeLook {
            pod: pod.into(),
            phase: phase.into(),
            done: 1024,
            total: Some(2048),
            reused: 0,
            note: note.into(),
        }
    }

    fn look(phase: &str, nodes: Vec<NodeLook>) -> Look {
        Look {
            title: "CassandraBackup b".into(),
            phase: phase.into(),
            ended: None,
            why: String::new(),
            proof: Some(Proof {
                good: Some(false),
                since: None,
                told: "False RestoreRefused: no tables".into(),
            }),
            nodes,
            warnings: vec!["c-0: NotQuiet: look".into()],
        }
    }

    #[test]
    fn a_change_is_told_once() {
        let first = look("Uploading", vec![node("c-0", "Uploading", "")]);
        assert_eq!(
            changes(None, &first),
            ["CassandraBackup b: Uploading", "c-0: Uploading"]
        );
        let mut second = first.clone();
        second.nodes[0].done = 2048;
        assert!(changes(Some(&first), &second).is_empty());
        second.nodes[0] = node("c-0", "Waiting", "NoSpace: full");
        assert_eq!(
            changes(Some(&first), &second),
            ["c-0: Waiting NoSpace: full"]
        );
    }

    #[test]
    fn the_summary_names_each_node_and_warning() {
        let text = summary(&look(
            "Failed",
            vec![node("c-0", "Failed", "NoSpace: full")],
        ));
        for part in [
            "CassandraBackup b: Failed",
            "c-0",
            "1.00 KiB",
            "NoSpace: full",
            "Verified: False RestoreRefused: no tables",
            "warning: c-0",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
