//! Rows of cells with aligned columns, no wider than the terminal: what does not fit goes on below,
//! in its own column.

use super::{Paint, Tone, wrap::lines};

/// The blanks between columns.
const GAP: usize = 2;
/// Narrower columns than this cannot be read: each row is then a paragraph.
const LEAST: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::cli) struct Table {
    has_heading: bool,
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
    pub(in crate::cli) fn new(heading: &[&str]) -> Self {
        let cell = |text: &&str| Cell { tone: Some(Tone::Strong), ..Cell::from(*text) };
        Self { has_heading: true, rows: vec![heading.iter().map(cell).collect()] }
    }

    /// Adds a row; the cell at `toned` has a tone.
    pub(in crate::cli) fn row(&mut self, cells: &[&str], toned: Option<(usize, Tone)>) {
        let cell = |(at, text): (usize, &&str)| {
            let tone = toned.filter(|(toned, _)| *toned == at).map(|(_, tone)| tone);
            Cell { tone, ..Cell::from(*text) }
        };
        self.rows.push(cells.iter().enumerate().map(cell).collect());
    }

    /// The table, each line behind `indent` and without blanks at its end.
    pub(in crate::cli) fn text(&self, indent: &str, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let wanted: Vec<usize> = (0..columns).map(width).collect();
        let room = paint.width.map(|width| width.saturating_sub(indent.chars().count()));
        match fit(&wanted, room) {
            Some(widths) => {
                self.rows.iter().map(|row| row_text(row, &widths, indent, paint)).collect()
            }
            None => self.paragraphs(indent, paint),
        }
    }

    /// Each row's cells one below the other.
    fn paragraphs(&self, indent: &str, paint: Paint) -> String {
        let (heading, rows) = match self.rows.split_first() {
            Some((heading, rows)) if self.has_heading => (heading.as_slice(), rows),
            _ => (&[][..], self.rows.as_slice()),
        };
        let mut text = String::new();
        for row in rows {
            for (at, cell) in row.iter().enumerate().filter(|(_, cell)| !cell.text.is_empty()) {
                let (mark, room) = match (at, paint.width) {
                    (0, width) => ("", width),
                    (_, width) => ("  ", width.map(|width| width.saturating_sub(2))),
                };
                let room = room.map(|room| room.saturating_sub(indent.chars().count()));
                let name = heading.get(at).map(|name| format!("{}: ", name.text.to_lowercase()));
                let name = name.filter(|_| at > 0).unwrap_or_default();
                for line in lines(&format!("{name}{}", cell.text), room) {
                    let line = cell.tone.map_or(line.clone(), |tone| paint.word(tone, &line));
                    text.extend([indent, mark, &line, "\n"]);
                }
            }
        }
        text
    }
}

fn row_text(row: &[Cell], widths: &[usize], indent: &str, paint: Paint) -> String {
    let cells = row.iter().map(|cell| cell.text.as_str());
    let rows = in_columns(cells, widths, |at, part| {
        let tone = row.get(at).and_then(|cell| cell.tone);
        tone.map_or_else(|| part.to_owned(), |tone| paint.word(tone, part))
    });
    rows.iter().flat_map(|line| [indent, line, "\n"]).collect()
}

/// The lines of cells in columns of these widths, each cell going on below where it does not fit. Each
/// part is painted by the number of its column.
pub(in crate::cli) fn in_columns<'a>(
    cells: impl IntoIterator<Item = &'a str>,
    widths: &[usize],
    painted: impl Fn(usize, &str) -> String,
) -> Vec<String> {
    let cells: Vec<Vec<String>> =
        cells.into_iter().zip(widths).map(|(cell, width)| lines(cell, Some(*width))).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let line = |number: usize| {
        let (mut line, mut blanks) = (String::new(), 0);
        for (at, (parts, width)) in cells.iter().zip(widths).enumerate() {
            let part = parts.get(number).map_or("", String::as_str);
            if !part.is_empty() {
                // The blanks stay outside the colours, which have no width.
                line.extend(std::iter::repeat_n(' ', blanks));
                blanks = 0;
                line += &painted(at, part);
            }
            blanks += width.saturating_sub(part.chars().count()) + GAP;
        }
        line
    };
    (0..height).map(line).collect()
}

/// The widths of columns that want these and have this room; `None` where too little is left for each.
/// The widest give first.
pub(in crate::cli) fn fit(wanted: &[usize], room: Option<usize>) -> Option<Vec<usize>> {
    let Some(room) = room else { return Some(wanted.to_vec()) };
    let room = room.saturating_sub(GAP * wanted.len().saturating_sub(1));
    let takes = |most: usize| wanted.iter().map(|width| (*width).min(most)).sum::<usize>();
    let widest = wanted.iter().copied().max().unwrap_or(0);
    let most = (0..=widest).rev().find(|most| takes(*most) <= room)?;
    if most < widest.min(LEAST) {
        return None;
    }
    let mut widths: Vec<usize> = wanted.iter().map(|width| (*width).min(most)).collect();
    // What is left over goes to the last that can use it: that is where the sentences are.
    let left = room - takes(most);
    if let Some(at) = (0..wanted.len()).rev().find(|at| wanted[*at] > most) {
        widths[at] = wanted[at].min(most + left);
    }
    Some(widths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["POD", "STATE", "WHY"]);
        table.row(&["shop/web-0", "enrolled", ""], Some((1, Tone::Good)));
        table.row(&["a/b", "", "ünïcödé"], None);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_last_word() {
        let table = sample();
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
    fn what_does_not_fit_goes_on_below() {
        let mut table = sample();
        table.row(&["shop/job", "failing", "its namespace has no label, and none is known"], None);
        assert_eq!(
            table.text("  ", Paint::new(false).within(40)),
            concat!(
                "  POD         STATE     WHY\n",
                "  shop/web-0  enrolled\n",
                "  a/b                   ünïcödé\n",
                "  shop/job    failing   its namespace\n",
                "                        has no label,\n",
                "                        and none is\n",
                "                        known\n",
            )
        );
        assert_eq!(
            table.text("", Paint::new(false).within(20)),
            concat!(
                "shop/web-0\n",
                "  state: enrolled\n",
                "a/b\n",
                "  why: ünïcödé\n",
                "shop/job\n",
                "  state: failing\n",
                "  why: its namespace\n",
                "  has no label, and\n",
                "  none is known\n",
            )
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut table = Table::new(&["CLUSTER", "PROTOCOL", "A", "B", "C", "D", "ENDPOINTS"]);
        let long = "outbound|9080|v1|reviews.shop.svc.cluster.local".repeat(3);
        table.row(&[&long, "http", "", "1 2 3", "x", &long, "10.0.0.1:80, 10.0.0.2:80"], None);
        for width in 8..200 {
            let text = table.text("  ", Paint::new(false).within(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}: {text}");
            assert_eq!(text.matches('9').count(), 6, "{width}: {text}");
        }
    }
}
