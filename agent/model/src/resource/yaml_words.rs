//! What is wrong with a text that is no YAML, in the words of the manifest's author: the parser
//! speaks of its own types and options.

use serde_saphyr::{Error, MessageFormatter as _, UserMessageFormatter};

/// What an error says, without the place, which has a field of its own.
pub(super) fn in_words(error: &Error) -> String {
    let fixed = match error.without_snippet() {
        Error::AliasError { error, .. } => return in_words(error),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            return format!("the key {key:?} is there twice: keep one");
        }
        Error::UnsupportedTag { tag, .. } => {
            return format!("the tag {tag:?} is not read here: remove it");
        }
        Error::NonFiniteFloat { value, .. } => {
            return format!("found {value}, expected a number that ends");
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key is there twice: keep one",
        Error::Budget { .. } => "it is too large, or too deep: split it into several documents",
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "its aliases stand for too much: write the values out"
        }
        Error::UnknownAnchor { .. } => "there is no anchor of this alias's name",
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias is inside of what it stands for: write the value out"
        }
        Error::MergeKeyNotAllowed { .. } | Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            "the key << takes a mapping, or a list of mappings"
        }
        Error::Eof { .. } => "it ends in the middle",
        Error::MultipleDocuments { .. } => TWO_DOCUMENTS,
        Error::Unexpected { .. } | Error::NullIntoString { .. } => {
            "a key that is no string: put it in quotes"
        }
        Error::InvalidScalar { .. } | Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            "a value is not of the type that its tag says: remove the tag"
        }
        Error::InvalidBinaryBase64 { .. } => "what follows the tag !!binary is not base64",
        Error::BinaryNotUtf8 { .. } => "what follows the tag !!binary is not UTF-8",
        other => return plain(&UserMessageFormatter.format_message(other)),
    };
    fixed.to_owned()
}

/// Whether the words name the place themselves.
pub(super) fn is_about_a_key(error: &Error) -> bool {
    matches!(error.without_snippet(), Error::DuplicateMappingKey { key: Some(_), .. })
}

const TWO_DOCUMENTS: &str = "another document begins here: put a line --- before it";

/// Words of the parser, and what to say in their place.
const PLAIN: [(&str, &str); 12] = [
    ("did not find expected <document start>", TWO_DOCUMENTS),
    ("unexpected EOF", "it ends"),
    ("unexpected eof", "it ends in the middle"),
    ("multiline text", "text of several lines"),
    ("flow sequence", "list in brackets"),
    ("block sequence", "list"),
    ("flow mapping", "mapping in braces"),
    ("block mapping", "mapping"),
    ("sequence", "list"),
    ("quoted scalar", "string in quotes"),
    ("block scalar", "text of several lines"),
    ("scalar", "value"),
];

fn plain(text: &str) -> String {
    PLAIN.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}
