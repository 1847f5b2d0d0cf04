//! A sandbox: whose it is and where its network namespace is.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Component, Path, PathBuf},
};

use agent_model::pod::PodId;
use serde::Deserialize;

use super::cri::{PodSandbox, PodSandboxStatusResponse};

/// What stands between a pod's processes and the kernel that the hooks are in.
const SANDBOXING: [&str; 3] = ["runsc", "gvisor", "kata"];

/// A sandbox that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's name for it.
    pub(super) id: String,
    /// The pod that it was made for.
    pub pod: PodId,
    /// That pod's UID, as the kubelet knows it.
    pub uid: String,
    /// Of several of one pod, the newest counts.
    pub(super) age: (u32, i64),
    /// Where its pod is on the network.
    pub network: Network,
    /// Its addresses: known before the API server is told of them.
    pub addresses: Vec<IpAddr>,
    /// The Pod's labels when it was made, and the kubelet's own.
    pub labels: BTreeMap<String, String>,
    /// The Pod's annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Where a pod is on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// In a namespace of its own.
    At(PathBuf),
    /// In the node's own namespace.
    Host,
    /// Behind a kernel of its own, or a virtual machine: the runtime's handler.
    Sandboxed(String),
    /// The runtime names no path that means the same to the agent.
    Unsaid(String),
}

/// What of `info` is read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Info {
    runtime_type: String,
    runtime_spec: Option<RuntimeSpec>,
}

/// Of the OCI runtime specification.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RuntimeSpec {
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    r#type: String,
    path: PathBuf,
}

impl Sandbox {
    /// Puts together what the two calls say; `None` for what is no pod's.
    pub(super) fn new(listed: PodSandbox, status: &PodSandboxStatusResponse) -> Option<Self> {
        let metadata = listed.metadata?;
        let info = status.info.get("info").map_or("{}", String::as_str);
        let network = network(&listed.runtime_handler, info);
        Some(Self {
            id: listed.id,
            pod: PodId { namespace: metadata.namespace, name: metadata.name },
            uid: metadata.uid,
            age: (metadata.attempt, listed.created_at),
            network,
            addresses: addresses(status),
            labels: listed.labels.into_iter().collect(),
            annotations: listed.annotations.into_iter().collect(),
        })
    }
}

impl Sandbox {
    /// When it was made, in nanoseconds.
    pub(super) const fn made_at(&self) -> i64 {
        self.age.1
    }
}

/// The newest sandbox of a pod. Name, namespace and UID agree, or it is another pod's: one that was
/// made again under the same name is a pod of its own.
pub fn of_pod<'a>(sandboxes: &'a [Sandbox], pod: &PodId, uid: &str) -> Option<&'a Sandbox> {
    let its = sandboxes.iter().filter(|one| one.pod == *pod && one.uid == uid);
    its.max_by_key(|one| one.age)
}

fn addresses(status: &PodSandboxStatusResponse) -> Vec<IpAddr> {
    let network = status.status.as_ref().and_then(|status| status.network.as_ref());
    let all = network.into_iter().flat_map(|network| {
        std::iter::once(&network.ip).chain(network.additional_ips.iter().map(|one| &one.ip))
    });
    all.filter_map(|text| text.parse().ok()).collect()
}

fn network(handler: &str, info: &str) -> Network {
    let info: Info = match serde_json::from_str(info) {
        Ok(info) => info,
        Err(error) => {
            return Network::Unsaid(format!("its answer about the sandbox is not read: {error}"));
        }
    };
    for name in [handler, &info.runtime_type] {
        let lower = name.to_ascii_lowercase();
        if SANDBOXING.iter().any(|word| lower.contains(word)) {
            return Network::Sandboxed(name.to_owned());
        }
    }
    let Some(spec) = info.runtime_spec else {
        return Network::Unsaid("its answer about the sandbox has no runtimeSpec".to_owned());
    };
    match spec.linux.namespaces.into_iter().find(|one| one.r#type == "network") {
        None => Network::Host,
        Some(namespace) => at(&namespace.path),
    }
}

/// The runtime's path in the agent's own view of the node. Paths under `/proc` are not taken: a
/// process number means another process to a reader that does not share the runtime's numbers.
fn at(path: &Path) -> Network {
    let run = match path.strip_prefix("/var/run") {
        Ok(rest) => Path::new("/run").join(rest),
        Err(_) => path.to_owned(),
    };
    let climbs = run.components().any(|part| part == Component::ParentDir);
    if climbs || !run.starts_with("/run") {
        return Network::Unsaid(format!("it has the network namespace at {:?}", path.display()));
    }
    Network::At(run)
}

#[cfg(test)]
mod tests;
