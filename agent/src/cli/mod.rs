//! What people and the operator type.
//!
//! Parsing and drawing, nothing else: `backup` makes the same request that comes by standard
//! input and serves it in the same way.

mod backup;
mod cassandra;
mod check;
mod clusters;
mod draw;
mod jmx;
mod list;
mod preview;
mod purge;
mod purge_report;
mod query;
mod restore;
mod show;
mod spinner;
mod storage;
mod table;
mod values;
mod verify;

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode as ProcessExit;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use protocol::{ExitCode, Operation, Outcome, Reason};
use uuid::Uuid;

use crate::control::{self, Answer};
use crate::run_context::Run;
use crate::serve::{self, Lines, Tell, note};
use crate::state::StateDirectory;
use crate::{back_up, catalogue, coverage, expiry, neighbour, probe, sweep};
use draw::Drawing;

/// Backs up one Apache Cassandra node: takes a snapshot over JMX, uploads what the storage does
/// not hold yet, and writes a manifest.
#[derive(Debug, Parser)]
#[command(name = "cassandra-backup", version, max_term_width = 100)]
#[command(arg_required_else_help = true, args_conflicts_with_subcommands = true)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    /// Reads one request, a line of JSON, from standard input and tells events on standard output.
    /// For programs; docs/protocol.md has the format
    #[arg(long, value_name = "-", value_parser = ["-"])]
    request: Option<String>,

    /// Where journals and caches are kept [default: /var/lib/cassandra-backup for root, else
    /// $XDG_STATE_HOME or ~/.local/state, else $TMPDIR]
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0 done · 1 failed · 2 wrong usage · 10 backup, run or storage not found · 11 another run is at
  work · 12 access denied · 13 content does not match · 14 no space · 15 deadline passed ·
  75 worth retrying · 130 cancelled";

const COMPLETIONS: &str = "\
Examples:
  In this shell:
    source <(cassandra-backup completions bash)

  In every shell to come:
    cassandra-backup completions bash > ~/.local/share/bash-completion/completions/cassandra-backup";

#[derive(Debug, Subcommand)]
enum Command {
    /// Back up the Cassandra node of this machine
    Backup(Box<backup::BackupFlags>),
    /// List the clusters that have backups in a storage
    Clusters(Box<clusters::ClustersFlags>),
    /// List the backups of a cluster
    List(Box<list::ListFlags>),
    /// Show a backup, node by node and table by table
    Show(Box<show::ShowFlags>),
    /// See whether the storage holds what backups need
    Verify(Box<verify::VerifyFlags>),
    /// Bring rows back into a cluster that is up, or a node that lost its disk
    Restore(Box<restore::RestoreFlags>),
    /// Delete backups that no rule keeps, and data that no backup needs
    Purge(Box<purge::PurgeFlags>),
    /// Delete backups by name
    Delete(Box<purge::DeleteFlags>),
    /// See what works and what does not, before a backup needs it
    Check(Box<check::CheckFlags>),
    /// Tell the events of a run, from the beginning or from a number on, until it ends
    Attach(AttachFlags),
    /// Ask a run of this machine to end
    Cancel(RunFlags),
    /// Let a run that holds after its snapshot go on
    Proceed(RunFlags),
    /// Print what makes a shell complete this program's commands and flags
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// Your shell
        shell: clap_complete::Shell,
    },
    /// Print the BLAKE3 of this program's file
    SelfCheck,
}

#[derive(Debug, clap::Args)]
struct AttachFlags {
    /// The id of the run, which `backup` prints first
    #[arg(long, value_name = "ID")]
    run: Uuid,
    /// Only events after this sequence number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: u64,
    /// One event a line, or drawn for people
    #[arg(long, value_enum, default_value_t = Output::Json)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct RunFlags {
    /// The id of the run, which `backup` prints first
    #[arg(long, value_name = "ID")]
    run: Uuid,
}

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people: progress on standard error, a summary on standard output
    Text,
    /// For programs: one event a line, docs/protocol.md
    Json,
}

