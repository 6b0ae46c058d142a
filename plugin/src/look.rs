//! How a backup or a restore is, as people want to see it: decided here, drawn elsewhere.

use crds::{BackupPhase, CassandraBackup, CassandraRestore, RestorePhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use crate::connection::Job;

/// A backup or a restore at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    pub title: String,
    pub phase: String,
    /// Whether it ended well, once it has ended.
    pub ended: Option<bool>,
    /// Why it is as it is.
    pub why: String,
    /// How its proof is, where one is asked for.
    pub proof: Option<Proof>,
    pub nodes: Vec<NodeLook>,
    pub warnings: Vec<String>,
}

/// What is known of a proof.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// Whether it went well; nothing where it is not known.
    pub good: Option<bool>,
    /// When that was seen first.
    pub since: Option<Time>,
    /// Status, reason and message.
    pub told: String,
}

/// A node's share at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeLook {
    pub pod: String,
    pub phase: String,
    /// Bytes that were sent or fetched, and that are to be.
    pub done: u64,
    pub total: Option<u64>,
    /// Bytes that were in the storage already.
    pub reused: u64,
    /// Reason and message, where it is not just at work.
    pub note: String,
}

impl Look {
    pub fn of(job: &Job) -> Self {
        match job {
            Job::Backup(backup) => Self::of_backup(backup),
            Job::Restore(restore) => Self::of_restore(restore),
        }
    }

    /// Whether it did not end well, or its proof did not.
    pub fn went_wrong(&self) -> bool {
        let proof = self.proof.as_ref().and_then(|it| it.good);
        self.ended == Some(false) || proof == Some(false)
    }

    fn of_backup(backup: &CassandraBackup) -> Self {
        let status = backup.status.clone().unwrap_or_default();
        let phase = status.phase.unwrap_or(BackupPhase::Pending);
        let nodes = status.nodes.iter().map(|node| {
            let bytes = |amount: &Option<crds::Amount>| amount.as_ref().map(|it| whole(it.bytes));
            let reused = bytes(&node.reused).unwrap_or(0);
            NodeLook {
                pod: node.pod.clone(),
                phase: format!("{:?}", node.phase),
                done: bytes(&node.uploaded).unwrap_or(0),
                total: bytes(&node.total).map(|total| total.saturating_sub(reused)),
                reused,
                note: note(node.reason.as_deref(), node.message.as_deref()),
            }
        });
        Self {
            title: format!("CassandraBackup {}", backup.name_any()),
            phase: format!("{phase:?}"),
            ended: phase.is_final().then_some(phase == BackupPhase::Succeeded),
            why: complete(&status.conditions),
            proof: proof(backup),
            nodes: nodes.collect(),
            warnings: warnings(&status.warnings),
        }
    }

    fn of_restore(restore: &CassandraRestore) -> Self {
        let status = restore.status.clone().unwrap_or_default();
        let phase = status.phase.unwrap_or(RestorePhase::Pending);
        let good = matches!(phase, RestorePhase::Succeeded | RestorePhase::Planned);
        let nodes = status.nodes.iter().map(|node| NodeLook {
            pod: node.pod.clone(),
            phase: format!("{:?} {:?}", node.step, node.phase),
            done: node.fetched.as_ref().map_or(0, |it| whole(it.bytes)),
            total: node.plan.as_ref().map(|it| whole(it.total.bytes)),
            reused: 0,
            note: note(node.reason.as_deref(), node.message.as_deref()),
        });
        Self {
            title: format!("CassandraRestore {}", restore.name_any()),
            phase: format!("{phase:?}"),
            ended: phase.is_final().then_some(good),
            why: complete(&status.conditions),
            proof: None,
            nodes: nodes.collect(),
            warnings: warnings(&status.warnings),
        }
    }
}

