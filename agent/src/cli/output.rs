//! Aligned words, colours, JSON and YAML.

use std::fmt::Write as _;

use serde::Serialize;

use crate::args::Format;

/// What a word means, where a colour may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Wrong, or refused.
    Bad,
    /// A heading.
    Strong,
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) const fn new(colours: bool) -> Self {
        Self(colours)
    }

    /// The word in its colour (ECMA-48 SGR).
    pub(super) fn word(self, tone: Tone, word: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Doubtful => 33,
            Tone::Bad => 31,
            Tone::Strong => 1,
        };
        if self.0 { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
    }
}

/// Anything as JSON or YAML; `None` for a table, which each command makes itself.
pub(super) fn encode<T: Serialize>(format: Format, value: &T) -> anyhow::Result<Option<String>> {
    Ok(match format {
        Format::Table => None,
        Format::Json => Some(serde_json::to_string_pretty(value)? + "\n"),
        Format::Yaml => Some(serde_saphyr::to_string(value)?),
    })
}

/// Rows of cells with aligned columns.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), tone: None }
    }
}

impl Table {
    /// A table with a heading.
    pub(super) fn new(heading: &[&str]) -> Self {
        let cell = |text: &&str| Cell { tone: Some(Tone::Strong), ..Cell::from(*text) };
        Self { rows: vec![heading.iter().map(cell).collect()] }
    }

    /// Adds a row; the cell at `toned` has a tone.
    pub(super) fn row(&mut self, cells: &[&str], toned: Option<(usize, Tone)>) {
        let cell = |(at, text): (usize, &&str)| {
            let tone = toned.filter(|(toned, _)| *toned == at).map(|(_, tone)| tone);
            Cell { tone, ..Cell::from(*text) }
        };
        self.rows.push(cells.iter().enumerate().map(cell).collect());
    }

    /// The table, each line behind `indent` and without blanks at its end.
    pub(super) fn text(&self, indent: &str, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(indent);
            for (column, cell) in row.iter().enumerate() {
                // The blanks stay outside the colours, which have no width.
                let last = row[column + 1..].iter().all(|cell| cell.text.is_empty());
                let blanks = widths[column] - cell.text.chars().count() + 2;
                let word = cell
                    .tone
                    .map_or_else(|| cell.text.clone(), |tone| paint.word(tone, &cell.text));
                let _ = write!(text, "{word}{:1$}", "", if last { 0 } else { blanks });
                if last {
                    break;
                }
            }
            text.push('\n');
        }
        text
    }
}

/// A number of bytes for people.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((size, unit)) = UNITS.iter().find(|(size, _)| count >= *size) else {
        return format!("{count} B");
    };
    format!("{}.{} {unit}", count / size, count % size * 10 / size)
}

/// A time for people, from microseconds.
pub(super) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        1_000_000..60_000_000 => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        _ => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_last_word() {
        let mut table = Table::new(&["POD", "STATE", "WHY"]);
        table.row(&["shop/web-0", "enrolled", ""], Some((1, Tone::Good)));
        table.row(&["a/b", "", "ünïcödé"], None);
        let plain = table.text("  ", Paint::new(false));
        assert_eq!(
            plain,
            concat!(
                "  POD         STATE     WHY\n",
                "  shop/web-0  enrolled\n",
                "  a/b                   ünïcödé\n",
            )
        );
        let coloured = table.text("  ", Paint::new(true));
        assert!(coloured.contains("\x1b[32menrolled\x1b[0m\n"), "{coloured:?}");
        let bare = coloured.replace("\x1b[32m", "").replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert_eq!(bare, plain);
    }

    #[test]
    fn numbers_are_for_people() {
        for (count, wanted) in
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_572_864, "1.5 MiB")]
        {
            assert_eq!(bytes(count), wanted);
        }
        for (us, wanted) in [
            (0, "0 us"),
            (1_500, "1.5 ms"),
            (2_340_000, "2.3 s"),
            (61_000_000, "1 min 1 s"),
            (3_600_000_000, "60 min 0 s"),
        ] {
            assert_eq!(duration(us), wanted);
        }
    }
}
