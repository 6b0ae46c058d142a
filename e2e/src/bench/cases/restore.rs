//! Everything is lost, and comes back to the node that it was on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jmx::cassandra::{ImportOptions, Table};

use super::{Ground, Kind, Place, add, settle};
use crate::bench::bare::curl::{self, Way};
use crate::bench::data::{self, KEYSPACE};
use crate::bench::invocation::Invocation;
use crate::bench::residency;
use crate::bench::results::{Case, Sample, Series};
use crate::bench::tools::{self, Agent, BUCKET, CLUSTER, PARALLEL, Tool};
use crate::host::progress::step;
use crate::parts::medusa::{self, Speed};

/// The case's name.
pub const NAME: &str = "Restore, S3";
/// Ours.
pub const OURS: &str = "cassandra-backup restore";
/// What copies only.
pub const COPY: &str = "curl × 4, only the download";
/// The same with the imports, until all is on the disk, as ours is when it says so.
pub const DURABLE: &str = "curl × 4, the imports, syncfs";
/// Medusa, until it has stopped Cassandra and put the files where they belong.
pub const MEDUSA: &str = "Medusa restore-node";
/// Medusa, until Cassandra answers again.
pub const MEDUSA_UP: &str = "Medusa, until Cassandra answers";

const PATIENCE: Duration = Duration::from_secs(300);

/// One storage, with a backup of each tool and the bare files; restores from it in turns.
pub async fn run(ground: &mut Ground<'_>) -> Result<Case> {
    let place = ground.place(Kind::S3).await?;
    let backup = tools::fresh_name();
    for tool in [
        Tool::Agent(Agent::Default),
        Tool::Curl,
        Tool::Medusa(Speed::Tuned),
    ] {
        let label = format!("{NAME}: {}, the backup", tool.name());
        step(label, ground.backup(tool, &place, &backup)).await?;
    }
    let stored = residency::files(&place.storage)?;
    let (mut series, mut imports): (Vec<Series>, _) = (Vec::new(), Vec::new());
    for round in 1..=ground.options.repeats {
        let label = |tool: &str| format!("{NAME}: {tool}, run {round}");
        empty(ground, &stored).await?;
        let ours = ours(ground, &place, &backup);
        add(&mut series, OURS, step(label(OURS), ours).await?);
        restored(ground)?;

        empty(ground, &stored).await?;
        let bare = bare(ground, &place);
        let (copied, took) = step(label(COPY), bare).await?;
        let mut durable = copied.1.clone();
        let began = Instant::now();
        settle(ground.cassandra.home())?;
        durable.cost.wall += took + began.elapsed().as_secs_f64();
        add(&mut series, COPY, copied);
        add(&mut series, DURABLE, (String::new(), durable));
        imports.push(took);
        restored(ground)?;

        empty(ground, &stored).await?;
        let theirs = theirs(ground, &place, &backup);
        let (command, sample, started) = step(label(MEDUSA), theirs).await?;
        let mut whole = sample.clone();
        whole.cost.wall += started;
        add(&mut series, MEDUSA, (command, sample));
        add(&mut series, MEDUSA_UP, (String::new(), whole));
        restored(ground)?;
    }
    let files = ground.data()?;
    Ok(Case {
        name: NAME.into(),
        about: format!(
            "The rows of {} tables come back to their node, whose tables are empty. Before each run \
             what is stored is out of the page cache. Medusa, tuned, stops Cassandra; its start, and the \
             wait until it answers CQL, is added in the last line.",
            data::TABLES
        ),
        series,
        bytes: data::bytes(&files)?,
        files: files.len() as u64,
        snapshots: Vec::new(),
        imports,
    })
}

/// Empties the tables, with the snapshots that Cassandra makes of them.
async fn empty(ground: &Ground<'_>, stored: &[PathBuf]) -> Result<()> {
    let session = ground.cassandra.session().await?;
    for number in 0..data::TABLES {
        let truncate = format!("TRUNCATE {KEYSPACE}.t{number:02}");
        session.query_unpaged(truncate, ()).await?;
    }
    ground
        .cassandra
        .nodetool(&["clearsnapshot", "--all"])
        .await?;
    residency::cool(stored)?;
    settle(ground.cassandra.home())
}

