//! What the two programs are made of, as CycloneDX 1.5 <https://cyclonedx.org/docs/1.5/json/>.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::host::run::Run;
use crate::parts::binaries;

/// The packages whose programs users get.
const ROOTS: [&str; 2] = ["cassandra-backup", "operator"];

/// All crates that are linked into them, by `Cargo.lock`: those that only builds and tests need are not among them.
pub async fn of_the_workspace() -> Result<Value> {
    let cargo = Run::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let metadata = cargo
        .args(["metadata", "--format-version=1", "--locked"])
        .args([
            "--filter-platform",
            &format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
        ])
        .dir(binaries::workspace()?)
        .output()
        .await?;
    of(&serde_json::from_str(&metadata)?)
}

fn of(metadata: &Value) -> Result<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<_, _> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let needs: BTreeMap<_, _> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| {
            let linked = |one: &Value| {
                list(&one["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            };
            let ids = list(&node["deps"]).into_iter().filter(linked);
            (
                text(&node["id"]),
                ids.map(|one| text(&one["pkg"])).collect::<Vec<_>>(),
            )
        })
        .collect();
    let root = |name: &str| {
        let found = packages
            .iter()
            .find(|(_, package)| package["name"] == name && package["source"].is_null());
        found.map(|(id, _)| id.clone())
    };
    let roots: Vec<_> = ROOTS.iter().filter_map(|name| root(name)).collect();
    let (mut linked, mut open) = (BTreeSet::new(), roots);
    while let Some(id) = open.pop() {
        open.extend(
            needs
                .get(&id)
                .into_iter()
                .flatten()
                .filter(|it| !linked.contains(*it))
                .cloned(),
        );
        linked.insert(id);
    }
    let components = linked
        .iter()
        .filter_map(|id| packages.get(id))
        .map(|package| {
            let (name, version) = (text(&package["name"]), text(&package["version"]));
            let purl = format!("pkg:cargo/{name}@{version}");
            let mut component = json!({
                "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            });
            if let Some(license) = package["license"].as_str() {
                component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
            }
            component
        });
    let components: Vec<_> = components.collect();
    let version = packages
        .values()
        .find(|package| package["name"] == "operator");
    let version = version.context("no package operator")?["version"].clone();
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "container", "name": "cassandra-backup", "version": version}},
        "components": components,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_builds_and_tests_need_is_not_in_it() {
        let package = |name: &str, license: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": license, "source": null});
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [
                package("operator", "Apache-2.0"), package("cassandra-backup", "Apache-2.0"), package("a", "MIT/Apache-2.0"),
                package("b", "MIT"), package("tests", "MIT"), package("other", "MIT"),
            ],
            "resolve": {"nodes": [
                {"id": "operator", "deps": [needs("a", Value::Null), needs("tests", json!("dev"))]},
                {"id": "a", "deps": [needs("b", Value::Null), needs("tests", json!("build"))]},
                {"id": "b", "deps": [needs("a", Value::Null)]},
            ]},
        });
        let bom = of(&metadata).unwrap();
        let names: Vec<_> = bom["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["name"])
            .collect();
        assert_eq!(names, ["a", "b", "cassandra-backup", "operator"]);
        assert_eq!(
            bom["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
    }
}
