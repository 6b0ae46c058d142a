//! Applying YAML as `kubectl apply --server-side` does.

use anyhow::{Context, Result};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};

/// The field manager of what the bed applies.
const MANAGER: &str = "bed";

/// Applies the objects of a YAML text, in their order. Those that live in namespaces go to
/// `namespace` unless they name another.
pub async fn apply(client: &Client, namespace: Option<&str>, yaml: &str) -> Result<()> {
    for object in parse(yaml)? {
        let named = object
            .metadata
            .name
            .clone()
            .context("an object has no metadata.name")?;
        let types = object
            .types
            .clone()
            .with_context(|| format!("{named} has no kind"))?;
        let described = format!("{} {named}", types.kind);
        let kind = GroupVersionKind::try_from(&types)?;
        let (resource, capabilities) = pinned_kind(client, &kind)
            .await
            .with_context(|| format!("the cluster does not know the kind of {described}"))?;
        let own = object.metadata.namespace.as_deref().or(namespace);
        let api: Api<DynamicObject> = match (capabilities.scope, own) {
            (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
            (Scope::Namespaced, Some(own)) => Api::namespaced_with(client.clone(), own, &resource),
            (Scope::Namespaced, None) => anyhow::bail!("{described} has no metadata.namespace"),
        };
        api.patch(
            &named,
            &PatchParams::apply(MANAGER).force(),
            &Patch::Apply(&object),
        )
        .await
        .with_context(|| format!("could not apply {described}"))?;
    }
    Ok(())
}

/// The documents of a YAML text; empty ones are left out.
fn parse(yaml: &str) -> Result<Vec<DynamicObject>> {
    let objects: Vec<Option<DynamicObject>> =
        serde_saphyr::from_multiple(yaml).context("this is not YAML of Kubernetes objects")?;
    Ok(objects.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_an_object_and_empty_ones_are_none() {
        let yaml = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n# nothing\n---\n\
                    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n";
        let objects = parse(yaml).unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[1].data["data"]["k"], "v");
    }
}
