//! A registry that knows what it shows, for `docs/metrics.md`.

use std::fmt::{Debug, Write as _};
use std::hash::Hash;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

/// What all names begin with.
const PREFIX: &str = "cassandra_backup";

/// One metric, as it is documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The name as it is shown.
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) labels: Vec<String>,
    pub(crate) help: &'static str,
}

impl Row {
    /// The unit, which by convention the name ends with.
    pub(crate) fn unit(&self) -> &'static str {
        let name = self.name.trim_end_matches("_total");
        if name.ends_with("_timestamp_seconds") {
            "seconds since 1970"
        } else if name.ends_with("_seconds") {
            "seconds"
        } else if name.ends_with("_bytes") {
            "bytes"
        } else {
            ""
        }
    }
}

/// A registry and what is in it.
pub(super) struct Book {
    registry: Registry,
    pub(super) rows: Vec<Row>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            registry: Registry::with_prefix(PREFIX),
            rows: Vec::new(),
        }
    }
}

impl Book {
    /// A new metric, which is shown from now on.
    pub(super) fn add<M>(&mut self, name: &'static str, help: &'static str) -> M
    where
        M: Metric + Labelled + Clone + Default,
    {
        let metric = M::default();
        let (kind, total) = match metric.metric_type() {
            MetricType::Counter => ("counter", "_total"),
            _ => ("gauge", ""),
        };
        self.rows.push(Row {
            name: format!("{PREFIX}_{name}{total}"),
            kind,
            labels: M::labels(),
            help,
        });
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// All metrics as text.
    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A metric whose labels its type tells.
pub(super) trait Labelled {
    fn labels() -> Vec<String>;
}

impl<N: Debug, A> Labelled for Gauge<N, A> {
    fn labels() -> Vec<String> {
        Vec::new()
    }
}

impl<S, M> Labelled for Family<S, M>
where
    S: Clone + Debug + Default + Eq + Hash + EncodeLabelSet + Send + Sync + 'static,
    M: Debug + Default + EncodeMetric + TypedMetric + Send + Sync + 'static,
{
    fn labels() -> Vec<String> {
        // Only what is shown has its labels written out.
        let one = Self::default();
        drop(one.get_or_create(&S::default()));
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("one", "", one);
        if encode(&mut text, &registry).is_err() {
            return Vec::new();
        }
        let labels = text.lines().find_map(|line| {
            let (_, rest) = line.split_once('{')?;
            rest.split_once('}').map(|(labels, _)| labels)
        });
        labels
            .unwrap_or_default()
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

/// The page of all metrics.
pub(crate) fn page(rows: &[Row]) -> String {
    let mut page = String::from(
        "# Metrics and logs\n\n\
         The operator shows these at `/metrics`, in the OpenMetrics format. This page is made from the code by\n\
         `cargo generate`. What is about a resource goes with it; what is about a cluster goes with the last\n\
         CassandraBackup of it in the namespace. Of several operators only the one that leads shows more than\n\
         `cassandra_backup_leader`. All of it is known again soon after a restart, except that counters begin at 0.\n\n\
         | metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n",
    );
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    for row in rows {
        let labels: Vec<_> = row.labels.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            row.name,
            row.kind,
            labels.join(", "),
            row.unit(),
            row.help
        );
    }
    page.push_str(AFTER);
    page
}

const AFTER: &str = "
The label `cluster` is the cluster id, `backup`, `schedule` and `storage` are names of resources. `result` of
backups is their phase, that of nodes a reason: see [reasons.md](reasons.md).

## Alerts and a dashboard
The chart makes a PodMonitor, a PrometheusRule and a dashboard for Grafana of it: `metrics.podMonitor.enabled`,
`metrics.rules.enabled`, `metrics.dashboard.enabled`. What each alert means, and what to do, is in [runbooks](runbooks). Without the
Prometheus operator take `alerts/rules.yaml`, with `RECOVERY_POINT_SECONDS` replaced by a number such as 129600, and `dashboards/cassandra-backup.json` of the chart, and read the pods at port 8080 with
`honor_labels: true`: else `namespace` is that of the operator.

## Logs
One JSON object a line. What is about a backup has `namespace`, `resource` and `backup` (its name in the storage) in
`span` or `spans`, what is about a node also `pod` and `run`:
```
kubectl logs -n cassandra-backup deploy/cassandra-backup | jq -c 'select(any(.spans[]?; .run == \"…\"))'
```
";
