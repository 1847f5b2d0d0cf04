//! Requests of a pod go by the settings of its own revision.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use std::time::Duration;

use agent_model::{
    requests::{
        Requests as _,
        backend::Target,
        route::{Action, Route},
        server::{Acceptance, ServerTls},
    },
    translate::requests::RequestModel,
};
use requests::{REVIEWS, id, mesh_config, model, namespace, object, pod, service};

/// Two clients of one namespace, of which one is in the revision `canary`, and pods of each revision.
fn meshes(canary: &str, rest: &str) -> String {
    let of_revision = "app: client, istio.io/rev: canary";
    mesh_config("{connectTimeout: 1s, trustDomain: td}")
        + &mesh_config(&format!("{{{canary}}}")).replace("name: istio,", "name: istio-canary,")
        + &namespace("far")
        + &namespace("shop").replace("istio-injection: enabled", "a: b")
        + &pod("shop/old", "10.0.1.1", "sidecar.istio.io/inject: 'true'")
        + &pod("shop/new", "10.0.1.2", of_revision)
        + &pod("far/reviews-1", REVIEWS[0], "app: reviews")
        + &service("far/reviews", "10.96.0.1", (9080, "http"), &[REVIEWS[0]])
        + rest
}

fn route(model: &RequestModel, client: &str) -> Option<Route> {
    let outbound = model.outbound(&id(client)).expect("an enrolled pod");
    let hosts = &outbound.ports.get(&9080)?.any.hosts;
    hosts.first().map(|host| host.routes[0].clone())
}

/// How long a client waits for a connection to the reviews; `None` where it does not see them.
fn connect_timeout(text: &str, client: &str) -> Option<Duration> {
    let Action::Forward(forward) = route(&model(text), client)?.then else { panic!("no forward") };
    let Target::Backend(backend) = &forward.to[0].target else { panic!("{forward:?}") };
    Some(backend.policy.limits.connect_timeout)
}

#[test]
fn a_client_dials_by_the_settings_of_its_own_revision() {
    let text = meshes("connectTimeout: 7s", "");
    assert_eq!(connect_timeout(&text, "shop/old"), Some(Duration::from_secs(1)));
    assert_eq!(connect_timeout(&text, "shop/new"), Some(Duration::from_secs(7)));
    let private = meshes("defaultServiceExportTo: [\".\"]", "");
    assert!(connect_timeout(&private, "shop/old").is_some());
    assert_eq!(
        connect_timeout(&private, "shop/new"),
        None,
        "no other namespace's service is exported"
    );
}

#[test]
fn a_client_takes_the_routes_that_its_own_revision_shows() {
    let route_of = |text: &str, client: &str| {
        matches!(route(&model(text), client).expect("a route").then, Action::Redirect(_))
    };
    let redirect = object(
        "VirtualService",
        "far/reviews",
        1,
        "hosts: [reviews], http: [{redirect: {uri: /x}}]",
    );
    let text = meshes("defaultVirtualServiceExportTo: [\".\"]", &redirect);
    assert!(route_of(&text, "shop/old"));
    assert!(!route_of(&text, "shop/new"));
}

#[test]
fn a_pod_takes_in_what_the_root_namespace_of_its_own_revision_says() {
    let strict = object("PeerAuthentication", "top/default", 1, "mtls: {mode: STRICT}");
    let model = model(&meshes("rootNamespace: top", &strict));
    let takes = |pod: &str| model.server(&id(pod)).expect("an enrolled pod").other.clone();
    assert_eq!(takes("shop/new"), Acceptance::of(ServerTls::MeshOnly));
    assert_eq!(takes("shop/old"), Acceptance::of(ServerTls::MeshOrPlain));
}

#[test]
fn an_endpoint_has_the_identity_of_its_own_revision() {
    let in_canary = pod("far/reviews-1", REVIEWS[0], "app: reviews, istio.io/rev: canary");
    let moved = namespace("far").replace("istio-injection: enabled", "a: b") + &in_canary;
    let text = meshes("trustDomain: other", "");
    let identities = |text: &str| {
        let model = model(text);
        let Action::Forward(forward) = route(&model, "shop/old").expect("a route").then else {
            panic!("no forward")
        };
        let Target::Backend(backend) = &forward.to[0].target else { panic!("{forward:?}") };
        model.load_assignment(backend).identities.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(identities(&text), ["spiffe://td/ns/far/sa/reviews-1"]);
    assert_eq!(identities(&(text + &moved)), ["spiffe://other/ns/far/sa/reviews-1"]);
}
