use super::*;
use crate::finding::code;
use crate::resource::{documents, parse};

/// The findings as `severity code object field`, and their messages.
fn analysed(text: &str) -> (Vec<String>, String) {
    let values = documents(text).into_iter().map(|document| document.value.unwrap());
    let objects = values.flat_map(parse).filter_map(|parsed| parsed.unwrap().object).collect();
    let findings = analyze(&objects);
    for finding in &findings {
        assert!(code::allows(finding.code, finding.severity), "{finding}");
    }
    let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    let messages = messages.join("\n");
    let told = findings.iter().map(|finding| {
        let Finding { severity, code, kind, namespace, name, field, .. } = finding;
        format!("{} {code} {kind} {namespace}/{name} {field}", severity.name())
    });
    (told.collect(), messages)
}

const ONLY: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}
---";

fn entry(name: &str, host: &str, addresses: &str, rest: &str) -> String {
    let second = name.bytes().map(u32::from).sum::<u32>() % 60;
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop, creationTimestamp: '2024-01-01T00:00:{second:02}Z'}}
spec:
  hosts: [{host}]
  addresses: {addresses}
  ports: [{{number: 3306, name: mysql, protocol: TCP}}]
  {rest}
---"
    )
}

#[test]
fn a_sound_allowlist_gives_nothing() {
    let text = format!("{ONLY}{}", entry("a", "a.example.com", "[203.0.113.1]", ""));
    assert_eq!(analysed(&text).0, Vec::<String>::new());
}

#[test]
fn a_rule_that_an_older_one_hides_is_reported() {
    let text = format!(
        "{ONLY}{}{}{}",
        entry("a", "a.example.com", "[203.0.113.0/24, 203.0.114.0/24]", ""),
        entry("b", "b.example.com", "[203.0.113.9/24]", ""),
        entry("c", "c.example.com", "[203.0.113.1/24, 203.0.113.1]", ""),
    );
    let (found, messages) = analysed(&text);
    assert_eq!(found, ["warning SK0304 ServiceEntry shop/b spec.ports[0]"]);
    assert!(messages.contains("ServiceEntry shop/a spec.ports[0] is older"), "{messages}");
}

#[test]
fn an_older_rule_that_others_do_not_see_hides_nothing_from_them() {
    let text = format!(
        "{ONLY}\napiVersion: v1\nkind: Namespace\nmetadata: {{name: other}}\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---{}{}",
        entry("a", "a.example.com", "[203.0.113.1]", "exportTo: ['.']"),
        entry("b", "b.example.com", "[203.0.113.1]", ""),
    );
    assert_eq!(analysed(&text).0, Vec::<String>::new());
}

#[test]
fn an_entry_whose_host_another_one_holds_is_reported() {
    let text = format!(
        "{ONLY}{}{}",
        entry("a", "a.example.com", "[203.0.113.1]", ""),
        entry("b", "a.example.com", "[203.0.113.2]", ""),
    );
    let (found, messages) = analysed(&text);
    assert_eq!(found, ["warning SK0304 ServiceEntry shop/b spec.ports[0]"]);
    assert!(messages.contains("ServiceEntry shop/a has the same host"), "{messages}");
}

#[test]
fn http_entries_share_their_addresses_by_name() {
    let http = |name: &str| {
        entry(name, &format!("{name}.example.com"), "[]", "")
            .replace("3306, name: mysql, protocol: TCP", "80, name: http, protocol: HTTP")
    };
    assert_eq!(analysed(&format!("{ONLY}{}{}", http("a"), http("b"))).0, Vec::<String>::new());
}

#[test]
fn tls_entries_share_an_address_by_name() {
    let tls = |name: &str| {
        entry(name, &format!("{name}.example.com"), "[203.0.113.1]", "")
            .replace("3306, name: mysql, protocol: TCP", "443, name: tls, protocol: TLS")
    };
    assert_eq!(analysed(&format!("{ONLY}{}{}", tls("a"), tls("b"))).0, Vec::<String>::new());
}

#[test]
fn an_open_port_is_reported() {
    let text = format!(
        "{ONLY}{}{}",
        entry("a", "a.example.com", "[]", ""),
        entry("b", "b.example.com", "['::/0']", "").replace("3306", "3307"),
    );
    assert_eq!(
        analysed(&text).0,
        [
            "warning IST0134 ServiceEntry shop/a spec.ports[0]",
            "warning SK0305 ServiceEntry shop/b spec.ports[0]",
        ]
    );
}

