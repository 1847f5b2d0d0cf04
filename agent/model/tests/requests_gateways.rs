//! What gateways serve: the edge cases of `Gateway`, each by its number.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::{
    requests::{
        Requests as _,
        gateway::{Clients, Gateway, GatewayPort, GatewayTls, Inside},
        host::Domain,
        policy::{Certificate, Trust},
    },
    translate::requests::RequestModel,
};
use requests::{Ask, namespace, object, objects, pod, service};

/// The gateway's pod behind a Service that leads from 80 to 8080, and one service.
fn edge() -> String {
    namespace("default")
        + &namespace("istio-system")
        + &pod("istio-system/gw", "10.0.9.1", "istio: ingressgateway")
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: gw, namespace: istio-system}\n\
           spec: {clusterIP: 10.96.0.9, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}]}\n"
        + &pod("default/app", "10.0.0.1", "app: app")
        + &service("default/app", "10.96.0.1", (80, "http"), &["10.0.0.1"])
        + &service("default/other", "10.96.0.2", (80, "http"), &["10.0.0.2"])
}

fn gateway(path: &str, age: u32, servers: &str) -> String {
    object(
        "Gateway",
        path,
        age,
        &format!("selector: {{istio: ingressgateway}}, servers: [{servers}]"),
    )
}

const HTTP: &str = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}";

fn routes(path: &str, age: u32, spec: &str) -> String {
    object("VirtualService", path, age, &format!("gateways: [default/gw], {spec}"))
}

const TO_APP: &str = "hosts: ['*'], http: [{route: [{destination: {host: app}}]}]";

fn served(text: &str) -> Gateway {
    let objects = objects(text);
    RequestModel::new(&objects, "cluster.local")
        .gateway(&requests::id("istio-system/gw"))
        .expect("a gateway")
        .as_ref()
        .clone()
}

fn at(text: &str, port: u16, host: &str, target: &str) -> String {
    match &served(text).ports[&port] {
        GatewayPort::Http(hosts) => Ask { host, target, ..Ask::default() }.among(hosts),
        other => panic!("{other:?}"),
    }
}

#[test]
fn s0_1_and_s0_2_a_host_is_served_and_others_are_not() {
    let own = HTTP.replace("'*'", "sample.example.com");
    let text = edge()
        + &gateway("default/gw", 1, &own)
        + &routes("default/x", 1, &TO_APP.replace("'*'", "sample.example.com"));
    for host in ["sample.example.com", "sample.example.com:80", "SAMPLE.example.com"] {
        assert_eq!(at(&text, 8080, host, "/"), "1x app.default:80");
    }
    assert_eq!(at(&text, 8080, "203.0.113.1", "/"), "unknown", "404");
}

#[test]
fn edge_14_routes_of_one_host_stand_together_and_the_widest_comes_last() {
    let wide = routes("default/a", 1, TO_APP);
    let narrow = routes(
        "default/b",
        2,
        "hosts: ['*'], http: [{match: [{uri: {prefix: /other}}], route: [{destination: {host: other}}]}]",
    );
    let text = edge() + &gateway("default/gw", 1, HTTP) + &wide + &narrow;
    assert_eq!(at(&text, 8080, "a.b", "/other/x"), "1x other.default:80");
    assert_eq!(at(&text, 8080, "a.b", "/x"), "1x app.default:80");
}

#[test]
fn edge_53_a_port_is_the_services_or_the_pods_own() {
    for number in [80, 8080] {
        let server = HTTP.replace("number: 80", &format!("number: {number}"));
        let text = edge() + &gateway("default/gw", 1, &server) + &routes("default/x", 1, TO_APP);
        assert_eq!(at(&text, 8080, "x", "/"), "1x app.default:80", "{number}");
    }
    let both = format!(
        "{HTTP}, {}",
        HTTP.replace("number: 80, name: http", "number: 8080, name: h2")
            .replace("'*'", "x.example.com")
    );
    let text = edge() + &gateway("default/gw", 1, &both) + &routes("default/x", 1, TO_APP);
    let found = served(&text);
    assert_eq!(found.ports.keys().collect::<Vec<_>>(), [&8080], "two servers, one port");
    assert_eq!(at(&text, 8080, "x.example.com", "/"), "1x app.default:80");
}

#[test]
fn edge_54_a_gateway_without_routes_is_open_and_serves_nothing() {
    let text = edge() + &gateway("default/gw", 1, HTTP);
    assert_eq!(at(&text, 8080, "x", "/"), "unknown");
    let only_mesh = object(
        "VirtualService",
        "default/x",
        1,
        "hosts: [app], http: [{route: [{destination: {host: app}}]}]",
    );
    assert_eq!(
        at(&(text + &only_mesh), 8080, "app.default.svc.cluster.local", "/"),
        "unknown",
        "S1-9"
    );
}

