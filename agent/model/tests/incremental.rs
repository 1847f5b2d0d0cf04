//! What is kept from one translation to the next changes nothing about its outcome: after any
//! sequence of changes it is what a translation from scratch says.

use std::sync::Arc;

use agent_model::{
    compile::{compile, recompile, scan},
    names::{Answer, Answers},
    resource::{Kind, ObjectKey, Objects, Refused, documents, parse},
    snapshot::{Enrolment, Snapshot},
    translate::{Interner, NodeContext, translate},
};

/// One change: a number that says what, which one of its kind, and in which form; the last form is
/// that it is gone.
#[derive(Clone, Copy, Debug)]
struct Change {
    what: u8,
    which: u8,
    form: u8,
}

const GONE: u8 = 5;

fn changes(random: &mut fastrand::Rng) -> Vec<Change> {
    let count = random.usize(1..6);
    let mut change =
        || Change { what: random.u8(0..WHAT), which: random.u8(0..4), form: random.u8(0..=GONE) };
    (0..count).map(|_| change()).collect()
}

const WHAT: u8 = 16;
/// Something is refused, or no longer.
const REFUSED: u8 = 15;

/// The manifest of a change, and what it is about.
fn manifest(change: Change) -> (ObjectKey, String) {
    let Change { what, which, form } = change;
    let namespace = format!("ns-{}", which % 2);
    let (kind, name, body) = match what {
        0 => (Kind::Service, format!("svc-{which}"), service(which, form)),
        1 => (Kind::EndpointSlice, format!("slice-{which}"), slice(which, form)),
        2 | 3 => (Kind::ServiceEntry, format!("entry-{what}-{which}"), entry(what, which, form)),
        4 => (Kind::Sidecar, format!("sidecar-{which}"), sidecar(which, form)),
        5 => (Kind::Pod, format!("pod-{which}"), pod(which, form)),
        6 => (Kind::WorkloadEntry, format!("workload-{which}"), workload(which, form)),
        7 => (Kind::ConfigMap, "istio".to_owned(), mesh(form)),
        8 => (Kind::Service, format!("named-{which}"), external(which, form)),
        9 => (Kind::VirtualService, format!("routes-{which}"), routes(which, form)),
        10 => (Kind::DestinationRule, format!("rule-{which}"), rule(which, form)),
        11 => (Kind::PeerAuthentication, format!("peers-{which}"), peers(form)),
        14 => (Kind::ConfigMap, "istio-canary".to_owned(), mesh(form)),
        12 => (Kind::Gateway, format!("gateway-{which}"), gateway(which, form)),
        _ => (Kind::Pod, format!("other-{which}"), other_pod(which, form)),
    };
    let namespace = if kind == Kind::ConfigMap { "istio-system".to_owned() } else { namespace };
    let version = match kind.group() {
        "" => "v1".to_owned(),
        group => format!("{group}/v1"),
    };
    // Ages differ, so that precedence is not only by name.
    let created = format!("2024-01-0{}T00:00:00Z", 1 + (which + what) % 5);
    let text = format!(
        "apiVersion: {version}\nkind: {}\n\
         metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: \"{created}\"{}}}\n",
        kind.name(),
        body.0,
    ) + &body.1;
    (ObjectKey::new(kind, namespace, name), text)
}

/// What is added to the metadata, and the rest.
type Body = (String, String);

fn service(which: u8, form: u8) -> Body {
    let address = match form {
        0 => "None".to_owned(),
        _ => format!("203.0.113.{}", which * 8 + form),
    };
    let exported = if form == 3 { ", annotations: {networking.istio.io/exportTo: .}" } else { "" };
    let port = 80 + u16::from(form);
    (
        exported.to_owned(),
        format!("spec: {{clusterIP: \"{address}\", ports: [{{name: tcp, port: {port}}}]}}\n"),
    )
}

fn slice(which: u8, form: u8) -> Body {
    (
        format!(", labels: {{kubernetes.io/service-name: svc-{which}}}"),
        format!(
            "addressType: IPv4\nendpoints: [{{addresses: [203.0.113.{}]}}]\n\
             ports: [{{name: tcp, port: 8080}}]\n",
            100 + form
        ),
    )
}

fn entry(what: u8, which: u8, form: u8) -> Body {
    // The hosts of some are those of others.
    let host = format!("host-{}.example.com", if form == 1 { 0 } else { which });
    let spec = match (what, form) {
        (2, 0) => format!(
            "resolution: STATIC, endpoints: [{{address: 203.0.113.{which}}}], \
             ports: [{{number: 9000, targetPort: 9001, name: tcp, protocol: TCP}}]"
        ),
        (2, 2) => "resolution: STATIC, workloadSelector: {labels: {app: db}}, \
                   ports: [{number: 9000, name: tcp, protocol: TCP}]"
            .to_owned(),
        (2, _) => format!(
            "resolution: DNS, ports: [{{number: {}, name: tcp, protocol: TCP}}]",
            9000 + u16::from(form)
        ),
        (_, 0) => "addresses: [0.0.0.0/0], ports: [{number: 443, name: tls, protocol: TLS}]".into(),
        (_, 2) => "ports: [{number: 443, name: https, protocol: HTTPS}]".to_owned(),
        _ => format!(
            "addresses: [203.0.113.{}/3{}], ports: [{{number: 9000, name: tcp, protocol: TCP}}, \
             {{number: 53, name: udp, protocol: UDP}}]",
            which * 4,
            form % 3
        ),
    };
    let export = if form == 4 { ", exportTo: [\".\"]" } else { "" };
    (String::new(), format!("spec: {{hosts: [{host}], {spec}{export}}}\n"))
}

