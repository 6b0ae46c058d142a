//! The bed as its users see it: [`Bed::acquire`] brings it up or joins the one that is up; when
//! the last user is gone, however they went, it goes down by itself.

mod apply;
mod clean;
pub mod ground;
pub mod keeper;
mod namespace;
mod pods;
pub mod protocol;
mod table;
pub mod wait;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::net::UnixStream;

pub use apply::apply;
use clean::clean;
use ground::Ground;
pub use namespace::{Namespace, is_ready};
pub use pods::Output;
use protocol::{Ask, Connection, Line, Status};
pub use table::table;

use crate::host::cache::lock;
use crate::host::process::{Identity, MARK};
use crate::host::progress::step;
use crate::host::tools;
use crate::parts::{Facts, containerd, images::Image};

/// The bed, up and held. It stays up at least as long as this lives.
pub struct Bed {
    ground: Ground,
    client: Client,
    config: Config,
    /// Closed by the kernel when this process ends, however it ends: that is what ends the hold.
    _hold: Connection,
    _users: Option<File>,
}

impl Bed {
    /// Joins the bed, starting it first when it is down. Shows progress; waits for those who
    /// use it exclusively.
    pub async fn acquire() -> Result<Self> {
        let ground = ground()?;
        let users = lock_shared(&ground.users_lock()).await?;
        Self::join(ground, Some(users)).await
    }

    async fn join(ground: Ground, users: Option<File>) -> Result<Self> {
        let (hold, _) = ask(&ground, Ask::Part("kubernetes".into())).await?;
        let config = config(&ground.kubeconfig()).await?;
        let client = Client::try_from(config.clone())?;
        Ok(Self {
            ground,
            client,
            config,
            _hold: hold,
            _users: users,
        })
    }

    /// A client of the cluster's administrator.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where the API server is and how one identifies oneself, for clients of other kinds.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The kubeconfig of the cluster's administrator, for `kubectl` and `helm`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.ground.kubeconfig()
    }

    /// The state directory, for what ends with the bed.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Starts a part if it is not up, and tells how it is reached.
    pub async fn part(&self, name: &str) -> Result<Facts> {
        match ask(&self.ground, Ask::Part(name.into())).await? {
            (_, Line::Up(facts)) => Ok(facts),
            (_, other) => bail!("the keeper of the bed answered {other:?}"),
        }
    }

    /// Gives an image to the node, so that pods can use it with `imagePullPolicy: Never`.
    pub async fn import(&self, image: &Image) -> Result<()> {
        containerd::import(&self.ground, image).await
    }

    /// A namespace of its own, whose name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        Namespace::create(self, prefix).await
    }

    /// Applies the objects of a YAML text. Objects that live in namespaces have to name theirs.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        apply(&self.client, None, yaml).await
    }
}

/// Brings every part up, to stay until [`down`].
pub async fn up() -> Result<Status> {
    let ground = ground()?;
    match ask(&ground, Ask::Up).await? {
        (_, Line::Status(status)) => Ok(status),
        (_, other) => bail!("the keeper of the bed answered {other:?}"),
    }
}

