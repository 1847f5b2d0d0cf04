//! App Mesh: equal intent in its words and in Istio's gives an equal model, and what is its own.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/app_mesh.rs"]
mod app_mesh;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::{
    endpoints::Endpoints,
    requests::{
        Requests as _,
        backend::LoadAssignment,
        host::Domain,
        outbound::Outbound,
        policy::{Ejection, Trust},
        server::ServerTls,
    },
    translate::requests::RequestModel,
};
use app_mesh::{AppMesh, HALVES, SVC_V, TO_ONE, common, forward};
use requests::{Ask, id, mesh_config, namespace, object, objects, outbound};

/// The same in Istio's words, with what is a default there said here.
fn istio(http: &str, policy: &str) -> String {
    let mut text = namespace("mesh-test") + &namespace("callers") + &common();
    text += &mesh_config("enableAutoMtls: false");
    for number in [1, 2] {
        let host = format!("svc-{number}");
        let policy = policy.replace("SVC", &format!("{host}.mesh-test.svc.cluster.local"));
        let spec = format!(
            "host: {host}, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}{policy}}}"
        );
        text += &object("DestinationRule", &format!("mesh-test/{host}"), 1, &spec);
    }
    text + &object(
        "VirtualService",
        "mesh-test/svc-v",
        1,
        &format!("hosts: [svc-v], http: [{http}]"),
    )
}

const USUAL: &str = "timeout: 15s, retries: {attempts: 2, retryOn: 'connect-failure,refused-stream,reset,503,unavailable'}";

/// What a model says of `svc-v`, which is all that the App Mesh caller may dial.
fn of_svc_v(mut outbound: Outbound) -> Outbound {
    let name = Domain::new(SVC_V);
    for port in outbound.ports.values_mut() {
        port.at.clear();
        port.any.hosts.retain(|host| host.domains.contains(&name));
    }
    outbound
}

fn assert_equal(app_mesh: &AppMesh<'_>, http: &str, policy: &str) {
    let one = app_mesh.outbound();
    assert_eq!(one, of_svc_v(one.clone()), "nothing but the backend");
    let istio = istio(http, policy);
    assert_eq!(one, of_svc_v(outbound(&istio, "callers/x")));
    assert_eq!(assigned(&app_mesh.text(), &one), assigned(&istio, &one), "who serves it");
}

/// Who serves the clusters of one model, as another one has it.
fn assigned(text: &str, of: &Outbound) -> Vec<LoadAssignment> {
    let model = requests::model(text);
    let found = model.outbound(&id("callers/x")).expect("an enrolled pod");
    let all = found.clusters();
    of.clusters().keys().map(|name| model.load_assignment(all[name])).collect()
}

#[test]
fn equal_intent_the_halves_of_s4_give_an_equal_model() {
    let halves = "route: [{destination: {host: svc-1}, weight: 50}, {destination: {host: svc-2}, weight: 50}]";
    let http = format!("{{name: route-1, match: [{{uri: {{prefix: /}}}}], {USUAL}, {halves}}}");
    assert_equal(&AppMesh::default(), &http, "");
    let other = istio(&http.replace("weight: 50}]", "weight: 51}]"), "");
    assert_ne!(AppMesh::default().outbound(), of_svc_v(outbound(&other, "callers/x")));
    let unsaid = istio(&http.replace("timeout: 15s, ", ""), "");
    assert_ne!(AppMesh::default().outbound(), of_svc_v(outbound(&unsaid, "callers/x")));
}

#[test]
fn equal_intent_routes_by_priority_and_prefix_give_an_equal_model() {
    let one = |name: &str, matches: &str, more: &str| {
        format!("{{name: {name}, httpRoute: {{match: {{{matches}}}, action: {{{TO_ONE}}}{more}}}}}")
    };
    let routes = [
        one("all", "prefix: /", ", timeout: {perRequest: {unit: s, value: 3}, idle: {unit: s, value: 0}}"),
        one("short", "prefix: /a", ""),
        one("long", "prefix: /a/b, method: GET, headers: [{name: X-User, match: {exact: me}}, {name: z}], queryParameters: [{name: q, match: {exact: v}}]", ""),
        one("first", "path: {regex: '/z.*'}", ", retryPolicy: {maxRetries: 1, perRetryTimeout: {unit: ms, value: 500}, httpRetryEvents: [server-error], tcpRetryEvents: [connection-error]}")
            .replace("{name: first,", "{name: first, priority: 0,"),
    ];
    let to = "route: [{destination: {host: svc-1}}]";
    let http = [
        format!(
            "{{name: first, match: [{{uri: {{regex: '/z.*'}}}}], timeout: 15s, retries: {{attempts: 1, perTryTimeout: 500ms, retryOn: '5xx,connect-failure'}}, {to}}}"
        ),
        format!(
            "{{name: long, match: [{{uri: {{prefix: /a/b}}, method: {{exact: GET}}, headers: {{x-user: {{exact: me}}, z: {{}}}}, queryParams: {{q: {{exact: v}}}}}}], {USUAL}, {to}}}"
        ),
        format!("{{name: short, match: [{{uri: {{prefix: /a}}}}], {USUAL}, {to}}}"),
        format!(
            "{{name: all, match: [{{uri: {{prefix: /}}}}], {}, {to}}}",
            USUAL.replace("15s", "3s")
        ),
    ];
    assert_equal(
        &AppMesh { routes: &routes.join(", "), ..AppMesh::default() },
        &http.join(", "),
        "",
    );
}

