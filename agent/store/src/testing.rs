//! For tests of what uses a storage: sources from memory, and a storage that fails on command.

// This is test code, in a library so that every backend and the test bed can call it.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::Notify;

use crate::{At, Content, Error, FileSystem, Key, Named, Object, Objects, Outcome, Source, Store};

/// Chunks from memory, and an error instead of the end if one is wanted.
pub struct Chunked {
    whole: Bytes,
    content: Bytes,
    chunk: usize,
    end: Option<io::Error>,
}

impl Chunked {
    /// `content` in chunks of `chunk` bytes.
    pub fn new(content: impl Into<Bytes>, chunk: usize) -> Self {
        let whole = content.into();
        Self {
            content: whole.clone(),
            whole,
            chunk,
            end: None,
        }
    }

    /// The same, with `error` where the end would be.
    pub fn failing(content: impl Into<Bytes>, chunk: usize, error: io::Error) -> Self {
        Self {
            end: Some(error),
            ..Self::new(content, chunk)
        }
    }
}

#[async_trait]
impl Source for Chunked {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.content.is_empty() {
            return self.end.take().map_or(Ok(None), Err);
        }
        Ok(Some(
            self.content.split_to(self.chunk.min(self.content.len())),
        ))
    }

    async fn restart(&mut self) -> io::Result<()> {
        self.content = self.whole.clone();
        Ok(())
    }
}

/// Chunks of 1 MiB, with a wait half way through the first time.
pub struct Gated {
    chunks: Chunked,
    wait_at: Option<usize>,
    gate: Arc<Gate>,
}

/// Where a [`Gated`] source waits.
#[derive(Debug, Default)]
pub struct Gate {
    reached: Notify,
    open: Notify,
}

impl Gate {
    /// Waits until the source is half way.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets it go on.
    pub fn open(&self) {
        self.open.notify_one();
    }
}

impl Gated {
    /// `content`, and its gate.
    pub fn new(content: &Bytes) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let source = Self {
            chunks: Chunked::new(content.clone(), 1 << 20),
            wait_at: Some(content.len() / 2),
            gate: Arc::clone(&gate),
        };
        (source, gate)
    }
}

#[async_trait]
impl Source for Gated {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self
            .wait_at
            .is_some_and(|left| self.chunks.content.len() <= left)
        {
            self.wait_at = None;
            self.gate.reached.notify_one();
            self.gate.open.notified().await;
        }
        self.chunks.next().await
    }

    async fn restart(&mut self) -> io::Result<()> {
        self.chunks.restart().await
    }
}

/// The key of this path, which has to be one.
pub fn key(path: &str) -> Key {
    Key::parse(path).unwrap()
}

/// Bytes that repeat at no power of two, so that pieces in the wrong order are seen.
pub fn content(size: u64) -> Bytes {
    let bytes = (0..size).map(|i| (i % 251) as u8);
    Bytes::from(bytes.collect::<Vec<_>>())
}

/// Uploads `content` to `path`, in chunks of 1 MiB.
pub async fn upload(store: &dyn Store, path: &str, content: &Bytes) -> Result<Outcome, Error> {
    let mut source = Chunked::new(content.clone(), 1 << 20);
    let size = content.len() as u64;
    store.upload(&key(path), size, &mut source).await
}

/// Does everything that a store can do with a server that refuses everything from `begins` on, which
/// is called in the middle of an upload of `large`; `there` is an object of 1000 bytes that was stored
/// before. Gives what each said, and fails if one goes on for two minutes.
pub async fn refused(
    store: &dyn Store,
    there: &Key,
    large: &Bytes,
    begins: impl FnOnce(),
) -> [Error; 7] {
    let (mut source, gate) = Gated::new(large);
    let (middle, few) = (key("endless/middle"), content(1000));
    let all = async {
        let under_way = store.upload(&middle, large.len() as u64, &mut source);
        let everything_else = async {
            gate.reached().await;
            begins();
            gate.open();
            futures::join!(
                upload(store, "endless/small", &few),
                upload(store, "endless/large", large),
                store.read_small(there, u64::MAX),
                store.touch(there, 1000),
                store.delete(there),
                store.now(),
            )
        };
        let (middle, (small, large, read, touch, delete, now)) =
            futures::join!(under_way, everything_else);
        [
            middle.unwrap_err(),
            small.unwrap_err(),
            large.unwrap_err(),
            read.unwrap_err(),
            touch.unwrap_err(),
            delete.unwrap_err(),
            now.unwrap_err(),
        ]
    };
    let all = tokio::time::timeout(Duration::from_secs(120), all).await;
    all.unwrap_or_else(|_| panic!("it is never given up"))
}

