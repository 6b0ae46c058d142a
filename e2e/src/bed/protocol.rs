//! What is said over the keeper's socket: one request a connection, one line of JSON each; then
//! events until the answer. A connection that asked for the bed holds it as long as it is open.

use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::host::process::Identity;
use crate::host::progress::{self, Event};
use crate::parts::Facts;

/// Changes whenever an older keeper could misunderstand.
pub const VERSION: u32 = 1;

/// The first line of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of the client.
    pub version: u32,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked of the keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// Start a part if it is not up, and keep the bed while this connection is open.
    Part(String),
    /// Start every part, and stay up until told otherwise.
    Up,
    /// What is up.
    Status,
    /// End. Answered by closing the connection when everything is gone.
    Down,
}

/// Every line that the keeper sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Line {
    /// A step of whatever the keeper is doing.
    Progress(Event),
    /// The part is up.
    Up(Facts),
    /// What is up.
    Status(Status),
    /// It could not be done.
    Failed(String),
}

/// What is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The keeper.
    pub keeper: Identity,
    /// Seconds since the keeper started.
    pub age: u64,
    /// Whether it stays up without users.
    pub pinned: bool,
    /// How many hold it.
    pub users: usize,
    /// All parts, up or not.
    pub parts: Vec<PartStatus>,
}

/// One part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from.
    pub source: String,
    /// What it told when it came up; `None` if it is not up.
    pub facts: Option<Facts>,
    /// Its daemons and whether they run.
    pub daemons: Vec<(String, i32, bool)>,
}

/// A client's end of a connection.
pub struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Asks over a fresh connection.
    pub async fn ask(stream: UnixStream, ask: Ask) -> Result<Self> {
        let mut stream = BufReader::new(stream);
        let mut line = serde_json::to_vec(&Request {
            version: VERSION,
            ask,
        })?;
        line.push(b'\n');
        stream
            .write_all(&line)
            .await
            .context("the keeper of the bed does not listen")?;
        Ok(Self { stream })
    }

    /// The answer; progress is shown meanwhile. `None` when the keeper closes without one.
    pub async fn answer(&mut self) -> Result<Option<Line>> {
        let mut line = String::new();
        loop {
            line.clear();
            match self.stream.read_line(&mut line).await {
                Ok(0) => return Ok(None),
                // Asked just when it was ending.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                read => read?,
            };
            match serde_json::from_str(&line).context("the keeper speaks another version")? {
                Line::Progress(event) => progress::forward(&event),
                Line::Failed(reason) => bail!("{reason}"),
                answer => return Ok(Some(answer)),
            }
        }
    }
}
