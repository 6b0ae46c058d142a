//! What a snapshot consists of on disk. The directory is the truth: the call that took the
//! snapshot may return although a table failed, so everything is looked for again here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manifest::{ComponentName, Descriptor};
use serde::Deserialize;

use crate::named::Named;

/// A table as `keyspace` and `table`.
pub type TableName = (String, String);

/// One table of a snapshot, over all data directories.
#[derive(Debug)]
pub struct SnapshotTable {
    /// Keyspace.
    pub keyspace: String,
    /// Name.
    pub table: String,
    /// 32 hex digits of the table id, as the directory has it.
    pub id: String,
    /// `<table>-<id>`.
    pub directory: String,
    /// The snapshot's own `schema.cql` with its directory, where Cassandra writes one. Empty tables
    /// have one too.
    pub schema: Option<(Arc<Path>, SnapshotFile)>,
    /// SSTables of the table and of its secondary indexes.
    pub sstables: Vec<SnapshotSsTable>,
}

/// The files of one SSTable, or one file that is not recognised.
#[derive(Debug)]
pub struct SnapshotSsTable {
    /// Nothing for a file that is not recognised.
    pub descriptor: Option<Descriptor>,
    /// `.<index>` for a secondary index.
    pub index: Option<String>,
    /// Position in the node's data directories.
    pub data_directory: usize,
    /// The directory that holds the files.
    pub path: Arc<Path>,
    /// Its components.
    pub files: Vec<SnapshotFile>,
}

impl SnapshotSsTable {
    /// The component whose file name ends so.
    pub fn file(&self, suffix: &str) -> Option<&SnapshotFile> {
        self.files.iter().find(|file| file.name.ends_with(suffix))
    }

    /// Where one of its files is.
    pub fn path_of(&self, file: &SnapshotFile) -> PathBuf {
        self.path.join(&*file.name)
    }
}

/// A file of a snapshot, with what tells whether it is still the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// File name.
    pub name: Arc<str>,
    /// What `stat` says.
    pub stat: Stat,
}

/// What identifies a file's content without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stat {
    /// Device.
    pub device: u64,
    /// Inode. A snapshot's file shares it with the live file.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
}

/// Why a snapshot on disk is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The file system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A table that must be there is not.
    #[error("the snapshot {tag} has no manifest.json of {keyspace}.{table}: it is incomplete")]
    TableMissing {
        /// Tag.
        tag: String,
        /// Keyspace.
        keyspace: String,
        /// Table.
        table: String,
    },
    /// A data file that Cassandra lists is not there.
    #[error(
        "the snapshot's manifest.json of {keyspace}.{directory} lists {file}, which is missing"
    )]
    FileMissing {
        /// Keyspace.
        keyspace: String,
        /// Directory of the table.
        directory: String,
        /// The data file.
        file: String,
    },
    /// A manifest.json that is not understood.
    #[error("{path} is not understood: {source}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A name that no key can hold.
    #[error("{path} has a name that cannot be stored: it is not valid UTF-8")]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Something that Cassandra does not make.
    #[error(
        "{path} is neither a file nor the directory of an index; remove it if it is not Cassandra's"
    )]
    Unexpected {
        /// The entry.
        path: PathBuf,
    },
}

/// Cassandra's `manifest.json`. 4.1 and later have more fields.
#[derive(Deserialize)]
struct CassandraManifest {
    files: Vec<String>,
}

/// All tables of the snapshot `tag` below `data_directories`, with every table of `expected`.
///
/// Blocks on the file system.
pub fn scan(
    data_directories: &[PathBuf],
    tag: &str,
    expected: &BTreeSet<TableName>,
) -> Result<Vec<SnapshotTable>, ScanError> {
    let mut found = Scan::default();
    for (position, data) in data_directories.iter().enumerate() {
        for (keyspace, keyspace_path) in directories(data)? {
            for (directory, table_path) in directories(&keyspace_path)? {
                let path = table_path.join("snapshots").join(tag);
                if path.is_dir() {
                    found.table(position, &keyspace, &directory, &path)?;
                }
            }
        }
    }
    found.finish(tag, expected)
}

#[derive(Default)]
struct Scan {
    tables: BTreeMap<(String, String), SnapshotTable>,
    complete: BTreeSet<TableName>,
    /// Data files by keyspace, directory and name within the snapshot, as Cassandra lists them.
    listed: Vec<(String, String, String)>,
    /// Files that are there, by [`within`].
    present: Named,
}

