//! Content on its way: chunks without a copy, sent again if need be, with their checksum.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::crc::Crc;

/// A part of an object, or a small object whole, in memory.
#[derive(Clone)]
pub(super) struct Body {
    chunks: Arc<[Bytes]>,
    pub crc: Crc,
}

impl Body {
    pub fn new(chunks: Vec<Bytes>) -> Self {
        Self {
            crc: Crc::of(&chunks),
            chunks: chunks.into(),
        }
    }

    pub fn len(&self) -> u64 {
        self.crc.bytes()
    }

    /// Whether the content is `other`.
    pub fn is(&self, mut other: &[u8]) -> bool {
        for chunk in self.chunks.iter() {
            match other.strip_prefix(&chunk[..]) {
                Some(rest) => other = rest,
                None => return false,
            }
        }
        other.is_empty()
    }

    /// A body for a request, which the SDK can make anew for another attempt.
    pub fn stream(&self) -> ByteStream {
        let this = self.clone();
        ByteStream::new(SdkBody::retryable(move || {
            let (chunks, left) = (Arc::clone(&this.chunks), this.len());
            SdkBody::from_body_1_x(Sending {
                chunks,
                next: 0,
                left,
            })
        }))
    }
}

/// One sending of a [`Body`].
struct Sending {
    chunks: Arc<[Bytes]>,
    next: usize,
    left: u64,
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(chunk) = self.chunks.get(self.next).cloned() else {
            return Poll::Ready(None);
        };
        self.next += 1;
        self.left -= chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.chunks.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_compares_by_content_and_not_by_chunks() {
        let body = Body::new(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        assert!(body.is(b"abc"));
        assert!(!body.is(b"ab"));
        assert!(!body.is(b"abcd"));
        assert!(!body.is(b"abd"));
    }
}
