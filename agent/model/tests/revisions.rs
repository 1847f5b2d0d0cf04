//! Which revision a namespace or a pod is in, and whose settings govern it.

#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "support/judged.rs"]
mod judged;

use agent_model::finding::code;
use cluster::Cluster;
use judged::{entry, errors_on, judged, namespace, object, pod, settings};

const CLOSED: &str = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}";
const OPEN: &str = "outboundTrafficPolicy: {mode: ALLOW_ANY}";

fn tag(name: &str, labels: &str) -> String {
    format!(
        "---\napiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\n\
         metadata: {{name: {name}, labels: {{{labels}}}}}\nwebhooks: [{{name: a, clientConfig: 7}}]\n"
    )
}

/// How pod `a` with these labels is judged in a namespace with those.
fn of(namespace_labels: &str, pod_labels: &str, rest: &str) -> String {
    let text = namespace("shop", namespace_labels) + &pod("shop/a", pod_labels) + rest;
    judged(&text).remove("a").expect("the pod")
}

#[test]
fn a_revision_enrols_unless_the_label_for_injection_is_there() {
    const REV: &str = "istio.io/rev: canary";
    let default_and_canary = settings("istio", OPEN) + &settings("istio-canary", CLOSED);
    for (namespace, pod, expected) in [
        ("", "", "out"),
        (REV, "", "denies"),
        (REV, "sidecar.istio.io/inject: 'true'", "denies"),
        (REV, "sidecar.istio.io/inject: 'false'", "out"),
        // The injector of the namespace's revision takes all of its pods.
        (REV, "istio.io/rev: default", "denies"),
        ("istio-injection: enabled", "", "allows"),
        ("istio-injection: enabled, istio.io/rev: canary", "", "allows"),
        ("istio-injection: enabled", REV, "allows"),
        ("istio-injection: enabled", "sidecar.istio.io/inject: 'false'", "out"),
        ("istio-injection: disabled", "", "out"),
        ("istio-injection: disabled, istio.io/rev: canary", "", "out"),
        ("istio-injection: disabled", REV, "out"),
        ("istio-injection: other, istio.io/rev: canary", "", "out"),
        ("", REV, "denies"),
        ("", "istio.io/rev: canary, sidecar.istio.io/inject: 'true'", "denies"),
        ("", "istio.io/rev: canary, sidecar.istio.io/inject: 'false'", "out"),
        ("", "sidecar.istio.io/inject: 'true'", "allows"),
        ("istio.io/rev: default", "", "allows"),
        ("", "istio.io/rev: default", "allows"),
    ] {
        let found = of(namespace, pod, &default_and_canary);
        assert_eq!(found, expected, "namespace {{{namespace}}}, pod {{{pod}}}");
    }
}

#[test]
fn ambient_enrols_and_none_excludes_from_it() {
    const AMBIENT: &str = "istio.io/dataplane-mode: ambient";
    const NONE: &str = "istio.io/dataplane-mode: none";
    for (namespace, pod, expected) in [
        (AMBIENT, "", "denies"),
        (AMBIENT, NONE, "out"),
        (AMBIENT, AMBIENT, "denies"),
        // It is a sidecar that the pod does not want.
        (AMBIENT, "sidecar.istio.io/inject: 'false'", "denies"),
        ("", AMBIENT, "denies"),
        ("", NONE, "out"),
        (NONE, "", "out"),
        (NONE, AMBIENT, "denies"),
        ("istio-injection: disabled, istio.io/dataplane-mode: ambient", "", "denies"),
        ("istio-injection: disabled", AMBIENT, "denies"),
        // What ambient leaves alone may have a sidecar.
        ("istio-injection: enabled", NONE, "denies"),
        ("istio-injection: enabled, istio.io/dataplane-mode: none", "", "denies"),
        ("istio.io/dataplane-mode: other", "", "out"),
    ] {
        let found = of(namespace, pod, &settings("istio", CLOSED));
        assert_eq!(found, expected, "namespace {{{namespace}}}, pod {{{pod}}}");
    }
}

#[test]
fn the_settings_of_a_revision_govern_its_namespaces() {
    let both = settings("istio", CLOSED) + &settings("istio-1-20-3", OPEN);
    assert_eq!(of("istio.io/rev: 1-20-3", "", &both), "allows");
    assert_eq!(of("istio-injection: enabled", "", &both), "denies");
    let alone = settings("istio-1-20-3", CLOSED);
    assert_eq!(of("istio.io/rev: 1-20-3", "", &alone), "denies");
    // Istio's other ConfigMaps beside them are no settings.
    let other = "---\napiVersion: v1\nkind: ConfigMap\n\
                 metadata: {name: istio-sidecar-injector, namespace: istio-system}\n\
                 data: {config: 'x: y', values: '{}'}\n";
    let cluster = Cluster::read(&(both + other));
    assert_eq!(cluster.objects.mesh_configs().count(), 2);
    assert!(cluster.refused.is_empty(), "{:?}", cluster.refused);
    let elsewhere = settings("istio-1-20-3", CLOSED).replace("istio-system", "shop");
    assert_eq!(Cluster::read(&elsewhere).objects.mesh_configs().count(), 0);
}

