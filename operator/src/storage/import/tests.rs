//! What is found becomes resources, and what is gone ceases to be one.

use crds::CassandraBackup;
use http::Method;
use kube::runtime::controller::Action;
use protocol::{BackupFound, Verdict};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::conversation::{
    Agent, EVENTS, STATUS, condition, event, guarded, object, with_agent,
};
use super::super::{Error, reconcile};
use super::*;
use crate::played::Api;

const BACKUPS: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cassandrabackups";

fn found(name: &str, missing: &[u128]) -> BackupFound {
    serde_json::from_value(json!({
        "backup": name, "series": "nightly",
        "scope": {"keyspaces": ["shop"], "tables": [], "datacenters": []},
        "nodes": [{
            "node": {
                "hostId": uuid::Uuid::from_u128(1), "datacenter": "dc1", "rack": "r1",
                "cassandraVersion": "5.0.9",
            },
            "pod": "db-0", "runId": uuid::Uuid::from_u128(7),
            "snapshot": {"startedAt": "2026-01-01T00:00:00Z", "endedAt": "2026-01-01T00:00:01Z"},
            "manifest": format!("prod/manifests/{name}/x.jsonl"),
        }],
        "missing": missing.iter().map(|it| uuid::Uuid::from_u128(*it)).collect::<Vec<_>>(),
    }))
    .unwrap()
}

fn catalogue(names: &[&str], found: Vec<BackupFound>) -> Catalogue {
    Catalogue {
        names: names.iter().map(|it| (*it).to_owned()).collect(),
        found,
        ..Catalogue::default()
    }
}

