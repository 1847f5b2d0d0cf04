//! The header of the PROXY protocol, by which a destination learns who dialled what. Pure.

use std::net::{IpAddr, SocketAddr};

/// What the binary version begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Its second version, of a connection that is carried for a client.
const PROXIED: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNKNOWN: u8 = 0x00;

/// The header in one version: who dialled, and what. Of two families there is nothing to be said.
pub(crate) fn header(version: u8, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let pair = (from.ip().to_canonical(), to.ip().to_canonical());
    let ports = (from.port(), to.port());
    if version == 1 { text(pair, ports).into_bytes() } else { binary(pair, ports) }
}

fn text((from, to): (IpAddr, IpAddr), (from_port, to_port): (u16, u16)) -> String {
    let family = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => "TCP4",
        (IpAddr::V6(_), IpAddr::V6(_)) => "TCP6",
        _ => return "PROXY UNKNOWN\r\n".to_owned(),
    };
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n")
}

fn binary((from, to): (IpAddr, IpAddr), (from_port, to_port): (u16, u16)) -> Vec<u8> {
    let (family, mut addresses) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (TCP4, [from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => (TCP6, [from.octets(), to.octets()].concat()),
        _ => (UNKNOWN, Vec::new()),
    };
    if family != UNKNOWN {
        addresses.extend(from_port.to_be_bytes());
        addresses.extend(to_port.to_be_bytes());
    }
    let length = u16::try_from(addresses.len()).unwrap_or_default().to_be_bytes();
    [SIGNATURE, &[PROXIED, family], &length, &addresses].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: u8, from: &str, to: &str) -> Vec<u8> {
        header(version, from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn the_first_version_is_a_line() {
        let line = of(1, "10.0.0.1:4000", "203.0.113.9:443");
        assert_eq!(line, b"PROXY TCP4 10.0.0.1 203.0.113.9 4000 443\r\n");
        let line = of(1, "[2001:db8::1]:4000", "[2001:db8::9]:443");
        assert_eq!(line, b"PROXY TCP6 2001:db8::1 2001:db8::9 4000 443\r\n");
        let mapped = of(1, "[::ffff:10.0.0.1]:4000", "203.0.113.9:443");
        assert_eq!(mapped, b"PROXY TCP4 10.0.0.1 203.0.113.9 4000 443\r\n");
        assert_eq!(of(1, "10.0.0.1:4000", "[2001:db8::9]:443"), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn the_second_version_is_binary() {
        let v4 = of(2, "10.0.0.1:4000", "203.0.113.9:443");
        let addresses = [10, 0, 0, 1, 203, 0, 113, 9, 0x0f, 0xa0, 0x01, 0xbb];
        assert_eq!(v4, [SIGNATURE, &[0x21, 0x11, 0, 12], &addresses].concat());
        let v6 = of(2, "[2001:db8::1]:4000", "[2001:db8::9]:443");
        assert_eq!(v6[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(v6.len(), 16 + 36);
        let unknown = of(2, "10.0.0.1:4000", "[2001:db8::9]:443");
        assert_eq!(unknown, [SIGNATURE, &[0x21, 0, 0, 0]].concat());
    }
}
