//! What left on disk, each of it a line of JSON in a sealed file.

use std::{io, num::NonZeroU16, path::Path, sync::Arc, time::Duration};

use agent_base::sealed::{Seal, SealError};
use agent_model::{
    egress::{Action, Class, Protocol, Rule, RuleSource},
    registry::{Authority, Exposure, Likeness, Service, ServicePort, departed::Left},
    resource::{Kind, ObjectKey},
};
use serde::{Deserialize, Serialize};

const SEAL: Seal = Seal { format: "sekisho-departed", version: 1 };

/// What left of one object at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    kind: String,
    namespace: String,
    name: String,
    hosts: Vec<String>,
    exposure: Seen,
    listed: bool,
    ports: Vec<Port>,
    /// By the machine's time since it was started.
    until: Duration,
}

/// Who may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Seen {
    /// As the mesh says.
    Default,
    /// Everybody.
    All,
    /// Some namespaces.
    Only { own: bool, named: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Port {
    number: u16,
    field: String,
    host: Option<String>,
    rules: Vec<One>,
}

/// What a connection is held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct One {
    udp: bool,
    cidr: String,
    port: Option<NonZeroU16>,
}

/// Reads the file; nothing when there is none.
pub(super) fn read(path: &Path, node: &str) -> Result<Vec<Line>, SealError> {
    SEAL.read_lines(path, node)
}

/// Writes the file whole.
pub(super) fn write(path: &Path, node: &str, lines: &[Line]) -> io::Result<()> {
    SEAL.write_lines(path, node, lines)
}

impl Line {
    pub(super) fn of(left: &Left) -> Self {
        let Left { service, listed, until } = left;
        let ObjectKey { kind, namespace, name } = &service.key;
        let port = |port: &ServicePort| Port {
            number: port.number,
            field: port.source.field.to_string(),
            host: port.source.host.clone(),
            rules: port.outlived.iter().map(One::of).collect(),
        };
        Self {
            kind: kind.shown().to_owned(),
            namespace: namespace.to_string(),
            name: name.to_string(),
            hosts: service.hosts.clone(),
            exposure: match &service.exposure {
                None => Seen::Default,
                Some(Exposure::All) => Seen::All,
                Some(Exposure::Only { own, named }) => {
                    Seen::Only { own: *own, named: named.iter().cloned().collect() }
                }
            },
            listed: *listed,
            ports: service.ports.iter().map(port).collect(),
            until: *until,
        }
    }

    /// As it was, as far as open connections go by it; `None` for what this agent does not know.
    pub(super) fn left(self) -> Option<Left> {
        let Self { kind, namespace, name, hosts, exposure, listed, ports, until } = self;
        let kind = *Kind::ALL.iter().find(|one| one.shown() == kind)?;
        let key = ObjectKey::new(kind, namespace, name);
        let ports = ports.into_iter().map(|port| port.read(&key)).collect::<Option<_>>()?;
        let service = Service {
            created: 0,
            hosts,
            authority: if listed { Authority::Declared } else { Authority::Cluster },
            exposure: match exposure {
                Seen::Default => None,
                Seen::All => Some(Exposure::All),
                Seen::Only { own, named } => {
                    Some(Exposure::Only { own, named: named.into_iter().collect() })
                }
            },
            alias: None,
            addresses: Box::default(),
            external: false,
            headless: false,
            resolves_hosts: false,
            certificate_names: Box::default(),
            names: Box::default(),
            likeness: Likeness::default(),
            ports,
            findings: Vec::new(),
            key,
        };
        Some(Left { service: Arc::new(service), listed, until })
    }
}

impl Port {
    fn read(self, key: &ObjectKey) -> Option<ServicePort> {
        let Self { number, field, host, rules } = self;
        let source = Arc::new(RuleSource {
            kind: key.kind.shown(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            field: field.into(),
            host,
        });
        let rules = rules.into_iter().map(|one| one.read(&source)).collect::<Option<_>>()?;
        Some(ServicePort {
            number,
            source,
            rules: Box::default(),
            outlived: rules,
            protocol: None,
            name: "".into(),
            steered: false,
            endpoints: None,
        })
    }
}

impl One {
    fn of(rule: &Rule) -> Self {
        let Rule { class: _, protocol, cidr, port, action: _, age: _, source: _ } = rule;
        Self { udp: *protocol == Protocol::Udp, cidr: cidr.to_string(), port: *port }
    }

    fn read(self, source: &Arc<RuleSource>) -> Option<Rule> {
        let Self { udp, cidr, port } = self;
        Some(Rule {
            class: Class::Registered,
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            cidr: cidr.parse().ok()?,
            port,
            // A connection that stays is carried on as it was.
            action: Action::Direct,
            age: 0,
            source: Arc::clone(source),
        })
    }
}
