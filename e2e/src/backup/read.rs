//! Reading a backup back, by what the specification says of the formats and by no code of ours
//! that writes them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::storage::Storage;

/// What all nodes of a cluster stored under one name.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Cluster id.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// One for each node, ordered by host id.
    pub nodes: Vec<Node>,
}

/// A node's share.
#[derive(Debug, Clone)]
pub struct Node {
    /// Host id.
    pub host_id: String,
    /// The manifest's first line.
    pub header: Value,
    /// The tables, each with its SSTables.
    pub tables: Vec<Table>,
    /// The manifest's last line.
    pub footer: Value,
    /// The tokens file.
    pub tokens: Tokens,
}

/// A table of a node's backup.
#[derive(Debug, Clone, Deserialize)]
pub struct Table {
    /// Keyspace.
    pub keyspace: String,
    /// Name.
    pub table: String,
    /// `<table>-<id>`.
    pub directory: String,
    /// Its own schema.
    pub schema: Option<Stored>,
    /// What follows it in the manifest.
    #[serde(skip)]
    pub sstables: Vec<SsTable>,
}

/// An SSTable.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SsTable {
    /// `<sstable>.<digest>.<bytes>`.
    pub sstable: String,
    /// `.<index>`, for a secondary index.
    pub index: Option<String>,
    /// Position in the node's data directories.
    pub data_directory: usize,
    /// Token of the first partition.
    pub first_token: Option<String>,
    /// Token of the last partition.
    pub last_token: Option<String>,
    /// What it has.
    pub content: Option<Contents>,
    /// Its files.
    pub components: Vec<Component>,
}

/// What an SSTable has.
#[derive(Debug, Clone, Deserialize)]
pub struct Contents {
    /// Partitions.
    pub partitions: u64,
    /// Rows, those of tombstones included.
    pub rows: u64,
    /// The first and the last partition key in hex.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// A file of an SSTable.
#[derive(Debug, Clone, Deserialize)]
pub struct Component {
    /// File name on the node.
    pub name: String,
    /// The object it is.
    #[serde(flatten)]
    pub stored: Stored,
}

/// A stored object, as a manifest names it.
#[derive(Debug, Clone, Deserialize)]
pub struct Stored {
    /// Last segment of its key.
    pub object: String,
    /// Size.
    pub bytes: u64,
    /// Hash in hex.
    pub blake3: String,
}

/// What a restore needs of the tokens file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// Host id.
    pub host_id: String,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// How many tokens.
    pub num_tokens: usize,
    /// For `initial_token`.
    pub tokens: Vec<String>,
    /// What `nodetool ring` shows, by endpoint.
    pub ring: Vec<BTreeMap<String, Value>>,
}

impl Backup {
    /// Reads the manifests and tokens files of a backup. An error unless there is a manifest of
    /// every host id that one of them expects.
    pub async fn read(storage: &Storage, cluster: &str, name: &str) -> Result<Self> {
        let folder = format!("{cluster}/manifests/{name}");
        let mut nodes = Vec::new();
        for key in storage.list(&folder).await?.into_keys() {
            let file = key.rsplit('/').next().unwrap_or_default();
            if let Some(host_id) = file.strip_suffix(".jsonl") {
                let node = Node::read(storage, cluster, name, host_id).await;
                nodes.push(node.with_context(|| key.clone())?);
            }
        }
        ensure!(!nodes.is_empty(), "no manifest below {folder}");
        let backup = Self {
            cluster: cluster.into(),
            name: name.into(),
            nodes,
        };
        backup.check_complete()?;
        Ok(backup)
    }

    fn check_complete(&self) -> Result<()> {
        for node in &self.nodes {
            let expected = node.header["expectedHostIds"].as_array();
            for host_id in expected.context("a header without expectedHostIds")? {
                let there = self
                    .nodes
                    .iter()
                    .any(|node| Some(&*node.host_id) == host_id.as_str());
                ensure!(
                    there,
                    "{} of {} has no manifest of {host_id}",
                    self.name,
                    self.cluster
                );
            }
        }
        Ok(())
    }

    /// Every object that the backup consists of: full key and what the manifests say of it.
    pub fn objects(&self) -> BTreeMap<String, &Stored> {
        self.nodes
            .iter()
            .flat_map(|node| node.objects(&self.cluster))
            .collect()
    }

    /// Reads a backup of which every object is there and right; an error if one is not.
    pub async fn whole(storage: &Storage, cluster: &str, name: &str) -> Result<Self> {
        let backup = Self::read(storage, cluster, name).await?;
        backup.verify(storage).await?;
        Ok(backup)
    }

    /// Reads every object and compares size and BLAKE3.
    pub async fn verify(&self, storage: &Storage) -> Result<()> {
        for (key, stored) in self.objects() {
            storage
                .get_checked(&key, stored.bytes, &stored.blake3)
                .await?;
        }
        for node in &self.nodes {
            if let Some((key, stored)) = node.schema(&self.cluster)? {
                storage
                    .get_checked(&key, stored.bytes, &stored.blake3)
                    .await?;
            }
        }
        Ok(())
    }
}

