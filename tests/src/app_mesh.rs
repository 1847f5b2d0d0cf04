//! The fixture of S4, App Mesh at the socket: a calling pod, names in a mesh and an agent.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    agent::Agent,
    client::Client,
    manifest::NODE,
    serve::Echo,
    world::{Host, Wiring, World},
};

/// Where everything is.
pub const NAMESPACE: &str = "mesh-test";
/// The port of every listener.
pub const PORT: u16 = 80;
// The names of the fixture by the last number of their addresses.

/// A Service of a node.
pub const SVC_1: u8 = 1;
/// A Service of another node.
pub const SVC_2: u8 = 2;
/// A declared name.
pub const SVC_V: u8 = 3;
/// A name that no node declares.
pub const UNDECLARED: u8 = 4;
/// No Service.
pub const OUTSIDE: u8 = 9;
/// The name server.
pub const RESOLVER: u8 = 10;
/// All of them.
pub const ALL: [u8; 6] = [SVC_1, SVC_2, SVC_V, UNDECLARED, OUTSIDE, RESOLVER];

/// Both addresses of a name.
pub fn both(number: u8) -> [IpAddr; 2] {
    [[10, 96, 0, number].into(), [0x2001, 0xdb8, 0x60, 0, 0, 0, 0, number.into()].into()]
}

/// The same with a port.
pub fn at(number: u8, port: u16) -> [SocketAddr; 2] {
    both(number).map(|address| SocketAddr::new(address, port))
}

/// An object of App Mesh.
pub fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: appmesh.k8s.aws/v1beta2\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: {{{spec}}}\n"
    )
}

/// A node with a name in DNS.
pub fn node(name: &str, host: &str) -> String {
    object(
        "VirtualNode",
        name,
        &format!(
            "listeners: [{{portMapping: {{port: {PORT}, protocol: http}}}}], \
             serviceDiscovery: {{dns: {{hostname: {host}.{NAMESPACE}.svc.cluster.local}}}}"
        ),
    )
}