#[test]
fn equal_intent_tls_and_outliers_give_an_equal_model() {
    let tls = ", clientPolicy: {tls: {validation: {trust: {file: {certificateChain: /ca.pem}}}, \
               certificate: {file: {certificateChain: /c.pem, privateKey: /k.pem}}}}";
    let outliers = ", outlierDetection: {maxServerErrors: 3, interval: {unit: s, value: 5}, \
                    baseEjectionDuration: {unit: s, value: 9}, maxEjectionPercent: 50}";
    let policy = ", tls: {mode: MUTUAL, caCertificates: /ca.pem, clientCertificate: /c.pem, \
                  privateKey: /k.pem, subjectAltNames: [SVC], sni: SVC}, outlierDetection: \
                  {consecutive5xxErrors: 3, interval: 5s, baseEjectionTime: 9s, maxEjectionPercent: 50}";
    let routes = format!("{{name: r, httpRoute: {{match: {{prefix: /}}, action: {{{TO_ONE}}}}}}}");
    let http = format!(
        "{{name: r, match: [{{uri: {{prefix: /}}}}], {USUAL}, route: [{{destination: {{host: svc-1}}}}]}}"
    );
    let app_mesh = AppMesh { routes: &routes, listener: outliers, backend: tls };
    assert_equal(&app_mesh, &http, policy);
    let ejection: Option<Ejection> = requests::backends(&app_mesh.outbound())[0].policy.ejection;
    assert_eq!(ejection.unwrap().server_errors, Some(3));
}

/// What is not equal intent stays apart: a client of the namespace also has the bare name, and an
/// address, in Istio's words.
#[test]
fn s4_6_the_bare_name_is_not_the_virtual_services() {
    let found = AppMesh::default().outbound();
    let names: Vec<&str> =
        found.ports[&80].any.hosts[0].domains.iter().map(Domain::as_str).collect();
    assert_eq!(names, ["svc-v.mesh-test", "svc-v.mesh-test.svc", SVC_V]);
    let own = outbound(&istio("{route: [{destination: {host: svc-1}}]}", ""), "mesh-test/nginx-1");
    assert_eq!(
        Ask { host: "svc-v", ..Ask::default() }.among(&own.ports[&80].any.hosts),
        "1x svc-1.mesh-test:80"
    );
}

#[test]
fn s4_3_and_s4_4_weights_are_shares() {
    let weighed = |one: u32, other: u32| {
        let targets = HALVES.replacen("weight: 1", &format!("weight: {one}"), 1);
        let at = targets.rfind("weight: 1").unwrap();
        let targets = format!("{}weight: {other}}}]", &targets[..at]);
        let routes =
            format!("{{name: r, httpRoute: {{match: {{prefix: /}}, action: {{{targets}}}}}}}");
        AppMesh { routes: &routes, ..AppMesh::default() }.ask("/")
    };
    assert_eq!(weighed(1, 1), "1x svc-1.mesh-test:80, 1x svc-2.mesh-test:80");
    assert_eq!(weighed(75, 25), "3x svc-1.mesh-test:80, 1x svc-2.mesh-test:80");
    assert_eq!(weighed(0, 1), "1x svc-2.mesh-test:80");
}

#[test]
fn edge_66_a_caller_without_the_backend_has_nothing_of_it() {
    let text = AppMesh::default().text();
    let without = text.replace(
        "backends: [{virtualService: {virtualServiceRef: {name: svc-v, namespace: mesh-test}}}]",
        "backends: []",
    );
    assert_ne!(text, without);
    assert_eq!(outbound(&without, "callers/x"), Outbound::default());
}

#[test]
fn s4_8_a_node_answers_by_itself_and_s4_17_no_provider_is_503() {
    let ask =
        |text: &str| Ask { pod: "callers/x", port: 80, host: SVC_V, ..Ask::default() }.of(text);
    let text = AppMesh::default().text();
    let provider = "virtualRouter: {virtualRouterRef: {name: vrouter-1}}";
    let node = text.replace(provider, "virtualNode: {virtualNodeRef: {name: vnode-1}}");
    assert_eq!(ask(&node), "1x svc-1.mesh-test:80");
    let gone = text.replace(provider, "virtualRouter: {virtualRouterRef: {name: gone}}");
    assert_eq!(ask(&gone), "1x 503 Provider(\"svc-v.mesh-test\")");
    let no_route = AppMesh {
        routes: "{name: t, tcpRoute: {action: {weightedTargets: [{virtualNodeRef: {name: vnode-1}, weight: 1}]}}}",
        ..AppMesh::default()
    };
    assert_eq!(no_route.ask("/"), "1x 503 Provider(\"svc-v.mesh-test\")");
    let other = AppMesh {
        routes: &format!("{{name: r, httpRoute: {{match: {{prefix: /a}}, action: {{{TO_ONE}}}}}}}"),
        ..AppMesh::default()
    };
    assert_eq!(other.ask("/b"), "404", "no route matches: no fall-through");
}

