//! Kernel settings that the programs of the bed change for the whole machine: remembered before,
//! put back afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes the present values of `names` to `file`.
pub fn remember(file: &Path, names: &[&str]) -> Result<()> {
    let values: BTreeMap<_, _> = names
        .iter()
        .filter_map(|name| Some((*name, fs::read_to_string(path(name)).ok()?)))
        .collect();
    let unfinished = file.with_extension("new");
    fs::write(&unfinished, serde_json::to_vec_pretty(&values)?)?;
    Ok(fs::rename(unfinished, file)?)
}

/// Puts back what [`remember`] has written to `file`, and removes the file.
pub fn put_back(file: &Path) -> Result<()> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let values: BTreeMap<String, String> = serde_json::from_slice(&text)?;
    for (name, before) in values {
        let path = path(&name);
        if fs::read_to_string(&path).is_ok_and(|now| now != before) {
            fs::write(&path, &before)
                .with_context(|| format!("could not set {name} back to {}", before.trim()))?;
        }
    }
    Ok(fs::remove_file(file)?)
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}
