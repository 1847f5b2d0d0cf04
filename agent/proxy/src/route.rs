//! Where a connection goes, and in which protocol. Pure.
//!
//! A [`Protocol`] is chosen here from what the port declares, and `connection` treats the bytes as it
//! demands. Nothing is read before the choice: a port that is declared as TCP must not wait for the
//! client (the server may speak first).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use agent_model::{
    egress::{DefaultAction, ProxyDuty},
    endpoints::{Endpoint, Endpoints, NamedEndpoint},
    requests::{
        Decided, Reading, Sent,
        outbound::{Outbound, StreamRoute},
    },
};

use crate::{Failure, Origin, Ruling, UpstreamAddr, share::by_share};

/// How the bytes of a connection are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Carried as they are.
    Opaque,
    /// HTTP, request by request.
    Http,
    /// TLS that is carried as it is, by the server name that it asks for.
    Tls,
}

impl Protocol {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Http => "http",
            Self::Tls => "tls",
        }
    }
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: UpstreamAddr,
    /// Only an audit lets it pass.
    pub(crate) would_deny: bool,
}

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead<'a> {
    /// Where its rule says.
    Dialled(Route),
    /// To one of the destinations of a route.
    Routed(&'a StreamRoute),
}

/// What is known of a connection before anything is read of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) origin: Origin,
    pub(crate) ruling: Option<Ruling>,
    /// What its workload may dial.
    pub(crate) outbound: Option<Arc<Outbound>>,
}

impl Case {
    /// How its bytes are treated.
    pub(crate) fn protocol(&self) -> Protocol {
        protocol(self.ruling.as_ref(), self.reading())
    }

    fn reading(&self) -> Reading {
        let dst = self.origin.dst.0;
        let reading = |outbound: &Arc<Outbound>| outbound.reading(dst.ip(), dst.port());
        self.outbound.as_ref().map_or(Reading::Opaque, reading)
    }

