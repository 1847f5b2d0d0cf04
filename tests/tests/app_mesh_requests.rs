//! App Mesh (S4): where requests of a pod go, by its node's backends, routers and weights, on real
//! sockets. A plain server has the declared name's own address, as kube-proxy would lead there.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    app_mesh::{CALLER, NAMESPACE, PORT, SVC_1, SVC_2, SVC_V, at, both, node, object, service},
    manifest::NODE,
    pod::http::{Answers, Requests, is_share},
    process::{Process, probe},
    web::Web,
    world::{Host, Wiring, World},
};

const PATIENCE: Duration = Duration::from_mins(1);
const FQDN: &str = "svc-v.mesh-test.svc.cluster.local";

#[derive(Clone, Copy, Debug)]
enum Net {
    V4,
    V6,
}

/// A calling pod in `vnode-x`, two nodes behind `svc-v`, and what answers without a mesh.
struct Case {
    net: Net,
    client: Process,
    agent: Agent,
    _servers: Vec<Web>,
    _hosts: Vec<Host>,
    _pod: Host,
    world: World,
}

impl Case {
    fn new(net: Net, egress: &str) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let pod = world.pod("caller")?;
        let hosts = [world.far("v1")?, world.far("v2")?, world.far("plain")?];
        world.add_addresses(&hosts[2], &both(SVC_V))?;
        let mut servers = Vec::new();
        for (host, name) in hosts.iter().zip(["v1", "v2", "plain"]) {
            servers.push(Web::start(host, PORT, name)?);
        }
        let agent = Agent::new(&world)?;
        let config = agent.config();
        config.write("mesh-1", &mesh(egress))?;
        let services = [
            backed("svc-1", SVC_1, &[&hosts[0]]),
            backed("svc-2", SVC_2, &[&hosts[1]]),
            backed("svc-v", SVC_V, &[&hosts[2]]),
        ];
        config.write("services", &services.join("---\n"))?;
        let nodes = [node("vnode-1", "svc-1"), node("vnode-2", "svc-2")];
        config.write("nodes", &nodes.join("---\n"))?;
        config.write("pod-caller", &caller(&pod))?;
        let mut command = probe()?;
        command.arg("http");
        let client = pod.run(command)?;
        let mut case =
            Self { net, client, agent, _servers: servers, _hosts: hosts.into(), _pod: pod, world };
        case.router(1, 1)?;
        case.provider("virtualRouter: {virtualRouterRef: {name: vrouter-1}}")?;
        case.backends(&["svc-v"])?;
        case.agent.start(&case.world)?;
        case.agent.wait_until("the pod is enrolled", |agent| {
            Ok(agent.enrolment("caller")? == "enrolled")
        })?;
        Ok(case)
    }

    /// A router with these weights of the two nodes.
    fn router(&self, one: u32, other: u32) -> Result<()> {
        let target = |name: &str, weight: u32| {
            format!("{{virtualNodeRef: {{name: {name}}}, weight: {weight}}}")
        };
        let spec = format!(
            "listeners: [{{portMapping: {{port: {PORT}, protocol: http}}}}], \
             routes: [{{name: route-1, httpRoute: {{match: {{prefix: /}}, \
             action: {{weightedTargets: [{}, {}]}}}}}}]",
            target("vnode-1", one),
            target("vnode-2", other)
        );
        self.agent.config().write("router", &object("VirtualRouter", "vrouter-1", &spec))
    }

    fn provider(&self, provider: &str) -> Result<()> {
        let spec = format!("provider: {{{provider}}}");
        self.agent.config().write("svc-v", &object("VirtualService", "svc-v", &spec))
    }

    fn backends(&self, names: &[&str]) -> Result<()> {
        let all = names
            .iter()
            .map(|name| format!("{{virtualService: {{virtualServiceRef: {{name: {name}}}}}}}"));
        let all = all.collect::<Vec<_>>().join(", ");
        let spec = format!("podSelector: {{matchLabels: {{{CALLER}}}}}, backends: [{all}]");
        self.agent.config().write("vnode-x", &object("VirtualNode", "vnode-x", &spec))
    }

    /// Requests for a host, all to the declared name's address.
    fn send(&mut self, host: &str, count: u32) -> Result<Answers> {
        self.send_each(host, (count, 10))
    }

    /// So many, and so many on each connection.
    fn send_each(&mut self, host: &str, (count, each): (u32, u32)) -> Result<Answers> {
        let [v4, v6] = at(SVC_V, PORT);
        let to = match self.net {
            Net::V4 => v4,
            Net::V6 => v6,
        };
        let lines = vec!["GET / HTTP/1.1".to_owned(), format!("Host: {host}")];
        let body = String::new();
        let requests = Requests { to, lines, body, count, millis: 0, each, tls: None };
        self.client.say(&serde_json::to_string(&requests)?)?;
        self.client.answer(PATIENCE)
    }

    /// Asks until the answer begins so, while what was changed comes into force.
    fn ask_until(&mut self, host: &str, wanted: &str) -> Result<()> {
        let mut last = Answers::default();
        for _ in 0..500 {
            last = self.send(host, 1)?;
            if last.only().is_some_and(|said| said.starts_with(wanted)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("not {wanted:?} but {last:?}\n{}", self.agent.words())
    }
}

/// A mesh with an egress filter of this type, or with none, and its namespace.
fn mesh(egress: &str) -> String {
    let filter = if egress.is_empty() {
        String::new()
    } else {
        format!("egressFilter: {{type: {egress}}}, ")
    };
    let spec = format!("{filter}namespaceSelector: {{matchLabels: {{mesh: mesh-1}}}}");
    let mesh = object("Mesh", "mesh-1", &spec);
    format!(
        "{mesh}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, labels: \
         {{mesh: mesh-1, appmesh.k8s.aws/sidecarInjectorWebhook: enabled}}}}\n"
    )
}

/// The calling pod.
fn caller(pod: &Host) -> String {
    let [v4, v6] = pod.addresses();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: caller, namespace: {NAMESPACE}, \
         labels: {{{CALLER}}}, annotations: {{sekisho.dev/netns: {}}}}}\n\
         spec: {{nodeName: {NODE}}}\n\
         status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n",
        pod.netns().path().display()
    )
}

