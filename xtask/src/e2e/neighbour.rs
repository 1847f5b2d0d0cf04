//! Programs of another owner on the hooks of a node, which let everything pass and are counted.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::Context as _;

use super::cluster::Cluster;
use crate::command::{build_programs, target_dir};

/// The cgroup hierarchy's root, as a node sees it.
const CGROUP: &str = "/sys/fs/cgroup/unified";

/// They go when this is dropped.
#[derive(Debug)]
pub(super) struct Neighbour {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Neighbour {
    /// Builds what attaches them.
    pub(super) fn build() -> anyhow::Result<()> {
        build_programs(&[])
    }

    /// Attaches one to each hook of a node's cgroup and of the links that it has now.
    pub(super) fn attach(cluster: &Cluster, node: &str) -> anyhow::Result<Self> {
        let names = cluster.enter(node, &["ls", "/sys/class/net"])?;
        let links = names.split_whitespace().filter(|name| name.starts_with("veth"));
        let program = target_dir().join("debug/skt-probe").display().to_string();
        let words = [&program, "strangers", CGROUP];
        let mut process = cluster
            .enter_command(node, &words)
            .args(links)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = process.stdin.take().context("it is piped")?;
        let answers = BufReader::new(process.stdout.take().context("it is piped")?);
        let mut neighbour = Self { process, questions, answers };
        neighbour.runs().with_context(|| format!("other programs on {node}"))?;
        Ok(neighbour)
    }

    /// How often each hook's programs have run.
    pub(super) fn runs(&mut self) -> anyhow::Result<BTreeMap<String, u64>> {
        writeln!(self.questions)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("it said {answer:?}"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Its parent on the node's side ends with its input.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
