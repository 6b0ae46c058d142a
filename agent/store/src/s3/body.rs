//! Content on its way: chunks without a copy, sent again if need be, with their checksum.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http_body::{Frame, SizeHint};

use crate::Source;
use crate::error::{Found, wrong_size};

/// CRC-64/NVME, the checksum of S3 that is of the whole object even when it goes in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crc {
    value: u64,
    bytes: u64,
}

impl Crc {
    pub fn of(chunks: &[Bytes]) -> Self {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        for chunk in chunks {
            digest.update(chunk);
        }
        Self {
            value: digest.finalize(),
            bytes: digest.get_amount(),
        }
    }

    /// The checksum of this content with `next` after it.
    pub fn then(self, next: Self) -> Self {
        let value =
            crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, self.value, next.value, next.bytes);
        Self {
            value,
            bytes: self.bytes + next.bytes,
        }
    }

    /// As S3 writes it.
    pub fn base64(self) -> String {
        aws_smithy_types::base64::encode(self.value.to_be_bytes())
    }
}

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
        self.crc.bytes
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

/// A source that is read in pieces of our choice, and has to have the size that was announced.
pub(super) struct Feed<'s> {
    source: &'s mut dyn Source,
    size: u64,
    taken: u64,
    /// What a chunk had beyond the end of a piece.
    rest: Bytes,
}

impl<'s> Feed<'s> {
    pub fn new(source: &'s mut dyn Source, size: u64) -> Self {
        Self {
            source,
            size,
            taken: 0,
            rest: Bytes::new(),
        }
    }

    /// At most the next `wanted` bytes that the source has at hand; never empty.
    pub async fn some(&mut self, wanted: u64) -> io::Result<Bytes> {
        while self.rest.is_empty() {
            self.rest = match self.source.next().await? {
                Some(chunk) => chunk,
                None => return Err(wrong_size(self.size, Found::Only(self.taken))),
            };
        }
        let wanted = usize::try_from(wanted)
            .unwrap_or(usize::MAX)
            .min(self.rest.len());
        let some = self.rest.split_to(wanted);
        self.taken += some.len() as u64;
        Ok(some)
    }

    /// The next `wanted` bytes.
    pub async fn take(&mut self, mut wanted: u64) -> io::Result<Vec<Bytes>> {
        let mut chunks = Vec::new();
        while wanted > 0 {
            let chunk = self.some(wanted).await?;
            wanted -= chunk.len() as u64;
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// Makes sure that the source ends here, and ends well.
    pub async fn end(&mut self) -> io::Result<()> {
        while self.rest.is_empty() {
            match self.source.next().await? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(()),
            }
        }
        Err(wrong_size(self.size, Found::More))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_combine_to_the_checksum_of_the_whole() {
        let data: Vec<u8> = (0..100_000_u32).map(|i| (i * 31 % 251) as u8).collect();
        let whole = Crc::of(&[Bytes::from(data.clone())]);
        // The check value of CRC-64/NVME in the catalogue of CRCs is that of these nine bytes.
        assert_eq!(
            Crc::of(&[Bytes::from_static(b"123456789")]).value,
            0xae8b_1486_0a79_9888
        );
        for cut in [0, 1, 4096, 99_999, 100_000] {
            let (left, right) = data.split_at(cut);
            let left = Crc::of(&[Bytes::copy_from_slice(left)]);
            let right = Crc::of(&[Bytes::copy_from_slice(right)]);
            assert_eq!(left.then(right), whole, "{cut}");
        }
    }

    #[test]
    fn a_body_compares_by_content_and_not_by_chunks() {
        let body = Body::new(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        assert!(body.is(b"abc"));
        assert!(!body.is(b"ab"));
        assert!(!body.is(b"abcd"));
        assert!(!body.is(b"abd"));
    }
}
