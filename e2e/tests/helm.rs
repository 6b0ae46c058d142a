//! The real helm against the bed's cluster, and our chart as it is shipped.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crds::{BackupPhase, BackupStorage};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Exclusive, Namespace};
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::minio::Minio;
use e2e::parts::{grafana, helm};
use e2e::product::{BUCKET, Operator, back_up, bucket_server, ended, operator, s3_storage};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_is_installed_upgraded_and_removed() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("helm").await.unwrap();
    let chart = tempfile::tempdir().unwrap();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-chart}\n\
                    data: {word: {{ .Values.word | quote }}}\n";
    fs::write(
        chart.path().join("Chart.yaml"),
        "apiVersion: v2\nname: words\nversion: 0.1.0\n",
    )
    .unwrap();
    fs::create_dir(chart.path().join("templates")).unwrap();
    fs::write(chart.path().join("templates/map.yaml"), template).unwrap();

    let maps = namespace.api::<ConfigMap>();
    for word in ["yes", "1_000"] {
        let values = format!("word: \"{word}\"\n");
        helm::install(&bed, chart.path(), "words", namespace.name(), &values)
            .await
            .unwrap();
        let data = maps.get("from-chart").await.unwrap().data.unwrap();
        assert_eq!(data["word"], word);
    }
    let rendered = helm::template(chart.path(), "words", "word: other\n")
        .await
        .unwrap();
    assert!(rendered.contains("word: \"other\""), "{rendered}");

    fs::write(
        chart.path().join("templates/map.yaml"),
        "{{ fail \"not today\" }}",
    )
    .unwrap();
    let broken = helm::install(&bed, chart.path(), "words", namespace.name(), "").await;
    let error = format!("{:#}", broken.unwrap_err());
    assert!(error.contains("not today"), "{error}");

    helm::uninstall(&bed, "words", namespace.name())
        .await
        .unwrap();
    assert!(maps.get_opt("from-chart").await.unwrap().is_none());
    namespace.done().await.unwrap();
}

/// The chart as it was on 2026-11-27 before custom times of Google came, packed by helm.
fn chart_before() -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    fixtures.join("chart-before.tgz")
}

/// Whether the definition of a BackupStorage has a field that came after [`chart_before`].
async fn knows_touch(definitions: &Api<CustomResourceDefinition>) -> bool {
    let name = "backupstorages.cassandrabackup.io";
    let definition = definitions.get(name).await.unwrap();
    let text = serde_json::to_string(&definition).unwrap();
    text.contains("daysSinceCustomTime")
}

/// The others are kept away: this operator watches every namespace.
#[tokio::test(flavor = "multi_thread")]
async fn our_chart_with_its_defaults_backs_up_another_namespace_and_its_definitions_outlive_it() {
    let alone = Exclusive::wait().await.unwrap();
    let bed = alone.acquire().await.unwrap();
    let definitions = Api::<CustomResourceDefinition>::all(bed.client());
    let names: Vec<_> = crds::custom_resources()
        .iter()
        .map(|one| one.definition.name_any())
        .collect();
    for name in &names {
        // Left by others, who are gone with all their resources.
        let _ = definitions.delete(name, &DeleteParams::default()).await;
        let gone = async || Ok(definitions.get_opt(name).await?.is_none().then_some(()));
        until("the definition is gone", Duration::from_secs(60), gone)
            .await
            .unwrap();
    }
    let namespace = bed.namespace("cassandra").await.unwrap();
    let own = bed.namespace("operator").await.unwrap();
    own.restrict().await.unwrap();
    let (minio, _) = bucket_server().await.unwrap();
    let options = Options {
        replicas: 1,
        ..Options::new("db")
    };
    let (cluster, installed) = tokio::join!(Cluster::start(&bed, &namespace, options), async {
        // First as it was some time ago: an upgrade brings the definitions up to date.
        Operator::install_from(&bed, &own, &chart_before(), json!({})).await?;
        assert!(!knows_touch(&definitions).await);
        Operator::install_with(&bed, &own, json!({})).await
    });
    let (_cluster, _operator) = (cluster.unwrap(), installed.unwrap());
    assert!(knows_touch(&definitions).await);
    s3_storage(&namespace, "main", &minio, BUCKET, minio.root())
        .await
        .unwrap();
    back_up(&namespace, "first", "db", "main", json!({}))
        .await
        .unwrap();
    let status = ended(&namespace, "first").await.unwrap().status.unwrap();
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
    it_trusts_whom_the_chart_names(&bed, &namespace, &own, minio).await;

    helm::uninstall(&bed, operator::RELEASE, own.name())
        .await
        .unwrap();
    for name in &names {
        assert!(definitions.get_opt(name).await.unwrap().is_some(), "{name}");
    }
    assert!(ended(&namespace, "first").await.is_ok());
    namespace.done().await.unwrap();
    own.done().await.unwrap();
}

