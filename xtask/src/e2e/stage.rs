//! What every step stands on: the cluster, the databases outside it, the names of things.

use std::{cell::RefCell, time::Duration};

use anyhow::Context as _;

use super::{bookinfo, client, cluster::Cluster, manifests, neighbour::Neighbour};
use crate::{
    command::{quiet, workspace},
    database::Database,
};

pub(super) const NODES: [&str; 2] = ["node-1", "node-2"];
/// A namespace in the mesh.
pub(super) const SHOP: &str = "shop";
/// One outside it.
pub(super) const LAB: &str = "lab";
/// Where the agent lives.
pub(super) const SYSTEM: &str = "sekisho-system";
/// The database that the steps allow, by address.
pub(super) const ORDERS: [&str; 2] = ["203.0.113.7", "2001:db8:f::7"];
/// The one that stays closed, but for its name.
pub(super) const PAYROLL: [&str; 2] = ["203.0.113.8", "2001:db8:f::8"];
/// Payroll's name.
pub(super) const PAYROLL_NAME: &str = "payroll.example.com";
/// Where a runtime reads its CNI configuration, and where it is kept as it was.
const CNI: &str = "/etc/cni/net.d";
const CNI_BEFORE: &str = "/etc/kubernetes/sekisho-e2e-cni";
const UNINSTALL: &str = "deploy/uninstall";
const PREPARED: Duration = Duration::from_mins(1);

/// The stage. Dropped in this order.
#[derive(Debug)]
pub(super) struct Stage {
    _database: Database,
    /// One for each node that has other programs too.
    pub(super) neighbours: RefCell<Vec<Neighbour>>,
    pub(super) cluster: Cluster,
}

impl Stage {
    /// Two databases' addresses outside, a client on each node in the mesh and one outside it.
    pub(super) fn set(cluster: Cluster) -> anyhow::Result<Self> {
        cluster.load(&client::image()?)?;
        for address in ORDERS.iter().chain(&PAYROLL) {
            let (length, quick) =
                if address.contains(':') { (128, "nodad") } else { (32, "noprefixroute") };
            let words = format!("ip addr replace {address}/{length} dev lo {quick}");
            quiet(cluster.world().args(words.split(' ')))?;
        }
        let database = Database::start(cluster.world())?;
        let stage = Self { _database: database, neighbours: RefCell::default(), cluster };
        stage.clear()?;
        stage.people()?;
        Ok(stage)
    }

    /// Takes away what an earlier run left.
    fn clear(&self) -> anyhow::Result<()> {
        let is_left = |node: &&str| self.is_chained(node).is_ok();
        if NODES.iter().any(is_left) {
            let agents = ["delete", "daemonset", "sekisho", "-n", SYSTEM, "--ignore-not-found"];
            self.cluster.kubectl(&agents)?;
            self.uninstall()?;
        }
        for node in NODES {
            let script = format!("mkdir -p {CNI_BEFORE} && cp {CNI}/* {CNI_BEFORE}/");
            self.cluster.enter(node, &["sh", "-c", &script])?;
        }
        for namespace in [SHOP, LAB, SYSTEM, bookinfo::NAMESPACE] {
            let words = ["delete", "namespace", namespace, "--ignore-not-found", "--timeout=60s"];
            self.cluster.kubectl(&words)?;
        }
        Ok(())
    }

