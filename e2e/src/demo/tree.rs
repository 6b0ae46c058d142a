//! What is in the storage, as a tree that fits on a screen.

use std::collections::BTreeMap;

use anyhow::Result;
use indicatif::HumanBytes;

use crate::backup::Storage;

/// Folders and files of one folder that are shown.
const SHOWN: usize = 2;
/// Levels at which everything is shown: the cluster id, and its folders.
const ALL: usize = 2;

/// A folder: what is in it, and what is below.
#[derive(Default)]
struct Folder {
    folders: BTreeMap<String, Folder>,
    files: BTreeMap<String, u64>,
}

/// Prints what is below the cluster id.
pub(super) async fn show(storage: &Storage, cluster: &str) -> Result<()> {
    let mut root = Folder::default();
    for (key, object) in storage.list(cluster).await? {
        root.add(&key, object.bytes);
    }
    println!("\n  The storage:");
    print!("{}", root.draw(0));
    Ok(())
}

impl Folder {
    fn add(&mut self, key: &str, bytes: u64) {
        match key.split_once('/') {
            Some((folder, rest)) => {
                let folder = self.folders.entry(folder.into()).or_default();
                folder.add(rest, bytes);
            }
            None => drop(self.files.insert(key.into(), bytes)),
        }
    }

    fn count(&self) -> (usize, u64) {
        let below = self.folders.values().map(Self::count);
        below.fold(
            (self.files.len(), self.files.values().sum()),
            |(files, bytes), (more, larger)| (files + more, bytes + larger),
        )
    }

    /// The cluster's own folders whole; of what is below, some, the users' keyspace first, and
    /// only the first of many alike with its content.
    fn draw(&self, depth: usize) -> String {
        let indent = " ".repeat(2 * depth + 4);
        let most = if depth < ALL { usize::MAX } else { SHOWN };
        let mut text = String::new();
        let mut folders: Vec<_> = self.folders.iter().collect();
        folders.sort_by_key(|(name, _)| name.starts_with("system"));
        for (at, (name, folder)) in folders.iter().take(most).enumerate() {
            if at == 0 || depth < ALL {
                text += &format!("{indent}{name}/\n{}", folder.draw(depth + 1));
            } else {
                let (files, bytes) = folder.count();
                text += &format!("{indent}{name}/  {files} objects, {}\n", HumanBytes(bytes));
            }
        }
        let more = folders.iter().skip(most).map(|(_, folder)| folder.count());
        let (files, bytes) = more.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if files > 0 {
            let (left, bytes) = (folders.len() - SHOWN, HumanBytes(bytes));
            text += &format!("{indent}… {left} more folders, {files} objects, {bytes}\n");
        }
        for (name, bytes) in self.files.iter().take(SHOWN) {
            text += &format!("{indent}{name}  {}\n", HumanBytes(*bytes));
        }
        if self.files.len() > SHOWN {
            text += &format!("{indent}… {} more\n", self.files.len() - SHOWN);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_shows_users_data_first_and_counts_what_it_leaves_out() {
        let mut root = Folder::default();
        for keyspace in ["system", "system_auth", "system_schema", "shop"] {
            for file in ["a", "b", "c"] {
                root.add(&format!("prod/data/{keyspace}/{file}"), 1);
            }
        }
        root.add("prod/tokens/b1", 9);
        let drawn = "    prod/
      data/
        shop/
          a  1 B
          b  1 B
          … 1 more
        system/  3 objects, 3 B
        … 2 more folders, 6 objects, 6 B
      tokens/
        b1  9 B
";
        assert_eq!(root.draw(0), drawn);
    }
}