#[test]
fn a_revision_has_its_own_root_namespace_and_its_own_exports() {
    let both = settings("istio", OPEN)
        + &settings("istio-canary", "{rootNamespace: top, defaultServiceExportTo: ['.']}")
        + &object(
            "networking.istio.io/v1",
            "Sidecar",
            "name: s, namespace: top",
            "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}",
        )
        + &entry();
    assert_eq!(of("istio.io/rev: canary", "", &both), "denies");
    assert_eq!(of("istio-injection: enabled", "", &both), "allows db");
    // Two pods of one namespace may be in two revisions.
    let text = namespace("shop", "")
        + &pod("shop/a", "istio.io/rev: canary")
        + &pod("shop/b", "istio.io/rev: default")
        + &both;
    let found = judged(&text);
    assert_eq!((&*found["a"], &*found["b"]), ("denies", "allows db"));
}

#[test]
fn a_tag_stands_for_its_revision() {
    let tagged = settings("istio", OPEN)
        + &settings("istio-1-20-3", CLOSED)
        + &tag("istio-revision-tag-prod", "istio.io/tag: prod, istio.io/rev: 1-20-3")
        + &tag("istio-sidecar-injector", "istio.io/rev: default, app: sidecar-injector");
    assert_eq!(of("istio.io/rev: prod", "", &tagged), "denies");
    assert_eq!(of("istio-injection: enabled", "", &tagged), "allows");
    // The tag `default` moves what has no revision.
    let moved =
        tagged + &tag("istio-revision-tag-default", "istio.io/tag: default, istio.io/rev: 1-20-3");
    assert_eq!(of("istio-injection: enabled", "", &moved), "denies");
    assert_eq!(of("", "sidecar.istio.io/inject: 'true'", &moved), "denies");
    let usual = settings("istio", CLOSED)
        + &tag("istio-revision-tag-default", "istio.io/tag: default, istio.io/rev: default");
    assert_eq!(of("istio-injection: enabled", "", &usual), "denies");
    assert_eq!(of("istio.io/rev: default", "", &usual), "denies");
}

#[test]
fn what_is_not_known_is_told_and_denies() {
    let unknown = |namespace_labels: &str, rest: &str| {
        let text = namespace("shop", namespace_labels) + &pod("shop/a", "") + rest;
        let errors = errors_on(&text, "Namespace", "shop");
        assert_eq!(errors, [code::REVISION_UNKNOWN], "{text}");
        judged(&text).remove("a").expect("the pod")
    };
    for settings in [String::new(), settings("istio", OPEN), settings("istio-other", OPEN)] {
        assert_eq!(unknown("istio.io/rev: canary", &settings), "denies");
        assert_eq!(unknown("istio.io/rev: ''", &settings), "denies");
        let dangling = tag("t", "istio.io/tag: canary, istio.io/rev: gone") + &settings;
        assert_eq!(unknown("istio.io/rev: canary", &dangling), "denies");
    }
    // The default revision is known by its settings, or where there are none at all.
    let other = settings("istio-other", OPEN);
    assert_eq!(unknown("istio-injection: enabled", &other), "denies");
    for label in ["istio-injection: enabled", "istio.io/rev: default"] {
        assert_eq!(of(label, "", ""), "allows");
    }
    let off = namespace("shop", "istio-injection: disabled, istio.io/rev: canary") + &other;
    assert!(errors_on(&off, "Namespace", "shop").is_empty(), "it says no");
    // Where only the pod names it, it is told on the pod.
    let text = namespace("shop", "") + &pod("shop/a", "istio.io/rev: canary");
    assert_eq!(judged(&text)["a"], "denies");
    assert_eq!(errors_on(&text, "Pod", "a"), [code::REVISION_UNKNOWN]);
    assert!(errors_on(&text, "Namespace", "shop").is_empty());
}

#[test]
fn settings_of_a_revision_that_cannot_be_read_are_registry_only_for_it_alone() {
    let both = settings("istio", OPEN) + &settings("istio-canary", "7");
    let named = "denies; ConfigMap istio-system/istio-canary";
    assert_eq!(of("istio.io/rev: canary", "", &both), named);
    assert_eq!(of("istio-injection: enabled", "", &both), "allows");
}