/// A resource about a backup of this name, changed.
fn resource(backup: &str, change: impl FnOnce(&mut Value)) -> CassandraBackup {
    let mut object = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {
            "name": format!("prod-{backup}"), "namespace": "shop", "uid": backup,
            "labels": {"cassandrabackup.io/imported": "true"},
        },
        "spec": {
            "cluster": "prod", "storage": {"name": "main"}, "backupName": backup, "imported": true,
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
        "status": {"phase": "Succeeded"},
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn words(resources: &[CassandraBackup], catalogue: Catalogue) -> Vec<String> {
    words_of(resources, catalogue, false)
}

fn words_of(
    resources: &[CassandraBackup],
    catalogue: Catalogue,
    may_be_unmounted: bool,
) -> Vec<String> {
    let mirrors = decide::of_mirrors(resources, "prod", &catalogue.names, may_be_unmounted);
    let found = decide::of_found(resources, "prod", catalogue.found);
    let steps = mirrors.into_iter().chain(found);
    steps
        .map(|step| match step {
            Step::Keep => "keep".to_owned(),
            Step::Make(_, found) => format!("make {}", found.backup),
            Step::Fill(resource, found) => format!("fill {} {}", resource.name_any(), found.backup),
            Step::Remove(resource) => format!("remove {}", resource.name_any()),
        })
        .collect()
}

#[test]
fn what_no_resource_is_about_gets_one_and_a_mirror_of_nothing_goes() {
    let own = resource("own", |it| {
        it["spec"]["imported"] = json!(false);
        it["metadata"]["labels"] = json!({});
    });
    let mirror = resource("old", |_| ());
    let empty = resource("empty", |it| it["status"] = Value::Null);
    let gone = resource("gone", |_| ());
    let all = [own, mirror, empty, gone];
    let mut known = decide::known(&all, "prod");
    known.sort();
    assert_eq!(known, ["gone", "old", "own"]);
    assert!(decide::known(&all, "other").is_empty());
    let there = catalogue(
        &["old", "own", "new", "empty"],
        vec![found("new", &[]), found("empty", &[]), found("own", &[])],
    );
    let steps = words(&all, there);
    assert_eq!(
        steps,
        [
            "keep",
            "remove prod-gone",
            "keep",
            "make new",
            "fill prod-empty empty"
        ]
    );
}

#[test]
fn a_resource_of_somebodys_own_is_filled_and_takes_the_place_of_a_mirror() {
    let own = resource("b", |it| {
        it["metadata"] = json!({"name": "mine", "namespace": "shop", "uid": "mine"});
        it["spec"]["deletionPolicy"] = json!("Delete");
        it["status"] = Value::Null;
    });
    let all = [resource("b", |_| ()), own];
    assert!(decide::known(&all, "prod").is_empty());
    let steps = words(&all, catalogue(&["b"], vec![found("b", &[])]));
    assert_eq!(steps, ["remove prod-b", "fill mine b"]);
}

#[test]
fn a_mirror_that_lacked_nodes_is_looked_at_again() {
    let partial = resource("b", |it| it["status"]["phase"] = json!("PartiallyFailed"));
    let all = [partial];
    assert!(decide::known(&all, "prod").is_empty());
    let steps = words(&all, catalogue(&["b"], vec![found("b", &[])]));
    assert_eq!(steps, ["keep", "fill prod-b b"]);
}

#[test]
fn a_directory_that_looks_empty_takes_nothing_away() {
    let all = [resource("b", |_| ())];
    assert_eq!(words_of(&all, catalogue(&[], vec![]), true), ["keep"]);
    let other = catalogue(&["other"], vec![]);
    assert_eq!(words_of(&all, other, true), ["remove prod-b"]);
}

#[test]
fn only_a_mirror_that_deletes_nothing_goes_by_itself() {
    type Change = fn(&mut Value);
    let stay: [Change; 5] = [
        |it| it["spec"]["imported"] = json!(false),
        |it| it["metadata"]["labels"] = json!({}),
        |it| it["spec"]["deletionPolicy"] = json!("Delete"),
        |it| it["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        |it| it["spec"]["cluster"] = json!("other"),
    ];
    for change in stay {
        let resources = [resource("gone", change)];
        let steps = words(&resources, catalogue(&[], vec![]));
        assert!(steps.iter().all(|step| step == "keep"), "{steps:?}");
    }
    let resources = [resource("gone", |_| ())];
    assert_eq!(
        words(&resources, catalogue(&[], vec![])),
        ["remove prod-gone"]
    );
}

#[test]
fn the_condition_names_what_has_no_resource_first() {
    let words = |tally: &Tally| {
        let said = said(tally);
        (said.is, said.message)
    };
    let mut tally = Tally {
        mirrors: 3,
        ..Tally::default()
    };
    let all = "3 backups that were found here have resources";
    assert_eq!(words(&tally), (Is::True, all.into()));
    tally.left = 2;
    let more = format!("{all}; 2 more follow with the next probes");
    assert_eq!(words(&tally), (Is::True, more));
    tally.untold = 3;
    let (is, message) = words(&tally);
    assert_eq!(is, Is::False);
    assert!(message.contains("those of 3 more have none"), "{message}");
    tally.refused = vec!["no name".into()];
    let left = "; 2 older ones have not been looked at yet";
    assert_eq!(words(&tally), (Is::False, format!("no name{left}")));
    tally.left = 0;
    assert_eq!(words(&tally), (Is::False, "no name".into()));
    tally.refused.push("no name either".into());
    assert_eq!(words(&tally), (Is::False, "no name (and 1 more)".into()));
    tally.failed.push(Failed {
        cluster: "shop".into(),
        reason: Reason::StorageUnavailable,
        message: "no answer".into(),
    });
    let failed = "cluster shop: no answer; 3 backups of the others have resources".to_owned();
    assert_eq!(words(&tally), (Is::False, failed));
}

#[test]
fn the_next_are_asked_for_at_once_where_most_of_the_newest_get_no_resource() {
    for (told, made, left, expected) in [
        (100, 0, 1, true),
        (100, 49, 1, true),
        (100, 50, 1, false),
        (100, 100, 900, false),
        // Nothing is left, or nothing was told, since all are at work.
        (100, 0, 0, false),
        (0, 0, 1, false),
    ] {
        let asked = decide::is_in_the_way(told, made, left);
        assert_eq!(asked, expected, "{told} {made} {left}");
    }
}

fn storage() -> Value {
    object(json!({"importBackups": true, "s3": {
        "bucket": "backups", "credentials": {"secretName": "pods"},
    }}))
}

fn list(items: &[CassandraBackup]) -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackupList",
        "metadata": {}, "items": items,
    })
}

