//! What `kubectl get` prints: the API server makes the table, kubectl only draws it.

use anyhow::Result;
use http::Request;
use kube::Client;
use serde::Deserialize;

/// The API server's table.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    column_definitions: Vec<Column>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    priority: i32,
}

#[derive(Debug, Deserialize)]
struct Row {
    cells: Vec<serde_json::Value>,
}

/// The lines of `kubectl get <plural>` for one of our kinds.
pub async fn table(client: &Client, namespace: &str, plural: &str) -> Result<Vec<String>> {
    let (group, version) = (crds::GROUP, crds::VERSION);
    let path = format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}");
    let request = Request::get(path)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())?;
    Ok(draw(&client.request(request).await?))
}

fn draw(table: &Table) -> Vec<String> {
    let shown: Vec<_> = (0..table.column_definitions.len())
        .filter(|at| table.column_definitions[*at].priority == 0)
        .collect();
    let mut lines = vec![
        shown
            .iter()
            .map(|at| table.column_definitions[*at].name.to_uppercase())
            .collect::<Vec<_>>(),
    ];
    for row in &table.rows {
        let cell = |at: &usize| match &row.cells[*at] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        lines.push(shown.iter().map(cell).collect());
    }
    let widths: Vec<usize> = (0..shown.len())
        .map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0))
        .collect();
    let padded = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line.join("   ").trim_end().to_owned()
    });
    padded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_wide_ones_are_left_out() {
        let table: Table = serde_json::from_value(serde_json::json!({
            "columnDefinitions": [
                {"name": "Name", "priority": 0},
                {"name": "Reason", "priority": 1},
                {"name": "Nodes", "priority": 0},
            ],
            "rows": [
                {"cells": ["first", "Running", null]},
                {"cells": ["before-upgrade", "Succeeded", "3/3"]},
            ],
        }))
        .unwrap();
        assert_eq!(
            draw(&table),
            ["NAME             NODES", "first", "before-upgrade   3/3"]
        );
    }
}
