use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::*;
use crate::{object, store::Store};

fn contents() -> Contents {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": "db", "namespace": "shop"},
            "spec": {"hosts": ["db.example.com"], "ports": [{"number": 1, "name": "a"}]},
        }),
    ];
    let (mut store, mut texts) = (Store::default(), BTreeMap::new());
    for (number, object) in objects.into_iter().enumerate() {
        let text = Text::of(&object);
        let statement = object::read_object("place", "spot", object);
        texts.insert(statement.claims[0].key.clone(), text);
        store.say(number.to_string().into(), statement);
    }
    let objects = store.settle().objects;
    Contents { objects, texts: Arc::new(texts), ..Contents::default() }
}

/// All of a file.
fn read(path: &Path, node: &str) -> Result<Option<Vec<Value>>, SealError> {
    let mut objects = Vec::new();
    let written = super::read(path, node, |value| objects.push(value))?;
    Ok(written.map(|_| objects))
}

#[test]
fn what_is_written_is_read_by_the_same_node_and_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("objects.snapshot");
    assert!(read(&path, "node-1").unwrap().is_none());
    write(&path, "node-1", &contents()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let saved = read(&path, "node-1").unwrap().unwrap();
    let names: Vec<_> = saved.iter().map(|one| &one["metadata"]["name"]).collect();
    assert_eq!(names, ["shop", "db"]);
    assert_eq!(saved[0]["kind"], "Namespace");
    assert_eq!(saved[1]["spec"]["hosts"][0], "db.example.com");
    assert!(matches!(read(&path, "node-2"), Err(SealError::Node { .. })));
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("objects.snapshot");
    write(&path, "node-1", &contents()).unwrap();
    let whole = fs::read(&path).unwrap();
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert!(read(&path, "node-1").is_err(), "cut at {end}");
    }
    let body = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for at in body..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(matches!(read(&path, "node-1"), Err(SealError::Checksum)), "changed at {at}");
    }
}

#[test]
fn another_layout_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("objects.snapshot");
    write(&path, "node-1", &contents()).unwrap();
    let text = fs::read_to_string(&path).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    fs::write(&path, text).unwrap();
    assert!(matches!(read(&path, "node-1"), Err(SealError::Format { version: 2, .. })));
}

#[test]
fn a_draft_that_a_crash_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("objects.snapshot");
    fs::write(path.with_extension("draft"), "half").unwrap();
    write(&path, "node-1", &contents()).unwrap();
    assert!(read(&path, "node-1").unwrap().is_some());
    assert!(!path.with_extension("draft").exists());
}
