//! Rules and listeners are two readings of one registry, held against each other in random clusters:
//! what the kernel sends to the proxy the proxy can serve, requests that an object has a say in meet
//! the proxy, what a listener is for the kernel lets through, and nothing is let through that one slow
//! look at the objects does not allow.

use std::{fmt::Write as _, net::IpAddr, num::NonZeroU16};

use agent_model::{
    compile::{addr_of, compile},
    egress::{Action, DefaultAction, ProxyDuty},
    finding::Severity,
    names::{Answer, Answers},
    pod::PodId,
    requests::{Reading, outbound::Outbound},
    resource::{Objects, documents, parse, validate},
    snapshot::{Enrolment, Snapshot},
    translate::{Http, Interner, NodeContext, translate},
};
use fastrand::Rng;

#[path = "support/oracle.rs"]
mod oracle;
use oracle::Oracle;

const PORTS: [u16; 6] = [80, 443, 3306, 8080, 9000, 9443];
const NAMES: [&str; 3] = ["a.example.com", "b.example.com", "c.example.com"];

fn pick<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

fn port(random: &mut Rng) -> u16 {
    PORTS[random.usize(..PORTS.len())]
}

fn address(random: &mut Rng) -> String {
    format!("203.0.113.{}", random.u8(..24))
}

fn service(random: &mut Rng, number: u8) -> String {
    let namespace = random.u8(..2);
    let kind = match random.u8(..4) {
        0 => "clusterIP: None".to_owned(),
        1 => format!("type: ExternalName, externalName: {}", external(random)),
        _ => format!("clusterIP: {}", address(random)),
    };
    let export = pick(random, &["", "", "", ".", "*", "ns-1"]);
    let export = match export {
        "" => String::new(),
        export => format!(", annotations: {{networking.istio.io/exportTo: '{export}'}}"),
    };
    let mut numbers = [port(random), port(random)].to_vec();
    numbers.dedup();
    let mut ports = Vec::new();
    for number in numbers {
        let name = pick(random, &["http", "tcp", "tls", "grpc", "x", "mysql"]);
        let protocol = if random.u8(..8) == 0 { "UDP" } else { "TCP" };
        ports.push(format!("{{name: {name}-{number}, port: {number}, protocol: {protocol}}}"));
    }
    let mut text = format!(
        "---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: svc-{number}, namespace: ns-{namespace}{export}}}\n\
         spec: {{{kind}, ports: [{}]}}\n",
        ports.join(", ")
    );
    for slice in 0..random.u8(..3) {
        let served =
            pick(random, &["http-80", "tcp-443", "x-8080", "tls-443", "http-8080", "x-80"]);
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: svc-{number}-{slice}, namespace: ns-{namespace}, \
             labels: {{kubernetes.io/service-name: svc-{number}}}}}\naddressType: IPv4\n\
             endpoints: [{{addresses: [{}]}}]\nports: [{{name: {served}, port: {}}}]\n",
            address(random),
            port(random),
        );
    }
    text
}

fn external(random: &mut Rng) -> String {
    let of_cluster = format!("svc-{}.ns-{}.svc.cluster.local", random.u8(..6), random.u8(..2));
    let outside = pick(random, &NAMES).to_owned();
    if random.bool() { of_cluster } else { outside }
}

fn entry(random: &mut Rng, number: u8) -> String {
    let host = pick(random, &NAMES);
    let resolution = pick(random, &["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]);
    let addresses = match random.u8(..3) {
        0 => format!("addresses: [{}], ", address(random)),
        1 => format!("addresses: [203.0.113.{}/30], ", random.u8(..6) * 4),
        _ => String::new(),
    };
    let endpoints = match (resolution, random.u8(..3)) {
        ("STATIC", _) | ("DNS", 0) => format!("endpoints: [{{address: {}}}], ", address(random)),
        ("DNS", 1) => format!("endpoints: [{{address: {}}}], ", pick(random, &NAMES)),
        _ => String::new(),
    };
    let protocols = match resolution {
        "DYNAMIC_DNS" => &["HTTP", "TLS", "HTTPS"][..],
        _ => &["HTTP", "TCP", "TLS", "HTTPS", "GRPC", "UDP", ""][..],
    };
    let mut numbers = [port(random), port(random)].to_vec();
    numbers.dedup();
    let mut ports = Vec::new();
    for number in numbers {
        let protocol = pick(random, protocols);
        let target =
            if random.bool() { String::new() } else { format!(", targetPort: {}", port(random)) };
        ports.push(format!(
            "{{number: {number}, name: p{number}, protocol: \"{protocol}\"{target}}}"
        ));
    }
    let export = pick(random, &["", "", "exportTo: [.], ", "exportTo: [ns-0], "]);
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: se-{number}, namespace: ns-{}}}\n\
         spec: {{hosts: [{host}], {addresses}{endpoints}{export}resolution: {resolution}, ports: [{}]}}\n",
        random.u8(..2),
        ports.join(", ")
    )
}

