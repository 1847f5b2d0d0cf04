use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::*;

type Fields = BTreeMap<String, BTreeSet<Target>>;

/// What the sources of the agent write, which is all that there is: the macros take names only.
#[test]
fn the_list_is_what_is_written() {
    let mut written = Fields::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent")) {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for level in ["error", "warn", "info", "debug", "trace"] {
            for (at, start) in text.match_indices(&format!("tracing::{level}!(")) {
                note(&arguments(&text[at + start.len()..]), &mut written);
            }
        }
    }
    let targets = |field: &Field| field.targets.iter().copied().collect();
    let listed: Fields =
        FIELDS.iter().map(|field| (field.name.to_owned(), targets(field))).collect();
    assert_eq!(listed, written, "left what is listed, right what is written");
    assert!(FIELDS.is_sorted_by_key(|field| field.name), "by name");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "target" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs")
            && name != "tests.rs"
            && name != "build.rs"
        {
            found.push(path);
        }
    }
    found
}

/// The arguments of a call, without the braces that may stand around fields.
fn arguments(text: &str) -> Vec<String> {
    let (mut all, mut last) = (Vec::new(), String::new());
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for letter in text.chars() {
        let inside = quoted;
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if inside => {}
            '(' | '[' | '{' if !(letter == '{' && last.trim().is_empty()) => depth += 1,
            '{' => continue,
            ')' if depth == 0 => break,
            '}' if depth == 0 => continue,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(std::mem::take(&mut last));
                continue;
            }
            _ => {}
        }
        last.push(letter);
    }
    all.push(last);
    all
}

fn note(arguments: &[String], written: &mut Fields) {
    let mut target = Module;
    for argument in arguments.iter().map(|argument| argument.trim()) {
        if let Some(named) = argument.strip_prefix("target:") {
            let named = named.trim().trim_matches('"');
            let found = [Access, Deny, Config].into_iter().find(|one| one.name() == named);
            target = found.unwrap_or_else(|| panic!("no target {named}"));
            continue;
        }
        if argument.is_empty() || argument.starts_with('"') {
            continue;
        }
        let (name, rest) = argument.split_once(" = ").unwrap_or((argument, ""));
        let name = name.trim_start_matches(['%', '?']);
        // Without a value of its own a path stands for its last part only where it is a variable.
        assert!(!rest.is_empty() || !name.contains('.'), "{argument}: give it a name");
        written.entry(name.to_owned()).or_default().insert(target);
    }
}
