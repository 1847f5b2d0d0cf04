//! The modules of a crate, and which of them use which.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

use super::paths::{self, Written};

/// The path of a module from the crate's root.
type Module = Vec<String>;

/// That one child of a module uses another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    /// Whose children they are; empty for the crate's root.
    pub(super) parent: Module,
    pub(super) from: String,
    pub(super) to: String,
    /// The first path that says so, and its file.
    pub(super) at: String,
}

/// A crate's source files.
pub(super) struct Tree {
    modules: BTreeSet<Module>,
    /// Each path with the module and the place that it stands in.
    paths: Vec<(Module, String, Written)>,
}

impl Tree {
    /// Reads files, by their paths from the folder of the sources.
    pub(super) fn new(folder: &str, files: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let mut tree = Self { modules: BTreeSet::new(), paths: Vec::new() };
        for (file, text) in files {
            let module = module_of(file);
            let found = paths::find(text).with_context(|| format!("{folder}/{file}"))?;
            tree.modules.insert(module.clone());
            tree.paths.extend(found.into_iter().map(|path| {
                let at = format!("{folder}/{file} ({})", path.names.join("::"));
                (module.clone(), at, path)
            }));
        }
        Ok(tree)
    }

    /// All arrows between siblings, each once.
    pub(super) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows: BTreeMap<(Module, String, String), String> = BTreeMap::new();
        for (module, at, path) in &self.paths {
            let Some(target) = self.target(module, path) else { continue };
            let common = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (module.get(common), target.get(common)) {
                let parent = module[..common].to_vec();
                arrows.entry((parent, from.clone(), to.clone())).or_insert_with(|| at.clone());
            }
        }
        let arrow = |((parent, from, to), at)| Arrow { parent, from, to, at };
        arrows.into_iter().map(arrow).collect()
    }

    /// The module that a path leads into.
    fn target(&self, module: &Module, path: &Written) -> Option<Module> {
        let mut target = match path.up {
            None => Module::new(),
            Some(up) => module[..module.len().checked_sub(up)?].to_vec(),
        };
        for name in &path.names {
            target.push(name.clone());
            if !self.modules.contains(&target) {
                target.pop();
                break;
            }
        }
        Some(target)
    }
}

/// `a/b.rs` is `a::b`; the files at the crate's door are its root.
fn module_of(file: &str) -> Module {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    match path {
        "lib" | "main" => Module::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}