fn sidecar(random: &mut Rng, namespace: u8) -> String {
    let one = pick(random, &["./*", "*/*", "ns-0/*", "~/*", "*/a.example.com", "ns-1/*"]);
    let other = pick(random, &["./*", "*/b.example.com"]);
    let port = match random.u8(..3) {
        0 => format!("port: {{number: {}, protocol: TCP, name: x}}, ", port(random)),
        _ => String::new(),
    };
    let narrow =
        if port.is_empty() { String::new() } else { format!("{{{port}hosts: [\"{one}\"]}}, ") };
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\n\
         metadata: {{name: sidecar, namespace: ns-{namespace}}}\n\
         spec: {{egress: [{narrow}{{hosts: [\"{one}\", \"{other}\"]}}]}}\n"
    )
}

fn route(random: &mut Rng, number: u8) -> String {
    let host = external(random);
    let to = if random.bool() { host.clone() } else { external(random) };
    let rule = match random.u8(..3) {
        0 => format!("tcp: [{{route: [{{destination: {{host: {to}}}}}]}}]"),
        1 => format!(
            "http: [{{match: [{{sourceLabels: {{app: web}}}}], route: [{{destination: {{host: {to}}}}}]}}]"
        ),
        _ => format!("http: [{{route: [{{destination: {{host: {to}}}}}]}}]"),
    };
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: vs-{number}, namespace: ns-{}}}\nspec: {{hosts: [{host}], {rule}}}\n",
        random.u8(..2)
    )
}

fn cluster(random: &mut Rng) -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n\
         data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}\n",
    );
    for namespace in 0..2 {
        let app = if random.bool() { "web" } else { "db" };
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Namespace\n\
             metadata: {{name: ns-{namespace}, labels: {{istio-injection: enabled}}}}\n\
             ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: client, namespace: ns-{namespace}, \
             labels: {{app: {app}}}, annotations: {{sekisho.dev/netns: /run/netns/{namespace}}}}}\n\
             spec: {{nodeName: node-1, containers: []}}\n\
             status: {{podIPs: [{{ip: 10.244.0.{}}}]}}\n",
            namespace + 1,
        );
        if random.u8(..3) == 0 {
            text += &sidecar(random, namespace);
        }
    }
    (0..random.u8(..6)).for_each(|number| text += &service(random, number));
    (0..random.u8(..5)).for_each(|number| text += &entry(random, number));
    (0..random.u8(..3)).for_each(|number| text += &route(random, number));
    text
}

fn read(text: &str) -> Objects {
    let mut objects = Objects::default();
    for document in documents(text) {
        for parsed in parse(document.value.unwrap_or_else(|error| panic!("{error}: {text}"))) {
            let object = parsed.unwrap_or_else(|error| panic!("{error}: {text}")).object;
            let object = object.expect("a kind that is read");
            if validate(&object).iter().all(|finding| finding.severity < Severity::Error) {
                objects.insert(object);
            }
        }
    }
    objects
}

fn answers(random: &mut Rng) -> Answers {
    let mut some = |name: &&str| {
        let one = || address(random).parse().expect("an address");
        let all: Vec<IpAddr> = std::iter::repeat_with(one).take(2).collect();
        let (current, lingering) = (vec![all[0]], vec![all[1]]);
        ((*name).into(), Answer { current, lingering, ..Answer::default() }.into())
    };
    NAMES[..2].iter().map(&mut some).collect()
}

/// Every address that objects may name, and one that none does.
fn universe() -> Vec<IpAddr> {
    let near = (0..28).map(|last| IpAddr::from([203, 0, 113, last]));
    near.chain([IpAddr::from([198, 51, 100, 1])]).collect()
}

/// How many connections were proxied, and for how many of them requests have to be read.
#[derive(Debug, Default)]
struct Counts {
    proxied: usize,
    needed: usize,
}

