//! Every rule of what listens, of endpoints and of who is told of a service.

#[path = "support/rows.rs"]
mod rows;

use rows::{Row, found, hold, object};

const API: &str = "networking.istio.io/v1";

const WORKLOADS: &[Row] = &[
    ("an IP", "address: 203.0.113.1, ports: {http: 80}", &[]),
    ("a socket", "address: 'unix:///run/app'", &[]),
    ("an abstract socket", "address: 'unix://@app'", &[]),
    ("a socket is no folder", "address: 'unix:///run/'", &["error SK0211 spec.address"]),
    ("a socket has an absolute path", "address: 'unix://run'", &["error SK0211 spec.address"]),
    (
        "a socket has no ports",
        "address: 'unix:///run/app', ports: {http: 80}",
        &["error SK0212 spec.ports"],
    ),
    ("another network's gateway is the way", "network: far", &["warning SK0211 spec.address"]),
    ("an address or a network", "labels: {a: b}", &["error SK0211 spec.address"]),
    (
        "a port's name is a label",
        "address: 203.0.113.1, ports: {a_b: 80}",
        &["error SK0207 spec.ports[a_b]"],
    ),
];

const GROUPS: &[Row] = &[
    (
        "all that may be said",
        "metadata: {labels: {a: b}, annotations: {c: d}}, template: {ports: {http: 80}, serviceAccount: a, network: b, locality: r/z, weight: 1, labels: {a: b}}, probe: {initialDelaySeconds: 1, timeoutSeconds: 1, periodSeconds: 1, successThreshold: 1, failureThreshold: 1, httpGet: {path: /, port: 80, host: a, scheme: HTTPS, httpHeaders: [{name: a-b, value: c}]}}",
        &[],
    ),
    ("a template", "metadata: {labels: {a: b}}", &["error SK0226 spec.template"]),
    (
        "labels that an object can have",
        "template: {}, metadata: {labels: {a: 'b c'}}",
        &["error SK0213 spec.metadata.labels"],
    ),
    (
        "a template's ports and labels",
        "template: {ports: {http: 0}, labels: {a: '-'}}",
        &["error SK0213 spec.template.labels", "error SK0206 spec.template.ports[http]"],
    ),
    (
        "times are not negative",
        "template: {}, probe: {tcpSocket: {port: 80}, periodSeconds: -1, initialDelaySeconds: -1, timeoutSeconds: -1, successThreshold: -1, failureThreshold: -1}",
        &[
            "error SK0228 spec.probe.initialDelaySeconds",
            "error SK0228 spec.probe.timeoutSeconds",
            "error SK0228 spec.probe.periodSeconds",
            "error SK0228 spec.probe.successThreshold",
            "error SK0228 spec.probe.failureThreshold",
        ],
    ),
    ("a probe asks something", "template: {}, probe: {}", &["error SK0227 spec.probe"]),
    (
        "a probe asks one thing",
        "template: {}, probe: {tcpSocket: {port: 80}, exec: {command: [a]}}",
        &["error SK0227 spec.probe"],
    ),
    (
        "a probe's port",
        "template: {}, probe: {tcpSocket: {}}",
        &["error SK0206 spec.probe.tcpSocket.port"],
    ),
    (
        "a probe over HTTP",
        "template: {}, probe: {httpGet: {port: 70000, scheme: FTP, httpHeaders: [{name: a_b}, {}]}}",
        &[
            "error SK0206 spec.probe.httpGet.port",
            "error SK0228 spec.probe.httpGet.scheme",
            "error SK0232 spec.probe.httpGet.httpHeaders[0].name",
            "error SK0232 spec.probe.httpGet.httpHeaders[1].name",
        ],
    ),
    ("a command", "template: {}, probe: {exec: {}}", &["error SK0226 spec.probe.exec.command"]),
];

