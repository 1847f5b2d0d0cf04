//! What is declared, who may see it, and what of it one client sees.
//!
//! A [`Service`] is what one object declares: names, addresses, ports with their protocols and
//! endpoints, and the rules that are folded from them. The listeners of requests are folded from the
//! same. A [`Scope`] is a client's point of view: its namespace and its filter.
//! [`Registry::select`] brings the two together; translation, requests and `why` all ask it, so what
//! is explained is what is done.

pub mod departed;
mod scope;
mod select;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    egress::{Action, Protocol, ProxyDuty, Rule, RuleSource},
    endpoints::Endpoints,
    finding::Finding,
    pod::PodId,
    resource::{
        ObjectKey, Pairs, Short,
        protocol::{AppProtocol, Family},
    },
};

pub use scope::{Filter, HostPattern, List, Listener, NamespacePattern, Scope, Visibility};
pub use select::{Hidden, Ports, Selected, Shown};

/// What one object declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The object.
    pub key: ObjectKey,
    /// When it was created, in seconds since 1970; 0 where that is not known.
    pub created: u32,
    /// Its names, in lower case.
    pub hosts: Vec<String>,
    /// Who vouches for it.
    pub authority: Authority,
    /// Who may see it; `None` is whatever the mesh says.
    pub exposure: Option<Exposure>,
    /// The host that this one is only another name of.
    pub alias: Option<String>,
    /// What it is dialled at; none for one that is reached by its name, or at its endpoints.
    pub addresses: Box<[IpNet]>,
    /// Whether it is outside the mesh, so that no identity is expected of it.
    pub external: bool,
    /// Whether its endpoints are dialled themselves.
    pub headless: bool,
    /// Whether it is at what its own hosts resolve to, each host for itself.
    pub resolves_hosts: bool,
    /// Names that the server's certificate may carry.
    pub certificate_names: Box<[String]>,
    /// The names that its rules follow from, as [`crate::names::Answers`] has them.
    pub names: Box<[Arc<str>]>,
    /// What must be equal for two services of one host to be taken together.
    pub likeness: Likeness,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// What in it could not be honoured.
    pub findings: Vec<Finding>,
}

/// Who vouches for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Authority {
    /// The cluster itself: no object may claim its names, and nothing is taken together with it.
    Cluster,
    /// An object that every user with write access to a namespace may create.
    Declared,
}

/// See [`Service::likeness`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Likeness {
    /// How endpoints are found; empty for what the cluster itself vouches for.
    pub resolution: &'static str,
    /// The object's labels, sorted.
    pub labels: Pairs,
    /// The labels that it selects endpoints by.
    pub selector: BTreeMap<String, String>,
}

/// Who may see a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Exposure {
    /// Everybody.
    All,
    /// Some namespaces; none when it is not exported.
    Only {
        /// The service's own.
        own: bool,
        /// Others, by name.
        named: BTreeSet<String>,
    },
}

impl Exposure {
    /// Whether clients of a namespace see what lives in another.
    pub fn includes(&self, client: &str, owner: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only { own, named } => (*own && client == owner) || named.contains(client),
        }
    }
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The number that clients dial.
    pub number: u16,
    /// Where its rules say that they come from.
    pub source: Arc<RuleSource>,
    /// Its rules; none for what cannot be honoured.
    pub rules: Box<[Rule]>,
    /// Rules that new connections are not allowed by, while open ones go on: what its names led to
    /// once, and its endpoints that are not ready.
    pub outlived: Box<[Rule]>,
    /// What is spoken on it; `None` for what is not supported.
    pub protocol: Option<AppProtocol>,
    /// Its name, by which endpoints say what they serve it on.
    pub name: Short,
    /// Whether an object gives the proxy something to do for its connections.
    pub steered: bool,
    /// Where it is; `None` is at the endpoints of the Kubernetes Service, which the reader of them
    /// looks up: a large cluster has a hundred thousand.
    pub endpoints: Option<Endpoints>,
}

impl ServicePort {
    /// The number, which is not zero.
    pub fn dialled(&self) -> NonZeroU16 {
        NonZeroU16::new(self.number).expect("a port is read only with a number")
    }

    /// Whether connections are made to it, and not only datagrams sent.
    pub fn is_stream(&self) -> bool {
        self.protocol.is_some_and(|protocol| protocol != AppProtocol::Udp)
    }

    /// Where the proxy carries its connections, if some rule sends them to the proxy and not to
    /// where they were dialled.
    pub fn redirect(&self) -> Option<&Endpoints> {
        let endpoints = self.endpoints.as_ref()?;
        let stays = matches!(endpoints, Endpoints::Dialled { port, .. } if *port == self.dialled());
        (self.is_proxied() && !stays).then_some(endpoints)
    }

