//! `verify`: whether the storage holds what the manifests name.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use indicatif::HumanBytes;
use manifest::BackupName;
use protocol::{ExitCode, Reason};
use serde_json::{Value, json};

use super::query::{self, CacheFlags, ClusterFlags, Failure, Form};
use super::spinner::Spinner;
use crate::catalogue::{self, Headers};
use crate::serve::note;
use crate::verify::{self, Finding, Level, Problem, RepairOptions, Repaired, Report, Seen};

const EXAMPLES: &str = "\
Examples:
  Whether every object of every backup is there with its size:
    cassandra-backup verify --all --cluster prod --blob-storage s3 --bucket backups

  Read one backup back and compare every byte's hash:
    cassandra-backup verify --backup nightly-1 --level content --cluster prod \\
      --blob-storage file --filebackup-location /backup

Exit code 13 says that something is missing or damaged.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["backup", "all"])))]
pub(super) struct VerifyFlags {
    /// The backups to look at
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    backup: Vec<BackupName>,
    /// All backups of the cluster
    #[arg(long)]
    all: bool,
    /// How much is looked at
    #[arg(long, value_enum, default_value_t = LevelFlag::Size)]
    level: LevelFlag,
    /// Objects looked at at the same time
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Remove objects that are wrong at this level, unless a running backup relies on them or the
    /// manifest of another one names them as they are: the next backup that needs them uploads them
    /// again, which heals older backups too
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    caches: CacheFlags,
    /// How the answer is shown
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    of: ClusterFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LevelFlag {
    /// Every object is there
    Exists,
    /// And has its size
    Size,
    /// And its content: everything is read
    Content,
}

impl VerifyFlags {
    /// Looks. Returns the exit code.
    pub fn run(self) -> u8 {
        let Self {
            backup: names,
            of,
            level,
            concurrency,
            repair,
            caches,
            output,
            ..
        } = self;
        if repair && level == LevelFlag::Exists {
            note!(
                "error: --repair needs --level size or content: what is not there cannot be wrong"
            );
            return ExitCode::Usage as u8;
        }
        let level = match level {
            LevelFlag::Exists => Level::Exists,
            LevelFlag::Size => Level::Size,
            LevelFlag::Content => Level::Content,
        };
        query::ask(of, async |store, cluster, access| {
            let store = store.as_ref();
            let backups = if names.is_empty() {
                catalogue::read(store, &cluster, Headers::All).await?
            } else {
                let mut backups = Vec::new();
                for name in &names {
                    backups.push(catalogue::read_one(store, &cluster, name).await?);
                }
                backups
            };
            let running = catalogue::running(store, &backups).await?;
            let (running, backups): (Vec<_>, Vec<_>) = backups
                .into_iter()
                .partition(|backup| names.is_empty() && running.contains(&backup.name));
            for backup in running {
                note!("{} is still being made and is not looked at", backup.name);
            }
            let (backups, ended): (Vec<_>, Vec<_>) = backups
                .into_iter()
                .partition(|backup| !names.is_empty() || !backup.manifests.is_empty());
            for backup in ended {
                note!(
                    "{} has no manifest: there is nothing to look at",
                    backup.name
                );
            }
            if backups.is_empty() {
                return Err(Failure {
                    reason: Reason::BackupNotFound,
                    message: format!("there is no backup of {cluster} in {}", store.name()),
                });
            }
            let spinner = Spinner::new();
            let seen = |seen: Seen| {
                let read = HumanBytes(seen.read);
                spinner.tell(|| format!("{} objects, {read} read", seen.objects));
            };
            let concurrency = concurrency.into();
            let report =
                verify::verify(store, &cluster, &backups, level, concurrency, &seen).await?;
            spinner.end();
            let repaired = if repair {
                let options = RepairOptions::new(caches.wait(&access));
                let findings = &report.findings.named;
                Some(verify::repair(store, &cluster, findings, options).await?)
            } else {
                None
            };
            let repaired = repaired.as_ref();
            match output {
                Form::Json => query::print_json(&document(backups.len(), &report, repaired))?,
                Form::Text => query::print(&text(backups.len(), &report, repaired))?,
            }
            if report.is_sound() {
                return Ok(ExitCode::Done);
            }
            Err(Failure {
                reason: Reason::ContentMismatch,
                message: "the storage does not hold all that the manifests name".into(),
            })
        })
    }
}

fn problem(finding: &Finding) -> (&'static str, String) {
    match &finding.problem {
        Problem::Missing => ("Missing", "is not there".into()),
        Problem::Size { found } => (
            "Size",
            format!("has {found} bytes instead of {}", finding.bytes),
        ),
        Problem::Content { found } => ("Content", format!("has other content, BLAKE3 {found}")),
    }
}

fn text(backups: usize, report: &Report, repaired: Option<&Repaired>) -> String {
    let mut text = format!(
        "{backups} backups, {} manifests, {} objects of {}; {} read\n",
        report.manifests,
        report.objects,
        HumanBytes(report.bytes),
        HumanBytes(report.read)
    );
    for (backup, nodes) in &report.missing_nodes {
        for node in nodes {
            text.push_str(&format!("{backup}: node {node} has no manifest\n"));
        }
    }
    for backup in &report.without_manifest {
        text.push_str(&format!("{backup}: no node has a manifest\n"));
    }
    for unreadable in &report.unreadable {
        text.push_str(&format!(
            "{}: the manifest of node {} cannot be believed: {}\n",
            unreadable.backup, unreadable.host_id, unreadable.why
        ));
    }
    for finding in &report.findings.named {
        let (_, what) = problem(finding);
        text.push_str(&format!("{}: {} {what}\n", finding.backup, finding.key));
    }
    let unnamed = report.findings.count - report.findings.named.len() as u64;
    if unnamed > 0 {
        text.push_str(&format!("and {unnamed} more objects\n"));
    }
    if report.is_sound() {
        text.push_str("all is there\n");
    }
    for (keys, what) in repaired.into_iter().flat_map(fates) {
        for key in keys {
            text.push_str(&format!("{key} {what}\n"));
        }
    }
    text
}

/// What became of the objects of a repair.
fn fates(repaired: &Repaired) -> [(&BTreeSet<String>, &'static str); 5] {
    [
        (
            &repaired.removed,
            "was removed; the next backup that has it uploads it again",
        ),
        (
            &repaired.in_use,
            "stays, as a backup that may be running relies on it: repair again when it has ended or its deadline has passed",
        ),
        (
            &repaired.disputed,
            "stays, as it is what the manifest of another backup says: one of the two manifests is wrong",
        ),
        (&repaired.right, "is right by now"),
        (
            &repaired.left,
            "stays, as the time was over or it has changed: repair again",
        ),
    ]
}

fn document(backups: usize, report: &Report, repaired: Option<&Repaired>) -> Value {
    let findings: Vec<Value> = report
        .findings
        .named
        .iter()
        .map(|finding| {
            let (kind, _) = problem(finding);
            json!({
                "backup": finding.backup, "key": finding.key, "bytes": finding.bytes,
                "problem": kind,
                "foundBytes": match finding.problem { Problem::Size { found } => Some(found), _ => None },
                "foundBlake3": match &finding.problem {
                    Problem::Content { found } => Some(found.as_str()),
                    _ => None,
                },
            })
        })
        .collect();
    let unreadable: Vec<Value> = report
        .unreadable
        .iter()
        .map(|it| json!({"backup": it.backup, "hostId": it.host_id, "why": it.why}))
        .collect();
    let missing: Vec<Value> = report
        .missing_nodes
        .iter()
        .map(|(backup, nodes)| json!({"backup": backup, "hostIds": nodes}))
        .collect();
    json!({
        "sound": report.is_sound(),
        "backups": backups, "manifests": report.manifests, "objects": report.objects,
        "bytes": report.bytes, "readBytes": report.read,
        "problems": report.findings.count, "findings": findings,
        "withoutManifest": report.without_manifest, "unreadableManifests": unreadable, "missingNodes": missing,
        "repaired": repaired.map(|it| json!({
            "removed": it.removed, "inUse": it.in_use, "disputed": it.disputed, "right": it.right, "left": it.left,
        })),
    })
}
