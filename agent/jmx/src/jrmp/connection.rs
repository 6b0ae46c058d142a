//! One TCP or TLS connection in the Stream protocol: calls one after another.

use std::io::{self, Read};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::reply;
use super::tls::{Connector, problem_of};
use super::{Expect, Outcome};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::stream::{Limits, StreamError};

/// "JRMI", version 2, Stream protocol.
const GREETING: &[u8] = b"JRMI\x00\x02\x4b";
const PROTOCOL_ACK: u8 = 0x4e;
const PROTOCOL_NOT_SUPPORTED: u8 = 0x4f;
const PING: u8 = 0x52;
const PING_ACK: u8 = 0x53;

/// A snapshot can keep a call silent for many minutes; firewalls drop idle connections after
/// fewer, and a peer that is gone has to be noticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// Keepalive does not begin while something that was sent is not acknowledged: without a limit, a
/// peer that disappears just when it is called is noticed after a quarter of an hour only. As long
/// as keepalive takes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(90);

/// Time for a pong before a reused connection is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Size of what is read at once; of these a few wait between the network and the parser.
const CHUNK: usize = 16 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on which no call is under way.
pub(crate) struct Connection {
    io: Box<dyn Stream>,
}

/// Why a call has no outcome. The connection cannot be used again.
#[derive(Debug)]
pub(crate) enum CallFailure {
    Lost(io::Error),
    Malformed(StreamError),
}

