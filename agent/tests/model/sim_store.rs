//! The world as a process sees it: a storage and a clock.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use agent::lease::Timer;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use store::{At, Content, Error, FileSystem, Key, Object, Objects, Outcome, Source, Store};

use crate::world::{Answer, Op, START, Shared, system_time};

/// One process's storage.
#[derive(Clone)]
pub struct SimStore {
    pub world: Shared,
    pub process: usize,
}

/// Waits for the answer to a request, or for a time.
struct Waiting {
    world: Shared,
    slot: usize,
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut world = self.world.lock();
        let slot = &mut world.slots[self.slot];
        if slot.delivered {
            return Poll::Ready(slot.answer.take().unwrap_or(Answer::Done));
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl SimStore {
    fn ask(&self, op: Op) -> Waiting {
        let slot = self.world.lock().send(self.process, op);
        Waiting {
            world: self.world.clone(),
            slot,
        }
    }

    fn error(&self, key: Option<&Key>, answer: &Answer) -> Error {
        let at = At {
            storage: "sim".into(),
            key: key.cloned(),
        };
        match answer {
            Answer::NotFound => Error::NotFound { at },
            Answer::Exists(_) => Error::AlreadyExists { at },
            _ => store::testing::answer_lost(at),
        }
    }
}

#[async_trait]
impl Store for SimStore {
    fn name(&self) -> &str {
        "sim"
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        match self.ask(Op::Create(key.clone(), body)).await {
            Answer::Done => Ok(()),
            answer => Err(self.error(Some(key), &answer)),
        }
    }

    async fn upload(
        &self,
        key: &Key,
        size: u64,
        source: &mut dyn Source,
    ) -> Result<Outcome, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = source.next().await.unwrap() {
            body.extend_from_slice(&chunk);
        }
        assert_eq!(body.len() as u64, size);
        match self.ask(Op::Upload(key.clone(), body.freeze())).await {
            Answer::Done => Ok(Outcome::Stored),
            Answer::Exists(found) if found == size => Ok(Outcome::AlreadyThere),
            answer => Err(self.error(Some(key), &answer)),
        }
    }

    /// At once, so that it adds no schedules: between it and the manifest lies nothing that matters.
    async fn settle(&self) -> Result<(), Error> {
        self.world.lock().settle();
        Ok(())
    }

    async fn stat(&self, key: &Key) -> Result<Object, Error> {
        match self.ask(Op::Stat(key.clone())).await {
            Answer::Stored(stored) => Ok(Object {
                key: key.clone(),
                size: stored.body.len() as u64,
                modified: system_time(stored.modified),
            }),
            answer => Err(self.error(Some(key), &answer)),
        }
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, Error> {
        match self.ask(Op::Get(key.clone())).await {
            Answer::Stored(stored) => {
                let size = stored.body.len() as u64;
                let range =
                    range.map_or(0..size, |range| range.start.min(size)..range.end.min(size));
                let body = stored.body.slice(range.start as usize..range.end as usize);
                Ok(Content {
                    size,
                    range,
                    chunks: stream::iter([Ok(body)]).boxed(),
                })
            }
            answer => Err(self.error(Some(key), &answer)),
        }
    }

    fn list(&self, prefix: &Key) -> Objects {
        let (store, prefix) = (self.clone(), prefix.clone());
        stream::try_unfold(Some(None), move |after: Option<Option<Key>>| {
            let (store, prefix) = (store.clone(), prefix.clone());
            async move {
                let Some(after) = after else {
                    return Ok(None);
                };
                match store.ask(Op::Page(prefix.clone(), after)).await {
                    Answer::Page(objects, more) => {
                        let last = objects.last().map(|(key, ..)| key.clone());
                        let next = more.then_some(last);
                        Ok(Some((objects, next)))
                    }
                    answer => Err(store.error(Some(&prefix), &answer)),
                }
            }
        })
        .map_ok(|objects| {
            stream::iter(objects).map(|(key, size, modified)| {
                Ok(Object {
                    key,
                    size,
                    modified: system_time(modified),
                })
            })
        })
        .try_flatten()
        .boxed()
    }

    async fn folders(&self, _: usize) -> Result<Vec<String>, Error> {
        unreachable!("nobody in the model looks for clusters")
    }

    async fn touch(&self, key: &Key, _size: u64) -> Result<(), Error> {
        match self.ask(Op::Touch(key.clone())).await {
            Answer::Done => Ok(()),
            answer => Err(self.error(Some(key), &answer)),
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        match self.ask(Op::Delete(key.clone())).await {
            Answer::Done => Ok(()),
            answer => Err(self.error(Some(key), &answer)),
        }
    }

    async fn now(&self) -> Result<SystemTime, Error> {
        match self.ask(Op::Now).await {
            Answer::Now(now) => Ok(system_time(now)),
            answer => Err(self.error(None, &answer)),
        }
    }

    async fn reach(&self) -> Result<Option<FileSystem>, Error> {
        let is_file = self.world.lock().cache.is_some();
        Ok(is_file.then_some(FileSystem { device: 1, free: 1 }))
    }
}

/// One process's clock.
pub struct SimTimer(pub SimStore);

#[async_trait]
impl Timer for SimTimer {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.world.lock().now - START)
    }

    async fn sleep(&self, duration: Duration) {
        let slot = {
            let mut world = self.0.world.lock();
            let until = world.now + duration.as_millis() as u64;
            world.slot(self.0.process, Some(until))
        };
        Waiting {
            world: self.0.world.clone(),
            slot,
        }
        .await;
    }
}
