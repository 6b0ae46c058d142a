//! Telling a run something while it is at work: by a second process of the agent beside it.

use tokio::sync::watch;
use uuid::Uuid;

use super::place::Place;
use super::run::{OPENINGS, Tools};
use crate::exec::{ExecError, Exit, run_to_end};

/// Tells the agent to cancel the run, again and again until it has understood: the run may not listen
/// yet, or not be there.
pub(super) async fn cancel(tools: &Tools, place: &Place, run_id: Uuid) -> Result<(), ExecError> {
    while tell(tools, place, run_id, "cancel").await? != Exit::Code(0) {
        tokio::time::sleep(tools.pace.poll).await;
    }
    Ok(())
}

/// Once it is the run's turn, tells the agent to go on after its snapshot, again and again until
/// it has understood: the run may not listen yet. Never resolves.
pub(super) async fn proceed(
    tools: &Tools,
    place: &Place,
    run_id: Uuid,
    turn: &mut watch::Receiver<bool>,
) -> std::convert::Infallible {
    if turn.wait_for(|turn| *turn).await.is_ok() {
        while !matches!(
            tell(tools, place, run_id, "proceed").await,
            Ok(Exit::Code(0))
        ) {
            tokio::time::sleep(tools.pace.poll).await;
        }
    }
    std::future::pending().await
}

async fn tell(tools: &Tools, place: &Place, run_id: Uuid, what: &str) -> Result<Exit, ExecError> {
    let command = [
        place.agent.path.clone(),
        what.into(),
        "--run".into(),
        run_id.to_string(),
    ];
    // Never closed.
    let _turn = OPENINGS.acquire().await.ok();
    let output = run_to_end(
        &*tools.exec,
        &place.target,
        &command,
        &[],
        tools.pace.cancel,
    )
    .await?;
    tracing::debug!(what, exit = ?output.exit, stderr = output.stderr, "the agent was told");
    Ok(output.exit)
}
