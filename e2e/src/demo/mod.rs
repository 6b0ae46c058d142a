//! The main job, shown: three Cassandra nodes in Kubernetes are backed up to S3, and a fresh
//! Cassandra that has nothing but the storage returns every row.
//!
//! Everything is real and made here: see [`crate::parts`]. Nothing stays but the cache.

mod tree;
mod watch;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use crds::{BackupPhase, CassandraBackup, NodePhase};
use indicatif::HumanBytes;
use serde_json::json;

use crate::backup::restore;
use crate::bed::{Bed, Namespace, table};
use crate::host::progress::step;
use crate::parts::cassandra::manifests::Options;
use crate::parts::cassandra::rows::Rows;
use crate::parts::{binaries, helm, images, minio};
use crate::product::resources::{condition, phase};
use crate::product::{BUCKET, back_up, bucket_server, s3_storage, start};

/// The StatefulSet, and the cluster id in the storage.
const DB: &str = "prod";
/// Rows of the first backup and of both.
const FIRST: i64 = 3000;
const BOTH: i64 = 3300;

/// Shows it all, with what was done and how long it took.
pub async fn run() -> Result<()> {
    let began = Instant::now();
    say(
        "Made here if the cache does not hold it: Kubernetes, Cassandra, MinIO, helm, our image. From nothing Kubernetes\n   and the image take ten minutes each on two cores, MinIO five, helm three",
    );
    let bed = Bed::acquire().await?;
    parts(&bed).await?;
    let made = began.elapsed();

    say("Three Cassandra nodes, the operator by its chart, an S3 server");
    let namespace = bed.namespace("demo").await?;
    let (minio, storage) = bucket_server().await?;
    let (cluster, operator) = start(&bed, &namespace, Options::new(DB)).await?;
    println!("  operator {}", operator.pod().await?);
    let rows = Rows::new("shop", "orders").with_bytes(2000);
    let session = cluster.session().await?;
    rows.create(&session, "dc1", 3).await?;
    step("write rows", rows.write(&session, 0..FIRST)).await?;
    println!("  {FIRST} rows written, acknowledged by all three");

    say("A BackupStorage and a CassandraBackup are applied");
    s3_storage(&namespace, "main", &minio, BUCKET, minio.root()).await?;
    one(&namespace, "first").await?;
    tree::show(&storage, DB).await?;

    say("More rows, and a second backup, which uploads only what is new");
    rows.write(&session, FIRST..BOTH).await?;
    let second = one(&namespace, "second").await?;
    ensure!(
        amounts(&second).is_some_and(|(uploaded, reused)| uploaded > 0 && uploaded < reused),
        "the second backup uploaded more than it reused: {:?}",
        second.status
    );
    for kind in ["backupstorages", "cassandrabackups"] {
        println!("\n  $ kubectl get {kind}");
        for line in table(&bed.client(), namespace.name(), kind).await? {
            println!("  {line}");
        }
    }

    say("The cluster is deleted. Fresh nodes read the rows back from the storage alone");
    drop(session);
    namespace.done().await?;
    let restored = restore::on_host(&storage, DB, "second").await?;
    let session = restored.session().await?;
    step("read every row", rows.check(&session, 0..BOTH)).await?;
    println!("  all {BOTH} rows are there, each with its value");
    println!(
        "\nDone in {:.0?}, {made:.0?} of it for the parts. Nothing is left but the cache.\n\
         Next: your own cluster, as README.md has it; or every test, more than an hour: cargo test",
        began.elapsed()
    );
    Ok(())
}

/// What takes long where nothing is cached, at the same time: some of it uses one core only.
async fn parts(bed: &Bed) -> Result<()> {
    let images = async {
        bed.import(&images::cassandra(Options::new(DB).version).await?)
            .await?;
        let image = images::operator(&binaries::build().await?).await?;
        bed.import(&image).await
    };
    tokio::try_join!(images, minio::ensure(), helm::ensure())?;
    Ok(())
}

/// Makes a backup, shows its nodes until it has ended, and expects it to be whole.
async fn one(namespace: &Namespace, name: &str) -> Result<CassandraBackup> {
    // Slow enough to be watched.
    let more = json!({"bandwidthPerNode": "2Mi"});
    back_up(namespace, name, DB, "main", more).await?;
    let backup = watch::until_the_end(namespace, name).await?;
    let (_, reason, message) = condition(&backup, "Complete").context("no condition Complete")?;
    ensure!(
        phase(&backup) == Some(BackupPhase::Succeeded),
        "the backup {name} is not whole: {reason}: {message}"
    );
    let (uploaded, reused) = amounts(&backup).context("a backup without amounts")?;
    println!(
        "  {name}: {message}; {} uploaded, {} were there already",
        HumanBytes(uploaded),
        HumanBytes(reused)
    );
    Ok(backup)
}

/// Bytes that were uploaded and that were reused.
fn amounts(backup: &CassandraBackup) -> Option<(u64, u64)> {
    let status = backup.status.as_ref()?;
    let done = status
        .nodes
        .iter()
        .all(|node| node.phase == NodePhase::Succeeded);
    let bytes = |amount: &Option<crds::Amount>| u64::try_from(amount.as_ref()?.bytes).ok();
    done.then_some((bytes(&status.uploaded)?, bytes(&status.reused)?))
}

fn say(what: &str) {
    println!("\n{what}");
}