impl Scan {
    fn table(
        &mut self,
        position: usize,
        keyspace: &str,
        directory: &str,
        path: &Path,
    ) -> Result<(), ScanError> {
        let (table, id) = directory.rsplit_once('-').unwrap_or((directory, ""));
        let key = (keyspace.to_owned(), directory.to_owned());
        let entry = self.tables.entry(key).or_insert_with(|| SnapshotTable {
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
            id: id.to_owned(),
            directory: directory.to_owned(),
            schema: None,
            sstables: Vec::new(),
        });
        let contents = read_directory(path)?;
        if contents
            .files
            .iter()
            .any(|file| &*file.name == "manifest.json")
        {
            let manifest = path.join("manifest.json");
            let text = std::fs::read(&manifest).map_err(io_error(&manifest))?;
            let listed: CassandraManifest =
                serde_json::from_slice(&text).map_err(|source| ScanError::Manifest {
                    path: manifest,
                    source,
                })?;
            self.complete
                .insert((keyspace.to_owned(), table.to_owned()));
            self.listed.extend(
                listed
                    .files
                    .into_iter()
                    .map(|f| (keyspace.to_owned(), directory.to_owned(), f)),
            );
        }
        let mut groups = vec![(None, path.to_owned(), contents.files)];
        for (name, index_path) in contents.directories {
            if !name.starts_with('.') {
                return Err(ScanError::Unexpected { path: index_path });
            }
            let inner = read_directory(&index_path)?;
            if let Some((_, path)) = inner.directories.into_iter().next() {
                return Err(ScanError::Unexpected { path });
            }
            groups.push((Some(name), index_path, inner.files));
        }
        for (index, path, files) in groups {
            for file in &files {
                let name: &str = &file.name;
                let file = match &index {
                    Some(index) => within(keyspace, directory, &format!("{index}/{name}")),
                    None => within(keyspace, directory, name),
                };
                self.present.insert(&file);
            }
            let path: Arc<Path> = path.into();
            let (schema, sstables) = group(files, index, position, Arc::clone(&path));
            let schema = schema.map(|file| (path, file));
            entry.schema = schema.or(entry.schema.take());
            entry.sstables.extend(sstables);
        }
        Ok(())
    }

    fn finish(
        self,
        tag: &str,
        expected: &BTreeSet<TableName>,
    ) -> Result<Vec<SnapshotTable>, ScanError> {
        if let Some((keyspace, table)) = expected.difference(&self.complete).next() {
            return Err(ScanError::TableMissing {
                tag: tag.to_owned(),
                keyspace: keyspace.clone(),
                table: table.clone(),
            });
        }
        if let Some(missing) = self.listed.into_iter().find(|(keyspace, directory, file)| {
            !self.present.contains(&within(keyspace, directory, file))
        }) {
            let (keyspace, directory, file) = missing;
            return Err(ScanError::FileMissing {
                keyspace,
                directory,
                file,
            });
        }
        Ok(self.tables.into_values().collect())
    }
}

fn within(keyspace: &str, directory: &str, file: &str) -> String {
    format!("{keyspace}/{directory}/{file}")
}

/// Sorts the files of one directory into SSTables. Cassandra's own list of the snapshot is not
/// part of it; a marker of an ephemeral snapshot neither.
fn group(
    files: Vec<SnapshotFile>,
    index: Option<String>,
    data_directory: usize,
    path: Arc<Path>,
) -> (Option<SnapshotFile>, Vec<SnapshotSsTable>) {
    let mut schema = None;
    let mut known: BTreeMap<Descriptor, Vec<SnapshotFile>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for file in files {
        match &*file.name {
            "manifest.json" | "ephemeral.snapshot" if index.is_none() => {}
            "schema.cql" if index.is_none() => schema = Some(file),
            name => match name.parse::<ComponentName>() {
                Ok(name) => known.entry(name.descriptor).or_default().push(file),
                Err(_) => unknown.push(file),
            },
        }
    }
    let known = known
        .into_iter()
        .map(|(descriptor, files)| (Some(descriptor), files));
    let unknown = unknown.into_iter().map(|file| (None, vec![file]));
    let sstables = known
        .chain(unknown)
        .map(|(descriptor, files)| SnapshotSsTable {
            descriptor,
            index: index.clone(),
            data_directory,
            path: path.clone(),
            files,
        })
        .collect();
    (schema, sstables)
}

struct Contents {
    files: Vec<SnapshotFile>,
    directories: Vec<(String, PathBuf)>,
}

