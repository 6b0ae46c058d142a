//! Where a run takes place: the container, and the agent in it.

use std::sync::Arc;

use futures::TryFutureExt;
use protocol::Reason;
use tokio::time::Instant;

use super::decide::Finish;
use super::obstacle::{Obstacle, in_time, inject_obstacle, not_ready};
use super::reach::Reach;
use super::run::{Loop, NodeRun, Tools};
use crate::exec::Target;
use crate::inject::{InjectError, Placed, inject};
use crate::pod::{ContainerProblem, PodView};

/// Where the agent of this run is.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) target: Target,
    pub(super) container_id: Option<String>,
    pub(super) agent: Placed,
}

/// The agent that a container has, or the one that is brought into it.
pub(super) async fn agent_in(
    tools: &Tools,
    reach: &Reach,
    target: &Target,
) -> Result<Placed, InjectError> {
    match reach.present_agent() {
        Some(agent) => Ok(agent),
        None => inject(&*tools.exec, target, &tools.agent, &reach.agent.directories).await,
    }
}

impl NodeRun {
    /// The container that runs, with the agent in it.
    pub(super) async fn place(&mut self, state: &mut Loop) -> Result<Place, Obstacle> {
        let job = Arc::clone(&self.job);
        let reach = &job.reach;
        let pod = self.tools.cluster.pod(&reach.namespace, &self.pod);
        let unread = |error: kube::Error| Obstacle::Passing(Reason::PodNotReady, error.to_string());
        let pod = in_time(pod.map_err(unread)).await?;
        let pod = pod.ok_or_else(|| not_ready(format!("pod {} does not exist", self.pod)))?;
        let container = pod
            .container(reach.container())
            .map_err(|problem| match problem {
                ContainerProblem::NotReady(message) => not_ready(message),
                other => Obstacle::Lasting(Finish::failed(
                    Reason::InvalidRequest,
                    other.to_string(),
                    state.open,
                )),
            })?;
        self.note_container(&pod, container.id.as_deref(), state)?;
        // An agent that is at work is followed in any case.
        let starting = !pod.ready && !state.open;
        if starting && state.contact.elapsed() < self.tools.pace.readiness {
            return Err(not_ready(format!("pod {} runs but is not ready", pod.name)));
        }
        if let Some(place) = &state.place
            && place.container_id == container.id
            && !state.doubtful
        {
            return Ok(place.clone());
        }
        let target = Target {
            namespace: reach.namespace.clone(),
            pod: self.pod.clone(),
            container: container.name.clone(),
        };
        let agent = agent_in(&self.tools, reach, &target)
            .await
            .map_err(|error| inject_obstacle(error, state.open))?;
        let place = Place {
            target,
            container_id: container.id.clone(),
            agent,
        };
        if state
            .place
            .as_ref()
            .is_none_or(|before| before.agent != place.agent)
        {
            state.heard = 0;
        }
        state.place = Some(place.clone());
        state.doubtful = false;
        Ok(place)
    }

    /// Notes in which container the run is. In another one than before, no process of it is left,
    /// and what it wrote there may be gone: a new attempt begins, and it is told from its start.
    fn note_container(
        &mut self,
        pod: &PodView,
        container_id: Option<&str>,
        state: &mut Loop,
    ) -> Result<(), Obstacle> {
        let node = self.reporter.node();
        if node.container_id.as_deref() == container_id {
            return Ok(());
        }
        if node.container_id.is_some() {
            state.heard = 0;
            state.place = None;
            state.contact = Instant::now();
            if state.open {
                state.attempt += 1;
                state.open = false;
                if state.attempt > state.tries.attempts {
                    return Err(Obstacle::Lasting(Finish::failed(
                        Reason::Interrupted,
                        format!(
                            "container restarted in each of the {} attempts",
                            state.tries.counted()
                        ),
                        true,
                    )));
                }
            }
        }
        let attempt = i32::try_from(state.attempt).unwrap_or(i32::MAX);
        self.reporter.change(|report| {
            report.node.pod_uid = Some(pod.uid.clone());
            report.node.container_id = container_id.map(str::to_owned);
            report.node.attempt = attempt;
            report.node.last_seq = None;
        });
        Ok(())
    }
}
