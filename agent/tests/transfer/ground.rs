//! What is transferred, and for whom.

use std::path::Path;

use agent::run_context::Run;
use agent::testing::*;
use manifest::SsTableDir;
use store::Key;
use uuid::Uuid;

/// One SSTable of so many files of these sizes.
pub fn inventory(sizes: impl Iterator<Item = u64>) -> Inventory {
    let prefix = Key::parse("c").unwrap();
    let items = sizes.enumerate().map(|(number, size)| {
        let stat = Stat {
            device: 1,
            inode: number as u64,
            size,
            modified: 0,
        };
        let name = number.to_string().into();
        let at = Path::new("").into();
        Item::named(SnapshotFile { name, stat }, at, &prefix, None, None).unwrap()
    });
    let sstable = InventorySsTable {
        dir: SsTableDir::without_digest("nb-1-big", &blake3::hash(b""), 0),
        numeric_id: true,
        index: None,
        data_directory: 0,
        bounds: None,
        content: None,
        items: items.collect(),
        damaged: false.into(),
    };
    Inventory {
        tables: vec![InventoryTable {
            keyspace: "shop".into(),
            table: "orders".into(),
            id: "0".into(),
            directory: "orders-0".into(),
            schema: None,
            sstables: vec![sstable],
        }],
    }
}

/// A run with this state directory.
pub fn run(state: &Path) -> Run {
    Run::unheard(Uuid::from_u128(1), state.to_owned())
}
