//! What matters of a pod.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// What matters of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodView {
    pub(crate) name: String,
    pub(crate) uid: String,
    /// On its way out.
    pub(crate) leaving: bool,
    /// Succeeded or Failed: its containers will not run again.
    pub(crate) ended: bool,
    /// All containers say that they can do their work: Cassandra has started.
    pub(crate) ready: bool,
    pub(crate) containers: Vec<ContainerView>,
}

/// What matters of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerView {
    pub(crate) name: String,
    /// Changes each time that the container starts.
    pub(crate) id: Option<String>,
    pub(crate) running: bool,
}

/// Name of Cassandra's container where nobody says another.
const USUAL_CONTAINER: &str = "cassandra";

/// No container to work in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContainerProblem {
    #[error("pod {pod} has no container {wanted}, it has {present}: correct the container's name")]
    Missing {
        pod: String,
        wanted: String,
        present: String,
    },
    #[error("pod {pod} has the containers {present}: name Cassandra's in spec.cassandra.container")]
    Ambiguous { pod: String, present: String },
    #[error("{0}")]
    NotReady(String),
}

impl PodView {
    pub(crate) fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let containers = pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .map(|container| {
                let state = status
                    .and_then(|status| status.container_statuses.as_ref())
                    .and_then(|all| all.iter().find(|one| one.name == container.name));
                ContainerView {
                    name: container.name.clone(),
                    id: state.and_then(|state| state.container_id.clone()),
                    running: state
                        .and_then(|state| state.state.as_ref())
                        .is_some_and(|state| state.running.is_some()),
                }
            });
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            leaving: pod.metadata.deletion_timestamp.is_some(),
            ended: status
                .and_then(|status| status.phase.as_deref())
                .is_some_and(|phase| phase == "Succeeded" || phase == "Failed"),
            ready: status
                .and_then(|status| status.conditions.as_ref())
                .is_some_and(|all| {
                    all.iter()
                        .any(|one| one.type_ == "Ready" && one.status == "True")
                }),
            containers: containers.collect(),
        }
    }

    /// The container of that name, or by default Cassandra's, if it runs.
    pub(crate) fn container(
        &self,
        named: Option<&str>,
    ) -> Result<&ContainerView, ContainerProblem> {
        let by_name = |name: &str| self.containers.iter().find(|one| one.name == name);
        let present = || {
            let names: Vec<_> = self
                .containers
                .iter()
                .map(|one| one.name.as_str())
                .collect();
            names.join(", ")
        };
        let container = match (named, self.containers.as_slice()) {
            (Some(name), _) => by_name(name).ok_or_else(|| ContainerProblem::Missing {
                pod: self.name.clone(),
                wanted: name.to_owned(),
                present: present(),
            })?,
            (None, [only]) => only,
            (None, _) => by_name(USUAL_CONTAINER).ok_or_else(|| ContainerProblem::Ambiguous {
                pod: self.name.clone(),
                present: present(),
            })?,
        };
        if self.leaving {
            return Err(ContainerProblem::NotReady(format!(
                "pod {} is being deleted",
                self.name
            )));
        }
        if !container.running {
            return Err(ContainerProblem::NotReady(format!(
                "container {} of pod {} does not run",
                container.name, self.name
            )));
        }
        Ok(container)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pod(name: &str, containers: &[(&str, bool)]) -> PodView {
        PodView {
            name: name.into(),
            uid: format!("uid-{name}"),
            leaving: false,
            ended: false,
            ready: true,
            containers: containers
                .iter()
                .map(|(name, running)| ContainerView {
                    name: (*name).into(),
                    id: Some(format!("id-{name}")),
                    running: *running,
                })
                .collect(),
        }
    }

    #[test]
    fn the_container_is_the_named_one_or_the_only_one_or_cassandra() {
        let many = pod("c-0", &[("sidecar", true), ("cassandra", true)]);
        assert_eq!(many.container(None).unwrap().name, "cassandra");
        assert_eq!(many.container(Some("sidecar")).unwrap().name, "sidecar");
        let only = pod("c-0", &[("db", true)]);
        assert_eq!(only.container(None).unwrap().name, "db");
        let unclear = pod("c-0", &[("a", true), ("b", true)]);
        let problem = unclear.container(None).unwrap_err();
        assert!(problem.to_string().contains("a, b"), "{problem}");
        assert!(matches!(
            unclear.container(Some("c")),
            Err(ContainerProblem::Missing { .. })
        ));
    }

    #[test]
    fn a_container_that_does_not_run_or_is_leaving_is_not_ready() {
        let stopped = pod("c-0", &[("cassandra", false)]);
        assert!(matches!(
            stopped.container(None),
            Err(ContainerProblem::NotReady(_))
        ));
        let leaving = PodView {
            leaving: true,
            ..pod("c-0", &[("cassandra", true)])
        };
        assert!(matches!(
            leaving.container(None),
            Err(ContainerProblem::NotReady(_))
        ));
    }
}
