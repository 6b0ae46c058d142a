//! What schedules may ask for: that a later backup replaces one that is still at work, that failed ones are
//! tried again and forgotten, and what of an outage is made up for.

use std::collections::BTreeSet;

use super::*;

/// A storage that takes no backup: each fails at once, and no node hears of it.
const READ_ONLY: &str = "read-only";

#[tokio::test(flavor = "multi_thread")]
async fn schedules_replace_try_again_forget_and_catch_up_as_they_are_told() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("policies").await.unwrap();
    let parts = one_node(&bed, &namespace, DB, json!({})).await.unwrap();
    let ground = Ground {
        bed: &bed,
        namespace: &namespace,
        parts,
    };
    let read_only = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": READ_ONLY},
        "spec": {"readOnly": true, "file": {"path": "/backup"}},
    });
    namespace.apply(&read_only.to_string()).await.unwrap();

    tokio::join!(
        the_later_one_replaces(&ground),
        failed_ones_are_tried_again_and_forgotten(&ground)
    );
    two_at_a_time_and_the_last_one_is_kept(&ground).await;
    the_last_time_of_an_outage_is_made_up_for(&ground).await;
    nothing_is_made_while_suspended(&ground).await;
    namespace.done().await.unwrap();
}

/// Each backup takes two minutes, and one is due every minute.
async fn the_later_one_replaces(ground: &Ground<'_>) {
    let spec = json!({"schedule": "* * * * *", "concurrencyPolicy": "Replace"});
    let slow = json!({"cluster": "replaced", "bandwidthPerNode": "60Ki", "keyspaces": ["shop"]});
    ground.apply("eager", spec, slow).await;
    let second = async || {
        let children = ground.children("eager").await;
        let at_work = |child: &&CassandraBackup| {
            let phase = resources::phase(child);
            phase.is_some_and(|phase| phase != BackupPhase::Pending && !phase.is_final())
        };
        assert!(
            children.iter().filter(at_work).count() <= 1,
            "{children:#?}"
        );
        let second = children.get(1).filter(at_work).map(ResourceExt::name_any);
        Ok(second)
    };
    let second = until("the second one is at work", MINUTES, second)
        .await
        .unwrap();
    ground.suspend("eager").await;
    let children = ground.children("eager").await;
    let phase = resources::phase(&children[0]);
    assert_eq!(phase, Some(BackupPhase::Cancelled), "{:#?}", children[0]);
    assert!(children.iter().any(|child| child.name_any() == second));
    let cancel = Patch::Merge(json!({"spec": {"cancel": true}}));
    let backups = ground.namespace.api::<CassandraBackup>();
    for child in &children[1..] {
        let name = child.name_any();
        backups
            .patch(&name, &PatchParams::default(), &cancel)
            .await
            .unwrap();
        ended(ground.namespace, &name).await.unwrap();
    }
    assert!(ground.parts.cluster.snapshots().unwrap().is_empty());
}

async fn failed_ones_are_tried_again_and_forgotten(ground: &Ground<'_>) {
    let spec = json!({
        "schedule": "* * * * *",
        "retry": {"limit": 1, "backoffSeconds": 1},
        "failedBackupsHistoryLimit": 1,
    });
    ground.apply("vain", spec, to_nowhere()).await;
    let first = async || {
        let children = ground.children("vain").await;
        let failed = children.iter().filter(|child| {
            let complete = resources::condition(child, "Complete");
            complete.is_some_and(|(is, reason, _)| (is, reason) == ("False", "StorageReadOnly"))
        });
        let failed: Vec<_> = failed.map(ResourceExt::name_any).collect();
        Ok((failed.len() == 2).then_some(failed))
    };
    let first = until("a backup and its retry have failed", MINUTES, first)
        .await
        .unwrap();
    assert_eq!(first[1], format!("{}-r1", first[0]));

    let forgotten = async || {
        let left: BTreeSet<_> = names(ground, "vain").await;
        let forgotten = first.iter().all(|name| !left.contains(name));
        Ok((forgotten && left.len() == 2).then_some(left))
    };
    let left = until("the first two are gone", MINUTES, forgotten)
        .await
        .unwrap();
    ground.suspend("vain").await;
    // Those of the last time stay, more than one though they are.
    let slot = |name: &String| name.trim_end_matches("-r1").to_owned();
    let slots: BTreeSet<_> = left.iter().map(slot).collect();
    assert_eq!(slots.len(), 1, "{left:?}");
    let vain = ground.namespace.api::<CronBackup>().get("vain").await;
    assert_eq!(
        status(&vain.unwrap()).last_result,
        Some(BackupPhase::Failed)
    );
}

