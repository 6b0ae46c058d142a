//! What is shown of schedules and their purges.

use crds::{CronBackup, CronBackupStatus};
use jiff::SignedDuration;

use super::labels::Schedule;
use super::{Metrics, is_ready, seconds, set};
use crate::retention::Ended;

impl Metrics {
    /// Shows what the status of a schedule says.
    pub(crate) fn schedule(
        &self,
        cron: &CronBackup,
        old: &CronBackupStatus,
        new: &CronBackupStatus,
    ) {
        let of = Schedule::of(cron);
        let missed = u64::try_from(new.missed - old.missed).unwrap_or(0);
        self.slots_missed.get_or_create(&of).inc_by(missed);
        // What is counted from nothing on is seen to increase.
        if cron.spec.retention.is_some() {
            drop(self.purge_failures.get_or_create(&of));
        }
        let retention = new.retention.as_ref();
        let purged = retention.and_then(|retention| retention.last_successful_time.clone());
        for (times, time) in [
            (&self.purge_success, &purged),
            (&self.next_slot, &new.next_schedule_time),
            (&self.schedule_success, &new.last_successful_time),
            (&self.schedule_verified, &new.last_verified_time),
        ] {
            set(times, &of, time.as_ref().map(|time| seconds(time.0)));
        }
        let ready = is_ready(&new.conditions).unwrap_or(false);
        self.schedule_followed.get_or_create(&of).set(ready.into());
    }

    /// Shows how often a schedule makes backups; `None` if it makes none.
    pub(crate) fn schedule_interval(&self, cron: &CronBackup, interval: Option<SignedDuration>) {
        let interval = interval.map(|interval| interval.as_secs_f64());
        set(&self.interval, &Schedule::of(cron), interval);
    }

    /// Counts what a purge of a schedule did.
    pub(crate) fn purged(&self, cron: &CronBackup, ended: &Ended) {
        let of = Schedule::of(cron);
        let failed = u64::from(!ended.is_success());
        self.purge_failures.get_or_create(&of).inc_by(failed);
        if let Some(purged) = &ended.purged {
            let deleted = purged.expired.len() as u64 + purged.expired_unnamed;
            self.purge_deleted.get_or_create(&of).inc_by(deleted);
            let freed = purged.deleted.bytes;
            self.purge_freed.get_or_create(&of).inc_by(freed);
        }
    }

    /// Shows nothing any more of a schedule that was deleted.
    pub(crate) fn forget_schedule(&self, namespace: &str, name: &str) {
        let of = Schedule {
            namespace: namespace.into(),
            schedule: name.into(),
        };
        self.slots_missed.remove(&of);
        self.next_slot.remove(&of);
        self.interval.remove(&of);
        self.schedule_success.remove(&of);
        self.schedule_verified.remove(&of);
        self.schedule_followed.remove(&of);
        self.purge_success.remove(&of);
        self.purge_deleted.remove(&of);
        self.purge_freed.remove(&of);
        self.purge_failures.remove(&of);
    }
}
