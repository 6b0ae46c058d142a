//! What Argo CD takes our resources for: its health scripts, run by Lua as Argo CD runs them, over resources as they
//! were on a real cluster, but for two that were changed by hand: a schedule that is suspended, and a restore at work. The
//! folders are as in Argo CD's own `resource_customizations`.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crds::{BackupStorage, CassandraBackup, CassandraRestore, CronBackup};
use mlua::{Lua, LuaSerdeExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// As Argo CD writes its tests.
#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    input_path: String,
    health_status: Health,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Health {
    status: String,
    #[serde(default)]
    message: String,
}

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../gitops/argocd/resource_customizations/cassandrabackup.io")
        .join(kind)
}

fn health(script: &str, resource: &Value) -> Health {
    let lua = Lua::new();
    lua.globals()
        .set("obj", lua.to_value(resource).unwrap())
        .unwrap();
    let told: mlua::Value = lua.load(script).eval().unwrap();
    lua.from_value(told).unwrap()
}

/// Runs the tests of a kind, whose resources are `K`s with nothing that `K` does not know. Gives the states that came.
fn check<K: DeserializeOwned + serde::Serialize>(kind: &str) -> BTreeSet<String> {
    let folder = folder(kind);
    let script = fs::read_to_string(folder.join("health.lua")).unwrap();
    let tests = fs::read_to_string(folder.join("health_test.yaml")).unwrap();
    let tests: Tests = serde_saphyr::from_str(&tests).unwrap();
    let mut seen = BTreeSet::new();
    let mut files = BTreeSet::new();
    for test in tests.tests {
        let text = fs::read_to_string(folder.join(&test.input_path)).unwrap();
        let resource: Value = serde_saphyr::from_str(&text).unwrap();
        let known: K = serde_json::from_value(resource.clone()).expect(&test.input_path);
        let known = serde_json::to_value(known).unwrap();
        assert_eq!(unknown(&resource, &known), None, "{}", test.input_path);
        let found = health(&script, &resource);
        assert_eq!(found, test.health_status, "{kind}/{}", test.input_path);
        seen.insert(found.status);
        files.insert(test.input_path);

        // Nobody has looked at it, or not at what it says now.
        let mut new = resource.clone();
        new.as_object_mut().unwrap().remove("status");
        let suspended = resource["spec"]["suspend"] == true;
        if !suspended {
            assert_eq!(health(&script, &new).status, "Progressing", "{kind}");
        }
        let mut changed = resource.clone();
        changed["metadata"]["generation"] = 99.into();
        if !suspended && resource["status"]["observedGeneration"].is_number() {
            assert_eq!(health(&script, &changed).status, "Progressing", "{kind}");
        }
    }
    let there = fs::read_dir(folder.join("testdata")).unwrap();
    let there =
        there.map(|file| format!("testdata/{}", file.unwrap().file_name().to_str().unwrap()));
    assert_eq!(files, there.collect(), "{kind}: each file is tested");
    seen
}

/// The first field that `known` lacks.
fn unknown(given: &Value, known: &Value) -> Option<String> {
    let inner = |key: String, given: &Value, known: Option<&Value>| match known {
        None => Some(key),
        Some(known) => unknown(given, known).map(|below| format!("{key}.{below}")),
    };
    match given {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .find_map(|(key, value)| inner(key.clone(), value, known.get(key))),
        Value::Array(items) => (0..)
            .zip(items)
            .find_map(|(at, item)| inner(at.to_string(), item, known.get(at))),
        _ => None,
    }
}

fn states(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn argo_cd_sees_backups_restores_schedules_and_storages_as_they_are() {
    let all = states(&["Degraded", "Healthy", "Progressing", "Suspended"]);
    assert_eq!(check::<CassandraBackup>("CassandraBackup"), all);
    let restores = check::<CassandraRestore>("CassandraRestore");
    assert_eq!(restores, states(&["Degraded", "Healthy", "Progressing"]));
    let schedules = check::<CronBackup>("CronBackup");
    assert_eq!(schedules, states(&["Degraded", "Healthy", "Suspended"]));
    let storages = check::<BackupStorage>("BackupStorage");
    assert_eq!(storages, states(&["Degraded", "Healthy"]));
}
