//! How many uploads of one backup are at work at the same time.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use agent::testing::*;
use async_trait::async_trait;
use bytes::Bytes;
use store::{FileStore, Source};
use tokio::sync::Barrier;

use crate::ground::{inventory, run};

const LARGE: u64 = 256 << 10;
/// Small files that take the place of a large one.
const SMALL_FOR_LARGE: usize = 4;

/// Uploads of one kind: as many as are expected at the same time wait for each other, so that fewer
/// never end.
struct Uploads {
    meeting: Barrier,
    at_work: AtomicUsize,
    most: AtomicUsize,
}

impl Uploads {
    fn expecting(at_a_time: usize) -> Arc<Self> {
        Arc::new(Self {
            meeting: Barrier::new(at_a_time),
            at_work: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Files of zeros, whose uploads are counted.
struct Zeros {
    large: Arc<Uploads>,
    small: Arc<Uploads>,
}

/// One of them; at work from when it is opened until it is done with.
struct Counted {
    uploads: Arc<Uploads>,
    content: Bytes,
    read: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.uploads.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Source for Counted {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if std::mem::replace(&mut self.read, true) {
            return Ok(None);
        }
        self.uploads.meeting.wait().await;
        Ok(Some(self.content.clone()))
    }

    async fn restart(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Content for Counted {
    fn hash(&self) -> Option<blake3::Hash> {
        Some(blake3::hash(&self.content))
    }
}

#[async_trait]
impl Files for Zeros {
    fn open(&self, item: &Item, _: Arc<AtomicU64>) -> Result<Box<dyn Content>, Error> {
        let uploads = if item.size() < LARGE {
            &self.small
        } else {
            &self.large
        };
        let at_work = uploads.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        uploads.most.fetch_max(at_work, Ordering::SeqCst);
        Ok(Box::new(Counted {
            uploads: Arc::clone(uploads),
            content: vec![0; item.size() as usize].into(),
            read: false,
        }))
    }

    async fn hash(&self, item: &Item) -> Result<blake3::Hash, Error> {
        unreachable!("{} is uploaded", item.key())
    }

    fn read(&self, _: &Item, _: blake3::Hash, _: SystemTime) {}
}

/// Uploads six rounds of files. Gives how many large and small ones were at work at most.
async fn most_at_work(concurrency: usize) -> (usize, usize) {
    let root = tempfile::tempdir().unwrap();
    let store = FileStore::open(root.path()).unwrap();
    let small = concurrency * SMALL_FOR_LARGE;
    let files = Zeros {
        large: Uploads::expecting(concurrency),
        small: Uploads::expecting(small),
    };
    let run = run(root.path());
    let transfer = Transfer {
        run: &run,
        store: &store,
        files: &files,
        concurrency,
        allow_corrupt: false,
    };
    let nothing = Storage {
        stored: Default::default(),
        condemned: HashSet::new(),
        now: SystemTime::UNIX_EPOCH,
        touch_after: Duration::ZERO,
    };
    let sizes = std::iter::repeat_n(LARGE, 6 * concurrency);
    let sizes = sizes.chain(std::iter::repeat_n(LARGE - 1, 6 * small));
    let mut inventory = inventory(sizes);
    let earlier = Earlier::default();
    let done = transfer.carry_out(&mut inventory, &nothing, &earlier);
    // By a clock that goes on only where nothing else does.
    let done = tokio::time::timeout(Duration::from_secs(60), done).await;
    let done = done.unwrap_or_else(|_| panic!("fewer than {concurrency} came together"));
    let uploaded = done.unwrap().progress.uploaded.files;
    assert_eq!(uploaded as usize, 6 * (concurrency + small));
    (files.large.most(), files.small.most())
}

#[tokio::test(start_paused = true)]
async fn as_many_files_as_asked_for_are_uploaded_at_the_same_time_and_no_more() {
    for concurrency in [1, 3] {
        let (large, small) = most_at_work(concurrency).await;
        assert_eq!(large, concurrency);
        assert_eq!(small, concurrency * SMALL_FOR_LARGE);
    }
}
