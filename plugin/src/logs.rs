//! What the operator has logged of one backup or restore: it writes a JSON object a line, with the resource in its spans.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use futures::io::AsyncBufReadExt;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::arguments::LogsFlags;
use crate::connection::{Connection, told};

/// What stands in each line, or is said already.
const KNOWN: [&str; 8] = [
    "timestamp",
    "level",
    "message",
    "target",
    "span",
    "spans",
    "namespace",
    "resource",
];
/// As the chart labels its pods, and calls their container.
const OPERATOR: &str = "app.kubernetes.io/name=cassandra-backup";
const CONTAINER: &str = "operator";

pub async fn run(connection: &Connection, flags: &LogsFlags) -> Result<ExitCode> {
    let name = flags.name.rsplit('/').next().unwrap_or(&flags.name);
    let pods: Api<Pod> = match &flags.operator_namespace {
        Some(namespace) => Api::namespaced(connection.client.clone(), namespace),
        None => Api::all(connection.client.clone()),
    };
    let found = pods.list(&ListParams::default().labels(OPERATOR)).await;
    let found = found.map_err(|error| told(error, "Pod")).context(
        "the operator's pods cannot be looked for: name its namespace by --operator-namespace",
    )?;
    if found.items.is_empty() {
        bail!("there is no pod of the operator (label {OPERATOR})");
    }
    let params = LogParams {
        follow: flags.follow,
        container: Some(CONTAINER.to_owned()),
        ..LogParams::default()
    };
    let mut lines = Vec::new();
    let mut unread = None;
    for pod in &found.items {
        let namespace = pod.namespace().unwrap_or_default();
        let api = Api::<Pod>::namespaced(connection.client.clone(), &namespace);
        match api.log_stream(&pod.name_any(), &params).await {
            Ok(log) => lines.push(log.lines().boxed()),
            // One that has not started yet has nothing to say.
            Err(error) => {
                let error = told(error, &format!("log of {namespace}/{}", pod.name_any()));
                eprintln!("warning: {error:#}");
                unread = Some(error);
            }
        }
    }
    if let (Some(error), true) = (unread, lines.is_empty()) {
        return Err(error);
    }
    let mut lines = stream::select_all(lines);
    while let Some(line) = lines.try_next().await? {
        if let Some(line) = about(&line, &connection.namespace, name) {
            println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The line for people, if it is about the resource.
fn about(line: &str, namespace: &str, name: &str) -> Option<String> {
    let logged: Value = serde_json::from_str(line).ok()?;
    let outer = logged["spans"].as_array().into_iter().flatten();
    let mut places = outer.chain(logged.get("span")).chain([&logged]);
    let is = |place: &Value| place["resource"] == name && place["namespace"] == namespace;
    if !places.clone().any(is) {
        return None;
    }
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let mut told = format!("{} {}", text(&logged["timestamp"]), text(&logged["level"]));
    if let Some(pod) = places.find_map(|place| place.get("pod")) {
        told.push_str(&format!(" {}", text(pod)));
    }
    told.push_str(&format!(": {}", text(&logged["message"])));
    for (field, value) in logged.as_object()? {
        if !KNOWN.contains(&field.as_str()) {
            told.push_str(&format!(" {field}={}", text(value)));
        }
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_lines_of_the_resource_are_told() {
        let line = json!({
            "timestamp": "2026-11-27T10:00:00Z", "level": "INFO", "target": "operator",
            "message": "node ended", "reason": "Succeeded", "bytes": 7,
            "span": {"name": "node", "namespace": "shop", "resource": "b", "pod": "c-0", "run": "r"},
            "spans": [{"name": "node", "namespace": "shop", "resource": "b", "pod": "c-0", "run": "r"}],
        })
        .to_string();
        let told = about(&line, "shop", "b").unwrap();
        assert!(
            told.starts_with("2026-11-27T10:00:00Z INFO c-0: node ended "),
            "{told}"
        );
        assert!(
            told.contains("reason=Succeeded") && told.contains("bytes=7"),
            "{told}"
        );
        // Errors of reconciliations are in no span.
        let line_without = json!({
            "timestamp": "t", "level": "WARN", "message": "did not go through",
            "namespace": "shop", "resource": "b", "error": "gone",
        });
        let told = about(&line_without.to_string(), "shop", "b").unwrap();
        assert_eq!(told, "t WARN: did not go through error=gone");
        assert_eq!(about(&line, "shop", "other"), None);
        assert_eq!(about(&line, "crm", "b"), None);
        assert_eq!(about("no JSON", "shop", "b"), None);
    }
}