impl Connection {
    /// Connects to `port` on the endpoint's host.
    pub async fn open(
        endpoint: &Endpoint,
        port: u16,
        tls: Option<&Connector>,
    ) -> Result<Connection, Error> {
        let address = endpoint.address_of(port);
        let limit = endpoint.connect_timeout;
        let tcp = match timeout(limit, TcpStream::connect((endpoint.host.as_str(), port))).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(source)) => return Err(Error::Unreachable { address, source }),
            Err(_) => {
                let source = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection within {limit:?}"),
                );
                return Err(Error::Unreachable { address, source });
            }
        };
        set_options(&tcp).map_err(|source| Error::Unreachable {
            address: address.clone(),
            source,
        })?;
        match timeout(limit, Self::establish(tcp, tls, &address)).await {
            Ok(result) => result,
            Err(_) => Err(Error::NotJmx {
                address,
                found: format!("it accepts connections and says nothing within {limit:?}"),
            }),
        }
    }

    async fn establish(
        tcp: TcpStream,
        tls: Option<&Connector>,
        address: &str,
    ) -> Result<Connection, Error> {
        let Some(connector) = tls else {
            return Self::greet(Box::new(tcp), address, false).await;
        };
        match connector.connect(tcp).await {
            Ok(stream) => Self::greet(Box::new(stream), address, true).await,
            Err(error) => Err(Error::Tls {
                address: address.to_owned(),
                problem: problem_of(&error).unwrap_or_else(|| {
                    format!("the handshake ended with {error}; does this port speak TLS at all?")
                }),
            }),
        }
    }

    async fn greet(mut io: Box<dyn Stream>, address: &str, tls: bool) -> Result<Self, Error> {
        let not_jmx = |found: String| Error::NotJmx {
            address: address.to_owned(),
            found,
        };
        match exchange_greetings(&mut io).await {
            Ok(PROTOCOL_ACK) => Ok(Connection { io }),
            Ok(PROTOCOL_NOT_SUPPORTED) => Err(not_jmx(
                "it speaks RMI, but not the stream protocol".to_owned(),
            )),
            // A TLS server answers plain text with an alert record.
            Ok(0x15) => Err(Error::Tls {
                address: address.to_owned(),
                problem: "the server speaks TLS, and no TLS settings are given".to_owned(),
            }),
            Ok(b'H') => Err(not_jmx("it answers as HTTP servers do".to_owned())),
            Ok(first) => Err(not_jmx(format!(
                "it answers the RMI greeting with {:?}",
                (first as char).to_string()
            ))),
            // With TLS 1.3 a missing client certificate shows only now, as an alert or as an end.
            Err(error) if tls => Err(Error::Tls {
                address: address.to_owned(),
                problem: problem_of(&error).unwrap_or_else(|| {
                    format!(
                        "the server ended the session at once ({error}); does it require a \
                         client certificate?"
                    )
                }),
            }),
            Err(error) => Err(not_jmx(format!(
                "it ends the connection on the RMI greeting ({error})"
            ))),
        }
    }

    /// Whether the peer still answers. A connection that has been idle may have been closed, and a
    /// call written into it would be lost without a trace.
    pub async fn is_alive(&mut self) -> bool {
        let pong = async {
            self.io.write_all(&[PING]).await?;
            self.io.flush().await?;
            self.io.read_u8().await
        };
        matches!(timeout(PING_TIMEOUT, pong).await, Ok(Ok(PING_ACK)))
    }

    /// Sends an encoded call and reads its reply; there is no time limit here. Dropping the future
    /// makes the connection unusable.
    pub async fn call(&mut self, call: &[u8], expect: Expect) -> Result<Outcome, CallFailure> {
        self.io.write_all(call).await.map_err(CallFailure::Lost)?;
        self.io.flush().await.map_err(CallFailure::Lost)?;

        // A reply ends where its parser says, so the parser runs while bytes come in, as plain
        // synchronous code on a thread of its own, fed by a short queue.
        let (feed, queue) = mpsc::channel(4);
        let mut parser = tokio::task::spawn_blocking(move || {
            let input = Fed {
                queue,
                chunk: io::Cursor::default(),
            };
            reply::read(input, Limits::default(), expect)
        });
        let mut feed = Some(feed);
        let mut ended = None;
        let parsed = loop {
            let mut buffer = Vec::with_capacity(CHUNK);
            tokio::select! {
                parsed = &mut parser => break parsed,
                read = self.io.read_buf(&mut buffer), if feed.is_some() => match read {
                    Ok(1..) => if let Some(feed) = &feed {
                        // Fails when the parser has just ended; then the loop sees its result.
                        let _ = feed.send(buffer).await;
                    },
                    Ok(_) => feed = None,
                    Err(error) => {
                        ended = Some(error);
                        feed = None;
                    }
                },
            }
        };
        match parsed {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(StreamError::Ended { .. })) => {
                Err(CallFailure::Lost(ended.unwrap_or_else(closed)))
            }
            Ok(Err(error)) => Err(CallFailure::Malformed(error)),
            Err(stopped) => Err(CallFailure::Lost(io::Error::other(stopped))),
        }
    }
}

async fn exchange_greetings(io: &mut Box<dyn Stream>) -> io::Result<u8> {
    io.write_all(GREETING).await?;
    io.flush().await?;
    let first = io.read_u8().await?;
    if first == PROTOCOL_ACK {
        // Our address as the server sees it: host and port. We answer with none of our own.
        let length = io.read_u16().await?;
        let mut own_address = vec![0; usize::from(length) + 4];
        io.read_exact(&mut own_address).await?;
        io.write_all(&[0; 6]).await?;
        io.flush().await?;
    }
    Ok(first)
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection",
    )
}

fn set_options(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(tcp, UNACKNOWLEDGED.as_millis() as u32)?;
    Ok(())
}

/// The parser's input: chunks as they arrive, and an end when the other side is dropped.
struct Fed {
    queue: mpsc::Receiver<Vec<u8>>,
    chunk: io::Cursor<Vec<u8>>,
}

impl Read for Fed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match Read::read(&mut self.chunk, buffer)? {
                0 if !buffer.is_empty() => match self.queue.blocking_recv() {
                    Some(chunk) => self.chunk = io::Cursor::new(chunk),
                    None => return Ok(0),
                },
                read => return Ok(read),
            }
        }
    }
}
