//! A [`Source`] cut to the pieces that a protocol wants.

use std::io;

use bytes::Bytes;

use crate::Source;
use crate::error::{Found, wrong_size};

/// A source that is read in pieces of our choice, and has to have the size that was announced.
pub(crate) struct Feed<'s> {
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