#[test]
fn an_address_of_a_pod_is_reported() {
    let text = format!(
        "{ONLY}{}
apiVersion: v1
kind: Pod
metadata: {{name: db, namespace: shop}}
status: {{podIPs: [{{ip: 203.0.113.1}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: node-thing, namespace: shop}}
spec: {{hostNetwork: true, containers: []}}
status: {{podIPs: [{{ip: 203.0.113.2}}]}}
",
        entry("a", "a.example.com", "[203.0.113.1, 203.0.113.2]", ""),
    );
    let (found, messages) = analysed(&text);
    assert_eq!(found, ["warning SK0306 ServiceEntry shop/a spec.addresses"]);
    assert!(messages.contains("203.0.113.1 is the address of pod shop/db"), "{messages}");
}

#[test]
fn a_prefix_that_holds_pods_is_reported() {
    let pod = |name: &str, address: &str| {
        format!(
            "\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n\
             status: {{podIPs: [{{ip: {address}}}]}}\n---"
        )
    };
    let pods = [pod("a", "203.0.113.1"), pod("b", "203.0.113.9"), pod("c", "203.0.114.1")].concat();
    let (found, messages) =
        analysed(&format!("{ONLY}{pods}{}", entry("a", "a.example.com", "[203.0.113.0/24]", "")));
    assert_eq!(found, ["warning SK0306 ServiceEntry shop/a spec.addresses"]);
    assert!(messages.contains("203.0.113.0/24 holds addresses of pods (shop/a and 1 more)"));
}

#[test]
fn without_registry_only_an_entry_is_no_allowlist() {
    let one = entry("a", "a.example.com", "[203.0.113.1]", "");
    assert_eq!(analysed(&one).0, ["info SK0307 ServiceEntry shop/a spec"]);
    let sidecar = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: only, namespace: shop}
spec: {outboundTrafficPolicy: {}}
";
    assert_eq!(analysed(&format!("{one}{sidecar}")).0, Vec::<String>::new());
}

#[test]
fn sidecars_that_compete_are_reported() {
    let sidecar = |name: &str, selector: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: shop}}
spec: {{{selector}egress: [{{hosts: ['*/*']}}]}}
---"
        )
    };
    let selector = "workloadSelector: {labels: {app: x}}, ";
    let text = [
        sidecar("all-1", ""),
        sidecar("all-2", ""),
        sidecar("x-1", selector),
        sidecar("x-2", selector),
        "\napiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: shop, labels: {app: x}}"
            .into(),
    ];
    assert_eq!(
        analysed(&text.concat()).0,
        [
            "warning IST0110 Sidecar shop/x-1 spec.workloadSelector",
            "warning IST0110 Sidecar shop/x-2 spec.workloadSelector",
            "warning IST0111 Sidecar shop/all-1 spec.workloadSelector",
            "warning IST0111 Sidecar shop/all-2 spec.workloadSelector",
        ]
    );
}

#[test]
fn namespaces_that_do_not_exist_are_reported_where_some_do() {
    let named = format!(
        "{ONLY}{}
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: s, namespace: shop}}
spec: {{egress: [{{hosts: ['./*', '*/a.example.com', 'gone/*']}}]}}
---
",
        entry("a", "a.example.com", "[203.0.113.1]", "exportTo: ['.', missing]"),
    );
    assert_eq!(analysed(&named).0, Vec::<String>::new());
    let known = format!("{named}apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n");
    assert_eq!(
        analysed(&known).0,
        [
            "warning IST0101 ServiceEntry shop/a spec.exportTo[1]",
            "warning IST0101 Sidecar shop/s spec.egress[0].hosts[2]",
        ]
    );
}

#[test]
fn an_invalid_object_is_reported_and_not_reckoned_with() {
    let text = format!(
        "{ONLY}{}{}",
        entry("a", "'*'", "[203.0.113.1]", ""),
        entry("b", "b.example.com", "[203.0.113.1]", ""),
    );
    assert_eq!(analysed(&text).0, ["error SK0202 ServiceEntry shop/a spec.hosts[0]"]);
}