const SECRET: &str = "/api/v1/namespaces/shop/secrets/pods";

fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "pods", "resourceVersion": "1"},
        "data": {"AWS_ACCESS_KEY_ID": "cG9kcw==", "AWS_SECRET_ACCESS_KEY": "aw=="},
    })
}

/// A reconciliation that has asked the agent what works.
async fn probed(agent: &Agent) -> (Api, JoinHandle<Result<Action, Error>>) {
    let (context, mut api) = with_agent(agent);
    let reconciled = tokio::spawn(reconcile(guarded(&storage()), context));
    for _ in 0..2 {
        api.expect(Method::GET, SECRET, Ok(secret())).await;
    }
    // What works is told before the import.
    let told = api.expect(Method::PATCH, STATUS, Ok(storage())).await;
    assert_eq!(condition(&told, "Ready"), ("True", "Reachable"));
    (api, reconciled)
}

/// The same, which goes on to ask what is in the storage, beside these resources.
async fn asked(
    agent: &Agent,
    resources: &[CassandraBackup],
) -> (Api, JoinHandle<Result<Action, Error>>) {
    let (mut api, reconciled) = probed(agent).await;
    api.expect(Method::GET, BACKUPS, Ok(list(resources))).await;
    api.expect(Method::GET, SECRET, Ok(secret())).await;
    (api, reconciled)
}

/// What the storage's condition says in the end: its status and reason.
async fn ends(api: Api, reconciled: JoinHandle<Result<Action, Error>>) -> (String, String) {
    told(api, reconciled).await.1
}

/// The same, with the status that is written.
async fn told(
    mut api: Api,
    reconciled: JoinHandle<Result<Action, Error>>,
) -> (Value, (String, String)) {
    let patch = api.expect(Method::PATCH, STATUS, Ok(storage())).await;
    api.expect(Method::POST, EVENTS, Ok(event())).await;
    reconciled.await.unwrap().unwrap();
    let (is, reason) = condition(&patch, "Imported");
    let said = (is.to_owned(), reason.to_owned());
    (patch, said)
}

fn message(patch: &Value, type_: &str) -> String {
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == type_).unwrap();
    found["message"].as_str().unwrap().to_owned()
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_found_backup_becomes_a_resource_that_says_what_was_found() {
    let there = catalogue(&["new"], vec![found("new", &[2])]);
    let agent = Agent::that_finds(Some(there));
    let (mut api, reconciled) = asked(&agent, &[]).await;
    let created = serde_json::to_value(resource("new", |_| ())).unwrap();
    let made = api.expect(Method::POST, BACKUPS, Ok(created.clone())).await;
    assert_eq!(made["metadata"]["name"], "prod-new");
    assert_eq!(
        made["metadata"]["ownerReferences"][0]["kind"],
        "BackupStorage"
    );
    let spec = &made["spec"];
    assert_eq!(
        (
            &spec["imported"],
            &spec["backupName"],
            &spec["deletionPolicy"]
        ),
        (&json!(true), &json!("new"), &json!("Retain"))
    );
    assert_eq!(
        (&spec["series"], &spec["keyspaces"], &spec["cluster"]),
        (&json!("nightly"), &json!(["shop"]), &json!("prod"))
    );
    let path = format!("{BACKUPS}/prod-new/status");
    let told = api.expect(Method::PATCH, &path, Ok(created)).await;
    let status = &told["status"];
    assert_eq!(status["phase"], "PartiallyFailed");
    assert_eq!(condition(&told, "Complete"), ("False", "NodesIncomplete"));
    assert_eq!(
        (
            &status["nodesDone"],
            &status["startTime"],
            &status["completionTime"]
        ),
        (
            &json!("1/2"),
            &json!("2026-01-01T00:00:00Z"),
            &json!("2026-01-01T00:00:01Z")
        )
    );
    let node = &status["nodes"][0];
    assert_eq!(
        (&node["pod"], &node["attempt"]),
        (&json!("db-0"), &json!(0))
    );
    assert_eq!(status["ring"]["withoutPod"].as_array().unwrap().len(), 1);
    assert_eq!(ends(api, reconciled).await, is("True", "Succeeded"));
}

