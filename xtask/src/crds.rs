//! `cargo xtask crds`: custom resource definitions for clusters that lack them, in `deploy/crds`,
//! written from the types that read the resources and from what is checked of them.
//!
//! ```text
//! types ─► schema ─► structural: as the API server wants it ─► + rules ─► a file a kind
//! ```

mod names;
mod rules;
mod structural;

use std::{collections::BTreeMap, fs, path::Path};

use agent_model::resource::{Kind, schema};
use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::command::workspace;

const HEADER: &str = "\
# Written by `cargo xtask crds`; change the types or the rules, not this file.
# For clusters that lack it. `kubectl create` and `sekisho crds install` leave one alone that is there.
";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write nothing; fail where a file is not what the types say
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let folder = workspace().join("deploy/crds");
    let files = files()?;
    if options.check {
        return check(&folder, &files);
    }
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&folder)? {
        fs::remove_file(entry?.path())?;
    }
    for (name, text) in &files {
        fs::write(folder.join(name), text)?;
    }
    println!("{} files in {}", files.len(), folder.display());
    Ok(())
}

fn check(folder: &Path, files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let found: Vec<String> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for name in &found {
        ensure!(files.contains_key(name), "{name} is of no kind: run `cargo xtask crds`");
    }
    for (name, text) in files {
        let there = fs::read_to_string(folder.join(name)).unwrap_or_default();
        ensure!(there == *text, "{name} is not what the types say: run `cargo xtask crds`");
    }
    Ok(())
}

/// Each file's name and text.
fn files() -> anyhow::Result<BTreeMap<String, String>> {
    let kinds = Kind::ALL.iter().filter(|kind| schema::of_spec(**kind).is_some());
    kinds
        .map(|kind| {
            let definition = definition(*kind).with_context(|| kind.shown().to_owned())?;
            let name = definition["metadata"]["name"].as_str().unwrap_or_default();
            let text = format!("{HEADER}{}", serde_saphyr::to_string(&definition)?);
            Ok((format!("{name}.yaml"), text))
        })
        .collect()
}

fn definition(kind: Kind) -> anyhow::Result<Value> {
    let schema = schema::of_spec(kind).context("a kind with a schema")?;
    let mut spec = structural::rewritten(schema.to_value());
    let of_object = rules::apply(kind, &mut spec)?;
    let mut object = json!({
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    if object["properties"]["spec"].get("required").is_some() {
        object["required"] = json!(["spec"]);
    }
    if !of_object.is_empty() {
        object["x-kubernetes-validations"] = Value::Array(of_object);
    }
    let plural = kind.plural();
    let name = kind.name();
    let version = |version: &&str| {
        json!({
            "name": version,
            "served": true,
            "storage": *version == names::stored(kind),
            "schema": {"openAPIV3Schema": object},
            "subresources": {"status": {}},
            "additionalPrinterColumns":
                [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
        })
    };
    let versions: Vec<Value> = kind.versions().iter().map(version).collect();
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{}", kind.group()),
            "labels": {"app.kubernetes.io/managed-by": "sekisho"},
        },
        "spec": {
            "group": kind.group(),
            "scope": if kind.is_namespaced() { "Namespaced" } else { "Cluster" },
            "names": {
                "kind": name,
                "listKind": format!("{name}List"),
                "plural": plural,
                "singular": name.to_lowercase(),
                "shortNames": names::short(kind),
            },
            "versions": versions,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_what_the_types_say() {
        check(&workspace().join("deploy/crds"), &files().unwrap()).unwrap();
    }

    #[test]
    fn every_kind_with_a_schema_is_stored_in_exactly_one_version() {
        for kind in Kind::ALL.iter().filter(|kind| schema::of_spec(**kind).is_some()) {
            let definition = definition(*kind).unwrap();
            let versions = definition["spec"]["versions"].as_array().unwrap();
            let stored = versions.iter().filter(|version| version["storage"] == true).count();
            assert_eq!(stored, 1, "{}", kind.shown());
            assert_eq!(versions.len(), kind.versions().len());
        }
    }
}
