//! A network that breaks connections and changes bytes, and a server that is too busy.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What S3, Azure and Google say when they are too busy.
const BUSY_S3: &str =
    "<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>";
const BUSY_AZURE: &str =
    "<Error><Code>ServerBusy</Code><Message>The server is busy.</Message></Error>";
const BUSY_GCS: &str = r#"{"error":{"code":503,"message":"Backend Error","errors":[
    {"domain":"global","reason":"backendError","message":"Backend Error"}]}}"#;

/// What S3 says to a request that it does not know.
const NOT_IMPLEMENTED: &str = "<Error><Code>NotImplemented</Code></Error>";

/// Stands between a client and an HTTP server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<ProxyState>,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed after so many bytes of the request, its head included.
    RequestAfter(usize),
    /// The connection is closed after so many bytes of the answer; the request has arrived.
    AnswerAfter(usize),
    /// A byte of the request's content changes on the way.
    Spoilt,
    /// The server says at once that it does not know such requests, and takes the rest of it.
    Unimplemented,
}

/// A fault, and the requests that it is for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// What they have in their head.
    text: &'static str,
    fault: Fault,
    /// All of them instead of the next.
    always: bool,
}

/// A request that waits, [`Proxy::hold`]; goes on when this is dropped.
#[derive(Debug)]
pub struct Held {
    came: oneshot::Receiver<()>,
    /// Its end lets the request go on.
    _leave: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the request has come.
    pub async fn reached(&mut self) {
        // Only the request itself ends the other side.
        let _ = (&mut self.came).await;
    }
}

/// The other side of [`Held`], and the request that is meant.
#[derive(Debug)]
struct Holding {
    text: &'static str,
    came: oneshot::Sender<()>,
    leave: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
struct ProxyState {
    wanted: Mutex<Option<Wanted>>,
    hits: AtomicUsize,
    /// How many of the next requests are refused.
    busy: AtomicUsize,
    refused: AtomicUsize,
    /// What the first request of a storm has in its head.
    storm: Mutex<Option<&'static str>>,
    holding: Mutex<Option<Holding>>,
}

impl ProxyState {
    /// What happens to the request with this head.
    fn fault(&self, head: &str) -> Option<Fault> {
        let mut place = self.wanted();
        let wanted = (*place).filter(|wanted| head.contains(wanted.text))?;
        if !wanted.always {
            *place = None;
        }
        Some(wanted.fault)
    }

    /// Whether the request with this head is refused.
    fn refuses(&self, head: &str) -> bool {
        let methods = ["GET ", "HEAD ", "PUT ", "POST ", "DELETE "];
        if !methods.iter().any(|method| head.starts_with(method)) {
            return false;
        }
        if self.begins_storm(head) {
            self.busy.store(usize::MAX, Ordering::SeqCst);
        }
        let one_less = |left: usize| left.checked_sub(1);
        let order = Ordering::SeqCst;
        let refused = self.busy.fetch_update(order, order, one_less).is_ok();
        self.refused.fetch_add(usize::from(refused), order);
        refused
    }

    fn begins_storm(&self, head: &str) -> bool {
        locked(&self.storm)
            .take_if(|text| head.contains(*text))
            .is_some()
    }

    /// Waits where the request with this head is to be held.
    async fn held(&self, head: &str) {
        let holding = locked(&self.holding).take_if(|it| head.contains(it.text));
        if let Some(Holding { came, leave, .. }) = holding {
            let _ = came.send(());
            let _ = leave.await;
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Option<Wanted>> {
        locked(&self.wanted)
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::SeqCst);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Where it listens, as a URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this to the next request that has `text` in its head.
    pub fn next(&self, text: &'static str, fault: Fault) {
        self.want(text, fault, false);
    }

    /// Does this to every request that has `text` in its head.
    pub fn always(&self, text: &'static str, fault: Fault) {
        self.want(text, fault, true);
    }

    /// Loses the answer to the next request that has `text` in its head.
    pub fn lose(&self, text: &'static str) {
        self.next(text, Fault::AnswerAfter(0));
    }

    fn want(&self, text: &'static str, fault: Fault, always: bool) {
        *self.state.wanted() = Some(Wanted {
            text,
            fault,
            always,
        });
    }

    /// To how many requests something was done.
    pub fn hits(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }

    /// Answers the next `requests` with 503, as the server would that they are for.
    pub fn be_busy(&self, requests: usize) {
        self.state.busy.store(requests, Ordering::SeqCst);
    }

    /// Answers all requests with 503 from the next one on that has `text` in its head, until
    /// [`Proxy::be_busy`] says otherwise.
    pub fn be_busy_from(&self, text: &'static str) {
        *locked(&self.state.storm) = Some(text);
    }

    /// Stops the next request that has `text` in its head before the server has it.
    pub fn hold(&self, text: &'static str) -> Held {
        let ((arrive, came), (_leave, leave)) = (oneshot::channel(), oneshot::channel());
        *locked(&self.state.holding) = Some(Holding {
            text,
            came: arrive,
            leave,
        });
        Held { came, _leave }
    }

    /// How many requests were refused.
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }
}

/// Takes what of `count` bytes still comes through; whether the connection ends with them.
fn cut(left: &mut usize, count: usize) -> (usize, bool) {
    let through = count.min(*left);
    *left -= through;
    (through, *left == 0)
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
                let head = String::from_utf8_lossy(&asked[..count.min(2000)]).into_owned();
                state.held(&head).await;
                if state.refuses(&head) {
                    return refuse(client, &busy(&head)).await;
                }
                let new = if fault.is_none() { state.fault(&head) } else { None };
                fault = fault.or(new);
                if fault == Some(Fault::Unimplemented) {
                    state.hit();
                    let answer = refusal("501 Not Implemented", NOT_IMPLEMENTED);
                    return refuse(client, &answer).await;
                }
                // Where the head was just read, content is only what follows it.
                let content = new.map_or(Some(0), |_| head.find("\r\n\r\n").map(|end| end + 4));
                if fault == Some(Fault::Spoilt) && content.is_some_and(|start| start < count) {
                    asked[count - 1] ^= 1;
                    fault = None;
                    state.hit();
                }
                let (through, ends) = match &mut fault {
                    Some(Fault::RequestAfter(left)) => cut(left, count),
                    _ => (count, false),
                };
                if server.write_all(&asked[..through]).await.is_err() {
                    return;
                }
                if ends {
                    state.hit();
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                let (through, ends) = match &mut fault {
                    Some(Fault::AnswerAfter(left)) => cut(left, count),
                    _ => (count, false),
                };
                if client.write_all(&answered[..through]).await.is_err() {
                    return;
                }
                if ends {
                    state.hit();
                    return;
                }
            }
        }
    }
}

/// Answers at once, and takes the rest of the request: unread, it would undo the answer.
async fn refuse(mut client: TcpStream, answer: &str) {
    let mut rest = vec![0; 1 << 16];
    let _ = client.write_all(answer.as_bytes()).await;
    while matches!(client.read(&mut rest).await, Ok(1..)) {}
}

/// What the server of the request with this head says when it is too busy.
fn busy(head: &str) -> String {
    let status = "503 Service Unavailable";
    if head.contains("\r\nx-ms-version:") {
        // An answer to HEAD has nothing else.
        let code = format!("{status}\r\nx-ms-error-code: ServerBusy");
        return refusal(&code, BUSY_AZURE);
    }
    let gcs = head.contains("/storage/v1/");
    refusal(status, if gcs { BUSY_GCS } else { BUSY_S3 })
}

/// An answer with this status, and more headers if any follow it.
fn refusal(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}
