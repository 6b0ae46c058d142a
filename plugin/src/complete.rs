//! Names and flags for the shell. kubectl asks a program `kubectl_complete-<plugin>` with the words so far, and wants
//! a line each, and a last one with a directive.
//! <https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/#using-the-command-line-runtime-package>

use std::collections::BTreeSet;

use clap::CommandFactory;
use crds::{BackupStorage, CassandraBackup, CassandraRestore, CronBackup};
use kube::ResourceExt;

use crate::arguments::{Arguments, ClusterFlags};
use crate::connection::Connection;

/// The program that kubectl asks.
pub const SCRIPT: &str = "#!/bin/sh\nexec kubectl-cassandra_backup __complete -- \"$@\"\n";
/// Do not complete names of files instead.
const NO_FILES: &str = ":4";

/// What may stand where the cursor is.
#[derive(Debug, PartialEq)]
enum Wanted {
    Words(Vec<String>),
    Backups,
    Jobs,
    Storages,
    Schedules,
    Nothing,
}

/// The cluster and namespace that the words name.
pub fn cluster(words: &[String]) -> ClusterFlags {
    let after = |flags: &[&str]| {
        let at = words
            .iter()
            .position(|word| flags.contains(&word.as_str()))?;
        words.get(at + 1).cloned()
    };
    ClusterFlags {
        namespace: after(&["-n", "--namespace"]),
        context: after(&["--context"]),
        kubeconfig: after(&["--kubeconfig"]).map(Into::into),
    }
}

/// Prints what may follow.
pub async fn run(connection: Option<&Connection>, words: &[String]) {
    let unfinished = words.last().map_or("", String::as_str);
    let found = match (wanted(words), connection) {
        (Wanted::Words(words), _) => words,
        (Wanted::Nothing, _) | (_, None) => Vec::new(),
        (wanted, Some(connection)) => names(connection, &wanted).await,
    };
    for word in found.iter().filter(|word| word.starts_with(unfinished)) {
        println!("{word}");
    }
    println!("{NO_FILES}");
}

async fn names(connection: &Connection, wanted: &Wanted) -> Vec<String> {
    let mut names = BTreeSet::new();
    // Where they may not be listed, there is nothing to offer.
    if matches!(wanted, Wanted::Backups | Wanted::Jobs) {
        let all = connection.all::<CassandraBackup>().await;
        names.extend(all.iter().flatten().map(ResourceExt::name_any));
    }
    if *wanted == Wanted::Jobs {
        let all = connection.all::<CassandraRestore>().await;
        names.extend(all.iter().flatten().map(ResourceExt::name_any));
    }
    if *wanted == Wanted::Storages {
        let all = connection.all::<BackupStorage>().await;
        names.extend(all.iter().flatten().map(ResourceExt::name_any));
    }
    if *wanted == Wanted::Schedules {
        let all = connection.all::<CronBackup>().await;
        names.extend(all.iter().flatten().map(ResourceExt::name_any));
    }
    names.into_iter().collect()
}

/// What may stand in place of the last word.
fn wanted(words: &[String]) -> Wanted {
    let Some((unfinished, before)) = words.split_last() else {
        return Wanted::Nothing;
    };
    match before.last().map(String::as_str) {
        Some("--backup") => return Wanted::Backups,
        Some("--storage") => return Wanted::Storages,
        Some("--mode") => return Wanted::Words(vec!["merge".into(), "replace".into()]),
        Some(flag) if takes_value(flag) => return Wanted::Nothing,
        _ => {}
    }
    let mut command = Arguments::command();
    let mut path = Vec::new();
    let mut skip = false;
    for word in before {
        if std::mem::take(&mut skip) {
            continue;
        }
        if word.starts_with('-') {
            skip = takes_value(word);
            continue;
        }
        path.push(word.as_str());
        if let Some(next) = command.find_subcommand(word).cloned() {
            command = next;
        }
    }
    if unfinished.starts_with('-') {
        let root = Arguments::command();
        let flags = command.get_arguments().chain(root.get_arguments());
        let flags = flags.filter(|flag| !flag.is_hide_set());
        let flags = flags.filter_map(|flag| Some(format!("--{}", flag.get_long()?)));
        return Wanted::Words(flags.collect::<BTreeSet<_>>().into_iter().collect());
    }
    match path[..] {
        ["status" | "cancel" | "logs"] => Wanted::Jobs,
        ["cron", "trigger"] => Wanted::Schedules,
        [] | ["cron"] => {
            let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
            Wanted::Words(commands.map(|one| one.get_name().to_owned()).collect())
        }
        _ => Wanted::Nothing,
    }
}

/// Whether a flag of any command is followed by its value.
fn takes_value(flag: &str) -> bool {
    fn of(command: &clap::Command, flag: &str) -> bool {
        let is = |one: &clap::Arg| {
            let long = one
                .get_long()
                .is_some_and(|long| flag == format!("--{long}"));
            let short = one
                .get_short()
                .is_some_and(|short| flag == format!("-{short}"));
            (long || short) && one.get_action().takes_values()
        };
        command.get_arguments().any(is) || command.get_subcommands().any(|one| of(one, flag))
    }
    flag.starts_with('-') && of(&Arguments::command(), flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Wanted {
        let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
        wanted(&words)
    }

    #[test]
    fn the_cursor_decides_what_is_offered() {
        for (text, expected) in [
            ("status ", Wanted::Jobs),
            ("-n shop status b", Wanted::Jobs),
            ("cancel ", Wanted::Jobs),
            ("cron trigger ", Wanted::Schedules),
            ("restore back --backup ", Wanted::Backups),
            ("backup b --storage ", Wanted::Storages),
            ("backup b --bandwidth ", Wanted::Nothing),
            ("backup ", Wanted::Nothing),
            ("cron ", Wanted::Words(vec!["trigger".into()])),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
        let Wanted::Words(commands) = of("") else {
            panic!()
        };
        assert!(commands.contains(&"restore".into()));
        assert!(!commands.contains(&"__complete".into()), "{commands:?}");
        let Wanted::Words(flags) = of("restore --") else {
            panic!()
        };
        for flag in ["--latest", "--dry-run", "--namespace"] {
            assert!(flags.contains(&flag.into()), "{flag}: {flags:?}");
        }
    }
}