/// From now on the bucket has a certificate that nobody knows, and the BackupStorage says nothing of it.
async fn it_trusts_whom_the_chart_names(
    bed: &Bed,
    namespace: &Namespace,
    own: &Namespace,
    mut minio: Minio,
) {
    let made = rcgen::generate_simple_self_signed([minio.address().ip().to_string()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    minio.secure(&certificate, &key).await.unwrap();
    s3_storage(namespace, "main", &minio, BUCKET, minio.root())
        .await
        .unwrap();
    let ready = async |wanted: &str| {
        let is = |storage: &BackupStorage| {
            let conditions = storage.status.iter().flat_map(|it| &it.conditions);
            let mut ready = conditions.filter(|it| it.type_ == "Ready");
            ready.any(|it| it.status == wanted)
        };
        let what = format!("has Ready {wanted}");
        let waited = namespace.wait_for("main", &what, Duration::from_secs(180), is);
        waited.await.map(drop).unwrap();
    };
    ready("False").await;
    let corporate = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corporate"},
        "data": {"ca.crt": certificate},
    });
    own.apply(&corporate.to_string()).await.unwrap();
    let named = json!({"caCertificates": {"configMap": "corporate"}});
    Operator::install_with(bed, own, named).await.unwrap();
    ready("True").await;
}

/// All that the chart can make, but for the definitions, which are in the folder `crds` as they are.
const EVERYTHING: &str = r#"
image: {repository: registry.example.org/backup/cassandra-backup, tag: "1.2.3"}
imagePullSecrets: [pull]
watchNamespaces: [shop, crm]
secretNames: [backup-keys]
crds: {install: false}
serviceAccount: {annotations: {example.org/role: keeper}}
replicas: 2
networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {team: monitoring}}}]}
metrics:
  podMonitor: {enabled: true, labels: {release: prometheus}}
  rules:
    enabled: true
    labels: {release: prometheus}
    alertLabels: {team: data, severity: page}
    disabled: [CassandraBackupNotVerified]
    recoveryPointHours: 200
    runbookUrl: https://docs.example.org/runbooks/
proxy: {https: "http://proxy.example.org:3128", except: .example.org}
caCertificates: {configMap: corporate}
env: [{name: RUST_BACKTRACE, value: "1"}]
tolerations: [{key: infra, operator: Exists}]
nodeSelector: {infra: "true"}
priorityClassName: high
commonLabels: {owner: data, release: of-all, app.kubernetes.io/name: "is not changed"}
podLabels: {app.kubernetes.io/instance: "is not changed", zone: a}
commonAnnotations: {example.org/change: "1"}
"#;

/// `INSTA_UPDATE=always cargo test --workspace --test helm rendered` writes them anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_rendered_is_what_was_looked_at() {
    let chart = operator::chart().unwrap();
    let defaults = "crds: {install: false}\n";
    for (name, values) in [("defaults", defaults), ("everything", EVERYTHING)] {
        let rendered = helm::template(&chart, operator::RELEASE, values).await;
        insta::assert_snapshot!(name, rendered.unwrap());
    }
    // The dashboard as it is in the chart.
    let values = "crds: {install: false}\nmetrics: {dashboard: {enabled: true}}\n";
    let rendered = helm::template(&chart, operator::RELEASE, values)
        .await
        .unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let map = documents
        .iter()
        .find(|one| one["kind"] == "ConfigMap")
        .unwrap();
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let shown = map["data"]["cassandra-backup.json"].as_str().unwrap();
    let file = fs::read_to_string(chart.join("dashboards/cassandra-backup.json")).unwrap();
    assert_eq!(shown, file.trim_end());
    grafana::check(&file).await.unwrap();
    for (right, wrong) in [
        ("\"colorMode\"", "\"colourMode\""),
        ("\"refresh\": 1", "\"refresh\": \"often\""),
    ] {
        assert!(file.contains(right), "{right}");
        grafana::check(&file.replace(right, wrong))
            .await
            .unwrap_err();
    }
    helm::lint(&chart).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_none_are_refused_with_their_names() {
    let chart = operator::chart().unwrap();
    for (values, told) in [
        ("replica: 2", "replica"),
        ("replicas: two", "/replicas"),
        ("replicas: -1", "/replicas"),
        ("image: {repository: \"\"}", "/image/repository"),
        ("image: {pullPolicy: Sometimes}", "/image/pullPolicy"),
        ("watchNamespaces: shop", "/watchNamespaces"),
        ("watchNamespaces: [Shop]", "/watchNamespaces/0"),
        ("secretNames: [a, a]", "/secretNames"),
        ("crds: {keep: maybe}", "/crds/keep"),
        ("podDisruptionBudget: 1", "/podDisruptionBudget"),
        ("networkPolicy: {from: []}", "from"),
        (
            "metrics: {podMonitor: {interval: often}}",
            "/metrics/podMonitor/interval",
        ),
        (
            "metrics: {rules: {disabled: [NoSuchAlert]}}",
            "/metrics/rules/disabled/0",
        ),
        (
            "metrics: {rules: {recoveryPointHours: 0}}",
            "/metrics/rules/recoveryPointHours",
        ),
        (
            "metrics: {rules: {runbookUrl: docs}}",
            "/metrics/rules/runbookUrl",
        ),
        ("proxy: {https: \"proxy:3128\"}", "/proxy/https"),
        ("caCertificates: {secret: x}", "secret"),
        ("env: [{value: x}]", "/env/0"),
        ("commonLabels: {a: 1}", "/commonLabels/a"),
    ] {
        let refused = helm::template(&chart, operator::RELEASE, values).await;
        let error = format!("{:#}", refused.expect_err(values));
        assert!(error.contains(told), "{values}: {error}");
    }
    let accounts = "serviceAccount: {create: false}";
    let refused = helm::template(&chart, operator::RELEASE, accounts).await;
    let error = format!("{:#}", refused.unwrap_err());
    assert!(error.contains("serviceAccount.name is needed"), "{error}");
}
