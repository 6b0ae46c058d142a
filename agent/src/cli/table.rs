//! Columns for people.

/// Characters of a cell that are shown at most. More than 65,535 cannot be formatted.
const WIDEST: usize = 1000;

/// Rows below a heading, each column as wide as its widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.map(str::to_owned).to_vec()],
        }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(shown).to_vec());
    }

    /// The table, a line a row.
    pub fn draw(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}   "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell as people can read it: anybody may have written what is in a storage.
fn shown(cell: String) -> String {
    let plain = !cell.chars().any(char::is_control);
    if plain && cell.len() <= WIDEST {
        return cell;
    }
    let legible = cell.chars().map(|c| match c.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    });
    let mut text: String = legible.clone().take(WIDEST).collect();
    if legible.count() > WIDEST {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "NODES"]);
        table.row(["a-long-name".into(), "3/3".into()]);
        table.row(["ü".into(), String::new()]);
        assert_eq!(table.draw(), "NAME          NODES\na-long-name   3/3\nü\n");
    }

    #[test]
    fn whatever_is_in_a_cell_it_is_one_cell_of_a_line() {
        let mut table = Table::new(["NAME", "SERIES"]);
        table.row(["a\nb\u{1b}[2J".into(), "é".repeat(100_000)]);
        let drawn = table.draw();
        assert_eq!(drawn.lines().count(), 2);
        assert!(drawn.contains("a\u{fffd}b\u{fffd}[2J"));
        assert!(drawn.contains(&format!("{}…\n", "é".repeat(WIDEST))));
    }
}