/// An error unless the node has what was backed up, or nearly so.
fn restored(ground: &Ground<'_>) -> Result<()> {
    let (wanted, found) = (data::bytes(&ground.data()?)?, data::bytes(&live(ground)?)?);
    ensure!(
        found >= wanted / 10 * 9,
        "{found} bytes were restored, of {wanted}"
    );
    Ok(())
}

/// The files of the tables, without those of snapshots.
fn live(ground: &Ground<'_>) -> Result<Vec<PathBuf>> {
    let mut files = residency::files(&ground.cassandra.data().join(KEYSPACE))?;
    files.retain(|path| !path.iter().any(|part| part == "snapshots"));
    Ok(files)
}

async fn ours(ground: &Ground<'_>, place: &Place, backup: &str) -> Result<(String, Sample)> {
    let own = place.own(Tool::Agent(Agent::Default))?;
    let cassandra = &ground.cassandra;
    let invocation = Invocation::new(&ground.programs.agent)
        .args(["restore", "--cluster", CLUSTER, "--backup", backup])
        .args(["--mode", "merge", "--keyspaces", KEYSPACE])
        .args(["--output", "json", "--cql-host", cassandra.address()])
        .args(["--jmx-port", &cassandra.jmx_port().to_string()])
        .arg("--state-dir")
        .arg(&own);
    let invocation = tools::told_storage(invocation, place.target());
    let (sample, _) = ground.measured(&invocation, place).await?;
    Ok((invocation.shown(&ground.names(place, &own)), sample))
}

/// curl fetches the files, and one bare call a table imports them, whose seconds are told apart.
async fn bare(ground: &Ground<'_>, place: &Place) -> Result<((String, Sample), f64)> {
    let own = place.own(Tool::Curl)?;
    let minio = place.minio().context("no S3 server")?;
    // On the file system of the data, as what is imported has to be.
    let into = ground.cassandra.home().join("fetched");
    curl::configure(
        &own,
        &ground.raw,
        Way::Down(&into, KEYSPACE),
        (minio, BUCKET),
        PARALLEL,
    )?;
    let invocation = tools::curls(&own);
    let (sample, _) = ground.measured(&invocation, place).await?;
    let took = import(ground, &into.join(KEYSPACE)).await?;
    fs::remove_dir_all(&into)?;
    Ok(((invocation.shown(&ground.names(place, &own)), sample), took))
}

async fn import(ground: &Ground<'_>, keyspace: &Path) -> Result<f64> {
    let jmx = data::connect(&ground.cassandra).await?;
    let how = ImportOptions {
        copy: false,
        read_all: false,
    };
    let mut took = 0.0;
    for entry in fs::read_dir(keyspace)? {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str());
        let (table, _) = name
            .and_then(|name| name.split_once('-'))
            .with_context(|| format!("{} is not of a table", folder.display()))?;
        let table = Table {
            keyspace: KEYSPACE.to_owned(),
            table: table.to_owned(),
        };
        let began = Instant::now();
        let refused = jmx.import(&table, &[&folder], how, PATIENCE).await?;
        took += began.elapsed().as_secs_f64();
        ensure!(refused.is_empty(), "{refused:?} could not be imported");
    }
    jmx.close().await?;
    Ok(took)
}

/// Medusa; also the seconds until Cassandra answers again.
async fn theirs(
    ground: &mut Ground<'_>,
    place: &Place,
    backup: &str,
) -> Result<(String, Sample, f64)> {
    let own = place.own(Tool::Medusa(Speed::Tuned))?;
    let minio = place.minio().context("no S3 server")?;
    let storage = medusa::Storage::S3(minio, BUCKET);
    let ini = medusa::configure(&own, &ground.cassandra, storage, Speed::Tuned).await?;
    let temporary = ground.cassandra.home().join("medusa");
    let invocation = tools::python(&ground.programs.medusa)
        .arg("--config-file")
        .arg(ini)
        .args(["restore-node", "--in-place", "--keyspace", KEYSPACE])
        .args(["--backup-name", backup, "--temp-dir"])
        .arg(temporary);
    let (sample, _) = ground.measured(&invocation, place).await?;
    let command = invocation.shown(&ground.names(place, &own));
    let began = Instant::now();
    ground.cassandra.restart().await?;
    Ok((command, sample, began.elapsed().as_secs_f64()))
}