    /// Where it leads, once its first bytes are known; or why nowhere.
    ///
    /// A route that gives it nothing to do leaves that to the rule. What only a name may let out, a name
    /// lets out alone. Where names are told apart, one that nothing declares is not let out by its
    /// address either: many names share one.
    pub(crate) fn lead(&self, sent: Sent<'_>) -> Result<Lead<'_>, Failure> {
        let dst = self.origin.dst.0;
        let Some(mut ruling) = self.ruling.clone() else { return Err(Failure::UnknownRule) };
        let by_name = needs_name(&ruling);
        let decided =
            self.outbound.as_ref().map(|all| all.decide(Some(dst.ip()), dst.port(), sent));
        let routed = match decided {
            Some(Decided::Stream(route)) if !by_name || !route.names.is_empty() => Some(route),
            _ => None,
        };
        match routed {
            Some(route)
                if by_name || ruling.by_endpoint || !route.is_plain(dst.ip(), dst.port()) =>
            {
                return Ok(Lead::Routed(route));
            }
            None if matches!(self.reading(), Reading::Names { .. }) => {
                ruling.duty = ProxyDuty::NameRequired;
            }
            _ => {}
        }
        let ruled = route(&self.origin, Some(ruling), fastrand::u64(..));
        ruled.map(Lead::Dialled).map_err(|failure| match (failure, sent) {
            (Failure::NeedsHostRouting, Sent::Tls(name)) if !name.is_empty() => {
                Failure::UnknownServerName { name: name.to_owned() }
            }
            (other, _) => other,
        })
    }
}

/// Whether only a name may let a connection out.
fn needs_name(ruling: &Ruling) -> bool {
    ruling.duty == ProxyDuty::NameRequired && ruling.default_action != DefaultAction::AllowAny
}

/// Chooses the protocol. Requests and server names are read where an object has a say in them, and
/// where a name is all that may let them out.
pub(crate) fn protocol(ruling: Option<&Ruling>, reading: Reading) -> Protocol {
    let Some(ruling) = ruling else { return Protocol::Opaque };
    let by_name = needs_name(ruling);
    match reading {
        Reading::Needed => Protocol::Http,
        Reading::Plain if by_name || ruling.reads_all || ruling.by_endpoint => Protocol::Http,
        Reading::Names { needed }
            if needed
                || ruling.reads_all
                || ruling.by_endpoint
                || ruling.default_action != DefaultAction::AllowAny =>
        {
            Protocol::Tls
        }
        Reading::Plain | Reading::Names { .. } | Reading::Opaque => Protocol::Opaque,
    }
}

/// Chooses the route, or the reason why there is none. `draw` is a random number: connections are
/// spread over endpoints by their weights.
pub(crate) fn route(origin: &Origin, ruling: Option<Ruling>, draw: u64) -> Result<Route, Failure> {
    let Ruling { duty, default_action, upstream, reads_all: _, by_endpoint: _ } =
        ruling.ok_or(Failure::UnknownRule)?;
    let would_deny = match (duty, default_action) {
        (ProxyDuty::AddressAllowed, _) | (ProxyDuty::NameRequired, DefaultAction::AllowAny) => {
            false
        }
        (ProxyDuty::NameRequired, DefaultAction::Audit) => true,
        (ProxyDuty::NameRequired, DefaultAction::RegistryOnly) => {
            return Err(Failure::NeedsHostRouting);
        }
    };
    let to = match (duty, upstream) {
        (ProxyDuty::AddressAllowed, Some(upstream)) => destination(origin, &upstream, draw)?,
        // The name that would choose among upstreams has not been read.
        _ => origin.dst.0,
    };
    Ok(Route { to: UpstreamAddr(to), would_deny })
}

/// One of some endpoints.
pub(crate) fn destination(
    origin: &Origin,
    upstream: &Endpoints,
    draw: u64,
) -> Result<SocketAddr, Failure> {
    match upstream {
        Endpoints::Dialled { port, .. } => Ok(SocketAddr::new(origin.dst.0.ip(), port.get())),
        Endpoints::Listed(endpoints) => draw_one(endpoints, draw).ok_or(Failure::NoEndpoints),
        Endpoints::Named { names, .. } => by_name(origin, names, draw).ok_or(Failure::NoEndpoints),
        // The name in the request is not read yet, and the address dialled is allowed as it is.
        Endpoints::AsRequested { .. } => Ok(origin.dst.0),
    }
}

/// The address dialled where a name has it, for the client chose it; else one of those that the
/// names resolve to now, of the family dialled where there is one: a pod may well lack the other.
fn by_name(origin: &Origin, names: &[NamedEndpoint], draw: u64) -> Option<SocketAddr> {
    let dialled = origin.dst.0.ip();
    let has = |name: &&NamedEndpoint| {
        name.current.contains(&dialled) || name.lingering.contains(&dialled)
    };
    if let Some(name) = names.iter().find(has) {
        return Some(SocketAddr::new(dialled, name.port.get()));
    }
    let endpoints = |wanted: &dyn Fn(&IpAddr) -> bool| -> Vec<Endpoint> {
        let of = |name: &NamedEndpoint, address: &IpAddr| {
            Endpoint::new(*address, name.port, name.weight)
        };
        let all = names.iter().flat_map(|name| name.current.iter().map(move |one| (name, one)));
        all.filter(|(_, one)| wanted(one)).map(|(name, one)| of(name, one)).collect()
    };
    draw_one(&endpoints(&|one| one.is_ipv4() == dialled.is_ipv4()), draw)
        .or_else(|| draw_one(&endpoints(&|_| true), draw))
}

/// An endpoint by its share of all weights.
fn draw_one(endpoints: &[Endpoint], draw: u64) -> Option<SocketAddr> {
    let drawn = by_share(endpoints, |one| one.weight.into(), draw);
    drawn.map(|one| SocketAddr::new(one.address, one.port.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OriginalDst;

    #[test]
    fn a_name_that_cannot_be_read_yet_is_refused_only_where_the_registry_decides() {
        use DefaultAction::{AllowAny, Audit, RegistryOnly};
        use ProxyDuty::{AddressAllowed, NameRequired};
        let dst = OriginalDst("203.0.113.9:443".parse().unwrap());
        let origin = Origin { dst, rule: 3, generation: 7, connection: 5 };
        let routed = |duty, default_action| {
            let ruling = Ruling {
                duty,
                default_action,
                upstream: None,
                reads_all: false,
                by_endpoint: false,
            };
            route(&origin, Some(ruling), 0)
                .map(|route| (route.to.0 == dst.0, route.would_deny))
                .ok()
        };
        for default_action in [AllowAny, Audit, RegistryOnly] {
            assert_eq!(routed(AddressAllowed, default_action), Some((true, false)));
        }
        assert_eq!(routed(NameRequired, AllowAny), Some((true, false)));
        assert_eq!(routed(NameRequired, Audit), Some((true, true)));
        assert_eq!(routed(NameRequired, RegistryOnly), None);
        assert!(matches!(route(&origin, None, 0), Err(Failure::UnknownRule)));
    }

    fn to(upstream: Endpoints, draw: u64) -> Result<String, Failure> {
        let dst = OriginalDst("203.0.113.9:443".parse().unwrap());
        let ruling = Ruling {
            duty: ProxyDuty::AddressAllowed,
            default_action: DefaultAction::RegistryOnly,
            upstream: Some(upstream),
            reads_all: false,
            by_endpoint: false,
        };
        let origin = Origin { dst, rule: 3, generation: 7, connection: 5 };
        route(&origin, Some(ruling), draw).map(|route| route.to.to_string())
    }

    #[test]
    fn another_target_port_keeps_the_address() {
        let port = 8443.try_into().unwrap();
        assert_eq!(to(Endpoints::Dialled { port, mutual: false }, 0).unwrap(), "203.0.113.9:8443");
    }

    #[test]
    fn a_name_leads_to_the_address_dialled_or_to_one_of_its_own_of_that_family() {
        let named = |current: &[&str], lingering: &[&str]| {
            let parse = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
            let (host, port, weight) = ("db.example.com".into(), 6432.try_into().unwrap(), 1);
            let (current, lingering) = (parse(current), parse(lingering));
            let names = [NamedEndpoint { host, port, weight, current, lingering }].into();
            Endpoints::Named { names, first_only: false, mutual: false }
        };
        for (upstream, expected) in [
            (named(&["203.0.113.1", "203.0.113.9"], &[]), "203.0.113.9:6432"),
            (named(&["203.0.113.1"], &["203.0.113.9"]), "203.0.113.9:6432"),
            (named(&["2001:db8::1", "203.0.113.1"], &[]), "203.0.113.1:6432"),
            (named(&["2001:db8::1"], &["203.0.113.8"]), "[2001:db8::1]:6432"),
        ] {
            for draw in 0..4 {
                assert_eq!(to(upstream.clone(), draw).unwrap(), expected);
            }
        }
        assert!(matches!(to(named(&[], &[]), 0), Err(Failure::NoEndpoints)));
    }

    #[test]
    fn endpoints_are_drawn_by_weight_and_none_is_a_failure() {
        let endpoint = |last: u8, weight| {
            Endpoint::new([203, 0, 113, last].into(), 3306.try_into().unwrap(), weight)
        };
        let two = || Endpoints::Listed([endpoint(1, 1), endpoint(2, 3)].into());
        let drawn: Vec<String> = (0..8).map(|draw| to(two(), draw).unwrap()).collect();
        assert_eq!(drawn.iter().filter(|to| *to == "203.0.113.1:3306").count(), 2);
        assert_eq!(drawn.iter().filter(|to| *to == "203.0.113.2:3306").count(), 6);
        assert!(matches!(to(Endpoints::Listed([].into()), 5), Err(Failure::NoEndpoints)));
    }
}
