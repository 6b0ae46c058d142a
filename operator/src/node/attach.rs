//! One stream to a run: the request goes in, events come out.

use std::io;
use std::time::Duration;

use protocol::{Event, EventKind, Outcome};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::decide::End;
use crate::exec::{Bounded, Exit, Session};

/// The longest event is the result with a ring of some thousand members.
const LONGEST_LINE: usize = 8 << 20;
/// Longer ones are read by a few at a time: when a thousand nodes end together, all tell the ring.
const SHORT_LINE: usize = 8 << 10;
static LONG_LINES: Semaphore = Semaphore::const_new(8);
/// Most events fit into this.
const EVENT: usize = 1 << 10;
/// The request is small and the agent reads it first.
const REQUEST_SENT: Duration = Duration::from_secs(30);
/// After both outputs ended, the process's exit is told at once or never.
const EXIT_TOLD: Duration = Duration::from_secs(10);

/// What a stream is opened for.
pub(crate) struct Asked {
    pub(crate) run_id: Uuid,
    /// Results of earlier attempts are history.
    pub(crate) attempt: u32,
    /// Attempts that the run may have in all.
    pub(crate) attempts: u32,
    /// A stream without a word for so long is given up.
    pub(crate) silence: Duration,
}

/// Sends the request and hands every event of the run to `hear` until the stream ends.
///
/// Dropping the future cuts the stream; the run goes on.
pub(crate) async fn attach(
    session: Session,
    request: &str,
    asked: &Asked,
    mut hear: impl FnMut(&Event),
) -> End {
    let Session {
        mut stdin,
        stdout,
        stderr,
        exit,
        connection,
    } = session;
    let complaints = tokio::spawn(Bounded::read(stderr));
    let send = async {
        stdin.write_all(request.as_bytes()).await?;
        stdin.write_all(b"\n").await?;
        stdin.flush().await
    };
    // If the request does not arrive, the agent's silence or exit says so.
    let _ = timeout(REQUEST_SENT, send).await;

    let mut lines = BufReader::with_capacity(EVENT, stdout);
    let mut line = Vec::new();
    let mut turn = None;
    let mut heard = false;
    let silence = sleep_until(Instant::now() + asked.silence);
    tokio::pin!(silence);
    let cut = loop {
        if line.len() > SHORT_LINE && turn.is_none() {
            // Never closed. Its turn is not its silence.
            turn = LONG_LINES.acquire().await.ok();
            silence.as_mut().reset(Instant::now() + asked.silence);
        }
        tokio::select! {
            read = read_on(&mut lines, &mut line) => match read {
                Ok(Piece::Some) => {}
                Ok(Piece::Line) => {
                    silence.as_mut().reset(Instant::now() + asked.silence);
                    let event = read_event(&line, asked.run_id);
                    line = Vec::new();
                    turn = None;
                    let Some(event) = event else { continue };
                    if event.seq > 0 {
                        heard = true;
                        hear(&event);
                    }
                    if let Some(end) = ended(event, asked) {
                        return end;
                    }
                }
                // The end, half a line before the end, or an error: nothing more comes.
                _ => break false,
            },
            () = &mut silence => break true,
        }
    };
    let exit = if cut {
        Exit::Unknown
    } else {
        timeout(EXIT_TOLD, exit).await.unwrap_or(Exit::Unknown)
    };
    drop((stdin, connection));
    let stderr = match timeout(EXIT_TOLD, complaints).await {
        Ok(Ok(kept)) => kept.text(),
        _ => String::new(),
    };
    End::Unknown {
        exit,
        stderr,
        heard,
    }
}

/// How far a line was read.
enum Piece {
    /// Some of it.
    Some,
    /// To its end.
    Line,
    /// The stream ends before, or the line is too long.
    End,
}