fn read_directory(path: &Path) -> Result<Contents, ScanError> {
    let mut contents = Contents {
        files: Vec::new(),
        directories: Vec::new(),
    };
    for entry in std::fs::read_dir(path).map_err(io_error(path))? {
        let entry = entry.map_err(io_error(path))?;
        let entry_path = entry.path();
        let meta = entry.metadata().map_err(io_error(&entry_path))?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|_| ScanError::Name {
                path: entry_path.clone(),
            })?;
        if meta.is_dir() {
            contents.directories.push((name, entry_path));
        } else if meta.is_file() {
            contents.files.push(SnapshotFile {
                name: name.into(),
                stat: Stat::of(&meta),
            });
        } else {
            return Err(ScanError::Unexpected { path: entry_path });
        }
    }
    contents.files.sort_by(|a, b| a.name.cmp(&b.name));
    contents.directories.sort();
    Ok(contents)
}

/// The directories below `path`, by name; links are followed, since operators move tables to
/// other disks with them.
pub(super) fn directories(path: &Path) -> Result<Vec<(String, PathBuf)>, ScanError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io_error(path))? {
        let entry = entry.map_err(io_error(path))?;
        let entry_path = entry.path();
        if entry_path.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push((name, entry_path));
        }
    }
    found.sort();
    Ok(found)
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> ScanError + '_ {
    move |source| ScanError::Io {
        path: path.to_owned(),
        source,
    }
}

impl Stat {
    /// From what the system says.
    pub fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            // Enough until the year 2262.
            modified: meta
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(meta.mtime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn expected(names: &[(&str, &str)]) -> BTreeSet<TableName> {
        names
            .iter()
            .map(|(k, t)| (k.to_string(), t.to_string()))
            .collect()
    }

    fn snapshot() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let table = format!("shop/orders-{ID}/snapshots/t1");
        let files = r#"{"files":["nb-1-big-Data.db",".by_v/nb-1-big-Data.db"]}"#;
        for (name, text) in [
            ("manifest.json", files),
            ("schema.cql", "CREATE TABLE"),
            ("nb-1-big-Data.db", "abc"),
            ("nb-1-big-Digest.crc32", "1"),
            (".by_v/nb-1-big-Data.db", "i"),
            ("strange.bin", "x"),
        ] {
            write(dir.path(), &format!("{table}/{name}"), text);
        }
        write(
            dir.path(),
            &format!("shop/orders-{ID}/nb-2-big-Data.db"),
            "live",
        );
        let path = dir.path().to_owned();
        (dir, path)
    }

    #[test]
    fn every_file_of_the_snapshot_is_found_and_nothing_else() {
        let (_keep, data) = snapshot();
        let tables = scan(&[data], "t1", &expected(&[("shop", "orders")])).unwrap();
        assert_eq!(tables.len(), 1);
        let table = &tables[0];
        assert_eq!((table.table.as_str(), table.id.as_str()), ("orders", ID));
        assert!(table.schema.is_some());
        let names: Vec<_> = table
            .sstables
            .iter()
            .flat_map(|s| s.files.iter().map(|f| (s.index.as_deref(), &*f.name)))
            .collect();
        assert_eq!(
            names,
            [
                (None, "nb-1-big-Data.db"),
                (None, "nb-1-big-Digest.crc32"),
                (None, "strange.bin"),
                (Some(".by_v"), "nb-1-big-Data.db"),
            ]
        );
    }

    #[test]
    fn an_expected_table_without_manifest_fails_the_scan() {
        let (_keep, data) = snapshot();
        let missing = scan(
            &[data],
            "t1",
            &expected(&[("shop", "orders"), ("shop", "carts")]),
        );
        assert!(matches!(missing, Err(ScanError::TableMissing { table, .. }) if table == "carts"));
    }

    #[test]
    fn a_listed_data_file_that_is_missing_fails_the_scan() {
        let (_keep, data) = snapshot();
        let file = data.join(format!(
            "shop/orders-{ID}/snapshots/t1/.by_v/nb-1-big-Data.db"
        ));
        std::fs::remove_file(file).unwrap();
        assert!(matches!(
            scan(&[data], "t1", &BTreeSet::new()),
            Err(ScanError::FileMissing { file, .. }) if file == ".by_v/nb-1-big-Data.db"
        ));
    }

    #[test]
    fn a_list_may_stand_in_one_data_directory_and_its_files_in_another() {
        let (_keep, data) = snapshot();
        let second = tempfile::tempdir().unwrap();
        let from = data.join(format!("shop/orders-{ID}/snapshots/t1/nb-1-big-Data.db"));
        write(
            second.path(),
            &format!("shop/orders-{ID}/snapshots/t1/nb-1-big-Data.db"),
            "abc",
        );
        std::fs::remove_file(from).unwrap();
        let directories = [data, second.path().to_owned()];
        let tables = scan(&directories, "t1", &expected(&[("shop", "orders")])).unwrap();
        assert!(tables[0].sstables.iter().any(|s| s.data_directory == 1));
    }
}