/// The program. Must be called before there is a second thread.
pub fn main() -> ProcessExit {
    let cli = Cli::try_parse().unwrap_or_else(|error| error.exit());
    log_to_standard_error();
    let state = cli.state_dir.as_deref();
    let code = match (cli.request, cli.command) {
        (Some(_), _) => {
            neighbour::apply();
            serve::standard_input(state, perform)
        }
        (None, Some(Command::Backup(flags))) => flags.run(state),
        (None, Some(Command::Clusters(flags))) => flags.run(),
        (None, Some(Command::List(flags))) => flags.run(),
        (None, Some(Command::Show(flags))) => flags.run(),
        (None, Some(Command::Verify(flags))) => flags.run(),
        (None, Some(Command::Restore(flags))) => flags.run(state),
        (None, Some(Command::Purge(flags))) => flags.run(state),
        (None, Some(Command::Delete(flags))) => flags.run(state),
        (None, Some(Command::Check(flags))) => flags.run(state),
        (None, Some(Command::Attach(flags))) => flags.run(state),
        (None, Some(Command::Cancel(flags))) => {
            tell(control::Command::Cancel(flags.run), flags.run)
        }
        (None, Some(Command::Proceed(flags))) => {
            tell(control::Command::Proceed(flags.run), flags.run)
        }
        (None, Some(Command::Completions { shell })) => completions(shell),
        (None, Some(Command::SelfCheck)) => self_check(),
        (None, None) => {
            note!("error: say what to do; see cassandra-backup --help");
            ExitCode::Usage as u8
        }
    };
    ProcessExit::from(code)
}

/// Does what a request asks for.
async fn perform(run: Run, operation: Operation) -> Outcome {
    for missed in neighbour::apply() {
        run.warn(Reason::LimitedNeighbour, missed);
    }
    match operation {
        Operation::Backup(request) => back_up(&run, &request).await,
        Operation::Probe(request) => probe::run(&run, &request).await,
        Operation::Sweep(request) => sweep::run(&run, &request).await,
        Operation::Coverage(request) => coverage::run(&run, &request).await,
        Operation::Purge(request) => expiry::purge(&run, &request).await,
        Operation::Delete(request) => expiry::delete(&run, &request).await,
        Operation::Catalogue(request) => catalogue::tell(&run, &request).await,
        Operation::Restore(request) => crate::restore::online::run(&run, &request).await,
    }
}

/// Warnings of libraries; that a machine is none of Amazon's is none, and what follows from it is told anyway.
const LOGGED: &str = "warn,aws_config::imds=error";

/// Warnings of libraries, and more on demand by `RUST_LOG`.
fn log_to_standard_error() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOGGED));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // Its complaint about a closed standard error would be a panic.
        .log_internal_errors(false)
        .init();
}

impl AttachFlags {
    fn run(&self, given: Option<&Path>) -> u8 {
        let Some(state) = StateDirectory::find(given, self.run) else {
            note!(
                "error: no run {} is known here; if its request named a state directory, name it with --state-dir",
                self.run
            );
            return ExitCode::NotFound as u8;
        };
        let tell: Box<dyn Tell> = match self.output {
            Output::Json => Box::new(Lines(io::stdout())),
            Output::Text => Box::new(Drawing::new(None)),
        };
        serve::attach(&state, self.run, self.from, tell).unwrap_or_else(|error| {
            note!(
                "error: cannot read the journal of run {}: {error}",
                self.run
            );
            ExitCode::Failed as u8
        })
    }
}

/// Tells a run of this machine something, and what it answers.
fn tell(command: control::Command, run: Uuid) -> u8 {
    match control::tell(command) {
        Ok((holder, Answer::Refused(why))) => {
            note!("error: process {} refuses for run {run}: {why}", holder.pid);
            ExitCode::Denied as u8
        }
        Ok((holder, answer)) => {
            let mut told = serde_json::json!({"runId": holder.run_id, "pid": holder.pid});
            if let (Some(told), Ok(serde_json::Value::Object(answer))) =
                (told.as_object_mut(), serde_json::to_value(answer))
            {
                told.extend(answer);
            }
            let mut line = told.to_string().into_bytes();
            line.push(b'\n');
            // Who does not listen has the exit code.
            let _ = Lines(io::stdout()).tell(&line);
            ExitCode::Done as u8
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            note!("error: run {run} is not running on this machine, or not in this pod");
            ExitCode::NotFound as u8
        }
        Err(error) => {
            note!("error: run {run} does not answer: {error}");
            ExitCode::Retry as u8
        }
    }
}

fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cassandra-backup", &mut script);
    match Lines(io::stdout()).tell(&script) {
        Ok(()) => ExitCode::Done as u8,
        Err(_) => ExitCode::Failed as u8,
    }
}

fn self_check() -> u8 {
    let mut hasher = blake3::Hasher::new();
    let hashed = File::open("/proc/self/exe")
        .and_then(|file| Ok(hasher.update_reader(file)?.finalize().to_hex()));
    match hashed {
        Ok(hash) => match Lines(io::stdout()).tell(format!("{hash}\n").as_bytes()) {
            Ok(()) => ExitCode::Done as u8,
            Err(_) => ExitCode::Failed as u8,
        },
        Err(error) => {
            note!("error: cannot read this program's own file, /proc/self/exe: {error}");
            ExitCode::Failed as u8
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
