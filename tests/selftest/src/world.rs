//! A node, pods on it and hosts far away: namespaces connected, both families, nothing else.
//!
//! ```text
//!  pod ── veth ──┐                  ┌── veth ── far host (a database, a resolver …)
//!  pod ── veth ──┤ node (the agent) ├── veth ── far host
//!                └──────────────────┘
//! ```
//!
//! *Routed*, the node forwards, as on most cloud networks. *Bridged*, pods and far hosts share one
//! link, so that a frame arrives exactly as the pod sent it, whatever is in it: this is where
//! leaks are counted, because no router hides a malformed one.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    capture::Capture,
    cgroup::Cgroup,
    name,
    netns::Netns,
    process::{Place, Process},
};

/// How the node passes on what its pods send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// It is their router.
    Routed,
    /// It is a switch.
    Bridged,
}

/// The node and what belongs to it.
#[derive(Debug)]
pub struct World {
    name: String,
    wiring: Wiring,
    cgroup: Cgroup,
    agent_cgroup: Cgroup,
    node: Netns,
    next_pod: AtomicU8,
    next_far: AtomicU8,
}

/// The node's own addresses, which are everybody's router.
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const FIRST_POD: u8 = 10;
const FIRST_FAR: u8 = 200;

/// The documentation address of either family with this number.
pub fn address4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, number)
}

/// See [`address4`].
pub fn address6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())
}

impl World {
    /// A node without pods.
    pub fn new(wiring: Wiring) -> Result<Self> {
        let name = name::unique();
        let node = Netns::new(&format!("{name}-node"))?;
        node.set(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        if wiring == Wiring::Bridged {
            silence_bridge_filter(&node)?;
            node.ip(&format!(
                "link add br0 type bridge stp_state 0 mcast_snooping 0\n\
                 link set br0 address {} up\n\
                 addr add {GATEWAY4}/24 dev br0\n\
                 addr add {GATEWAY6}/64 dev br0 nodad\n\
                 addr add {}/64 dev br0 nodad\n",
                text(STATION_NODE),
                address6(1)
            ))?;
        }
        let cgroup = Cgroup::new(&name)?;
        Ok(Self {
            agent_cgroup: cgroup.child("agent")?,
            name,
            wiring,
            cgroup,
            node,
            next_pod: AtomicU8::new(FIRST_POD),
            next_far: AtomicU8::new(FIRST_FAR),
        })
    }

    /// The name that everything of this world starts with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace where the agent runs.
    pub fn node(&self) -> &Netns {
        &self.node
    }

    /// The group that stands for the root of the v2 tree: pods and agent run below it.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// A group below [`World::cgroup`] that is no pod's.
    pub fn agent_cgroup(&self) -> &Path {
        self.agent_cgroup.path()
    }

    /// Where the agent runs: on the node, inside the group that it hooks, as on a real one.
    pub fn agent_place(&self) -> Place<'_> {
        Place { netns: Some(&self.node), cgroup: Some(self.agent_cgroup.path()) }
    }

    /// A new pod.
    pub fn pod(&self, name: &str) -> Result<Host> {
        self.pod_at(name, self.next_pod.fetch_add(1, Ordering::Relaxed))
    }

    /// A new pod with the addresses of this number, which another has had before.
    pub fn pod_at(&self, name: &str, number: u8) -> Result<Host> {
        let cgroup = self.cgroup.child(&format!("pod-{name}"))?;
        self.host(name, number, Some(cgroup))
    }

    /// A pod that has no link yet: a CNI plugin is to make one. Its addresses are the next ones.
    pub fn sandbox(&self, name: &str) -> Result<Host> {
        let number = self.next_pod.fetch_add(1, Ordering::Relaxed);
        let cgroup = self.cgroup.child(&format!("pod-{name}"))?;
        self.unwired(name, number, Some(cgroup))
    }

    /// A new far host.
    pub fn far(&self, name: &str) -> Result<Host> {
        let number = self.next_far.fetch_add(1, Ordering::Relaxed);
        self.host(name, number, None)
    }

    fn host(&self, name: &str, number: u8, cgroup: Option<Cgroup>) -> Result<Host> {
        let host = self.unwired(name, number, cgroup)?;
        match self.wiring {
            Wiring::Routed => self.wire_routed(&host)?,
            Wiring::Bridged => self.wire_bridged(&host)?,
        }
        Ok(host)
    }

    fn unwired(&self, name: &str, number: u8, cgroup: Option<Cgroup>) -> Result<Host> {
        let netns = Netns::new(&format!("{}-{name}", self.name))?;
        Ok(Host {
            name: name.to_owned(),
            station: [2, 0, 0, 0, 1, number],
            router: if self.wiring == Wiring::Bridged {
                STATION_NODE
            } else {
                [2, 0, 0, 0, 2, number]
            },
            v4: address4(number),
            v6: address6(number),
            port: format!("h{number}"),
            netns,
            cgroup,
        })
    }

