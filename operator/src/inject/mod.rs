//! Bringing the agent into a container.

use std::time::Duration;

use crate::agent_binary::{AgentBinary, AgentUnreadable};
use crate::exec::{ExecError, Exit, Output, PodExec, Target, run_to_end};

/// Directories that are tried after those of the resource, in this order. `/tmp` first, because it
/// goes with the container; a directory of the data volume stays, so it comes last.
const DIRECTORIES: &[&str] = &[
    "/tmp/cassandra-backup",
    "/var/tmp/cassandra-backup",
    "/dev/shm/cassandra-backup",
    "/var/lib/cassandra/.cassandra-backup",
    "/bitnami/cassandra/.cassandra-backup",
];

/// Looking takes as long as starting a shell; copying, as long as the slowest network one accepts.
const LOOK: Duration = Duration::from_secs(30);
const COPY: Duration = Duration::from_secs(300);

const FIND: &str = include_str!("find.sh");
/// The last that it says.
const SEARCHED: &str = "searched";
const PLACE: &str = include_str!("place.sh");
/// Exit codes of `place.sh`.
const NO_DIRECTORY: i32 = 3;
const NOT_ARRIVED: i32 = 4;

/// An agent that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its executable.
    pub(crate) path: String,
    /// Where its runs keep their journals.
    pub(crate) state_directory: Option<String>,
}

/// The agent could not be brought into the container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InjectError {
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Agent(#[from] AgentUnreadable),
    /// The stream broke; the same may succeed later.
    #[error("the agent was not copied: {0}")]
    Interrupted(String),
    /// There is no shell.
    #[error(
        "container {container} has no shell to receive the agent ({cause}): use spec.agent.mode: Container with a container that has the agent"
    )]
    NoShell { container: String, cause: String },
    /// There is no directory.
    #[error(
        "no directory of container {container} can take the agent: {tried}. Name a writable directory that allows execution in spec.agent.directories, or use spec.agent.mode: Container"
    )]
    NoDirectory { container: String, tried: String },
}

impl InjectError {
    /// Whether the same may succeed later without anybody changing anything.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Exec(ExecError::Unreachable(_)) | Self::Interrupted(_)
        )
    }
}

/// Finds the agent in the container or copies it there.
pub(crate) async fn inject(
    exec: &dyn PodExec,
    target: &Target,
    agent: &AgentBinary,
    first: &[String],
) -> Result<Placed, InjectError> {
    let name = agent.file_name();
    let mut directories: Vec<String> = first.to_vec();
    directories.extend(DIRECTORIES.iter().map(ToString::to_string));

    let found = script(exec, target, FIND, &[&name], &directories, &[], LOOK).await?;
    if let Some(directory) = found
        .stdout
        .lines()
        .find_map(|line| answer(line, &agent.hash))
    {
        return Ok(placed(directory, &name));
    }

    // A stream that is cut, as by a kubelet that ends, may say that its process ended well.
    if !found.stdout.ends_with(SEARCHED) {
        let said = match last_line(&found.stderr) {
            nothing if nothing.is_empty() => nothing,
            said => format!(": {said}"),
        };
        let cut = format!("the look for it was cut{said}");
        return Err(InjectError::Interrupted(cut));
    }
    tracing::info!(pod = target.pod, "brings the agent into the pod");
    let content = agent.content().await?;
    let bytes = agent.size.to_string();
    let mut tried = Vec::new();
    loop {
        let arguments = [name.as_str(), bytes.as_str()];
        let output = script(
            exec,
            target,
            PLACE,
            &arguments,
            &directories,
            &content,
            COPY,
        )
        .await?;
        match output.exit {
            Exit::Code(0) => {
                return match output
                    .stdout
                    .lines()
                    .find_map(|line| answer(line, &agent.hash))
                {
                    Some(directory) => Ok(placed(directory, &name)),
                    None => Err(InjectError::Interrupted("it arrived changed".into())),
                };
            }
            Exit::Code(NOT_ARRIVED) => {
                tried.push(last_line(&output.stderr));
                let full = output.stdout.lines().last().unwrap_or_default().to_owned();
                let before = directories.len();
                // The directories before it were no better.
                if let Some(at) = directories.iter().position(|directory| *directory == full) {
                    directories.drain(..=at);
                }
                if directories.is_empty() || directories.len() == before {
                    return Err(no_directory(target, &tried));
                }
            }
            Exit::Code(NO_DIRECTORY) => {
                tried.push(output.stderr.lines().collect::<Vec<_>>().join(", "));
                return Err(no_directory(target, &tried));
            }
            Exit::Code(code) => {
                return Err(InjectError::Interrupted(format!(
                    "the shell ended with {code}: {}",
                    last_line(&output.stderr)
                )));
            }
            Exit::NotRun(cause) => return Err(no_shell(target, cause)),
            Exit::Unknown => return Err(InjectError::Interrupted("the stream was cut".into())),
        }
    }
}

/// Runs a script with `sh` and tells a missing shell apart.
async fn script(
    exec: &dyn PodExec,
    target: &Target,
    text: &str,
    arguments: &[&str],
    directories: &[String],
    input: &[u8],
    limit: Duration,
) -> Result<Output, InjectError> {
    let command: Vec<String> = ["sh", "-c", text, "cassandra-backup"]
        .iter()
        .chain(arguments)
        .map(ToString::to_string)
        .chain(directories.iter().cloned())
        .collect();
    let output = run_to_end(exec, target, &command, input, limit).await?;
    match &output.exit {
        Exit::NotRun(cause) => Err(no_shell(target, cause.clone())),
        // Some runtimes report a missing program as the shell's own codes.
        Exit::Code(126 | 127) => Err(no_shell(target, last_line(&output.stderr))),
        _ => Ok(output),
    }
}

/// The directory of an answer, if the executable there is the right one.
fn answer<'a>(line: &'a str, hash: &str) -> Option<&'a str> {
    let (directory, says) = line.split_once('\t')?;
    (says.trim() == hash).then_some(directory)
}

fn placed(directory: &str, name: &str) -> Placed {
    Placed {
        path: format!("{directory}/{name}"),
        state_directory: Some(format!("{directory}/state")),
    }
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

fn no_shell(target: &Target, cause: String) -> InjectError {
    InjectError::NoShell {
        container: target.container.clone(),
        cause: cause.chars().take(200).collect(),
    }
}

fn no_directory(target: &Target, tried: &[String]) -> InjectError {
    InjectError::NoDirectory {
        container: target.container.clone(),
        tried: tried.join(", "),
    }
}

#[cfg(test)]
mod tests;
