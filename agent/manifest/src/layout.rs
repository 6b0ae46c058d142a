use uuid::Uuid;

use crate::{BackupName, ClusterId, ComponentName, SsTableDir, hash16};

/// Keys below the storage's root for one node of one cluster. Every key that the project writes
/// is made here.
#[derive(Clone, Debug)]
pub struct NodeLayout {
    cluster: ClusterId,
    host_id: Uuid,
}

/// Where the objects of a table lie: `<keyspace>/<table>-<table id>[/.<index>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPath<'a> {
    /// Keyspace.
    pub keyspace: &'a str,
    /// Directory of the table, `<table>-<32 hex digits of its id>`.
    pub directory: &'a str,
    /// `.<index>` for a secondary index.
    pub index: Option<&'a str>,
}

/// What the key of an intent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentKey {
    /// Backup that it belongs to.
    pub backup: BackupName,
    /// Node.
    pub host_id: Uuid,
    /// Run.
    pub run_id: Uuid,
    /// Attempt, counted from 1.
    pub attempt: u32,
}

impl NodeLayout {
    /// For a node of a cluster.
    pub fn new(cluster: ClusterId, host_id: Uuid) -> Self {
        Self { cluster, host_id }
    }

    /// The node.
    pub fn host_id(&self) -> Uuid {
        self.host_id
    }

    /// `<cluster>/data/<node>`.
    pub fn data_prefix(&self) -> String {
        format!("{}/data/{}", self.cluster, self.host_id)
    }

    /// `<cluster>/data/<node>/<keyspace>`.
    pub fn keyspace_prefix(&self, keyspace: &str) -> String {
        format!("{}/{keyspace}", self.data_prefix())
    }

    /// `<cluster>/data/<node>/<keyspace>/<table>-<table id>`.
    pub fn table_prefix(&self, keyspace: &str, directory: &str) -> String {
        format!("{}/{directory}", self.keyspace_prefix(keyspace))
    }

    /// The directory of an SSTable.
    pub fn sstable_prefix(&self, table: &ObjectPath<'_>, sstable: &SsTableDir) -> String {
        let index = table
            .index
            .map(|name| format!("/{name}"))
            .unwrap_or_default();
        let directory = self.table_prefix(table.keyspace, table.directory);
        format!("{directory}{index}/{}", sstable.as_str())
    }

    /// The last segment of a component's key: its file name, with its hash where the content can
    /// change under the same name.
    pub fn object_name(file_name: &str, hash: &blake3::Hash) -> String {
        match file_name.parse::<ComponentName>() {
            Ok(name) if name.is_immutable() => file_name.to_owned(),
            _ => format!("{file_name}.{}", hash16(hash)),
        }
    }

    /// The last segment of a schema object's key.
    pub fn schema_object(hash: &blake3::Hash) -> String {
        format!("schema.{}.cql", hash16(hash))
    }

    /// The schema of a table.
    pub fn table_schema(&self, keyspace: &str, directory: &str, object: &str) -> String {
        format!("{}/{object}", self.table_prefix(keyspace, directory))
    }

    /// The schema of the whole cluster as this node has it.
    pub fn node_schema(&self, object: &str) -> String {
        format!("{}/{object}", self.data_prefix())
    }

    /// `<cluster>/manifests`.
    pub fn manifests_prefix(&self) -> String {
        format!("{}/manifests", self.cluster)
    }

    /// `<cluster>/manifests/<backup>`.
    pub fn backup_prefix(&self, backup: &BackupName) -> String {
        format!("{}/{backup}", self.manifests_prefix())
    }

    /// The manifest of this node.
    pub fn manifest(&self, backup: &BackupName) -> String {
        format!("{}/{}.jsonl", self.backup_prefix(backup), self.host_id)
    }

    /// The intent of an attempt of this node.
    pub fn intent(&self, backup: &BackupName, run_id: Uuid, attempt: u32) -> String {
        format!(
            "{}/{}.{run_id}.{attempt}.intent",
            self.backup_prefix(backup),
            self.host_id
        )
    }

