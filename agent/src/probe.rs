//! What works in a storage, step by step, seen and not assumed.

mod survey;

use std::time::Duration;

use protocol::{Outcome, ProbeRequest, Probed, Reason, Seen, Verdict};
use store::{Error, Kept, Key, ProbeSteps, Store, probe_left, probe_steps};

use crate::backup::error::chain;
use crate::run_context::Run;
use crate::storage;

/// What to say of a bucket with versioning.
const KEEPS_VERSIONS: &str = "the bucket has versioning, which object lock switches on: what is touched or deleted is kept a second time and paid for; let a lifecycle rule delete noncurrent versions after some days, and touch less often";

/// Where probes leave their objects: no cluster id begins with a dot.
const FOLDER: &str = ".probe";

/// Opens the storage, reads from it and, if it may, writes to it.
pub async fn run(run: &Run, request: &ProbeRequest) -> Outcome {
    let (name, probed) = probe(request).await;
    let (reason, message) = verdict(&name, &probed);
    Outcome {
        probe: Some(Box::new(probed)),
        ..outcome(run, reason, message)
    }
}

/// An outcome of a run that is no backup.
pub fn outcome(run: &Run, reason: Reason, message: String) -> Outcome {
    Outcome::ended(reason, message, run.attempt)
}

/// The storage's name, and what was seen of it.
async fn probe(request: &ProbeRequest) -> (String, Probed) {
    let unreached = |error: &Error| Probed {
        reach: failed(error),
        ..Probed::default()
    };
    let store = match storage::open(&request.storage).await {
        Ok(store) => store,
        Err(error) => return (String::new(), unreached(&error)),
    };
    let store = store.as_ref();
    let name = store.name().to_owned();
    if let Err(error) = store.reach().await {
        return (name, unreached(&error));
    }
    let mut probed = match &request.object {
        // To reach a storage is to list it.
        None => Probed {
            list: yes("its content is listed"),
            ..Probed::default()
        },
        Some(object) => match Key::parse(&format!("{FOLDER}/{object}")) {
            Ok(key) if request.left => findings(probe_left(store, &key).await),
            Ok(key) => findings(probe_steps(store, &key, !request.leave).await),
            Err(error) => Probed {
                write: no(Reason::InvalidRequest, error.to_string()),
                ..Probed::default()
            },
        },
    };
    probed.reach = yes(&format!("{name} answers"));
    probed.keeps_versions = kept(store).await;
    if request.survey {
        probed.survey = Some(survey::told(store, &request.storage).await);
    }
    (name, probed)
}

/// Whether what a storage keeps of what is gone costs at each touch.
pub(crate) fn of_kept(kept: &Kept) -> Seen {
    let lasting = |lasts: &Duration| format!("{} days", lasts.as_secs().div_ceil(24 * 3600));
    match kept {
        Kept::Versions { touched: true } => yes(KEEPS_VERSIONS),
        Kept::Versions { touched: false } => no(
            Reason::Probed,
            "touching leaves no copies behind; what is deleted is kept as a version (versioning) and paid for".into(),
        ),
        Kept::Deleted {
            lasts,
            touched: true,
        } => yes(&format!(
            "the bucket has soft delete: what is touched or deleted is kept for {} and paid for; make that shorter or turn it off, and touch less often",
            lasting(lasts)
        )),
        Kept::Deleted { lasts, .. } => no(
            Reason::Probed,
            format!(
                "touching leaves no copies behind; what is deleted is kept for {} (soft delete) and paid for",
                lasting(lasts)
            ),
        ),
        Kept::Nothing => no(
            Reason::Probed,
            "touching and deleting leave no copies behind".into(),
        ),
    }
}

async fn kept(store: &dyn Store) -> Seen {
    match store.keeps().await {
        Ok(Some(kept)) => of_kept(&kept),
        Ok(None) => unknown("versioning shows only where something is written"),
        Err(error) => unknown(&format!("the storage does not tell: {}", chain(&error))),
    }
}

