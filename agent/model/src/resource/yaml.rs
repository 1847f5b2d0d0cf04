//! Text to documents. A document that is not YAML does not take its neighbours with it.

use serde::de;
use serde_json::Value;

use super::yaml_words::{in_words, is_about_a_key};

/// One document of a stream.
#[derive(Debug)]
pub struct Document {
    /// Its place in the stream, from 1, empty ones counted.
    pub number: usize,
    /// The line that it starts at, from 1.
    pub line: usize,
    /// What it holds.
    pub value: Result<Value, YamlError>,
}

/// A document that is not YAML.
#[derive(Debug, thiserror::Error)]
#[error("not YAML at line {line}: {source}")]
pub struct YamlError {
    /// The line in the whole stream, from 1.
    pub line: u64,
    /// What the parser says; its own line numbers count from the document's start.
    #[source]
    pub source: NotYaml,
}

/// The text of one document of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its place in the stream, from 1, empty ones counted.
    pub number: usize,
    /// The line that it starts at, from 1.
    pub line: usize,
    /// The text, with the marker that it begins with.
    pub text: &'a str,
}

/// The documents of a stream, without the empty ones. JSON is YAML too.
pub fn documents(text: &str) -> Vec<Document> {
    split(text).into_iter().filter_map(Part::read).collect()
}

/// Cuts a stream into documents without reading them. Objects of JSON may follow each other without
/// a marker, as `kubectl` reads them.
///
/// A marker at the start of a line ends a document whatever comes before it: block scalars are
/// indented, and YAML forbids it inside quotes.
pub fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 1, 0);
    let mut push = |line, text| {
        for (line, text) in json_objects(line, text) {
            parts.push(Part { number: parts.len() + 1, line, text });
        }
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line.trim_end() == "---" || line.starts_with("--- ");
        if is_marker && offset > start {
            push(first_line, &text[start..offset]);
            (start, first_line) = (offset, index + 1);
        }
        offset += line.len();
    }
    push(first_line, &text[start..]);
    parts
}

/// The values of a text that is JSON, each with its line; else the text itself. Where JSON ends, the
/// rest is a document of its own: it does not take those before it along.
fn json_objects(line: usize, text: &str) -> Vec<(usize, &str)> {
    let whole = vec![(line, text)];
    let mut start = json_start(text);
    let json = &text[start..];
    if !json.starts_with('{') {
        return whole;
    }
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<de::IgnoredAny>();
    let (offset, mut found) = (start, Vec::new());
    let mut push = |from: usize, to: usize| {
        let from = from + text[from..to].len() - text[from..to].trim_start().len();
        let first = line + text[..from].matches('\n').count();
        found.push((first, &text[from..to]));
    };
    while let Some(value) = values.next() {
        if value.is_ok() {
            let end = offset + values.byte_offset();
            push(start, end);
            start = end;
        } else if start == offset {
            return whole;
        } else {
            push(start, text.len());
            break;
        }
    }
    if found.len() > 1 { found } else { whole }
}

/// Where a text begins to say something: a byte order mark, a marker, comments and blanks come before
/// that.
fn json_start(text: &str) -> usize {
    let mut rest = text.trim_start_matches('\u{feff}');
    loop {
        rest = rest.trim_start();
        let is_marker = rest == "---"
            || rest.strip_prefix("---").is_some_and(|rest| rest.starts_with(char::is_whitespace));
        if is_marker {
            rest = &rest[3..];
        } else if rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else {
            return text.len() - rest.len();
        }
    }
}

impl Part<'_> {
    /// What the document holds; `None` for an empty one.
    pub fn read(self) -> Option<Document> {
        let Self { number, line, text } = self;
        let value = read(text, line);
        (!matches!(value, Ok(Value::Null))).then_some(Document { number, line, value })
    }
}

fn read(text: &str, first_line: usize) -> Result<Value, YamlError> {
    let only_comments = |line: &str| {
        let line = line.trim();
        line.is_empty() || line == "---" || line.starts_with('#')
    };
    if text.lines().all(only_comments) {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|source| {
        let within = source.location().map_or(1, |location| location.line());
        YamlError { line: first_line as u64 + within - 1, source: NotYaml::from(source) }
    })
}

