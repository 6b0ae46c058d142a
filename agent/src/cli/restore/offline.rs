//! A node's files, back where they were, while Cassandra is down.

use std::path::Path;
use std::time::Instant;

use indicatif::{HumanBytes, HumanDuration};
use protocol::ExitCode;
use serde_json::{Value, json};

use super::super::query::{self, Form};
use super::super::{list, spinner::Spinner};
use super::{RestoreFlags, become_owner, progress};
use crate::restore::{self, Done, Node, Plan, Seen};
use crate::serve::note;

pub(super) fn run(flags: RestoreFlags, state_directory: Option<&Path>) -> u8 {
    let RestoreFlags {
        backup,
        host_id,
        pod,
        data_directory,
        concurrency,
        dry_run,
        output,
        of,
        ..
    } = flags;
    let node = match (host_id, pod) {
        (Some(id), _) => Node::HostId(id),
        (None, Some(pod)) => Node::Pod(pod),
        (None, None) => Node::Only,
    };
    query::ask(of, async |store, cluster, _| {
        let store = store.as_ref();
        let chosen = restore::choose(store, &cluster, &backup, &node).await?;
        for passed_over in &chosen.passed_over {
            note!("warning: passed over: {passed_over}");
        }
        let plan = restore::plan(store, chosen, data_directory).await?;
        if !dry_run && let Some(data) = plan.directories().first() {
            let owner = plan.owner()?;
            if rustix::process::geteuid().is_root() && owner == Some(0) {
                note!(
                    "{} belongs to root, and so will all that is restored: if Cassandra runs as another user, give it to that user before Cassandra is started",
                    data.display()
                );
            }
            become_owner(data, owner, state_directory)?;
        }
        note!("{}", sentence(&plan, dry_run));
        let began = Instant::now();
        let done = if dry_run {
            None
        } else {
            let spinner = Spinner::new();
            let tell = |seen: Seen| progress(seen, plan.files, plan.bytes, began);
            let seen = |seen: Seen| spinner.tell(|| tell(seen));
            let at_once = concurrency.into();
            let warn = |why: String| note!("warning: {why}");
            let done = restore::restore(store, &cluster, &plan, at_once, &seen, &warn);
            let done = done.await;
            spinner.end();
            Some(done?)
        };
        match output {
            Form::Json => query::print_json(&document(&plan, done))?,
            Form::Text => query::print(&text(&plan, done, began))?,
        }
        Ok(ExitCode::Done)
    })
}

fn sentence(plan: &Plan, dry_run: bool) -> String {
    let chosen = &plan.chosen;
    let pod = chosen.pod.as_ref().map(|pod| format!(" (pod {pod})"));
    format!(
        "{}{} node {}{} from backup {}, taken {}: {} tables, {} files, {}",
        if dry_run { "would restore" } else { "restores" },
        if plan.resumes { ", going on with," } else { "" },
        chosen.host_id,
        pod.unwrap_or_default(),
        chosen.backup,
        list::started(Some(chosen.taken)),
        plan.tables,
        plan.files,
        HumanBytes(plan.bytes)
    )
}

fn text(plan: &Plan, done: Option<Done>, began: Instant) -> String {
    let chosen = &plan.chosen;
    let mut text = super::warnings(Some(chosen.taken), &plan.left_out);
    let directories: Vec<_> = plan
        .directories()
        .iter()
        .map(|it| it.display().to_string())
        .collect();
    let directories = directories.join(", ");
    match done {
        None => text.push_str(&format!("nothing was changed; the files would come to {directories}\n")),
        Some(Done { fetched, kept, .. }) => text.push_str(&format!(
            "{fetched} files were fetched in {}, {kept} were there already, in {directories}\n\
             Start Cassandra with the configuration that the node had (cluster_name, num_tokens, datacenter and rack). \
             When it is up, run `nodetool repair --full` for what was written since the backup.\n",
            HumanDuration(began.elapsed())
        )),
    }
    text
}

fn document(plan: &Plan, done: Option<Done>) -> Value {
    let chosen = &plan.chosen;
    json!({
        "backup": chosen.backup, "hostId": chosen.host_id, "pod": chosen.pod,
        "snapshotStartedAt": chosen.taken, "dataDirectories": plan.directories(),
        "tables": plan.tables, "files": plan.files, "bytes": plan.bytes, "leftOut": plan.left_out,
        "resumed": plan.resumes, "dryRun": done.is_none(),
        "fetchedFiles": done.map(|done| done.fetched), "keptFiles": done.map(|done| done.kept),
    })
}
