//! `backup --dry-run`: what a backup would do, and why.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use indicatif::HumanBytes;
use protocol::{BackupRequest, EventKind, ExitCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Output;
use super::query::{self, Failure};
use super::table::Table;
use crate::backup::{self, Action, Preview};
use crate::neighbour;
use crate::run_context::{Report, Run};
use crate::serve::note;
use crate::state::StateDirectory;

/// Warnings go to standard error; nobody follows the rest.
struct Warnings;

impl Report for Warnings {
    fn event(&self, kind: EventKind) {
        match kind {
            EventKind::Warning { reason, message } => note!("warning: {reason}: {message}"),
            EventKind::Phase { phase, .. } => note!("{phase}"),
            _ => {}
        }
    }
}

/// Plans a backup and prints the plan. Returns the exit code.
pub(super) fn run(request: &BackupRequest, state: Option<&Path>, output: Output) -> u8 {
    neighbour::apply();
    query::answer(async {
        let id = Uuid::new_v4();
        let state =
            StateDirectory::open(state, id).map_err(|error| Failure::usage(error.to_string()))?;
        let run = Run {
            id,
            attempt: 1,
            state: state.path().to_path_buf(),
            report: Arc::new(Warnings),
            cancel: CancellationToken::new(),
            proceed: CancellationToken::new(),
        };
        let cancel = run.cancel.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                cancel.cancel();
            }
        });
        let preview = backup::preview(&run, request)
            .await
            .map_err(|error| Failure {
                reason: error.reason(),
                message: crate::chain(&error),
            })?;
        match output {
            Output::Json => query::print_json(&document(&preview))?,
            Output::Text => query::print(&text(&preview))?,
        }
        Ok(ExitCode::Done)
    })
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Upload => "upload",
        Action::Touch => "touch",
        Action::Keep => "keep",
        Action::Wait => "wait",
        Action::Conflict { .. } => "conflict",
    }
}

fn reason(action: Action) -> &'static str {
    match action {
        Action::Upload => "the storage does not have it",
        Action::Touch => "the storage has it; its timestamp is renewed",
        Action::Keep => "the storage has it, younger than --touch-after",
        Action::Wait => "a purge is about to delete it: the backup waits for the purge",
        Action::Conflict { .. } => {
            "the storage has another size under its key: the backup would fail; `verify --repair` removes it"
        }
    }
}

fn text(preview: &Preview) -> String {
    let mut sums: BTreeMap<(&str, &str, &str), (u64, u64, Action)> = BTreeMap::new();
    let mut totals: BTreeMap<&str, (u64, u64, Action)> = BTreeMap::new();
    for file in &preview.files {
        let word = word(file.action);
        let start = (0, 0, file.action);
        let table = sums.entry((&file.keyspace, &file.table, word));
        for sum in [table.or_insert(start), totals.entry(word).or_insert(start)] {
            sum.0 += 1;
            sum.1 += file.bytes;
        }
    }
    let mut table = Table::new(["KEYSPACE", "TABLE", "ACTION", "FILES", "BYTES"]);
    for ((keyspace, name, action), (files, bytes, _)) in sums {
        table.row([
            keyspace.to_owned(),
            name.to_owned(),
            action.to_owned(),
            files.to_string(),
            HumanBytes(bytes).to_string(),
        ]);
    }
    let mut text = table.draw();
    text.push('\n');
    for (word, (files, bytes, action)) in totals {
        let bytes = HumanBytes(bytes);
        let reason = reason(action);
        text.push_str(&format!("{word:<9} {files} files, {bytes}: {reason}\n"));
    }
    text.push_str("Rows that are in memory only are not counted; the schema is not either.\n");
    text
}

fn document(preview: &Preview) -> Value {
    let files: Vec<Value> = preview
        .files
        .iter()
        .map(|file| {
            json!({
                "keyspace": file.keyspace, "table": file.table, "key": file.key,
                "bytes": file.bytes, "action": word(file.action), "reason": reason(file.action),
            })
        })
        .collect();
    json!({ "hostId": preview.node.host_id, "files": files })
}
