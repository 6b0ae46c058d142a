//! What was measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::latency::Latency;
use super::measure::Cost;
use super::residency::Change;

/// One run of one tool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Time, CPU, memory.
    pub cost: Cost,
    /// Requests that the S3 server answered, by kind.
    pub requests: BTreeMap<String, u64>,
    /// What it did to the page cache.
    pub pages: Option<Change>,
    /// How the reader beside it fared.
    pub reader: Option<Latency>,
    /// The agent's phases and their seconds, as it tells them itself; nothing of other tools.
    pub phases: Vec<(String, f64)>,
    /// Seconds of the agent from its first phase until Cassandra's snapshot was there.
    #[serde(default)]
    pub until_snapshot: Option<f64>,
}

impl Sample {
    /// Seconds of one of the agent's phases.
    pub fn phase(&self, name: &str) -> Option<f64> {
        let phase = self.phases.iter().find(|(phase, _)| phase == name);
        phase.map(|(_, seconds)| *seconds)
    }
}

/// All runs of one tool in one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series {
    /// The tool.
    pub tool: String,
    /// Its command line, with names for what differs from machine to machine.
    pub command: String,
    /// Its runs.
    pub samples: Vec<Sample>,
}

impl Series {
    /// The median of what `of` says of each run; nothing where no run says it.
    pub fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        median(self.samples.iter().filter_map(of).collect())
    }

    /// Seconds.
    pub fn wall(&self) -> Option<f64> {
        self.median(|sample| Some(sample.cost.wall))
    }

    /// CPU seconds.
    pub fn cpu(&self) -> Option<f64> {
        self.median(|sample| Some(sample.cost.cpu))
    }

    /// The most memory that any run needed, in bytes.
    pub fn most_rss(&self) -> Option<u64> {
        self.samples.iter().map(|sample| sample.cost.rss).max()
    }
}

/// One case: tools side by side on the same data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Its name in the report.
    pub name: String,
    /// What the data was and what happened.
    pub about: String,
    /// The tools.
    pub series: Vec<Series>,
    /// Bytes of the data.
    pub bytes: u64,
    /// Files of the data.
    pub files: u64,
    /// Seconds of bare calls on the same node: `takeSnapshot` and `clearSnapshot`.
    pub snapshots: Vec<(f64, f64)>,
    /// Seconds of bare calls of `importNewSSTables`, one a table.
    #[serde(default)]
    pub imports: Vec<f64>,
}

impl Case {
    /// Seconds of the bare imports of all tables; nothing where they were not measured.
    pub fn import(&self) -> Option<f64> {
        median(self.imports.clone())
    }

    /// Seconds of a bare `takeSnapshot`; nothing where it was not measured.
    pub fn take_snapshot(&self) -> Option<f64> {
        median(self.snapshots.iter().map(|(taken, _)| *taken).collect())
    }

    /// Seconds of a bare `clearSnapshot`.
    pub fn clear_snapshot(&self) -> Option<f64> {
        median(self.snapshots.iter().map(|(_, cleared)| *cleared).collect())
    }

    /// The runs of a tool.
    pub fn of(&self, tool: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.tool == tool)
    }
}

/// Everything of one run of the benchmarks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Machine and versions: name and value.
    pub facts: Vec<(String, String)>,
    /// Repeats that were asked for.
    pub repeats: usize,
    /// Seconds that all of it took.
    pub seconds: f64,
    /// The cases.
    pub cases: Vec<Case>,
}

impl Results {
    /// A case by its name.
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }
}

/// The middle of the values, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }
}
