//! Short runs in a pod, asked for once and answered once: removing the snapshots that ended runs left,
//! and finding out what a backup does not cover.

use std::sync::Arc;

use protocol::{
    CoverageRequest, ExitCode, JmxAccess, KeyspaceCoverage, Operation, Outcome, SweepRequest,
};
use uuid::Uuid;

use super::attach::{Asked, attach};
use super::decide::End;
use super::job::{Job, Telling, request};
use super::place::agent_in;
use super::run::{OPENINGS, Tools};
use crate::access;
use crate::exec::Target;

/// Tries once to remove leftover snapshots. The text of a failure is for the log.
pub(crate) async fn sweep(tools: &Arc<Tools>, job: &Job, pod: &str) -> Result<(), String> {
    let sweep = |jmx| Operation::Sweep(SweepRequest { jmx });
    visit(tools, job, pod, sweep).await.map(drop)
}

/// Asks what of each keyspace only the members `without` have. The text of a failure is for people.
pub(crate) async fn coverage(
    tools: &Arc<Tools>,
    job: &Job,
    pod: &str,
    without: Vec<Uuid>,
) -> Result<Vec<KeyspaceCoverage>, String> {
    let scope = job.scope.clone();
    let coverage = |jmx| {
        Operation::Coverage(CoverageRequest {
            jmx,
            scope,
            without,
        })
    };
    let outcome = visit(tools, job, pod, coverage).await?;
    Ok(outcome.coverage)
}

/// Each has an id of its own, since a run that was answered is answered the same way again.
async fn visit(
    tools: &Arc<Tools>,
    job: &Job,
    pod: &str,
    operation: impl FnOnce(JmxAccess) -> Operation,
) -> Result<Outcome, String> {
    let reach = &job.reach;
    // Never closed.
    let turn = OPENINGS.acquire().await.ok();
    let view = tools
        .cluster
        .pod(&reach.namespace, pod)
        .await
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("pod {pod} does not exist"))?;
    let container = view
        .container(reach.container())
        .map_err(|problem| problem.to_string())?;
    let target = Target {
        namespace: reach.namespace.clone(),
        pod: pod.to_owned(),
        container: container.name.clone(),
    };
    let agent = agent_in(tools, reach, &target)
        .await
        .map_err(|error| error.to_string())?;
    let jmx = access::jmx(&*tools.cluster, &reach.namespace, &reach.cassandra.jmx)
        .await
        .map_err(|error| error.to_string())?;
    let run_id = Uuid::new_v4();
    let telling = Telling {
        run_id,
        attempt: 1,
        from_seq: 0,
        hold: false,
        ring: false,
    };
    let request = request(telling, &agent, operation(jmx))
        .to_line()
        .map_err(|error| error.to_string())?;
    let command = [agent.path.clone(), "--request".into(), "-".into()];
    let session = tools
        .exec
        .start(&target, &command)
        .await
        .map_err(|error| error.to_string())?;
    drop(turn);
    let asked = Asked {
        run_id,
        attempt: 1,
        attempts: u32::MAX,
        silence: tools.pace.silence,
    };
    match attach(session, &request, &asked, |_| ()).await {
        End::Result(outcome) if outcome.exit_code == ExitCode::Done as u8 => Ok(*outcome),
        End::Result(outcome) => Err(format!("{}: {}", outcome.reason, outcome.message)),
        other => Err(format!("no result: {other:?}")),
    }
}
