//! Every rule of validation: one object that breaks it and nothing else, with the code, the field
//! and the severity that it gives.

use agent_model::{
    finding::code,
    resource::{Objects, documents, parse, validate},
    translate::{Interner, NodeContext, translate},
};

/// Codes of a manifest's findings, as `severity code field`.
fn findings(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    for document in documents(manifest) {
        for parsed in parse(document.value.expect("YAML")) {
            let parsed = parsed.expect("readable");
            assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
            let object = parsed.object.expect("a kind that is read");
            found.extend(validate(&object).into_iter().map(|finding| {
                assert!(finding.message.len() > 10, "{finding}");
                assert!(code::allows(finding.code, finding.severity), "{finding}");
                format!("{} {} {}", finding.severity.name(), finding.code, finding.field)
            }));
        }
    }
    found
}

fn object(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\n\
         metadata: {{name: x, namespace: shop}}\nspec: {{{spec}}}\n"
    )
}

/// A sound entry with some fields in place of its own; null takes one away.
fn entry(fields: &str) -> String {
    let sound = "hosts: [a.example.com], addresses: [203.0.113.1], \
                 ports: [{number: 3306, name: tcp, protocol: TCP}]";
    let read = |fields: &str| {
        let document = documents(&format!("{{{fields}}}")).remove(0);
        document.value.expect("YAML").as_object().expect("a mapping").clone()
    };
    let mut spec = read(sound);
    if !fields.is_empty() {
        spec.extend(read(fields));
    }
    let spec = serde_json::to_string(&spec).expect("JSON");
    object("ServiceEntry", &spec[1..spec.len() - 1])
}

