//! A cluster in a string.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use agent_model::{
    finding::{Finding, Severity},
    names::{Answer, Trouble},
    pod::PodId,
    resource::{self, ObjectKey, Objects, Refused, validate},
    snapshot::Snapshot,
    translate::{Exclusions, Interner, NodeContext, RuntimeOnlyPod, UnknownPods, translate},
};
use serde::Deserialize;

/// What a manifest stream holds.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) objects: Objects,
    pub(crate) node: NodeContext,
    /// What is refused, as text.
    pub(crate) refused: Vec<String>,
    /// What reading and checking found.
    pub(crate) findings: Vec<Finding>,
    /// The pods whose models are shown.
    #[allow(dead_code, reason = "one of the tests that share this shows models")]
    pub(crate) show: Vec<PodId>,
}

/// The document that describes the node.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TestNode {
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    resolvers: BTreeMap<String, Vec<IpAddr>>,
    #[serde(default)]
    own_resolvers: Vec<IpAddr>,
    admin: Option<std::net::SocketAddr>,
    #[serde(default)]
    ignore_exclusions: bool,
    #[serde(default)]
    hold_unknown_pods: bool,
    #[serde(default)]
    runtime_only: Vec<TestRuntimePod>,
    /// The pods whose models are shown.
    #[serde(default)]
    show: Vec<String>,
    #[serde(default)]
    answers: BTreeMap<String, TestAnswer>,
}

/// A pod that only the runtime knows.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TestRuntimePod {
    namespace: String,
    name: String,
    uid: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    addresses: Vec<IpAddr>,
    host_network: bool,
}

/// What a name resolves to.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TestAnswer {
    current: Vec<IpAddr>,
    lingering: Vec<IpAddr>,
    former: Vec<IpAddr>,
    too_many: Option<usize>,
}

impl Cluster {
    pub(crate) fn read(text: &str) -> Self {
        let mut cluster = Self {
            objects: Objects::default(),
            node: NodeContext::new("node-1"),
            refused: Vec::new(),
            findings: Vec::new(),
            show: Vec::new(),
        };
        for document in resource::documents(text) {
            let value = document.value.expect("the input is YAML");
            if value["kind"] == "TestNode" {
                cluster.describe_node(serde_json::from_value(value).expect("a TestNode"));
                continue;
            }
            for parsed in resource::parse(value) {
                cluster.take(parsed);
            }
        }
        cluster
    }

    fn describe_node(&mut self, node: TestNode) {
        let id = |pod: &str| {
            let (namespace, name) = pod.split_once('/').expect("namespace/name");
            PodId { namespace: namespace.to_owned(), name: name.to_owned() }
        };
        let pods = node.resolvers.into_iter().map(|(pod, servers)| (id(&pod), servers));
        self.node.resolvers = pods.collect();
        self.node.own_resolvers = node.own_resolvers;
        self.show = node.show.iter().map(|pod| id(pod)).collect();
        self.node.admin = node.admin;
        let answers = node.answers.into_iter().map(|(name, one)| {
            let TestAnswer { current, lingering, former, too_many } = one;
            let unresolved = current.is_empty().then_some(Trouble::Unresolved);
            let trouble = too_many.map(|found| Trouble::TooMany { found }).or(unresolved);
            (name.into(), Arc::new(Answer { current, lingering, former, trouble }))
        });
        self.node.answers = Arc::new(answers.collect());
        if node.ignore_exclusions {
            self.node.exclusions = Exclusions::Ignore;
        }
        let runtime_only = node.runtime_only.into_iter().map(|one| {
            let TestRuntimePod {
                namespace,
                name,
                uid,
                labels,
                annotations,
                addresses,
                host_network,
            } = one;
            RuntimeOnlyPod { namespace, name, uid, labels, annotations, addresses, host_network }
        });
        self.node.runtime_only = runtime_only.collect();
        if node.hold_unknown_pods {
            self.node.unknown = UnknownPods::Hold;
        }
    }

    fn take(&mut self, parsed: Result<resource::Parsed, resource::ResourceError>) {
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                let key = error.key().cloned().map(Arc::new);
                if let (Some(key), Some(refused)) = (key, error.refused()) {
                    self.refuse(&key, Some(Arc::clone(refused)));
                }
                return self.refused.push(error.to_string());
            }
        };
        self.findings.extend(parsed.findings);
        let Some(object) = parsed.object else { return };
        let findings = validate(&object);
        let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
        if refused {
            self.refused.push(object.key().to_string());
            let rest = Refused::of(&object, &findings).map(Arc::new);
            self.refuse(&Arc::new(object.key()), rest);
        } else {
            self.objects.refuse(&Arc::new(object.key()), None);
            self.objects.insert(object);
        }
        self.findings.extend(findings);
    }

    /// As the store does: the last good form stays.
    fn refuse(&mut self, key: &Arc<ObjectKey>, refused: Option<Arc<Refused>>) {
        if self.objects.get(key).is_none() {
            self.objects.refuse(key, refused);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        translate(&self.objects, &self.node, &mut Interner::default())
    }
}
