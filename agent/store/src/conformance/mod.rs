//! What every storage has to pass: the promises of [`Store`], seen from outside.
//!
//! The checks panic, as tests do. Each works below a segment of its own, so that they may run side
//! by side in one storage and again in a storage that was used before.

// This is test code, in a library so that every backend and the test bed can call it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod list;
mod read;
mod time;
mod write;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;

use crate::testing::Chunked;
use crate::{Error, Key, Object, Outcome, Store};

/// A storage to check.
#[derive(Clone, Copy)]
pub struct Subject<'s> {
    /// The storage. It is left with the objects that the checks wrote.
    pub store: &'s dyn Store,
    /// The size above which its uploads go another way; any size where there is but one.
    pub part_size: u64,
}

type Check = for<'s> fn(Subject<'s>) -> BoxFuture<'s, ()>;

/// All checks, by what they show.
pub const CHECKS: &[(&str, Check)] = &[
    ("create never overwrites", |s| {
        Box::pin(write::create_never_overwrites(s))
    }),
    ("of racing creators exactly one wins", |s| {
        Box::pin(write::one_creator_wins(s))
    }),
    ("uploads of every size read back", |s| {
        Box::pin(write::uploads_read_back(s))
    }),
    ("an upload of a stored object changes nothing", |s| {
        Box::pin(write::uploads_repeat(s))
    }),
    ("racing uploads of one object all succeed", |s| {
        Box::pin(write::racing_uploads(s))
    }),
    ("a source that fails leaves nothing", |s| {
        Box::pin(write::failed_sources(s))
    }),
    ("an upload that is dropped leaves nothing", |s| {
        Box::pin(write::dropped_upload(s))
    }),
    ("many uploads at once share the budget", |s| {
        Box::pin(write::many_uploads(s))
    }),
    ("a deleted object is gone", |s| Box::pin(write::delete(s))),
    ("ranges are cut at the object's end", |s| {
        Box::pin(read::ranges(s))
    }),
    ("what is not there is not found", |s| {
        Box::pin(read::not_found(s))
    }),
    ("small reads have a limit", |s| {
        Box::pin(read::small_limit(s))
    }),
    ("lists go by segments", |s| Box::pin(list::by_segments(s))),
    ("a list of many pages is complete", |s| {
        Box::pin(list::many_pages(s))
    }),
    ("folders are what keys begin with", |s| {
        Box::pin(list::folders(s))
    }),
    ("every name comes back as it was", |s| {
        Box::pin(list::names(s))
    }),
    ("a touch moves the time and nothing else", |s| {
        Box::pin(time::touch(s))
    }),
    ("now is the clock of the timestamps", |s| {
        Box::pin(time::now(s))
    }),
    ("a probe tells the truth", |s| Box::pin(time::probe(s))),
];

/// Runs every check, one after the other, with its name on standard error.
pub async fn all(subject: Subject<'_>) {
    for (name, check) in CHECKS {
        eprintln!("{}: {name}", subject.store.name());
        check(subject).await;
    }
}

impl Subject<'_> {
    /// A prefix that nobody else uses.
    fn fresh(&self) -> Key {
        Key::parse(&format!("conformance/{}", uuid::Uuid::new_v4())).unwrap()
    }

    async fn upload(&self, key: &Key, content: &Bytes) -> Result<Outcome, Error> {
        let size = content.len() as u64;
        self.store
            .upload(key, size, &mut Chunked::new(content.clone(), 1 << 20))
            .await
    }

    async fn read(&self, key: &Key) -> Bytes {
        self.store.read_small(key, u64::MAX).await.unwrap()
    }

    async fn list(&self, prefix: &Key) -> Vec<Object> {
        let mut objects: Vec<_> = self.store.list(prefix).try_collect().await.unwrap();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        objects
    }

    async fn list_keys(&self, prefix: &Key) -> Vec<Key> {
        self.list(prefix)
            .await
            .into_iter()
            .map(|object| object.key)
            .collect()
    }
}

/// Bytes that repeat at no power of two, so that parts in the wrong order are seen.
fn content(size: u64, seed: u8) -> Bytes {
    let size = usize::try_from(size).unwrap();
    let cycle: Vec<u8> = (0..65_521_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed)
        .collect();
    Bytes::from(cycle.into_iter().cycle().take(size).collect::<Vec<_>>())
}