/// A Service and who is behind it.
fn backed(name: &str, number: u8, hosts: &[&Host]) -> String {
    let mut text = service(NAMESPACE, name, number);
    for (family, at) in [("IPv4", 0), ("IPv6", 1)] {
        let all = hosts.iter().map(|host| format!("{{addresses: [\"{}\"]}}", host.addresses()[at]));
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}-{}, namespace: {NAMESPACE}, \
             labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: {family}\n\
             endpoints: [{}]\nports: [{{port: {PORT}}}]\n",
            family.to_lowercase(),
            all.collect::<Vec<_>>().join(", ")
        );
    }
    text
}

#[rstest]
fn s4_3_a_router_splits_requests_over_its_nodes(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, "ALLOW_ALL")?;
    let said = case.send(FQDN, 1_000)?;
    ensure!(said.of("200 v1") + said.of("200 v2") == 1_000, "{said:?}");
    ensure!(is_share(said.of("200 v1"), 1_000, 0.5), "{said:?}");
    for host in ["svc-v.mesh-test", "svc-v.mesh-test.svc", "svc-v.mesh-test:80"] {
        let said = case.send(host, 20)?;
        ensure!(said.of("200 v1") + said.of("200 v2") == 20, "{host}: {said:?}");
    }
    Ok(())
}

#[rstest]
fn s4_4_weights_are_relative_and_none_gets_nothing(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, "ALLOW_ALL")?;
    case.router(0, 1)?;
    case.ask_until(FQDN, "200 v2")?;
    case.router(3, 1)?;
    case.ask_until(FQDN, "200 v1")?;
    let said = case.send(FQDN, 1_000)?;
    ensure!(is_share(said.of("200 v1"), 1_000, 0.75), "{said:?}");
    case.router(0, 1)?;
    case.ask_until(FQDN, "200 v2")?;
    // The rule of before may hold for a request more.
    std::thread::sleep(Duration::from_millis(500));
    let said = case.send(FQDN, 200)?;
    ensure!(said.only() == Some("200 v2"), "{said:?}");
    Ok(())
}

