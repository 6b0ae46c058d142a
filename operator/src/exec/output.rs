//! Commands that end soon, and what they printed.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{ExecError, Exit, PodExec, Session, Target};

/// Most bytes that are kept of an output; enough for any message of ours.
const KEPT: usize = 8 * 1024;

/// The end of a stream of text, bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounded(Vec<u8>);

impl Bounded {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(KEPT);
        self.0.drain(..surplus);
    }

    /// The text, without control characters other than line ends and tabs.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0)
            .chars()
            .filter(|c| matches!(c, '\n' | '\t') || !c.is_control())
            .collect::<String>()
            .trim()
            .to_owned()
    }

    /// Reads until the end, keeping the last part.
    pub(crate) async fn read(mut from: impl AsyncRead + Unpin) -> Self {
        let mut kept = Self::default();
        let mut buffer = [0; 512];
        // An error ends the stream like its end does; the exit says what is known.
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            kept.push(&buffer[..count]);
        }
        kept
    }
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Exit,
}

/// Runs a command that is expected to end within `limit`; `input` is written to it meanwhile.
pub(crate) async fn run_to_end(
    exec: &dyn PodExec,
    target: &Target,
    command: &[String],
    input: &[u8],
    limit: Duration,
) -> Result<Output, ExecError> {
    let work = async {
        let Session {
            mut stdin,
            stdout,
            stderr,
            exit,
            connection,
        } = exec.start(target, command).await?;
        let write = async {
            // A command that does not want its input, or ended, says more than the failed write.
            let _ = stdin.write_all(input).await;
            let _ = stdin.flush().await;
        };
        let ((), stdout, stderr) =
            tokio::join!(write, Bounded::read(stdout), Bounded::read(stderr));
        let exit = exit.await;
        drop((stdin, connection));
        Ok(Output {
            stdout: stdout.text(),
            stderr: stderr.text(),
            exit,
        })
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(ExecError::Unreachable(format!(
            "a command did not end within {} s",
            limit.as_secs()
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::{Bounded, KEPT};

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let mut kept = Bounded::default();
        kept.push(&vec![b'a'; 3 * KEPT]);
        kept.push(b"\x1b[31mend");
        assert!(kept.text().len() <= KEPT);
        assert!(kept.text().ends_with("a[31mend"));
    }
}
