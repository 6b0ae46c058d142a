//! Objects in blocks: several at a time within the budget, whole or not at all.
//!
//! Blocks are seen by nobody until their list is committed, and Azure drops them after a week or
//! when another list of the same name is committed; there is no request that ends them earlier.
//! Every upload has block ids of its own, so that uploads of one key never mix.

use std::sync::Arc;

use http::Method;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::client::{Client, encoded};
use super::put::{Body, already_there};
use super::read;
use super::request::Request;
use crate::budget::Share;
use crate::feed::Feed;
use crate::{Error, Key, Outcome};

/// The most blocks of a blob.
const MAX_BLOCKS: u64 = 50_000;
/// Blocks grow by whole steps.
const BLOCK_STEP: u64 = 1024 * 1024;

/// Uploads an object of any size up to 50,000 times what may be in memory.
pub(super) async fn upload(
    client: &Arc<Client>,
    key: &Key,
    size: u64,
    mut feed: Feed<'_>,
) -> Result<Outcome, Error> {
    let Some(block_size) = block_size(size, client.block_size, client.max_in_flight) else {
        let most = client.max_in_flight;
        return Err(Error::Invalid {
            at: client.at(Some(key)),
            reason: format!(
                "{size} bytes are too many for {MAX_BLOCKS} blocks of the {most} bytes that may be \
                 in memory"
            ),
        });
    };
    let upload = Blocks {
        client,
        key,
        id: Uuid::new_v4(),
    };
    let mut tasks = JoinSet::new();
    let sent = upload.send(size, block_size, &mut feed, &mut tasks).await;
    // Nothing is on its way any more when the caller hears of a failure.
    tasks.shutdown().await;
    upload.commit(sent?, size).await
}

/// The size of a block, such that there are not too many; none if it would be more than `most`.
fn block_size(size: u64, wanted: u64, most: u64) -> Option<u64> {
    let needed = size.div_ceil(MAX_BLOCKS);
    if needed <= wanted {
        return Some(wanted);
    }
    (needed <= most).then(|| needed.next_multiple_of(BLOCK_STEP).min(most))
}

/// The lengths of all blocks.
fn lengths(size: u64, block_size: u64) -> impl Iterator<Item = u64> {
    (0..size.div_ceil(block_size)).map(move |n| block_size.min(size - n * block_size))
}

/// An upload under way.
struct Blocks<'u> {
    client: &'u Arc<Client>,
    key: &'u Key,
    id: Uuid,
}

impl Blocks<'_> {
    /// Sends all blocks, each from memory so that it can be sent again; how many there are.
    async fn send(
        &self,
        size: u64,
        block_size: u64,
        feed: &mut Feed<'_>,
        tasks: &mut JoinSet<Result<(), Error>>,
    ) -> Result<u32, Error> {
        let mut count = 0;
        for length in lengths(size, block_size) {
            let share = self.client.budget.share(length).await;
            let body = Body::new(feed.take(length).await.map_err(|e| self.unread(e))?);
            tasks.spawn(self.sending(count, body, share));
            count += 1;
            while let Some(done) = tasks.try_join_next() {
                self.joined(done)?;
            }
        }
        feed.end().await.map_err(|e| self.unread(e))?;
        while let Some(done) = tasks.join_next().await {
            self.joined(done)?;
        }
        Ok(count)
    }

    /// Sends one block.
    fn sending(
        &self,
        number: u32,
        body: Body,
        share: Share,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (client, key) = (Arc::clone(self.client), self.key.clone());
        let query = format!("comp=block&blockid={}", encoded(&self.block_id(number)));
        async move {
            let request = Request::object(&client, Method::PUT, &key)?.query(&query);
            let sent = body.send(request).done().await;
            drop(share);
            sent
        }
    }

    /// Commits an object that must not be there yet, and looks at what the server made of it.
    async fn commit(&self, count: u32, size: u64) -> Result<Outcome, Error> {
        let (client, key) = (self.client, self.key);
        let request = Request::object(client, Method::PUT, key)?
            .query("comp=blocklist")
            .header("if-none-match", "*");
        let list = Body::new(vec![self.list(count).into()]);
        if let Err(failure) = list.send(request).send().await {
            // Who committed the key first took our blocks away.
            let taken = failure.code() == Some("InvalidBlockList");
            return match failure.meaning(client, Some(key)) {
                Error::AlreadyExists { .. } => already_there(client, key, size).await,
                error if taken => match already_there(client, key, size).await {
                    Err(Error::NotFound { .. }) => Err(Error::Unavailable {
                        at: client.at(Some(key)),
                        source: Box::new(error),
                    }),
                    found => found,
                },
                error => Err(error),
            };
        }
        let found = read::stat(client, key).await?.size;
        if found == size {
            return Ok(Outcome::Stored);
        }
        Err(Error::Differs {
            at: client.at(Some(key)),
            expected: size,
            found,
        })
    }

    fn list(&self, count: u32) -> String {
        let mut list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
        for number in 0..count {
            list += "<Uncommitted>";
            list += &self.block_id(number);
            list += "</Uncommitted>";
        }
        list + "</BlockList>"
    }

    /// All ids of blocks of one name have to be of the same length.
    fn block_id(&self, number: u32) -> String {
        let mut id = [0; 20];
        id[..16].copy_from_slice(self.id.as_bytes());
        id[16..].copy_from_slice(&number.to_be_bytes());
        aws_smithy_types::base64::encode(id)
    }

    fn unread(&self, source: std::io::Error) -> Error {
        Error::Source {
            at: self.client.at(Some(self.key)),
            source,
        }
    }

    /// The result of a task of ours.
    fn joined(&self, task: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
        task.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::Unavailable {
                at: self.client.at(Some(self.key)),
                source: Box::new(error),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn no_object_has_more_blocks_than_azure_takes() {
        let (wanted, most) = (8 * MIB, 32 * MIB);
        for size in [
            1,
            8 * MIB,
            8 * MIB + 1,
            MAX_BLOCKS * wanted,
            MAX_BLOCKS * wanted + 1,
            MAX_BLOCKS * most,
        ] {
            let block = block_size(size, wanted, most).unwrap();
            assert!(block <= most, "{size}: {block}");
            let count = lengths(size, block).count() as u64;
            assert!(count <= MAX_BLOCKS, "{size}: {count}");
            assert_eq!(lengths(size, block).sum::<u64>(), size);
            assert!(lengths(size, block).all(|length| length > 0));
        }
        assert_eq!(
            block_size(MAX_BLOCKS * wanted + 1, wanted, most),
            Some(9 * MIB)
        );
        assert_eq!(block_size(MAX_BLOCKS * most + 1, wanted, most), None);
    }
}
