//! How processes on one node find and stop each other: abstract Unix sockets, which need no file
//! and which the kernel frees when their process ends.
//!
//! Whoever connects is told one line, `{"runId":"…","pid":1}`. It may then send one line,
//! `{"cancel":"<run id>"}` or `{"proceed":"<run id>"}`, and is answered `{"cancelling":true}`,
//! `{"proceeding":true}` or `{"refused":"…"}`. Only root and processes of the same user may.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use uuid::Uuid;

use crate::run_context::Run;

/// More than any line of this conversation.
const MAX_LINE: u64 = 1024;

/// Both sides are on one machine and have nothing else to do.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Its run.
    pub run_id: Uuid,
    /// Its process id, as it sees it itself.
    pub pid: u32,
}

/// What a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// To end.
    Cancel(Uuid),
    /// To go on after its snapshot, now or once it holds.
    Proceed(Uuid),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It ends as soon as it can.
    Cancelling(bool),
    /// It goes on.
    Proceeding(bool),
    /// It goes on, and why.
    Refused(String),
}

/// Name of the socket of a run.
pub fn run_socket(run: Uuid) -> String {
    format!("cassandra-backup/run/{run}")
}

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// Takes a name; fails with `AddrInUse` while another process has it.
pub fn listen(name: &str) -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&address(name)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Answers for ever.
pub async fn answer(listener: UnixListener, holder: Holder, run: Run) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(tokio::time::timeout(
                    PATIENCE,
                    converse(stream, holder, run.clone()),
                ));
            }
            // Out of descriptors: others may end.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(mut stream: UnixStream, holder: Holder, run: Run) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    stream.write_all(&line(&holder)?).await?;
    let mut command = Vec::new();
    let mut reader = BufReader::new(&mut stream).take(MAX_LINE);
    if reader.read_until(b'\n', &mut command).await? == 0 {
        return Ok(());
    }
    let me = rustix::process::geteuid().as_raw();
    let answer = match serde_json::from_slice::<Command>(&command) {
        Err(_) => Answer::Refused("the command is not understood".into()),
        Ok(Command::Cancel(id) | Command::Proceed(id)) if id != holder.run_id => {
            Answer::Refused(format!("this is run {}", holder.run_id))
        }
        Ok(_) if peer != 0 && peer != me => Answer::Refused(format!(
            "only root and user {me} may do that, not user {peer}"
        )),
        Ok(Command::Cancel(_)) => {
            run.cancel.cancel();
            Answer::Cancelling(true)
        }
        Ok(Command::Proceed(_)) => {
            run.proceed.cancel();
            Answer::Proceeding(true)
        }
    };
    stream.write_all(&line(&answer)?).await
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Asks who has a name; fails with `ConnectionRefused` when nobody has it.
pub fn holder(name: &str) -> io::Result<Holder> {
    read(&mut connect(name)?)
}

/// Tells a run something.
pub fn tell(command: Command) -> io::Result<(Holder, Answer)> {
    let (Command::Cancel(run) | Command::Proceed(run)) = command;
    let mut stream = connect(&run_socket(run))?;
    let holder = read(&mut stream)?;
    io::Write::write_all(&mut stream.get_ref(), &line(&command)?)?;
    Ok((holder, read(&mut stream)?))
}

fn connect(name: &str) -> io::Result<std::io::BufReader<StdStream>> {
    let stream = StdStream::connect_addr(&address(name)?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(std::io::BufReader::new(stream))
}

fn read<T: for<'a> Deserialize<'a>>(stream: &mut std::io::BufReader<StdStream>) -> io::Result<T> {
    let mut line = Vec::new();
    let mut limited = io::Read::take(&mut *stream, MAX_LINE);
    io::BufRead::read_until(&mut limited, b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}