    /// `<cluster>/manifests/.purge`.
    pub fn purge_prefix(&self) -> String {
        format!("{}/.purge", self.manifests_prefix())
    }

    /// A key as lists of keys name it, below the cluster id, made whole.
    pub fn key_in_cluster(&self, key: &str) -> String {
        format!("{}/{key}", self.cluster)
    }

    /// A whole key as lists of keys name it, below the cluster id.
    pub fn below_cluster<'k>(&self, key: &'k str) -> &'k str {
        key.strip_prefix(self.cluster.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(key)
    }

    /// The tokens file of this node.
    pub fn tokens(&self, backup: &BackupName) -> String {
        format!("{}/tokens/{backup}/{}.yaml", self.cluster, self.host_id)
    }

    /// `tokens/<backup>/<node>.yaml`, as manifests name it.
    pub fn tokens_in_cluster(&self, backup: &BackupName) -> String {
        format!("tokens/{backup}/{}.yaml", self.host_id)
    }
}

impl IntentKey {
    /// Reads the key of an intent; nothing if it is another key.
    pub fn parse(key: &str) -> Option<Self> {
        let mut segments = key.rsplit('/');
        let file = segments.next()?.strip_suffix(".intent")?;
        let backup = segments.next()?.parse().ok()?;
        let mut parts = file.split('.');
        let found = Self {
            backup,
            host_id: parts.next()?.parse().ok()?,
            run_id: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> NodeLayout {
        NodeLayout::new("prod".parse().unwrap(), Uuid::from_u128(1))
    }

    #[test]
    fn keys_are_those_of_the_specification() {
        let name: ComponentName = "nb-1-big-Data.db".parse().unwrap();
        let dir = SsTableDir::new(&name.descriptor, 0x1a2b_3c4d, 4711);
        let table = ObjectPath {
            keyspace: "shop",
            directory: "orders-0af",
            index: Some(".by_v"),
        };
        let backup: BackupName = "b1".parse().unwrap();
        let run = Uuid::from_u128(2);
        insta::assert_snapshot!([
            layout().sstable_prefix(&table, &dir),
            layout().table_schema("shop", "orders-0af", "schema.0011223344556677.cql"),
            layout().node_schema("schema.0011223344556677.cql"),
            layout().manifest(&backup),
            layout().intent(&backup, run, 3),
            layout().purge_prefix(),
            layout().tokens(&backup),
        ].join("\n"), @r"
        prod/data/00000000-0000-0000-0000-000000000001/shop/orders-0af/.by_v/nb-1-big.1a2b3c4d.4711
        prod/data/00000000-0000-0000-0000-000000000001/shop/orders-0af/schema.0011223344556677.cql
        prod/data/00000000-0000-0000-0000-000000000001/schema.0011223344556677.cql
        prod/manifests/b1/00000000-0000-0000-0000-000000000001.jsonl
        prod/manifests/b1/00000000-0000-0000-0000-000000000001.00000000-0000-0000-0000-000000000002.3.intent
        prod/manifests/.purge
        prod/tokens/b1/00000000-0000-0000-0000-000000000001.yaml
        ");
    }

    #[test]
    fn an_intent_key_is_read_back() {
        let backup: BackupName = "b.1".parse().unwrap();
        let key = layout().intent(&backup, Uuid::from_u128(2), 3);
        let found = IntentKey::parse(&key).unwrap();
        assert_eq!((found.backup, found.attempt), (backup.clone(), 3));
        assert_eq!(IntentKey::parse(&layout().manifest(&backup)), None);
    }

    #[test]
    fn components_that_can_change_carry_their_hash() {
        let hash = blake3::hash(b"x");
        assert_eq!(
            NodeLayout::object_name("nb-1-big-Data.db", &hash),
            "nb-1-big-Data.db"
        );
        let statistics = NodeLayout::object_name("nb-1-big-Statistics.db", &hash);
        assert_eq!(
            statistics,
            format!("nb-1-big-Statistics.db.{}", hash16(&hash))
        );
    }
}