    fn is_proxied(&self) -> bool {
        self.rules.iter().any(|rule| rule.action != Action::Direct)
    }

    fn is_outlived(&self) -> bool {
        !self.outlived.is_empty()
    }
}

impl Service {
    /// Whether connections to one of its ports are carried to another address or port than is dialled.
    pub fn leads_elsewhere(&self, port: &ServicePort) -> bool {
        let dialled = port.dialled();
        match &port.endpoints {
            None => false,
            Some(Endpoints::Dialled { port, .. }) => *port != dialled,
            Some(Endpoints::AsRequested { .. }) => true,
            // Clients resolve the name themselves.
            Some(named @ Endpoints::Named { .. }) => {
                !(self.addresses.is_empty() && named.keeps(dialled))
            }
            Some(listed @ Endpoints::Listed(_)) => {
                let is_just = |cidr: &IpNet| listed.is_just(*cidr, dialled);
                self.addresses.is_empty() || !self.addresses.iter().all(is_just)
            }
        }
    }
}

/// Why the connections that a rule is for are proxied or go out directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathReason {
    /// Proxied: an object has a say in where they go or how.
    Steered,
    /// Proxied: only a name (Host or server name) may let them out, or lead them.
    ByName,
    /// Proxied: they are carried to another address or port than is dialled.
    Redirected,
    /// Proxied: all of the pod's requests are read.
    ReadsAll,
    /// Direct: no object gives the proxy something to do for them.
    AsDialled,
    /// Direct: datagrams are never proxied.
    Datagrams,
}

impl PathReason {
    fn of(rule: &Rule, service: &Service, port: &ServicePort) -> Self {
        let of_tls = port.protocol.map(AppProtocol::family) == Some(Family::Tls);
        match rule.action {
            Action::Direct if rule.protocol == Protocol::Udp => Self::Datagrams,
            Action::Direct => Self::AsDialled,
            Action::Proxy(ProxyDuty::NameRequired) => Self::ByName,
            Action::Proxy(_) if service.leads_elsewhere(port) => Self::Redirected,
            Action::Proxy(_) if port.steered => Self::Steered,
            Action::Proxy(_) if of_tls => Self::ByName,
            Action::Proxy(_) => Self::ReadsAll,
        }
    }

    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Steered => "an object has a say in where it goes or how",
            Self::ByName => "its name decides (Host or SNI)",
            Self::Redirected => "it is carried to another address or port than is dialled",
            Self::ReadsAll => "all of the pod's requests are read",
            Self::AsDialled => "no object gives the proxy something to do for it",
            Self::Datagrams => "datagrams are never proxied",
        }
    }
}

/// All services, and the point of view of each pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// In order of precedence: the cluster's own first, then the oldest.
    services: Vec<Arc<Service>>,
    /// What only those see who list it.
    listed: Vec<Arc<Service>>,
    /// Hosts that several services name, with those services in order.
    contested: BTreeMap<String, Vec<usize>>,
    default_exposure: Exposure,
    scopes: BTreeMap<PodId, Arc<Scope>>,
    /// Where the services are that have rules for open connections alone.
    outlived: Vec<usize>,
    /// What is exempt for every pod because the cluster itself says so: its resolver.
    exempt: Vec<Rule>,
    /// The same for open connections alone.
    exempt_outlived: Vec<Rule>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(Vec::new(), Exposure::All)
    }
}

impl Registry {
    /// A registry of services; `default_exposure` is for those that do not say.
    pub fn new(mut services: Vec<Arc<Service>>, default_exposure: Exposure) -> Self {
        services.sort_by(|one, other| precedence(one).cmp(&precedence(other)));
        Self::in_order(services, default_exposure, (true, true))
    }

    /// The same of services that are in order of precedence. What the caller knows not to be
    /// there is not looked for: a host that several name, and rules for open connections alone.
    pub(crate) fn in_order(
        services: Vec<Arc<Service>>,
        default_exposure: Exposure,
        (may_be_contested, may_be_outlived): (bool, bool),
    ) -> Self {
        let contested = if may_be_contested { contested(&services) } else { BTreeMap::default() };
        let outlived = if may_be_outlived {
            let all = services.iter().enumerate();
            let outlived = all.filter(|(_, one)| one.ports.iter().any(ServicePort::is_outlived));
            outlived.map(|(at, _)| at).collect()
        } else {
            Vec::new()
        };
        let (listed, scopes, exempt) = (Vec::new(), BTreeMap::new(), Vec::new());
        let exempt_outlived = Vec::new();
        Self {
            services,
            listed,
            contested,
            default_exposure,
            scopes,
            outlived,
            exempt,
            exempt_outlived,
        }
    }

