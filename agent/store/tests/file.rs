//! FILE on the file systems that every Linux has: ext4, or whatever holds the build, and tmpfs.

// The lint allows these in test functions, not in the functions that they share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use store::conformance::{self, Subject};
use store::testing::{Chunked, Fault, Faulty, Operation, answer_lost};
use store::{Error, FileConfig, FileStore, Key, Object, Outcome, Store};

fn key(path: &str) -> Key {
    Key::parse(path).unwrap()
}

async fn list(store: &FileStore, prefix: &str) -> Result<Vec<Object>, Error> {
    store.list(&key(prefix)).try_collect().await
}

/// Every path below `directory`, whatever it is.
fn tree(directory: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            paths.extend(tree(&path));
        } else {
            paths.push(path.to_str().unwrap().to_owned());
        }
    }
    paths
}

async fn conforms(directory: tempfile::TempDir) {
    let store = FileStore::open(directory.path()).unwrap();
    conformance::all(Subject {
        store: &store,
        part_size: 3 << 20,
    })
    .await;
    let left: Vec<_> = tree(directory.path())
        .into_iter()
        .filter(|p| p.ends_with(".tmp"))
        .collect();
    assert!(left.iter().all(|path| path.ends_with("/x.tmp")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_passes_the_conformance_suite() {
    conforms(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tmpfs_passes_the_conformance_suite() {
    conforms(tempfile::tempdir_in("/dev/shm").unwrap()).await;
}

#[tokio::test]
async fn a_missing_root_is_an_error_and_is_made_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("mnt/backup");
    let missing = FileStore::open(&root).unwrap_err();
    assert!(
        matches!(missing, Error::StorageMissing { .. }),
        "{missing:?}"
    );
    assert!(missing.to_string().contains("mnt/backup"), "{missing}");
    assert!(!root.exists());
    let store = FileStore::open_with(FileConfig {
        root: root.clone(),
        create_root: true,
    })
    .unwrap();
    store
        .create(&key("c/x"), Bytes::from_static(b"1"))
        .await
        .unwrap();
    assert_eq!(std::fs::read(root.join("c/x")).unwrap(), b"1");
    let file = FileStore::open(root.join("c/x")).unwrap_err();
    assert!(matches!(file, Error::StorageMissing { .. }), "{file:?}");
}

#[tokio::test]
async fn symbolic_links_lead_nowhere() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    std::fs::create_dir(inside.path().join("c")).unwrap();
    symlink(outside.path(), inside.path().join("c/out")).unwrap();
    symlink(outside.path().join("secret"), inside.path().join("c/file")).unwrap();
    symlink(outside.path().join("new"), inside.path().join("c/dangling")).unwrap();
    let store = FileStore::open(inside.path()).unwrap();

    let one = Bytes::from_static(b"1");
    for path in ["c/out/x", "c/out/y/x", "c/out/secret"] {
        let key = key(path);
        assert!(matches!(
            store.create(&key, one.clone()).await,
            Err(Error::Invalid { .. })
        ));
        let uploaded = store
            .upload(&key, 1, &mut Chunked::new(one.clone(), 1))
            .await;
        assert!(
            matches!(uploaded, Err(Error::Invalid { .. })),
            "{uploaded:?}"
        );
        assert!(matches!(store.stat(&key).await, Err(Error::Invalid { .. })));
        assert!(matches!(
            store.delete(&key).await,
            Err(Error::Invalid { .. })
        ));
        assert!(matches!(
            store.touch(&key, 1).await,
            Err(Error::Invalid { .. })
        ));
    }
    for path in ["c/file", "c/dangling"] {
        assert!(store.create(&key(path), one.clone()).await.is_err());
        assert!(matches!(
            store.get(&key(path), None).await,
            Err(Error::Corrupt { .. })
        ));
        assert!(matches!(
            store.touch(&key(path), 1).await,
            Err(Error::Corrupt { .. })
        ));
    }
    assert!(matches!(
        list(&store, "c/out").await,
        Err(Error::Invalid { .. })
    ));
    // A list without them would be taken for all that is there.
    let listed = list(&store, "c").await;
    assert!(matches!(listed, Err(Error::Invalid { .. })), "{listed:?}");
    assert_eq!(tree(outside.path()).len(), 1);
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"s");
}

#[tokio::test]
async fn what_is_not_ours_is_left_out_of_lists() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store
        .create(&key("c/x"), Bytes::from_static(b"1"))
        .await
        .unwrap();
    let left_behind = directory.path().join(format!("c/.{}.tmp", "0".repeat(32)));
    std::fs::write(&left_behind, "half").unwrap();
    std::fs::write(directory.path().join("c/line\nend"), "").unwrap();
    let keys: Vec<_> = list(&store, "c")
        .await
        .unwrap()
        .into_iter()
        .map(|o| o.key)
        .collect();
    assert_eq!(keys, [key("c/x")]);
}

#[tokio::test]
async fn files_are_for_owner_and_group_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store
        .create(&key("c/d/x"), Bytes::from_static(b"1"))
        .await
        .unwrap();
    for path in ["c", "c/d", "c/d/x"] {
        let mode = std::fs::metadata(directory.path().join(path))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o007, 0, "{path}: {mode:o}");
    }
    assert_eq!(
        std::fs::metadata(directory.path().join("c/d/x"))
            .unwrap()
            .nlink(),
        1
    );
}