/// Fields that replace those of a sound entry, and what is found then.
const ENTRIES: &[(&str, &[&str])] = &[
    ("", &[]),
    ("hosts: []", &["error SK0201 spec.hosts"]),
    ("hosts: null", &["error SK0201 spec.hosts"]),
    ("hosts: ['*']", &["error SK0202 spec.hosts[0]"]),
    ("hosts: [a.example.com, 203.0.113.1]", &["error SK0202 spec.hosts[1]"]),
    ("hosts: ['a.*.com']", &["error SK0202 spec.hosts[0]"]),
    ("hosts: [a_b.example.com]", &["error SK0202 spec.hosts[0]"]),
    ("hosts: ['*.example.com', foo]", &[]),
    ("hosts: ['*foo.example.com']", &["warning SK0203 spec.hosts[0]"]),
    ("addresses: [203.0.113.1/32, '::/64', '2001:db8::1']", &[]),
    ("addresses: [203.0.113.1/33]", &["error SK0204 spec.addresses[0]"]),
    ("addresses: [203.0.113.1, db]", &["error SK0204 spec.addresses[1]"]),
    ("addresses: [203.0.113.01]", &["error SK0204 spec.addresses[0]"]),
    ("addresses: [203.0.113.0/24], resolution: STATIC", &["warning SK0310 spec.endpoints"]),
    ("addresses: [203.0.113.0/24], resolution: STATIC, endpoints: [{address: 203.0.113.1}]", &[]),
    ("addresses: [203.0.113.0/24], resolution: DNS", &["error SK0205 spec.addresses[0]"]),
    ("addresses: [203.0.113.1], resolution: DNS", &[]),
    ("ports: [{number: 0, name: a, protocol: TCP}]", &["error SK0206 spec.ports[0].number"]),
    ("ports: [{number: 65536, name: a, protocol: TCP}]", &["error SK0206 spec.ports[0].number"]),
    (
        "ports: [{number: 80, name: a, protocol: TCP, targetPort: 70000}]",
        &["error SK0206 spec.ports[0].targetPort"],
    ),
    ("ports: [{number: 80, protocol: TCP}]", &["error SK0207 spec.ports[0].name"]),
    ("ports: [{number: 80, name: a_b, protocol: TCP}]", &["error SK0207 spec.ports[0].name"]),
    (
        "ports: [{number: 80, name: a, protocol: TCP}, {number: 81, name: a, protocol: TCP}]",
        &["error SK0208 spec.ports[1].name"],
    ),
    (
        "ports: [{number: 80, name: a, protocol: TCP}, {number: 80, name: b, protocol: UDP}]",
        &["error SK0208 spec.ports[1].number"],
    ),
    ("ports: [{number: 80, name: a, protocol: SCTP}]", &["error SK0209 spec.ports[0].protocol"]),
    ("ports: [{number: 80, name: a, protocol: grpc-WEB}]", &[]),
    ("ports: [{number: 80, name: a}]", &[]),
    (
        "endpoints: [{address: 203.0.113.2}], workloadSelector: {labels: {a: b}}, resolution: STATIC",
        &["error SK0210 spec.endpoints"],
    ),
    ("endpoints: [{address: 203.0.113.2}]", &["error SK0210 spec.endpoints"]),
    ("workloadSelector: {labels: {a: b}}", &["warning SK0210 spec.workloadSelector"]),
    (
        "workloadSelector: {labels: {a: b}}, resolution: DNS",
        &["warning SK0210 spec.workloadSelector"],
    ),
    ("workloadSelector: {labels: {a: b}}, resolution: STATIC", &[]),
    ("workloadSelector: {}, resolution: STATIC", &["warning SK0225 spec.workloadSelector.labels"]),
    (
        "workloadSelector: {labels: {a: 'b*'}}, resolution: STATIC",
        &["error SK0213 spec.workloadSelector.labels"],
    ),
    (
        "workloadSelector: {labels: {'': b}}, resolution: STATIC",
        &["error SK0213 spec.workloadSelector.labels"],
    ),
    (
        "endpoints: [{address: db.example.com}], resolution: STATIC",
        &["error SK0211 spec.endpoints[0].address"],
    ),
    ("endpoints: [{address: db.example.com}], resolution: DNS", &[]),
    ("endpoints: [{address: 'a b'}], resolution: DNS", &["error SK0211 spec.endpoints[0].address"]),
    ("endpoints: [{}], resolution: STATIC", &["error SK0211 spec.endpoints[0].address"]),
    (
        "endpoints: [{network: far}], resolution: STATIC",
        &["warning SK0211 spec.endpoints[0].address"],
    ),
    ("endpoints: [{address: 'unix:///run/db'}], resolution: STATIC", &[]),
    (
        "endpoints: [{address: 'unix://db'}], resolution: STATIC",
        &["error SK0211 spec.endpoints[0].address"],
    ),
    (
        "endpoints: [{address: 'unix:///run/db'}], resolution: DNS",
        &["error SK0211 spec.endpoints[0].address"],
    ),
    (
        "endpoints: [{address: 'unix:///run/db', ports: {tcp: 1}}], resolution: STATIC",
        &["error SK0212 spec.endpoints[0].ports"],
    ),
    (
        "endpoints: [{address: 203.0.113.2, ports: {http: 1}}], resolution: STATIC",
        &["error SK0212 spec.endpoints[0].ports[http]"],
    ),
    (
        "endpoints: [{address: 203.0.113.2, ports: {tcp: 0}}], resolution: STATIC",
        &["error SK0206 spec.endpoints[0].ports[tcp]"],
    ),
    (
        "endpoints: [{address: 203.0.113.2, labels: {a: -b}}], resolution: STATIC",
        &["error SK0213 spec.endpoints[0].labels"],
    ),
    (
        "endpoints: [{address: a.b}, {address: c.d}], resolution: DNS_ROUND_ROBIN",
        &["error SK0201 spec.endpoints"],
    ),
    ("hosts: [a.example.com, b.example.com]", &[]),
    (
        "hosts: [a.example.com, b.example.com], resolution: STATIC",
        &["error SK0214 spec.ports[0]", "warning SK0310 spec.endpoints"],
    ),
    (
        "hosts: [a.example.com, b.example.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}], addresses: null",
        &[],
    ),
    (
        "hosts: ['*.example.com'], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}], addresses: null",
        &["error SK0215 spec.hosts"],
    ),
    (
        "hosts: ['*.example.com'], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}], addresses: null, endpoints: [{address: a.example.com}]",
        &[],
    ),
    (
        "hosts: ['*.example.com'], resolution: DYNAMIC_DNS, ports: [{number: 443, name: tls, protocol: TLS}], addresses: null",
        &[],
    ),
    (
        "resolution: DYNAMIC_DNS, ports: [{number: 443, name: tls, protocol: TLS}], addresses: null",
        &["error SK0216 spec.hosts"],
    ),
    (
        "hosts: ['*.example.com'], resolution: DYNAMIC_DNS, ports: [{number: 443, name: tls, protocol: TLS}]",
        &["error SK0216 spec.addresses"],
    ),
    (
        "hosts: ['*.example.com'], resolution: DYNAMIC_DNS, ports: [{number: 443, name: tls, protocol: TLS}], addresses: null, workloadSelector: {labels: {a: b}}",
        &["warning SK0210 spec.workloadSelector"],
    ),
    (
        "hosts: ['*.example.com'], resolution: DYNAMIC_DNS, addresses: null",
        &["error SK0216 spec.ports[0].protocol"],
    ),
    ("exportTo: ['*']", &[]),
    ("exportTo: ['~']", &[]),
    ("exportTo: ['.', other]", &[]),
    ("exportTo: ['*', other]", &["error SK0217 spec.exportTo"]),
    ("exportTo: ['~', other]", &["error SK0217 spec.exportTo"]),
    ("exportTo: [other, other]", &["error SK0217 spec.exportTo[1]"]),
    ("exportTo: ['.', shop]", &["error SK0217 spec.exportTo[1]"]),
    ("exportTo: ['a.b']", &["error SK0217 spec.exportTo[0]"]),
    ("addresses: null", &["warning IST0134 spec.ports[0]"]),
    ("addresses: null, ports: [{number: 80, name: http, protocol: HTTP}]", &[]),
    (
        "addresses: null, ports: [{number: 5, name: u, protocol: UDP}]",
        &["warning IST0134 spec.ports[0]"],
    ),
    ("addresses: [0.0.0.0/0]", &["warning SK0305 spec.ports[0]"]),
    ("ports: [{number: 3306, name: db}]", &["warning SK0308 spec.ports[0]"]),
    ("subjectAltNames: [a]", &["warning SK0103 spec.subjectAltNames"]),
    ("location: MESH_INTERNAL", &["warning SK0103 spec.location"]),
];

