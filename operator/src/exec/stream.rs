//! The streams of an exec, on one WebSocket.
//!
//! kube's own `AttachedProcess` does the same, but a thousand nodes are a thousand of them: its WebSocket
//! has a buffer of 128 KiB that every read fills, and its pipes stay open when the connection is cut.
//!
//! The protocol is `v5.channel.k8s.io`, or `v4` of older API servers: each binary message begins with
//! the number of its channel (`k8s.io/apimachinery/pkg/util/remotecommand/constants.go`).

use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::client::Connection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, simplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{Exit, Session};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
/// Says that a channel ends, from v5 on.
const CLOSE: u8 = 255;

/// Bytes that are read from the connection at once, and that may wait for who reads an output.
const OUTPUT: usize = 4 << 10;
/// Most bytes of input that are sent in one message: less makes the copy of the agent slow.
const INPUT: usize = 64 << 10;
/// A request fits into this, and is all that most streams send.
const SMALL: usize = 2 << 10;
/// Proxies close what is idle; most of them after a minute or more.
const PING: Duration = Duration::from_secs(30);

/// Cuts the connection when it is dropped.
struct Connected(JoinHandle<()>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The session on a connection that the API server has upgraded.
pub(super) async fn open(connection: Connection) -> Session {
    let closes = connection.supports_stream_close();
    // Nothing has been read from it yet.
    let socket = connection.into_stream().into_inner();
    let small = WebSocketConfig::default()
        .read_buffer_size(OUTPUT)
        .write_buffer_size(0);
    let socket = WebSocketStream::from_raw_socket(socket, Role::Client, Some(small)).await;
    session(socket, closes)
}

fn session<S>(socket: WebSocketStream<S>, closes: bool) -> Session
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (input, stdin) = simplex(INPUT);
    // These end when the task does, however it does.
    let (stdout, mut out) = duplex(OUTPUT);
    let (stderr, mut err) = duplex(OUTPUT);
    let (told, exit) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let exit = carry(socket, input, (&mut out, &mut err), closes).await;
        let _ = told.send(exit);
    });
    Session {
        stdin: Box::new(stdin),
        stdout: Box::new(stdout),
        stderr: Box::new(stderr),
        exit: exit.map(|exit| exit.unwrap_or(Exit::Unknown)).boxed(),
        connection: Box::new(Connected(task)),
    }
}

/// Carries bytes both ways until the process or the connection ends.
async fn carry<S>(
    socket: WebSocketStream<S>,
    mut input: impl AsyncRead + Unpin,
    (out, err): (
        &mut (impl AsyncWrite + Unpin),
        &mut (impl AsyncWrite + Unpin),
    ),
    closes: bool,
) -> Exit
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut send, mut receive) = socket.split();
    let mut ping = interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = true;
    let mut message = Vec::with_capacity(SMALL);
    loop {
        // Twice as much, as long as that was not enough.
        if message.len() == message.capacity() && message.len() < INPUT {
            message.reserve(2 * message.len());
        }
        message.clear();
        message.push(STDIN);
        tokio::select! {
            received = receive.next() => {
                let bytes = match received {
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Exit::Unknown,
                    Some(Ok(_)) => continue,
                };
                let written = match bytes.split_first() {
                    Some((&STDOUT, bytes)) => out.write_all(bytes).await,
                    Some((&STDERR, bytes)) => err.write_all(bytes).await,
                    Some((&STATUS, bytes)) => return exit(serde_json::from_slice(bytes).ok()),
                    _ => Ok(()),
                };
                if written.is_err() {
                    return Exit::Unknown;
                }
                continue;
            }
            // Never more than there is room for.
            read = input.read_buf(&mut message), if open => open = matches!(read, Ok(1..)),
            _ = ping.tick() => {
                if send.send(Message::Ping(Vec::new().into())).await.is_err() {
                    return Exit::Unknown;
                }
                continue;
            }
        }
        let sent = match (open, closes) {
            (true, _) => send.send(Message::binary(message.clone())).await,
            (false, true) => send.send(Message::binary(vec![CLOSE, STDIN])).await,
            // Older servers know the end of the whole connection only.
            (false, false) => send.close().await,
        };
        if sent.is_err() {
            return Exit::Unknown;
        }
    }
}

/// Reads how the process ended from the status that closes the stream. A process that ended with
/// another code than 0 is told as reason `NonZeroExitCode` with a cause `ExitCode`.
fn exit(status: Option<Status>) -> Exit {
    let Some(status) = status else {
        return Exit::Unknown;
    };
    if status.status.as_deref() == Some("Success") {
        return Exit::Code(0);
    }
    let code = status
        .details
        .iter()
        .flat_map(|details| details.causes.iter().flatten())
        .find_map(|cause| {
            (cause.reason.as_deref() == Some("ExitCode"))
                .then(|| cause.message.as_deref()?.parse().ok())
                .flatten()
        });
    let message = status.message.unwrap_or_default();
    match code {
        Some(code) => Exit::Code(code),
        None if says_not_run(&message) => Exit::NotRun(message),
        // The kubelet did not answer, or the connection to it broke.
        None => Exit::Unknown,
    }
}

