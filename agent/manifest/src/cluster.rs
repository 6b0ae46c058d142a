use uuid::Uuid;

use crate::{BackupName, ClusterId, Line};

/// Keys below the storage's root for a whole cluster.
#[derive(Clone, Debug)]
pub struct ClusterLayout {
    cluster: ClusterId,
}

impl ClusterLayout {
    /// For a cluster.
    pub fn new(cluster: ClusterId) -> Self {
        Self { cluster }
    }

    /// `<cluster>`: everything.
    pub fn prefix(&self) -> &str {
        self.cluster.as_str()
    }

    /// `<cluster>/data`.
    pub fn data_prefix(&self) -> String {
        format!("{}/data", self.cluster)
    }

    /// `<cluster>/manifests`: manifests, intents and condemned lists.
    pub fn manifests_prefix(&self) -> String {
        format!("{}/manifests", self.cluster)
    }

    /// `<cluster>/manifests/.purge`.
    pub fn purge_prefix(&self) -> String {
        format!("{}/.purge", self.manifests_prefix())
    }

    /// `<cluster>/tokens`.
    pub fn tokens_prefix(&self) -> String {
        format!("{}/tokens", self.cluster)
    }

    /// The list of what a purge is about to delete.
    pub fn condemned(&self, purge_id: Uuid) -> String {
        format!("{}/{purge_id}.condemned", self.purge_prefix())
    }

    /// The tokens file of a node.
    pub fn tokens(&self, of: &ManifestKey) -> String {
        format!("{}/{}/{}.yaml", self.tokens_prefix(), of.backup, of.host_id)
    }

    /// A whole key as lists of keys name it, below the cluster id.
    pub fn below_cluster<'k>(&self, key: &'k str) -> &'k str {
        key.strip_prefix(self.cluster.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(key)
    }

    /// A key as lists of keys name it, below the cluster id, made whole.
    pub fn key_in_cluster(&self, key: &str) -> String {
        format!("{}/{key}", self.cluster)
    }
}

/// What the key of a manifest, or of a tokens file, says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestKey {
    /// Backup that it belongs to.
    pub backup: BackupName,
    /// Node.
    pub host_id: Uuid,
}

impl ManifestKey {
    /// Reads the whole key of a manifest; nothing if it is another key.
    pub fn parse(key: &str) -> Option<Self> {
        Self::in_folder(key, "manifests", ".jsonl")
    }

    /// Reads the whole key of a tokens file; nothing if it is another key.
    pub fn parse_tokens(key: &str) -> Option<Self> {
        Self::in_folder(key, "tokens", ".yaml")
    }

    /// In this one place, and in this one spelling: two objects would else be one manifest, and who
    /// has read the one would delete what the other names.
    fn in_folder(key: &str, folder: &str, suffix: &str) -> Option<Self> {
        let mut segments = key.split('/');
        let (_cluster, place) = (segments.next()?, segments.next()?);
        let backup = segments.next()?.parse().ok()?;
        let name = segments.next()?.strip_suffix(suffix)?;
        let host_id: Uuid = name.parse().ok()?;
        let is_it = place == folder && segments.next().is_none() && host_id.to_string() == name;
        is_it.then_some(Self { backup, host_id })
    }
}

/// Tells the keys that the lines of one manifest name, below the cluster id.
#[derive(Debug)]
pub struct ObjectKeys {
    node: String,
    table: String,
    key: String,
}

impl ObjectKeys {
    /// For a manifest of this node.
    pub fn new(host_id: Uuid) -> Self {
        Self {
            node: format!("data/{host_id}"),
            table: String::new(),
            key: String::new(),
        }
    }

