//! What a change of one object costs the model of requests of a large cluster: the ports, hosts,
//! stream routes and destinations that it touches are made again, and all others stay the same
//! allocations. That nothing else differs is what `incremental.rs` is about.
//!
//! `cargo test -p agent-model --test increments -- --nocapture` prints the counts.

use std::{collections::BTreeSet, fmt::Write, ops::Sub, ptr, sync::Arc};

use agent_model::{
    names::Answer,
    requests::{backend::Target, outbound::Outbound},
    resource::{Objects, documents, parse},
    snapshot::Snapshot,
    translate::{Interner, NodeContext, translate},
};

const NAMESPACES: usize = 10;
const SERVICES: usize = 400;
const ENTRIES: usize = 50;

/// Every fourth service has routes, to itself and the next one; every fifth has a rule; every tenth
/// speaks TCP. Each namespace has one pod of the node, and every other one a Sidecar.
fn cluster() -> String {
    let mut text = String::new();
    for number in 0..NAMESPACES {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Namespace\n\
             metadata: {{name: ns-{number}, labels: {{istio-injection: enabled}}}}\n\
             ---\napiVersion: v1\nkind: Pod\n\
             metadata: {{name: pod, namespace: ns-{number}, labels: {{app: client}}, annotations: \
             {{sekisho.dev/netns: /run/netns/{number}}}}}\nspec: {{nodeName: node-1, containers: []}}\n\
             status: {{podIPs: [{{ip: 10.244.0.{number}}}]}}\n",
        );
        if number % 2 == 1 {
            text += &istio("Sidecar", (number, "own"), "egress: [{hosts: ['./*', '*/*']}]");
        }
    }
    (0..SERVICES).for_each(|number| text += &service(number, 80));
    (0..SERVICES).step_by(4).for_each(|number| text += &routes(number, 1));
    (0..SERVICES).step_by(5).for_each(|number| text += &rule(number, "ROUND_ROBIN"));
    for number in 0..ENTRIES {
        let spec = format!(
            "hosts: [{}], resolution: DNS, ports: [{{number: 443, name: tls, protocol: TLS}}]",
            outside(number)
        );
        text += &istio("ServiceEntry", (number, &format!("outside-{number}")), &spec);
    }
    text
}

fn istio(kind: &str, (namespace, name): (usize, &str), spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: ns-{}}}\nspec: {{{spec}}}\n",
        namespace % NAMESPACES
    )
}

fn service(number: usize, port: u16) -> String {
    let protocol = if number % 10 == 9 { "tcp" } else { "http" };
    format!(
        "---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: s{number}, namespace: ns-{}}}\nspec: {{clusterIP: 10.96.{}.{}, \
         ports: [{{name: {protocol}, port: {port}}}]}}\n",
        number % NAMESPACES,
        number / 250,
        number % 250
    )
}

fn host(number: usize) -> String {
    let number = number % SERVICES;
    format!("s{number}.ns-{}.svc.cluster.local", number % NAMESPACES)
}

fn outside(number: usize) -> String {
    format!("h{number}.example.com")
}

fn routes(number: usize, weight: u32) -> String {
    let (own, next) = (host(number), host(number + 1));
    let to = |host: &str, weight| format!("{{destination: {{host: {host}}}, weight: {weight}}}");
    let route = [to(&own, weight), to(&next, 3)].join(", ");
    let spec = format!("hosts: [{own}], http: [{{route: [{route}]}}]");
    istio("VirtualService", (number, &format!("s{number}")), &spec)
}

fn rule(number: usize, simple: &str) -> String {
    let spec =
        format!("host: {}, trafficPolicy: {{loadBalancer: {{simple: {simple}}}}}", host(number));
    istio("DestinationRule", (number, &format!("s{number}")), &spec)
}

fn put(objects: &mut Objects, text: &str) {
    for document in documents(text) {
        for parsed in parse(document.value.expect("YAML")) {
            objects.insert(parsed.expect("readable").object.expect("an object"));
        }
    }
}

/// The addresses of what a snapshot's pods may dial, each once.
#[derive(Debug, Default)]
struct Parts {
    ports: BTreeSet<usize>,
    hosts: BTreeSet<usize>,
    streams: BTreeSet<usize>,
    backends: BTreeSet<usize>,
}

/// How many parts of each sort: ports, hosts, stream routes, destinations.
type Counts = [usize; 4];

impl Parts {
    fn of(snapshot: &Snapshot) -> Self {
        let mut parts = Self::default();
        for pod in snapshot.requests.pods() {
            parts.add(&snapshot.requests.outbound(&pod).expect("an enrolled pod"));
        }
        parts
    }

    fn add(&mut self, outbound: &Outbound) {
        for row in outbound.routes() {
            let targets = row.route.targets().into_iter();
            self.backends.extend(targets.filter_map(|target| match target {
                Target::Backend(backend) => Some(ptr::from_ref(&**backend).addr()),
                Target::Missing(_) => None,
            }));
        }
        for port in outbound.ports.values() {
            self.ports.insert(Arc::as_ptr(port).addr());
            for listener in port.at.values().chain([&port.any]) {
                self.hosts.extend(listener.hosts.iter().map(|one| Arc::as_ptr(one).addr()));
                let streams = listener.tls.iter().chain(&listener.tcp);
                self.streams.extend(streams.map(|one| Arc::as_ptr(one).addr()));
            }
        }
    }

