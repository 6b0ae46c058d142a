//! `cargo bed up | down | status`: the test bed for daily work.

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

#[tokio::main]
async fn main() -> ExitCode {
    let work = async {
        match Args::parse().command {
            Command::Up => bed::up().await.map(|status| show(&status)),
            Command::Down => bed::down().await,
            Command::Status => bed::status().await.map(|status| match status {
                Some(status) => show(&status),
                None => println!("The bed is down."),
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

fn show(status: &Status) {
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
    println!(
        "The bed is up for {age} s and stays {stays}; {users} hold it; keeper {}.",
        keeper.pid
    );
    parts.iter().for_each(show_part);
}

fn show_part(part: &PartStatus) {
    let PartStatus {
        name,
        version,
        source,
        facts,
        daemons,
    } = part;
    let state = if facts.is_some() { "up" } else { "not started" };
    println!("\n{name} {version}: {state} ({source})");
    for (daemon, pid, alive) in daemons.iter().filter(|(_, pid, _)| *pid != 0) {
        println!(
            "  {daemon:<24} {pid:>7} {}",
            if *alive { "" } else { "DEAD" }
        );
    }
    for (name, value) in facts.iter().flatten() {
        println!("  {name:<24} {value}");
    }
}
