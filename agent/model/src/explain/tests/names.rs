//! Names and addresses.

use super::*;

const NAMED: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, annotations: {sekisho.dev/netns: /run/netns/app}}
spec: {nodeName: node-1, containers: []}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: db.example.com, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: inside, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: inside.shop.svc.cluster.local}
"#;

fn named() -> Snapshot {
    of_names(NAMED)
}

fn of_names(text: &str) -> Snapshot {
    let mut objects = Objects::default();
    for document in documents(text) {
        for parsed in parse(document.value.unwrap()) {
            if let Some(object) = parsed.unwrap().object {
                objects.insert(object);
            }
        }
    }
    let mut node = NodeContext::new("node-1");
    let answer = crate::names::Answer {
        current: vec!["203.0.113.1".parse().unwrap()],
        lingering: vec!["2001:db8::1".parse().unwrap()],
        former: vec!["203.0.113.3".parse().unwrap()],
        trouble: None,
    };
    node.answers =
        std::sync::Arc::new([("db.example.com".into(), answer.into())].into_iter().collect());
    translate(&objects, &node, &mut Interner::default())
}

#[test]
fn an_address_is_told_with_the_name_that_it_comes_from() {
    let snapshot = named();
    let pod = PodId { namespace: "shop".into(), name: "app".into() };
    for (address, age, allowed) in [
        ("203.0.113.1", AnswerAge::Current, true),
        ("2001:db8::1", AnswerAge::Lingering, true),
        ("203.0.113.3", AnswerAge::Former, false),
    ] {
        let query = Query {
            pod: pod.clone(),
            address: address.parse().unwrap(),
            port: 3306.try_into().unwrap(),
            protocol: Protocol::Tcp,
        };
        let told = explain(&snapshot, &query).unwrap();
        assert_eq!(told.names, [NameText { name: "db.example.com".into(), age }], "{address}");
        assert_eq!(matches!(told.decision, Decision::Rule { .. }), allowed, "{address}");
    }
}

#[test]
fn what_is_for_open_connections_alone_is_told_as_that() {
    let query = Query {
        pod: PodId { namespace: "shop".into(), name: "app".into() },
        address: "203.0.113.3".parse().unwrap(),
        port: 3306.try_into().unwrap(),
        protocol: Protocol::Tcp,
    };
    let told = explain(&named(), &query).unwrap();
    assert_eq!(told.near[0].mismatch, Mismatch::OpenAlone, "{told:?}");
    assert!(told.near[0].rule.source.starts_with("Service shop/outside"), "{told:?}");
}

#[test]
fn an_entry_for_what_its_host_resolves_to_says_so_and_is_told_as_that() {
    let entry = NAMED.replace("db.example.com", "other.example.com")
        + "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {name: db, namespace: shop}\n\
         spec: {hosts: [db.example.com], resolution: DNS, \
         ports: [{number: 3306, name: mysql, protocol: TCP}]}\n";
    let snapshot = of_names(&entry);
    let finding =
        snapshot.findings.iter().find(|one| one.code == crate::finding::code::RESOLVED_ALONE);
    let finding = finding.expect("it says so");
    assert_eq!((&*finding.field, &*finding.name), ("spec.addresses", "db"), "{finding}");
    let ask = |address: &str| {
        let query = Query {
            pod: PodId { namespace: "shop".into(), name: "app".into() },
            address: address.parse().unwrap(),
            port: 3306.try_into().unwrap(),
            protocol: Protocol::Tcp,
        };
        explain(&snapshot, &query).unwrap()
    };
    assert!(matches!(ask("203.0.113.1").decision, Decision::Rule { .. }));
    let told = ask("203.0.113.99");
    assert!(matches!(told.decision, Decision::Default { .. }), "{told:?}");
    let host = "db.example.com".to_owned();
    assert!(told.near.iter().any(|one| one.mismatch == Mismatch::Resolved { host: host.clone() }));
    // With addresses it is for whatever is dialled there.
    let listed = entry.replace("resolution: DNS", "resolution: DNS, addresses: [203.0.113.99]");
    let snapshot = of_names(&listed);
    assert!(!snapshot.findings.iter().any(|one| one.code == crate::finding::code::RESOLVED_ALONE));
}

#[test]
fn a_name_stands_for_the_addresses_that_a_pod_would_dial() {
    let snapshot = named();
    let pod = |namespace: &str| PodId { namespace: namespace.into(), name: "app".into() };
    let of = |name: &str, namespace: &str| {
        addresses(&snapshot, &pod(namespace), name)
            .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let outside = Some(vec!["203.0.113.1".to_owned(), "2001:db8::1".to_owned()]);
    let inside = Some(vec!["10.96.0.9".to_owned()]);
    for (name, namespace, expected) in [
        ("db.example.com", "shop", &outside),
        ("DB.example.com.", "other", &outside),
        ("outside.shop.svc.cluster.local", "shop", &outside),
        ("outside", "shop", &outside),
        ("outside", "other", &None),
        ("inside.shop", "other", &inside),
        ("inside.shop.svc", "other", &inside),
        ("alias.shop.svc.cluster.local", "shop", &inside),
        ("nobody.example.com", "shop", &None),
    ] {
        assert_eq!(&of(name, namespace), expected, "{name} from {namespace}");
    }
}
