//! Golden files: `golden/<case>/input.yaml` to `golden/<case>/snapshot.txt`.
//!
//! The input holds a cluster's objects. A document of kind `TestNode` says what the node knows
//! besides: `resolvers`, `ownResolvers`, `admin`, `ignoreExclusions`, `holdUnknownPods`,
//! `runtimeOnly`. The node is always `node-1`.
//!
//! `mesh/<case>/input.yaml` to `mesh/<case>/model.yaml` is the same for requests: what the pods that
//! `show` names may dial, accept and serve.
//!
//! `GOLDEN=write cargo test -p agent-model --test golden` writes the files again; read the diff.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/model.rs"]
mod model;

use std::{fs, path::Path};

use cluster::Cluster;

#[test]
fn every_case_gives_the_snapshot_on_file() {
    compare("golden", "snapshot.txt", 30, report);
}

#[test]
fn every_case_gives_the_model_on_file() {
    compare("mesh", "model.yaml", 4, model::shown);
}

fn compare(folder: &str, file: &str, least: usize, report: fn(&Cluster) -> String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let write = std::env::var("GOLDEN").is_ok_and(|value| value == "write");
    let mut cases: Vec<_> =
        fs::read_dir(&root).expect("cases").map(|entry| entry.expect("a case").path()).collect();
    cases.sort();
    assert!(cases.len() >= least, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let cluster =
            Cluster::read(&fs::read_to_string(case.join("input.yaml")).expect("an input"));
        let found = report(&cluster);
        let file = case.join(file);
        if write {
            fs::write(&file, &found).expect("written");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if found != expected {
            let name = case.file_name().expect("a name").to_string_lossy().into_owned();
            println!("--- {name}, on file\n{expected}--- {name}, now\n{found}");
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "differ: {wrong:?}");
}

/// All that comes of a cluster.
fn report(cluster: &Cluster) -> String {
    let refused = cluster.refused.iter().map(|refused| format!("refused {refused}\n"));
    let findings = cluster.findings.iter().map(|finding| format!("{finding}\n"));
    refused.chain(findings).chain([cluster.snapshot().to_string()]).collect()
}
