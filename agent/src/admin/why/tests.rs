use std::{collections::BTreeMap, sync::Arc};

use agent_abi::{Judgement, decide};
use agent_model::{
    compile::compile,
    inbound::Inbound,
    snapshot::Enrolment,
    tables::{self, HostTables},
};

use super::*;
use crate::{
    admin::testing::snapshot,
    observe::status::{self, Status},
};

const CLUSTER: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, annotations: {sekisho.dev/netns: /run/netns/web}}
spec: {nodeName: node-1, containers: []}
status: {podIPs: [{ip: 10.0.0.5}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: mail, annotations: {sekisho.dev/netns: /run/netns/mail}}
spec: {nodeName: node-1, containers: []}
status: {podIPs: [{ip: 10.0.0.6}]}
---
apiVersion: v1
kind: Pod
metadata: {name: late, namespace: shop}
spec: {nodeName: node-1, containers: []}
status: {podIPs: [{ip: 10.0.0.7}]}
";

const ENTRY: &str = "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec: {hosts: [db.example.com], addresses: [203.0.113.7], ports: [{number: 3306, name: tcp, protocol: TCP}]}
";

/// An agent whose kernel enforces one configuration and whose source says another.
struct Sample {
    said: Arc<Snapshot>,
    tables: HostTables,
    netns: BTreeMap<PodId, u64>,
}

impl Sample {
    fn new(enforced: &str, said: &str) -> Self {
        let mut tables = HostTables::new(9, 1, 0);
        let mut netns = BTreeMap::new();
        for (id, plan) in &snapshot(enforced).pods {
            if plan.netns.is_none() {
                continue;
            }
            let cookie = 100 + netns.len() as u64;
            let policy = match &plan.enrolment {
                Enrolment::Enrolled(policy) => Some(Arc::clone(policy)),
                Enrolment::NotEnrolled(_) | Enrolment::Pending(_) => None,
            };
            let rules =
                policy.as_ref().map(|policy| policy.rules.rules().to_vec()).unwrap_or_default();
            let table = compile(&agent_model::egress::RuleSet::new(rules)).unwrap();
            let (addresses, inbound) = (plan.addresses.clone(), Inbound::default());
            let pod = tables::Pod { policy, addresses, proxy_port: None, inbound };
            tables.insert(cookie, &pod, &Arc::new(table));
            netns.insert(id.clone(), cookie);
        }
        Self { said: snapshot(said), tables, netns }
    }

    fn ask(&self, pod: &str, to: &str) -> Result<WhyAnswer, WhyError> {
        let Target::Address(to) = to.parse().unwrap() else { panic!("{to} is a name") };
        answer(self, &pod.parse().unwrap(), to)
    }
}

impl Answers for Sample {
    fn status(&self) -> Status {
        let pod = |id: &PodId| status::Pod {
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            enrolment: status::Enrolment::Enrolled,
            addresses: Vec::new(),
            netns: self.netns.get(id).copied(),
            default_action: None,
            rules: 0,
            proxied: 0,
            proxy_port: None,
            links: Vec::new(),
            hooks: Vec::new(),
            canary: None,
        };
        let pods = self.said.pods.keys().map(pod).collect();
        Status { node: "node-1".into(), pods, ..Status::default() }
    }

    fn judge(&self, flow: &Flow) -> Judgement {
        decide(&self.tables, flow)
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        Some(Arc::clone(&self.said))
    }
}

#[test]
fn the_live_maps_and_the_configuration_agree() {
    let config = format!("{CLUSTER}{ENTRY}");
    let sample = Sample::new(&config, &config);
    for (to, allowed, verdict) in [
        ("203.0.113.7:3306", true, Verdict::Direct),
        ("203.0.113.7:3307", false, Verdict::Deny),
        ("203.0.113.7:3306/udp", false, Verdict::Deny),
        ("203.0.113.8:3306", false, Verdict::Deny),
        ("127.0.0.1:80", true, Verdict::Direct),
    ] {
        let answer = sample.ask("shop/web", to).unwrap();
        let live = answer.live.unwrap();
        assert_eq!((answer.allowed, live.verdict), (allowed, verdict), "{to}");
        assert_eq!(live.generation, 9);
        assert_eq!(answer.difference, None, "{to}");
        let default = matches!(answer.explanation.decision, Decision::Default { .. });
        assert_eq!(answer.explanation.remedy.is_some(), default, "{to}");
    }
}

#[test]
fn a_configuration_that_is_not_in_force_is_told_and_the_kernel_is_right() {
    let sample = Sample::new(CLUSTER, &format!("{CLUSTER}{ENTRY}"));
    let answer = sample.ask("shop/web", "203.0.113.7:3306").unwrap();
    assert!(!answer.allowed);
    let difference = answer.difference.unwrap();
    assert!(
        difference.starts_with("the kernel says deny (no-rule) and the configuration says direct"),
        "{difference}"
    );
}

#[test]
fn a_pod_whose_namespace_is_not_known_is_answered_from_the_configuration() {
    let sample = Sample::new(CLUSTER, CLUSTER);
    let answer = sample.ask("late", "203.0.113.7:3306").unwrap();
    assert_eq!((answer.pod.as_str(), answer.live, answer.allowed), ("shop/late", None, false));
}

#[test]
fn a_pod_is_found_by_its_name_where_it_is_the_only_one() {
    let sample = Sample::new(CLUSTER, CLUSTER);
    let ambiguous = sample.ask("web", "203.0.113.7:3306").unwrap_err().to_string();
    assert!(ambiguous.contains("mail/web, shop/web"), "{ambiguous}");
    let missing = sample.ask("shop/nobody", "203.0.113.7:3306").unwrap_err().to_string();
    assert!(
        missing.contains("node-1 has no pod shop/nobody; it has mail/web, shop/late"),
        "{missing}"
    );
}

#[test]
fn a_question_survives_its_way_to_the_server() {
    for (pod, to) in [
        ("shop/web-0", "203.0.113.7:3306"),
        ("web.0", "[2001:db8::7]:53/udp"),
        ("web", "[::ffff:203.0.113.7]:1"),
        ("web", "db.example.com:3306/udp"),
    ] {
        let (pod, to): (PodRef, Target) = (pod.parse().unwrap(), to.parse().unwrap());
        let uri: axum::http::Uri = path(&pod, &to).parse().unwrap();
        let query = axum::extract::Query::<WhyQuery>::try_from_uri(&uri).unwrap();
        assert_eq!(query.words(), Some((pod, to)));
    }
}

#[test]
fn a_name_is_answered_address_by_address() {
    let config = format!("{CLUSTER}{ENTRY}");
    let sample = Sample::new(&config, &config);
    let ask = |name: &str, port: u16| {
        let (pod, port) = ("shop/web".parse().unwrap(), port.try_into().unwrap());
        answer_name(&sample, &pod, name, port, Protocol::Tcp)
    };
    let told = ask("db.example.com", 3306).unwrap();
    let found: Vec<_> =
        told.answers.iter().map(|one| (one.destination.as_str(), one.allowed)).collect();
    assert_eq!(found, [("203.0.113.7:3306/tcp", true)]);
    assert!(!ask("db.example.com", 3307).unwrap().answers[0].allowed);
    let unknown = ask("other.example.com", 3306).unwrap_err().to_string();
    assert!(unknown.contains("named by no object"), "{unknown}");
}

#[test]
fn a_long_list_is_cut() {
    let ids: Vec<PodId> =
        (0..12).map(|at| PodId { namespace: "n".into(), name: format!("p{at}") }).collect();
    assert!(list(ids.iter()).ends_with("n/p9 and 2 more"), "{}", list(ids.iter()));
    assert_eq!(list([].iter()), "none");
}
