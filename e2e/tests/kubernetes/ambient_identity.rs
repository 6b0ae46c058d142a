//! A bucket for which no Secret has a key: the Cassandra pods and the maintenance pod have the
//! identities of their service accounts. In a cloud its own webhook brings these into pods; here a policy
//! of the API server does.

use std::time::Duration;

use crds::{BackupStorage, CronBackup};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::minio::{Minio, REGION, Setup, User};
use e2e::product::{BUCKET, bucket_server, start};
use k8s_openapi::api::core::v1::{Namespace as CoreNamespace, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::{Value, json};

const DB: &str = "db";
const STORAGE: &str = "bucket";
const KEEPER: &str = "keeper";
const MINUTES: Duration = Duration::from_secs(180);
/// What the agent in the Cassandra pods needs of a bucket.
const PODS_MAY: &[&str] = &["s3:ListBucket", "s3:GetObject", "s3:PutObject"];
const KEEPER_MAY: &[&str] = &["s3:*"];

/// A user of the server for a service account of the same name.
fn user(account: &str, may: &[&str]) -> User {
    let secret = uuid::Uuid::new_v4().simple().to_string();
    User::allowed(account, &secret, may, &[BUCKET])
}

/// Brings the keys of these users into the pods of their service accounts, and returns when it does.
async fn identities(bed: &Bed, namespace: &Namespace, users: &[User]) {
    let literal = |of: fn(&User) -> &str| {
        let all: Vec<_> = users
            .iter()
            .map(|user| format!("'{}': '{}'", user.name, of(user)))
            .collect();
        format!("{{{}}}[object.spec.serviceAccountName]", all.join(", "))
    };
    let env = |name: &str, value: String| {
        format!("Object.spec.containers.env{{name: '{name}', value: {value}}}")
    };
    let envs = [
        env("AWS_ACCESS_KEY_ID", literal(|user| &user.name)),
        env("AWS_SECRET_ACCESS_KEY", literal(|user| &user.password)),
        env("AWS_REGION", format!("'{REGION}'")),
    ];
    let expression = format!(
        "Object{{spec: Object.spec{{containers: object.spec.containers.map(c, \
         Object.spec.containers{{name: c.name, env: [{}]}})}}}}",
        envs.join(", ")
    );
    let condition = format!(
        "object.metadata.namespace == '{}' && object.spec.serviceAccountName in ['default', '{KEEPER}']",
        namespace.name()
    );
    let (api, name) = (
        "admissionregistration.k8s.io/v1beta1",
        format!("identities-of-{}", namespace.name()),
    );
    // They are of the whole cluster, and go with the namespace.
    let owner = Api::<CoreNamespace>::all(bed.client());
    let owner = owner.get(namespace.name()).await.unwrap();
    let metadata = json!({"name": name, "ownerReferences": [owner.owner_ref(&())]});
    let policy = json!({
        "apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": metadata,
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods"],
            }]},
            "matchConditions": [{"name": "ours", "expression": condition}],
            "reinvocationPolicy": "Never", "failurePolicy": "Fail",
            // The other way, JSONPatch with a list for a value, makes this API server panic.
            "mutations": [{
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": expression},
            }],
        },
    });
    let binding = json!({
        "apiVersion": api, "kind": "MutatingAdmissionPolicyBinding", "metadata": metadata,
        "spec": {"policyName": name},
    });
    bed.apply(&policy.to_string()).await.unwrap();
    bed.apply(&binding.to_string()).await.unwrap();
    let tried = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let tried: Pod = serde_json::from_value(tried).unwrap();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let in_force = async || {
        let pod = namespace.api::<Pod>().create(&dry, &tried).await?;
        let env = pod.spec.and_then(|spec| spec.containers.into_iter().next());
        Ok(env.and_then(|container| container.env).map(|_| ()))
    };
    until("pods have identities", MINUTES, in_force)
        .await
        .unwrap();
}

fn storage(minio: &Minio) -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": STORAGE},
        "spec": {
            "s3": {"bucket": BUCKET, "endpoint": minio.endpoint(), "pathStyle": true},
            "maintenancePod": {"serviceAccountName": KEEPER, "labels": {"team": "db"}},
        },
    })
}

