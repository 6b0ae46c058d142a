//! What is refused, before anything is changed: whatever would lose or mix something.

use super::error::OnlineError;
use super::journal::Journal;
use super::state::State;
use super::{Mode, Order, Ready, Step};
use crate::restore::names::is_cassandras_own;
use crate::restore::schema::{self, Kind};

impl Ready<'_> {
    /// Refuses what would lose or mix something, before anything is changed.
    pub(super) async fn check(&mut self) -> Result<(), OnlineError> {
        self.look_for_emptied().await?;
        self.check_journals()?;
        self.check_stage()?;
        self.check_ring().await?;
        let forbidden = self.settings.forbid(&self.schema);
        if !forbidden.is_empty() {
            return Err(OnlineError::Forbidden(forbidden));
        }
        if self.order.step != Step::Finish {
            self.check_cover()?;
            self.check_truncation()?;
        }
        self.check_room()?;
        self.check_tables().await
    }

    /// Whether there is room, once nothing is left of restores that are given up.
    fn check_room(&self) -> Result<(), OnlineError> {
        let cut_off = self.state.is_cut_off() && !self.order.begins_anew();
        if !self.loads() || cut_off {
            return Ok(());
        }
        let others = match self.order.anew {
            true => Journal::staged_by_others(&self.node.facts.directories, &self.id)?,
            false => 0,
        };
        let (free, needed) = (self.plan.free.saturating_add(others), self.plan.peak);
        match needed > free {
            true => Err(OnlineError::NoSpace { free, needed }),
            false => Ok(()),
        }
    }

    /// What was begun on this node before.
    fn check_journals(&mut self) -> Result<(), OnlineError> {
        let data = self.data_directory();
        let gives_up = self.order.anew && self.order.step != Step::Finish;
        let others = Journal::others(data, &self.id)?;
        if let Some(other) = others.first().filter(|_| !gives_up) {
            return Err(other.refused());
        }
        let gives_up = others.iter().map(|it| (it.state.what.clone(), it.stays()));
        self.gives_up = gives_up.collect();
        if self.is_of_other_ring(&self.state) && !self.order.cuts_again(&self.state) {
            return Err(OnlineError::OtherRing);
        }
        let began = self.state.prepared.is_some() || self.state.has_imported();
        let done = self.state.is_done_by(self.order.step, self.order.run);
        match (self.order.step, self.order.mode) {
            // It would empty what other nodes may have imported by now.
            (Step::Prepare, Mode::Replace) if began && !done && !self.order.anew => {
                Err(OnlineError::AlreadyPrepared)
            }
            (Step::Finish, _) if self.state.is_begun() && self.state.loaded.is_none() => {
                Err(OnlineError::NotLoaded)
            }
            _ => Ok(()),
        }
    }

    /// Whether something was imported that was cut to another ring.
    pub(super) fn is_of_other_ring(&self, state: &State) -> bool {
        state.has_imported() && state.is_of_other_ring(&self.node.facts.ring)
    }

    /// A rehearsal is for a node that is there for nothing else.
    fn check_stage(&self) -> Result<(), OnlineError> {
        if self.order.mode != Mode::Rehearse {
            return Ok(());
        }
        if self.order.selection.has_roles() {
            return Err(OnlineError::RehearsesRoles);
        }
        if self.plan.tables.is_empty() {
            return Err(OnlineError::NothingToRehearse);
        }
        if let Some(table) = self.state.at_import().next() {
            return Err(OnlineError::CutOff {
                table: table.clone(),
            });
        }
        if self.state.is_begun() {
            return Ok(());
        }
        let facts = &self.node.facts;
        let nodes = facts.cluster.members.len();
        let keyspaces = facts.schema.iter().filter(|it| it.kind == Kind::Keyspace);
        let keyspaces = keyspaces.map(|it| it.keyspace.clone());
        let own: Vec<_> = keyspaces.filter(|it| !is_cassandras_own(it)).collect();
        if nodes == 1 && own.is_empty() {
            return Ok(());
        }
        Err(OnlineError::NotForRehearsals {
            nodes,
            keyspaces: own,
        })
    }

    async fn check_ring(&self) -> Result<(), OnlineError> {
        let facts = &self.node.facts;
        let nodes = facts.cluster.members.len();
        if self.order.step == Step::All && nodes > 1 && !self.order.dry_run {
            return Err(OnlineError::Steps { nodes });
        }
        if !facts.moving.is_empty() {
            return Err(OnlineError::Moving {
                nodes: facts.moving.clone(),
            });
        }
        let what = match (self.order.step, self.order.mode) {
            (Step::All | Step::Prepare, Mode::Replace) => Some("a truncation"),
            (Step::All | Step::Prepare, Mode::Merge | Mode::Rehearse)
                if !self.schema.before.is_empty() =>
            {
                Some("a change of the schema")
            }
            _ => None,
        };
        if let Some(what) = what.filter(|_| !facts.down.is_empty()) {
            return Err(OnlineError::Down {
                nodes: facts.down.clone(),
                what,
            });
        }
        match self.node.agrees().await? {
            true => Ok(()),
            false => Err(OnlineError::Disagreement),
        }
    }

    /// Whether the backup has all that it should: of all nodes, before any is emptied.
    fn check_cover(&self) -> Result<(), OnlineError> {
        if self.order.allow_degraded {
            return Ok(());
        }
        if let Some(first) = self.plan.left_out.first() {
            return Err(OnlineError::LeftOut {
                count: self.plan.left_out.len(),
                first: first.clone(),
            });
        }
        let ranges = match self.loads() {
            true => self.plan.degraded(),
            false => self.source.ranges_without_a_replica(self.plan.keyspaces()),
        };
        if ranges == 0 {
            return Ok(());
        }
        Err(OnlineError::Degraded {
            nodes: self.source.missing.iter().copied().collect(),
            ranges,
        })
    }

    fn check_truncation(&self) -> Result<(), OnlineError> {
        if self.order.mode != Mode::Replace {
            return Ok(());
        }
        if self.order.selection.has_roles() {
            return Err(OnlineError::ReplacesRoles);
        }
        let alone = self.node.facts.cluster.members.len() == 1;
        if alone || !matches!(self.order.step, Step::All | Step::Prepare) {
            return Ok(());
        }
        let refuse = |what: String| Err(OnlineError::NoAutoSnapshot { what });
        if self.settings.auto_snapshot() != Some(true) {
            return refuse("tables".to_owned());
        }
        let exempt = schema::without_auto_snapshot(&self.node.facts.schema);
        let existing = self.schema.existing.iter();
        let mut exempt = existing.filter(|table| exempt.contains(table));
        exempt.next().map_or(Ok(()), |it| refuse(it.to_string()))
    }

    /// Whether what the journal says of the tables is still so.
    async fn look_for_emptied(&mut self) -> Result<(), OnlineError> {
        for from in self.plan.tables.keys() {
            let Some(since) = self.state.imported_since(from) else {
                continue;
            };
            let into = self.order.selection.target(from);
            let is_there = self.schema.existing.contains(&into);
            let truncated = self.node.facts.truncated.get(&into);
            if !is_there
                || truncated.is_some_and(|it| *it > since)
                || self.node.sstables(&into).await? == 0
            {
                self.emptied.push(from.clone());
            }
        }
        self.emptied.iter().for_each(|it| self.state.forget(it));
        Ok(())
    }

    /// What the tables of the target have.
    async fn check_tables(&mut self) -> Result<(), OnlineError> {
        let into_any = self.order.step == Step::Load && !self.order.dry_run;
        for (from, plan) in &self.plan.tables {
            let table = self.order.selection.target(from);
            if !self.schema.existing.contains(&table) {
                continue;
            }
            let sstables = self.node.sstables(&table).await?;
            if sstables == 0 {
                continue;
            }
            let ours = self.state.imported_since(from).is_some() || plan.sstables == 0;
            if into_any && self.order.mode == Mode::Replace && !ours {
                return Err(OnlineError::NotTruncated { table, sstables });
            }
            self.not_empty.push(table);
        }
        match self.schema.created.first().filter(|_| into_any) {
            None => Ok(()),
            Some(table) => Err(OnlineError::NotPrepared {
                table: table.clone(),
            }),
        }
    }
}

