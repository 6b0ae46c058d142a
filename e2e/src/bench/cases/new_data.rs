//! Everything is new: nothing of it is in the storage, and next to nothing in the page cache.

use anyhow::{Context as _, Result, ensure};

use super::{Ground, Kind, add};
use crate::bench::data;
use crate::bench::residency::{self, Residency};
use crate::bench::results::{Case, Series};
use crate::bench::tools::{Agent, Tool};
use crate::host::progress::step;
use crate::parts::medusa::Speed;

/// Every so many files of the data are in the page cache before a run, to see whether they stay.
const WARM: usize = 20;

/// What may be in the page cache besides: files whose pages another has mapped do not leave.
const SLACK: u64 = 4 << 20;

/// The case's name.
pub fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::S3 => "New data, S3",
        Kind::File => "New data, FILE",
    }
}

/// Tools side by side, each with an empty storage for every run.
pub async fn run(ground: &Ground<'_>, kind: Kind) -> Result<Case> {
    let tools: &[Tool] = match kind {
        Kind::S3 => &[
            Tool::Agent(Agent::Default),
            Tool::Curl,
            Tool::B3sum,
            Tool::Aws,
            Tool::Rclone,
            Tool::Medusa(Speed::Tuned),
            Tool::Medusa(Speed::Default),
        ],
        Kind::File => &[
            Tool::Agent(Agent::Default),
            Tool::Copy,
            Tool::CpR,
            Tool::Medusa(Speed::Tuned),
            Tool::Esop,
        ],
    };
    let jmx = data::connect(&ground.cassandra).await?;
    let mut series: Vec<Series> = Vec::new();
    let mut snapshots = Vec::new();
    for round in 0..ground.options.repeats {
        // Right before our own run, which comes first: what the call takes changes with what the
        // kernel has in its caches.
        snapshots.push(data::bare_snapshot(&jmx).await?);
        for &tool in tools {
            if round >= tool.runs(ground.options.repeats) {
                continue;
            }
            let label = format!("{}: {}, run {}", name(kind), tool.name(), round + 1);
            add(
                &mut series,
                tool.name(),
                step(label, once(ground, kind, tool)).await?,
            );
        }
    }
    jmx.close().await?;
    Ok(Case {
        name: name(kind).into(),
        about: format!(
            "Random values without compression in {} tables. Before each run the storage is empty \
             and the data out of the page cache, but for every {WARM}th file.",
            data::TABLES
        ),
        series,
        bytes: ground.bytes,
        files: ground.files,
        snapshots,
        imports: Vec::new(),
    })
}

async fn once(
    ground: &Ground<'_>,
    kind: Kind,
    tool: Tool,
) -> Result<(String, crate::bench::results::Sample)> {
    let place = ground.place(kind).await?;
    let files = ground.data()?;
    residency::cool(&files)?;
    let warm: Vec<_> = files.iter().step_by(WARM).cloned().collect();
    residency::warm(&warm)?;
    let before = Residency::of(&files).await?;
    let (cold, warm) = (before.total(), data::bytes(&warm)?);
    ensure!(
        cold <= warm + SLACK,
        "{cold} bytes of the data are in the page cache, not {warm}"
    );
    let (command, mut sample) = ground
        .once(tool, &place)
        .await
        .with_context(|| tool.name())?;
    sample.pages = Some(before.change(&Residency::of(&files).await?));
    if tool != Tool::B3sum {
        place.expect(ground.bytes).with_context(|| tool.name())?;
    }
    Ok((command, sample))
}
