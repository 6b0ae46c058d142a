//! The real helm against the bed's cluster.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::fs;

use e2e::bed::Bed;
use e2e::parts::helm;
use k8s_openapi::api::core::v1::ConfigMap;

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
