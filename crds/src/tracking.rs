//! What GitOps tools know their own objects by. What is made of a template must not have it: they would prune it.

use std::collections::BTreeMap;

use crate::GROUP;

/// By these, GitOps tools tell what they own, and delete what they did not make. A key is meant, or
/// a domain with all that is below it.
const TRACKING: &[&str] = &[
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io",
    "config.k8s.io",
    "kapp.k14s.io",
    "kubectl.kubernetes.io/last-applied-configuration",
    "objectset.rio.cattle.io",
    "toolkit.fluxcd.io",
    "helm.sh",
];

/// Labels or annotations of a template without those by which GitOps tools track what they own, and without ours.
pub fn untracked(all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut kept = all.clone();
    kept.retain(|key, _| !tracks(key) && !is_below(key, GROUP));
    kept
}

fn tracks(key: &str) -> bool {
    TRACKING
        .iter()
        .any(|tracking| *tracking == key || is_below(key, tracking))
}

/// Whether a key such as `meta.helm.sh/release-name` is of a domain or one below it.
fn is_below(key: &str, domain: &str) -> bool {
    let of = key.split_once('/').map_or("", |(of, _)| of);
    of == domain
        || of
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::tracks;

    #[test]
    fn what_gitops_tools_track_by_is_known_and_nothing_else() {
        for key in [
            "app.kubernetes.io/instance",
            "argocd.argoproj.io/instance",
            "argocd.argoproj.io/tracking-id",
            "kustomize.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/namespace",
            "helm.sh/chart",
            "meta.helm.sh/release-name",
        ] {
            assert!(tracks(key), "{key}");
        }
        for key in [
            "team",
            "app.kubernetes.io/name",
            "app",
            "nothelm.sh/x",
            "helm.sh",
            "example.org/helm.sh",
        ] {
            let bare = key == "helm.sh";
            assert_eq!(tracks(key), bare, "{key}");
        }
    }
}
