//! What a reader of Cassandra notices of a backup.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Ground, Kind, add};
use crate::bench::latency::{self, Latency, read_during, read_for};
use crate::bench::results::{Case, Sample, Series};
use crate::bench::tools::{Agent, Tool};
use crate::bench::{data, residency};
use crate::host::progress::step;
use crate::host::run::Run;
use crate::parts::cassandra::cql::Session;
use crate::parts::medusa::Speed;
use crate::parts::minio::Minio;

/// The case's name.
pub const NAME: &str = "A reader beside a backup, S3";
/// The reader without a backup.
pub const CONTROL: &str = "no backup";
/// The same again: how much two of the same differ.
pub const AGAIN: &str = "no backup, again";
/// The rate of [`Agent::Limited`].
const LIMIT: u64 = 50_000_000;

/// Reads beside backups and without.
pub async fn run(ground: &Ground<'_>) -> Result<Case> {
    let session = Arc::new(ground.cassandra.session().await?);
    let window = Duration::from_secs(ground.options.reader_seconds);
    let of_table = (ground.bytes / data::TABLES as u64).max(1);
    let tables = (LIMIT * window.as_secs()).div_ceil(of_table);
    let limited = Agent::Limited((tables as usize).clamp(1, data::TABLES));
    let mut series: Vec<Series> = Vec::new();
    // What is compiled and cached after a while, is so for all.
    step("warm the reader up", read_for(&session, window)).await?;
    for round in 0..ground.options.repeats {
        for name in [CONTROL, AGAIN] {
            let label = format!("{NAME}: {name}, run {}", round + 1);
            let reader = step(label, read_for(&session, window)).await?;
            add(&mut series, name, ("".into(), quiet(reader)));
            if name == AGAIN {
                continue;
            }
            for tool in [
                Tool::Agent(limited),
                Tool::Agent(Agent::Default),
                Tool::Medusa(Speed::Default),
            ] {
                if round >= tool.runs(ground.options.repeats) {
                    continue;
                }
                let label = format!("{NAME}: {}, run {}", tool.name(), round + 1);
                let run = step(label, once(ground, &session, tool, window)).await;
                add(&mut series, tool.name(), run.with_context(|| tool.name())?);
            }
        }
    }
    Ok(Case {
        name: NAME.into(),
        about: format!(
            "Single rows by key, {} a second, for {} s or as long as the backup takes. The S3 \
             server, which would be on another machine, has the lowest priority of CPU and disk.",
            latency::RATE,
            window.as_secs()
        ),
        series,
        bytes: ground.bytes,
        files: ground.files,
        snapshots: Vec::new(),
        imports: Vec::new(),
    })
}

async fn once(
    ground: &Ground<'_>,
    session: &Arc<Session>,
    tool: Tool,
    window: Duration,
) -> Result<(String, Sample)> {
    let place = ground.place(Kind::S3).await?;
    if let Some(minio) = place.minio() {
        step_back(minio).await?;
    }
    residency::cool(&ground.data()?)?;
    let work = ground.once(tool, &place);
    let (reader, (command, mut sample)) = read_during(session, window, work).await?;
    sample.reader = Some(reader);
    Ok((command, sample))
}

/// Gives a server what nobody else wants of CPU and disk.
async fn step_back(minio: &Minio) -> Result<()> {
    let pid = minio.pid().context("MinIO does not run")?.to_string();
    Run::new("chrt")
        .args(["--all-tasks", "--idle", "--pid", "0", &pid])
        .ok()
        .await?;
    Ok(Run::new("ionice")
        .args(["-c", "3", "-P", &pid])
        .ok()
        .await?)
}

fn quiet(reader: Latency) -> Sample {
    Sample {
        reader: Some(reader),
        ..Sample::default()
    }
}
