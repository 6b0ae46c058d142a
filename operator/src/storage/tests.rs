//! What probes saw becomes conditions, when it is time to.

use protocol::{Outcome, Probed, Reason, Seen, Survey, Verdict};
use serde_json::{Value, json};

use super::findings::{Asked, Findings, findings};
use super::*;

fn seen(verdict: Verdict, reason: Reason) -> Seen {
    Seen {
        verdict,
        reason,
        message: format!("{reason} seen"),
    }
}

fn works() -> Seen {
    seen(Verdict::Yes, Reason::Probed)
}

fn denied() -> Seen {
    seen(Verdict::No, Reason::StorageDenied)
}

fn all() -> Probed {
    Probed {
        reach: works(),
        list: works(),
        write: works(),
        read: works(),
        create_only: works(),
        touch: works(),
        delete: works(),
        keeps_versions: seen(Verdict::No, Reason::Probed),
        survey: Some(surveyed(works())),
    }
}

fn surveyed(seen: Seen) -> Survey {
    Survey {
        seen,
        clusters: vec![ClusterFound {
            cluster: "prod".into(),
            backups: 3,
            complete: 2,
            first: None,
            last: Some(Restorable {
                backup: "new".into(),
                time: Timestamp::UNIX_EPOCH,
            }),
        }],
        left_out: 0,
        unseen: Vec::new(),
    }
}

fn told(reason: Reason, probed: Probed) -> Asked {
    Asked::Told(Box::new(Outcome {
        probe: Some(Box::new(probed)),
        ..Outcome::ended(reason, "s3://backups", 1)
    }))
}

fn spec(read_only: bool) -> BackupStorageSpec {
    serde_json::from_value(json!({"s3": {"bucket": "backups"}, "readOnly": read_only})).unwrap()
}

/// The conditions as words: `Ready=True/Reachable`.
fn words(spec: &BackupStorageSpec, pods: Asked, maintenance: Option<Asked>) -> Vec<String> {
    findings(
        spec,
        &Findings {
            pods,
            maintenance,
            shared: None,
        },
    )
    .into_iter()
    .map(|it| format!("{}={}/{}", it.type_, it.is.as_str(), it.reason))
    .collect()
}

#[test]
fn why_nothing_could_be_tried_is_told_once() {
    let missing = Asked::Missing(Reason::SecretNotFound, "no Secret keys".into());
    let known = Findings {
        pods: missing,
        maintenance: None,
        shared: None,
    };
    let found = findings(&spec(false), &known);
    let (ready, others) = found.split_first().unwrap();
    assert_eq!(ready.message, "no Secret keys");
    let told: Vec<_> = others.iter().map(|it| (it.type_, &*it.message)).collect();
    // Which one it is that says False tells why, too.
    let again = |type_| match type_ {
        "Deletable" => "no Secret keys",
        _ => "not tried: see Ready",
    };
    let types = others.iter().map(|it| it.type_);
    assert_eq!(told, types.map(|it| (it, again(it))).collect::<Vec<_>>());
}

#[test]
fn everything_that_works_is_true() {
    let words = words(&spec(false), told(Reason::Reachable, all()), None);
    assert_eq!(
        words,
        [
            "Ready=True/Reachable",
            "Readable=True/Probed",
            "Writable=True/Probed",
            "CreateOnly=True/Probed",
            "Touchable=True/Probed",
            "Deletable=True/Probed",
            "KeepsVersions=False/Probed",
            "Surveyed=True/Probed",
        ]
    );
}

#[test]
fn the_pods_write_and_maintenance_deletes() {
    let pods = Probed {
        delete: Seen::default(),
        ..all()
    };
    let maintenance = Probed {
        delete: denied(),
        write: denied(),
        ..all()
    };
    let words = words(
        &spec(false),
        told(Reason::Reachable, pods),
        Some(told(Reason::StorageDenied, maintenance)),
    );
    for expected in [
        "Ready=True/Reachable",
        "Writable=True/Probed",
        "Deletable=False/StorageDenied",
    ] {
        assert!(words.contains(&expected.to_owned()), "{words:?}");
    }
}