    fn wire_routed(&self, host: &Host) -> Result<()> {
        let Host { port, v4, v6, .. } = host;
        self.node.ip(&format!(
            "link add {port} address {} type veth peer name eth0 address {} netns {}\n\
             link set {port} up\n\
             addr add {GATEWAY4}/32 dev {port}\n\
             addr add {GATEWAY6}/64 dev {port} nodad\n\
             route add {v4}/32 dev {port}\n\
             route add {v6}/128 dev {port}\n",
            text(host.router),
            text(host.station),
            host.netns.name(),
        ))?;
        host.netns.ip(&format!(
            "link set eth0 up\n\
             addr add {v4}/32 dev eth0\n\
             addr add {v6}/128 dev eth0 nodad\n\
             route add {GATEWAY4}/32 dev eth0 scope link\n\
             route add default via {GATEWAY4}\n\
             route add default via {GATEWAY6} dev eth0\n"
        ))
    }

    fn wire_bridged(&self, host: &Host) -> Result<()> {
        let Host { port, v4, v6, .. } = host;
        self.node.ip(&format!(
            "link add {port} type veth peer name eth0 address {} netns {}\n\
             link set {port} master br0\n\
             link set {port} up\n",
            text(host.station),
            host.netns.name(),
        ))?;
        host.netns.ip(&format!(
            "link set eth0 up\n\
             addr add {v4}/24 dev eth0\n\
             addr add {v6}/64 dev eth0 nodad\n\
             route add default via {GATEWAY4}\n\
             route add default via {GATEWAY6} dev eth0\n"
        ))
    }

    /// Gives a far host more addresses, and the node the routes to them.
    pub fn add_addresses(&self, host: &Host, addresses: &[IpAddr]) -> Result<()> {
        let (mut inside, mut outside) = (String::new(), String::new());
        for address in addresses {
            let (length, via) = match address {
                IpAddr::V4(_) => (32, IpAddr::V4(host.v4)),
                IpAddr::V6(_) => (128, IpAddr::V6(host.v6)),
            };
            writeln!(inside, "addr add {address}/{length} dev eth0 nodad")?;
            match self.wiring {
                Wiring::Routed => {
                    writeln!(outside, "route add {address}/{length} dev {}", host.port)?;
                }
                Wiring::Bridged if is_on_link(*address) => {}
                Wiring::Bridged => {
                    writeln!(outside, "route add {address}/{length} via {via} dev br0")?;
                }
            }
        }
        host.netns.ip(&inside)?;
        self.node.ip(&outside)
    }

    /// Nothing of a far host comes back any more, without any error: what it is sent arrives, and
    /// it has no way to answer.
    pub fn cut(&self, host: &Host) -> Result<()> {
        ensure!(self.wiring == Wiring::Routed, "only a routed host is cut off");
        host.netns.ip(&format!("route del default\nroute del {GATEWAY4}/32 dev eth0\n"))
    }

    /// The end of [`World::cut`].
    pub fn mend(&self, host: &Host) -> Result<()> {
        host.netns.ip(&format!(
            "route add {GATEWAY4}/32 dev eth0 scope link\nroute add default via {GATEWAY4}\n"
        ))
    }

    /// The station to which a pod's hand-made frame for `far` has to go.
    pub fn next_hop(&self, pod: &Host, far: &Host) -> [u8; 6] {
        match self.wiring {
            Wiring::Routed => pod.router,
            Wiring::Bridged => far.station,
        }
    }
}

const STATION_NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A pod or a far host: a namespace with one link, `eth0`. Removed when dropped.
#[derive(Debug)]
pub struct Host {
    name: String,
    station: [u8; 6],
    router: [u8; 6],
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    port: String,
    cgroup: Option<Cgroup>,
    netns: Netns,
}

impl Host {
    /// What the test calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its first IPv4 address.
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its first IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Its station address.
    pub fn station(&self) -> [u8; 6] {
        self.station
    }

    /// The name of its link's other end, on the node.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where its processes run.
    pub fn place(&self) -> Place<'_> {
        Place { netns: Some(&self.netns), cgroup: self.cgroup.as_ref().map(Cgroup::path) }
    }

    /// Starts a program in it.
    pub fn run(&self, command: Command) -> Result<Process> {
        Process::start(command, self.place())
    }

    /// Counts the frames that arrive on its link from now on.
    pub fn capture(&self) -> Result<Capture> {
        Capture::start(&self.netns)
    }
}

/// Where the kernel has it, the bridge's netfilter hands frames to the IP stack's checks, which
/// drop the odd ones before they arrive.
fn silence_bridge_filter(node: &Netns) -> Result<()> {
    node.enter(|| {
        for family in ["iptables", "ip6tables", "arptables"] {
            let switch = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            if Path::new(&switch).exists() {
                fs::write(&switch, "0").with_context(|| switch)?;
            }
        }
        Ok(())
    })
}

/// Whether everybody on the bridge reaches it without a router.
fn is_on_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == address4(0).octets()[..3],
        IpAddr::V6(v6) => v6.octets()[..8] == address6(0).octets()[..8],
    }
}

fn text(station: [u8; 6]) -> String {
    station.map(|byte| format!("{byte:02x}")).join(":")
}
