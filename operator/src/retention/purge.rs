//! One purge of a CronBackup, from the request to the backups that are no more.

use std::sync::Arc;
use std::time::Duration;

use crds::{CronBackup, Retention};
use jiff::Timestamp;
use kube::ResourceExt;
use protocol::{Operation, PurgeLimits, PurgeRequest, RetentionPolicy};

use super::expired;
use super::perform::{Maintained, NotRun, perform};
use super::report::Ended;
use crate::context::Context;

/// Nothing is deleted later than this after the start: what is left is for the next purge. A backup
/// that needs what a killed purge had condemned waits so long.
const DEADLINE: Duration = Duration::from_secs(3600);
/// For an agent to end by itself at the deadline that it was told.
const MARGIN: Duration = Duration::from_secs(300);

/// Purges, and says so in the CassandraBackups whose data is gone.
pub(crate) async fn purge(context: Arc<Context>, cron: CronBackup) -> Ended {
    let began = Timestamp::now();
    let told = attempt(&context, &cron).await;
    let ended = Ended::of(began, told);
    tracing::info!(
        namespace = cron.namespace(), schedule = cron.name_any(),
        result = ?ended.result, reason = %ended.reason, detail = ended.message, "purge ended"
    );
    ended
}

async fn attempt(context: &Context, cron: &CronBackup) -> Result<protocol::Outcome, NotRun> {
    let namespace = cron.namespace().unwrap_or_default();
    let spec = &cron.spec.template.spec;
    let there = expired::there(&context.client, &namespace, spec).await?;
    let known = there.iter().map(|known| known.backup.clone()).collect();
    let request = |storage: Maintained| {
        Operation::Purge(Box::new(PurgeRequest {
            storage: storage.access,
            cluster: spec.cluster.clone(),
            series: Some(cron.name_any()),
            policy: policy(cron.spec.retention.as_ref(), &cron.spec.time_zone),
            limits: PurgeLimits {
                require_own_device: storage.require_own_device,
                ..limits(cron.spec.retention.as_ref())
            },
            dry_run: false,
            known,
        }))
    };
    let outcome = perform(context, &namespace, spec, request, DEADLINE + MARGIN).await?;
    if let Some(purged) = &outcome.purged {
        expired::say(context, &namespace, spec, &there, purged).await;
    }
    Ok(outcome)
}

/// What the resource says, as the agent takes it.
pub(super) fn policy(retention: Option<&Retention>, time_zone: &str) -> RetentionPolicy {
    // Who took retention away meanwhile keeps everything.
    let Some(retention) = retention else {
        return RetentionPolicy::default();
    };
    let count = |count: i32| u32::try_from(count).unwrap_or(0);
    RetentionPolicy {
        keep_last: count(retention.keep_last),
        keep_hourly: count(retention.keep_hourly),
        keep_daily: count(retention.keep_daily),
        keep_weekly: count(retention.keep_weekly),
        keep_monthly: count(retention.keep_monthly),
        keep_yearly: count(retention.keep_yearly),
        keep_within_seconds: retention.within().map(|within| within.as_secs()),
        minimum_complete: count(retention.minimum_complete),
        time_zone: Some(time_zone.to_owned()),
    }
}

fn limits(retention: Option<&Retention>) -> PurgeLimits {
    let hours = retention.and_then(|retention| u64::try_from(retention.grace_hours).ok());
    PurgeLimits {
        grace_seconds: hours.unwrap_or(24) * 3600,
        deadline_seconds: DEADLINE.as_secs(),
        ..PurgeLimits::default()
    }
}
