//! An agent without a Cassandra: the protocol, the journal and the control socket of the real one
//! around a backup that only waits. For tests of the operator with more nodes than fit on a machine.
//! It is not part of the program.
//!
//! `stand_in --request -`, the request on standard input; `stand_in cancel|proceed --run ID` does
//! nothing. The cluster id of the request says how large the ring is and how long a node's data
//! takes: `ring-1000-5` is 1,000 nodes of 5 s each. The pod's name ends with the node's number.

#![allow(clippy::expect_used)] // a program for tests

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use agent::run_context::Run;
use agent::serve;
use jiff::Timestamp;
use protocol::{
    BackupRequest, NodeIdentity, Operation, Outcome, Phase, Progress, Reason, Request, RingMember,
    SnapshotTimes, Tally,
};
use tokio::time::sleep;
use uuid::Uuid;

/// How often a real agent tells its progress.
const TELLS: Duration = Duration::from_secs(2);
/// How long Cassandra takes for a snapshot. Meanwhile a node says nothing: a thousand that did so at once
/// would keep each other, on one machine, from looking at the clock.
const SNAPSHOT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("--request") {
        return ExitCode::SUCCESS;
    }
    of_its_own().expect("a request on standard input");
    let code = serve::standard_input(None, async |run, operation| match operation {
        Operation::Backup(request) => back_up(&run, &request).await,
        _ => Outcome::ended(
            Reason::NotSupported,
            "a stand-in only backs up",
            run.attempt,
        ),
    });
    ExitCode::from(code)
}

/// All pods are this machine: gives each run a state directory of its own, as pods have one.
fn of_its_own() -> std::io::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let mut request = Request::parse(line.trim_end().as_bytes()).map_err(std::io::Error::other)?;
    let shared = request.state_directory.take().unwrap_or_default();
    request.state_directory = Some(format!("{shared}/{}", request.run_id));
    let line = request.to_line().map_err(std::io::Error::other)? + "\n";
    let (reader, writer) = rustix::pipe::pipe()?;
    std::fs::File::from(writer).write_all(line.as_bytes())?;
    Ok(rustix::stdio::dup2_stdin(reader)?)
}

async fn back_up(run: &Run, request: &BackupRequest) -> Outcome {
    let mut words = request.cluster.split('-').skip(1);
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (nodes, seconds) = (number().expect("nodes"), number().expect("seconds"));
    let pod = request.pod.as_deref().expect("a pod");
    let own = pod.rsplit('-').next().and_then(|word| word.parse().ok());
    let node = identity(own.expect("a number"));
    run.phase(Phase::Preparing, Some(&node));
    run.phase(Phase::Snapshotting, Some(&node));
    if let Some(at) = request.snapshot_at {
        sleep(
            at.duration_since(Timestamp::now())
                .try_into()
                .unwrap_or_default(),
        )
        .await;
    }
    let started_at = Timestamp::now();
    let late = request
        .snapshot_at
        .map(|at| started_at.duration_since(at).as_millis());
    sleep(SNAPSHOT).await;
    let snapshot = SnapshotTimes {
        started_at,
        ended_at: Timestamp::now(),
        late_ms: late.and_then(|late| i64::try_from(late).ok()),
    };
    run.phase(Phase::Uploading, Some(&node));
    let tally = |done: u64| Tally {
        files: done,
        bytes: done << 20,
    };
    let mut progress = Progress {
        total: tally(seconds),
        to_upload: tally(seconds),
        ..Progress::default()
    };
    let mut gone = Duration::ZERO;
    while gone < Duration::from_secs(seconds) {
        let step = TELLS.min(Duration::from_secs(seconds) - gone);
        tokio::select! {
            () = run.cancel.cancelled() => {
                return Outcome::ended(Reason::Cancelled, "cancelled", run.attempt);
            }
            () = sleep(step) => gone += step,
        }
        progress.uploaded = tally(gone.as_secs());
        run.progress(progress);
    }
    run.phase(Phase::Committing, Some(&node));
    Outcome {
        manifest: Some(format!(
            "{}/manifests/{}/{}.jsonl",
            request.cluster, request.backup, node.host_id
        )),
        ring: match request.without_ring {
            true => Vec::new(),
            false => (0..nodes).map(member).collect(),
        },
        node: Some(node),
        snapshot: Some(snapshot),
        progress,
        ..Outcome::ended(Reason::Succeeded, "backed up", run.attempt)
    }
}

fn identity(number: u64) -> NodeIdentity {
    NodeIdentity {
        host_id: Uuid::from_u128(0x1000_0000 + u128::from(number)),
        datacenter: "dc1".into(),
        rack: format!("r{}", number % 3),
        cassandra_version: "5.0.9".into(),
    }
}

fn member(number: u64) -> RingMember {
    let NodeIdentity {
        host_id,
        datacenter,
        rack,
        ..
    } = identity(number);
    RingMember {
        host_id,
        address: format!("10.1.{}.{}", number / 256, number % 256),
        datacenter,
        rack,
        status: "Up".into(),
        state: "Normal".into(),
    }
}
