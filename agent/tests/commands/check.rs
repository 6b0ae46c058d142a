//! `check`, of a storage and of a Cassandra that is not there.

use serde_json::Value;

use crate::stage::{Stage, run_at, text};

fn states(document: &Value) -> Vec<(String, String)> {
    let checks = document["checks"].as_array().unwrap().iter();
    let word = |check: &Value, field: &str| check[field].as_str().unwrap().to_owned();
    checks
        .map(|check| (word(check, "check"), word(check, "state")))
        .collect()
}

#[test]
fn a_storage_that_works_is_told_to_and_is_left_as_it_was() {
    let stage = Stage::new();
    let (code, document) = stage.json(&["check", "--no-cassandra"]);
    assert_eq!(code, 0, "{document}");
    let names = [
        "storage",
        "write",
        "create-only",
        "read",
        "list",
        "touch",
        "delete",
        "versions",
        "clock",
        "backups",
    ];
    let expected: Vec<_> = names
        .iter()
        .map(|name| ((*name).to_owned(), "Works".to_owned()))
        .collect();
    assert_eq!(states(&document), expected);
    assert!(!stage.path("manifests/.probe").exists());
}

#[test]
fn a_storage_that_is_not_there_fails_with_its_exit_code() {
    let stage = Stage::new();
    let nowhere = stage.path("nowhere");
    let output = run_at(&nowhere, &nowhere, &["check", "--no-cassandra"]);
    assert_eq!(output.status.code(), Some(10), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("FAILS"));
}

#[test]
fn a_cassandra_that_is_not_there_is_told_beside_a_storage_that_is() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port().to_string();
    drop(closed);
    let (code, document) = Stage::new().json(&["check", "--jmx-port", &port]);
    assert_eq!(code, 75, "{document}");
    let last = document["checks"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(
        (&last["check"], &last["state"]),
        (&"JMX".into(), &"Fails".into())
    );
    assert!(last["detail"].as_str().unwrap().contains(&port), "{last}");
}