#[tokio::test]
async fn a_touch_refuses_another_size() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store
        .create(&key("c/x"), Bytes::from_static(b"12"))
        .await
        .unwrap();
    let refused = store.touch(&key("c/x"), 3).await;
    assert!(
        matches!(
            refused,
            Err(Error::Differs {
                expected: 3,
                found: 2,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_object_that_shrinks_while_it_is_read_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let size = 32 << 20;
    let content = Bytes::from(vec![1; size]);
    store
        .upload(
            &key("c/x"),
            size as u64,
            &mut Chunked::new(content, 1 << 20),
        )
        .await
        .unwrap();
    let read = store.get(&key("c/x"), None).await.unwrap();
    std::fs::File::options()
        .write(true)
        .open(directory.path().join("c/x"))
        .unwrap()
        .set_len(1000)
        .unwrap();
    let chunks: Result<Vec<Bytes>, Error> = read.chunks.try_collect().await;
    assert!(
        matches!(chunks, Err(Error::Corrupt { .. })),
        "{:?}",
        chunks.map(|c| c.len())
    );
}

#[tokio::test]
async fn a_deletion_takes_the_directories_along_that_hold_nothing_else() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    for path in ["prod/data/n/t/a/1", "prod/data/n/t/b/1"] {
        store.create(&key(path), Bytes::new()).await.unwrap();
    }
    let there = |path: &str| directory.path().join(path).exists();
    store.delete(&key("prod/data/n/t/a/1")).await.unwrap();
    assert!(!there("prod/data/n/t/a") && there("prod/data/n/t/b/1"));
    store.delete(&key("prod/data/n/t/b/1")).await.unwrap();
    assert!(!there("prod/data") && there("prod"));
    store.delete(&key("prod/data/n/t/b/1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_written_while_others_delete_beside_it_is_there() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let busy = (0..4).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let key = key(&format!("prod/data/n/t/a/{number}"));
            for round in 0..500 {
                let content = Bytes::from(round.to_string());
                if round % 2 == 0 {
                    store.create(&key, content).await.unwrap();
                } else {
                    let size = content.len() as u64;
                    let mut source = Chunked::new(content, 1);
                    let stored = store.upload(&key, size, &mut source).await.unwrap();
                    assert_eq!(stored, Outcome::Stored);
                }
                store.stat(&key).await.unwrap();
                store.delete(&key).await.unwrap();
            }
        })
    });
    for task in busy.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(list(&store, "prod").await.unwrap(), []);
}

