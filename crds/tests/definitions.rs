//! The committed definitions are the generated ones, and the API server will take them.

use std::path::Path;

use crds::custom_resources;
use serde_json::Value;

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["yaml", "../charts/cassandra-backup/files"] {
        let folder = here.join(folder);
        assert_eq!(
            std::fs::read_dir(&folder).unwrap().count(),
            custom_resources().len()
        );
        for resource in custom_resources() {
            let path = folder.join(&resource.file);
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == resource.to_yaml().unwrap(),
                "{} is out of date: run `cargo generate`",
                path.display()
            );
        }
    }
}

/// Calls `visit` with every schema below and including this one.
fn walk(schema: &Value, visit: &mut impl FnMut(&Value)) {
    visit(schema);
    match schema {
        Value::Object(map) => map.values().for_each(|value| walk(value, visit)),
        Value::Array(list) => list.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

#[test]
fn formats_are_those_that_the_api_server_knows() {
    for resource in custom_resources() {
        walk(
            &serde_json::to_value(&resource.definition).unwrap(),
            &mut |schema| {
                if let Some(format) = schema.get("format").and_then(Value::as_str) {
                    assert!(
                        ["int32", "int64", "date-time", "date"].contains(&format),
                        "{format}"
                    );
                }
            },
        );
    }
}

#[test]
fn every_field_is_explained() {
    for resource in custom_resources() {
        walk(
            &serde_json::to_value(&resource.definition).unwrap(),
            &mut |schema| {
                let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                    return;
                };
                for (name, property) in properties {
                    let above = ["spec", "status"].contains(&name.as_str());
                    assert!(
                        above || property.get("description").is_some(),
                        "{name}: {property}"
                    );
                }
            },
        );
    }
}