/// What the parser says, without its own options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotYaml(String);

impl From<serde_saphyr::Error> for NotYaml {
    fn from(error: serde_saphyr::Error) -> Self {
        Self(in_words(&error))
    }
}

impl NotYaml {
    /// The same with the place, of a text that has none of its own.
    pub(super) fn with_place(error: &serde_saphyr::Error) -> Self {
        let place = error.location().filter(|_| !is_about_a_key(error));
        let place = place.map(|at| format!(" at line {}, column {}", at.line(), at.column()));
        Self(in_words(error) + &place.unwrap_or_default())
    }
}

/// Keys given twice are refused, as by Kubernetes' own reader. The budget lets a list with a hundred
/// thousand addresses through; the limits on aliases are the parser's own.
pub(super) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: 4_000_000, max_events: 16_000_000 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_document_leaves_the_others_whole() {
        let found =
            documents("# note\n---\na: 1\n---\nb: [\n---\n# nothing\n---\nc: |\n  ---\n  x\n");
        let lines: Vec<(usize, usize)> = found.iter().map(|one| (one.number, one.line)).collect();
        assert_eq!(lines, [(2, 2), (3, 4), (5, 8)]);
        assert_eq!(found[0].value.as_ref().unwrap()["a"], 1);
        let broken = found[1].value.as_ref().unwrap_err();
        assert!((5..=6).contains(&broken.line), "{broken}");
        assert_eq!(found[2].value.as_ref().unwrap()["c"], "---\nx\n");
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let found = documents("spec: 1\nspec: 2\n");
        let error = found[0].value.as_ref().unwrap_err();
        assert_eq!(error.line, 2);
        assert_eq!(
            error.to_string(),
            "not YAML at line 2: the key \"spec\" is there twice: keep one"
        );
    }

    #[test]
    fn objects_of_json_may_follow_each_other() {
        let found = documents("{\"a\": 1}\n\n{\"b\": \"}{\"} {\"c\": [\n3]}\n---\n{d: 4}\n");
        let lines: Vec<(usize, usize)> = found.iter().map(|one| (one.number, one.line)).collect();
        assert_eq!(lines, [(1, 1), (2, 3), (3, 3), (4, 5)]);
        let values: Vec<&Value> = found.iter().map(|one| one.value.as_ref().unwrap()).collect();
        assert_eq!(values[1]["b"], "}{");
        assert_eq!(values[2]["c"][0], 3);
        assert_eq!(values[3]["d"], 4);
        // One that is broken does not take the one before it along.
        let broken = documents("{\"a\": 1}\n{\"b\": ]}x\n");
        assert_eq!((broken.len(), broken[1].line), (2, 2));
        assert_eq!(broken[0].value.as_ref().unwrap()["a"], 1);
        assert!(broken[1].value.is_err());
        let broken = documents("{\"a\": ]}\n{\"b\": 1}\n");
        assert!(broken.len() == 1 && broken[0].value.is_err());
    }

    #[test]
    fn marks_and_comments_may_come_before_objects_of_json() {
        for before in
            ["\u{feff}", "---\n", "# note\n\n# {\n", "\u{feff}# note\n--- # here\n\n", "--- "]
        {
            let text = format!("{before}{{\"a\": 1}}\n{{\"b\": 2}}\n# the end\n---\nc: 3\n");
            let found = documents(&text);
            assert_eq!(found.len(), 3, "{text:?}: {found:?}");
            let line = text[..text.find("{\"b").unwrap()].matches('\n').count() + 1;
            assert_eq!(found[1].line, line, "{text:?}");
            let values: Vec<&Value> = found.iter().map(|one| one.value.as_ref().unwrap()).collect();
            assert_eq!(
                (&values[0]["a"], &values[1]["b"], &values[2]["c"]),
                (&1.into(), &2.into(), &3.into())
            );
        }
    }
}
