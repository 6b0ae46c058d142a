//! The page of all fields of all resources, from their definitions.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Below these, fields are as Kubernetes has them everywhere.
const ELSEWHERE: [&str; 2] = ["podSelector", "conditions"];

pub(super) fn page() -> String {
    let mut page = String::from(
        "# Fields\n\n\
         All fields of all resources of `cassandrabackup.io/v1alpha1`, as `kubectl explain` has them. **Bold** ones must be\n\
         given, or something in them. What they are good for is told with examples in\n\
         [backup-storage.md](backup-storage.md), [cassandra-backup.md](cassandra-backup.md), [cassandra-restore.md](cassandra-restore.md) and\n\
         [cron-backup.md](cron-backup.md). This page is made from the code by `cargo generate`.\n",
    );
    for resource in crds::custom_resources() {
        let definition = resource.definition.spec;
        let names = definition.names;
        let _ = writeln!(page, "\n## {}", names.kind);
        let short = names.short_names.unwrap_or_default().join(", ");
        let versions = definition.versions.into_iter();
        for schema in versions.filter_map(|version| version.schema?.open_api_v3_schema) {
            let about = schema.description.clone().unwrap_or_default();
            let short = match short.as_str() {
                "" => String::new(),
                short => format!(" (short: `{short}`)"),
            };
            let _ = writeln!(
                page,
                "{about}{short}\n\n| field | type | default | |\n|---|---|---|---|"
            );
            for part in ["spec", "status"] {
                let part_of = schema
                    .properties
                    .iter()
                    .flatten()
                    .find(|(name, _)| *name == part);
                if let Some((name, schema)) = part_of {
                    fields(&mut page, name, schema);
                }
            }
        }
    }
    page
}

/// A row for each field below `path`.
fn fields(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let shown = if required.contains(name) {
            format!("**`{path}`**")
        } else {
            format!("`{path}`")
        };
        let default = field.default.as_ref().map(|value| value.0.to_string());
        // A whole object says no more than its fields do.
        let default = default.filter(|text| !text.starts_with('{'));
        let default = default.map_or(String::new(), |text| format!("`{text}`"));
        let about = field.description.as_deref().unwrap_or_default();
        let about = about.replace("\n\n", " ").replace('|', "\\|");
        let _ = writeln!(
            page,
            "| {shown} | {} | {default} | {about} |",
            type_of(field)
        );
        if ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        match items(field) {
            Some(item) => fields(page, &format!("{path}[]"), item),
            None => fields(page, &path, field),
        }
    }
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(items) => items.first(),
    }
}

/// What may stand there, for people.
fn type_of(schema: &JSONSchemaProps) -> String {
    if let Some(values) = &schema.enum_ {
        let values = values.iter().filter(|value| !value.0.is_null());
        let values: Vec<_> = values
            .map(|value| format!("`{}`", value.0.as_str().unwrap_or_default()))
            .collect();
        return values.join(", ");
    }
    if let Some(item) = items(schema) {
        return format!("list of {}", type_of(item));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &schema.additional_properties {
        return format!("{} by name", type_of(value));
    }
    match (schema.type_.as_deref(), schema.format.as_deref()) {
        (Some("string"), Some("date-time")) => "time".into(),
        (Some(kind), _) => kind.into(),
        (None, _) => String::new(),
    }
}