const ENTRIES: &[Row] = &[
    (
        "HTTP_PROXY is HTTP",
        "hosts: [a.b], ports: [{number: 80, name: a, protocol: HTTP_PROXY}]",
        &[],
    ),
    (
        "part of a label may be asked for",
        "hosts: ['*a.example.com'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: a, protocol: HTTP}]",
        &[],
    ),
    (
        "HTTPS is no protocol whose name is looked at",
        "hosts: ['*.a.b'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: a, protocol: HTTPS}]",
        &["error SK0216 spec.ports[0].protocol"],
    ),
    (
        "a socket serves one port",
        "hosts: [a.b], resolution: STATIC, endpoints: [{address: 'unix:///a'}], ports: [{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, protocol: HTTP}]",
        &["error SK0212 spec.endpoints[0].address"],
    ),
    (
        "a socket is no folder",
        "hosts: [a.b], resolution: STATIC, endpoints: [{address: 'unix:///a/'}], ports: [{number: 80, name: a, protocol: HTTP}]",
        &["error SK0211 spec.endpoints[0].address"],
    ),
    (
        "hosts that share addresses",
        "hosts: [a.b, c.d], addresses: [203.0.113.1], resolution: DNS, ports: [{number: 443, name: a, protocol: TLS}]",
        &["warning SK0214 spec.ports[0]"],
    ),
    (
        "nothing is let through without ports",
        "hosts: [a.b], resolution: DNS",
        &["warning SK0310 spec.ports"],
    ),
    (
        "datagrams need no endpoints",
        "hosts: [a.b], addresses: [203.0.113.1], resolution: STATIC, ports: [{number: 53, name: a, protocol: UDP}]",
        &[],
    ),
];

#[test]
fn endpoints_are_held_against_each_rule() {
    hold(API, "WorkloadEntry", WORKLOADS);
    hold(API, "WorkloadGroup", GROUPS);
    hold(API, "ServiceEntry", ENTRIES);
    let waypoint = object(API, "ServiceEntry", "hosts: ['*.a.b'], location: MESH_INTERNAL, resolution: DYNAMIC_DNS, ports: [{number: 80, name: a, protocol: HTTP}]")
        .replace("namespace: shop", "namespace: shop, labels: {istio.io/use-waypoint: w}");
    assert_eq!(found(&waypoint), ["error SK0216 spec.location", "warning SK0103 spec.location"]);
}

/// A server of a gateway, and what is found of it.
const SERVERS: &[Row] = &[
    ("a name in full", "SECURE, hosts: [a], tls: {mode: PASSTHROUGH}", &["error SK0202 .hosts[0]"]),
    (
        "a wildcard for whole labels",
        "SECURE, hosts: ['*a.b.com'], tls: {mode: PASSTHROUGH}",
        &["error SK0202 .hosts[0]"],
    ),
    ("an IP is a host of a gateway", "SECURE, hosts: [203.0.113.1], tls: {mode: PASSTHROUGH}", &[]),
    ("any name of a port", "HOSTS, port: {number: 80, name: a_b, protocol: HTTP}", &[]),
    (
        "targetPort has no effect",
        "HOSTS, port: {number: 80, name: a, protocol: HTTP, targetPort: 8080}",
        &["error SK0206 .port.targetPort"],
    ),
    (
        "a socket's path",
        "HOSTS, port: {number: 0, name: a, protocol: HTTP}, bind: 'unix://a'",
        &["error SK0223 .bind"],
    ),
    (
        "no TLS on plaintext HTTP",
        "PLAIN, HOSTS, tls: {mode: SIMPLE, credentialName: a}",
        &["error SK0231 .tls"],
    ),
    (
        "no TLS on TCP",
        "HOSTS, port: {number: 80, name: a, protocol: TCP}, tls: {mode: PASSTHROUGH}",
        &["error SK0231 .tls"],
    ),
    (
        "redirects are for HTTP",
        "SECURE, HOSTS, tls: {mode: PASSTHROUGH, httpsRedirect: true}",
        &["warning SK0231 .tls.httpsRedirect"],
    ),
    (
        "one source of certificates",
        "SECURE, HOSTS, tls: {mode: SIMPLE, credentialName: a, serverCertificate: b, privateKey: c}",
        &["error SK0227 .tls"],
    ),
    (
        "one list of secrets",
        "SECURE, HOSTS, tls: {mode: SIMPLE, credentialName: a, credentialNames: [b]}",
        &["error SK0227 .tls"],
    ),
    (
        "secrets or files",
        "SECURE, HOSTS, tls: {mode: SIMPLE, credentialNames: [b], tlsCertificates: [{serverCertificate: a, privateKey: b}]}",
        &["error SK0227 .tls"],
    ),
    (
        "a certificate has a key",
        "SECURE, HOSTS, tls: {mode: SIMPLE, serverCertificate: a}",
        &["error SK0226 .tls"],
    ),
    (
        "each certificate has a key",
        "SECURE, HOSTS, tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a}]}",
        &["error SK0226 .tls.tlsCertificates[0].privateKey"],
    ),
    (
        "two certificates",
        "SECURE, HOSTS, tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b}, {serverCertificate: a, privateKey: b}, {serverCertificate: a, privateKey: b}]}",
        &["warning SK0201 .tls.tlsCertificates"],
    ),
    (
        "ISTIO_MUTUAL has its own",
        "SECURE, HOSTS, tls: {mode: ISTIO_MUTUAL, credentialName: a}",
        &["error SK0231 .tls"],
    ),
    ("ISTIO_MUTUAL alone", "SECURE, HOSTS, tls: {mode: ISTIO_MUTUAL}", &[]),
    (
        "OPTIONAL_MUTUAL needs authorities",
        "SECURE, HOSTS, tls: {mode: OPTIONAL_MUTUAL, serverCertificate: a, privateKey: b}",
        &["error SK0226 .tls.caCertificates"],
    ),
    (
        "what is passed through is not ended",
        "SECURE, HOSTS, tls: {mode: PASSTHROUGH, credentialName: a}",
        &["warning SK0103 .tls"],
    ),
    (
        "SIMPLE asks clients for nothing",
        "SECURE, HOSTS, tls: {mode: SIMPLE, serverCertificate: a, privateKey: b, caCrl: c}",
        &["error SK0231 .tls.caCrl"],
    ),
    (
        "versions that exist",
        "SECURE, HOSTS, tls: {mode: SIMPLE, credentialName: a, maxProtocolVersion: TLSV1_4}",
        &["error SK0228 .tls.maxProtocolVersion"],
    ),
    (
        "old versions need old suites",
        "SECURE, HOSTS, tls: {mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_1}",
        &["warning SK0103 .tls.minProtocolVersion"],
    ),
    (
        "suites that exist, each once",
        "SECURE, HOSTS, tls: {mode: SIMPLE, credentialName: a, cipherSuites: [AES128-SHA, x, AES128-SHA, '-ALL']}",
        &["warning SK0103 .tls.cipherSuites[1]", "warning SK0230 .tls.cipherSuites[2]"],
    ),
];