    fn counts(&self) -> Counts {
        [&self.ports, &self.hosts, &self.streams, &self.backends].map(BTreeSet::len)
    }
}

impl Sub for &Parts {
    type Output = Counts;

    fn sub(self, other: Self) -> Counts {
        [
            &self.ports - &other.ports,
            &self.hosts - &other.hosts,
            &self.streams - &other.streams,
            &self.backends - &other.backends,
        ]
        .map(|fresh| fresh.len())
    }
}

struct Rig {
    objects: Objects,
    node: NodeContext,
    interner: Interner,
    /// Held, so that no address is one of two allocations.
    now: Snapshot,
}

impl Rig {
    fn new() -> Self {
        let mut objects = Objects::default();
        put(&mut objects, &cluster());
        let node = NodeContext::new("node-1");
        let (interner, now) = (Interner::default(), Snapshot::default());
        let mut rig = Self { objects, node, interner, now };
        (0..ENTRIES).for_each(|number| rig.answer(number, 1));
        rig.step();
        rig
    }

    fn answer(&mut self, number: usize, last: u8) {
        let address = [198, 51, u8::try_from(number).expect("few"), last];
        let answer = Answer { current: vec![address.into()], ..Answer::default() };
        let known = self.node.answers.iter().map(|(name, one)| (name.clone(), one.clone()));
        let all = known.chain([(outside(number).into(), Arc::new(answer))]);
        self.node.answers = Arc::new(all.collect());
    }

    /// What the next generation has that the one before had not.
    fn step(&mut self) -> Counts {
        let next = translate(&self.objects, &self.node, &mut self.interner);
        let counts = &Parts::of(&next) - &Parts::of(&self.now);
        self.now = next;
        counts
    }

    fn put(&mut self, what: &str, text: &str) -> Counts {
        put(&mut self.objects, text);
        self.counted(what)
    }

    fn counted(&mut self, what: &str) -> Counts {
        let all = Parts::of(&self.now).counts();
        let fresh = self.step();
        println!("{what}: {fresh:?} of {all:?} ports, hosts, stream routes and destinations");
        fresh
    }
}

/// A Service is a host to its own namespace and one to all others, and so is the host whose routes
/// lead to it.
const TWO: usize = 2;

#[test]
fn views_share_what_is_the_same_to_them() {
    let rig = Rig::new();
    let [_, hosts, streams, backends] = Parts::of(&rig.now).counts();
    assert!(hosts <= TWO * SERVICES, "{hosts} hosts for {NAMESPACES} views");
    assert!(streams <= TWO * (SERVICES / 10 + ENTRIES) + ENTRIES, "{streams} stream routes");
    assert_eq!(backends, SERVICES + ENTRIES);
}

#[test]
fn a_change_costs_what_it_touches() {
    let mut rig = Rig::new();
    // The port of all HTTP, as each view has it, and those of the change.
    let of_views = |ports: usize| ports * NAMESPACES;

    // 41 has no routes of its own; those of 40 lead to it.
    let [ports, hosts, streams, backends] = rig.put("a Service", &service(41, 8080));
    assert!(
        ports <= of_views(2) && hosts <= TWO + TWO && streams == 0,
        "{ports} {hosts} {streams}"
    );
    assert_eq!(backends, 1);

    let [ports, hosts, streams, backends] = rig.put("a VirtualService", &routes(80, 2));
    assert!(ports <= of_views(1) && hosts <= TWO && streams == 0, "{ports} {hosts} {streams}");
    assert_eq!(backends, 0);

    // The routes of 100 lead to it too, and no others.
    let [ports, hosts, streams, backends] = rig.put("a DestinationRule", &rule(100, "RANDOM"));
    assert!(ports <= of_views(1) && hosts <= TWO && streams == 0, "{ports} {hosts} {streams}");
    assert_eq!(backends, 1);

    rig.answer(7, 2);
    let [ports, hosts, streams, backends] = rig.counted("the answer of a name");
    assert!(ports <= of_views(1) && streams <= 2, "{ports} {streams}");
    assert_eq!((hosts, backends), (0, 1));

    // Of these no request depends.
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {name: s1, namespace: ns-1, labels: {kubernetes.io/service-name: s1}}\n\
                 addressType: IPv4\nendpoints: [{addresses: [10.244.9.9]}]\n\
                 ports: [{name: http, port: 80}]\n";
    assert_eq!(rig.put("endpoints", slice), [0; 4]);
    let peers = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                 metadata: {name: p, namespace: ns-3}\nspec: {mtls: {mode: STRICT}}\n";
    assert_eq!(rig.put("a PeerAuthentication that changes no client", peers), [0; 4]);
}

#[test]
fn a_view_that_no_pod_asked_for_since_follows_from_its_last_one() {
    let mut rig = Rig::new();
    let first = rig.now.clone();
    let unasked = |rig: &mut Rig, number| {
        put(&mut rig.objects, &service(number, 8081));
        rig.now = translate(&rig.objects, &rig.node, &mut rig.interner);
    };
    unasked(&mut rig, 11);
    unasked(&mut rig, 21);
    let [_, hosts, _, backends] = &Parts::of(&rig.now) - &Parts::of(&first);
    assert!(hosts <= 4 * TWO, "{hosts}");
    assert_eq!(backends, 2);
}
