//! Where the files of a manifest belong below a data directory.

use manifest::{SsTable, Table};

/// Tables of `system` that tell a node about others. They are learnt anew, and what they say may be
/// wrong by now: addresses of nodes that are gone.
const LEARNT_ANEW: [&str; 4] = ["peers", "peers_v2", "peer_events", "peer_events_v2"];

/// The keyspace in which a node keeps who it is.
pub(super) const SYSTEM: &str = "system";

/// Whether a table's files are put back.
pub(super) fn is_restored(table: &Table) -> bool {
    table.keyspace != SYSTEM || !LEARNT_ANEW.contains(&table.table.as_str())
}

/// The directory of an SSTable below a data directory, or the part of it that no directory has.
pub(super) fn directory(table: &Table, sstable: &SsTable) -> Result<Vec<String>, String> {
    let mut path = Vec::new();
    for part in [&table.keyspace, &table.directory] {
        path.push(plain(part)?.to_owned());
    }
    if let Some(index) = &sstable.index {
        let name = index.strip_prefix('.').ok_or_else(|| index.clone())?;
        plain(name)?;
        path.push(index.clone());
    }
    Ok(path)
}

/// A name that Cassandra gives: of letters, digits and few signs, none of them at the beginning. So it
/// is no `..`, and cannot be mistaken for what is ours.
pub(super) fn plain(name: &str) -> Result<&str, String> {
    let begins = name.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '_');
    let sign = |it: char| it.is_ascii_alphanumeric() || "_-+.".contains(it);
    if begins && name.len() <= 255 && name.chars().all(sign) {
        Ok(name)
    } else {
        Err(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(keyspace: &str, directory: &str) -> Table {
        Table {
            keyspace: keyspace.into(),
            table: "t".into(),
            id: "0".into(),
            directory: directory.into(),
            schema: None,
        }
    }

    fn sstable(index: Option<&str>) -> SsTable {
        SsTable {
            sstable: "nb-1-big.00000001.17".into(),
            index: index.map(str::to_owned),
            data_directory: 0,
            first_token: None,
            last_token: None,
            content: None,
            components: Vec::new(),
        }
    }

    #[test]
    fn files_come_where_cassandra_has_them_and_nowhere_else() {
        let of =
            |keyspace, directory_, index| directory(&table(keyspace, directory_), &sstable(index));
        assert_eq!(
            of("shop", "orders-0af", None).unwrap(),
            ["shop", "orders-0af"]
        );
        let index = of("shop", "orders-0af", Some(".by_v")).unwrap();
        assert_eq!(index, ["shop", "orders-0af", ".by_v"]);
        for (keyspace, directory, index) in [
            ("..", "orders", None),
            ("", "orders", None),
            ("a/b", "orders", None),
            ("shop", "../orders", None),
            ("shop", ".", None),
            ("shop", "orders", Some("by_v")),
            ("shop", "orders", Some("..")),
            ("shop", "orders", Some(".../x")),
            ("shop", "a\0b", None),
        ] {
            assert!(
                of(keyspace, directory, index).is_err(),
                "{keyspace} {directory} {index:?}"
            );
        }
        for name in [
            "da-3gx0_0b2k_4s1ow2b3hk4gk5lq1s-bti-Data.db",
            "nb-1-big-SAI+aa+by_v+Meta.db",
        ] {
            assert!(plain(name).is_ok(), "{name}");
        }
        assert!(plain(&"x".repeat(256)).is_err());
    }

    #[test]
    fn what_a_node_knows_of_others_stays_away() {
        let of = |keyspace, name: &str| {
            is_restored(&Table {
                table: name.into(),
                ..table(keyspace, "x")
            })
        };
        assert!(of("system", "local") && of("shop", "peers"));
        assert!(!of("system", "peers") && !of("system", "peers_v2"));
    }
}