#[test]
fn a_gateways_listener_is_held_against_each_rule() {
    for (meaning, server, expected) in SERVERS {
        let server = server
            .replace("SECURE", "port: {number: 443, name: a, protocol: HTTPS}")
            .replace("PLAIN", "port: {number: 80, name: a, protocol: HTTP}")
            .replace("HOSTS", "hosts: [a.com]");
        let told = found(&object(API, "Gateway", &format!("servers: [{{{server}}}]")));
        let expected: Vec<String> =
            expected.iter().map(|one| one.replacen(" .", " spec.servers[0].", 1)).collect();
        assert_eq!(told, expected, "{meaning}: {server}");
    }
    let dotted = object(
        API,
        "Gateway",
        "servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a.com]}]",
    )
    .replace("name: x", "name: x.y");
    assert_eq!(found(&dotted), ["error SK0233 metadata.name"]);
}

const SIDECARS: &[Row] = &[
    ("a name in full", "egress: [{hosts: ['*/a']}]", &["error SK0219 spec.egress[0].hosts[0]"]),
    (
        "a wildcard for whole labels",
        "egress: [{hosts: ['*/*a.b']}]",
        &["error SK0219 spec.egress[0].hosts[0]"],
    ),
    (
        "what takes hosts away is not understood",
        "egress: [{hosts: ['*/*', '~a/*']}]",
        &["error SK0219 spec.egress[0].hosts[1]"],
    ),
    ("no namespace has no hosts", "egress: [{hosts: ['~/*']}]", &[]),
    (
        "an abstract socket",
        "egress: [{port: {protocol: HTTP}, bind: 'unix://@a', hosts: ['*/*']}]",
        &["warning SK0103 spec.egress[0].bind"],
    ),
    (
        "an egress proxy's port",
        "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.b, port: {}}}",
        &["error SK0206 spec.outboundTrafficPolicy.egressProxy.port.number"],
    ),
    (
        "an egress proxy's subset",
        "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.b, subset: a_b, port: {number: 80}}}",
        &["error SK0233 spec.outboundTrafficPolicy.egressProxy.subset"],
    ),
    (
        "a pool with limits",
        "inboundConnectionPool: {}",
        &["error SK0226 spec.inboundConnectionPool", "warning SK0103 spec.inboundConnectionPool"],
    ),
    (
        "limits are not negative",
        "inboundConnectionPool: {http: {http1MaxPendingRequests: -1, http2MaxRequests: -1}}",
        &[
            "error SK0228 spec.inboundConnectionPool.http.http1MaxPendingRequests",
            "error SK0228 spec.inboundConnectionPool.http.http2MaxRequests",
            "warning SK0103 spec.inboundConnectionPool",
        ],
    ),
    (
        "a listener's own pool",
        "ingress: [{port: {number: 80, protocol: TCP}, connectionPool: {http: {maxRetries: -1}}}]",
        &[
            "error SK0228 spec.ingress[0].connectionPool.http.maxRetries",
            "warning SK0103 spec.ingress[0].connectionPool.http",
            "warning SK0103 spec.ingress",
        ],
    ),
    (
        "TLS that a Sidecar ends",
        "ingress: [{port: {number: 80, protocol: TLS}, tls: {mode: SIMPLE, serverCertificate: a, privateKey: b}}]",
        &["warning SK0103 spec.ingress"],
    ),
    (
        "TLS from secrets is for gateways",
        "ingress: [{port: {number: 80, protocol: TLS}, tls: {mode: SIMPLE, credentialName: a, subjectAltNames: [b]}}]",
        &[
            "error SK0224 spec.ingress[0].tls.credentialName",
            "error SK0224 spec.ingress[0].tls.subjectAltNames",
            "warning SK0103 spec.ingress",
        ],
    ),
    (
        "no TLS on other ports",
        "ingress: [{port: {number: 80, protocol: HTTP}, tls: {mode: SIMPLE, serverCertificate: a, privateKey: b}}]",
        &["error SK0224 spec.ingress[0].tls", "warning SK0103 spec.ingress"],
    ),
    (
        "a certificate and its key",
        "ingress: [{port: {number: 80, protocol: TLS}, tls: {mode: MUTUAL}}]",
        &[
            "error SK0226 spec.ingress[0].tls.caCertificates",
            "error SK0226 spec.ingress[0].tls",
            "warning SK0103 spec.ingress",
        ],
    ),
];

