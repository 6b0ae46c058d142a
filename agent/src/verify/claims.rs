//! What the manifests of other backups say of an object that one of them calls wrong.

use std::collections::{BTreeMap, BTreeSet};

use manifest::{ManifestKey, ObjectKeys, ReadError};
use store::{Key, Store};

use super::check::{Expected, named};
use super::repair::RepairError;
use super::{Finding, Problem};
use crate::read::{ManifestStream, ReadFailure};

/// Those of the objects that are `wrong` which a manifest names as they were found. A manifest that
/// cannot be believed says nothing: nobody can restore from it.
pub(super) async fn agreeing(
    store: &dyn Store,
    manifests: &BTreeMap<ManifestKey, Key>,
    wrong: &BTreeMap<&str, &Finding>,
) -> Result<BTreeSet<String>, RepairError> {
    let mut agreeing = BTreeSet::new();
    for (of, key) in manifests {
        let node = format!("data/{}/", of.host_id);
        let first = wrong.range(node.as_str()..).next();
        if first.is_none_or(|(key, _)| !key.starts_with(&node)) {
            continue;
        }
        match named_so(store, key, of, wrong).await {
            Ok(keys) => agreeing.extend(keys),
            Err(ReadFailure::Store(error)) if !matches!(error, store::Error::NotFound { .. }) => {
                return Err(error.into());
            }
            Err(
                newer @ ReadFailure::Manifest {
                    source: ReadError::Version(_),
                    ..
                },
            ) => return Err(RepairError::Unreadable(newer)),
            Err(_) => {}
        }
    }
    Ok(agreeing)
}

/// Those that one manifest names so, each once.
async fn named_so(
    store: &dyn Store,
    key: &Key,
    of: &ManifestKey,
    wrong: &BTreeMap<&str, &Finding>,
) -> Result<BTreeSet<String>, ReadFailure> {
    let mut manifest = ManifestStream::open(store, key).await?;
    let mut keys = ObjectKeys::new(of.host_id);
    let mut found = BTreeSet::new();
    while let Some(line) = manifest.next().await? {
        for expected in named(&mut keys, &line) {
            let finding = wrong.get(expected.key.as_str());
            if finding.is_some_and(|finding| agrees(&expected, finding)) {
                found.insert(expected.key);
            }
        }
    }
    manifest.end()?;
    Ok(found)
}

/// Whether a manifest expects what was found, as far as was looked.
fn agrees(expected: &Expected, finding: &Finding) -> bool {
    match &finding.problem {
        Problem::Missing => false,
        Problem::Size { found } => expected.bytes == *found,
        Problem::Content { found } => expected.bytes == finding.bytes && expected.blake3 == *found,
    }
}
