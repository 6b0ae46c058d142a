//! The wire protocol with a scripted operation in place of a backup, for the tests of journal,
//! attach and resume, which need processes that can be killed. It is not part of the program.
//!
//! `scripted_run STATE_DIRECTORY STEP…`, the request on standard input. Steps: `warn=TEXT`,
//! `progress=COUNT`, `await=FILE` (until it exists, or cancelled), `hold`, `stubborn` (for ever, whatever
//! comes), `lock=HOST_ID`, `become=DIRECTORY`, `panic`.

#![allow(clippy::expect_used)] // a program for tests

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use agent::run_context::Run;
use agent::{neighbour, node_lock, serve};
use protocol::{Outcome, Progress, Reason};

fn main() -> ExitCode {
    neighbour::apply();
    let mut arguments = std::env::args().skip(1);
    let state = arguments.next().expect("the state directory");
    let steps: Vec<String> = arguments.collect();
    let code = serve::standard_input(Some(Path::new(&state)), async |run, _operation| {
        let mut held = Vec::new();
        for step in &steps {
            let (verb, object) = step.split_once('=').unwrap_or((step, ""));
            match verb {
                "lock" => match node_lock::take(object.parse().expect("a host id"), &run).await {
                    Ok(lock) => held.push(lock),
                    Err(error) => {
                        return Outcome::ended(Reason::Locked, error.to_string(), run.attempt);
                    }
                },
                _ => {
                    if let Err(reason) = play(&run, verb, object).await {
                        return Outcome::ended(reason, "as the script says", run.attempt);
                    }
                }
            }
        }
        Outcome::ended(Reason::Succeeded, "the script is at its end", run.attempt)
    });
    ExitCode::from(code)
}

async fn play(run: &Run, verb: &str, object: &str) -> Result<(), Reason> {
    match verb {
        "warn" => run.warn(Reason::SchemaIncomplete, object),
        "progress" => {
            for touched in 0..object.parse().expect("a count") {
                run.progress(Progress {
                    touched,
                    ..Progress::default()
                });
            }
        }
        "await" => {
            while !Path::new(object).exists() {
                tokio::select! {
                    () = run.cancel.cancelled() => return Err(Reason::Cancelled),
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        }
        "hold" => run.proceed.cancelled().await,
        "stubborn" => std::future::pending().await,
        "become" => {
            let owner = neighbour::become_owner_of(Path::new(object), &run.state);
            run.warn(Reason::LimitedNeighbour, format!("{owner:?}"));
            // Threads that were there before the change and one that comes after it.
            let _new_thread = tokio::task::spawn_blocking(|| ()).await;
            run.warn(Reason::LimitedNeighbour, proc_self());
            std::fs::write(run.state.join("cache"), "x").expect("write into the state directory");
        }
        "panic" => panic!("a message that may hold a secret: hunter2"),
        other => panic!("no step is called {other}"),
    }
    Ok(())
}

/// User, groups and dumpability of each thread, and whether /proc/self still serves its process.
fn proc_self() -> String {
    let mut lines = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").expect("list threads") {
        let status = task.expect("a thread").path().join("status");
        let status = std::fs::read_to_string(status).expect("read a thread's status");
        let fields = status.lines().filter(|line| {
            ["Uid:", "Gid:", "Groups:"]
                .iter()
                .any(|field| line.starts_with(field))
        });
        lines.push(
            fields
                .map(|line| line.replace('\t', " "))
                .collect::<Vec<_>>()
                .join("; "),
        );
    }
    lines.sort();
    let exe = std::fs::File::open("/proc/self/exe").is_ok();
    let descriptors = std::fs::read_dir("/proc/self/fd").is_ok();
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").is_ok();
    lines.push(format!("exe {exe} fd {descriptors} cgroup {cgroup}"));
    lines.join("\n")
}
