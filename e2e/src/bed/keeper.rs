//! The keeper: the process that owns the parts of the bed. It starts them on demand, ends them
//! when nobody uses the bed any more, and removes what users that were killed left in the cluster.
//!
//! It runs in a session of its own, so that a Ctrl-C in the terminal that started it ends the user
//! and not the bed; the bed follows when the last user is gone.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast, watch};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clean::{before_start, clean};
use super::ground::Ground;
use super::protocol::{Ask, Line, PartStatus, Request, Status, VERSION};
use super::{namespace, try_lock};
use crate::host::process::Identity;
use crate::host::progress::{self, Event, Screen, Sink, step};
use crate::parts::{self, Facts, Part};

/// How long the bed stays up when nobody holds it: enough for the next test binary to start.
const LINGER: Duration = Duration::from_secs(20);
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often namespaces of killed users are looked for.
const SWEEP: Duration = Duration::from_secs(5);

struct Keeper {
    ground: Ground,
    this: Identity,
    began: Instant,
    up: Mutex<BTreeMap<&'static str, Facts>>,
    users: watch::Sender<Users>,
    events: broadcast::Sender<Event>,
    /// Cancelled when the bed is to go down.
    down: CancellationToken,
}

#[derive(Debug, Clone, Copy, Default)]
struct Users {
    holding: usize,
    pinned: bool,
}

/// Whether this program was started to be the keeper: with the argument `keep`. Every program that
/// uses the bed, but for tests, asks this first, and then calls [`run`] and nothing else.
pub fn asked() -> bool {
    std::env::args_os().nth(1).is_some_and(|arg| arg == "keep")
}