#[rstest]
fn s4_5_and_6_without_the_backend_or_by_its_short_name_the_plain_service_answers(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, "ALLOW_ALL")?;
    let said = case.send("svc-v", 50)?;
    ensure!(said.only() == Some("200 plain"), "{said:?}");
    case.backends(&[])?;
    case.ask_until(FQDN, "200 plain")?;
    std::thread::sleep(Duration::from_millis(500));
    let said = case.send(FQDN, 50)?;
    ensure!(said.only() == Some("200 plain"), "{said:?}");
    Ok(())
}

#[rstest]
fn s4_8_a_node_may_provide_by_itself(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let mut case = Case::new(net, "ALLOW_ALL")?;
    case.provider("virtualNode: {virtualNodeRef: {name: vnode-2}}")?;
    case.ask_until(FQDN, "200 v2")?;
    std::thread::sleep(Duration::from_millis(500));
    let said = case.send(FQDN, 100)?;
    ensure!(said.only() == Some("200 v2"), "{said:?}");
    Ok(())
}

#[rstest]
fn s4_11_under_drop_all_the_backend_answers_and_another_host_does_not(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, "")?;
    let said = case.send(FQDN, 50)?;
    ensure!(said.of("200 v1") + said.of("200 v2") == 50, "{said:?}");
    let said = case.send("elsewhere.example.com", 1)?;
    let only = said.only().with_context(|| format!("{said:?}"))?;
    ensure!(only.starts_with("502"), "{only}");
    Ok(())
}

#[rstest]
fn s4_17_without_its_router_a_name_fails_and_does_not_fall_through(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, "ALLOW_ALL")?;
    case.ask_until(FQDN, "200 v")?;
    case.agent.config().remove("router")?;
    case.ask_until(FQDN, "503")?;
    let said = case.send(FQDN, 20)?;
    ensure!(said.only().is_some_and(|said| said.starts_with("503")), "{said:?}");
    Ok(())
}

#[rstest]
fn a_router_for_tcp_splits_connections(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let mut case = Case::new(net, "ALLOW_ALL")?;
    let listener = format!("listeners: [{{portMapping: {{port: {PORT}, protocol: tcp}}}}]");
    let nodes = [("vnode-1", "svc-1"), ("vnode-2", "svc-2")].map(|(name, host)| {
        let discovery = format!(
            "serviceDiscovery: {{dns: {{hostname: {host}.{NAMESPACE}.svc.cluster.local}}}}"
        );
        object("VirtualNode", name, &format!("{listener}, {discovery}"))
    });
    case.agent.config().write("nodes", &nodes.join("---\n"))?;
    let target =
        |name: &str, weight: u32| format!("{{virtualNodeRef: {{name: {name}}}, weight: {weight}}}");
    let spec = format!(
        "{listener}, routes: [{{name: route-1, tcpRoute: {{action: {{weightedTargets: [{}, {}]}}}}}}]",
        target("vnode-1", 3),
        target("vnode-2", 1)
    );
    case.agent.config().write("router", &object("VirtualRouter", "vrouter-1", &spec))?;
    // No host is read: the connection is for the declared name, since its address was dialled.
    case.ask_until("elsewhere.example.com", "200 v")?;
    std::thread::sleep(Duration::from_millis(500));
    let said = case.send_each("elsewhere.example.com", (1_000, 1))?;
    ensure!(said.of("200 v1") + said.of("200 v2") == 1_000, "{said:?}");
    ensure!(is_share(said.of("200 v1"), 1_000, 0.75), "{said:?}");
    let said = case.send_each("elsewhere.example.com", (50, 50))?;
    ensure!(said.only().is_some(), "one connection leads to one node: {said:?}");
    Ok(())
}
