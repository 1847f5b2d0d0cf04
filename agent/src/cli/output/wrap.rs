//! Text in lines of a width.

/// The lines of a text, none wider than this. A word that is too long is cut; ends of lines in the text
/// stay.
pub(in crate::cli) fn lines(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![text.to_owned()] };
    text.split('\n').flat_map(|line| wrapped(line, width.max(1))).collect()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    if visible(text) <= width {
        return vec![text.to_owned()];
    }
    let (mut lines, mut line, mut long) = (Vec::new(), String::new(), 0);
    for word in text.split(' ') {
        if long > 0 && long + 1 + visible(word) > width {
            lines.push(std::mem::take(&mut line));
            long = 0;
        }
        if long > 0 {
            line.push(' ');
            long += 1;
        }
        for (letter, size) in letters(word) {
            if size > 0 && long == width {
                lines.push(std::mem::take(&mut line));
                long = 0;
            }
            line.push(letter);
            long += size;
        }
    }
    lines.push(line);
    lines
}

/// A text behind a name, the lines after the first as far in as the first one's text begins.
pub(in crate::cli) fn beside(name: &str, text: &str, width: Option<usize>) -> String {
    let indent = visible(name);
    // Where nearly nothing is left beside the name, the text is told below it.
    let (indent, first) = match width {
        Some(width) if width < indent + 20 && indent > 4 => (2, format!("{}\n  ", name.trim_end())),
        _ => (indent, name.to_owned()),
    };
    let room = width.map(|width| width.saturating_sub(indent));
    let lines = lines(text, room);
    format!("{first}{}\n", lines.join(&format!("\n{:indent$}", "")))
}

/// How wide a text is shown.
fn visible(text: &str) -> usize {
    letters(text).map(|(_, size)| size).sum()
}

/// Each letter with its width: colours (ECMA-48 SGR) have none.
fn letters(text: &str) -> impl Iterator<Item = (char, usize)> {
    text.chars().scan(false, |in_colour, letter| {
        let size = usize::from(!*in_colour && letter != '\x1b');
        *in_colour = letter == '\x1b' || (*in_colour && letter != 'm');
        Some((letter, size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_where_they_fit() {
        assert_eq!(lines("a bc def", None), ["a bc def"]);
        assert_eq!(lines("a bc def", Some(8)), ["a bc def"]);
        assert_eq!(lines("a bc def", Some(7)), ["a bc", "def"]);
        assert_eq!(lines("abcdefgh ij", Some(3)), ["abc", "def", "gh", "ij"]);
        assert_eq!(lines("a\nbc de", Some(2)), ["a", "bc", "de"]);
        assert_eq!(lines("", Some(2)), [""]);
        assert_eq!(lines("a \x1b[31mbc d\x1b[0m e", Some(4)), ["a \x1b[31mbc", "d\x1b[0m e"]);
    }

    #[test]
    fn what_follows_the_first_line_is_indented() {
        assert_eq!(beside("name  ", "a b", Some(80)), "name  a b\n");
        let text = "one two three four five six";
        assert_eq!(beside("n  ", text, Some(24)), "n  one two three four\n   five six\n");
        assert_eq!(
            beside("\x1b[1mn\x1b[0m  ", text, Some(24)),
            "\x1b[1mn\x1b[0m  one two three four\n   five six\n"
        );
        assert_eq!(
            beside("a longer name  ", "one two three", Some(20)),
            "a longer name\n  one two three\n"
        );
    }
}
