//! The examples for Argo CD and Flux, by their own definitions.

use std::fs;

use e2e::bed::{Bed, Namespace};
use e2e::parts::definitions::{self, ARGO_CD, FLUX};
use e2e::parts::{binaries, helm, kubectl};
use e2e::product::operator::{RELEASE, chart};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_what_argo_cd_and_flux_take() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("gitops").await.unwrap();
    definitions::define(&bed, ARGO_CD).await.unwrap();
    definitions::define(&bed, FLUX).await.unwrap();
    let examples = [
        (
            "argocd/application.yaml",
            "argocd",
            "/spec/source/helm/valuesObject",
        ),
        ("flux/release.yaml", "flux-system", "/spec/values"),
    ];
    for (file, home, values) in examples {
        let path = binaries::workspace().unwrap().join("gitops").join(file);
        let text = fs::read_to_string(path).unwrap();
        let here = text.replace(
            &format!("namespace: {home}\n"),
            &format!("namespace: {}\n", namespace.name()),
        );
        let told = validate(&bed, &namespace, &here).await.unwrap();
        let taken = told.lines().filter(|line| line.contains("dry run"));
        assert_eq!(taken.count(), text.split("\n---\n").count(), "{told}");
        let wrong = here.replacen("spec:\n", "spec:\n  nobodyKnows: 1\n", 1);
        let refused = validate(&bed, &namespace, &wrong).await;
        let error = format!("{:#}", refused.unwrap_err());
        assert!(error.contains("nobodyKnows"), "{error}");

        // The chart takes the values.
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let mut values = documents.iter().filter_map(|one| one.pointer(values));
        let values = values.next().unwrap().to_string();
        let rendered = helm::template(&chart().unwrap(), RELEASE, &values).await;
        assert!(rendered.unwrap().contains("replicas: 2"), "{values}");
    }
    namespace.done().await.unwrap();
}

async fn validate(bed: &Bed, namespace: &Namespace, yaml: &str) -> anyhow::Result<String> {
    kubectl::validate(&bed.kubeconfig(), namespace.name(), yaml).await
}
