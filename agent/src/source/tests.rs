use store::Source;

use super::*;

const CHUNK: usize = 1 << 20;

fn source(path: &Path, size: u64, crc: Option<u32>) -> FileSource {
    let bandwidth = Arc::new(Bandwidth::unlimited());
    FileSource::open(
        path,
        size,
        Expected { crc, hash: None },
        bandwidth,
        Arc::default(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_file_is_read_whole_with_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let path = dir.path().join(size.to_string());
        let content: Vec<u8> = (0..size).map(|n| n as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let mut source = source(&path, size as u64, Some(crc32fast::hash(&content)));
        let mut read = Vec::new();
        while let Some(chunk) = source.next().await.unwrap() {
            read.extend_from_slice(&chunk);
        }
        assert!(read == content);
        assert_eq!(source.hash(), Some(blake3::hash(&content)));
    }
}

#[tokio::test]
async fn a_wrong_checksum_is_an_error_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nb-1-big-Data.db");
    std::fs::write(&path, b"abc").unwrap();
    let mut source = source(&path, 3, Some(1));
    assert!(source.next().await.unwrap().is_some());
    let error = source.next().await.unwrap_err();
    assert!(error.get_ref().unwrap().is::<Corrupt>(), "{error}");
    assert_eq!(source.hash(), None);
}

#[tokio::test]
async fn a_file_is_read_anew_from_any_point_and_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let content: Vec<u8> = (0..3 * CHUNK).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let counter = Arc::new(AtomicU64::new(0));
    let expected = Expected {
        crc: Some(crc32fast::hash(&content)),
        hash: Some(blake3::hash(&content)),
    };
    let bandwidth = Arc::new(Bandwidth::unlimited());
    let size = content.len() as u64;
    let mut source = FileSource::open(&path, size, expected, bandwidth, counter.clone()).unwrap();
    for chunks in 0..5 {
        for _ in 0..chunks {
            source.next().await.unwrap();
        }
        source.restart().await.unwrap();
        assert_eq!(source.hash(), None);
        assert_eq!(counter.load(Ordering::Relaxed), 0);
    }
    let mut read = Vec::new();
    while let Some(chunk) = source.next().await.unwrap() {
        read.extend_from_slice(&chunk);
    }
    assert!(read == content);
    assert_eq!(source.hash(), expected.hash);
    assert_eq!(counter.load(Ordering::Relaxed), size);
}

/// Keeps what is poured into it, and fails at a limit.
struct Bucket {
    content: std::sync::Mutex<Vec<u8>>,
    limit: usize,
}

impl Bucket {
    fn of(limit: usize) -> Arc<Self> {
        let content = std::sync::Mutex::default();
        Arc::new(Self { content, limit })
    }

    fn filled(&self) -> usize {
        self.content.lock().unwrap().len()
    }
}

impl Sink for Bucket {
    fn write(&self, chunk: &[u8]) -> io::Result<()> {
        let mut content = self.content.lock().unwrap();
        content.extend_from_slice(chunk);
        match content.len() > self.limit {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_file_is_poured_whole_with_its_checks_and_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    for size in [0, 1, CHUNK, 3 * CHUNK + 5] {
        let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let mut right = source(&path, size as u64, Some(crc32fast::hash(&content)));
        for _ in 0..2 {
            let bucket = Bucket::of(size);
            right.pour(bucket.clone()).await.unwrap();
            assert!(*bucket.content.lock().unwrap() == content);
            assert_eq!(right.hash(), Some(blake3::hash(&content)));
            assert_eq!(right.counter.load(Ordering::Relaxed), size as u64);
            right.restart().await.unwrap();
            assert_eq!(right.counter.load(Ordering::Relaxed), 0);
        }
        let mut rotten = source(&path, size as u64, Some(1));
        let error = rotten.pour(Bucket::of(size)).await.unwrap_err();
        assert!(error.get_ref().unwrap().is::<Corrupt>(), "{error}");
        assert_eq!(rotten.hash(), None);
    }
    let mut refused = source(&path, 3 * CHUNK as u64, None);
    let error = refused.pour(Bucket::of(CHUNK)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[tokio::test]
async fn who_pours_keeps_the_bandwidth_holds_no_thread_meanwhile_and_stops_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, vec![7; 4 * CHUNK]).unwrap();
    // A piece is 64 KiB, and the second has to wait for an hour.
    let bandwidth = Arc::new(Bandwidth::new(Some(18)));
    let size = 4 * CHUNK as u64;
    let (expected, counter) = (Expected::default(), Arc::default());
    let mut slow = FileSource::open(&path, size, expected, bandwidth, counter).unwrap();
    let bucket = Bucket::of(usize::MAX);
    {
        let mut pouring = std::pin::pin!(slow.pour(bucket.clone()));
        while bucket.filled() == 0 {
            assert!(futures::poll!(&mut pouring).is_pending());
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            assert!(futures::poll!(&mut pouring).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bucket.filled(), 64 << 10);
    // Only the sink of the test is left: no thread holds it.
    while Arc::strong_count(&bucket) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bucket.filled(), 64 << 10);
}

/// Says when it is written to, and waits to be let on.
struct Door {
    entered: std::sync::mpsc::Sender<usize>,
    open: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Sink for Door {
    fn write(&self, chunk: &[u8]) -> io::Result<()> {
        let _ = self.entered.send(chunk.len());
        let _ = self.open.lock().unwrap().recv();
        Ok(())
    }
}

#[tokio::test]
async fn a_thread_that_pours_ends_soon_after_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, vec![7; 4 * CHUNK]).unwrap();
    let (entered, entries) = std::sync::mpsc::channel();
    let (open, opened) = std::sync::mpsc::channel();
    let mut large = source(&path, 4 * CHUNK as u64, None);
    {
        let open = std::sync::Mutex::new(opened);
        let door = Arc::new(Door { entered, open });
        let mut pouring = std::pin::pin!(large.pour(door));
        while entries.try_recv().is_err() {
            assert!(futures::poll!(&mut pouring).is_pending());
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..4 {
        let _ = open.send(());
    }
    // The door is gone with the thread that held it: nobody has entered once more.
    let once_more = tokio::task::spawn_blocking(move || entries.recv()).await;
    assert!(once_more.unwrap().is_err());
}

#[tokio::test]
async fn a_file_that_became_shorter_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"abc").unwrap();
    let mut source = source(&path, 4, None);
    assert!(source.next().await.unwrap().is_some());
    assert!(source.next().await.is_err());
}