/// A Service with both addresses of a number.
pub fn service(namespace: &str, name: &str, number: u8) -> String {
    let [v4, v6] = both(number);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{clusterIP: {v4}, clusterIPs: [{v4}, \"{v6}\"], \
         ports: [{{protocol: TCP, port: {PORT}}}]}}\n"
    )
}

/// A provider.
pub const BY_ROUTER: &str = "virtualRouter: {virtualRouterRef: {name: vrouter-1}}";
/// Another.
pub const BY_NODE: &str = "virtualNode: {virtualNodeRef: {name: vnode-1}}";
/// The labels of the calling pod.
pub const CALLER: &str = "app: caller";

/// A calling pod, servers at all addresses, and an agent.
#[derive(Debug)]
pub struct Case {
    /// Who talks through the pod.
    pub client: Client,
    /// The agent.
    pub agent: Agent,
    /// The calling pod.
    pub pod: Host,
    world: World,
    _servers: Vec<Echo>,
    _far: Host,
}

impl Case {
    /// The fixture of S4 as far as it is the same in each case, with `svc-v` as a backend.
    pub fn new(egress: &str) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, far) = (world.pod("caller")?, world.far("far")?);
        let addresses = ALL.map(both).concat();
        world.add_addresses(&far, &addresses)?;
        let servers = [PORT, 8_080, 53, 22].into_iter();
        let servers = servers.map(|port| Echo::start(&far, port, &addresses));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let agent = Agent::new(&world)?;
        let client = Client::start(&pod)?;
        let case = Self { client, agent, pod, world, _servers: servers, _far: far };
        case.mesh("mesh-1", egress)?;
        case.namespace("mesh: mesh-1, appmesh.k8s.aws/sidecarInjectorWebhook: enabled")?;
        let services =
            [("svc-1", SVC_1), ("svc-2", SVC_2), ("svc-v", SVC_V), ("svc-u", UNDECLARED)];
        let services = services.map(|(name, number)| service(NAMESPACE, name, number));
        case.write("services", &services.join("---\n"))?;
        case.write("dns", &service("kube-system", "kube-dns", RESOLVER).replace("80", "53"))?;
        case.write("nodes", &[node("vnode-1", "svc-1"), node("vnode-2", "svc-2")].join("---\n"))?;
        let targets = ["vnode-1", "vnode-2"]
            .map(|name| format!("{{virtualNodeRef: {{name: {name}}}, weight: 1}}"));
        let route = format!(
            "listeners: [{{portMapping: {{port: {PORT}, protocol: http}}}}], \
             routes: [{{name: route-1, httpRoute: {{match: {{prefix: /}}, \
             action: {{weightedTargets: [{}]}}}}}}]",
            targets.join(", ")
        );
        case.write("router", &object("VirtualRouter", "vrouter-1", &route))?;
        case.provider(BY_ROUTER)?;
        case.backends(&["svc-v"])?;
        case.labelled(CALLER, "")?;
        Ok(case)
    }

    /// As above, with the pod in the mesh.
    pub fn ready(egress: &str) -> Result<Self> {
        let mut case = Self::new(egress)?;
        case.start("enrolled")?;
        Ok(case)
    }

    /// Starts the agent, and waits for what the pod is.
    pub fn start(&mut self, enrolment: &str) -> Result<()> {
        self.agent.start(&self.world)?;
        self.wait_enrolment(enrolment)
    }

    /// Waits for what the pod is.
    pub fn wait_enrolment(&mut self, expected: &str) -> Result<()> {
        let what = format!("the pod is {expected}");
        self.agent.wait_until(&what, |agent| Ok(agent.enrolment("caller")? == expected))
    }

    /// Writes a manifest.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        self.agent.config().write(name, text)
    }

    /// The mesh of a label.
    pub fn mesh(&self, label: &str, egress: &str) -> Result<()> {
        let egress = match egress {
            "" => String::new(),
            egress => format!("egressFilter: {{type: {egress}}}, "),
        };
        let spec = format!("{egress}namespaceSelector: {{matchLabels: {{mesh: {label}}}}}");
        self.write("mesh-1", &object("Mesh", "mesh-1", &spec))
    }

    /// The namespace.
    pub fn namespace(&self, labels: &str) -> Result<()> {
        let metadata = format!("{{name: {NAMESPACE}, labels: {{{labels}}}}}");
        self.write("namespace", &format!("apiVersion: v1\nkind: Namespace\nmetadata: {metadata}\n"))
    }

    /// Who provides the declared names.
    pub fn provider(&self, provider: &str) -> Result<()> {
        let service = |name| object("VirtualService", name, &format!("provider: {{{provider}}}"));
        self.write("virtual-services", &[service("svc-v"), service("svc-u")].join("---\n"))
    }

    /// What the pod's node may dial.
    pub fn backends(&self, names: &[&str]) -> Result<()> {
        let all = names
            .iter()
            .map(|name| format!("{{virtualService: {{virtualServiceRef: {{name: {name}}}}}}}"));
        let all = all.collect::<Vec<_>>().join(", ");
        let spec = format!("podSelector: {{matchLabels: {{{CALLER}}}}}, backends: [{all}]");
        self.write("vnode-x", &object("VirtualNode", "vnode-x", &spec))
    }

    /// The pod.
    pub fn labelled(&self, labels: &str, annotations: &str) -> Result<()> {
        let [v4, v6] = self.pod.addresses();
        let mut text = String::new();
        write!(
            text,
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: caller\n  namespace: {NAMESPACE}\n  \
             labels: {{{labels}}}\n  \
             annotations: {{sekisho.dev/netns: {}{annotations}}}\n\
             spec: {{nodeName: {NODE}}}\n\
             status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n",
            self.pod.netns().path().display()
        )?;
        self.write("pod-caller", &text)
    }

    /// Changes the configuration, and waits until a generation with the change is in force.
    pub fn change(&mut self, change: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let before = self.agent.generation()?;
        change(self)?;
        self.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))
    }

    /// Both addresses answer; on the port of requests, may be dialled: what becomes of requests there
    /// has a suite of its own.
    pub fn is_reached(&mut self, number: u8, port: u16) -> Result<()> {
        for to in at(number, port) {
            if port == PORT {
                let said = self.client.dial(to)?;
                ensure!(said.errno.is_none(), "{to}: {said:?}");
            } else {
                self.client.echoes(to)?;
            }
        }
        Ok(())
    }

    /// Neither may be dialled.
    pub fn is_refused(&mut self, number: u8, port: u16) -> Result<()> {
        for to in at(number, port) {
            let said = self.client.dial(to)?;
            ensure!(said.is_refused(), "{to}: {said:?}");
        }
        Ok(())
    }

    /// Whether datagrams get there and back, which must be the same in both families.
    pub fn is_asked(&mut self, number: u8, port: u16) -> Result<bool> {
        let [v4, v6] = at(number, port).map(|to| self.client.ask(to));
        let (v4, v6) = (v4?, v6?);
        for said in [&v4, &v6] {
            ensure!(said.is_refused() || said.text == "hello", "{said:?}");
        }
        ensure!(v4.is_refused() == v6.is_refused(), "{v4:?} {v6:?}");
        Ok(!v4.is_refused())
    }

    /// What `sekisho why` says, which is also what the kernel does.
    pub fn why(&self, to: SocketAddr) -> Result<Value> {
        let pod = format!("{NAMESPACE}/caller");
        let output = self.agent.ask(&["why", &pod, &to.to_string(), "-o", "json"])?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(answer["difference"].is_null(), "{answer}");
        Ok(answer)
    }

    /// Only what is declared is reached.
    pub fn is_closed(&mut self) -> Result<()> {
        self.is_reached(SVC_V, PORT)?;
        self.is_closed_but_for_name()
    }

    /// The same while no agent runs: nothing listens where requests would be routed.
    pub fn is_closed_without_agent(&mut self) -> Result<()> {
        for to in at(SVC_V, PORT) {
            let said = self.client.dial(to)?;
            ensure!(said.errno == Some(libc::ECONNREFUSED), "{to}: {said:?}");
        }
        self.is_closed_but_for_name()
    }

    fn is_closed_but_for_name(&mut self) -> Result<()> {
        for declared in [SVC_1, SVC_2] {
            self.is_reached(declared, PORT)?;
        }
        for declared in [SVC_V, SVC_1, SVC_2] {
            self.is_refused(declared, 8_080)?;
            ensure!(!self.is_asked(declared, PORT)?, "no listener is for datagrams");
        }
        for other in [UNDECLARED, OUTSIDE] {
            self.is_refused(other, PORT)?;
            ensure!(!self.is_asked(other, PORT)?, "{other} answers datagrams");
        }
        self.is_reached(RESOLVER, 53)?;
        ensure!(self.is_asked(RESOLVER, 53)?, "the resolver does not answer");
        Ok(())
    }

    /// Nothing is, but for the resolver.
    pub fn lets_nothing_out(&mut self) -> Result<()> {
        for number in [SVC_V, SVC_1, UNDECLARED, OUTSIDE] {
            self.is_refused(number, PORT)?;
            ensure!(!self.is_asked(number, PORT)?, "{number} answers datagrams");
        }
        self.is_reached(RESOLVER, 53)
    }

    /// Whether a finding on the pod begins like this.
    pub fn told(&self, code: &str, begins: &str) -> Result<bool> {
        let status = self.agent.status()?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        Ok(findings.iter().any(|one| {
            let message = one["message"].as_str().unwrap_or_default();
            one["kind"] == "Pod" && one["code"] == code && message.starts_with(begins)
        }))
    }

    /// Everything is.
    pub fn is_open(&mut self) -> Result<()> {
        for number in ALL {
            self.is_reached(number, PORT)?;
            ensure!(self.is_asked(number, PORT)?, "{number} does not answer datagrams");
        }
        Ok(())
    }
}
