//! Nothing is new: every component is in the storage already.

use anyhow::{Context as _, Result};

use super::{Ground, Kind, Place, add};
use crate::bench::data;
use crate::bench::results::{Case, Series};
use crate::bench::tools::{Agent, Tool};
use crate::host::progress::step;
use crate::parts::medusa::Speed;

/// The case's name.
pub fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::S3 => "Nothing new, S3",
        Kind::File => "Nothing new, FILE",
    }
}

/// Who shares a storage, and what is run there: the first fills it.
fn groups(kind: Kind) -> Vec<Vec<Tool>> {
    let ours = vec![
        Tool::Agent(Agent::Default),
        Tool::Agent(Agent::TouchAfter),
        Tool::BareTouch,
    ];
    let medusa = vec![Tool::Medusa(Speed::Tuned)];
    match kind {
        Kind::S3 => vec![[ours, vec![Tool::BareList]].concat(), medusa],
        Kind::File => vec![ours, medusa, vec![Tool::Esop]],
    }
}

/// Tools side by side, each with a storage that holds a backup of its own already.
pub async fn run(ground: &Ground<'_>, kind: Kind) -> Result<Case> {
    let mut places: Vec<(Vec<Tool>, Place)> = Vec::new();
    for tools in groups(kind) {
        let place = ground.place(kind).await?;
        let label = format!("{}: {}, first backup", name(kind), tools[0].name());
        step(label, ground.once(tools[0], &place))
            .await
            .with_context(|| tools[0].name())?;
        place
            .expect(ground.bytes)
            .with_context(|| tools[0].name())?;
        places.push((tools, place));
    }
    let jmx = data::connect(&ground.cassandra).await?;
    let mut series: Vec<Series> = Vec::new();
    let mut snapshots = Vec::new();
    for round in 0..ground.options.repeats {
        // Right before our own run, which comes first: what the call takes changes with what the
        // kernel has in its caches.
        snapshots.push(data::bare_snapshot(&jmx).await?);
        for (tools, place) in &places {
            for &tool in tools {
                if round >= tool.runs(ground.options.repeats) {
                    continue;
                }
                let label = format!("{}: {}, run {}", name(kind), tool.name(), round + 1);
                let run = step(label, ground.once(tool, place)).await;
                add(&mut series, tool.name(), run.with_context(|| tool.name())?);
            }
        }
    }
    jmx.close().await?;
    Ok(Case {
        name: name(kind).into(),
        about: format!(
            "Small SSTables in {} tables, all of them in the storage from a backup before.",
            data::TABLES
        ),
        series,
        bytes: ground.bytes,
        files: ground.files,
        snapshots,
        imports: Vec::new(),
    })
}
