//! The alerts of the chart, evaluated over what an operator has shown at `/metrics`, as if nothing more happened for
//! a month.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::operator;
use crate::parts::{helm, vmalert};

/// How often alerts are evaluated, in seconds; and how long after the first look the second one is.
const STEP: i64 = 600;
/// What times in what was shown are rounded to, so that a text with an age in it is the same in each run.
const ROUND: f64 = 3600.0;
/// How often the second look is repeated: 35 days.
const STEPS: i64 = 35 * 24 * 3600 / STEP;

/// The alerts, and what they are evaluated over.
#[derive(Debug)]
pub struct Alerts {
    groups: Value,
    /// Names of series, and their values, one every ten minutes, as Prometheus' tests have them.
    series: Vec<(String, String)>,
}

/// An alert at a time after the first look, and all that it fires for then.
#[derive(Debug)]
pub struct Expected {
    /// Its name.
    pub alert: &'static str,
    /// When, as Prometheus writes durations.
    pub at: &'static str,
    /// The labels of each, and its summary and description.
    pub fires: Vec<(Value, String, String)>,
}

impl Alerts {
    /// Those of the chart with its defaults, over two looks at `/metrics`. The second one was at `now`, in seconds since
    /// 1970.
    pub async fn over(looks: [&str; 2], now: i64) -> Result<Self> {
        let mut series = BTreeMap::<_, [Option<f64>; 2]>::new();
        for (at, look) in looks.into_iter().enumerate() {
            for line in look.lines().filter(|line| !line.starts_with('#')) {
                let (name, value) = line.rsplit_once(' ').context("a line without a value")?;
                let value: f64 = value.parse()?;
                let value = match name.split('{').next() {
                    Some(name) if name.ends_with("_timestamp_seconds") => {
                        ((value - now as f64) / ROUND).round() * ROUND + STEP as f64
                    }
                    _ => value,
                };
                series.entry(name.to_owned()).or_default()[at] = Some(value);
            }
        }
        let text = |value: Option<f64>, more: &str| {
            value.map_or("_".to_owned(), |value| format!("{value}{more}"))
        };
        let ever = format!("+0x{STEPS}");
        let series = series.into_iter().map(|(name, [first, second])| {
            (name, format!("{} {}", text(first, ""), text(second, &ever)))
        });
        Self::of(series.collect()).await
    }

    /// The same over series as they are given.
    pub async fn of(series: Vec<(String, String)>) -> Result<Self> {
        let values = json!({"metrics": {"rules": {"enabled": true}}});
        let chart = operator::chart()?;
        let rendered = helm::template(&chart, operator::RELEASE, &values.to_string()).await?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered)?;
        let mut documents = documents.into_iter();
        let rule = documents.find(|one| one["kind"] == "PrometheusRule");
        let rule = rule.context("no PrometheusRule")?;
        Ok(Self {
            groups: rule["spec"]["groups"].clone(),
            series,
        })
    }

    /// An error unless each alert fires then for these, and for no others.
    pub async fn check(&self, expected: &[Expected]) -> Result<()> {
        let series = self.series.iter();
        let series = series.map(|(name, values)| json!({"series": name, "values": values}));
        let tests = expected.iter().map(|one| {
            let fires = one.fires.iter().map(|(labels, summary, description)| {
                let told = json!({"summary": summary, "description": description});
                json!({"exp_labels": labels, "exp_annotations": told})
            });
            json!({
                "alertname": one.alert, "eval_time": one.at, "exp_alerts": fires.collect::<Vec<_>>(),
            })
        });
        let step = format!("{STEP}s");
        let folder = tempfile::tempdir()?;
        let (rules, file) = (
            folder.path().join("rules.yaml"),
            folder.path().join("test.yaml"),
        );
        let test = json!({
            "rule_files": [rules], "evaluation_interval": step,
            "tests": [{
                "name": "alerts", "interval": step, "input_series": series.collect::<Vec<_>>(),
                "alert_rule_test": tests.collect::<Vec<_>>(),
            }],
        });
        std::fs::write(&rules, json!({"groups": self.groups}).to_string())?;
        std::fs::write(&file, test.to_string())?;
        vmalert::unittest(&file).await
    }

    /// The names of all alerts.
    pub fn names(&self) -> Vec<&str> {
        let groups = self.groups.as_array().into_iter().flatten();
        let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        rules.filter_map(|rule| rule["alert"].as_str()).collect()
    }
}
