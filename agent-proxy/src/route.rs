//! Where a connection goes, and in which protocol. Pure.
//!
//! This is the seam for HTTP and TLS: a [`Protocol`] is chosen here, from what the port declares
//! or from the first bytes, and `connection` carries the bytes as that protocol demands. So far
//! every connection is [`Protocol::Opaque`]. Nothing is read before the choice: a port that is
//! declared as TCP must not wait for the client (the server may speak first).

use agent_model::egress::{DefaultAction, ProxyDuty};

use crate::{Failure, Origin, Ruling, UpstreamAddr};

/// How the bytes of a connection are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Carried as they are.
    Opaque,
}

impl Protocol {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
        }
    }
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: UpstreamAddr,
    pub(crate) protocol: Protocol,
    /// Only an audit lets it pass.
    pub(crate) would_deny: bool,
}

/// Chooses the route, or the reason why there is none.
pub(crate) fn route(origin: &Origin, ruling: Option<Ruling>) -> Result<Route, Failure> {
    let ruling = ruling.ok_or(Failure::UnknownRule)?;
    let would_deny = match (ruling.duty, ruling.default_action) {
        (ProxyDuty::AddressAllowed, _) | (ProxyDuty::NameRequired, DefaultAction::AllowAny) => {
            false
        }
        (ProxyDuty::NameRequired, DefaultAction::Audit) => true,
        (ProxyDuty::NameRequired, DefaultAction::RegistryOnly) => {
            return Err(Failure::NeedsHostRouting);
        }
    };
    Ok(Route { to: UpstreamAddr(origin.dst.0), protocol: Protocol::Opaque, would_deny })
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
        let origin = Origin { dst, rule: 3, generation: 7 };
        let routed = |duty, default_action| {
            let ruling = Ruling { duty, default_action };
            route(&origin, Some(ruling)).map(|route| (route.to.0 == dst.0, route.would_deny)).ok()
        };
        for default_action in [AllowAny, Audit, RegistryOnly] {
            assert_eq!(routed(AddressAllowed, default_action), Some((true, false)));
        }
        assert_eq!(routed(NameRequired, AllowAny), Some((true, false)));
        assert_eq!(routed(NameRequired, Audit), Some((true, true)));
        assert_eq!(routed(NameRequired, RegistryOnly), None);
        assert!(matches!(route(&origin, None), Err(Failure::UnknownRule)));
    }
}
