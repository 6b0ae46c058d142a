//! `cargo bed up | down | status`: the test bed for daily work.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use e2e::bed;
use e2e::bed::protocol::{PartStatus, Status};

/// The test bed: a real Kubernetes on this machine, and what else the tests need.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring everything up, healing what a killed bed left; it stays until `down`
    Up,
    /// End everything; leaves no process, mount, bridge or container
    Down,
    /// Show what is up
    Status,
    /// The process that owns the parts; started by whoever needs the bed
    #[command(hide = true)]
    Keep,
}

/// What one may want to know of an empty cluster.
const NEXT: &str = "\
For kubectl, helm and the plugin: export KUBECONFIG with the path above.
This cluster is for tests: it has no Cassandra, no storage class and no DNS. `cargo demo` shows a backup on it; to try
the operator by hand, take kind (docs/quick-start.md).";

#[tokio::main]
async fn main() -> ExitCode {
    let work = async {
        match Args::parse().command {
            Command::Up => bed::up().await.map(|status| {
                show(&status);
                println!("\n{NEXT}");
            }),
            Command::Down => bed::down().await,
            Command::Status => bed::status().await.map(|status| match status {
                Some(status) => show(&status),
                None => show_down(),
            }),
            Command::Keep => bed::keeper::run().await,
        }
    };
    match work.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show_down() {
    match bed::left_over().join(", ") {
        none if none.is_empty() => println!("The bed is down."),
        names => println!(
            "The keeper of the bed was killed; {names} run on. `cargo bed up` heals it, \
             `cargo bed down` ends it."
        ),
    }
}

/// A pipe that is closed early, as by `head`, is no error.
fn show(status: &Status) {
    let _ = std::io::stdout().write_all(describe(status).as_bytes());
}

fn describe(status: &Status) -> String {
    let Status {
        keeper,
        age,
        pinned,
        users,
        parts,
    } = status;
    let stays = if *pinned {
        "until `cargo bed down`"
    } else {
        "as long as it is used"
    };
    let mut text = format!(
        "The bed is up for {age} s and stays {stays}; {users} hold it; keeper {}.\n",
        keeper.pid
    );
    parts
        .iter()
        .for_each(|part| text.push_str(&describe_part(part)));
    text
}

fn describe_part(part: &PartStatus) -> String {
    let PartStatus {
        name,
        version,
        source,
        facts,
        daemons,
    } = part;
    let state = if facts.is_some() { "up" } else { "not started" };
    let mut text = format!("\n{name} {version}: {state} ({source})\n");
    for (daemon, pid, alive) in daemons.iter().filter(|(_, pid, _)| *pid != 0) {
        let dead = if *alive { "" } else { "  dead" };
        text.push_str(&format!("  {daemon:<24} {pid}{dead}\n"));
    }
    for (name, value) in facts.iter().flatten() {
        text.push_str(&format!("  {name:<24} {value}\n"));
    }
    text
}
