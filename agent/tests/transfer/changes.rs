//! What was looked at changes before it is touched: somebody deletes an object, or puts another one
//! in its place.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use agent::testing::*;
use async_trait::async_trait;
use bytes::Bytes;
use store::{FileStore, Source};

use crate::ground::{inventory, run};

const BYTES: u64 = 100;

/// The node's files, all of the letter `n`.
struct OfTheNode;

/// One of them.
struct Letters(Option<Bytes>);

fn content() -> Bytes {
    vec![b'n'; BYTES as usize].into()
}

#[async_trait]
impl Source for Letters {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.take())
    }

    async fn restart(&mut self) -> io::Result<()> {
        self.0 = Some(content());
        Ok(())
    }
}

impl Content for Letters {
    fn hash(&self) -> Option<blake3::Hash> {
        Some(blake3::hash(&content()))
    }
}

#[async_trait]
impl Files for OfTheNode {
    fn open(&self, _: &Item, _: Arc<AtomicU64>) -> Result<Box<dyn Content>, Error> {
        Ok(Box::new(Letters(Some(content()))))
    }

    async fn hash(&self, _: &Item) -> Result<blake3::Hash, Error> {
        Ok(blake3::hash(&content()))
    }

    fn read(&self, _: &Item, _: blake3::Hash, _: SystemTime) {}
}

/// Carries out the plan of a backup that saw three objects, of which the first became this since.
/// Gives what was done, and what is in the storage then under the first key.
async fn after(change: Option<&[u8]>) -> (Result<Transferred, Error>, Option<Vec<u8>>) {
    let root = tempfile::tempdir().unwrap();
    let store = FileStore::open(root.path()).unwrap();
    let mut inventory = inventory(std::iter::repeat_n(BYTES, 3));
    let path = |item: &Item| root.path().join(item.key().as_str());
    let items: Vec<&Item> = inventory.items().collect();
    for item in items.iter().copied() {
        fs::create_dir_all(path(item).parent().unwrap()).unwrap();
        fs::write(path(item), content()).unwrap();
    }
    let seen = |item: &&Item| {
        let (size, modified) = (BYTES, SystemTime::UNIX_EPOCH);
        (digest(item.key().as_str()), Stored { size, modified })
    };
    let storage = Storage {
        stored: items.iter().map(seen).collect(),
        condemned: HashSet::new(),
        now: SystemTime::now(),
        touch_after: Duration::ZERO,
    };
    let first = path(items[0]);
    match change {
        None => fs::remove_file(&first).unwrap(),
        Some(other) => fs::write(&first, other).unwrap(),
    }
    let run = run(root.path());
    let transfer = Transfer {
        run: &run,
        store: &store,
        files: &OfTheNode,
        concurrency: 1,
        allow_corrupt: false,
    };
    let earlier = Earlier::default();
    let done = transfer.carry_out(&mut inventory, &storage, &earlier).await;
    (done, fs::read(first).ok())
}

#[tokio::test]
async fn an_object_that_was_deleted_since_the_look_is_uploaded_anew() {
    let (done, stored) = after(None).await;
    let progress = done.unwrap().progress;
    assert_eq!((progress.uploaded.files, progress.touched), (1, 2));
    assert_eq!(stored.unwrap(), content());
}

#[tokio::test]
async fn an_object_that_was_replaced_by_one_of_another_size_since_the_look_fails_the_backup() {
    let (done, stored) = after(Some(b"other")).await;
    let error = done.err().unwrap();
    assert_eq!(error.reason(), protocol::Reason::ContentMismatch);
    assert_eq!(stored.unwrap(), b"other");
}
