//! Backups that say something else than they were.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cluster::Storage;

/// The manifests of backup `b1`, in order of their nodes.
pub fn manifests(storage: &Storage) -> Vec<PathBuf> {
    let folder = storage.root().join("prod/manifests/b1");
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "jsonl"));
    paths.sort();
    paths
}

/// A manifest in which something else is recorded.
pub struct Forged {
    path: PathBuf,
    before: String,
}

impl Forged {
    /// The first line that `forge` takes is changed by it.
    pub fn line(path: &Path, forge: impl FnMut(&mut Value) -> bool) -> Self {
        let before = fs::read_to_string(path).unwrap();
        let mut lines: Vec<Value> = before
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines.iter_mut().any(forge));
        let mut footer = lines.pop().unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        footer["blake3"] = blake3::hash(text.as_bytes()).to_hex().to_string().into();
        fs::write(path, format!("{text}{footer}\n")).unwrap();
        let path = path.to_owned();
        Self { path, before }
    }

    pub fn undo(self) {
        fs::write(&self.path, self.before).unwrap();
    }
}

/// An object that Cassandra cannot read, though it is what its manifest says.
pub struct Unreadable {
    object: PathBuf,
    whole: Vec<u8>,
    forged: Forged,
}

impl Unreadable {
    /// The first SSTable of the table has such a component.
    pub fn of(storage: &Storage, table: &str, component: &str) -> Self {
        let manifest = &manifests(storage)[0];
        let node = manifest.file_stem().unwrap().to_str().unwrap();
        let folder = storage.root().join("prod/data").join(node);
        let is_it = |it: &Value| it["name"].as_str().unwrap().ends_with(component);
        let (mut of, mut spoiled) = (Value::Null, None);
        let forged = Forged::line(manifest, |line| {
            if line["kind"] == "table" {
                of = line.clone();
            }
            if line["kind"] != "sstable" || of["table"] != table {
                return false;
            }
            let sstable = line["sstable"].as_str().unwrap().to_owned();
            let components = line["components"].as_array_mut().unwrap();
            let it = components.iter_mut().find(|it| is_it(it)).unwrap();
            let object = folder
                .join(of["keyspace"].as_str().unwrap())
                .join(of["directory"].as_str().unwrap())
                .join(sstable)
                .join(it["object"].as_str().unwrap());
            let whole = fs::read(&object).unwrap();
            let mut bytes = whole.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::write(&object, &bytes).unwrap();
            it["blake3"] = blake3::hash(&bytes).to_hex().to_string().into();
            spoiled = Some((object, whole));
            true
        });
        let (object, whole) = spoiled.unwrap();
        Self {
            object,
            whole,
            forged,
        }
    }

    pub fn undo(self) {
        fs::write(&self.object, self.whole).unwrap();
        self.forged.undo();
    }
}
