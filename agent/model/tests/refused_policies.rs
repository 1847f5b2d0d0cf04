//! A policy about what comes in that is refused is read as the strictest that it may mean.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/judged.rs"]
mod judged;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/requests.rs"]
mod requests;

use agent_model::{
    requests::{Requests as _, server::Acceptance, server::ServerTls},
    resource::{Kind, Object, ObjectKey, security::TokenPresence},
    translate::requests::RequestModel,
};
use cluster::Cluster;
use judged::{istio, judged, object};

const SECURITY: &str = "security.istio.io/v1";

const STRICT: Acceptance = Acceptance::of(ServerTls::MeshOnly);

/// What a pod takes.
fn takes(text: &str, pod: &str) -> Acceptance {
    let cluster = Cluster::read(text);
    let model = RequestModel::new(&cluster.objects, "cluster.local");
    model.server(&requests::id(pod)).expect("a pod in the mesh").other.clone()
}

#[test]
fn a_refused_policy_about_mutual_tls_is_strict() {
    let peers = |metadata: &str, spec: &str| object(SECURITY, "PeerAuthentication", metadata, spec);
    let legacy = |kind: &str, metadata: &str, spec: &str| {
        object("authentication.istio.io/v1alpha1", kind, metadata, spec)
    };
    let shop = "name: p, namespace: shop";
    let root = "name: p, namespace: istio-system";
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n\
                   spec: {selector: {app: a}, ports: [{port: 1}]}\n";
    // Whether a, b of the namespace and c of another are strict.
    for (policy, strict) in [
        (peers(shop, "{selector: {matchLabels: {app: a}}, mtls: 7}"), [true, false, false]),
        (peers(shop, "{mtls: {mode: MAYBE}}"), [true, true, false]),
        (peers(shop, "{selector: 7}"), [true, true, false]),
        (peers(root, "{mtls: 7}"), [true, true, true]),
        (peers(root, "7"), [true, true, true]),
        (legacy("Policy", shop, "{peers: 7}"), [true, true, false]),
        (legacy("Policy", shop, "{targets: 7}"), [true, true, false]),
        (legacy("Policy", shop, "{targets: [{name: a}], peers: 7}"), [true, false, false]),
        (legacy("MeshPolicy", "name: default", "{peers: 7}"), [true, true, true]),
    ] {
        let text = istio(&(policy.clone() + service));
        let found = ["shop/a", "shop/b", "far/c"].map(|pod| takes(&text, pod) == STRICT);
        assert_eq!(found, strict, "{policy}");
        let told = judged(&text);
        let told = ["a", "b", "c"].map(|pod| told[pod].contains("; "));
        assert_eq!(told, strict, "{policy}");
    }
    // An older one for a pod gives way to one that may be for it.
    let permissive = "{selector: {matchLabels: {app: a}}, mtls: {mode: PERMISSIVE}}";
    let text = istio(&(peers("name: a, namespace: shop", permissive) + &peers(shop, "7")));
    assert_eq!(takes(&text, "shop/a"), STRICT);
}

#[test]
fn a_refused_authorization_policy_stands_for_one_that_lets_nothing_in() {
    let policy =
        |spec: &str| object(SECURITY, "AuthorizationPolicy", "name: p, namespace: shop", spec);
    let text = istio(&policy("{selector: {matchLabels: {app: a}}, action: MAYBE, rules: [{}]}"));
    let cluster = Cluster::read(&text);
    let key = ObjectKey::new(Kind::AuthorizationPolicy, "shop", "p");
    let stricter = cluster.objects.stricter();
    let Some(Object::AuthorizationPolicy(found)) = stricter.get(&key) else { panic!("nothing") };
    assert!(found.spec.rules.is_empty() && found.spec.selector.is_some());
    assert!(cluster.objects.get(&key).is_none());
    let named = "allows db; AuthorizationPolicy shop/p";
    assert_eq!(told(&text), [named, "allows db", "allows db"]);
    let unknown = istio(&policy("{selector: 7, rules: [{}]}"));
    assert_eq!(told(&unknown), [named, named, "allows db"]);
}

#[test]
fn a_refused_request_authentication_stands_for_one_that_takes_no_token() {
    let policy = |metadata: &str, spec: &str| {
        istio(&object(SECURITY, "RequestAuthentication", metadata, spec))
    };
    let shop = "name: p, namespace: shop";
    let named = "allows db; RequestAuthentication shop/p";
    let selecting = "{selector: {matchLabels: {app: a}}, jwtRules: [{jwks: '{}', jwksUri: 'x'}]}";
    let text = policy(shop, selecting);
    assert_eq!(told(&text), [named, "allows db", "allows db"]);
    let stricter = Cluster::read(&text).objects.stricter();
    let key = ObjectKey::new(Kind::RequestAuthentication, "shop", "p");
    let Some(Object::RequestAuthentication(found)) = stricter.get(&key) else { panic!("nothing") };
    let [rule] = &found.spec.jwt_rules[..] else { panic!("{found:?}") };
    assert!(rule.presence == TokenPresence::Required && rule.jwks_uri.is_empty());
    for unknown in ["{selector: [a], jwtRules: []}", "7", "{jwtRules: 7}"] {
        assert_eq!(told(&policy(shop, unknown)), [named, named, "allows db"], "{unknown}");
    }
    let root = policy("name: p, namespace: istio-system", "{jwtRules: 7}");
    let named = "allows db; RequestAuthentication istio-system/p";
    assert_eq!(told(&root), [named; 3]);
}

/// How the three pods are judged.
fn told(text: &str) -> [String; 3] {
    let mut found = judged(text);
    ["a", "b", "c"].map(|pod| found.remove(pod).expect("the pod"))
}
