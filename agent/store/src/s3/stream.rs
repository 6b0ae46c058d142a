//! What is sent while it is read: objects that go in one request without being kept in memory, and
//! parts larger than the memory we may use.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ConnectorError, SdkError};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::client::ANSWER;
use crate::crc::Crc;
use crate::feed::Feed;

/// How much of it is in memory, in bytes: a chunk in each of three places.
pub(super) const IN_MEMORY: u64 = 3 * 1024 * 1024;

/// The body of a request, filled by a [`Pump`].
struct Streamed {
    chunks: mpsc::Receiver<Bytes>,
    left: u64,
}

/// Moves content from its source into a body.
pub(super) struct Pump {
    chunks: mpsc::Sender<Bytes>,
    length: u64,
}

/// A body of `length` bytes, and what fills it.
pub(super) fn pair(length: u64) -> (Pump, ByteStream) {
    let (sender, receiver) = mpsc::channel(1);
    let body = SdkBody::from_body_1_x(Streamed {
        chunks: receiver,
        left: length,
    });
    let pump = Pump {
        chunks: sender,
        length,
    };
    (pump, ByteStream::new(body))
}

impl Pump {
    /// Fills the body; the checksum is that of what was taken from `feed`.
    ///
    /// If the source fails the body ends too early, and so does the request.
    pub async fn run(self, feed: &mut Feed<'_>) -> io::Result<Crc> {
        let mut crc = Crc::of(&[]);
        let mut left = self.length;
        while left > 0 {
            let chunk = feed.some(left).await?;
            left -= chunk.len() as u64;
            crc = crc.then(Crc::of(std::slice::from_ref(&chunk)));
            if self.chunks.send(chunk).await.is_err() {
                // The request has failed, and says why.
                break;
            }
        }
        Ok(crc)
    }

    /// Fills the body with all that `feed` has. The last chunk follows only when the source has
    /// ended well: until then the server cannot have the whole.
    pub async fn run_to_end(self, feed: &mut Feed<'_>) -> io::Result<()> {
        let mut left = self.length;
        while left > 0 {
            let chunk = feed.some(left).await?;
            left -= chunk.len() as u64;
            if left == 0 {
                feed.end().await?;
            }
            if self.chunks.send(chunk).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Fills a body by `fill` while `send` sends it, and gives what both came to; the error outside is
/// the source's. However long the content takes, the answer has to begin in [`ANSWER`] after it.
pub(super) async fn both<F, T, E>(
    fill: impl Future<Output = io::Result<F>>,
    send: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> io::Result<Result<(F, T), SdkError<E, HttpResponse>>> {
    let mut send = pin!(send);
    let filled = tokio::select! {
        biased;
        filled = fill => filled?,
        // What fails early leaves the rest of the source unread.
        sent = &mut send => return Ok(match sent {
            Err(error) => Err(error),
            Ok(_) => {
                let text = "the server answered before it had all of the content";
                Err(SdkError::dispatch_failure(ConnectorError::io(text.into())))
            }
        }),
    };
    Ok(match tokio::time::timeout(ANSWER, send).await {
        Ok(sent) => sent.map(|sent| (filled, sent)),
        Err(elapsed) => Err(SdkError::timeout_error(elapsed)),
    })
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.poll_recv(context).map(|chunk| {
            chunk.map(|chunk| {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Ok(Frame::data(chunk))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
