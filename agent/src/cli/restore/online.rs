//! Rows into a cluster that is up.

use std::path::Path;
use std::time::Instant;

use indicatif::{HumanBytes, HumanDuration};
use protocol::{ExitCode, Reason};
use serde_json::{Value, json};

use super::super::query::{self, Failure, Form};
use super::super::{list, spinner::Spinner, table::Table};
use super::{RestoreFlags, become_owner, progress};
use crate::neighbour;
use crate::restore::online::{Mode, Order, Plan, Ready, Selection, Step, Tell};
use crate::restore::{Done, Which};
use crate::serve::note;

/// Statements, ranges and tables that are listed one by one.
const LISTED: usize = 20;

pub(super) fn run(flags: RestoreFlags, mode: Mode, state_directory: Option<&Path>) -> u8 {
    let RestoreFlags {
        backup,
        step,
        keyspaces,
        tables,
        rename,
        allow_degraded,
        anew,
        bandwidth,
        batch,
        concurrency,
        dry_run,
        output,
        of,
        cassandra,
        ..
    } = flags;
    let named = matches!(backup, Which::Named(_));
    let order_of = || -> Result<Order, Failure> {
        let step = Step::from(step);
        if step != Step::All && !named && !dry_run {
            return Err(Failure::usage(
                "name the backup: between two steps the newest may become another one; --dry-run says which it is now",
            ));
        }
        Ok(Order {
            which: backup,
            selection: Selection::new(keyspaces, tables, rename).map_err(Failure::usage)?,
            mode,
            step,
            allow_degraded,
            anew,
            run: None,
            dry_run,
            concurrency: concurrency.into(),
            bandwidth,
            batch,
        })
    };
    // Before there is a second thread: it gets them from the first.
    for missed in neighbour::apply() {
        note!("warning: {missed}");
    }
    query::ask(of, async |store, cluster, _| {
        let order = order_of()?;
        neighbour::enough_memory().map_err(|error| Failure {
            reason: Reason::OutOfMemory,
            message: error.to_string(),
        })?;
        let jmx = cassandra.jmx().map_err(Failure::usage)?;
        let cql = cassandra.cql().map_err(Failure::usage)?;
        let store = store.as_ref();
        let ready = Ready::look(store, &cluster, order.clone(), &jmx, &cql).await?;
        note!("{}", sentence(&ready, &order, dry_run));
        warn_of(&ready, &order);
        let began = Instant::now();
        let done = if dry_run {
            None
        } else {
            let data = ready.data_directory();
            become_owner(data, owner_of(data), state_directory)?;
            let (files, bytes) = ready.plan.sum();
            let spinner = Spinner::new();
            let seen = |seen| spinner.tell(|| progress(seen, files, bytes, began));
            let say = |what: String| spinner.tell(|| what);
            let warn = |why: String| note!("warning: {why}");
            let tell = Tell {
                seen: &seen,
                say: &say,
                warn: &warn,
            };
            let done = ready.run(&tell).await;
            spinner.end();
            Some(done?)
        };
        match output {
            Form::Json => query::print_json(&document(&ready, &order, done))?,
            Form::Text => query::print(&text(&ready, &order, done, began))?,
        }
        ready.close().await;
        Ok(ExitCode::Done)
    })
}

fn owner_of(data: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(data).ok().map(|it| it.uid())
}

fn sentence(ready: &Ready<'_>, order: &Order, dry_run: bool) -> String {
    let (files, bytes) = ready.plan.sum();
    let what = match (dry_run, order.step) {
        (true, _) => "would restore",
        (false, Step::All) => "restores",
        (false, Step::Prepare) => "prepares the restore of",
        (false, Step::Load) => "loads",
        (false, Step::Finish) => "finishes the restore of",
    };
    let again = if ready.resumes {
        ", going on with it,"
    } else {
        ""
    };
    let mut sentence = format!(
        "{what}{again} {} tables from backup {}, taken {}",
        ready.plan.tables.len(),
        ready.backup(),
        list::started(ready.taken()),
    );
    if ready.loads() {
        sentence.push_str(&format!(": {files} files, {}", HumanBytes(bytes)));
    }
    sentence
}

fn warn_of(ready: &Ready<'_>, order: &Order) {
    for passed_over in ready.passed_over() {
        note!("warning: passed over: {passed_over}");
    }
    let named = |names: &[String]| {
        let more = names.len().saturating_sub(LISTED);
        let mut text = names[..names.len() - more].join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        text
    };
    if order.mode == Mode::Merge && !ready.not_empty.is_empty() && order.step != Step::Finish {
        let tables: Vec<_> = ready.not_empty.iter().map(|it| it.to_string()).collect();
        note!(
            "warning: {} are not empty: what was deleted or overwritten since the backup stays so",
            named(&tables)
        );
    }
    if !ready.schema.left_out.is_empty() {
        note!(
            "warning: views of tables that get another name are not made: {}",
            named(&ready.schema.left_out)
        );
    }
    let degraded = ready.plan.degraded();
    if degraded > 0 {
        note!(
            "warning: DegradedCover: of {degraded} ranges of this node a replica has no manifest; `nodetool repair --full` cannot bring back what only it had"
        );
    }
}