/// Status, reason and message of a condition.
fn condition(storage: &BackupStorage, type_: &str) -> (String, String, String) {
    let conditions = storage.status.iter().flat_map(|status| &status.conditions);
    let found = conditions.into_iter().find(|one| one.type_ == type_);
    let told = |one: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        (one.status.clone(), one.reason.clone(), one.message.clone())
    };
    found.map(told).unwrap_or_default()
}

async fn reaches(
    namespace: &Namespace,
    what: &str,
    is: impl Fn(&BackupStorage) -> bool,
) -> BackupStorage {
    namespace
        .wait_for(STORAGE, what, MINUTES, is)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_keys_is_backed_up_to_by_the_pods_and_looked_after_in_a_pod_of_its_own() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("ambient").await.unwrap();
    let (minio, _) = bucket_server().await.unwrap();
    let users = vec![user("default", PODS_MAY), user(KEEPER, KEEPER_MAY)];
    identities(&bed, &namespace, &users).await;
    let setup = Setup {
        users,
        ..Setup::default()
    };
    minio.set_up(setup).await.unwrap();
    let options = Options {
        replicas: 1,
        ..Options::new(DB)
    };
    let (cluster, operator) = start(&bed, &namespace, options).await.unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(2_000);
    let session = cluster.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..100).await.unwrap();

    // The maintenance pods keep to the strictest standard.
    namespace.restrict().await.unwrap();
    // Nobody has made the account yet.
    namespace.apply(&storage(&minio).to_string()).await.unwrap();
    let waits = reaches(&namespace, "says that its pod cannot be made", |storage| {
        condition(storage, "Deletable").1 == "MaintenancePodNotStarted"
    });
    let (is, _, message) = condition(&waits.await, "Deletable");
    assert_eq!(is, "Unknown");
    assert!(message.contains(KEEPER), "{message}");
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": KEEPER},
    });
    namespace.apply(&account.to_string()).await.unwrap();
    let works = reaches(&namespace, "can be looked after", |storage| {
        condition(storage, "Deletable").0 == "True"
    })
    .await;
    assert_eq!(condition(&works, "Surveyed").0, "True", "{works:#?}");
    assert_eq!(condition(&works, "Ready").0, "True", "{works:#?}");

    backed_up_and_purged(&namespace).await;
    found_again(&namespace).await;

    // What was made for a moment is gone.
    let maintenance = ListParams::default().labels("cassandrabackup.io/maintenance-of");
    let none = async || {
        let left = namespace.api::<Pod>().list(&maintenance).await?;
        Ok(left.items.is_empty().then_some(()))
    };
    until("no maintenance pod is left", MINUTES, none)
        .await
        .unwrap();
    let log = operator.logs().await.unwrap();
    assert!(!log.contains("stays until its deadline"), "{log}");
    namespace.done().await.unwrap();
}

/// A backup by the pods, and a purge by the keeper, which alone may list incomplete uploads.
async fn backed_up_and_purged(namespace: &Namespace) {
    let cron = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
        "metadata": {"name": "nightly"},
        "spec": {
            "schedule": "0 0 1 1 *", "immediate": true, "retention": {"keepLast": 1},
            "template": {"spec": {
                "cluster": DB, "storage": {"name": STORAGE},
                "cassandra": {"podSelector": {"matchLabels": {"app": DB}}},
            }},
        },
    });
    namespace.apply(&cron.to_string()).await.unwrap();
    let purged = |cron: &CronBackup| {
        let retention = cron.status.as_ref().and_then(|it| it.retention.as_ref());
        retention.is_some_and(|it| it.last_result.is_some())
    };
    let cron: CronBackup = namespace
        .wait_for("nightly", "has purged", MINUTES, purged)
        .await
        .unwrap();
    let retention = cron.status.unwrap().retention.unwrap();
    assert!(retention.last_successful_time.is_some(), "{retention:?}");
    assert_eq!(retention.kept_backups, Some(1), "{retention:?}");
}

/// With no resource left, the storage itself says what it has.
async fn found_again(namespace: &Namespace) {
    let storages = namespace.api::<BackupStorage>();
    let import = Patch::Merge(json!({"spec": {"importBackups": true}}));
    storages
        .patch(STORAGE, &PatchParams::default(), &import)
        .await
        .unwrap();
    let imported = reaches(namespace, "has been imported", |storage| {
        condition(storage, "Imported").0 == "True"
    })
    .await;
    let clusters = imported.status.as_ref().map(|it| it.clusters.len());
    assert_eq!(clusters, Some(1), "{}", imported.name_any());
}
