//! A node with hosts around it, each in a network namespace of its own, removed when dropped.
//!
//! ```text
//! namespace of a host          namespace of the node (the agent runs here)
//!   eth0  203.0.113.x/32  ═══  <host>  203.0.113.1, a route to the host, forwarding
//! ```
//!
//! The machine's own namespace gets no link, no route and no setting.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::{Command, id},
};

use crate::command::{quiet, succeeds};

const NAMESPACES: &str = "/run/netns";
const GATEWAY: &str = "203.0.113.1";
const GATEWAY_V6: &str = "fe80::1";

/// The node and its hosts.
#[derive(Debug)]
pub(crate) struct Place {
    prefix: String,
    names: Vec<String>,
}

/// The addresses of a host: the same last number in both documentation ranges.
pub(crate) fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

pub(crate) fn address_v6(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last))
}

impl Place {
    /// A node without hosts. `label` keeps the verbs of this program apart, the process id its runs.
    pub(crate) fn new(label: &str) -> anyhow::Result<Self> {
        let prefix = format!("skt-{label}-{}", id());
        let mut place = Self { prefix, names: Vec::new() };
        place.add_namespace("node")?;
        let settings = "echo 1 > /proc/sys/net/ipv4/ip_forward; \
                        echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        quiet(place.run("node", "sh").args(["-c", settings]))?;
        Ok(place)
    }

    /// A host with one address of each family for each number.
    pub(crate) fn add_host(&mut self, name: &str, numbers: &[u8]) -> anyhow::Result<()> {
        self.add_namespace(name)?;
        let (node, host) = (self.namespace("node"), self.namespace(name));
        ip(&format!("link add dev {name} netns {node} type veth peer name eth0 netns {host}"))?;
        ip(&format!("-n {node} addr add {GATEWAY}/32 dev {name}"))?;
        ip(&format!("-n {node} addr add {GATEWAY_V6}/64 dev {name} nodad"))?;
        ip(&format!("-n {node} link set {name} up"))?;
        ip(&format!("-n {host} link set eth0 up"))?;
        for number in numbers {
            let (v4, v6) = (address(*number), address_v6(*number));
            ip(&format!("-n {host} addr add {v4}/32 dev eth0"))?;
            ip(&format!("-n {host} addr add {v6}/128 dev eth0 nodad"))?;
            ip(&format!("-n {node} route add {v4}/32 dev {name}"))?;
            ip(&format!("-n {node} route add {v6}/128 dev {name}"))?;
        }
        ip(&format!("-n {host} route add {GATEWAY} dev eth0 scope link"))?;
        ip(&format!("-n {host} route add default via {GATEWAY} dev eth0"))?;
        ip(&format!("-n {host} route add default via {GATEWAY_V6} dev eth0"))
    }

    /// A command that will run in the namespace of `name`.
    pub(crate) fn run(&self, name: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.enter(name);
        command.arg(program);
        command
    }

    /// What runs another command, its arguments, in the namespace of `name`. `ip netns exec` would
    /// also hide the mounts below /sys, where the cgroups are.
    pub(crate) fn enter(&self, name: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path(name).display())).arg("--");
        command
    }

    /// Where the namespace of `name` is bound.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(NAMESPACES).join(self.namespace(name))
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn add_namespace(&mut self, name: &str) -> anyhow::Result<()> {
        let namespace = self.namespace(name);
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("-n {namespace} link set lo up"))?;
        self.names.push(namespace);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in self.names.iter().rev() {
            if let Err(problem) = ip(&format!("netns del {name}")) {
                eprintln!("{name} is left behind: {problem:#}");
            }
        }
    }
}

/// Removes the namespaces of runs that were killed before they could.
pub(crate) fn sweep(label: &str) {
    let prefix = format!("skt-{label}-");
    for entry in fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(&prefix).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            succeeds(Command::new("ip").args(["netns", "del", &name]));
        }
    }
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    quiet(Command::new("ip").args(arguments.split(' '))).map(drop)
}