#[test]
fn edge_64_a_listener_gives_up_after_fifteen_seconds_whatever_the_route_says() {
    let routes = format!(
        "{{name: r, httpRoute: {{match: {{prefix: /}}, action: {{{TO_ONE}}}, timeout: {{perRequest: {{unit: s, value: 60}}}}}}}}"
    );
    let with = |listener: &str| {
        let found = forward(&AppMesh { routes: &routes, listener, backend: "" }.outbound());
        (found.timeout.unwrap().as_secs(), found.to[0].answer_within.map(|time| time.as_secs()))
    };
    assert_eq!(with(""), (60, Some(15)));
    assert_eq!(with(", timeout: {http: {perRequest: {unit: s, value: 90}}}"), (60, None));
    assert_eq!(with(", timeout: {http: {perRequest: {unit: s, value: 0}}}"), (60, None));
}

#[test]
fn edge_65_a_pod_of_two_nodes_or_a_namespace_of_two_meshes_is_in_none() {
    let text = AppMesh::default().text();
    let found =
        |text: &str| RequestModel::new(&objects(text), "cluster.local").outbound(&id("callers/x"));
    assert!(found(&text).is_some());
    let twice = object("VirtualNode", "callers/other", 1, "podSelector: {matchLabels: {app: x}}");
    assert!(found(&(text.clone() + &twice)).is_none());
    let mesh = object("Mesh", "x/mesh-2", 1, "namespaceSelector: {}");
    assert!(found(&(text.clone() + &mesh)).is_none());
    let mismatch =
        text.replace("matchLabels: {mesh: mesh-1}", "matchLabels: {mesh: sitateru-mesh}");
    assert!(found(&mismatch).is_none(), "S4-1");
}

#[test]
fn edge_67_traffic_follows_discovery_and_the_selector_gives_the_identity() {
    let text = AppMesh::default().text().replace("hostname: svc-1.", "hostname: svc-2.");
    let (_, found) = requests::served(&text, "callers/x", "");
    let Endpoints::Listed(listed) = &found.endpoints else { panic!() };
    assert_eq!(listed[0].address.to_string(), "10.0.0.2", "vnode-1 selects 10.0.0.1");
    let map = AppMesh::default().text().replace(
        "dns: {hostname: svc-1.mesh-test.svc.cluster.local}",
        "awsCloudMap: {namespaceName: cloud, serviceName: one}",
    );
    let (backend, found) = requests::served(&map, "callers/x", "");
    let Endpoints::Listed(listed) = &found.endpoints else { panic!() };
    assert_eq!(
        (backend.service.as_str(), listed[0].address.to_string().as_str()),
        ("one.cloud", "10.0.0.1"),
        "S4-16"
    );
}

#[test]
fn tls_of_both_sides() {
    let server =
        ", tls: {mode: STRICT, certificate: {file: {certificateChain: /c, privateKey: /k}}}";
    let client = |enforce: bool| {
        format!(
            ", clientPolicy: {{tls: {{enforce: {enforce}, validation: {{trust: {{file: {{certificateChain: /ca}}}}}}}}}}"
        )
    };
    let word = |listener: &str, backend: &str| {
        let text = AppMesh { listener, backend, ..AppMesh::default() }.text();
        requests::spoken(&requests::served(&text, "callers/x", ""))
    };
    assert_eq!(word(server, ""), "plain", "fails at the far side");
    assert_eq!(word("", &client(true)), "own", "fails at the far side too");
    assert_eq!(
        (word("", &client(false)), word(server, &client(false))),
        ("plain".into(), "own".into())
    );
    let text = AppMesh { listener: server, ..AppMesh::default() }.text();
    let objects = objects(&text);
    let found =
        RequestModel::new(&objects, "cluster.local").server(&id("mesh-test/nginx-1")).unwrap();
    assert!(matches!(found.ports[&80].tls, ServerTls::Own { or_plain: false, .. }));
    assert_eq!(found.other.tls, ServerTls::Plain, "other ports are not looked at");
    let found = AppMesh { backend: &client(true), ..AppMesh::default() }.outbound();
    let agent_model::requests::policy::ClientTls::Own(own) =
        &requests::backends(&found)[0].policy.tls
    else {
        panic!()
    };
    assert_eq!(
        (&own.trust, &own.names[0]),
        (&Trust::File("/ca".into(), None), &"svc-1.mesh-test.svc.cluster.local".to_owned())
    );
}
