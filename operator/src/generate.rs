//! Generated files.

use std::path::PathBuf;

use anyhow::Context;

/// Writes each custom resource definition into each of the folders.
pub(crate) fn definitions(folders: &[PathBuf]) -> anyhow::Result<()> {
    for folder in folders {
        for resource in crds::custom_resources() {
            let path = folder.join(&resource.file);
            std::fs::write(&path, resource.to_yaml()?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}