/// A catalogue of which the newest are not told again, and no older one takes their place.
fn in_the_way(left_out: u64) -> Catalogue {
    Catalogue {
        unreadable: vec!["unreadable".into()],
        left_out,
        ..catalogue(
            &["unreadable", "refused", "old"],
            vec![found("refused", &[])],
        )
    }
}

#[tokio::test]
async fn what_gets_no_resource_is_not_in_the_way_of_what_does() {
    let all = ["unreadable", "refused", "old"];
    let older = catalogue(&all, vec![found("old", &[])]);
    let agent = Agent::that_finds_in_turn(&[Some(in_the_way(1)), Some(older)]);
    let (mut api, reconciled) = asked(&agent, &[]).await;
    let refused = api.expect(Method::POST, BACKUPS, Err(422)).await;
    assert_eq!(refused["metadata"]["name"], "prod-refused");
    // It is asked again, and not for these.
    api.expect(Method::GET, SECRET, Ok(secret())).await;
    let created = serde_json::to_value(resource("old", |_| ())).unwrap();
    let made = api.expect(Method::POST, BACKUPS, Ok(created.clone())).await;
    assert_eq!(made["metadata"]["name"], "prod-old");
    let path = format!("{BACKUPS}/prod-old/status");
    api.expect(Method::PATCH, &path, Ok(created)).await;
    // Each is counted once.
    let (patch, said) = told(api, reconciled).await;
    assert_eq!(said, is("False", "Failed"));
    let imported = message(&patch, "Imported");
    assert!(imported.contains("(and 1 more)"), "{imported}");
    assert_eq!(agent.known(), [vec![], vec!["refused", "unreadable"]]);
}

#[tokio::test]
async fn an_import_in_which_nothing_gets_a_resource_ends_and_says_what_is_left() {
    let asks = usize::try_from(ASKS).unwrap();
    let agent = Agent::that_finds_in_turn(&vec![Some(in_the_way(7)); asks + 1]);
    let (mut api, reconciled) = asked(&agent, &[]).await;
    for ask in 0..asks {
        if ask > 0 {
            api.expect(Method::GET, SECRET, Ok(secret())).await;
        }
        api.expect(Method::POST, BACKUPS, Err(422)).await;
    }
    let (patch, _) = told(api, reconciled).await;
    let imported = message(&patch, "Imported");
    let left = "; 7 older ones have not been looked at yet";
    assert!(imported.ends_with(left), "{imported}");
}

#[tokio::test]
async fn a_name_that_is_taken_by_another_is_left_alone() {
    let there = catalogue(&["new"], vec![found("new", &[])]);
    let agent = Agent::that_finds(Some(there));
    let (mut api, reconciled) = asked(&agent, &[]).await;
    let other = resource("new", |it| it["spec"]["imported"] = json!(false));
    let other = serde_json::to_value(other).unwrap();
    for name in build::names("prod", "new") {
        let made = api.expect(Method::POST, BACKUPS, Err(409)).await;
        assert_eq!(made["metadata"]["name"], name.as_str());
        let path = format!("{BACKUPS}/{name}");
        api.expect(Method::GET, &path, Ok(other.clone())).await;
    }
    assert_eq!(ends(api, reconciled).await, is("False", "Failed"));
}

