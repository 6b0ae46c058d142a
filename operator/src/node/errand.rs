//! An operation that needs what only the pods have, such as a volume that they mount, and no
//! Cassandra: in one of the pods.

use std::time::Duration;

use crds::CassandraBackupSpec;
use kube::core::Selector;
use protocol::{Operation, Outcome, PROTOCOL_VERSION, Reason, Request};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::attach::{Asked, attach};
use super::decide::End;
use super::place::agent_in;
use super::reach::Reach;
use super::run::Tools;
use crate::exec::{ExecError, Target};
use crate::inject::{InjectError, Placed};

/// Attempts of the agent; more means that it is killed again and again.
const ATTEMPTS: u32 = 3;

/// Streams in a row without a word; then the agent is not there, or cannot run.
const UNHEARD: u32 = 10;

/// Whose pods.
pub(crate) struct Errand<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) spec: &'a CassandraBackupSpec,
}

/// No pod said how it went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ErrandError {
    #[error("spec.cassandra.podSelector: {0}")]
    Selector(String),
    #[error("cannot read the pods: {0}")]
    ReadPods(#[source] Box<kube::Error>),
    #[error("the storage is mounted by the Cassandra pods only, and none is ready: {0}")]
    NoPod(String),
    #[error("pod {pod}: {cause}")]
    Inject { pod: String, cause: InjectError },
    #[error("pod {pod}: {cause}")]
    Exec { pod: String, cause: ExecError },
    #[error("cannot make the request: {0}")]
    Request(#[source] serde_json::Error),
    #[error("the agent in pod {pod} does not run: {cause}")]
    NotRun { pod: String, cause: String },
    #[error("the agent in pod {pod} was killed {ATTEMPTS} times without a result")]
    TooOften { pod: String },
    #[error("the agent in pod {pod} had no result within {} s", limit.as_secs())]
    TooSlow { pod: String, limit: Duration },
}

impl ErrandError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Selector(_) => Reason::InvalidRequest,
            Self::ReadPods(_) | Self::Request(_) => Reason::Failed,
            Self::NotRun { .. } => Reason::Failed,
            Self::NoPod(_) | Self::Exec { .. } => Reason::PodNotReady,
            Self::Inject { cause, .. } if cause.is_temporary() => Reason::PodNotReady,
            Self::Inject { .. } => Reason::AgentNotInjectable,
            Self::TooOften { .. } => Reason::Interrupted,
            Self::TooSlow { .. } => Reason::DeadlineExceeded,
        }
    }
}

const NONE: &str = "no pod matches spec.cassandra.podSelector";

/// Runs the operation in one pod that is ready, for at most `limit`.
pub(crate) async fn errand(
    tools: &Tools,
    of: &Errand<'_>,
    operation: Operation,
    limit: Duration,
) -> Result<Outcome, ErrandError> {
    let reach = Reach::of_backup(of.namespace, of.spec);
    let mut told = None;
    for target in ready(tools, &reach).await? {
        let outcome = in_pod(tools, &reach, target, operation.clone(), limit).await?;
        // Another pod may have more room.
        if outcome.reason != Reason::OutOfMemory {
            return Ok(outcome);
        }
        told = Some(outcome);
    }
    told.ok_or_else(|| ErrandError::NoPod(NONE.to_owned()))
}

async fn in_pod(
    tools: &Tools,
    reach: &Reach,
    target: Target,
    operation: Operation,
    limit: Duration,
) -> Result<Outcome, ErrandError> {
    let agent = agent_in(tools, reach, &target)
        .await
        .map_err(|cause| ErrandError::Inject {
            pod: target.pod.clone(),
            cause,
        })?;
    until_told(tools, &target, &agent, operation, limit).await
}

/// Runs the operation with the agent that a container has, for at most `limit`.
pub(crate) async fn until_told(
    tools: &Tools,
    target: &Target,
    agent: &Placed,
    operation: Operation,
    limit: Duration,
) -> Result<Outcome, ErrandError> {
    match timeout(limit, until_result(tools, target, agent, operation)).await {
        Ok(told) => told,
        Err(_) => Err(ErrandError::TooSlow {
            pod: target.pod.clone(),
            limit,
        }),
    }
}

/// The pods that are ready, by name: at least one.
async fn ready(tools: &Tools, reach: &Reach) -> Result<Vec<Target>, ErrandError> {
    let selector = Selector::try_from(reach.cassandra.pod_selector.clone())
        .map_err(|error| ErrandError::Selector(error.to_string()))?;
    let pods = tools.cluster.pods(&reach.namespace, &selector).await;
    let pods = pods.map_err(|cause| ErrandError::ReadPods(Box::new(cause)))?;
    let (mut ready, mut why) = (Vec::new(), NONE.to_owned());
    for pod in pods.iter().filter(|pod| !pod.ended) {
        match pod.container(reach.container()) {
            Ok(container) if pod.ready => ready.push(Target {
                namespace: reach.namespace.clone(),
                pod: pod.name.clone(),
                container: container.name.clone(),
            }),
            Ok(_) => why = format!("pod {} runs but is not ready", pod.name),
            Err(problem) => why = problem.to_string(),
        }
    }
    if ready.is_empty() {
        return Err(ErrandError::NoPod(why));
    }
    Ok(ready)
}

/// Asks again when a stream ends without a result: the same run never runs twice.
async fn until_result(
    tools: &Tools,
    target: &Target,
    agent: &Placed,
    operation: Operation,
) -> Result<Outcome, ErrandError> {
    let request = Request {
        protocol: PROTOCOL_VERSION.into(),
        run_id: Uuid::new_v4(),
        attempt: 1,
        state_directory: agent.state_directory.clone(),
        from_seq: 0,
        operation,
    };
    let asked = Asked {
        run_id: request.run_id,
        attempt: 1,
        attempts: ATTEMPTS,
        silence: tools.pace.silence,
    };
    let line = request.to_line().map_err(ErrandError::Request)?;
    let command = [agent.path.clone(), "--request".into(), "-".into()];
    let mut unheard = 0;
    loop {
        match tools.exec.start(target, &command).await {
            Ok(session) => match attach(session, &line, &asked, |_| ()).await {
                End::Result(outcome) | End::Refused(outcome) => return Ok(*outcome),
                // Nobody asks for a proof here.
                End::TooOften | End::Unproven(_) => {
                    return Err(ErrandError::TooOften {
                        pod: target.pod.clone(),
                    });
                }
                End::Unknown { heard: true, .. } | End::Unstopped => unheard = 0,
                End::Unknown { exit, stderr, .. } => {
                    unheard += 1;
                    if unheard >= UNHEARD {
                        return Err(ErrandError::NotRun {
                            pod: target.pod.clone(),
                            cause: format!("{exit:?} {stderr}"),
                        });
                    }
                }
            },
            Err(cause @ ExecError::Forbidden(_)) => {
                let pod = target.pod.clone();
                return Err(ErrandError::Exec { pod, cause });
            }
            Err(ExecError::Unreachable(cause)) => {
                tracing::info!(pod = target.pod, cause, "asking again");
            }
        }
        sleep(tools.pace.retry).await;
    }
}
