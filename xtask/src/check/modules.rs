//! Which module may know which, inside each crate.
//!
//! Two rules, read from the paths in the sources:
//!
//! - Children of one module form no circle, at any level. A child that uses an item of its parent,
//!   and a parent that uses its children, are no arrows.
//! - In the crates of [`ORDERS`] a top-level module uses only those that its list names before it.
//!
//! Tests count: a test that needs a module from above stands in the wrong file.

mod orders;
mod paths;
mod tree;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::{cargo, quiet, workspace};
use orders::ORDERS;
use tree::{Arrow, Tree};

pub(crate) fn check() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for (name, folder) in crates()? {
        let tree = read(&folder).with_context(|| name.clone())?;
        let order = ORDERS.iter().find(|order| order.name == name);
        problems.extend(judge(&name, &tree.arrows(), order.map(|order| order.modules)));
    }
    if problems.is_empty() { Ok(()) } else { bail!("\n  {}", problems.join("\n  ")) }
}

/// The crates of the workspace with the folders of their sources.
fn crates() -> anyhow::Result<Vec<(String, std::path::PathBuf)>> {
    let described =
        quiet(cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let described: Value = serde_json::from_str(&described)?;
    let packages = described["packages"].as_array().context("cargo lists packages")?;
    let of = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        Some((package["name"].as_str()?.to_owned(), manifest.parent()?.join("src")))
    };
    Ok(packages.iter().filter_map(of).collect())
}

fn read(folder: &Path) -> anyhow::Result<Tree> {
    let shown = folder.strip_prefix(workspace()).unwrap_or(folder).display().to_string();
    let mut files = BTreeMap::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                files.insert(path.strip_prefix(folder)?.display().to_string(), text);
            }
        }
    }
    Tree::new(&shown, &files)
}

/// What is wrong with some arrows.
fn judge(name: &str, arrows: &[Arrow], order: Option<&[&str]>) -> Vec<String> {
    let mut problems = circles(arrows);
    let Some(order) = order else { return problems };
    let place = |module: &str| order.iter().position(|one| *one == module);
    for arrow in arrows.iter().filter(|arrow| arrow.parent.is_empty()) {
        let Arrow { from, to, at, .. } = arrow;
        match (place(from), place(to)) {
            (Some(above), Some(below)) if below < above => {}
            (Some(_), Some(_)) => problems.push(format!("{at}: {from} must not use {to}")),
            (None, _) => problems.push(format!("{name}: {from} has no place in the order")),
            (_, None) => problems.push(format!("{name}: {to} has no place in the order")),
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

/// One sentence for each group of siblings that reach each other.
fn circles(arrows: &[Arrow]) -> Vec<String> {
    let mut siblings: BTreeMap<&[String], Vec<&Arrow>> = BTreeMap::new();
    for arrow in arrows {
        siblings.entry(&arrow.parent).or_default().push(arrow);
    }
    siblings.values().flat_map(|arrows| circle(arrows)).collect()
}

/// The arrows that lie on a circle: those whose end leads back to where they start.
fn circle(arrows: &[&Arrow]) -> Vec<String> {
    let leads = |from: &str, to: &str| {
        let (mut seen, mut waiting) = (Vec::new(), vec![from]);
        while let Some(next) = waiting.pop() {
            if next == to {
                return true;
            }
            if !seen.contains(&next) {
                seen.push(next);
                waiting.extend(arrows.iter().filter(|a| a.from == next).map(|a| a.to.as_str()));
            }
        }
        false
    };
    let back = arrows.iter().filter(|arrow| leads(&arrow.to, &arrow.from));
    back.map(|Arrow { from, to, at, .. }| format!("{at}: {from} uses {to}, which leads back"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(files: &[(&str, &str)]) -> Vec<Arrow> {
        let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Tree::new("src", &owned.collect()).unwrap().arrows()
    }

    #[test]
    fn a_module_that_uses_one_above_it_is_refused() {
        let files = [("ground.rs", "use crate::roof::{Tile, edge::Gutter};"), ("roof.rs", "")];
        let arrows = arrows(&files);
        assert_eq!(judge("house", &arrows, Some(&["roof", "ground"])), Vec::<String>::new());
        let found = judge("house", &arrows, Some(&["ground", "roof"]));
        assert_eq!(found, ["src/ground.rs (roof::Tile): ground must not use roof"]);
    }

    #[test]
    fn a_module_that_the_order_does_not_know_is_reported() {
        let arrows = arrows(&[("ground.rs", "use crate::roof::Tile;"), ("roof.rs", "")]);
        let found = judge("house", &arrows, Some(&["ground"]));
        assert_eq!(found, ["house: roof has no place in the order"]);
    }

    #[test]
    fn siblings_that_lead_back_to_each_other_are_reported_at_any_depth() {
        let files = [
            ("a.rs", "mod one; mod two; mod three;"),
            ("a/one.rs", "use super::two::Two;"),
            ("a/two.rs", "fn f() { println!(\"{}\", crate::a::three::THREE) }"),
            ("a/three.rs", "mod tests { use super::super::one::One; }"),
        ];
        let found = judge("house", &arrows(&files), None);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("src/a/one.rs (two::Two): one uses two"), "{found:?}");
    }

    #[test]
    fn parents_and_children_are_no_circle() {
        let files = [
            ("lib.rs", "mod a; pub use a::A;"),
            ("a.rs", "mod b; use b::B; struct A;"),
            ("a/b.rs", "use super::A; use crate::A as Same; use std::fmt;"),
        ];
        assert_eq!(judge("house", &arrows(&files), None), Vec::<String>::new());
    }
}
