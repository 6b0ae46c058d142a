//! Two operators of one release, with all that the chart can put beside them: one works, and when it is
//! killed the other goes on with its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crds::{BackupPhase, CassandraBackup, NodePhase};
use e2e::backup::Backup;
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace, is_ready};
use e2e::parts::{definitions, network};
use e2e::product::operator::{RELEASE, chart};
use e2e::product::{STORAGE, back_up, ended, one_node, resources};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, DynamicObject, EvictParams, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::pinned_kind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const DB: &str = "db";
/// A port of loopback that nothing listens on.
const NOBODY: &str = "http://127.0.0.1:1";
/// What is promised for a hand-over.
const HAND_OVER: Duration = Duration::from_secs(15);

/// The pod that works.
async fn leader(namespace: &Namespace) -> anyhow::Result<Option<String>> {
    let lease = namespace.api::<Lease>().get_opt(RELEASE).await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity))
}

async fn another_leads(namespace: &Namespace, old: &str) -> Duration {
    let since = Instant::now();
    let other = async || Ok(leader(namespace).await?.filter(|pod| pod != old));
    until("another operator works", 4 * HAND_OVER, other)
        .await
        .unwrap();
    since.elapsed()
}

/// The API server drops the fields that a definition does not have.
async fn what_prometheus_is_told_is_understood(bed: &Bed, namespace: &Namespace) {
    let get = async |kind: &str| {
        let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind);
        let (resource, _) = pinned_kind(&bed.client(), &kind).await.unwrap();
        let api = Api::<DynamicObject>::namespaced_with(bed.client(), namespace.name(), &resource);
        api.get(RELEASE).await.unwrap().data
    };
    let monitor = get("PodMonitor").await;
    let expected = json!({
        "port": "http", "path": "/metrics", "interval": "30s", "honorLabels": true,
    });
    assert_eq!(monitor["spec"]["podMetricsEndpoints"], json!([expected]));
    let labels = &monitor["spec"]["selector"]["matchLabels"];
    let labels: BTreeMap<String, String> = serde_json::from_value(labels.clone()).unwrap();
    let selected: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let selected = ListParams::default().labels(&selected.join(","));
    let pods = namespace.api::<Pod>().list(&selected).await.unwrap();
    assert_eq!(pods.items.len(), 2, "{labels:?}");

    let rules = get("PrometheusRule").await;
    let file = chart().unwrap().join("alerts/rules.yaml");
    let file = std::fs::read_to_string(file).unwrap();
    let file: Value = serde_saphyr::from_str(&file).unwrap();
    let fields = |groups: &Value| {
        let groups = groups.as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        let fields = rules.map(|rule| {
            let fields = rule.as_object().unwrap().keys().cloned();
            (rule["alert"].clone(), fields.collect::<BTreeSet<_>>())
        });
        fields.collect::<Vec<_>>()
    };
    assert_eq!(fields(&rules["spec"]["groups"]), fields(&file["groups"]));
}

/// By the PodDisruptionBudget, to which `kubectl drain` keeps.
async fn a_drain_leaves_one_of_them(namespace: &Namespace) {
    let budgets = namespace.api::<PodDisruptionBudget>();
    let one_may_go = async || {
        let budget = budgets.get(RELEASE).await?.status.unwrap_or_default();
        Ok((budget.disruptions_allowed == 1).then_some(()))
    };
    until("one of them may go", 4 * HAND_OVER, one_may_go)
        .await
        .unwrap();
    let pods = namespace.api::<Pod>();
    let of_operator = ListParams::default().labels("app.kubernetes.io/name=cassandra-backup");
    let both = pods.list(&of_operator).await.unwrap().items;
    let leader = leader(namespace).await.unwrap().unwrap();
    let other = both.iter().map(ResourceExt::name_any);
    let other = other.into_iter().find(|pod| *pod != leader).unwrap();
    let evict = EvictParams::default();
    pods.evict(&other, &evict).await.unwrap();
    // kube tries again for a while where it is told 429, as `kubectl drain` does.
    match pods.evict(&leader, &evict).await {
        Err(kube::Error::Api(refused)) if refused.code == 429 => {}
        refused => {
            refused.unwrap();
            let left = pods.list(&of_operator).await.unwrap().items;
            let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod);
            assert!(left.iter().any(|pod| stays(&pod)), "{left:#?}");
        }
    }
    until("the other one is back", 4 * HAND_OVER, one_may_go)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_operator_goes_on_where_the_one_that_worked_is_killed_or_told_to_end() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("several").await.unwrap();
    definitions::define(&bed, definitions::PROMETHEUS)
        .await
        .unwrap();
    let enabled = json!({"enabled": true});
    let two = json!({
        "replicas": 2, "networkPolicy": enabled,
        // Nobody answers there: what is excepted, and the API server, are reached without.
        "proxy": {"http": NOBODY, "https": NOBODY, "except": network::NODE},
        "metrics": {"dashboard": enabled, "podMonitor": enabled, "rules": enabled},
    });
    let parts = one_node(&bed, &namespace, DB, two).await.unwrap();
    what_prometheus_is_told_is_understood(&bed, &namespace).await;
    a_drain_leaves_one_of_them(&namespace).await;

    // A minute's work.
    let slow = json!({"bandwidthPerNode": "140Ki", "keyspaces": ["shop"]});
    back_up(&namespace, "handed-over", DB, STORAGE, slow)
        .await
        .unwrap();
    let uploads = |backup: &CassandraBackup| {
        let nodes = backup.status.iter().flat_map(|status| &status.nodes);
        nodes
            .into_iter()
            .any(|node| node.phase == NodePhase::Uploading)
    };
    resources::reaches(&namespace, "handed-over", "uploads", uploads)
        .await
        .unwrap();
    let pods = namespace.api::<Pod>();
    let at_once = DeleteParams::default().grace_period(0);
    for how in [DeleteParams::default(), at_once] {
        let old = leader(&namespace).await.unwrap().unwrap();
        pods.delete(&old, &how).await.unwrap();
        let took = another_leads(&namespace, &old).await;
        assert!(took <= HAND_OVER, "{took:?}");
    }
    let backup = ended(&namespace, "handed-over").await.unwrap();
    let status = backup.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
    assert_eq!(status.nodes[0].attempt, 1, "{status:#?}");
    let read = Backup::read(&parts.bucket, DB, "handed-over")
        .await
        .unwrap();
    read.verify(&parts.bucket).await.unwrap();
    assert!(parts.cluster.snapshots().unwrap().is_empty());
    namespace.done().await.unwrap();
}
