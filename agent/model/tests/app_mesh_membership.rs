//! What pods are in App Mesh's meshes, and why they are in none.

use std::{collections::BTreeMap, sync::Arc};

use agent_model::resource::{
    Described as _, Objects,
    app_mesh::{Enrolment, enrolment, gateway_of, selects},
    documents, parse,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A cluster in a few lines, and what the pod `shop/app` is in it.
fn outcome(extra: &[&str]) -> String {
    let sound = [
        mesh("mesh-1", "{matchLabels: {mesh: mesh-1}}"),
        namespace("mesh: mesh-1, appmesh.k8s.aws/sidecarInjectorWebhook: enabled"),
        pod("", ""),
        node("app", "{matchLabels: {app: app}}"),
    ];
    let text: String = sound.iter().map(String::as_str).chain(extra.iter().copied()).collect();
    let objects: Objects = documents(&text)
        .into_iter()
        .flat_map(|document| parse(document.value.expect("YAML")))
        .filter_map(|parsed| parsed.expect("an object").object)
        .collect();
    let found = enrolment(
        objects.pods().next().expect("one"),
        objects.namespaces().next().expect("one"),
        objects.meshes().map(Arc::as_ref),
        objects.virtual_nodes().map(Arc::as_ref),
        objects.virtual_gateways().map(Arc::as_ref),
    );
    match found {
        Ok(Enrolment::Node(mesh, node)) => {
            format!("node {} of {}", node.metadata.name(), mesh.metadata.name())
        }
        Ok(Enrolment::Gateway(mesh, gateway)) => {
            format!("gateway {} of {}", gateway.metadata.name(), mesh.metadata.name())
        }
        Err(error) => error.to_string(),
    }
}

fn custom(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: appmesh.k8s.aws/v1beta2\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n"
    )
}

fn mesh(name: &str, selector: &str) -> String {
    custom("Mesh", name, &format!("namespaceSelector: {selector}"))
}

fn node(name: &str, selector: &str) -> String {
    custom("VirtualNode", name, &format!("podSelector: {selector}"))
}

fn gateway(name: &str, spec: &str) -> String {
    custom("VirtualGateway", name, spec)
}

fn namespace(labels: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{{labels}}}}}\n"
    )
}

fn pod(annotations: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: app, namespace: shop, \
         labels: {{app: app}}, annotations: {{{annotations}}}}}\nspec: {{{spec}}}\n"
    )
}

#[test]
fn a_pod_is_in_a_mesh_by_exactly_one_mesh_and_one_node_or_gateway() {
    let injector = "appmesh.k8s.aws/sidecarInjectorWebhook";
    let none = node("app", "{matchLabels: {app: other}}");
    let no_injector = namespace("mesh: mesh-1");
    let yes = pod(&format!("{injector}: enabled"), "");
    let cases: &[(&[&str], &str)] = &[
        (&[], "node app of mesh-1"),
        (
            &[&mesh("mesh-1", "{matchLabels: {mesh: sitateru-mesh}}")],
            "failed to find matching mesh for namespace: shop, expecting 1 but found 0",
        ),
        (
            &[&custom("Mesh", "mesh-1", "")],
            "failed to find matching mesh for namespace: shop, expecting 1 but found 0",
        ),
        (&[&mesh("mesh-1", "{}")], "node app of mesh-1"),
        (
            &[&mesh("mesh-0", "{}")],
            "found multiple matching meshes for namespace: shop, expecting 1 but found 2: \
             mesh-0,mesh-1",
        ),
        (&[&none], "failed to find matching VirtualNode or VirtualGateway for pod: shop/app"),
        (
            &[&custom("VirtualNode", "app", "")],
            "failed to find matching VirtualNode or VirtualGateway for pod: shop/app",
        ),
        (
            &[&node("all", "{}")],
            "found multiple matching VirtualNodes or VirtualGateways for pod: shop/app, \
             expecting 1 but found 2: VirtualNode shop/all,VirtualNode shop/app",
        ),
        (
            &[&gateway("edge", "podSelector: {}")],
            "found multiple matching VirtualNodes or VirtualGateways for pod: shop/app, \
             expecting 1 but found 2: VirtualGateway shop/edge,VirtualNode shop/app",
        ),
        (&[&node("all", "{}").replace("shop", "other")], "node app of mesh-1"),
        (&[&none, &gateway("edge", "podSelector: {}")], "gateway edge of mesh-1"),
        (
            &[&no_injector],
            "appmesh.k8s.aws/sidecarInjectorWebhook is not enabled for pod: shop/app",
        ),
        (&[&no_injector, &yes], "node app of mesh-1"),
        (
            &[&pod(&format!("{injector}: disabled"), "")],
            "appmesh.k8s.aws/sidecarInjectorWebhook is not enabled for pod: shop/app",
        ),
        (&[&pod("", "hostNetwork: true")], "pod: shop/app uses the host's network"),
    ];
    for (extra, expected) in cases {
        assert_eq!(outcome(extra), *expected, "{extra:?}");
    }
}

