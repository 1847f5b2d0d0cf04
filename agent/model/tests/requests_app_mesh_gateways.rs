//! App Mesh's gateways: what their routes match, and what they change of a request.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/app_mesh.rs"]
mod app_mesh;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::{
    requests::{
        Requests as _,
        backend::{Missing, Target},
        gateway::GatewayPort,
        route::{Action, Route},
    },
    translate::requests::RequestModel,
};
use app_mesh::{AppMesh, forward};
use requests::{Ask, id, object, objects, outbound, pod};

/// The gateway of S4 with one route.
fn gateway(http: &str) -> Vec<agent_model::requests::route::VirtualHost> {
    let text = AppMesh::default().text()
        + &pod("mesh-test/gw", "10.0.0.7", "for: gateway")
        + &object(
            "VirtualGateway",
            "mesh-test/gateway-v",
            1,
            "namespaceSelector: {matchLabels: {mesh: mesh-1}}, podSelector: {matchLabels: {for: gateway}}, \
             listeners: [{portMapping: {port: 8088, protocol: http}, connectionPool: {http: {maxConnections: 1024}}}]",
        )
        + &object("GatewayRoute", "mesh-test/route-v", 1, &format!("httpRoute: {http}"));
    let objects = objects(&text);
    let found = RequestModel::new(&objects, "cluster.local").gateway(&id("mesh-test/gw"));
    let found = found.expect("a gateway");
    match &found.ports[&8088] {
        GatewayPort::Http(hosts) => hosts.clone(),
        other => panic!("{other:?}"),
    }
}

fn only(http: &str) -> Route {
    gateway(http)[0].routes[0].clone()
}

const TARGET: &str = "target: {virtualService: {virtualServiceRef: {name: svc-v}}}";

#[test]
fn s4_12_and_edge_63_a_gateway_rewrites_the_host_and_the_prefix() {
    let root = only(&format!("{{match: {{prefix: /}}, action: {{{TARGET}}}}}"));
    let Action::Forward(forward) = &root.then else { panic!() };
    let shares: Vec<String> = forward.to.iter().map(requests::share).collect();
    assert_eq!(shares, ["1x svc-1.mesh-test:80", "1x svc-2.mesh-test:80"]);
    assert_eq!(forward.rewrite.authority.as_deref(), Some("svc-v.mesh-test"));
    let rewritten = |prefix: &str, rewrite: &str, target: &str| {
        // One that changes nothing is refused, so it is left out.
        let change = if rewrite.is_empty() { "" } else { ", rewrite: " };
        let rewrite = if rewrite.is_empty() { String::new() } else { format!("{{{rewrite}}}") };
        only(&format!("{{match: {{prefix: {prefix}}}, action: {{{TARGET}{change}{rewrite}}}}}"))
            .rewritten(target)
    };
    assert_eq!(rewritten("/a/", "", "/a/x?q"), "/x?q", "S4-13");
    assert_eq!(rewritten("/chapter", "", "/chapter/1"), "/1");
    assert_eq!(rewritten("/chapter", "", "/chapter"), "/");
    assert_eq!(rewritten("/a/", "prefix: {defaultPrefix: DISABLED}", "/a/x"), "/a/x");
    assert_eq!(rewritten("/a/", "prefix: {value: /b/}", "/a/x"), "/b/x");
    assert_eq!(rewritten("/a/", "path: {exact: /c}", "/a/x?q"), "/c?q");
    let kept = only(&format!(
        "{{match: {{prefix: /}}, action: {{{TARGET}, rewrite: {{hostname: {{defaultTargetHostname: DISABLED}}}}}}}}"
    ));
    let Action::Forward(forward) = &kept.then else { panic!() };
    assert_eq!(forward.rewrite.authority, None);
}

#[test]
fn gateway_routes_are_told_apart_by_host() {
    let hosts = gateway(&format!(
        "{{match: {{hostname: {{suffix: .example.com}}}}, action: {{{TARGET}}}}}"
    ));
    let at = |host| Ask { host, ..Ask::default() }.among(&hosts);
    assert_eq!(at("a.example.com"), "1x svc-1.mesh-test:80, 1x svc-2.mesh-test:80");
    assert_eq!(at("example.org"), "unknown");
}

#[test]
fn a_target_that_is_missing_says_so() {
    let text = AppMesh::default()
        .text()
        .replace("virtualNodeRef: {name: vnode-2}", "virtualNodeRef: {name: gone}");
    let found = forward(&outbound(&text, "callers/x"));
    assert_eq!(found.to[1].target, Target::Missing(Missing::Provider("gone".into())));
}
