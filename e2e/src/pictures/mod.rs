//! `cargo pictures`: the pictures of the README, drawn from what a real cluster shows.
//!
//! Three nodes are backed up by kubectl's plugin on a terminal, and then every minute by a schedule that has its
//! backups proven and old ones purged. What the terminal and `/metrics` showed meanwhile is drawn by two scripts in
//! Python.

mod history;
mod panels;
mod python;
mod terminal;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use crds::BackupStorage;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bed::{Bed, Namespace};
use crate::host::progress::step;
use crate::parts::cassandra::cql::Session;
use crate::parts::cassandra::manifests::Options;
use crate::parts::cassandra::rows::Rows;
use crate::parts::{binaries, kubectl, victoria};
use crate::product::{BUCKET, Operator, bucket_server, operator, s3_storage, start};

/// The StatefulSet, and the cluster id in the storage.
const DB: &str = "prod";
/// How many nodes it has.
const NODES: usize = 3;
/// The BackupStorage.
const STORAGE: &str = "main";
/// The PodTemplate of rehearsals.
const STAGE: &str = "rehearsal";
/// The only table that is rehearsed: one node gets what three have, and would take minutes for all of it.
const REHEARSED: &str = "customers";
/// Rows before the first backup: 128 MB on each node.
const ROWS: i64 = 6400;
/// Where the pictures are in the workspace.
const FOLDER: &str = "docs/pictures";

/// What is looked at, and by whom.
struct Ground<'n> {
    bed: &'n Bed,
    namespace: &'n Namespace,
    operator: Operator<'n>,
    session: Session,
    /// Nearly all of the rows.
    orders: Rows,
    /// For what is needed on the way.
    folder: TempDir,
}

/// Makes both pictures: ten minutes, where everything is in the cache.
pub async fn run() -> Result<()> {
    let bed = Bed::acquire().await?;
    // First: a build beside the backups would be seen in the pictures.
    tokio::try_join!(
        kubectl::ensure(),
        binaries::plugin(),
        victoria::ensure(),
        python::ensure()
    )?;
    let namespace = bed.namespace("shop").await?;
    draw(&bed, &namespace).await?;
    namespace.done().await?;
    println!("{FOLDER}/command-line.svg and {FOLDER}/dashboard.svg are written");
    Ok(())
}

async fn draw(bed: &Bed, namespace: &Namespace) -> Result<()> {
    let (minio, _) = bucket_server().await?;
    let options = Options {
        replicas: NODES,
        ..Options::new(DB)
    };
    let (cluster, operator) = start(bed, namespace, options).await?;
    s3_storage(namespace, STORAGE, &minio, BUCKET, minio.root()).await?;
    // The default is longer than the run.
    let often = json!({"spec": {"probeIntervalSeconds": 60}});
    let storages = namespace.api::<BackupStorage>();
    storages
        .patch(STORAGE, &PatchParams::default(), &Patch::Merge(often))
        .await?;
    cluster.pod_template(STAGE).await?;
    let session = cluster.session().await?;
    let orders = Rows::new("shop", "orders").with_bytes(20_000);
    let rehearsed = Rows::new("shop", REHEARSED);
    orders.create(&session, "dc1", NODES).await?;
    rehearsed.create(&session, "dc1", NODES).await?;
    rehearsed.write(&session, 0..2000).await?;
    step("write rows", orders.write(&session, 0..ROWS)).await?;
    let ground = Ground {
        bed,
        namespace,
        operator,
        session,
        orders,
        folder: tempfile::tempdir()?,
    };
    let commands = async {
        let records = terminal::record(&ground).await?;
        history::schedule(&ground).await?;
        anyhow::Ok(records)
    };
    let reading = step(
        "read what the operator shows, six minutes",
        history::read(&ground),
    );
    let (records, history) = tokio::try_join!(commands, reading)?;
    let pictures = binaries::workspace()?.join(FOLDER);
    fs::create_dir_all(&pictures)?;
    terminal::draw(&records, &pictures.join("command-line.svg")).await?;
    let board = panels::fill(&dashboard()?, &history).await?;
    draw_dashboard(&ground, &board, &pictures.join("dashboard.svg")).await
}

/// The dashboard of the chart.
fn dashboard() -> Result<Value> {
    let file = operator::chart()?.join("dashboards/cassandra-backup.json");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

async fn draw_dashboard(ground: &Ground<'_>, board: &Value, picture: &Path) -> Result<()> {
    let drawn = python::script("dashboard.py")
        .await?
        .arg(picture)
        // Where it keeps what it knows of fonts.
        .env("MPLCONFIGDIR", ground.folder.path())
        .input(board.to_string());
    Ok(step("draw the dashboard", drawn.ok()).await?)
}