#[tokio::test]
async fn a_mirror_whose_backup_is_gone_is_deleted_and_no_other() {
    let agent = Agent::that_finds(Some(catalogue(&[], vec![])));
    let elsewhere = resource("elsewhere", |it| {
        it["spec"]["storage"]["name"] = json!("other")
    });
    let resources = [resource("gone", |_| ()), elsewhere];
    let (mut api, reconciled) = asked(&agent, &resources).await;
    let path = format!("{BACKUPS}/prod-gone");
    let gone = serde_json::to_value(resource("gone", |_| ())).unwrap();
    let deleted = api.expect(Method::DELETE, &path, Ok(gone)).await;
    assert_eq!(deleted["preconditions"]["uid"], "gone");
    assert_eq!(ends(api, reconciled).await, is("True", "Succeeded"));
}

#[tokio::test]
async fn where_nobody_could_look_nothing_is_changed_and_it_is_said_why() {
    // The agent answers, and does not know the question.
    let agent = Agent::that_finds(None);
    let (api, reconciled) = asked(&agent, &[resource("gone", |_| ())]).await;
    assert_eq!(ends(api, reconciled).await, is("False", "Reachable"));
}

#[tokio::test]
async fn what_one_cluster_has_is_imported_though_another_one_is_not_told() {
    let agent = Agent::that_finds_in_turn(&[None, Some(catalogue(&[], vec![]))]);
    let other = resource("untold", |it| it["spec"]["cluster"] = json!("other"));
    let (mut api, reconciled) = asked(&agent, &[other, resource("gone", |_| ())]).await;
    api.expect(Method::GET, SECRET, Ok(secret())).await;
    let gone = serde_json::to_value(resource("gone", |_| ())).unwrap();
    let path = format!("{BACKUPS}/prod-gone");
    api.expect(Method::DELETE, &path, Ok(gone)).await;
    let (patch, said) = told(api, reconciled).await;
    assert_eq!(said, is("False", "Reachable"));
    let imported = message(&patch, "Imported");
    assert!(imported.starts_with("cluster other: "), "{imported}");
}

#[tokio::test]
async fn a_storage_that_does_not_answer_is_not_asked_for_every_cluster() {
    let agent = Agent::that_finds_in_turn(&[]);
    let of = |cluster: &str| resource(cluster, |it| it["spec"]["cluster"] = json!(cluster));
    let (mut api, reconciled) = asked(&agent, &["a", "b", "c", "d"].map(of)).await;
    for _ in 1..FAILURES {
        api.expect(Method::GET, SECRET, Ok(secret())).await;
    }
    let (patch, _) = told(api, reconciled).await;
    let imported = message(&patch, "Imported");
    assert!(
        imported.contains("; and 4 more clusters; 0 backups of the others"),
        "{imported}"
    );
}

#[tokio::test]
async fn where_some_folders_cannot_be_looked_into_those_are_imported_that_can() {
    let agent = Agent::that_sees_some(catalogue(&["old"], vec![]));
    // Of a cluster that was not told, nothing is known, and nobody is asked.
    let other = resource("other", |it| it["spec"]["cluster"] = json!("denied"));
    let (api, reconciled) = asked(&agent, &[resource("old", |_| ()), other]).await;
    let (patch, said) = told(api, reconciled).await;
    assert_eq!(said, is("Unknown", "NotProbed"));
    let imported = message(&patch, "Imported");
    assert!(imported.starts_with("1 backups"), "{imported}");
    assert!(imported.ends_with("see Surveyed"), "{imported}");
    assert_eq!(agent.known(), [["old"]]);
}

#[tokio::test]
async fn where_it_is_not_known_what_is_there_nobody_is_asked_for_it() {
    let agent = Agent::that_says(Verdict::Unknown, Some(catalogue(&[], vec![])));
    let (api, reconciled) = probed(&agent).await;
    assert_eq!(ends(api, reconciled).await, is("Unknown", "NotProbed"));
}
