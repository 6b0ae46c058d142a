//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Backups and restores of Apache Cassandra on Kubernetes
#[derive(Debug, Parser)]
#[command(
    name = "kubectl cassandra-backup",
    bin_name = "kubectl cassandra-backup",
    version,
    after_help = "Examples:\n  kubectl cassandra-backup status\n  kubectl cassandra-backup backup before-upgrade\n  \
                  kubectl cassandra-backup restore --latest --mode replace --tables shop.orders --dry-run\n  \
                  kubectl cassandra-backup cron trigger nightly"
)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterFlags,
    #[command(subcommand)]
    pub command: Command,
}

/// As kubectl has them.
#[derive(Debug, Default, Args)]
pub struct ClusterFlags {
    /// Namespace [default: that of the context]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config, else the pod's own account]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What there is in the namespace; or one backup or restore, live until it has ended
    Status(StatusFlags),
    /// The backups, newest first, and what they could bring back
    List(ListFlags),
    /// Make a backup now; what is not said is as in the last one that did not fail, but of all tables
    Backup(BackupFlags),
    /// Bring a backup back, or look at what that would do
    Restore(RestoreFlags),
    /// Cancel a backup or a restore
    Cancel {
        /// NAME, backup/NAME or restore/NAME
        name: String,
    },
    /// What the operator has logged of a backup or a restore
    Logs(LogsFlags),
    /// Schedules
    #[command(subcommand)]
    Cron(CronCommand),
    /// The script by which kubectl completes names: write it as kubectl_complete-cassandra_backup into $PATH
    Completion,
    /// What that script asks for
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words so far, the last one unfinished
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum CronCommand {
    /// Make a backup of a schedule now; retention counts it with the others
    Trigger(TriggerFlags),
}

#[derive(Debug, Args)]
pub struct StatusFlags {
    /// NAME, backup/NAME or restore/NAME
    pub name: Option<String>,
    /// Say how it is and end, instead of following it
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Args)]
pub struct ListFlags {
    /// Only those of this cluster id
    #[arg(long, value_name = "ID")]
    pub cluster: Option<String>,
}

#[derive(Debug, Args)]
pub struct BackupFlags {
    /// Name of the CassandraBackup
    pub name: String,
    /// Cluster id in the storage
    #[arg(long, value_name = "ID")]
    pub cluster: Option<String>,
    /// Name of the BackupStorage
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,
    /// Labels of the Cassandra pods, such as app=cassandra
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only these keyspaces
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub keyspaces: Vec<String>,
    /// Only these tables, as keyspace.table
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub tables: Vec<String>,
    /// Bytes per second that each node may read and send, such as 50M
    #[arg(long, value_name = "QUANTITY")]
    pub bandwidth: Option<String>,
    /// Do not wait for its end
    #[arg(long)]
    pub no_wait: bool,
}

/// What becomes of the rows that the tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// They stay, and the newer of two writes counts
    Merge,
    /// They go, after a snapshot that stays on the nodes
    Replace,
}

#[derive(Debug, Args)]
pub struct RestoreFlags {
    /// Name of the CassandraRestore [default: made of the time]
    pub name: Option<String>,
    /// The CassandraBackup to bring back
    #[arg(long, value_name = "NAME", required_unless_present_any = ["latest", "before"])]
    pub backup: Option<String>,
    /// The newest whole backup that has what is to be restored
    #[arg(long, conflicts_with_all = ["backup", "before"])]
    pub latest: bool,
    /// The newest such that was begun before this time, such as 2026-11-26T03:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "backup")]
    pub before: Option<jiff::Timestamp>,
    /// What becomes of the rows that the tables have
    #[arg(long, value_enum)]
    pub mode: Mode,
    /// Only these keyspaces
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub keyspaces: Vec<String>,
    /// Only these tables, as keyspace.table
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub tables: Vec<String>,
    /// A table under another name, as ks.t=ks2.t2; repeatable
    #[arg(long, value_name = "FROM=TO", value_parser = rename)]
    pub rename: Vec<(String, String)>,
    /// Cluster id of the backup in the storage
    #[arg(long, value_name = "ID")]
    pub cluster: Option<String>,
    /// Name of the BackupStorage
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,
    /// Labels of the Cassandra pods that are restored into, such as app=cassandra
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// Show the plan, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for its end
    #[arg(long, conflicts_with = "dry_run")]
    pub no_wait: bool,
}

#[derive(Debug, Args)]
pub struct LogsFlags {
    /// NAME, backup/NAME or restore/NAME
    pub name: String,
    /// Go on with what is logged from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Namespace of the operator [default: where its pods are found]
    #[arg(long, value_name = "NAME")]
    pub operator_namespace: Option<String>,
}

#[derive(Debug, Args)]
pub struct TriggerFlags {
    /// Name of the CronBackup
    pub name: String,
    /// Do not wait for its end
    #[arg(long)]
    pub no_wait: bool,
}

fn rename(text: &str) -> Result<(String, String), String> {
    let (from, to) = text
        .split_once('=')
        .ok_or("write it as ks.table=ks2.table2")?;
    Ok((from.to_owned(), to.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_restore_says_which_backup_and_what_becomes_of_rows() {
        let parse = |more: &str| {
            let words = format!("kubectl-cassandra_backup restore {more}");
            Arguments::try_parse_from(words.split_whitespace())
        };
        for wrong in [
            "--mode merge",
            "--latest",
            "--latest --backup b --mode merge",
            "--backup b --before 2026-11-26T03:00:00Z --mode merge",
            "--before yesterday --mode merge",
            "--latest --mode rehearse",
            "--latest --mode merge --rename shop.orders",
            "--latest --mode merge --dry-run --no-wait",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("--latest --mode replace --rename a.b=c.d --tables a.b,a.c").is_ok());
    }
}