#[test]
fn a_missing_secret_of_maintenance_keeps_no_backup_from_being_made() {
    let missing = Asked::Missing(Reason::SecretNotFound, "no secret keeper".into());
    let words = words(&spec(false), told(Reason::Reachable, all()), Some(missing));
    for expected in ["Ready=True/Reachable", "Deletable=False/SecretNotFound"] {
        assert!(words.contains(&expected.to_owned()), "{words:?}");
    }
}

#[test]
fn what_was_not_tried_is_unknown_for_the_reason_it_was_not() {
    let unreached = Probed {
        reach: seen(Verdict::Unknown, Reason::StorageUnavailable),
        ..Probed::default()
    };
    assert_eq!(
        words(
            &spec(false),
            told(Reason::StorageUnavailable, unreached),
            None
        ),
        [
            "Ready=False/StorageUnavailable",
            "Readable=Unknown/StorageUnavailable",
            "Writable=Unknown/StorageUnavailable",
            "CreateOnly=Unknown/StorageUnavailable",
            "Touchable=Unknown/StorageUnavailable",
            "Deletable=Unknown/StorageUnavailable",
            "KeepsVersions=Unknown/StorageUnavailable",
            "Surveyed=Unknown/StorageUnavailable",
        ]
    );
    let unwritten = Probed {
        write: denied(),
        read: Seen::default(),
        create_only: Seen::default(),
        touch: Seen::default(),
        ..all()
    };
    assert_eq!(
        words(&spec(false), told(Reason::StorageDenied, unwritten), None),
        [
            "Ready=False/StorageDenied",
            "Readable=Unknown/StorageDenied",
            "Writable=False/StorageDenied",
            "CreateOnly=Unknown/StorageDenied",
            "Touchable=Unknown/StorageDenied",
            "Deletable=True/Probed",
            "KeepsVersions=False/Probed",
            "Surveyed=True/Probed",
        ]
    );
}

#[test]
fn a_read_only_storage_is_neither_written_nor_deleted_from() {
    let listed = Probed {
        reach: works(),
        list: works(),
        keeps_versions: works(),
        survey: Some(surveyed(seen(Verdict::Unknown, Reason::StorageUnsuitable))),
        ..Probed::default()
    };
    assert_eq!(
        words(&spec(true), told(Reason::Reachable, listed), None),
        [
            "Ready=True/Reachable",
            "Readable=Unknown/StorageReadOnly",
            "Writable=False/StorageReadOnly",
            "CreateOnly=Unknown/StorageReadOnly",
            "Touchable=Unknown/StorageReadOnly",
            "Deletable=False/StorageReadOnly",
            "KeepsVersions=True/Probed",
            "Surveyed=Unknown/StorageUnsuitable",
        ]
    );
}

#[test]
fn where_only_pods_have_an_identity_the_place_is_told_by_maintenance() {
    let seen_all = told(Reason::Reachable, all());
    assert_eq!(
        words(&spec(false), Asked::PodsOnly, Some(seen_all)),
        [
            "Ready=True/NotProbed",
            "Readable=Unknown/NotProbed",
            "Writable=Unknown/NotProbed",
            "CreateOnly=True/Probed",
            "Touchable=True/Probed",
            "Deletable=True/Probed",
            "KeepsVersions=False/Probed",
            "Surveyed=True/Probed",
        ]
    );
    for (reason, ready) in [
        (Reason::StorageNotFound, "Ready=False/StorageNotFound"),
        (Reason::StorageDenied, "Ready=True/NotProbed"),
    ] {
        let probed = Probed {
            reach: seen(Verdict::No, reason),
            ..Probed::default()
        };
        let words = words(&spec(false), Asked::PodsOnly, Some(told(reason, probed)));
        assert_eq!(words[0], ready);
    }
}

