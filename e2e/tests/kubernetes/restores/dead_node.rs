//! A node that lost its volume gets everything from a helper pod, as docs/restore.md says under "One node".

use std::fs;

use e2e::parts::minio::{Minio, REGION};
use e2e::product::{BUCKET, back_up, ended};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::json;

use super::{DB, Ground, MINUTES, STORAGE};

/// The node.
const LOST: usize = 2;

impl Ground<'_> {
    pub(super) async fn a_node_that_lost_its_volume_starts_with_its_tokens_and_rows(
        &self,
        minio: &Minio,
    ) {
        back_up(self.namespace, "whole", DB, STORAGE, json!({}))
            .await
            .unwrap();
        let backup = ended(self.namespace, "whole").await.unwrap();
        let nodes = backup.status.unwrap().nodes;
        let pod = format!("{DB}-{LOST}");
        let lost = nodes.iter().find(|it| it.pod == pod).unwrap();
        let host_id = lost.host_id.clone().unwrap();
        self.cluster.scale(LOST).await.unwrap();
        for entry in fs::read_dir(self.cluster.volume(LOST)).unwrap() {
            fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }

        let helper = self.helper(minio, &pod).await;
        self.namespace.apply(&helper.to_string()).await.unwrap();
        let done = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|it| it.phase.as_deref());
            assert_ne!(phase, Some("Failed"), "{pod:?}");
            phase == Some("Succeeded")
        };
        let helped = self
            .namespace
            .wait_for("helper", "has ended", MINUTES, done);
        helped.await.map(drop).unwrap();
        self.cluster.scale(3).await.unwrap();
        self.cluster.agree().await.unwrap();
        self.data.check(&self.cluster).await;
        let log = self.cluster.logs(LOST).await.unwrap();
        assert!(log.contains("Using saved tokens"), "{log}");
        let info = self.cluster.nodetool(LOST, &["info"]).await.unwrap();
        assert!(info.contains(&host_id), "{host_id}: {info}");
        let streams = self.cluster.nodetool(LOST, &["netstats"]).await.unwrap();
        assert!(streams.contains("Not sending any streams."), "{streams}");
    }

    /// The pod of the documentation.
    async fn helper(&self, minio: &Minio, pod: &str) -> serde_json::Value {
        let all = self.namespace.api::<Pod>();
        let all = all.list(&ListParams::default()).await.unwrap();
        let image = |container: &str| {
            let containers = all.iter().filter_map(|pod| pod.spec.as_ref());
            let mut containers = containers.flat_map(|spec| &spec.containers);
            let found = containers.find(|it| it.name == container).unwrap();
            found.image.clone().unwrap()
        };
        let data = json!({"name": "data", "mountPath": "/var/lib/cassandra"});
        let command = [
            "/usr/local/bin/cassandra-backup".to_owned(),
            "restore".into(),
            "--offline".into(),
            "--backup=latest".into(),
            format!("--pod={pod}"),
            format!("--cluster={DB}"),
            "--blob-storage=s3".into(),
            format!("--bucket={BUCKET}"),
            format!("--endpoint={}", minio.endpoint()),
            format!("--region={REGION}"),
            "--path-style".into(),
            "--data-directory=/var/lib/cassandra/data".into(),
            "--state-dir=/tmp".into(),
        ];
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "helper"},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "securityContext": {"runAsUser": 999, "runAsGroup": 999, "fsGroup": 999},
                "initContainers": [{
                    "name": "directory", "image": image("cassandra"), "imagePullPolicy": "Never",
                    "command": ["mkdir", "-p", "/var/lib/cassandra/data"],
                    "volumeMounts": [data],
                }],
                "containers": [{
                    "name": "restore", "image": image("operator"), "imagePullPolicy": "Never",
                    "command": command,
                    "envFrom": [{"secretRef": {"name": STORAGE}}],
                    "volumeMounts": [data, {"name": "tmp", "mountPath": "/tmp"}],
                }],
                "volumes": [
                    {"name": "data", "persistentVolumeClaim": {"claimName": format!("data-{pod}")}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            },
        })
    }
}
