//! `sekisho reference`: the pages of `docs/reference`, written from the program's own tables.
//!
//! A page says the same on every machine: no version, no date, nothing of the environment.

mod command_line;
mod metrics;
mod tables;

use crate::args::{Page, ReferenceArgs};

pub(super) fn run(args: &ReferenceArgs) -> anyhow::Result<String> {
    let (title, about, body) = match args.page {
        Page::Cli => ("Command line", command_line::ABOUT, command_line::page()),
        Page::Metrics => ("Metrics", metrics::ABOUT, metrics::page()?),
        Page::LogFields => ("Log fields", tables::ABOUT_FIELDS, tables::log_fields()),
        Page::FindingCodes => ("Finding codes", tables::ABOUT_CODES, tables::finding_codes()),
        Page::Annotations => ("Labels and annotations", tables::ABOUT_KEYS, tables::annotations()),
    };
    let written =
        "<!-- Written by `cargo xtask docs`; change the program's tables, not this file. -->";
    Ok(format!("{written}\n\n# {title}\n\n{about}\n\n{body}"))
}

/// A table.
fn table<const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let line = |cells: &[String; N]| format!("| {} |\n", cells.join(" | "));
    let rule = [(); N].map(|()| "---".to_owned());
    let mut text = line(&heading.map(str::to_owned)) + &line(&rule);
    for row in rows {
        text.push_str(&line(&row.map(|cell| plain(&cell))));
    }
    text
}

/// A text on one line in which nothing stands for Markdown but code.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut is_code = false;
    for letter in text.chars() {
        match letter {
            '`' => is_code = !is_code,
            '<' if !is_code => plain.push('\\'),
            '|' => plain.push('\\'),
            _ => {}
        }
        plain.push(if letter == '\n' { ' ' } else { letter });
    }
    plain
}

/// As code.
fn code(text: &str) -> String {
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_page_is_written_the_same_each_time() {
        for page in Page::value_variants() {
            let args = ReferenceArgs { page: *page };
            let text = run(&args).unwrap();
            assert_eq!(text, run(&args).unwrap());
            assert!(!text.contains(env!("CARGO_PKG_VERSION")), "{page:?} names a version");
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{page:?}");
        }
    }

    #[test]
    fn a_cell_is_one_line_and_no_markup() {
        assert_eq!(plain("a <b>\n`<c>` | d"), "a \\<b> `<c>` \\| d");
    }
}