fn findings(steps: ProbeSteps) -> Probed {
    let plain = |step: Option<Result<(), Error>>, works: &str| seen(step, |()| yes(works));
    Probed {
        write: plain(steps.write, "an object was written"),
        read: plain(steps.read, "it was read back as it was written"),
        list: plain(steps.list, "it was listed"),
        delete: plain(steps.delete, "it was deleted"),
        create_only: seen(steps.create_only, |kept| {
            if kept {
                return yes("an object that is there is not overwritten");
            }
            no(
                Reason::StorageUnsuitable,
                "the storage overwrote an object that was to be created only: two runs could take one name; use a storage with conditional writes (If-None-Match)".into(),
            )
        }),
        touch: seen(steps.touch, |moved| {
            if moved {
                return yes("timestamps can be renewed");
            }
            no(
                Reason::StorageUnsuitable,
                "the storage keeps the old timestamp of a touched object: let no lifecycle rule delete objects by age; purge is safe".into(),
            )
        }),
        ..Probed::default()
    }
}

fn seen<T>(step: Option<Result<T, Error>>, how: impl FnOnce(T) -> Seen) -> Seen {
    match step {
        None => Seen::default(),
        Some(Ok(it)) => how(it),
        Some(Err(error)) => failed(&error),
    }
}

/// What passes by itself says nothing about what works.
fn failed(error: &Error) -> Seen {
    let verdict = if error.is_temporary() {
        Verdict::Unknown
    } else {
        Verdict::No
    };
    Seen {
        verdict,
        reason: storage::reason(error),
        message: chain(error),
    }
}

fn yes(message: &str) -> Seen {
    Seen {
        verdict: Verdict::Yes,
        reason: Reason::Probed,
        message: message.to_owned(),
    }
}

fn no(reason: Reason, message: String) -> Seen {
    Seen {
        verdict: Verdict::No,
        reason,
        message,
    }
}

fn unknown(message: &str) -> Seen {
    Seen {
        verdict: Verdict::Unknown,
        reason: Reason::NotProbed,
        message: message.to_owned(),
    }
}

/// In short: the first thing that backups need and that does not work.
fn verdict(name: &str, probed: &Probed) -> (Reason, String) {
    let needed = [
        &probed.reach,
        &probed.write,
        &probed.read,
        &probed.list,
        &probed.create_only,
    ];
    let obstacle = needed
        .into_iter()
        .find(|seen| seen.verdict != Verdict::Yes && seen.reason != Reason::NotProbed);
    match obstacle {
        Some(seen) => (seen.reason, seen.message.clone()),
        None => (Reason::Reachable, format!("{name} answers")),
    }
}

#[cfg(test)]
mod tests {
    use protocol::StorageAccess;
    use store::At;

    use super::*;

    fn denied() -> Error {
        Error::Denied {
            at: At {
                storage: "s3://b".into(),
                key: None,
            },
            source: "403".into(),
        }
    }

    fn unavailable() -> Error {
        Error::Unavailable {
            at: At {
                storage: "s3://b".into(),
                key: None,
            },
            source: "no route".into(),
        }
    }

    fn working() -> ProbeSteps {
        ProbeSteps {
            write: Some(Ok(())),
            create_only: Some(Ok(true)),
            read: Some(Ok(())),
            list: Some(Ok(())),
            touch: Some(Ok(true)),
            delete: Some(Ok(())),
        }
    }