fn sidecar(which: u8, form: u8) -> Body {
    let hosts = ["./*", "*/host-1.example.com", "ns-0/*", "~/*", "*/*"][usize::from(form) % 5];
    let selector = if which > 1 { "workloadSelector: {labels: {app: db}}, " } else { "" };
    (String::new(), format!("spec: {{{selector}egress: [{{hosts: [\"{hosts}\"]}}]}}\n"))
}

fn pod(which: u8, form: u8) -> Body {
    (
        format!(
            ", labels: {{app: {}, sidecar.istio.io/inject: \"true\"{}}}, annotations: \
             {{sekisho.dev/netns: /run/netns/{which}, \
             traffic.sidecar.istio.io/excludeOutboundPorts: \"{}\"}}",
            if form.is_multiple_of(2) { "db" } else { "web" },
            if form == 4 { ", istio.io/rev: canary" } else { "" },
            if form == 3 { "22" } else { "" },
        ),
        format!("spec: {{nodeName: node-1}}\nstatus: {{podIPs: [{{ip: 203.0.113.{which}}}]}}\n"),
    )
}

fn workload(which: u8, form: u8) -> Body {
    let address = format!("203.0.113.{}", 200 + which * 8 + form);
    (String::new(), format!("spec: {{address: {address}, labels: {{app: db}}}}\n"))
}

fn mesh(form: u8) -> Body {
    let mode = if form.is_multiple_of(2) { "REGISTRY_ONLY" } else { "ALLOW_ANY" };
    let export = if form > 2 { "\\ndefaultServiceExportTo: ['.']" } else { "" };
    (
        String::new(),
        format!("data: {{mesh: \"outboundTrafficPolicy: {{mode: {mode}}}{export}\"}}\n"),
    )
}

fn external(which: u8, form: u8) -> Body {
    let name = ["host-1.example.com", "elsewhere.example.org", "svc-0.ns-0.svc.cluster.local"]
        [usize::from(form) % 3];
    (
        String::new(),
        format!(
            "spec: {{type: ExternalName, externalName: {name}, ports: [{{port: {}}}]}}\n",
            7000 + u16::from(which)
        ),
    )
}

fn routes(which: u8, form: u8) -> Body {
    let host = ["svc-0.ns-0.svc.cluster.local", "host-1.example.com"][usize::from(which) % 2];
    let to = ["svc-1.ns-1.svc.cluster.local", "host-0.example.com"][usize::from(form) % 2];
    let from = if form == 2 { "match: [{sourceLabels: {app: db}}], " } else { "" };
    let gateways = if form == 3 { "gateways: [gateway-0], " } else { "" };
    let route = format!("{{{from}route: [{{destination: {{host: {to}}}}}]}}");
    let kind = if form == 4 { "tcp" } else { "http" };
    (String::new(), format!("spec: {{hosts: [{host}], {gateways}{kind}: [{route}]}}\n"))
}

fn rule(which: u8, form: u8) -> Body {
    let host = ["svc-0.ns-0.svc.cluster.local", "host-1.example.com"][usize::from(which) % 2];
    let mode = ["DISABLE", "SIMPLE", "ISTIO_MUTUAL"][usize::from(form) % 3];
    let selector = if form > 2 { "workloadSelector: {matchLabels: {app: web}}, " } else { "" };
    let spec = format!("{selector}host: {host}, trafficPolicy: {{tls: {{mode: {mode}}}}}");
    (String::new(), format!("spec: {{{spec}}}\n"))
}

fn peers(form: u8) -> Body {
    let mode = ["STRICT", "PERMISSIVE", "DISABLE"][usize::from(form) % 3];
    let selector = if form > 2 { "selector: {matchLabels: {app: db}}, " } else { "" };
    (String::new(), format!("spec: {{{selector}mtls: {{mode: {mode}}}}}\n"))
}

fn gateway(which: u8, form: u8) -> Body {
    let server = format!(
        "{{port: {{number: {}, name: http, protocol: HTTP}}, hosts: [\"*\"]}}",
        8080 + u16::from(form)
    );
    let app = if which > 1 { "db" } else { "web" };
    (String::new(), format!("spec: {{selector: {{app: {app}}}, servers: [{server}]}}\n"))
}