#[test]
fn a_service_entry_is_held_against_each_rule() {
    for (fields, expected) in ENTRIES {
        assert_eq!(findings(&entry(fields)), *expected, "{fields}");
    }
    let many = |one: &str, count: usize| format!("[{}]", vec![one; count].join(", "));
    for (field, one) in [("hosts", "a.example.com"), ("addresses", "203.0.113.1")] {
        let most = entry(&format!("{field}: {}", many(one, 256)));
        assert_eq!(findings(&most), Vec::<String>::new());
        let more = entry(&format!("{field}: {}", many(one, 257)));
        assert_eq!(findings(&more), [format!("error SK0201 spec.{field}")]);
    }
}

/// A caller that forgets to validate gets fewer rules and no crash.
#[test]
fn invalid_entries_translate_to_what_of_them_makes_sense() {
    for (fields, _) in ENTRIES {
        let value = documents(&entry(fields)).remove(0).value.expect("YAML");
        let parsed = parse(value).remove(0).expect("readable");
        let objects = Objects::from_iter(parsed.object);
        let snapshot = translate(&objects, &NodeContext::new("node-1"), &mut Interner::default());
        let ports = snapshot.registry.services()[0].ports.len();
        assert!(ports <= 2, "{fields}");
    }
}

#[test]
fn a_sidecar_is_held_against_each_rule() {
    let all = "hosts: ['*/*']";
    let egress = |rest: &str| format!("egress: [{{{rest}}}]");
    let cases: &[(String, &[&str])] = &[
        (egress(all), &[]),
        ("outboundTrafficPolicy: {}".into(), &[]),
        (String::new(), &["error SK0218 spec"]),
        ("workloadSelector: {labels: {a: b}}".into(), &["error SK0218 spec"]),
        (
            format!("workloadSelector: {{}}, {}", egress(all)),
            &["warning SK0225 spec.workloadSelector.labels"],
        ),
        (egress("hosts: []"), &["error SK0219 spec.egress[0].hosts"]),
        (egress("hosts: [a.example.com]"), &["error SK0219 spec.egress[0].hosts[0]"]),
        (egress("hosts: ['a b/*']"), &["error SK0219 spec.egress[0].hosts[0]"]),
        (egress("hosts: ['a/b_c']"), &["error SK0219 spec.egress[0].hosts[0]"]),
        (egress("hosts: ['~/a.example.com']"), &["warning SK0103 spec.egress[0].hosts[0]"]),
        (egress("hosts: ['~/*']"), &[]),
        (egress("hosts: ['./*', 'a/*.example.com', '*/b.example.com']"), &[]),
        (
            egress("hosts: ['./*', 'shop/a.example.com']"),
            &["warning SK0220 spec.egress[0].hosts[1]"],
        ),
        (egress("hosts: ['*/*', 'a/*']"), &["warning SK0220 spec.egress[0].hosts[1]"]),
        (egress("hosts: ['a/b.com', 'a/b.com']"), &["warning SK0220 spec.egress[0].hosts[1]"]),
        (
            format!("egress: [{{{all}}}, {{port: {{number: 80, protocol: HTTP}}, {all}}}]"),
            &["error SK0221 spec.egress[0].port"],
        ),
        (format!("egress: [{{{all}}}, {{{all}}}]"), &["error SK0221 spec.egress[0].port"]),
        (
            format!(
                "egress: [{{port: {{number: 80}}, {all}}}, {{port: {{number: 80, name: x}}, {all}}}]"
            ),
            &["error SK0221 spec.egress[1].port.number"],
        ),
        (egress(&format!("port: {{number: 80, protocol: HTTP_PROXY}}, {all}")), &[]),
        (
            egress(&format!("port: {{number: 80, protocol: SCTP}}, {all}")),
            &["error SK0209 spec.egress[0].port.protocol"],
        ),
        (
            egress(&format!("port: {{number: 70000}}, {all}")),
            &["error SK0206 spec.egress[0].port.number"],
        ),
        (
            egress(&format!("port: {{number: 80, targetPort: 8080}}, {all}")),
            &["error SK0206 spec.egress[0].port.targetPort"],
        ),
        (
            egress(&format!("port: {{number: 80, name: a_b}}, {all}")),
            &["error SK0207 spec.egress[0].port.name"],
        ),
        (egress(&format!("port: {{number: 0}}, {all}")), &["error SK0223 spec.egress[0].bind"]),
        (
            egress(&format!("port: {{number: 80}}, bind: here, {all}")),
            &["error SK0223 spec.egress[0].bind", "warning SK0103 spec.egress[0].bind"],
        ),
        (
            egress(&format!("port: {{}}, bind: 'unix:///a', captureMode: IPTABLES, {all}")),
            &["error SK0223 spec.egress[0].captureMode", "warning SK0103 spec.egress[0].bind"],
        ),
        (
            egress(&format!("port: {{}}, bind: 'unix:///a', {all}")),
            &["warning SK0103 spec.egress[0].bind"],
        ),
        (
            "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}".into(),
            &["error SK0222 spec.outboundTrafficPolicy.mode"],
        ),
        (
            "outboundTrafficPolicy: {egressProxy: {host: a.example.com, port: {number: 80}}}"
                .into(),
            &[
                "error SK0222 spec.outboundTrafficPolicy.egressProxy",
                "warning SK0302 spec.outboundTrafficPolicy.egressProxy",
            ],
        ),
        (
            "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.example.com}}".into(),
            &[
                "error SK0222 spec.outboundTrafficPolicy.egressProxy",
                "warning SK0302 spec.outboundTrafficPolicy.egressProxy",
            ],
        ),
        (
            "inboundConnectionPool: {tcp: {maxConnections: 1}}".into(),
            &["warning SK0103 spec.inboundConnectionPool"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(findings(&object("Sidecar", spec)), *expected, "{spec}");
    }
}

#[test]
fn listeners_for_what_comes_in_are_held_against_each_rule() {
    let noted = "warning SK0103 spec.ingress";
    for (listener, expected) in [
        ("port: {number: 80}, defaultEndpoint: '127.0.0.1:8080'", &[noted][..]),
        ("port: {number: 80}, defaultEndpoint: '[::1]:8080'", &[noted]),
        ("port: {number: 80}, defaultEndpoint: 'unix:///run/app'", &[noted]),
        ("defaultEndpoint: ':80'", &["error SK0224 spec.ingress[0].port", noted]),
        ("port: {number: 0}", &["error SK0206 spec.ingress[0].port.number", noted]),
        ("port: {number: 80}, bind: x", &["error SK0223 spec.ingress[0].bind", noted]),
        (
            "port: {number: 80}, defaultEndpoint: '203.0.113.1:80'",
            &["error SK0224 spec.ingress[0].defaultEndpoint", noted],
        ),
        (
            "port: {number: 80}, defaultEndpoint: '127.0.0.1:0'",
            &["error SK0224 spec.ingress[0].defaultEndpoint", noted],
        ),
        (
            "port: {number: 80}, tls: {mode: ISTIO_MUTUAL}",
            &["error SK0224 spec.ingress[0].tls.mode", "error SK0224 spec.ingress[0].tls", noted],
        ),
        (
            "port: {number: 80}}, {port: {number: 80}",
            &["error SK0224 spec.ingress[1].port.number", noted],
        ),
    ] {
        let spec = format!("ingress: [{{{listener}}}]");
        assert_eq!(findings(&object("Sidecar", &spec)), expected, "{listener}");
    }
}

#[test]
fn workload_entries_and_services_are_held_against_theirs() {
    for (spec, expected) in [
        ("address: 203.0.113.1, ports: {http: 80}", &[][..]),
        ("address: vm.example.com", &[]),
        ("address: ''", &["error SK0211 spec.address"]),
        ("address: 203.0.113.1, ports: {http: 0}", &["error SK0206 spec.ports[http]"]),
        ("address: 203.0.113.1, labels: {a: 'b c'}", &["error SK0213 spec.labels"]),
    ] {
        assert_eq!(findings(&object("WorkloadEntry", spec)), expected, "{spec}");
    }
    let service = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: x, namespace: shop, annotations: \
             {{networking.istio.io/exportTo: \"{value}\"}}}}\n"
        )
    };
    let field = "metadata.annotations[networking.istio.io/exportTo]";
    assert_eq!(findings(&service("., other")), Vec::<String>::new());
    assert_eq!(findings(&service("*,other")), [format!("error SK0217 {field}")]);
    assert_eq!(findings(&service("Not A Namespace")), [format!("error SK0217 {field}[0]")]);
}