impl Node {
    async fn read(storage: &Storage, cluster: &str, name: &str, host_id: &str) -> Result<Self> {
        let manifest = storage
            .get(&format!("{cluster}/manifests/{name}/{host_id}.jsonl"))
            .await?;
        let (header, tables, footer) = parse(&manifest)?;
        ensure!(
            header["node"]["hostId"] == host_id,
            "the manifest of {host_id} is another node's"
        );
        ensure!(
            header["backup"] == name,
            "the manifest is of the backup {}",
            header["backup"]
        );
        let tokens = footer["tokens"]
            .as_str()
            .context("a footer without tokens")?;
        ensure!(
            tokens == format!("tokens/{name}/{host_id}.yaml"),
            "tokens at {tokens}"
        );
        let tokens = storage.get(&format!("{cluster}/{tokens}")).await?;
        let tokens: Tokens = serde_saphyr::from_str(&String::from_utf8(tokens)?)
            .map_err(|error| anyhow::anyhow!("tokens file: {error}"))?;
        ensure!(
            tokens.host_id == host_id,
            "the tokens file is that of {}",
            tokens.host_id
        );
        let node = Self {
            host_id: host_id.into(),
            header,
            tables,
            footer,
            tokens,
        };
        node.check_sums(cluster)?;
        Ok(node)
    }

    /// `files` and `bytes` of the footer count every line's objects, schemas too.
    fn check_sums(&self, cluster: &str) -> Result<()> {
        let objects = self.objects(cluster);
        let whole_schema = self.schema(cluster)?;
        let stored = objects.iter().map(|(_, stored)| stored.bytes);
        let bytes: u64 = stored
            .chain(whole_schema.iter().map(|(_, s)| s.bytes))
            .sum();
        let counted = objects.len() + usize::from(whole_schema.is_some());
        let said = &self.footer["files"];
        ensure!(
            *said == counted,
            "the footer says {said} files, the lines name {counted}"
        );
        let said = &self.footer["bytes"];
        ensure!(
            *said == bytes,
            "the footer says {said} bytes, the lines name {bytes}"
        );
        Ok(())
    }

    /// The key of a file of one of its SSTables.
    pub fn key(&self, cluster: &str, table: &Table, sstable: &SsTable, file: &Component) -> String {
        let index = sstable
            .index
            .as_ref()
            .map(|index| format!("/{index}"))
            .unwrap_or_default();
        format!(
            "{cluster}/data/{}/{}/{}{index}/{}/{}",
            self.host_id, table.keyspace, table.directory, sstable.sstable, file.stored.object
        )
    }

    /// The cluster's schema as this node had it, and its key.
    pub fn schema(&self, cluster: &str) -> Result<Option<(String, Stored)>> {
        let Some(schema) = self.header.get("schema").filter(|schema| !schema.is_null()) else {
            return Ok(None);
        };
        let schema: Stored = serde_json::from_value(schema.clone())?;
        Ok(Some((
            format!("{cluster}/data/{}/{}", self.host_id, schema.object),
            schema,
        )))
    }

    fn objects(&self, cluster: &str) -> Vec<(String, &Stored)> {
        let mut objects = Vec::new();
        for table in &self.tables {
            if let Some(schema) = &table.schema {
                let folder = format!("{}/{}/{}", self.host_id, table.keyspace, table.directory);
                objects.push((format!("{cluster}/data/{folder}/{}", schema.object), schema));
            }
            for sstable in &table.sstables {
                for file in &sstable.components {
                    objects.push((self.key(cluster, table, sstable, file), &file.stored));
                }
            }
        }
        objects
    }
}

/// Header, tables and footer of a manifest whose footer is right.
fn parse(manifest: &[u8]) -> Result<(Value, Vec<Table>, Value)> {
    let (mut header, mut footer) = (None, None);
    let mut tables: Vec<Table> = Vec::new();
    let mut read = 0;
    for line in manifest.split_inclusive(|byte| *byte == b'\n') {
        ensure!(footer.is_none(), "lines after the footer");
        let value: Value = serde_json::from_slice(line)?;
        match value["kind"].as_str() {
            Some("header") if read == 0 => {
                let version = value["formatVersion"].as_str().unwrap_or_default();
                ensure!(
                    version.split('.').next() == Some("1"),
                    "format version {version:?}"
                );
                header = Some(value);
            }
            Some("table") => tables.push(serde_json::from_value(value)?),
            Some("sstable") => {
                let table = tables.last_mut().context("an sstable before any table")?;
                table.sstables.push(serde_json::from_value(value)?);
            }
            Some("footer") => {
                let hash = blake3::hash(&manifest[..read]).to_hex();
                ensure!(
                    value["blake3"] == hash.as_str(),
                    "the footer's hash is wrong"
                );
                footer = Some(value);
            }
            kind => bail!("a line of kind {kind:?}"),
        }
        read += line.len();
    }
    let header = header.context("no header")?;
    Ok((
        header,
        tables,
        footer.context("no footer: the manifest was cut")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        r#"{"kind":"header","formatVersion":"1.0","backup":"b","node":{"hostId":"h"}}"#,
        "\n",
        r#"{"kind":"table","keyspace":"k","table":"t","id":"0","directory":"t-0"}"#,
        "\n",
        r#"{"kind":"sstable","sstable":"nb-1-big.1.2","dataDirectory":0,"components":[{"name":"nb-1-big-Data.db","object":"nb-1-big-Data.db","bytes":2,"blake3":"x"}]}"#,
        "\n",
    );

    fn footer(lines: &str) -> String {
        format!(
            "{{\"kind\":\"footer\",\"blake3\":\"{}\"}}\n",
            blake3::hash(lines.as_bytes())
        )
    }

    #[test]
    fn a_manifest_is_believed_only_with_its_own_footer() {
        let (_, tables, _) = parse(format!("{LINES}{}", footer(LINES)).as_bytes()).unwrap();
        assert_eq!(tables[0].sstables[0].components[0].stored.bytes, 2);
        assert!(parse(LINES.as_bytes()).is_err());
        let changed = LINES.replace("\"bytes\":2", "\"bytes\":3");
        assert!(parse(format!("{changed}{}", footer(LINES)).as_bytes()).is_err());
        let more = format!("{LINES}{}{LINES}", footer(LINES));
        assert!(parse(more.as_bytes()).is_err());
    }
}
