//! What backups do with a storage, each tried on one small object and told apart, with the right that
//! it needs.

use manifest::ClusterId;
use protocol::{GcsTouch, Reason, StorageAccess};
use store::{Error, Key, ProbeSteps, Store, probe_steps};

use super::Check;
use crate::{chain, storage};

const CREATE_ONLY: &str = "create-only";

/// Something that backups do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Write,
    Read,
    List,
    Touch,
}

/// Tries all of them.
pub(super) async fn tried(
    store: &dyn Store,
    access: &StorageAccess,
    cluster: &ClusterId,
) -> Vec<Check> {
    match Key::parse(&format!("{cluster}/manifests/.probe/{}", prober())) {
        Ok(key) => told(access, probe_steps(store, &key, true).await),
        Err(error) => vec![Check::fails(
            "write",
            Reason::InvalidRequest,
            error.to_string(),
        )],
    }
}

/// Names this machine: probers that share an object would see each other's deletes.
fn prober() -> String {
    let uname = rustix::system::uname();
    blake3::hash(uname.nodename().to_bytes()).to_hex()[..16].to_owned()
}

/// What was tried, in the order in which a backup needs it.
fn told(access: &StorageAccess, steps: ProbeSteps) -> Vec<Check> {
    let plain = |deed: Deed, step: Option<Result<(), Error>>, works: &str| {
        let what = deed.name();
        told_of(access, (what, deed), step, |()| Check::works(what, works))
    };
    let checks = [
        plain(Deed::Write, steps.write, "an object was written"),
        told_of(
            access,
            (CREATE_ONLY, Deed::Write),
            steps.create_only,
            create_only,
        ),
        plain(Deed::Read, steps.read, "it was read back as it was written"),
        plain(Deed::List, steps.list, "what is there is listed"),
        told_of(
            access,
            (Deed::Touch.name(), Deed::Touch),
            steps.touch,
            touch,
        ),
        steps.delete.map(|step| delete(&step)),
    ];
    checks.into_iter().flatten().collect()
}

