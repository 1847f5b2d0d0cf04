//! Where requests, and server names of TLS, have to be read: a connection is carried as it is wherever
//! no object gives it something to do.

use std::net::IpAddr;

use super::{
    backend::{Backend, Target, Weighted},
    change::{HeaderChanges, Rewrite},
    host::Domain,
    outbound::{Listener, Outbound, StreamRoute},
    policy::{Balance, ClientPolicy, ClientTls, Limits},
    route::{Action, Fault, Forward, Retries, Route, VirtualHost},
};

/// What a connection's first bytes are to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing: the address decides, or nothing is declared there.
    Opaque,
    /// It is TLS, and server names are told apart there.
    Names {
        /// Whether some object has a say in where connections go or how; else all would go where they
        /// go anyway.
        needed: bool,
    },
    /// It is HTTP, and all requests would go where the connection goes anyway.
    Plain,
    /// It is HTTP, and some object has a say in where its requests go or how.
    Needed,
}

impl Outbound {
    /// What its first bytes are to a connection to this address and port.
    ///
    /// Where a host has the address as one of its names, the connection is for that host, and the
    /// others on the port don't count. Else it may be for any host that has no address.
    pub fn reading(&self, address: IpAddr, port: u16) -> Reading {
        let serving = self.serving(address, port);
        let Some(first) = serving.first() else { return Reading::Opaque };
        if first.tls.iter().any(|route| !route.names.is_empty()) {
            let mut all = first.tls.iter().chain(&first.tcp);
            return Reading::Names { needed: !all.all(|route| route.is_plain(address, port)) };
        }
        if !first.is_declared_http() {
            return Reading::Opaque;
        }
        let dialled = Domain::from(address);
        let hosts = || serving.iter().flat_map(|listener| &listener.hosts);
        let needs = match hosts().find(|host| host.domains.contains(&dialled)) {
            Some(own) => !own.is_plain(port),
            None => hosts().any(|host| !host.has_address() && !host.is_plain(port)),
        };
        if needs { Reading::Needed } else { Reading::Plain }
    }
}

impl Listener {
    fn is_declared_http(&self) -> bool {
        !self.hosts.is_empty() && self.tls.is_empty() && self.tcp.is_none()
    }
}

impl StreamRoute {
    /// Whether a connection to this address and port goes where it goes anyway, and as it is.
    pub fn is_plain(&self, address: IpAddr, port: u16) -> bool {
        let Self { names: _, to, idle: _ } = self;
        let [only] = &to[..] else { return false };
        only.plain_target().is_some_and(|to| to.is_at(address, port))
    }
}

impl VirtualHost {
    /// Whether every request goes, as it is, where a connection to this port goes anyway.
    fn is_plain(&self, port: u16) -> bool {
        let [only] = &self.routes[..] else { return false };
        only.plain_target().is_some_and(|to| {
            let own = self.domains.contains(&Domain::new(&to.service)) && to.port == port;
            own || to.is_where_dialled(port)
        })
    }

    fn has_address(&self) -> bool {
        self.domains.iter().any(|domain| domain.as_str().parse::<IpAddr>().is_ok())
    }
}

impl Route {
    /// Where it leads, if that is all that it says.
    fn plain_target(&self) -> Option<&Backend> {
        let Self { name: _, when, then, fault, mirrors, cors, headers } = self;
        let Action::Forward(forward) = then else { return None };
        let says_no_more = when.is_everything()
            && *fault == Fault::default()
            && mirrors.is_empty()
            && cors.is_none()
            && *headers == HeaderChanges::default();
        forward.plain_target().filter(|_| says_no_more)
    }
}

impl Forward {
    fn plain_target(&self) -> Option<&Backend> {
        let Self { to, rewrite, timeout, idle, retries } = self;
        let [only] = &to[..] else { return None };
        let says_no_more = *rewrite == Rewrite::default()
            && timeout.is_none()
            && idle.is_none()
            && *retries == Some(Retries::usual());
        only.plain_target().filter(|_| says_no_more)
    }
}

impl Weighted {
    fn plain_target(&self) -> Option<&Backend> {
        let Self { weight: _, target, headers, answer_within } = self;
        let Target::Backend(backend) = target else { return None };
        let is_usual = backend.subset.is_none() && backend.policy.is_usual();
        let says_no_more = *headers == HeaderChanges::default() && answer_within.is_none();
        (is_usual && says_no_more).then_some(&**backend)
    }
}

impl ClientPolicy {
    /// Whether a connection that the kernel makes is dialled alike. What TLS of the mesh is spoken is
    /// told by the endpoints.
    fn is_usual(&self) -> bool {
        let Self {
            balance,
            locality,
            warmup,
            limits,
            ejection,
            tls,
            tunnel,
            proxy_protocol,
            retry_budget,
        } = self;
        *balance == Balance::default()
            && locality.is_none()
            && warmup.is_none()
            && *limits == Limits::none(limits.connect_timeout)
            && ejection.is_none()
            && !matches!(tls, ClientTls::Own(_))
            && tunnel.is_none()
            && proxy_protocol.is_none()
            && retry_budget.is_none()
    }
}