#[test]
fn a_read_only_storage_without_keys_is_what_its_maintenance_pod_reads() {
    let listed = told(Reason::Reachable, all());
    let refused = Probed {
        list: denied(),
        ..Probed::default()
    };
    let refused = told(Reason::StorageDenied, refused);
    for (asked, first) in [
        (
            listed,
            ["Ready=True/Reachable", "Readable=Unknown/StorageReadOnly"],
        ),
        (
            refused,
            ["Ready=False/StorageDenied", "Readable=False/StorageDenied"],
        ),
    ] {
        let words = words(&spec(true), Asked::PodsOnly, Some(asked));
        assert_eq!(words[..2], first);
    }
}

#[test]
fn a_directory_is_not_probed_and_has_no_versions() {
    let file = serde_json::from_value(json!({"file": {"path": "/backup"}})).unwrap();
    let words = words(&file, Asked::PodsOnly, None);
    assert_eq!(words[0], "Ready=True/NotProbed");
    assert_eq!(words.len(), 8, "{words:?}");
    assert!(
        words[1..]
            .iter()
            .all(|it| it.ends_with("=Unknown/NotProbed")),
        "{words:?}"
    );
}

#[test]
fn clusters_are_those_that_were_found_or_were_known_before_where_nobody_could_tell() {
    let before = storage(|it| {
        it["status"]["clusters"] = json!([{"cluster": "old", "backups": 1, "complete": 0}]);
    });
    let found = |pods, maintenance| {
        let known = Findings {
            pods,
            maintenance,
            shared: None,
        };
        let all = clusters(&before, known.survey());
        all.into_iter().map(|it| it.cluster).collect::<Vec<_>>()
    };
    let told_as = |survey| told(Reason::Reachable, Probed { survey, ..all() });
    let survey = surveyed(works());
    assert_eq!(found(told_as(Some(survey.clone())), None), ["prod"]);
    assert_eq!(
        found(
            told_as(Some(Survey {
                clusters: Vec::new(),
                ..survey
            })),
            None
        ),
        [""; 0]
    );
    // By whoever has seen it.
    let seen_all = told(Reason::Reachable, all());
    assert_eq!(found(Asked::PodsOnly, Some(seen_all.clone())), ["prod"]);
    assert_eq!(found(told_as(None), Some(seen_all)), ["old"]);
    for unknown in [None, Some(surveyed(denied()))] {
        assert_eq!(found(told_as(unknown), None), ["old"]);
    }
    assert_eq!(
        found(Asked::Silent(Reason::Failed, "no answer".into()), None),
        ["old"]
    );
    let point = clusters(&before, Some(&surveyed(works())))[0].clone();
    assert_eq!((point.backups, point.complete), (3, 2));
    assert_eq!(point.first_restorable, None);
    assert_eq!(point.last_restorable.unwrap().backup, "new");
}

#[test]
fn where_some_folders_cannot_be_looked_into_the_clusters_of_the_others_are_told() {
    let before = storage(|it| {
        it["status"]["clusters"] = json!([
            {"cluster": "denied", "backups": 7, "complete": 7},
            {"cluster": "gone", "backups": 2, "complete": 2},
            {"cluster": "prod", "backups": 1, "complete": 0},
        ]);
    });
    let denied = seen(Verdict::Unknown, Reason::StorageDenied);
    let known = Findings {
        pods: told(
            Reason::Reachable,
            Probed {
                survey: Some(Survey {
                    unseen: vec!["denied".into()],
                    ..surveyed(denied.clone())
                }),
                ..all()
            },
        ),
        maintenance: None,
        shared: None,
    };
    let status = status(&before, Vec::new(), &known, Timestamp::UNIX_EPOCH);
    let of = |one: &StoredCluster| (one.cluster.clone(), one.backups);
    let all: Vec<_> = status.clusters.iter().map(of).collect();
    // Of the one that nobody could look into, what was known before; of the other, what is there now.
    assert_eq!(all, [("denied".to_owned(), 7), ("prod".to_owned(), 3)]);
    let surveyed = condition(&status.conditions, "Surveyed").unwrap();
    assert_eq!(
        (&*surveyed.status, &*surveyed.reason, &surveyed.message),
        ("Unknown", "StorageDenied", &denied.message)
    );
}