/// Holds one pod's two readings against each other.
fn agree(snapshot: &Snapshot, pod: &PodId, oracle: &Oracle<'_>, text: &str) -> Counts {
    let Enrolment::Enrolled(policy) = &snapshot.pods[pod].enrolment else { panic!("{pod}") };
    let table = compile(&policy.rules).expect("it fits");
    let outbound: std::sync::Arc<Outbound> = snapshot.requests.outbound(pod).expect("enrolled");
    let Counts { mut proxied, mut needed } = Counts::default();
    for port in PORTS {
        let dialled = NonZeroU16::new(port).expect("a port");
        for address in universe() {
            let what = || format!("{pod} to {address}:{port} in\n{text}");
            let decision = table.decide(addr_of(address), 6, port);
            let served = outbound.serving(address, port);
            let by_name = served.iter().any(|one| !one.hosts.is_empty() || !one.tls.is_empty());
            match decision.map(|decision| decision.action) {
                Some(Action::Proxy(ProxyDuty::NameRequired)) => {
                    assert!(by_name, "no listener tells names apart: {}", what());
                    proxied += 1;
                }
                Some(Action::Proxy(ProxyDuty::AddressAllowed)) => {
                    assert!(!served.is_empty(), "nothing listens: {}", what());
                    proxied += 1;
                }
                Some(Action::Direct) | None => {}
            }
            let reading = outbound.reading(address, port);
            if reading == Reading::Needed {
                let proxied =
                    matches!(decision, Some(one) if matches!(one.action, Action::Proxy(_)));
                assert!(proxied || decision.is_none(), "requests pass unread: {}", what());
                needed += usize::from(proxied);
            }
            let own = outbound.ports.get(&port).is_some_and(|on| {
                // Hosts that only routes name have no rule: Istio serves them to all that get there.
                let mut hosts = on.any.hosts.iter().flat_map(|one| &one.domains);
                let any_name = hosts.any(|one| oracle.declares(one.as_str()));
                let any_name = any_name || !on.any.tls.is_empty();
                any_name || on.at.keys().any(|net| net.contains(&address))
            });
            assert!(!own || decision.is_some(), "a listener that nothing reaches: {}", what());
            if decision.is_some() || own {
                assert!(oracle.allows(address, dialled), "more than is declared: {}", what());
            }
        }
    }
    Counts { proxied, needed }
}

/// What goes straight out, where a sidecar would have it, has nothing for the proxy to do.
fn straight_is_plain(needed: &Snapshot, always: &Snapshot, pod: &PodId, text: &str) -> usize {
    let table = |snapshot: &Snapshot| {
        let Enrolment::Enrolled(policy) = &snapshot.pods[pod].enrolment else { panic!("{pod}") };
        (compile(&policy.rules).expect("it fits"), policy.default_action)
    };
    let ((own, default), (full, _)) = (table(needed), table(always));
    let outbound = needed.requests.outbound(pod).expect("enrolled");
    let mut straight = 0;
    for port in PORTS {
        for address in universe() {
            let own = own.decide(addr_of(address), 6, port).map(|one| one.action);
            let full = full.decide(addr_of(address), 6, port);
            // A Service is its address's, whichever names are told apart on the port.
            let is_named = full.is_some_and(|one| one.source.kind == "ServiceEntry");
            let full = full.map(|one| one.action);
            if own == full {
                continue;
            }
            let reading = outbound.reading(address, port);
            let what = format!("{own:?} for {full:?}: {pod} to {address}:{port} in\n{text}");
            assert_ne!(reading, Reading::Needed, "{what}");
            match (own, full) {
                (Some(Action::Direct), Some(Action::Proxy(_))) => {}
                (None, Some(Action::Proxy(ProxyDuty::NameRequired))) => {
                    assert_eq!(default, DefaultAction::AllowAny, "{what}");
                }
                _ => panic!("{what}"),
            }
            let by_name = is_named && matches!(reading, Reading::Names { .. });
            assert!(!by_name || default == DefaultAction::AllowAny, "a name goes unread: {what}");
            straight += 1;
        }
    }
    straight
}

#[test]
fn what_rules_send_to_the_proxy_listeners_serve_and_nothing_else_is_let_through() {
    let (mut all, mut pods, mut straight) = (Counts::default(), 0, 0);
    for seed in 0..500 {
        let random = &mut Rng::with_seed(seed);
        let mut text = cluster(random);
        if seed % 2 == 1 {
            text = text.replace("REGISTRY_ONLY", "ALLOW_ANY");
        }
        let objects = read(&text);
        let node = NodeContext { answers: answers(random).into(), ..NodeContext::new("node-1") };
        let needed = translate(&objects, &node, &mut Interner::default());
        let node = NodeContext { http: Http::Always, ..node };
        let always = translate(&objects, &node, &mut Interner::default());
        for pod in always.pods.keys() {
            let oracle =
                Oracle { objects: &objects, answers: &node.answers, client: &pod.namespace };
            let text = format!("# seed {seed}\n{text}");
            let found = agree(&always, pod, &oracle, &text);
            straight += straight_is_plain(&needed, &always, pod, &text);
            all.proxied += found.proxied;
            all.needed += found.needed;
            pods += 1;
        }
    }
    assert!(all.proxied > 12_000 && pods == 1_000, "{all:?} of {pods} pods");
    assert!(all.needed > 500 && straight > 5_000, "{all:?}, {straight} straight");
}