impl Order {
    /// Whether what was cut to another ring may be imported once more, cut to this one. Not by the run
    /// that cut it: the nodes that were loaded before stay as they are. And not after a truncation that
    /// should have left nothing of it.
    fn cuts_again(&self, state: &State) -> bool {
        let again = self.mode == Mode::Merge && !state.was_imported_by(self.run);
        self.begins_anew() || (self.anew && again)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::restore::Which;
    use crate::restore::online::Selection;
    use crate::restore::online::state::Entry;

    const ONE: Uuid = Uuid::from_u128(1);
    const TWO: Uuid = Uuid::from_u128(2);

    fn order(mode: Mode, step: Step, run: Option<Uuid>) -> Order {
        Order {
            which: Which::Named("b1".parse().unwrap()),
            selection: Selection::new(Vec::new(), Vec::new(), Vec::new()).unwrap(),
            mode,
            step,
            allow_degraded: false,
            anew: true,
            run,
            dry_run: false,
            concurrency: 1,
            batch: None,
            bandwidth: None,
        }
    }

    #[test]
    fn what_was_cut_to_another_ring_is_cut_again_by_others_only() {
        let mut state = State::default();
        state.learn(Entry::Importing {
            table: "a.b".parse().unwrap(),
            at: Timestamp::UNIX_EPOCH,
            run: Some(ONE),
        });
        for (mode, step, run, again) in [
            (Mode::Merge, Step::Load, Some(ONE), false),
            (Mode::Merge, Step::Load, Some(TWO), true),
            (Mode::Merge, Step::Load, None, true),
            (Mode::Replace, Step::Load, Some(TWO), false),
            (Mode::Replace, Step::Prepare, Some(TWO), true),
            (Mode::Replace, Step::All, None, true),
            (Mode::Rehearse, Step::All, Some(TWO), false),
        ] {
            let order = order(mode, step, run);
            assert_eq!(order.cuts_again(&state), again, "{mode:?} {step:?} {run:?}");
            let not_said = Order {
                anew: false,
                ..order
            };
            assert!(!not_said.cuts_again(&state));
        }
    }
}
