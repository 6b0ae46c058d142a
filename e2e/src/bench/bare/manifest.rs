//! A manifest of a million components, written and read.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use anyhow::{Result, ensure};
use manifest::{
    Component, Contents, FORMAT_VERSION, Footer, Header, Line, ManifestReader, ManifestWriter,
    NodeHeader, RingHash, SchemaVersions, Scope, Snapshot, SsTable, Table,
};
use uuid::Uuid;

/// The components of an SSTable, and whether their stored name has the hash too.
const COMPONENTS: [(&str, bool); 8] = [
    ("CRC.db", false),
    ("Data.db", false),
    ("Digest.crc32", false),
    ("Filter.db", true),
    ("Index.db", false),
    ("Statistics.db", true),
    ("Summary.db", true),
    ("TOC.txt", true),
];
/// SSTables of a table.
const SSTABLES: u64 = 1000;

/// Writes a manifest of `components` components.
pub fn write(path: &Path, components: u64) -> Result<()> {
    let out = BufWriter::with_capacity(1 << 16, File::create(path)?);
    let mut writer = ManifestWriter::new(out, header()?)?;
    let sstables = components / COMPONENTS.len() as u64;
    for number in 0..sstables {
        if number % SSTABLES == 0 {
            let table = number / SSTABLES;
            let id = format!("{table:032x}");
            writer.table(Table {
                keyspace: "bench".into(),
                table: format!("t{table}"),
                directory: format!("t{table}-{id}"),
                id,
                schema: None,
            })?;
        }
        writer.sstable(sstable(number))?;
    }
    let files = sstables * COMPONENTS.len() as u64;
    let footer = Footer {
        files,
        ..Footer::default()
    };
    writer.finish(footer)?;
    Ok(())
}

/// Reads a manifest to its end; the number of its components must be right.
pub fn read(path: &Path, components: u64) -> Result<()> {
    let input = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut reader = ManifestReader::new(input)?;
    let mut found = 0;
    while let Some(line) = reader.next()? {
        if let Line::SsTable(sstable) = line {
            found += sstable.components.len() as u64;
        }
    }
    ensure!(found == components, "{found} components, not {components}");
    Ok(())
}

fn sstable(number: u64) -> SsTable {
    let descriptor = format!("nb-{number}-big");
    let components = (0..).zip(COMPONENTS).map(|(position, (name, hashed))| {
        // As good as a hash of content for what is measured here, and cheaper.
        let hash = format!(
            "{:016x}",
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ position
        )
        .repeat(4);
        let name = format!("{descriptor}-{name}");
        Component {
            object: match hashed {
                true => format!("{name}.{}", &hash[..16]),
                false => name.clone(),
            },
            name,
            bytes: 5000 + number,
            blake3: hash,
        }
    });
    SsTable {
        components: components.collect(),
        sstable: format!("{descriptor}.1a2b3c4d.{number}"),
        index: None,
        data_directory: 0,
        first_token: Some((number as i64 - i64::MAX).to_string()),
        last_token: Some((i64::MAX - number as i64).to_string()),
        content: Some(Contents {
            partitions: number + 1,
            rows: 10 * (number + 1),
            keys: vec![format!("{number:032x}"), format!("{:032x}", number + 1)],
        }),
    }
}

fn header() -> Result<Header> {
    Ok(Header {
        format_version: FORMAT_VERSION.into(),
        backup: "b1".parse()?,
        run_id: Uuid::nil(),
        cluster: "bench".parse()?,
        series: None,
        scope: Scope::default(),
        ring_hash: RingHash::default(),
        expected_host_ids: vec![Uuid::nil()],
        node: NodeHeader {
            host_id: Uuid::nil(),
            datacenter: "dc1".into(),
            rack: "r1".into(),
            addresses: Vec::new(),
            pod: None,
            cassandra_version: "5.0.9".into(),
            partitioner: "org.apache.cassandra.dht.Murmur3Partitioner".into(),
            tokens: Vec::new(),
            data_directories: Vec::new(),
        },
        schema_version: SchemaVersions::default(),
        schema: None,
        snapshot: Snapshot {
            tag: "t".into(),
            started_at: "2026-01-01T00:00:00Z".parse()?,
            ended_at: "2026-01-01T00:00:01Z".parse()?,
        },
        agent_version: "0".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        write(&path, 16_000).unwrap();
        read(&path, 16_000).unwrap();
        assert!(read(&path, 15_992).is_err());
    }
}
