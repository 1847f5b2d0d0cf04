//! What is said inside the mesh's TLS: which port of the pod is meant, and what became of it.
//!
//! | ALPN | the port | the answer |
//! | --- | --- | --- |
//! | `sekisho/1` | the server's name, [`server_name`] | one byte, [`Answer`], and then the bytes of the one connection |
//! | `h2` | HBONE: the authority of each `CONNECT` | the status |

use std::net::SocketAddr;

use super::MeshProtocol;

/// Where pods are dialled, in every mode: that of HBONE.
pub(crate) const PORT: u16 = 15_008;

/// One TLS connection for one connection.
pub(crate) const DIRECT: &[u8] = b"sekisho/1";
/// HBONE.
pub(crate) const TUNNEL: &[u8] = b"h2";

/// What follows the port in a server's name.
const SUFFIX: &str = ".pod.sekisho.internal";

/// The protocols that are offered, the preferred one first.
pub(crate) fn offered(protocol: MeshProtocol) -> Vec<Vec<u8>> {
    match protocol {
        MeshProtocol::Direct => vec![DIRECT.to_vec(), TUNNEL.to_vec()],
        MeshProtocol::Hbone => vec![TUNNEL.to_vec()],
    }
}

/// The name by which a port is asked for.
pub(crate) fn server_name(port: u16) -> String {
    format!("p{port}{SUFFIX}")
}

/// The port that a name asks for.
pub(crate) fn port(name: &str) -> Option<u16> {
    let digits = name.strip_prefix('p')?.strip_suffix(SUFFIX)?;
    let port = digits.parse().ok().filter(|port| *port != 0)?;
    // One spelling of each: no sign, no zero before it.
    (digits == format!("{port}")).then_some(port)
}

/// Whether a port is the agent's own, so that nothing is carried there.
pub(crate) const fn is_own(port: u16) -> bool {
    matches!(port, 15_001..=15_099)
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The application has accepted it.
    Connected,
    /// The application refuses it: nothing listens there.
    Refused,
    /// It cannot be reached.
    Unreachable,
    /// A policy forbids it.
    Denied,
}

impl Answer {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Connected => 0,
            Self::Refused => 1,
            Self::Unreachable => 2,
            Self::Denied => 3,
        }
    }

    pub(crate) const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Connected,
            1 => Self::Refused,
            2 => Self::Unreachable,
            3 => Self::Denied,
            _ => return None,
        })
    }
}

/// The address and port that an authority of HBONE names; `None` where it names no address, as that of
/// a service.
pub(crate) fn authority(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    (address.port() != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_one_name() {
        for number in [1, 80, 8080, 65_535] {
            assert_eq!(port(&server_name(number)), Some(number));
        }
        for name in [
            "p0.pod.sekisho.internal",
            "p080.pod.sekisho.internal",
            "p+80.pod.sekisho.internal",
            "p65536.pod.sekisho.internal",
            "p.pod.sekisho.internal",
            "80.pod.sekisho.internal",
            "p80.pod.sekisho.internal.",
            "p80.pod.example.com",
            "",
        ] {
            assert_eq!(port(name), None, "{name}");
        }
    }

    #[test]
    fn an_authority_is_an_address_and_a_port() {
        for good in ["203.0.113.7:8080", "[2001:db8::7]:8080"] {
            assert!(authority(good).is_some(), "{good}");
        }
        for bad in ["203.0.113.7", "203.0.113.7:0", "2001:db8::7:8080", "web.shop:80", ":80", ""] {
            assert!(authority(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        for one in [Answer::Connected, Answer::Refused, Answer::Unreachable, Answer::Denied] {
            assert_eq!(Answer::of(one.byte()), Some(one));
        }
        assert_eq!(Answer::of(4), None);
    }
}
