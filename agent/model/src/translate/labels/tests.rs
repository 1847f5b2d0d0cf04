use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;

/// What has the form of a key and is none: protocols, conditions, a controller's name.
const OTHERS: [&str; 12] = [
    // A key in what a container runtime writes.
    "cni.dev/valid-attachments",
    // On bookmarks, where a watch has told all that was there.
    "k8s.io/initial-events-end",
    // Left out when an object is saved.
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubernetes.io/h2c",
    "kubernetes.io/ws",
    "kubernetes.io/wss",
    "sekisho.dev/Accepted",
    "sekisho.dev/Enforced",
    "sekisho.dev/agent",
    // Words of a list in a DestinationRule.
    "topology.istio.io/subzone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

#[test]
fn the_list_has_every_key_that_the_sources_name() {
    let mut named = BTreeSet::new();
    let mut texts = String::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")) {
        let text = fs::read_to_string(file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        named.extend(text.split('"').filter(|word| is_key(word)).map(str::to_owned));
        texts.push_str(text);
    }
    let listed: BTreeSet<String> = ALL.iter().map(|key| key.name.to_owned()).collect();
    let missing: Vec<_> = named.difference(&listed).collect();
    assert!(missing.is_empty(), "not in the list: {missing:?}");
    for key in &listed {
        assert!(texts.contains(&format!("\"{key}\"")), "{key} is read nowhere");
    }
    assert!(ALL.is_sorted_by_key(|key| key.name), "by name");
}

fn is_key(word: &str) -> bool {
    let Some((domain, name)) = word.split_once('/') else { return false };
    let is_domain = [".io", ".dev", ".aws"].iter().any(|end| domain.ends_with(end));
    let is_version = name.starts_with('v') && name[1..].starts_with(|c: char| c.is_ascii_digit());
    let is_name = |name: &str| !name.is_empty() && name.chars().all(char::is_alphanumeric);
    let fits = name.split(['-', '.']).all(is_name);
    is_domain && fits && !is_version && !domain.contains([' ', ':']) && !OTHERS.contains(&word)
}

/// All sources but this list and tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs")
            && name != "tests.rs"
            && name != "labels.rs"
        {
            found.push(path);
        }
    }
    found
}
