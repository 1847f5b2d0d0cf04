//! App Mesh (S4) at the socket: who is in a mesh, and what its nodes and gateways may dial.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    client::Client,
    manifest::{Mode, NODE},
    serve::Echo,
    world::{Host, Wiring, World},
};
use serde_json::Value;

const NAMESPACE: &str = "mesh-test";
/// The port of every listener.
const PORT: u16 = 80;
/// The names of the fixture by the last number of their addresses; the last one is no Service.
const SVC_1: u8 = 1;
const SVC_2: u8 = 2;
const SVC_V: u8 = 3;
const UNDECLARED: u8 = 4;
const OUTSIDE: u8 = 9;
const RESOLVER: u8 = 10;
const ALL: [u8; 6] = [SVC_1, SVC_2, SVC_V, UNDECLARED, OUTSIDE, RESOLVER];

/// Both addresses of a name.
fn both(number: u8) -> [IpAddr; 2] {
    [[10, 96, 0, number].into(), [0x2001, 0xdb8, 0x60, 0, 0, 0, 0, number.into()].into()]
}

fn at(number: u8, port: u16) -> [SocketAddr; 2] {
    both(number).map(|address| SocketAddr::new(address, port))
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: appmesh.k8s.aws/v1beta2\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: {{{spec}}}\n"
    )
}

fn node(name: &str, host: &str) -> String {
    object(
        "VirtualNode",
        name,
        &format!(
            "listeners: [{{portMapping: {{port: {PORT}, protocol: http}}}}], \
             serviceDiscovery: {{dns: {{hostname: {host}.{NAMESPACE}.svc.cluster.local}}}}"
        ),
    )
}