fn whole(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

/// Phases say what is at work; only other reasons are worth a word.
fn note(reason: Option<&str>, message: Option<&str>) -> String {
    match (reason, message) {
        (None | Some("Running" | "Pending" | "Succeeded"), _) => String::new(),
        (Some(reason), None | Some("")) => reason.to_owned(),
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
    }
}

fn complete(conditions: &[Condition]) -> String {
    let found = conditions.iter().find(|one| one.type_ == "Complete");
    found.map_or(String::new(), |one| match one.message.as_str() {
        "" => one.reason.clone(),
        message => message.to_owned(),
    })
}

/// How the proof of a backup is.
pub fn proof(backup: &CassandraBackup) -> Option<Proof> {
    let conditions = backup.status.iter().flat_map(|it| &it.conditions);
    let found = conditions.into_iter().find(|one| one.type_ == "Verified")?;
    Some(Proof {
        good: match found.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        },
        since: Some(found.last_transition_time.clone()),
        told: format!("{} {}: {}", found.status, found.reason, found.message),
    })
}

fn warnings(warnings: &[crds::NodeWarning]) -> Vec<String> {
    let line = |one: &crds::NodeWarning| format!("{}: {}: {}", one.pod, one.reason, one.message);
    warnings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn backup(status: Value) -> Look {
        let backup = json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
            "metadata": {"name": "b"},
            "spec": {
                "cluster": "prod", "storage": {"name": "main"},
                "cassandra": {"podSelector": {"matchLabels": {"app": "db"}}},
            },
            "status": status,
        });
        Look::of_backup(&serde_json::from_value(backup).unwrap())
    }

    #[test]
    fn a_node_has_sent_so_much_of_what_was_not_there() {
        let amount = |bytes: i64| json!({"files": 1, "bytes": bytes, "size": ""});
        let look = backup(json!({"phase": "Uploading", "nodes": [
            {"pod": "c-0", "phase": "Uploading", "reason": "Running", "message": "", "attempt": 1, "runId": "r",
             "total": amount(100), "uploaded": amount(30), "reused": amount(40)},
            {"pod": "c-1", "phase": "Waiting", "reason": "NoSpace", "message": "the bucket is full", "attempt": 2,
             "runId": "r"},
        ]}));
        assert_eq!(look.ended, None);
        let [first, second] = &look.nodes[..] else {
            panic!("{look:?}")
        };
        assert_eq!((first.done, first.total, first.reused), (30, Some(60), 40));
        assert_eq!(first.note, "");
        assert_eq!(
            (second.total, second.note.as_str()),
            (None, "NoSpace: the bucket is full")
        );
    }

    #[test]
    fn a_proof_is_told_where_there_is_one() {
        let told = |status: &str| {
            let condition = json!({
                "type": "Verified", "status": status, "reason": "RestoreRefused", "message": "no tables",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            let look = backup(json!({"phase": "Succeeded", "conditions": [condition]}));
            assert_eq!(look.ended, Some(true));
            assert_eq!(look.went_wrong(), status == "False");
            let proof = look.proof.unwrap();
            (proof.good, proof.told)
        };
        let (good, words) = told("False");
        assert_eq!(good, Some(false));
        assert_eq!(words, "False RestoreRefused: no tables");
        assert_eq!(told("Unknown").0, None);
        assert_eq!(told("True").0, Some(true));
        assert_eq!(backup(json!({"phase": "Succeeded"})).proof, None);
    }

    #[test]
    fn one_that_nobody_has_looked_at_is_pending_and_a_partial_one_did_not_end_well() {
        assert_eq!(backup(json!({})).phase, "Pending");
        let look = backup(json!({"phase": "PartiallyFailed", "conditions": [{
            "type": "Complete", "status": "False", "reason": "NoSpace", "message": "c-1: the bucket is full",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}));
        assert_eq!(
            (look.ended, look.why.as_str()),
            (Some(false), "c-1: the bucket is full")
        );
        assert!(look.went_wrong());
    }
}