#[tokio::test]
async fn a_chain_of_directories_without_end_is_no_end_of_a_sweep() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let (top, inside) = (
        directory.path().join("prod"),
        directory.path().join("inside"),
    );
    std::fs::create_dir(&inside).unwrap();
    // Deeper than a path can be long, than files can be open at a time, and than a stack takes calls.
    for _ in 0..60 {
        let innermost = top.join(["d"; 400].join("/"));
        std::fs::create_dir_all(&innermost).unwrap();
        std::fs::rename(&inside, innermost.join("d")).unwrap();
        std::fs::rename(&top, &inside).unwrap();
    }
    std::fs::rename(&inside, &top).unwrap();
    let now = std::time::SystemTime::now();
    assert_eq!(store.sweep(&key("prod"), now, &|_| false).await.unwrap(), 0);
    assert_eq!(list(&store, "prod").await.unwrap(), []);
    // A TempDir would open them all.
    let mut remove = std::process::Command::new("rm");
    assert!(remove.arg("-r").arg(&top).status().unwrap().success());
}

#[tokio::test]
async fn a_probe_tells_the_device_and_the_free_space() {
    let (disk, memory) = (
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        tempfile::tempdir_in("/dev/shm").unwrap(),
    );
    for directory in [disk.path(), memory.path()] {
        let store = FileStore::open(directory).unwrap();
        let found = store.probe(None).await.unwrap().file_system.unwrap();
        assert_eq!(found.device, std::fs::metadata(directory).unwrap().dev());
        assert!(found.free > 1 << 20);
    }
}

#[tokio::test]
async fn a_faulty_store_fails_on_command_and_only_then() {
    let directory = tempfile::tempdir().unwrap();
    let store = Faulty::new(FileStore::open(directory.path()).unwrap())
        .fail(Operation::Create, 2, Fault::Refused(answer_lost))
        .fail(Operation::Create, 3, Fault::AnswerLost)
        .fail(Operation::List, 1, Fault::AnswerLost);
    let body = Bytes::from_static(b"1");
    store.create(&key("c/1"), body.clone()).await.unwrap();
    for path in ["c/2", "c/3"] {
        let error = store.create(&key(path), body.clone()).await.unwrap_err();
        assert!(error.is_temporary(), "{error:?}");
    }
    assert!(matches!(
        store.stat(&key("c/2")).await,
        Err(Error::NotFound { .. })
    ));
    assert_eq!(store.stat(&key("c/3")).await.unwrap().size, 1);
    let broken: Result<Vec<Object>, Error> = store.list(&key("c")).try_collect().await;
    assert!(broken.is_err());
    let whole: Vec<Object> = store.list(&key("c")).try_collect().await.unwrap();
    assert_eq!(whole.len(), 2);
    assert_eq!(
        (
            store.calls(Operation::Create),
            store.calls(Operation::Delete)
        ),
        (3, 0)
    );
}

/// Pages of `path` in the page cache, by the kernel's own count.
fn resident_pages(path: &Path) -> usize {
    let output = std::process::Command::new("fincore")
        .args(["--noheadings", "--output", "PAGES"])
        .arg(path)
        .output()
        .expect("fincore of util-linux");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn an_upload_and_a_read_leave_the_page_cache_alone() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let size = 48 << 20;
    let content = Bytes::from(vec![7; size]);
    let uploaded = store
        .upload(
            &key("c/x"),
            size as u64,
            &mut Chunked::new(content, 1 << 20),
        )
        .await;
    assert_eq!(uploaded.unwrap(), Outcome::Stored);
    let path = directory.path().join("c/x");
    // Pages are dropped when the disk has them, which an fsync has waited for; the kernel may
    // finish a moment later.
    let mut pages = usize::MAX;
    for _ in 0..50 {
        pages = resident_pages(&path);
        if pages < 1024 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(pages < 1024, "{pages} of 12288 pages stay");
    let chunks = store.get(&key("c/x"), None).await.unwrap().chunks;
    let read: usize = chunks
        .try_fold(0, |sum, c| async move { Ok(sum + c.len()) })
        .await
        .unwrap();
    assert_eq!(read, size);
    let pages = resident_pages(&path);
    assert!(pages < 1024, "{pages} of 12288 pages stay after reading");
}
