//! What `sekisho why` is asked about: a pod and a destination, as people write them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
};

use agent_model::egress::Protocol;

/// A pod as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodRef {
    /// The Kubernetes namespace, where it was given.
    pub(crate) namespace: Option<String>,
    /// The pod's name.
    pub(crate) name: String,
}

/// Why a [`PodRef`] was not understood.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a pod is NAMESPACE/NAME or NAME, for instance shop/web-0")]
pub(crate) struct PodRefError;

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for PodRef {
    type Err = PodRefError;

    fn from_str(text: &str) -> Result<Self, PodRefError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        // What Kubernetes takes for names (RFC 1123); it needs no escaping in a request either.
        let is_name = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            !name.is_empty() && name.bytes().all(|byte| plain(byte) || b"-.".contains(&byte))
        };
        if !is_name(name) || !namespace.is_none_or(is_name) {
            return Err(PodRefError);
        }
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }
}

/// Where a pod would connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The address; an IPv4-mapped one is IPv4 already.
    pub(crate) addr: IpAddr,
    /// The port.
    pub(crate) port: NonZeroU16,
    /// The transport.
    pub(crate) protocol: Protocol,
}

/// What `sekisho why` is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address.
    Address(Destination),
    /// Every address that a name stands for.
    Name {
        /// The name.
        name: String,
        /// See [`Destination::port`].
        port: NonZeroU16,
        /// See [`Destination::protocol`].
        protocol: Protocol,
    },
}

/// Why a [`Target`] was not understood.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum DestinationError {
    /// Neither an address nor a port.
    #[error(
        "a destination is ADDRESS:PORT or NAME:PORT, for instance 203.0.113.7:3306, \
         [2001:db8::7]:53/udp or db.example.com:3306"
    )]
    Shape,
    /// A suffix that names no transport.
    #[error("after the port comes /tcp or /udp")]
    Protocol,
}

impl FromStr for Target {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (socket, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((socket, "tcp")) => (socket, Protocol::Tcp),
            Some((socket, "udp")) => (socket, Protocol::Udp),
            Some(_) => return Err(DestinationError::Protocol),
        };
        if let Ok(socket) = socket.parse::<SocketAddr>() {
            let port = NonZeroU16::new(socket.port()).ok_or(DestinationError::Shape)?;
            let addr = socket.ip().to_canonical();
            return Ok(Self::Address(Destination { addr, port, protocol }));
        }
        let (name, port) = socket.rsplit_once(':').ok_or(DestinationError::Shape)?;
        let port = port.parse().map_err(|_| DestinationError::Shape)?;
        if !is_host(name) {
            return Err(DestinationError::Shape);
        }
        Ok(Self::Name { name: name.to_ascii_lowercase(), port, protocol })
    }
}

/// A DNS name; a last label of digits is an address gone wrong. It needs no escaping in a request.
fn is_host(name: &str) -> bool {
    let of_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let mut labels = name.strip_suffix('.').unwrap_or(name).split('.');
    let digits = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    labels.clone().all(|label| !label.is_empty() && label.bytes().all(of_label))
        && !labels.next_back().is_some_and(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_address_and_a_port() {
        let destination = |text: &str| text.parse::<Target>();
        let port = |number| NonZeroU16::new(number).unwrap();
        let expected = |addr: &str, number, protocol| {
            let addr = addr.parse().unwrap();
            Target::Address(Destination { addr, port: port(number), protocol })
        };
        let named = |name: &str, number, protocol| Target::Name {
            name: name.to_owned(),
            port: port(number),
            protocol,
        };
        for (text, wanted) in [
            ("203.0.113.7:3306", expected("203.0.113.7", 3306, Protocol::Tcp)),
            ("203.0.113.7:53/udp", expected("203.0.113.7", 53, Protocol::Udp)),
            ("203.0.113.7:53/tcp", expected("203.0.113.7", 53, Protocol::Tcp)),
            ("[2001:db8::7]:443", expected("2001:db8::7", 443, Protocol::Tcp)),
            ("[::ffff:203.0.113.7]:1/udp", expected("203.0.113.7", 1, Protocol::Udp)),
            ("DB.example.com:3306", named("db.example.com", 3306, Protocol::Tcp)),
            ("db:53/udp", named("db", 53, Protocol::Udp)),
        ] {
            assert_eq!(destination(text).unwrap(), wanted, "{text}");
        }
        for wrong in [
            "",
            "203.0.113.7",
            "203.0.113.7:",
            "203.0.113.7:0",
            "203.0.113.7:65536",
            "db",
            "db:",
            "db:0",
            "d b:1",
            "db..example:1",
            "256.0.113.7:1",
            ":80",
            "2001:db8::7:443",
            "203.0.113.7:53/sctp",
            "203.0.113.7:53/",
            "203.0.113.0/24:80",
        ] {
            assert!(destination(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pod_may_come_without_its_namespace() {
        let pod = |text: &str| text.parse::<PodRef>().ok().map(|pod| (pod.namespace, pod.name));
        assert_eq!(pod("shop/web-0"), Some((Some("shop".into()), "web-0".into())));
        assert_eq!(pod("web-0"), Some((None, "web-0".into())));
        for wrong in ["", "/", "shop/", "/web", "a/b/c", "a/b&c", "Shop/web", "a b"] {
            assert_eq!(pod(wrong), None, "{wrong}");
        }
    }
}
