use std::io;
use std::sync::Arc;

use protocol::{Outcome, Reason};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::recorder::Recorder;

/// From here on: SIGHUP is nothing to the run (and SIGPIPE never was, in Rust), the first SIGTERM
/// or SIGINT cancels it, the second ends it at once.
pub(super) fn listen(
    recorder: Arc<Recorder>,
    attempt: u32,
    cancel: CancellationToken,
) -> io::Result<()> {
    // Once asked for, a signal has lost its usual effect for the rest of the process's life.
    let _ignored = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        note!("cancelling; a second signal ends the run at once");
        cancel.cancel();
        next().await;
        let message =
            "ended at once by a second signal; the next run on this node clears what it left";
        recorder.finish(Outcome::ended(Reason::Cancelled, message, attempt));
        std::process::exit(Reason::Cancelled.exit_code() as i32);
    });
    Ok(())
}