/// Runs the keeper until the bed is down. Returns at once when another one is there.
pub async fn run() -> Result<()> {
    // Fails only for the leader of a group, which has a session or a shell of its own already.
    let _ = rustix::process::setsid();
    let ground = Ground::here();
    fs::create_dir_all(ground.state())?;
    fs::set_permissions(ground.state(), fs::Permissions::from_mode(0o711))?;
    let lock = loop {
        if let Some(lock) = try_lock(&ground.keeper_lock())? {
            break lock;
        }
        // Either another keeper serves, or one is just ending and its bed must be gone first.
        if UnixStream::connect(ground.socket()).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (events, _) = broadcast::channel(256);
    progress::tell(Arc::new(Told {
        events: events.clone(),
        log: Screen::default(),
    }));
    let this = i32::try_from(std::process::id())
        .ok()
        .and_then(Identity::of);
    let keeper = Arc::new(Keeper {
        this: this.context("/proc does not know this process")?,
        ground,
        began: Instant::now(),
        up: Mutex::default(),
        users: watch::Sender::default(),
        events,
        down: CancellationToken::new(),
    });
    // On one thread: what starts parts need not be able to move between threads.
    let result = LocalSet::new().run_until(keeper.serve()).await;
    drop(lock);
    result
}

/// Tells the clients of the keeper, and its log.
struct Told {
    events: broadcast::Sender<Event>,
    log: Screen,
}

impl Sink for Told {
    fn take(&self, event: &Event) {
        self.log.take(event);
        // Nobody listening is fine.
        let _ = self.events.send(event.clone());
    }
}

impl Keeper {
    async fn serve(self: &Arc<Self>) -> Result<()> {
        let socket = self.ground.socket();
        remove_if_there(&socket)?;
        let listener = UnixListener::bind(&socket)?;
        let tasks = TaskTracker::new();
        tasks.spawn_local(self.clone().sweep());
        {
            let mut idle = std::pin::pin!(self.idle());
            let mut signals = signals()?;
            loop {
                tokio::select! {
                    stream = listener.accept() => {
                        tasks.spawn_local(self.clone().client(stream?.0, tasks.clone()));
                    }
                    () = &mut idle => break,
                    _ = signals.0.recv() => break,
                    _ = signals.1.recv() => break,
                    () = self.down.cancelled() => break,
                }
            }
        }
        // From here on nobody can join: who tries waits for the lock and starts anew.
        drop(listener);
        remove_if_there(&socket)?;
        self.down.cancel();
        tasks.close();
        tasks.wait().await;
        step("take the bed down", clean(&self.ground, &[self.this])).await
    }

    /// Returns when nobody has used the bed for a while.
    async fn idle(&self) {
        let mut users = self.users.subscribe();
        loop {
            let now = *users.borrow_and_update();
            if now.pinned || now.holding > 0 {
                let _ = users.changed().await;
            } else if tokio::time::timeout(LINGER, users.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Serves one connection, to its end.
    async fn client(self: Arc<Self>, stream: UnixStream, tasks: TaskTracker) {
        let (read, mut write) = stream.into_split();
        let mut events = self.events.subscribe();
        let mut read = BufReader::new(read);
        let mut request = String::new();
        let read_request = tokio::time::timeout(PATIENCE, read.read_line(&mut request));
        if !matches!(read_request.await, Ok(Ok(1..))) {
            return;
        }
        let ask = match serde_json::from_str(&request) {
            Ok(Request {
                version: VERSION,
                ask,
            }) => ask,
            _ => {
                let other = "the bed was started by another version of this program; \
                             end it with `cargo bed down` and try again";
                let _ = send(&mut write, &Line::Failed(other.into())).await;
                return;
            }
        };
        if let Ask::Down = ask {
            // Outlives all tasks, so that the client sees how the bed goes; the end of this
            // process ends the connection.
            tokio::task::spawn_local(async move {
                while let Some(event) = next(&mut events).await {
                    if send(&mut write, &Line::Progress(event)).await.is_err() {
                        break;
                    }
                }
                std::future::pending::<()>().await;
            });
            self.down.cancel();
            return;
        }
        let up = matches!(ask, Ask::Up);
        let _holding = (up || matches!(ask, Ask::Part(_))).then(|| Holding::new(&self.users));
        // A task of its own: what one asks for is not given up because they leave, another may
        // be waiting for the same.
        let answer = tasks.spawn_local(self.clone().answer(ask));
        let conversation = async {
            let mut answer = std::pin::pin!(answer);
            let line = loop {
                tokio::select! {
                    biased;
                    Some(event) = next(&mut events) => {
                        send(&mut write, &Line::Progress(event)).await?;
                    }
                    line = &mut answer => break line?,
                }
            };
            if up && matches!(line, Line::Status(_)) {
                // Not before: who has left in the meantime does not want it to stay.
                self.users.send_modify(|users| users.pinned = true);
            }
            send(&mut write, &line).await?;
            std::future::pending::<Result<()>>().await
        };
        let mut rest = [0; 1];
        tokio::select! {
            _ = conversation => {}
            // Nothing more is ever sent: this is the client's end.
            _ = read.read(&mut rest) => {}
            () = self.down.cancelled() => {}
        }
    }

    async fn answer(self: Arc<Self>, ask: Ask) -> Line {
        let work = async {
            match ask {
                Ask::Status => Ok(Line::Status(self.status().await)),
                Ask::Part(name) => Ok(Line::Up(self.part(&name).await?)),
                Ask::Up => {
                    for part in parts::all() {
                        self.part(part.name()).await?;
                    }
                    let mut status = self.status().await;
                    status.pinned = true;
                    Ok(Line::Status(status))
                }
                Ask::Down => Err(anyhow!("down is not a question")),
            }
        };
        let work = self.down.run_until_cancelled(work);
        let result = work
            .await
            .unwrap_or_else(|| Err(anyhow!("the bed is going down")));
        result.unwrap_or_else(|error| Line::Failed(format!("{error:#}")))
    }

    /// Starts the part `name` on top of Kubernetes, unless it is up.
    async fn part(&self, name: &str) -> Result<Facts> {
        let all = parts::all();
        let wanted = all.iter().find(|part| part.name() == name);
        let wanted = wanted.with_context(|| format!("the bed has no part {name:?}"))?;
        // Held while starting: two who ask at once get the same one.
        let mut up = self.up.lock().await;
        let base = all.first().context("the bed has no parts")?;
        if !self.lives(&up, *base) {
            // After a start that failed or was killed, and after the death of a daemon that all
            // the rest stands on.
            up.clear();
            step(
                "remove what an earlier bed left",
                clean(&self.ground, &[self.this]),
            )
            .await?;
            // Those of the bed before were kept for whoever asks why it failed.
            let _ = fs::remove_dir_all(self.ground.state().join("log"));
        }
        for part in [base, wanted] {
            if !self.lives(&up, *part) {
                up.remove(part.name());
                let facts = self.start(*part).await?;
                up.insert(part.name(), facts);
            }
        }
        Ok(up.get(wanted.name()).cloned().unwrap_or_default())
    }

    async fn start(&self, part: &dyn Part) -> Result<Facts> {
        before_start(&self.ground).await?;
        let started = part.start(&self.ground).await;
        started.with_context(|| format!("could not start {} {}", part.name(), part.version()))
    }

    fn lives(&self, up: &BTreeMap<&str, Facts>, part: &dyn Part) -> bool {
        up.contains_key(part.name()) && self.daemons(part).iter().all(|(.., alive)| *alive)
    }

    fn daemons(&self, part: &dyn Part) -> Vec<(String, i32, bool)> {
        let daemons = self.ground.daemons();
        let state = |name: String| match daemons.get(&name) {
            Some(daemon) => (name, daemon.process.pid, daemon.alive()),
            None => (name, 0, false),
        };
        part.daemons().into_iter().map(state).collect()
    }

    async fn status(&self) -> Status {
        let users = *self.users.borrow();
        // Whoever starts a part holds the lock for minutes; what is not up yet is not up.
        let up = self.up.try_lock().map(|up| up.clone()).unwrap_or_default();
        let part = |part: &dyn Part| PartStatus {
            name: part.name().into(),
            version: part.version().into(),
            source: part.source().into(),
            facts: up.get(part.name()).cloned(),
            daemons: self.daemons(part),
        };
        Status {
            keeper: self.this,
            age: self.began.elapsed().as_secs(),
            pinned: users.pinned,
            users: users.holding,
            parts: parts::all().into_iter().map(part).collect(),
        }
    }

    /// Removes namespaces whose owner was killed, as long as the bed is up.
    async fn sweep(self: Arc<Self>) {
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                let up = self.up.try_lock().is_ok_and(|up| !up.is_empty());
                if up && let Err(error) = namespace::sweep(&self.ground).await {
                    eprintln!("could not look for namespaces of killed users: {error:#}");
                }
            }
        };
        self.down.run_until_cancelled(sweep).await;
    }
}

/// Counts one who holds the bed.
struct Holding<'a>(&'a watch::Sender<Users>);

impl<'a> Holding<'a> {
    fn new(users: &'a watch::Sender<Users>) -> Self {
        users.send_modify(|users| users.holding += 1);
        Self(users)
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|users| users.holding -= 1);
    }
}

fn signals() -> std::io::Result<(Signal, Signal)> {
    Ok((
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ))
}

async fn next(events: &mut broadcast::Receiver<Event>) -> Option<Event> {
    loop {
        match events.recv().await {
            Ok(event) => return Some(event),
            // A slow client misses some steps and nothing else.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, line: &Line) -> Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(write.write_all(&bytes).await?)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