fn storage(change: impl FnOnce(&mut Value)) -> BackupStorage {
    let mut object = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "main", "generation": 2},
        "spec": {"s3": {"bucket": "backups"}, "probeIntervalSeconds": 100},
        "status": {
            "observedGeneration": 2,
            "lastProbeTime": "2026-01-01T00:00:00Z",
            "sources": [{"kind": "Secret", "name": "pods", "resourceVersion": "7"}],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Reachable", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

#[test]
fn it_is_time_to_probe_when_the_interval_is_over_or_anything_changed() {
    let at = |second: i64| Timestamp::from_second(1_767_225_600 + second).unwrap();
    let seconds = |rest: Option<Duration>| rest.map(|rest| rest.as_secs());
    let fresh = storage(|_| ());
    let known = fresh.status.clone().unwrap().sources;
    assert_eq!(seconds(rest(&fresh, &known, at(1))), Some(99));
    assert_eq!(rest(&fresh, &known, at(100)), None);
    // A clock that was put back.
    assert_eq!(rest(&fresh, &known, at(-1)), None);
    let mut rotated = known.clone();
    rotated[0].resource_version = Some("8".into());
    assert_eq!(rest(&fresh, &rotated, at(1)), None);
    assert_eq!(rest(&fresh, &[], at(1)), None);
    type Change = fn(&mut Value);
    let due: [Change; 2] = [
        |it| it["metadata"]["generation"] = json!(3),
        |it| it["status"] = Value::Null,
    ];
    for change in due {
        assert_eq!(rest(&storage(change), &known, at(1)), None);
    }
    let waits = storage(|it| {
        let conditions = it["status"]["conditions"].as_array_mut().unwrap();
        let mut deletable = conditions[0].clone();
        deletable["type"] = json!("Deletable");
        deletable["reason"] = json!("MaintenancePodNotStarted");
        conditions.push(deletable);
    });
    assert_eq!(seconds(rest(&waits, &known, at(1))), Some(29));
    let broken = storage(|it| it["status"]["conditions"][0]["status"] = json!("False"));
    assert_eq!(seconds(rest(&broken, &known, at(1))), Some(29));
    assert_eq!(next_look(Duration::from_secs(99), &known), LOOK);
    assert_eq!(next_look(Duration::from_secs(99), &[]).as_secs(), 99);
}

#[test]
fn only_what_changes_whether_it_is_ready_or_why_not_is_an_event() {
    let ready = |status: &str, reason: &str| -> Vec<Condition> {
        serde_json::from_value(json!([{
            "type": "Ready", "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]))
        .unwrap()
    };
    let (works, denied) = (ready("True", "Reachable"), ready("False", "StorageDenied"));
    let missing = ready("False", "StorageNotFound");
    assert!(news(&works, &works).is_none());
    assert!(news(&denied, &denied).is_none());
    for (old, new) in [(&vec![], &works), (&denied, &works)] {
        assert!(matches!(news(old, new).unwrap().type_, EventType::Normal));
    }
    for (old, new, reason) in [
        (&vec![], &denied, "StorageDenied"),
        (&works, &denied, "StorageDenied"),
        (&denied, &missing, "StorageNotFound"),
    ] {
        let event = news(old, new).unwrap();
        assert!(matches!(event.type_, EventType::Warning));
        assert_eq!(event.reason, reason);
    }
}
