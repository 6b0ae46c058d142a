//! Manifests and lists of keys are read back as written, and not believed when anything changed.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::io::BufReader;

use manifest::*;
use proptest::prelude::*;
use uuid::Uuid;

fn header() -> Header {
    Header {
        format_version: FORMAT_VERSION.into(),
        backup: "b1".parse().unwrap(),
        run_id: Uuid::from_u128(1),
        cluster: "prod".parse().unwrap(),
        series: None,
        scope: Scope::default(),
        ring_hash: RingHash::default(),
        expected_host_ids: vec![Uuid::from_u128(2)],
        node: NodeHeader {
            host_id: Uuid::from_u128(2),
            datacenter: "dc1".into(),
            rack: "r1".into(),
            addresses: vec!["10.0.0.1".into()],
            pod: None,
            cassandra_version: "5.0.9".into(),
            partitioner: "org.apache.cassandra.dht.Murmur3Partitioner".into(),
            tokens: vec!["-1".into()],
            data_directories: vec!["/var/lib/cassandra/data".into()],
        },
        schema_version: SchemaVersions::default(),
        schema: None,
        snapshot: Snapshot {
            tag: "t".into(),
            started_at: "2026-11-23T03:00:00Z".parse().unwrap(),
            ended_at: "2026-11-23T03:00:01Z".parse().unwrap(),
        },
        agent_version: "0.1.0".into(),
    }
}

fn hex(n: u64) -> String {
    format!("{n:016x}")
}

fn sstable(n: u64) -> SsTable {
    SsTable {
        sstable: format!("nb-{n}-big.1a2b3c4d.{n}"),
        index: None,
        data_directory: 0,
        first_token: Some("-5".into()),
        last_token: Some("5".into()),
        content: n.is_multiple_of(2).then(|| Contents {
            partitions: n,
            rows: n + 1,
            keys: vec![hex(n)],
        }),
        components: vec![Component {
            name: format!("nb-{n}-big-Data.db"),
            object: format!("nb-{n}-big-Data.db"),
            bytes: n,
            blake3: blake3::hash(&n.to_le_bytes()).to_string(),
        }],
    }
}

fn manifest(sstables: u64) -> Vec<u8> {
    let mut writer = ManifestWriter::new(Vec::new(), header()).unwrap();
    writer
        .table(Table {
            keyspace: "shop".into(),
            table: "orders".into(),
            id: "0".repeat(32),
            directory: format!("orders-{}", "0".repeat(32)),
            schema: None,
        })
        .unwrap();
    for n in 0..sstables {
        writer.sstable(sstable(n)).unwrap();
    }
    writer
        .finish(Footer {
            files: sstables,
            ..Footer::default()
        })
        .unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<Line>, ReadError> {
    let mut reader = ManifestReader::new(BufReader::new(bytes))?;
    let mut lines = Vec::new();
    while let Some(line) = reader.next()? {
        lines.push(line);
    }
    assert!(reader.footer().is_some());
    Ok(lines)
}

#[test]
fn the_format_stays_as_it_is() {
    insta::assert_snapshot!(String::from_utf8(manifest(1)).unwrap());
}

#[test]
fn a_manifest_is_read_back_as_written() {
    let lines = read(&manifest(3)).unwrap();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3], Line::SsTable(sstable(2)));
}

#[test]
fn the_fields_of_a_line_may_come_in_any_order() {
    let whole = String::from_utf8(manifest(3)).unwrap();
    // Read into a tree and written again, they are sorted.
    let sorted = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap()
            .to_string()
    };
    let mut lines: Vec<_> = whole.lines().map(sorted).collect();
    let footer = lines.pop().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert!(!text.contains("{\"kind\":\"sstable\""));
    let mut footer: serde_json::Value = serde_json::from_str(&footer).unwrap();
    footer["blake3"] = blake3::hash(text.as_bytes()).to_string().into();
    let others = read(format!("{text}{footer}\n").as_bytes()).unwrap();
    assert_eq!(others, read(whole.as_bytes()).unwrap());
}

#[test]
fn unknown_fields_are_ignored_and_newer_major_formats_refused() {
    let text = String::from_utf8(manifest(0)).unwrap();
    let footerless = |text: &str| matches!(read(text.as_bytes()), Err(ReadError::Hash { .. }));
    assert!(footerless(&text.replacen(
        "\"backup\"",
        "\"new\":[1],\"backup\"",
        1
    )));
    let newer = text.replacen("\"formatVersion\":\"1.0\"", "\"formatVersion\":\"2.0\"", 1);
    assert!(matches!(read(newer.as_bytes()), Err(ReadError::Version(_))));
}

#[test]
fn a_cut_manifest_is_never_believed() {
    let whole = manifest(3);
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut to {end} bytes");
    }
}

proptest! {
    #[test]
    fn a_changed_manifest_is_never_believed(at in 0usize..2000, bit in 0u8..7) {
        let mut bytes = manifest(3);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        // The footer's own figures are outside its hash; what it hashes is not.
        let footer = bytes.len() - bytes[..bytes.len() - 1].iter().rev()
            .position(|b| *b == b'\n').unwrap_or(0);
        prop_assume!(at < footer);
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
        let _ = intent_and_keys(&bytes);
    }
}

#[test]
fn an_intent_is_read_back_and_a_cut_one_refused() {
    let intent = Intent {
        format_version: FORMAT_VERSION.into(),
        run_id: Uuid::from_u128(1),
        attempt: 1,
        deadline: "2026-11-23T03:00:00Z".parse().unwrap(),
    };
    let bytes = intent.write(Vec::new(), ["data/a", "data/\"b\""]).unwrap();
    let (read, keys) = intent_and_keys(&bytes).unwrap();
    assert_eq!(read, intent);
    assert_eq!(keys, ["data/a", "data/\"b\""]);
    assert!(intent_and_keys(&bytes[..bytes.len() - 1]).is_err());
}

fn intent_and_keys(bytes: &[u8]) -> Result<(Intent, Vec<String>), IntentError> {
    let mut lines = KeyLines::default();
    let mut keys = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        keys.extend(lines.line(line)?);
    }
    Ok((lines.finish()?, keys))
}
