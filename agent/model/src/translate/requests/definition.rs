//! What one host is to a client, and what that follows from. It is kept for as long as all of that
//! stays the same, and it is the same for all clients for which that is the same.

use std::{collections::BTreeSet, sync::Arc};

use hashbrown::HashMap;
use ipnet::IpNet;

use super::{
    super::workloads::Labels, Client, RequestModel, reads::Read, virtual_service::Routes,
    visible::VisibleHost,
};
use crate::{
    requests::{
        backend::{Members, Target},
        host::Domain,
        outbound::StreamRoute,
        route::VirtualHost,
    },
    resource::Kind,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Definition {
    subject: Subject,
    client: Who,
    reads: Box<[Read]>,
    pub(super) pieces: Box<[Piece]>,
}

/// What is defined.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// A host that the client sees, its other names, and the object that routes it.
    Host { seen: Arc<VisibleHost>, aliases: Vec<Arc<VisibleHost>>, routes: Option<Arc<Routes>> },
    /// Names that an object routes and nothing declares.
    Undeclared { routes: Arc<Routes>, domains: BTreeSet<Domain> },
}

/// What of the client a definition follows from, besides what it reads: nothing, its namespace, or its
/// labels too.
type Who = Option<(String, Labels)>;

/// What a definition adds to a port.
#[derive(Debug)]
pub(super) struct Piece {
    /// The port that is dialled.
    pub(super) port: u16,
    /// What is dialled; none is any address.
    pub(super) nets: Vec<IpNet>,
    pub(super) what: What,
}

/// See [`Piece`].
#[derive(Debug)]
pub(super) enum What {
    /// Requests, by their host.
    ByHost(Arc<VirtualHost>),
    /// Requests for any host, where nothing else is served.
    AnyHost(Arc<VirtualHost>),
    /// TLS that is not ended here.
    Tls(Arc<StreamRoute>),
    /// Bytes.
    Tcp(Arc<StreamRoute>),
}

/// Those of the same client that were made last, by what they are about, where destinations are made
/// from the same as then.
pub(super) type Last<'a> = HashMap<usize, &'a Arc<Definition>>;

impl Definition {
    pub(super) fn about(&self) -> usize {
        self.subject.address()
    }
}

impl RequestModel {
    /// What a subject is to a client: a known definition, else the pieces that are made of it.
    pub(super) fn definition(
        &self,
        client: &Client,
        subject: Subject,
        last: &Last<'_>,
        make: impl FnOnce(&Subject) -> Vec<Piece>,
    ) -> Arc<Definition> {
        let who = subject.follows_from(client);
        let is_still = |one: &&&Arc<Definition>| {
            let is_host = |read: &&Read| matches!(read, Read::Host(_) | Read::NoHost(_));
            let mut hosts = one.reads.iter().filter(is_host);
            one.client == who
                && one.subject.is_same(&subject)
                && hosts.all(|read| self.still_reads(client, read))
        };
        if let Some(known) = last.get(&subject.address()).filter(is_still) {
            return Arc::clone(known);
        }
        let pool = &self.views.shared.definitions;
        let is_it = |(): &(), one: &Definition| {
            one.client == who
                && one.subject.is_same(&subject)
                && one.reads.iter().all(|read| self.still_reads(client, read))
        };
        if let Some(known) = pool.find(subject.address(), is_it) {
            return known;
        }
        let (pieces, reads) = client.noting(|| make(&subject));
        let about = subject.address();
        let (pieces, reads) = (pieces.into(), reads.into());
        let defined = Arc::new(Definition { subject, client: who, reads, pieces });
        pool.put(about, (), &defined);
        defined
    }

    /// Whether a client would read the same now.
    fn still_reads(&self, client: &Client, read: &Read) -> bool {
        match read {
            Read::Host(host) => {
                client.reachable.get(&*host.host).is_some_and(|now| Arc::ptr_eq(now, host))
            }
            Read::NoHost(host) => !client.reachable.contains_key(host.as_str()),
            Read::Backend(backend) => {
                let Members::OfPort { port, .. } = &backend.members else { return false };
                match self.backend(client, port, backend.subset.as_deref()) {
                    Target::Backend(now) => Arc::ptr_eq(&now, backend),
                    Target::Missing(_) => false,
                }
            }
            Read::NoSubset(port, subset) => {
                matches!(self.backend(client, port, Some(subset)), Target::Missing(_))
            }
        }
    }
}

impl Subject {
    /// Where what it is about is, which it holds.
    fn address(&self) -> usize {
        match self {
            Self::Host { seen, .. } => Arc::as_ptr(seen).addr(),
            Self::Undeclared { routes, .. } => Arc::as_ptr(routes).addr(),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Host { seen, aliases, routes },
                Self::Host { seen: other, aliases: names, routes: others },
            ) => {
                let same_routes = match (routes, others) {
                    (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                    (None, None) => true,
                    _ => false,
                };
                let mut both = aliases.iter().zip(names);
                Arc::ptr_eq(seen, other)
                    && aliases.len() == names.len()
                    && both.all(|(one, other)| Arc::ptr_eq(one, other))
                    && same_routes
            }
            (
                Self::Undeclared { routes, domains },
                Self::Undeclared { routes: others, domains: names },
            ) => Arc::ptr_eq(routes, others) && domains == names,
            _ => false,
        }
    }

    /// Routes may be for some clients. Else the namespace counts only where the host is a Service of
    /// that namespace, which has a short name there.
    fn follows_from(&self, client: &Client) -> Who {
        let (routes, hosts): (_, Vec<&Arc<VisibleHost>>) = match self {
            Self::Host { seen, aliases, routes } => {
                (routes.as_ref(), [seen].into_iter().chain(aliases).collect())
            }
            Self::Undeclared { routes, .. } => (Some(routes), Vec::new()),
        };
        if routes.is_some_and(|routes| routes.asks_for_clients) {
            return Some((client.namespace.clone(), client.labels.clone()));
        }
        let ports = hosts.iter().flat_map(|host| host.ports.iter().map(|port| &port.service));
        let mut services = ports.chain(hosts.iter().map(|host| &host.holder));
        let is_own = services.any(|one| {
            one.key.kind == Kind::Service && one.key.namespace.as_str() == client.namespace
        });
        is_own.then(|| (client.namespace.clone(), Labels::default()))
    }
}