    fn people(&self) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        let kinds = folder("deploy/crds");
        // Too long for the annotation that kubectl would keep of them.
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &kinds])?;
        cluster.apply(manifests::MESH)?;
        cluster.apply(&manifests::namespace(SHOP, true))?;
        cluster.apply(&manifests::namespace(LAB, false))?;
        for (namespace, node) in [(SHOP, NODES[0]), (SHOP, NODES[1]), (LAB, NODES[0])] {
            let pod = manifests::pod(namespace, &client_on(node), node, "sleep 1000000");
            eventually_applied(cluster, &pod)?;
        }
        for namespace in [SHOP, LAB] {
            self.ready(namespace, PREPARED)?;
        }
        Ok(())
    }

    /// Removes what agents left on the nodes, as an operator does.
    pub(super) fn uninstall(&self) -> anyhow::Result<()> {
        self.cluster.kubectl(&["apply", "-k", &folder(UNINSTALL)])?;
        self.rolled_out("sekisho-uninstall")?;
        self.cluster.kubectl(&["delete", "-k", &folder(UNINSTALL), "--timeout=90s"]).map(drop)
    }

    /// Fails unless a node's CNI configuration has our entry.
    pub(super) fn is_chained(&self, node: &str) -> anyhow::Result<()> {
        let found = self.cluster.enter(node, &["grep", "-l", "sekisho-cni", "-r", CNI]);
        found.map(drop).with_context(|| format!("{node} has no entry of sekisho-cni"))
    }

    /// Writes a node's CNI configuration as it was before any agent.
    pub(super) fn cni_as_before(&self, node: &str) -> anyhow::Result<()> {
        let script = format!("cp {CNI_BEFORE}/* {CNI}/");
        self.cluster.enter(node, &["sh", "-c", &script]).map(drop)
    }

    /// Waits until a pod is ready.
    pub(super) fn pod_ready(
        &self,
        namespace: &str,
        pod: &str,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let timeout = format!("--timeout={}s", patience.as_secs());
        let words = ["wait", "--for=condition=Ready", "pod", pod, "-n", namespace, &timeout];
        self.cluster.kubectl(&words).map(drop)
    }

    /// Waits until every pod of a namespace is ready.
    pub(super) fn ready(&self, namespace: &str, patience: Duration) -> anyhow::Result<()> {
        let timeout = format!("--timeout={}s", patience.as_secs());
        let words = ["wait", "--for=condition=Ready", "pod", "--all", "-n", namespace, &timeout];
        self.cluster.kubectl(&words).map(drop)
    }

    /// Waits until a `DaemonSet` is what was asked for on every node.
    pub(super) fn rolled_out(&self, name: &str) -> anyhow::Result<()> {
        let name = format!("daemonset/{name}");
        let words = ["rollout", "status", &name, "-n", SYSTEM, "--timeout=90s"];
        self.cluster.kubectl(&words).map(drop)
    }

    /// The agent's pod on a node, as kubectl's output format says.
    fn agent(&self, node: &str, format: &str) -> anyhow::Result<String> {
        let field = format!("spec.nodeName={node}");
        let words = ["get", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/name=sekisho"];
        let said = self
            .cluster
            .kubectl(&[&words[..], &["--field-selector", &field, "-o", format]].concat())?;
        let first = said.lines().next().with_context(|| format!("no agent on {node}"))?;
        Ok(first.to_owned())
    }

    /// The id of the agent's container on a node, as its runtime has it.
    pub(super) fn container_of(&self, node: &str) -> anyhow::Result<String> {
        const ID: &str = "jsonpath={.items[0].status.containerStatuses[0].containerID}";
        let id = self.agent(node, ID)?;
        Ok(id.trim_start_matches("containerd://").to_owned())
    }

    /// What the agent of a node answers to a command.
    pub(super) fn ask(&self, node: &str, words: &[&str]) -> anyhow::Result<String> {
        let pod = self.agent(node, "name")?;
        let pod = pod.as_str();
        let exec = ["exec", "-n", SYSTEM, pod, "--", "/usr/local/bin/sekisho"];
        self.cluster.kubectl(&[&exec[..], words].concat())
    }

    /// Prints what helps to find out why a step failed.
    pub(super) fn explain(&self) {
        let logs = ["logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=sekisho", "--tail=30"];
        for words in [&["get", "pods", "-A", "-o", "wide"][..], &logs] {
            match self.cluster.kubectl(words) {
                Ok(said) => println!("{said}"),
                Err(problem) => println!("{problem:#}"),
            }
        }
        for node in NODES {
            match self.ask(node, &["status"]) {
                Ok(said) => println!("{node}: {said}"),
                Err(problem) => println!("{node}: {problem:#}"),
            }
        }
    }
}

/// A folder of this tree, for kubectl.
pub(super) fn folder(relative: &str) -> String {
    workspace().join(relative).display().to_string()
}

/// The client on a node.
pub(super) fn client_on(node: &str) -> String {
    format!("client-{node}")
}

/// A namespace gets its `ServiceAccount` a moment after it was made.
fn eventually_applied(cluster: &Cluster, manifests: &str) -> anyhow::Result<()> {
    super::cluster::eventually(PREPARED, || cluster.apply(manifests)).map(drop)
}
