//! The cases, each a question that users have.

pub mod manifest;
pub mod new_data;
pub mod nothing_new;
pub mod reader;
pub mod restore;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use rustix::fs::syncfs;
use serde::Deserialize;
use tempfile::TempDir;

use super::invocation::Invocation;
use super::measure::measure;
use super::results::{Sample, Series};
use super::tools::{BUCKET, Programs, Target, Task, Tool, fresh_name};
use super::{Options, data, residency};
use crate::parts::cassandra::host::HostCassandra;
use crate::parts::minio::Minio;

/// What the cases share: a node with its data, the programs, room for files.
pub struct Ground<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// The programs.
    pub programs: &'a Programs,
    /// The node.
    pub cassandra: HostCassandra,
    /// The files of a snapshot, for tools that know no Cassandra.
    pub raw: PathBuf,
    /// Their bytes.
    pub bytes: u64,
    /// Their number.
    pub files: u64,
    folder: TempDir,
}

/// The kind of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    File,
    /// An S3 server.
    S3,
}

/// A storage of one tool, which goes when this is dropped.
pub struct Place {
    minio: Option<Minio>,
    /// Where the data is.
    storage: PathBuf,
    folder: TempDir,
}

impl<'a> Ground<'a> {
    /// For a node that has its data.
    pub async fn new(
        options: &'a Options,
        programs: &'a Programs,
        cassandra: HostCassandra,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("side-by-side-").tempdir()?;
        let raw = folder.path().join("raw");
        let files = data::link_snapshot(&cassandra, &raw).await?;
        Ok(Self {
            options,
            programs,
            cassandra,
            raw,
            bytes: data::bytes(&files)?,
            files: files.len() as u64,
            folder,
        })
    }

    /// An empty storage.
    pub async fn place(&self, kind: Kind) -> Result<Place> {
        let folder = tempfile::Builder::new()
            .prefix("place-")
            .tempdir_in(self.folder.path())?;
        let storage = folder.path().join("storage");
        fs::create_dir(&storage)?;
        let minio = match kind {
            Kind::File => None,
            Kind::S3 => {
                let minio = Minio::start_in([127, 0, 0, 1].into(), &storage).await?;
                minio.bucket(BUCKET).await?;
                Some(minio)
            }
        };
        // What was removed or written before is no business of the tool that comes.
        settle(folder.path())?;
        Ok(Place {
            minio,
            storage,
            folder,
        })
    }

    /// Backs up by `tool` once. Its command, as the report shows it, and what it cost.
    pub async fn once(&self, tool: Tool, place: &Place) -> Result<(String, Sample)> {
        self.backup(tool, place, &fresh_name()).await
    }

    /// The same, under this name.
    pub async fn backup(&self, tool: Tool, place: &Place, name: &str) -> Result<(String, Sample)> {
        let own = place.own(tool)?;
        let task = Task {
            programs: self.programs,
            cassandra: &self.cassandra,
            raw: &self.raw,
            own: &own,
            target: place.target(),
            name,
        };
        let invocation = tool.invocation(&task).await?;
        let (mut sample, printed) = self.measured(&invocation, place).await?;
        if let Tool::Agent(_) = tool {
            (sample.phases, sample.until_snapshot) = phases(&printed);
        }
        Ok((invocation.shown(&self.names(place, &own)), sample))
    }

    /// What a command cost, with the requests that it made; and what it printed.
    async fn measured(&self, invocation: &Invocation, place: &Place) -> Result<(Sample, String)> {
        let before = place.requests().await?;
        let (cost, printed) = measure(invocation).await?;
        let mut requests = place.requests().await?;
        for (kind, count) in before {
            *requests.entry(kind).or_default() -= count;
        }
        requests.retain(|_, count| *count > 0);
        let sample = Sample {
            cost,
            requests,
            ..Sample::default()
        };
        Ok((sample, printed))
    }

    /// The files of the data: one name each, the live one and the links of snapshots are the same
    /// pages.
    pub fn data(&self) -> Result<Vec<PathBuf>> {
        residency::files(&self.raw.join(data::KEYSPACE))
    }

    fn names(&self, place: &Place, own: &Path) -> Vec<(String, &'static str)> {
        let path = |path: &Path| path.display().to_string();
        let mut names = self.programs.names();
        names.extend([
            (path(own), "$CONFIG"),
            (path(&place.storage), "$STORAGE"),
            (path(&self.raw), "$SNAPSHOT"),
            (path(&self.cassandra.data()), "$DATA"),
            (self.cassandra.address().to_owned(), "$NODE"),
            (self.cassandra.jmx_port().to_string(), "$JMX_PORT"),
        ]);
        names.extend(
            place
                .minio
                .as_ref()
                .map(|minio| (minio.endpoint(), "$ENDPOINT")),
        );
        names
    }
}

