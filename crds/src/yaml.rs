//! The custom resource definitions as YAML.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

use crate::{BackupStorage, CassandraBackup, CassandraRestore, CronBackup};

/// A custom resource definition and the name of its file.
pub struct CustomResource {
    /// File name, made of the plural name.
    pub file: String,
    /// The definition.
    pub definition: CustomResourceDefinition,
}

impl CustomResource {
    fn of<T: CustomResourceExt>() -> Self {
        let mut definition = T::crd();
        for version in &mut definition.spec.versions {
            let schema = version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut());
            schema.into_iter().for_each(join_lines);
        }
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
        CustomResource::of::<CassandraRestore>(),
        CustomResource::of::<CronBackup>(),
    ]
}

/// Joins the lines of descriptions: they are broken as the source is, and `kubectl explain` would
/// break them again.
fn join_lines(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        let paragraphs: Vec<_> = description
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect();
        *description = paragraphs.join("\n\n");
    }
    let properties = schema
        .properties
        .iter_mut()
        .flat_map(|map| map.values_mut());
    properties.for_each(join_lines);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => join_lines(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(join_lines),
        None => {}
    }
}