    #[test]
    fn only_what_backups_need_makes_a_storage_unfit() {
        let of = |steps| verdict("s3://b", &findings(steps)).0;
        // Nobody asked here whether it is reached.
        assert_eq!(of(working()), Reason::Reachable);
        for (unfit, expected) in [
            (
                ProbeSteps {
                    write: Some(Err(denied())),
                    ..working()
                },
                Reason::StorageDenied,
            ),
            (
                ProbeSteps {
                    read: Some(Err(denied())),
                    ..working()
                },
                Reason::StorageDenied,
            ),
            (
                ProbeSteps {
                    list: Some(Err(unavailable())),
                    ..working()
                },
                Reason::StorageUnavailable,
            ),
            (
                ProbeSteps {
                    create_only: Some(Ok(false)),
                    ..working()
                },
                Reason::StorageUnsuitable,
            ),
        ] {
            assert_eq!(of(unfit), expected);
        }
        for fit in [
            ProbeSteps {
                touch: Some(Ok(false)),
                ..working()
            },
            ProbeSteps {
                touch: Some(Err(denied())),
                ..working()
            },
            ProbeSteps {
                delete: Some(Err(denied())),
                ..working()
            },
            ProbeSteps {
                delete: None,
                ..working()
            },
        ] {
            assert_eq!(of(fit), Reason::Reachable);
        }
    }

    #[test]
    fn what_passes_by_itself_is_unknown_and_not_a_no() {
        let steps = ProbeSteps {
            write: Some(Err(unavailable())),
            delete: Some(Err(denied())),
            ..ProbeSteps::default()
        };
        let seen = findings(steps);
        assert_eq!(
            (seen.write.verdict, seen.write.reason),
            (Verdict::Unknown, Reason::StorageUnavailable)
        );
        assert_eq!(
            (seen.delete.verdict, seen.delete.reason),
            (Verdict::No, Reason::StorageDenied)
        );
        assert_eq!(
            (seen.touch.verdict, seen.touch.reason),
            (Verdict::Unknown, Reason::NotProbed)
        );
    }

    #[tokio::test]
    async fn a_directory_is_probed_with_and_without_writing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        let request = |object: Option<&str>, leave| ProbeRequest {
            storage: StorageAccess::File { path: path.clone() },
            object: object.map(str::to_owned),
            leave,
            left: false,
            survey: false,
        };
        let left = || std::fs::read_dir(directory.path().join(FOLDER)).map_or(0, Iterator::count);
        let (_, seen) = probe(&request(None, false)).await;
        assert_eq!(seen.list.verdict, Verdict::Yes);
        assert_eq!(seen.write, Seen::default());
        assert!(!directory.path().join(FOLDER).exists());
        let (_, seen) = probe(&request(Some("one"), true)).await;
        assert_eq!(
            (seen.write.verdict, seen.delete),
            (Verdict::Yes, Seen::default())
        );
        assert_eq!(seen.keeps_versions.verdict, Verdict::No);
        assert_eq!(left(), 1);
        let left_by_another = |object| ProbeRequest {
            left: true,
            ..request(Some(object), false)
        };
        let (_, seen) = probe(&left_by_another("one")).await;
        assert_eq!(
            (seen.read.verdict, seen.list.verdict, seen.write),
            (Verdict::Yes, Verdict::Yes, Seen::default())
        );
        let (_, seen) = probe(&left_by_another("other")).await;
        assert_eq!(
            (seen.read.verdict, seen.list.verdict),
            (Verdict::No, Verdict::No)
        );
        assert_eq!(left(), 1);
        let (_, seen) = probe(&request(Some("one"), false)).await;
        let works = [
            &seen.reach,
            &seen.list,
            &seen.write,
            &seen.read,
            &seen.create_only,
            &seen.touch,
            &seen.delete,
        ];
        assert!(
            works.iter().all(|it| it.verdict == Verdict::Yes),
            "{seen:?}"
        );
        assert_eq!(left(), 0);
        let (name, seen) = probe(&request(Some("../one"), false)).await;
        assert_eq!(verdict(&name, &seen).0, Reason::InvalidRequest);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_told_by_its_reason() {
        let storage = StorageAccess::File {
            path: "/nonexistent".into(),
        };
        let (name, seen) = probe(&ProbeRequest {
            storage,
            object: Some("one".into()),
            leave: false,
            left: false,
            survey: true,
        })
        .await;
        assert_eq!(seen.survey, None);
        assert_eq!(verdict(&name, &seen).0, Reason::StorageNotFound);
        assert_eq!(seen.write, Seen::default());
    }
}
