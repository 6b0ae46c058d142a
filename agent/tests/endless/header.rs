//! The header of a backup of one node.

use manifest::Header;
use uuid::Uuid;

/// Of a backup that was taken on this day of a month.
pub fn header(node: Uuid, backup: &str, day: u32) -> Header {
    let text = format!(
        r#"{{"formatVersion":"1.0","backup":"{backup}","runId":"{node}","cluster":"c",
        "scope":{{}},"ringHash":{{"before":"","after":""}},"expectedHostIds":["{node}"],
        "node":{{"hostId":"{node}","datacenter":"","rack":"","addresses":[],"cassandraVersion":"",
        "partitioner":"","tokens":[],"dataDirectories":[]}},
        "schemaVersion":{{"before":"","after":""}},
        "snapshot":{{"tag":"","startedAt":"2026-11-{day}T03:00:00Z","endedAt":"2026-11-{day}T03:00:00Z"}},
        "agentVersion":""}}"#
    );
    serde_json::from_str(&text).unwrap()
}