fn text(ready: &Ready<'_>, order: &Order, done: Option<Done>, began: Instant) -> String {
    let mut text = super::warnings(ready.taken(), &ready.plan.left_out);
    let Some(done) = done else {
        return text + &plan_text(&ready.plan, ready, order);
    };
    if ready.loads() {
        text.push_str(&format!(
            "{} files were fetched in {}, {} were there already; {} tables are imported\n",
            done.fetched,
            HumanDuration(began.elapsed()),
            done.kept,
            ready.plan.tables.len()
        ));
    }
    if let Some(rehearsed) = &done.rehearsed {
        text.push_str(&format!("{rehearsed}\n"));
    }
    text.push_str(match order.step {
        Step::All if ready.schema.after.is_empty() => "the restore is done\n",
        Step::All => {
            "the restore is done; Cassandra builds indexes and views of it in the background\n"
        }
        Step::Prepare => "the schema is there; now run --step load on every node\n",
        Step::Load => "this node is done; when all are, run --step finish on one of them\n",
        Step::Finish if ready.schema.after.is_empty() => "the restore is done\n",
        Step::Finish => {
            "the restore is done; Cassandra builds indexes and views of it in the background\n"
        }
    });
    text
}

fn plan_text(plan: &Plan, ready: &Ready<'_>, order: &Order) -> String {
    let mut text = String::new();
    let mut rows = Table::new([
        "TABLE",
        "INTO",
        "SSTABLES",
        "FILES",
        "BYTES",
        "WHY",
        "NOT FOR THIS NODE",
    ]);
    for (from, table) in &plan.tables {
        let why = match (table.same_place, table.overlapping) {
            (0, 0) => "-",
            (_, 0) => "same place in the ring",
            (0, _) => "overlaps its ranges",
            _ => "both",
        };
        rows.row([
            from.to_string(),
            table.into.to_string(),
            table.sstables.to_string(),
            table.files.to_string(),
            HumanBytes(table.bytes).to_string(),
            why.to_owned(),
            table.not_for_node.to_string(),
        ]);
    }
    text.push_str(&rows.draw());
    let statements = |title: &str, all: &[String]| {
        let mut text = String::new();
        if !all.is_empty() {
            text.push_str(&format!("{title}\n"));
        }
        for statement in all.iter().take(LISTED) {
            let first = statement.lines().next().unwrap_or_default();
            text.push_str(&format!("  {first}\n"));
        }
        if all.len() > LISTED {
            text.push_str(&format!("  and {} more\n", all.len() - LISTED));
        }
        text
    };
    text.push_str(&statements("made before the import:", &ready.schema.before));
    text.push_str(&statements("made after the import:", &ready.schema.after));
    for (what, stays) in &ready.gives_up {
        text.push_str(&format!(
            "would give up a restore of {what} that did not end: {stays}\n"
        ));
    }
    if order.mode == Mode::Replace && !ready.schema.existing.is_empty() {
        text.push_str(&format!(
            "{} tables would be truncated after a snapshot\n",
            ready.schema.existing.len()
        ));
    }
    text.push_str(&format!(
        "needs {} at its peak, of {} that are free; nothing was changed\n",
        HumanBytes(plan.peak),
        HumanBytes(plan.free)
    ));
    text
}

fn document(ready: &Ready<'_>, order: &Order, done: Option<Done>) -> Value {
    let plan = &ready.plan;
    let (files, bytes) = plan.sum();
    let tables: Vec<Value> = plan
        .tables
        .iter()
        .map(|(from, table)| {
            let mut row = json!({"table": from.to_string()});
            if let (Some(row), Ok(Value::Object(more))) =
                (row.as_object_mut(), serde_json::to_value(table))
            {
                row.extend(more);
            }
            row
        })
        .collect();
    let degraded: Vec<Value> = plan
        .keyspaces
        .iter()
        .filter(|(_, it)| !it.degraded.is_empty())
        .map(|((keyspace, _), it)| {
            let ranges: Vec<_> = it.degraded.iter().map(|it| it.to_string()).collect();
            json!({"keyspace": keyspace, "ranges": ranges})
        })
        .collect();
    let given_up = |(backup, stays): &(String, String)| json!({"backup": backup, "stays": stays});
    let gives_up: Vec<Value> = ready.gives_up.iter().map(given_up).collect();
    json!({
        "backup": ready.backup(), "snapshotStartedAt": ready.taken(), "mode": order.mode,
        "step": order.step, "tables": tables, "files": files, "bytes": bytes,
        "leftOut": plan.left_out, "degraded": degraded, "peakBytes": plan.peak,
        "freeBytes": plan.free, "schemaBefore": ready.schema.before,
        "schemaAfter": ready.schema.after, "notEmpty": ready.not_empty,
        "resumed": ready.resumes, "givesUp": gives_up, "dryRun": done.is_none(),
        "fetchedFiles": done.map(|done| done.fetched), "keptFiles": done.map(|done| done.kept),
        "rehearsed": done.and_then(|done| done.rehearsed),
    })
}