    /// Gives every key of a line to `each`. Lines come in the manifest's order.
    pub fn of(&mut self, line: &Line, mut each: impl FnMut(&str)) {
        match line {
            Line::Header(header) => {
                if let Some(schema) = &header.schema {
                    each(self.join(&[], &schema.object));
                }
            }
            Line::Table(table) => {
                self.table = format!("{}/{}", table.keyspace, table.directory);
                if let Some(schema) = &table.schema {
                    let table = std::mem::take(&mut self.table);
                    each(self.join(&[&table], &schema.object));
                    self.table = table;
                }
            }
            Line::SsTable(sstable) => {
                let table = std::mem::take(&mut self.table);
                for component in &sstable.components {
                    let key = match &sstable.index {
                        Some(index) => {
                            self.join(&[&table, index, &sstable.sstable], &component.object)
                        }
                        None => self.join(&[&table, &sstable.sstable], &component.object),
                    };
                    each(key);
                }
                self.table = table;
            }
            Line::Footer(footer) => each(&footer.tokens),
        }
    }

    fn join(&mut self, directories: &[&str], object: &str) -> &str {
        self.key.clear();
        self.key.push_str(&self.node);
        for part in directories.iter().chain([&object]) {
            self.key.push('/');
            self.key.push_str(part);
        }
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Component, ComponentName, NodeLayout, ObjectPath, SchemaObject, SsTable, Table};

    /// Both sides of every purge: what manifests name is what the agent wrote.
    #[test]
    fn manifests_name_the_keys_that_the_agent_writes() {
        let host = Uuid::from_u128(1);
        let layout = NodeLayout::new("prod".parse().unwrap(), host);
        let cluster = ClusterLayout::new("prod".parse().unwrap());
        let name: ComponentName = "nb-1-big-Data.db".parse().unwrap();
        let dir = crate::SsTableDir::new(&name.descriptor, 1, 2);
        let schema = SchemaObject {
            object: "schema.0011223344556677.cql".into(),
            bytes: 1,
            blake3: String::new(),
        };
        let mut keys = ObjectKeys::new(host);
        let mut found = Vec::new();
        let table = Table {
            keyspace: "shop".into(),
            table: "orders".into(),
            id: "0af".into(),
            directory: "orders-0af".into(),
            schema: Some(schema.clone()),
        };
        keys.of(&Line::Table(table), |key| {
            found.push(cluster.key_in_cluster(key))
        });
        for index in [None, Some(".by_v".to_owned())] {
            let sstable = SsTable {
                sstable: dir.as_str().into(),
                index,
                data_directory: 0,
                first_token: None,
                last_token: None,
                content: None,
                components: vec![Component {
                    name: "nb-1-big-Data.db".into(),
                    object: "nb-1-big-Data.db".into(),
                    bytes: 2,
                    blake3: String::new(),
                }],
            };
            keys.of(&Line::SsTable(sstable), |key| {
                found.push(cluster.key_in_cluster(key));
            });
        }
        let place = |index| ObjectPath {
            keyspace: "shop",
            directory: "orders-0af",
            index,
        };
        let data = |index| {
            let prefix = layout.sstable_prefix(&place(index), &dir);
            format!("{prefix}/nb-1-big-Data.db")
        };
        assert_eq!(
            found,
            [
                layout.table_schema("shop", "orders-0af", &schema.object),
                data(None),
                data(Some(".by_v")),
            ]
        );
        let backup: BackupName = "b1".parse().unwrap();
        let key = ManifestKey::parse(&layout.manifest(&backup)).unwrap();
        assert_eq!(
            key,
            ManifestKey {
                backup: backup.clone(),
                host_id: host
            }
        );
        assert_eq!(cluster.tokens(&key), layout.tokens(&backup));
        assert_eq!(
            ManifestKey::parse_tokens(&layout.tokens(&backup)),
            Some(key)
        );
        let intent = layout.intent(&backup, Uuid::nil(), 1);
        assert_eq!(ManifestKey::parse(&intent), None);
        for other in [
            "c/manifests/copy/b1/00000000-0000-0000-0000-000000000007.jsonl",
            "c/manifests/00000000-0000-0000-0000-000000000007.jsonl",
            "c/elsewhere/b1/00000000-0000-0000-0000-000000000007.jsonl",
            "c/manifests/b1/00000000000000000000000000000007.jsonl",
            "c/manifests/b1/0000000A-0000-0000-0000-000000000007.jsonl",
            "c/manifests/b1/{00000000-0000-0000-0000-000000000007}.jsonl",
        ] {
            assert_eq!(ManifestKey::parse(other), None, "{other}");
        }
    }
}