#[test]
fn edge_55_what_does_not_go_with_the_first_server_of_a_port_is_dropped() {
    let tcp = "{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}";
    let text = edge()
        + &gateway("default/gw", 1, HTTP)
        + &gateway("default/tcp", 2, tcp)
        + &routes("default/x", 1, TO_APP);
    assert_eq!(at(&text, 8080, "x", "/"), "1x app.default:80");
    let tls = |name: &str, secret: &str, hosts: &str| {
        format!(
            "{{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: [{hosts}], tls: {{mode: SIMPLE, credentialName: {secret}}}}}"
        )
    };
    let two = format!(
        "{}, {}",
        tls("a", "one", "a.example.com"),
        tls("b", "two", "a.example.com, b.example.com")
    );
    let text = edge() + &gateway("default/gw", 1, &two) + &routes("default/x", 1, TO_APP);
    let found = served(&text);
    let GatewayPort::Tls(servers) = &found.ports[&443] else { panic!() };
    let names: Vec<Vec<&str>> =
        servers.iter().map(|one| one.names.iter().map(Domain::as_str).collect()).collect();
    assert_eq!(names, [["a.example.com"], ["b.example.com"]]);
    let GatewayTls::Ends(ending) = &servers[0].tls else { panic!() };
    assert_eq!(
        (&ending.certificates[..], &ending.clients),
        (&[Certificate::Secret("one".into())][..], &Clients::Anyone)
    );
    let Inside::Http(hosts) = &servers[0].then else { panic!() };
    assert_eq!(Ask { host: "a.example.com", ..Ask::default() }.among(hosts), "1x app.default:80");
}

#[test]
fn edge_78_a_redirect_to_https_is_all_that_a_plaintext_host_does() {
    let server = |name: &str, tls: &str| {
        format!(
            "{{port: {{number: 80, name: {name}, protocol: HTTP}}, hosts: [a.example.com]{tls}}}"
        )
    };
    let secure = "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example.com], \
                  tls: {mode: SIMPLE, credentialName: one}}";
    let first = format!("{}, {secure}", server("http", ", tls: {httpsRedirect: true}"));
    let other = gateway("default/plain", 2, &server("http", ""));
    let both = object(
        "VirtualService",
        "default/x",
        1,
        "gateways: [default/gw, default/plain], hosts: [a.example.com], http: [{route: [{destination: {host: app}}]}]",
    );
    let text = edge() + &gateway("default/gw", 1, &first) + &other + &both;
    assert_eq!(at(&text, 8080, "a.example.com", "/x?y"), "301 https://a.example.com/x?y");
    let found = served(&text);
    let GatewayPort::Tls(servers) = &found.ports[&443] else { panic!() };
    let Inside::Http(hosts) = &servers[0].then else { panic!() };
    assert_eq!(Ask { host: "a.example.com", ..Ask::default() }.among(hosts), "1x app.default:80");
}

#[test]
fn tls_goes_through_by_name_or_ends_as_it_says() {
    let server = |tls: &str| {
        format!(
            "{{port: {{number: 443, name: tls, protocol: TLS}}, hosts: ['*.example.com'], tls: {tls}}}"
        )
    };
    let by_name = "hosts: [a.example.com], tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: app, port: {number: 80}}}]}]";
    let text = edge() + &gateway("default/gw", 1, &server("{}")) + &routes("default/x", 1, by_name);
    let found = served(&text);
    let GatewayPort::Tls(servers) = &found.ports[&443] else { panic!() };
    assert_eq!(servers[0].tls, GatewayTls::Through, "the mode is PASSTHROUGH unless said");
    let Inside::Tcp(streams) = &servers[0].then else { panic!() };
    assert_eq!(requests::share(&streams[0].to[0]), "1x app.default:80");
    let mutual = "{mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca}";
    let found = served(&(edge() + &gateway("default/gw", 1, &server(mutual))));
    let GatewayPort::Tls(servers) = &found.ports[&443] else { panic!() };
    let GatewayTls::Ends(ending) = &servers[0].tls else { panic!() };
    assert_eq!(ending.clients, Clients::Required(Trust::File("/ca".into(), None)));
}

#[test]
fn hosts_of_a_server_narrow_down_whose_routes_and_which_names_it_serves() {
    let narrow = HTTP.replace("'*'", "'default/*.example.com'");
    let wide = |path: &str| routes(path, 1, TO_APP);
    let text = edge() + &gateway("default/gw", 1, &narrow);
    assert_eq!(at(&(text.clone() + &wide("other/x")), 8080, "a.example.com", "/"), "unknown");
    let text = text + &wide("default/x");
    assert_eq!(at(&text, 8080, "a.example.com", "/"), "1x app.default:80");
    assert_eq!(at(&text, 8080, "example.com", "/"), "unknown");
}