/// Of another node: who it is matters to those that dial it.
fn other_pod(which: u8, form: u8) -> Body {
    let inject = if form == 1 { "false" } else { "true" };
    (
        format!(", labels: {{app: db, sidecar.istio.io/inject: \"{inject}\"}}"),
        format!(
            "spec: {{nodeName: node-2, serviceAccountName: account-{form}}}\n\
             status: {{podIPs: [{{ip: 203.0.113.{}}}]}}\n",
            100 + which
        ),
    )
}

fn apply(objects: &mut Objects, change: Change) {
    if change.what == REFUSED {
        return refuse(objects, change);
    }
    let (key, text) = manifest(change);
    if change.form == GONE {
        objects.remove(&key);
        return;
    }
    put(objects, &text);
    assert!(objects.get(&key).is_some(), "{key}");
}

fn refuse(objects: &mut Objects, Change { which, form, .. }: Change) {
    let kind = if which > 2 { Kind::PeerAuthentication } else { Kind::Sidecar };
    let key = ObjectKey::new(kind, format!("ns-{}", which % 2), format!("refused-{which}"));
    let left = (form != GONE).then(|| Refused::unnamed(&key, form == 0)).flatten();
    objects.refuse(&Arc::new(key), left.map(Arc::new));
}

fn put(objects: &mut Objects, text: &str) {
    for document in documents(text) {
        for parsed in parse(document.value.expect("YAML")) {
            objects.insert(parsed.expect("readable").object.expect("an object"));
        }
    }
}

/// Answers that change with each turn for one name and stay for another.
fn answers(turn: usize) -> Answers {
    let address =
        |last: usize| vec![format!("203.0.113.{}", last % 250).parse().expect("an address")];
    let answer = |last| Answer { current: address(last), ..Answer::default() };
    [("host-1.example.com", answer(turn)), ("elsewhere.example.org", answer(77))]
        .into_iter()
        .map(|(name, answer)| (name.into(), answer.into()))
        .collect()
}

/// Each table that follows from the one before decides as a look at each rule; how many there are.
fn check_tables(before: &Snapshot, now: &Snapshot) -> usize {
    let rules = |snapshot: &Snapshot| {
        let enrolled = |enrolment: &Enrolment| match enrolment {
            Enrolment::Enrolled(policy) => Some(policy.rules.clone()),
            Enrolment::NotEnrolled(_) | Enrolment::Pending(_) => None,
        };
        let all = snapshot
            .pods
            .iter()
            .filter_map(|(id, pod)| Some((id.clone(), enrolled(&pod.enrolment)?)));
        all.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (before, mut checked) = (rules(before), 0);
    for (pod, now) in rules(now) {
        let Some(before) = before.get(&pod) else { continue };
        let old = compile(before).expect("it fits");
        let table = recompile((before, &old), &now).expect("it fits");
        for last in 0..=255_u8 {
            let addr = agent_model::compile::addr_of([203, 0, 113, last].into());
            for (protocol, port) in [(6, 9000), (17, 53), (6, 443), (6, 80), (6, 22), (6, 81)] {
                let decided = table.decide(addr, protocol, port);
                let decided = decided.map(|one| (one.source.clone(), one.action));
                let scanned = scan(now.rules(), addr, protocol, port);
                let scanned = scanned.map(|one| (one.source.clone(), one.action));
                assert_eq!(decided, scanned, "{pod} 203.0.113.{last} {protocol} {port}");
            }
        }
        checked += 1;
    }
    checked
}

/// How many ports all pods may dial.
fn outbound_ports(snapshot: &Snapshot) -> usize {
    let outbound = |pod| snapshot.requests.outbound(pod).map_or(0, |one| one.ports.len());
    snapshot.requests.pods().iter().map(outbound).sum()
}

#[test]
fn what_is_kept_changes_nothing_about_the_outcome() {
    let (mut enrolled, mut dialled) = (0, 0);
    for seed in 0..100 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let mut objects = Objects::default();
        let mut node = NodeContext::new("node-1");
        let mut interner = Interner::default();
        for namespace in ["ns-0", "ns-1"] {
            let text =
                format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
            put(&mut objects, &text);
        }
        for which in 0..4 {
            apply(&mut objects, Change { what: 5, which, form: 0 });
        }
        let mut before = Snapshot::default();
        for turn in 0..12 {
            for change in changes(random) {
                apply(&mut objects, change);
            }
            node.answers = answers(turn / 2).into();
            let kept = translate(&objects, &node, &mut interner);
            let fresh = translate(&objects, &node, &mut Interner::default());
            assert_eq!(kept.to_string(), fresh.to_string(), "seed {seed}, turn {turn}");
            // Requests with it, which are kept for each view once they were asked for.
            assert_eq!(kept, fresh, "seed {seed}, turn {turn}");
            dialled += outbound_ports(&kept);
            enrolled += check_tables(&before, &kept);
            before = kept;
        }
    }
    assert!(enrolled > 1_000, "only {enrolled} tables were compared");
    assert!(dialled > 1_000, "only {dialled} ports were compared");
}
