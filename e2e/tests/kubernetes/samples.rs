//! The samples, as GitOps applies them again and again: the second time changes nothing, also after the
//! operator has seen them.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crds::{BackupStorage, CassandraBackup, CassandraRestore, CronBackup};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::parts::{binaries, kubectl};
use e2e::product::Operator;
use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

const SAMPLES: &str = "crds/samples";

/// Kind, name, generation and version of an object, and its conditions.
type Seen = (String, String, Option<i64>, Option<String>, Value);

#[tokio::test(flavor = "multi_thread")]
async fn applying_a_sample_twice_changes_nothing() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("samples").await.unwrap();
    let operator = Operator::install(&bed, &namespace).await.unwrap();
    let samples = samples();
    let names: BTreeSet<String> = samples.iter().map(|sample| name(sample)).collect();
    let all = async |namespace: &Namespace| {
        let mut seen = all(namespace).await;
        // A schedule may make a backup at just this moment.
        seen.retain(|(_, name, ..)| names.contains(name));
        seen
    };
    assert!(samples.len() >= 7, "{samples:?}");
    // What needs a storage comes after it by name.
    for sample in &samples {
        namespace.apply(sample).await.unwrap();
    }
    let told = async || {
        let seen = all(&namespace).await;
        let told = seen
            .iter()
            .all(|(.., conditions)| conditions[0].is_object());
        Ok((told && seen.len() == samples.len()).then_some(()))
    };
    let patience = Duration::from_secs(60);
    until("the operator has told of each", patience, told)
        .await
        .unwrap();
    // Nothing else writes to them.
    operator.stop().await.unwrap();
    let before = all(&namespace).await;
    for sample in &samples {
        namespace.apply(sample).await.unwrap();
    }
    assert_eq!(all(&namespace).await, before);
    for sample in &samples {
        let diff = kubectl::diff(&bed.kubeconfig(), namespace.name(), sample).await;
        assert_eq!(diff.unwrap(), "", "{sample}");
    }
    namespace.done().await.unwrap();
}

fn samples() -> Vec<String> {
    let directory = binaries::workspace().unwrap().join(SAMPLES);
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(fs::read_to_string);
    texts.collect::<Result<_, _>>().unwrap()
}

fn name(sample: &str) -> String {
    let object: Value = serde_saphyr::from_str(sample).unwrap();
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

async fn all(namespace: &Namespace) -> Vec<Seen> {
    let mut seen = of::<BackupStorage>(namespace).await;
    seen.extend(of::<CassandraBackup>(namespace).await);
    seen.extend(of::<CassandraRestore>(namespace).await);
    seen.extend(of::<CronBackup>(namespace).await);
    seen
}

async fn of<K>(namespace: &Namespace) -> Vec<Seen>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + DeserializeOwned,
{
    let list = namespace.api::<K>().list(&ListParams::default()).await;
    let described = list.unwrap().into_iter().map(|object| {
        let value = serde_json::to_value(&object).unwrap();
        (
            K::kind(&()).into_owned(),
            object.name_any(),
            object.meta().generation,
            object.resource_version(),
            value["status"]["conditions"].clone(),
        )
    });
    described.collect()
}
