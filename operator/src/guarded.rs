//! Resources that may be written wrongly.

use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

/// The resource, if it can be read. Else nothing is done about it until somebody has corrected it.
pub(crate) fn readable<K>(object: &DeserializeGuard<K>) -> Option<&K>
where
    K: Resource<DynamicType = ()>,
{
    match &object.0 {
        Ok(resource) => Some(resource),
        Err(invalid) => {
            let (kind, namespace) = (K::kind(&()), object.namespace());
            tracing::warn!(%kind, namespace, resource = object.name_any(), error = %invalid.error, "a resource that cannot be read");
            None
        }
    }
}
