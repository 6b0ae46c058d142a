//! What a trial stands on: a Cassandra cluster with an operator beside it, and storages that the
//! pods reach.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Operator, s3_storage};
use crate::backup::Storage;
use crate::bed::{Bed, Namespace};
use crate::parts::cassandra::cluster::Cluster;
use crate::parts::cassandra::manifests::{Mount, Options};
use crate::parts::cassandra::rows::Rows;
use crate::parts::filesystem::{Filesystem, Kind};
use crate::parts::minio::Minio;
use crate::parts::network;

/// The bucket of [`bucket_server`].
pub const BUCKET: &str = "backups";
/// The BackupStorage of [`one_node`].
pub const STORAGE: &str = "bucket";
/// Where pods see the disk of [`shared_disk`].
pub const DISK: &str = "/backup";

/// Starts a cluster and, at the same time, an operator that watches its namespace.
pub async fn start<'n>(
    bed: &Bed,
    namespace: &'n Namespace,
    options: Options,
) -> Result<(Cluster<'n>, Operator<'n>)> {
    tokio::try_join!(
        Cluster::start(bed, namespace, options),
        Operator::install(bed, namespace)
    )
}

/// One node of Cassandra with an operator beside it, and a bucket that the BackupStorage [`STORAGE`] is.
pub struct OneNode<'n> {
    /// The cluster.
    pub cluster: Cluster<'n>,
    /// The operator.
    pub operator: Operator<'n>,
    /// The server of the bucket.
    pub minio: Minio,
    /// The bucket [`BUCKET`].
    pub bucket: Storage,
}

/// Starts them, the cluster with this name and 8 MB in `shop.orders`. The operator watches the namespace,
/// and has `values` of the chart besides.
pub async fn one_node<'n>(
    bed: &Bed,
    namespace: &'n Namespace,
    name: &str,
    mut values: Value,
) -> Result<OneNode<'n>> {
    let (minio, bucket) = bucket_server().await?;
    let options = Options {
        replicas: 1,
        ..Options::new(name)
    };
    values["watchNamespaces"] = json!([namespace.name()]);
    let (cluster, operator) = tokio::try_join!(
        Cluster::start(bed, namespace, options),
        Operator::install_with(bed, namespace, values)
    )?;
    s3_storage(namespace, STORAGE, &minio, BUCKET, minio.root()).await?;
    let rows = Rows::new("shop", "orders").with_bytes(20_000);
    let session = cluster.session().await?;
    rows.create(&session, "dc1", 1).await?;
    rows.write(&session, 0..400).await?;
    Ok(OneNode {
        cluster,
        operator,
        minio,
        bucket,
    })
}

/// Starts an S3 server that pods reach, with the bucket [`BUCKET`]; and that bucket as a test sees
/// it.
pub async fn bucket_server() -> Result<(Minio, Storage)> {
    let minio = Minio::start(network::NODE.parse()?).await?;
    minio.bucket(BUCKET).await?;
    let bucket = Storage::bucket(minio.client(), BUCKET);
    Ok((minio, bucket))
}

/// Mounts a disk of its own, and says how every pod is to see it: as one volume that all share.
pub async fn shared_disk(
    bed: &Bed,
    namespace: &Namespace,
    bytes: u64,
) -> Result<(Filesystem, Mount)> {
    let folder = bed.ground().dir("filesystems")?;
    let disk = Filesystem::mount(&folder, namespace.name(), Kind::Ext4, bytes).await?;
    let mount = Mount {
        name: "backup".into(),
        host: disk.path().to_owned(),
        path: DISK.into(),
    };
    Ok((disk, mount))
}
