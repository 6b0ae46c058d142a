//! Resources in the documentation.

use e2e::bed::{Bed, Namespace};
use e2e::parts::binaries;
use kube::api::{Patch, PatchParams, ValidationDirective};
use serde_json::Value;

use super::api;

/// What the documentation has people apply is taken as it stands, with no field that is unknown.
pub async fn ones_are_right(bed: &Bed, namespace: &Namespace) {
    let try_only = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("reader")
    };
    let mut count = 0;
    for (page, text) in documented() {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
            .unwrap_or_else(|error| panic!("{page}: {error}\n{text}"));
        let ours = documents
            .into_iter()
            .filter(|one| one["apiVersion"] == "cassandrabackup.io/v1alpha1");
        for document in ours {
            let text = |field: &str| document.pointer(field).and_then(Value::as_str).unwrap();
            let api = api(bed, namespace, text("/kind"));
            let patch = api
                .patch(text("/metadata/name"), &try_only, &Patch::Apply(&document))
                .await;
            patch.unwrap_or_else(|error| panic!("{page}: {error}\n{document:#}"));
            count += 1;
        }
    }
    assert!(count >= 10, "{count}");
}

/// The pages, each with a block of YAML in it that has resources of ours.
fn documented() -> Vec<(String, String)> {
    let root = binaries::workspace().unwrap();
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let mut pages: Vec<_> = docs.map(|page| page.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|it| it == "md"));
    pages.push(root.join("README.md"));
    let mut blocks = Vec::new();
    for page in pages {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let mut block: Option<(&str, String)> = None;
        for line in std::fs::read_to_string(&page).unwrap().lines() {
            block = match block {
                None if line == "```yaml" => Some(("```", String::new())),
                None if line.ends_with("<<EOF") => Some(("EOF", String::new())),
                None => None,
                Some((end, text)) if line == end => {
                    if text.contains("apiVersion: cassandrabackup.io/") {
                        blocks.push((name.clone(), text));
                    }
                    None
                }
                Some((end, text)) => Some((end, text + line + "\n")),
            };
        }
    }
    blocks
}