const NAMESPACES: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: istio, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: mesh, labels: {mesh: m, appmesh.k8s.aws/sidecarInjectorWebhook: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: plain}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: Mesh
metadata: {name: m}
spec: {namespaceSelector: {matchLabels: {mesh: m}}}
---";

fn pod(namespace: &str, annotations: &str) -> String {
    format!(
        "\napiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: {namespace}, labels: {{app: a}}, \
         annotations: {{{annotations}}}}}\nspec: {{containers: []}}\n---"
    )
}

fn node(namespace: &str, name: &str) -> String {
    format!(
        "\napiVersion: appmesh.k8s.aws/v1beta2\nkind: VirtualNode\n\
         metadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{podSelector: {{matchLabels: {{app: a}}}}, \
         serviceDiscovery: {{dns: {{hostname: a.example.com}}}}}}\n---"
    )
}

#[test]
fn an_annotation_of_a_pod_that_cannot_be_read_is_told_as_by_the_agent() {
    const ISTIO: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
    const APP_MESH: &str = "appmesh.k8s.aws/egressIgnoredIPs";
    let both = format!("{ISTIO}: '80,x', {APP_MESH}: 10.0.0.0/33");
    let told = |namespace: &str, given: &str| {
        let text = format!("{given}{}", pod(namespace, &both));
        let (found, messages) = analysed(&text);
        let about_pods = found.into_iter().filter(|one| one.contains(" Pod "));
        (about_pods.collect::<Vec<_>>(), messages)
    };
    let finding = |namespace: &str, name: &str| {
        format!("warning IST0108 Pod {namespace}/p metadata.annotations[{name}]")
    };
    let (found, messages) = told("istio", NAMESPACES);
    assert_eq!(found, [finding("istio", ISTIO)]);
    assert!(
        messages.contains("\"x\" cannot be read; the rest of the list is honoured"),
        "{messages}"
    );
    let in_mesh = format!("{NAMESPACES}{}", node("mesh", "n1"));
    assert_eq!(told("mesh", &in_mesh).0, [finding("mesh", APP_MESH)]);
    assert_eq!(told("plain", NAMESPACES).0, [""; 0]);
    // Its namespace may well be in a mesh.
    assert_eq!(told("other", "").0, [finding("other", APP_MESH), finding("other", ISTIO)]);
}

#[test]
fn a_pod_that_two_nodes_select_is_told_as_by_the_agent() {
    let two = |namespace: &str| [node(namespace, "n1"), node(namespace, "n2")].concat();
    for (given, namespace) in [(NAMESPACES, "mesh"), ("", "other")] {
        let text = format!("{given}{}{}", two(namespace), pod(namespace, ""));
        let (found, messages) = analysed(&text);
        let wanted = format!("error SK0341 Pod {namespace}/p metadata.labels");
        assert!(found.contains(&wanted), "{found:?}");
        let both = format!("VirtualNode {namespace}/n1,VirtualNode {namespace}/n2");
        assert!(messages.contains(&both), "{messages}");
        let one = format!("{given}{}{}", node(namespace, "n1"), pod(namespace, ""));
        assert!(!analysed(&one).0.contains(&wanted));
    }
}

#[test]
fn a_service_of_the_same_manifests_is_somewhere() {
    for address in ["", "clusterIP: None, ", "type: LoadBalancer, "] {
        let text = format!(
            "{NAMESPACES}
apiVersion: v1
kind: Service
metadata: {{name: back, namespace: mesh}}
spec: {{{address}selector: {{app: a}}, ports: [{{port: 9000, targetPort: web}}]}}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualNode
metadata: {{name: back, namespace: mesh}}
spec:
  podSelector: {{matchLabels: {{app: a}}}}
  listeners: [{{portMapping: {{port: 9000, protocol: tcp}}}}]
  serviceDiscovery: {{dns: {{hostname: back.mesh.svc.cluster.local}}}}
---
apiVersion: appmesh.k8s.aws/v1beta2
kind: VirtualService
metadata: {{name: back, namespace: mesh}}
spec: {{provider: {{virtualNode: {{virtualNodeRef: {{name: back}}}}}}}}
"
        );
        let told = analysed(&text).0;
        let found: Vec<_> = told.into_iter().filter(|one| !one.contains("egressFilter")).collect();
        assert_eq!(found, ["info SK0303 Service mesh/back spec.clusterIP"], "{address}");
    }
}