impl Place {
    /// As the tools are told it.
    pub fn target(&self) -> Target<'_> {
        match &self.minio {
            Some(minio) => Target::S3(minio),
            None => Target::File(&self.storage),
        }
    }

    /// The server, for S3.
    pub fn minio(&self) -> Option<&Minio> {
        self.minio.as_ref()
    }

    /// An error unless it holds as many bytes as the data has, or nearly so: a tool that stored
    /// nothing was not fast.
    pub fn expect(&self, bytes: u64) -> Result<()> {
        let stored = data::bytes(&residency::files(&self.storage)?)?;
        ensure!(
            stored >= bytes / 10 * 9,
            "{stored} bytes are stored, of a backup of {bytes}"
        );
        Ok(())
    }

    /// A directory for configuration and state of a tool.
    fn own(&self, tool: Tool) -> Result<PathBuf> {
        // Both ways of calling ours share their state, as one user's would.
        let name = match tool {
            Tool::Agent(_) => "agent",
            Tool::Medusa(_) => "medusa",
            _ => "other",
        };
        let own = self.folder.path().join(name);
        fs::create_dir_all(&own)?;
        Ok(own)
    }

    async fn requests(&self) -> Result<std::collections::BTreeMap<String, u64>> {
        match &self.minio {
            Some(minio) => minio.requests().await,
            None => Ok(Default::default()),
        }
    }
}

/// Waits until the disk has what was written and has let go of what was removed.
pub fn settle(folder: &Path) -> Result<()> {
    Ok(syncfs(fs::File::open(folder)?)?)
}

/// Puts a run into the series of its tool.
pub fn add(series: &mut Vec<Series>, name: &str, (command, sample): (String, Sample)) {
    match series.iter_mut().find(|series| series.tool == name) {
        Some(series) => series.samples.push(sample),
        None => series.push(Series {
            tool: name.into(),
            command,
            samples: vec![sample],
        }),
    }
}

/// The agent's phases and the seconds that each took, and those until Cassandra's snapshot was there, from
/// the events that it printed.
fn phases(printed: &str) -> (Vec<(String, f64)>, Option<f64>) {
    #[derive(Deserialize)]
    struct Event {
        time: jiff::Timestamp,
        event: String,
        phase: Option<String>,
        snapshot: Option<Snapshot>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Snapshot {
        ended_at: jiff::Timestamp,
    }
    let events = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok());
    let steps: Vec<_> = events
        .filter(|event| event.phase.is_some() || event.event == "result")
        .collect();
    let ends = steps.iter().skip(1);
    let named = steps.iter().zip(ends).filter_map(|(begin, end)| {
        let took = end.time.duration_since(begin.time).as_secs_f64();
        Some((begin.phase.clone()?, took))
    });
    let snapshot = steps.iter().find_map(|event| event.snapshot.as_ref());
    let until_snapshot = snapshot
        .zip(steps.first())
        .map(|(snapshot, first)| snapshot.ended_at.duration_since(first.time).as_secs_f64());
    (named.collect(), until_snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_each_phase_is_read_from_the_events() {
        let printed = "{\"time\":\"2026-01-01T00:00:01Z\",\"event\":\"started\"}\n\
            {\"time\":\"2026-01-01T00:00:02Z\",\"event\":\"phase\",\"phase\":\"Preparing\"}\n\
            {\"time\":\"2026-01-01T00:00:03.5Z\",\"event\":\"phase\",\"phase\":\"Planning\"}\n\
            {\"time\":\"2026-01-01T00:00:04Z\",\"event\":\"progress\"}\n\
            {\"time\":\"2026-01-01T00:00:05Z\",\"event\":\"result\",\
            \"snapshot\":{\"startedAt\":\"2026-01-01T00:00:02.5Z\",\"endedAt\":\"2026-01-01T00:00:03Z\"}}\n";
        let expected = [("Preparing".to_owned(), 1.5), ("Planning".to_owned(), 1.5)];
        assert_eq!(phases(printed), (expected.to_vec(), Some(1.0)));
        assert_eq!(phases("not json"), (Vec::new(), None));
    }
}