fn service(namespace: &str, name: &str, number: u8) -> String {
    let [v4, v6] = both(number);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{clusterIP: {v4}, clusterIPs: [{v4}, \"{v6}\"], \
         ports: [{{protocol: TCP, port: {PORT}}}]}}\n"
    )
}

const BY_ROUTER: &str = "virtualRouter: {virtualRouterRef: {name: vrouter-1}}";
const BY_NODE: &str = "virtualNode: {virtualNodeRef: {name: vnode-1}}";
const CALLER: &str = "app: caller";

/// A calling pod, servers at all addresses, and an agent.
struct Case {
    client: Client,
    agent: Agent,
    pod: Host,
    world: World,
    _servers: Vec<Echo>,
    _far: Host,
}

impl Case {
    /// The fixture of S4 as far as it is the same in each case, with `svc-v` as a backend.
    fn new(egress: &str) -> Result<Self> {
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
    fn ready(egress: &str) -> Result<Self> {
        let mut case = Self::new(egress)?;
        case.start("enrolled")?;
        Ok(case)
    }

    fn start(&mut self, enrolment: &str) -> Result<()> {
        self.agent.start(&self.world)?;
        self.wait_enrolment(enrolment)
    }

    fn wait_enrolment(&mut self, expected: &str) -> Result<()> {
        let what = format!("the pod is {expected}");
        self.agent.wait_until(&what, |agent| Ok(agent.enrolment("caller")? == expected))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        self.agent.config().write(name, text)
    }

    fn mesh(&self, label: &str, egress: &str) -> Result<()> {
        let egress = match egress {
            "" => String::new(),
            egress => format!("egressFilter: {{type: {egress}}}, "),
        };
        let spec = format!("{egress}namespaceSelector: {{matchLabels: {{mesh: {label}}}}}");
        self.write("mesh-1", &object("Mesh", "mesh-1", &spec))
    }

    fn namespace(&self, labels: &str) -> Result<()> {
        let metadata = format!("{{name: {NAMESPACE}, labels: {{{labels}}}}}");
        self.write("namespace", &format!("apiVersion: v1\nkind: Namespace\nmetadata: {metadata}\n"))
    }

    fn provider(&self, provider: &str) -> Result<()> {
        let service = |name| object("VirtualService", name, &format!("provider: {{{provider}}}"));
        self.write("virtual-services", &[service("svc-v"), service("svc-u")].join("---\n"))
    }

    fn backends(&self, names: &[&str]) -> Result<()> {
        let all = names
            .iter()
            .map(|name| format!("{{virtualService: {{virtualServiceRef: {{name: {name}}}}}}}"));
        let all = all.collect::<Vec<_>>().join(", ");
        let spec = format!("podSelector: {{matchLabels: {{{CALLER}}}}}, backends: [{all}]");
        self.write("vnode-x", &object("VirtualNode", "vnode-x", &spec))
    }

    fn labelled(&self, labels: &str, annotations: &str) -> Result<()> {
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
    fn change(&mut self, change: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let before = self.agent.generation()?;
        change(self)?;
        self.agent.wait_until("a new generation", |agent| Ok(agent.generation()? > before))
    }

    fn is_reached(&mut self, number: u8, port: u16) -> Result<()> {
        at(number, port).into_iter().try_for_each(|to| self.client.echoes(to))
    }

    fn is_refused(&mut self, number: u8, port: u16) -> Result<()> {
        for to in at(number, port) {
            let said = self.client.dial(to)?;
            ensure!(said.is_refused(), "{to}: {said:?}");
        }
        Ok(())
    }

    /// Whether datagrams get there and back, which must be the same in both families.
    fn is_asked(&mut self, number: u8, port: u16) -> Result<bool> {
        let [v4, v6] = at(number, port).map(|to| self.client.ask(to));
        let (v4, v6) = (v4?, v6?);
        for said in [&v4, &v6] {
            ensure!(said.is_refused() || said.text == "hello", "{said:?}");
        }
        ensure!(v4.is_refused() == v6.is_refused(), "{v4:?} {v6:?}");
        Ok(!v4.is_refused())
    }

    /// What `sekisho why` says, which is also what the kernel does.
    fn why(&self, to: SocketAddr) -> Result<Value> {
        let pod = format!("{NAMESPACE}/caller");
        let output = self.agent.ask(&["why", &pod, &to.to_string(), "-o", "json"])?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(answer["difference"].is_null(), "{answer}");
        Ok(answer)
    }

    /// Only what is declared is reached.
    fn is_closed(&mut self) -> Result<()> {
        for declared in [SVC_V, SVC_1, SVC_2] {
            self.is_reached(declared, PORT)?;
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
    fn lets_nothing_out(&mut self) -> Result<()> {
        for number in [SVC_V, SVC_1, UNDECLARED, OUTSIDE] {
            self.is_refused(number, PORT)?;
            ensure!(!self.is_asked(number, PORT)?, "{number} answers datagrams");
        }
        self.is_reached(RESOLVER, 53)
    }

    /// Everything is.
    fn is_open(&mut self) -> Result<()> {
        for number in ALL {
            self.is_reached(number, PORT)?;
            ensure!(self.is_asked(number, PORT)?, "{number} does not answer datagrams");
        }
        Ok(())
    }
}

#[rstest]
#[case::s4_9("DROP_ALL")]
#[case::s4_11("")]
fn s4_9_and_s4_11_only_what_is_declared_is_reached(#[case] egress: &str) -> Result<()> {
    let mut case = Case::ready(egress)?;
    case.is_closed()?;

    let why = case.why(at(SVC_V, PORT)[0])?;
    let rule = "VirtualService.appmesh.k8s.aws mesh-test/svc-v spec.provider.virtualRouter";
    assert_eq!(why["explanation"]["decision"]["rule"]["source"], rule, "{why}");
    for to in at(UNDECLARED, PORT) {
        let why = case.why(to)?;
        let explanation = &why["explanation"];
        assert_eq!(explanation["decision"]["source"], "Mesh mesh-1 spec.egressFilter", "{why}");
        let near = &explanation["near"][0];
        let rule = "VirtualService.appmesh.k8s.aws mesh-test/svc-u spec.provider.virtualRouter";
        assert_eq!(near["rule"]["source"], rule, "{why}");
        assert_eq!(near["mismatch"]["by"], "VirtualNode mesh-test/vnode-x", "{why}");
    }
    let to = at(UNDECLARED, PORT)[0].to_string();
    let words = case.agent.ask(&["why", "mesh-test/caller", &to])?;
    let words = String::from_utf8(words.stdout)?;
    let expected = "is not among the spec.backends of VirtualNode mesh-test/vnode-x";
    assert!(words.contains(expected), "{words}");
    assert!(
        words.contains("the default of Mesh mesh-1 spec.egressFilter is registry-only"),
        "{words}"
    );
    Ok(())
}

#[test]
fn s4_2_and_s4_10_what_is_not_declared_passes_where_the_mesh_says_so() -> Result<()> {
    Case::ready("ALLOW_ALL")?.is_open()
}

#[test]
fn a_change_of_the_filter_holds_for_open_connections_too() -> Result<()> {
    let mut case = Case::ready("ALLOW_ALL")?;
    let mut open = Client::start(&case.pod)?;
    open.must(&format!("dial {}", at(OUTSIDE, PORT)[1]))?;
    case.change(|case| case.mesh("mesh-1", "DROP_ALL"))?;
    let said = open.tell("rest")?;
    assert!(said.errno.is_some() && said.took_ms < 1_000, "an open connection: {said:?}");
    case.is_closed()?;
    case.change(|case| case.mesh("mesh-1", "ALLOW_ALL"))?;
    case.is_open()
}

#[test]
fn s4_5_a_backend_comes_and_goes_with_its_declaration() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    let mut open = Client::start(&case.pod)?;
    open.must(&format!("dial {}", at(SVC_V, PORT)[0]))?;
    case.change(|case| case.backends(&[]))?;
    let said = open.tell("rest")?;
    assert!(said.errno.is_some() && said.took_ms < 1_000, "an open connection: {said:?}");
    case.is_refused(SVC_V, PORT)?;
    let why = case.why(at(SVC_V, PORT)[0])?;
    let by = &why["explanation"]["near"][0]["mismatch"];
    assert_eq!(by["kind"], "not-listed", "{why}");

    case.change(|case| case.backends(&["svc-v", "svc-u"]))?;
    case.is_reached(SVC_V, PORT)?;
    case.is_reached(UNDECLARED, PORT)?;
    // Without a declaration it is a plain Service, which an open mesh lets pass.
    case.change(|case| case.backends(&[]))?;
    case.change(|case| case.mesh("mesh-1", "ALLOW_ALL"))?;
    case.is_reached(SVC_V, PORT)
}

#[test]
fn s4_8_another_provider_reaches_other_nodes() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    case.is_reached(SVC_2, PORT)?;
    case.change(|case| case.provider(BY_NODE))?;
    case.is_reached(SVC_V, PORT)?;
    case.is_reached(SVC_1, PORT)?;
    case.is_refused(SVC_2, PORT)
}

/// The seed's own mismatch, mended while the pod runs.
#[test]
fn s4_1_a_namespace_that_no_mesh_selects_is_not_judged_until_one_does() -> Result<()> {
    let mut case = Case::new("DROP_ALL")?;
    case.mesh("sitateru-mesh", "DROP_ALL")?;
    case.start("not-enrolled")?;
    case.is_open()?;
    let status = case.agent.status()?;
    let findings = status["findings"].as_array().context("findings")?;
    let told = |kind: &str| {
        findings.iter().any(|one| {
            one["kind"] == kind
                && one["severity"] == "error"
                && one["place"].as_str().is_some_and(|place| place.contains(".yaml, document 1"))
                && one["message"].as_str().unwrap_or_default().contains(
                    "failed to find matching mesh for namespace: mesh-test, expecting 1 but found 0",
                )
        })
    };
    assert!(told("Pod") && told("VirtualNode"), "{status}");
    case.mesh("mesh-1", "DROP_ALL")?;
    case.wait_enrolment("enrolled")?;
    case.is_closed()
}

#[test]
fn s4_7_a_pod_that_no_node_selects_is_not_judged() -> Result<()> {
    let mut case = Case::new("DROP_ALL")?;
    case.labelled("app: nobody", "")?;
    case.start("not-enrolled")?;
    case.is_open()?;
    case.labelled(CALLER, "")?;
    case.wait_enrolment("enrolled")?;
    case.is_closed()?;
    let off = ", appmesh.k8s.aws/sidecarInjectorWebhook: disabled";
    case.labelled(CALLER, off)?;
    case.wait_enrolment("not-enrolled")?;
    case.is_open()
}

/// What is pinned judges while the agent is dead, and its successor finds the same.
#[test]
fn a_restart_of_the_agent_changes_no_verdict() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    case.is_closed()?;
    case.agent.kill()?;
    case.is_closed()?;
    case.start("enrolled")?;
    case.is_closed()
}

/// From a fresh start on, whatever of the node cannot be read. A directory keeps no form from before
/// a restart.
#[test]
fn a_node_that_is_refused_lets_nothing_out() -> Result<()> {
    const SELECTS: &str = "podSelector: {matchLabels: {app: caller}}";
    let mut case = Case::new("ALLOW_ALL")?;
    let broken =
        |case: &Case, spec: &str| case.write("vnode-x", &object("VirtualNode", "vnode-x", spec));
    broken(&case, &format!("{SELECTS}, listeners: 7"))?;
    case.start("enrolled")?;
    case.lets_nothing_out()?;
    let findings = case.agent.status()?["findings"].as_array().cloned().unwrap_or_default();
    let named = findings.iter().any(|one| {
        let message = one["message"].as_str().unwrap_or_default();
        one["kind"] == "Pod" && message.starts_with("VirtualNode mesh-test/vnode-x is refused")
    });
    ensure!(named, "{findings:?}");
    case.backends(&["svc-v"])?;
    case.agent.wait_until("it is mended", |agent| {
        Ok(agent.status()?["findings"]
            .as_array()
            .is_none_or(|all| all.iter().all(|one| one["kind"] != "Pod")))
    })?;
    case.is_open()?;
    // Its last good form stays in force, and ends with the agent.
    broken(&case, "podSelector: 7")?;
    case.agent.wait_until("it is refused", |agent| {
        let findings = agent.status()?["findings"].to_string();
        Ok(findings.contains("the form that was in force before stays"))
    })?;
    case.is_open()?;
    case.agent.kill()?;
    case.start("enrolled")?;
    case.lets_nothing_out()
}

#[test]
fn sl_9_a_pod_says_which_ports_and_addresses_are_ignored() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    case.is_reached(OUTSIDE, 22)?;
    ensure!(!case.is_asked(OUTSIDE, 22)?, "the default is for TCP");
    case.change(|case| case.labelled(CALLER, ", appmesh.k8s.aws/egressIgnoredPorts: \"8080\""))?;
    case.is_refused(OUTSIDE, 22)?;
    case.is_reached(OUTSIDE, 8_080)?;
    let [v4, v6] = both(OUTSIDE);
    let ignored = format!(", appmesh.k8s.aws/egressIgnoredIPs: \"{v4},{v6}\"");
    case.change(|case| case.labelled(CALLER, &ignored))?;
    case.is_reached(OUTSIDE, PORT)?;
    ensure!(case.is_asked(OUTSIDE, PORT)?, "an ignored address answers datagrams");
    case.is_refused(UNDECLARED, PORT)
}

#[test]
fn s4_12_a_gateways_pods_reach_the_targets_of_its_routes() -> Result<()> {
    let mut case = Case::new("DROP_ALL")?;
    case.labelled("for: gateway", "")?;
    let gateway = "namespaceSelector: {matchLabels: {mesh: mesh-1}}, \
                   podSelector: {matchLabels: {for: gateway}}, \
                   listeners: [{portMapping: {port: 8088, protocol: http}}]";
    case.write("gateway", &object("VirtualGateway", "gateway-v", gateway))?;
    case.start("enrolled")?;
    case.is_refused(SVC_V, PORT)?;
    let route = "httpRoute: {match: {prefix: /}, \
                 action: {target: {virtualService: {virtualServiceRef: {name: svc-v}}}}}";
    case.change(|case| case.write("route", &object("GatewayRoute", "route-v", route)))?;
    case.is_closed()
}

/// A second label does not open what the first one closed.
#[test]
fn a_pod_in_two_meshes_is_judged_by_the_one_that_denies() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    let all = "mesh: mesh-1, appmesh.k8s.aws/sidecarInjectorWebhook: enabled, \
               istio-injection: enabled";
    case.agent.config().mesh(Mode::AllowAny)?;
    case.namespace(all)?;
    case.agent.wait_until("it is reported", |agent| {
        let status = agent.status()?;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        Ok(findings.iter().any(|one| one["code"] == "SK0342" && one["kind"] == "Pod"))
    })?;
    case.is_closed()?;
    // Both deny: Istio's registry has every Service, and App Mesh's list is of no account.
    case.change(|case| case.agent.config().mesh(Mode::RegistryOnly))?;
    case.is_reached(UNDECLARED, PORT)?;
    case.is_refused(OUTSIDE, PORT)
}

/// On the port of name servers alone, over both transports and in both families.
#[test]
fn a_pod_reaches_the_name_servers_that_it_asks_for() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    case.is_refused(OUTSIDE, 53)?;
    let manifest = fs::read_to_string(case.agent.config().path("pod-caller"))?;
    let [v4, v6] = both(OUTSIDE);
    let asked = format!("spec: {{dnsConfig: {{nameservers: [{v4}, \"{v6}\"]}}, ");
    case.change(|case| case.write("pod-caller", &manifest.replace("spec: {", &asked)))?;
    case.is_reached(OUTSIDE, 53)?;
    ensure!(case.is_asked(OUTSIDE, 53)?, "the pod's own name server does not answer");
    case.is_refused(UNDECLARED, 53)?;
    ensure!(!case.is_asked(UNDECLARED, 53)?, "another one answers");
    case.is_closed()
}
