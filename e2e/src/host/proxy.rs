//! A network that loses answers and changes bytes, and a server that is too busy.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Stands between a client and a server, and closes the connection instead of an answer.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<ProxyState>,
}

#[derive(Debug, Default)]
struct ProxyState {
    /// What the next request has in its head that something happens to.
    wanted: Mutex<Option<(&'static str, Fault)>>,
    lost: AtomicUsize,
    spoilt: AtomicUsize,
    /// How many of the next requests are refused.
    busy: AtomicUsize,
    refused: AtomicUsize,
}

/// What S3 says when it is too busy.
const SLOW_DOWN: &str =
    "<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>";

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The connection is closed instead of an answer.
    AnswerLost,
    /// A byte of its content changes on the way.
    Spoilt,
}

impl ProxyState {
    /// What happens to the request with this head, if it is waited for, which it then is no more.
    fn fault(&self, head: &str) -> Option<Fault> {
        let mut wanted = self.wanted();
        let hit = wanted.take_if(|(wanted, _)| head.contains(*wanted));
        hit.map(|(_, fault)| fault)
    }

    /// Whether the request with this head is refused.
    fn refuses(&self, head: &str) -> bool {
        let methods = ["GET ", "HEAD ", "PUT ", "POST ", "DELETE "];
        if !methods.iter().any(|method| head.starts_with(method)) {
            return false;
        }
        let one_less = |left: usize| left.checked_sub(1);
        let order = Ordering::SeqCst;
        let refused = self.busy.fetch_update(order, order, one_less).is_ok();
        self.refused.fetch_add(usize::from(refused), order);
        refused
    }

    fn wanted(&self) -> MutexGuard<'_, Option<(&'static str, Fault)>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Starts one in front of `server`, on a free port of its address; ends with the runtime.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((server.ip(), 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(ProxyState::default());
        tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(forward(client, server, Arc::clone(&state)));
                }
            }
        });
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses the answer to the next request that has `request` in its head.
    pub fn lose(&self, request: &'static str) {
        *self.state.wanted() = Some((request, Fault::AnswerLost));
    }

    /// Changes a byte of the content of the next request that has `request` in its head.
    pub fn spoil(&self, request: &'static str) {
        *self.state.wanted() = Some((request, Fault::Spoilt));
    }

    /// Answers the next `requests` with 503 SlowDown.
    pub fn be_busy(&self, requests: usize) {
        self.state.busy.store(requests, Ordering::SeqCst);
    }

    /// How many requests were refused.
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }

    /// How many requests were changed.
    pub fn spoilt(&self) -> usize {
        self.state.spoilt.load(Ordering::SeqCst)
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, state: Arc<ProxyState>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut fault = None;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                // The head of a request is at the start of what is read, after its last answer.
                let head = String::from_utf8_lossy(&asked[..count.min(1000)]).into_owned();
                if state.refuses(&head) {
                    let answer = format!(
                        "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\n\
                         Content-Length: {}\r\nConnection: close\r\n\r\n{SLOW_DOWN}",
                        SLOW_DOWN.len()
                    );
                    let _ = client.write_all(answer.as_bytes()).await;
                    return;
                }
                let new = state.fault(&head);
                fault = fault.or(new);
                // Where the head was just read, content is only what follows it.
                let content = new.map_or(Some(0), |_| head.find("\r\n\r\n").map(|end| end + 4));
                if fault == Some(Fault::Spoilt) && content.is_some_and(|start| start < count) {
                    asked[count - 1] ^= 1;
                    fault = None;
                    state.spoilt.fetch_add(1, Ordering::SeqCst);
                }
                if server.write_all(&asked[..count]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if fault == Some(Fault::AnswerLost) {
                    state.lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
