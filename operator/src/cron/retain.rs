//! The retention of a CronBackup: what is known of its purges, and whether one is due.

use std::sync::Arc;

use crds::{CronBackup, CronBackupStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::events::Event;
use kube::runtime::reflector::ObjectRef;

use super::Guarded;
use super::child::Child;
use crate::context::Context;
use crate::retention::{self, Chore, Ended, Facts, Next, Place};

/// While another purge is at the same place.
const BUSY: SignedDuration = SignedDuration::from_secs(30);

/// What is to be done for retention.
pub(super) struct Retaining {
    next: Next,
    /// A purge that ended, and that no status tells of yet.
    ended: Option<Arc<Ended>>,
    now: Timestamp,
}

impl Retaining {
    /// Looks at what is known, and folds it into the status.
    pub(super) fn look(
        context: &Context,
        cron: &CronBackup,
        children: &[Child],
        status: &mut CronBackupStatus,
        now: Timestamp,
    ) -> Self {
        let chore = context.chores.of(&cron.uid().unwrap_or_default());
        let ended = match &chore {
            Some(Chore::Ended { ended, .. }) => Some(Arc::clone(ended)),
            _ => None,
        };
        if let (Some(ended), Some(_)) = (&ended, &cron.spec.retention) {
            status.retention = Some(retention::told(status.retention.as_ref(), ended));
            let generation = cron.metadata.generation;
            retention::conditions(&mut status.conditions, ended, generation, now);
        }
        let succeeded = children.iter().filter(|child| child.has_succeeded());
        let facts = Facts {
            spec: cron.spec.retention.as_ref(),
            status: status.retention.as_ref(),
            created: cron.creation_timestamp().map_or(now, |created| created.0),
            succeeded: succeeded.filter_map(|child| child.completed).max(),
            active: children.iter().any(Child::is_active),
            running: matches!(chore, Some(Chore::Running)),
        };
        let next = retention::next(&facts, now);
        match next {
            Next::Never => {
                status.retention = None;
                retention::without(&mut status.conditions);
            }
            Next::Running => {}
            _ => {
                let told = status.retention.get_or_insert_default();
                told.next_run_time = next.due().map(Time);
            }
        }
        Self { next, ended, now }
    }

    /// Once the status is written: tells what ended, and starts what is due. Returns when to look
    /// again.
    pub(super) fn go_on(
        self,
        context: &Arc<Context>,
        cron: &CronBackup,
        old: &CronBackupStatus,
    ) -> (Option<Event>, Option<SignedDuration>) {
        let uid = cron.uid().unwrap_or_default();
        let mut event = None;
        if let Some(ended) = &self.ended {
            context.chores.forget(&uid);
            context.metrics.purged(cron, ended);
            event = retention::news(old.retention.as_ref(), ended);
        }
        let mut look = self.next.look().map(|at| at.duration_since(self.now));
        if matches!(self.next, Next::Now { .. }) && !start(context, cron, uid) {
            look = Some(BUSY);
        }
        (event, look)
    }
}

fn start(context: &Arc<Context>, cron: &CronBackup, uid: String) -> bool {
    let spec = &cron.spec.template.spec;
    let namespace = cron.namespace().unwrap_or_default();
    let place = Place {
        namespace: namespace.clone(),
        storage: spec.storage.name.clone(),
        cluster: spec.cluster.clone(),
    };
    let object = ObjectRef::<Guarded>::new(&cron.name_any()).within(&namespace);
    let waker = Arc::clone(context);
    let work = retention::purge(Arc::clone(context), cron.clone());
    let wake = move || waker.cron_wakes.wake(object);
    context.chores.start(uid, place, work, wake)
}
