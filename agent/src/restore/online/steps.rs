//! Doing it: prepare, load, finish.

use std::time::Duration;

use jiff::Timestamp;
use jmx::cassandra::{Entities, SnapshotOptions, Tag};

use super::error::OnlineError;
use super::journal::Journal;
use super::load::Load;
use super::node::jmx_table;
use super::state::Entry;
use super::{Mode, Ready, Step};
use crate::bandwidth::Bandwidth;
use crate::restore::hold::Hold;
use crate::restore::{Done, Seen, TableName, schema};

/// How long a snapshot before a truncation may take.
const SNAPSHOT: Duration = Duration::from_secs(3600);

/// Who is told of a restore that is at work.
pub struct Tell<'a> {
    /// How far it is.
    pub seen: &'a (dyn Fn(Seen) + Sync),
    /// What Cassandra is at, which may take long.
    pub say: &'a (dyn Fn(String) + Sync),
    /// What else is to be known.
    pub warn: &'a (dyn Fn(String) + Sync),
}

impl Ready<'_> {
    /// Does it, and tells of it.
    pub async fn run(&self, tell: &Tell<'_>) -> Result<Done, OnlineError> {
        let mut hold = Hold::new(
            self.store,
            &self.cluster,
            &self.source.backup,
            self.source.manifests.clone(),
        );
        hold.take(tell.warn).await?;
        tokio::select! {
            done = self.steps(tell) => done,
            never = hold.renew(tell.warn) => match never {},
        }
    }

    async fn steps(&self, tell: &Tell<'_>) -> Result<Done, OnlineError> {
        let (step, data) = (self.order.step, self.data_directory());
        if step == Step::Finish {
            self.finish().await?;
            Journal::end(data, &self.id)?;
            return Ok(Done::default());
        }
        let mut journal = Journal::open(data, &self.id, &self.peeked, self.order.anew)?;
        self.give_up_others(&mut journal, tell.warn).await?;
        let run = self.order.run;
        if self.emptied.is_empty() && journal.state.is_done_by(step, run) {
            return self.done(Done::default(), step == Step::Load).await;
        }
        if !self.emptied.is_empty() {
            journal.write(Entry::Emptied {
                tables: self.emptied.clone(),
            })?;
        }
        let anew = self.order.begins_anew();
        if step == Step::All && journal.state.loaded.is_some() && !anew {
            // Only its end was cut off.
            let done = self.done(Done::default(), true).await?;
            self.finish().await?;
            Journal::end(data, &self.id)?;
            return Ok(done);
        }
        let ring = self.node.facts.ring.clone();
        // A merge that was done is done again: what was deleted since stays deleted all the same. And
        // what is emptied now has nothing of what was imported before.
        let again = self.order.mode == Mode::Merge && journal.state.loaded.is_some();
        let empties = step != Step::Load && self.empties(&journal);
        let elsewhere = self.is_of_other_ring(&journal.state);
        if again || empties || anew || elsewhere || !journal.state.is_begun() {
            let what = self.source.backup.to_string();
            journal.write(Entry::Begun { what, ring })?;
        } else if journal.state.is_of_other_ring(&ring) {
            journal.write(Entry::Ring { ring })?;
        }
        if step != Step::Load {
            self.prepare(empties, tell.warn).await?;
            let at = Timestamp::now();
            journal.write(Entry::Prepared { at, run })?;
        }
        if step == Step::Prepare {
            return Ok(Done::default());
        }
        let bandwidth = Bandwidth::new(self.order.bandwidth);
        let load = Load {
            store: self.store,
            cluster: &self.cluster,
            source: &self.source,
            node: &self.node,
            plan: &self.plan,
            selection: &self.order.selection,
            id: &self.id,
            run,
            batch: self.order.batch,
            read_all: self.order.mode == Mode::Rehearse,
            concurrency: self.order.concurrency,
            bandwidth: &bandwidth,
            seen: tell.seen,
            say: tell.say,
        };
        if self.order.mode == Mode::Rehearse {
            self.hold_still().await?;
        }
        let done = load.run(&mut journal).await?;
        self.check_that_it_stayed(&journal).await?;
        let done = self.done(done, true).await?;
        journal.unstage(&self.node.facts.directories, &self.id)?;
        let at = Timestamp::now();
        journal.write(Entry::Loaded { at, run })?;
        if step == Step::All {
            self.finish().await?;
            Journal::end(data, &self.id)?;
        }
        Ok(done)
    }

    /// Leaves nothing of other restores that did not end but what they have imported.
    async fn give_up_others(
        &self,
        journal: &mut Journal,
        warn: &(dyn Fn(String) + Sync),
    ) -> Result<(), OnlineError> {
        for other in std::mem::take(&mut journal.given_up) {
            self.node.drop_tombstones_again(&other.state).await?;
            warn(format!(
                "a restore of {} that was begun on this node and did not end is given up: {}",
                other.state.what,
                other.stays()
            ));
        }
        journal.clear_others(&self.node.facts.directories)
    }

    /// What was done; of a rehearsal that is loaded also what the node has now, if that is right.
    async fn done(&self, done: Done, is_loaded: bool) -> Result<Done, OnlineError> {
        let rehearsed = match self.order.mode == Mode::Rehearse && is_loaded {
            true => Some(self.compare().await?),
            false => None,
        };
        Ok(Done { rehearsed, ..done })
    }

    /// Whether the tables are to be emptied first: not again, once something was imported.
    fn empties(&self, journal: &Journal) -> bool {
        let wanted = self.order.mode == Mode::Replace && !self.schema.existing.is_empty();
        wanted && (self.order.anew || !journal.state.has_imported())
    }

    /// Makes what the schema lacks, and empties the tables where that is asked for.
    async fn prepare(
        &self,
        empties: bool,
        warn: &(dyn Fn(String) + Sync),
    ) -> Result<(), OnlineError> {
        if empties {
            self.empty(warn).await?;
        }
        let down = self.node.facts.down_addresses();
        Ok(schema::apply(&self.node.session, &self.schema.before, &down).await?)
    }

    async fn empty(&self, warn: &(dyn Fn(String) + Sync)) -> Result<(), OnlineError> {
        let session = &self.node.session;
        let alone = self.node.facts.cluster.members.len() == 1;
        let tables = &self.schema.existing;
        let tag = format!("before-restore-{}", Timestamp::now().as_millisecond());
        let failed = |_| OnlineError::from(crate::backup::error::Error::Request(tag.clone()));
        let parsed: Tag = tag.parse().map_err(failed)?;
        let entities = Entities::Tables(tables.iter().map(jmx_table).collect());
        let options = SnapshotOptions::default();
        let taken = self
            .node
            .cassandra
            .snapshot(&parsed, &options, &entities, SNAPSHOT);
        taken
            .await
            .map_err(OnlineError::jmx("cannot take a snapshot over JMX"))?;
        warn(format!(
            "what {} had is in snapshot {tag} of this node{}; remove it with `nodetool clearsnapshot -t {tag}`",
            tables
                .iter()
                .map(TableName::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            if alone {
                ""
            } else {
                ", and on the others in the snapshots that Cassandra takes when it truncates"
            },
        ));
        for TableName { keyspace, table } in tables {
            schema::truncate(session, keyspace, table).await?;
        }
        Ok(())
    }

    /// Makes indexes and views, which Cassandra then builds.
    async fn finish(&self) -> Result<(), OnlineError> {
        let down = self.node.facts.down_addresses();
        Ok(schema::apply(&self.node.session, &self.schema.after, &down).await?)
    }

    /// Fails if somebody has emptied a table while it was imported into.
    async fn check_that_it_stayed(&self, journal: &Journal) -> Result<(), OnlineError> {
        let truncated = schema::truncations(&self.node.session).await?;
        let emptied = self.plan.tables.keys().find(|from| {
            let since = journal.state.imported_since(from);
            let at = truncated.get(&self.order.selection.target(from));
            since.is_some_and(|since| at.is_some_and(|at| *at > since))
        });
        match emptied {
            None => Ok(()),
            Some(table) => Err(OnlineError::Emptied {
                table: self.order.selection.target(table),
            }),
        }
    }
}