/// The message with all its causes, as a user sees it.
pub fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}

/// The operations of a [`Store`] that [`Faulty`] counts and fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Store::create`].
    Create,
    /// [`Store::upload`].
    Upload,
    /// [`Store::stat`].
    Stat,
    /// [`Store::get`].
    Get,
    /// [`Store::list`].
    List,
    /// [`Store::touch`].
    Touch,
    /// [`Store::delete`].
    Delete,
    /// [`Store::now`].
    Now,
    /// [`Store::reach`].
    Reach,
    /// [`Store::sweep`].
    Sweep,
    /// [`Store::settle`].
    Settle,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It is not done, and ends with this error.
    Refused(fn(At) -> Error),
    /// It is done, but its answer is lost on the way: [`Error::Unavailable`].
    AnswerLost,
}

/// A storage some of whose operations fail.
pub struct Faulty<S> {
    inner: S,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: HashMap<Operation, u64>,
    faults: HashMap<(Operation, u64), Fault>,
}

impl<S: Store> Faulty<S> {
    /// `inner`, with no fault yet.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            state: Mutex::default(),
        }
    }

    /// Fails the `nth` call of `operation` from the start, counted from 1.
    pub fn fail(self, operation: Operation, nth: u64, fault: Fault) -> Self {
        self.state().faults.insert((operation, nth), fault);
        self
    }

    /// How often `operation` was called.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state().done.get(&operation).copied().unwrap_or(0)
    }

    /// The storage below.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; the error if it is not to be done, else whether its answer is to be lost.
    fn call(&self, operation: Operation, key: Option<&Key>) -> Result<bool, Error> {
        let mut state = self.state();
        let count = state.done.entry(operation).or_default();
        *count += 1;
        let call = (operation, *count);
        match state.faults.get(&call) {
            None => Ok(false),
            Some(Fault::AnswerLost) => Ok(true),
            Some(Fault::Refused(error)) => Err(error(self.at(key))),
        }
    }

    fn at(&self, key: Option<&Key>) -> At {
        At {
            storage: self.inner.name().into(),
            key: key.cloned(),
        }
    }

    async fn run<T>(
        &self,
        operation: Operation,
        key: Option<&Key>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let lost = self.call(operation, key)?;
        let result = work.await;
        if lost {
            Err(answer_lost(self.at(key)))
        } else {
            result
        }
    }
}

/// What a lost answer looks like to the caller.
pub fn answer_lost(at: At) -> Error {
    let source = Box::new(io::Error::from(io::ErrorKind::ConnectionReset));
    Error::Unavailable { at, source }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.run(Operation::Create, Some(key), self.inner.create(key, body))
            .await
    }

    async fn upload(
        &self,
        key: &Key,
        size: u64,
        source: &mut dyn Source,
    ) -> Result<Outcome, Error> {
        self.run(
            Operation::Upload,
            Some(key),
            self.inner.upload(key, size, source),
        )
        .await
    }

    async fn stat(&self, key: &Key) -> Result<Object, Error> {
        self.run(Operation::Stat, Some(key), self.inner.stat(key))
            .await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, Error> {
        self.run(Operation::Get, Some(key), self.inner.get(key, range))
            .await
    }

    fn list(&self, prefix: &Key) -> Objects {
        match self.call(Operation::List, Some(prefix)) {
            Ok(false) => self.inner.list(prefix),
            // Lists break off at their end, when their reader already has taken everything in.
            Ok(true) => {
                let end = Err(answer_lost(self.at(Some(prefix))));
                self.inner.list(prefix).chain(stream::iter([end])).boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn folders(&self, limit: usize) -> Result<Vec<String>, Error> {
        self.run(Operation::List, None, self.inner.folders(limit))
            .await
    }

    async fn touch(&self, key: &Key, size: u64) -> Result<(), Error> {
        self.run(Operation::Touch, Some(key), self.inner.touch(key, size))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.run(Operation::Delete, Some(key), self.inner.delete(key))
            .await
    }

    async fn now(&self) -> Result<SystemTime, Error> {
        self.run(Operation::Now, None, self.inner.now()).await
    }

    async fn reach(&self) -> Result<Option<FileSystem>, Error> {
        self.run(Operation::Reach, None, self.inner.reach()).await
    }

    async fn settle(&self) -> Result<(), Error> {
        self.run(Operation::Settle, None, self.inner.settle()).await
    }

    async fn sweep(
        &self,
        prefix: &Key,
        before: SystemTime,
        named: &Named<'_>,
    ) -> Result<u64, Error> {
        let sweep = self.inner.sweep(prefix, before, named);
        self.run(Operation::Sweep, Some(prefix), sweep).await
    }
}
