//! Which crate may know which, read from cargo's own description of the tree.
//!
//! ```text
//! agent → status → source → model, base          model → abi ← ebpf
//!       → pods → kernel → model, base
//!              → proxy → model, identity
//!       → ca → identity → base
//! ```

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command::{cargo, quiet};

/// A crate of ours, those of ours that it may use, and the others that nothing in it may use.
struct Room {
    name: &'static str,
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

/// Programs that only the shell may know: a runtime, sockets, the kernel's and the API's clients.
const IO: &[&str] = &["aya", "hyper", "kube", "kube-client", "mio", "notify", "rustix", "tokio"];
const KUBERNETES: &[&str] = &["kube", "kube-client", "kube-core", "kube-runtime"];
const BPF: &[&str] = &["aya", "aya-log", "aya-obj"];
const CLIENTS: &[&str] = &["aya", "kube", "kube-client", "kube-runtime", "notify"];

/// What the suites need and the shipped program does not.
const HARNESS: &[&str] = &["aya", "h2", "hickory-proto", "kube", "nix"];

const ROOMS: [Room; 16] = [
    // serde comes to user space's side of it through aya's hash tables.
    Room { name: "agent-abi", may_use: &[], never: &["kube", "tokio"] },
    Room { name: "agent-ebpf", may_use: &["agent-abi"], never: IO },
    Room { name: "agent-model", may_use: &["agent-abi"], never: IO },
    Room { name: "agent-base", may_use: &[], never: CLIENTS },
    Room { name: "agent-ca", may_use: &["agent-base", "agent-identity"], never: BPF },
    Room { name: "agent-identity", may_use: &["agent-base"], never: CLIENTS },
    Room {
        name: "agent-proxy",
        may_use: &["agent-abi", "agent-identity", "agent-model"],
        never: CLIENTS,
    },
    Room {
        name: "agent-kernel",
        may_use: &["agent-abi", "agent-base", "agent-model"],
        never: KUBERNETES,
    },
    Room { name: "agent-source", may_use: &["agent-base", "agent-model"], never: BPF },
    Room {
        name: "agent-pods",
        may_use: &["agent-abi", "agent-base", "agent-kernel", "agent-model", "agent-proxy"],
        never: KUBERNETES,
    },
    Room {
        name: "agent-status",
        may_use: &["agent-base", "agent-model", "agent-source"],
        never: BPF,
    },
    Room {
        name: "agent",
        may_use: &[
            "agent-abi",
            "agent-base",
            "agent-ca",
            "agent-identity",
            "agent-kernel",
            "agent-model",
            "agent-pods",
            "agent-proxy",
            "agent-source",
            "agent-status",
            "sekisho-selftest",
        ],
        never: &[],
    },
    Room { name: "sekisho-selftest", may_use: &[], never: HARNESS },
    Room { name: "bookinfo", may_use: &[], never: &["tokio"] },
    Room {
        name: "sekisho-tests",
        may_use: &["agent-abi", "agent-model", "sekisho-selftest"],
        never: &[],
    },
    // The definitions of custom resources are written from the model's types, and `bench sync`
    // measures in the world of the tests.
    Room {
        name: "xtask",
        may_use: &["agent-abi", "agent-model", "sekisho-tests"],
        never: &["tokio"],
    },
];

/// For each crate by its id, the ids of what it uses outside its tests and build script.
type Graph = BTreeMap<String, Vec<String>>;

pub(crate) fn check() -> anyhow::Result<()> {
    let metadata = quiet(cargo().args(["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let names = names(&metadata);
    let graph = graph(&metadata);
    let ours: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut problems = Vec::new();
    for id in &ours {
        let name = names.get(*id).context("cargo names every crate")?;
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            problems.push(format!("{name} has no entry among the rooms"));
            continue;
        };
        problems.extend(room.problems(id, &graph, &names, &ours));
    }
    if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("; ")) }
}

impl Room {
    fn problems(
        &self,
        id: &str,
        graph: &Graph,
        names: &BTreeMap<String, String>,
        ours: &BTreeSet<&str>,
    ) -> Vec<String> {
        let reached = reach(id, graph, ours);
        let mut problems = Vec::new();
        for used in reached {
            let name = names.get(used).map_or("", String::as_str);
            let allowed = !ours.contains(used) || self.may_use.contains(&name);
            if !allowed || self.never.contains(&name) {
                problems.push(format!("{} must not use {name}", self.name));
            }
        }
        problems
    }
}

/// What a crate uses, directly or through crates that are not ours: ours answer for themselves.
fn reach<'a>(id: &str, graph: &'a Graph, ours: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&str> = graph.get(id).into_iter().flatten().map(String::as_str).collect();
    while let Some(next) = waiting.pop() {
        if reached.insert(next) && !ours.contains(next) {
            waiting.extend(graph.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

fn names(metadata: &Value) -> BTreeMap<String, String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.filter_map(|package| Some((text(&package["id"])?, text(&package["name"])?))).collect()
}

fn graph(metadata: &Value) -> Graph {
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    nodes.filter_map(|node| Some((text(&node["id"])?, uses(node)))).collect()
}

/// A kind of `null` is a plain dependency; the others are `dev` and `build`.
fn uses(node: &Value) -> Vec<String> {
    let plain = |dependency: &Value| {
        let kinds = dependency["dep_kinds"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let dependencies = node["deps"].as_array().into_iter().flatten();
    dependencies
        .filter(|dependency| plain(dependency))
        .filter_map(|one| text(&one["pkg"]))
        .collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (Graph, BTreeMap<String, String>) {
        let graph = [
            ("model", vec!["abi", "yaml"]),
            ("yaml", vec!["tokio"]),
            ("abi", vec!["aya"]),
            ("aya", vec![]),
            ("tokio", vec![]),
        ];
        let names = graph.iter().map(|(id, _)| ((*id).to_owned(), (*id).to_owned())).collect();
        let owned = |uses: &[&str]| uses.iter().map(|id| (*id).to_owned()).collect();
        (graph.iter().map(|(id, uses)| ((*id).to_owned(), owned(uses))).collect(), names)
    }

    #[test]
    fn a_forbidden_crate_is_found_behind_another_one() {
        let (graph, names) = tree();
        let room = Room { name: "model", may_use: &["abi"], never: &["tokio"] };
        let problems = room.problems("model", &graph, &names, &BTreeSet::from(["model", "abi"]));
        assert_eq!(problems, ["model must not use tokio"]);
    }

    #[test]
    fn what_a_crate_of_ours_uses_is_its_own_affair() {
        let (graph, names) = tree();
        let room = Room { name: "model", may_use: &["abi"], never: &["aya"] };
        let problems = room.problems("model", &graph, &names, &BTreeSet::from(["model", "abi"]));
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn a_crate_of_ours_must_be_on_the_list() {
        let (graph, names) = tree();
        let room = Room { name: "model", may_use: &[], never: &[] };
        let problems = room.problems("model", &graph, &names, &BTreeSet::from(["model", "abi"]));
        assert_eq!(problems, ["model must not use abi"]);
    }
}