/// Each backup takes more than a minute, and one is due every minute. The later one is made all the same, and waits
/// for the cluster. Of those that succeeded one resource stays, and the data of all.
async fn two_at_a_time_and_the_last_one_is_kept(ground: &Ground<'_>) {
    let spec = json!({
        "schedule": "* * * * *",
        "concurrencyPolicy": "Allow",
        "successfulBackupsHistoryLimit": 1,
    });
    let slow = json!({"cluster": "allowed", "bandwidthPerNode": "110Ki", "keyspaces": ["shop"]});
    ground.apply("crowd", spec, slow).await;
    let two = |cron: &CronBackupStatus| cron.active.len() == 2;
    let cron = ground.reaches("crowd", "has two at work", two).await;
    ground.suspend("crowd").await;
    let [first, second] = &status(&cron).active[..] else {
        panic!("{cron:#?}")
    };
    let second = ended(ground.namespace, second).await.unwrap();
    let phase = resources::phase(&second);
    assert_eq!(phase, Some(BackupPhase::Succeeded), "{:#?}", second.status);
    let backups = ground.namespace.api::<CassandraBackup>();
    let gone = async || Ok(backups.get_opt(first).await?.is_none().then_some(()));
    until("the resource of the first is gone", MINUTES, gone)
        .await
        .unwrap();
    assert!(backups.get_opt(&second.name_any()).await.unwrap().is_some());
    let stored = &second.status.as_ref().unwrap().backup_name;
    let manifests = ground.parts.bucket.list("allowed/manifests").await.unwrap();
    let others: BTreeSet<_> = manifests
        .keys()
        .filter(|key| key.ends_with(".jsonl"))
        .filter_map(|key| key.split('/').nth(2))
        .filter(|name| Some(*name) != stored.as_deref())
        .collect();
    assert_eq!(others.len(), 1, "{manifests:?}");
    let first = others.first().copied().unwrap();
    let backup = Backup::read(&ground.parts.bucket, "allowed", first).await;
    backup.unwrap().verify(&ground.parts.bucket).await.unwrap();
}

/// Minutes have passed, with two other operators, since these were suspended.
async fn nothing_is_made_while_suspended(ground: &Ground<'_>) {
    for name in ["eager", "vain", "crowd"] {
        let crons = ground.namespace.api::<CronBackup>();
        let cron = crons.get(name).await.unwrap();
        assert_eq!(status(&cron).next_schedule_time, None, "{cron:#?}");
        assert_eq!(ready(status(&cron)), Some(("True", "Suspended")));
        let minute = child_name(name, Timestamp::now() - Span::new().minutes(1));
        assert!(!names(ground, name).await.contains(&minute));
    }
}

/// Two times pass while no operator is there; the second of them not long before one is.
async fn the_last_time_of_an_outage_is_made_up_for(ground: &Ground<'_>) {
    for (name, seconds) in [("patient", 59), ("strict", 10)] {
        let spec = json!({"schedule": "* * * * *", "startingDeadlineSeconds": seconds});
        ground.apply(name, spec, to_nowhere()).await;
        ground
            .reaches(name, "is followed", |cron| ready(cron).is_some())
            .await;
    }
    // The last time is dealt with, and none is to pass between the operator's end and the look at the clock.
    let second = Timestamp::now().as_second() % 60;
    let rest = match second {
        5..35 => 0,
        _ => (65 - second) % 60,
    };
    tokio::time::sleep(Duration::from_secs(rest.unsigned_abs())).await;
    ground.parts.operator.stop().await.unwrap();
    let (patient, strict) = (
        names(ground, "patient").await,
        names(ground, "strict").await,
    );
    let minute = Timestamp::now().as_second() / 60;
    let [lost, last] = [1, 2].map(|more| Timestamp::from_second((minute + more) * 60).unwrap());
    let back = last + Span::new().seconds(15);
    let rest = Duration::try_from(back.duration_since(Timestamp::now())).unwrap();
    tokio::time::sleep(rest).await;
    ground.parts.operator.resume().await.unwrap();

    let counted = |least| move |cron: &CronBackupStatus| cron.missed >= least;
    let followed = ground
        .reaches("patient", "has missed one", counted(1))
        .await;
    ground.suspend("patient").await;
    ground
        .reaches("strict", "has missed both", counted(2))
        .await;
    ground.suspend("strict").await;
    assert_eq!(status(&followed).missed, 1, "{followed:#?}");
    let made = names(ground, "patient").await;
    assert!(made.contains(&child_name("patient", last)), "{made:?}");
    assert!(
        !made.contains(&child_name("patient", lost)),
        "{made:?} {patient:?}"
    );
    let made = names(ground, "strict").await;
    for time in [lost, last] {
        let name = child_name("strict", time);
        assert!(!made.contains(&name), "{made:?} {strict:?}");
    }
}

fn to_nowhere() -> Value {
    json!({"storage": {"name": READ_ONLY}})
}

async fn names(ground: &Ground<'_>, schedule: &str) -> BTreeSet<String> {
    let children = ground.children(schedule).await;
    children.iter().map(ResourceExt::name_any).collect()
}
