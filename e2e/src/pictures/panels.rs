//! The panels of the dashboard: what Grafana would ask for, and what was found.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::history::{EVERY, History};

type Labels = BTreeMap<String, String>;

/// The dashboard with a list `frames` in each panel: the series that its queries found. An error names the panels that
/// would be empty.
pub(super) async fn fill(dashboard: &Value, history: &History) -> Result<Value> {
    let (from, to) = (history.from.as_second(), history.to.as_second());
    let variables = variables(dashboard, to - from)?;
    let mut panels = list(&dashboard["panels"]).to_vec();
    for panel in &mut panels {
        let mut frames = Vec::new();
        for target in list(&panel["targets"]) {
            let query = replaced(text(&target["expr"]), &variables)?;
            frames.extend(
                ask(target, &query, history)
                    .await
                    .with_context(|| format!("the panel {}: {query}", panel["title"]))?,
            );
        }
        panel["frames"] = frames.into();
    }
    let empty = empty(&panels);
    ensure!(
        empty.is_empty(),
        "nothing was found for the panels {}",
        empty.join(", ")
    );
    Ok(json!({"title": dashboard["title"], "from": from, "to": to, "panels": panels}))
}

async fn ask(target: &Value, query: &str, history: &History) -> Result<Vec<Value>> {
    let History { victoria, from, to } = history;
    let found = match target["instant"].as_bool() {
        // What the last look has not shown is gone.
        Some(true) => victoria.query(query, *to, EVERY / 2).await?,
        _ => victoria.range(query, *from, *to, EVERY).await?,
    };
    let frames = found.into_iter().map(|series| {
        let name = legend(text(&target["legendFormat"]), &series.labels);
        json!({"name": name, "labels": series.labels, "points": series.points})
    });
    Ok(frames.collect())
}

/// What the dashboard's variables stand for when it is opened, and what Grafana's own do.
fn variables(dashboard: &Value, seconds: i64) -> Result<Labels> {
    let mut variables = Labels::from([
        ("__rate_interval".to_owned(), "1m".to_owned()),
        ("__interval".to_owned(), format!("{}s", EVERY.as_secs())),
        ("__range".to_owned(), format!("{seconds}s")),
    ]);
    for variable in list(&dashboard["templating"]["list"]) {
        let name = text(&variable["name"]);
        let value = match (text(&variable["type"]), variable["allValue"].as_str()) {
            ("datasource", _) => "VictoriaMetrics",
            ("query", Some(all)) if variable["current"]["value"] == json!(["$__all"]) => all,
            _ => bail!("what does the variable {name} stand for at first?"),
        };
        variables.insert(name.to_owned(), value.to_owned());
    }
    Ok(variables)
}

/// A query with its variables replaced.
fn replaced(query: &str, variables: &Labels) -> Result<String> {
    let (mut done, mut rest) = (String::new(), query);
    while let Some((before, after)) = rest.split_once('$') {
        let braced = after.strip_prefix('{');
        let after = braced.unwrap_or(after);
        let is_of_name = |one: char| one.is_ascii_alphanumeric() || one == '_';
        let end = after.find(|one| !is_of_name(one)).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let value = variables
            .get(name)
            .with_context(|| format!("nothing is known of the variable {name:?} in {query}"))?;
        done += before;
        done += value;
        rest = match braced {
            Some(_) => after
                .strip_prefix('}')
                .with_context(|| format!("{query}: only ${{{name}}} is understood"))?,
            None => after,
        };
    }
    Ok(done + rest)
}

/// The name of a series: what is in double braces is a label.
fn legend(format: &str, labels: &Labels) -> String {
    let (mut done, mut rest) = (String::new(), format);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((label, after)) = after.split_once("}}") else {
            break;
        };
        done += before;
        done += labels.get(label.trim()).map_or("", String::as_str);
        rest = after;
    }
    done + rest
}

/// The titles of panels that ask, and of which nothing was found.
fn empty(panels: &[Value]) -> Vec<&str> {
    let empty = panels
        .iter()
        .filter(|panel| panel["type"] != "row" && list(&panel["frames"]).is_empty());
    empty.map(|panel| text(&panel["title"])).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
        labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn variables_are_what_they_are_when_the_dashboard_is_opened() {
        let dashboard = super::super::dashboard().unwrap();
        let variables = variables(&dashboard, 300).unwrap();
        let query = "rate(a{namespace=~\"$namespace\",cluster=~\"${cluster}\"}[$__rate_interval]) > b[$__range]";
        assert_eq!(
            replaced(query, &variables).unwrap(),
            "rate(a{namespace=~\".*\",cluster=~\".*\"}[1m]) > b[300s]"
        );
        for panel in list(&dashboard["panels"]) {
            for target in list(&panel["targets"]) {
                replaced(text(&target["expr"]), &variables).unwrap();
            }
        }
    }

    #[test]
    fn a_variable_of_which_nothing_is_known_is_an_error() {
        let known = labels([("cluster", ".*")]);
        for query in [
            "a{cluster=\"$clusters\"}",
            "a{b=\"${cluster:regex}\"}",
            "a$",
        ] {
            assert!(replaced(query, &known).is_err(), "{query}");
        }
        let textbox = json!({"templating": {"list": [{"name": "text", "type": "textbox"}]}});
        assert!(variables(&textbox, 300).is_err());
    }

    #[test]
    fn a_series_is_called_by_its_labels() {
        let labels = labels([("cluster", "prod"), ("result", "Succeeded")]);
        for (format, name) in [
            ("{{cluster}}: {{ result }}", "prod: Succeeded"),
            ("{{storage}}/{{cluster}}", "/prod"),
            ("uploaded", "uploaded"),
            ("{{cluster", "{{cluster"),
        ] {
            assert_eq!(legend(format, &labels), name);
        }
    }

    #[test]
    fn a_panel_is_empty_when_none_of_its_queries_found_anything() {
        let panels = [
            json!({"type": "row", "title": "Rows ask for nothing", "frames": []}),
            json!({"type": "stat", "title": "Full", "frames": [{"name": "a"}]}),
            json!({"type": "table", "title": "Empty", "frames": []}),
        ];
        assert_eq!(empty(&panels), ["Empty"]);
    }
}
