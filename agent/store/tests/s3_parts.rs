//! How many parts of objects are under way to S3 at the same time, and how much of them is in memory:
//! at a server of the test's own, which holds its answers back and counts.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use store::testing::{Chunked, content, key};
use store::{Credentials, Outcome, S3Config, S3Store, Source, Store};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

const MIB: u64 = 1 << 20;
const PART: u64 = 5 * MIB;
const BEGUN: &str =
    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
const DONE: &str = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>";

/// What both sides have seen.
struct Seen {
    /// As many parts as are expected at the same time wait for each other, so that fewer never end.
    meeting: Barrier,
    /// Bytes that were taken from the sources.
    taken: AtomicU64,
    /// Bytes of the parts that were answered.
    answered: AtomicU64,
    /// The most bytes that were taken and not yet answered.
    most: AtomicU64,
    /// The size that every object has.
    size: u64,
}

/// A source whose bytes are counted.
struct Counted {
    chunks: Chunked,
    seen: Arc<Seen>,
}

#[async_trait]
impl Source for Counted {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = self.chunks.next().await?;
        if let Some(chunk) = &chunk {
            let seen = &self.seen;
            let count = chunk.len() as u64;
            let taken = seen.taken.fetch_add(count, Ordering::SeqCst) + count;
            let unanswered = taken - seen.answered.load(Ordering::SeqCst);
            seen.most.fetch_max(unanswered, Ordering::SeqCst);
        }
        Ok(chunk)
    }

    async fn restart(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A server of one bucket, which keeps nothing.
async fn server(seen: Arc<Seen>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&seen)));
        }
    });
    address
}

async fn serve(stream: TcpStream, seen: Arc<Seen>) -> io::Result<()> {
    let mut stream = BufStream::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let lengths = head
            .lines()
            .filter_map(|line| line.strip_prefix("content-length: "));
        let length = lengths.filter_map(|text| text.parse().ok()).next();
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        let line = head.lines().next().unwrap_or_default();
        let (headers, answer) = match line.split(' ').next() {
            Some("PUT") => {
                seen.meeting.wait().await;
                let count = body.len() as u64;
                seen.answered.fetch_add(count, Ordering::SeqCst);
                ("ETag: \"e\"\r\nContent-Length: 0".to_owned(), "")
            }
            Some("HEAD") => (format!("Content-Length: {}", seen.size), ""),
            _ if line.contains("?uploads") => (format!("Content-Length: {}", BEGUN.len()), BEGUN),
            _ => (format!("Content-Length: {}", DONE.len()), DONE),
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{answer}");
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// Uploads objects of three rounds of parts, all of them at the same time. Gives the most bytes that
/// were in memory.
async fn most_in_memory(at_once: u64, objects: u64) -> u64 {
    let size = 3 * at_once / objects * PART;
    let seen = Arc::new(Seen {
        meeting: Barrier::new(at_once as usize),
        taken: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        most: AtomicU64::new(0),
        size,
    });
    let credentials = Credentials::Explicit {
        access_key: "id".to_owned(),
        secret_key: "secret".to_owned(),
        session_token: None,
    };
    let mut config = S3Config::new("bucket", credentials);
    config.endpoint = Some(format!("http://{}", server(Arc::clone(&seen)).await));
    config.path_style = true;
    (config.part_size, config.single_limit) = (PART, PART);
    config.max_in_flight = at_once * PART;
    let store = S3Store::connect(config).await.unwrap();
    let whole = content(size);
    let uploads = (0..objects).map(|number| {
        let mut source = Counted {
            chunks: Chunked::new(whole.clone(), 1 << 20),
            seen: Arc::clone(&seen),
        };
        let store = store.clone();
        async move {
            let key = key(&format!("c/{number}"));
            store.upload(&key, size, &mut source).await
        }
    });
    let done = tokio::time::timeout(Duration::from_secs(60), try_join_all(uploads)).await;
    let done = done.unwrap_or_else(|_| panic!("fewer than {at_once} parts came together"));
    assert_eq!(done.unwrap(), vec![Outcome::Stored; objects as usize]);
    assert_eq!(seen.answered.load(Ordering::SeqCst), objects * size);
    seen.most.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_go_side_by_side_as_many_as_may_be_in_memory_and_no_more() {
    for (at_once, objects) in [(1, 1), (4, 1), (4, 2), (6, 3)] {
        let most = most_in_memory(at_once, objects).await;
        assert_eq!(most, at_once * PART, "{at_once} at once, {objects} objects");
    }
}