/// Reads on in a line. May be dropped and called again.
async fn read_on(lines: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<Piece> {
    let bytes = lines.fill_buf().await?;
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let count = end.map_or(bytes.len(), |end| end + 1);
    if count == 0 || line.len() + count > LONGEST_LINE {
        return Ok(Piece::End);
    }
    line.extend_from_slice(&bytes[..count]);
    lines.consume(count);
    Ok(match end {
        Some(_) => Piece::Line,
        None => Piece::Some,
    })
}

/// An event of this run, or a refusal to make it one, which has no number. What is no event, such
/// as a line of a login script, is passed over.
fn read_event(line: &[u8], run_id: Uuid) -> Option<Event> {
    match serde_json::from_slice::<Event>(line) {
        Ok(event) if event.run_id == run_id || event.seq == 0 => Some(event),
        Ok(event) => {
            tracing::warn!(other = %event.run_id, "an event of another run");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "a line that is no event");
            None
        }
    }
}

fn ended(event: Event, asked: &Asked) -> Option<End> {
    match event.kind {
        EventKind::Result(outcome) if event.seq == 0 => Some(End::Refused(outcome)),
        EventKind::Result(outcome) if is_answer(&outcome, asked) => Some(End::Result(outcome)),
        EventKind::Started { attempt, .. } if attempt > asked.attempts => Some(End::TooOften),
        _ => None,
    }
}

fn is_answer(outcome: &Outcome, asked: &Asked) -> bool {
    outcome.attempt >= asked.attempt
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::join_all;
    use protocol::{Reason, RingMember};
    use tokio::io::duplex;

    use super::*;

    const RUN: Uuid = Uuid::from_u128(7);
    /// The turns are those of the process, and each of these tests has a clock of its own that runs
    /// on while another one has them.
    static TURNS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// The end of a stream on which an agent tells a result with a ring of so many members.
    async fn told(members: usize, last: &str) -> End {
        let member = RingMember {
            host_id: Uuid::nil(),
            address: "10.0.0.1".into(),
            datacenter: "dc1".into(),
            rack: "r1".into(),
            status: "Up".into(),
            state: "Normal".into(),
        };
        let outcome = Outcome {
            ring: vec![member; members],
            ..Outcome::ended(Reason::Succeeded, "m", 1)
        };
        let event = Event {
            run_id: RUN,
            seq: 1,
            time: jiff::Timestamp::UNIX_EPOCH,
            kind: EventKind::Result(Box::new(outcome)),
        };
        said(serde_json::to_string(&event).unwrap() + last, false).await
    }

    /// The end of a stream on which this is said, and which stays open or is closed.
    async fn said(text: String, open: bool) -> End {
        let (stdin, _theirs) = duplex(1 << 10);
        let (stdout, mut says) = duplex(1 << 10);
        let (stderr, _) = duplex(16);
        tokio::spawn(async move {
            says.write_all(text.as_bytes()).await.unwrap();
            if open {
                std::future::pending::<()>().await;
            }
        });
        let session = Session {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            exit: async { Exit::Unknown }.boxed(),
            connection: Box::new(()),
        };
        let asked = Asked {
            run_id: RUN,
            attempt: 1,
            attempts: 1,
            silence: Duration::from_secs(60),
        };
        attach(session, "", &asked, |_| ()).await
    }

    #[tokio::test(start_paused = true)]
    async fn more_long_results_than_are_read_at_a_time_are_all_read() {
        let _mine = TURNS.lock().await;
        let all = join_all((0..50).map(|_| told(500, "\n")));
        // Whoever kept a turn would keep the others waiting.
        let all = timeout(Duration::from_secs(3600), all).await;
        for end in all.expect("all are read") {
            let End::Result(outcome) = end else {
                panic!("{end:?}")
            };
            assert_eq!(outcome.ring.len(), 500);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_said_a_long_line_and_is_silent_keeps_nobody_waiting() {
        let _mine = TURNS.lock().await;
        let long = "x".repeat(SHORT_LINE + 2000) + "\n";
        let silent: Vec<_> = (0..20)
            .map(|_| tokio::spawn(said(long.clone(), true)))
            .collect();
        // They have said it, and none of them is cut yet.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let end = timeout(Duration::from_secs(30), told(500, "\n")).await;
        assert!(matches!(end, Ok(End::Result(_))), "{end:?}");
        assert!(silent.iter().all(|one| !one.is_finished()));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_line_and_one_without_end_are_no_result() {
        let _mine = TURNS.lock().await;
        for members in [1, 60_000] {
            let end = told(members, "").await;
            assert!(matches!(end, End::Unknown { heard: false, .. }), "{end:?}");
        }
    }
}
