//! Names and ids that are a function of the resource, so that no restart makes others.

use crds::MAX_NAME_LENGTH;
use uuid::Uuid;

/// Name of the backup in the storage: what the user chose, or name and uid of the resource. A
/// resource made anew has another uid and never meets the manifests of the old one.
pub(crate) fn backup_name(chosen: Option<&str>, resource: &str, uid: &str) -> String {
    if let Some(name) = chosen {
        return name.to_owned();
    }
    let digits: String = uid
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(8)
        .collect();
    let room = MAX_NAME_LENGTH - 1 - digits.len();
    // Resource names are ASCII.
    let resource: String = resource.chars().take(room).collect();
    format!("{resource}-{digits}")
}

/// Id of a node's run.
pub(crate) fn run_id(uid: &str, pod: &str) -> Uuid {
    Uuid::new_v5(&namespace(uid), pod.as_bytes())
}

/// Id of a node's run for one step of several.
pub(crate) fn step_run_id(uid: &str, pod: &str, step: &str) -> Uuid {
    // A pod's name has no '/'.
    run_id(uid, &format!("{pod}/{step}"))
}

fn namespace(uid: &str) -> Uuid {
    uid.parse()
        .unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_OID, uid.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";

    #[test]
    fn the_name_in_storage_is_the_chosen_one_or_name_and_uid() {
        assert_eq!(backup_name(Some("b1"), "nightly", UID), "b1");
        assert_eq!(backup_name(None, "nightly", UID), "nightly-1b4e28ba");
        let long = backup_name(None, &"n".repeat(253), UID);
        assert_eq!(long.len(), MAX_NAME_LENGTH);
        assert!(long.ends_with("-1b4e28ba"));
    }

    #[test]
    fn run_ids_are_stable_and_differ_by_pod_and_backup() {
        let id = run_id(UID, "c-0");
        assert_eq!(id, run_id(UID, "c-0"));
        assert_ne!(id, run_id(UID, "c-1"));
        assert_ne!(id, run_id("2b4e28ba-2fa1-11d2-883f-0016d3cca427", "c-0"));
    }
}
