//! Probes of storages that lack something.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use futures::{StreamExt, stream};

use super::*;
use crate::{Content, Object, Objects, Outcome, Source};

/// A storage in memory in which some things do not work.
#[derive(Default)]
struct Lacking {
    objects: Mutex<BTreeMap<Key, (Bytes, SystemTime)>>,
    denied: &'static [&'static str],
    overwrites: bool,
    keeps_time: bool,
    forgets_lists: bool,
}

impl Lacking {
    fn allowed(&self, what: &str, key: &Key) -> Result<(), Error> {
        if !self.denied.contains(&what) {
            return Ok(());
        }
        Err(Error::Denied {
            at: at(key),
            source: "no".into(),
        })
    }
}

fn at(key: &Key) -> At {
    At {
        storage: "lacking".into(),
        key: Some(key.clone()),
    }
}

#[async_trait]
impl Store for Lacking {
    fn name(&self) -> &str {
        "lacking"
    }
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.allowed("write", key)?;
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(key) && !self.overwrites {
            return Err(Error::AlreadyExists { at: at(key) });
        }
        objects.insert(key.clone(), (body, SystemTime::UNIX_EPOCH));
        Ok(())
    }
    async fn upload(&self, _: &Key, _: u64, _: &mut dyn Source) -> Result<Outcome, Error> {
        unreachable!("a probe uploads nothing")
    }
    async fn stat(&self, key: &Key) -> Result<Object, Error> {
        let objects = self.objects.lock().unwrap();
        let (body, modified) = objects.get(key).ok_or(Error::NotFound { at: at(key) })?;
        Ok(Object {
            key: key.clone(),
            size: body.len() as u64,
            modified: *modified,
        })
    }
    async fn get(&self, key: &Key, _: Option<Range<u64>>) -> Result<Content, Error> {
        self.allowed("read", key)?;
        let size = self.stat(key).await?.size;
        let body = self.objects.lock().unwrap()[key].0.clone();
        Ok(Content {
            size,
            range: 0..size,
            chunks: stream::iter([Ok(body)]).boxed(),
        })
    }
    fn list(&self, prefix: &Key) -> Objects {
        if let Err(error) = self.allowed("list", prefix) {
            return stream::iter([Err(error)]).boxed();
        }
        let objects = self.objects.lock().unwrap();
        let kept = if self.forgets_lists { 0 } else { usize::MAX };
        let found: Vec<_> = objects
            .iter()
            .filter(|(key, _)| key.below(prefix).is_some())
            .take(kept)
            .map(|(key, (body, modified))| {
                Ok(Object {
                    key: key.clone(),
                    size: body.len() as u64,
                    modified: *modified,
                })
            })
            .collect();
        stream::iter(found).boxed()
    }
    async fn folders(&self, _: usize) -> Result<Vec<String>, Error> {
        unreachable!("a probe looks for nobody's folder")
    }
    async fn touch(&self, key: &Key, _: u64) -> Result<(), Error> {
        self.allowed("touch", key)?;
        if !self.keeps_time {
            let mut objects = self.objects.lock().unwrap();
            objects
                .entry(key.clone())
                .and_modify(|it| it.1 += PAUSES[1]);
        }
        Ok(())
    }
    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.allowed("delete", key)?;
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }
    async fn now(&self) -> Result<SystemTime, Error> {
        Ok(SystemTime::UNIX_EPOCH)
    }
    async fn reach(&self) -> Result<Option<FileSystem>, Error> {
        Ok(None)
    }
}

fn key() -> Key {
    Key::parse(".probe/one").unwrap()
}

/// The steps as words: `+` works, `-` does not, `!` is denied, `~` is another error, `.` not tried.
async fn word(store: &Lacking, delete: bool) -> String {
    fn of<T>(step: &Option<Result<T, Error>>, works: impl Fn(&T) -> bool) -> char {
        match step {
            None => '.',
            Some(Ok(it)) if works(it) => '+',
            Some(Ok(_)) => '-',
            Some(Err(Error::Denied { .. })) => '!',
            Some(Err(_)) => '~',
        }
    }
    let steps = probe_steps(store, &key(), delete).await;
    [
        of(&steps.write, |()| true),
        of(&steps.create_only, |it| *it),
        of(&steps.read, |()| true),
        of(&steps.list, |()| true),
        of(&steps.touch, |it| *it),
        of(&steps.delete, |()| true),
    ]
    .into_iter()
    .collect()
}

#[tokio::test(start_paused = true)]
async fn each_step_is_told_apart_and_none_keeps_the_others_from_being_tried() {
    let lacking = Lacking::default;
    let cases = [
        (lacking(), "++++++"),
        (
            Lacking {
                overwrites: true,
                ..lacking()
            },
            "+-++++",
        ),
        (
            Lacking {
                keeps_time: true,
                ..lacking()
            },
            "++++-+",
        ),
        (
            Lacking {
                forgets_lists: true,
                ..lacking()
            },
            "+++~++",
        ),
        (
            Lacking {
                denied: &["write"],
                ..lacking()
            },
            "!..+.+",
        ),
        (
            Lacking {
                denied: &["read"],
                ..lacking()
            },
            "++!+++",
        ),
        (
            Lacking {
                denied: &["list"],
                ..lacking()
            },
            "+++!++",
        ),
        (
            Lacking {
                denied: &["touch"],
                ..lacking()
            },
            "++++!+",
        ),
        (
            Lacking {
                denied: &["delete"],
                ..lacking()
            },
            "+++++!",
        ),
    ];
    for (store, expected) in cases {
        assert_eq!(word(&store, true).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_identity_leaves_another_one_deletes() {
    let store = Lacking::default();
    assert_eq!(word(&store, false).await, "+++++.");
    assert!(store.objects.lock().unwrap().contains_key(&key()));
    assert_eq!(word(&store, true).await, "++++++");
    assert!(store.objects.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn in_short_only_a_refused_delete_is_no_error() {
    let store = Lacking {
        denied: &["delete"],
        ..Lacking::default()
    };
    let report = write(&store, &key()).await.unwrap();
    assert_eq!(
        (report.create_only, report.touch_moves, report.may_delete),
        (true, true, false)
    );
    for denied in [&["write"], &["read"], &["list"], &["touch"]] {
        let store = Lacking {
            denied,
            ..Lacking::default()
        };
        assert!(
            matches!(write(&store, &key()).await, Err(Error::Denied { .. })),
            "{denied:?}"
        );
    }
}