/// Whether the container runtime says that there is no such program. containerd and CRI-O pass on what
/// runc says: `OCI runtime exec failed: exec failed: unable to start container process: exec: "sh":
/// executable file not found in $PATH`, `no such file or directory`, `permission denied`.
fn says_not_run(message: &str) -> bool {
    let words = [
        "exec failed",
        "executable file not found",
        "no such file",
        "permission denied",
    ];
    let message = message.to_lowercase();
    words.iter().any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A session, and the API server's end of it.
    async fn connected() -> (Session, WebSocketStream<DuplexStream>) {
        let (ours, theirs) = duplex(1 << 16);
        let ours = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        let theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        (session(ours, true), theirs)
    }

    async fn says(server: &mut WebSocketStream<DuplexStream>, channel: u8, text: &str) {
        let mut message = vec![channel];
        message.extend_from_slice(text.as_bytes());
        server.send(Message::binary(message)).await.unwrap();
    }

    async fn hears(server: &mut WebSocketStream<DuplexStream>) -> Vec<u8> {
        let message = timeout(MINUTE, server.next()).await.expect("a message");
        message.unwrap().unwrap().into_data().to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_arrives_and_so_does_its_end() {
        let (mut session, mut server) = connected().await;
        session.stdin.write_all(b"a request").await.unwrap();
        session.stdin.shutdown().await.unwrap();
        assert_eq!(hears(&mut server).await, b"\0a request");
        assert_eq!(hears(&mut server).await, [CLOSE, STDIN]);
    }

    #[tokio::test(start_paused = true)]
    async fn much_input_goes_in_few_messages() {
        let (mut session, mut server) = connected().await;
        let agent = vec![7; 2 << 20];
        let sent = agent.clone();
        let sending = tokio::spawn(async move {
            session.stdin.write_all(&sent).await.unwrap();
            session
        });
        let (mut heard, mut messages) = (Vec::new(), 0);
        while heard.len() < agent.len() {
            heard.extend_from_slice(&hears(&mut server).await[1..]);
            messages += 1;
        }
        assert_eq!(heard, agent);
        assert!(messages <= 64, "{messages}");
        drop(sending.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn outputs_are_told_apart_and_end_with_the_process() {
        let (mut session, mut server) = connected().await;
        says(&mut server, STDOUT, "an event").await;
        says(&mut server, STDERR, "a complaint").await;
        says(&mut server, STATUS, r#"{"status": "Success"}"#).await;
        let (mut out, mut err) = (String::new(), String::new());
        session.stdout.read_to_string(&mut out).await.unwrap();
        session.stderr.read_to_string(&mut err).await.unwrap();
        assert_eq!((out.as_str(), err.as_str()), ("an event", "a complaint"));
        assert_eq!(session.exit.await, Exit::Code(0));
    }

    #[tokio::test(start_paused = true)]
    async fn outputs_of_a_connection_that_is_cut_are_read_to_the_last_byte_and_end() {
        let (mut session, mut server) = connected().await;
        says(&mut server, STDOUT, "half an ev").await;
        drop(server);
        let mut out = String::new();
        let read = timeout(MINUTE, session.stdout.read_to_string(&mut out)).await;
        read.expect("it ends").unwrap();
        assert_eq!(out, "half an ev");
        assert_eq!(session.exit.await, Exit::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_dropped_cuts_the_connection() {
        let (session, mut server) = connected().await;
        drop(session.connection);
        let end = timeout(MINUTE, server.next()).await.expect("it ends");
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn outputs_end_when_the_session_is_dropped() {
        let (mut session, mut server) = connected().await;
        says(&mut server, STDERR, "a complaint").await;
        tokio::task::yield_now().await;
        drop(session.connection);
        let mut err = String::new();
        let read = timeout(MINUTE, session.stderr.read_to_string(&mut err)).await;
        read.expect("it ends").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_is_kept_open() {
        let (_session, mut server) = connected().await;
        let message = timeout(2 * PING, server.next()).await.expect("a ping");
        assert!(message.unwrap().unwrap().is_ping());
    }

    fn status(value: serde_json::Value) -> Exit {
        exit(Some(serde_json::from_value(value).unwrap()))
    }

    #[test]
    fn the_exit_code_is_read_from_the_cause() {
        assert_eq!(status(json!({"status": "Success"})), Exit::Code(0));
        assert_eq!(
            status(json!({
                "status": "Failure", "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": "75"}]}
            })),
            Exit::Code(75)
        );
    }

    #[test]
    fn a_process_that_never_started_and_a_stream_without_status_are_told_apart() {
        // As runc, crun and kata say it.
        for says in [
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": executable file not found in $PATH",
            "command terminated: open executable: No such file or directory",
            "exec failed: Permission denied (os error 13)",
        ] {
            let told = json!({"status": "Failure", "reason": "InternalError", "message": says});
            assert_eq!(status(told), Exit::NotRun(says.into()));
        }
        // A kubelet that is not there, as the API server tells it.
        let lost = "Internal error occurred: error sending request: Post \"https://10.0.0.1:10250/exec/shop/c-0/cassandra?command=sh\": EOF";
        let lost = json!({"status": "Failure", "reason": "InternalError", "message": lost});
        assert_eq!(status(lost), Exit::Unknown);
        assert_eq!(exit(None), Exit::Unknown);
    }
}