fn told_of<T>(
    access: &StorageAccess,
    (what, deed): (&'static str, Deed),
    step: Option<Result<T, Error>>,
    how: impl FnOnce(T) -> Check,
) -> Option<Check> {
    Some(match step? {
        Ok(it) => how(it),
        Err(error) => Check::fails(what, storage::reason(&error), deed.failed(access, &error)),
    })
}

fn create_only(kept: bool) -> Check {
    if kept {
        return Check::works(CREATE_ONLY, "an object that is there is not overwritten");
    }
    Check::fails(
        CREATE_ONLY,
        Reason::StorageUnsuitable,
        "the storage overwrote an object that was to be created only: two runs could take one name; use a storage with conditional writes (If-None-Match)",
    )
}

fn touch(moves: bool) -> Check {
    let what = Deed::Touch.name();
    if moves {
        return Check::works(what, "timestamps can be renewed");
    }
    Check::warning(
        what,
        Reason::StorageUnsuitable,
        "the storage keeps the old timestamp of a touched object: let no lifecycle rule delete objects by age; `purge` is safe",
    )
}

/// Backups do not delete, so that being denied it is no fault.
fn delete(step: &Result<(), Error>) -> Check {
    const WHAT: &str = "delete";
    match step {
        Ok(()) => Check::works(WHAT, "allowed, which backups do not need and `purge` does"),
        Err(Error::Denied { .. }) => Check::works(
            WHAT,
            "denied, which is right for nodes; `purge` needs another identity",
        ),
        Err(error) => Check::fails(WHAT, storage::reason(error), chain(error)),
    }
}

impl Deed {
    fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::List => "list",
            Self::Touch => "touch",
        }
    }

    /// Why it failed; where it was denied, with the right that it needs.
    pub(super) fn failed(self, access: &StorageAccess, error: &Error) -> String {
        let why = chain(error);
        match error {
            Error::Denied { .. } => {
                format!("{why}; to {} needs {}", self.name(), self.right(access))
            }
            _ => why,
        }
    }

    /// The right to do it, in the words of whoever gives it: docs/backup-storage.md.
    fn right(self, access: &StorageAccess) -> &'static str {
        match (access, self) {
            (StorageAccess::File { .. }, Self::Write) => {
                "a user who may write and search in the directory"
            }
            (StorageAccess::File { .. }, Self::Read | Self::List) => {
                "a user who may read and search in the directory"
            }
            (StorageAccess::File { .. }, Self::Touch) => {
                "the user who owns the files, or one who may write to them"
            }
            (StorageAccess::S3(_), Self::Write) => "s3:PutObject on the objects",
            (StorageAccess::S3(_), Self::Read) => "s3:GetObject on the objects",
            (StorageAccess::S3(_), Self::List) => "s3:ListBucket on the bucket",
            (StorageAccess::S3(_), Self::Touch) => "s3:GetObject and s3:PutObject on the objects",
            (StorageAccess::Gcs(_), Self::Write) => "storage.objects.create",
            (StorageAccess::Gcs(_), Self::Read) => "storage.objects.get",
            (StorageAccess::Gcs(_), Self::List) => "storage.objects.list",
            (StorageAccess::Gcs(gcs), Self::Touch) if gcs.touch == GcsTouch::CustomTime => {
                "storage.objects.get and .update"
            }
            // A rewrite counts as replacing.
            (StorageAccess::Gcs(_), Self::Touch) => "storage.objects.get, .create and .delete",
            (StorageAccess::Azure(_), Self::Write) => {
                "the data actions blobs/write and blobs/add/action, in a signature c and w"
            }
            (StorageAccess::Azure(_), Self::Read) => "the data action blobs/read, in a signature r",
            (StorageAccess::Azure(_), Self::List) => "the data action blobs/read, in a signature l",
            (StorageAccess::Azure(_), Self::Touch) => {
                "the data action blobs/write, in a signature w"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{AzureAccess, GcsAccess, S3Access};
    use store::At;

    use super::*;
    use crate::check::State;

    fn denied<T>() -> Option<Result<T, Error>> {
        Some(Err(Error::Denied {
            at: At {
                storage: "s3://backups".into(),
                key: None,
            },
            source: "403".into(),
        }))
    }

    #[test]
    fn what_is_denied_is_told_with_the_right_that_it_needs_but_for_deletes() {
        for (access, rights) in [
            (
                StorageAccess::File { path: "/b".into() },
                ["write", "write", "read", "read", "owns"],
            ),
            (
                StorageAccess::S3(S3Access::default()),
                [
                    "s3:PutObject",
                    "s3:PutObject",
                    "s3:GetObject",
                    "s3:ListBucket",
                    "s3:PutObject",
                ],
            ),
            (
                StorageAccess::Gcs(GcsAccess::default()),
                [
                    "objects.create",
                    "objects.create",
                    "objects.get",
                    "objects.list",
                    ".delete",
                ],
            ),
            (
                StorageAccess::Gcs(GcsAccess {
                    touch: GcsTouch::CustomTime,
                    ..GcsAccess::default()
                }),
                [
                    "objects.create",
                    "objects.create",
                    "objects.get",
                    "objects.list",
                    ".update",
                ],
            ),
            (
                StorageAccess::Azure(AzureAccess::default()),
                [
                    "blobs/write",
                    "add/action",
                    "blobs/read",
                    " l",
                    "blobs/write",
                ],
            ),
        ] {
            let steps = ProbeSteps {
                write: denied(),
                create_only: denied(),
                read: denied(),
                list: denied(),
                touch: denied(),
                delete: denied(),
            };
            let checks = told(&access, steps);
            let names: Vec<_> = checks.iter().map(|check| check.what).collect();
            let all = ["write", "create-only", "read", "list", "touch", "delete"];
            assert_eq!(names, all);
            for (check, right) in checks.iter().zip(rights) {
                assert_eq!(check.state, State::Fails);
                assert_eq!(check.reason, Reason::StorageDenied);
                for word in ["s3://backups", right] {
                    assert!(check.detail.contains(word), "{word}: {check:?}");
                }
            }
            assert_eq!(checks[5].state, State::Works);
        }
    }

    #[test]
    fn what_was_not_tried_is_not_told() {
        let steps = ProbeSteps {
            write: denied(),
            list: Some(Ok(())),
            ..ProbeSteps::default()
        };
        let checks = told(&StorageAccess::S3(S3Access::default()), steps);
        let told: Vec<_> = checks.iter().map(|it| (it.what, it.state)).collect();
        assert_eq!(told, [("write", State::Fails), ("list", State::Works)]);
    }
}
