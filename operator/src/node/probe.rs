//! A storage as a pod sees it.

use std::time::Duration;

use protocol::{Operation, Outcome, PROTOCOL_VERSION, ProbeRequest, Request};
use tokio::time::timeout;
use uuid::Uuid;

use super::attach::{Asked, attach};
use super::decide::End;
use super::run::Tools;
use crate::exec::Target;
use crate::inject::inject;

/// A pod that needs longer is not waited for; bringing the agent there may take most of it.
const LIMIT: Duration = Duration::from_secs(120);

/// Lets the agent in a container probe a storage. The text of a failure is for people.
pub(crate) async fn probe(
    tools: &Tools,
    target: &Target,
    request: ProbeRequest,
) -> Result<Outcome, String> {
    let asked = async {
        let agent = inject(&*tools.exec, target, &tools.agent, &[])
            .await
            .map_err(|error| error.to_string())?;
        let run_id = Uuid::new_v4();
        let request = Request {
            protocol: PROTOCOL_VERSION.into(),
            run_id,
            attempt: 1,
            state_directory: agent.state_directory.clone(),
            from_seq: 0,
            operation: Operation::Probe(request),
        };
        let line = request.to_line().map_err(|error| error.to_string())?;
        let command = [agent.path, "--request".into(), "-".into()];
        let session = tools
            .exec
            .start(target, &command)
            .await
            .map_err(|error| error.to_string())?;
        let asked = Asked {
            run_id,
            attempt: 1,
            attempts: u32::MAX,
            silence: tools.pace.silence,
        };
        match attach(session, &line, &asked, |_| ()).await {
            End::Result(outcome) => Ok(*outcome),
            other => Err(format!("no result: {other:?}")),
        }
    };
    timeout(LIMIT, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no result within {} s", LIMIT.as_secs())))
}
