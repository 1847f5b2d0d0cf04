//! Aligned words, colours, JSON and YAML.

mod table;
mod wrap;

use serde::Serialize;

pub(super) use table::{Table, fit, in_columns};
use wrap::beside;

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

/// What a terminal can show: colours, or none, and how many letters beside each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    colours: bool,
    /// `None` for a file or a pipe, which hold lines of any width.
    pub(super) width: Option<usize>,
}

impl Paint {
    pub(super) const fn new(colours: bool) -> Self {
        Self { colours, width: None }
    }

    /// The same in lines of this width.
    pub(super) const fn within(self, width: usize) -> Self {
        Self { width: Some(width), ..self }
    }

    /// Text behind a name, in lines that fit.
    pub(super) fn beside(self, name: &str, text: &str) -> String {
        beside(name, text, self.width)
    }

    /// The word in its colour (ECMA-48 SGR).
    pub(super) fn word(self, tone: Tone, word: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Doubtful => 33,
            Tone::Bad => 31,
            Tone::Strong => 1,
        };
        if self.colours { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
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
