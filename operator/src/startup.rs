//! Whether a pod that we made has started, and why not.

use k8s_openapi::api::core::v1::Pod;

/// How far a pod is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Its first container runs.
    Running,
    /// It does not run yet, in the words of who keeps it from that.
    Waits(String),
    /// It will not run any more.
    Ended(String),
}

/// Why the container of that name has ended, or, where none is named, the first that has failed.
pub(crate) fn died(pod: &Pod, container: Option<&str>) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let all = status.container_statuses.unwrap_or_default().into_iter();
    let mut ended = all.filter_map(|one| Some((one.name, one.state?.terminated?)));
    let (name, how) = ended.find(|(name, how)| match container {
        Some(container) => name == container,
        None => how.exit_code != 0,
    })?;
    let why = [how.reason, how.message];
    let why: Vec<_> = why.into_iter().flatten().collect();
    Some(format!(
        "container {name} has ended with exit code {}: {}",
        how.exit_code,
        why.join(": ")
    ))
}

/// How far a pod is.
pub(crate) fn progress(pod: &Pod) -> Progress {
    let status = pod.status.clone().unwrap_or_default();
    let told = |reason: Option<String>, message: Option<String>| {
        let parts: Vec<_> = [reason, message].into_iter().flatten().collect();
        parts.join(": ")
    };
    if let Some("Succeeded" | "Failed") = status.phase.as_deref() {
        return Progress::Ended(told(status.reason, status.message));
    }
    let container = status.container_statuses.unwrap_or_default().into_iter();
    match container.filter_map(|one| one.state).next() {
        Some(state) if state.running.is_some() => return Progress::Running,
        Some(state) => {
            if let Some(waiting) = state.waiting {
                return Progress::Waits(told(waiting.reason, waiting.message));
            }
        }
        None => {}
    }
    let conditions = status.conditions.unwrap_or_default().into_iter();
    let unscheduled = conditions
        .filter(|one| one.type_ == "PodScheduled" && one.status == "False")
        .map(|one| told(one.reason, one.message))
        .next();
    Progress::Waits(unscheduled.unwrap_or_else(|| "it waits for its container".into()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: Value) -> Progress {
        progress(&serde_json::from_value(json!({"status": status})).unwrap())
    }

    #[test]
    fn what_keeps_it_from_starting_is_told_in_the_words_of_who_keeps_it() {
        let state = |state: Value| {
            let status = json!({
                "name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": state,
            });
            json!({"phase": "Pending", "containerStatuses": [status]})
        };
        let running = state(json!({"running": {}}));
        assert_eq!(of(running), Progress::Running);
        let pulls = state(json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such"}}));
        assert_eq!(
            of(pulls),
            Progress::Waits("ImagePullBackOff: no such".into())
        );
        let unscheduled = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"},
        ]});
        assert_eq!(
            of(unscheduled),
            Progress::Waits("Unschedulable: 0/1".into())
        );
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "disk"});
        assert_eq!(of(evicted), Progress::Ended("Evicted: disk".into()));
        assert!(matches!(of(json!({})), Progress::Waits(_)));
    }

    #[test]
    fn a_container_that_died_is_told_also_where_others_go_on() {
        let status = |name: &str, state: Value| {
            json!({
                "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": state,
            })
        };
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let done = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let pod = |state: &Value| {
            let all = [
                status("side", json!({"running": {}})),
                status("cassandra", state.clone()),
            ];
            serde_json::from_value(json!({"status": {"containerStatuses": all}})).unwrap()
        };
        let said = Some("container cassandra has ended with exit code 137: OOMKilled".to_owned());
        assert_eq!(died(&pod(&killed), None), said);
        assert_eq!(died(&pod(&killed), Some("cassandra")), said);
        assert_eq!(died(&pod(&killed), Some("side")), None);
        // Whoever is not named may have done its work.
        assert_eq!(died(&pod(&done), None), None);
        assert!(died(&pod(&done), Some("cassandra")).is_some());
    }
}