/// Takes the bed down, whoever uses it, and removes what a killed one left.
pub async fn down() -> Result<()> {
    tools::require(&[])?;
    let ground = Ground::here();
    if !ground.state().exists() {
        return Ok(());
    }
    if let Ok(stream) = UnixStream::connect(ground.socket()).await {
        // Without an answer: the connection ends when the bed is gone.
        Connection::ask(stream, Ask::Down).await?.answer().await?;
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    let _lock = loop {
        if let Some(lock) = try_lock(&ground.keeper_lock())? {
            break lock;
        }
        if Instant::now() > deadline {
            bail!(
                "the keeper of the bed does not end; see {}",
                log(&ground).display()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let this = i32::try_from(std::process::id())
        .ok()
        .and_then(Identity::of);
    let spare: Vec<_> = this.into_iter().collect();
    step("remove what is left of the bed", clean(&ground, &spare)).await
}

/// What is up; `None` when no keeper runs.
pub async fn status() -> Result<Option<Status>> {
    let ground = Ground::here();
    let Ok(stream) = UnixStream::connect(ground.socket()).await else {
        return Ok(None);
    };
    match Connection::ask(stream, Ask::Status).await?.answer().await? {
        Some(Line::Status(status)) => Ok(Some(status)),
        _ => Ok(None),
    }
}

/// What runs of a bed whose keeper was killed: the names of its daemons.
pub fn left_over() -> Vec<String> {
    let daemons = Ground::here().daemons().list().into_iter();
    daemons
        .filter(|daemon| daemon.alive())
        .map(|daemon| daemon.name)
        .collect()
}

/// A client for the cluster of this kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    Ok(Client::try_from(config(kubeconfig).await?)?)
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// Asks the keeper, starting it first when there is none, and waits for the answer. What was asked
/// for is held as long as the connection is open.
async fn ask(ground: &Ground, ask: Ask) -> Result<(Connection, Line)> {
    // One that is just ending, because nobody used it any more, takes no questions.
    for _ in 0..3 {
        let stream = connect(ground).await?;
        let Ok(mut connection) = Connection::ask(stream, ask.clone()).await else {
            continue;
        };
        if let Some(line) = connection.answer().await? {
            return Ok((connection, line));
        }
    }
    bail!("the keeper of the bed ended; see {}", log(ground).display())
}

/// Connects to the keeper, starting it first when there is none.
async fn connect(ground: &Ground) -> Result<UnixStream> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut keeper = None;
    loop {
        if let Ok(stream) = UnixStream::connect(ground.socket()).await {
            return Ok(stream);
        }
        // One that finds another keeper already there ends at once, and then that one answers.
        let running = keeper
            .as_mut()
            .is_some_and(|keeper: &mut std::process::Child| matches!(keeper.try_wait(), Ok(None)));
        if Instant::now() > deadline {
            bail!(
                "the keeper of the bed does not answer; see {}",
                log(ground).display()
            );
        }
        if !running {
            keeper = Some(start_keeper(ground)?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn start_keeper(ground: &Ground) -> Result<std::process::Child> {
    let program = keeper_program()?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(log(ground))?;
    let mut command = Command::new(&program);
    command
        .arg("keep")
        .current_dir("/")
        // Everything that it starts inherits the mark.
        .env(MARK, ground.state())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command
        .spawn()
        .with_context(|| format!("could not start {}", program.display()))
}

/// The program that becomes the keeper: this one, or the `bed` program that cargo builds beside a
/// test before it runs it.
fn keeper_program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let Some(folder) = this.parent().filter(|folder| folder.ends_with("deps")) else {
        return Ok(this);
    };
    let program = folder.with_file_name("bed");
    if !program.exists() {
        bail!(
            "{} is missing: build it with `cargo build -p e2e --bin bed`",
            program.display()
        );
    }
    Ok(program)
}

fn log(ground: &Ground) -> PathBuf {
    ground.state().join("keeper.log")
}

/// An exclusive lock, or `None` when somebody else holds it.
fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = File::options().create(true).append(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

async fn lock_shared(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    let wait = async {
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {
                    tokio::time::sleep(Duration::from_millis(100)).await
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    };
    step("wait for those who use the bed exclusively", wait).await?;
    Ok(file)
}

/// The bed for oneself, for tests that break it on purpose: everybody else waits while this lives.
pub struct Exclusive {
    ground: Ground,
    _users: File,
}

impl Exclusive {
    /// Waits until nobody else uses the bed.
    pub async fn wait() -> Result<Self> {
        let ground = ground()?;
        let path = ground.users_lock();
        let users = step("wait until nobody else uses the bed", lock(&path)).await?;
        Ok(Self {
            ground,
            _users: users,
        })
    }

    /// As [`Bed::acquire`].
    pub async fn acquire(&self) -> Result<Bed> {
        Bed::join(self.ground.clone(), None).await
    }
}

/// The bed of this machine, which has what every bed needs.
fn ground() -> Result<Ground> {
    tools::require(&[tools::APT, tools::GO])?;
    let ground = Ground::here();
    fs::create_dir_all(ground.state())?;
    Ok(ground)
}
