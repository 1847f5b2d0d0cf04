use agent_model::{
    egress::{Action, Class, Protocol, RuleSource},
    registry::{Authority, Exposure, Likeness, Service, ServicePort, departed::Left},
    resource::{Kind, ObjectKey},
};

use super::*;

fn left(kind: Kind, listed: bool, exposure: Option<Exposure>) -> Left {
    let key = ObjectKey::new(kind, "data", "db");
    let source = Arc::new(RuleSource {
        kind: kind.shown(),
        namespace: "data".into(),
        name: "db".into(),
        field: "spec.ports[0]".into(),
        host: Some("db.data.svc.cluster.local".to_owned()),
    });
    let rule = |protocol, cidr: &str| Rule {
        class: Class::Registered,
        protocol,
        cidr: cidr.parse().unwrap(),
        port: 53.try_into().ok(),
        action: Action::Direct,
        age: 0,
        source: Arc::clone(&source),
    };
    let outlived = [rule(Protocol::Tcp, "203.0.113.7/32"), rule(Protocol::Udp, "2001:db8::7/128")];
    let service = Service {
        created: 0,
        hosts: vec!["db.data.svc.cluster.local".to_owned()],
        authority: if listed { Authority::Declared } else { Authority::Cluster },
        exposure,
        alias: None,
        addresses: Box::default(),
        external: false,
        headless: false,
        resolves_hosts: false,
        certificate_names: Box::default(),
        names: Box::default(),
        likeness: Likeness::default(),
        ports: vec![ServicePort {
            number: 53,
            source: Arc::clone(&source),
            rules: Box::default(),
            outlived: outlived.into(),
            protocol: None,
            name: "".into(),
            steered: false,
            endpoints: None,
        }],
        findings: Vec::new(),
        key,
    };
    Left { service: Arc::new(service), listed, until: Duration::from_millis(1_500) }
}

#[test]
fn what_is_saved_is_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("departed.snapshot");
    let only = Exposure::Only { own: true, named: ["shop".to_owned()].into() };
    let all = [
        left(Kind::Service, false, None),
        left(Kind::Service, false, Some(Exposure::All)),
        left(Kind::AppMeshVirtualService, true, Some(only)),
    ];
    saved::write(&path, "node-1", &all.iter().map(Line::of).collect::<Vec<_>>()).unwrap();
    let read: Vec<Left> =
        saved::read(&path, "node-1").unwrap().into_iter().filter_map(Line::left).collect();
    assert_eq!(read, all);
    assert!(saved::read(&path, "node-2").is_err(), "another node's");
    assert!(saved::read(&directory.path().join("none"), "node-1").unwrap().is_empty());
}

#[test]
fn a_pod_loses_what_is_not_kept_any_more() {
    let rules = |all: &[&str]| -> Arc<[Rule]> {
        let one = left(Kind::Service, false, None);
        let rule = &one.service.ports[0].outlived[0];
        all.iter().map(|cidr| Rule { cidr: cidr.parse().unwrap(), ..rule.clone() }).collect()
    };
    let pod = |name: &str| PodId { namespace: "shop".to_owned(), name: name.to_owned() };
    let before = Kept::from([
        (pod("same"), rules(&["203.0.113.1/32"])),
        (pod("more"), rules(&["203.0.113.1/32"])),
        (pod("less"), rules(&["203.0.113.1/32", "203.0.113.2/32"])),
        (pod("gone"), rules(&["203.0.113.1/32"])),
        (pod("none"), rules(&[])),
    ]);
    let after = Kept::from([
        (pod("same"), rules(&["203.0.113.1/32"])),
        (pod("more"), rules(&["203.0.113.1/32", "203.0.113.2/32"])),
        (pod("less"), rules(&["203.0.113.2/32"])),
    ]);
    let lost: Vec<_> = losers(&before, &after).map(|pod| pod.name.as_str()).collect();
    assert_eq!(lost, ["gone", "less"]);
}