#[test]
fn a_selector_selects_by_labels_and_expressions() {
    for (expression, expected) in [
        ("{key: app, operator: In, values: [app, b]}", true),
        ("{key: app, operator: In, values: [b]}", false),
        ("{key: app, operator: In}", false),
        ("{key: app, operator: NotIn, values: [app]}", false),
        ("{key: none, operator: NotIn, values: [app]}", true),
        ("{key: app, operator: Exists}", true),
        ("{key: none, operator: Exists}", false),
        ("{key: app, operator: DoesNotExist}", false),
        ("{key: none, operator: DoesNotExist}", true),
        ("{key: app, operator: Near}", false),
    ] {
        let text = format!("{{matchExpressions: [{expression}]}}");
        let value = documents(&text).remove(0).value.expect("YAML");
        let selector: LabelSelector = serde_json::from_value(value).expect("a selector");
        let labels = BTreeMap::from([("app".to_owned(), "app".to_owned())]);
        assert_eq!(selects(Some(&selector), &labels), expected, "{expression}");
    }
}

/// The gateway of a route in the namespace of [`outcome`], of these gateways.
fn route_to(labels: &str, gateways: &[(&str, &str)]) -> String {
    let all = gateways.iter().map(|(name, spec)| custom("VirtualGateway", name, spec));
    let text: String = all.chain([namespace("mesh: mesh-1")]).collect();
    let route = format!(
        "---\napiVersion: appmesh.k8s.aws/v1beta2\nkind: GatewayRoute\n\
         metadata: {{name: r, namespace: shop, labels: {{{labels}}}}}\n"
    );
    let objects: Objects = documents(&(text + &route))
        .into_iter()
        .flat_map(|document| parse(document.value.expect("YAML")))
        .filter_map(|parsed| parsed.expect("an object").object)
        .collect();
    let found = gateway_of(
        objects.gateway_routes().next().expect("one"),
        objects.namespaces().next().expect("one"),
        objects.virtual_gateways().map(Arc::as_ref),
    );
    found.map_or_else(|error| error.to_string(), |one| one.metadata.name().to_owned())
}

#[test]
fn a_route_has_exactly_one_gateway() {
    const OWN: &str = "namespaceSelector: {matchLabels: {mesh: mesh-1}}";
    const OTHER: &str = "namespaceSelector: {matchLabels: {mesh: mesh-2}}";
    let narrow = format!("{OWN}, gatewayRouteSelector: {{matchLabels: {{by: g}}}}");
    assert_eq!(route_to("", &[("g", OWN), ("h", OTHER)]), "g");
    assert_eq!(route_to("by: g", &[("g", &narrow)]), "g");
    let none =
        "failed to find matching virtualGateway for gatewayRoute: r, expecting 1 but found 0";
    assert_eq!(route_to("by: h", &[("g", &narrow)]), none);
    // Without a selector for namespaces a gateway takes no route at all.
    assert_eq!(route_to("", &[("g", "")]), none);
    let both = "found multiple matching virtualGateways for gatewayRoute: r, expecting 1 but found \
                2: shop/g,shop/h";
    assert_eq!(route_to("by: g", &[("h", OWN), ("g", &narrow)]), both);
}
