//! Rules as people read them.

use std::fmt;

use super::{Action, Class, DefaultAction, Protocol, ProxyDuty, Rule};

impl fmt::Display for DefaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllowAny => "allow-any",
            Self::RegistryOnly => "registry-only",
            Self::Audit => "audit",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Proxy(ProxyDuty::AddressAllowed) => "proxy",
            Self::Proxy(ProxyDuty::NameRequired) => "proxy by name",
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, protocol, cidr, port, action, age, source } = self;
        if *class == Class::Exempt {
            write!(f, "exempt ")?;
        }
        write!(f, "{action} {protocol} {cidr} ")?;
        match port {
            Some(port) => write!(f, "port {port}")?,
            None => write!(f, "any port")?,
        }
        write!(f, " <- {source}")?;
        if let Some(host) = &source.host {
            write!(f, " ({host})")?;
        }
        if *age > 0 {
            write!(f, " since {age}")?;
        }
        Ok(())
    }
}