#[test]
fn a_sidecars_listeners_are_held_against_each_rule() {
    hold(API, "Sidecar", SIDECARS);
}

#[test]
fn objects_with_nearly_every_field_have_no_errors() {
    let whole = [
        object(
            API,
            "ServiceEntry",
            "hosts: [a.example.com], addresses: [203.0.113.1], location: MESH_EXTERNAL, \
             ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], \
             resolution: STATIC, exportTo: ['*'], subjectAltNames: [a], \
             endpoints: [{address: 203.0.113.2, ports: {http: 8080}, labels: {a: b}, network: net-1, \
             locality: r/z, weight: 2, serviceAccount: sa}]",
        ),
        object(
            API,
            "Sidecar",
            "workloadSelector: {labels: {a: b}}, \
             inboundConnectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s, \
             tcpKeepalive: {probes: 1, time: 1s, interval: 1s}, maxConnectionDuration: 1s, \
             idleTimeout: 1s}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 1, \
             maxRequestsPerConnection: 1, maxRetries: 1, idleTimeout: 1s, h2UpgradePolicy: DEFAULT, \
             useClientProtocol: true, maxConcurrentStreams: 1, \
             http2KeepAlive: {interval: 1s, timeout: 1s}}}, \
             ingress: [{port: {number: 80, protocol: TLS, name: tls}, bind: 0.0.0.0, \
             captureMode: NONE, defaultEndpoint: '127.0.0.1:80', connectionPool: {tcp: {}}, \
             tls: {httpsRedirect: false, mode: MUTUAL, serverCertificate: a, privateKey: b, \
             caCertificates: c, caCrl: d, verifyCertificateSpki: [f], \
             verifyCertificateHash: [g], minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3, \
             cipherSuites: [AES128-SHA], ecdhCurves: [P-256], insecureSkipVerify: false, \
             caCertCredentialName: i}}], \
             egress: [{port: {number: 80, protocol: HTTP, name: http}, bind: 0.0.0.0, \
             captureMode: DEFAULT, hosts: ['*/*']}], \
             outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.example.com, \
             subset: s, port: {number: 80}}}",
        ),
        object(
            API,
            "Gateway",
            "selector: {a: b}, servers: [{name: x, bind: 0.0.0.0, hosts: [a.example.com], \
             port: {number: 443, protocol: TLS, name: a}, tls: {mode: SIMPLE, \
             credentialNames: [e]}}, {hosts: [b.example.com], port: {number: 444, protocol: TLS, \
             name: b}, tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b, \
             caCertificates: c}]}}]",
        ),
    ];
    for manifest in whole {
        let errors: Vec<String> =
            found(&manifest).into_iter().filter(|one| one.starts_with("error")).collect();
        assert_eq!(errors, Vec::<String>::new(), "{manifest}");
    }
}
