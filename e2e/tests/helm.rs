//! The real helm against the bed's cluster, and our chart as it is shipped.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use crds::BackupPhase;
use e2e::bed::wait::until;
use e2e::bed::{Bed, Exclusive};
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::helm;
use e2e::product::{BUCKET, Operator, back_up, bucket_server, ended, operator, s3_storage};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

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
    let (minio, _) = bucket_server().await.unwrap();
    let options = Options {
        replicas: 1,
        ..Options::new("db")
    };
    let (cluster, installed) = tokio::join!(
        Cluster::start(&bed, &namespace, options),
        Operator::install_with(&bed, &own, json!({}))
    );
    let (_cluster, _operator) = (cluster.unwrap(), installed.unwrap());
    s3_storage(&namespace, "main", &minio, BUCKET, minio.root())
        .await
        .unwrap();
    back_up(&namespace, "first", "db", "main", json!({}))
        .await
        .unwrap();
    let status = ended(&namespace, "first").await.unwrap().status.unwrap();
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");

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
