//! Columns as kubectl draws them.

use comfy_table::{Table, presets};

/// A table with these headings.
pub fn columns<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(headings);
    table
}

/// The table, a line a row.
pub fn draw(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let text = table.trim_fmt();
    let lines = text.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}
