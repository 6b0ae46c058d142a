//! The custom resource definitions as YAML.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{BackupStorage, CassandraBackup};

/// A custom resource definition and the name of its file.
pub struct CustomResource {
    /// File name, made of the plural name.
    pub file: String,
    /// The definition.
    pub definition: CustomResourceDefinition,
}

impl CustomResource {
    fn of<T: CustomResourceExt>() -> Self {
        let definition = T::crd();
        Self {
            file: format!("{}.yaml", definition.spec.names.plural),
            definition,
        }
    }

    /// The file's content.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        let yaml = serde_saphyr::to_string(&self.definition)?;
        Ok(format!(
            "# Generated from the types of the crate crds by `cargo generate`.\n{yaml}"
        ))
    }
}

/// All our kinds.
pub fn custom_resources() -> Vec<CustomResource> {
    vec![
        CustomResource::of::<BackupStorage>(),
        CustomResource::of::<CassandraBackup>(),
    ]
}