    /// Adds what is exempt for every pod because the cluster says so, and what of it holds for open
    /// connections alone.
    #[must_use]
    pub(crate) fn with_exempt(mut self, exempt: Vec<Rule>, outlived: Vec<Rule>) -> Self {
        (self.exempt, self.exempt_outlived) = (exempt, outlived);
        self
    }

    /// Adds services that only those see who list them.
    #[must_use]
    pub fn with_listed(mut self, mut listed: Vec<Arc<Service>>) -> Self {
        listed.sort_by(|one, other| precedence(one).cmp(&precedence(other)));
        self.listed = listed;
        self
    }

    /// Notes the point of view of a pod.
    pub fn place(&mut self, pod: PodId, scope: Arc<Scope>) {
        self.scopes.insert(pod, scope);
    }

    /// What only those see who list it, in order of precedence.
    pub fn listed(&self) -> &[Arc<Service>] {
        &self.listed
    }

    /// All services that may be exported, in order of precedence.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// Rules that hold for open connections alone, as a client sees them: names have moved on and
    /// endpoints are not ready, and what declares them is still there.
    pub fn outlived(&self, scope: &Scope) -> Vec<Rule> {
        let exported = self.outlived.iter().map(|at| &self.services[*at]);
        let (exported, listed) = match scope.list() {
            None => (Some(exported), None),
            Some(_) => (None, Some(&self.listed)),
        };
        let seen = exported.into_iter().flatten().chain(listed.into_iter().flatten());
        let rules = seen.flat_map(|service| self.kept(service, scope));
        rules.chain(&self.exempt_outlived).cloned().collect()
    }

    /// The rules for open connections alone of the ports of a service that a client sees.
    fn kept<'a>(&'a self, service: &'a Service, scope: &Scope) -> impl Iterator<Item = &'a Rule> {
        let ports = service.ports.iter().enumerate().filter(|(_, port)| port.is_outlived());
        let seen = ports.filter(|(at, _)| self.hidden(service, *at, scope).is_none());
        seen.flat_map(|(_, port)| &port.outlived)
    }

    /// The port whose rules come from a source, and its service.
    pub fn port_of(&self, source: &RuleSource) -> Option<(&Arc<Service>, &ServicePort)> {
        let all = self.services.iter().chain(&self.listed);
        let mut ports = all.flat_map(|one| one.ports.iter().map(move |port| (one, port)));
        ports.find(|(_, port)| *port.source == *source)
    }

    /// Why connections that a rule lets out go by the proxy or not; nothing for what is no port's.
    pub fn reason(&self, rule: &Rule) -> Option<PathReason> {
        self.port_of(&rule.source).map(|(service, port)| PathReason::of(rule, service, port))
    }

    /// The same for many rules.
    pub fn reasons<'a>(&self, rules: &'a [Rule]) -> Vec<(&'a Rule, Option<PathReason>)> {
        let all = self.services.iter().chain(&self.listed);
        let ports =
            all.flat_map(|one| one.ports.iter().map(move |port| (&*port.source, (one, port))));
        let ports: BTreeMap<&RuleSource, _> = ports.collect();
        let reason = |rule: &Rule| {
            ports.get(&*rule.source).map(|(service, port)| PathReason::of(rule, service, port))
        };
        rules.iter().map(|rule| (rule, reason(rule))).collect()
    }

    /// The points of view of the pods that are enrolled.
    pub fn scopes(&self) -> impl Iterator<Item = (&PodId, &Arc<Scope>)> {
        self.scopes.iter()
    }

    /// The point of view of a pod that is enrolled.
    pub fn scope(&self, pod: &PodId) -> Option<&Arc<Scope>> {
        self.scopes.get(pod)
    }
}

/// Ties of age go by name and then namespace, as in Istio.
pub(crate) fn precedence(service: &Service) -> (Authority, u32, &str, &str) {
    let ObjectKey { name, namespace, .. } = &service.key;
    (service.authority, service.created, name, namespace)
}

fn contested(services: &[Arc<Service>]) -> BTreeMap<String, Vec<usize>> {
    let mut first = hashbrown::HashMap::with_capacity(services.len());
    let mut contested: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        for host in &service.hosts {
            let holder = *first.entry(host.as_str()).or_insert(index);
            if holder != index {
                let members = contested.entry(host.clone()).or_insert_with(|| vec![holder]);
                if members.last() != Some(&index) {
                    members.push(index);
                }
            }
        }
    }
    contested
}
