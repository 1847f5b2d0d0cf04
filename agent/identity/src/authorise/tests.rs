use super::*;

struct Cluster {
    listed: bool,
    pods: Vec<Pod>,
}

impl Pods for Cluster {
    fn are_listed(&self) -> bool {
        self.listed
    }

    fn named(&self, namespace: &str, name: &str) -> Option<Pod> {
        self.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name).cloned()
    }

    fn any(&self, node: &str, namespace: &str, account: &str, is: &dyn Fn(&Pod) -> bool) -> bool {
        let of = |pod: &&Pod| {
            pod.node == node && pod.namespace == namespace && pod.service_account == account
        };
        self.pods.iter().filter(of).any(is)
    }
}

fn pod(namespace: &str, name: &str, account: &str, node: &str) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        service_account: account.to_owned(),
        node: node.to_owned(),
        host_network: false,
        phase: Phase::Running,
        deleted: None,
    }
}

fn cluster() -> Cluster {
    Cluster {
        listed: true,
        pods: vec![
            pod("sekisho-system", "agent-a", "sekisho-agent", "a"),
            pod("sekisho-system", "agent-b", "sekisho-agent", "b"),
            pod("shop", "web-0", "web", "a"),
            pod("shop", "cart-0", "cart", "b"),
        ],
    }
}

fn review() -> Review {
    Review {
        authenticated: true,
        audiences: vec!["sekisho-ca".to_owned()],
        user: "system:serviceaccount:sekisho-system:sekisho-agent".to_owned(),
        pod_name: Some("agent-a".to_owned()),
        pod_uid: Some("uid-of-agent-a".to_owned()),
        node_name: Some("a".to_owned()),
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn ask(cluster: &Cluster, review: &Review, id: &str) -> Result<String, Denied> {
    let rules = Rules {
        audience: "sekisho-ca".to_owned(),
        trust_domain: "cluster.local".parse().unwrap(),
        agents: vec![("sekisho-system".to_owned(), "sekisho-agent".to_owned())],
    };
    authorise(&rules, review, &id.parse().unwrap(), cluster, now())
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

#[test]
fn an_agent_gets_what_has_a_pod_on_its_node_and_nothing_else() {
    assert_eq!(ask(&cluster(), &review(), WEB).as_deref(), Ok("a"));
    for id in [
        "spiffe://cluster.local/ns/shop/sa/cart",
        "spiffe://cluster.local/ns/shop/sa/none",
        "spiffe://cluster.local/ns/other/sa/web",
    ] {
        assert!(matches!(ask(&cluster(), &review(), id), Err(Denied::NoPod { .. })), "{id}");
    }
    let foreign = ask(&cluster(), &review(), "spiffe://other/ns/shop/sa/web");
    assert!(matches!(foreign, Err(Denied::Foreign(_))), "{foreign:?}");
}

#[test]
fn a_token_that_is_not_the_agents_own_is_refused() {
    type Change = fn(&mut Review);
    let changes: [(&str, Change); 11] = [
        ("not authenticated", |it| it.authenticated = false),
        ("of an expired token nothing is said", |it| *it = Review::default()),
        ("another audience", |it| it.audiences = vec!["https://kubernetes.default.svc".into()]),
        ("no audience", |it| it.audiences.clear()),
        ("an application's", |it| it.user = "system:serviceaccount:shop:web".into()),
        ("another namespace", |it| it.user = "system:serviceaccount:shop:sekisho-agent".into()),
        ("a person's", |it| it.user = "admin".into()),
        ("no pod", |it| it.pod_name = None),
        ("no uid", |it| it.pod_uid = Some(String::new())),
        ("an earlier pod of the name", |it| it.pod_uid = Some("uid-of-earlier".into())),
        ("another node", |it| it.node_name = Some("b".into())),
    ];
    for (what, change) in changes {
        let mut other = review();
        change(&mut other);
        let denied = ask(&cluster(), &other, WEB).unwrap_err();
        assert!(!denied.may_pass(), "{what}: {denied}");
    }
    let mut old = review();
    old.node_name = None;
    assert_eq!(ask(&cluster(), &old, WEB).as_deref(), Ok("a"), "before Kubernetes 1.32");
}

#[test]
fn nothing_is_signed_before_all_pods_are_known() {
    let mut starting = cluster();
    starting.listed = false;
    assert_eq!(ask(&starting, &review(), WEB), Err(Denied::NotListed));
    let mut late = cluster();
    late.pods.remove(0);
    let denied = ask(&late, &review(), WEB).unwrap_err();
    assert!(denied.may_pass(), "{denied}");
    let mut unscheduled = cluster();
    unscheduled.pods[0].node.clear();
    assert!(ask(&unscheduled, &review(), WEB).unwrap_err().may_pass());
}

#[test]
fn a_pod_on_the_hosts_network_or_one_that_ended_claims_no_identity() {
    type Change = fn(&mut Pod);
    let ago = |seconds| now() - SignedDuration::from_secs(seconds);
    let check = |change: &dyn Fn(&mut Pod)| {
        let mut changed = cluster();
        change(&mut changed.pods[2]);
        ask(&changed, &review(), WEB).is_ok()
    };
    let denied: [Change; 3] =
        [|pod| pod.host_network = true, |pod| pod.phase = Phase::Other, |pod| pod.node.clear()];
    for change in denied {
        assert!(!check(&change));
    }
    assert!(check(&|pod| pod.phase = Phase::Pending));
    assert!(check(&|pod| pod.deleted = Some(ago(30))));
    assert!(!check(&|pod| pod.deleted = Some(ago(31))));
    // One that counts is enough beside one that does not.
    let mut both = cluster();
    let mut host = pod("shop", "web-host", "web", "a");
    host.host_network = true;
    both.pods.insert(0, host);
    assert!(ask(&both, &review(), WEB).is_ok());
}
